// Attention of 64 queries a block over `keys` keys, head_dim 128, by mma.sync with online softmax
// (Dao et al. 2022, "FlashAttention"): four warps of 16 queries, tiles of 64 keys in two stages.

#include <stdint.h>

constexpr int DIM = 128, ROWS = 64, TILE_BYTES = ROWS * DIM * 2;

__device__ __forceinline__ uint32_t at(int row, int chunk) {
    return row * DIM * 2 + ((chunk ^ (row & 7)) << 4);
}

__device__ __forceinline__ void fill(uint32_t to, const uint16_t *from) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int piece = threadIdx.x + i * 128, row = piece >> 4, chunk = piece & 15;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + at(row, chunk)),
                     "l"(from + row * DIM + chunk * 8)
                     : "memory");
    }
}

template <bool TRANSPOSED>
__device__ __forceinline__ void load(uint32_t (&r)[4], uint32_t from) {
    if constexpr (TRANSPOSED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(from)
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(from)
                     : "memory");
    }
}

__device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ float exponential2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ uint32_t pack(float low, float high) {
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// Softmax weights of one row of scores against the running maximum; the running sum and the output
// row so far are scaled to the new maximum.
__device__ __forceinline__ void reweigh(float (&s)[8][4], float (&out)[16][4], float &most,
                                        float &sum, int half, float scale) {
    float now = most;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        now = fmaxf(now, fmaxf(s[i][2 * half], s[i][2 * half + 1]));
    }
    now = fmaxf(now, __shfl_xor_sync(~0u, now, 1));
    now = fmaxf(now, __shfl_xor_sync(~0u, now, 2));
    const float shrink = exponential2((most - now) * scale);
    most = now;
    sum *= shrink;
#pragma unroll
    for (int i = 0; i < 8; i++) {
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; e++) {
            s[i][e] = exponential2((s[i][e] - now) * scale);
            sum += s[i][e];
        }
    }
#pragma unroll
    for (int i = 0; i < 16; i++) {
        out[i][2 * half] *= shrink;
        out[i][2 * half + 1] *= shrink;
    }
}

// `scale` is 1 / sqrt(head_dim) times log2(e), since weights are powers of two here.
extern "C" __global__ void __launch_bounds__(128)
    attention(const uint16_t *__restrict__ q, const uint16_t *__restrict__ k,
              const uint16_t *__restrict__ v, float *__restrict__ o, int keys, float scale) {
    extern __shared__ __align__(128) unsigned char shared[];
    const uint32_t tile_q = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
    const uint32_t tiles_k = tile_q + TILE_BYTES, tiles_v = tiles_k + 2 * TILE_BYTES;
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, tiles = keys / ROWS;

    fill(tile_q, q + size_t(blockIdx.x) * ROWS * DIM);
    fill(tiles_k, k);
    fill(tiles_v, v);
    asm volatile("cp.async.commit_group;" ::: "memory");

    uint32_t query[8][4];
    float out[16][4] = {}, most[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
    for (int tile = 0; tile < tiles; tile++) {
        if (tile + 1 < tiles) {
            const uint32_t next = ((tile + 1) & 1) * TILE_BYTES;
            fill(tiles_k + next, k + size_t(tile + 1) * ROWS * DIM);
            fill(tiles_v + next, v + size_t(tile + 1) * ROWS * DIM);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
        asm volatile("cp.async.wait_group 1;" ::: "memory");
        __syncthreads();
        if (tile == 0) {
#pragma unroll
            for (int d = 0; d < 8; d++) {
                load<false>(query[d], tile_q + at(warp * 16 + (lane & 15), d * 2 + (lane >> 4)));
            }
        }
        const uint32_t keys_at = tiles_k + (tile & 1) * TILE_BYTES;
        const uint32_t values_at = tiles_v + (tile & 1) * TILE_BYTES;
        float scores[8][4] = {};
#pragma unroll
        for (int d = 0; d < 8; d++) {
#pragma unroll
            for (int n = 0; n < 4; n++) {
                uint32_t key[4];
                const int row = n * 16 + (lane & 7) + (lane >> 4) * 8;
                load<false>(key, keys_at + at(row, d * 2 + (lane >> 3 & 1)));
                multiply(scores[n * 2], query[d], key[0], key[1]);
                multiply(scores[n * 2 + 1], query[d], key[2], key[3]);
            }
        }
        reweigh(scores, out, most[0], sum[0], 0, scale);
        reweigh(scores, out, most[1], sum[1], 1, scale);
#pragma unroll
        for (int n = 0; n < 4; n++) {
            const float(&low)[4] = scores[2 * n], (&high)[4] = scores[2 * n + 1];
            const uint32_t weight[4] = {pack(low[0], low[1]), pack(low[2], low[3]),
                                        pack(high[0], high[1]), pack(high[2], high[3])};
#pragma unroll
            for (int d = 0; d < 8; d++) {
                uint32_t value[4];
                load<true>(value, values_at + at(n * 16 + (lane & 15), d * 2 + (lane >> 4)));
                multiply(out[d * 2], weight, value[0], value[1]);
                multiply(out[d * 2 + 1], weight, value[2], value[3]);
            }
        }
        __syncthreads();
    }
    asm volatile("cp.async.wait_all;" ::: "memory");

#pragma unroll
    for (int half = 0; half < 2; half++) {
        float whole = sum[half];
        whole += __shfl_xor_sync(~0u, whole, 1);
        whole += __shfl_xor_sync(~0u, whole, 2);
        const size_t row = size_t(blockIdx.x) * ROWS + warp * 16 + (lane >> 2) + 8 * half;
#pragma unroll
        for (int d = 0; d < 16; d++) {
            *reinterpret_cast<float2 *>(o + row * DIM + d * 8 + (lane & 3) * 2) =
                make_float2(out[d][2 * half] / whole, out[d][2 * half + 1] / whole);
        }
    }
}
