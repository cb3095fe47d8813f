// gemm_decode_sm90: gemm_decode with int4 weights for more rows than 32, where mma.sync is too slow for
// what memory brings, by wgmma.
//
//   as gemm_decode.cu says, W packed by repack.rs in groups of 128 or 64
#include "gemm_sm90.cuh"

// Ranges of K, tiles of tokens and pairs of tiles of features, in this order from the innermost on
// but that tiles of tokens come first: clusters that run at the same time then share weights in L2.
// A cluster takes those that are as many further on as there are clusters.
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

// The sums of the tokens of each stage, by the warps that have nothing else to do, in turns.
template <class Stage>
__device__ __forceinline__ void sum_tokens(const DecodeRing<Stage> &ring,
                                           const Schedule &schedule) {
    const uint32_t own = threadIdx.x / WARP - 1;
    uint32_t turn = 0;
    Cursor<Ring<Stage>::STAGES> at;
    for (uint32_t i = schedule.first(); i < schedule.end(); i = schedule.next(i)) {
        const Work work = schedule.work(i);
#pragma unroll 1
        for (uint32_t step = work.first; step < work.last; step++) {
            // Also without a share in it: a phase that nobody waits for could be taken for the one
            // after the next.
            mbarrier_wait(ring.full(at.stage), at.phase);
#pragma unroll 1
            for (uint32_t tile = 0; tile < DecodeRing<Stage>::CHAINS; tile++) {
                if (turn == own) {
                    Stage::sum_tokens(ring.tokens(at.stage), ring.token_sums(at.stage), tile);
                    __syncwarp();
                    if (threadIdx.x % WARP == 0) ptx::mbarrier_arrive(ring.summed(at.stage));
                }
                turn = turn + 1 == SPARE_WARPS ? 0 : turn + 1;
            }
            at.advance();
        }
    }
}

// 1 / rms of a tile's rows, by all warps that compute.
template <uint32_t TOKENS>
__device__ __forceinline__ void compute_norms(const GemmParams &p, uint32_t row, float *norms) {
    constexpr uint32_t EACH = TOKENS / CONSUMER_WARPS;
    const uint32_t first = (threadIdx.x / WARP - WARPGROUP / WARP) * EACH;
    // All have read what was here before.
    ptx::bar_sync(1 + CONSUMERS, CONSUMERS * WARPGROUP);
    input_rms<EACH>(p, row + first, norms + first);
    ptx::bar_sync(1 + CONSUMERS, CONSUMERS * WARPGROUP);
}

// Leaves the sums of a range to the last warpgroup to come to its tile. Whether this is that one;
// it then has the sums of all ranges. `flag` is a word of shared memory of this warpgroup.
template <class Stage>
__device__ __forceinline__ bool join(const GemmParams &p, const Schedule &schedule,
                                     uint32_t range, const Place &place, uint32_t consumer,
                                     Stage &stage, uint32_t *flag) {
    const uint32_t thread = threadIdx.x % WARPGROUP;
    const uint32_t tiles = (p.n + CONSUMER_FEATURES - 1) / CONSUMER_FEATURES;
    const uint32_t tile = place.feature / CONSUMER_FEATURES + consumer;
    const uint32_t octets = min((p.rows - place.row + 7) / 8, Stage::TOKENS / 8);
    // A thread's four sums of each eight tokens, [range][token / 8][tile][thread][4].
    const uint64_t step = (uint64_t)tiles * WARPGROUP * 4;
    const uint64_t distance = (p.rows + 7) / 8 * step;
    float *first = p.partials + place.row / 8 * step + (tile * WARPGROUP + thread) * 4;
#pragma unroll
    for (uint32_t t = 0; t < Stage::TOKENS / 8; t++) {
        if (t < octets) {
            const float *sum = stage.sum + t * 4;
            *reinterpret_cast<float4 *>(first + range * distance + t * step) =
                make_float4(sum[0], sum[1], sum[2], sum[3]);
        }
    }
    ptx::bar_sync(1 + consumer, WARPGROUP);
    if (thread == 0) {
        const uint32_t counter = tile * schedule.token_tiles + place.row / Stage::TOKENS;
        __threadfence();
        *flag = atomicInc(p.arrivals + counter, schedule.ranges - 1) == schedule.ranges - 1;
        __threadfence();
    }
    ptx::bar_sync(1 + consumer, WARPGROUP);
    if (*flag == 0) return false;

    const uint32_t of_split = schedule.ranges / p.splits;
    Stage::clear(stage.sum);
    Stage::clear(stage.split);
#pragma unroll 1
    for (uint32_t i = 0; i < schedule.ranges; i++) {
#pragma unroll
        for (uint32_t t = 0; t < Stage::TOKENS / 8; t++) {
            if (t < octets) {
                const float4 v =
                    *reinterpret_cast<const float4 *>(first + i * distance + t * step);
                stage.split[t * 4] += v.x;
                stage.split[t * 4 + 1] += v.y;
                stage.split[t * 4 + 2] += v.z;
                stage.split[t * 4 + 3] += v.w;
            }
        }
        if ((i + 1) % of_split == 0) {
            Stage::add(stage.sum, stage.split);
            Stage::clear(stage.split);
        }
    }
    return true;
}

