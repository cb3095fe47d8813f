//! Whole matrices to 4 or 8 bits and back, the rows shared out among all threads.

use super::rtn::{self, GroupGrid};
use super::search;
use super::{Grid, Method};
use crate::error::{Error, Result};
use crate::tensor::int4::{Int4Matrix, Int4Row, Int4Shape, Int4Tensor};
use crate::tensor::{Dtype, HostMatrix, HostTensor, Int8Tensor};
use half::f16;
use rayon::prelude::*;
use std::path::Path;

/// How the grids of a matrix are found.
#[derive(Debug, Clone, Copy)]
pub enum Fit<'a> {
    /// From the range of each group.
    Range,
    /// By the least squared error. With `importance`, one number for each column, the errors in
    /// a column count so many times.
    Squares {
        /// `[k]`.
        importance: Option<&'a [f32]>,
    },
}

impl From<Method> for Fit<'_> {
    fn from(method: Method) -> Self {
        match method {
            Method::Rtn => Fit::Range,
            Method::Search => Fit::Squares { importance: None },
        }
    }
}

impl Fit<'_> {
    /// The grid of the weights of columns `first..`, or `None` if one is not finite.
    pub fn grid(&self, weights: &[f32], first: usize, zero_points: bool) -> Option<GroupGrid> {
        let range = rtn::range(weights)?;
        Some(match self {
            Fit::Range => rtn::grid(range, zero_points),
            Fit::Squares { importance } => {
                let importance = importance.map(|all| &all[first..][..weights.len()]);
                search::grid(weights, range, importance, zero_points)
            }
        })
    }
}

/// Quantises a matrix of plain elements; `dir` is for messages.
///
/// # Errors
/// [`Error::Invalid`] naming the tensor, if a row does not hold whole groups or a weight is not
/// finite.
pub fn int4(dir: &Path, tensor: &HostTensor, grid: Grid, fit: Fit<'_>) -> Result<Int4Tensor> {
    let shape = int4_shape(dir, tensor, grid)?;
    let Int4Shape { n, k, group, zero_points } = shape;
    let mut quants = vec![0u8; n * k];
    let mut scales = vec![0.0f32; n * shape.groups()];
    let mut zeros = vec![0u8; n * shape.groups()];
    let rows = quants.par_chunks_mut(k).zip(scales.par_chunks_mut(shape.groups()));
    let rows = rows.zip(zeros.par_chunks_mut(shape.groups())).enumerate();
    let spoilt = rows.filter_map(|(row, ((quants, scales), zeros))| {
        let mut weights = vec![0.0; group];
        for (i, quants) in quants.chunks_exact_mut(group).enumerate() {
            read_row(tensor, row, i * group, &mut weights);
            let Some(grid) = fit.grid(&weights, i * group, zero_points) else { return Some(row) };
            rtn::quantize(&weights, grid, quants);
            (scales[i], zeros[i]) = (grid.scale, grid.zero);
        }
        None
    });
    match spoilt.min() {
        Some(row) => Err(not_finite(dir, tensor, row)),
        None => {
            let zero_points = zero_points.then_some(zeros);
            let matrix = Int4Matrix { quants, scales, zero_points, order: None };
            Ok(Int4Tensor { name: tensor.name.clone(), shape, matrix })
        }
    }
}

/// The shape of `tensor` on `grid`.
///
/// # Errors
/// [`Error::Invalid`] naming the tensor, if a row does not hold whole groups.
pub fn int4_shape(dir: &Path, tensor: &HostTensor, grid: Grid) -> Result<Int4Shape> {
    let [n, k] = tensor.matrix_shape();
    let group = grid.columns();
    match k.is_multiple_of(group) {
        true => Ok(Int4Shape { n, k, group, zero_points: grid.zero_points }),
        false => {
            let found = format!("rows of {k} columns");
            let expected = format!("a multiple of the group, {group}");
            Err(Error::invalid(dir, format!("tensor {}", tensor.name), found, expected))
        }
    }
}

