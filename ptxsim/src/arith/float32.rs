//! f32 arithmetic (PTX ISA, "Floating Point Instructions").
//!
//! To nearest, the host's own operations are exactly rounded; the other roundings go by [`exact`].
//! `.ftz` makes zeros of subnormal operands and results and keeps their sign; a result is
//! subnormal or not after it is rounded. NaN results are 0x7fffffff, as the hardware gives them.
//! The approximations are computed far more exactly than PTX asks for, and so differ from the
//! hardware's by as much as PTX allows those.

use super::exact::{self, Operation};
use super::formats::F32;
use super::rows::{binary, row, ternary, unary};
use super::simd;
use crate::isa::{Inst, Registers, TableRow};

/// The NaN that arithmetic gives.
const NAN: f32 = f32::from_bits(0x7fff_ffff);

/// An operand: a subnormal becomes a zero if `FTZ`.
#[inline(always)]
pub fn flush<const FTZ: bool>(x: f32) -> f32 {
    let subnormal = x.abs() < f32::MIN_POSITIVE;
    if FTZ && subnormal { f32::from_bits(x.to_bits() & 0x8000_0000) } else { x }
}

/// `.sat`: into 0 to 1, and NaN to +0.
#[inline(always)]
pub fn saturate(x: f32) -> f32 {
    let positive = if x > 0.0 { x } else { 0.0 };
    if positive < 1.0 { positive } else { 1.0 }
}

/// A result.
#[inline(always)]
fn finish<const FTZ: bool, const SAT: bool>(x: f32) -> f32 {
    let x = flush::<FTZ>(x);
    if SAT { saturate(x) } else { canonical(x) }
}

/// The one NaN for any other. By the bits: a comparison of floats would let the compiler assume
/// that one NaN is as good as another.
#[inline(always)]
fn canonical(x: f32) -> f32 {
    if x.to_bits() & 0x7fff_ffff > 0x7f80_0000 { NAN } else { x }
}

/// An operation in one of the roundings that the host does not have.
fn directed<const R: u8>(operation: Operation, x: [f32; 3]) -> f32 {
    let bits = x.map(|x| u64::from(x.to_bits()));
    f32::from_bits(exact::apply(operation, F32, bits, exact::rounding(R)) as u32)
}

macro_rules! two_operands {
    ($name:ident, $operation:ident, $nearest:expr) => {
        fn $name<const R: u8, const FTZ: bool, const SAT: bool>(
            r: &mut Registers,
            i: &Inst,
            mask: u32,
        ) {
            let nearest =
                |a: f32, b: f32| finish::<FTZ, SAT>($nearest(flush::<FTZ>(a), flush::<FTZ>(b)));
            if R == 0 {
                let row = |r: &mut Registers, i: &Inst, mask| binary(r, i, mask, nearest);
                return simd::rows(r, i, mask, row, row);
            }
            binary(r, i, mask, |a: f32, b: f32| {
                let operands = [flush::<FTZ>(a), flush::<FTZ>(b), 0.0];
                finish::<FTZ, SAT>(directed::<R>(Operation::$operation, operands))
            });
        }
    };
}

macro_rules! one_operand {
    ($name:ident, $operation:ident, $nearest:expr) => {
        fn $name<const R: u8, const FTZ: bool, const SAT: bool>(
            r: &mut Registers,
            i: &Inst,
            mask: u32,
        ) {
            let nearest = |a: f32| finish::<FTZ, SAT>($nearest(flush::<FTZ>(a)));
            if R == 0 {
                let row = |r: &mut Registers, i: &Inst, mask| unary(r, i, mask, nearest);
                return simd::rows(r, i, mask, row, row);
            }
            unary(r, i, mask, |a: f32| {
                let operands = [flush::<FTZ>(a), 0.0, 0.0];
                finish::<FTZ, SAT>(directed::<R>(Operation::$operation, operands))
            });
        }
    };
}

two_operands!(add, Add, |a, b| a + b);
two_operands!(sub, Sub, |a, b| a - b);
two_operands!(mul, Mul, |a, b| a * b);
two_operands!(div, Div, |a, b| a / b);
one_operand!(rcp, Rcp, |a| 1.0 / a);
one_operand!(sqrt, Sqrt, f32::sqrt);

