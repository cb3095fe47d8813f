//! How Hopper's tensor cores add up, as published: Xie et al., "Bit-Accurate Modeling of GPU
//! Matrix Multiply-Accumulate Units" (arXiv 2511.10909), which derives it from tests of the
//! hardware. Computed here in integers, exactly.
//!
//! The products of a block and the accumulator are summed as one: each is exact, all are shifted
//! to the largest exponent among them and cut off, toward zero, at `fraction` bits below it; the
//! sum of what is left is exact, and is rounded once. A product's exponent is the sum of its
//! factors', before any carry of their significands, and that of a zero is -126. Blocks follow
//! one another along k, each starting from the rounded result of the one before.
//!
//! A block is 32 bytes of A's row. `fraction` is 25 and f32 results are truncated; the products
//! of fp8 by `wgmma` keep 13 bits instead and results have 13 bits of fraction; f16 results are
//! rounded to nearest.

use super::core_matrix::{NAN, place};
use super::kernels::{Fragment, RowsA};
use super::{Accumulator, Element};
use crate::arith::formats::{self, Format, Number, Rounding};

/// The model for one type and instruction.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    kinds: [Element; 2],
    result: Accumulator,
    /// Fraction bits of an f32 result that survive.
    kept: u32,
    /// Fraction bits of the aligned summands.
    fraction: i32,
}

impl Model {
    /// For `mma`.
    pub fn mma(kinds: [Element; 2], result: Accumulator) -> Model {
        Model { kinds, result, kept: 23, fraction: 25 }
    }

    /// For `wgmma.mma_async`.
    pub fn wgmma(kinds: [Element; 2], result: Accumulator) -> Model {
        if kinds[0].bytes() == 1 {
            Model { kinds, result, kept: 13, fraction: 13 }
        } else {
            Model::mma(kinds, result)
        }
    }

    /// Adds a row of A times a column of B to `c`, and gives the f32 bits of the result.
    pub fn dot(&self, a: &[f32], b: &[f32], c: f32) -> u32 {
        let block = 32 / self.kinds[0].bytes();
        let mut c = c;
        for (a, b) in a.chunks(block).zip(b.chunks(block)) {
            c = f32::from_bits(self.block(a, b, c));
        }
        if c.is_nan() { NAN } else { c.to_bits() }
    }

    fn block(&self, a: &[f32], b: &[f32], c: f32) -> u32 {
        if let Some(special) = special(a, b, c) {
            return special;
        }
        let least_c = if self.result == Accumulator::F16 { -14 } else { -126 };
        let (significand, exponent) = split(c, least_c);
        // Every summand has 46 fraction bits, as many as a product needs.
        let mut terms = [(0i64, -126i32); 33];
        terms[0] = (significand << 23, if significand == 0 { -126 } else { exponent });
        for (term, (a, b)) in terms[1..].iter_mut().zip(a.iter().zip(b)) {
            let (a, exponent_a) = split(*a, least_exponent(self.kinds[0]));
            let (b, exponent_b) = split(*b, least_exponent(self.kinds[1]));
            if a * b != 0 {
                *term = (a * b, exponent_a + exponent_b);
            }
        }
        let terms = &terms[..=a.len()];
        let largest = terms.iter().map(|term| term.1).max().unwrap_or(-126);
        let mut sum = 0;
        for &(significand, exponent) in terms {
            let cut = (46 - self.fraction + largest - exponent).min(63);
            // Toward zero: the magnitude is what is shifted.
            sum += significand.signum() * (significand.abs() >> cut);
        }
        self.round(sum, largest - self.fraction)
    }

    fn round(&self, sum: i64, exponent: i32) -> u32 {
        let significand = u128::from(sum.unsigned_abs());
        let number = Number { negative: sum < 0, significand, exponent };
        if self.result == Accumulator::F16 {
            let bits = formats::round_to(formats::F16, number, Rounding::NearestEven);
            return formats::f16_to_f32(bits as u16).to_bits();
        }
        let length = 128 - significand.leading_zeros() as i32;
        if length + exponent > 128 {
            // Truncation does not stop at the largest finite number.
            return if sum < 0 { 0xff80_0000 } else { 0x7f80_0000 };
        }
        let format = Format::ieee(8, self.kept);
        (formats::round_to(format, number, Rounding::Zero) << (23 - self.kept)) as u32
    }
}

/// A result that is infinite or not a number.
fn special(a: &[f32], b: &[f32], c: f32) -> Option<u32> {
    let mut total = if c.is_finite() { 0.0 } else { c };
    let mut any = !c.is_finite();
    for (a, b) in a.iter().zip(b) {
        if !(a.is_finite() && b.is_finite()) {
            total += a * b;
            any = true;
        }
    }
    any.then_some(if total.is_nan() { NAN } else { total.to_bits() })
}

/// The exponent of a type's subnormal numbers.
fn least_exponent(kind: Element) -> i32 {
    match kind {
        Element::F16 | Element::E5m2 => -14,
        Element::E4m3 => -6,
        _ => -126,
    }
}

/// Significand with 23 fraction bits, and exponent, of a number of a type whose subnormal numbers
/// have the exponent `least`: those are not normalised.
fn split(x: f32, least: i32) -> (i64, i32) {
    let bits = x.to_bits();
    let (field, fraction) = ((bits >> 23 & 0xff) as i32, i64::from(bits & 0x7f_ffff));
    let (mut magnitude, mut exponent) =
        if field == 0 { (fraction, -126) } else { (fraction | 1 << 23, field - 127) };
    if exponent < least {
        magnitude >>= (least - exponent).min(63);
        exponent = least;
    }
    (if x.is_sign_negative() { -magnitude } else { magnitude }, exponent)
}

/// Adds the products of A and B to `c`, f32 by their bits (of numbers that f16 can hold where that
/// is the result).
pub fn multiply(model: &Model, c: &mut Fragment, a: &RowsA, b: &[[f32; 8]]) {
    for (register, c) in c.iter_mut().enumerate() {
        for (lane, c) in c.iter_mut().enumerate() {
            let (row, column) = place(register, lane);
            let mut line = [0.0; 32];
            for (to, from) in line.iter_mut().zip(b) {
                *to = from[column];
            }
            *c = model.dot(&a[row][..b.len()], &line[..b.len()], f32::from_bits(*c));
        }
    }
}
