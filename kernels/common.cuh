// What the kernels share: how an entry is declared, sums in a fixed order, the layout of a page.

#pragma once

#include "params.h"
#include "ptx.cuh"

// Declares one kernel of the table at the foot of a file. The name is the symbol, unmangled, that
// the Rust side asks for; the argument is one struct by value, readable as `p` and kept in the
// constant bank rather than copied to the stack. What follows is the thread count that the host
// launches with and, where registers decide it, the blocks that a multiprocessor must hold.
#define KERNEL(symbol, Params, ...) \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__) \
        symbol(const __grid_constant__ Params p)

constexpr uint32_t WARP = 32;

// Sum over groups of LANES neighbouring lanes, in every lane of the group and with the same bits
// in each: an exchange in pairs adds the same two numbers on both sides. All lanes take part.
template <uint32_t LANES>
__device__ __forceinline__ float sum_lanes(float x) {
    static_assert(LANES <= WARP && (LANES & (LANES - 1)) == 0, "a group is a power of two lanes");
#pragma unroll
    for (uint32_t distance = LANES / 2; distance > 0; distance /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, distance);
    }
    return x;
}

// Sum over a block of THREADS, in every thread: lanes by pairs, then warps in ascending order.
// `scratch` is one float a warp and must not be in use; it is free again after a barrier.
template <uint32_t THREADS>
__device__ __forceinline__ float sum_block(float x, float *scratch) {
    static_assert(THREADS % WARP == 0, "a block is whole warps");
    const float own = sum_lanes<WARP>(x);
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = own;
    __syncthreads();
    float sum = scratch[0];
#pragma unroll
    for (uint32_t warp = 1; warp < THREADS / WARP; warp++) sum += scratch[warp];
    return sum;
}

// 1 / sqrt(mean of `count` squares + epsilon), each step rounded correctly: the CPU backend gets
// the same bits from the same sum.
__device__ __forceinline__ float reciprocal_rms(float sum, uint32_t count, float epsilon) {
    return __frcp_rn(__fsqrt_rn(__fdiv_rn(sum, (float)count) + epsilon));
}

// gate / (1 + exp(-gate)), in one order of operations for all kernels. A gate below -88.7
// overflows the exponential to infinity and gives -0 for what is at most 3e-37 in size. NaN stays
// NaN.
__device__ __forceinline__ float silu(float gate) {
    constexpr float MINUS_LOG2_E = -1.44269504088896340736f;
    return __fdiv_rn(gate, 1.0f + ptx::ex2_approx_ftz_f32(gate * MINUS_LOG2_E));
}

// Where dimension `dim` of slot `slot` lies in the block of one page and head, in elements. Halves
// of 64 dimensions lie one after the other; in each, a slot is 128 bytes whose eight 16-byte parts
// are permuted by the slot, which keeps ldmatrix free of bank conflicts and is the 128-byte
// swizzle of wgmma's descriptors.
__device__ __forceinline__ uint32_t kv_offset(uint32_t slot, uint32_t dim) {
    const uint32_t half = (dim / 64) * (KV_PAGE_TOKENS * 64);
    const uint32_t part = ((dim % 64) / 8) ^ (slot % 8);
    return half + slot * 64 + part * 8 + dim % 8;
}
