// attention_prefill: causal attention of many rows of each sequence over its pages
// (FlashAttention-2, Dao 2023).
//
//   q, out         bf16 [rows, q_heads, D]        k_pages, v_pages   bf16 [pages, kv_heads, 64, D]
//   block_tables   u32  [tables, table_stride]              each page and head swizzled (kv_offset)
//
// A block takes one tile of 64 M rows of one sequence under one query head; each of its four warps
// 16 M of them, with their output in registers. It goes through the pages that some row sees, in
// ascending order: a page's keys and values are copied to one of two stages while the page before
// is worked on. Grid: x = query heads, so that those of a group run side by side and find their
// pages in L2; y = tiles, those that see most first.
//
// A row's bits hang on its position alone: pages begin at multiples of 64, a page of which a row
// sees nothing changes nothing (update_softmax), and M is only how often a loaded page is used.
//
// Floor: 4 * D bytes for each row and query head and for each visible token and key/value head;
// 4 * D flops for each row, query head and visible token. Requested: the rows' bytes, and for each
// tile and query head 4 * D for each token that the tile sees and 512 for each page (its entry of
// the block table, by every thread); what heads of a group share comes from L2. Flops are done for
// 32 tokens and the 16 M rows of a warp at a time, if one of them sees one.
//
// Held by tests/device/attention_prefill.rs.

#include "attention.cuh"

template <uint32_t D, uint32_t M>
struct Prefill {
    static constexpr uint32_t ROWS = 64 * M;
    static constexpr uint32_t QUERY_BYTES = ROWS * D * 2;
    static constexpr uint32_t PAGE_BYTES = KV_PAGE_TOKENS * D * 2;
    // Tokens of one step of the softmax. Part of the order of sums; with a whole page two tiles of
    // 16 rows would need more registers than there are.
    static constexpr uint32_t STEP = 32;
    // A stage: the keys of a page, then its values.
    static constexpr uint32_t STAGE_BYTES = 2 * PAGE_BYTES;
};

// Brings the queries of a tile to shared memory; those past its last row become zero.
template <uint32_t D, uint32_t M>
__device__ __forceinline__ void copy_queries(const AttentionPrefillParams &p,
                                             const AttentionTile &tile, uint32_t target) {
    constexpr uint32_t ROWS = Prefill<D, M>::ROWS;
    constexpr uint32_t PARTS = D / 8;
#pragma unroll
    for (uint32_t pass = 0; pass < ROWS * PARTS / ATTENTION_THREADS; pass++) {
        const uint32_t part = pass * ATTENTION_THREADS + threadIdx.x;
        const uint32_t row = part / PARTS;
        const uint32_t dim = part % PARTS * 8;
        const bool exists = row < tile.rows;
        const uint64_t at = (uint64_t)(tile.row + (exists ? row : 0)) * p.q_heads + blockIdx.x;
        ptx::cp_async_16(target + part_offset<ROWS>(row, dim), p.q + at * D + dim,
                         exists ? 16 : 0);
    }
}

// Positions that some row of a tile sees.
__device__ __forceinline__ Span seen_by_tile(const AttentionPrefillParams &p,
                                             const AttentionTile &tile) {
    return seen_by(tile.position, tile.position + tile.rows - 1, p.window);
}

// The page of the tile's last row.
__device__ __forceinline__ uint32_t last_page(const AttentionTile &tile) {
    return (tile.position + tile.rows - 1) / KV_PAGE_TOKENS;
}

// Starts the copy of a page's keys and values.
template <uint32_t D>
__device__ __forceinline__ void copy_page(const AttentionPrefillParams &p,
                                          const AttentionTile &tile, uint32_t page,
                                          uint32_t stage) {
    const uint32_t kv_head = blockIdx.x / (p.q_heads / p.kv_heads);
    const uint32_t id = p.block_tables[(uint64_t)tile.table * p.table_stride + page];
    const uint64_t block = ((uint64_t)id * p.kv_heads + kv_head) * (KV_PAGE_TOKENS * D);
    const Span slots = slots_of(seen_by_tile(p, tile), page);
    copy_tokens<D, KV_PAGE_TOKENS, ATTENTION_THREADS>(stage, p.k_pages + block, 0, slots,
                                                      threadIdx.x);
    copy_tokens<D, KV_PAGE_TOKENS, ATTENTION_THREADS>(
        stage + KV_PAGE_TOKENS * D * 2, p.v_pages + block, 0, slots, threadIdx.x);
}

// The rows of a warp and what they have summed up.
template <uint32_t D, uint32_t M>
struct WarpRows {
    float out[M][D / 8][4] = {};
    Softmax softmax[M][2];

    __device__ __forceinline__ WarpRows() {
#pragma unroll
        for (uint32_t m = 0; m < M; m++) {
            softmax[m][0] = softmax[m][1] = Softmax{minus_infinity(), 0.0f};
        }
    }

    // The warp's first row.
    static __device__ __forceinline__ uint32_t first() { return threadIdx.x / WARP * (16 * M); }

