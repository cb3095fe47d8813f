// What gemm_decode and gemm_prefill share: tiles of bf16 rows in shared memory, the way of the
// accumulators through shared memory, and the epilogue.
//
// Both compute out^T = W x^T by mma.m16n8k16: 16 features (rows of W) by 8 tokens (rows of x). In a
// product with few tokens that wastes the least, and every 16 features, a gate of SwiGLU with its
// up or a group of the norm, come together in one column of the result.

#pragma once

#include "common.cuh"
#include "dtype.cuh"

// ROWS rows of K elements of bf16 from a row-major matrix [rows, k], copied to shared memory by
// THREADS threads. A row is cut into parts of 16 bytes, permuted by the row's number, so that the
// eight rows of a matrix that ldmatrix reads lie in different banks. What is outside of the matrix
// becomes 0; k is a multiple of 8. `WHOLE`: of K, so that no step is checked against it.
template <uint32_t ROWS, uint32_t K, uint32_t THREADS, bool WHOLE = false>
struct RowTile {
    static constexpr uint32_t ROW_BYTES = K * 2;
    static constexpr uint32_t BYTES = ROWS * ROW_BYTES;
    static constexpr uint32_t PARTS = K / BF16_VECTOR;
    // Rows that all threads copy at once, and how often they do.
    static constexpr uint32_t AT_ONCE = THREADS / PARTS;
    static constexpr uint32_t COPIES = ROWS / AT_ONCE;
    static_assert(PARTS % 8 == 0, "a row spans all banks");
    static_assert(THREADS % PARTS == 0 && ROWS % AT_ONCE == 0, "the copies come out even");

    const uint16_t *source;  // this thread's part of its first row, at column 0
    uint32_t k;
    uint32_t target;    // where that goes, from the start of the tile
    int32_t rows_left;  // rows of the matrix from this thread's first one on
    int32_t k_left;     // columns of the matrix from its part on

    __device__ __forceinline__ RowTile(const uint16_t *matrix, uint32_t rows, uint32_t k,
                                       uint32_t first_row, uint32_t thread)
        : k(k) {
        const uint32_t row = thread / PARTS, part = thread % PARTS;
        source = matrix + (uint64_t)(first_row + row) * k + part * BF16_VECTOR;
        target = place(row, part);
        rows_left = (int32_t)(rows - first_row - row);
        k_left = (int32_t)(k - part * BF16_VECTOR);
    }

    // Where a part of a row is, in bytes from the start of the tile.
    static __device__ __forceinline__ uint32_t place(uint32_t row, uint32_t part) {
        return row * ROW_BYTES + (part ^ row % 8) * 16;
    }

    // The place of a part `ahead` parts after the one at `place`, if the number of that one is less
    // than the largest power of two that divides `ahead`: the permutation works bit by bit.
    static __device__ __forceinline__ uint32_t ahead(uint32_t place, uint32_t parts) {
        return place ^ parts * 16;
    }

    // Where a copy goes, from the start of the tile.
    __device__ __forceinline__ uint32_t copy_target(uint32_t copy) const {
        static_assert(AT_ONCE % 8 == 0 || 8 % AT_ONCE == 0, "rows advance within the permutation");
        return (target ^ copy * AT_ONCE % 8 * 16) + copy * AT_ONCE * ROW_BYTES;
    }

    // Starts the copies of columns `step * K` and on. `STREAMED`: nobody will read them again.
    template <bool STREAMED>
    __device__ __forceinline__ void copy(uint32_t tile, uint32_t step) const {
        const uint16_t *from = source + step * K;
        const bool inside = WHOLE || (int32_t)(step * K) < k_left;
#pragma unroll
        for (uint32_t i = 0; i < COPIES; i++) {
            const uint32_t bytes = inside && (int32_t)(i * AT_ONCE) < rows_left ? 16 : 0;
            if (STREAMED) {
                ptx::cp_async_16_evict_first(tile + copy_target(i), from, bytes);
            } else {
                ptx::cp_async_16(tile + copy_target(i), from, bytes);
            }
            from += AT_ONCE * k;
        }
    }

