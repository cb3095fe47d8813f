/* The C ABI of Ridgepoint. Written by cbindgen from src/ffi (make header): not to be edited.

   Every function gives an rp_status; rp_error_message() is the text of the last failure on this
   thread. After a failure everything is as before the call. Handles are tickets: one that was
   destroyed is told apart from a live one. Structs begin with their size, and all other fields
   zero are the defaults. EMBEDDING.md has the rules of threads, memory and versions. */

#ifndef RIDGEPOINT_H
#define RIDGEPOINT_H

#include <stddef.h>
#include <stdint.h>

// `rp_event.kind`: a token was drawn. The one that ends a sequence is one too; it has no text.
#define RP_EVENT_TOKEN 1

// `rp_event.kind`: the request is done. Nothing follows.
#define RP_EVENT_FINISHED 2

// `rp_event.kind`: the request failed; the tokens before stand. Nothing follows.
#define RP_EVENT_FAILED 3

// `rp_event.reason`: an end-of-sequence token, or another of `stop_tokens`.
#define RP_FINISH_EOS 1

// `rp_event.reason`: a stop string.
#define RP_FINISH_STOP 2

// `rp_event.reason`: `max_tokens`, or the context is full.
#define RP_FINISH_LENGTH 3

// `rp_event.reason`: it was cancelled.
#define RP_FINISH_CANCELLED 4

// `rp_kernels_options.device`: the CUDA context that is current on the calling thread.
#define RP_DEVICE_CURRENT 0

// `rp_kernels_options.device`: a simulated GPU, which runs the kernels' PTX on the processor and
// reports races, reads of what nobody wrote, and accesses out of bounds as errors.
#define RP_DEVICE_SIM 1

// The phase of a product or of attention: many rows of a prompt, bound by arithmetic.
#define RP_PHASE_PREFILL 0

// The phase of a product or of attention: few rows a sequence, bound by memory bandwidth.
#define RP_PHASE_DECODE 1

// A position of rows that pad a decode batch: they see nothing and become zero.
#define RP_NO_POSITION UINT32_MAX

// Tokens of a page.
#define RP_PAGE_TOKENS 64

// `rp_gemm.format`: bf16, row-major.
#define RP_WEIGHT_BF16 0

// `rp_gemm.format`: 4 bits, packed by `rp_repack_int4`.
#define RP_WEIGHT_INT4 1

// `rp_gemm.format`: 8 bits with a scale a row, packed by `rp_repack_int8`; decode only.
#define RP_WEIGHT_INT8 2

// `rp_gemm.output`: `out = bf16(acc)`, `[rows, n]`.
#define RP_OUTPUT_BF16 0

// `rp_gemm.output`: `out = acc` in f32, `[rows, n]`.
#define RP_OUTPUT_F32 1

// `rp_gemm.output`: `out = bf16(silu(gate) * up)`, `[rows, n / 2]`. Of each sixteen rows of W
// eight are gate and then eight up.
#define RP_OUTPUT_SWIGLU 2

// `rp_gemm.output`: `stream = bf16(stream + acc)`, `out = bf16(stream * gamma)`, and the sums of
// squares of the new stream; n is a multiple of 16.
#define RP_OUTPUT_RESIDUAL 3

// `rp_query.op`: attention, with `heads` and `page_tokens`.
#define RP_OP_ATTENTION 0

// `rp_query.op`: the product, with `phase`, `format`, `group`, `zero_points`, `output`, n and k.
#define RP_OP_GEMM 1

// `rp_int4_weights.layout`: GPTQ whose zero points are stored minus 1 (`checkpoint_format` gptq).
#define RP_LAYOUT_GPTQ 0

// `rp_int4_weights.layout`: GPTQ whose zero points are stored as they are (gptq_v2).
#define RP_LAYOUT_GPTQ_V2 1

// `rp_int4_weights.layout`: AWQ, version GEMM.
#define RP_LAYOUT_AWQ 2

// `rp_int4_weights.layout`: compressed-tensors, pack-quantized.
#define RP_LAYOUT_PACK_QUANTIZED 3

// A dtype of 32-bit floats.
#define RP_DTYPE_F32 0

// A dtype of binary16.
#define RP_DTYPE_F16 1

// A dtype of bfloat16.
#define RP_DTYPE_BF16 2

// A slot of a token whose keys and values are not kept.
#define RP_NO_SLOT UINT32_MAX

// How a call ended.
typedef enum rp_status {
    // It did what was asked.
    RP_OK = 0,
    // An argument cannot be what it is: null, misaligned, out of range, or in disagreement with
    // another one.
    RP_INVALID = 1,
    // A handle that was destroyed, or of another kind, or none.
    RP_HANDLE = 2,
    // Another thread is using this handle, which takes one at a time.
    RP_IN_USE = 3,
    // A file of the model directory says something that cannot be used.
    RP_MODEL = 4,
    // The operating system refused to read a file.
    RP_IO = 5,
    // It is sound, but this library, build or device does not do it.
    RP_UNSUPPORTED = 6,
    // Too many requests wait. The message says when to try again.
    RP_BUSY = 7,
    // The device is missing, too small, or failed.
    RP_DEVICE = 8,
    // Nothing happened in the time given.
    RP_TIMEOUT = 9,
    // The request has ended and its last event was taken.
    RP_ENDED = 10,
    // A buffer is too small. The size it needs was written.
    RP_TOO_SMALL = 11,
    // A fault of this library.
    RP_PANIC = 12,
} rp_status;