/// To nearest this is one instruction where FMA is, and elsewhere a call of a library function,
/// exactly rounded too.
fn fma<const R: u8, const FTZ: bool, const SAT: bool>(r: &mut Registers, i: &Inst, mask: u32) {
    let nearest = |a: f32, b: f32, c: f32| {
        finish::<FTZ, SAT>(flush::<FTZ>(a).mul_add(flush::<FTZ>(b), flush::<FTZ>(c)))
    };
    if R == 0 {
        let row = |r: &mut Registers, i: &Inst, mask| ternary(r, i, mask, nearest);
        return simd::rows(r, i, mask, row, row);
    }
    ternary(r, i, mask, |a: f32, b: f32, c: f32| {
        let operands = [flush::<FTZ>(a), flush::<FTZ>(b), flush::<FTZ>(c)];
        finish::<FTZ, SAT>(directed::<R>(Operation::Fma, operands))
    });
}

/// All roundings with `.ftz` and `.sat` or without. `$rn` is how the first is written: `{.rn}` if
/// it may be left out.
macro_rules! arithmetic {
    ($opcode:literal, $rn:literal, $operands:literal, $f:ident) => {
        &[
            row!(concat!($opcode, $rn, ".f32"), $operands, Float, function $f::<0, false, false>),
            row!(concat!($opcode, ".rz.f32"), $operands, Float, function $f::<1, false, false>),
            row!(concat!($opcode, ".rm.f32"), $operands, Float, function $f::<2, false, false>),
            row!(concat!($opcode, ".rp.f32"), $operands, Float, function $f::<3, false, false>),
            row!(concat!($opcode, $rn, ".ftz.f32"), $operands, Float,
                function $f::<0, true, false>),
            row!(concat!($opcode, ".rz.ftz.f32"), $operands, Float, function $f::<1, true, false>),
            row!(concat!($opcode, ".rm.ftz.f32"), $operands, Float, function $f::<2, true, false>),
            row!(concat!($opcode, ".rp.ftz.f32"), $operands, Float, function $f::<3, true, false>),
            row!(concat!($opcode, $rn, ".sat.f32"), $operands, Float,
                function $f::<0, false, true>),
            row!(concat!($opcode, ".rz.sat.f32"), $operands, Float, function $f::<1, false, true>),
            row!(concat!($opcode, ".rm.sat.f32"), $operands, Float, function $f::<2, false, true>),
            row!(concat!($opcode, ".rp.sat.f32"), $operands, Float, function $f::<3, false, true>),
            row!(concat!($opcode, $rn, ".ftz.sat.f32"), $operands, Float,
                function $f::<0, true, true>),
            row!(concat!($opcode, ".rz.ftz.sat.f32"), $operands, Float,
                function $f::<1, true, true>),
            row!(concat!($opcode, ".rm.ftz.sat.f32"), $operands, Float,
                function $f::<2, true, true>),
            row!(concat!($opcode, ".rp.ftz.sat.f32"), $operands, Float,
                function $f::<3, true, true>),
        ]
    };
}

/// add
const ADD: &[TableRow] = arithmetic!("add", "{.rn}", "r=rr", add);
/// sub
const SUB: &[TableRow] = arithmetic!("sub", "{.rn}", "r=rr", sub);
/// mul
const MUL: &[TableRow] = arithmetic!("mul", "{.rn}", "r=rr", mul);
/// fma
const FMA: &[TableRow] = arithmetic!("fma", ".rn", "r=rrr", fma);
/// mad, which is fma on everything since sm_20
const MAD: &[TableRow] = arithmetic!("mad", ".rn", "r=rrr", fma);

/// All roundings, with `.ftz` or without.
macro_rules! special {
    ($opcode:literal, $operands:literal, $f:ident) => {
        &[
            row!(concat!($opcode, ".rn.f32"), $operands, Special, function $f::<0, false, false>),
            row!(concat!($opcode, ".rz.f32"), $operands, Special, function $f::<1, false, false>),
            row!(concat!($opcode, ".rm.f32"), $operands, Special, function $f::<2, false, false>),
            row!(concat!($opcode, ".rp.f32"), $operands, Special, function $f::<3, false, false>),
            row!(concat!($opcode, ".rn.ftz.f32"), $operands, Special,
                function $f::<0, true, false>),
            row!(concat!($opcode, ".rz.ftz.f32"), $operands, Special,
                function $f::<1, true, false>),
            row!(concat!($opcode, ".rm.ftz.f32"), $operands, Special,
                function $f::<2, true, false>),
            row!(concat!($opcode, ".rp.ftz.f32"), $operands, Special,
                function $f::<3, true, false>),
        ]
    };
}