    // The same at once, for steps up to `last` into STEPS tiles that are `distance` bytes apart.
    template <uint32_t STEPS>
    __device__ __forceinline__ void copy_now(uint32_t tile, uint32_t distance, uint32_t step,
                                             uint32_t last) const {
        uint4 v[STEPS][COPIES];
#pragma unroll
        for (uint32_t s = 0; s < STEPS; s++) {
            const uint16_t *from = source + (step + s) * K;
            const bool inside = step + s < last && (WHOLE || (int32_t)((step + s) * K) < k_left);
#pragma unroll
            for (uint32_t i = 0; i < COPIES; i++) {
                v[s][i] = make_uint4(0, 0, 0, 0);
                if (inside && (int32_t)(i * AT_ONCE) < rows_left) {
                    v[s][i] = *reinterpret_cast<const uint4 *>(from);
                }
                from += AT_ONCE * k;
            }
        }
#pragma unroll
        for (uint32_t s = 0; s < STEPS; s++) {
#pragma unroll
            for (uint32_t i = 0; i < COPIES; i++) {
                ptx::st_shared_v4_u32(tile + s * distance + copy_target(i), v[s][i]);
            }
        }
    }
};

// Where the parts of a unit of packed int4 weights begin (repack.rs): 4 bits a weight, then a
// scale a row, then perhaps an offset a row, which is -(128 + zero point).
template <uint32_t GROUP, bool ZERO_POINTS>
struct Int4Unit {
    static constexpr uint32_t SCALES = INT4_UNIT_ROWS * GROUP / 2;
    static constexpr uint32_t VECTOR_BYTES = INT4_UNIT_ROWS * 2;
    static constexpr uint32_t BYTES = SCALES + (ZERO_POINTS ? 2 : 1) * VECTOR_BYTES;
    // Two offsets of units that have none of their own.
    static constexpr uint32_t OFFSET_PAIR = 0xc308c308u;

    // Elements of a vector for the rows g and g + 8 of 16 features, by the lanes of a fragment.
    static __device__ __forceinline__ uint32_t row_pair(uint32_t vector, uint32_t features) {
        return ptx::ld_shared_u32(vector + features * 32 + threadIdx.x % WARP / 4 * 4);
    }
};

// Up to four neighbours of a vector of bf16, those from `length` on as 0.
__device__ __forceinline__ void load_four(float (&v)[4], const uint16_t *vector, uint32_t at,
                                          uint32_t length) {
    uint2 pairs = make_uint2(0, 0);
    if (length % 4 == 0) {
        if (at < length) pairs = *reinterpret_cast<const uint2 *>(vector + at);
    } else {
        const uint32_t one = at < length ? vector[at] : 0;
        const uint32_t two = at + 1 < length ? vector[at + 1] : 0;
        const uint32_t three = at + 2 < length ? vector[at + 2] : 0;
        const uint32_t four = at + 3 < length ? vector[at + 3] : 0;
        pairs = make_uint2(one | two << 16, three | four << 16);
    }
    v[0] = bf16_low(pairs.x);
    v[1] = bf16_high(pairs.x);
    v[2] = bf16_low(pairs.y);
    v[3] = bf16_high(pairs.y);
}

// Up to four neighbours of a row of f32; those from `length` on do not exist.
__device__ __forceinline__ void store_four(float *row, uint32_t at, uint32_t length,
                                           const float (&v)[4]) {
    if (length % 4 == 0) {
        if (at < length) {
            *reinterpret_cast<float4 *>(row + at) = make_float4(v[0], v[1], v[2], v[3]);
        }
    } else {
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            if (at + i < length) row[at + i] = v[i];
        }
    }
}

