// What a warp of gemm_decode does with weights of each kind: which bytes a stage has of them, how
// they come there, and how they are multiplied by the tokens that lie behind them.
//
// A slice has COLUMNS tokens, K columns a step, STAGES, WEIGHT_BYTES a stage, and ROW_SCALES if the
// sums are to be multiplied by a scale a row in the end.

#pragma once

#include "gemm.cuh"

// Sums of 64 features and COLUMNS tokens, as fragments of mma.
template <uint32_t COLUMNS>
using Sums = float[GEMM_DECODE_FEATURES / 16][COLUMNS / 8][4];

// Whether stages are as many as the largest or as the smallest devices have room for.
enum class Depth { Deep, Shallow };

// The products of one warp with weights in bf16.
template <uint32_t COLUMNS_, Depth DEPTH = Depth::Deep>
struct Bf16Slice {
    static constexpr uint32_t COLUMNS = COLUMNS_;
    static constexpr uint32_t K = GEMM_DECODE_BF16_K;
    static constexpr uint32_t STAGES = DEPTH == Depth::Deep ? GEMM_DECODE_BF16_STAGES
                                                             : GEMM_DECODE_BF16_SHALLOW_STAGES;
    using Weights = RowTile<GEMM_DECODE_FEATURES, K, WARP>;
    using Tokens = RowTile<COLUMNS, K, WARP>;
    static constexpr uint32_t WEIGHT_BYTES = Weights::BYTES;
    static constexpr bool ROW_SCALES = false;

    Weights weights;
    Sums<COLUMNS> sum = {};

    __device__ __forceinline__ explicit Bf16Slice(const GemmParams &p)
        : weights(reinterpret_cast<const uint16_t *>(p.weight), p.n, p.k,
                  blockIdx.y * GEMM_DECODE_FEATURES, threadIdx.x % WARP) {}

    __device__ __forceinline__ void copy_weights(uint32_t stage, uint32_t step) const {
        weights.template copy<true>(stage, step);
    }

    __device__ __forceinline__ void multiply(uint32_t stage) {
        const uint32_t lane = threadIdx.x % WARP;
        const uint32_t tokens = stage + WEIGHT_BYTES;
        // An x4 of W is 16 features by 16 k, one of x 8 tokens by 32 k.
        const uint32_t a_place = Weights::place(lane % 16, lane / 16);
        const uint32_t b_place = Tokens::place(lane % 8, lane / 8);
#pragma unroll
        for (uint32_t k32 = 0; k32 < K / 32; k32++) {
            uint32_t b[COLUMNS / 8][4];
#pragma unroll
            for (uint32_t t = 0; t < COLUMNS / 8; t++) {
                ptx::ldmatrix_x4(b[t], tokens + t * 8 * Tokens::ROW_BYTES +
                                           Tokens::ahead(b_place, k32 * 4));
            }
#pragma unroll
            for (uint32_t half = 0; half < 2; half++) {
#pragma unroll
                for (uint32_t f = 0; f < GEMM_DECODE_FEATURES / 16; f++) {
                    uint32_t a[4];
                    ptx::ldmatrix_x4(a, stage + f * 16 * Weights::ROW_BYTES +
                                            Weights::ahead(a_place, k32 * 4 + half * 2));
#pragma unroll
                    for (uint32_t t = 0; t < COLUMNS / 8; t++) {
                        ptx::mma_m16n8k16_bf16(sum[f][t], a, b[t][2 * half], b[t][2 * half + 1],
                                               sum[f][t]);
                    }
                }
            }
        }
    }
};

// Copies one of the units of UNIT_BYTES from `source` on, which is this lane's part of the first.
// The offset is part of the instructions' addresses, which a counter of a loop would have to be
// added to.
template <uint32_t UNIT_BYTES, uint32_t AT = 0>
__device__ __forceinline__ void copy_bytes(uint32_t target, const uint8_t *from, uint32_t own) {
    constexpr uint32_t NEXT = AT + WARP * 16;
    if (NEXT <= UNIT_BYTES || AT + own < UNIT_BYTES) {
        ptx::cp_async_16_evict_first_at<AT>(target, from);
    }
    if constexpr (NEXT < UNIT_BYTES) copy_bytes<UNIT_BYTES, NEXT>(target, from, own);
}

