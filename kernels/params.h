// Launch arguments of every kernel and the constants that host and device share: the one
// definition of both. Plain C with <stdint.h> alone, because three compilers read it: nvcc for the
// kernels, libclang for `make params`, which writes src/backend/cuda/params.rs, and a C compiler
// in anyone's binding.
//
// Each kernel takes exactly one of these structs, by value. The driver checks neither the number
// nor the order nor the type of launch arguments, so a struct whose size and offsets both sides
// assert is the only argument list that cannot be got wrong in silence.

#ifndef RIDGEPOINT_PARAMS_H
#define RIDGEPOINT_PARAMS_H

#include <stdint.h>

// A device address. The host never dereferences one, so there it is a plain number.
#ifdef __CUDACC__
#define DEVICE_PTR(T) T *
#else
#define DEVICE_PTR(T) uint64_t
#endif

/// Tokens in one page of the KV cache.
static const uint32_t KV_PAGE_TOKENS = 64;

/// Elements of bf16 in the 16 bytes that a thread loads or stores at once. Rows whose length the
/// kernels take in vectors must be a multiple of it.
static const uint32_t BF16_VECTOR = 8;

/// What stands in `RopeAppendParams::slots` for a row whose keys and values are not kept, such as
/// one that pads a batch to the size of a captured graph.
static const uint32_t KV_NO_SLOT = 0xffffffff;

/// Neighbouring elements of a row whose squares are summed by the kernel that writes the row, so
/// that the product which reads it needs no pass of its own for the norm. Part of the order of
/// that sum.
static const uint32_t NORM_GROUP = 16;

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
    /// Without `gamma`: sums of squares that belong to the rows of the table, f32
    /// `[vocab, hidden / NORM_GROUP]`, picked as the rows are. Null: there are none.
    DEVICE_PTR(const float) table_squares;
    /// With `gamma`, sums of the squares of the picked rows; with `table_squares` those of the
    /// table. f32 `[tokens, hidden / NORM_GROUP]`. Else null.
    DEVICE_PTR(float) squares;
    /// Rows to write: the x size of the grid.
    uint32_t tokens;
    /// Elements in a row: a multiple of `BF16_VECTOR`, with `squares` of `NORM_GROUP`.
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

/// Rows of W in a unit of packed int4 weights. Its columns are one group.
static const uint32_t INT4_UNIT_ROWS = 64;

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

/// Threads in a block of the kernels that pick from a vocabulary, `sample` and `logprobs`.
static const uint32_t SAMPLE_THREADS = 256;

/// Neighbouring tokens that such a block takes at a time: a tile. A row's tiles are spread over
/// blocks along x, rows lie along y.
static const uint32_t SAMPLE_TILE = 2048;

/// Bins in which the values of a row are counted.
static const uint32_t SAMPLE_BINS = 256;

/// Bit of `SampleRowParams::flags`: nothing is drawn; the token is 0, and the logits are not read.
static const uint32_t SAMPLE_SKIP = 1;

/// Bit of `SampleRowParams::flags`: values are divided by the temperature, and a token is drawn.
/// Without it the largest value wins.
static const uint32_t SAMPLE_DRAW = 2;

/// Bit of `SampleRowParams::flags`: top-k, top-p or min-p is set, and `SAMPLE_DRAW`. Such a row
/// needs the second launch.
static const uint32_t SAMPLE_FILTER = 4;

/// Bit of `SampleRowParams::flags`: the row has adjustments.
static const uint32_t SAMPLE_ADJUST = 8;

/// `top_p` of `SampleRowParams` in this many fraction bits; 1 removes nothing.
static const uint32_t SAMPLE_TOP_P_BITS = 32;

/// Bit of `SampleAdjustment::flags`: the bias is added.
static const uint32_t ADJUST_BIAS = 1;

/// Bit of `SampleAdjustment::flags`: the token stands in prompt or output, and the repetition
/// penalty is applied.
static const uint32_t ADJUST_REPETITION = 2;

/// Status of a row whose token was drawn.
static const uint32_t SAMPLE_OK = 0;

