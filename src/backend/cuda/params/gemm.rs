//! Launch arguments and constants that host and kernels share. Made by `make params` from
//! kernels/params.h and what it includes, where to change them.
//!
//! Headers: df4b403344dcaac622a730af92e1c12c
use super::common::TensorMap;

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
/// Rows of W that a block of `gemm_prefill_sm90` or `gemm_decode_sm90` takes, 64 for each of its
/// two warpgroups that compute.
pub const GEMM_SM90_FEATURES: u32 = 128;
/// Threads in a block of these: one warpgroup that fetches, two that compute.
pub const GEMM_SM90_THREADS: u32 = 384;
/// Neighbouring tiles of features whose blocks form a cluster and share the rows of x.
pub const GEMM_SM90_CLUSTER: u32 = 2;
/// Columns of W in one box of a copy: 128 bytes of bf16, which the swizzle permutes.
pub const GEMM_SM90_BOX_K: u32 = 64;
/// Shared memory of a block that is cut into stages, as many as fit.
pub const GEMM_SM90_RING_BYTES: u32 = 196608;
/// Tokens of the tiles whose blocks follow one another before the next tiles of features begin.
pub const GEMM_SM90_RASTER_TOKENS: u32 = 2048;
/// Tokens whose sums a warpgroup puts into shared memory at once.
pub const GEMM_SM90_EPILOGUE_TOKENS: u32 = 32;
/// Tokens of a tile of `gemm_decode_sm90`.
pub const GEMM_DECODE_SM90_TOKENS: u32 = 64;
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
    /// `GEMM_DECODE_FEATURES`; of `gemm_decode_sm90` as its head says. Null where no tile is
    /// shared.
    pub partials: u64,
    /// One counter a tile, zero before and after; null where no tile is shared.
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
/// Arguments of `gemm_prefill_sm90`, which has no `partials` and no `arrivals`, and of
/// `gemm_decode_sm90`.
#[repr(C)]
#[repr(align(128))]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct GemmTensorParams {
    /// x in boxes of a block's share of the tokens of a tile by `GEMM_SM90_BOX_K` columns.
    pub x_map: TensorMap,
    /// W in bf16 in boxes of `GEMM_SM90_FEATURES` rows by as many columns; not used with int4.
    pub weight_map: TensorMap,
    /// What the portable kernels take.
    pub gemm: GemmParams,
    /// Of `gemm_decode_sm90`: ranges of K that clusters take for themselves, of equally many
    /// slices: 1, `splits` or `GEMM_DECODE_WARPS * splits`.
    pub ranges: u32,
    /// Fills the struct up to a multiple of its alignment.
    pub reserved: [u32; 5usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GemmTensorParams"][::std::mem::size_of::<GemmTensorParams>() - 384usize];
    ["Alignment of GemmTensorParams"][::std::mem::align_of::<GemmTensorParams>() - 128usize];
    ["Offset of field: GemmTensorParams::x_map"]
        [::std::mem::offset_of!(GemmTensorParams, x_map) - 0usize];
    ["Offset of field: GemmTensorParams::weight_map"]
        [::std::mem::offset_of!(GemmTensorParams, weight_map) - 128usize];
    ["Offset of field: GemmTensorParams::gemm"]
        [::std::mem::offset_of!(GemmTensorParams, gemm) - 256usize];
    ["Offset of field: GemmTensorParams::ranges"]
        [::std::mem::offset_of!(GemmTensorParams, ranges) - 360usize];
    ["Offset of field: GemmTensorParams::reserved"]
        [::std::mem::offset_of!(GemmTensorParams, reserved) - 364usize];
};
