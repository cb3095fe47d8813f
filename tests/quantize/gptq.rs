//! GPTQ and AWQ against their papers.

use super::{grid, matrix, normal, numbers};
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::quantize::gptq::Gptq;
use ridgepoint::quantize::inputs::Inputs;
use ridgepoint::quantize::matrix::{Fit, dequantize, int4};
use ridgepoint::quantize::{awq, rtn};
use ridgepoint::tensor::{HostMatrix, HostTensor};
use std::path::Path;

/// Inputs `[rows, k]` that depend on one another, some columns larger than others.
fn inputs(rows: usize, k: usize) -> Vec<f32> {
    let hidden = k / 4;
    let (mix, noise) = (numbers(k * hidden, 8), numbers(rows * k, 9));
    let factors = numbers(rows * hidden, 10);
    let size = |j: usize| if j % 37 == 5 { 8.0 } else { 1.0 };
    let value = |r: usize, j: usize| {
        let sum: f32 = (0..hidden).map(|t| factors[r * hidden + t] * mix[j * hidden + t]).sum();
        size(j) * (sum / (hidden as f32).sqrt() + 0.3 * noise[r * k + j])
    };
    (0..rows * k).map(|at| value(at / k, at % k)).collect()
}

fn remembered(x: &[f32], k: usize) -> Inputs {
    let mut inputs = Inputs::new(k, x.len() / k, true);
    // In two uneven parts, as windows come.
    let cut = x.len() / k / 3 * k;
    inputs.add(&CpuBackend::new(), &x[..cut]).unwrap();
    inputs.add(&CpuBackend::new(), &x[cut..]).unwrap();
    inputs
}

/// The sum of squares of `x (a - b)^T`.
fn output_error(x: &[f32], a: &HostTensor, b: &HostTensor) -> f64 {
    let k = a.shape[1];
    let off: Vec<f64> = a.to_f32().iter().zip(b.to_f32()).map(|(a, b)| f64::from(a - b)).collect();
    let product = |x: &[f32], w: &[f64]| -> f64 {
        x.iter().zip(w).map(|(x, w)| f64::from(*x) * w).sum::<f64>().powi(2)
    };
    x.chunks(k).map(|x| off.chunks(k).map(|w| product(x, w)).sum::<f64>()).sum()
}

#[test]
fn sums_over_inputs_are_what_they_say() {
    let (rows, k) = (130, 300);
    let x = inputs(rows, k);
    let found = remembered(&x, k);
    let hessian = found.hessian.as_ref().unwrap();
    for i in 0..k {
        for j in 0..=i {
            let sum: f64 = x.chunks(k).map(|x| f64::from(x[i]) * f64::from(x[j])).sum();
            let bound = 1e-4 * (1.0 + sum.abs()) * 8.0;
            assert!((hessian[i * k + j] - sum).abs() < bound, "[{i}, {j}]");
        }
        let column = || x.iter().skip(i).step_by(k).map(|x| f64::from(*x));
        let magnitude = column().map(f64::abs).sum::<f64>() / rows as f64;
        assert!((f64::from(found.mean_magnitudes()[i]) - magnitude).abs() < 1e-5 * magnitude);
        let square = column().map(|x| x * x).sum::<f64>() / rows as f64;
        assert!((f64::from(found.mean_squares()[i]) - square).abs() < 1e-5 * square);
    }
    assert_eq!(found.sample, x, "a text this short is its own sample");
}

#[test]
fn without_correlations_gptq_is_rtn() {
    let (n, k) = (21, 256);
    let tensor = matrix("w", n, k, &normal(n * k, 4, 0.02));
    for zero_points in [false, true] {
        let grid = grid(64, zero_points);
        let expected = int4(Path::new(""), &tensor, grid, Fit::Range).unwrap();
        for ordered in [false, true] {
            // Columns of different size: their order changes, and nothing else.
            let mut hessian = vec![0.0; k * k];
            (0..k).for_each(|i| hessian[i * k + i] = 1.0 + (i * 7 % 13) as f64);
            let gptq = Gptq::new(hessian, k, ordered).unwrap();
            let found = gptq.quantize(Path::new(""), &tensor, grid, Fit::Range).unwrap();
            assert_eq!(found, expected, "ordered {ordered}");
        }
    }
}

