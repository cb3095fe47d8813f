//! The gated activation as a pass of its own, for engines that link single kernels. In this engine
//! the product of gate and up has it as its epilogue.

use super::check::{self, Checked};
use crate::backend::cuda::driver::DevicePtr;
use crate::backend::cuda::kernels::{Kernels, Shape};
use crate::backend::cuda::params::{BF16_VECTOR, SILU_MUL_THREADS, SiluMulParams};
use crate::error::Result;

/// Operands of [`silu_mul`].
#[derive(Debug, Clone, Copy)]
pub struct SiluMul {
    /// Gate and up side by side, bf16 `[rows, 2, intermediate]`.
    pub gate_up: DevicePtr,
    /// bf16 `[rows, intermediate]`, written whole.
    pub out: DevicePtr,
    /// Rows.
    pub rows: u32,
    /// Elements in a row of the output: a multiple of 8.
    pub intermediate: u32,
}

impl SiluMul {
    /// Whether [`silu_mul`] takes it.
    pub fn check(&self) -> Checked {
        check::vectors("gate_up", self.gate_up)?;
        check::vectors("out", self.out)?;
        check::multiple("intermediate", self.intermediate, BF16_VECTOR)
    }
}

/// `out = gate / (1 + exp(-gate)) * up`.
///
/// # Errors
/// [`crate::error::Error::Device`] if the device fails.
///
/// # Panics
/// If an address is null or not aligned to 16 bytes, or `intermediate` is no multiple.
pub fn silu_mul(kernels: &Kernels, op: &SiluMul) -> Result<()> {
    check::demand(op.check());
    let SiluMul { gate_up, out, rows, intermediate } = *op;
    let params = SiluMulParams { gate_up, out, rows, intermediate };
    let slices = intermediate.div_ceil(SILU_MUL_THREADS * BF16_VECTOR);
    let shape = Shape { grid: [rows, slices, 1], block: SILU_MUL_THREADS, shared_bytes: 0 };
    kernels.launch("silu_mul_bf16", shape, &params)
}