template <uint32_t UNIT_BYTES>
__device__ __forceinline__ void copy_unit(uint32_t stage, const uint8_t *source, uint32_t unit) {
    const uint32_t own = threadIdx.x % WARP * 16;
    copy_bytes<UNIT_BYTES>(stage + own, source + (uint64_t)unit * UNIT_BYTES, own);
}

// The products of one warp with weights in int4. A step is one unit of packed weights, which is one
// group: its accumulators start at 0 and count in slices by the group's scale. Weights enter as
// 128 + q; the sum of the tokens, which one more product with ones gives, takes away the rest.
template <uint32_t COLUMNS_, uint32_t GROUP, bool ZERO_POINTS, Depth DEPTH = Depth::Deep>
struct Int4Slice {
    static constexpr uint32_t COLUMNS = COLUMNS_;
    static constexpr uint32_t K = GROUP;
    static constexpr uint32_t STAGES = DEPTH == Depth::Deep
                                           ? GEMM_DECODE_INT4_STAGES * 128 / GROUP
                                           : 1 + GEMM_DECODE_INT4_SHALLOW_COLUMNS / GROUP;
    using Tokens = RowTile<COLUMNS, K, WARP, true>;
    using Unit = Int4Unit<GROUP, ZERO_POINTS>;
    static constexpr uint32_t WEIGHT_BYTES = Unit::BYTES;
    static constexpr bool ROW_SCALES = false;
    static_assert(INT4_UNIT_ROWS == GEMM_DECODE_FEATURES, "a block takes one row of units");

    const uint8_t *source;  // this lane's part of the first unit
    Sums<COLUMNS> sum = {};

    __device__ __forceinline__ explicit Int4Slice(const GemmParams &p) {
        const uint64_t unit = (uint64_t)blockIdx.y * (p.k / GROUP);
        source = p.weight + unit * WEIGHT_BYTES + threadIdx.x % WARP * 16;
    }

    __device__ __forceinline__ void copy_weights(uint32_t stage, uint32_t step) const {
        copy_unit<WEIGHT_BYTES>(stage, source, step);
    }

