// Softmax of rows of n floats, a block of 128 threads a row: reductions over a warp by shuffles and
// over the block through shared memory. Each macro plants the bug it is named after.

#include <stdint.h>

__device__ __forceinline__ float exponential(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.44269504f));
    return y;
}

extern "C" __global__ void __launch_bounds__(128)
    softmax(const float *__restrict__ x, float *__restrict__ y, int n) {
    __shared__ float largest[4], total[4];
    const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
    const float *row = x + size_t(blockIdx.x) * n;

    float most = -INFINITY;
    for (int i = thread; i < n; i += 128) {
        most = fmaxf(most, row[i]);
    }
#pragma unroll
    for (int step = 16; step; step >>= 1) {
        most = fmaxf(most, __shfl_xor_sync(~0u, most, step));
    }
    if (lane == 0) {
        largest[warp] = most;
    }
#ifndef BUG_NO_BARRIER
    __syncthreads();
#endif
    for (int i = 0; i < 4; i++) {
        most = fmaxf(most, largest[i]); // FAULT BUG_NO_BARRIER
    }

    float sum = 0.0f;
    for (int i = thread; i < n; i += 128) {
        sum += exponential(row[i] - most);
    }
#ifdef BUG_DIVERGENT_SHUFFLE
    if (lane < 31)
#endif
#pragma unroll
        for (int step = 16; step; step >>= 1) {
            sum += __shfl_xor_sync(~0u, sum, step); // FAULT BUG_DIVERGENT_SHUFFLE
        }
    if (lane == 0) {
        total[warp] = sum;
    }
    __syncthreads();
    sum = total[0] + total[1] + total[2] + total[3];
#ifdef BUG_UNINITIALISED
    __shared__ float spare[8];
    if (thread < 4) {
        spare[thread] = 0.0f;
    }
    __syncthreads();
    sum += spare[thread & 7]; // FAULT BUG_UNINITIALISED
#endif
    for (int i = thread; i < n; i += 128) {
        y[size_t(blockIdx.x) * n + i] = exponential(row[i] - most) / sum;
    }
}
