//! Rows picked from a table, and the norm that the next product wants of them: the embedding, and
//! the norm of rows that no other op has just written.

use super::check;
use crate::backend::cuda::driver::DevicePtr;
use crate::backend::cuda::kernels::{Kernels, Shape};
use crate::backend::cuda::params::{BF16_VECTOR, EMBED_THREADS, EmbedParams, NORM_GROUP};
use crate::error::Result;

/// A norm that is finished by the product which reads it: `bf16(h * gamma)` and sums of squares of
/// h. `H` is the width of a row, `G` is [`NORM_GROUP`].
#[derive(Debug, Clone, Copy)]
pub struct PreparedNorm {
    /// Weight of the norm, bf16 `[H]`.
    pub gamma: DevicePtr,
    /// `bf16(h * gamma)`, bf16 `[rows, H]`, written whole.
    pub scaled: DevicePtr,
    /// Sums of the squares of neighbours, f32 `[rows, H / G]`, written whole.
    pub squares: DevicePtr,
}

/// Operands of [`embed`].
#[derive(Debug, Clone, Copy)]
pub struct Embed {
    /// Embedding table, bf16 `[vocab, hidden]`.
    pub table: DevicePtr,
    /// Token ids, u32 `[tokens]`. One at or above `vocab` stops the kernel:
    /// [`crate::error::Error::Device`] of a later call.
    pub token_ids: DevicePtr,
    /// Hidden states, bf16 `[tokens, hidden]`, written whole.
    pub out: DevicePtr,
    /// The norm of the first layer. Without it, plain rows.
    pub norm: Option<PreparedNorm>,
    /// Rows of the output.
    pub tokens: u32,
    /// Elements in a row: a multiple of 8, with a norm of 16.
    pub hidden: u32,
    /// Rows of the table.
    pub vocab: u32,
}

/// `out[i] = table[token_ids[i]]`, and the norm of out.
///
/// # Errors
/// [`crate::error::Error::Device`] if the device fails.
///
/// # Panics
/// If an address is null or not aligned to 16 bytes (token ids: 4), or `hidden` is no multiple.
pub fn embed(kernels: &Kernels, op: &Embed) -> Result<()> {
    check::demand(check::words("token_ids", op.token_ids));
    check::demand(check::vectors("out", op.out));
    let params = EmbedParams {
        table: op.table,
        token_ids: op.token_ids,
        out: op.out,
        tokens: op.tokens,
        hidden: op.hidden,
        vocab: op.vocab,
        ..bytemuck::Zeroable::zeroed()
    };
    launch(kernels, &with_norm(params, op.norm))
}

/// Operands of [`prepare_norm`].
#[derive(Debug, Clone, Copy)]
pub struct PrepareNorm {
    /// Hidden states h, bf16 `[rows, hidden]`.
    pub input: DevicePtr,
    /// What is written.
    pub norm: PreparedNorm,
    /// Rows.
    pub rows: u32,
    /// Elements in a row: a multiple of 16.
    pub hidden: u32,
}

/// The norm of rows that are there already, as the product that reads them wants it.
///
/// # Errors
/// [`crate::error::Error::Device`] if the device fails.
///
/// # Panics
/// As [`embed`].
pub fn prepare_norm(kernels: &Kernels, op: &PrepareNorm) -> Result<()> {
    let params = EmbedParams {
        table: op.input,
        tokens: op.rows,
        hidden: op.hidden,
        vocab: op.rows,
        ..bytemuck::Zeroable::zeroed()
    };
    launch(kernels, &with_norm(params, Some(op.norm)))
}

fn with_norm(params: EmbedParams, norm: Option<PreparedNorm>) -> EmbedParams {
    let Some(PreparedNorm { gamma, scaled, squares }) = norm else {
        return params;
    };
    check::demand(check::vectors("gamma", gamma));
    check::demand(check::vectors("scaled", scaled));
    check::demand(check::words("squares", squares));
    EmbedParams { gamma, scaled, squares, ..params }
}

fn launch(kernels: &Kernels, params: &EmbedParams) -> Result<()> {
    check::demand(check::vectors("table", params.table));
    let step = if params.gamma == 0 { BF16_VECTOR } else { NORM_GROUP };
    check::demand(check::multiple("hidden", params.hidden, step));
    let slices = params.hidden.div_ceil(EMBED_THREADS * BF16_VECTOR);
    let grid = [params.tokens, slices, 1];
    let shape = Shape { grid, block: EMBED_THREADS, shared_bytes: 0 };
    kernels.launch("embed_bf16", shape, params)
}