    // One step of the softmax, over the tokens of a page from `slot`. What none of the rows sees
    // is left out, and only where some row does not see a token is a mask put on: neither changes
    // a bit.
    __device__ __forceinline__ void attend(const AttentionPrefillParams &p,
                                           const AttentionTile &tile, uint32_t page,
                                           uint32_t slot, uint32_t queries, uint32_t stage) {
        using Shape = Prefill<D, M>;
        if (first() >= tile.rows) return;
        const uint32_t position = tile.position + first();
        const uint32_t last = min(position + 16 * M, tile.position + tile.rows) - 1;
        const Span seen = seen_by(position, last, p.window);
        const uint32_t token = page * KV_PAGE_TOKENS + slot;
        if (token >= seen.end || seen.first >= token + Shape::STEP) return;
        const bool whole = token + Shape::STEP <= position + 1 && sees(last, token, p.window);
        const uint32_t lane = threadIdx.x % WARP;
        const uint32_t keys = stage + slot * 128;
        queries += first() * 128;
        float scores[M][Shape::STEP / 8][4] = {};
#pragma unroll
        for (uint32_t k = 0; k < D / 16; k++) {
            uint32_t a[M][4];
#pragma unroll
            for (uint32_t m = 0; m < M; m++) {
                load_rows<Shape::ROWS>(a[m], queries + m * (16 * 128), k * 16, lane);
            }
            add_scores<KV_PAGE_TOKENS, Shape::STEP, M>(scores, a, keys, k * 16, lane);
        }
        if (!whole) {
#pragma unroll
            for (uint32_t m = 0; m < M; m++) {
                const uint32_t row = position + m * 16 + lane / 4;
                const uint32_t positions[2] = {row, row + 8};
                mask_scores(scores[m], positions, token, p.window, lane);
            }
        }
        attend_tokens<D, KV_PAGE_TOKENS, Shape::STEP, M>(
            out, softmax, scores, keys + Shape::PAGE_BYTES, p.scale_log2, lane);
    }

    // The output, by way of the warp's queries in shared memory, which it alone has read: from
    // there whole sectors go out.
    __device__ __forceinline__ void store(const AttentionPrefillParams &p,
                                          const AttentionTile &tile, uint16_t *queries) const {
        constexpr uint32_t ROWS = Prefill<D, M>::ROWS;
        constexpr uint32_t PARTS = D / 8;
        const uint32_t lane = threadIdx.x % WARP;
        uint8_t *bytes = reinterpret_cast<uint8_t *>(queries);
        __syncwarp();
#pragma unroll
        for (uint32_t m = 0; m < M; m++) {
#pragma unroll
            for (uint32_t r = 0; r < 2; r++) {
                const float scale = reciprocal_weight(sum_lanes<4>(softmax[m][r].sum));
                const uint32_t row = first() + m * 16 + r * 8 + lane / 4;
#pragma unroll
                for (uint32_t n = 0; n < D / 8; n++) {
                    const uint32_t at = part_offset<ROWS>(row, n * 8) + lane % 4 * 4;
                    *reinterpret_cast<uint32_t *>(bytes + at) =
                        bf16_pair(out[m][n][2 * r] * scale, out[m][n][2 * r + 1] * scale);
                }
            }
        }
        __syncwarp();
#pragma unroll
        for (uint32_t part = lane; part < 16 * M * PARTS; part += WARP) {
            const uint32_t row = first() + part / PARTS;
            const uint32_t dim = part % PARTS * 8;
            if (row >= tile.rows) break;
            const uint64_t at = (uint64_t)(tile.row + row) * p.q_heads + blockIdx.x;
            *reinterpret_cast<uint4 *>(p.out + at * D + dim) =
                *reinterpret_cast<const uint4 *>(bytes + part_offset<ROWS>(row, dim));
        }
    }
};

template <uint32_t D, uint32_t M>
__device__ __forceinline__ void attention_prefill_tile(const AttentionPrefillParams &p) {
    using Shape = Prefill<D, M>;
    extern __shared__ __align__(128) uint4 storage[];
    // Not in registers, which the products need.
    __shared__ AttentionTile tile;
    const uint32_t queries = ptx::shared_address(storage);
    const uint32_t stages = queries + Shape::QUERY_BYTES;
    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    if (threadIdx.x == 0) tile = p.tiles[blockIdx.y];
    __syncthreads();
    uint32_t page = seen_by_tile(p, tile).first / KV_PAGE_TOKENS;
    copy_queries<D, M>(p, tile, queries);
    copy_page<D>(p, tile, page, stages);
    ptx::cp_async_commit_group();
    WarpRows<D, M> rows;
    for (uint32_t stage = 0; page <= last_page(tile); page++, stage ^= 1) {
        ptx::cp_async_wait_group<0>();
        // The page has come for every warp, and none is at work on the other stage any more.
        __syncthreads();
        if (page < last_page(tile)) {
            copy_page<D>(p, tile, page + 1, stages + (stage ^ 1) * Shape::STAGE_BYTES);
            ptx::cp_async_commit_group();
        }
#pragma unroll 1
        for (uint32_t slot = 0; slot < KV_PAGE_TOKENS; slot += Shape::STEP) {
            rows.attend(p, tile, page, slot, queries, stages + stage * Shape::STAGE_BYTES);
        }
    }
    rows.store(p, tile, reinterpret_cast<uint16_t *>(storage));
}

// Instances: the list of what is supported, head_dim and rows of a tile.
KERNEL(attention_prefill_bf16_d64_r64, AttentionPrefillParams, ATTENTION_THREADS, 2) {
    attention_prefill_tile<64, 1>(p);
}
KERNEL(attention_prefill_bf16_d64_r128, AttentionPrefillParams, ATTENTION_THREADS, 2) {
    attention_prefill_tile<64, 2>(p);
}
KERNEL(attention_prefill_bf16_d128_r64, AttentionPrefillParams, ATTENTION_THREADS, 2) {
    attention_prefill_tile<128, 1>(p);
}
KERNEL(attention_prefill_bf16_d128_r128, AttentionPrefillParams, ATTENTION_THREADS, 2) {
    attention_prefill_tile<128, 2>(p);
}
