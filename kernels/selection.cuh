// Picking from a vocabulary without sorting it: what sample.cu and logprobs.cu share.
//
// A row of logits is the work of many blocks, so that one row alone keeps the memory busy. Two
// launches, the second only for rows that have to weigh or to rank their tokens:
//
//   scan     each block takes tiles of SAMPLE_TILE tokens. The largest key goes to the state of the
//            row by an atomic maximum, and values are counted in bins. The last block to arrive has
//            the first token of the order, and from the counts a bound: the lower edge of a bin,
//            below which no token can matter.
//   choose   each block takes the same tiles, adds up weights, and lists the keys of the tokens
//            from the bound up, the candidates. The last block to arrive has them all, and cut()
//            finds the place among them at which the order is to be cut.
//
// All that blocks exchange is maxima and sums of integers, and a list whose order does not matter.
// No result depends on how many blocks a row has or which comes last.

#pragma once

#include "sampling.cuh"

namespace selection {

constexpr uint32_t THREADS = SAMPLE_THREADS;
constexpr uint32_t WARPS = THREADS / WARP;
// A thread takes four neighbouring tokens at a time, which share a block of noise.
constexpr uint32_t FOUR = 4;
constexpr uint32_t FOURS = SAMPLE_TILE / (THREADS * FOUR);
static_assert(SAMPLE_TILE == FOURS * THREADS * FOUR, "a tile is whole fours of each thread");
// A thread's part of a tile: y[i] are the values of four neighbours.
struct Part {
    float y[FOURS][FOUR];

    // Of the first token of y[i], in the tile.
    static __device__ __forceinline__ uint32_t offset(uint32_t i) {
        return (i * THREADS + threadIdx.x) * FOUR;
    }
};

__device__ __forceinline__ uint32_t tiles_of(uint32_t vocab) {
    return (vocab + SAMPLE_TILE - 1) / SAMPLE_TILE;
}

// The logits of a tile, -inf beyond the vocabulary. Rows that are not aligned to 16 bytes are read
// by words: the same sectors, four times asked for.
__device__ __forceinline__ void load_part(Part &part, const float *row, uint32_t tile,
                                          uint32_t vocab) {
    const bool aligned = (reinterpret_cast<uintptr_t>(row) & 15) == 0;
#pragma unroll
    for (uint32_t i = 0; i < FOURS; i++) {
        const uint32_t token = tile * SAMPLE_TILE + Part::offset(i);
        if (aligned && token + FOUR <= vocab) {
            const float4 v = *reinterpret_cast<const float4 *>(row + token);
            part.y[i][0] = v.x;
            part.y[i][1] = v.y;
            part.y[i][2] = v.z;
            part.y[i][3] = v.w;
        } else {
#pragma unroll
            for (uint32_t j = 0; j < FOUR; j++) {
                part.y[i][j] = token + j < vocab ? row[token + j] : -sampling::INFINITE;
            }
        }
    }
}

struct Larger {
    __device__ __forceinline__ uint64_t operator()(uint64_t a, uint64_t b) const {
        return a > b ? a : b;
    }
};
struct Smaller {
    __device__ __forceinline__ uint64_t operator()(uint64_t a, uint64_t b) const {
        return a < b ? a : b;
    }
};
struct Plus {
    __device__ __forceinline__ uint64_t operator()(uint64_t a, uint64_t b) const { return a + b; }
};

// Joins a number of each thread, in every thread. `scratch` is one number a warp.
template <typename Join>
__device__ __forceinline__ uint64_t join_block(uint64_t x, uint64_t *scratch) {
    constexpr Join join = {};
#pragma unroll
    for (uint32_t distance = WARP / 2; distance > 0; distance /= 2) {
        x = join(x, __shfl_xor_sync(0xffffffffu, x, distance));
    }
    __syncthreads();  // `scratch` may still be read from the last time
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    x = scratch[0];
#pragma unroll
    for (uint32_t warp = 1; warp < WARPS; warp++) x = join(x, scratch[warp]);
    return x;
}

// True in every thread of the last of the row's blocks to come here, which then sees what all of
// them have written. The counter is 0 before and after.
__device__ __forceinline__ bool last_to_arrive(uint32_t *arrivals) {
    __shared__ uint32_t arrived;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        arrived = atomicInc(arrivals, gridDim.x - 1);
        __threadfence();
    }
    __syncthreads();
    return arrived == gridDim.x - 1;
}

