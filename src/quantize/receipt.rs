//! What a quantisation cost: errors of matrices, and of predictions.

use super::awq;
use super::inputs::Inputs;
use super::matrix::dequantize;
use super::quality::Summary;
use crate::backend::cpu::CpuBackend;
use crate::backend::{Backend, Role};
use crate::error::Result;
use crate::model::parts::module_of;
use crate::tensor::{HostMatrix, HostTensor};
use serde::Serialize;

/// A matrix that was quantised.
#[derive(Debug, Clone, Serialize)]
pub struct MatrixReceipt {
    /// The layer; none for the head.
    pub layer: Option<usize>,
    /// The module.
    pub module: String,
    /// Bits of a weight, with its share of scales and zero points.
    pub bits: f64,
    /// Elements.
    pub weights: usize,
    /// The Frobenius norm of what the weights are off, over that of the weights.
    pub error: f64,
    /// The same of the products with a sample of the calibration inputs.
    pub output_error: Option<f64>,
}

/// Everything that is known of a quantised model.
#[derive(Debug, Clone, Serialize)]
pub struct Receipt {
    /// rtn, search, awq or gptq.
    pub method: String,
    /// The grid of the layers.
    pub grid: String,
    /// Bits of the head.
    pub head: String,
    /// Tokens of the calibration text that were used.
    pub calibration_tokens: usize,
    /// Bits of a weight over all matrices that were quantised.
    pub bits: f64,
    /// Each matrix that was quantised.
    pub matrices: Vec<MatrixReceipt>,
    /// What the predictions of a text lost, if one was given.
    pub quality: Option<Summary>,
}

/// What stands for the weights of a scaled matrix: `w * columns[c] / rows[r]` was quantised.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scaling<'a> {
    /// `[k]`.
    pub columns: Option<&'a [f32]>,
    /// `[n]`.
    pub rows: Option<&'a [f32]>,
}

/// Compares a quantised matrix with what was stored.
///
/// # Errors
/// [`crate::error::Error::Device`] without memory.
pub fn compare(
    layer: Option<usize>,
    stored: &HostTensor,
    quantised: &HostMatrix,
    scaling: Scaling<'_>,
    inputs: Option<(&Inputs, &CpuBackend)>,
) -> Result<MatrixReceipt> {
    let [n, k] = quantised.shape();
    let inverse: Option<Vec<f32>> =
        scaling.columns.map(|columns| columns.iter().map(|s| 1.0 / s).collect());
    let back: Option<Vec<f32>> = scaling.rows.map(|rows| rows.iter().map(|s| 1.0 / s).collect());
    let values = awq::scaled(&dequantize(quantised), inverse.as_deref(), back.as_deref());
    let values = values.to_f32();
    let weights = stored.to_f32();
    let off: Vec<f32> = values.iter().zip(&weights).map(|(value, w)| value - w).collect();
    let output_error = match inputs {
        None => None,
        Some((inputs, backend)) => {
            let rows = inputs.sample.len() / k;
            let mut sample = backend.tensor(rows, k, Role::Plain)?;
            backend.upload(&inputs.sample, &mut sample)?;
            let squares = |values: &[f32]| {
                let tensor = HostTensor::from_f32("weights", vec![n, k], values);
                awq::squares(backend, &sample, rows, tensor)
            };
            Some(ratio(squares(&off)?, squares(&weights)?))
        }
    };
    let squares = |values: &[f32]| values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    Ok(MatrixReceipt {
        layer,
        module: module_of(&stored.name).to_string(),
        bits: bits(quantised),
        weights: n * k,
        error: ratio(squares(&off), squares(&weights)),
        output_error,
    })
}

/// Of sums of squares, as a ratio of norms; 0 of nothing.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole).sqrt() } else { 0.0 }
}

/// Bits of a weight as it is written, with its share of bf16 scales and 4-bit zero points.
pub fn bits(matrix: &HostMatrix) -> f64 {
    match matrix {
        HostMatrix::Plain(tensor) => 8.0 * tensor.dtype.size() as f64,
        HostMatrix::Int8(tensor) => 8.0 + 16.0 / tensor.k as f64,
        HostMatrix::Int4(tensor) => {
            let zeros = if tensor.shape.zero_points { 4.0 } else { 0.0 };
            4.0 + (16.0 + zeros) / tensor.shape.group as f64
        }
    }
}

/// The mean over matrices, by their weights.
pub fn mean_bits(matrices: &[MatrixReceipt]) -> f64 {
    let weights: usize = matrices.iter().map(|m| m.weights).sum();
    let bits: f64 = matrices.iter().map(|m| m.bits * m.weights as f64).sum();
    bits / weights.max(1) as f64
}
