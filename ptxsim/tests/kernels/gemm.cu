// C[M,N] f32 = A[M,K] bf16 times the transpose of B[N,K] bf16, by mma.sync: tiles of 128 x 128,
// 32 of K at a time, two stages filled by cp.async while the other is multiplied. Each macro
// plants the bug it is named after; the line that shall be blamed says so at its end.

#include <stdint.h>

constexpr int TILE = 128, STEP = 32, ROW_BYTES = STEP * 2;
constexpr int OPERAND_BYTES = TILE * ROW_BYTES, STAGE_BYTES = 2 * OPERAND_BYTES;

__device__ __forceinline__ void copy16(uint32_t to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory");
}

__device__ __forceinline__ void load_fragments(uint32_t (&r)[4], uint32_t from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

__device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1) {
#ifdef BUG_SWAPPED_OPERANDS
    uint32_t a1 = a[2], a2 = a[1];
#else
    uint32_t a1 = a[1], a2 = a[2];
#endif
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a1), "r"(a2), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two rows of 64 bytes share the 128 bytes of one pass over the banks, so every second row moves
// its 16-byte chunks.
__device__ __forceinline__ uint32_t chunk_offset(int row, int chunk) {
    return row * ROW_BYTES + ((chunk ^ (row >> 1 & 3)) << 4);
}

extern "C" __global__ void __launch_bounds__(256)
    gemm(const uint16_t *__restrict__ a, const uint16_t *__restrict__ b, float *__restrict__ c,
         int n, int k) {
    extern __shared__ __align__(128) unsigned char shared[];
    const uint32_t base = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    const int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
    const int warp_m = (warp >> 2) * 64, warp_n = (warp & 3) * 32;
    const int m0 = blockIdx.y * TILE, n0 = blockIdx.x * TILE, steps = k / STEP;

    auto fill = [&](int step, int stage) {
        const uint32_t to = base + stage * STAGE_BYTES;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int piece = thread + i * 256, row = piece >> 2, chunk = piece & 3;
            const size_t at = size_t(step) * STEP + chunk * 8;
            copy16(to + chunk_offset(row, chunk), a + size_t(m0 + row) * k + at);
            copy16(to + OPERAND_BYTES + chunk_offset(row, chunk), b + size_t(n0 + row) * k + at);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };

    float sum[4][4][4] = {};
    fill(0, 0);
    for (int step = 0; step < steps; step++) {
        if (step + 1 < steps) {
            fill(step + 1, (step + 1) & 1); // FAULT BUG_NO_BARRIER_AFTER
        } else {
            asm volatile("cp.async.commit_group;" ::: "memory");
        }
#ifndef BUG_NO_WAIT
        asm volatile("cp.async.wait_group 1;" ::: "memory");
#endif
#ifndef BUG_NO_BARRIER_BEFORE
        __syncthreads();
#endif
        const uint32_t tile_a = base + (step & 1) * STAGE_BYTES, tile_b = tile_a + OPERAND_BYTES;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            uint32_t fa[4][4], fb[2][4];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int row = warp_m + i * 16 + (lane & 15);
                int chunk = half * 2 + (lane >> 4);
#ifdef BUG_SWIZZLE
                chunk ^= i == 3;
#endif
                const uint32_t from = tile_a + chunk_offset(row, chunk);
                load_fragments(fa[i], from); // FAULT BUG_NO_WAIT BUG_NO_BARRIER_BEFORE
            }
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const int row = warp_n + j * 16 + (lane & 7) + (lane >> 4) * 8;
                load_fragments(fb[j], tile_b + chunk_offset(row, half * 2 + (lane >> 3 & 1)));
            }
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const uint32_t *pair = &fb[j >> 1][(j & 1) * 2];
                    multiply(sum[i][j], fa[i], pair[0], pair[1]);
                }
            }
        }
#ifndef BUG_NO_BARRIER_AFTER
        __syncthreads();
#endif
    }
    asm volatile("cp.async.wait_all;" ::: "memory");

#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int row = m0 + warp_m + i * 16 + (lane >> 2);
            const int column = n0 + warp_n + j * 8 + (lane & 3) * 2;
#ifdef BUG_OUT_OF_BOUNDS
            row += i == 3;
#endif
            float *to = c + size_t(row) * n + column;
            *reinterpret_cast<float2 *>(to) = make_float2(sum[i][j][0], sum[i][j][1]);
            const float2 low = make_float2(sum[i][j][2], sum[i][j][3]);
            *reinterpret_cast<float2 *>(to + 8 * n) = low; // FAULT BUG_OUT_OF_BOUNDS
        }
    }
}
