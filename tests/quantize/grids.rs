//! Weights to points and back: bounds of the error, what loaders will refuse, what is refused here.

use super::{grid, matrix, normal, numbers};
use half::bf16;
use proptest::prelude::*;
use ridgepoint::quantize::matrix::{Fit, dequantize, int4, int8};
use ridgepoint::quantize::{Scheme, rtn};
use ridgepoint::tensor::int4::Int4Tensor;
use ridgepoint::tensor::{Dtype, HostMatrix, HostTensor};
use std::path::Path;

const RANGE: Fit<'_> = Fit::Range;
const SQUARES: Fit<'_> = Fit::Squares { importance: None };

fn quantised(tensor: &HostTensor, columns: usize, zero_points: bool, fit: Fit<'_>) -> Int4Tensor {
    int4(Path::new("model"), tensor, grid(columns, zero_points), fit).unwrap()
}

fn back(tensor: &Int4Tensor) -> Vec<f32> {
    dequantize(&HostMatrix::Int4(tensor.clone())).to_f32()
}

fn squares(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_weight_is_near_its_point(
        n in 1usize..9,
        groups in 1usize..4,
        columns in prop_oneof![Just(64usize), Just(128)],
        zero_points in any::<bool>(),
        shift in -1.5f32..1.5,
        exponent in -30i32..30,
        seed in any::<u32>(),
    ) {
        let k = groups * columns;
        let size = 2f32.powi(exponent);
        let weights: Vec<f32> =
            numbers(n * k, u64::from(seed)).iter().map(|x| (x + shift) * size).collect();
        let tensor = quantised(&matrix("w", n, k, &weights), columns, zero_points, RANGE);
        let scales = &tensor.matrix.scales;
        for (i, (w, value)) in weights.iter().zip(back(&tensor)).enumerate() {
            // Half a step; the scale is rounded to bf16, the zero point to a whole number, and the
            // range may be that much short at one end.
            let bound = scales[i / columns] * if zero_points { 1.04 } else { 0.54 };
            prop_assert!((w - value).abs() <= bound, "{w} became {value}, at most {bound} off");
        }
        prop_assert!(tensor.matrix.quants.iter().all(|q| *q <= 15));
        prop_assert!(scales.iter().all(|s| *s > 0.0 && bf16::from_f32(*s).to_f32() == *s));
        prop_assert_eq!(tensor.matrix.zero_points.is_some(), zero_points);
    }
}

/// The definition of the format, one weight at a time and in f64.
#[test]
fn rtn_is_the_grid_of_compressed_tensors() {
    let weights = normal(3 * 256, 5, 0.05);
    for columns in [64, 128] {
        for zero_points in [false, true] {
            let tensor = quantised(&matrix("w", 3, 256, &weights), columns, zero_points, RANGE);
            for (g, group) in weights.chunks(columns).enumerate() {
                let low = group.iter().fold(0.0f64, |m, w| m.min(f64::from(*w)));
                let high = group.iter().fold(0.0f64, |m, w| m.max(f64::from(*w)));
                let exact = if zero_points { (high - low) / 15.0 } else { high.max(-low) / 7.5 };
                let scale = tensor.matrix.scales[g];
                assert_eq!(scale, bf16::from_f32(exact as f32).to_f32());
                let scale = f64::from(scale);
                let zero = if zero_points { (-low / scale).round() } else { 8.0 };
                if let Some(zeros) = &tensor.matrix.zero_points {
                    assert_eq!(f64::from(zeros[g]), zero);
                }
                for (w, q) in group.iter().zip(&tensor.matrix.quants[g * columns..]) {
                    let steps = (f64::from(*w) / scale).clamp(-zero, 15.0 - zero);
                    let off = (steps + zero - f64::from(*q)).abs();
                    assert!(off <= 0.5 + 1e-5, "{w} is {steps} steps, got point {q} of {zero}");
                }
            }
        }
    }
}

#[test]
fn search_is_never_worse_and_mostly_better() {
    for zero_points in [false, true] {
        let weights = normal(64 * 128, 3, 0.02);
        let tensor = matrix("w", 64, 128, &weights);
        let [plain, searched] =
            [RANGE, SQUARES].map(|fit| back(&quantised(&tensor, 128, zero_points, fit)));
        let rows = || weights.chunks(128).zip(plain.chunks(128)).zip(searched.chunks(128));
        for ((w, plain), searched) in rows() {
            assert!(squares(w, searched) <= squares(w, plain) * (1.0 + 1e-5));
        }
        let (before, after) = (squares(&weights, &plain), squares(&weights, &searched));
        assert!(after < 0.92 * before, "zero points {zero_points}: {before} to {after}");
    }
}

#[test]
fn search_follows_importance() {
    let mut weights = normal(128, 9, 0.02);
    let mut important = vec![1e-3f32; 128];
    important[..16].fill(1.0);
    // The range is that of the other weights, which hardly count.
    weights[16..].iter_mut().for_each(|w| *w *= 2.0);
    let tensor = matrix("w", 1, 128, &weights);
    let of = |fit| squares(&weights[..16], &back(&quantised(&tensor, 128, false, fit))[..16]);
    let (all, some) = (of(SQUARES), of(Fit::Squares { importance: Some(&important) }));
    assert!(some < 0.8 * all, "{all} and {some}");
}

