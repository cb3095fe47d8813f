//! What lies between the projection and attention: bias, norm over each head, rotation (Su et al.
//! 2021, in the form that pairs dimension i with i + head_dim / 2), and the way of keys and values
//! into their pages.

use super::check::{self, Checked};
use crate::backend::Heads;
use crate::backend::cuda::driver::DevicePtr;
use crate::backend::cuda::kernels::{Kernels, Shape};
use crate::backend::cuda::params::{ROPE_APPEND_THREADS, RopeAppendParams};
use crate::error::Result;

/// RMSNorm over each query and key head, before the rotation.
#[derive(Debug, Clone, Copy)]
pub struct HeadNorm {
    /// Weight for query heads, bf16 `[head_dim]`.
    pub q_gamma: DevicePtr,
    /// Weight for key heads, bf16 `[head_dim]`.
    pub k_gamma: DevicePtr,
    /// Added to the mean of squares before the root.
    pub epsilon: f32,
}

/// Operands of [`rope_append`].
#[derive(Debug, Clone, Copy)]
pub struct RopeAppend {
    /// Output of the projection, bf16 `[tokens, query + 2 kv, head_dim]`: queries, then keys, then
    /// values.
    pub qkv: DevicePtr,
    /// Bias of the projection, bf16 `[query + 2 kv, head_dim]`.
    pub bias: Option<DevicePtr>,
    /// Norm of queries and keys.
    pub norm: Option<HeadNorm>,
    /// Cosine and sine side by side, f32 `[positions, head_dim / 2, 2]`.
    pub cos_sin: DevicePtr,
    /// Position of each token, u32 `[tokens]`: each a row of `cos_sin`, also where a token only
    /// pads the batch.
    pub positions: DevicePtr,
    /// Place of each token in the cache, u32 `[tokens]`: page times 64 plus the slot in the page,
    /// or `KV_NO_SLOT` for one whose keys and values are not kept.
    pub slots: DevicePtr,
    /// Rotated queries, bf16 `[tokens, query, head_dim]`, written whole.
    pub q_out: DevicePtr,
    /// Keys of the layer, bf16 `[pages, kv, 64, head_dim]`; each (page, head) is swizzled.
    pub k_pages: DevicePtr,
    /// Values of the layer, laid out like the keys.
    pub v_pages: DevicePtr,
    /// The model's heads; head_dim is 64 or 128.
    pub heads: Heads,
    /// Tokens.
    pub tokens: u32,
}

impl RopeAppend {
    /// Whether [`rope_append`] takes it.
    pub fn check(&self) -> Checked {
        let Heads { query, kv, dim } = self.heads;
        check::ensure(dim == 64 || dim == 128, || format!("head_dim {dim}, expected 64 or 128"))?;
        check::ensure(query > 0 && kv > 0, || format!("{query} query heads, {kv} key heads"))?;
        let vectors = [
            ("qkv", self.qkv),
            ("cos_sin", self.cos_sin),
            ("q_out", self.q_out),
            ("k_pages", self.k_pages),
            ("v_pages", self.v_pages),
        ];
        vectors.iter().try_for_each(|(what, at)| check::vectors(what, *at))?;
        self.bias.iter().try_for_each(|at| check::vectors("bias", *at))?;
        if let Some(norm) = &self.norm {
            check::vectors("q_gamma", norm.q_gamma)?;
            check::vectors("k_gamma", norm.k_gamma)?;
        }
        check::words("positions", self.positions)?;
        check::words("slots", self.slots)
    }
}

/// Finishes queries and keys and appends keys and values to their pages.
///
/// # Errors
/// [`crate::error::Error::Device`] if the device fails.
///
/// # Panics
/// If an address is null or not aligned, or there is no kernel for the heads.
pub fn rope_append(kernels: &Kernels, op: &RopeAppend) -> Result<()> {
    check::demand(op.check());
    let Heads { query, kv, dim } = op.heads;
    let params = RopeAppendParams {
        qkv: op.qkv,
        bias: op.bias.unwrap_or(0),
        q_gamma: op.norm.map_or(0, |norm| norm.q_gamma),
        k_gamma: op.norm.map_or(0, |norm| norm.k_gamma),
        cos_sin: op.cos_sin,
        positions: op.positions,
        slots: op.slots,
        q_out: op.q_out,
        k_pages: op.k_pages,
        v_pages: op.v_pages,
        tokens: op.tokens,
        q_heads: query as u32,
        kv_heads: kv as u32,
        epsilon: op.norm.map_or(0.0, |norm| norm.epsilon),
    };
    let heads_per_block = ROPE_APPEND_THREADS / (dim as u32 / 4);
    let blocks = ((query + 2 * kv) as u32).div_ceil(heads_per_block);
    let shape = Shape { grid: [op.tokens, blocks, 1], block: ROPE_APPEND_THREADS, shared_bytes: 0 };
    kernels.launch(&format!("rope_append_bf16_d{dim}"), shape, &params)
}
