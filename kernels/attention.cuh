// What the two attentions share: tiles of keys and values in shared memory, their products with
// queries and weights on the tensor cores, and the softmax that goes over them tile by tile.
//
// A warp takes M tiles of 16 rows (queries) against tiles of TOKENS tokens. Of the 16 rows a lane
// holds two, g = lane / 4 and g + 8, at two neighbouring columns of each eight: the accumulators of
// mma.m16n8k16. Scores become weights in place, and a pair of their 8-column blocks, rounded to
// bf16, is the A operand of the product with the values, so weights never leave the registers
// (Dao 2023, FlashAttention-2).

#pragma once

#include "common.cuh"
#include "dtype.cuh"

constexpr uint32_t ATTENTION_WARPS = ATTENTION_THREADS / WARP;

// What stands for a maximum before the first score, and for the score of a token that is not seen.
__device__ __forceinline__ float minus_infinity() { return __uint_as_float(0xff800000u); }

// Where the 16-byte part that holds dimension `dim` of row `row` lies in a tile of ROWS rows, in
// bytes. For 64 rows this is the layout of a page's block (kv_offset); a tile of fewer keeps its
// order, so tokens are copied as they lie.
template <uint32_t ROWS>
__device__ __forceinline__ uint32_t part_offset(uint32_t row, uint32_t dim) {
    return dim / 64 * (ROWS * 128) + row * 128 + ((dim % 64 / 8) ^ (row % 8)) * 16;
}

// Whether the row at `position` sees the token at `token`. Positions are below 2^31 and a window is
// at most that, so a token after the row fails by wrapping around, and so does every token for the
// position KV_NO_SLOT.
__device__ __forceinline__ bool sees(uint32_t position, uint32_t token, uint32_t window) {
    return position - token < window;
}

// Numbers first <= i < end.
struct Span {
    uint32_t first;
    uint32_t end;

    __device__ __forceinline__ bool holds(uint32_t i) const { return i - first < end - first; }
};

// What rows at the positions `first` to `last` see, some of them or all.
__device__ __forceinline__ Span seen_by(uint32_t first, uint32_t last, uint32_t window) {
    if (first == KV_NO_SLOT) return Span{0, 0};
    return Span{first < window ? 0 : first - window + 1, last + 1};
}

// The slots of page `page` among the positions of `span`; first = end if there are none.
__device__ __forceinline__ Span slots_of(const Span &span, uint32_t page) {
    const uint32_t start = page * KV_PAGE_TOKENS;
    const uint32_t end = min(max(span.end, start) - start, KV_PAGE_TOKENS);
    return Span{min(max(span.first, start) - start, end), end};
}

// Starts the copy of TOKENS tokens, from slot `first` of a page's block, by THREADS threads. Slots
// outside of `valid` are not read and become zero: what lies there is undefined, and a weight of
// zero times NaN would be NaN.
template <uint32_t D, uint32_t TOKENS, uint32_t THREADS>
__device__ __forceinline__ void copy_tokens(uint32_t tile, const uint16_t *block, uint32_t first,
                                            const Span &valid, uint32_t thread) {
    static_assert(TOKENS * 8 % THREADS == 0, "every thread copies equally many parts");
#pragma unroll
    for (uint32_t half = 0; half < D / 64; half++) {
#pragma unroll
        for (uint32_t pass = 0; pass < TOKENS * 8 / THREADS; pass++) {
            const uint32_t part = pass * THREADS + thread;
            const uint32_t bytes = valid.holds(first + part / 8) ? 16 : 0;
            ptx::cp_async_16(tile + (half * TOKENS * 8 + part) * 16,
                             block + half * (KV_PAGE_TOKENS * 64) + first * 64 + part * 8, bytes);
        }
    }
}

// What a lane's address is made of: that of its row of the first 8x8 matrix that it names, in a
// tile that begins at a multiple of 128 bytes. `dim` is 0 or 8.
__device__ __forceinline__ uint32_t lane_address(uint32_t tile, uint32_t row, uint32_t dim) {
    return tile + row * 128 + ((dim / 8) ^ (row % 8)) * 16;
}

// The same `dim` dimensions further, a multiple of 16: where the parts of a row are permuted,
// adding turns into an exclusive or. Rows are further by multiples of 128 bytes, so all addresses
// of a tile are those of four registers and constants.
template <uint32_t ROWS>
__device__ __forceinline__ uint32_t at_dim(uint32_t address, uint32_t dim) {
    return (address ^ (dim % 64 * 2)) + dim / 64 * (ROWS * 128);
}

// A operand: 16 rows of a tile of ROWS rows at dimensions `dim` to `dim + 15`. `rows` is where the
// first of them lies.
template <uint32_t ROWS>
__device__ __forceinline__ void load_rows(uint32_t (&a)[4], uint32_t rows, uint32_t dim,
                                          uint32_t lane) {
    const uint32_t address = lane_address(rows, lane % 16, lane / 16 * 8);
    ptx::ldmatrix_x4(a, at_dim<ROWS>(address, dim));
}

// scores += queries . keys over dimensions `dim` to `dim + 15`, for TOKENS tokens of a tile of
// ROWS.
template <uint32_t ROWS, uint32_t TOKENS, uint32_t M>
__device__ __forceinline__ void add_scores(float (&scores)[M][TOKENS / 8][4],
                                           const uint32_t (&queries)[M][4], uint32_t keys,
                                           uint32_t dim, uint32_t lane) {
    const uint32_t address = lane_address(keys, lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8);
#pragma unroll
    for (uint32_t n = 0; n < TOKENS / 16; n++) {
        uint32_t b[4];
        ptx::ldmatrix_x4(b, at_dim<ROWS>(address, dim) + n * (16 * 128));
#pragma unroll
        for (uint32_t m = 0; m < M; m++) {
            float(&low)[4] = scores[m][2 * n];
            float(&high)[4] = scores[m][2 * n + 1];
            ptx::mma_m16n8k16_bf16(low, queries[m], b[0], b[1], low);
            ptx::mma_m16n8k16_bf16(high, queries[m], b[2], b[3], high);
        }
    }
}