/// div
const DIV: &[TableRow] = special!("div", "r=rr", div);
/// rcp
const RCP: &[TableRow] = special!("rcp", "r=r", rcp);
/// sqrt
const SQRT: &[TableRow] = special!("sqrt", "r=r", sqrt);

/// An approximation of one operand, by the function that gives it.
#[inline(always)]
fn approximate<const FTZ: bool>(a: f32, f: impl Fn(f32) -> f32) -> f32 {
    finish::<FTZ, false>(f(flush::<FTZ>(a)))
}

/// `div.approx`: a divisor above 2^126 has a reciprocal that the hardware takes for zero.
#[inline(always)]
fn div_approx<const FTZ: bool>(a: f32, b: f32) -> f32 {
    let (a, b) = (flush::<FTZ>(a), flush::<FTZ>(b));
    let huge = b.abs() > f32::from_bits((127 + 126) << 23) && b.is_finite();
    finish::<FTZ, false>(if huge { a * 0f32.copysign(b) } else { a / b })
}

#[inline(always)]
fn div_full<const FTZ: bool>(a: f32, b: f32) -> f32 {
    finish::<FTZ, false>(flush::<FTZ>(a) / flush::<FTZ>(b))
}

/// 2^x.
#[inline(always)]
pub fn exp2(x: f32) -> f32 {
    wide_exp2(f64::from(x)) as f32
}

/// 2^x, with an error far below f32's: a power of two times a polynomial, in binary64 without a
/// fused operation, so that every machine gives the same bits.
#[inline(always)]
fn wide_exp2(x: f64) -> f64 {
    // Beyond these an f32 is zero or infinite. A NaN stays one, which `clamp` promises.
    let x = x.clamp(-160.0, 130.0);
    // Added to this number, a smaller one is rounded to a whole one in the lowest bits.
    const WHOLE: f64 = (3u64 << 51) as f64;
    let shifted = x + WHOLE;
    let t = (x - (shifted - WHOLE)) * std::f64::consts::LN_2;
    // exp(t) for |t| <= ln(2) / 2, whose tenth term is below 2^-36.
    let p = 1.0 + t * (1.0 / 9.0);
    let p = 1.0 + t * p * (1.0 / 8.0);
    let p = 1.0 + t * p * (1.0 / 7.0);
    let p = 1.0 + t * p * (1.0 / 6.0);
    let p = 1.0 + t * p * (1.0 / 5.0);
    let p = 1.0 + t * p * (1.0 / 4.0);
    let p = 1.0 + t * p * (1.0 / 3.0);
    let p = 1.0 + t * p * (1.0 / 2.0);
    let p = 1.0 + t * p;
    let power = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    // A NaN has no sensible power, and none that is needed.
    p * if x.is_nan() { 1.0 } else { power }
}

#[inline(always)]
fn rsqrt(x: f32) -> f32 {
    (1.0 / f64::from(x).sqrt()) as f32
}

/// The logarithm to base 2, in binary64 as [`exp2`]. For m between the roots of 1/2 and 2, with
/// s = (m - 1) / (m + 1), ln(m) is 2 (s + s^3 / 3 + s^5 / 5 + ...), where s^2 is below 0.03.
#[inline(always)]
fn lg2(x: f32) -> f32 {
    const LEAST: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    const TWO_52: u64 = 0x4330 << 48;
    let bits = f64::from(x).to_bits();
    // How many powers of two x is above the least m, in whole numbers above zero.
    let power = bits.wrapping_sub(LEAST).wrapping_add(1023 << 52) >> 52;
    let m = f64::from_bits(bits.wrapping_sub(power << 52).wrapping_add(1023 << 52));
    let power = f64::from_bits(power | TWO_52) - (f64::from_bits(TWO_52) + 1023.0);
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let p = 1.0 / 13.0 + z * (1.0 / 15.0);
    let p = 1.0 / 11.0 + z * p;
    let p = 1.0 / 9.0 + z * p;
    let p = 1.0 / 7.0 + z * p;
    let p = 1.0 / 5.0 + z * p;
    let p = 1.0 / 3.0 + z * p;
    let p = 1.0 + z * p;
    let number = (power + s * p * (2.0 * std::f64::consts::LOG2_E)) as f32;
    let edge = if x == 0.0 { f32::NEG_INFINITY } else { NAN };
    let finite = if x > 0.0 { number } else { edge };
    if x == f32::INFINITY { x } else { finite }
}

