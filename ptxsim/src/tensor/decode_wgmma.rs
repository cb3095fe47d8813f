//! Decodes `wgmma`.
//!
//! Of `mma_async`, `imm` is the packed [`Form`]; `list` holds the rows of D and then, where A
//! comes from registers, those of A; `s[0]` is the 64-bit row of A's descriptor (not of a form
//! with A in registers), `s[1]` that of B's, `s[2]` the predicate row of scale-d. `target` is the
//! number of rows of D. Of `wait_group`, `imm` is the number of groups that may remain.
//!
//! The registers declared as used are A's alone: a product may follow another on the same D
//! without a wait, so D is for the machine to judge.

use super::descriptor::Major;
use super::wgmma::Form;
use super::{Accumulator, Element};
use crate::agents::wgmma;
use crate::decode::{Decoder, Family, Problem};
use crate::isa::{Class, Exec, Inst, Members};
use crate::syntax::tree::{Instruction, Operand};

/// The family decoded here.
pub const FAMILIES: &[Family] = &[Family {
    base: "wgmma",
    decode: decode_wgmma,
    syntax: &[
        "wgmma.mma_async.sync.aligned.m64n(8..256)k16.(f32|f16).f16.f16",
        "wgmma.mma_async.sync.aligned.m64n(8..256)k16.f32.bf16.bf16",
        "wgmma.mma_async.sync.aligned.m64n(8..256)k8.f32.tf32.tf32",
        "wgmma.mma_async.sync.aligned.m64n(8..256)k32.(f32|f16).(e4m3|e5m2).(e4m3|e5m2)",
        "wgmma.mma_async.sync.aligned.m64n(8..256)k32{.satfinite}.s32.(s8|u8).(s8|u8)",
        "wgmma.fence.sync.aligned",
        "wgmma.commit_group.sync.aligned",
        "wgmma.wait_group.sync.aligned",
    ],
}];

/// Decodes any `wgmma`.
pub fn decode_wgmma(decoder: &mut Decoder, instruction: &Instruction) -> Result<Inst, Problem> {
    let opcode = instruction.opcode.as_str();
    let parts: Vec<&str> = opcode.split('.').skip(1).collect();
    let [what, "sync", "aligned", rest @ ..] = parts.as_slice() else {
        return Err(format!("`{opcode}`: only `wgmma.(..).sync.aligned` is supported"));
    };
    let run = match *what {
        "mma_async" => return decode_product(decoder, instruction, rest),
        "fence" => wgmma::fence,
        "commit_group" => wgmma::commit_group,
        "wait_group" => wgmma::wait_group,
        other => return Err(format!("`{opcode}`: .{other} is not supported")),
    };
    if let [part, ..] = rest {
        return Err(format!("`{opcode}`: .{part} is not supported"));
    }
    let mut inst = Inst::new(Exec::CollectiveAct(Members::Warp, run), Class::Wgmma);
    match (*what, instruction.operands.as_slice()) {
        ("wait_group", [count]) => inst.imm = decoder.immediate(count)?,
        ("wait_group", _) | (_, [_, ..]) => {
            return Err(format!("`{opcode}`: wrong number of operands"));
        }
        _ => {}
    }
    Ok(inst)
}

fn decode_product(
    decoder: &mut Decoder,
    instruction: &Instruction,
    rest: &[&str],
) -> Result<Inst, Problem> {
    let opcode = instruction.opcode.as_str();
    let mut form = parse_form(opcode, rest)?;
    let [d, a, b, scale_d, immediates @ ..] = instruction.operands.as_slice() else {
        return Err(format!("`{opcode}`: takes at least 4 operands"));
    };
    form.a_in_registers = matches!(a, Operand::Vector(_));
    read_immediates(decoder, opcode, &mut form, immediates)?;
    let mut inst = Inst::new(Exec::CollectiveAct(Members::Warp, wgmma::mma_async), Class::Wgmma);
    let mut rows = Vec::new();
    for element in exactly(decoder, opcode, d, form.registers_d(), "D")? {
        rows.push(decoder.dest32(element)?);
    }
    inst.target = rows.len() as u32;
    if form.a_in_registers {
        for element in exactly(decoder, opcode, a, 4, "A")? {
            rows.push(decoder.source32(element)?);
        }
    } else {
        inst.s[0] = decoder.source64(a)?;
    }
    inst.s[1] = decoder.source64(b)?;
    inst.s[2] = decoder.source_predicate(scale_d)?;
    decoder.uses(rows[inst.target as usize..].to_vec(), Vec::new());
    inst.list = decoder.list(rows);
    inst.imm = form.pack();
    Ok(inst)
}

