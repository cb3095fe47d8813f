// What a block of gemm_decode_sm90 works on, in which order, and what a warpgroup of it does with
// a stage.

#pragma once

#include "gemm_sm90.cuh"

// The order of the work: tiles of tokens follow one another, then ranges of K, then pairs of tiles
// of features, so that clusters that run at the same time share weights in L2. A cluster goes on to
// what is as much further on as there are clusters.
struct Schedule {
    static constexpr uint32_t TOKENS = GEMM_DECODE_SM90_TOKENS;
    static constexpr uint32_t FEATURES = GEMM_SM90_CLUSTER * GEMM_SM90_FEATURES;

    uint32_t token_tiles;
    uint32_t pairs;
    uint32_t ranges;
    uint32_t slices;  // of all ranges
    uint32_t steps;  // of K
    uint32_t rank;

    __device__ __forceinline__ Schedule(const GemmTensorParams &p, uint32_t step, uint32_t rank)
        : token_tiles((p.gemm.rows + TOKENS - 1) / TOKENS),
          pairs((p.gemm.n + FEATURES - 1) / FEATURES), ranges(p.ranges),
          slices(p.gemm.splits * GEMM_DECODE_WARPS), steps((p.gemm.k + step - 1) / step),
          rank(rank) {}

    static __device__ __forceinline__ uint32_t first() { return blockIdx.x / GEMM_SM90_CLUSTER; }
    static __device__ __forceinline__ uint32_t next(uint32_t index) {
        return index + gridDim.x / GEMM_SM90_CLUSTER;
    }
    __device__ __forceinline__ uint32_t end() const { return token_tiles * pairs * ranges; }

    __device__ __forceinline__ uint32_t range(uint32_t index) const {
        return index / token_tiles % ranges;
    }
    // The first slice of a range, and the first step of a slice.
    __device__ __forceinline__ uint32_t slice(uint32_t range) const {
        return range * (slices / ranges);
    }
    __device__ __forceinline__ uint32_t step(uint32_t slice) const {
        return steps * slice / slices;
    }

    __device__ __forceinline__ Work work(uint32_t index) const {
        const uint32_t pair = index / token_tiles / ranges;
        const Place place{index % token_tiles * TOKENS,
                          pair * FEATURES + rank * GEMM_SM90_FEATURES};
        const uint32_t from = range(index);
        return Work{place, step(slice(from)), step(slice(from + 1))};
    }
};

// The ring, with a barrier for each stage that says that the sums of its tokens are there.
template <class Stage>
struct DecodeRing : Ring<Stage> {
    static constexpr uint32_t CHAINS = Stage::TOKENS / 16;

    __device__ __forceinline__ uint32_t summed(uint32_t stage) const {
        return this->further(stage);
    }
    // Where the sums are.
    __device__ __forceinline__ uint32_t token_sums(uint32_t stage) const {
        return this->weights(stage) + Stage::TOKEN_SUMS;
    }

    __device__ __forceinline__ void init() const {
        Ring<Stage>::init();
        for (uint32_t stage = 0; stage < this->STAGES; stage++) {
            ptx::mbarrier_init(summed(stage), CHAINS);
        }
        ptx::fence_mbarrier_init();
    }
};

// What a thread has of the sums of 64 features by TOKENS tokens, as wgmma has them.
template <uint32_t TOKENS_>
struct Totals {
    static constexpr uint32_t TOKENS = TOKENS_;
    static constexpr uint32_t COUNT = TOKENS / 2;

    float slice[COUNT];  // of the slice in work
    float split[COUNT];  // of the slices before it in its split
    float sum[COUNT];    // of the splits before that

    // To add to -0 changes no number, not even -0.
    __device__ __forceinline__ static void clear(float (&sums)[COUNT], float zero = -0.0f) {
#pragma unroll
        for (uint32_t i = 0; i < COUNT; i++) sums[i] = zero;
    }

    __device__ __forceinline__ static void add(float (&sums)[COUNT], const float (&more)[COUNT]) {
#pragma unroll
        for (uint32_t i = 0; i < COUNT; i++) sums[i] += more[i];
    }