fn sin(x: f32) -> f32 {
    f64::from(x).sin() as f32
}

fn cos(x: f32) -> f32 {
    f64::from(x).cos() as f32
}

/// tanh, as `tanh.approx` computes it.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = f64::from(x).abs();
    let power = wide_exp2(a * (-2.0 * std::f64::consts::LOG2_E));
    let large = (1.0 - power) / (1.0 + power);
    // Where that difference would lose too much, the first terms of the series.
    let z = a * a;
    let small = a * (1.0 - z * (1.0 / 3.0 - z * (2.0 / 15.0)));
    let size = (if a < 1.0 / 64.0 { small } else { large }) as f32;
    f32::from_bits(size.to_bits() | (x.to_bits() & 0x8000_0000))
}

/// Approximations.
const APPROXIMATE: &[TableRow] = &[
    row!("div.approx.f32", "r=rr", Special, wide |a: f32, b: f32| div_approx::<false>(a, b)),
    row!("div.approx.ftz.f32", "r=rr", Special, wide |a: f32, b: f32| div_approx::<true>(a, b)),
    row!("div.full.f32", "r=rr", Special, wide |a: f32, b: f32| div_full::<false>(a, b)),
    row!("div.full.ftz.f32", "r=rr", Special, wide |a: f32, b: f32| div_full::<true>(a, b)),
    row!("rcp.approx.f32", "r=r", Special, wide |a: f32| approximate::<false>(a, |a| 1.0 / a)),
    row!("rcp.approx.ftz.f32", "r=r", Special, wide |a: f32| approximate::<true>(a, |a| 1.0 / a)),
    row!("sqrt.approx.f32", "r=r", Special, wide |a: f32| approximate::<false>(a, f32::sqrt)),
    row!("sqrt.approx.ftz.f32", "r=r", Special, wide |a: f32| approximate::<true>(a, f32::sqrt)),
    row!("rsqrt.approx.f32", "r=r", Special, wide |a: f32| approximate::<false>(a, rsqrt)),
    row!("rsqrt.approx.ftz.f32", "r=r", Special, wide |a: f32| approximate::<true>(a, rsqrt)),
    row!("ex2.approx.f32", "r=r", Special, wide |a: f32| approximate::<false>(a, exp2)),
    row!("ex2.approx.ftz.f32", "r=r", Special, wide |a: f32| approximate::<true>(a, exp2)),
    row!("lg2.approx.f32", "r=r", Special, wide |a: f32| approximate::<false>(a, lg2)),
    row!("lg2.approx.ftz.f32", "r=r", Special, wide |a: f32| approximate::<true>(a, lg2)),
    row!("sin.approx.f32", "r=r", Special, |a: f32| approximate::<false>(a, sin)),
    row!("sin.approx.ftz.f32", "r=r", Special, |a: f32| approximate::<true>(a, sin)),
    row!("cos.approx.f32", "r=r", Special, |a: f32| approximate::<false>(a, cos)),
    row!("cos.approx.ftz.f32", "r=r", Special, |a: f32| approximate::<true>(a, cos)),
    row!("tanh.approx.f32", "r=r", Special, wide |a: f32| approximate::<false>(a, tanh)),
];