/// Bits of the status of a row that cannot be drawn from: what the first bad logit is, with its
/// token in the lower 24 bits; or that all logits are -inf.
static const uint32_t SAMPLE_NAN = 0x1000000;
/// As `SAMPLE_NAN`.
static const uint32_t SAMPLE_INFINITY = 0x2000000;
/// As `SAMPLE_NAN`.
static const uint32_t SAMPLE_NO_TOKEN = 0x4000000;

/// How one row is drawn: `src/sample.rs` says what is done with it.
typedef struct SampleRowParams {
    /// Key of the noise.
    uint64_t seed;
    /// `ceil(top_p * 2^32)`.
    uint64_t top_p;
    /// Least weight of a token that min-p leaves; 0 leaves all.
    uint64_t min_weight;
    /// With `SAMPLE_ADJUST`: bytes from the first row to u32 `[tiles + 1]`, where the adjustments
    /// of each tile begin and the last ends.
    uint64_t tiles;
    /// With `SAMPLE_ADJUST`: bytes from the first row to the adjustments, by ascending token.
    uint64_t adjustments;
    /// What values are divided by.
    float temperature;
    /// What is added to the largest value, 0 or less, gives a value below which no token need be
    /// looked at. -inf where only the counts of values can tell.
    float reach;
    /// Tokens that top-k leaves; 0 leaves all.
    uint32_t top_k;
    /// Length of prompt and output: part of the counter of the noise.
    uint32_t position;
    /// Divides positive and multiplies negative values of tokens in prompt or output.
    float repetition;
    /// Subtracted for each time that a token stands in the output.
    float frequency;
    /// Subtracted if a token stands in the output.
    float presence;
    /// `SAMPLE_SKIP`, `SAMPLE_DRAW`, `SAMPLE_FILTER`, `SAMPLE_ADJUST`.
    uint32_t flags;
} SampleRowParams;

/// What is done to the logit of one token before all else.
typedef struct SampleAdjustment {
    /// The token.
    uint32_t token;
    /// `ADJUST_BIAS`, `ADJUST_REPETITION`.
    uint32_t flags;
    /// Times that it stands in the output.
    uint32_t output_count;
    /// Sum of its biases.
    float bias;
} SampleAdjustment;

/// What the scan of a row has found, for the choice that follows.
typedef struct SelectionScan {
    /// First key of the order.
    uint64_t top;
    /// Least value of a candidate, as an ordered integer.
    uint32_t bound;
    /// Keeps the size a multiple of 8 without implicit padding. Zero.
    uint32_t reserved;
} SelectionScan;

/// What the blocks of a row tell each other. All 0 before the first launch, and but for `scan`
/// after each.
typedef struct SelectionState {
    /// Largest key of a scan that is under way.
    uint64_t best;
    /// Sum of weights of a choice that is under way.
    uint64_t mass;
    /// Candidates listed so far.
    uint32_t candidates;
    /// Blocks that have arrived.
    uint32_t arrivals;
    /// From the scan to the choice.
    SelectionScan scan;
} SelectionState;

/// Arguments of `sample_scan` and `sample_choose`: draws one token from each row of logits.
typedef struct SampleParams {
    /// f32 `[row_count, stride]`, of which `vocab` columns are logits.
    DEVICE_PTR(const float) logits;
    /// How each row is drawn, `[row_count]`, and behind them what they refer to.
    DEVICE_PTR(const SampleRowParams) rows;
    /// `[row_count]`.
    DEVICE_PTR(SelectionState) states;
    /// Counts, `[row_count, SAMPLE_BINS]`, 0 before and after.
    DEVICE_PTR(uint32_t) bins;
    /// Keys, `[row_count, vocab]`.
    DEVICE_PTR(uint64_t) candidates;
    /// Drawn tokens, `[row_count]`, written whole; 0 where none could be drawn.
    DEVICE_PTR(uint32_t) tokens;
    /// `SAMPLE_OK` or what is wrong, `[row_count]`, written whole.
    DEVICE_PTR(uint32_t) status;
    /// Rows: the y size of the grid.
    uint32_t row_count;
    /// Tokens of the vocabulary, at most 2^23.
    uint32_t vocab;
    /// Elements from a row of logits to the next.
    uint32_t stride;
    /// Tiles that a block takes: the x size of the grid is the row's tiles by it, rounded up.
    uint32_t tiles_per_block;
} SampleParams;