// A model and the engine that serves it. Any thread, at any time.
typedef struct rp_engine rp_engine;

// Kernels on a device. One thread at a time.
typedef struct rp_kernels rp_kernels;

// A request. Polled by one thread at a time, cancelled from any.
typedef struct rp_request rp_request;

// How an engine is made and serves. All zeros but the size: the defaults.
typedef struct rp_engine_options {
    // sizeof(rp_engine_options).
    size_t size;
    // "auto" (a GPU where there is one), "cpu", "cuda" or "sim"; null is "auto".
    const char *device;
    // What weights of 16 bits become, such as "int4:group=128"; null leaves them.
    const char *quantize;
    // A directory with a smaller model of the same tokenizer, or "ngram": drafts tokens for the
    // engine to check. The output stays the same. Null: nothing drafts.
    const char *draft;
    // Most tokens of a request, prompt and output together; 0: all that the model has positions
    // for.
    size_t context;
    // Requests that run at a time; 0: 32.
    size_t running;
    // Requests that may wait; 0: 4096. One more is refused with RP_BUSY.
    size_t waiting;
    // Prompt tokens of a step; 0: 512.
    size_t prefill_tokens;
    // Pages of 64 tokens in the KV cache; 0: what the requests that run need.
    size_t kv_pages;
    // Percent of the room that outputs may need which is promised before a request runs; 0: 100,
    // with which none is ever preempted.
    size_t reserve_percent;
    // Of drafts: tokens of each; 0: as many as pay.
    size_t depth;
    // Milliseconds without a step after which callers that wait give up; 0: 600,000.
    uint64_t patience_ms;
    // Not 0: requests share no pages.
    uint32_t no_prefix_cache;
    // Not 0: pages of generated tokens are shared too. Outputs may then depend on what was cached.
    uint32_t share_generated;
} rp_engine_options;

// An addition to the logit of a token.
typedef struct rp_logit_bias {
    // The token.
    uint32_t token;
    // -10000 to 10000.
    float bias;
} rp_logit_bias;

// How the next token is drawn from the logits. All zeros: the most probable one, always.
typedef struct rp_sampling {
    // sizeof(rp_sampling).
    size_t size;
    // 0 takes the largest logit; above 0 (0.001 to 1000) logits are divided by it.
    float temperature;
    // Keep the `top_k` largest logits; 0 keeps all.
    uint32_t top_k;
    // Keep the fewest tokens, largest first, whose probability reaches it; 0 and 1 keep all.
    float top_p;
    // Keep tokens at least this many times as probable as the most probable one; 0 keeps all.
    float min_p;
    // Divides positive and multiplies negative logits of tokens of prompt and output; 0 and 1
    // are off.
    float repetition_penalty;
    // Subtracted from a logit once for every time its token stands in the output.
    float frequency_penalty;
    // Subtracted from a logit if its token stands in the output.
    float presence_penalty;
    // Not 0: log-probabilities come with each token.
    uint32_t logprobs;
    // With `logprobs`: of how many of the most probable tokens as well, 0 to 64.
    uint32_t top_logprobs;
    // Zero.
    uint32_t reserved;
    // The seed of the noise. Equal requests with equal seeds give equal tokens.
    uint64_t seed;
    // Additions to logits; a token named twice gets the sum.
    const struct rp_logit_bias *logit_bias;
    // How many.
    size_t logit_bias_count;
} rp_sampling;

// A token and its log-probability: natural logarithm, of the raw logits.
typedef struct rp_logprob {
    // The token.
    uint32_t token;
    // Its log-probability.
    float logprob;
} rp_logprob;

// News of a request. What it points at stays until the next event of the request is taken, or
// the request is destroyed; in a callback, until the callback returns.
typedef struct rp_event {
    // sizeof(rp_event).
    size_t size;
    // RP_EVENT_...
    uint32_t kind;
    // RP_EVENT_TOKEN: the token.
    uint32_t token;
    // RP_EVENT_TOKEN and RP_EVENT_FINISHED: what can be shown now, UTF-8 that ends with a zero.
    // Often empty: characters may take several tokens, and what could become a stop string is
    // held back.
    const char *text;
    // Its bytes, without the zero.
    size_t text_bytes;
    // RP_EVENT_TOKEN: the log-probability of the token, if asked for.
    float logprob;
    // RP_EVENT_FINISHED: RP_FINISH_...
    uint32_t reason;
    // RP_EVENT_TOKEN: the most probable tokens, most probable first, if asked for.
    const struct rp_logprob *top;
    // How many.
    size_t top_count;
    // RP_EVENT_FINISHED: tokens of the prompt.
    size_t prompt_tokens;
    // RP_EVENT_FINISHED: of these, found in the prefix cache.
    size_t cached_tokens;
    // RP_EVENT_FINISHED: tokens that were drawn.
    size_t output_tokens;
    // RP_EVENT_FINISHED: seconds from submission to admission.
    double queued_s;
    // RP_EVENT_FINISHED: seconds from admission to the first token.
    double prefill_s;
    // RP_EVENT_FINISHED: seconds from the first token to the end.
    double decode_s;
    // RP_EVENT_FAILED: what a call that failed so would have returned. `text` says why.
    uint32_t status;
    // Zero.
    uint32_t reserved;
} rp_event;