// Lists the tokens of a part from the bound up, in any order. All lanes take part.
__device__ __forceinline__ void list_part(uint64_t *list, uint32_t *length, const Part &part,
                                          uint32_t tile, uint32_t bound) {
    const uint32_t lane = threadIdx.x % WARP;
    uint32_t own = 0;
#pragma unroll
    for (uint32_t i = 0; i < FOURS; i++) {
#pragma unroll
        for (uint32_t j = 0; j < FOUR; j++) own += sampling::ordered(part.y[i][j]) >= bound;
    }
    if (!__any_sync(0xffffffffu, own > 0)) return;
    uint32_t through = own;  // of all lanes up to this one
#pragma unroll
    for (uint32_t distance = 1; distance < WARP; distance *= 2) {
        const uint32_t lower = __shfl_up_sync(0xffffffffu, through, distance);
        if (lane >= distance) through += lower;
    }
    uint32_t start = 0;
    // The last lane counts for the warp.
    if (lane == WARP - 1) start = atomicAdd(length, through);
    start = __shfl_sync(0xffffffffu, start, WARP - 1) + through - own;
#pragma unroll
    for (uint32_t i = 0; i < FOURS; i++) {
#pragma unroll
        for (uint32_t j = 0; j < FOUR; j++) {
            const uint32_t value = sampling::ordered(part.y[i][j]);
            const uint32_t token = tile * SAMPLE_TILE + Part::offset(i) + j;
            if (value >= bound) list[start++] = sampling::key_of(value, token);
        }
    }
}

// The weights of a part, beside a largest value.
__device__ __forceinline__ uint64_t weigh_part(const Part &part, float most) {
    uint64_t mass = 0;
#pragma unroll
    for (uint32_t i = 0; i < FOURS; i++) {
#pragma unroll
        for (uint32_t j = 0; j < FOUR; j++) mass += sampling::weight(part.y[i][j] - most);
    }
    return mass;
}

// Whether a row of this best key has no value to go by: one is a fault, or all are -inf.
__device__ __forceinline__ bool is_fault(uint64_t best) {
    const uint32_t value = (uint32_t)(best >> 32);
    return value == sampling::ORDERED_FAULT || value == sampling::ORDERED_MINUS_INFINITY;
}

// Amounts of up to 256 bins, one a thread. An amount is kept in two words: hardware adds words to
// shared memory, and numbers of 64 bits only in a loop of trials.
struct Histogram {
    uint32_t low[THREADS];
    uint32_t high[THREADS];
    uint32_t keys[THREADS];
    uint64_t scratch[WARPS];
    // What the search has found: a bin, what remains to be reached in it, its number of keys.
    uint32_t bin, bin_keys;
    uint64_t remains;
    uint64_t key;

    __device__ __forceinline__ void add(uint32_t bin, uint64_t amount) {
        const uint32_t word = (uint32_t)amount;
        const uint32_t old = atomicAdd(&low[bin], word);
        const uint32_t carry = old + word < word;
        const uint32_t upper = (uint32_t)(amount >> 32) + carry;
        if (upper != 0) atomicAdd(&high[bin], upper);
        atomicAdd(&keys[bin], 1);
    }

    // Finds the bin in which the sum from the highest bin down first reaches `wanted`; bin is
    // THREADS if none does. All threads, after a barrier; ends with a barrier.
    __device__ __forceinline__ void find(uint64_t wanted) {
        const uint32_t own = THREADS - 1 - threadIdx.x, lane = threadIdx.x % WARP;
        const uint64_t amount = (uint64_t)high[own] << 32 | low[own];
        uint64_t through = amount;
#pragma unroll
        for (uint32_t distance = 1; distance < WARP; distance *= 2) {
            const uint64_t lower = __shfl_up_sync(0xffffffffu, through, distance);
            if (lane >= distance) through += lower;
        }
        if (lane == WARP - 1) scratch[threadIdx.x / WARP] = through;
        if (threadIdx.x == 0) bin = THREADS;
        __syncthreads();
        for (uint32_t warp = 0; warp < threadIdx.x / WARP; warp++) through += scratch[warp];
        if (through >= wanted && through - amount < wanted) {
            bin = own;
            bin_keys = keys[own];
            remains = wanted - (through - amount);
        }
        __syncthreads();
    }
};

