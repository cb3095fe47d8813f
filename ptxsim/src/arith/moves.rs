//! Moves and selections, and addresses from one space to another (PTX ISA, "Data Movement and
//! Conversion Instructions").

use super::rows::{Lane, row, unary};
use crate::decode::{Decoder, Problem};
use crate::isa::{
    Alu, Class, Exec, Inst, LANES, LOCAL_WINDOW, PARAM_WINDOW, Registers, Row32, SHARED_WINDOW,
    TableRow, WINDOW_MASK,
};
use crate::syntax::tree::{Instruction, Operand};

/// Whether a generic address lies in a window.
#[inline(always)]
fn within(address: u64, window: u64) -> bool {
    address & !WINDOW_MASK == window
}

/// Whether a generic address is one of the own block's shared memory: bits 24 to 31 name another
/// block of the cluster.
#[inline(always)]
fn own_shared(address: u64) -> bool {
    within(address, SHARED_WINDOW) && address >> 24 & 0xff == 0
}

/// Selections and addresses. There is no `cvta` of 32 bits: ptxas refuses it for sm_90. Constants
/// and global variables lie in device memory, whose generic addresses are the plain ones, so that
/// `isspacep` cannot tell them apart and calls both global.
const SELECTIONS: &[TableRow] = &[
    row!("selp(.b16|.u16|.s16)", "h=hhp", Move, wide |a: u16, b: u16, p: bool| {
        if p { a } else { b }
    }),
    row!("selp(.b32|.u32|.s32|.f32)", "r=rrp", Move, wide |a: u32, b: u32, p: bool| {
        if p { a } else { b }
    }),
    row!("selp(.b64|.u64|.s64|.f64)", "l=llp", Move, wide |a: u64, b: u64, p: bool| {
        if p { a } else { b }
    }),
    row!("cvta(.global|.const).u64", "l=l", Move, |a: u64| a),
    row!("cvta.to(.global|.const).u64", "l=l", Move, |a: u64| a),
    row!("cvta.shared{::cta|::cluster}.u64", "l=l", Move, |a: u64| a | SHARED_WINDOW),
    row!("cvta.local.u64", "l=l", Move, |a: u64| a | LOCAL_WINDOW),
    row!("cvta.param{::entry}.u64", "l=l", Move, |a: u64| a | PARAM_WINDOW),
    row!("cvta.to.shared{::cta|::cluster}.u64", "l=l", Move, |a: u64| a & WINDOW_MASK),
    row!("cvta.to.local.u64", "l=l", Move, |a: u64| a & WINDOW_MASK),
    row!("cvta.to.param{::entry}.u64", "l=l", Move, |a: u64| a & WINDOW_MASK),
    row!("isspacep.global", "p=l", Move, |a: u64| within(a, 0)),
    row!("isspacep.const", "p=l", Move, |_a: u64| false),
    row!("isspacep.local", "p=l", Move, |a: u64| within(a, LOCAL_WINDOW)),
    row!("isspacep.shared{::cta}", "p=l", Move, |a: u64| own_shared(a)),
    row!("isspacep.shared::cluster", "p=l", Move, |a: u64| within(a, SHARED_WINDOW)),
    row!("isspacep.param{::entry}", "p=l", Move, |a: u64| within(a, PARAM_WINDOW)),
];

/// How `mov` is written, for the README.
pub const MOV_SYNTAX: &[&str] = &[
    "mov{.b16|.u16|.s16|.f16|.bf16}",
    "mov{.b32|.u32|.s32|.f32|.f16x2|.bf16x2}",
    "mov{.b64|.u64|.s64|.f64}",
    "mov.pred",
    "mov{.b16|.b32|.b64} of vectors",
];

fn mov16(r: &mut Registers, i: &Inst, mask: u32) {
    unary(r, i, mask, |a: u16| a);
}

fn mov32(r: &mut Registers, i: &Inst, mask: u32) {
    unary(r, i, mask, |a: u32| a);
}

fn mov64(r: &mut Registers, i: &Inst, mask: u32) {
    unary(r, i, mask, |a: u64| a);
}

fn mov_predicate(r: &mut Registers, i: &Inst, mask: u32) {
    unary(r, i, mask, |a: bool| a);
}

/// `N` registers of `BITS` bits into one of 32.
fn pack32<const N: usize, const BITS: usize>(r: &mut Registers, i: &Inst, mask: u32) {
    let out = gather::<N, BITS>(r, i).map(|x| x as u32);
    <u32 as super::rows::Dest>::store(r, i, &out, mask);
}

/// `N` registers of `BITS` bits into one of 64.
fn pack64<const N: usize, const BITS: usize>(r: &mut Registers, i: &Inst, mask: u32) {
    let out = gather::<N, BITS>(r, i);
    <u64 as super::rows::Dest>::store(r, i, &out, mask);
}