    // Before the first slice of a range.
    __device__ __forceinline__ void begin() {
        clear(slice, 0.0f);
        clear(split);
        clear(sum);
    }

    // After a slice of a range, of which `left` are still to come.
    __device__ __forceinline__ void close(uint32_t index, uint32_t left) {
        add(split, slice);
        clear(slice, 0.0f);
        if ((index + 1) % GEMM_DECODE_WARPS == 0 || left == 0) {
            add(sum, split);
            clear(split);
        }
    }
};

// The products of one warpgroup, 64 features by 64 tokens, with weights in bf16. A stage is 64
// columns of the features of both warpgroups, as a tensor copy brings them.
struct Bf16Stage : Totals<GEMM_DECODE_SM90_TOKENS> {
    static constexpr uint32_t K = GEMM_SM90_BOX_K;
    static constexpr uint32_t WEIGHT_BYTES = GEMM_SM90_FEATURES * SWIZZLE_BYTES;
    static constexpr bool SUMS_TOKENS = false;
    static constexpr uint32_t TOKEN_SUMS = 0;
    static_assert(K == GEMM_DECODE_BF16_K, "slices are those of gemm_decode");

    static __device__ __forceinline__ uint32_t weight_bytes(const GemmParams &p,
                                                            const Place &place, uint32_t) {
        return place.feature < p.n ? WEIGHT_BYTES : 0;
    }

    static __device__ __forceinline__ void copy_weights(const GemmTensorParams &p,
                                                        const Place &place, uint32_t step,
                                                        uint32_t target, uint32_t barrier) {
        // Other tiles of tokens read the same from L2.
        if (p.gemm.rows <= TOKENS) {
            ptx::cp_async_bulk_tensor_2d_evict_first(target, &p.weight_map, step * K,
                                                     place.feature, barrier);
        } else {
            ptx::cp_async_bulk_tensor_2d(target, &p.weight_map, step * K, place.feature, barrier);
        }
    }

    template <class Stages, class Cursor>
    __device__ __forceinline__ void multiply(const Stages &ring, Cursor &at,
                                             const Schedule &schedule, uint32_t range,
                                             uint32_t consumer) {
        const uint32_t rows = consumer * CONSUMER_FEATURES * SWIZZLE_BYTES;
        const uint32_t last = schedule.slice(range + 1);
        uint32_t step = schedule.step(schedule.slice(range));
        begin();
#pragma unroll 1
        for (uint32_t index = schedule.slice(range); index < last; index++) {
            const uint32_t first = step, end = schedule.step(index + 1);
            uint32_t before = 0;
#pragma unroll 1
            for (; step < end; step++) {
                mbarrier_wait(ring.full(at.stage), at.phase);
                const uint64_t a = swizzled_rows(ring.weights(at.stage) + rows);
                const uint64_t b = swizzled_rows(ring.tokens(at.stage));
                ptx::pin(slice);
                ptx::wgmma_fence();
#pragma unroll
                for (uint32_t k16 = 0; k16 < K / 16; k16++) {
                    ptx::wgmma_bf16(slice, a + k16 * SWIZZLED_K16, b + k16 * SWIZZLED_K16, 1);
                }
                ptx::wgmma_commit_group();
                ptx::wgmma_wait_group<1>();
                ptx::pin(slice);
                if (step > first) ring.release(before);
                before = at.stage;
                at.advance();
            }
            ptx::wgmma_wait_group<0>();
            ptx::pin(slice);
            if (step > first) ring.release(before);
            close(index, last - index - 1);
        }
    }
};

// The same with weights in int4, which are converted in registers. A stage is a group of K with the
// units of both warpgroups, and behind them the sum of each token.
template <uint32_t GROUP, bool ZERO_POINTS>
struct Int4Stage : Totals<GEMM_DECODE_SM90_TOKENS> {
    static constexpr uint32_t K = GROUP;
    static constexpr bool SUMS_TOKENS = true;
    using Unit = Int4Unit<GROUP, ZERO_POINTS>;
    static constexpr uint32_t TOKEN_SUMS = CONSUMERS * Unit::BYTES;
    static constexpr uint32_t WEIGHT_BYTES = TOKEN_SUMS + TOKENS * sizeof(float);
    static_assert(INT4_UNIT_ROWS == CONSUMER_FEATURES, "a consumer takes one row of units");