/// imm-scale-a, imm-scale-b and the transpose bits, as many as the types have (PTX ISA,
/// "wgmma.mma_async").
fn read_immediates(
    decoder: &mut Decoder,
    opcode: &str,
    form: &mut Form,
    operands: &[Operand],
) -> Result<(), Problem> {
    let values = operands.iter().map(|operand| decoder.immediate(operand));
    let values = values.collect::<Result<Vec<i64>, Problem>>()?;
    let wanted = match (form.a.bytes(), form.a.is_integer(), form.a_in_registers) {
        (_, true, _) => 0,
        (2, _, false) => 4,
        (2, _, true) => 3,
        _ => 2,
    };
    if values.len() != wanted {
        let found = values.len();
        return Err(format!("`{opcode}`: takes {wanted} immediates after scale-d, not {found}"));
    }
    let (scales, transposes) = values.split_at(wanted.min(2));
    if let Some(scale) = scales.iter().find(|scale| scale.abs() != 1) {
        return Err(format!("`{opcode}`: a scale is 1 or -1, not {scale}"));
    }
    if let Some(bit) = transposes.iter().find(|bit| !(0..=1).contains(*bit)) {
        return Err(format!("`{opcode}`: a transpose immediate is 0 or 1, not {bit}"));
    }
    if let [a, b] = scales {
        (form.negate_a, form.negate_b) = (*a < 0, *b < 0);
    }
    match transposes {
        [a, b] => (form.major_a, form.major_b) = (Major::of(*a != 0), Major::of(*b != 0)),
        [b] => form.major_b = Major::of(*b != 0),
        _ => {}
    }
    Ok(())
}

fn exactly<'a>(
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

fn parse_form(opcode: &str, rest: &[&str]) -> Result<Form, Problem> {
    let unknown = |part: &str| format!("`{opcode}`: .{part} is not supported");
    let (shape, saturate, types) = match rest {
        [shape, "satfinite", types @ ..] => (*shape, true, types),
        [shape, types @ ..] => (*shape, false, types),
        [] => return Err(format!("`{opcode}`: the shape is missing")),
    };
    let [d, a, b] = types else {
        let known =
            |part: &&&str| Element::parse(part).is_some() || Accumulator::parse(part).is_some();
        return Err(match types.iter().find(|part| !known(part)) {
            Some(part) => unknown(part),
            None => format!("`{opcode}`: takes three types after the shape"),
        });
    };
    let accumulator = Accumulator::parse(d).ok_or_else(|| unknown(d))?;
    let kind_a = Element::parse(a).ok_or_else(|| unknown(a))?;
    let kind_b = Element::parse(b).ok_or_else(|| unknown(b))?;
    let n = shape_n(shape, kind_a)
        .ok_or_else(|| format!("`{opcode}`: the shape .{shape} does not exist with .{a}"))?;
    let pair = match kind_a {
        Element::F16 | Element::Bf16 | Element::Tf32 => kind_a == kind_b,
        Element::E4m3 | Element::E5m2 => kind_b.bytes() == 1 && !kind_b.is_integer(),
        Element::S8 | Element::U8 => kind_b.is_integer(),
    };
    let fits = match accumulator {
        Accumulator::S32 => kind_a.is_integer(),
        Accumulator::F32 => !kind_a.is_integer(),
        Accumulator::F16 => matches!(kind_a, Element::F16 | Element::E4m3 | Element::E5m2),
    };
    if !pair || !fits || saturate && accumulator != Accumulator::S32 {
        return Err(format!("`{opcode}`: these types do not go together"));
    }
    Ok(Form {
        n,
        a: kind_a,
        b: kind_b,
        accumulator,
        a_in_registers: false,
        saturate,
        negate_a: false,
        negate_b: false,
        major_a: Major::K,
        major_b: Major::K,
    })
}

/// N of `m64n<N>k<K>`, if the type has that shape: K is 32 bytes, N a multiple of 8 up to 256; of
/// 8-bit integers above 32 a multiple of 16.
fn shape_n(shape: &str, kind: Element) -> Option<usize> {
    let (n, k) = shape.strip_prefix("m64n")?.split_once('k')?;
    let (n, k): (usize, usize) = (n.parse().ok()?, k.parse().ok()?);
    let step = if kind.is_integer() && n > 32 { 16 } else { 8 };
    (k == 2 * kind.per_row() && n % step == 0 && (8..=256).contains(&n)).then_some(n)
}
