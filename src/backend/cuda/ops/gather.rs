//! `gather`: rows of a normed tensor, picked by number.

use crate::backend::cuda::driver::DevicePtr;
use crate::backend::cuda::kernels::{Kernels, Shape};
use crate::backend::cuda::params::{BF16_VECTOR, GATHER_THREADS, GatherParams, NORM_GROUP};
use crate::error::Result;

/// Operands; see [`GatherParams`] for their layouts.
#[derive(Debug, Clone, Copy)]
pub struct Gather {
    /// bf16 `[x_rows, width]`.
    pub x: DevicePtr,
    /// f32 `[x_rows, width / NORM_GROUP]`.
    pub squares: DevicePtr,
    /// u32 `[rows]`.
    pub row_ids: DevicePtr,
    /// bf16 `[rows, width]`.
    pub out: DevicePtr,
    /// f32 `[rows, width / NORM_GROUP]`.
    pub out_squares: DevicePtr,
    /// Rows to write.
    pub rows: usize,
    /// Rows there are.
    pub x_rows: usize,
    /// Elements in a row, a multiple of 16.
    pub width: usize,
}

/// Launches it.
///
/// # Errors
/// [`crate::error::Error::Device`] if the device fails.
pub fn gather(kernels: &Kernels, op: &Gather) -> Result<()> {
    let width = op.width as u32;
    assert!(width > 0 && width.is_multiple_of(NORM_GROUP), "rows of {width}");
    assert!((op.x | op.out).is_multiple_of(16), "rows at {:#x} and {:#x}", op.x, op.out);
    let slices = width.div_ceil(GATHER_THREADS * BF16_VECTOR);
    let shape = Shape { grid: [op.rows as u32, slices, 1], block: GATHER_THREADS, shared_bytes: 0 };
    let params = GatherParams {
        x: op.x,
        squares: op.squares,
        row_ids: op.row_ids,
        out: op.out,
        out_squares: op.out_squares,
        rows: op.rows as u32,
        x_rows: op.x_rows as u32,
        width,
        reserved: 0,
    };
    kernels.launch("gather_bf16", shape, &params)
}
