//! Elementary functions of sixteen lanes, made of exactly rounded operations in one order.

use super::simd::{LANES, Simd};

/// `e^x`: relative error below 1 ulp; 0 below -104, infinite above 89, NaN for NaN.
///
/// Reduction by Cody and Waite (1980): x = n ln 2 + r, |r| <= ln(2) / 2, ln 2 in two parts; then
/// the Taylor polynomial of degree 7, whose remainder is below 2^-27 on that interval.
#[inline(always)]
pub(super) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    const WHOLE: f32 = 12_582_912.0; // 1.5 * 2^23: adding and subtracting it rounds to whole
    const LN2_HIGH: f32 = 0.693_359_4; // 355 / 512: n times it is exact
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // A NaN passes both clamps: it is the second operand.
    let x = s.min(s.splat(89.0), s.max(s.splat(-104.0), x));
    let whole = s.splat(WHOLE);
    let n = s.sub(s.fma(x, s.splat(std::f32::consts::LOG2_E), whole), whole);
    let r = s.fma(n, s.splat(-LN2_HIGH), x);
    let r = s.fma(n, s.splat(-LN2_LOW), r);
    let mut p = s.splat(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = s.fma(p, r, s.splat(c));
    }
    // 2^n in two factors: a result below the normal range is then rounded once, at the end.
    let half = s.sub(s.fma(n, s.splat(0.5), whole), whole);
    let rest = s.sub(n, half);
    s.mul(s.mul(p, s.pow2(half)), s.pow2(rest))
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(super) fn silu<S: Simd>(s: S, x: S::V) -> S::V {
    let zero = s.splat(0.0);
    s.div(x, s.add(s.splat(1.0), exp(s, s.sub(zero, x))))
}

/// The sum of squares in the order of the [product](super): `x` as blocks, the last one padded.
#[inline(always)]
pub(super) fn sum_of_squares<S: Simd>(s: S, x: &[[f32; LANES]]) -> f32 {
    let mut acc = s.splat(0.0);
    for block in x {
        let v = s.load(block);
        acc = s.fma(v, v, acc);
    }
    s.sum(acc)
}
