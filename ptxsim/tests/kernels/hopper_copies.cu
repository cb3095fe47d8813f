// Bulk and tensor copies in every direction. Each macro plants the bug it is named after; the
// line that shall be blamed says so at its end, with the kind of fault.

#include "hopper.cuh"

__device__ __forceinline__ void cluster_sync() {
    asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory");
}

__device__ __forceinline__ uint32_t cluster_rank() {
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// The same place in the memory of another block of the cluster.
__device__ __forceinline__ uint32_t in_block(uint32_t at, uint32_t rank) {
    uint32_t there;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(at), "r"(rank));
    return there;
}

__device__ __forceinline__ void load_line(uint32_t to, const void *from, uint32_t bytes,
                                          uint32_t barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(to),
                 "l"(from), "r"(bytes), "r"(barrier)
                 : "memory");
}

__device__ __forceinline__ void store_line(void *to, uint32_t from, uint32_t bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(from),
                 "r"(bytes)
                 : "memory");
}

// A warp fetches a box of `words` words, adds one to each and stores the box elsewhere.
extern "C" __global__ void through(const __grid_constant__ TensorMap from,
                                   const __grid_constant__ TensorMap to, int words, int x, int y) {
    extern __shared__ __align__(1024) uint32_t tile[];
    __shared__ __align__(8) uint64_t barrier;
    const uint32_t arrived = shared_address(&barrier), here = shared_address(tile);
    if (threadIdx.x == 0) {
        barrier_init(arrived, 1);
        fence_barrier_init();
        barrier_expect(arrived, words * 4);
        load_box(here, &from, arrived, x, y);
    }
    __syncwarp();
    barrier_wait(arrived, 0);
    for (int i = threadIdx.x; i < words; i += 32) {
        tile[i] += 1;
    }
#ifndef BUG_NO_PROXY_FENCE
    fence_proxy();
#endif
#ifndef BUG_NO_WARP_SYNC
    __syncwarp();
#endif
    if (threadIdx.x == 0) {
        // FAULT BUG_NO_PROXY_FENCE MissingProxyFence
        // FAULT BUG_NO_WARP_SYNC ReadRace
        store_box(&to, here, x, y);
        bulk_commit();
#ifdef BUG_EARLY_REUSE
        tile[0] = 0; // FAULT BUG_EARLY_REUSE OverwriteRace
#endif
#ifndef BUG_NO_WAIT
        bulk_wait();
#endif
    }
} // FAULT BUG_NO_WAIT Unwaited

// A box of three dimensions, to the words of `out`.
extern "C" __global__ void solid(const __grid_constant__ TensorMap from, uint32_t *out, int words,
                                 int x, int y, int z) {
    extern __shared__ __align__(1024) uint32_t tile[];
    __shared__ __align__(8) uint64_t barrier;
    const uint32_t arrived = shared_address(&barrier);
    if (threadIdx.x == 0) {
        barrier_init(arrived, 1);
        fence_barrier_init();
        barrier_expect(arrived, words * 4);
        asm volatile("cp.async.bulk.prefetch.tensor.3d.L2.global.tile [%0, {%1, %2, %3}];" ::"l"(
                         &from),
                     "r"(x), "r"(y), "r"(z));
        asm volatile(
            "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
            ".L2::cache_hint [%0], [%1, {%3, %4, %5}], [%2], %6;" ::"r"(shared_address(tile)),
            "l"(&from), "r"(arrived), "r"(x), "r"(y), "r"(z), "l"(0x12f0000000000000ull)
            : "memory");
    }
    __syncwarp();
    barrier_wait(arrived, 0);
    for (int i = threadIdx.x; i < words; i += 32) {
        out[i] = tile[i];
    }
}

// Bytes from one place of device memory to another, by way of shared memory.
extern "C" __global__ void line(char *to, const char *from, int bytes, int offset) {
    extern __shared__ __align__(1024) char buffer[];
    __shared__ __align__(8) uint64_t barrier;
    const uint32_t arrived = shared_address(&barrier), here = shared_address(buffer) + offset;
    if (threadIdx.x == 0) {
#ifndef BUG_NO_INIT
        barrier_init(arrived, 1);
#endif
        fence_barrier_init();
#ifndef BUG_NO_INIT
        barrier_expect(arrived, bytes);
#endif
        load_line(here, from, bytes, arrived); // FAULT BUG_NO_INIT Mbarrier
#ifndef BUG_NO_INIT
        barrier_wait(arrived, 0);
#endif
        store_line(to, here, bytes);
        bulk_commit();
        bulk_wait();
    }
}

// Each of the two blocks of a cluster fetches half a tile for both, twice over.
extern "C" __global__ void __cluster_dims__(2, 1, 1) both(const uint32_t *from, uint32_t *out) {
    __shared__ __align__(1024) uint32_t tile[64];
    __shared__ __align__(8) uint64_t barriers[2];
    const uint32_t full = shared_address(&barriers[0]), empty = shared_address(&barriers[1]);
    const uint32_t rank = cluster_rank();
    if (threadIdx.x == 0) {
        barrier_init(full, 1);
        barrier_init(empty, 2);
        fence_barrier_init();
    }
    cluster_sync();
    for (int round = 0; round < 4; round++) {
        if (threadIdx.x == 0) {
#ifndef BUG_NO_EMPTY_WAIT
            barrier_wait(empty, round & 1 ^ 1);
#endif
            barrier_expect(full, 256);
            asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
                         ".multicast::cluster [%0], [%1], 128, [%2], %3;" ::"r"(
                             shared_address(tile) + rank * 128),
                         // FAULT BUG_NO_EMPTY_WAIT WriteRace
                         "l"(from + round * 64 + rank * 32), "r"(full), "h"(uint16_t(3))
                         : "memory");
        }
        __syncwarp();
        barrier_wait(full, round & 1);
        const uint32_t sum = tile[threadIdx.x] + tile[threadIdx.x + 32];
        out[(round * 2 + rank) * 32 + threadIdx.x] = sum;
        __syncwarp();
        if (threadIdx.x < 2) {
            asm volatile("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%0];" ::"r"(
                             in_block(empty, threadIdx.x))
                         : "memory");
        }
    }
    cluster_sync();
}

