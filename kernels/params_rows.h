// Arguments of the kernels that go over rows once: embed, gather, rmsnorm, rope_append, silu_mul.

#ifndef RIDGEPOINT_PARAMS_ROWS_H
#define RIDGEPOINT_PARAMS_ROWS_H

#include "params_common.h"

/// Threads in a block of `embed`. One thread copies one vector, so a row takes
/// `ceil(hidden / (EMBED_THREADS * BF16_VECTOR))` blocks along y and the tokens lie along x.
static const uint32_t EMBED_THREADS = 128;

/// Threads in a block of `gather`. One thread copies a vector and a sum of squares, so a row takes
/// `ceil(width / (GATHER_THREADS * BF16_VECTOR))` blocks along y and the rows lie along x.
static const uint32_t GATHER_THREADS = 128;

/// Threads in a block of `rmsnorm`, which takes one row. Part of the order in which squares are
/// summed, so another number gives other bits.
static const uint32_t RMSNORM_THREADS = 256;

/// Threads in a block of `rope_append`. A head takes `head_dim / 4` of them, so
/// `ceil(heads / (ROPE_APPEND_THREADS / (head_dim / 4)))` blocks lie along y, where `heads` counts
/// query, key and value heads, and the tokens lie along x.
static const uint32_t ROPE_APPEND_THREADS = 128;

/// Threads in a block of `silu_mul`. One thread makes one vector of the output, so a row takes
/// `ceil(intermediate / (SILU_MUL_THREADS * BF16_VECTOR))` blocks along y and the rows lie along x.
static const uint32_t SILU_MUL_THREADS = 128;

/// Arguments of `embed`: rows of a table, picked by index. With `gamma` the kernel also prepares
/// the norm that the next product wants, as `GemmParams` says of `residual`.
typedef struct EmbedParams {
    /// Embedding table, or rows of activations, bf16 `[vocab, hidden]`.
    DEVICE_PTR(const uint16_t) table;
    /// Rows to pick, `[tokens]`, each below `vocab`. Null: row i is i.
    DEVICE_PTR(const uint32_t) token_ids;
    /// Picked rows, bf16 `[tokens, hidden]`, written whole. Null: not wanted.
    DEVICE_PTR(uint16_t) out;
    /// Weight of the norm that follows, bf16 `[hidden]`. Null: no norm.
    DEVICE_PTR(const uint16_t) gamma;
    /// With `gamma`: picked rows times `gamma`, bf16 `[tokens, hidden]`, written whole.
    DEVICE_PTR(uint16_t) scaled;
    /// With `gamma`: sums of the squares of the picked rows, f32 `[tokens, hidden / NORM_GROUP]`,
    /// written whole.
    DEVICE_PTR(float) squares;
    /// Rows to write: the x size of the grid.
    uint32_t tokens;
    /// Elements in a row: a multiple of `BF16_VECTOR`, with `gamma` of `NORM_GROUP`.
    uint32_t hidden;
    /// Rows of the table. An index at or above it stops the kernel with a trap.
    uint32_t vocab;
    /// Keeps the size a multiple of 8 without implicit padding. Zero.
    uint32_t reserved;
} EmbedParams;

/// Arguments of `gather`: rows of a normed tensor, picked by number.
typedef struct GatherParams {
    /// Rows times a norm's weight, bf16 `[x_rows, width]`.
    DEVICE_PTR(const uint16_t) x;
    /// Sums of squares beside them, f32 `[x_rows, width / NORM_GROUP]`.
    DEVICE_PTR(const float) squares;
    /// Numbers of rows, `[rows]`, each below `x_rows`.
    DEVICE_PTR(const uint32_t) row_ids;
    /// The rows picked, bf16 `[rows, width]`, written whole.
    DEVICE_PTR(uint16_t) out;
    /// Their sums of squares, f32 `[rows, width / NORM_GROUP]`, written whole.
    DEVICE_PTR(float) out_squares;
    /// Rows to write: the x size of the grid.
    uint32_t rows;
    /// Rows there are. A number at or above it stops the kernel with a trap.
    uint32_t x_rows;
    /// Elements in a row, a multiple of `NORM_GROUP`.
    uint32_t width;
    /// Keeps the size a multiple of 8 without implicit padding. Zero.
    uint32_t reserved;
} GatherParams;

