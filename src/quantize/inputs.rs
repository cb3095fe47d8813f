//! What calibration remembers of the inputs of a matrix: sums, and some rows.

use crate::backend::cpu::CpuBackend;
use crate::backend::{Backend, Epilogue, Phase, Role};
use crate::error::Result;
use crate::tensor::{Dtype, HostMatrix, HostTensor, SharedBytes};
use rayon::prelude::*;
use std::sync::Arc;

/// Rows that are kept as they are: enough to tell the error of a product by.
const SAMPLE_ROWS: usize = 1024;
/// Rows of the Hessian that are computed at a time.
const HESSIAN_ROWS: usize = 256;

/// Sums over the inputs `[rows, k]` of a matrix. Takes `8 k^2` bytes with a Hessian, and `4 k` for
/// each row of the sample.
pub struct Inputs {
    /// Columns.
    pub k: usize,
    /// The sum of `x x^T`, `[k, k]`, below and on the diagonal.
    pub hessian: Option<Vec<f64>>,
    /// Some of the rows, `[sample rows, k]`.
    pub sample: Vec<f32>,
    magnitudes: Vec<f64>,
    squares: Vec<f64>,
    rows: usize,
    stride: usize,
}

impl Inputs {
    /// For `rows` rows that will come.
    pub fn new(k: usize, rows: usize, with_hessian: bool) -> Inputs {
        Inputs {
            k,
            hessian: with_hessian.then(|| vec![0.0; k * k]),
            sample: Vec::new(),
            magnitudes: vec![0.0; k],
            squares: vec![0.0; k],
            rows: 0,
            stride: rows.div_ceil(SAMPLE_ROWS).max(1),
        }
    }

    /// Adds rows.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] without memory.
    pub fn add(&mut self, backend: &CpuBackend, x: &[f32]) -> Result<()> {
        for (i, row) in x.chunks_exact(self.k).enumerate() {
            if (self.rows + i).is_multiple_of(self.stride) {
                self.sample.extend_from_slice(row);
            }
            let sums = self.magnitudes.iter_mut().zip(&mut self.squares);
            for (x, (magnitude, square)) in row.iter().zip(sums) {
                *magnitude += f64::from(x.abs());
                *square += f64::from(x * x);
            }
        }
        self.rows += x.len() / self.k;
        match &mut self.hessian {
            Some(hessian) => add_products(backend, x, self.k, hessian),
            None => Ok(()),
        }
    }

    /// The mean of `|x|` of each column.
    pub fn mean_magnitudes(&self) -> Vec<f32> {
        self.magnitudes.iter().map(|sum| (sum / self.rows as f64) as f32).collect()
    }

    /// The mean of `x^2` of each column.
    pub fn mean_squares(&self) -> Vec<f32> {
        self.squares.iter().map(|sum| (sum / self.rows as f64) as f32).collect()
    }
}

/// Adds `x^T x` for x `[rows, k]`: the sums over the rows of a call in f32, by the product that
/// models run on, the rest in f64.
fn add_products(b: &CpuBackend, x: &[f32], k: usize, hessian: &mut [f64]) -> Result<()> {
    let rows = x.len() / k;
    let mut columns = vec![0.0f32; x.len()];
    columns.par_chunks_mut(rows).enumerate().for_each(|(column, out)| {
        for (out, row) in out.iter_mut().zip(x.chunks_exact(k)) {
            *out = row[column];
        }
    });
    let bytes: Vec<u8> = columns.iter().flat_map(|x| x.to_le_bytes()).collect();
    let bytes = Arc::new(bytes);
    for first in (0..k).step_by(HESSIAN_ROWS) {
        let last = (first + HESSIAN_ROWS).min(k);
        // Row i of the Hessian up to column i: the columns of x up to the last one of this block.
        let range = 0..last * rows * size_of::<f32>();
        let weights = SharedBytes::new(bytes.clone(), range);
        let weights = HostTensor::new("columns", Dtype::F32, vec![last, rows], weights);
        let weights = b.matrix(vec![HostMatrix::Plain(weights)])?;
        let mut block = b.tensor(last - first, rows, Role::Plain)?;
        b.upload(&columns[first * rows..last * rows], &mut block)?;
        let mut products = b.tensor(last - first, last, Role::Plain)?;
        b.gemm(Phase::Prefill, &block, &weights, Epilogue::Store, &mut products)?;
        let products = b.download(&products)?;
        let out = hessian[first * k..last * k].par_chunks_mut(k);
        out.zip(products.par_chunks(last)).enumerate().for_each(|(i, (out, products))| {
            for (out, product) in out[..=first + i].iter_mut().zip(products) {
                *out += f64::from(*product);
            }
        });
    }
    Ok(())
}
