// rope_append: bias, norm over each head and rotation for queries and keys, then keys and values
// into their pages. One pass over the output of the qkv projection.
//
//   qkv              bf16 [tokens, heads, D]     heads = q_heads + 2 * kv_heads: q, k, v
//   bias             bf16 [heads, D] or null     q_gamma, k_gamma   bf16 [D], or both null
//   cos_sin          f32  [positions, D / 2, 2]  positions, slots   u32 [tokens]
//   q_out            bf16 [tokens, q_heads, D]
//   k_pages, v_pages bf16 [pages, kv_heads, KV_PAGE_TOKENS, D], each head swizzled (kv_offset)
//
// The rotation pairs dimension i with i + D / 2 (NeoX). f32 from the load to the one rounding at
// the store. A head's bits depend on its own row, position and weights: its squares are summed by
// fmaf in a lane, low half first, and then over the lanes by pairs (common.cuh).
// Floor: tokens * (4 * heads * D + 4 * D + 8) bytes: each element of qkv read and written once,
// and a row of cos_sin. Requested: 4 * D of cos_sin by each query and key head, 2 * D by each head
// where there is a bias and where there is a norm, which hit L1 and L2; position and slot, a word
// each, by every lane that wants them.
//
// Grid: x = tokens, y = groups of heads. D / 4 lanes take a head and four dimensions each, two
// neighbours and their two partners, so every access of a warp is to whole 32-byte sectors.
//
// Held by tests/device/rope_append.rs (numbers, bits, races, traffic) and tests/kernels.rs (the
// build).

#include "common.cuh"
#include "dtype.cuh"

// A lane's four dimensions: dim, dim + 1 and their partners half a head further.
struct Quad {
    float low[2];
    float high[2];
};

__device__ __forceinline__ Quad load_quad(const uint16_t *head, uint32_t dim, uint32_t half) {
    const uint32_t low = *reinterpret_cast<const uint32_t *>(head + dim);
    const uint32_t high = *reinterpret_cast<const uint32_t *>(head + dim + half);
    return Quad{{bf16_low(low), bf16_high(low)}, {bf16_low(high), bf16_high(high)}};
}

template <uint32_t D>
__device__ __forceinline__ void add_bias(Quad &x, const uint16_t *bias, uint32_t dim) {
    const Quad b = load_quad(bias, dim, D / 2);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        x.low[i] += b.low[i];
        x.high[i] += b.high[i];
    }
}

template <uint32_t D>
__device__ __forceinline__ void normalise(Quad &x, const uint16_t *gamma, uint32_t dim,
                                          float scale) {
    const Quad g = load_quad(gamma, dim, D / 2);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        x.low[i] = x.low[i] * scale * g.low[i];
        x.high[i] = x.high[i] * scale * g.high[i];
    }
}

// `row` is the position's row of cos_sin.
__device__ __forceinline__ void rotate(Quad &x, const float *row, uint32_t dim) {
    const float4 cs = *reinterpret_cast<const float4 *>(row + 2 * dim);
    const float cosine[2] = {cs.x, cs.z};
    const float sine[2] = {cs.y, cs.w};
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float low = x.low[i];
        x.low[i] = fmaf(low, cosine[i], -(x.high[i] * sine[i]));
        x.high[i] = fmaf(x.high[i], cosine[i], low * sine[i]);
    }
}

__device__ __forceinline__ void store_pair(uint16_t *address, const float (&v)[2]) {
    *reinterpret_cast<uint32_t *>(address) = bf16_pair(v[0], v[1]);
}

// A key or value into the page and slot of its token. `head` counts from 0 among its kind.
template <uint32_t D>
__device__ __forceinline__ void append(const RopeAppendParams &p, uint16_t *pages, uint32_t head,
                                       uint32_t dim, const Quad &x) {
    const uint32_t place = p.slots[blockIdx.x];
    if (place == KV_NO_SLOT) return;
    const uint64_t page = place / KV_PAGE_TOKENS;
    const uint32_t slot = place % KV_PAGE_TOKENS;
    uint16_t *block = pages + (page * p.kv_heads + head) * (KV_PAGE_TOKENS * D);
    store_pair(block + kv_offset(slot, dim), x.low);
    store_pair(block + kv_offset(slot, dim + D / 2), x.high);
}

template <uint32_t D>
__device__ __forceinline__ void rope_append_head(const RopeAppendParams &p) {
    constexpr uint32_t LANES = D / 4;
    const uint32_t heads = p.q_heads + 2 * p.kv_heads;
    const uint32_t asked = blockIdx.y * (ROPE_APPEND_THREADS / LANES) + threadIdx.x / LANES;
    // Lanes past the last head compute it again and store nothing: the sum over lanes below wants
    // the whole warp, and at D = 64 a warp may hold a last head and none.
    const uint32_t head = min(asked, heads - 1);
    const bool is_query = head < p.q_heads;
    const bool is_value = head >= p.q_heads + p.kv_heads;
    const uint32_t dim = threadIdx.x % LANES * 2;

    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    Quad x = load_quad(p.qkv + ((uint64_t)blockIdx.x * heads + head) * D, dim, D / 2);
    if (p.bias != nullptr) add_bias<D>(x, p.bias + head * D, dim);
    if (p.q_gamma != nullptr) {
        float squares = x.low[0] * x.low[0];
        squares = fmaf(x.low[1], x.low[1], squares);
        squares = fmaf(x.high[0], x.high[0], squares);
        squares = fmaf(x.high[1], x.high[1], squares);
        const float scale = reciprocal_rms(sum_lanes<LANES>(squares), D, p.epsilon);
        if (!is_value) normalise<D>(x, is_query ? p.q_gamma : p.k_gamma, dim, scale);
    }
    if (!is_value) rotate(x, p.cos_sin + (uint64_t)p.positions[blockIdx.x] * D, dim);

    if (asked >= heads) return;
    if (is_query) {
        uint16_t *out = p.q_out + ((uint64_t)blockIdx.x * p.q_heads + head) * D;
        store_pair(out + dim, x.low);
        store_pair(out + dim + D / 2, x.high);
    } else if (is_value) {
        append<D>(p, p.v_pages, head - p.q_heads - p.kv_heads, dim, x);
    } else {
        append<D>(p, p.k_pages, head - p.q_heads, dim, x);
    }
}

// Instances: the list of what is supported.
KERNEL(rope_append_bf16_d64, RopeAppendParams, ROPE_APPEND_THREADS) { rope_append_head<64>(p); }
KERNEL(rope_append_bf16_d128, RopeAppendParams, ROPE_APPEND_THREADS) { rope_append_head<128>(p); }
