// Wrappers of the PTX instructions that Hopper alone has (sm_90a), in the manner of ptx.cuh: named
// after the instruction, one each, and no inline assembly outside of these two files. For the files
// *_sm90.cu, which are compiled for no other device.

#pragma once

#include "ptx.cuh"

namespace ptx {

// A barrier in shared memory, 8 bytes: `count` arrivals end each of its phases, together with all
// the bytes that were said to come.
__device__ __forceinline__ void mbarrier_init(uint32_t barrier, uint32_t count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}

// Makes the initialisation of barriers known to the other blocks of the cluster and to copies.
__device__ __forceinline__ void fence_mbarrier_init() {
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(uint32_t barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// The same at a barrier of any block of the cluster, whose address `mapa` gives.
__device__ __forceinline__ void mbarrier_arrive_cluster(uint32_t barrier) {
    asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(barrier)
                 : "memory");
}

// Arrives, and says that copies will bring so many more bytes in this phase.
__device__ __forceinline__ void mbarrier_arrive_expect_tx(uint32_t barrier, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier),
                 "r"(bytes)
                 : "memory");
}

// Whether the phase of that parity is over. Waits for a while if it is not.
__device__ __forceinline__ bool mbarrier_try_wait_parity(uint32_t barrier, uint32_t parity) {
    uint32_t over;
    asm volatile("{\n.reg .pred over;\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
                 "selp.b32 %0, 1, 0, over;\n}"
                 : "=r"(over)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return over != 0;
}

// The same where threads of other blocks of the cluster arrive too: what they did before is seen.
__device__ __forceinline__ bool mbarrier_try_wait_parity_cluster(uint32_t barrier,
                                                                 uint32_t parity) {
    uint32_t over;
    asm volatile("{\n.reg .pred over;\n"
                 "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 over, [%1], %2;\n"
                 "selp.b32 %0, 1, 0, over;\n}"
                 : "=r"(over)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return over != 0;
}

// The number of this block in its cluster.
__device__ __forceinline__ uint32_t cluster_ctarank() {
    uint32_t rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// The address of what a block of the cluster has where this one has `address`.
__device__ __forceinline__ uint32_t mapa(uint32_t address, uint32_t rank) {
    uint32_t there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    return there;
}

// All threads of the cluster: what they did before is seen by all after the wait.
__device__ __forceinline__ void barrier_cluster_arrive() {
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}

__device__ __forceinline__ void barrier_cluster_wait() {
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// A barrier of part of a block: `threads` of them, in whole warps. Number 0 is __syncthreads.
__device__ __forceinline__ void bar_sync(uint32_t number, uint32_t threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

// Arrives there without waiting.
__device__ __forceinline__ void bar_arrive(uint32_t number, uint32_t threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

// Gives registers of this warp back down to so many a thread, or asks for more up to so many and
// waits until others have given them. By all four warps of a warpgroup; multiples of 8.
template <uint32_t REGISTERS> __device__ __forceinline__ void setmaxnreg_dec() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <uint32_t REGISTERS> __device__ __forceinline__ void setmaxnreg_inc() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

// What this thread has written to shared memory is seen by the copies and products that it starts,
// which reach memory by a way of their own.
__device__ __forceinline__ void fence_proxy_async() {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Copies `bytes`, a multiple of 16, from device to shared memory, both aligned to 16. The barrier
// hears of each byte that has arrived.
__device__ __forceinline__ void cp_async_bulk(uint32_t target, const void *source, uint32_t bytes,
                                              uint32_t barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(target),
                 "l"(__cvta_generic_to_global(source)), "r"(bytes), "r"(barrier)
                 : "memory");
}

// The same for data that is read once: first to leave L2, by the policy of
// cp_async_16_evict_first.
__device__ __forceinline__ void cp_async_bulk_evict_first(uint32_t target, const void *source,
                                                          uint32_t bytes, uint32_t barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(target),
                 "l"(__cvta_generic_to_global(source)), "r"(bytes), "r"(barrier),
                 "l"(0x12F0000000000000ull)
                 : "memory");
}

// The box of a matrix that begins at (x, y), x along the contiguous dimension, to shared memory,
// swizzled as the map says. What lies outside of the matrix becomes 0 and counts as having come.
__device__ __forceinline__ void cp_async_bulk_tensor_2d(uint32_t target, const void *map,
                                                        uint32_t x, uint32_t y, uint32_t barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(target),
                 "l"(map), "r"(x), "r"(y), "r"(barrier)
                 : "memory");
}

// The same for data that is read once: first to leave L2.
__device__ __forceinline__ void cp_async_bulk_tensor_2d_evict_first(uint32_t target,
                                                                    const void *map, uint32_t x,
                                                                    uint32_t y, uint32_t barrier) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(target),
                 "l"(map), "r"(x), "r"(y), "r"(barrier), "l"(0x12F0000000000000ull)
                 : "memory");
}

// A box to the same place of every block of the cluster that has a bit in `blocks`; the barrier at
// that place of each hears of its own bytes.
__device__ __forceinline__ void cp_async_bulk_tensor_2d_multicast(uint32_t target, const void *map,
                                                                  uint32_t x, uint32_t y,
                                                                  uint32_t barrier,
                                                                  uint16_t blocks) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(target),
                 "l"(map), "r"(x), "r"(y), "r"(barrier), "h"(blocks)
                 : "memory");
}