// Called with each event of a request and the data that was submitted with it, on a thread of the
// engine. It delays the callbacks of other requests for as long as it takes. It may call any
// function but `rp_engine_destroy` and `rp_engine_drain` of its own engine.
typedef void (*rp_callback)(const struct rp_event *event, void *user_data);

// What a request asks for. Exactly one of `tokens` and `text` is the prompt.
typedef struct rp_request_options {
    // sizeof(rp_request_options).
    size_t size;
    // The prompt as token ids, used as they are; or null.
    const uint32_t *tokens;
    // How many.
    size_t token_count;
    // The prompt as UTF-8 that ends with a zero, to which the tokenizer adds the special tokens a
    // prompt begins with; or null.
    const char *text;
    // How tokens are drawn; null is the most probable one.
    const struct rp_sampling *sampling;
    // Most tokens of the output; 0: until the context is full.
    size_t max_tokens;
    // Texts that end the output; they are not part of it.
    const char *const *stop;
    // How many.
    size_t stop_count;
    // Tokens that end the output, in place of the model's end-of-sequence tokens.
    const uint32_t *stop_tokens;
    // How many; 0 with `ignore_eos` 0: the model's own.
    size_t stop_token_count;
    // Not 0: the output goes on past end-of-sequence tokens. Not together with `stop_tokens`.
    uint32_t ignore_eos;
    // Higher is served sooner; equal ones in the order of submission.
    int32_t priority;
    // Requests share pages of equal beginnings if their salts are equal: one for each tenant.
    uint64_t salt;
    // If not null, called with every event on a thread of the engine, in order. Such a request is
    // not polled.
    rp_callback callback;
    // What the callback is given.
    void *user_data;
} rp_request_options;

// The work of one family of kernels since the engine's start.
typedef struct rp_phase_stats {
    // Forward passes.
    uint64_t passes;
    // Tokens that were computed.
    uint64_t rows;
    // Seconds in passes and draws.
    double seconds;
} rp_phase_stats;

// A snapshot of an engine's counters. Counts grow from its start.
typedef struct rp_stats {
    // sizeof(rp_stats).
    size_t size;
    // Requests that run now.
    uint64_t requests_running;
    // Requests that wait now.
    uint64_t requests_waiting;
    // Pages in use now that no eviction could free.
    uint64_t kv_pages_used;
    // Pages of the cache.
    uint64_t kv_pages;
    // Prompt tokens of finished requests.
    uint64_t prompt_tokens;
    // Drawn tokens.
    uint64_t generation_tokens;
    // Prompt tokens that were looked for in the prefix cache.
    uint64_t prefix_cache_queries;
    // Of these, found.
    uint64_t prefix_cache_hits;
    // Tokens whose pages the prefix cache gave up.
    uint64_t prefix_cache_evictions;
    // Requests that lost their pages.
    uint64_t preemptions;
    // Tokens computed again after that.
    uint64_t recomputed_tokens;
    // Requests that ended by an end-of-sequence token.
    uint64_t finished_eos;
    // Requests that ended by a stop string.
    uint64_t finished_stop;
    // Requests that ended by their length.
    uint64_t finished_length;
    // Requests that were cancelled.
    uint64_t finished_cancelled;
    // Requests that failed.
    uint64_t finished_error;
    // Steps.
    uint64_t steps;
    // Seconds in steps.
    double step_seconds;
    // By the prefill family.
    struct rp_phase_stats prefill;
    // By the decode family.
    struct rp_phase_stats decode;
    // Seconds since a step last ended.
    double since_progress_s;
    // 1: there are requests, and no step has ended for longer than callers wait.
    uint32_t is_stalled;
    // Zero.
    uint32_t reserved;
} rp_stats;

// Where kernels run.
typedef struct rp_kernels_options {
    // sizeof(rp_kernels_options).
    size_t size;
    // RP_DEVICE_CURRENT or RP_DEVICE_SIM.
    uint32_t device;
    // With RP_DEVICE_SIM, the compute capability times ten: 80, 86, 89 or 90; 0 is 90.
    uint32_t sim_compute;
    // With RP_DEVICE_CURRENT, a CUstream (or cudaStream_t) of that context; null is its default
    // stream. It lives as long as launches go to it.
    void *stream;
} rp_kernels_options;

