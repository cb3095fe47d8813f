// How a block of gemm_prefill_sm90 divides its work: the order of tiles, the ring of stages, who
// fetches, who computes 1 / rms, and the way of the sums through shared memory to the epilogue.

#pragma once

#include "gemm.cuh"
#include "hopper.cuh"

constexpr uint32_t CONSUMERS = 2;  // warpgroups that compute
constexpr uint32_t CONSUMER_WARPS = CONSUMERS * WARPGROUP / WARP;
constexpr uint32_t CONSUMER_FEATURES = GEMM_SM90_FEATURES / CONSUMERS;
static_assert(CONSUMER_FEATURES == 64, "the rows of one wgmma");
static_assert(GEMM_SM90_THREADS == (1 + CONSUMERS) * WARPGROUP, "one warpgroup fetches");

// Warps of the first warpgroup: the first fetches, the others compute 1 / rms.
constexpr uint32_t NORM_WARPS = WARPGROUP / WARP - 1;

// What setmaxnreg makes of the 168 registers that each of the 384 threads starts with.
constexpr uint32_t FETCH_REGISTERS = 56;
constexpr uint32_t CONSUMER_REGISTERS = 224;
static_assert(FETCH_REGISTERS + CONSUMERS * CONSUMER_REGISTERS <= (1 + CONSUMERS) * 168,
              "no more registers than the block has");

// A tile of a block: its first row of x and its first row of W.
struct Place {
    uint32_t row;
    uint32_t feature;
};

// All tiles, in groups of neighbours along both sides. A cluster takes CLUSTER tiles of features
// at a time and goes on to those that are as many further on as there are clusters.
template <uint32_t TOKENS>
struct Schedule {
    static constexpr uint32_t RASTER = GEMM_SM90_RASTER_TOKENS / TOKENS;
    static constexpr uint32_t FEATURES = GEMM_SM90_CLUSTER * GEMM_SM90_FEATURES;

    uint32_t token_tiles;
    uint32_t feature_tiles;
    uint32_t rank;

    __device__ __forceinline__ Schedule(const GemmParams &p, uint32_t rank)
        : token_tiles((p.rows + TOKENS - 1) / TOKENS),
          feature_tiles((p.n + FEATURES - 1) / FEATURES), rank(rank) {}

    static __device__ __forceinline__ uint32_t first() { return blockIdx.x / GEMM_SM90_CLUSTER; }
    static __device__ __forceinline__ uint32_t next(uint32_t index) {
        return index + gridDim.x / GEMM_SM90_CLUSTER;
    }
    __device__ __forceinline__ uint32_t end() const { return token_tiles * feature_tiles; }

    __device__ __forceinline__ Place place(uint32_t index) const {
        const uint32_t group = index / (RASTER * feature_tiles) * RASTER;
        const uint32_t width = min(token_tiles - group, RASTER);
        const uint32_t within = index - group * feature_tiles;
        return Place{(group + within % width) * TOKENS,
                     within / width * FEATURES + rank * GEMM_SM90_FEATURES};
    }
};

// Shared memory of a block. A stage is the tokens' part of a step, in boxes of GEMM_SM90_BOX_K
// columns, and the weights of it. Behind the stages lie the sums of each consumer on their way to
// the epilogue, 1 / rms of two tiles, and the barriers.
template <class Stage>
struct Ring {
    static constexpr uint32_t TOKENS = Stage::TOKENS;
    static constexpr uint32_t BOX_BYTES = TOKENS * SWIZZLE_BYTES;
    static constexpr uint32_t TOKEN_BYTES = Stage::K / GEMM_SM90_BOX_K * BOX_BYTES;
    static constexpr uint32_t STAGE_BYTES = TOKEN_BYTES + Stage::WEIGHT_BYTES;
    static constexpr uint32_t STAGES = GEMM_SM90_RING_BYTES / STAGE_BYTES;
    using Sums = SumTile<CONSUMER_FEATURES>;
    static constexpr uint32_t SUM_BYTES = GEMM_SM90_EPILOGUE_TOKENS * Sums::TOKEN_BYTES;
    static constexpr uint32_t SUMS = STAGES * STAGE_BYTES;
    static constexpr uint32_t NORMS = SUMS + CONSUMERS * SUM_BYTES;
    static constexpr uint32_t BARRIERS = NORMS + 2 * TOKENS * sizeof(float);
    static_assert(BOX_BYTES / GEMM_SM90_CLUSTER % (SWIZZLE_ROWS * SWIZZLE_BYTES) == 0,
                  "a block's share of a box begins where the swizzle does");
    static_assert(STAGES >= 4, "copies are under way while products run");

