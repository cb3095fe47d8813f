// gemm_prefill: out = epilogue(x W^T) for many rows of x, where arithmetic is the cost.
//
//   x        bf16 [rows, k]   16-byte aligned, k a multiple of 16
//   W        bf16 [n, k]      row-major, 16-byte aligned; or
//            int4 [n, k]      packed by repack.rs in groups of 128 or 64, 16-byte aligned
//   the others as GemmParams says; n any number, with a residual or SwiGLU a multiple of 16
//
// A block takes 128 features and 128, 64 or 32 tokens. Its eight warps stand four along the
// features and two along the tokens. All of them fill a ring of stages of 64 k by asynchronous
// copies, with one barrier a stage. Copies of weights begin before the grids before this one have
// ended; nothing of theirs is touched until then.
//
// A row has the same bits in every tile width, and whatever is beside it: with bf16 weights one
// chain of accumulators takes all of K, ascending by 16; with int4 weights one chain takes each
// group, ascending by 16, and groups are added in ascending order, each by one fma with its scale.
//
// Floor: 2 rows n k flops. Requested from L2 are the weights (2 n k bytes, or for each 64 features
// that begin in n the units of repack.rs) once for each tile of tokens, and for each tile of
// features 2 k bytes a row of x, with a norm k / 4 more. Blocks are numbered so that those at work
// at the same time form a square of tiles, about 16 by 16 on an H200: they ask memory for a
// sixteenth of what they ask L2 for. In flight on an SM are the weights and tokens of 2 stages and
// two blocks with bf16 weights (80 KiB and more); with int4 weights of 3 stages, and two blocks but
// at 128 tokens one, whose two sets of accumulators take most of the registers (49 KiB and more).
//
// Grid: x = tiles, in groups of GEMM_PREFILL_RASTER tiles of tokens by all tiles of features.
//
// Held by tests/device/gemm_prefill.rs, gemm_traffic.rs and gemm_kernels.rs.

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

