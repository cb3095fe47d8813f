// CUDA's own headers and libdevice, called as any user calls them: code that nobody here wrote,
// which must load, run and be right.

#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <stdio.h>

namespace cg = cooperative_groups;

// Function number blockIdx.x of every x.
extern "C" __global__ void floats(const float *x, float *y, int n) {
    const float v = x[threadIdx.x];
    float r = 0.0f;
    switch (blockIdx.x) {
    case 0: r = expf(v); break;
    case 1: r = logf(fabsf(v) + 1.0f); break;
    case 2: r = sinf(v); break;
    case 3: r = cosf(v); break;
    case 4: r = tanhf(v); break;
    case 5: r = powf(fabsf(v), 1.7f); break;
    case 6: r = erff(v); break;
    case 7: r = cbrtf(v); break;
    case 8: r = sqrtf(fabsf(v)); break;
    case 9: r = 1.0f / (v + 100.0f); break;
    case 10: r = fmodf(v, 1.5f); break;
    case 11: r = rintf(v); break;
    case 12: r = floorf(v) + ceilf(v) * 0.5f; break;
    case 13: r = exp2f(v); break;
    case 14: r = log2f(fabsf(v) + 0.5f); break;
    case 15: r = atan2f(v, 2.0f); break;
    case 16: r = static_cast<float>(exp(static_cast<double>(v))); break;
    case 17: r = hypotf(v, 3.0f); break;
    case 18: r = rsqrtf(fabsf(v) + 0.25f); break;
    case 19: r = lgammaf(fabsf(v) + 1.0f); break;
    }
    y[blockIdx.x * n + threadIdx.x] = r;
}

extern "C" __global__ void integers(const unsigned *x, unsigned *y, int n) {
    const unsigned a = x[threadIdx.x], b = x[(threadIdx.x + 1) % n] | 1;
    unsigned *out = y + threadIdx.x;
    out[0 * n] = __brev(a);
    out[1 * n] = __clz(a);
    out[2 * n] = __popc(a);
    out[3 * n] = __ffs(a);
    out[4 * n] = __umulhi(a, b);
    out[5 * n] = __byte_perm(a, b, 0x3715);
    out[6 * n] = __funnelshift_l(a, b, 13);
    out[7 * n] = __dp4a(a, b, 7u);
    out[8 * n] = a / b;
    out[9 * n] = a % b;
    out[10 * n] = __sad(static_cast<int>(a), static_cast<int>(b), 5);
    out[11 * n] = static_cast<unsigned>((static_cast<unsigned long long>(a) * 12345678901ull) / b);
    out[12 * n] = __hadd(static_cast<int>(a), static_cast<int>(b));
    out[13 * n] = static_cast<unsigned>(__mulhi(static_cast<int>(a), static_cast<int>(b)));
}

extern "C" __global__ void halves(const float *x, float *y, int n) {
    const float a = x[threadIdx.x], b = x[(threadIdx.x + 1) % n];
    float *out = y + threadIdx.x;
    const __half ha = __float2half(a), hb = __float2half(b);
    const __nv_bfloat16 ba = __float2bfloat16(a), bb = __float2bfloat16(b);
    out[0 * n] = __half2float(__hadd(ha, hb));
    out[1 * n] = __half2float(__hmul(ha, hb));
    out[2 * n] = __half2float(__hfma(ha, hb, ha));
    out[3 * n] = __bfloat162float(__hadd(ba, bb));
    out[4 * n] = __bfloat162float(__hmul(ba, bb));
    out[5 * n] = __bfloat162float(__hmax(ba, bb));
    out[6 * n] = __low2float(__hadd2(__halves2half2(ha, hb), __halves2half2(hb, ha)));
    out[7 * n] = static_cast<float>(__nv_fp8_e4m3(a));
    out[8 * n] = static_cast<float>(__nv_fp8_e5m2(b));
    out[9 * n] = __half2float(hexp2(ha));
    out[10 * n] = __bfloat162float(hrcp(bb));
    out[11 * n] = __hlt(ha, hb) ? 1.0f : 0.0f;
}

// Cooperative groups: reductions over tiles, a coalesced group, a scan by shuffles.
extern "C" __global__ void groups(const int *x, int *y) {
    const auto block = cg::this_thread_block();
    const auto warp = cg::tiled_partition<32>(block);
    const auto eight = cg::tiled_partition<8>(warp);
    const int v = x[threadIdx.x];
    y[threadIdx.x] = cg::reduce(warp, v, cg::plus<int>());
    y[128 + threadIdx.x] = cg::reduce(eight, v, cg::greater<int>());
    int odd = -1;
    if (v & 1) {
        const auto active = cg::coalesced_threads();
        odd = active.thread_rank();
    }
    y[256 + threadIdx.x] = odd;
    block.sync();
    y[384 + threadIdx.x] = eight.shfl(v, 3) + warp.ballot(v > 50);
}

extern "C" __global__ void prints(const int *x) {
    if (threadIdx.x == 3) {
        printf("%d %5.2f|%-6s|%08x %llu %c%%\n", x[3], 3.14159, "abc", 0xbeefu, 1ull << 40, 'z');
    }
}