// Up to eight neighbours of a row of bf16; those from `length` on do not exist.
__device__ __forceinline__ void store_eight(uint16_t *row, uint32_t at, uint32_t length,
                                            const Bf16x8 &v) {
    if (length % 8 == 0) {
        if (at < length) store_bf16x8(row + at, v);
    } else {
#pragma unroll
        for (uint32_t i = 0; i < 8; i++) {
            if (at + i < length) row[at + i] = v.pair[i / 2] >> i % 2 * 16;
        }
    }
}

// What one lane finishes: of one token, features f to f + 3 and f + 8 to f + 11, where f is the
// first or the fifth of sixteen. Its neighbour, lane ^ 1, has the rest of the sixteen.
struct Part {
    float low[4];
    float high[4];
};

// Accumulators of FEATURES features and any number of tokens in shared memory, f32
// [token][FEATURES + 4]. In a row come the first eight of each sixteen features and then the other
// eight. Writing the fragments of mma and reading parts are both free of bank conflicts.
template <uint32_t FEATURES>
struct SumTile {
    static_assert(FEATURES == 32 || FEATURES == 64, "for these the strides were chosen");
    static constexpr uint32_t STRIDE = FEATURES + 4;
    static constexpr uint32_t PARTS = FEATURES / 8;  // of one token

    static constexpr uint32_t TOKEN_BYTES = STRIDE * sizeof(float);

    // The fragment of mma for 16 features and 8 tokens, each counted in whole fragments.
    static __device__ __forceinline__ void write(float *tile, uint32_t features, uint32_t tokens,
                                                 const float (&c)[4]) {
        const uint32_t lane = threadIdx.x % WARP;
        float *at = tile + (tokens * 8 + lane % 4 * 2) * STRIDE + features * 8 + lane / 4;
        at[0] = c[0];
        at[STRIDE] = c[1];
        at[FEATURES / 2] = c[2];
        at[FEATURES / 2 + STRIDE] = c[3];
    }

    // Parts are numbered so that eight that follow one another lie in different banks.
    static __device__ __forceinline__ uint32_t token(uint32_t part) {
        const uint32_t i = part / PARTS;
        return FEATURES == 64 ? i : i / 8 * 8 + i % 2 * 4 + i / 2 % 4;
    }

    static __device__ __forceinline__ uint32_t feature(uint32_t part) {
        return part % PARTS / 2 * 16 + part % 2 * 4;
    }

    static __device__ __forceinline__ Part read(const float *tile, uint32_t part) {
        const float *at = tile + token(part) * STRIDE + part % PARTS * 4;
        const float4 low = *reinterpret_cast<const float4 *>(at);
        const float4 high = *reinterpret_cast<const float4 *>(at + FEATURES / 2);
        return Part{{low.x, low.y, low.z, low.w}, {high.x, high.y, high.z, high.w}};
    }
};

// 1 / rms of COUNT rows of the input, from `first` on, by one warp: the lanes take the sums of
// squares in turns, ascending, and are then added in pairs. Nothing where there is no norm.
template <uint32_t COUNT>
__device__ __forceinline__ void input_rms(const GemmParams &p, uint32_t first, float *target) {
    if (p.squares == nullptr) return;
    const uint32_t groups = p.k / NORM_GROUP;
    const uint32_t lane = threadIdx.x % WARP;
    float sum[COUNT] = {};
    for (uint32_t group = lane; group < groups; group += WARP) {
#pragma unroll
        for (uint32_t i = 0; i < COUNT; i++) {
            if (first + i < p.rows) sum[i] += p.squares[(uint64_t)(first + i) * groups + group];
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < COUNT; i++) {
        const float scale = reciprocal_rms(sum_lanes<WARP>(sum[i]), p.k, p.epsilon);
        if (lane == 0) target[i] = scale;
    }
}

// Two lanes that have the low and the high four of eight features in turn: afterwards the even lane
// has the first eight of the sixteen and the odd one the others.
__device__ __forceinline__ void trade(const Part &part, float (&v)[8]) {
    const bool odd = threadIdx.x % 2 == 1;
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        const float got =
            __shfl_xor_sync(0xffffffffu, odd ? part.low[i] : part.high[i], 1);
        v[i] = odd ? got : part.low[i];
        v[4 + i] = odd ? part.high[i] : got;
    }
}