// Each block of a cluster of two sends 32 words to the other, and adds as many to them.
extern "C" __global__ void __cluster_dims__(2, 1, 1) exchange(const uint32_t *from, uint32_t *out) {
    __shared__ __align__(128) uint32_t mine[32], theirs[32];
    __shared__ __align__(8) uint64_t barrier;
    const uint32_t arrived = shared_address(&barrier), other = cluster_rank() ^ 1;
    mine[threadIdx.x] = from[cluster_rank() * 32 + threadIdx.x];
    if (threadIdx.x == 0) {
        barrier_init(arrived, 1);
        fence_barrier_init();
    }
    fence_proxy();
    cluster_sync();
    const uint32_t to = in_block(shared_address(theirs), other), there = in_block(arrived, other);
    for (int round = 0; round < 2; round++) {
        if (threadIdx.x == 0) {
            barrier_expect(arrived, 128);
            if (round == 0) {
                asm volatile(
                    "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes "
                    "[%0], [%1], 128, [%2];" ::"r"(to),
                    "r"(shared_address(mine)), "r"(there)
                    : "memory");
            } else {
                asm volatile("cp.reduce.async.bulk.shared::cluster.shared::cta"
                             ".mbarrier::complete_tx::bytes.add.u32 [%0], [%1], 128, [%2];" ::"r"(
                                 to),
                             "r"(shared_address(mine)), "r"(there)
                             : "memory");
            }
        }
        __syncwarp();
        barrier_wait(arrived, round);
        cluster_sync();
    }
    out[cluster_rank() * 32 + threadIdx.x] = theirs[threadIdx.x];
}

#define REDUCE(operation)                                                                          \
    asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group." operation                   \
                 " [%0], [%1], 128;" ::"l"(out),                                                   \
                 "r"(shared_address(words))                                                        \
                 : "memory")

// Every block combines its words with those of `out`.
extern "C" __global__ void combine(const uint32_t *from, uint32_t *out, int what) {
    __shared__ __align__(128) uint32_t words[32];
    words[threadIdx.x] = from[blockIdx.x * 32 + threadIdx.x];
    fence_proxy();
    __syncwarp();
    if (threadIdx.x == 0) {
        switch (what) {
        case 0: REDUCE("add.u32"); break;
        case 1: REDUCE("min.s32"); break;
        case 2: REDUCE("max.u32"); break;
        case 3: REDUCE("and.b32"); break;
        case 4: REDUCE("or.b32"); break;
        case 5: REDUCE("xor.b32"); break;
        case 6: REDUCE("inc.u32"); break;
        case 7: REDUCE("dec.u32"); break;
        case 8: REDUCE("add.f32"); break;
        case 9: REDUCE("add.noftz.bf16"); break;
        }
        bulk_commit();
        bulk_wait_read();
    }
}

// The same by a tensor map, whose type is what is added.
extern "C" __global__ void combine_box(const __grid_constant__ TensorMap out, const float *from) {
    __shared__ __align__(128) float words[64];
    for (int i = threadIdx.x; i < 64; i += 32) {
        words[i] = from[i];
    }
    fence_proxy();
    __syncwarp();
    if (threadIdx.x == 0) {
        asm volatile("cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.tile.bulk_group "
                     "[%0, {%2, %3}], [%1];" ::"l"(&out),
                     "r"(shared_address(words)), "r"(0), "r"(0)
                     : "memory");
        bulk_commit();
        bulk_wait();
    }
}

// A ring of two stages that one warp fills by cp.async; the barrier hears of the arrival.
extern "C" __global__ void ring(const uint4 *from, uint4 *out, int rounds) {
    __shared__ __align__(16) uint4 stages[2][32];
    __shared__ __align__(8) uint64_t barriers[4];
    const uint32_t full = shared_address(barriers), empty = full + 16, lane = threadIdx.x & 31;
    if (threadIdx.x == 0) {
        for (int s = 0; s < 2; s++) {
            barrier_init(full + 8 * s, 32);
            barrier_init(empty + 8 * s, 32);
        }
    }
    __syncthreads();
    for (int i = 0; i < rounds; i++) {
        const int s = i & 1;
        if (threadIdx.x < 32) {
            barrier_wait(empty + 8 * s, (i >> 1 & 1) ^ 1);
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;\n"
                         "cp.async.mbarrier.arrive.noinc.shared.b64 [%2];" ::"r"(
                             shared_address(&stages[s][lane])),
                         "l"(from + i * 32 + lane), "r"(full + 8 * s)
                         : "memory");
        } else {
#ifndef BUG_NO_FULL_WAIT
            barrier_wait(full + 8 * s, i >> 1 & 1);
#endif
            // FAULT BUG_NO_FULL_WAIT InFlight|ReadRace|Uninitialised
            out[i * 32 + lane] = stages[s][lane ^ 1];
            barrier_arrive(empty + 8 * s);
        }
    }
}