// Heads of attention.
typedef struct rp_heads {
    // Query heads.
    uint32_t query;
    // Key/value heads, which divide the query heads.
    uint32_t kv;
    // Elements of a head: 64 or 128.
    uint32_t dim;
} rp_heads;

// What a workspace and its plans have room for, and the cache they read. Equal for all layers.
typedef struct rp_attention_shape {
    // sizeof(rp_attention_shape).
    size_t size;
    // RP_PHASE_PREFILL or RP_PHASE_DECODE.
    uint32_t phase;
    // The model's heads.
    struct rp_heads heads;
    // Most rows of a batch.
    uint32_t rows;
    // Most sequences of a batch, those that pad it included.
    uint32_t sequences;
    // Decode: most rows of one sequence, such as 1, or more to verify drafts.
    uint32_t sequence_rows;
    // Most positions of a sequence.
    uint32_t context;
    // Pages of the pool.
    uint32_t pages;
    // Entries of a block table.
    uint32_t table_stride;
} rp_attention_shape;

// Bytes that a shape needs.
typedef struct rp_attention_sizes {
    // sizeof(rp_attention_sizes).
    size_t size;
    // Of a plan, on the host and on the device.
    size_t plan_bytes;
    // Of the workspace on the device. All zero before the first use, and left so that the next
    // launch of this shape can use it.
    size_t workspace_bytes;
} rp_attention_sizes;

// Neighbouring rows of a batch that belong to one sequence, at consecutive positions.
typedef struct rp_sequence {
    // The first row.
    uint32_t row;
    // How many, at least one.
    uint32_t rows;
    // Position of the first row, or in decode RP_NO_POSITION.
    uint32_t position;
    // The sequence's row of the block tables.
    uint32_t table;
} rp_sequence;

// A plan of a step, which all layers use. The caller copies `bytes` of its buffer to the device.
typedef struct rp_attention_plan {
    // sizeof(rp_attention_plan).
    size_t size;
    // Bytes of the plan.
    size_t bytes;
    // Prefill: tiles of rows, the y size of the grid. 0 in decode, whose launch is the same for
    // every plan of a shape, so that one graph serves them all.
    uint32_t tiles;
    // Prefill: rows of a tile.
    uint32_t tile_rows;
} rp_attention_plan;

// Attention of one layer.
typedef struct rp_attention {
    // sizeof(rp_attention).
    size_t size;
    // As the plan was made for.
    const struct rp_attention_shape *shape;
    // What `rp_attention_make_plan` wrote.
    const struct rp_attention_plan *plan;
    // Device: the plan.
    uint64_t plan_at;
    // Device, bf16 `[rows, query, dim]`: rotated queries.
    uint64_t q;
    // Device, bf16 `[pages, kv, 64, dim]`, as `rp_rope_append_run` leaves them.
    uint64_t k_pages;
    // Device, laid out like the keys.
    uint64_t v_pages;
    // Device, u32 `[tables, table_stride]`: the pages of each sequence in order.
    uint64_t block_tables;
    // Device, bf16 `[rows, query, dim]`. All rows of the plan are written.
    uint64_t out;
    // Device: the workspace; 0 where it has no bytes.
    uint64_t workspace;
    // Positions that a row sees, itself included; 0 for all.
    uint32_t window;
    // Zero.
    uint32_t reserved;
} rp_attention;

// `acc = x W^T`, divided by the root mean square of x's row if there are `norm_squares`, plus the
// bias; then what `output` says. Addresses are multiples of 16.
typedef struct rp_gemm {
    // sizeof(rp_gemm).
    size_t size;
    // RP_PHASE_PREFILL or RP_PHASE_DECODE. A row has the same bits in any batch of one phase.
    uint32_t phase;
    // RP_WEIGHT_...
    uint32_t format;
    // Of RP_WEIGHT_INT4: columns that share a scale, 64 or 128.
    uint32_t group;
    // Of RP_WEIGHT_INT4: not 0, there are zero points.
    uint32_t zero_points;
    // Rows of the input.
    uint32_t rows;
    // Rows of W.
    uint32_t n;
    // Columns of W: a multiple of 16, and of the group.
    uint32_t k;
    // RP_OUTPUT_...
    uint32_t output;
    // Device, bf16 `[rows, k]`.
    uint64_t x;
    // Device, W `[n, k]` in its format.
    uint64_t weight;
    // Device, bf16 `[n]`; 0 for none.
    uint64_t bias;
    // Device, f32 `[rows, k / 16]`: sums of squares of the rows before they were multiplied by
    // the weight of their norm; 0 for no norm.
    uint64_t norm_squares;
    // Device, written whole.
    uint64_t out;
    // Of RP_OUTPUT_RESIDUAL: device, bf16 `[rows, n]`, updated in place.
    uint64_t stream;
    // Of RP_OUTPUT_RESIDUAL: device, bf16 `[n]`, the weight of the norm to come.
    uint64_t gamma;
    // Of RP_OUTPUT_RESIDUAL: device, f32 `[rows, n / 16]`, written whole.
    uint64_t squares;
    // Device, `rp_gemm_workspace_size` bytes: all zero before the first use, and left so that the
    // next launch, of this product or another, can use it. 0 where that is none.
    uint64_t workspace;
    // Added to the mean of squares before the root.
    float epsilon;
    // Zero.
    uint32_t reserved;
} rp_gemm;

