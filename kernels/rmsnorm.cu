// rmsnorm: residual = input + residual, out = residual / rms(residual) * gamma.
//
//   input, residual, out   bf16 [rows, hidden]   row-major, 16-byte aligned, hidden % 8 == 0
//   gamma                  bf16 [hidden]
//
// The sum is rounded to bf16 before it is normalised: what the norm sees is what the residual
// stream holds, also for a later reader. Everything after is f32 with one rounding at the end.
//
// A row is the work of one block, and the order of its sum follows from `hidden` alone: a thread
// takes vectors RMSNORM_THREADS apart, ascending, by fmaf; then lanes, then warps (common.cuh).
// Floor: rows * 8 * hidden bytes (read both, write both), 4 * hidden without a residual, and gamma
// once; 4 flops an element. Requested: gamma by every row, 2 * hidden, which hits L2. The row waits
// in shared memory between the two passes.
//
// A product of this engine takes its norm from who wrote the row (embed.cu); this kernel is for
// engines that link single kernels.
//
// Held by tests/device/rmsnorm.rs (numbers, bits, races, traffic) and tests/kernels.rs (the build).

#include "common.cuh"
#include "dtype.cuh"

// The sum of input and residual, stored to the residual stream; the input where there is none.
__device__ __forceinline__ Bf16x8 next_residual(const RmsNormParams &p, uint64_t at) {
    const Bf16x8 input = load_bf16x8(p.input + at);
    if (p.residual == nullptr) return input;
    const Bf16x8 old = load_bf16x8(p.residual + at);
    Bf16x8 sum;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        sum.pair[i] =
            bf16_pair(input[2 * i] + old[2 * i], input[2 * i + 1] + old[2 * i + 1]);
    }
    store_bf16x8(p.residual + at, sum);
    return sum;
}

__device__ __forceinline__ void rmsnorm_row(const RmsNormParams &p) {
    extern __shared__ uint4 row_storage[];
    __shared__ float scratch[RMSNORM_THREADS / WARP];
    // A thread reads back only what it wrote, so no barrier guards the row.
    uint16_t *row = reinterpret_cast<uint16_t *>(row_storage);
    const uint64_t start = (uint64_t)blockIdx.x * p.hidden;
    const uint32_t first = threadIdx.x * BF16_VECTOR;
    constexpr uint32_t STRIDE = RMSNORM_THREADS * BF16_VECTOR;

    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    float squares = 0.0f;
    for (uint32_t column = first; column < p.hidden; column += STRIDE) {
        const Bf16x8 h = next_residual(p, start + column);
        store_bf16x8(row + column, h);
#pragma unroll
        for (int i = 0; i < 8; i++) squares = fmaf(h[i], h[i], squares);
    }
    const float scale =
        reciprocal_rms(sum_block<RMSNORM_THREADS>(squares, scratch), p.hidden, p.epsilon);

    for (uint32_t column = first; column < p.hidden; column += STRIDE) {
        const Bf16x8 h = load_bf16x8(row + column);
        const Bf16x8 gamma = load_bf16x8(p.gamma + column);
        Bf16x8 out;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            out.pair[i] = bf16_pair(h[2 * i] * scale * gamma[2 * i],
                                    h[2 * i + 1] * scale * gamma[2 * i + 1]);
        }
        store_bf16x8(p.out + start + column, out);
    }
}

// Instances: the list of what is supported.
KERNEL(rmsnorm_bf16, RmsNormParams, RMSNORM_THREADS) { rmsnorm_row(p); }
