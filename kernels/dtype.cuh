// Between the types in memory and f32, in which all arithmetic is done. Every conversion to bf16
// rounds once, to nearest even.

#pragma once

#include "ptx.cuh"

// The two elements of a 32-bit word of bf16; the one at the lower address is the lower half.
__device__ __forceinline__ float bf16_low(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float bf16_high(uint32_t pair) {
    return __uint_as_float(pair & 0xffff0000u);
}

__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
    return ptx::cvt_rn_bf16x2_f32(high, low);
}

// Eight elements of bf16 in 16 bytes, as they lie in memory.
struct Bf16x8 {
    uint32_t pair[4];

    __device__ __forceinline__ float operator[](int i) const {
        return i % 2 == 0 ? bf16_low(pair[i / 2]) : bf16_high(pair[i / 2]);
    }
};

// `address` is 16-byte aligned.
__device__ __forceinline__ Bf16x8 load_bf16x8(const uint16_t *address) {
    const uint4 v = *reinterpret_cast<const uint4 *>(address);
    return Bf16x8{{v.x, v.y, v.z, v.w}};
}

__device__ __forceinline__ void store_bf16x8(uint16_t *address, const Bf16x8 &v) {
    *reinterpret_cast<uint4 *>(address) = make_uint4(v.pair[0], v.pair[1], v.pair[2], v.pair[3]);
}