// A question: are there kernels for this?
typedef struct rp_query {
    // sizeof(rp_query).
    size_t size;
    // RP_OP_...
    uint32_t op;
    // RP_PHASE_...
    uint32_t phase;
    // Of attention.
    struct rp_heads heads;
    // Of attention: tokens of a page.
    uint32_t page_tokens;
    // Of a product: RP_WEIGHT_...
    uint32_t format;
    // Of a product with RP_WEIGHT_INT4.
    uint32_t group;
    // Of a product with RP_WEIGHT_INT4.
    uint32_t zero_points;
    // Of a product: RP_OUTPUT_...
    uint32_t output;
    // Of a product.
    uint32_t n;
    // Of a product.
    uint32_t k;
} rp_query;

// A matrix W `[n, k]` of 4 bits as a checkpoint stores it, on the host. Layouts are those of the
// formats' own tensors.
typedef struct rp_int4_weights {
    // sizeof(rp_int4_weights).
    size_t size;
    // RP_LAYOUT_...
    uint32_t layout;
    // Rows.
    uint32_t n;
    // Columns, a multiple of the group.
    uint32_t k;
    // Columns that share a scale: 64, 128, or a multiple, up to the whole row.
    uint32_t group;
    // Not 0: each group has a zero point of its own.
    uint32_t zero_points;
    // RP_DTYPE_... of the scales. The kernels keep them in bf16.
    uint32_t scale_dtype;
    // qweight, or weight_packed: 32-bit words, n * k / 2 bytes.
    const uint8_t *words;
    // scales, or weight_scale: n * k / group numbers.
    const uint8_t *scales;
    // qzeros, or weight_zero_point: 32-bit words. May be null without zero points.
    const uint8_t *zeros;
    // g_idx: k 32-bit words, or null. Columns that are not in groups of neighbours have no
    // kernels: the caller dequantises such a matrix.
    const uint8_t *group_index;
} rp_int4_weights;

// A matrix W `[n, k]` of 8 bits with a scale a row, on the host.
typedef struct rp_int8_weights {
    // sizeof(rp_int8_weights).
    size_t size;
    // Rows.
    uint32_t n;
    // Columns, a multiple of 16.
    uint32_t k;
    // int8 `[n, k]`.
    const int8_t *values;
    // f32 `[n]`.
    const float *scales;
} rp_int8_weights;

// `residual += input; out = residual / sqrt(mean(residual^2) + epsilon) * gamma`, row by row.
typedef struct rp_rmsnorm {
    // sizeof(rp_rmsnorm).
    size_t size;
    // Device, bf16 `[rows, hidden]`: what is added.
    uint64_t input;
    // Device, bf16 `[rows, hidden]`, replaced by the rounded sum; 0: `input` is normalised.
    uint64_t residual;
    // Device, bf16 `[hidden]`: the weight.
    uint64_t gamma;
    // Device, bf16 `[rows, hidden]`, written whole. May be `input`.
    uint64_t out;
    // Rows.
    uint32_t rows;
    // Elements in a row: a multiple of 8, at most 24,560.
    uint32_t hidden;
    // Added to the mean of squares before the root.
    float epsilon;
    // Zero.
    uint32_t reserved;
} rp_rmsnorm;

// `out = gate / (1 + exp(-gate)) * up`.
typedef struct rp_silu_mul {
    // sizeof(rp_silu_mul).
    size_t size;
    // Device, bf16 `[rows, 2, intermediate]`: gate and up side by side.
    uint64_t gate_up;
    // Device, bf16 `[rows, intermediate]`, written whole.
    uint64_t out;
    // Rows.
    uint32_t rows;
    // Elements in a row of the output: a multiple of 8.
    uint32_t intermediate;
} rp_silu_mul;

// Finishes the output of the projection (bias, norm over heads, rotation of dimension i with
// i + dim / 2) and appends keys and values to their pages.
typedef struct rp_rope_append {
    // sizeof(rp_rope_append).
    size_t size;
    // Device, bf16 `[tokens, query + 2 kv, dim]`: queries, then keys, then values.
    uint64_t qkv;
    // Device, bf16 `[query + 2 kv, dim]`; 0 for none.
    uint64_t bias;
    // Device, bf16 `[dim]`: weight of the norm over query heads; 0, with the next, for none.
    uint64_t q_gamma;
    // Device, bf16 `[dim]`: weight of the norm over key heads.
    uint64_t k_gamma;
    // Device, f32 `[positions, dim / 2, 2]`: cosine and sine side by side.
    uint64_t cos_sin;
    // Device, u32 `[tokens]`: the position of each token, a row of `cos_sin`.
    uint64_t positions;
    // Device, u32 `[tokens]`: page * 64 + slot in the page, or RP_NO_SLOT for a token whose keys
    // and values are not kept.
    uint64_t slots;
    // Device, bf16 `[tokens, query, dim]`: rotated queries, written whole.
    uint64_t q_out;
    // Device, bf16 `[pages, kv, 64, dim]`: keys of the layer, swizzled as attention reads them.
    uint64_t k_pages;
    // Device, laid out like the keys.
    uint64_t v_pages;
    // The model's heads.
    struct rp_heads heads;
    // Tokens.
    uint32_t tokens;
    // Of the norm over heads: added to the mean of squares before the root.
    float epsilon;
    // Zero.
    uint32_t reserved;
} rp_rope_append;

