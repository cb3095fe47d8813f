//! Exponential, logarithm and Gumbel noise in f32, each operation and its order fixed.
//!
//! Additions, multiplications, fused multiply-adds and conversions round to nearest, ties to even;
//! nothing else is used, so that a kernel which writes the same operations (`fmaf`, and no
//! contraction of the others) has the same bits. Library functions and the approximate `ex2` and
//! `lg2` of a GPU have none of that. The coefficients are minimax fits made for these intervals.

/// ln 2 in two parts; the first has 12 zero bits at its end, so that its product with an exponent
/// is exact.
const LN_2_HIGH: f32 = 0.693_115_23;
const LN_2_LOW: f32 = 3.194_618_3e-5;
/// 1.5 * 2^23: adding it rounds to an integer and leaves that integer in the low bits.
const ROUNDER: f32 = 12_582_912.0;
/// The bits of sqrt(1/2): mantissas are reduced to sqrt(1/2) up to sqrt(2).
const SQRT_HALF_BITS: i32 = 0x3f35_04f3;

/// Fraction bits of a [`weight`].
pub const WEIGHT_BITS: u32 = 40;
/// The weight of the most probable token: 1 in fixed point.
pub const WEIGHT_ONE: u64 = 1 << WEIGHT_BITS;
/// The most weights that are ever summed: 2^23 of at most 2^40 stay below 2^63.
pub const VOCAB_MAX: usize = 1 << 23;

/// `e^d` for d <= 0, and 0 below -80 (and for NaN). `exp(0)` is exactly 1.
///
/// With `n = round(d log2 e)` and `r = d - n ln 2`: `e^r` by Horner's scheme, then n is added to
/// the exponent, which is never that of a denormal.
#[inline(always)]
pub fn exp(d: f32) -> f32 {
    const C: [f32; 5] = [0.499_999_94, 0.166_665_2, 0.041_668_393, 0.008_368_781, 0.001_381_446_7];
    let shifted = d.mul_add(std::f32::consts::LOG2_E, ROUNDER);
    let n = shifted - ROUNDER;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, d));
    let mut p = C[4];
    p = p.mul_add(r, C[3]);
    p = p.mul_add(r, C[2]);
    p = p.mul_add(r, C[1]);
    p = p.mul_add(r, C[0]);
    p = p.mul_add(r, 1.0);
    p = p.mul_add(r, 1.0);
    // The low bits of `shifted` are those of n; the shift drops the rest.
    let scaled = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    if d >= -80.0 { scaled } else { 0.0 }
}

/// `exp(d)` in fixed point, to the nearest integer of 2^40ths, ties to even. At most 2^40 for
/// d <= 0; 0 from about -28.4 down.
///
/// Sums of weights are integers: they are the same in any order.
#[inline(always)]
pub fn weight(d: f32) -> u64 {
    // At 2^52 a double's last bit is worth 1: the addition rounds, the low 52 bits are the result.
    const INTEGERS: f64 = (1u64 << 52) as f64;
    let scaled = f64::from(exp(d)) * WEIGHT_ONE as f64;
    (scaled + INTEGERS).to_bits() & ((1 << 52) - 1)
}

/// `ln(1 + f)` for f from sqrt(1/2) - 1 to sqrt(2) - 1: `f + f^2 (f q(f) - 1/2)`.
#[inline(always)]
fn ln_1p(f: f32) -> f32 {
    const Q: [f32; 8] = [
        0.333_333_3,
        -0.250_008_37,
        0.200_012_92,
        -0.166_227_65,
        0.141_996_95,
        -0.131_641_85,
        0.127_791_15,
        -0.076_461_06,
    ];
    let mut q = Q[7];
    q = q.mul_add(f, Q[6]);
    q = q.mul_add(f, Q[5]);
    q = q.mul_add(f, Q[4]);
    q = q.mul_add(f, Q[3]);
    q = q.mul_add(f, Q[2]);
    q = q.mul_add(f, Q[1]);
    q = q.mul_add(f, Q[0]);
    (f * f).mul_add(q.mul_add(f, -0.5), f)
}

/// `exponent * ln 2 + ln_1p(f)`.
#[inline(always)]
fn ln_parts(exponent: i32, f: f32) -> f32 {
    let e = exponent as f32;
    e.mul_add(LN_2_HIGH, e.mul_add(LN_2_LOW, ln_1p(f)))
}

/// The exponent that leaves a mantissa of sqrt(1/2) up to sqrt(2).
#[inline(always)]
fn exponent_of(x: f32) -> i32 {
    (x.to_bits() as i32).wrapping_sub(SQRT_HALF_BITS) >> 23
}

/// `2^-exponent`, for exponents -127 < e < 127.
#[inline(always)]
fn inverse_power(exponent: i32) -> f32 {
    f32::from_bits(((127 - exponent) as u32) << 23)
}

/// The natural logarithm of a positive, normal number.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let exponent = exponent_of(x);
    let mantissa = f32::from_bits(x.to_bits().wrapping_sub((exponent as u32) << 23));
    ln_parts(exponent, mantissa - 1.0)
}

/// `ln(n 2^-25)` for 0 < n < 2^25.
///
/// u near 1 has no exact f32 there, and its logarithm is all in the bits that would be lost. The
/// difference to the nearest power of two is taken in integers instead: it is below 2^24, hence
/// exact, and the logarithm keeps its relative precision down to u = 1 - 2^-25.
#[inline(always)]
pub fn ln_unit(n: u32) -> f32 {
    let exponent = exponent_of(n as i32 as f32);
    let difference = (n as i32).wrapping_sub(1i32.wrapping_shl(exponent as u32));
    ln_parts(exponent - 25, difference as f32 * inverse_power(exponent))
}

/// `ln(sum 2^-40)` for a sum of weights that contains the largest: 2^40 <= sum < 2^63.
///
/// As in [`ln_unit`] the difference to a power of two is an integer: a distribution with nearly all
/// its mass on one token keeps the little that is left.
#[inline(always)]
pub fn ln_weight(sum: u64) -> f32 {
    let exponent = exponent_of(sum as f32);
    let difference = sum.wrapping_sub(1u64 << exponent) as i64;
    ln_parts(exponent - WEIGHT_BITS as i32, difference as f32 * inverse_power(exponent))
}

/// Standard Gumbel noise from 32 random bits, of which the upper 24 are used:
/// `-ln(-ln u)`, `u = ((x >> 8) + 1/2) 2^-24`. It lies between -2.86 and [`GUMBEL_MAX`].
#[inline(always)]
pub fn gumbel(x: u32) -> f32 {
    -ln(-ln_unit((x >> 8) * 2 + 1))
}

/// No smaller than any [`gumbel`]: that of the largest u is `ln(2^25)`, about 17.33.
pub const GUMBEL_MAX: f32 = 17.34;
