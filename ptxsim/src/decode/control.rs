//! Decoders of control flow (PTX ISA, "Control Flow Instructions"), and of `mov` from a clock.

use super::operands::{Decoder, Problem, show};
use super::scope::{Found, Symbol};
use super::{CallSite, Family, special};
use crate::isa::{Act, Class, Exec, Inst};
use crate::machine::control;
use crate::syntax::tree::{Instruction, Operand};

/// Functions that the machine itself runs when they are only declared.
pub const BUILTINS: &[&str] = &["vprintf", "__assertfail"];

/// The families decoded here.
pub const FAMILIES: &[Family] = &[
    Family { base: "bra", decode: bra, syntax: &["bra{.uni}"] },
    Family { base: "brx", decode: brx, syntax: &["brx.idx{.uni}"] },
    Family { base: "call", decode: call, syntax: &["call{.uni}"] },
    Family { base: "ret", decode: plain, syntax: &["ret{.uni}"] },
    Family { base: "exit", decode: plain, syntax: &["exit"] },
    Family { base: "trap", decode: plain, syntax: &["trap"] },
    Family { base: "brkpt", decode: plain, syntax: &["brkpt"] },
];

fn act(function: Act, class: Class) -> Inst {
    Inst::new(Exec::Act(function), class)
}

/// Refuses modifiers but those of the list.
fn modifiers(inst: &Instruction, known: &[&str]) -> Result<(), Problem> {
    match inst.opcode.split('.').skip(1).find(|part| !known.contains(part)) {
        Some(part) => Err(format!("unknown modifier `.{part}`")),
        None => Ok(()),
    }
}

/// Whether a `mov` reads a clock: then the table does not know it.
pub(super) fn reads_clock(inst: &Instruction) -> bool {
    let source = inst.operands.get(1);
    let clock = matches!(source, Some(Operand::Name(name)) if special::clock(name).is_some());
    clock && inst.opcode.starts_with("mov.")
}

/// `mov.u32 %r1, %clock` and the like.
pub(super) fn clock(decoder: &mut Decoder, inst: &Instruction) -> Result<Inst, Problem> {
    let [to, Operand::Name(name)] = inst.operands.as_slice() else {
        return Err("takes a register and a clock".to_owned());
    };
    let wide = matches!(inst.opcode.as_str(), "mov.u64" | "mov.s64" | "mov.b64");
    if !wide && !matches!(inst.opcode.as_str(), "mov.u32" | "mov.s32" | "mov.b32") {
        return Err(format!("`{name}` is read by `mov.u32` or `mov.u64`"));
    }
    let mut decoded = act(control::clock, Class::Move);
    decoded.imm = special::clock(name).unwrap_or(0);
    match (wide, decoded.imm == 1) {
        (true, true) => decoded.d[0] = decoder.dest64(to)?,
        (false, false) => decoded.d[0] = decoder.dest32(to)?,
        (true, false) => return Err(format!("`{name}` has 32 bits where 64 are wanted")),
        (false, true) => return Err(format!("`{name}` has 64 bits where 32 are wanted")),
    }
    Ok(decoded)
}

fn bra(decoder: &mut Decoder, inst: &Instruction) -> Result<Inst, Problem> {
    modifiers(inst, &["uni"])?;
    let [label] = inst.operands.as_slice() else { return Err("takes one label".to_owned()) };
    let mut decoded = act(control::bra, Class::Control);
    decoded.target = decoder.label(label)?;
    Ok(decoded)
}

fn brx(decoder: &mut Decoder, inst: &Instruction) -> Result<Inst, Problem> {
    modifiers(inst, &["idx", "uni"])?;
    let [index, targets] = inst.operands.as_slice() else {
        return Err("takes an index and a `.branchtargets`".to_owned());
    };
    let mut decoded = act(control::brx, Class::Control);
    decoded.s[0] = decoder.source32(index)?;
    decoded.list = decoder.targets(targets)?;
    Ok(decoded)
}

/// Instructions without operands.
fn plain(_: &mut Decoder, inst: &Instruction) -> Result<Inst, Problem> {
    if !inst.operands.is_empty() {
        return Err("takes no operands".to_owned());
    }
    let base = inst.opcode.split('.').next().unwrap_or_default();
    modifiers(inst, if base == "ret" { &["uni"] } else { &[] })?;
    Ok(match base {
        "ret" => act(control::ret, Class::Control),
        "exit" => act(control::exit, Class::Control),
        // Without a debugger a breakpoint ends the launch as a trap does.
        _ => act(control::trap, Class::Other),
    })
}

/// `call (results), function, (arguments);`, either list may be absent.
fn call(decoder: &mut Decoder, inst: &Instruction) -> Result<Inst, Problem> {
    modifiers(inst, &["uni"])?;
    let (results, rest) = match inst.operands.as_slice() {
        [Operand::Group(results), rest @ ..] => (results.as_slice(), rest),
        rest => (&[][..], rest),
    };
    let (callee, arguments) = match rest {
        [callee @ Operand::Name(_)] => (callee, &[][..]),
        [callee @ Operand::Name(_), Operand::Group(arguments)] => (callee, arguments.as_slice()),
        [Operand::Name(_), Operand::Group(_), Operand::Name(_)] | [Operand::Name(_), _] => {
            return Err("calls of functions by their address are not supported".to_owned());
        }
        _ => return Err("takes results, a function and arguments".to_owned()),
    };
    let index = function(decoder, callee)?;
    let callee = &decoder.program.functions[index as usize];
    let (params, returns) = (callee.params.clone(), callee.returns.clone());
    let name = callee.name.clone();
    if callee.entry {
        return Err(format!("`{name}` is an entry, which cannot be called"));
    }
    if !decoder.defined[index as usize] && !BUILTINS.contains(&name.as_str()) {
        return Err(format!("`{name}` is declared but not defined in this module"));
    }
    let arguments = pass(decoder, arguments, &params, &name, "arguments")?;
    let results = pass(decoder, results, &returns, &name, "results")?;
    let mut decoded = act(control::call, Class::Control);
    decoded.target = u32::try_from(decoder.program.calls.len()).unwrap_or(u32::MAX);
    decoder.program.calls.push(CallSite { function: index, arguments, results });
    Ok(decoded)
}

fn function(decoder: &mut Decoder, callee: &Operand) -> Result<u32, Problem> {
    let Operand::Name(name) = callee else {
        return Err(format!("{} stands where a function is wanted", show(callee)));
    };
    match decoder.find(name)? {
        Some(Found::Symbol(Symbol::Function(index))) => Ok(index),
        Some(Found::Register(_)) => {
            Err("calls of functions by their address are not supported".to_owned())
        }
        Some(_) => Err(format!("`{name}` is not a function")),
        None => Err(format!("`{name}` is not declared")),
    }
}

/// Offsets of the variables that a call passes, each as large as what the function declares.
fn pass(
    decoder: &mut Decoder,
    given: &[Operand],
    declared: &[(u32, u32)],
    name: &str,
    what: &str,
) -> Result<Vec<u32>, Problem> {
    if given.len() != declared.len() {
        let (given, declared) = (given.len(), declared.len());
        return Err(format!("`{name}` has {declared} {what}, not {given}"));
    }
    let mut offsets = Vec::new();
    for (operand, (_, bytes)) in given.iter().zip(declared) {
        let (offset, has) = decoder.frame_param(operand)?;
        if has != *bytes {
            return Err(format!("{} of {has} bytes is {bytes} bytes in `{name}`", show(operand)));
        }
        offsets.push(offset);
    }
    Ok(offsets)
}