#[test]
fn products_lose_less_than_by_rtn() {
    let (n, k, rows) = (40, 256, 600);
    let x = inputs(rows, k);
    let tensor = matrix("w", n, k, &normal(n * k, 4, 0.02));
    let (dir, grid) = (Path::new(""), grid(128, false));
    let error = |quantised| output_error(&x, &tensor, &dequantize(&HostMatrix::Int4(quantised)));
    let nearest = error(int4(dir, &tensor, grid, Fit::Range).unwrap());
    for ordered in [false, true] {
        let hessian = remembered(&x, k).hessian.unwrap();
        let gptq = Gptq::new(hessian, k, ordered).unwrap();
        let found = error(gptq.quantize(dir, &tensor, grid, Fit::Range).unwrap());
        assert!(found < 0.5 * nearest, "ordered {ordered}: {found} and {nearest}");
    }
}

/// Frantar et al. 2022 by equations (2) and (3): the inverse is kept whole, and loses a row and a
/// column with each column of weights that is done. With `ordered`, columns stay where they are and
/// are visited from the largest input to the smallest, on grids of the weights as they were.
fn by_the_paper(
    weights: &[f32],
    k: usize,
    hessian: &[f64],
    group: usize,
    ordered: bool,
) -> Vec<u8> {
    let mean = (0..k).map(|i| hessian[i * k + i]).sum::<f64>() / k as f64;
    let mut whole: Vec<f64> =
        (0..k * k).map(|at| hessian[(at / k).max(at % k) * k + (at / k).min(at % k)]).collect();
    (0..k).for_each(|i| whole[i * k + i] += 0.01 * mean);
    let mut left: Vec<usize> = (0..k).collect();
    if ordered {
        left.sort_by(|&a, &b| whole[b * k + b].total_cmp(&whole[a * k + a]));
    }
    let mut inverse = inverted(whole, k);
    let mut rows: Vec<Vec<f64>> =
        weights.chunks(k).map(|row| row.iter().map(|w| f64::from(*w)).collect()).collect();
    let grid = |row: &[f64]| {
        let weights: Vec<f32> = row.iter().map(|w| *w as f32).collect();
        rtn::grid(rtn::range(&weights).unwrap(), false)
    };
    let mut grids: Vec<Vec<_>> =
        rows.iter().map(|row| row.chunks(group).map(grid).collect()).collect();
    let mut quants = vec![0; weights.len()];
    while !left.is_empty() {
        let i = left.remove(0);
        let pivot: Vec<f64> = inverse[i * k..(i + 1) * k].to_vec();
        for (r, row) in rows.iter_mut().enumerate() {
            if !ordered && i.is_multiple_of(group) {
                grids[r][i / group] = grid(&row[i..i + group]);
            }
            let grid = grids[r][i / group];
            let q = rtn::nearest(row[i] as f32, grid);
            quants[r * k + i] = q;
            let off = (row[i] - f64::from(rtn::value(q, grid))) / pivot[i];
            left.iter().for_each(|&j| row[j] -= off * pivot[j]);
        }
        for &a in &left {
            let factor = pivot[a] / pivot[i];
            (0..k).for_each(|b| inverse[a * k + b] -= factor * pivot[b]);
        }
    }
    quants
}

