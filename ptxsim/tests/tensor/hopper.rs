//! The model of Hopper's tensor cores on cases computed by hand, and against its definition
//! written in f64.

use super::Random;
use ptxsim::arith::formats::{self, Rounding};
use ptxsim::tensor::hopper::Model;
use ptxsim::tensor::{Accumulator, Element};

const BF16: [Element; 2] = [Element::Bf16; 2];
const E4M3: [Element; 2] = [Element::E4m3; 2];

/// The sum of `products` (each of a number and 1) and `c`.
fn sum(model: &Model, products: &[f32], c: f32) -> f32 {
    let ones = vec![1.0; products.len()];
    f32::from_bits(model.dot(products, &ones, c))
}

fn power(exponent: i32) -> f32 {
    2f32.powi(exponent)
}

#[test]
fn small_products_survive_25_bits_below_the_largest() {
    let model = Model::mma(BF16, Accumulator::F32);
    // 2^25 + 4 needs 24 bits; each 1 lies 25 bits below. In f32 order all four would be lost.
    assert_eq!(sum(&model, &[power(25), 1.0, 1.0, 1.0, 1.0], 0.0), power(25) + 4.0);
    // 26 bits below they are cut off, all eight of them.
    assert_eq!(sum(&model, &[power(26), 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 0.0), power(26));
    // The accumulator is one of the summands.
    assert_eq!(sum(&model, &[1.0, 1.0, 1.0, 1.0], power(25)), power(25) + 4.0);
    assert_eq!(sum(&model, &[1.0; 8], power(26)), power(26));
}

#[test]
fn summands_and_results_are_cut_toward_zero() {
    let model = Model::mma(BF16, Accumulator::F32);
    // 1 + 0.75 ulp: to nearest it would be one ulp more.
    assert_eq!(sum(&model, &[power(-24) + power(-25)], 1.0), 1.0);
    assert_eq!(sum(&model, &[-power(-24) - power(-25)], -1.0), -1.0);
    // 1 - 2^-25: it fits the 25 bits, and is then cut to 24 significant ones.
    assert_eq!(sum(&model, &[-power(-25)], 1.0), 1.0 - power(-24));
    // 1 - 2^-26 loses the summand, not the result.
    assert_eq!(sum(&model, &[-power(-26)], 1.0), 1.0);
    // 2^-25 + 2^-26 is cut to 2^-25, twice: 2^-24 less than 1 in the end.
    let small = power(-25) + power(-26);
    assert_eq!(sum(&model, &[-small, -small], 1.0), 1.0 - power(-24));
}

#[test]
fn blocks_are_32_bytes_of_k() {
    let mut products = vec![0.0; 32];
    // In one block with 2^25, ones count; in the next one they meet the rounded result.
    products[0] = power(25);
    products[15] = 1.0;
    products[14] = 1.0;
    products[16] = 1.0;
    products[17] = 1.0;
    let model = Model::mma(BF16, Accumulator::F32);
    assert_eq!(sum(&model, &products, 0.0), power(25));
    products[13] = 1.0;
    products[12] = 1.0;
    assert_eq!(sum(&model, &products, 0.0), power(25) + 4.0);
}

#[test]
fn fp8_keeps_25_bits_in_mma_and_13_in_wgmma() {
    let tiny = power(-9);
    let dot =
        |model: Model, other: f32| f32::from_bits(model.dot(&[1.0, tiny], &[1.0, other], 0.0));
    let (mma, wgmma) = (Model::mma(E4M3, Accumulator::F32), Model::wgmma(E4M3, Accumulator::F32));
    assert_eq!(dot(wgmma, power(-4)), 1.0 + power(-13));
    // 2^-9 is a subnormal e4m3: its exponent is that of 2^-6, and 2^-11 after the product.
    assert_eq!(dot(wgmma, power(-5)), 1.0);
    assert_eq!(dot(mma, power(-5)), 1.0 + power(-14));
    // Results of wgmma have 13 bits of fraction.
    assert_eq!(sum(&wgmma, &[1.0], 1.0 + power(-13) + power(-14)), 2.0);
}

#[test]
fn f16_results_are_rounded_to_nearest() {
    let model = Model::mma([Element::F16; 2], Accumulator::F16);
    assert_eq!(sum(&model, &[power(-11)], 1.0), 1.0);
    assert_eq!(sum(&model, &[power(-11), power(-20)], 1.0), 1.0 + power(-10));
    assert_eq!(sum(&model, &[65504.0, 16.0], 0.0), f32::INFINITY);
}

#[test]
fn infinities_nans_and_overflow() {
    let model = Model::mma(BF16, Accumulator::F32);
    let dot = |a: &[f32], b: &[f32], c: f32| model.dot(a, b, c);
    assert_eq!(dot(&[f32::INFINITY], &[1.0], 0.0), f32::INFINITY.to_bits());
    assert_eq!(dot(&[f32::INFINITY], &[0.0], 0.0), 0x7fff_ffff);
    assert_eq!(dot(&[f32::INFINITY], &[1.0], f32::NEG_INFINITY), 0x7fff_ffff);
    assert_eq!(dot(&[f32::NAN], &[1.0], 0.0), 0x7fff_ffff);
    assert_eq!(dot(&[power(127)], &[2.0], 0.0), f32::INFINITY.to_bits());
    assert_eq!(dot(&[power(127)], &[-2.0], 0.0), f32::NEG_INFINITY.to_bits());
    // A product above the range with one that brings it back.
    assert_eq!(dot(&[power(127), -power(127)], &[2.0, 1.0], 0.0), power(127).to_bits());
    // Subnormal results are kept.
    assert_eq!(dot(&[power(-70)], &[power(-70)], 0.0), f32::from_bits(1 << 9).to_bits());
}

/// The definition, one block, in f64: all its steps are exact there for numbers of this size.
fn definition(a: &[f32], b: &[f32], c: f32, fraction: i32) -> f64 {
    let exponent = |x: f32| if x == 0.0 { -126 } else { x.abs().log2().floor() as i32 };
    let mut terms: Vec<(f64, i32)> = vec![(f64::from(c), exponent(c))];
    for (a, b) in a.iter().zip(b) {
        let product = f64::from(*a) * f64::from(*b);
        let power = if product == 0.0 { -126 } else { exponent(*a) + exponent(*b) };
        terms.push((product, power));
    }
    let largest = terms.iter().map(|term| term.1).max().expect("c is there");
    let unit = 2f64.powi(largest - fraction);
    terms.iter().map(|term| (term.0 / unit).trunc()).sum::<f64>() * unit
}

#[test]
fn random_blocks_follow_the_definition() {
    let mut random = Random::new(10);
    let model = Model::mma(BF16, Accumulator::F32);
    for _ in 0..20_000 {
        // Exponents from -20 to 20, significands of bf16; some zeros.
        let mut number = |keep: u32| {
            let exponent = 107 + random.below(41) as u32;
            let bits = random.word() & 0x807f_ffff & keep | exponent << 23;
            if random.below(10) == 0 { 0.0 } else { f32::from_bits(bits) }
        };
        let a: [f32; 16] = std::array::from_fn(|_| number(0xffff_0000));
        let b: [f32; 16] = std::array::from_fn(|_| number(0xffff_0000));
        let c = number(u32::MAX);
        let exact = definition(&a, &b, c, 25);
        let bits = formats::convert(formats::F64, exact.to_bits(), formats::F32, Rounding::Zero);
        assert_eq!(f32::from_bits(model.dot(&a, &b, c)), f32::from_bits(bits as u32));
    }
}
