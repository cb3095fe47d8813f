// Wrappers of single PTX instructions, each named after its instruction with dots as underscores.
// No other file of this folder holds inline assembly, so this page is all there is to check
// against the PTX manual. A wrapper is added with its first user and removed with its last.

#pragma once

#include <stdint.h>

namespace ptx {

// Sixteen bytes through the read-only path, not kept in L1. Only for data that no kernel of this
// launch, nor one that it may overlap with, writes: the read-only path is not coherent.
__device__ __forceinline__ uint4 ld_global_nc_v4_u32(const void *address) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(__cvta_generic_to_global(address)));
    return v;
}

// Two floats to a pair of bf16, each rounded to nearest even; `low` becomes the lower half.
__device__ __forceinline__ uint32_t cvt_rn_bf16x2_f32(float high, float low) {
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// 2 to the power of x, with a relative error of at most 2^-22. Subnormals count as zero.
__device__ __forceinline__ float ex2_approx_ftz_f32(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Stops the grid; the host sees a launch failure. For arguments that break a kernel's contract,
// where going on would read or write memory that is not ours.
__device__ __forceinline__ void trap() { asm volatile("trap;"); }

}  // namespace ptx
