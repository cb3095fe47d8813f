//! f16, bf16 and pairs of them (PTX ISA, "Half Precision Floating Point Instructions").
//!
//! Every operation is computed in binary64, rounded to odd where it is not exact there, and then
//! rounded once to the format. NaN results are 0x7fff. `.ftz` exists for f16, and for `ex2` of
//! bf16.

use super::exact::{narrow, odd_sum};
use super::float32;
use super::formats::{BF16, F16, Format, Rounding};
use super::formats::{bf16_to_f32, f16_to_f32};
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

/// An operand in binary64.
#[inline(always)]
fn wide<const K: u8, const FTZ: bool>(x: u16) -> f64 {
    let x = flush::<K, FTZ>(x);
    f64::from(if K == 0 { f16_to_f32(x) } else { bf16_to_f32(x) })
}

#[inline(always)]
fn is_nan<const K: u8>(x: u16) -> bool {
    u64::from(x & !SIGN) > format(K).infinity()
}

/// A result: rounded, then `.ftz`, `.sat` and `.relu`.
#[inline(always)]
fn finish<const K: u8, const FTZ: bool, const SAT: bool, const RELU: bool>(x: f64) -> u16 {
    let bits = flush::<K, FTZ>(narrow(format(K), x, Rounding::NearestEven) as u16);
    let one = ((format(K).bias() as u64) << format(K).fraction) as u16;
    if is_nan::<K>(bits) {
        if SAT { 0 } else { NAN }
    } else if (SAT || RELU) && bits & SIGN != 0 {
        0
    } else if SAT {
        bits.min(one)
    } else {
        bits
    }
}

#[inline(always)]
fn add<const K: u8, const FTZ: bool, const SAT: bool>(a: u16, b: u16) -> u16 {
    let (a, b) = (wide::<K, FTZ>(a), wide::<K, FTZ>(b));
    finish::<K, FTZ, SAT, false>(odd_sum(a, b))
}

#[inline(always)]
fn sub<const K: u8, const FTZ: bool, const SAT: bool>(a: u16, b: u16) -> u16 {
    let (a, b) = (wide::<K, FTZ>(a), wide::<K, FTZ>(b));
    finish::<K, FTZ, SAT, false>(odd_sum(a, -b))
}

/// The product of two 11-bit numbers is exact in binary64.
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
    let product = wide::<K, FTZ>(a) * wide::<K, FTZ>(b);
    finish::<K, FTZ, SAT, RELU>(odd_sum(product, wide::<K, FTZ>(c)))
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
    if (a_nan && b_nan) || (NAN_WINS && (a_nan || b_nan)) {
        return NAN;
    }
    // Sign and magnitude to an order of whole numbers.
    let order = |x: u16| if x & SIGN != 0 { !i32::from(x & !SIGN) } else { i32::from(x) };
    let first = if MAX { order(a) >= order(b) } else { order(a) <= order(b) };
    let result = if b_nan || (first && !a_nan) { a } else { b };
    if XOR { result | sign } else { result }
}

/// 2^x, by way of f32, whose 24 bits are more than the format's error allows.
#[inline(always)]
fn ex2<const K: u8, const FTZ: bool>(x: u16) -> u16 {
    finish::<K, FTZ, false, false>(f64::from(float32::exp2(wide::<K, FTZ>(x) as f32)))
}

#[inline(always)]
fn tanh<const K: u8>(x: u16) -> u16 {
    finish::<K, false, false, false>(f64::from(float32::tanh(wide::<K, false>(x) as f32)))
}

/// One operation of two operands, on one and on two halves.
macro_rules! two {
    ($opcode:expr, $type:literal, $f:expr) => {
        [
            row!(concat!($opcode, $type), "h=hh", Half, |a: u16, b: u16| $f(a, b)),
            row!(concat!($opcode, $type, "x2"), "r=rr", Half, |a: u32, b: u32| {
                halves([a, b], |[a, b]| $f(a, b))
            }),
        ]
    };
}

/// One operation of three operands, on one and on two halves.
macro_rules! three {
    ($opcode:expr, $type:literal, $f:expr) => {
        [
            row!(concat!($opcode, $type), "h=hhh", Half, |a: u16, b: u16, c: u16| $f(a, b, c)),
            row!(concat!($opcode, $type, "x2"), "r=rrr", Half, |a: u32, b: u32, c: u32| {
                halves([a, b, c], |[a, b, c]| $f(a, b, c))
            }),
        ]
    };
}

/// One operation of one operand, on one and on two halves.
macro_rules! one {
    ($opcode:expr, $type:literal, $class:ident, $f:expr) => {
        [
            row!(concat!($opcode, $type), "h=h", $class, |a: u16| $f(a)),
            row!(concat!($opcode, $type, "x2"), "r=r", $class, |a: u32| {
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
