//! Decodes `mma.sync.aligned` and `movmatrix`.

use super::mma::{self, Form};
use super::{Accumulator, Element, matrix};
use crate::decode::{Decoder, Family, Problem};
use crate::isa::{Class, Exec, Inst, Members};
use crate::syntax::tree::{Instruction, Operand};

/// The families decoded here.
pub const FAMILIES: &[Family] = &[
    Family {
        base: "mma",
        decode: decode_mma,
        syntax: &[
            "mma.sync.aligned.(m16n8k8|m16n8k16).row.col.f32.bf16.bf16.f32",
            "mma.sync.aligned.(m16n8k8|m16n8k16).row.col.(f32|f16).f16.f16.(f32|f16)",
            "mma.sync.aligned.(m16n8k4|m16n8k8).row.col.f32.tf32.tf32.f32",
            "mma.sync.aligned.(m16n8k16|m16n8k32).row.col{.satfinite}.s32.(s8|u8).(s8|u8).s32",
            "mma.sync.aligned.(m16n8k16|m16n8k32).row.col.(f32|f16).(e4m3|e5m2).(e4m3|e5m2).\
             (f32|f16)",
            "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64",
        ],
    },
    Family {
        base: "movmatrix",
        decode: decode_movmatrix,
        syntax: &["movmatrix.sync.aligned.m8n8.trans.b16"],
    },
];

/// The next part of the opcode must be `wanted`.
fn expect<'a>(
    parts: &mut impl Iterator<Item = &'a str>,
    wanted: &str,
    opcode: &str,
) -> Result<(), Problem> {
    match parts.next() {
        Some(part) if part == wanted => Ok(()),
        Some(part) => Err(format!("`{opcode}`: .{part} is not supported, only .{wanted}")),
        None => Err(format!("`{opcode}`: .{wanted} is missing")),
    }
}

/// Decodes `mma`.
pub fn decode_mma(decoder: &mut Decoder, instruction: &Instruction) -> Result<Inst, Problem> {
    let opcode = instruction.opcode.as_str();
    let mut parts = opcode.split('.').skip(1);
    expect(&mut parts, "sync", opcode)?;
    expect(&mut parts, "aligned", opcode)?;
    let shape = parts.next().unwrap_or_default();
    expect(&mut parts, "row", opcode)?;
    expect(&mut parts, "col", opcode)?;
    let rest: Vec<&str> = parts.collect();
    if shape == "m8n8k4" && rest == ["f64"; 4] {
        return decode_f64(decoder, instruction);
    }
    let form = parse_form(opcode, shape, &rest)?;
    let [count_a, count_b, count_c] = form.registers();
    let mut inst = Inst::new(Exec::Collective(Members::Warp, mma::run), Class::Mma);
    inst.imm = form.pack();
    let [d, a, b, c] = operands(instruction)?;
    let mut next = 0;
    for (operand, count, name) in [(a, count_a, "A"), (b, count_b, "B"), (c, count_c, "C")] {
        for element in vector(decoder, opcode, operand, count, name)? {
            inst.s[next] = decoder.source32(element)?;
            next += 1;
        }
    }
    for (to, element) in inst.d.iter_mut().zip(vector(decoder, opcode, d, count_c, "D")?) {
        *to = decoder.dest32(element)?;
    }
    Ok(inst)
}

fn parse_form(opcode: &str, shape: &str, rest: &[&str]) -> Result<Form, Problem> {
    let (saturate, types) = match rest {
        ["satfinite", types @ ..] => (true, types),
        types => (false, types),
    };
    let [d, a, b, c] = types else {
        let first = types.iter().find(|part| parse_type(part).is_none());
        return Err(match first {
            Some(part) => format!("`{opcode}`: .{part} is not supported"),
            None => format!("`{opcode}`: takes four types after .row.col"),
        });
    };
    let unknown = |part: &str| format!("`{opcode}`: .{part} is not supported");
    let kind_a = Element::parse(a).ok_or_else(|| unknown(a))?;
    let kind_b = Element::parse(b).ok_or_else(|| unknown(b))?;
    let accumulator = Accumulator::parse(d).ok_or_else(|| unknown(d))?;
    if c != d {
        return Err(format!("`{opcode}`: C (.{c}) and D (.{d}) must have one type"));
    }
    let form = Form { a: kind_a, b: kind_b, accumulator, cores: 1, saturate };
    let mut shapes = [form, Form { cores: 2, ..form }].into_iter();
    let Some(form) = shapes.find(|form| shape == format!("m16n8k{}", form.k())) else {
        return Err(format!("`{opcode}`: the shape .{shape} is not supported with .{a}"));
    };
    check_types(opcode, form)?;
    Ok(form)
}