/// Stands in `LogprobsParams::tops` for a row of which nothing is wanted.
static const uint32_t LOGPROBS_SKIP = 0xffffffff;

/// The most tokens whose log-probabilities a row may ask for, and the width of the result.
static const uint32_t LOGPROBS_TOP_MAX = 64;

/// Arguments of `logprobs_scan` and `logprobs_choose`: log-probabilities of the raw logits.
typedef struct LogprobsParams {
    /// f32 `[row_count, stride]`, of which `vocab` columns are logits.
    DEVICE_PTR(const float) logits;
    /// The token of each row whose log-probability is wanted, `[row_count]`, each below `vocab`.
    DEVICE_PTR(const uint32_t) tokens;
    /// How many of the most probable tokens each row wants, `[row_count]`: at most
    /// `LOGPROBS_TOP_MAX`, or `LOGPROBS_SKIP`.
    DEVICE_PTR(const uint32_t) tops;
    /// `[row_count]`.
    DEVICE_PTR(SelectionState) states;
    /// Counts, `[row_count, SAMPLE_BINS]`, 0 before and after.
    DEVICE_PTR(uint32_t) bins;
    /// Keys, `[row_count, vocab]`.
    DEVICE_PTR(uint64_t) candidates;
    /// Log-probability of the token, f32 `[row_count]`; not written where skipped.
    DEVICE_PTR(float) logprobs;
    /// How many of the wanted tokens there are, `[row_count]`; not written where skipped.
    DEVICE_PTR(uint32_t) top_counts;
    /// The most probable tokens, `[row_count, LOGPROBS_TOP_MAX]`, as many as counted written.
    DEVICE_PTR(uint32_t) top_tokens;
    /// Their log-probabilities, f32, likewise.
    DEVICE_PTR(float) top_logprobs;
    /// Rows: the y size of the grid.
    uint32_t row_count;
    /// Tokens of the vocabulary, at most 2^23.
    uint32_t vocab;
    /// Elements from a row of logits to the next.
    uint32_t stride;
    /// Tiles that a block takes: the x size of the grid is the row's tiles by it, rounded up.
    uint32_t tiles_per_block;
} LogprobsParams;

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
    /// Weights: bf16 `[n, k]`, or packed int4 (`repack.rs`).
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
    /// `GEMM_DECODE_FEATURES`; null where `splits` is 1.
    DEVICE_PTR(float) partials;
    /// One counter a tile, zero before and after; null where `splits` is 1.
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

/// Tokens whose keys and values one block of `attention_decode` takes: a chunk begins at a
/// multiple of it. Part of the order of sums, so another number gives other bits.
static const uint32_t ATTENTION_CHUNK = 256;

/// Most columns of a block of `attention_decode`. A column is one query head at one position;
/// those of a key/value head are numbered position by position.
static const uint32_t ATTENTION_COLUMNS = 32;

/// Threads in a block of `attention_decode` and of `attention_prefill`. In decode, warp i takes
/// page i of the chunk, so the number is part of the order of sums.
static const uint32_t ATTENTION_THREADS = 128;

/// Work that the host plans for `attention_decode`: a chunk of a sequence under some columns, for
/// each key/value head. A sector of 32 bytes, so that a block starts after one read.
typedef struct AttentionItem {
    /// First row of the sequence in the batch.
    uint32_t row;
    /// Position of that row. The rows after it have the next positions. `KV_NO_SLOT`: the rows pad
    /// the batch, see nothing, and become zero.
    uint32_t position;
    /// The sequence's row of the block tables.
    uint32_t table;
    /// Number of the chunk: its tokens begin at position `chunk * ATTENTION_CHUNK`.
    uint32_t chunk;
    /// First column, a multiple of `ATTENTION_COLUMNS`. Column c of key/value head h is row
    /// `c / group` of the sequence under query head `h * group + c % group`.
    uint32_t first_column;
    /// Columns, 1 to `ATTENTION_COLUMNS`.
    uint32_t columns;
    /// Fill the sector. Zero.
    uint32_t reserved[2];
} AttentionItem;

