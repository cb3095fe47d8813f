// C[M,N] f32 = A[M,K] bf16 times the transpose of B[N,K] bf16 by wgmma. Warpgroup 0 produces:
// one thread of it has tiles copied into a ring of stages; warpgroups 1 and 2 have 64 rows each.
// A stage is handed over by two barriers, `full` (the tiles have arrived) and `empty` (both
// consumers are done with them). Each macro plants the bug it is named after; the line that shall
// be blamed says so at its end, with the kind of fault.
//
// With OVERLAPPED the products of a step go on while the next one starts. Without TENSOR_COPIES the
// threads of the producer store the tiles themselves, which makes a fence between the proxies
// necessary.

#include "hopper.cuh"

constexpr int ROWS = 128, COLUMNS = 64, STEP = 64, STAGES = 2;
constexpr uint32_t A_BYTES = ROWS * STEP * 2, B_BYTES = COLUMNS * STEP * 2;
constexpr uint32_t STAGE_BYTES = A_BYTES + B_BYTES;

// Stores `rows` rows of 128 bytes, swizzled, by the 128 threads of a warpgroup.
__device__ __forceinline__ void store_tile(char *to, const char *from, int rows, size_t pitch) {
    for (int piece = threadIdx.x & 127; piece < rows * 8; piece += 128) {
        const int row = piece >> 3, chunk = piece & 7;
        *reinterpret_cast<uint4 *>(to + row * 128 + ((chunk ^ (row & 7)) << 4)) =
            *reinterpret_cast<const uint4 *>(from + row * pitch + chunk * 16);
    }
}

extern "C" __global__ void __launch_bounds__(384)
    hopper_gemm(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b,
                const char *a, const char *b, float *c, int m, int n, int k) {
    extern __shared__ __align__(1024) char memory[];
    const uint32_t tiles = shared_address(memory);
    const uint32_t full = tiles + STAGES * STAGE_BYTES, empty = full + 8 * STAGES;
    const int thread = threadIdx.x & 127, group = threadIdx.x >> 7, steps = k / STEP;
    const int row0 = blockIdx.y * ROWS, column0 = blockIdx.x * COLUMNS;
    if (threadIdx.x == 0) {
        for (int s = 0; s < STAGES; s++) {
#ifdef TENSOR_COPIES
            barrier_init(full + 8 * s, 1);
#else
            barrier_init(full + 8 * s, 128);
#endif
            barrier_init(empty + 8 * s, 2);
        }
        fence_barrier_init();
    }
    __syncthreads();
    if (group == 0) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
#ifdef TENSOR_COPIES
        if (thread == 0)
#endif
            for (int i = 0; i < steps; i++) {
                const int s = i % STAGES;
#ifndef BUG_NO_EMPTY_WAIT
                barrier_wait(empty + 8 * s, (i / STAGES & 1) ^ 1); // FAULT BUG_NO_EXPECT Deadlock
#endif
#ifdef TENSOR_COPIES
#ifndef BUG_NO_EXPECT
                barrier_expect(full + 8 * s, STAGE_BYTES);
#endif
                const uint32_t stage = tiles + s * STAGE_BYTES;
                // FAULT BUG_NO_EMPTY_WAIT InFlight|OverwriteRace
                // FAULT BUG_EARLY_RELEASE OverwriteRace
                load_box(stage, &map_a, full + 8 * s, i * STEP, row0);
                load_box(stage + A_BYTES, &map_b, full + 8 * s, i * STEP, column0);
#else
                const size_t pitch = size_t(k) * 2;
                char *here = memory + s * STAGE_BYTES;
                store_tile(here, a + row0 * pitch + i * 128, ROWS, pitch);
                store_tile(here + A_BYTES, b + column0 * pitch + i * 128, COLUMNS, pitch);
#ifndef BUG_NO_PROXY_FENCE
                fence_proxy();
#endif
                barrier_arrive(full + 8 * s);
#endif
            }
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    float d[32];
#pragma unroll
    for (int i = 0; i < 32; i++) {
        d[i] = 0.0f;
    }
    pin(d);
    for (int i = 0; i < steps; i++) {
        const int s = i % STAGES;
        const uint32_t stage = tiles + s * STAGE_BYTES;
#ifndef BUG_NO_FULL_WAIT
        barrier_wait(full + 8 * s, i / STAGES & 1); // FAULT BUG_NO_EXPECT Deadlock
#endif
#ifndef BUG_NO_WGMMA_FENCE
        wgmma_fence();
#endif
        uint64_t at_a = descriptor_128(stage + (group - 1) * 64 * 128);
        uint64_t at_b = descriptor_128(stage + A_BYTES);
#ifdef BUG_WRONG_STEP
        constexpr int ALONG_K = 4;
#else
        constexpr int ALONG_K = 2; // 32 bytes
#endif
#pragma unroll
        for (int part = 0; part < STEP / 16; part++) {
            // FAULT BUG_NO_FULL_WAIT InFlight|ReadRace|Uninitialised
            // FAULT BUG_NO_PROXY_FENCE MissingProxyFence
            // FAULT BUG_NO_WGMMA_FENCE WgmmaFence
            wgmma64(d, at_a + part * ALONG_K, at_b + part * ALONG_K, 1);
        }
        wgmma_commit();
#if defined(OVERLAPPED) && !defined(BUG_EARLY_RELEASE)
        // The products of this step may go on: only the step before is done with its stage.
        wgmma_wait<1>();
        if (thread == 0 && i > 0) {
            barrier_arrive(empty + 8 * ((i - 1) % STAGES));
        }
        continue;
#endif
#ifdef BUG_EARLY_RELEASE
        if (thread == 0) {
            barrier_arrive(empty + 8 * s);
        }
#endif
#ifdef OVERLAPPED
        wgmma_wait<1>();
#elif defined(BUG_NO_WGMMA_WAIT)
        if (i + 1 < steps) {
            wgmma_wait<0>();
        }
#else
        wgmma_wait<0>();
#endif
#ifndef BUG_EARLY_RELEASE
        if (thread == 0) {
            barrier_arrive(empty + 8 * s);
        }
#endif
    }
#ifdef OVERLAPPED
    wgmma_wait<0>();
#endif
    const int row = row0 + (group - 1) * 64 + (thread >> 5) * 16 + (thread >> 2 & 7);
#pragma unroll
    for (int i = 0; i < 32; i += 2) {
        const int r = row + (i >> 1 & 1) * 8, column = column0 + (i >> 2) * 8 + (thread & 3) * 2;
        if (r < m && column < n) {
            c[size_t(r) * n + column] = d[i]; // FAULT BUG_NO_WGMMA_WAIT AccumulatorInFlight
            c[size_t(r) * n + column + 1] = d[i + 1];
        }
    }
}
