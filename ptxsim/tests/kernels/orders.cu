// Small kernels about who comes before whom: blocks that hand over through device memory, a lock,
// lanes of a warp, barriers for part of a block. Each macro plants the bug it is named after.

#include <stdint.h>

// The last block to arrive adds up what all blocks have written.
extern "C" __global__ void last_block(const float *x, float *part, float *out, unsigned *count) {
    __shared__ bool last;
    if (threadIdx.x == 0) {
        part[blockIdx.x] = x[blockIdx.x];
#ifndef BUG_NO_FENCE
        __threadfence();
#endif
        last = atomicAdd(count, 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        __threadfence();
        float sum = 0.0f;
        for (int i = 0; i < gridDim.x; i++) {
            sum += part[i]; // FAULT BUG_NO_FENCE
        }
        *out = sum;
    }
}

// Block i waits for block i - 1 by a flag.
extern "C" __global__ void chain(int *value, int *flag) {
    const int i = blockIdx.x;
    if (threadIdx.x != 0) {
        return;
    }
    if (i > 0) {
#ifdef BUG_NO_POLL
        if (false)
#endif
            while (atomicAdd(&flag[i - 1], 0) == 0) {
            }
        __threadfence();
        value[i] = value[i - 1] + 1; // FAULT BUG_NO_POLL
    } else {
        value[0] = 1;
    }
    __threadfence();
    atomicExch(&flag[i], 1);
}

// Block 0 waits for the last block, which may never become resident.
extern "C" __global__ void waits_for_last(volatile int *flag) {
    if (threadIdx.x == 0) {
        if (blockIdx.x == gridDim.x - 1) {
            *flag = 1;
        }
        while (*flag == 0) { // FAULT DEADLOCK
        }
    }
}

// A lock that lanes of all warps take in turn.
extern "C" __global__ void lock(int *mutex, int *counter) {
    bool done = false;
    while (!done) {
        if (atomicCAS(mutex, 0, 1) == 0) {
            __threadfence();
            *reinterpret_cast<volatile int *>(counter) =
                *reinterpret_cast<volatile int *>(counter) + 1;
            __threadfence();
            atomicExch(mutex, 0);
            done = true;
        }
    }
}

// Lanes pass values through shared memory.
extern "C" __global__ void lanes(int *out) {
    __shared__ int box[32];
    box[threadIdx.x] = threadIdx.x;
#ifndef BUG_NO_SYNCWARP
    __syncwarp();
#endif
    out[threadIdx.x] = box[threadIdx.x ^ 1]; // FAULT BUG_NO_SYNCWARP
}

// Halves of a block meet at barriers of their own; the second half is told of by the first.
extern "C" __global__ void halves(int *out) {
    __shared__ int box[128];
    const int t = threadIdx.x;
    if (t < 64) {
        box[t] = t;
        asm volatile("bar.sync 1, 64;" ::: "memory");
        box[64 + t] = box[63 - t];
#ifndef BUG_NO_ARRIVE
        asm volatile("bar.arrive 2, 128;" ::: "memory");
#endif
    } else {
        asm volatile("bar.sync 2, 128;" ::: "memory"); // FAULT BUG_NO_ARRIVE
        out[t - 64] = box[t];
    }
}

// Lanes of a warp that stand at different barriers.
extern "C" __global__ void divergent_barrier(int *out) {
    __shared__ int box[64];
    box[threadIdx.x] = 1;
    if (threadIdx.x != 5) {
        asm volatile("bar.sync 0;" ::: "memory"); // FAULT DIVERGENCE
    } else {
        asm volatile("bar.sync 1;" ::: "memory"); // FAULT DIVERGENCE
    }
    out[threadIdx.x] = box[threadIdx.x];
}

// Reads by the non-coherent path what the kernel itself writes.
extern "C" __global__ void non_coherent(int *x, int *out) {
    x[threadIdx.x] = 7;
    __syncthreads();
    int y;
    asm volatile("ld.global.nc.s32 %0, [%1];" : "=r"(y) : "l"(x + (threadIdx.x ^ 32))); // FAULT NC
    out[threadIdx.x] = y;
}

// Writes a global word that another block reads.
extern "C" __global__ void blocks_race(int *x, int *out) {
    if (blockIdx.x == 0) {
        x[threadIdx.x] = 1; // FAULT RACE
    } else {
        out[threadIdx.x] = x[threadIdx.x]; // FAULT RACE
    }
}

__device__ __noinline__ int depth(int n, volatile int *sink) {
    if (n == 0) {
        return 0;
    }
    const int below = depth(n - 1, sink); // FAULT STACK
    *sink = below;
    return below + 1;
}

extern "C" __global__ void recursion(int n, int *out) {
    out[threadIdx.x] = depth(n + threadIdx.x, out + 32 + threadIdx.x);
}

extern "C" __global__ void forever(int *out) {
    while (true) {
        out[threadIdx.x] += 1; // FAULT FOREVER
    }
}

extern "C" __global__ void divide(const int *x, int *out) {
    out[threadIdx.x] = 100 / x[threadIdx.x]; // FAULT DIVIDE
}