    uint32_t base;

    __device__ __forceinline__ uint32_t tokens(uint32_t stage) const {
        return base + stage * TOKEN_BYTES;
    }
    __device__ __forceinline__ uint32_t weights(uint32_t stage) const {
        return base + STAGES * TOKEN_BYTES + stage * Stage::WEIGHT_BYTES;
    }
    // A stage has been filled; all warps of both blocks have done with it.
    __device__ __forceinline__ uint32_t full(uint32_t stage) const {
        return base + BARRIERS + stage * 8;
    }
    __device__ __forceinline__ uint32_t empty(uint32_t stage) const {
        return full(STAGES + stage);
    }
    // The same of the two places for 1 / rms.
    __device__ __forceinline__ uint32_t norm_full(uint32_t place) const {
        return full(2 * STAGES + place);
    }
    __device__ __forceinline__ uint32_t norm_empty(uint32_t place) const {
        return full(2 * STAGES + 2 + place);
    }

    __device__ __forceinline__ void init() const {
        for (uint32_t stage = 0; stage < STAGES; stage++) {
            ptx::mbarrier_init(full(stage), 1);
            ptx::mbarrier_init(empty(stage), GEMM_SM90_CLUSTER * CONSUMER_WARPS);
        }
        for (uint32_t place = 0; place < 2; place++) {
            ptx::mbarrier_init(norm_full(place), NORM_WARPS);
            ptx::mbarrier_init(norm_empty(place), CONSUMER_WARPS);
        }
        ptx::fence_mbarrier_init();
    }

    // This warp has done with a stage, which both blocks' copies fill anew: it tells both.
    __device__ __forceinline__ void release(uint32_t stage) const {
        __syncwarp();
        const uint32_t lane = threadIdx.x % WARP;
        if (lane < GEMM_SM90_CLUSTER) {
            ptx::mbarrier_arrive_cluster(ptx::mapa(empty(stage), lane));
        }
    }
};

// Announces what a stage will be filled with, and starts the copy of the weights.
template <class Stage>
__device__ __forceinline__ void fetch_weights(const Ring<Stage> &ring, const GemmTensorParams &p,
                                              const Place &place, uint32_t step, uint32_t stage) {
    const uint32_t weight_bytes = Stage::weight_bytes(p.gemm, place, step);
    ptx::mbarrier_arrive_expect_tx(ring.full(stage), Ring<Stage>::TOKEN_BYTES + weight_bytes);
    if (weight_bytes > 0) {
        Stage::copy_weights(p, place, step, ring.weights(stage), ring.full(stage));
    }
}

// Starts the copy of this block's share of the tokens to both blocks.
template <class Stage>
__device__ __forceinline__ void fetch_tokens(const Ring<Stage> &ring, const GemmTensorParams &p,
                                             const Place &place, uint32_t rank, uint32_t step,
                                             uint32_t stage) {
    constexpr uint32_t SHARE = Stage::TOKENS / GEMM_SM90_CLUSTER;
    constexpr uint16_t ALL = (1 << GEMM_SM90_CLUSTER) - 1;
#pragma unroll
    for (uint32_t box = 0; box < Stage::K / GEMM_SM90_BOX_K; box++) {
        const uint32_t target =
            ring.tokens(stage) + box * Ring<Stage>::BOX_BYTES + rank * SHARE * SWIZZLE_BYTES;
        ptx::cp_async_bulk_tensor_2d_multicast(target, &p.x_map,
                                               step * Stage::K + box * GEMM_SM90_BOX_K,
                                               place.row + rank * SHARE, ring.full(stage), ALL);
    }
}

