// Arguments of gemm_decode and gemm_prefill.

#ifndef RIDGEPOINT_PARAMS_GEMM_H
#define RIDGEPOINT_PARAMS_GEMM_H

#include "params_common.h"

/// Rows of W, so features of the output, that a block of `gemm_decode` takes.
static const uint32_t GEMM_DECODE_FEATURES = 64;

/// Warps of a block of `gemm_decode`, each with a slice of K of its own. Part of the order of sums,
/// so another number gives other bits; so do `GEMM_DECODE_BF16_K` and the number of blocks along K.
static const uint32_t GEMM_DECODE_WARPS = 4;

/// Columns of bf16 weights that a warp of `gemm_decode` takes in one step.
static const uint32_t GEMM_DECODE_BF16_K = 64;

/// Steps that a warp of `gemm_decode` has room for with bf16 weights.
static const uint32_t GEMM_DECODE_BF16_STAGES = 3;

/// Steps that a warp of `gemm_decode` has room for with int4 weights in groups of 128, each a unit
/// of packed weights; with groups of 64 twice as many.
static const uint32_t GEMM_DECODE_INT4_STAGES = 4;

/// The same of the shallow rings, for devices whose blocks have less shared memory. No bit of a
/// result depends on it.
static const uint32_t GEMM_DECODE_BF16_SHALLOW_STAGES = 2;

/// The same with int4 weights: one unit in work, and on their way as many more as have this many
/// columns.
static const uint32_t GEMM_DECODE_INT4_SHALLOW_COLUMNS = 128;

/// Rows of W in a unit of packed int4 weights. Its columns are one group.
static const uint32_t INT4_UNIT_ROWS = 64;

/// Columns of a unit of packed int8 weights, which has 64 rows too. What a warp of `gemm_decode`
/// takes in one step, and so part of the order of sums.
static const uint32_t INT8_UNIT_COLUMNS = 64;

/// Units that a warp of `gemm_decode` has room for with int8 weights.
static const uint32_t GEMM_DECODE_INT8_STAGES = 4;

/// The same of the shallow rings.
static const uint32_t GEMM_DECODE_INT8_SHALLOW_STAGES = 3;

/// Rows of W that a block of `gemm_prefill` takes.
static const uint32_t GEMM_PREFILL_FEATURES = 128;

/// Threads in a block of `gemm_prefill`.
static const uint32_t GEMM_PREFILL_THREADS = 256;

/// Columns of W that a block of `gemm_prefill` takes in one step.
static const uint32_t GEMM_PREFILL_K = 64;

/// Steps that a block of `gemm_prefill` has room for.
static const uint32_t GEMM_PREFILL_STAGES = 3;

/// The same with int4 weights, where a block has a multiprocessor for itself.
static const uint32_t GEMM_PREFILL_INT4_STAGES = 4;

/// Tiles of tokens whose blocks follow one another before the next tile of features begins. Blocks
/// that run at the same time then share what they read of both operands in L2.
static const uint32_t GEMM_PREFILL_RASTER = 16;

/// Rows of W that a block of `gemm_prefill_sm90` or `gemm_decode_sm90` takes, 64 for each of its
/// two warpgroups that compute.
static const uint32_t GEMM_SM90_FEATURES = 128;

/// Threads in a block of these: one warpgroup that fetches, two that compute.
static const uint32_t GEMM_SM90_THREADS = 384;

/// Neighbouring tiles of features whose blocks form a cluster and share the rows of x.
static const uint32_t GEMM_SM90_CLUSTER = 2;

/// Columns of W in one box of a copy: 128 bytes of bf16, which the swizzle permutes.
static const uint32_t GEMM_SM90_BOX_K = 64;

/// Shared memory of a block that is cut into stages, as many as fit.
static const uint32_t GEMM_SM90_RING_BYTES = 196608;

/// Tokens of the tiles whose blocks follow one another before the next tiles of features begin.
static const uint32_t GEMM_SM90_RASTER_TOKENS = 2048;

/// Tokens whose sums a warpgroup puts into shared memory at once.
static const uint32_t GEMM_SM90_EPILOGUE_TOKENS = 32;

