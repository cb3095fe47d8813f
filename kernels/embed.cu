// embed: copies the rows of the embedding table that a batch of token ids names.
//
//   table      bf16 [vocab, hidden]   row-major, 16-byte aligned, hidden a multiple of 8
//   token_ids  u32  [tokens]
//   out        bf16 [tokens, hidden]
//
// A copy, so the bits of a row depend on its token alone. Floor: tokens * (4 * hidden + 4) bytes,
// each table row read once and each output row written once; no arithmetic. Every block reads the
// token id of its row again, which hits L2.
//
// Grid: x = tokens, y = slices of EMBED_THREADS vectors of a row. One vector of 16 bytes a thread
// keeps a single decode row spread over several blocks, where the kernel is nothing but latency.
//
// Held by tests/simulated.rs (numbers, bits, races, traffic) and tests/kernels.rs (the build).

#include "common.cuh"

__device__ __forceinline__ void embed_vector(const EmbedParams &p) {
    const uint32_t row = blockIdx.x;
    const uint32_t column = (blockIdx.y * EMBED_THREADS + threadIdx.x) * BF16_VECTOR;
    if (column >= p.hidden) return;

    const uint32_t token = p.token_ids[row];
    if (token >= p.vocab) ptx::trap();

    // 64-bit offsets: vocab * hidden passes 2^31 elements in models in use.
    const uint16_t *source = p.table + (uint64_t)token * p.hidden + column;
    uint16_t *target = p.out + (uint64_t)row * p.hidden + column;
    *reinterpret_cast<uint4 *>(target) = ptx::ld_global_nc_v4_u32(source);
}

// Instances: the list of what is supported. The element type is only ever copied, but the table's
// layout is part of the name's promise.
KERNEL(embed_bf16, EmbedParams, EMBED_THREADS) { embed_vector(p); }
