// gemm_decode_sm90: gemm_decode for more than 32 rows of x, by wgmma. There mma.sync takes longer
// than memory with int4 weights, at 64 rows 1.7 times, and L2 does with any, because each 64
// features ask it for all tokens and each 32 tokens for all weights.
//
//   x        bf16 [rows, k]   16-byte aligned, k a multiple of 16
//   W        bf16 [n, k]      row-major, 16-byte aligned; or
//            int4 [n, k]      packed by repack.rs in groups of 128 or 64, 16-byte aligned
//   partials f32 [ranges, rows / 8, n / 64, 128, 4], rounded up, where ranges share tiles: of each
//            8 tokens by 64 features the four sums of each thread of a warpgroup
//   arrivals one counter for each 64 features and tile of tokens
//   the others as GemmParams says; n any number, with a residual or SwiGLU a multiple of 16
//
// A block takes 128 features and 64 tokens in three warpgroups, and with its neighbour in a
// cluster 256 features: each fetches half of the tokens for both, by the ring of gemm_sm90.cuh. 64
// features have 4.1 KiB of int4 weights in 128 columns, and 64 tokens 16 KiB; shared by 256
// features tokens are as many bytes as the weights. Two warpgroups compute 64 features each. Of
// the third, one thread fetches, and with int4 weights three warps sum the tokens of each stage,
// once for the block. 64 tokens are as many as the registers allow there: a thread has 32 sums
// each of a group, a slice, the slices before it in its split, and the splits before that. Weights
// of the first stages are fetched before the grids before this one have ended, and leave L2 first
// where only one tile of tokens reads them.
//
// The bits are those of gemm_decode.cu, if wgmma rounds as mma.sync does, which wgmma_probe.txt
// decides: the same slices of K. In a slice, bf16 weights make one chain, ascending by 16 from 0;
// int4 weights make one of each group, in which they enter as 128 + q, then an fma with the sum of
// the tokens, which mma has computed in a chain of its own, then one with the scale. The four
// slices of a split are added in ascending order, then the splits. A cluster takes a range of K of
// a tile, all of it, a split or a slice, whichever fills the device; ranges that share a tile
// leave their sums to the last to come, which adds them in that same order. A slice without steps
// counts as 0 in both kernels.
//
// Floor: the weights, 2 n k bytes or the units of repack.rs; 2 n k flops a row. Requested are,
// with tiles = ceil(n / 128): the weights once for each tile of tokens, 2 k bytes a row of x for
// each two tiles of features, with a norm k / 4 bytes for each row of the tiles of tokens that a
// block comes to from another one, and with ranges that share tiles 8 * ranges * rows * n bytes of
// sums, rows rounded up to 8, n to 64.
//
// Performance model, for an H100 or H200: 132 SMs, each 2048 multiplications and about 32 bytes
// from L2 a clock; memory brings 19 bytes a clock at 4.3 TB/s. Of 128 columns a tile takes 512
// clocks of the tensor cores. With int4 weights it asks L2 for 8.3 KiB of weights and 8 KiB of
// tokens, 520 clocks; memory takes 440 for the weights. Stages are one group, 24.5 KiB (12.5 with
// groups of 64), and 6 of 7 (14 of 15) are under way, 50 (60) KiB of weights, against the 19 that
// memory's latency of about 1000 clocks asks for. A warp that computes issues about 235
// instructions (with groups of 64, 350): 56 convert, 64 are fma, 32 make descriptors, the rest are
// waits and addresses. Two share a scheduler, so that with the sums of the tokens the slots of 512
// clocks are full, or with groups of 64 overfull by half. The sums of the tokens are 32 products
// of mma a group, about 70 clocks of three of the four tensor cores; tokens are their A operand
// and ones the B operand, which takes half as many as the other way round. Expected of memory's
// rate at 64 rows are thus 70 % with groups of 128 and 50 % with groups of 64, against 30 % by
// mma.sync. With bf16 weights memory takes 1720 clocks for 32 KiB, and L2 1280 for those and 8 KiB
// of tokens; 7 of 8 stages of 24 KiB are under way, 112 KiB of weights. Expected are 90 %, against
// 55 % by mma.sync, which asks L2 for three bytes for each of the weights. All less what the last
// round of tiles leaves idle: 28672 features are 112 pairs of tiles, two rounds of 66 clusters, 15
// %. Narrow matrices pay for the sums that ranges leave each other, 32 KiB a block and range, 1000
// clocks to write and to read.
//
// Measured: nothing yet. To be tried first on a GPU: descriptors of wgmma in uniform registers, 24
// instructions less; sums of the tokens written by whoever writes x, or halves of them exchanged
// in the cluster (by a copy to the neighbour's barrier, since a release to the cluster waits for
// all of memory); ranges of unequal numbers of slices, so that the last round is full; clusters of
// four, for fewer bytes of L2; tiles of 128 tokens with bf16 weights, which need fewer registers.
//
// Grid: x = clusters of two blocks, at most as many as fit on the device at once.
//
// Held by tests/device/gemm_decode_wgmma.rs, wgmma_probe.rs, gemm_traffic.rs and gemm_kernels.rs,
// and tests/static_gates.rs.

#include "gemm_decode_sm90.cuh"

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

// 1 / rms of a tile's rows, by all warps that compute: the sums of the tokens leave the others no
// time for it. It is seldom, since a block goes on with the tokens that it has.
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
                if (Stage::SUMS_TOKENS) mbarrier_wait(ring.summed(at.stage), at.phase);
                ring.release(at.stage);
                at.advance();
            }
            continue;
        }
        const uint32_t range = schedule.range(i);
        stage.multiply(ring, at, schedule, range, consumer);
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
            if constexpr (Stage::SUMS_TOKENS) sum_tokens(ring, schedule);
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
CLUSTER_KERNEL(gemm_decode_bf16_bf16_m64_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_decode_sm90<Bf16Stage>(p);
}
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