// The largest key such that the amounts of it and of all above it add up to `wanted` or more; 0 if
// all together do not. The keys list[0..length), no two equal, lie within lowest..highest. A radix
// selection by digits of eight bits, from the first bit in which keys differ; it ends when one key
// is left. All threads take part and have the result.
template <typename List, typename Amount>
__device__ __forceinline__ uint64_t cut(const List &list, uint32_t length, uint64_t lowest,
                                        uint64_t highest, uint64_t wanted, const Amount &amount,
                                        Histogram &histogram) {
    constexpr uint32_t DIGIT = 8;
    static_assert(THREADS == 1 << DIGIT, "a thread has a bin");
    uint32_t open = 64 - __clzll(lowest ^ highest);
    if (open == 0) return amount(highest) >= wanted ? highest : 0;
    uint64_t prefix = highest;
    uint32_t left = THREADS;  // unknown: there is always a first pass
    while (open > 0 && left > 1) {
        const uint32_t width = min(open, DIGIT), below = open - width;
        histogram.low[threadIdx.x] = 0;
        histogram.high[threadIdx.x] = 0;
        histogram.keys[threadIdx.x] = 0;
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < length; i += THREADS) {
            const uint64_t key = list(i);
            // In two steps: a shift by 64 is none.
            if (((key ^ prefix) >> (open - 1)) >> 1 != 0) continue;
            histogram.add((uint32_t)(key >> below) & ((1u << width) - 1), amount(key));
        }
        __syncthreads();
        histogram.find(wanted);
        if (histogram.bin == THREADS) return 0;
        prefix = ((prefix >> (open - 1) >> 1) << width | histogram.bin) << below;
        wanted = histogram.remains;
        left = histogram.bin_keys;
        open = below;
    }
    if (open == 0) return prefix;
    for (uint32_t i = threadIdx.x; i < length; i += THREADS) {
        const uint64_t key = list(i);
        if (((key ^ prefix) >> (open - 1)) >> 1 == 0) histogram.key = key;
    }
    __syncthreads();
    return histogram.key;
}

// Bins of half a unit from -64 to 64, and what lies beyond in the first and the last: the unit of a
// value is a factor e in probability. Any bins are right; these keep lists short where values are
// the logits of a language model.
constexpr float BINS_PER_UNIT = 2.0f;
constexpr int BINS_BELOW_0 = SAMPLE_BINS / 2;
static_assert(SAMPLE_BINS == THREADS, "a thread has a bin");

__device__ __forceinline__ uint32_t bin_of(float value) {
    constexpr float LOWEST = -(float)BINS_BELOW_0, HIGHEST = (float)(BINS_BELOW_0 - 1);
    const float scaled = fminf(fmaxf(value * BINS_PER_UNIT, LOWEST), HIGHEST);
    return (uint32_t)(__float2int_rd(scaled) + BINS_BELOW_0);
}

// The values of a bin lie from its edge up, and below that of the next.
__device__ __forceinline__ float edge(uint32_t bin) {
    if (bin == 0) return -sampling::INFINITE;
    if (bin == SAMPLE_BINS) return sampling::INFINITE;
    return (float)((int)bin - BINS_BELOW_0) / BINS_PER_UNIT;
}

// Counts the values of a part that are above -inf.
__device__ __forceinline__ void count_part(uint32_t *bins, const Part &part) {
#pragma unroll
    for (uint32_t i = 0; i < FOURS; i++) {
#pragma unroll
        for (uint32_t j = 0; j < FOUR; j++) {
            const float y = part.y[i][j];
            if (y > -sampling::INFINITE) atomicAdd(&bins[bin_of(y)], 1);
        }
    }
}

// The value as an ordered integer that the first `rank` tokens of the order are not below.
__device__ __forceinline__ uint32_t bound_of_rank(uint32_t count, uint32_t rank,
                                                  Histogram &histogram) {
    histogram.low[threadIdx.x] = count;
    histogram.high[threadIdx.x] = 0;
    __syncthreads();
    histogram.find(rank);
    return histogram.bin == THREADS ? 0 : sampling::ordered(edge(histogram.bin));
}

}  // namespace selection
