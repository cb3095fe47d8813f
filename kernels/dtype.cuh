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

// A fragment of mma from the eight 4-bit weights of a word: register r becomes the pair 128 + q of
// nibbles r and r + 4. A bf16 from 128 to 255 counts its mantissa by ones, so that four bits have
// only to be put there. Who uses it takes away 128 and the zero point.
__device__ __forceinline__ void int4_fragment(uint32_t (&a)[4], uint32_t word) {
#pragma unroll
    for (uint32_t r = 0; r < 4; r++) {
        a[r] = ptx::lop3_and_or(word >> 4 * r, 0x000f000fu, 0x43004300u);
    }
}

// The same less the zero point, exactly: `low` and `high` are pairs of -(128 + zero point) of the
// rows g and g + 8 of the fragment.
__device__ __forceinline__ void int4_fragment(uint32_t (&a)[4], uint32_t word, uint32_t low,
                                              uint32_t high) {
    constexpr uint32_t ONES = 0x3f803f80u;
    int4_fragment(a, word);
#pragma unroll
    for (uint32_t r = 0; r < 4; r++) {
        a[r] = ptx::fma_rn_bf16x2(a[r], ONES, r % 2 == 0 ? low : high);
    }
}

// A fragment of mma from eight signed 8-bit weights: bytes 0 and 2 of `low` become the pair of
// register 0, bytes 1 and 3 that of register 1, those of `high` registers 2 and 3. The lower seven
// bits put into the mantissa make 128 + q % 128, exactly; a weight below zero is 128 less than its
// lower bits, so 256 instead of 128 is taken away where the sign bit is set, exactly too.
__device__ __forceinline__ void int8_fragment(uint32_t (&a)[4], uint32_t low, uint32_t high) {
    constexpr uint32_t ONES = 0x3f803f80u;
#pragma unroll
    for (uint32_t r = 0; r < 4; r++) {
        const uint32_t bytes = (r < 2 ? low : high) >> r % 2 * 8;
        const uint32_t raised = ptx::lop3_and_or(bytes, 0x007f007fu, 0x43004300u);
        const uint32_t less = ptx::lop3_and_or(bytes, 0x00800080u, 0xc300c300u);
        a[r] = ptx::fma_rn_bf16x2(raised, ONES, less);
    }
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
