//! RMSNorm as a pass of its own (Zhang and Sennrich 2019), for engines that link single kernels.
//! The products of this engine read a prepared norm instead: see [`super::embed::PreparedNorm`].

use super::check::{self, Checked};
use crate::backend::cuda::driver::DevicePtr;
use crate::backend::cuda::kernels::{Kernels, Shape};
use crate::backend::cuda::params::{BF16_VECTOR, RMSNORM_THREADS, RmsNormParams};
use crate::error::Result;

/// The most shared memory that a block has without asking for more: the longest row, in bytes.
const ROW_BYTES_MAX: u32 = 48 << 10;

/// Operands of [`rmsnorm`].
#[derive(Debug, Clone, Copy)]
pub struct RmsNorm {
    /// What is added, bf16 `[rows, hidden]`.
    pub input: DevicePtr,
    /// The residual stream, bf16 `[rows, hidden]`, which the rounded sum replaces. `None`: `input`
    /// itself is normalised.
    pub residual: Option<DevicePtr>,
    /// Weight of the norm, bf16 `[hidden]`.
    pub gamma: DevicePtr,
    /// Normalised rows, bf16 `[rows, hidden]`, written whole. May be `input`.
    pub out: DevicePtr,
    /// Rows.
    pub rows: u32,
    /// Elements in a row: a multiple of 8, at most 24,560.
    pub hidden: u32,
    /// Added to the mean of squares before the root.
    pub epsilon: f32,
}

impl RmsNorm {
    /// Whether [`rmsnorm`] takes it.
    pub fn check(&self) -> Checked {
        for (what, at) in [("input", self.input), ("gamma", self.gamma), ("out", self.out)] {
            check::vectors(what, at)?;
        }
        if let Some(residual) = self.residual {
            check::vectors("residual", residual)?;
        }
        check::multiple("hidden", self.hidden, BF16_VECTOR)?;
        // The sums of the warps lie in shared memory too.
        let most = (ROW_BYTES_MAX - RMSNORM_THREADS / 32 * 4) / 2;
        check::ensure(self.hidden <= most, || {
            format!("a row of {} elements, at most {most}", self.hidden)
        })
    }
}

/// `residual += input; out = residual / sqrt(mean(residual^2) + epsilon) * gamma`, row by row.
///
/// # Errors
/// [`crate::error::Error::Device`] if the device fails.
///
/// # Panics
/// If an address is null or not aligned to 16 bytes, or `hidden` is out of its range.
pub fn rmsnorm(kernels: &Kernels, op: &RmsNorm) -> Result<()> {
    check::demand(op.check());
    let params = RmsNormParams {
        input: op.input,
        residual: op.residual.unwrap_or(0),
        gamma: op.gamma,
        out: op.out,
        rows: op.rows,
        hidden: op.hidden,
        epsilon: op.epsilon,
        reserved: 0,
    };
    let shape =
        Shape { grid: [op.rows, 1, 1], block: RMSNORM_THREADS, shared_bytes: 2 * op.hidden };
    kernels.launch("rmsnorm_bf16", shape, &params)
}
