// Products of one warpgroup in their less common forms: A from registers, B with N contiguous,
// fp8, results in f16. Operands without swizzle: core matrices of eight rows of 16 bytes one after
// another, the second along K after 128 bytes, the next group of eight after 256. Each macro
// plants the bug it is named after.

#include "hopper.cuh"

__device__ __forceinline__ uint64_t plain_descriptor(const void *at) {
    return uint64_t(shared_address(at) >> 4 & 0x3fff) | uint64_t(128 >> 4) << 16 |
           uint64_t(256 >> 4) << 32;
}

// 64 rows of 32 bytes as core matrices.
__device__ __forceinline__ void arrange(char *to, const char *from) {
    const int row = threadIdx.x >> 1, half = threadIdx.x & 1;
    *reinterpret_cast<uint4 *>(to + row / 8 * 256 + half * 128 + row % 8 * 16) =
        *reinterpret_cast<const uint4 *>(from + row * 32 + half * 16);
}

__device__ __forceinline__ void write_out(float *c, const float (&d)[32]) {
    const int row = (threadIdx.x >> 5) * 16 + (threadIdx.x >> 2 & 7);
#pragma unroll
    for (int i = 0; i < 32; i++) {
        c[(row + (i >> 1 & 1) * 8) * 64 + (i >> 2) * 8 + (threadIdx.x & 3) * 2 + (i & 1)] = d[i];
    }
}

extern "C" __global__ void __launch_bounds__(128)
    from_registers(const uint32_t *a, const char *b, float *c) {
    __shared__ __align__(128) char tile[2048];
    arrange(tile, b);
    fence_proxy();
    __syncthreads();
    // Row r of A has 8 words.
    const int row = (threadIdx.x >> 5) * 16 + (threadIdx.x >> 2 & 7), word = threadIdx.x & 3;
    uint32_t r[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        r[i] = a[(row + (i & 1) * 8) * 8 + (i >> 1) * 4 + word];
    }
    float d[32];
    wgmma_fence();
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " D32
                 ", {%32, %33, %34, %35}, %36, p, 1, 1, 0;\n"
#ifdef BUG_CHANGES_A
                 "xor.b32 %32, %32, 1;\n"
#endif
                 "}"
                 : ROW8(d, 0), ROW8(d, 8), ROW8(d, 16), ROW8(d, 24), "+r"(r[0]), "+r"(r[1]),
                   "+r"(r[2]), "+r"(r[3])
                 : "l"(plain_descriptor(tile)), "r"(0)); // FAULT BUG_CHANGES_A AccumulatorInFlight
    wgmma_commit();
    wgmma_wait<0>();
    write_out(c, d);
}

#define PRODUCT(form, tail)                                                                        \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"                                      \
                 "wgmma.mma_async.sync.aligned." form " " D32 ", %32, %33, p, 1, 1" tail ";\n}"    \
                 : ROW8(d, 0), ROW8(d, 8), ROW8(d, 16), ROW8(d, 24)                                \
                 : "l"(plain_descriptor(tiles)), "l"(plain_descriptor(tiles + 2048)), "r"(0))

// B[k][n] with n contiguous: 16 rows of 64.
extern "C" __global__ void __launch_bounds__(128)
    n_contiguous(const char *a, const char *b, float *c) {
    __shared__ __align__(128) char tiles[4096];
    arrange(tiles, a);
    const int k = threadIdx.x >> 3, group = threadIdx.x & 7;
    *reinterpret_cast<uint4 *>(tiles + 2048 + group * 256 + k / 8 * 128 + k % 8 * 16) =
        *reinterpret_cast<const uint4 *>(b + k * 128 + group * 16);
    fence_proxy();
    __syncthreads();
    float d[32];
    wgmma_fence();
    PRODUCT("m64n64k16.f32.bf16.bf16", ", 0, 1");
    wgmma_commit();
    wgmma_wait<0>();
    write_out(c, d);
}

extern "C" __global__ void __launch_bounds__(128)
    eight_bits(const char *a, const char *b, float *c) {
    __shared__ __align__(128) char tiles[4096];
    arrange(tiles, a);
    arrange(tiles + 2048, b);
    fence_proxy();
    __syncthreads();
    float d[32];
    wgmma_fence();
    PRODUCT("m64n64k32.f32.e4m3.e4m3", "");
    wgmma_commit();
    wgmma_wait<0>();
    write_out(c, d);
}

// Two products on one accumulator in f16, of which the second does not wait for the first.
extern "C" __global__ void __launch_bounds__(128)
    half_results(const char *a, const char *b, uint32_t *c) {
    __shared__ __align__(128) char tiles[4096];
    arrange(tiles, a);
    arrange(tiles + 2048, b);
    fence_proxy();
    __syncthreads();
    uint32_t d[4];
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < 2; i++) {
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %6, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n16k16.f16.f16.f16 {%0, %1, %2, %3}, %4, %5,"
                     " p, 1, 1, 0, 0;\n}"
                     : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                     : "l"(plain_descriptor(tiles)), "l"(plain_descriptor(tiles + 2048)), "r"(i));
    }
    wgmma_commit();
    wgmma_wait<0>();
    const int row = (threadIdx.x >> 5) * 16 + (threadIdx.x >> 2 & 7);
    for (int i = 0; i < 4; i++) {
        c[(row + (i & 1) * 8) * 8 + (i >> 1) * 4 + (threadIdx.x & 3)] = d[i];
    }
}

// Only some warps of the group wait for the copy that brings B: the others do not know that it
// has arrived, though the first of them to come has.
extern "C" __global__ void __launch_bounds__(128)
    waits_apart(const __grid_constant__ TensorMap map, float *c) {
    __shared__ __align__(1024) char tile[8192];
    __shared__ __align__(8) uint64_t barrier;
    const uint32_t arrived = shared_address(&barrier);
    if (threadIdx.x == 0) {
        barrier_init(arrived, 1);
        fence_barrier_init();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        barrier_expect(arrived, 8192);
        load_box(shared_address(tile), &map, arrived, 0, 0);
    }
#ifdef BUG_ONE_WARP_WAITS
    if (threadIdx.x < 32)
#endif
        barrier_wait(arrived, 0);
    float d[32];
    wgmma_fence();
    const uint64_t both = descriptor_128(shared_address(tile));
    wgmma64(d, both, both, 0); // FAULT BUG_ONE_WARP_WAITS ReadRace|InFlight|Uninitialised
    wgmma_commit();
    wgmma_wait<0>();
    write_out(c, d);
}