// Adds to `sum` the products of 16 k for all tokens of a warp, which begin at `tokens_at`; `first`:
// instead of what `sum` holds to 0.
template <class Tokens, uint32_t FEATURES, uint32_t COLUMNS>
__device__ __forceinline__ void accumulate(float (&sum)[FEATURES][COLUMNS][4], bool first,
                                           const uint32_t (&a)[FEATURES][4], uint32_t tokens_at,
                                           uint32_t k16) {
    const uint32_t lane = threadIdx.x % WARP;
    const float zero[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    // An x4 is 16 tokens by 16 k.
    const uint32_t place = Tokens::place(lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
    for (uint32_t t = 0; t < COLUMNS; t += 2) {
        uint32_t b[4];
        ptx::ldmatrix_x4(b, tokens_at + t * 8 * Tokens::ROW_BYTES + Tokens::ahead(place, k16 * 2));
#pragma unroll
        for (uint32_t f = 0; f < FEATURES; f++) {
#pragma unroll
            for (uint32_t i = 0; i < 2; i++) {
                float(&c)[4] = sum[f][t + i];
                if (first) {
                    ptx::mma_m16n8k16_bf16(c, a[f], b[2 * i], b[2 * i + 1], zero);
                } else {
                    ptx::mma_m16n8k16_bf16(c, a[f], b[2 * i], b[2 * i + 1], c);
                }
            }
        }
    }
}

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

    // `feature` and `token` are the warp's first ones in the tile.
    __device__ __forceinline__ void multiply(uint32_t stage, uint32_t feature, uint32_t token,
                                             uint32_t) {
        const uint32_t lane = threadIdx.x % WARP;
        const uint32_t weights_at = stage + feature * Weights::ROW_BYTES;
        const uint32_t tokens_at = stage + WEIGHT_BYTES + token * Tokens::ROW_BYTES;
        // An x4 is 16 features by 16 k.
        const uint32_t a_place = Weights::place(lane % 16, lane / 16);
#pragma unroll
        for (uint32_t k16 = 0; k16 < K / 16; k16++) {
            uint32_t a[WARP_FEATURES / 16][4];
#pragma unroll
            for (uint32_t f = 0; f < WARP_FEATURES / 16; f++) {
                ptx::ldmatrix_x4(a[f], weights_at + f * 16 * Weights::ROW_BYTES +
                                           Weights::ahead(a_place, k16 * 2));
            }
            accumulate<Tokens>(sum, false, a, tokens_at, k16);
        }
    }
};

// The same with weights in int4. A stage is 64 columns of two units, which are the whole or half of
// a group. A group's accumulators start at 0 and count in `sum` by the group's scale. Here, where
// arithmetic is the cost, a zero point is taken from the weights themselves.
template <uint32_t TOKENS_, uint32_t GROUP, bool ZERO_POINTS>
struct Int4Stage {
    static constexpr uint32_t TOKENS = TOKENS_;
    static constexpr uint32_t K = GEMM_PREFILL_K;
    static constexpr uint32_t STAGES = GEMM_PREFILL_INT4_STAGES;
    using Unit = Int4Unit<GROUP, ZERO_POINTS>;
    using Tokens = RowTile<TOKENS, K, GEMM_PREFILL_THREADS, true>;
    static constexpr uint32_t STEPS = GROUP / K;  // of a group
    static constexpr uint32_t NIBBLE_BYTES = INT4_UNIT_ROWS * K / 2;
    static constexpr uint32_t VECTOR_BYTES = Unit::BYTES - Unit::SCALES;
    static constexpr uint32_t UNIT_BYTES = NIBBLE_BYTES + VECTOR_BYTES;  // of one unit in a stage
    static constexpr uint32_t WEIGHT_BYTES = GEMM_PREFILL_FEATURES / INT4_UNIT_ROWS * UNIT_BYTES;
    static_assert(GEMM_PREFILL_FEATURES / INT4_UNIT_ROWS * NIBBLE_BYTES ==
                      GEMM_PREFILL_THREADS * 16,
                  "a thread copies one part of the weights");

    const uint8_t *source;  // the first unit of the tile
    uint32_t groups;        // of a row
    bool two_units;         // whether the tile's second row of units exists
    uint32_t scales[WARP_FEATURES / 16];
    uint32_t offsets[WARP_FEATURES / 16];
    Sums<TOKENS> group;
    Sums<TOKENS> sum = {};

    __device__ __forceinline__ Int4Stage(const GemmParams &p, uint32_t feature)
        : groups(p.k / GROUP), two_units(feature + INT4_UNIT_ROWS < p.n) {
        source = p.weight + (uint64_t)(feature / INT4_UNIT_ROWS) * groups * Unit::BYTES;
    }

    // Part `part` of `parts` parts of 16 bytes that the stage has of each of the two units.
    __device__ __forceinline__ void copy_part(uint32_t target, uint32_t offset, uint32_t parts,
                                              uint32_t part, uint32_t step) const {
        const uint32_t unit = part / parts;
        const uint64_t index = (uint64_t)unit * groups + step / STEPS;
        const uint8_t *from = source + index * Unit::BYTES + offset + part % parts * 16;
        const uint32_t bytes = unit == 0 || two_units ? 16 : 0;
        ptx::cp_async_16(target + unit * UNIT_BYTES + part % parts * 16, from, bytes);
    }

    __device__ __forceinline__ void copy_weights(uint32_t stage, uint32_t step) const {
        copy_part(stage, step % STEPS * NIBBLE_BYTES, NIBBLE_BYTES / 16, threadIdx.x, step);
        constexpr uint32_t PARTS = VECTOR_BYTES / 16;
        if (step % STEPS == 0 && threadIdx.x < 2 * PARTS) {
            copy_part(stage + NIBBLE_BYTES, Unit::SCALES, PARTS, threadIdx.x, step);
        }
    }

    __device__ __forceinline__ void multiply(uint32_t stage, uint32_t feature, uint32_t token,
                                             uint32_t step) {
        const uint32_t tokens_at = stage + WEIGHT_BYTES + token * Tokens::ROW_BYTES;
        const uint32_t unit = stage + feature / INT4_UNIT_ROWS * UNIT_BYTES;
        const uint32_t first = feature % INT4_UNIT_ROWS / 16;
        if (STEPS == 1) {
            load_vectors(unit, first);
            multiply_group<true>(unit, first, tokens_at);
            finish_group();
        } else if (step % STEPS == 0) {
            load_vectors(unit, first);
            multiply_group<true>(unit, first, tokens_at);
        } else {
            multiply_group<false>(unit, first, tokens_at);
            finish_group();
        }
    }

    __device__ __forceinline__ void load_vectors(uint32_t unit, uint32_t first) {
#pragma unroll
        for (uint32_t f = 0; f < WARP_FEATURES / 16; f++) {
            scales[f] = Unit::row_pair(unit + NIBBLE_BYTES, first + f);
            if (ZERO_POINTS) {
                offsets[f] = Unit::row_pair(unit + NIBBLE_BYTES + Unit::VECTOR_BYTES, first + f);
            }
        }
    }

    template <bool FIRST>
    __device__ __forceinline__ void multiply_group(uint32_t unit, uint32_t first,
                                                   uint32_t tokens_at) {
        uint32_t words[WARP_FEATURES / 16][4];
#pragma unroll
        for (uint32_t f = 0; f < WARP_FEATURES / 16; f++) {
            const uint32_t at = ((first + f) * WARP + threadIdx.x % WARP) * 16;
            const uint4 q = ptx::ld_shared_v4_u32(unit + at);
            words[f][0] = q.x;
            words[f][1] = q.y;
            words[f][2] = q.z;
            words[f][3] = q.w;
        }
#pragma unroll
        for (uint32_t k16 = 0; k16 < K / 16; k16++) {
            uint32_t a[WARP_FEATURES / 16][4];
#pragma unroll
            for (uint32_t f = 0; f < WARP_FEATURES / 16; f++) {
                const uint32_t pair = ZERO_POINTS ? offsets[f] : Unit::OFFSET_PAIR;
                int4_fragment(a[f], words[f][k16], __byte_perm(pair, pair, 0x1010),
                              __byte_perm(pair, pair, 0x3232));
            }
            accumulate<Tokens>(group, FIRST && k16 == 0, a, tokens_at, k16);
        }
    }

    __device__ __forceinline__ void finish_group() {
#pragma unroll
        for (uint32_t f = 0; f < WARP_FEATURES / 16; f++) {
#pragma unroll
            for (uint32_t t = 0; t < TOKENS / WARPS_ALONG_TOKENS / 8; t++) {
#pragma unroll
                for (uint32_t i = 0; i < 4; i++) {
                    const float scale = i < 2 ? bf16_low(scales[f]) : bf16_high(scales[f]);
                    sum[f][t][i] = fmaf(scale, group[f][t][i], sum[f][t][i]);
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
        stage.multiply(used, feature, token, step);
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
KERNEL(gemm_prefill_bf16_int4g128_m32, GemmParams, THREADS, 2) {
    gemm_prefill<Int4Stage<32, 128, false>>(p);
}
KERNEL(gemm_prefill_bf16_int4g128_m64, GemmParams, THREADS, 2) {
    gemm_prefill<Int4Stage<64, 128, false>>(p);
}
KERNEL(gemm_prefill_bf16_int4g128_m128, GemmParams, THREADS, 1) {
    gemm_prefill<Int4Stage<128, 128, false>>(p);
}
KERNEL(gemm_prefill_bf16_int4g128z_m32, GemmParams, THREADS, 2) {
    gemm_prefill<Int4Stage<32, 128, true>>(p);
}
KERNEL(gemm_prefill_bf16_int4g128z_m64, GemmParams, THREADS, 2) {
    gemm_prefill<Int4Stage<64, 128, true>>(p);
}
KERNEL(gemm_prefill_bf16_int4g128z_m128, GemmParams, THREADS, 1) {
    gemm_prefill<Int4Stage<128, 128, true>>(p);
}
KERNEL(gemm_prefill_bf16_int4g64_m32, GemmParams, THREADS, 2) {
    gemm_prefill<Int4Stage<32, 64, false>>(p);
}
KERNEL(gemm_prefill_bf16_int4g64_m64, GemmParams, THREADS, 2) {
    gemm_prefill<Int4Stage<64, 64, false>>(p);
}
KERNEL(gemm_prefill_bf16_int4g64_m128, GemmParams, THREADS, 1) {
    gemm_prefill<Int4Stage<128, 64, false>>(p);
}
KERNEL(gemm_prefill_bf16_int4g64z_m32, GemmParams, THREADS, 2) {
    gemm_prefill<Int4Stage<32, 64, true>>(p);
}
KERNEL(gemm_prefill_bf16_int4g64z_m64, GemmParams, THREADS, 2) {
    gemm_prefill<Int4Stage<64, 64, true>>(p);
}
KERNEL(gemm_prefill_bf16_int4g64z_m128, GemmParams, THREADS, 1) {
    gemm_prefill<Int4Stage<128, 64, true>>(p);
}