// What a workspace of draws has room for.
typedef struct rp_sample_shape {
    // sizeof(rp_sample_shape).
    size_t size;
    // Most rows of logits.
    uint32_t rows;
    // Tokens of the vocabulary.
    uint32_t vocab;
    // Most tokens of a row's history.
    uint32_t context;
    // Zero.
    uint32_t reserved;
} rp_sample_shape;

// Bytes that a shape needs.
typedef struct rp_sample_sizes {
    // sizeof(rp_sample_sizes).
    size_t size;
    // Of a plan, on the host and on the device.
    size_t plan_bytes;
    // Of the workspace on the device. All zero before the first use, and left so that the next
    // launch of this shape can use it.
    size_t workspace_bytes;
} rp_sample_sizes;

// A row to draw from.
typedef struct rp_sample_row {
    // How; null is the most probable token.
    const struct rp_sampling *sampling;
    // Prompt, then output so far. Its length is the position of the noise.
    const uint32_t *history;
    // How many tokens it has.
    size_t history_count;
    // How many of them are the prompt.
    size_t prompt_count;
} rp_sample_row;

// A plan of draws. The caller copies `bytes` of its buffer to the device.
typedef struct rp_sample_plan {
    // sizeof(rp_sample_plan).
    size_t size;
    // Bytes of the plan.
    size_t bytes;
    // Rows of the plan; those that pad it are left alone.
    uint32_t rows;
    // Not 0: a row has top-k, top-p or min-p. A graph for plans to come sets it to 1.
    uint32_t filters;
} rp_sample_plan;

// Draws a token from each row.
typedef struct rp_sample {
    // sizeof(rp_sample).
    size_t size;
    // As the plan was made for.
    const struct rp_sample_shape *shape;
    // What `rp_sample_make_plan` wrote.
    const struct rp_sample_plan *plan;
    // Device: the plan.
    uint64_t plan_at;
    // Device, f32 `[rows, stride]`, of which `vocab` columns are logits.
    uint64_t logits;
    // Elements from a row of logits to the next.
    uint32_t stride;
    // Zero.
    uint32_t reserved;
    // Device, u32 `[rows]`, written whole: the tokens; 0 for rows that pad, or are faulty.
    uint64_t tokens;
    // Device, u32 `[rows]`, written whole: 0 where a token was drawn; `rp_sample_status` says
    // what else there is.
    uint64_t status;
    // Device: the workspace.
    uint64_t workspace;
} rp_sample;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Opens a model and starts its engine, which has a thread of its own. Takes as long as loading
// takes.
//
// # Safety
// `dir` is a text that ends with a zero; `options` is null, for defaults, or a struct as large as
// it says; `engine` is writable.
enum rp_status rp_engine_create(const char *dir,
                                const struct rp_engine_options *options,
                                struct rp_engine **engine);

// Ends an engine. Requests that have not ended fail; whoever polls them hears of it, and callbacks
// have before this returns. May not be called from a callback.
enum rp_status rp_engine_destroy(struct rp_engine *engine);

// Takes no more requests and waits until those that there are have ended; they are served to
// their ends. May not be called from a callback.
enum rp_status rp_engine_drain(struct rp_engine *engine);

// Waits until any request of the engine has news, for a caller that polls many: it then polls
// each with a timeout of 0. `seen` is 0 at first and is updated: news that came between two calls
// is not waited for. RP_TIMEOUT if there is none.
//
// # Safety
// `seen` is readable and writable.
enum rp_status rp_engine_wait(struct rp_engine *engine, uint64_t *seen, uint64_t timeout_ms);

// What the engine runs on, and every remark that was made while it was loaded, a line each.
// `needed` may be null.
//
// # Safety
// `text` has `capacity` writable bytes; `needed` is null or writable.
enum rp_status rp_engine_describe(const struct rp_engine *engine,
                                  char *text,
                                  size_t capacity,
                                  size_t *needed);

// The size of the vocabulary and the most tokens of a request, prompt and output together. Either
// may be null.
//
// # Safety
// Both are null or writable.
enum rp_status rp_engine_limits(const struct rp_engine *engine, size_t *vocab, size_t *context);

