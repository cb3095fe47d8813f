// The numbers of the sampler: exponential, logarithm, weights, Gumbel noise, and the order of the
// vocabulary. src/sample.rs and its parts are the definition; what is written here has the same
// bits. Additions, multiplications, fmaf and conversions round to nearest, ties to even, and
// nothing else is used: no lg2.approx, no ex2.approx, no function of a library.
//
// Held by tests/device/sample.rs and tests/device/logprobs.rs.

#pragma once

#include "common.cuh"

namespace sampling {

constexpr float INFINITE = __builtin_huge_valf();
// ln 2 in two parts; the first has 12 zero bits at its end, so that its product with an exponent
// is exact.
constexpr float LN_2_HIGH = 0.69311523f;
constexpr float LN_2_LOW = 3.1946183e-5f;
// No smaller than any noise.
constexpr float GUMBEL_MAX = 17.34f;
// Fraction bits of a weight.
constexpr int WEIGHT_BITS = 40;

// e^d for d <= 0, and 0 below -80. With n = round(d log2 e), e^(d - n ln 2) by Horner's scheme;
// then n is added to the exponent.
__device__ __forceinline__ float exponential(float d) {
    constexpr float LOG2_E = 1.44269504f;
    constexpr float ROUNDER = 12582912.0f;  // 1.5 * 2^23: the sum has n in its low bits
    const float shifted = fmaf(d, LOG2_E, ROUNDER);
    const float n = shifted - ROUNDER;
    const float r = fmaf(n, -LN_2_LOW, fmaf(n, -LN_2_HIGH, d));
    float p = 0.0013814467f;
    p = fmaf(p, r, 0.008368781f);
    p = fmaf(p, r, 0.041668393f);
    p = fmaf(p, r, 0.1666652f);
    p = fmaf(p, r, 0.49999994f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    const float scaled = __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
    return d >= -80.0f ? scaled : 0.0f;
}

// exp(d) 2^40, to the nearest integer. The product is exact, being one with a power of two.
__device__ __forceinline__ uint64_t weight(float d) {
    return __float2ull_rn(exponential(d) * (float)(1ull << WEIGHT_BITS));
}

// ln(1 + f) for f from sqrt(1/2) - 1 to sqrt(2) - 1.
__device__ __forceinline__ float ln_1p(float f) {
    float q = -0.07646106f;
    q = fmaf(q, f, 0.12779115f);
    q = fmaf(q, f, -0.13164185f);
    q = fmaf(q, f, 0.14199695f);
    q = fmaf(q, f, -0.16622765f);
    q = fmaf(q, f, 0.20001292f);
    q = fmaf(q, f, -0.25000837f);
    q = fmaf(q, f, 0.3333333f);
    return fmaf(f * f, fmaf(q, f, -0.5f), f);
}

__device__ __forceinline__ float ln_parts(int exponent, float f) {
    const float e = (float)exponent;
    return fmaf(e, LN_2_HIGH, fmaf(e, LN_2_LOW, ln_1p(f)));
}

// The exponent that leaves a mantissa of sqrt(1/2) up to sqrt(2).
__device__ __forceinline__ int exponent_of(float x) {
    constexpr int SQRT_HALF_BITS = 0x3f3504f3;
    return (__float_as_int(x) - SQRT_HALF_BITS) >> 23;
}

__device__ __forceinline__ float inverse_power(int exponent) {
    return __int_as_float((127 - exponent) << 23);
}

// ln x for a positive, normal x.
__device__ __forceinline__ float ln(float x) {
    const int exponent = exponent_of(x);
    const float mantissa = __uint_as_float(__float_as_uint(x) - ((uint32_t)exponent << 23));
    return ln_parts(exponent, mantissa - 1.0f);
}

// ln(n 2^-25) for 0 < n < 2^25. The difference to the nearest power of two is taken in integers,
// which keeps the precision of a logarithm near 0.
__device__ __forceinline__ float ln_unit(uint32_t n) {
    const int exponent = exponent_of((float)(int)n);
    const int difference = (int)n - (1 << exponent);
    return ln_parts(exponent - 25, (float)difference * inverse_power(exponent));
}

// ln(sum 2^-40) for 2^40 <= sum < 2^63.
__device__ __forceinline__ float ln_weight(uint64_t sum) {
    const int exponent = exponent_of(__ull2float_rn(sum));
    const int64_t difference = (int64_t)(sum - (1ull << exponent));
    return ln_parts(exponent - WEIGHT_BITS, __ll2float_rn(difference) * inverse_power(exponent));
}

// Standard Gumbel noise of 32 random bits.
__device__ __forceinline__ float gumbel(uint32_t word) {
    return -ln(-ln_unit((word >> 8) * 2 + 1));
}

// No smaller than gumbel(word), at a tenth of its cost. With c leading ones in the word, u is at
// most 1 - 2^-(c + 1), and -ln(-ln u) <= -ln(1 - u) <= (c + 1) ln 2; the factor is larger than
// ln 2 by more than the logarithms err.
__device__ __forceinline__ float gumbel_bound(uint32_t word) {
    return (float)(__clz(~word) + 1) * 0.6932f;
}

// Philox4x32-10 (Salmon et al. 2011) of the counter (block, position, 0, 0): the random words of
// tokens 4 block to 4 block + 3.
__device__ __forceinline__ void philox(uint32_t (&words)[4], uint32_t block, uint32_t position,
                                       uint64_t seed) {
    uint32_t c0 = block, c1 = position, c2 = 0, c3 = 0;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        if (round > 0) {
            k0 += 0x9e3779b9u;
            k1 += 0xbb67ae85u;
        }
        const uint64_t even = (uint64_t)c0 * 0xd2511f53u;
        const uint64_t odd = (uint64_t)c2 * 0xcd9e8d57u;
        c0 = (uint32_t)(odd >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(even >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)odd;
        c3 = (uint32_t)even;
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

// A value as an integer of the same order; both zeros give the same.
__device__ __forceinline__ uint32_t ordered(float value) {
    const uint32_t bits = __float_as_uint(value + 0.0f);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// Less than it is no value, equal to it is -inf, above it is what may be drawn.
constexpr uint32_t ORDERED_MINUS_INFINITY = 0x007fffff;
// Above every value: stands for one that is none.
constexpr uint32_t ORDERED_FAULT = 0xffffffff;

// A token's place in the order "value descending, id ascending": larger is earlier.
__device__ __forceinline__ uint64_t key_of(uint32_t ordered_value, uint32_t id) {
    return (uint64_t)ordered_value << 32 | ~id;
}

__device__ __forceinline__ float key_value(uint64_t key) {
    const uint32_t bits = (uint32_t)(key >> 32);
    return __uint_as_float(bits >> 31 ? bits & 0x7fffffffu : ~bits);
}

__device__ __forceinline__ uint32_t key_id(uint64_t key) { return ~(uint32_t)key; }

}  // namespace sampling