#[test]
fn stored_formats_give_the_same_points() {
    let weights: Vec<f32> =
        normal(4 * 128, 1, 0.02).iter().map(|w| bf16::from_f32(*w).to_f32()).collect();
    let f32s = matrix("w", 4, 128, &weights);
    let bytes: Vec<u8> = weights.iter().flat_map(|w| bf16::from_f32(*w).to_le_bytes()).collect();
    let bf16s = HostTensor::new("w", Dtype::Bf16, vec![4, 128], bytes.into());
    let halves: Vec<u8> =
        weights.iter().flat_map(|w| half::f16::from_f32(*w).to_le_bytes()).collect();
    let f16s = HostTensor::new("w", Dtype::F16, vec![4, 128], halves.into());
    let expected = quantised(&f32s, 64, true, RANGE);
    assert_eq!(quantised(&bf16s, 64, true, RANGE), expected);
    // Weights of this size lose bits in binary16, so only the error is bounded.
    assert!(squares(&back(&quantised(&f16s, 64, true, RANGE)), &back(&expected)) < 1e-3);
}

#[test]
fn a_group_of_zeros_stays_zero_and_its_scale_does_not() {
    for zero_points in [false, true] {
        for fit in [RANGE, SQUARES] {
            for w in [0.0, -0.0, f32::from_bits(1), -1e-39] {
                let tensor = quantised(&matrix("w", 1, 64, &[w; 64]), 64, zero_points, fit);
                assert!(tensor.matrix.scales[0] > 0.0);
                assert_eq!(back(&tensor), vec![0.0; 64], "{w:e}");
            }
        }
    }
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let mut weights = [f32::MAX; 64];
    weights[1] = f32::MIN;
    for zero_points in [false, true] {
        for fit in [RANGE, SQUARES] {
            let tensor = quantised(&matrix("w", 1, 64, &weights), 64, zero_points, fit);
            assert!(tensor.matrix.scales[0].is_finite());
            assert!(tensor.matrix.quants[0] > tensor.matrix.quants[1]);
        }
    }
}

#[test]
fn one_range_is_enough_for_the_outermost_weights() {
    let grid = rtn::grid((-7.5, 7.5), false);
    assert_eq!((grid.scale, grid.zero), (1.0, 8));
    assert_eq!([-7.5, -7.4, 0.0, 0.6, 7.5].map(|w| rtn::nearest(w, grid)), [0, 1, 8, 9, 15]);
    let grid = rtn::grid((-3.0, 12.0), true);
    assert_eq!((grid.scale, grid.zero), (1.0, 3));
    assert_eq!(
        [-3.0, 0.0, 12.0].map(|w| rtn::value(rtn::nearest(w, grid), grid)),
        [-3.0, 0.0, 12.0]
    );
}

#[test]
fn int8_rows_have_scales_of_their_own() {
    let mut weights = normal(3 * 96, 2, 0.02);
    weights[96..192].iter_mut().for_each(|w| *w *= 1e4);
    weights[192..].fill(0.0);
    let tensor = int8(Path::new("model"), &matrix("w", 3, 96, &weights)).unwrap();
    let values = dequantize(&HostMatrix::Int8(tensor.clone())).to_f32();
    for (row, scale) in tensor.scales.iter().enumerate() {
        for (w, value) in weights[row * 96..][..96].iter().zip(&values[row * 96..]) {
            assert!((w - value).abs() <= 0.76 * scale, "row {row}: {w} became {value}");
        }
    }
    assert!(tensor.values.iter().all(|v| *v >= -127));
    assert!(tensor.scales[2] > 0.0);
}

#[test]
fn what_cannot_be_quantised_is_named() {
    let says = |weights: &[f32], k: usize, parts: &[&str]| {
        for fit in [RANGE, SQUARES] {
            let tensor = matrix("some.weight", weights.len() / k, k, weights);
            let error = int4(Path::new("dir"), &tensor, grid(128, false), fit).unwrap_err();
            assert!(error.is_mistake());
            for part in parts {
                assert!(error.to_string().contains(part), "{error} does not say {part}");
            }
        }
    };
    says(&[0.5; 192], 192, &["some.weight", "192 columns", "128"]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut weights = vec![0.5; 512];
        weights[400] = bad;
        says(&weights, 128, &["some.weight", "row 3", "not finite"]);
        let error = int8(Path::new("dir"), &matrix("head", 4, 128, &weights)).err().unwrap();
        assert!(error.to_string().contains("head"), "{error}");
    }
}

#[test]
fn schemes_are_read_and_written() {
    let written = |text: &str| text.parse::<Scheme>().unwrap().to_string();
    assert_eq!(written("int4"), "int4:group=128,method=rtn,head=16");
    let full = "int4:group=64,zero-point,method=search,head=8";
    assert_eq!(written(full), full);
    assert_eq!(written("int4:head=4,group=64"), "int4:group=64,method=rtn,head=4");
    for bad in [
        "",
        "int8",
        "int4:",
        "int4:group",
        "int4:group=32",
        "int4:group=64,group=64",
        "int4:method=gptq",
        "int4:zero-point=1",
        "int4:head=3",
        "int4,group=64",
        "INT4",
        "int4:group=64,",
        "int4:group=0064",
    ] {
        let error = bad.parse::<Scheme>().unwrap_err();
        assert!(error.to_string().contains("expected int4["), "{bad:?}: {error}");
    }
}
