//! Launch arguments and constants that host and kernels share. Made by `make params` from
//! kernels/params.h and what it includes, where to change them.
//!
//! Headers: df4b403344dcaac622a730af92e1c12c

/// Threads in a block of `embed`. One thread copies one vector, so a row takes
/// `ceil(hidden / (EMBED_THREADS * BF16_VECTOR))` blocks along y and the tokens lie along x.
pub const EMBED_THREADS: u32 = 128;
/// Threads in a block of `gather`. One thread copies a vector and a sum of squares, so a row takes
/// `ceil(width / (GATHER_THREADS * BF16_VECTOR))` blocks along y and the rows lie along x.
pub const GATHER_THREADS: u32 = 128;
/// Threads in a block of `rmsnorm`, which takes one row. Part of the order in which squares are
/// summed, so another number gives other bits.
pub const RMSNORM_THREADS: u32 = 256;
/// Threads in a block of `rope_append`. A head takes `head_dim / 4` of them, so
/// `ceil(heads / (ROPE_APPEND_THREADS / (head_dim / 4)))` blocks lie along y, where `heads` counts
/// query, key and value heads, and the tokens lie along x.
pub const ROPE_APPEND_THREADS: u32 = 128;
/// Threads in a block of `silu_mul`. One thread makes one vector of the output, so a row takes
/// `ceil(intermediate / (SILU_MUL_THREADS * BF16_VECTOR))` blocks along y and the rows lie along x.
pub const SILU_MUL_THREADS: u32 = 128;
/// Arguments of `embed`: rows of a table, picked by index. With `gamma` the kernel also prepares
/// the norm that the next product wants, as `GemmParams` says of `residual`.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct EmbedParams {
    /// Embedding table, or rows of activations, bf16 `[vocab, hidden]`.
    pub table: u64,
    /// Rows to pick, `[tokens]`, each below `vocab`. Null: row i is i.
    pub token_ids: u64,
    /// Picked rows, bf16 `[tokens, hidden]`, written whole. Null: not wanted.
    pub out: u64,
    /// Weight of the norm that follows, bf16 `[hidden]`. Null: no norm.
    pub gamma: u64,
    /// With `gamma`: picked rows times `gamma`, bf16 `[tokens, hidden]`, written whole.
    pub scaled: u64,
    /// With `gamma`: sums of the squares of the picked rows, f32 `[tokens, hidden / NORM_GROUP]`,
    /// written whole.
    pub squares: u64,
    /// Rows to write: the x size of the grid.
    pub tokens: u32,
    /// Elements in a row: a multiple of `BF16_VECTOR`, with `gamma` of `NORM_GROUP`.
    pub hidden: u32,
    /// Rows of the table. An index at or above it stops the kernel with a trap.
    pub vocab: u32,
    /// Keeps the size a multiple of 8 without implicit padding. Zero.
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of EmbedParams"][::std::mem::size_of::<EmbedParams>() - 64usize];
    ["Alignment of EmbedParams"][::std::mem::align_of::<EmbedParams>() - 8usize];
    ["Offset of field: EmbedParams::table"][::std::mem::offset_of!(EmbedParams, table) - 0usize];
    ["Offset of field: EmbedParams::token_ids"]
        [::std::mem::offset_of!(EmbedParams, token_ids) - 8usize];
    ["Offset of field: EmbedParams::out"][::std::mem::offset_of!(EmbedParams, out) - 16usize];
    ["Offset of field: EmbedParams::gamma"][::std::mem::offset_of!(EmbedParams, gamma) - 24usize];
    ["Offset of field: EmbedParams::scaled"][::std::mem::offset_of!(EmbedParams, scaled) - 32usize];
    ["Offset of field: EmbedParams::squares"]
        [::std::mem::offset_of!(EmbedParams, squares) - 40usize];
    ["Offset of field: EmbedParams::tokens"][::std::mem::offset_of!(EmbedParams, tokens) - 48usize];
    ["Offset of field: EmbedParams::hidden"][::std::mem::offset_of!(EmbedParams, hidden) - 52usize];
    ["Offset of field: EmbedParams::vocab"][::std::mem::offset_of!(EmbedParams, vocab) - 56usize];
    ["Offset of field: EmbedParams::reserved"]
        [::std::mem::offset_of!(EmbedParams, reserved) - 60usize];
};
/// Arguments of `gather`: rows of a normed tensor, picked by number.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct GatherParams {
    /// Rows times a norm's weight, bf16 `[x_rows, width]`.
    pub x: u64,
    /// Sums of squares beside them, f32 `[x_rows, width / NORM_GROUP]`.
    pub squares: u64,
    /// Numbers of rows, `[rows]`, each below `x_rows`.
    pub row_ids: u64,
    /// The rows picked, bf16 `[rows, width]`, written whole.
    pub out: u64,
    /// Their sums of squares, f32 `[rows, width / NORM_GROUP]`, written whole.
    pub out_squares: u64,
    /// Rows to write: the x size of the grid.
    pub rows: u32,
    /// Rows there are. A number at or above it stops the kernel with a trap.
    pub x_rows: u32,
    /// Elements in a row, a multiple of `NORM_GROUP`.
    pub width: u32,
    /// Keeps the size a multiple of 8 without implicit padding. Zero.
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GatherParams"][::std::mem::size_of::<GatherParams>() - 56usize];
    ["Alignment of GatherParams"][::std::mem::align_of::<GatherParams>() - 8usize];
    ["Offset of field: GatherParams::x"][::std::mem::offset_of!(GatherParams, x) - 0usize];
    ["Offset of field: GatherParams::squares"]
        [::std::mem::offset_of!(GatherParams, squares) - 8usize];
    ["Offset of field: GatherParams::row_ids"]
        [::std::mem::offset_of!(GatherParams, row_ids) - 16usize];
    ["Offset of field: GatherParams::out"][::std::mem::offset_of!(GatherParams, out) - 24usize];
    ["Offset of field: GatherParams::out_squares"]
        [::std::mem::offset_of!(GatherParams, out_squares) - 32usize];
    ["Offset of field: GatherParams::rows"][::std::mem::offset_of!(GatherParams, rows) - 40usize];
    ["Offset of field: GatherParams::x_rows"]
        [::std::mem::offset_of!(GatherParams, x_rows) - 44usize];
    ["Offset of field: GatherParams::width"][::std::mem::offset_of!(GatherParams, width) - 48usize];
    ["Offset of field: GatherParams::reserved"]
        [::std::mem::offset_of!(GatherParams, reserved) - 52usize];
};
/// Arguments of `rmsnorm`: adds to the residual stream and normalises the sum.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct RmsNormParams {
    /// What is added, bf16 `[rows, hidden]`.
    pub input: u64,
    /// The residual stream, bf16 `[rows, hidden]`, which the sum replaces. Null: no sum, `input`
    /// itself is normalised.
    pub residual: u64,
    /// Weight of the norm, bf16 `[hidden]`.
    pub gamma: u64,
    /// Normalised rows, bf16 `[rows, hidden]`. May be `input`.
    pub out: u64,
    /// Rows: the x size of the grid.
    pub rows: u32,
    /// Elements in a row, a multiple of `BF16_VECTOR`. The launch gives twice as many bytes of
    /// dynamic shared memory.
    pub hidden: u32,
    /// Added to the mean of squares before the root.
    pub epsilon: f32,
    /// Keeps the size a multiple of 8 without implicit padding. Zero.
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RmsNormParams"][::std::mem::size_of::<RmsNormParams>() - 48usize];
    ["Alignment of RmsNormParams"][::std::mem::align_of::<RmsNormParams>() - 8usize];
    ["Offset of field: RmsNormParams::input"]
        [::std::mem::offset_of!(RmsNormParams, input) - 0usize];
    ["Offset of field: RmsNormParams::residual"]
        [::std::mem::offset_of!(RmsNormParams, residual) - 8usize];
    ["Offset of field: RmsNormParams::gamma"]
        [::std::mem::offset_of!(RmsNormParams, gamma) - 16usize];
    ["Offset of field: RmsNormParams::out"][::std::mem::offset_of!(RmsNormParams, out) - 24usize];
    ["Offset of field: RmsNormParams::rows"][::std::mem::offset_of!(RmsNormParams, rows) - 32usize];
    ["Offset of field: RmsNormParams::hidden"]
        [::std::mem::offset_of!(RmsNormParams, hidden) - 36usize];
    ["Offset of field: RmsNormParams::epsilon"]
        [::std::mem::offset_of!(RmsNormParams, epsilon) - 40usize];
    ["Offset of field: RmsNormParams::reserved"]
        [::std::mem::offset_of!(RmsNormParams, reserved) - 44usize];
};
/// Arguments of `rope_append`: finishes queries and keys and puts keys and values into the cache.
/// `heads` below is `q_heads + 2 * kv_heads`: queries first, then keys, then values.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct RopeAppendParams {
    /// Output of the projection, bf16 `[tokens, heads, head_dim]`.
    pub qkv: u64,
    /// Bias of the projection, bf16 `[heads, head_dim]`, or null.
    pub bias: u64,
    /// Weight of the norm over each query head, bf16 `[head_dim]`. Null: no norm, for keys too.
    pub q_gamma: u64,
    /// Weight of the norm over each key head, bf16 `[head_dim]`. Null exactly where `q_gamma` is.
    pub k_gamma: u64,
    /// Cosine and sine side by side, f32 `[positions, head_dim / 2, 2]`.
    pub cos_sin: u64,
    /// Position of each token in its sequence, `[tokens]`, each a row of `cos_sin`.
    pub positions: u64,
    /// Place of each token in the cache, `[tokens]`: page times `KV_PAGE_TOKENS` plus the slot in
    /// it, or `KV_NO_SLOT`.
    pub slots: u64,
    /// Rotated queries, bf16 `[tokens, q_heads, head_dim]`, written whole.
    pub q_out: u64,
    /// Keys of this layer, bf16 `[pages, kv_heads, KV_PAGE_TOKENS, head_dim]`, swizzled.
    pub k_pages: u64,
    /// Values of this layer, laid out like the keys.
    pub v_pages: u64,
    /// Tokens: the x size of the grid.
    pub tokens: u32,
    /// Query heads.
    pub q_heads: u32,
    /// Key heads, and as many value heads.
    pub kv_heads: u32,
    /// Added to the mean of squares before the root, where there is a norm.
    pub epsilon: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of RopeAppendParams"][::std::mem::size_of::<RopeAppendParams>() - 96usize];
    ["Alignment of RopeAppendParams"][::std::mem::align_of::<RopeAppendParams>() - 8usize];
    ["Offset of field: RopeAppendParams::qkv"]
        [::std::mem::offset_of!(RopeAppendParams, qkv) - 0usize];
    ["Offset of field: RopeAppendParams::bias"]
        [::std::mem::offset_of!(RopeAppendParams, bias) - 8usize];
    ["Offset of field: RopeAppendParams::q_gamma"]
        [::std::mem::offset_of!(RopeAppendParams, q_gamma) - 16usize];
    ["Offset of field: RopeAppendParams::k_gamma"]
        [::std::mem::offset_of!(RopeAppendParams, k_gamma) - 24usize];
    ["Offset of field: RopeAppendParams::cos_sin"]
        [::std::mem::offset_of!(RopeAppendParams, cos_sin) - 32usize];
    ["Offset of field: RopeAppendParams::positions"]
        [::std::mem::offset_of!(RopeAppendParams, positions) - 40usize];
    ["Offset of field: RopeAppendParams::slots"]
        [::std::mem::offset_of!(RopeAppendParams, slots) - 48usize];
    ["Offset of field: RopeAppendParams::q_out"]
        [::std::mem::offset_of!(RopeAppendParams, q_out) - 56usize];
    ["Offset of field: RopeAppendParams::k_pages"]
        [::std::mem::offset_of!(RopeAppendParams, k_pages) - 64usize];
    ["Offset of field: RopeAppendParams::v_pages"]
        [::std::mem::offset_of!(RopeAppendParams, v_pages) - 72usize];
    ["Offset of field: RopeAppendParams::tokens"]
        [::std::mem::offset_of!(RopeAppendParams, tokens) - 80usize];
    ["Offset of field: RopeAppendParams::q_heads"]
        [::std::mem::offset_of!(RopeAppendParams, q_heads) - 84usize];
    ["Offset of field: RopeAppendParams::kv_heads"]
        [::std::mem::offset_of!(RopeAppendParams, kv_heads) - 88usize];
    ["Offset of field: RopeAppendParams::epsilon"]
        [::std::mem::offset_of!(RopeAppendParams, epsilon) - 92usize];
};
/// Arguments of `silu_mul`: the gated activation of the feed-forward layer.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SiluMulParams {
    /// Gate and up projections side by side, bf16 `[rows, 2, intermediate]`.
    pub gate_up: u64,
    /// `silu(gate) * up`, bf16 `[rows, intermediate]`, written whole.
    pub out: u64,
    /// Rows: the x size of the grid.
    pub rows: u32,
    /// Elements in a row of the output, a multiple of `BF16_VECTOR`.
    pub intermediate: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SiluMulParams"][::std::mem::size_of::<SiluMulParams>() - 24usize];
    ["Alignment of SiluMulParams"][::std::mem::align_of::<SiluMulParams>() - 8usize];
    ["Offset of field: SiluMulParams::gate_up"]
        [::std::mem::offset_of!(SiluMulParams, gate_up) - 0usize];
    ["Offset of field: SiluMulParams::out"][::std::mem::offset_of!(SiluMulParams, out) - 8usize];
    ["Offset of field: SiluMulParams::rows"][::std::mem::offset_of!(SiluMulParams, rows) - 16usize];
    ["Offset of field: SiluMulParams::intermediate"]
        [::std::mem::offset_of!(SiluMulParams, intermediate) - 20usize];
};