// Before the first wgmma, and before one whose registers were written by anything else.
__device__ __forceinline__ void wgmma_fence() {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

// Closes the group of the products since the last one.
__device__ __forceinline__ void wgmma_commit_group() {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits until at most PENDING groups are under way. Neither registers nor shared memory that those
// use may be touched.
template <int PENDING> __device__ __forceinline__ void wgmma_wait_group() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// No instruction: the compiler takes the registers for changed here, so that it moves nothing that
// it does to them past the waits around it.
template <int COUNT> __device__ __forceinline__ void pin(float (&d)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) asm volatile("" : "+f"(d[i])::"memory");
}
template <int COUNT> __device__ __forceinline__ void pin(uint32_t (&a)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) asm volatile("" : "+r"(a[i])::"memory");
}

// The lists of operands that wgmma takes, as text and as constraints, and the wrappers of one
// width N in two forms.
#define RIDGEPOINT_FLOATS(d, i)                                                                    \
    "+f"(d[i + 0]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]),                                \
    "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7]),                                \
    "+f"(d[i + 8]), "+f"(d[i + 9]), "+f"(d[i + 10]), "+f"(d[i + 11]),                              \
    "+f"(d[i + 12]), "+f"(d[i + 13]), "+f"(d[i + 14]), "+f"(d[i + 15])

#define RIDGEPOINT_F16(d) RIDGEPOINT_FLOATS(d, 0)

#define RIDGEPOINT_F32(d)                                                                          \
    RIDGEPOINT_FLOATS(d, 0),                                                                       \
    RIDGEPOINT_FLOATS(d, 16)

#define RIDGEPOINT_F64(d)                                                                          \
    RIDGEPOINT_FLOATS(d, 0),                                                                       \
    RIDGEPOINT_FLOATS(d, 16),                                                                      \
    RIDGEPOINT_FLOATS(d, 32),                                                                      \
    RIDGEPOINT_FLOATS(d, 48)

#define RIDGEPOINT_F128(d)                                                                         \
    RIDGEPOINT_FLOATS(d, 0),                                                                       \
    RIDGEPOINT_FLOATS(d, 16),                                                                      \
    RIDGEPOINT_FLOATS(d, 32),                                                                      \
    RIDGEPOINT_FLOATS(d, 48),                                                                      \
    RIDGEPOINT_FLOATS(d, 64),                                                                      \
    RIDGEPOINT_FLOATS(d, 80),                                                                      \
    RIDGEPOINT_FLOATS(d, 96),                                                                      \
    RIDGEPOINT_FLOATS(d, 112)

