//! f16, bf16 and pairs of them (PTX ISA, "Half Precision Floating Point Instructions").
//!
//! The operands are widened, which is exact, and a result is rounded to the format once more. That
//! this is as good as rounding once has reasons that differ:
//!
//! - Sums, differences and bf16 products in f32: a number of 24 bits has more than twice those of
//!   either format and two more, which makes the first rounding innocuous (S. A. Figueroa, "When is
//!   double rounding innocuous?", 1995). He leaves out subnormal results. A sum among those is
//!   exact. So is a product of bf16 from half of the least number up, since it has 16 bits of
//!   which the lowest counts 2^-149 or more; one below that becomes a zero either way.
//! - Products of f16 are exact in f32.
//! - Of a fused operation the product is exact, in f32 for f16 and in binary64 for bf16, and the
//!   sum is rounded to odd.
//!
//! NaN results are 0x7fff. `.ftz` exists for f16, and for `ex2` of bf16.

use super::exact::{odd_sum, odd_sum32};
use super::float32;
use super::formats::{BF16, F16, Format, Rounding};
use super::formats::{bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use super::rows::{halves, row};
use crate::isa::TableRow;

/// The NaN of both formats.
const NAN: u16 = 0x7fff;
const SIGN: u16 = 0x8000;

/// Which format: 0 for f16, 1 for bf16.
const fn format(kind: u8) -> Format {
    if kind == 0 { F16 } else { BF16 }
}

#[inline(always)]
fn flush<const K: u8, const FTZ: bool>(x: u16) -> u16 {
    let subnormal = u64::from(x & !SIGN) < 1 << format(K).fraction;
    if FTZ && subnormal { x & SIGN } else { x }
}

/// An operand in f32.
#[inline(always)]
fn wide<const K: u8, const FTZ: bool>(x: u16) -> f32 {
    let x = flush::<K, FTZ>(x);
    if K == 0 { f16_to_f32(x) } else { bf16_to_f32(x) }
}

#[inline(always)]
fn is_nan<const K: u8>(x: u16) -> bool {
    u64::from(x & !SIGN) > format(K).infinity()
}

/// A result: rounded, then `.ftz`, `.sat` and `.relu`.
#[inline(always)]
fn finish<const K: u8, const FTZ: bool, const SAT: bool, const RELU: bool>(x: f32) -> u16 {
    let nearest = Rounding::NearestEven;
    let rounded = if K == 0 { f32_to_f16(x, nearest) } else { f32_to_bf16(x, nearest) };
    let bits = flush::<K, FTZ>(rounded);
    let one = ((format(K).bias() as u64) << format(K).fraction) as u16;
    let cut = if (SAT || RELU) && bits & SIGN != 0 { 0 } else { bits };
    let number = if SAT { cut.min(one) } else { cut };
    let nan = if SAT { 0 } else { NAN };
    if is_nan::<K>(bits) { nan } else { number }
}

#[inline(always)]
fn add<const K: u8, const FTZ: bool, const SAT: bool>(a: u16, b: u16) -> u16 {
    finish::<K, FTZ, SAT, false>(wide::<K, FTZ>(a) + wide::<K, FTZ>(b))
}

#[inline(always)]
fn sub<const K: u8, const FTZ: bool, const SAT: bool>(a: u16, b: u16) -> u16 {
    finish::<K, FTZ, SAT, false>(wide::<K, FTZ>(a) - wide::<K, FTZ>(b))
}

#[inline(always)]
fn mul<const K: u8, const FTZ: bool, const SAT: bool>(a: u16, b: u16) -> u16 {
    finish::<K, FTZ, SAT, false>(wide::<K, FTZ>(a) * wide::<K, FTZ>(b))
}

#[inline(always)]
fn fma<const K: u8, const FTZ: bool, const SAT: bool, const RELU: bool>(
    a: u16,
    b: u16,
    c: u16,
) -> u16 {
    let (a, b, c) = (wide::<K, FTZ>(a), wide::<K, FTZ>(b), wide::<K, FTZ>(c));
    finish::<K, FTZ, SAT, RELU>(if K == 0 {
        odd_sum32(a * b, c)
    } else {
        to_bf16_precision(odd_sum(f64::from(a) * f64::from(b), f64::from(c)))
    })
}

/// Rounds to the nearest number of bf16, or one beyond its range. Added to a power of two whose
/// last bit counts as much as the result's, a number is rounded as needed.
#[inline(always)]
fn to_bf16_precision(x: f64) -> f32 {
    let power = |n: i32| f64::from_bits(((1023 + n) as u64) << 52);
    let leading = f64::from_bits(x.to_bits() & (0x7ff << 52));
    // Not below the least normal number, and not infinite, which would make a NaN of an infinity.
    let leading = if leading > power(-126) { leading } else { power(-126) };
    let leading = if leading < power(300) { leading } else { power(300) };
    let rounder = leading * (1.5 * power(52 - BF16.fraction as i32));
    let size = (x.abs() + rounder) - rounder;
    size.copysign(x) as f32
}

/// `min` and `max`, as [`float32`] has them.
#[inline(always)]
fn extremum<
    const K: u8,
    const MAX: bool,
    const FTZ: bool,
    const NAN_WINS: bool,
    const XOR: bool,
>(
    a: u16,
    b: u16,
) -> u16 {
    let (a, b) = (flush::<K, FTZ>(a), flush::<K, FTZ>(b));
    let sign = (a ^ b) & SIGN;
    let (a, b) = if XOR { (a & !SIGN, b & !SIGN) } else { (a, b) };
    let (a_nan, b_nan) = (is_nan::<K>(a), is_nan::<K>(b));
    // Sign and magnitude to an order of whole numbers.
    let order = |x: u16| (if x & SIGN != 0 { x ^ !SIGN } else { x }) as i16;
    let first = if MAX { order(a) >= order(b) } else { order(a) <= order(b) };
    let result = if b_nan | (first & !a_nan) { a } else { b };
    let signed = if XOR { result | sign } else { result };
    let nan = (a_nan & b_nan) | (NAN_WINS & (a_nan | b_nan));
    if nan { NAN } else { signed }
}

/// 2^x, by way of f32, whose 24 bits are more than the format's error allows.
#[inline(always)]
fn ex2<const K: u8, const FTZ: bool>(x: u16) -> u16 {
    finish::<K, FTZ, false, false>(float32::exp2(wide::<K, FTZ>(x)))
}

#[inline(always)]
fn tanh<const K: u8>(x: u16) -> u16 {
    finish::<K, false, false, false>(float32::tanh(wide::<K, false>(x)))
}

/// One operation of two operands, on one and on two halves.
macro_rules! two {
    ($opcode:expr, $type:literal, $f:expr) => {
        [
            row!(concat!($opcode, $type), "h=hh", Half, wide |a: u16, b: u16| $f(a, b)),
            row!(concat!($opcode, $type, "x2"), "r=rr", Half, wide |a: u32, b: u32| {
                let low = $f(a as u16, b as u16);
                let high = $f((a >> 16) as u16, (b >> 16) as u16);
                u32::from(low) | u32::from(high) << 16
            }),
        ]
    };
}

/// One operation of three operands, on one and on two halves.
macro_rules! three {
    ($opcode:expr, $type:literal, $f:expr) => {
        [
            row!(concat!($opcode, $type), "h=hhh", Half, wide |a: u16, b: u16, c: u16| {
                $f(a, b, c)
            }),
            row!(concat!($opcode, $type, "x2"), "r=rrr", Half, wide |a: u32, b: u32, c: u32| {
                let low = $f(a as u16, b as u16, c as u16);
                let high = $f((a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16);
                u32::from(low) | u32::from(high) << 16
            }),
        ]
    };
}

/// One operation of one operand, on one and on two halves.
macro_rules! one {
    ($opcode:expr, $type:literal, $class:ident, $f:expr) => {
        [
            row!(concat!($opcode, $type), "h=h", $class, wide |a: u16| $f(a)),
            row!(concat!($opcode, $type, "x2"), "r=r", $class, wide |a: u32| {
                halves([a], |[a]| $f(a))
            }),
        ]
    };
}

/// f16 and f16x2: sums and products.
const F16_ARITHMETIC: &[TableRow] = [
    two!("add{.rn}", ".f16", add::<0, false, false>),
    two!("add{.rn}.ftz", ".f16", add::<0, true, false>),
    two!("add{.rn}.sat", ".f16", add::<0, false, true>),
    two!("add{.rn}.ftz.sat", ".f16", add::<0, true, true>),
    two!("sub{.rn}", ".f16", sub::<0, false, false>),
    two!("sub{.rn}.ftz", ".f16", sub::<0, true, false>),
    two!("sub{.rn}.sat", ".f16", sub::<0, false, true>),
    two!("sub{.rn}.ftz.sat", ".f16", sub::<0, true, true>),
    two!("mul{.rn}", ".f16", mul::<0, false, false>),
    two!("mul{.rn}.ftz", ".f16", mul::<0, true, false>),
    two!("mul{.rn}.sat", ".f16", mul::<0, false, true>),
    two!("mul{.rn}.ftz.sat", ".f16", mul::<0, true, true>),
    three!("fma.rn", ".f16", fma::<0, false, false, false>),
    three!("fma.rn.ftz", ".f16", fma::<0, true, false, false>),
    three!("fma.rn.sat", ".f16", fma::<0, false, true, false>),
    three!("fma.rn.ftz.sat", ".f16", fma::<0, true, true, false>),
    three!("fma.rn.relu", ".f16", fma::<0, false, false, true>),
    three!("fma.rn.ftz.relu", ".f16", fma::<0, true, false, true>),
]
.as_flattened();

/// bf16 and bf16x2: sums and products.
const BF16_ARITHMETIC: &[TableRow] = [
    two!("add{.rn}", ".bf16", add::<1, false, false>),
    two!("sub{.rn}", ".bf16", sub::<1, false, false>),
    two!("mul{.rn}", ".bf16", mul::<1, false, false>),
    three!("fma.rn", ".bf16", fma::<1, false, false, false>),
    three!("fma.rn.relu", ".bf16", fma::<1, false, false, true>),
]
.as_flattened();

/// Extrema of one format.
macro_rules! extrema {
    ($opcode:literal, $max:literal, $ftz:literal, $is_ftz:literal, $type:literal,
     $kind:literal) => {
        [
            two!(concat!($opcode, $ftz), $type, extremum::<$kind, $max, $is_ftz, false, false>),
            two!(
                concat!($opcode, $ftz, ".NaN"),
                $type,
                extremum::<$kind, $max, $is_ftz, true, false>
            ),
            two!(
                concat!($opcode, $ftz, ".xorsign.abs"),
                $type,
                extremum::<$kind, $max, $is_ftz, false, true>
            ),
            two!(
                concat!($opcode, $ftz, ".NaN.xorsign.abs"),
                $type,
                extremum::<$kind, $max, $is_ftz, true, true>
            ),
        ]
        .as_flattened()
    };
}

/// min
const F16_MIN: &[TableRow] = extrema!("min", false, "", false, ".f16", 0);
/// min with `.ftz`
const F16_MIN_FTZ: &[TableRow] = extrema!("min", false, ".ftz", true, ".f16", 0);
/// max
const F16_MAX: &[TableRow] = extrema!("max", true, "", false, ".f16", 0);
/// max with `.ftz`
const F16_MAX_FTZ: &[TableRow] = extrema!("max", true, ".ftz", true, ".f16", 0);
/// min
const BF16_MIN: &[TableRow] = extrema!("min", false, "", false, ".bf16", 1);
/// max
const BF16_MAX: &[TableRow] = extrema!("max", true, "", false, ".bf16", 1);

/// Signs, which are all that is touched, and approximations.
const UNARY: &[TableRow] = [
    one!("abs", ".f16", Half, |a: u16| a & !SIGN),
    one!("abs.ftz", ".f16", Half, |a: u16| flush::<0, true>(a) & !SIGN),
    one!("abs", ".bf16", Half, |a: u16| a & !SIGN),
    one!("neg", ".f16", Half, |a: u16| a ^ SIGN),
    one!("neg.ftz", ".f16", Half, |a: u16| flush::<0, true>(a) ^ SIGN),
    one!("neg", ".bf16", Half, |a: u16| a ^ SIGN),
    one!("ex2.approx", ".f16", Special, ex2::<0, false>),
    one!("ex2.approx.ftz", ".bf16", Special, ex2::<1, true>),
    one!("tanh.approx", ".f16", Special, tanh::<0>),
    one!("tanh.approx", ".bf16", Special, tanh::<1>),
]
.as_flattened();

/// All of f16 and bf16.
pub const ROWS: &[&[TableRow]] = &[
    F16_ARITHMETIC,
    BF16_ARITHMETIC,
    F16_MIN,
    F16_MIN_FTZ,
    F16_MAX,
    F16_MAX_FTZ,
    BF16_MIN,
    BF16_MAX,
    UNARY,
];