// out += weights . values for TOKENS tokens of a tile of ROWS, in ascending order. The weights are
// rounded to bf16.
template <uint32_t D, uint32_t ROWS, uint32_t TOKENS, uint32_t M>
__device__ __forceinline__ void add_values(float (&out)[M][D / 8][4],
                                           const float (&weights)[M][TOKENS / 8][4],
                                           uint32_t values, uint32_t lane) {
    const uint32_t address = lane_address(values, lane % 16, lane / 16 * 8);
#pragma unroll
    for (uint32_t k = 0; k < TOKENS / 16; k++) {
        uint32_t a[M][4];
#pragma unroll
        for (uint32_t m = 0; m < M; m++) {
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) {
                const float(&pair)[4] = weights[m][2 * k + i / 2];
                a[m][i] = bf16_pair(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
            }
        }
#pragma unroll
        for (uint32_t n = 0; n < D / 16; n++) {
            uint32_t b[4];
            ptx::ldmatrix_x4_trans(b, at_dim<ROWS>(address, n * 16) + k * (16 * 128));
#pragma unroll
            for (uint32_t m = 0; m < M; m++) {
                float(&low)[4] = out[m][2 * n];
                float(&high)[4] = out[m][2 * n + 1];
                ptx::mma_m16n8k16_bf16(low, a[m], b[0], b[1], low);
                ptx::mma_m16n8k16_bf16(high, a[m], b[2], b[3], high);
            }
        }
    }
}

// Makes the score of every token that a row does not see minus infinity; `first` is the position
// of the tile's first token. A NaN from a slot that nobody has written goes the same way.
template <uint32_t BLOCKS>
__device__ __forceinline__ void mask_scores(float (&scores)[BLOCKS][4],
                                            const uint32_t (&positions)[2], uint32_t first,
                                            uint32_t window, uint32_t lane) {
#pragma unroll
    for (uint32_t n = 0; n < BLOCKS; n++) {
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t token = first + n * 8 + lane % 4 * 2 + i % 2;
            if (!sees(positions[i / 2], token, window)) scores[n][i] = minus_infinity();
        }
    }
}

// The largest score of a row so far as an exponent of 2, and the sum of its weights, of which a
// lane has those of its own columns.
struct Softmax {
    float max;
    float sum;
};

// What weights are relative to. A row that has seen nothing has no maximum; any finite number
// keeps its weights at 2^-inf = 0, where minus infinity itself would make them NaN.
__device__ __forceinline__ float weight_base(float max) {
    return max == minus_infinity() ? 0.0f : max;
}

// Turns the scores of one tile into weights 2^(score * scale - max) and brings the state of the two
// rows up to date. What was summed up before must be multiplied by `factor`. A tile of which a row
// sees nothing leaves its state as it was, to the bit, with a factor of 1, or of 0 before the first
// token: so it does not matter to a row which tiles its neighbours need.
template <uint32_t BLOCKS>
__device__ __forceinline__ void update_softmax(Softmax (&rows)[2], float (&scores)[BLOCKS][4],
                                               float scale, float (&factor)[2]) {
#pragma unroll
    for (uint32_t r = 0; r < 2; r++) {
        float top = scores[0][2 * r];
#pragma unroll
        for (uint32_t n = 0; n < BLOCKS; n++) {
            top = fmaxf(top, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
        }
        // The four lanes of a row.
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        const float max = fmaxf(rows[r].max, top * scale);
        const float base = weight_base(max);
        factor[r] = ptx::ex2_approx_ftz_f32(rows[r].max - base);
        float sum = 0.0f;
#pragma unroll
        for (uint32_t n = 0; n < BLOCKS; n++) {
#pragma unroll
            for (uint32_t i = 2 * r; i < 2 * r + 2; i++) {
                scores[n][i] = ptx::ex2_approx_ftz_f32(fmaf(scores[n][i], scale, -base));
                sum += scores[n][i];
            }
        }
        rows[r].max = max;
        rows[r].sum = fmaf(rows[r].sum, factor[r], sum);
    }
}

// One step of the softmax after its scores have been summed: weights, then their products with
// TOKENS values of a tile of ROWS.
template <uint32_t D, uint32_t ROWS, uint32_t TOKENS, uint32_t M>
__device__ __forceinline__ void attend_tokens(float (&out)[M][D / 8][4], Softmax (&rows)[M][2],
                                              float (&scores)[M][TOKENS / 8][4],
                                              uint32_t values, float scale, uint32_t lane) {
#pragma unroll
    for (uint32_t m = 0; m < M; m++) {
        float factor[2];
        update_softmax(rows[m], scores[m], scale, factor);
#pragma unroll
        for (uint32_t n = 0; n < D / 8; n++) {
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) out[m][n][i] *= factor[i / 2];
        }
    }
    add_values<D, ROWS, TOKENS, M>(out, scores, values, lane);
}

// 1 / sum of weights; 0 for a row that sees nothing, whose output becomes 0.
__device__ __forceinline__ float reciprocal_weight(float sum) {
    return sum == 0.0f ? 0.0f : __frcp_rn(sum);
}
