// What the kernels of Hopper share: clusters, waits on barriers of shared memory, rings of stages,
// and how wgmma finds a matrix in shared memory.

#pragma once

#include "common.cuh"
#include "ptx_sm90.cuh"

constexpr uint32_t WARPGROUP = 4 * WARP;

// A kernel whose blocks come in clusters of so many neighbours along x; otherwise as KERNEL.
#define CLUSTER_KERNEL(symbol, Params, blocks, ...)                          \
    extern "C" __global__ void __cluster_dims__(blocks)                      \
        __launch_bounds__(__VA_ARGS__) symbol(const __grid_constant__ Params p)

// The stage of a ring that comes next, and the parity of the phase that its barriers are in.
template <uint32_t STAGES>
struct Cursor {
    uint32_t stage = 0;
    uint32_t phase = 0;

    __device__ __forceinline__ void advance() {
        if (++stage == STAGES) {
            stage = 0;
            phase ^= 1;
        }
    }
};

// Bytes of a row of a tile in the 128-byte swizzle, and after how many rows it repeats.
constexpr uint32_t SWIZZLE_BYTES = 128;
constexpr uint32_t SWIZZLE_ROWS = 8;

// Waits until the phase of that parity is over.
__device__ __forceinline__ void mbarrier_wait(uint32_t barrier, uint32_t parity) {
    while (!ptx::mbarrier_try_wait_parity(barrier, parity)) {
    }
}

// The same where other blocks of the cluster arrive too.
__device__ __forceinline__ void mbarrier_wait_cluster(uint32_t barrier, uint32_t parity) {
    while (!ptx::mbarrier_try_wait_parity_cluster(barrier, parity)) {
    }
}

// The descriptor of an operand of wgmma whose rows are 128 bytes of k in the 128-byte swizzle, at a
// multiple of 1024. 16 more elements of k are 32 bytes, 2 in the descriptor.
__device__ __forceinline__ uint64_t swizzled_rows(uint32_t address) {
    constexpr uint64_t SWIZZLE_128 = uint64_t(1) << 62;
    constexpr uint64_t STRIDE = uint64_t(SWIZZLE_ROWS * SWIZZLE_BYTES / 16) << 32;
    // The leading dimension has no meaning here and is 1 by convention.
    return SWIZZLE_128 | STRIDE | uint64_t(1) << 16 | (address >> 4 & 0x3fff);
}
constexpr uint64_t SWIZZLED_K16 = 2;

// The same of an operand whose rows are one k each: 64 elements in 128 bytes, the next 64 LEADING
// bytes further. 16 more elements of k are 16 rows.
template <uint32_t LEADING> __device__ __forceinline__ uint64_t swizzled_columns(uint32_t address) {
    static_assert(LEADING % 1024 == 0 && LEADING / 16 < 1 << 14, "tiles repeat the swizzle");
    constexpr uint64_t SWIZZLE_128 = uint64_t(1) << 62;
    constexpr uint64_t STRIDE = uint64_t(SWIZZLE_ROWS * SWIZZLE_BYTES / 16) << 32;
    return SWIZZLE_128 | STRIDE | uint64_t(LEADING / 16) << 16 | (address >> 4 & 0x3fff);
}
constexpr uint64_t SWIZZLED_COLUMNS_K16 = 16 * SWIZZLE_BYTES / 16;
