// silu_mul: out = gate / (1 + exp(-gate)) * up, the gated activation of the feed-forward layer.
//
//   gate_up   bf16 [rows, 2, intermediate]   16-byte aligned, intermediate a multiple of 8
//   out       bf16 [rows, intermediate]
//
// f32 inside, one rounding at the end. Every element stands alone, so a row's bits depend on
// nothing else. Floor: rows * 6 * intermediate bytes; about 20 instructions an element where 46
// would still keep up with the memory of an H200.
//
// A product of this engine has the activation in its epilogue; this kernel is for engines that link
// single kernels.
//
// Grid: x = rows, y = slices of SILU_MUL_THREADS vectors of a row.
//
// Held by tests/device/silu_mul.rs (numbers, bits, races, traffic) and tests/kernels.rs.

#include "common.cuh"
#include "dtype.cuh"

__device__ __forceinline__ void silu_mul_vector(const SiluMulParams &p) {
    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    const uint32_t column = (blockIdx.y * SILU_MUL_THREADS + threadIdx.x) * BF16_VECTOR;
    if (column >= p.intermediate) return;

    const uint16_t *source = p.gate_up + (uint64_t)blockIdx.x * 2 * p.intermediate + column;
    const Bf16x8 gate = load_bf16x8(source);
    const Bf16x8 up = load_bf16x8(source + p.intermediate);
    Bf16x8 out;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        out.pair[i] = bf16_pair(silu(gate[2 * i]) * up[2 * i],
                                silu(gate[2 * i + 1]) * up[2 * i + 1]);
    }
    store_bf16x8(p.out + (uint64_t)blockIdx.x * p.intermediate + column, out);
}

// Instances: the list of what is supported.
KERNEL(silu_mul_bf16, SiluMulParams, SILU_MUL_THREADS) { silu_mul_vector(p); }