    __device__ __forceinline__ void multiply(uint32_t stage) {
        const uint32_t lane = threadIdx.x % WARP;
        const uint32_t tokens = stage + WEIGHT_BYTES;
        const uint32_t b_place = Tokens::place(lane % 8, lane / 8);
        Sums<COLUMNS> group;
        float token_sum[COLUMNS / 8][4];
#pragma unroll
        for (uint32_t k64 = 0; k64 < K / 64; k64++) {
            uint32_t b[COLUMNS / 8][2][4];
#pragma unroll
            for (uint32_t t = 0; t < COLUMNS / 8; t++) {
#pragma unroll
                for (uint32_t k32 = 0; k32 < 2; k32++) {
                    ptx::ldmatrix_x4(b[t][k32], tokens + t * 8 * Tokens::ROW_BYTES +
                                                    Tokens::ahead(b_place, k64 * 8 + k32 * 4));
                }
#pragma unroll
                for (uint32_t k16 = 0; k16 < 4; k16++) {
                    const uint32_t ones[4] = {0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u};
                    accumulate(token_sum[t], k64 + k16 == 0, ones, b[t], k16);
                }
            }
#pragma unroll
            for (uint32_t f = 0; f < GEMM_DECODE_FEATURES / 16; f++) {
                const uint4 q = ptx::ld_shared_v4_u32(stage + ((k64 * 4 + f) * WARP + lane) * 16);
                const uint32_t words[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
                for (uint32_t k16 = 0; k16 < 4; k16++) {
                    uint32_t a[4];
                    int4_fragment(a, words[k16]);
#pragma unroll
                    for (uint32_t t = 0; t < COLUMNS / 8; t++) {
                        accumulate(group[f][t], k64 + k16 == 0, a, b[t], k16);
                    }
                }
            }
        }
#pragma unroll
        for (uint32_t f = 0; f < GEMM_DECODE_FEATURES / 16; f++) {
            const uint32_t vectors = stage + Unit::SCALES;
            const uint32_t scales = Unit::row_pair(vectors, f);
            const uint32_t offsets = ZERO_POINTS ? Unit::row_pair(vectors + Unit::VECTOR_BYTES, f)
                                                 : Unit::OFFSET_PAIR;
#pragma unroll
            for (uint32_t t = 0; t < COLUMNS / 8; t++) {
#pragma unroll
                for (uint32_t i = 0; i < 4; i++) {
                    const float scale = i < 2 ? bf16_low(scales) : bf16_high(scales);
                    const float offset = i < 2 ? bf16_low(offsets) : bf16_high(offsets);
                    const float product = fmaf(offset, token_sum[t][i % 2], group[f][t][i]);
                    sum[f][t][i] = fmaf(scale, product, sum[f][t][i]);
                }
            }
        }
    }

    // Adds the products of 16 k, of the 64 that `b` holds.
    __device__ __forceinline__ static void accumulate(float (&c)[4], bool first,
                                                      const uint32_t (&a)[4],
                                                      const uint32_t (&b)[2][4], uint32_t k16) {
        const uint32_t b0 = b[k16 / 2][k16 % 2 * 2], b1 = b[k16 / 2][k16 % 2 * 2 + 1];
        const float zero[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (first) {
            ptx::mma_m16n8k16_bf16(c, a, b0, b1, zero);
        } else {
            ptx::mma_m16n8k16_bf16(c, a, b0, b1, c);
        }
    }
};

// The products of one warp with weights in int8, which become bf16 exactly. A step is a unit of 64
// columns, filled up with zeros behind the last column.
template <uint32_t COLUMNS_, Depth DEPTH = Depth::Deep>
struct Int8Slice {
    static constexpr uint32_t COLUMNS = COLUMNS_;
    static constexpr uint32_t K = INT8_UNIT_COLUMNS;
    static constexpr uint32_t STAGES = DEPTH == Depth::Deep ? GEMM_DECODE_INT8_STAGES
                                                             : GEMM_DECODE_INT8_SHALLOW_STAGES;
    using Tokens = RowTile<COLUMNS, K, WARP>;
    static constexpr uint32_t WEIGHT_BYTES = GEMM_DECODE_FEATURES * K;
    static constexpr bool ROW_SCALES = true;

    const uint8_t *source;  // this lane's part of the first unit
    Sums<COLUMNS> sum = {};

    __device__ __forceinline__ explicit Int8Slice(const GemmParams &p)
        : source(units(p) + threadIdx.x % WARP * 16) {}

    // The units of this block's features, and behind them a scale for each.
    static __device__ __forceinline__ const uint8_t *units(const GemmParams &p) {
        return p.weight + blockIdx.y * (unit_bytes(p) + GEMM_DECODE_FEATURES * sizeof(float));
    }

    static __device__ __forceinline__ const float4 *row_scales(const GemmParams &p) {
        return reinterpret_cast<const float4 *>(units(p) + unit_bytes(p));
    }

    static __device__ __forceinline__ uint64_t unit_bytes(const GemmParams &p) {
        return (uint64_t)((p.k + K - 1) / K) * WEIGHT_BYTES;
    }

    __device__ __forceinline__ void copy_weights(uint32_t stage, uint32_t step) const {
        copy_unit<WEIGHT_BYTES>(stage, source, step);
    }

    __device__ __forceinline__ void multiply(uint32_t stage) {
        const uint32_t lane = threadIdx.x % WARP;
        const uint32_t tokens = stage + WEIGHT_BYTES;
        const uint32_t b_place = Tokens::place(lane % 8, lane / 8);
#pragma unroll
        for (uint32_t k32 = 0; k32 < K / 32; k32++) {
            uint32_t b[COLUMNS / 8][4];
#pragma unroll
            for (uint32_t t = 0; t < COLUMNS / 8; t++) {
                ptx::ldmatrix_x4(b[t], tokens + t * 8 * Tokens::ROW_BYTES +
                                           Tokens::ahead(b_place, k32 * 4));
            }
#pragma unroll
            for (uint32_t f = 0; f < GEMM_DECODE_FEATURES / 16; f++) {
                const uint4 q = ptx::ld_shared_v4_u32(stage + ((k32 * 4 + f) * WARP + lane) * 16);
                const uint32_t words[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
                for (uint32_t half = 0; half < 2; half++) {
                    uint32_t a[4];
                    int8_fragment(a, words[2 * half], words[2 * half + 1]);
#pragma unroll
                    for (uint32_t t = 0; t < COLUMNS / 8; t++) {
                        ptx::mma_m16n8k16_bf16(sum[f][t], a, b[t][2 * half], b[t][2 * half + 1],
                                               sum[f][t]);
                    }
                }
            }
        }
    }
};