    float group[COUNT];  // of the group in work

    // Rows of units that the tile has.
    static __device__ __forceinline__ uint32_t unit_rows(const GemmParams &p, const Place &place) {
        return place.feature >= p.n ? 0 : place.feature + CONSUMER_FEATURES < p.n ? 2 : 1;
    }

    static __device__ __forceinline__ uint32_t weight_bytes(const GemmParams &p,
                                                            const Place &place, uint32_t) {
        return unit_rows(p, place) * Unit::BYTES;
    }

    static __device__ __forceinline__ void copy_weights(const GemmTensorParams &p,
                                                        const Place &place, uint32_t step,
                                                        uint32_t target, uint32_t barrier) {
        const uint32_t groups = p.gemm.k / GROUP;
        for (uint32_t row = 0; row < unit_rows(p.gemm, place); row++) {
            const uint64_t unit = (uint64_t)(place.feature / INT4_UNIT_ROWS + row) * groups + step;
            const uint8_t *source = p.gemm.weight + unit * Unit::BYTES;
            // Other tiles of tokens read the same from L2.
            if (p.gemm.rows <= TOKENS) {
                ptx::cp_async_bulk_evict_first(target + row * Unit::BYTES, source, Unit::BYTES,
                                               barrier);
            } else {
                ptx::cp_async_bulk(target + row * Unit::BYTES, source, Unit::BYTES, barrier);
            }
        }
    }

    // The sums of sixteen tokens of a stage, by one warp: tokens are the A operand and ones the B
    // operand, so that one product has as many as the other way round two. All columns are equal.
    static __device__ __forceinline__ void sum_tokens(uint32_t tokens, uint32_t sums,
                                                      uint32_t tile) {
        constexpr uint32_t BOX_BYTES = TOKENS * SWIZZLE_BYTES;
        constexpr uint32_t ONES = 0x3f803f80u;
        const uint32_t lane = threadIdx.x % WARP;
        const uint32_t row = tokens + (tile * 16 + lane % 16) * SWIZZLE_BYTES;
        float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
        for (uint32_t k16 = 0; k16 < K / 16; k16++) {
            uint32_t a[4];
            const uint32_t part = (k16 % 4 * 2 + lane / 16) ^ lane % SWIZZLE_ROWS;
            ptx::ldmatrix_x4(a, row + k16 / 4 * BOX_BYTES + part * 16);
            ptx::mma_m16n8k16_bf16(c, a, ONES, ONES, c);
        }
        if (lane % 4 < 2) {
            ptx::st_shared_f32(sums + (tile * 16 + lane % 4 * 8 + lane / 4) * sizeof(float),
                               lane % 4 == 0 ? c[0] : c[2]);
        }
    }

    // The pairs of rows g and g + 8 of this warp's sixteen.
    struct Vectors {
        uint32_t scales;
        uint32_t offsets;

        __device__ __forceinline__ void load(uint32_t unit) {
            const uint32_t features = threadIdx.x % WARPGROUP / WARP;
            scales = Unit::row_pair(unit + Unit::SCALES, features);
            offsets = ZERO_POINTS
                          ? Unit::row_pair(unit + Unit::SCALES + Unit::VECTOR_BYTES, features)
                          : Unit::OFFSET_PAIR;
        }
    };