template <class Stage>
__device__ __forceinline__ uint32_t steps_of(const GemmParams &p) {
    return (p.k + Stage::K - 1) / Stage::K;
}

// The weights of the first stages, which no other kernel writes.
template <class Stage>
__device__ __forceinline__ void fetch_ahead(const Ring<Stage> &ring, const GemmTensorParams &p,
                                            const Schedule<Stage::TOKENS> &schedule) {
    const Place place = schedule.place(schedule.first());
    const uint32_t steps = min(steps_of<Stage>(p.gemm), Ring<Stage>::STAGES);
    for (uint32_t step = 0; step < steps; step++) fetch_weights(ring, p, place, step, step);
}

// One thread fetches all that the block needs, but for what fetch_ahead has.
template <class Stage>
__device__ __forceinline__ void fetch(const Ring<Stage> &ring, const GemmTensorParams &p,
                                      const Schedule<Stage::TOKENS> &schedule) {
    const uint32_t steps = steps_of<Stage>(p.gemm);
    uint32_t ahead = min(steps, Ring<Stage>::STAGES);
    Cursor<Ring<Stage>::STAGES> at;
    for (uint32_t i = schedule.first(); i < schedule.end(); i = schedule.next(i)) {
        const Place place = schedule.place(i);
#pragma unroll 1
        for (uint32_t step = 0; step < steps; step++) {
            if (ahead > 0) {
                ahead--;
            } else {
                mbarrier_wait_cluster(ring.empty(at.stage), at.phase ^ 1);
                fetch_weights(ring, p, place, step, at.stage);
            }
            fetch_tokens(ring, p, place, schedule.rank, step, at.stage);
            at.advance();
        }
    }
}

// 1 / rms of each tile's rows, by warps that have nothing else to do, one tile ahead.
template <class Stage>
__device__ __forceinline__ void compute_norms(const Ring<Stage> &ring, const GemmParams &p,
                                              const Schedule<Stage::TOKENS> &schedule,
                                              float *norms) {
    constexpr uint32_t AT_ONCE = 4;
    const uint32_t warp = threadIdx.x / WARP - 1;
    Cursor<2> at;
    for (uint32_t i = schedule.first(); i < schedule.end(); i = schedule.next(i)) {
        const Place tile = schedule.place(i);
        if (tile.feature >= p.n) continue;
        const uint32_t row = tile.row;
        float *place = norms + at.stage * Stage::TOKENS;
        mbarrier_wait(ring.norm_empty(at.stage), at.phase ^ 1);
#pragma unroll 1
        for (uint32_t j = warp * AT_ONCE; j < Stage::TOKENS; j += NORM_WARPS * AT_ONCE) {
            input_rms<AT_ONCE>(p, row + j, place + j);
        }
        __syncwarp();
        if (threadIdx.x % WARP == 0) ptx::mbarrier_arrive(ring.norm_full(at.stage));
        at.advance();
    }
}