/// Tokens of a tile of `gemm_decode_sm90`.
static const uint32_t GEMM_DECODE_SM90_TOKENS = 64;

/// Bit of `GemmParams::flags`: rows of W are gate and up, eight of one and eight of the other in
/// each sixteen, and the output is `silu(gate) * up` with half as many columns.
static const uint32_t GEMM_SWIGLU = 1;

/// Bit of `GemmParams::flags`: the output is f32, not bf16. Only without `residual`.
static const uint32_t GEMM_OUT_F32 = 2;

/// Arguments of `gemm_decode` and `gemm_prefill`: `acc = x W^T`, then the epilogue, in this order:
/// times 1 / rms if there is `squares`; plus `bias`; then either SwiGLU, or the residual, or
/// nothing; then one rounding to the format of the output.
///
/// A norm takes no pass of its own. Who writes a row h of the residual stream also writes
/// `bf16(h * gamma)`, with the weight of the norm to come, and the sums of squares of h; the
/// product that reads the row multiplies its accumulators by `1 / sqrt(mean(h^2) + epsilon)`.
typedef struct GemmParams {
    /// Input, bf16 `[rows, k]`.
    DEVICE_PTR(const uint16_t) x;
    /// Weights: bf16 `[n, k]`, or packed int4 or int8 (`repack*.rs`).
    DEVICE_PTR(const uint8_t) weight;
    /// Sums of squares for the norm of the input, f32 `[rows, k / NORM_GROUP]`, or null.
    DEVICE_PTR(const float) squares;
    /// Bias, bf16 `[n]`, or null.
    DEVICE_PTR(const uint16_t) bias;
    /// Residual stream h, bf16 `[rows, n]`: replaced by `bf16(h + acc)`. Null: no residual.
    DEVICE_PTR(uint16_t) residual;
    /// With `residual`: weight of the norm to come, bf16 `[n]`. Else null.
    DEVICE_PTR(const uint16_t) next_gamma;
    /// With `residual`: sums of squares of the new h, f32 `[rows, n / NORM_GROUP]`. Else null.
    DEVICE_PTR(float) next_squares;
    /// bf16 `[rows, n]`; `[rows, n / 2]` with `GEMM_SWIGLU`; with `residual` bf16 of the new h
    /// times `next_gamma`; f32 `[rows, n]` with `GEMM_OUT_F32`. Written whole.
    DEVICE_PTR(uint8_t) out;
    /// Sums of the blocks that share a tile, f32 `[splits, rows, n]`, n rounded up to a multiple of
    /// `GEMM_DECODE_FEATURES`; of `gemm_decode_sm90` as its head says. Null where no tile is
    /// shared.
    DEVICE_PTR(float) partials;
    /// One counter a tile, zero before and after; null where no tile is shared.
    DEVICE_PTR(uint32_t) arrivals;
    /// Rows of the input.
    uint32_t rows;
    /// Rows of W. Packed weights go on to the next multiple of 64 with scales of 0.
    uint32_t n;
    /// Columns of W.
    uint32_t k;
    /// Blocks along K, which W alone decides.
    uint32_t splits;
    /// `GEMM_SWIGLU`, `GEMM_OUT_F32`.
    uint32_t flags;
    /// Added to the mean of squares before the root.
    float epsilon;
} GemmParams;

/// Arguments of `gemm_prefill_sm90`, which has no `partials` and no `arrivals`, and of
/// `gemm_decode_sm90`.
typedef struct GemmTensorParams {
    /// x in boxes of a block's share of the tokens of a tile by `GEMM_SM90_BOX_K` columns.
    TensorMap x_map;
    /// W in bf16 in boxes of `GEMM_SM90_FEATURES` rows by as many columns; not used with int4.
    TensorMap weight_map;
    /// What the portable kernels take.
    GemmParams gemm;
    /// Of `gemm_decode_sm90`: ranges of K that clusters take for themselves, of equally many
    /// slices: 1, `splits` or `GEMM_DECODE_WARPS * splits`.
    uint32_t ranges;
    /// Fills the struct up to a multiple of its alignment.
    uint32_t reserved[5];
} GemmTensorParams;

#endif