/// By Gauss and Jordan.
fn inverted(mut a: Vec<f64>, n: usize) -> Vec<f64> {
    let mut inverse = vec![0.0; n * n];
    (0..n).for_each(|i| inverse[i * n + i] = 1.0);
    for i in 0..n {
        let pivot = a[i * n + i];
        for j in 0..n {
            a[i * n + j] /= pivot;
            inverse[i * n + j] /= pivot;
        }
        for r in (0..n).filter(|r| *r != i) {
            let factor = a[r * n + i];
            for j in 0..n {
                a[r * n + j] -= factor * a[i * n + j];
                inverse[r * n + j] -= factor * inverse[i * n + j];
            }
        }
    }
    inverse
}

#[test]
fn points_are_those_of_the_paper() {
    // More than a block of columns, so that its errors reach those past it.
    let (n, k, group) = (19, 320, 64);
    let weights = normal(n * k, 4, 0.02);
    let hessian = remembered(&inputs(900, k), k).hessian.unwrap();
    let tensor = matrix("w", n, k, &weights);
    let [in_order, by_size] = [false, true].map(|ordered| {
        let expected = by_the_paper(&weights, k, &hessian, group, ordered);
        let gptq = Gptq::new(hessian.clone(), k, ordered).unwrap();
        let found = gptq.quantize(Path::new(""), &tensor, grid(group, false), Fit::Range).unwrap();
        // In f32 a weight near the middle of two points may fall to the other one, and those after
        // it then make up for another error.
        let same = alike(&found.matrix.quants, &expected);
        assert!(same > 0.98, "ordered {ordered}: {same}");
        expected
    });
    let same = alike(&in_order, &by_size);
    assert!(same < 0.9, "both orders give {same} of the points, so that neither is told apart");
}

/// The share of points that are the same.
fn alike(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
}

#[test]
fn dead_columns_and_bad_weights() {
    let k = 128;
    let gptq = Gptq::new(vec![0.0; k * k], k, false).unwrap();
    let mut weights = normal(20 * k, 1, 0.02);
    let (dir, grid) = (Path::new(""), grid(64, false));
    let tensor = matrix("w", 20, k, &weights);
    let expected = int4(dir, &tensor, grid, Fit::Range).unwrap();
    assert_eq!(gptq.quantize(dir, &tensor, grid, Fit::Range).unwrap(), expected);
    weights[17 * k + 3] = f32::NAN;
    let error = gptq.quantize(dir, &matrix("w", 20, k, &weights), grid, Fit::Range).unwrap_err();
    assert!(error.to_string().contains("row 17"), "{error}");
    let mut spoilt = vec![0.0; k * k];
    spoilt[5 * k + 5] = f64::NAN;
    assert!(Gptq::new(spoilt, k, false).is_none());
}

#[test]
fn awq_scales_pay_and_fold_without_loss() {
    let (n, k) = (64, 256);
    let x = inputs(500, k);
    let tensor = matrix("w", n, k, &normal(n * k, 4, 0.02));
    let (dir, grid) = (Path::new(""), grid(128, false));
    let mut scales =
        awq::scales(&CpuBackend::new(), dir, &remembered(&x, k), &[&tensor], grid).unwrap();
    // A norm in bf16 cannot be divided exactly, so the scales follow it.
    let norm = super::bf16_vector("norm", &numbers(k, 3));
    let folded = awq::fold_into_norm(&norm, &mut scales);
    for ((before, after), scale) in norm.to_f32().iter().zip(folded.to_f32()).zip(&scales) {
        assert!((before - after * scale).abs() <= 1e-6 * before.abs());
    }
    let scaled = awq::scaled(&tensor, Some(&scales), None);
    let quantised = HostMatrix::Int4(int4(dir, &scaled, grid, Fit::Range).unwrap());
    let inverse: Vec<f32> = scales.iter().map(|s| 1.0 / s).collect();
    let back = awq::scaled(&dequantize(&quantised), Some(&inverse), None);
    let nearest = HostMatrix::Int4(int4(dir, &tensor, grid, Fit::Range).unwrap());
    let (found, plain) =
        (output_error(&x, &tensor, &back), output_error(&x, &tensor, &dequantize(&nearest)));
    assert!(found < 0.8 * plain, "{found} and {plain}");
}
