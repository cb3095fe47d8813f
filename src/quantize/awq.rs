//! AWQ (Lin et al. 2023): columns whose inputs are large are scaled up before they are quantised,
//! so that they lose less, and the inputs are scaled down as much by whatever makes them.
//!
//! The scale of a column is `mean|x|^alpha`, with one alpha for all matrices that read the same
//! inputs; of twenty values the one is taken that leaves the least error of their products with a
//! sample of the inputs. What makes the inputs takes the scale over for nothing: the weight of the
//! norm before, the rows of the value projection before the output projection (only where every
//! head has keys and values of its own), the rows of `up` before `down`.

use super::Grid;
use super::inputs::Inputs;
use super::matrix::{self, Fit, dequantize, read_row};
use crate::backend::cpu::CpuBackend;
use crate::backend::{Backend, Epilogue, Phase, Role};
use crate::error::Result;
use crate::tensor::{Dtype, HostMatrix, HostTensor};
use half::{bf16, f16};
use rayon::prelude::*;
use std::path::Path;

/// Values of alpha, from 0 up in steps of a twentieth.
const ALPHAS: usize = 20;

/// The scale of each column that serves `matrices` best: 1 everywhere if none helps.
///
/// # Errors
/// As [`matrix::int4`].
pub fn scales(
    backend: &CpuBackend,
    dir: &Path,
    inputs: &Inputs,
    matrices: &[&HostTensor],
    grid: Grid,
) -> Result<Vec<f32>> {
    let k = inputs.k;
    let magnitudes = inputs.mean_magnitudes();
    let rows = inputs.sample.len() / k;
    let mut sample = backend.tensor(rows, k, Role::Plain)?;
    backend.upload(&inputs.sample, &mut sample)?;
    let mut best = vec![1.0; k];
    let mut least = f64::INFINITY;
    for step in 0..ALPHAS {
        let scales = candidate(&magnitudes, step as f32 / ALPHAS as f32);
        let mut error = 0.0;
        for tensor in matrices {
            let scaled = scaled(tensor, Some(&scales), None);
            let quantised = matrix::int4(dir, &scaled, grid, Fit::Range)?;
            let off = off(tensor, &dequantize(&HostMatrix::Int4(quantised)), &scales);
            error += squares(backend, &sample, rows, off)?;
        }
        if error < least {
            (best, least) = (scales, error);
        }
    }
    Ok(best)
}

/// `magnitude^alpha`, moved so that the least and the greatest are as far from 1 as each other.
fn candidate(magnitudes: &[f32], alpha: f32) -> Vec<f32> {
    // Inputs that are always zero would give scales that no number can undo.
    const LEAST: f32 = 1e-4;
    let scales: Vec<f32> = magnitudes.iter().map(|m| m.max(LEAST).powf(alpha)).collect();
    let least = scales.iter().copied().fold(f32::INFINITY, f32::min);
    let most = scales.iter().copied().fold(0.0, f32::max);
    let middle = (least * most).sqrt();
    scales.iter().map(|s| s / middle).collect()
}

/// `w * columns[c] / rows[r]`, in f32.
pub fn scaled(tensor: &HostTensor, columns: Option<&[f32]>, rows: Option<&[f32]>) -> HostTensor {
    let k = tensor.shape[1];
    let mut values = vec![0.0; tensor.len()];
    values.par_chunks_mut(k).enumerate().for_each(|(r, out)| {
        read_row(tensor, r, 0, out);
        if let Some(columns) = columns {
            out.iter_mut().zip(columns).for_each(|(w, s)| *w *= s);
        }
        if let Some(rows) = rows {
            out.iter_mut().for_each(|w| *w /= rows[r]);
        }
    });
    HostTensor::from_f32(tensor.name.clone(), tensor.shape.clone(), &values)
}

/// How far `quantised`, whose columns are scaled, is off.
fn off(tensor: &HostTensor, quantised: &HostTensor, scales: &[f32]) -> HostTensor {
    let k = tensor.shape[1];
    let mut values = vec![0.0; tensor.len()];
    values.par_chunks_mut(k).enumerate().for_each(|(r, out)| {
        let mut stored = vec![0.0; k];
        read_row(tensor, r, 0, &mut stored);
        read_row(quantised, r, 0, out);
        for ((out, stored), scale) in out.iter_mut().zip(&stored).zip(scales) {
            *out = *out / scale - stored;
        }
    });
    HostTensor::from_f32(tensor.name.clone(), tensor.shape.clone(), &values)
}

/// The sum of the squares of `x weights^T`, x `[rows, k]`.
pub fn squares(
    backend: &CpuBackend,
    x: &<CpuBackend as Backend>::Tensor,
    rows: usize,
    weights: HostTensor,
) -> Result<f64> {
    let n = weights.shape[0];
    let weights = backend.matrix(vec![HostMatrix::Plain(weights)])?;
    let mut products = backend.tensor(rows, n, Role::Plain)?;
    backend.gemm(Phase::Prefill, x, &weights, Epilogue::Store, &mut products)?;
    Ok(backend.download(&products)?.iter().map(|p| f64::from(*p).powi(2)).sum())
}

/// Divides the weight of a norm by `scales`, as far as its format can hold the result: `scales`
/// becomes what it was divided by in truth.
pub fn fold_into_norm(norm: &HostTensor, scales: &mut [f32]) -> HostTensor {
    let mut weights = norm.to_f32();
    for (weight, scale) in weights.iter_mut().zip(scales) {
        let stored = round_to(norm.dtype, *weight / *scale);
        let exact = *weight / stored;
        // A weight of zero, or one that is too small to be divided, keeps its value.
        match exact.is_finite() && exact > 0.0 {
            true => (*weight, *scale) = (stored, exact),
            false => *scale = 1.0,
        }
    }
    with_values(norm, &weights)
}

/// Divides a vector by `scales`.
pub fn divided(vector: &HostTensor, scales: &[f32]) -> HostTensor {
    let values: Vec<f32> = vector.to_f32().iter().zip(scales).map(|(v, s)| v / s).collect();
    with_values(vector, &values)
}

fn with_values(tensor: &HostTensor, values: &[f32]) -> HostTensor {
    let bytes: Vec<u8> = match tensor.dtype {
        Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
        Dtype::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
    };
    HostTensor::new(tensor.name.clone(), tensor.dtype, tensor.shape.clone(), bytes.into())
}

fn round_to(dtype: Dtype, value: f32) -> f32 {
    match dtype {
        Dtype::F32 => value,
        Dtype::F16 => f16::from_f32(value).to_f32(),
        Dtype::Bf16 => bf16::from_f32(value).to_f32(),
    }
}