/// `min` and `max`: a NaN gives way to a number unless `.NaN` is asked for, and -0 is less than
/// +0. `.xorsign.abs` compares magnitudes and gives the result the product's sign.
#[inline(always)]
fn extremum<const MAX: bool, const FTZ: bool, const NAN_WINS: bool, const XOR: bool>(
    a: f32,
    b: f32,
) -> f32 {
    let (a, b) = (flush::<FTZ>(a), flush::<FTZ>(b));
    let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
    let (a, b) = if XOR { (a.abs(), b.abs()) } else { (a, b) };
    let (p, q) = if MAX { (a, b) } else { (b, a) };
    // Whether a is the result, where both are numbers.
    let first = p > q || (p == q && (p.to_bits() as i32) > (q.to_bits() as i32));
    let number = if first { a } else { b };
    let any = if a.is_nan() { b } else { number };
    let result = if b.is_nan() { a } else { any };
    let signed = if XOR { f32::from_bits(result.to_bits() | sign) } else { result };
    if NAN_WINS && (a.is_nan() || b.is_nan()) { NAN } else { canonical(signed) }
}

macro_rules! extrema {
    ($opcode:literal, $max:literal) => {
        &[
            row!(concat!($opcode, ".f32"), "r=rr", Float, wide |a: f32, b: f32| {
                extremum::<$max, false, false, false>(a, b)
            }),
            row!(concat!($opcode, ".NaN.f32"), "r=rr", Float, wide |a: f32, b: f32| {
                extremum::<$max, false, true, false>(a, b)
            }),
            row!(concat!($opcode, ".xorsign.abs.f32"), "r=rr", Float, wide |a: f32, b: f32| {
                extremum::<$max, false, false, true>(a, b)
            }),
            row!(concat!($opcode, ".NaN.xorsign.abs.f32"), "r=rr", Float, wide |a: f32, b: f32| {
                extremum::<$max, false, true, true>(a, b)
            }),
            row!(concat!($opcode, ".ftz.f32"), "r=rr", Float, wide |a: f32, b: f32| {
                extremum::<$max, true, false, false>(a, b)
            }),
            row!(concat!($opcode, ".ftz.NaN.f32"), "r=rr", Float, wide |a: f32, b: f32| {
                extremum::<$max, true, true, false>(a, b)
            }),
            row!(concat!($opcode, ".ftz.xorsign.abs.f32"), "r=rr", Float, wide |a: f32, b: f32| {
                extremum::<$max, true, false, true>(a, b)
            }),
            row!(
                concat!($opcode, ".ftz.NaN.xorsign.abs.f32"),
                "r=rr",
                Float,
                wide |a: f32, b: f32| extremum::<$max, true, true, true>(a, b)
            ),
        ]
    };
}

/// min
const MIN: &[TableRow] = extrema!("min", false);
/// max
const MAX: &[TableRow] = extrema!("max", true);

/// Signs and tests. `abs` and `neg` touch nothing but the sign, of a NaN too.
const SIGNS: &[TableRow] = &[
    row!("abs.f32", "r=r", Float, |a: u32| a & 0x7fff_ffff),
    row!("abs.ftz.f32", "r=r", Float, |a: f32| flush::<true>(a).abs()),
    row!("neg.f32", "r=r", Float, |a: u32| a ^ 0x8000_0000),
    row!("neg.ftz.f32", "r=r", Float, |a: f32| -flush::<true>(a)),
    row!("copysign.f32", "r=rr", Float, |a: u32, b: u32| { (a & 0x8000_0000) | (b & 0x7fff_ffff) }),
    row!("testp.finite.f32", "p=r", Compare, |a: f32| a.is_finite()),
    row!("testp.infinite.f32", "p=r", Compare, |a: f32| a.is_infinite()),
    row!("testp.number.f32", "p=r", Compare, |a: f32| !a.is_nan()),
    row!("testp.notanumber.f32", "p=r", Compare, |a: f32| a.is_nan()),
    // "As a special case, positive and negative zero are considered normal numbers."
    row!("testp.normal.f32", "p=r", Compare, |a: f32| a.is_normal() || a == 0.0),
    row!("testp.subnormal.f32", "p=r", Compare, |a: f32| a.is_subnormal()),
];

/// All of f32.
pub const ROWS: &[&[TableRow]] =
    &[ADD, SUB, MUL, FMA, MAD, DIV, RCP, SQRT, APPROXIMATE, MIN, MAX, SIGNS];
