// embed: picks rows of a table by index, and prepares the norm of what it picked.
//
//   table                bf16 [vocab, hidden]   row-major, 16-byte aligned, hidden % 8 == 0
//   token_ids            u32  [tokens]          null: row i is i
//   out                  bf16 [tokens, hidden]  or null
//   gamma                bf16 [hidden]          null: no norm, hidden % 16 == 0 otherwise
//   scaled               bf16 [tokens, hidden]  bf16(h * gamma) for the picked row h
//   squares              f32  [tokens, hidden / NORM_GROUP]   with gamma
//
// Two uses: the embedding with the norm of the first layer (table, token_ids, out, gamma), and the
// norm of rows that are there already (gamma, no token_ids, no out). The table may be what another
// kernel wrote, so it is never read through the read-only path.
//
// The bits of a row depend on its token alone. The order of a sum of squares: a lane takes eight
// neighbours by fmaf, ascending from 0, then two neighbouring lanes are added.
//
// Floor: tokens * (4 * hidden + 4) bytes for a copy, every row read once and written once; with
// gamma tokens * (6 * hidden + hidden / 4) and gamma once; 3 flops an element. Requested: every
// thread reads the token id of its row again, 4 bytes to its 16 of the row, and its part of gamma,
// both of which hit L1 or L2.
//
// Grid: x = tokens, y = slices of EMBED_THREADS vectors of a row. One vector of 16 bytes a thread
// keeps a single decode row spread over several blocks, where the kernel is nothing but latency.
//
// Held by tests/device/embed.rs (numbers, bits, races, traffic) and tests/kernels.rs (the build).

#include "common.cuh"
#include "dtype.cuh"

// Eight elements times gamma, and the sum of squares of sixteen in every even lane. All lanes of a
// warp take part in the exchange.
__device__ __forceinline__ float prepare(const Bf16x8 &h, const Bf16x8 &gamma, Bf16x8 &scaled) {
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++) squares = fmaf(h[i], h[i], squares);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        scaled.pair[i] =
            bf16_pair(h[2 * i] * gamma[2 * i], h[2 * i + 1] * gamma[2 * i + 1]);
    }
    static_assert(NORM_GROUP == 2 * BF16_VECTOR, "two lanes hold a group");
    return sum_lanes<2>(squares);
}

__device__ __forceinline__ void embed_vector(const EmbedParams &p) {
    ptx::griddepcontrol_launch_dependents();
    const uint32_t row = blockIdx.x;
    const uint32_t column = (blockIdx.y * EMBED_THREADS + threadIdx.x) * BF16_VECTOR;
    const bool inside = column < p.hidden;
    Bf16x8 h = {}, gamma = {}, scaled;
    // A weight, which nobody writes: it may come while the kernel before this one ends.
    if (inside && p.gamma != nullptr) gamma = load_bf16x8(p.gamma + column);
    ptx::griddepcontrol_wait();

    const uint32_t token = p.token_ids != nullptr ? p.token_ids[row] : row;
    if (token >= p.vocab) ptx::trap();
    // 64-bit offsets: vocab * hidden passes 2^31 elements in models in use.
    const uint64_t source = (uint64_t)token * p.hidden + column;
    const uint64_t target = (uint64_t)row * p.hidden + column;
    if (inside) h = load_bf16x8(p.table + source);
    if (inside && p.out != nullptr) store_bf16x8(p.out + target, h);
    if (p.gamma == nullptr) return;

    const float squares = prepare(h, gamma, scaled);
    if (!inside) return;
    store_bf16x8(p.scaled + target, scaled);
    if (threadIdx.x % 2 == 0) p.squares[target / NORM_GROUP] = squares;
}

// Instances: the list of what is supported.
KERNEL(embed_bf16, EmbedParams, EMBED_THREADS) { embed_vector(p); }
