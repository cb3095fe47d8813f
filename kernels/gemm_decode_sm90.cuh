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
    uint32_t groups;
    uint32_t rank;

    __device__ __forceinline__ Schedule(const GemmTensorParams &p, uint32_t group, uint32_t rank)
        : token_tiles((p.gemm.rows + TOKENS - 1) / TOKENS),
          pairs((p.gemm.n + FEATURES - 1) / FEATURES), ranges(p.ranges),
          slices(p.gemm.splits * GEMM_DECODE_WARPS), groups(p.gemm.k / group), rank(rank) {}

    static __device__ __forceinline__ uint32_t first() { return blockIdx.x / GEMM_SM90_CLUSTER; }
    static __device__ __forceinline__ uint32_t next(uint32_t index) {
        return index + gridDim.x / GEMM_SM90_CLUSTER;
    }
    __device__ __forceinline__ uint32_t end() const { return token_tiles * pairs * ranges; }

    __device__ __forceinline__ uint32_t range(uint32_t index) const {
        return index / token_tiles % ranges;
    }
    // The first slice of a range, and the first group of a slice.
    __device__ __forceinline__ uint32_t slice(uint32_t range) const {
        return range * (slices / ranges);
    }
    __device__ __forceinline__ uint32_t group(uint32_t slice) const {
        return groups * slice / slices;
    }

    __device__ __forceinline__ Work work(uint32_t index) const {
        const uint32_t pair = index / token_tiles / ranges;
        const Place place{index % token_tiles * TOKENS,
                          pair * FEATURES + rank * GEMM_SM90_FEATURES};
        const uint32_t from = range(index);
        return Work{place, group(slice(from)), group(slice(from + 1))};
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

// The products of one warpgroup, 64 features by 64 tokens. A stage is a group of K with the units
// of both warpgroups, and behind them the sum of each token.
template <uint32_t GROUP, bool ZERO_POINTS>
struct Int4Stage {
    static constexpr uint32_t TOKENS = GEMM_DECODE_SM90_TOKENS;
    static constexpr uint32_t K = GROUP;
    using Unit = Int4Unit<GROUP, ZERO_POINTS>;
    static constexpr uint32_t TOKEN_SUMS = CONSUMERS * Unit::BYTES;
    static constexpr uint32_t WEIGHT_BYTES = TOKEN_SUMS + TOKENS * sizeof(float);
    static constexpr uint32_t COUNT = TOKENS / 2;  // sums of a thread
    static_assert(INT4_UNIT_ROWS == CONSUMER_FEATURES, "a consumer takes one row of units");

    float group[COUNT];  // of the group in work
    float slice[COUNT];  // of the slice so far
    float split[COUNT];  // of the slices before it in its split
    float sum[COUNT];    // of the splits before that

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

    // To add to -0 changes no number, not even -0.
    __device__ __forceinline__ static void clear(float (&sums)[COUNT], float zero = -0.0f) {
#pragma unroll
        for (uint32_t i = 0; i < COUNT; i++) sums[i] = zero;
    }

    __device__ __forceinline__ static void add(float (&sums)[COUNT], const float (&more)[COUNT]) {
#pragma unroll
        for (uint32_t i = 0; i < COUNT; i++) sums[i] += more[i];
    }

    // Where a range stands among its slices.
    struct Slices {
        uint32_t index, last;
        uint32_t end;  // the first group of the next slice

        __device__ __forceinline__ Slices(const Schedule &schedule, uint32_t range)
            : index(schedule.slice(range)), last(schedule.slice(range + 1)),
              end(schedule.group(index + 1)) {}
    };

    // Adds up the slices that end before a group, of which some may have none.
    __device__ __forceinline__ void close(Slices &at, uint32_t group, const Schedule &schedule) {
        while (at.index < at.last && at.end == group) {
            add(split, slice);
            clear(slice, 0.0f);
            at.index++;
            at.end = schedule.group(at.index + 1);
            if (at.index % GEMM_DECODE_WARPS == 0 || at.index == at.last) {
                add(sum, split);
                clear(split);
            }
        }
    }

    template <class Stages, class Cursor>
    __device__ __forceinline__ void multiply(const Stages &ring, Cursor &at, const Work &work,
                                             Slices slices, const Schedule &schedule,
                                             uint32_t consumer) {
        constexpr uint32_t HALF_BYTES = INT4_UNIT_ROWS * GEMM_SM90_BOX_K / 2;
        uint32_t a[2][4][4];
        Vectors vectors;
        Cursor before;
        clear(slice, 0.0f);
        clear(split);
        clear(sum);
        close(slices, work.first, schedule);
        uint32_t step = work.first;
        const auto add_last = [&] {
            ptx::wgmma_wait_group<0>();
            ptx::pin(group);
            if (step > work.first) {
                add_group(ring, before, vectors);
                close(slices, step, schedule);
            }
        };
        const auto take = [&](uint32_t (&first)[4][4], uint32_t (&second)[4][4]) {
            mbarrier_wait(ring.full(at.stage), at.phase);
            const uint32_t weights = ring.weights(at.stage) + consumer * Unit::BYTES;
            const uint32_t tokens = ring.tokens(at.stage);
            convert(first, weights);
            add_last();
            vectors.load(weights);
            start(first, tokens, true);
            if (GROUP == 128) {
                convert(second, weights + HALF_BYTES);
                start(second, tokens + Stages::BOX_BYTES, false);
                ptx::wgmma_wait_group<1>();
            }
            before = at;
            at.advance();
            step++;
        };
        if (GROUP == 128) {
#pragma unroll 1
            while (step < work.last) take(a[0], a[1]);
        } else {
#pragma unroll 1
            while (step + 1 < work.last) {
                take(a[0], a[1]);
                take(a[1], a[0]);
            }
            if (step < work.last) take(a[0], a[1]);
        }
        add_last();
    }
};