// Text to token ids. `count` becomes how many there are, also when `capacity` is too small
// (RP_TOO_SMALL). With `add_special` not 0, the special tokens that a prompt begins with are
// added.
//
// # Safety
// `text` ends with a zero; `tokens` has `capacity` writable elements; `count` is writable.
enum rp_status rp_engine_tokenize(const struct rp_engine *engine,
                                  const char *text,
                                  uint32_t add_special,
                                  uint32_t *tokens,
                                  size_t capacity,
                                  size_t *count);

// Token ids to text. `needed` becomes the size that the buffer must have, also when this one is
// too small (RP_TOO_SMALL); it may be null.
//
// # Safety
// `tokens` has `count` elements; `text` has `capacity` writable bytes; `needed` is null or
// writable.
enum rp_status rp_engine_detokenize(const struct rp_engine *engine,
                                    const uint32_t *tokens,
                                    size_t count,
                                    char *text,
                                    size_t capacity,
                                    size_t *needed);

// Submits a request. With a callback, `request` may be null: the request then runs to its end by
// itself.
//
// # Safety
// `options` is a struct as large as it says, whose pointers hold what they say; `request` is
// writable, or null with a callback; the callback may be called from another thread, with its
// data, until the last event.
enum rp_status rp_engine_submit(struct rp_engine *engine,
                                const struct rp_request_options *options,
                                struct rp_request **request);

// Takes the next event of a request, waiting for at most `timeout_ms`: RP_TIMEOUT if there is
// none by then, RP_ENDED after the last one.
//
// # Safety
// `event` is a struct as large as it says.
enum rp_status rp_request_poll(struct rp_request *request,
                               uint64_t timeout_ms,
                               struct rp_event *event);

// Asks for a request's end. It may draw one more token; the end is an event like any other. Again,
// or after the end, it does nothing.
enum rp_status rp_request_cancel(struct rp_request *request);

// Ends a handle. A request that is polled is cancelled, if it has not ended; one with a callback
// goes on.
enum rp_status rp_request_destroy(struct rp_request *request);

// The engine's counters as of its last step.
//
// # Safety
// `stats` is a struct as large as it says.
enum rp_status rp_engine_stats(const struct rp_engine *engine, struct rp_stats *stats);

// Makes kernels ready. Takes the longest of all calls here: it loads the machine code.
//
// # Safety
// `options` is a struct as large as it says, `kernels` is writable, and the stream is one.
enum rp_status rp_kernels_create(const struct rp_kernels_options *options,
                                 struct rp_kernels **kernels);

// Ends the handle: waits for all work of its CUDA context and unloads the machine code. Graphs
// that hold launches of it may not run afterwards. Not while a stream of the context is captured.
enum rp_status rp_kernels_destroy(struct rp_kernels *kernels);

// Sends the launches that follow to another stream of the same context. The simulator has but
// one, and takes null.
//
// # Safety
// `stream` is a CUstream that lives as long as launches go to it.
enum rp_status rp_kernels_set_stream(struct rp_kernels *kernels, void *stream);

// Says what the kernels run on: device, compute capability, machine code. `needed` may be null.
//
// # Safety
// `text` has `capacity` writable bytes; `needed` is null or writable.
enum rp_status rp_kernels_describe(const struct rp_kernels *kernels,
                                   char *text,
                                   size_t capacity,
                                   size_t *needed);

// Waits until all launches have ended, and tells what became of them: a fault of the device, or
// any finding of the simulator. For tests and measurements; an engine synchronises its stream by
// its own means.
enum rp_status rp_kernels_synchronize(struct rp_kernels *kernels);

// Bytes of a plan and of the workspace.
//
// # Safety
// `shape` and `sizes` are structs as large as they say.
enum rp_status rp_attention_workspace_size(const struct rp_kernels *kernels,
                                           const struct rp_attention_shape *shape,
                                           struct rp_attention_sizes *sizes);

// Plans a step, once for all layers, on the host: writes the plan to `buffer`, which the caller
// copies to the device. With `block_tables`, the host's copy of `table_count` tables, every page
// that a sequence reads is checked to be one of the pool; null leaves that out.
//
// # Safety
// Structs are as large as they say, arrays as long, `buffer` has `capacity` writable bytes.
enum rp_status rp_attention_make_plan(const struct rp_kernels *kernels,
                                      const struct rp_attention_shape *shape,
                                      const struct rp_sequence *sequences,
                                      size_t sequence_count,
                                      const uint32_t *block_tables,
                                      size_t table_count,
                                      uint8_t *buffer,
                                      size_t capacity,
                                      struct rp_attention_plan *plan);

// Launches attention of one layer.
//
// # Safety
// Structs are as large as they say, and the addresses hold what they say.
enum rp_status rp_attention_run(struct rp_kernels *kernels, const struct rp_attention *op);

// Bytes of workspace of a product of at most `op->rows` rows; of the addresses in `op` nothing is
// read. Products that follow one another in a stream may share a workspace, as large as the
// largest of them asks for.
//
// # Safety
// `op` is a struct as large as it says, and `bytes` is writable.
enum rp_status rp_gemm_workspace_size(const struct rp_kernels *kernels,
                                      const struct rp_gemm *op,
                                      size_t *bytes);

