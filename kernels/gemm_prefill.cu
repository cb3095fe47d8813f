// gemm_prefill: out = epilogue(x W^T) for many rows of x, where arithmetic is the cost.
//
//   x        bf16 [rows, k]   16-byte aligned, k a multiple of 16
//   W        bf16 [n, k]      row-major, 16-byte aligned
//   the others as GemmParams says; n any number, with a residual or SwiGLU a multiple of 16
//
// A block takes 128 features and 128, 64 or 32 tokens. Its eight warps stand four along the
// features and two along the tokens. All of them fill a ring of stages of 64 k by asynchronous
// copies, with one barrier a stage. Copies of weights begin before the grids before this one have
// ended; nothing of theirs is touched until then.
//
// One chain of accumulators takes all of K, ascending by 16, in every tile width: a row has the
// same bits in each, and whatever is beside it.
//
// Floor: 2 rows n k flops. Requested from L2 are 2 k bytes a row of W for each tile of tokens, and
// 2 k bytes a row of x, with a norm k / 4 more, for each tile of features. Blocks are numbered so
// that those at work at the same time form a square of tiles, about 16 by 16 on an H200: they ask
// memory for a sixteenth of what they ask L2 for.
//
// Grid: x = tiles, in groups of GEMM_PREFILL_RASTER tiles of tokens by all tiles of features.
//
// Held by tests/device/gemm_prefill.rs.

#include "gemm.cuh"

constexpr uint32_t WARPS_ALONG_TOKENS = 2;
constexpr uint32_t WARP_FEATURES = GEMM_PREFILL_FEATURES / 4;
static_assert(GEMM_PREFILL_THREADS == 4 * WARPS_ALONG_TOKENS * WARP, "four by two warps");

// The tile of a block: its first row of x and its first row of W.
struct Place {
    uint32_t row;
    uint32_t feature;
};

template <uint32_t TOKENS>
__device__ __forceinline__ Place block_place(const GemmParams &p) {
    const uint32_t token_tiles = (p.rows + TOKENS - 1) / TOKENS;
    const uint32_t feature_tiles = (p.n + GEMM_PREFILL_FEATURES - 1) / GEMM_PREFILL_FEATURES;
    const uint32_t group = blockIdx.x / (GEMM_PREFILL_RASTER * feature_tiles);
    const uint32_t first = group * GEMM_PREFILL_RASTER;
    const uint32_t width = min(token_tiles - first, GEMM_PREFILL_RASTER);
    const uint32_t index = blockIdx.x - first * feature_tiles;
    return Place{(first + index % width) * TOKENS, index / width * GEMM_PREFILL_FEATURES};
}

// Sums of one warp, as fragments of mma: 32 features and half of the block's tokens.
template <uint32_t TOKENS>
using Sums = float[WARP_FEATURES / 16][TOKENS / WARPS_ALONG_TOKENS / 8][4];

// A stage of bf16 weights and of tokens, and its products.
template <uint32_t TOKENS_>
struct Bf16Stage {
    static constexpr uint32_t TOKENS = TOKENS_;
    static constexpr uint32_t K = GEMM_PREFILL_K;
    static constexpr uint32_t STAGES = GEMM_PREFILL_STAGES;
    using Weights = RowTile<GEMM_PREFILL_FEATURES, K, GEMM_PREFILL_THREADS>;
    using Tokens = RowTile<TOKENS, K, GEMM_PREFILL_THREADS>;
    static constexpr uint32_t WEIGHT_BYTES = Weights::BYTES;

    Weights weights;
    Sums<TOKENS> sum = {};

    __device__ __forceinline__ Bf16Stage(const GemmParams &p, uint32_t feature)
        : weights(reinterpret_cast<const uint16_t *>(p.weight), p.n, p.k, feature, threadIdx.x) {}

    __device__ __forceinline__ void copy_weights(uint32_t stage, uint32_t step) const {
        weights.template copy<false>(stage, step);
    }