fn parse_type(part: &str) -> Option<()> {
    (Element::parse(part).is_some() || Accumulator::parse(part).is_some()).then_some(())
}

/// Which types go together (PTX ISA, table of "mma" shapes).
fn check_types(opcode: &str, form: Form) -> Result<(), Problem> {
    let together = match form.a {
        Element::F16 | Element::Bf16 | Element::Tf32 => form.a == form.b,
        Element::E4m3 | Element::E5m2 => form.b.bytes() == 1 && !form.b.is_integer(),
        Element::S8 | Element::U8 => form.b.is_integer(),
    };
    if !together {
        let (a, b) = (form.a.name(), form.b.name());
        return Err(format!("`{opcode}`: .{a} and .{b} cannot be multiplied"));
    }
    let fits = match form.accumulator {
        Accumulator::S32 => form.a.is_integer(),
        Accumulator::F32 => !form.a.is_integer(),
        Accumulator::F16 => matches!(form.a, Element::F16 | Element::E4m3 | Element::E5m2),
    };
    if !fits {
        return Err(format!("`{opcode}`: D cannot have this type for .{}", form.a.name()));
    }
    if form.saturate && form.accumulator != Accumulator::S32 {
        return Err(format!("`{opcode}`: .satfinite goes with .s32 only"));
    }
    Ok(())
}

fn operands(instruction: &Instruction) -> Result<[&Operand; 4], Problem> {
    match instruction.operands.as_slice() {
        [d, a, b, c] => Ok([d, a, b, c]),
        other => Err(format!("`{}`: takes 4 operands, not {}", instruction.opcode, other.len())),
    }
}

fn vector<'a>(
    decoder: &Decoder,
    opcode: &str,
    operand: &'a Operand,
    count: usize,
    name: &str,
) -> Result<Vec<&'a Operand>, Problem> {
    let elements = decoder.elements(operand);
    if elements.len() != count {
        let found = elements.len();
        return Err(format!("`{opcode}`: {name} takes {count} registers, not {found}"));
    }
    Ok(elements)
}

fn decode_f64(decoder: &mut Decoder, instruction: &Instruction) -> Result<Inst, Problem> {
    let opcode = instruction.opcode.as_str();
    let mut inst = Inst::new(Exec::Collective(Members::Warp, mma::run_f64), Class::Mma);
    let [d, a, b, c] = operands(instruction)?;
    let mut next = 0;
    for (operand, count, name) in [(a, 1, "A"), (b, 1, "B"), (c, 2, "C")] {
        for element in vector(decoder, opcode, operand, count, name)? {
            inst.s[next] = decoder.source64(element)?;
            next += 1;
        }
    }
    for (to, element) in inst.d.iter_mut().zip(vector(decoder, opcode, d, 2, "D")?) {
        *to = decoder.dest64(element)?;
    }
    Ok(inst)
}

/// Decodes `movmatrix`.
pub fn decode_movmatrix(decoder: &mut Decoder, instruction: &Instruction) -> Result<Inst, Problem> {
    let opcode = instruction.opcode.as_str();
    let mut parts = opcode.split('.').skip(1);
    for wanted in ["sync", "aligned", "m8n8", "trans", "b16"] {
        expect(&mut parts, wanted, opcode)?;
    }
    if let Some(part) = parts.next() {
        return Err(format!("`{opcode}`: .{part} is not supported"));
    }
    let [d, a] = instruction.operands.as_slice() else {
        return Err(format!("`{opcode}`: takes 2 operands"));
    };
    let run = Exec::Collective(Members::Warp, matrix::run_movmatrix);
    let mut inst = Inst::new(run, Class::Matrix);
    inst.s[0] = decoder.source32(a)?;
    inst.d[0] = decoder.dest32(d)?;
    Ok(inst)
}