__device__ __forceinline__ Bf16x8 rounded(const float (&v)[8]) {
    return Bf16x8{{bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]), bf16_pair(v[4], v[5]),
                   bf16_pair(v[6], v[7])}};
}

// h = bf16(h + v), the norm to come of it, and the sum of squares of what h now holds: a lane's
// eight ascending, then the two lanes of the sixteen. All lanes of the warp take part.
__device__ __forceinline__ void add_residual(const GemmParams &p, uint32_t row, uint32_t feature,
                                             bool inside, float (&v)[8]) {
    const uint64_t at = (uint64_t)row * p.n + feature;
    float squares = 0.0f;
    if (inside) {
        const Bf16x8 old = load_bf16x8(p.residual + at);
        const Bf16x8 gamma = load_bf16x8(p.next_gamma + feature);
#pragma unroll
        for (uint32_t i = 0; i < 8; i++) v[i] += old[i];
        const Bf16x8 h = rounded(v);
        store_bf16x8(p.residual + at, h);
#pragma unroll
        for (uint32_t i = 0; i < 8; i++) {
            squares = fmaf(h[i], h[i], squares);
            v[i] = h[i] * gamma[i];
        }
        store_bf16x8(reinterpret_cast<uint16_t *>(p.out) + at, rounded(v));
    }
    squares = sum_lanes<2>(squares);
    if (inside && feature % NORM_GROUP == 0) p.next_squares[at / NORM_GROUP] = squares;
}

// Finishes and stores a part. `inverse_rms` is where input_rms has put that of the row. All lanes
// of the warp take part, also those whose row or features do not exist.
__device__ __forceinline__ void epilogue(const GemmParams &p, uint32_t row, uint32_t feature,
                                         const float &inverse_rms, Part &part) {
    const bool inside = row < p.rows && feature < p.n;
    const float scale = p.squares == nullptr ? 1.0f : inverse_rms;
    float bias_low[4] = {}, bias_high[4] = {};
    if (p.bias != nullptr && row < p.rows) {
        load_four(bias_low, p.bias, feature, p.n);
        load_four(bias_high, p.bias, feature + 8, p.n);
    }
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        part.low[i] = part.low[i] * scale + bias_low[i];
        part.high[i] = part.high[i] * scale + bias_high[i];
    }

    if (p.flags & GEMM_SWIGLU) {
        if (!inside) return;
        float v[4];
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) v[i] = silu(part.low[i]) * part.high[i];
        uint16_t *out = reinterpret_cast<uint16_t *>(p.out) + (uint64_t)row * (p.n / 2);
        *reinterpret_cast<uint2 *>(out + feature / 16 * 8 + feature % 8) =
            make_uint2(bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3]));
    } else if (p.flags & GEMM_OUT_F32) {
        if (!inside) return;
        float *out = reinterpret_cast<float *>(p.out) + (uint64_t)row * p.n;
        store_four(out, feature, p.n, part.low);
        store_four(out, feature + 8, p.n, part.high);
    } else {
        float v[8];
        trade(part, v);
        const uint32_t first = feature / 16 * 16 + threadIdx.x % 2 * 8;
        if (p.residual != nullptr) {
            add_residual(p, row, first, row < p.rows && first < p.n, v);
        } else if (row < p.rows) {
            uint16_t *out = reinterpret_cast<uint16_t *>(p.out) + (uint64_t)row * p.n;
            store_eight(out, first, p.n, rounded(v));
        }
    }
}
