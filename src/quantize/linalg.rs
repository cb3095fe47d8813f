//! Factors of symmetric matrices in f64, blocked and on all threads.
//!
//! The factor and its inverse cost `n^3 / 6` multiply-adds each, nearly all of them in `subtract`,
//! whose loop the compiler vectorises. Matrices are row-major, `[n, n]`.

use rayon::prelude::*;
use std::ops::{Mul, Sub};

/// Columns that are eliminated at a time: their rows fit into the second-level cache.
const BLOCK: usize = 64;
/// Columns of an update whose operands stay in the first- and second-level cache.
const TILE: usize = 256;
/// Rows of a task: they share what is read of the panel.
const ROWS: usize = 8;
/// Terms that are added in one pass over the output.
const TERMS: usize = 8;

/// `out[j] -= sum over t of coefficients[t] * rows[t * stride + j]`, t ascending.
#[inline]
pub(super) fn subtract<T>(out: &mut [T], coefficients: &[T], rows: &[T], stride: usize)
where
    T: Copy + Mul<Output = T> + Sub<Output = T>,
{
    let (blocks, rest) = coefficients.as_chunks::<TERMS>();
    for (i, c) in blocks.iter().enumerate() {
        let terms: [&[T]; TERMS] =
            std::array::from_fn(|t| &rows[(i * TERMS + t) * stride..][..out.len()]);
        for j in 0..out.len() {
            let mut sum = out[j];
            for t in 0..TERMS {
                sum = sum - c[t] * terms[t][j];
            }
            out[j] = sum;
        }
    }
    for (i, c) in rest.iter().enumerate() {
        let row = &rows[(blocks.len() * TERMS + i) * stride..][..out.len()];
        for (out, x) in out.iter_mut().zip(row) {
            *out = *out - *c * *x;
        }
    }
}

/// Rows and columns of `[n, n]` in another order, in place: `[i, j]` becomes what was
/// `[order[i], order[j]]`.
///
/// # Panics
/// If `order` leaves out a row; a row that comes twice leaves out another.
pub fn permute(a: &mut [f64], order: &[usize]) {
    let n = order.len();
    assert_eq!(a.len(), n * n, "a matrix [{n}, {n}]");
    a.par_chunks_mut(n).for_each(|row| {
        let before = row.to_vec();
        row.iter_mut().zip(order).for_each(|(x, &from)| *x = before[from]);
    });
    // Each cycle of the order hands on the row that it began with until that is at its end.
    let mut is_done = vec![false; n];
    for start in 0..n {
        let mut at = start;
        while !is_done[at] {
            is_done[at] = true;
            let from = order[at];
            assert!(from == start || !is_done[from], "row {from} comes twice");
            if from != start {
                let (first, second) = a.split_at_mut(at.max(from) * n);
                first[at.min(from) * n..][..n].swap_with_slice(&mut second[..n]);
                at = from;
            }
        }
    }
}

/// Replaces the lower triangle of a symmetric matrix by L with `L L^T` the matrix. What lies above
/// the diagonal is not read, and means nothing afterwards. False if it is not positive definite.
pub fn cholesky(a: &mut [f64], n: usize) -> bool {
    assert_eq!(a.len(), n * n, "a matrix [{n}, {n}]");
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let (top, below) = a.split_at_mut(end * n);
        if !cholesky_block(&mut top[start * n..], start, n) {
            return false;
        }
        let diagonal = &top[start * n..];
        below.par_chunks_mut(n).for_each(|row| {
            for j in start..end {
                let other = &diagonal[(j - start) * n..][..n];
                row[j] = (row[j] - dot(&row[start..j], &other[start..j])) / other[j];
            }
        });
        // The columns just done, as rows: the update then runs along memory.
        let width = n - end;
        let mut panel = vec![0.0; (end - start) * width];
        for (i, row) in below.chunks(n).enumerate() {
            for (t, x) in row[start..end].iter().enumerate() {
                panel[t * width + i] = *x;
            }
        }
        below.par_chunks_mut(ROWS * n).enumerate().for_each(|(task, rows)| {
            for first in (0..width).step_by(TILE) {
                for (i, row) in rows.chunks_mut(n).enumerate() {
                    let last = (first + TILE).min(task * ROWS + i + 1);
                    let (left, right) = row.split_at_mut(end);
                    if first < last {
                        let (out, panel) = (&mut right[first..last], &panel[first..]);
                        subtract(out, &left[start..end], panel, width);
                    }
                }
            }
        });
    }
    true
}

/// The block on the diagonal that begins at `start`; `rows` are its rows of `n`.
fn cholesky_block(rows: &mut [f64], start: usize, n: usize) -> bool {
    for i in 0..rows.len() / n {
        for j in 0..=i {
            let (before, from) = rows.split_at_mut(i * n);
            let row = &mut from[..n];
            let at = start + j;
            if i == j {
                let square = row[at] - dot(&row[start..at], &row[start..at]);
                if !(square > 0.0 && square.is_finite()) {
                    return false;
                }
                row[at] = square.sqrt();
            } else {
                let other = &before[j * n..][..n];
                row[at] = (row[at] - dot(&row[start..at], &other[start..at])) / other[at];
            }
        }
    }
    true
}

/// Replaces the lower triangular L by its inverse, with zeros above the diagonal.
pub fn invert_lower(l: &mut [f64], n: usize) {
    assert_eq!(l.len(), n * n, "a matrix [{n}, {n}]");
    for start in (0..n).step_by(BLOCK) {
        let end = (start + BLOCK).min(n);
        let (done, rest) = l.split_at_mut(start * n);
        let block = &mut rest[..(end - start) * n];
        let factors = block.to_vec();
        block.par_chunks_mut(n).zip(factors.par_chunks(n)).enumerate().for_each(
            |(i, (row, factors))| {
                row.fill(0.0);
                row[start + i] = 1.0;
                for first in (0..start).step_by(TILE) {
                    // Rows above `first` of the inverse have nothing in these columns.
                    let last = (first + TILE).min(start);
                    let rows = &done[first * n + first..];
                    subtract(&mut row[first..last], &factors[first..start], rows, n);
                }
            },
        );
        for i in 0..end - start {
            let (before, from) = block.split_at_mut(i * n);
            let factors = &factors[i * n..][..n];
            let row = &mut from[..end];
            subtract(row, &factors[start..start + i], before, n);
            let pivot = factors[start + i];
            row.iter_mut().for_each(|x| *x /= pivot);
        }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