/// The first source in the lowest bits, and so on.
#[inline(always)]
fn gather<const N: usize, const BITS: usize>(r: &Registers, i: &Inst) -> [u64; LANES] {
    let mut out = [0; LANES];
    for part in 0..N {
        let row = <u32 as Lane>::row(r, i.s[part]);
        for (out, &x) in out.iter_mut().zip(row) {
            *out |= (u64::from(x) & ((1 << BITS) - 1)) << (part * BITS);
        }
    }
    out
}

/// One register of 32 bits into `N` of `BITS`.
fn unpack32<const N: usize, const BITS: usize>(r: &mut Registers, i: &Inst, mask: u32) {
    let source = r.r32[usize::from(i.s[0])].map(u64::from);
    scatter::<N, BITS>(r, i, mask, &source);
}

/// One register of 64 bits into `N` of `BITS`.
fn unpack64<const N: usize, const BITS: usize>(r: &mut Registers, i: &Inst, mask: u32) {
    let source = r.r64[usize::from(i.s[0])];
    scatter::<N, BITS>(r, i, mask, &source);
}

/// The lowest bits to the first destination, and so on.
#[inline(always)]
fn scatter<const N: usize, const BITS: usize>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
    source: &[u64; LANES],
) {
    for part in 0..N {
        let row: &mut Row32 = &mut r.r32[usize::from(i.d[part])];
        for lane in 0..LANES {
            let x = (source[lane] >> (part * BITS) & ((1 << BITS) - 1)) as u32;
            row[lane] = if mask >> lane & 1 != 0 { x } else { row[lane] };
        }
    }
}

/// Decodes `mov`: a register, an immediate, a special register or an address into a register; or
/// a vector into a register and back (PTX ISA, "mov"). The elements of a vector are as wide as
/// the register divided by their number, wherever they lie.
pub fn decode_mov(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let [to, from] = i.operands.as_slice() else {
        return Err(format!("{} takes two operands", i.opcode));
    };
    let ty = i.opcode.strip_prefix("mov.").unwrap_or_default();
    let (alu, wide): (Alu, bool) = match (to, from) {
        (Operand::Vector(_), Operand::Vector(_)) => {
            return Err(format!("{} of a vector to a vector", i.opcode));
        }
        (_, Operand::Vector(parts)) => (pack_function(ty, parts.len())?, ty == "b64"),
        (Operand::Vector(parts), _) => (unpack_function(ty, parts.len())?, ty == "b64"),
        _ => return decode_scalar(d, ty, to, from),
    };
    let mut inst = Inst::new(Exec::Alu(alu), Class::Move);
    if let Operand::Vector(parts) = to {
        inst.s[0] = if wide { d.source64(from)? } else { d.source32(from)? };
        for (slot, part) in inst.d.iter_mut().zip(parts) {
            *slot = d.dest32(part)?;
        }
    } else if let Operand::Vector(parts) = from {
        for (slot, part) in inst.s.iter_mut().zip(parts) {
            *slot = d.source32(part)?;
        }
        inst.d[0] = if wide { d.dest64(to)? } else { d.dest32(to)? };
    }
    Ok(inst)
}

/// A `mov` without vectors.
fn decode_scalar(d: &mut Decoder, ty: &str, to: &Operand, from: &Operand) -> Result<Inst, Problem> {
    let (alu, s, to): (Alu, u16, u16) = match ty {
        "b16" | "u16" | "s16" | "f16" | "bf16" => (mov16, d.source16(from)?, d.dest32(to)?),
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => {
            (mov32, d.source32(from)?, d.dest32(to)?)
        }
        "b64" | "u64" | "s64" | "f64" => (mov64, d.source64(from)?, d.dest64(to)?),
        "pred" => (mov_predicate, d.source_predicate(from)?, d.dest_predicate(to)?),
        _ => return Err(format!("mov.{ty} is not supported")),
    };
    let mut inst = Inst::new(Exec::Alu(alu), Class::Move);
    inst.s[0] = s;
    inst.d[0] = to;
    Ok(inst)
}

/// The function that puts `parts` registers into one of type `ty`.
pub fn pack_function(ty: &str, parts: usize) -> Result<Alu, Problem> {
    Ok(match (ty, parts) {
        ("b16", 2) => pack32::<2, 8>,
        ("b32", 2) => pack32::<2, 16>,
        ("b32", 4) => pack32::<4, 8>,
        ("b64", 2) => pack64::<2, 32>,
        ("b64", 4) => pack64::<4, 16>,
        _ => return Err(format!("mov.{ty} of a vector of {parts} is not supported")),
    })
}

/// The function that takes a register of type `ty` apart.
pub fn unpack_function(ty: &str, parts: usize) -> Result<Alu, Problem> {
    Ok(match (ty, parts) {
        ("b16", 2) => unpack32::<2, 8>,
        ("b32", 2) => unpack32::<2, 16>,
        ("b32", 4) => unpack32::<4, 8>,
        ("b64", 2) => unpack64::<2, 32>,
        ("b64", 4) => unpack64::<4, 16>,
        _ => return Err(format!("mov.{ty} to a vector of {parts} is not supported")),
    })
}

/// Selections and addresses.
pub const ROWS: &[&[TableRow]] = &[SELECTIONS];