// A warpgroup multiplies and finishes 64 features of each tile.
template <class Stage>
__device__ __forceinline__ void consume(const DecodeRing<Stage> &ring, const GemmTensorParams &p,
                                        const Schedule &schedule, char *storage) {
    using Rings = Ring<Stage>;
    const uint32_t consumer = threadIdx.x / WARPGROUP - 1;
    float *tile = reinterpret_cast<float *>(storage + Rings::SUMS + consumer * Rings::SUM_BYTES);
    float *norms = reinterpret_cast<float *>(storage + Rings::NORMS);
    uint32_t normed = ~0u;  // the first of the rows whose norms are there
    Cursor<Rings::STAGES> at;
    Stage stage;
    for (uint32_t i = schedule.first(); i < schedule.end(); i = schedule.next(i)) {
        const Work work = schedule.work(i);
        const Place &place = work.place;
        if (p.gemm.squares != nullptr && place.feature < p.gemm.n && place.row != normed) {
            // While the first weights are on their way.
            compute_norms<Stage::TOKENS>(p.gemm, place.row, norms);
            normed = place.row;
        }
        if (place.feature + consumer * CONSUMER_FEATURES >= p.gemm.n) {
            // Of an odd number of tiles the last shares its tokens with one that does not exist.
            for (uint32_t step = work.first; step < work.last; step++) {
                mbarrier_wait(ring.full(at.stage), at.phase);
                mbarrier_wait(ring.summed(at.stage), at.phase);
                ring.release(at.stage);
                at.advance();
            }
            continue;
        }
        const uint32_t range = schedule.range(i);
        stage.multiply(ring, at, work, typename Stage::Slices(schedule, range), schedule,
                       consumer);
        const bool whole = schedule.ranges == 1;
        if (whole || join(p.gemm, schedule, range, place, consumer, stage,
                          reinterpret_cast<uint32_t *>(tile))) {
            finish<Stage>(p.gemm, place, consumer, stage.sum, tile, norms);
        }
    }
}

template <class Stage>
__device__ __forceinline__ void gemm_decode_sm90(const GemmTensorParams &p) {
    extern __shared__ __align__(1024) char storage[];

    ptx::griddepcontrol_launch_dependents();
    const DecodeRing<Stage> ring{{ptx::shared_address(storage)}};
    const Schedule schedule(p, Stage::K, ptx::cluster_ctarank());
    if (threadIdx.x == 0) {
        ring.init();
        fetch_ahead<Stage>(ring, p, schedule);
    }
    __syncwarp();
    ptx::griddepcontrol_wait();
    // Nobody writes to a block, or to its barriers, before they are ready.
    ptx::barrier_cluster_arrive();
    ptx::barrier_cluster_wait();

    const uint32_t warp = threadIdx.x / WARP;
    if (warp < WARPGROUP / WARP) {
        ptx::setmaxnreg_dec<FETCH_REGISTERS>();
        if (threadIdx.x == 0) {
            fetch<Stage>(ring, p, schedule);
        } else if (warp > 0) {
            sum_tokens(ring, schedule);
        }
        __syncwarp();
    } else {
        ptx::setmaxnreg_inc<CONSUMER_REGISTERS>();
        consume(ring, p, schedule, storage);
    }
    // No block ends while the other may still write to it or tell it something.
    ptx::barrier_cluster_arrive();
    ptx::barrier_cluster_wait();
}

// Instances: the list of what is supported.
constexpr uint32_t THREADS = GEMM_SM90_THREADS;
constexpr uint32_t CLUSTER = GEMM_SM90_CLUSTER;
CLUSTER_KERNEL(gemm_decode_bf16_int4g128_m64_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_decode_sm90<Int4Stage<128, false>>(p);
}
CLUSTER_KERNEL(gemm_decode_bf16_int4g128z_m64_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_decode_sm90<Int4Stage<128, true>>(p);
}
CLUSTER_KERNEL(gemm_decode_bf16_int4g64_m64_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_decode_sm90<Int4Stage<64, false>>(p);
}
CLUSTER_KERNEL(gemm_decode_bf16_int4g64z_m64_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_decode_sm90<Int4Stage<64, true>>(p);
}
