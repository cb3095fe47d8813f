//! GPTQ (Frantar et al. 2022): columns are quantised one after the other, and what each is off is
//! made up for by those that follow, so that the product with the calibration inputs changes least.
//!
//! With H the sum of `x x^T` over the inputs x, the weights that follow column i change by the
//! error of column i times row i of U over its pivot, where U is upper triangular and
//! `H^-1 = U^T U`. U is found without an inverse: with the order of rows and columns reversed, H is
//! `L L^T`, and U is the inverse of L, reversed again. That costs `k^3 / 3` multiply-adds in f64
//! for a matrix with k columns; the updates cost `n k^2 / 2` in f32.

use super::matrix::{Fit, int4_shape, not_finite, read_row};
use super::rtn::{self, GroupGrid};
use super::{Grid, linalg};
use crate::error::Result;
use crate::tensor::HostTensor;
use crate::tensor::int4::{Int4Matrix, Int4Shape, Int4Tensor};
use rayon::prelude::*;
use std::path::Path;

/// Added to the diagonal, as a share of its mean: keeps H invertible where inputs are few or alike.
const DAMPING: f64 = 0.01;
/// Columns whose errors are collected before the columns past them are updated.
const BLOCK: usize = 128;
/// Columns of such an update that stay in the cache.
const TILE: usize = 1024;
/// Rows of a task, which share what is read of U.
const ROWS: usize = 16;

/// What all matrices that read the same inputs share.
pub struct Gptq {
    k: usize,
    /// U, `[k, k]`, in the order in which columns are done.
    upper: Vec<f32>,
    /// The column that is done i-th; `None` is column i.
    order: Option<Vec<usize>>,
}

impl Gptq {
    /// From H, `[k, k]`, whose upper triangle is not read. With `ordered`, columns with
    /// the largest inputs are done first, while the most columns are left to make up for them;
    /// groups lie as they did. `None` if H is not positive definite in spite of the damping. Works
    /// in the memory of H.
    pub fn new(mut hessian: Vec<f64>, k: usize, ordered: bool) -> Option<Gptq> {
        assert_eq!(hessian.len(), k * k, "a Hessian of {k} columns");
        let mean = (0..k).map(|i| hessian[i * k + i]).sum::<f64>() / k as f64;
        let damping = if mean > 0.0 { DAMPING * mean } else { 1.0 };
        (0..k).for_each(|i| hessian[i * k + i] += damping);
        let order = ordered.then(|| {
            let mut order: Vec<usize> = (0..k).collect();
            order.sort_by(|&a, &b| hessian[b * k + b].total_cmp(&hessian[a * k + a]));
            order
        });
        // The factorisation reads the lower triangle of the reversed matrix: the upper one.
        for i in 0..k {
            for j in 0..i {
                hessian[j * k + i] = hessian[i * k + j];
            }
        }
        if let Some(order) = &order {
            linalg::permute(&mut hessian, order);
        }
        hessian.reverse();
        if !linalg::cholesky(&mut hessian, k) {
            return None;
        }
        linalg::invert_lower(&mut hessian, k);
        Some(Gptq { k, upper: narrowed(hessian, k), order })
    }

    /// Quantises a matrix `[n, k]`.
    ///
    /// # Errors
    /// As [`super::matrix::int4`].
    pub fn quantize(
        &self,
        dir: &Path,
        tensor: &HostTensor,
        grid: Grid,
        fit: Fit<'_>,
    ) -> Result<Int4Tensor> {
        let shape = int4_shape(dir, tensor, grid)?;
        let Int4Shape { n, k, zero_points, .. } = shape;
        assert_eq!(k, self.k, "columns of {tensor:?}");
        let groups = shape.groups();
        let mut quants = vec![0u8; n * k];
        let mut grids = vec![GroupGrid { scale: 1.0, zero: rtn::MIDDLE }; n * groups];
        let tasks = quants.par_chunks_mut(ROWS * k).zip(grids.par_chunks_mut(ROWS * groups));
        let spoilt = tasks.enumerate().filter_map(|(task, (quants, grids))| {
            let mut weights = vec![0.0; quants.len()];
            for (i, row) in weights.chunks_mut(k).enumerate() {
                read_row(tensor, task * ROWS + i, 0, row);
                if rtn::range(row).is_none() {
                    return Some(task * ROWS + i);
                }
            }
            self.rows(&shape, fit, &mut weights, quants, grids);
            None
        });
        if let Some(row) = spoilt.min() {
            return Err(not_finite(dir, tensor, row));
        }
        let scales = grids.iter().map(|grid| grid.scale).collect();
        let zero_points = zero_points.then(|| grids.iter().map(|grid| grid.zero).collect());
        let matrix = Int4Matrix { quants, scales, zero_points, order: None };
        Ok(Int4Tensor { name: tensor.name.clone(), shape, matrix })
    }