    // This warp's part of the A operand for 64 columns, of which `nibbles` has the weights.
    static __device__ __forceinline__ void convert(uint32_t (&a)[4][4], uint32_t nibbles) {
        const uint4 q = ptx::ld_shared_v4_u32(nibbles + threadIdx.x % WARPGROUP * 16);
        const uint32_t words[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
        for (uint32_t k16 = 0; k16 < 4; k16++) {
            int4_fragment(a[k16], words[k16]);
            ptx::pin(a[k16]);
        }
    }

    // Starts the products of 64 columns; `first` of their group.
    __device__ __forceinline__ void start(uint32_t (&a)[4][4], uint32_t tokens, bool first) {
        const uint64_t b = swizzled_rows(tokens);
        ptx::pin(group);
        ptx::wgmma_fence();
#pragma unroll
        for (uint32_t k16 = 0; k16 < 4; k16++) {
            ptx::wgmma_bf16(group, a[k16], b + k16 * SWIZZLED_K16, !first || k16 > 0);
        }
        ptx::wgmma_commit_group();
    }

    // Waits for the products of a group and for the sums of its tokens, and adds it to its slice.
    template <class Stages, class Cursor>
    __device__ __forceinline__ void add_group(const Stages &ring, const Cursor &at,
                                              const Vectors &vectors) {
        mbarrier_wait(ring.summed(at.stage), at.phase);
        const uint32_t sums = ring.token_sums(at.stage) + threadIdx.x % 4 * 2 * sizeof(float);
#pragma unroll
        for (uint32_t t = 0; t < TOKENS / 8; t++) {
            const float2 token = ptx::ld_shared_v2_f32(sums + t * 8 * sizeof(float));
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) {
                const float scale = i < 2 ? bf16_low(vectors.scales) : bf16_high(vectors.scales);
                const float offset =
                    i < 2 ? bf16_low(vectors.offsets) : bf16_high(vectors.offsets);
                const float product =
                    fmaf(offset, i % 2 == 0 ? token.x : token.y, group[t * 4 + i]);
                slice[t * 4 + i] = fmaf(scale, product, slice[t * 4 + i]);
            }
        }
        ring.release(at.stage);
    }

    template <class Stages, class Cursor>
    __device__ __forceinline__ void multiply(const Stages &ring, Cursor &at,
                                             const Schedule &schedule, uint32_t range,
                                             uint32_t consumer) {
        constexpr uint32_t HALF_BYTES = INT4_UNIT_ROWS * GEMM_SM90_BOX_K / 2;
        uint32_t a[2][4][4];
        Vectors vectors;
        Cursor before;
        uint32_t index = schedule.slice(range);
        const uint32_t last_slice = schedule.slice(range + 1);
        const uint32_t first = schedule.step(index), last = schedule.step(last_slice);
        uint32_t step = first, end = schedule.step(index + 1);
        begin();
        // Adds up the slices that end here, of which some may have no group.
        const auto close_slices = [&] {
            while (index < last_slice && end == step) {
                close(index, last_slice - index - 1);
                index++;
                end = schedule.step(index + 1);
            }
        };
        close_slices();
        const auto add_last = [&] {
            ptx::wgmma_wait_group<0>();
            ptx::pin(group);
            if (step > first) {
                add_group(ring, before, vectors);
                close_slices();
            }
        };
        // `one`, and with groups of 128 `other`, are not in use by products under way.
        const auto take = [&](uint32_t (&one)[4][4], uint32_t (&other)[4][4]) {
            mbarrier_wait(ring.full(at.stage), at.phase);
            const uint32_t weights = ring.weights(at.stage) + consumer * Unit::BYTES;
            const uint32_t tokens = ring.tokens(at.stage);
            convert(one, weights);
            add_last();
            vectors.load(weights);
            start(one, tokens, true);
            if (GROUP == 128) {
                convert(other, weights + HALF_BYTES);
                start(other, tokens + Stages::BOX_BYTES, false);
                ptx::wgmma_wait_group<1>();
            }
            before = at;
            at.advance();
            step++;
        };
        if (GROUP == 128) {
#pragma unroll 1
            while (step < last) take(a[0], a[1]);
        } else {
#pragma unroll 1
            while (step + 1 < last) {
                take(a[0], a[1]);
                take(a[1], a[0]);
            }
            if (step < last) take(a[0], a[1]);
        }
        add_last();
    }
};
