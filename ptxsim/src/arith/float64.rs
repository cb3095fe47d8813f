//! f64 arithmetic (PTX ISA, "Floating Point Instructions"). As in [`super::float32`], without
//! `.ftz` and `.sat`. NaN results are 0xfff8000000000000.

use super::exact::{self, Operation};
use super::formats::F64;
use super::rows::{row, ternary};
use super::simd;
use crate::isa::{Inst, Registers, TableRow};

/// A result: the one NaN for any other. By the bits, as in [`super::float32`].
#[inline(always)]
fn finish(x: f64) -> f64 {
    let nan = x.to_bits() & (u64::MAX >> 1) > F64.infinity();
    if nan { f64::from_bits(F64.nan()) } else { x }
}

/// An operation in one of the roundings that the host does not have.
fn directed<const R: u8>(operation: Operation, x: [f64; 3]) -> f64 {
    f64::from_bits(exact::apply(operation, F64, x.map(f64::to_bits), exact::rounding(R)))
}

macro_rules! two_operands {
    ($name:ident, $operation:ident, $nearest:expr) => {
        fn $name<const R: u8>(r: &mut Registers, i: &Inst, mask: u32) {
            super::rows::binary(r, i, mask, |a: f64, b: f64| {
                finish(if R == 0 {
                    $nearest(a, b)
                } else {
                    directed::<R>(Operation::$operation, [a, b, 0.0])
                })
            });
        }
    };
}

macro_rules! one_operand {
    ($name:ident, $operation:ident, $nearest:expr) => {
        fn $name<const R: u8>(r: &mut Registers, i: &Inst, mask: u32) {
            super::rows::unary(r, i, mask, |a: f64| {
                finish(if R == 0 {
                    $nearest(a)
                } else {
                    directed::<R>(Operation::$operation, [a, 0.0, 0.0])
                })
            });
        }
    };
}

two_operands!(add, Add, |a, b| a + b);
two_operands!(sub, Sub, |a, b| a - b);
two_operands!(mul, Mul, |a, b| a * b);
two_operands!(div, Div, |a, b| a / b);
one_operand!(rcp, Rcp, |a| 1.0 / a);
one_operand!(sqrt, Sqrt, f64::sqrt);

fn fma<const R: u8>(r: &mut Registers, i: &Inst, mask: u32) {
    if R == 0 {
        let nearest = |a: f64, b: f64, c: f64| finish(a.mul_add(b, c));
        let row = |r: &mut Registers, i: &Inst, mask| ternary(r, i, mask, nearest);
        return simd::rows(r, i, mask, row, row);
    }
    ternary(r, i, mask, |a: f64, b: f64, c: f64| finish(directed::<R>(Operation::Fma, [a, b, c])));
}

macro_rules! roundings {
    ($opcode:literal, $rn:literal, $operands:literal, $class:ident, $f:ident) => {
        &[
            row!(concat!($opcode, $rn, ".f64"), $operands, $class, function $f::<0>),
            row!(concat!($opcode, ".rz.f64"), $operands, $class, function $f::<1>),
            row!(concat!($opcode, ".rm.f64"), $operands, $class, function $f::<2>),
            row!(concat!($opcode, ".rp.f64"), $operands, $class, function $f::<3>),
        ]
    };
}

/// add
const ADD: &[TableRow] = roundings!("add", "{.rn}", "l=ll", Float, add);
/// sub
const SUB: &[TableRow] = roundings!("sub", "{.rn}", "l=ll", Float, sub);
/// mul
const MUL: &[TableRow] = roundings!("mul", "{.rn}", "l=ll", Float, mul);
/// fma
const FMA: &[TableRow] = roundings!("fma", ".rn", "l=lll", Float, fma);
/// mad, which is fma
const MAD: &[TableRow] = roundings!("mad", ".rn", "l=lll", Float, fma);
/// div
const DIV: &[TableRow] = roundings!("div", ".rn", "l=ll", Special, div);
/// rcp
const RCP: &[TableRow] = roundings!("rcp", ".rn", "l=l", Special, rcp);
/// sqrt
const SQRT: &[TableRow] = roundings!("sqrt", ".rn", "l=l", Special, sqrt);

/// A subnormal becomes a zero.
#[inline(always)]
fn flush(x: f64) -> f64 {
    if x.is_subnormal() { 0f64.copysign(x) } else { x }
}

/// The hardware looks at an operand's upper word and gives no more than one.
#[inline(always)]
fn upper(x: f64) -> f64 {
    if x.is_nan() { x } else { f64::from_bits(x.to_bits() & 0xffff_ffff_0000_0000) }
}

/// As for f32: a NaN gives way to a number, and -0 is less than +0.
#[inline(always)]
fn extremum<const MAX: bool>(a: f64, b: f64) -> f64 {
    let (p, q) = if MAX { (a, b) } else { (b, a) };
    let first = p > q || (p == q && (p.to_bits() as i64) > (q.to_bits() as i64));
    let number = if first { a } else { b };
    let any = if a.is_nan() { b } else { number };
    finish(if b.is_nan() { a } else { any })
}

/// The rest.
const OTHERS: &[TableRow] = &[
    row!("rcp.approx.ftz.f64", "l=l", Special, |a: f64| {
        finish(upper(flush(1.0 / upper(flush(a)))))
    }),
    row!("rsqrt.approx.f64", "l=l", Special, |a: f64| finish(1.0 / a.sqrt())),
    row!("rsqrt.approx.ftz.f64", "l=l", Special, |a: f64| {
        finish(upper(1.0 / upper(flush(a)).sqrt()))
    }),
    row!("min.f64", "l=ll", Float, |a: f64, b: f64| extremum::<false>(a, b)),
    row!("max.f64", "l=ll", Float, |a: f64, b: f64| extremum::<true>(a, b)),
    row!("abs.f64", "l=l", Float, |a: u64| a & (u64::MAX >> 1)),
    row!("neg.f64", "l=l", Float, |a: u64| a ^ (1 << 63)),
    row!("copysign.f64", "l=ll", Float, |a: u64, b: u64| {
        (a & (1 << 63)) | (b & (u64::MAX >> 1))
    }),
    row!("testp.finite.f64", "p=l", Compare, |a: f64| a.is_finite()),
    row!("testp.infinite.f64", "p=l", Compare, |a: f64| a.is_infinite()),
    row!("testp.number.f64", "p=l", Compare, |a: f64| !a.is_nan()),
    row!("testp.notanumber.f64", "p=l", Compare, |a: f64| a.is_nan()),
    row!("testp.normal.f64", "p=l", Compare, |a: f64| a.is_normal() || a == 0.0),
    row!("testp.subnormal.f64", "p=l", Compare, |a: f64| a.is_subnormal()),
];

/// All of f64.
pub const ROWS: &[&[TableRow]] = &[ADD, SUB, MUL, FMA, MAD, DIV, RCP, SQRT, OTHERS];
