//! The ops that take rows one by one: norm, gated activation, rotation and append.

use super::super::memory::{self as c, sized};
use super::super::status::rp_status;
use super::{refuse, rp_heads, rp_kernels, with};
use crate::backend::Heads;
use crate::backend::cuda::ops::activation::{self, SiluMul};
use crate::backend::cuda::ops::norm::{self, RmsNorm};
use crate::backend::cuda::ops::rope::{self, HeadNorm, RopeAppend};

/// `residual += input; out = residual / sqrt(mean(residual^2) + epsilon) * gamma`, row by row.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_rmsnorm {
    /// sizeof(rp_rmsnorm).
    pub size: usize,
    /// Device, bf16 `[rows, hidden]`: what is added.
    pub input: u64,
    /// Device, bf16 `[rows, hidden]`, replaced by the rounded sum; 0: `input` is normalised.
    pub residual: u64,
    /// Device, bf16 `[hidden]`: the weight.
    pub gamma: u64,
    /// Device, bf16 `[rows, hidden]`, written whole. May be `input`.
    pub out: u64,
    /// Rows.
    pub rows: u32,
    /// Elements in a row: a multiple of 8, at most 24,560.
    pub hidden: u32,
    /// Added to the mean of squares before the root.
    pub epsilon: f32,
    /// Zero.
    pub reserved: u32,
}

/// `out = gate / (1 + exp(-gate)) * up`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_silu_mul {
    /// sizeof(rp_silu_mul).
    pub size: usize,
    /// Device, bf16 `[rows, 2, intermediate]`: gate and up side by side.
    pub gate_up: u64,
    /// Device, bf16 `[rows, intermediate]`, written whole.
    pub out: u64,
    /// Rows.
    pub rows: u32,
    /// Elements in a row of the output: a multiple of 8.
    pub intermediate: u32,
}

/// Finishes the output of the projection (bias, norm over heads, rotation of dimension i with
/// i + dim / 2) and appends keys and values to their pages.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_rope_append {
    /// sizeof(rp_rope_append).
    pub size: usize,
    /// Device, bf16 `[tokens, query + 2 kv, dim]`: queries, then keys, then values.
    pub qkv: u64,
    /// Device, bf16 `[query + 2 kv, dim]`; 0 for none.
    pub bias: u64,
    /// Device, bf16 `[dim]`: weight of the norm over query heads; 0, with the next, for none.
    pub q_gamma: u64,
    /// Device, bf16 `[dim]`: weight of the norm over key heads.
    pub k_gamma: u64,
    /// Device, f32 `[positions, dim / 2, 2]`: cosine and sine side by side.
    pub cos_sin: u64,
    /// Device, u32 `[tokens]`: the position of each token, a row of `cos_sin`.
    pub positions: u64,
    /// Device, u32 `[tokens]`: page * 64 + slot in the page, or RP_NO_SLOT for a token whose keys
    /// and values are not kept.
    pub slots: u64,
    /// Device, bf16 `[tokens, query, dim]`: rotated queries, written whole.
    pub q_out: u64,
    /// Device, bf16 `[pages, kv, 64, dim]`: keys of the layer, swizzled as attention reads them.
    pub k_pages: u64,
    /// Device, laid out like the keys.
    pub v_pages: u64,
    /// The model's heads.
    pub heads: rp_heads,
    /// Tokens.
    pub tokens: u32,
    /// Of the norm over heads: added to the mean of squares before the root.
    pub epsilon: f32,
    /// Zero.
    pub reserved: u32,
}

/// A slot of a token whose keys and values are not kept.
pub const RP_NO_SLOT: u32 = u32::MAX;

sized!(rp_rmsnorm with reserved, rp_silu_mul, rp_rope_append with reserved);

pub(super) fn heads(heads: rp_heads) -> Heads {
    Heads { query: heads.query as usize, kv: heads.kv as usize, dim: heads.dim as usize }
}

/// Launches RMSNorm.
///
/// # Safety
/// `op` is a struct as large as it says, and its addresses hold what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_rmsnorm_run(
    kernels: *mut rp_kernels,
    op: *const rp_rmsnorm,
) -> rp_status {
    with(kernels, |held| {
        // SAFETY: as the caller promises.
        let op = unsafe { c::read(op) }?;
        let op = RmsNorm {
            input: op.input,
            residual: (op.residual != 0).then_some(op.residual),
            gamma: op.gamma,
            out: op.out,
            rows: op.rows,
            hidden: op.hidden,
            epsilon: op.epsilon,
        };
        op.check().map_err(refuse("rmsnorm"))?;
        Ok(norm::rmsnorm(&held.kernels, &op)?)
    })
}

/// Launches SiLU and multiplication.
///
/// # Safety
/// As `rp_rmsnorm_run`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_silu_mul_run(
    kernels: *mut rp_kernels,
    op: *const rp_silu_mul,
) -> rp_status {
    with(kernels, |held| {
        // SAFETY: as the caller promises.
        let op = unsafe { c::read(op) }?;
        let rp_silu_mul { gate_up, out, rows, intermediate, .. } = op;
        let op = SiluMul { gate_up, out, rows, intermediate };
        op.check().map_err(refuse("silu_mul"))?;
        Ok(activation::silu_mul(&held.kernels, &op)?)
    })
}

/// Launches rotation and append.
///
/// # Safety
/// As `rp_rmsnorm_run`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_rope_append_run(
    kernels: *mut rp_kernels,
    op: *const rp_rope_append,
) -> rp_status {
    with(kernels, |held| {
        // SAFETY: as the caller promises.
        let op = unsafe { c::read(op) }?;
        let has_norm = op.q_gamma != 0 || op.k_gamma != 0;
        let norm = HeadNorm { q_gamma: op.q_gamma, k_gamma: op.k_gamma, epsilon: op.epsilon };
        let op = RopeAppend {
            qkv: op.qkv,
            bias: (op.bias != 0).then_some(op.bias),
            norm: has_norm.then_some(norm),
            cos_sin: op.cos_sin,
            positions: op.positions,
            slots: op.slots,
            q_out: op.q_out,
            k_pages: op.k_pages,
            v_pages: op.v_pages,
            heads: heads(op.heads),
            tokens: op.tokens,
        };
        op.check().map_err(refuse("rope_append"))?;
        Ok(rope::rope_append(&held.kernels, &op)?)
    })
}