    /// Some rows; `weights` are spent.
    fn rows(
        &self,
        shape: &Int4Shape,
        fit: Fit<'_>,
        weights: &mut [f32],
        quants: &mut [u8],
        grids: &mut [GroupGrid],
    ) {
        let k = self.k;
        if let Some(order) = &self.order {
            for (row, grids) in weights.chunks_mut(k).zip(grids.chunks_mut(shape.groups())) {
                for (i, (group, grid)) in row.chunks(shape.group).zip(grids).enumerate() {
                    *grid = fitted(fit, group, i * shape.group, shape.zero_points);
                }
                let stored = row.to_vec();
                row.iter_mut().zip(order).for_each(|(w, column)| *w = stored[*column]);
            }
        }
        let mut errors = vec![0.0; weights.len() / k * BLOCK];
        for start in (0..k).step_by(BLOCK) {
            let end = (start + BLOCK).min(k);
            let rows = weights.chunks_mut(k).zip(quants.chunks_mut(k));
            let rows = rows.zip(grids.chunks_mut(shape.groups())).zip(errors.chunks_mut(BLOCK));
            for (((weights, quants), grids), errors) in rows {
                self.block(shape, fit, start..end, weights, quants, grids, errors);
            }
            for first in (end..k).step_by(TILE) {
                let last = (first + TILE).min(k);
                for (row, errors) in weights.chunks_mut(k).zip(errors.chunks(BLOCK)) {
                    let upper = &self.upper[start * k + first..];
                    linalg::subtract(&mut row[first..last], &errors[..end - start], upper, k);
                }
            }
        }
    }

    /// The columns `columns`, in the order of U, of one row.
    #[allow(clippy::too_many_arguments)] // the row's parts; a struct would only rename them
    fn block(
        &self,
        shape: &Int4Shape,
        fit: Fit<'_>,
        columns: std::ops::Range<usize>,
        weights: &mut [f32],
        quants: &mut [u8],
        grids: &mut [GroupGrid],
        errors: &mut [f32],
    ) {
        for i in columns.clone() {
            let column = self.order.as_ref().map_or(i, |order| order[i]);
            if self.order.is_none() && i.is_multiple_of(shape.group) {
                // What earlier columns have left to these is part of what the grid must cover.
                let group = &weights[i..i + shape.group];
                grids[i / shape.group] = fitted(fit, group, i, shape.zero_points);
            }
            let grid = grids[column / shape.group];
            let q = rtn::nearest(weights[i], grid);
            quants[column] = q;
            let upper = &self.upper[i * self.k..][..columns.end];
            let error = (weights[i] - rtn::value(q, grid)) / upper[i];
            errors[i - columns.start] = error;
            for (w, u) in weights[i + 1..columns.end].iter_mut().zip(&upper[i + 1..]) {
                *w -= error * u;
            }
        }
    }
}

/// A matrix reversed and in f32. What has been read is given back row by row, so that there is
/// never more in memory than the matrix was.
fn narrowed(mut matrix: Vec<f64>, k: usize) -> Vec<f32> {
    let mut reversed = Vec::with_capacity(matrix.len());
    while !matrix.is_empty() {
        let rest = matrix.len().saturating_sub(BLOCK * k);
        reversed.extend(matrix[rest..].iter().rev().map(|x| *x as f32));
        matrix.truncate(rest);
        matrix.shrink_to_fit();
    }
    reversed
}

/// The weights were finite when they were read; updates may have made them overflow, in which case
/// any grid is as good.
fn fitted(fit: Fit<'_>, group: &[f32], first: usize, zero_points: bool) -> GroupGrid {
    fit.grid(group, first, zero_points).unwrap_or(GroupGrid { scale: 1.0, zero: rtn::MIDDLE })
}