#define RIDGEPOINT_D16                                                                             \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}"

#define RIDGEPOINT_D32                                                                             \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, "                                \
    "%14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, "                       \
    "%28, %29, %30, %31}"

#define RIDGEPOINT_D64                                                                             \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, "                                \
    "%14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, "                       \
    "%28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "                       \
    "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "                       \
    "%56, %57, %58, %59, %60, %61, %62, %63}"

#define RIDGEPOINT_D128                                                                            \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, "                                \
    "%14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, "                       \
    "%28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "                       \
    "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, "                       \
    "%56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, "                       \
    "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, "                       \
    "%84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, "                       \
    "%98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "           \
    "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, "         \
    "%126, %127}"

#define RIDGEPOINT_WGMMA(N, D, F, P0, P1, P2, P3, P4, P5, P6)                                      \
    template <int TRANSPOSE_B = 0>                                                                 \
    __device__ __forceinline__ void wgmma_bf16(float (&d)[N / 2], uint64_t a, uint64_t b,          \
                                               uint32_t more) {                                    \
        asm volatile("{\n.reg .pred more;\nsetp.ne.b32 more, " P2 ", 0;\n"                         \
                     "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 " D ", " P0         \
                     ", " P1 ", more, 1, 1, 0, " P3 ";\n}"                                         \
                     : F(d)                                                                        \
                     : "l"(a), "l"(b), "r"(more), "n"(TRANSPOSE_B));                               \
    }                                                                                              \
    template <int TRANSPOSE_B = 0>                                                                 \
    __device__ __forceinline__ void wgmma_bf16(float (&d)[N / 2], const uint32_t (&a)[4],          \
                                               uint64_t b, uint32_t more) {                        \
        asm volatile("{\n.reg .pred more;\nsetp.ne.b32 more, " P5 ", 0;\n"                         \
                     "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 " D ", {" P0        \
                     ", " P1 ", " P2 ", " P3 "}, " P4 ", more, 1, 1, " P6 ";\n}"                   \
                     : F(d)                                                                        \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(more),              \
                       "n"(TRANSPOSE_B));                                                          \
    }

// wgmma.mma_async.m64nNk16 with f32 sums: d += a b, or d = a b where `more` is 0. By a warpgroup,
// and under way until a wait; N follows from the number of sums. a [64, 16] and b [16, N] are bf16
// in shared memory, each by its descriptor, or a in registers: warp w has rows 16 w to 16 w + 15 of
// a as mma.m16n8k16 has them, and of d the fragments of 8 columns one after another. b is N rows
// of k, or with TRANSPOSE_B k rows of N.

RIDGEPOINT_WGMMA(32, RIDGEPOINT_D16, RIDGEPOINT_F16,
                 "%16", "%17", "%18", "%19", "%20", "%21", "%22")
RIDGEPOINT_WGMMA(64, RIDGEPOINT_D32, RIDGEPOINT_F32,
                 "%32", "%33", "%34", "%35", "%36", "%37", "%38")
RIDGEPOINT_WGMMA(128, RIDGEPOINT_D64, RIDGEPOINT_F64,
                 "%64", "%65", "%66", "%67", "%68", "%69", "%70")
RIDGEPOINT_WGMMA(256, RIDGEPOINT_D128, RIDGEPOINT_F128,
                 "%128", "%129", "%130", "%131", "%132", "%133", "%134")

#undef RIDGEPOINT_WGMMA
#undef RIDGEPOINT_FLOATS
#undef RIDGEPOINT_F16
#undef RIDGEPOINT_F32
#undef RIDGEPOINT_F64
#undef RIDGEPOINT_F128
#undef RIDGEPOINT_D16
#undef RIDGEPOINT_D32
#undef RIDGEPOINT_D64
#undef RIDGEPOINT_D128

}  // namespace ptx
