// What gemm_prefill_sm90 and gemm_decode_sm90 share: who of a block does what, the ring of stages,
// the thread that fetches, and the way of the sums through shared memory to the epilogue.

#pragma once

#include "gemm.cuh"
#include "hopper.cuh"

constexpr uint32_t CONSUMERS = 2;  // warpgroups that compute
constexpr uint32_t CONSUMER_WARPS = CONSUMERS * WARPGROUP / WARP;
constexpr uint32_t CONSUMER_FEATURES = GEMM_SM90_FEATURES / CONSUMERS;
static_assert(CONSUMER_FEATURES == 64, "the rows of one wgmma");
static_assert(GEMM_SM90_THREADS == (1 + CONSUMERS) * WARPGROUP, "one warpgroup fetches");

// Warps of the first warpgroup beside the one that fetches.
constexpr uint32_t SPARE_WARPS = WARPGROUP / WARP - 1;

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

// What a block does between two epilogues: a tile, and the steps of K that it takes of it.
struct Work {
    Place place;
    uint32_t first, last;
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
    // Behind those, barriers that a kernel has for itself.
    __device__ __forceinline__ uint32_t further(uint32_t index) const {
        return full(2 * STAGES + index);
    }

    __device__ __forceinline__ void init() const {
        for (uint32_t stage = 0; stage < STAGES; stage++) {
            ptx::mbarrier_init(full(stage), 1);
            ptx::mbarrier_init(empty(stage), GEMM_SM90_CLUSTER * CONSUMER_WARPS);
        }
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

// The weights of the first stages, which no other kernel writes.
template <class Stage, class Schedule>
__device__ __forceinline__ void fetch_ahead(const Ring<Stage> &ring, const GemmTensorParams &p,
                                            const Schedule &schedule) {
    const Work work = schedule.work(schedule.first());
    const uint32_t steps = min(work.last - work.first, Ring<Stage>::STAGES);
    for (uint32_t i = 0; i < steps; i++) fetch_weights(ring, p, work.place, work.first + i, i);
}

// One thread fetches all that the block needs, but for what fetch_ahead has.
template <class Stage, class Schedule>
__device__ __forceinline__ void fetch(const Ring<Stage> &ring, const GemmTensorParams &p,
                                      const Schedule &schedule) {
    Cursor<Ring<Stage>::STAGES> at;
    uint32_t ahead = Ring<Stage>::STAGES;
    for (uint32_t i = schedule.first(); i < schedule.end(); i = schedule.next(i)) {
        const Work work = schedule.work(i);
        // Of the first tile alone.
        ahead = min(ahead, work.last - work.first);
#pragma unroll 1
        for (uint32_t step = work.first; step < work.last; step++) {
            if (ahead > 0) {
                ahead--;
            } else {
                mbarrier_wait_cluster(ring.empty(at.stage), at.phase ^ 1);
                fetch_weights(ring, p, work.place, step, at.stage);
            }
            fetch_tokens(ring, p, work.place, schedule.rank, step, at.stage);
            at.advance();
        }
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