    __device__ __forceinline__ void multiply(uint32_t stage, uint32_t feature, uint32_t token) {
        constexpr uint32_t WARP_TOKENS = TOKENS / WARPS_ALONG_TOKENS;
        const uint32_t lane = threadIdx.x % WARP;
        const uint32_t weights_at = stage + feature * Weights::ROW_BYTES;
        const uint32_t tokens_at = stage + WEIGHT_BYTES + token * Tokens::ROW_BYTES;
        // An x4 is 16 features or 16 tokens by 16 k; mma takes them in different orders.
        const uint32_t a_place = Weights::place(lane % 16, lane / 16);
        const uint32_t b_place = Tokens::place(lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
        for (uint32_t k16 = 0; k16 < K / 16; k16++) {
            uint32_t a[WARP_FEATURES / 16][4];
#pragma unroll
            for (uint32_t f = 0; f < WARP_FEATURES / 16; f++) {
                ptx::ldmatrix_x4(a[f], weights_at + f * 16 * Weights::ROW_BYTES +
                                           Weights::ahead(a_place, k16 * 2));
            }
#pragma unroll
            for (uint32_t t = 0; t < WARP_TOKENS / 16; t++) {
                uint32_t b[4];
                ptx::ldmatrix_x4(b, tokens_at + t * 16 * Tokens::ROW_BYTES +
                                        Tokens::ahead(b_place, k16 * 2));
#pragma unroll
                for (uint32_t f = 0; f < WARP_FEATURES / 16; f++) {
                    ptx::mma_m16n8k16_bf16(sum[f][2 * t], a[f], b[0], b[1], sum[f][2 * t]);
                    ptx::mma_m16n8k16_bf16(sum[f][2 * t + 1], a[f], b[2], b[3],
                                           sum[f][2 * t + 1]);
                }
            }
        }
    }
};

template <class Stage>
__device__ __forceinline__ void gemm_prefill(const GemmParams &p) {
    constexpr uint32_t TOKENS = Stage::TOKENS;
    constexpr uint32_t WARPS = GEMM_PREFILL_THREADS / WARP;
    constexpr uint32_t WARP_TOKENS = TOKENS / WARPS_ALONG_TOKENS;
    constexpr uint32_t STAGE_BYTES = Stage::WEIGHT_BYTES + Stage::Tokens::BYTES;
    constexpr uint32_t AHEAD = Stage::STAGES - 1;
    using Tile = SumTile<WARP_FEATURES>;
    constexpr uint32_t TILE_BYTES = WARP_TOKENS * Tile::TOKEN_BYTES;
    static_assert(WARPS * TILE_BYTES <= Stage::STAGES * STAGE_BYTES, "sums take stages' place");
    extern __shared__ uint4 storage[];
    __shared__ float inverse_rms[TOKENS];

    ptx::griddepcontrol_launch_dependents();
    const uint32_t warp = threadIdx.x / WARP;
    const uint32_t ring = ptx::shared_address(storage);
    const Place place = block_place<TOKENS>(p);
    const uint32_t feature = warp / WARPS_ALONG_TOKENS * WARP_FEATURES;
    const uint32_t token = warp % WARPS_ALONG_TOKENS * WARP_TOKENS;
    const uint32_t steps = (p.k + Stage::K - 1) / Stage::K;
    Stage stage(p, place.feature);
    for (uint32_t s = 0; s < AHEAD && s < steps; s++) stage.copy_weights(ring + s * STAGE_BYTES, s);

    ptx::griddepcontrol_wait();
    const typename Stage::Tokens tokens(p.x, p.rows, p.k, place.row, threadIdx.x);
    const auto tokens_at = [](uint32_t stage) { return stage + Stage::WEIGHT_BYTES; };
    for (uint32_t s = 0; s < AHEAD; s++) {
        if (s < steps) tokens.template copy<false>(tokens_at(ring + s * STAGE_BYTES), s);
        ptx::cp_async_commit_group();
    }
    constexpr uint32_t ROWS = TOKENS / WARPS;
    constexpr uint32_t ROWS_AT_ONCE = ROWS < 8 ? ROWS : 8;
    for (uint32_t i = warp * ROWS; i < (warp + 1) * ROWS; i += ROWS_AT_ONCE) {
        input_rms<ROWS_AT_ONCE>(p, place.row + i, inverse_rms + i);
    }

    uint32_t used = ring, filled = ring + AHEAD * STAGE_BYTES;
#pragma unroll 1
    for (uint32_t step = 0; step < steps; step++) {
        ptx::cp_async_wait_group<AHEAD - 1>();
        // All threads' copies have arrived, and all warps have left the stage before.
        __syncthreads();
        if (step + AHEAD < steps) {
            stage.copy_weights(filled, step + AHEAD);
            tokens.template copy<false>(tokens_at(filled), step + AHEAD);
        }
        ptx::cp_async_commit_group();
        stage.multiply(used, feature, token);
        filled = used;
        used = used == ring + AHEAD * STAGE_BYTES ? ring : used + STAGE_BYTES;
    }

    // Each warp's sums to a place of its own, once all warps have done with the stages there.
    __syncthreads();
    float *tile = reinterpret_cast<float *>(storage) + warp * (TILE_BYTES / sizeof(float));
#pragma unroll
    for (uint32_t f = 0; f < WARP_FEATURES / 16; f++) {
#pragma unroll
        for (uint32_t t = 0; t < WARP_TOKENS / 8; t++) Tile::write(tile, f, t, stage.sum[f][t]);
    }
    __syncwarp();
#pragma unroll 1
    for (uint32_t i = threadIdx.x % WARP; i < WARP_TOKENS * WARP_FEATURES / 8; i += WARP) {
        Part part = Tile::read(tile, i);
        const uint32_t at = token + Tile::token(i);
        epilogue(p, place.row + at, place.feature + feature + Tile::feature(i), inverse_rms[at],
                 part);
    }
}

// Instances: the list of what is supported.
constexpr uint32_t THREADS = GEMM_PREFILL_THREADS;
KERNEL(gemm_prefill_bf16_bf16_m32, GemmParams, THREADS, 2) { gemm_prefill<Bf16Stage<32>>(p); }
KERNEL(gemm_prefill_bf16_bf16_m64, GemmParams, THREADS, 2) { gemm_prefill<Bf16Stage<64>>(p); }
KERNEL(gemm_prefill_bf16_bf16_m128, GemmParams, THREADS, 2) { gemm_prefill<Bf16Stage<128>>(p); }