// Launches a product.
//
// # Safety
// `op` is a struct as large as it says, and its addresses hold what they say.
enum rp_status rp_gemm_run(struct rp_kernels *kernels, const struct rp_gemm *op);

// Takes device memory, aligned to 256 bytes, its content undefined.
//
// # Safety
// `at` is writable.
enum rp_status rp_memory_alloc(struct rp_kernels *kernels, size_t bytes, uint64_t *at);

// Gives back what `rp_memory_alloc` gave, after what has been launched before.
//
// # Safety
// It was not given back before.
enum rp_status rp_memory_free(struct rp_kernels *kernels, uint64_t at);

// Copies to the device, after what has been launched before; `from` may be reused at once.
//
// # Safety
// `from` has `bytes` readable bytes, and `at` as many of device memory.
enum rp_status rp_memory_write(struct rp_kernels *kernels,
                               uint64_t at,
                               const uint8_t *from,
                               size_t bytes);

// Copies from the device, and waits for all that was launched before.
//
// # Safety
// `to` has `bytes` writable bytes, and `at` as many of device memory.
enum rp_status rp_memory_read(struct rp_kernels *kernels, uint64_t at, uint8_t *to, size_t bytes);

// Answers RP_OK and 1 or 0; with 0 the reason, and what there is instead, is written to `reason`,
// which may be null with a capacity of 0; a text that is too long is cut.
//
// # Safety
// `query` is a struct as large as it says, `supported` is writable, `reason` has `capacity`
// writable bytes.
enum rp_status rp_kernels_supports(const struct rp_kernels *kernels,
                                   const struct rp_query *query,
                                   uint32_t *supported,
                                   char *reason,
                                   size_t capacity);

// Bytes of the packed matrix.
//
// # Safety
// `weights` is a struct as large as it says; of its pointers nothing is read. `bytes` is writable.
enum rp_status rp_repack_int4_size(const struct rp_int4_weights *weights, size_t *bytes);

// Packs a matrix for RP_WEIGHT_INT4 into `out`, which has `capacity` bytes. Uses all cores.
//
// # Safety
// `weights` is a struct as large as it says, its pointers hold what they say, and `out` is
// writable.
enum rp_status rp_repack_int4(const struct rp_int4_weights *weights, uint8_t *out, size_t capacity);

// Bytes of a packed matrix of 8 bits.
//
// # Safety
// As `rp_repack_int4_size`.
enum rp_status rp_repack_int8_size(const struct rp_int8_weights *weights, size_t *bytes);

// Packs a matrix for RP_WEIGHT_INT8 into `out`, which has `capacity` bytes. Uses all cores.
//
// # Safety
// As `rp_repack_int4`.
enum rp_status rp_repack_int8(const struct rp_int8_weights *weights, uint8_t *out, size_t capacity);

// Launches RMSNorm.
//
// # Safety
// `op` is a struct as large as it says, and its addresses hold what they say.
enum rp_status rp_rmsnorm_run(struct rp_kernels *kernels, const struct rp_rmsnorm *op);

// Launches SiLU and multiplication.
//
// # Safety
// As `rp_rmsnorm_run`.
enum rp_status rp_silu_mul_run(struct rp_kernels *kernels, const struct rp_silu_mul *op);

// Launches rotation and append.
//
// # Safety
// As `rp_rmsnorm_run`.
enum rp_status rp_rope_append_run(struct rp_kernels *kernels, const struct rp_rope_append *op);

// Bytes of a plan and of the workspace.
//
// # Safety
// `shape` and `sizes` are structs as large as they say.
enum rp_status rp_sample_workspace_size(const struct rp_kernels *kernels,
                                        const struct rp_sample_shape *shape,
                                        struct rp_sample_sizes *sizes);

// Plans draws on the host: writes the plan to `buffer`, which the caller copies to the device.
// Rows up to `padded` are added, which are left alone.
//
// # Safety
// Structs are as large as they say, arrays as long, `buffer` has `capacity` writable bytes.
enum rp_status rp_sample_make_plan(const struct rp_kernels *kernels,
                                   const struct rp_sample_shape *shape,
                                   const struct rp_sample_row *rows,
                                   size_t row_count,
                                   size_t padded,
                                   uint8_t *buffer,
                                   size_t capacity,
                                   struct rp_sample_plan *plan);

// Launches draws: one kernel, and another for rows with filters.
//
// # Safety
// Structs are as large as they say, and the addresses hold what they say.
enum rp_status rp_sample_run(struct rp_kernels *kernels, const struct rp_sample *op);

// Reads statuses that were copied from the device: RP_OK if every row could be drawn from, else
// RP_DEVICE with a text that says which logit was what.
//
// # Safety
// `status` has `count` elements.
enum rp_status rp_sample_status(const uint32_t *status, size_t count, uint32_t vocab);

// The text of the last call on this thread that did not return RP_OK, "" if there was none. It
// stays where it is until the next such call on this thread.
const char *rp_error_message(void);

// The version of the library, such as "0.1.0".
const char *rp_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* RIDGEPOINT_H */
