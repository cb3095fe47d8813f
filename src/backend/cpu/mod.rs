//! The reference backend, and the default where there is no GPU.
//!
//! Activations are f32; weights of 16 and 32 bits stay where they are stored, in the mapped
//! checkpoint, and those of 4 bits are packed anew. All results have
//! the same bits on every instruction set, with any number of threads and in both phases.
//!
//! # The order of a product
//!
//! A dot product of K elements is accumulated in sixteen lanes. Lane l starts at +0 and takes
//! k = l, l + 16, l + 32, ... in ascending order, each by one fused multiply-add in f32,
//! `lane = fma(x[k], w[k], lane)`, with both rows continued by +0 up to a multiple of 16. Then the
//! lanes are added as a tree: lane i + lane i + 8 for i below 8, of those i + (i + 4), then
//! i + (i + 2), then the last two. Products with weights, scores of attention and sums of squares
//! all use this order, so the bits of an output follow from its two rows alone: tiles, tasks and
//! the number of rows are free.
//!
//! A quantised weight enters as a number of f32: its scale times a whole number, `scale * (q -
//! zero_point)` with 4 bits and `scale * q` with 8, rounded once. A quantised matrix therefore has
//! the same bits as its twin in f32. Columns that a quantiser has put into an order of its own are
//! taken in that order.

mod attention;
mod gemm;
mod math;
mod matrix;
mod parallel;
mod rows;
mod simd;
mod store;
mod tile;
mod weight;

pub use matrix::Matrix;
pub use simd::InstructionSet;
pub use store::{KvCache, RopeTable, Tensor, Vector};

use super::{Backend, Batch, Epilogue, KvShape, Norm, Phase, QkNorm, Role, StepShape};
use crate::error::{Error, Result};
use crate::request::TokenId;
use crate::sample::{self, SampleRow, Sampled};
use crate::tensor::{Dtype, HostMatrix, HostTensor};
use rayon::prelude::*;

/// The processor that the program runs on. The calling thread works beside one worker fewer than
/// rayon counts threads.
#[derive(Clone, Copy)]
pub struct CpuBackend {
    set: InstructionSet,
}

impl CpuBackend {
    /// The backend on the fastest instructions that the processor has.
    pub fn new() -> CpuBackend {
        let sets = InstructionSet::available();
        CpuBackend::with(*sets.last().expect("the portable set is always there"))
    }

    /// The backend on one of [`InstructionSet::available`], for comparisons.
    pub fn with(set: InstructionSet) -> CpuBackend {
        CpuBackend { set }
    }

    /// The norm of rows as they are: x `[rows, width]`. What the ops that write the residual stream
    /// end with.
    pub fn rmsnorm(&self, x: &Tensor, norm: Norm<'_, CpuBackend>) {
        rows::rmsnorm(self.set, x, norm.weight, norm.eps, norm.out);
    }
}

impl Default for CpuBackend {
    fn default() -> CpuBackend {
        CpuBackend::new()
    }
}

impl Backend for CpuBackend {
    type Matrix = Matrix;
    type Vector = Vector;
    type Tensor = Tensor;
    type RopeTable = RopeTable;
    type KvCache = KvCache;
    type Step = Batch;