/// Arguments of `rmsnorm`: adds to the residual stream and normalises the sum.
typedef struct RmsNormParams {
    /// What is added, bf16 `[rows, hidden]`.
    DEVICE_PTR(const uint16_t) input;
    /// The residual stream, bf16 `[rows, hidden]`, which the sum replaces. Null: no sum, `input`
    /// itself is normalised.
    DEVICE_PTR(uint16_t) residual;
    /// Weight of the norm, bf16 `[hidden]`.
    DEVICE_PTR(const uint16_t) gamma;
    /// Normalised rows, bf16 `[rows, hidden]`. May be `input`.
    DEVICE_PTR(uint16_t) out;
    /// Rows: the x size of the grid.
    uint32_t rows;
    /// Elements in a row, a multiple of `BF16_VECTOR`. The launch gives twice as many bytes of
    /// dynamic shared memory.
    uint32_t hidden;
    /// Added to the mean of squares before the root.
    float epsilon;
    /// Keeps the size a multiple of 8 without implicit padding. Zero.
    uint32_t reserved;
} RmsNormParams;

/// Arguments of `rope_append`: finishes queries and keys and puts keys and values into the cache.
/// `heads` below is `q_heads + 2 * kv_heads`: queries first, then keys, then values.
typedef struct RopeAppendParams {
    /// Output of the projection, bf16 `[tokens, heads, head_dim]`.
    DEVICE_PTR(const uint16_t) qkv;
    /// Bias of the projection, bf16 `[heads, head_dim]`, or null.
    DEVICE_PTR(const uint16_t) bias;
    /// Weight of the norm over each query head, bf16 `[head_dim]`. Null: no norm, for keys too.
    DEVICE_PTR(const uint16_t) q_gamma;
    /// Weight of the norm over each key head, bf16 `[head_dim]`. Null exactly where `q_gamma` is.
    DEVICE_PTR(const uint16_t) k_gamma;
    /// Cosine and sine side by side, f32 `[positions, head_dim / 2, 2]`.
    DEVICE_PTR(const float) cos_sin;
    /// Position of each token in its sequence, `[tokens]`, each a row of `cos_sin`.
    DEVICE_PTR(const uint32_t) positions;
    /// Place of each token in the cache, `[tokens]`: page times `KV_PAGE_TOKENS` plus the slot in
    /// it, or `KV_NO_SLOT`.
    DEVICE_PTR(const uint32_t) slots;
    /// Rotated queries, bf16 `[tokens, q_heads, head_dim]`, written whole.
    DEVICE_PTR(uint16_t) q_out;
    /// Keys of this layer, bf16 `[pages, kv_heads, KV_PAGE_TOKENS, head_dim]`, swizzled.
    DEVICE_PTR(uint16_t) k_pages;
    /// Values of this layer, laid out like the keys.
    DEVICE_PTR(uint16_t) v_pages;
    /// Tokens: the x size of the grid.
    uint32_t tokens;
    /// Query heads.
    uint32_t q_heads;
    /// Key heads, and as many value heads.
    uint32_t kv_heads;
    /// Added to the mean of squares before the root, where there is a norm.
    float epsilon;
} RopeAppendParams;

/// Arguments of `silu_mul`: the gated activation of the feed-forward layer.
typedef struct SiluMulParams {
    /// Gate and up projections side by side, bf16 `[rows, 2, intermediate]`.
    DEVICE_PTR(const uint16_t) gate_up;
    /// `silu(gate) * up`, bf16 `[rows, intermediate]`, written whole.
    DEVICE_PTR(uint16_t) out;
    /// Rows: the x size of the grid.
    uint32_t rows;
    /// Elements in a row of the output, a multiple of `BF16_VECTOR`.
    uint32_t intermediate;
} SiluMulParams;

#endif