// Sums of a warpgroup, as wgmma has them, to their places: some tokens at a time through shared
// memory, so that what is stored of a token is contiguous.
template <class Stage>
__device__ __forceinline__ void finish(const GemmParams &p, const Place &place, uint32_t consumer,
                                       const float (&sum)[Stage::TOKENS / 2], float *tile,
                                       const float *norms) {
    constexpr uint32_t AT_ONCE = GEMM_SM90_EPILOGUE_TOKENS;
    using Sums = typename Ring<Stage>::Sums;
    const uint32_t thread = threadIdx.x % WARPGROUP;
#pragma unroll 1
    for (uint32_t chunk = 0; chunk < Stage::TOKENS / AT_ONCE; chunk++) {
        const uint32_t first = chunk * AT_ONCE;
        if (place.row + first >= p.rows) break;
        // All have read what was here before.
        ptx::bar_sync(1 + consumer, WARPGROUP);
#pragma unroll
        for (uint32_t c = 0; c < Stage::TOKENS / AT_ONCE; c++) {
            // Registers have no index at run time.
            if (c != chunk) continue;
#pragma unroll
            for (uint32_t t = 0; t < AT_ONCE / 8; t++) {
                const uint32_t at = (c * AT_ONCE / 8 + t) * 4;
                const float fragment[4] = {sum[at], sum[at + 1], sum[at + 2], sum[at + 3]};
                Sums::write(tile, thread / WARP, t, fragment);
            }
        }
        ptx::bar_sync(1 + consumer, WARPGROUP);
#pragma unroll 1
        for (uint32_t i = thread; i < AT_ONCE * Sums::PARTS; i += WARPGROUP) {
            Part part = Sums::read(tile, i);
            const uint32_t at = first + Sums::token(i);
            epilogue(p, place.row + at,
                     place.feature + consumer * CONSUMER_FEATURES + Sums::feature(i), norms[at],
                     part);
        }
    }
}

// A warpgroup multiplies and finishes 64 features of each tile.
template <class Stage>
__device__ __forceinline__ void consume(const Ring<Stage> &ring, const GemmTensorParams &p,
                                        const Schedule<Stage::TOKENS> &schedule, char *storage) {
    using Rings = Ring<Stage>;
    const uint32_t consumer = threadIdx.x / WARPGROUP - 1;
    float *tile = reinterpret_cast<float *>(storage + Rings::SUMS + consumer * Rings::SUM_BYTES);
    const float *norms = reinterpret_cast<const float *>(storage + Rings::NORMS);
    const uint32_t steps = steps_of<Stage>(p.gemm);
    Cursor<Rings::STAGES> at;
    Cursor<2> norm;
    Stage stage;
    for (uint32_t i = schedule.first(); i < schedule.end(); i = schedule.next(i)) {
        const Place place = schedule.place(i);
        const bool exists = place.feature + consumer * CONSUMER_FEATURES < p.gemm.n;
        if (exists) {
            stage.multiply(ring, at, p.gemm, consumer);
        } else {
            // Of an odd number of tiles the last shares its tokens with one that does not exist.
            for (uint32_t step = 0; step < steps; step++) {
                mbarrier_wait(ring.full(at.stage), at.phase);
                ring.release(at.stage);
                at.advance();
            }
        }
        const bool normed = p.gemm.squares != nullptr && place.feature < p.gemm.n;
        if (normed) mbarrier_wait(ring.norm_full(norm.stage), norm.phase);
        if (exists) {
            finish<Stage>(p.gemm, place, consumer, stage.sum, tile,
                          norms + norm.stage * Stage::TOKENS);
        }
        if (normed) {
            __syncwarp();
            if (threadIdx.x % WARP == 0) ptx::mbarrier_arrive(ring.norm_empty(norm.stage));
            norm.advance();
        }
    }
}

template <class Stage>
__device__ __forceinline__ void gemm_prefill_sm90(const GemmTensorParams &p) {
    extern __shared__ __align__(1024) char storage[];

    ptx::griddepcontrol_launch_dependents();
    const Ring<Stage> ring{ptx::shared_address(storage)};
    const Schedule<Stage::TOKENS> schedule(p.gemm, ptx::cluster_ctarank());
    if (threadIdx.x == 0) {
        ring.init();
        fetch_ahead(ring, p, schedule);
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
            fetch(ring, p, schedule);
        } else if (warp > 0 && p.gemm.squares != nullptr) {
            compute_norms(ring, p.gemm, schedule,
                          reinterpret_cast<float *>(storage + Ring<Stage>::NORMS));
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