    fn describe(&self) -> String {
        let threads = parallel::threads();
        let plural = if threads == 1 { "" } else { "s" };
        format!("CPU, {threads} thread{plural}, {}", self.set)
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn scratch_bytes(
        &self,
        _shape: StepShape,
        _vocab: usize,
        _matrices: &[(usize, usize)],
    ) -> Result<u64> {
        Ok(0)
    }

    fn matrix(&self, parts: Vec<HostMatrix>) -> Result<Matrix> {
        Matrix::new(parts)
    }

    fn gated(&self, gate: HostMatrix, up: HostMatrix) -> Result<Matrix> {
        assert_eq!(gate.shape(), up.shape(), "gate and up");
        Matrix::new(vec![gate, up])
    }

    fn vector(&self, parts: &[HostTensor]) -> Result<Vector> {
        Ok(Vector::new(parts))
    }

    fn tensor(&self, rows: usize, width: usize, _role: Role) -> Result<Tensor> {
        Tensor::new(rows, width)
    }

    fn rope_table(&self, inv_freq: &[f32], positions: usize) -> Result<RopeTable> {
        let mut table = RopeTable::new(inv_freq.len(), positions)?;
        rows::rope_table(inv_freq, table.as_mut_slice());
        Ok(table)
    }

    fn kv_dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn kv_cache(&self, shape: KvShape) -> Result<KvCache> {
        KvCache::new(shape)
    }

    fn step(&self, _shape: StepShape) -> Result<Batch> {
        Ok(Batch::new(Phase::Prefill))
    }

    fn begin(&self, batch: &Batch, step: &mut Batch) -> Result<()> {
        step.clone_from(batch);
        Ok(())
    }

    fn pass(&self, _step: &Batch, body: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        body()
    }

    fn embed(
        &self,
        step: &Batch,
        table: &Matrix,
        norm: Norm<'_, Self>,
        out: &mut Tensor,
    ) -> Result<()> {
        rows::embed(self.set, &step.tokens, table, out);
        self.rmsnorm(out, norm);
        Ok(())
    }

    fn gemm(
        &self,
        _phase: Phase, // both phases have the one order of the module
        x: &Tensor,
        weight: &Matrix,
        epilogue: Epilogue<'_, Self>,
        out: &mut Tensor,
    ) -> Result<()> {
        gemm::gemm(self.set, x, weight, &epilogue, out)?;
        if let Epilogue::Residual(norm) = epilogue {
            self.rmsnorm(out, norm);
        }
        Ok(())
    }

    fn rope_append(
        &self,
        step: &Batch,
        layer: usize,
        qkv: &Tensor,
        norm: Option<QkNorm<'_, Vector>>,
        rope: &RopeTable,
        query: &mut Tensor,
        kv: &mut KvCache,
    ) -> Result<()> {
        rows::rope_append(self.set, step, layer, qkv, norm, rope, query, kv);
        Ok(())
    }

    fn attention(
        &self,
        step: &Batch,
        layer: usize,
        window: Option<usize>,
        query: &Tensor,
        kv: &KvCache,
        out: &mut Tensor,
    ) -> Result<()> {
        attention::attention(self.set, step, layer, window, query, kv, out);
        Ok(())
    }

    fn gather(&self, step: &Batch, x: &Tensor, out: &mut Tensor) -> Result<()> {
        rows::gather(x, &step.logit_rows, out);
        Ok(())
    }

    fn sample(&self, logits: &Tensor, rows: &[SampleRow<'_>]) -> Result<Vec<Sampled>> {
        assert_eq!(rows.len(), logits.rows, "draws from {} rows of logits", logits.rows);
        let draw = |(i, row): (usize, &SampleRow<'_>)| {
            let logits = logits.row(i);
            if let Some(at) = logits.iter().position(|x| !x.is_finite()) {
                let message = format!("CPU: logit {at} of row {i} is {}", logits[at]);
                return Err(Error::Device(message));
            }
            sample::draw(logits, row)
        };
        if rows.len() * logits.width < 1 << 16 {
            return rows.iter().enumerate().map(draw).collect();
        }
        rows.par_iter().enumerate().map(draw).collect()
    }

    fn log_probs(&self, logits: &Tensor, targets: &[TokenId]) -> Result<Vec<f32>> {
        assert_eq!(targets.len(), logits.rows, "targets of {} rows of logits", logits.rows);
        let rate = |(row, &target): (usize, &TokenId)| sample::log_prob(logits.row(row), target);
        Ok(targets.iter().enumerate().map(rate).collect())
    }

    fn download(&self, x: &Tensor) -> Result<Vec<f32>> {
        Ok((0..x.rows).flat_map(|row| x.row(row)).copied().collect())
    }

    fn upload(&self, values: &[f32], out: &mut Tensor) -> Result<()> {
        let width = out.width;
        assert!(values.len().is_multiple_of(width), "{} values in rows of {width}", values.len());
        out.set_rows(values.len() / width);
        for (out, values) in out.rows_mut().zip(values.chunks_exact(width)) {
            out.copy_from_slice(values);
        }
        Ok(())
    }
}
