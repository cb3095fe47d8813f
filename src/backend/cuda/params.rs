//! Launch arguments and constants that host and kernels share. Made by `make params` from
//! kernels/params.h and what it includes, where to change them.
//!
//! Headers: f63b06f6ce055b0d77dd51017b4d490a

/// Tokens in one page of the KV cache.
pub const KV_PAGE_TOKENS: u32 = 64;
/// Elements of bf16 in the 16 bytes that a thread loads or stores at once. Rows whose length the
/// kernels take in vectors must be a multiple of it.
pub const BF16_VECTOR: u32 = 8;
/// What stands in `RopeAppendParams::slots` for a row whose keys and values are not kept, such as
/// one that pads a batch to the size of a captured graph.
pub const KV_NO_SLOT: u32 = 4294967295;
/// Neighbouring elements of a row whose squares are summed by the kernel that writes the row, so
/// that the product which reads it needs no pass of its own for the norm. Part of the order of
/// that sum.
pub const NORM_GROUP: u32 = 16;
/// Tokens whose keys and values one block of `attention_decode` takes: a chunk begins at a
/// multiple of it. Part of the order of sums, so another number gives other bits.
pub const ATTENTION_CHUNK: u32 = 256;
/// Most columns of a block of `attention_decode`. A column is one query head at one position;
/// those of a key/value head are numbered position by position.
pub const ATTENTION_COLUMNS: u32 = 32;
/// Threads in a block of `attention_decode` and of `attention_prefill`. In decode, warp i takes
/// page i of the chunk, so the number is part of the order of sums.
pub const ATTENTION_THREADS: u32 = 128;
/// Work that the host plans for `attention_decode`: a chunk of a sequence under some columns, for
/// each key/value head. A sector of 32 bytes, so that a block starts after one read.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AttentionItem {
    /// First row of the sequence in the batch.
    pub row: u32,
    /// Position of that row. The rows after it have the next positions. `KV_NO_SLOT`: the rows pad
    /// the batch, see nothing, and become zero.
    pub position: u32,
    /// The sequence's row of the block tables.
    pub table: u32,
    /// Number of the chunk: its tokens begin at position `chunk * ATTENTION_CHUNK`.
    pub chunk: u32,
    /// First column, a multiple of `ATTENTION_COLUMNS`. Column c of key/value head h is row
    /// `c / group` of the sequence under query head `h * group + c % group`.
    pub first_column: u32,
    /// Columns, 1 to `ATTENTION_COLUMNS`.
    pub columns: u32,
    /// Fill the sector. Zero.
    pub reserved: [u32; 2usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionItem"][::std::mem::size_of::<AttentionItem>() - 32usize];
    ["Alignment of AttentionItem"][::std::mem::align_of::<AttentionItem>() - 4usize];
    ["Offset of field: AttentionItem::row"][::std::mem::offset_of!(AttentionItem, row) - 0usize];
    ["Offset of field: AttentionItem::position"]
        [::std::mem::offset_of!(AttentionItem, position) - 4usize];
    ["Offset of field: AttentionItem::table"]
        [::std::mem::offset_of!(AttentionItem, table) - 8usize];
    ["Offset of field: AttentionItem::chunk"]
        [::std::mem::offset_of!(AttentionItem, chunk) - 12usize];
    ["Offset of field: AttentionItem::first_column"]
        [::std::mem::offset_of!(AttentionItem, first_column) - 16usize];
    ["Offset of field: AttentionItem::columns"]
        [::std::mem::offset_of!(AttentionItem, columns) - 20usize];
    ["Offset of field: AttentionItem::reserved"]
        [::std::mem::offset_of!(AttentionItem, reserved) - 24usize];
};
/// Arguments of `attention_decode`: causal attention of few rows of each sequence over its pages.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AttentionDecodeParams {
    /// Rotated queries, bf16 `[rows, q_heads, head_dim]`.
    pub q: u64,
    /// Keys of this layer as `RopeAppendParams` has them.
    pub k_pages: u64,
    /// Values of this layer, laid out like the keys.
    pub v_pages: u64,
    /// Pages of each sequence in order, `[tables, table_stride]`. Entries past a sequence's last
    /// row, or before all its windows, are not read.
    pub block_tables: u64,
    /// Number of items.
    pub item_count: u64,
    /// The work, `[item_count]`. Blocks share out the pairs of item and key/value head.
    pub items: u64,
    /// Weighted values, bf16 `[rows, q_heads, head_dim]`, written whole.
    pub out: u64,
    /// Sums of weighted values of a chunk, f32 `[rows, q_heads, chunk_stride, head_dim]`.
    pub partials: u64,
    /// Maximum and sum of weights of a chunk, f32 `[rows, q_heads, chunk_stride, 2]`.
    pub partial_weights: u64,
    /// Counts the blocks that have finished a chunk, `[rows, kv_heads]`; zero before and after.
    pub arrivals: u64,
    /// Query heads, `group` for each key/value head.
    pub q_heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Entries of a block table.
    pub table_stride: u32,
    /// Chunks that `partials` has room for.
    pub chunk_stride: u32,
    /// Positions that a row sees, itself included: at most 2^31, which is all.
    pub window: u32,
    /// What scores are multiplied by to become exponents of 2: `log2(e) / sqrt(head_dim)`.
    pub scale_log2: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionDecodeParams"][::std::mem::size_of::<AttentionDecodeParams>() - 104usize];
    ["Alignment of AttentionDecodeParams"]
        [::std::mem::align_of::<AttentionDecodeParams>() - 8usize];
    ["Offset of field: AttentionDecodeParams::q"]
        [::std::mem::offset_of!(AttentionDecodeParams, q) - 0usize];
    ["Offset of field: AttentionDecodeParams::k_pages"]
        [::std::mem::offset_of!(AttentionDecodeParams, k_pages) - 8usize];
    ["Offset of field: AttentionDecodeParams::v_pages"]
        [::std::mem::offset_of!(AttentionDecodeParams, v_pages) - 16usize];
    ["Offset of field: AttentionDecodeParams::block_tables"]
        [::std::mem::offset_of!(AttentionDecodeParams, block_tables) - 24usize];
    ["Offset of field: AttentionDecodeParams::item_count"]
        [::std::mem::offset_of!(AttentionDecodeParams, item_count) - 32usize];
    ["Offset of field: AttentionDecodeParams::items"]
        [::std::mem::offset_of!(AttentionDecodeParams, items) - 40usize];
    ["Offset of field: AttentionDecodeParams::out"]
        [::std::mem::offset_of!(AttentionDecodeParams, out) - 48usize];
    ["Offset of field: AttentionDecodeParams::partials"]
        [::std::mem::offset_of!(AttentionDecodeParams, partials) - 56usize];
    ["Offset of field: AttentionDecodeParams::partial_weights"]
        [::std::mem::offset_of!(AttentionDecodeParams, partial_weights) - 64usize];
    ["Offset of field: AttentionDecodeParams::arrivals"]
        [::std::mem::offset_of!(AttentionDecodeParams, arrivals) - 72usize];
    ["Offset of field: AttentionDecodeParams::q_heads"]
        [::std::mem::offset_of!(AttentionDecodeParams, q_heads) - 80usize];
    ["Offset of field: AttentionDecodeParams::kv_heads"]
        [::std::mem::offset_of!(AttentionDecodeParams, kv_heads) - 84usize];
    ["Offset of field: AttentionDecodeParams::table_stride"]
        [::std::mem::offset_of!(AttentionDecodeParams, table_stride) - 88usize];
    ["Offset of field: AttentionDecodeParams::chunk_stride"]
        [::std::mem::offset_of!(AttentionDecodeParams, chunk_stride) - 92usize];
    ["Offset of field: AttentionDecodeParams::window"]
        [::std::mem::offset_of!(AttentionDecodeParams, window) - 96usize];
    ["Offset of field: AttentionDecodeParams::scale_log2"]
        [::std::mem::offset_of!(AttentionDecodeParams, scale_log2) - 100usize];
};
/// Work that the host plans for `attention_prefill`: neighbouring rows of one sequence, for each
/// query head.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AttentionTile {
    /// First row in the batch.
    pub row: u32,
    /// Rows: at least 1, at most those of the variant's tile.
    pub rows: u32,
    /// Position of the first row. The rows after it have the next positions.
    pub position: u32,
    /// The sequence's row of the block tables.
    pub table: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionTile"][::std::mem::size_of::<AttentionTile>() - 16usize];
    ["Alignment of AttentionTile"][::std::mem::align_of::<AttentionTile>() - 4usize];
    ["Offset of field: AttentionTile::row"][::std::mem::offset_of!(AttentionTile, row) - 0usize];
    ["Offset of field: AttentionTile::rows"][::std::mem::offset_of!(AttentionTile, rows) - 4usize];
    ["Offset of field: AttentionTile::position"]
        [::std::mem::offset_of!(AttentionTile, position) - 8usize];
    ["Offset of field: AttentionTile::table"]
        [::std::mem::offset_of!(AttentionTile, table) - 12usize];
};
/// Arguments of `attention_prefill`: causal attention of many rows of a sequence over its pages.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AttentionPrefillParams {
    /// Rotated queries, bf16 `[rows, q_heads, head_dim]`.
    pub q: u64,
    /// Keys of this layer as `RopeAppendParams` has them.
    pub k_pages: u64,
    /// Values of this layer, laid out like the keys.
    pub v_pages: u64,
    /// Pages of each sequence in order, `[tables, table_stride]`. Entries past a sequence's last
    /// row, or before all its windows, are not read.
    pub block_tables: u64,
    /// The work: the y size of the grid. The query heads lie along x.
    pub tiles: u64,
    /// Weighted values, bf16 `[rows, q_heads, head_dim]`; the rows of the tiles are written.
    pub out: u64,
    /// Query heads, `group` for each key/value head.
    pub q_heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Entries of a block table.
    pub table_stride: u32,
    /// Positions that a row sees, itself included: at most 2^31, which is all.
    pub window: u32,
    /// What scores are multiplied by to become exponents of 2: `log2(e) / sqrt(head_dim)`.
    pub scale_log2: f32,
    /// Keeps the size a multiple of 8 without implicit padding. Zero.
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionPrefillParams"][::std::mem::size_of::<AttentionPrefillParams>() - 72usize];
    ["Alignment of AttentionPrefillParams"]
        [::std::mem::align_of::<AttentionPrefillParams>() - 8usize];
    ["Offset of field: AttentionPrefillParams::q"]
        [::std::mem::offset_of!(AttentionPrefillParams, q) - 0usize];
    ["Offset of field: AttentionPrefillParams::k_pages"]
        [::std::mem::offset_of!(AttentionPrefillParams, k_pages) - 8usize];
    ["Offset of field: AttentionPrefillParams::v_pages"]
        [::std::mem::offset_of!(AttentionPrefillParams, v_pages) - 16usize];
    ["Offset of field: AttentionPrefillParams::block_tables"]
        [::std::mem::offset_of!(AttentionPrefillParams, block_tables) - 24usize];
    ["Offset of field: AttentionPrefillParams::tiles"]
        [::std::mem::offset_of!(AttentionPrefillParams, tiles) - 32usize];
    ["Offset of field: AttentionPrefillParams::out"]
        [::std::mem::offset_of!(AttentionPrefillParams, out) - 40usize];
    ["Offset of field: AttentionPrefillParams::q_heads"]
        [::std::mem::offset_of!(AttentionPrefillParams, q_heads) - 48usize];
    ["Offset of field: AttentionPrefillParams::kv_heads"]
        [::std::mem::offset_of!(AttentionPrefillParams, kv_heads) - 52usize];
    ["Offset of field: AttentionPrefillParams::table_stride"]
        [::std::mem::offset_of!(AttentionPrefillParams, table_stride) - 56usize];
    ["Offset of field: AttentionPrefillParams::window"]
        [::std::mem::offset_of!(AttentionPrefillParams, window) - 60usize];
    ["Offset of field: AttentionPrefillParams::scale_log2"]
        [::std::mem::offset_of!(AttentionPrefillParams, scale_log2) - 64usize];
    ["Offset of field: AttentionPrefillParams::reserved"]
        [::std::mem::offset_of!(AttentionPrefillParams, reserved) - 68usize];
};
/// Rows of W, so features of the output, that a block of `gemm_decode` takes.
pub const GEMM_DECODE_FEATURES: u32 = 64;
/// Warps of a block of `gemm_decode`, each with a slice of K of its own. Part of the order of sums,
/// so another number gives other bits; so do `GEMM_DECODE_BF16_K` and the number of blocks along K.
pub const GEMM_DECODE_WARPS: u32 = 4;
/// Columns of bf16 weights that a warp of `gemm_decode` takes in one step.
pub const GEMM_DECODE_BF16_K: u32 = 64;
/// Steps that a warp of `gemm_decode` has room for with bf16 weights.
pub const GEMM_DECODE_BF16_STAGES: u32 = 3;
/// Steps that a warp of `gemm_decode` has room for with int4 weights in groups of 128, each a unit
/// of packed weights; with groups of 64 twice as many.
pub const GEMM_DECODE_INT4_STAGES: u32 = 4;
/// The same of the shallow rings, for devices whose blocks have less shared memory. No bit of a
/// result depends on it.
pub const GEMM_DECODE_BF16_SHALLOW_STAGES: u32 = 2;
/// The same with int4 weights: one unit in work, and on their way as many more as have this many
/// columns.
pub const GEMM_DECODE_INT4_SHALLOW_COLUMNS: u32 = 128;
/// Rows of W in a unit of packed int4 weights. Its columns are one group.
pub const INT4_UNIT_ROWS: u32 = 64;
/// Columns of a unit of packed int8 weights, which has 64 rows too. What a warp of `gemm_decode`
/// takes in one step, and so part of the order of sums.
pub const INT8_UNIT_COLUMNS: u32 = 64;
/// Units that a warp of `gemm_decode` has room for with int8 weights.
pub const GEMM_DECODE_INT8_STAGES: u32 = 4;
/// The same of the shallow rings.
pub const GEMM_DECODE_INT8_SHALLOW_STAGES: u32 = 3;
/// Rows of W that a block of `gemm_prefill` takes.
pub const GEMM_PREFILL_FEATURES: u32 = 128;
/// Threads in a block of `gemm_prefill`.
pub const GEMM_PREFILL_THREADS: u32 = 256;
/// Columns of W that a block of `gemm_prefill` takes in one step.
pub const GEMM_PREFILL_K: u32 = 64;
/// Steps that a block of `gemm_prefill` has room for.
pub const GEMM_PREFILL_STAGES: u32 = 3;
/// The same with int4 weights, where a block has a multiprocessor for itself.
pub const GEMM_PREFILL_INT4_STAGES: u32 = 4;
/// Tiles of tokens whose blocks follow one another before the next tile of features begins. Blocks
/// that run at the same time then share what they read of both operands in L2.
pub const GEMM_PREFILL_RASTER: u32 = 16;
/// Bit of `GemmParams::flags`: rows of W are gate and up, eight of one and eight of the other in
/// each sixteen, and the output is `silu(gate) * up` with half as many columns.
pub const GEMM_SWIGLU: u32 = 1;
/// Bit of `GemmParams::flags`: the output is f32, not bf16. Only without `residual`.
pub const GEMM_OUT_F32: u32 = 2;
/// Arguments of `gemm_decode` and `gemm_prefill`: `acc = x W^T`, then the epilogue, in this order:
/// times 1 / rms if there is `squares`; plus `bias`; then either SwiGLU, or the residual, or
/// nothing; then one rounding to the format of the output.
///
/// A norm takes no pass of its own. Who writes a row h of the residual stream also writes
/// `bf16(h * gamma)`, with the weight of the norm to come, and the sums of squares of h; the
/// product that reads the row multiplies its accumulators by `1 / sqrt(mean(h^2) + epsilon)`.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct GemmParams {
    /// Input, bf16 `[rows, k]`.
    pub x: u64,
    /// Weights: bf16 `[n, k]`, or packed int4 or int8 (`repack*.rs`).
    pub weight: u64,
    /// Sums of squares for the norm of the input, f32 `[rows, k / NORM_GROUP]`, or null.
    pub squares: u64,
    /// Bias, bf16 `[n]`, or null.
    pub bias: u64,
    /// Residual stream h, bf16 `[rows, n]`: replaced by `bf16(h + acc)`. Null: no residual.
    pub residual: u64,
    /// With `residual`: weight of the norm to come, bf16 `[n]`. Else null.
    pub next_gamma: u64,
    /// With `residual`: sums of squares of the new h, f32 `[rows, n / NORM_GROUP]`. Else null.
    pub next_squares: u64,
    /// bf16 `[rows, n]`; `[rows, n / 2]` with `GEMM_SWIGLU`; with `residual` bf16 of the new h
    /// times `next_gamma`; f32 `[rows, n]` with `GEMM_OUT_F32`. Written whole.
    pub out: u64,
    /// Sums of the blocks that share a tile, f32 `[splits, rows, n]`, n rounded up to a multiple of
    /// `GEMM_DECODE_FEATURES`; null where `splits` is 1.
    pub partials: u64,
    /// One counter a tile, zero before and after; null where `splits` is 1.
    pub arrivals: u64,
    /// Rows of the input.
    pub rows: u32,
    /// Rows of W. Packed weights go on to the next multiple of 64 with scales of 0.
    pub n: u32,
    /// Columns of W.
    pub k: u32,
    /// Blocks along K, which W alone decides.
    pub splits: u32,
    /// `GEMM_SWIGLU`, `GEMM_OUT_F32`.
    pub flags: u32,
    /// Added to the mean of squares before the root.
    pub epsilon: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GemmParams"][::std::mem::size_of::<GemmParams>() - 104usize];
    ["Alignment of GemmParams"][::std::mem::align_of::<GemmParams>() - 8usize];
    ["Offset of field: GemmParams::x"][::std::mem::offset_of!(GemmParams, x) - 0usize];
    ["Offset of field: GemmParams::weight"][::std::mem::offset_of!(GemmParams, weight) - 8usize];
    ["Offset of field: GemmParams::squares"][::std::mem::offset_of!(GemmParams, squares) - 16usize];
    ["Offset of field: GemmParams::bias"][::std::mem::offset_of!(GemmParams, bias) - 24usize];
    ["Offset of field: GemmParams::residual"]
        [::std::mem::offset_of!(GemmParams, residual) - 32usize];
    ["Offset of field: GemmParams::next_gamma"]
        [::std::mem::offset_of!(GemmParams, next_gamma) - 40usize];
    ["Offset of field: GemmParams::next_squares"]
        [::std::mem::offset_of!(GemmParams, next_squares) - 48usize];
    ["Offset of field: GemmParams::out"][::std::mem::offset_of!(GemmParams, out) - 56usize];
    ["Offset of field: GemmParams::partials"]
        [::std::mem::offset_of!(GemmParams, partials) - 64usize];
    ["Offset of field: GemmParams::arrivals"]
        [::std::mem::offset_of!(GemmParams, arrivals) - 72usize];
    ["Offset of field: GemmParams::rows"][::std::mem::offset_of!(GemmParams, rows) - 80usize];
    ["Offset of field: GemmParams::n"][::std::mem::offset_of!(GemmParams, n) - 84usize];
    ["Offset of field: GemmParams::k"][::std::mem::offset_of!(GemmParams, k) - 88usize];
    ["Offset of field: GemmParams::splits"][::std::mem::offset_of!(GemmParams, splits) - 92usize];
    ["Offset of field: GemmParams::flags"][::std::mem::offset_of!(GemmParams, flags) - 96usize];
    ["Offset of field: GemmParams::epsilon"]
        [::std::mem::offset_of!(GemmParams, epsilon) - 100usize];
};
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
/// Threads in a block of the kernels that pick from a vocabulary, `sample` and `logprobs`.
pub const SAMPLE_THREADS: u32 = 256;
/// Neighbouring tokens that such a block takes at a time: a tile. A row's tiles are spread over
/// blocks along x, rows lie along y.
pub const SAMPLE_TILE: u32 = 2048;
/// Bins in which the values of a row are counted.
pub const SAMPLE_BINS: u32 = 256;
/// Bit of `SampleRowParams::flags`: nothing is drawn; the token is 0, and the logits are not read.
pub const SAMPLE_SKIP: u32 = 1;
/// Bit of `SampleRowParams::flags`: values are divided by the temperature, and a token is drawn.
/// Without it the largest value wins.
pub const SAMPLE_DRAW: u32 = 2;
/// Bit of `SampleRowParams::flags`: top-k, top-p or min-p is set, and `SAMPLE_DRAW`. Such a row
/// needs the second launch.
pub const SAMPLE_FILTER: u32 = 4;
/// Bit of `SampleRowParams::flags`: the row has adjustments.
pub const SAMPLE_ADJUST: u32 = 8;
/// `top_p` of `SampleRowParams` in this many fraction bits; 1 removes nothing.
pub const SAMPLE_TOP_P_BITS: u32 = 32;
/// Bit of `SampleAdjustment::flags`: the bias is added.
pub const ADJUST_BIAS: u32 = 1;
/// Bit of `SampleAdjustment::flags`: the token stands in prompt or output, and the repetition
/// penalty is applied.
pub const ADJUST_REPETITION: u32 = 2;
/// Status of a row whose token was drawn.
pub const SAMPLE_OK: u32 = 0;
/// Bits of the status of a row that cannot be drawn from: what the first bad logit is, with its
/// token in the lower 24 bits; or that all logits are -inf.
pub const SAMPLE_NAN: u32 = 16777216;
/// As `SAMPLE_NAN`.
pub const SAMPLE_INFINITY: u32 = 33554432;
/// As `SAMPLE_NAN`.
pub const SAMPLE_NO_TOKEN: u32 = 67108864;
/// How one row is drawn: `src/sample.rs` says what is done with it.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SampleRowParams {
    /// Key of the noise.
    pub seed: u64,
    /// `ceil(top_p * 2^32)`.
    pub top_p: u64,
    /// Least weight of a token that min-p leaves; 0 leaves all.
    pub min_weight: u64,
    /// With `SAMPLE_ADJUST`: bytes from the first row to u32 `[tiles + 1]`, where the adjustments
    /// of each tile begin and the last ends.
    pub tiles: u64,
    /// With `SAMPLE_ADJUST`: bytes from the first row to the adjustments, by ascending token.
    pub adjustments: u64,
    /// What values are divided by.
    pub temperature: f32,
    /// What is added to the largest value, 0 or less, gives a value below which no token need be
    /// looked at. -inf where only the counts of values can tell.
    pub reach: f32,
    /// Tokens that top-k leaves; 0 leaves all.
    pub top_k: u32,
    /// Length of prompt and output: part of the counter of the noise.
    pub position: u32,
    /// Divides positive and multiplies negative values of tokens in prompt or output.
    pub repetition: f32,
    /// Subtracted for each time that a token stands in the output.
    pub frequency: f32,
    /// Subtracted if a token stands in the output.
    pub presence: f32,
    /// `SAMPLE_SKIP`, `SAMPLE_DRAW`, `SAMPLE_FILTER`, `SAMPLE_ADJUST`.
    pub flags: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SampleRowParams"][::std::mem::size_of::<SampleRowParams>() - 72usize];
    ["Alignment of SampleRowParams"][::std::mem::align_of::<SampleRowParams>() - 8usize];
    ["Offset of field: SampleRowParams::seed"]
        [::std::mem::offset_of!(SampleRowParams, seed) - 0usize];
    ["Offset of field: SampleRowParams::top_p"]
        [::std::mem::offset_of!(SampleRowParams, top_p) - 8usize];
    ["Offset of field: SampleRowParams::min_weight"]
        [::std::mem::offset_of!(SampleRowParams, min_weight) - 16usize];
    ["Offset of field: SampleRowParams::tiles"]
        [::std::mem::offset_of!(SampleRowParams, tiles) - 24usize];
    ["Offset of field: SampleRowParams::adjustments"]
        [::std::mem::offset_of!(SampleRowParams, adjustments) - 32usize];
    ["Offset of field: SampleRowParams::temperature"]
        [::std::mem::offset_of!(SampleRowParams, temperature) - 40usize];
    ["Offset of field: SampleRowParams::reach"]
        [::std::mem::offset_of!(SampleRowParams, reach) - 44usize];
    ["Offset of field: SampleRowParams::top_k"]
        [::std::mem::offset_of!(SampleRowParams, top_k) - 48usize];
    ["Offset of field: SampleRowParams::position"]
        [::std::mem::offset_of!(SampleRowParams, position) - 52usize];
    ["Offset of field: SampleRowParams::repetition"]
        [::std::mem::offset_of!(SampleRowParams, repetition) - 56usize];
    ["Offset of field: SampleRowParams::frequency"]
        [::std::mem::offset_of!(SampleRowParams, frequency) - 60usize];
    ["Offset of field: SampleRowParams::presence"]
        [::std::mem::offset_of!(SampleRowParams, presence) - 64usize];
    ["Offset of field: SampleRowParams::flags"]
        [::std::mem::offset_of!(SampleRowParams, flags) - 68usize];
};
/// What is done to the logit of one token before all else.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SampleAdjustment {
    /// The token.
    pub token: u32,
    /// `ADJUST_BIAS`, `ADJUST_REPETITION`.
    pub flags: u32,
    /// Times that it stands in the output.
    pub output_count: u32,
    /// Sum of its biases.
    pub bias: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SampleAdjustment"][::std::mem::size_of::<SampleAdjustment>() - 16usize];
    ["Alignment of SampleAdjustment"][::std::mem::align_of::<SampleAdjustment>() - 4usize];
    ["Offset of field: SampleAdjustment::token"]
        [::std::mem::offset_of!(SampleAdjustment, token) - 0usize];
    ["Offset of field: SampleAdjustment::flags"]
        [::std::mem::offset_of!(SampleAdjustment, flags) - 4usize];
    ["Offset of field: SampleAdjustment::output_count"]
        [::std::mem::offset_of!(SampleAdjustment, output_count) - 8usize];
    ["Offset of field: SampleAdjustment::bias"]
        [::std::mem::offset_of!(SampleAdjustment, bias) - 12usize];
};
/// What the scan of a row has found, for the choice that follows.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SelectionScan {
    /// First key of the order.
    pub top: u64,
    /// Least value of a candidate, as an ordered integer.
    pub bound: u32,
    /// Keeps the size a multiple of 8 without implicit padding. Zero.
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SelectionScan"][::std::mem::size_of::<SelectionScan>() - 16usize];
    ["Alignment of SelectionScan"][::std::mem::align_of::<SelectionScan>() - 8usize];
    ["Offset of field: SelectionScan::top"][::std::mem::offset_of!(SelectionScan, top) - 0usize];
    ["Offset of field: SelectionScan::bound"]
        [::std::mem::offset_of!(SelectionScan, bound) - 8usize];
    ["Offset of field: SelectionScan::reserved"]
        [::std::mem::offset_of!(SelectionScan, reserved) - 12usize];
};
/// What the blocks of a row tell each other. All 0 before the first launch, and but for `scan`
/// after each.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SelectionState {
    /// Largest key of a scan that is under way.
    pub best: u64,
    /// Sum of weights of a choice that is under way.
    pub mass: u64,
    /// Candidates listed so far.
    pub candidates: u32,
    /// Blocks that have arrived.
    pub arrivals: u32,
    /// From the scan to the choice.
    pub scan: SelectionScan,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SelectionState"][::std::mem::size_of::<SelectionState>() - 40usize];
    ["Alignment of SelectionState"][::std::mem::align_of::<SelectionState>() - 8usize];
    ["Offset of field: SelectionState::best"]
        [::std::mem::offset_of!(SelectionState, best) - 0usize];
    ["Offset of field: SelectionState::mass"]
        [::std::mem::offset_of!(SelectionState, mass) - 8usize];
    ["Offset of field: SelectionState::candidates"]
        [::std::mem::offset_of!(SelectionState, candidates) - 16usize];
    ["Offset of field: SelectionState::arrivals"]
        [::std::mem::offset_of!(SelectionState, arrivals) - 20usize];
    ["Offset of field: SelectionState::scan"]
        [::std::mem::offset_of!(SelectionState, scan) - 24usize];
};
/// Arguments of `sample_scan` and `sample_choose`: draws one token from each row of logits.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct SampleParams {
    /// f32 `[row_count, stride]`, of which `vocab` columns are logits.
    pub logits: u64,
    /// How each row is drawn, `[row_count]`, and behind them what they refer to.
    pub rows: u64,
    /// `[row_count]`.
    pub states: u64,
    /// Counts, `[row_count, SAMPLE_BINS]`, 0 before and after.
    pub bins: u64,
    /// Keys, `[row_count, vocab]`.
    pub candidates: u64,
    /// Drawn tokens, `[row_count]`, written whole; 0 where none could be drawn.
    pub tokens: u64,
    /// `SAMPLE_OK` or what is wrong, `[row_count]`, written whole.
    pub status: u64,
    /// Rows: the y size of the grid.
    pub row_count: u32,
    /// Tokens of the vocabulary, at most 2^23.
    pub vocab: u32,
    /// Elements from a row of logits to the next.
    pub stride: u32,
    /// Tiles that a block takes: the x size of the grid is the row's tiles by it, rounded up.
    pub tiles_per_block: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SampleParams"][::std::mem::size_of::<SampleParams>() - 72usize];
    ["Alignment of SampleParams"][::std::mem::align_of::<SampleParams>() - 8usize];
    ["Offset of field: SampleParams::logits"]
        [::std::mem::offset_of!(SampleParams, logits) - 0usize];
    ["Offset of field: SampleParams::rows"][::std::mem::offset_of!(SampleParams, rows) - 8usize];
    ["Offset of field: SampleParams::states"]
        [::std::mem::offset_of!(SampleParams, states) - 16usize];
    ["Offset of field: SampleParams::bins"][::std::mem::offset_of!(SampleParams, bins) - 24usize];
    ["Offset of field: SampleParams::candidates"]
        [::std::mem::offset_of!(SampleParams, candidates) - 32usize];
    ["Offset of field: SampleParams::tokens"]
        [::std::mem::offset_of!(SampleParams, tokens) - 40usize];
    ["Offset of field: SampleParams::status"]
        [::std::mem::offset_of!(SampleParams, status) - 48usize];
    ["Offset of field: SampleParams::row_count"]
        [::std::mem::offset_of!(SampleParams, row_count) - 56usize];
    ["Offset of field: SampleParams::vocab"][::std::mem::offset_of!(SampleParams, vocab) - 60usize];
    ["Offset of field: SampleParams::stride"]
        [::std::mem::offset_of!(SampleParams, stride) - 64usize];
    ["Offset of field: SampleParams::tiles_per_block"]
        [::std::mem::offset_of!(SampleParams, tiles_per_block) - 68usize];
};
/// Stands in `LogprobsParams::tops` for a row of which nothing is wanted.
pub const LOGPROBS_SKIP: u32 = 4294967295;
/// The most tokens whose log-probabilities a row may ask for, and the width of the result.
pub const LOGPROBS_TOP_MAX: u32 = 64;
/// Arguments of `logprobs_scan` and `logprobs_choose`: log-probabilities of the raw logits.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct LogprobsParams {
    /// f32 `[row_count, stride]`, of which `vocab` columns are logits.
    pub logits: u64,
    /// The token of each row whose log-probability is wanted, `[row_count]`, each below `vocab`.
    pub tokens: u64,
    /// How many of the most probable tokens each row wants, `[row_count]`: at most
    /// `LOGPROBS_TOP_MAX`, or `LOGPROBS_SKIP`.
    pub tops: u64,
    /// `[row_count]`.
    pub states: u64,
    /// Counts, `[row_count, SAMPLE_BINS]`, 0 before and after.
    pub bins: u64,
    /// Keys, `[row_count, vocab]`.
    pub candidates: u64,
    /// Log-probability of the token, f32 `[row_count]`; not written where skipped.
    pub logprobs: u64,
    /// How many of the wanted tokens there are, `[row_count]`; not written where skipped.
    pub top_counts: u64,
    /// The most probable tokens, `[row_count, LOGPROBS_TOP_MAX]`, as many as counted written.
    pub top_tokens: u64,
    /// Their log-probabilities, f32, likewise.
    pub top_logprobs: u64,
    /// Rows: the y size of the grid.
    pub row_count: u32,
    /// Tokens of the vocabulary, at most 2^23.
    pub vocab: u32,
    /// Elements from a row of logits to the next.
    pub stride: u32,
    /// Tiles that a block takes: the x size of the grid is the row's tiles by it, rounded up.
    pub tiles_per_block: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of LogprobsParams"][::std::mem::size_of::<LogprobsParams>() - 96usize];
    ["Alignment of LogprobsParams"][::std::mem::align_of::<LogprobsParams>() - 8usize];
    ["Offset of field: LogprobsParams::logits"]
        [::std::mem::offset_of!(LogprobsParams, logits) - 0usize];
    ["Offset of field: LogprobsParams::tokens"]
        [::std::mem::offset_of!(LogprobsParams, tokens) - 8usize];
    ["Offset of field: LogprobsParams::tops"]
        [::std::mem::offset_of!(LogprobsParams, tops) - 16usize];
    ["Offset of field: LogprobsParams::states"]
        [::std::mem::offset_of!(LogprobsParams, states) - 24usize];
    ["Offset of field: LogprobsParams::bins"]
        [::std::mem::offset_of!(LogprobsParams, bins) - 32usize];
    ["Offset of field: LogprobsParams::candidates"]
        [::std::mem::offset_of!(LogprobsParams, candidates) - 40usize];
    ["Offset of field: LogprobsParams::logprobs"]
        [::std::mem::offset_of!(LogprobsParams, logprobs) - 48usize];
    ["Offset of field: LogprobsParams::top_counts"]
        [::std::mem::offset_of!(LogprobsParams, top_counts) - 56usize];
    ["Offset of field: LogprobsParams::top_tokens"]
        [::std::mem::offset_of!(LogprobsParams, top_tokens) - 64usize];
    ["Offset of field: LogprobsParams::top_logprobs"]
        [::std::mem::offset_of!(LogprobsParams, top_logprobs) - 72usize];
    ["Offset of field: LogprobsParams::row_count"]
        [::std::mem::offset_of!(LogprobsParams, row_count) - 80usize];
    ["Offset of field: LogprobsParams::vocab"]
        [::std::mem::offset_of!(LogprobsParams, vocab) - 84usize];
    ["Offset of field: LogprobsParams::stride"]
        [::std::mem::offset_of!(LogprobsParams, stride) - 88usize];
    ["Offset of field: LogprobsParams::tiles_per_block"]
        [::std::mem::offset_of!(LogprobsParams, tiles_per_block) - 92usize];
};
