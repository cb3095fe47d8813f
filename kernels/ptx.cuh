// Wrappers of single PTX instructions, each named after its instruction with dots as underscores.
// No other file of this folder but ptx_sm90.cuh holds inline assembly, so these two are all that
// has to be checked against the PTX manual. A wrapper is added with its first user and removed with
// its last.

#pragma once

#include <stdint.h>

namespace ptx {

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

// The address of shared memory as the instructions below take it.
__device__ __forceinline__ uint32_t shared_address(const void *pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// Sixteen bytes of shared memory.
__device__ __forceinline__ uint4 ld_shared_v4_u32(uint32_t address) {
    uint4 v;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(address)
                 : "memory");
    return v;
}

__device__ __forceinline__ uint32_t ld_shared_u32(uint32_t address) {
    uint32_t v;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address) : "memory");
    return v;
}

// Two neighbours of shared memory.
__device__ __forceinline__ float2 ld_shared_v2_f32(uint32_t address) {
    float2 v;
    asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];"
                 : "=f"(v.x), "=f"(v.y)
                 : "r"(address)
                 : "memory");
    return v;
}

__device__ __forceinline__ void st_shared_f32(uint32_t address, float v) {
    asm volatile("st.shared.f32 [%0], %1;" : : "r"(address), "f"(v) : "memory");
}

__device__ __forceinline__ void st_shared_v4_u32(uint32_t address, const uint4 &v) {
    asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};"
                 :
                 : "r"(address), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
                 : "memory");
}

// Asynchronous copy of 16 bytes from device to shared memory, past L1. The first `bytes` of them
// (0 or 16) are read, the others become zero; with 0 the source is not touched, but must still be
// an address.
__device__ __forceinline__ void cp_async_16(uint32_t target, const void *source,
                                            uint32_t bytes = 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(target), "l"(__cvta_generic_to_global(source)), "r"(bytes)
                 : "memory");
}

// The same for data that is read once: first to leave L2. The constant is the policy that
// createpolicy.fractional.L2::evict_first would give for all of it.
__device__ __forceinline__ void cp_async_16_evict_first(uint32_t target, const void *source,
                                                        uint32_t bytes = 16) {
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;"
                 :
                 : "r"(target), "l"(__cvta_generic_to_global(source)), "r"(bytes),
                   "l"(0x12F0000000000000ull)
                 : "memory");
}

// The same AT bytes after both addresses.
template <uint32_t AT>
__device__ __forceinline__ void cp_async_16_evict_first_at(uint32_t target, const void *source) {
    asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0 + %2], [%1 + %2], 16, %3;"
                 :
                 : "r"(target), "l"(__cvta_generic_to_global(source)), "n"(AT),
                   "l"(0x12F0000000000000ull)
                 : "memory");
}

// Closes the group of this thread's copies since the last one. A group may be empty.
__device__ __forceinline__ void cp_async_commit_group() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most PENDING of this thread's groups are under way. What other threads copied is
// known only after they have waited too and a barrier follows.
template <int PENDING>
__device__ __forceinline__ void cp_async_wait_group() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Four 8x8 matrices of 16-bit elements. Lane l gives the address of row l % 8 of matrix l / 8 and
// receives of each matrix elements 2 (l % 4) and the next of row l / 4.
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&d)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
}

// The same, each matrix transposed.
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&d)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
                 : "r"(address)
                 : "memory");
}

// d = a b + c for a [16, 16], b [16, 8] in bf16 and c, d [16, 8] in f32. With g = lane / 4 and
// t = lane % 4: a[0..4] hold rows g, g + 8, g, g + 8 at columns 2t, 2t + 1 (+ 8 in the last two);
// b[0], b[1] rows 2t, 2t + 1 (+ 8) of column g; c[0], c[1] row g at columns 2t, 2t + 1; c[2], c[3]
// row g + 8.
__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4],
                                                  uint32_t b0, uint32_t b1,
                                                  const float (&c)[4]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%10, %11, %12, %13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]),
          "f"(c[2]), "f"(c[3]));
}

// a b + c for two pairs of bf16, each rounded once.
__device__ __forceinline__ uint32_t fma_rn_bf16x2(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

// (a & b) | c in one instruction.
__device__ __forceinline__ uint32_t lop3_and_or(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t d;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

// Waits until the grids before this one in the stream have ended and what they wrote can be read.
// Every thread executes it before its first access to anything that another kernel writes or
// reads, and before it ends. Nothing where programmatic launches do not exist.
__device__ __forceinline__ void griddepcontrol_wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next grid of the stream start as soon as every block has come here or ended.
__device__ __forceinline__ void griddepcontrol_launch_dependents() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace ptx