/// Arguments of `attention_decode`: causal attention of few rows of each sequence over its pages.
typedef struct AttentionDecodeParams {
    /// Rotated queries, bf16 `[rows, q_heads, head_dim]`.
    DEVICE_PTR(const uint16_t) q;
    /// Keys of this layer as `RopeAppendParams` has them.
    DEVICE_PTR(const uint16_t) k_pages;
    /// Values of this layer, laid out like the keys.
    DEVICE_PTR(const uint16_t) v_pages;
    /// Pages of each sequence in order, `[tables, table_stride]`. Entries past a sequence's last
    /// row, or before all its windows, are not read.
    DEVICE_PTR(const uint32_t) block_tables;
    /// Number of items.
    DEVICE_PTR(const uint32_t) item_count;
    /// The work, `[item_count]`. Blocks share out the pairs of item and key/value head.
    DEVICE_PTR(const AttentionItem) items;
    /// Weighted values, bf16 `[rows, q_heads, head_dim]`, written whole.
    DEVICE_PTR(uint16_t) out;
    /// Sums of weighted values of a chunk, f32 `[rows, q_heads, chunk_stride, head_dim]`.
    DEVICE_PTR(float) partials;
    /// Maximum and sum of weights of a chunk, f32 `[rows, q_heads, chunk_stride, 2]`.
    DEVICE_PTR(float) partial_weights;
    /// Counts the blocks that have finished a chunk, `[rows, kv_heads]`; zero before and after.
    DEVICE_PTR(uint32_t) arrivals;
    /// Query heads, `group` for each key/value head.
    uint32_t q_heads;
    /// Key/value heads.
    uint32_t kv_heads;
    /// Entries of a block table.
    uint32_t table_stride;
    /// Chunks that `partials` has room for.
    uint32_t chunk_stride;
    /// Positions that a row sees, itself included: at most 2^31, which is all.
    uint32_t window;
    /// What scores are multiplied by to become exponents of 2: `log2(e) / sqrt(head_dim)`.
    float scale_log2;
} AttentionDecodeParams;

/// Work that the host plans for `attention_prefill`: neighbouring rows of one sequence, for each
/// query head.
typedef struct AttentionTile {
    /// First row in the batch.
    uint32_t row;
    /// Rows: at least 1, at most those of the variant's tile.
    uint32_t rows;
    /// Position of the first row. The rows after it have the next positions.
    uint32_t position;
    /// The sequence's row of the block tables.
    uint32_t table;
} AttentionTile;

/// Arguments of `attention_prefill`: causal attention of many rows of a sequence over its pages.
typedef struct AttentionPrefillParams {
    /// Rotated queries, bf16 `[rows, q_heads, head_dim]`.
    DEVICE_PTR(const uint16_t) q;
    /// Keys of this layer as `RopeAppendParams` has them.
    DEVICE_PTR(const uint16_t) k_pages;
    /// Values of this layer, laid out like the keys.
    DEVICE_PTR(const uint16_t) v_pages;
    /// Pages of each sequence in order, `[tables, table_stride]`. Entries past a sequence's last
    /// row, or before all its windows, are not read.
    DEVICE_PTR(const uint32_t) block_tables;
    /// The work: the y size of the grid. The query heads lie along x.
    DEVICE_PTR(const AttentionTile) tiles;
    /// Weighted values, bf16 `[rows, q_heads, head_dim]`; the rows of the tiles are written.
    DEVICE_PTR(uint16_t) out;
    /// Query heads, `group` for each key/value head.
    uint32_t q_heads;
    /// Key/value heads.
    uint32_t kv_heads;
    /// Entries of a block table.
    uint32_t table_stride;
    /// Positions that a row sees, itself included: at most 2^31, which is all.
    uint32_t window;
    /// What scores are multiplied by to become exponents of 2: `log2(e) / sqrt(head_dim)`.
    float scale_log2;
    /// Keeps the size a multiple of 8 without implicit padding. Zero.
    uint32_t reserved;
} AttentionPrefillParams;

#endif