/// Quantises a matrix to 8 bits: the scale of a row is `max|w| / 127`, as a bf16 number.
///
/// # Errors
/// [`Error::Invalid`] naming the tensor, if a weight is not finite.
pub fn int8(dir: &Path, tensor: &HostTensor) -> Result<Int8Tensor> {
    const HIGHEST: f32 = 127.0;
    let [n, k] = tensor.matrix_shape();
    let (mut values, mut scales) = (vec![0i8; n * k], vec![0.0f32; n]);
    let rows = values.par_chunks_mut(k).zip(&mut scales).enumerate();
    let spoilt = rows.filter_map(|(row, (values, scale))| {
        let mut weights = vec![0.0; k];
        read_row(tensor, row, 0, &mut weights);
        let Some((low, high)) = rtn::range(&weights) else { return Some(row) };
        *scale = rtn::scale(high.max(-low) / HIGHEST);
        let inverse = 1.0 / *scale;
        for (value, w) in values.iter_mut().zip(&weights) {
            *value = (w * inverse).round_ties_even().clamp(-HIGHEST, HIGHEST) as i8;
        }
        None
    });
    match spoilt.min() {
        Some(row) => Err(not_finite(dir, tensor, row)),
        None => Ok(Int8Tensor { name: tensor.name.clone(), n, k, values, scales }),
    }
}

/// The numbers that a matrix stands for, in f32 and in the order of the input's columns.
pub fn dequantize(matrix: &HostMatrix) -> HostTensor {
    let [n, k] = matrix.shape();
    let mut values = vec![0.0f32; n * k];
    match matrix {
        HostMatrix::Plain(tensor) => values
            .par_chunks_mut(k)
            .enumerate()
            .for_each(|(row, out)| read_row(tensor, row, 0, out)),
        HostMatrix::Int8(tensor) => {
            let rows = values.par_chunks_mut(k).zip(tensor.values.par_chunks(k));
            rows.zip(&tensor.scales).for_each(|((out, values), scale)| {
                for (out, value) in out.iter_mut().zip(values) {
                    *out = scale * f32::from(*value);
                }
            });
        }
        HostMatrix::Int4(tensor) => values.par_chunks_mut(k).enumerate().for_each(|(row, out)| {
            let order = tensor.matrix.order.as_deref();
            dequantize_row(&tensor.matrix.row(&tensor.shape, row), tensor.shape.group, order, out);
        }),
    }
    HostTensor::from_f32(matrix.name(), vec![n, k], &values)
}

fn dequantize_row(row: &Int4Row<'_>, group: usize, order: Option<&[u32]>, out: &mut [f32]) {
    for (i, quants) in row.quants.chunks(group).enumerate() {
        let zero = row.zero_points.map_or(rtn::MIDDLE, |zeros| zeros[i]);
        for (j, q) in quants.iter().enumerate() {
            let column = i * group + j;
            let column = order.map_or(column, |order| order[column] as usize);
            out[column] = row.scales[i] * f32::from(i16::from(*q) - i16::from(zero));
        }
    }
}

/// Elements `first..` of a row, exactly.
pub fn read_row(tensor: &HostTensor, row: usize, first: usize, out: &mut [f32]) {
    let [_, k] = tensor.matrix_shape();
    let size = tensor.dtype.size();
    let bytes = &tensor.bytes.as_slice()[(row * k + first) * size..][..out.len() * size];
    match tensor.dtype {
        Dtype::F32 => {
            for (out, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *out = f32::from_le_bytes(*b);
            }
        }
        Dtype::F16 => {
            for (out, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = f16::from_le_bytes(*b).to_f32();
            }
        }
        Dtype::Bf16 => {
            for (out, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                // What `bf16::to_f32` does, without its branch for NaN, which loads no faster.
                *out = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
            }
        }
    }
}

/// The elements of a matrix that is not quantised yet; `dir` is for messages.
///
/// # Errors
/// [`Error::Invalid`] naming the tensor, if it is.
pub(super) fn plain<'a>(dir: &Path, matrix: &'a HostMatrix) -> Result<&'a HostTensor> {
    matrix.as_plain().ok_or_else(|| {
        let what = format!("tensor {}", matrix.name());
        Error::invalid(dir, what, matrix.format(), "16 or 32 bits, to be quantised")
    })
}

/// The error of a weight that is no number.
pub(super) fn not_finite(dir: &Path, tensor: &HostTensor, row: usize) -> Error {
    let found = format!("a weight in row {row} that is not finite");
    Error::invalid(dir, format!("tensor {}", tensor.name), found, "numbers")
}
