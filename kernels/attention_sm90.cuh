// How attention on Hopper comes by its operands: what a block has in shared memory, which pieces of
// work are its own, and the warps that fetch queries, keys and values for those that compute.

#pragma once

#include "attention.cuh"
#include "hopper.cuh"

template <uint32_t D, uint32_t GROUPS>
struct PrefillShape {
    static constexpr uint32_t TOKENS = ATTENTION_KV_TILE;
    // Chunks of 64 dimensions: rows of 128 bytes.
    static constexpr uint32_t CHUNKS = D / 64;
    static constexpr uint32_t QUERY_CHUNK_BYTES = 64 * SWIZZLE_BYTES;
    static constexpr uint32_t QUERY_BYTES = CHUNKS * QUERY_CHUNK_BYTES;
    static constexpr uint32_t TILE_CHUNK_BYTES = TOKENS * SWIZZLE_BYTES;
    static constexpr uint32_t TILE_BYTES = CHUNKS * TILE_CHUNK_BYTES;
    // Each is a ring of two stages: the queries of a group of rows, the keys and the values of a
    // tile.
    static constexpr uint32_t KEYS = 2 * GROUPS * QUERY_BYTES;
    static constexpr uint32_t VALUES = KEYS + 2 * TILE_BYTES;
};

// Where a warp is in a ring of two stages. A stage is full when the phase of its number has ended,
// and empty when the other one has: the phase ahead of the first counts as over, so that each stage
// is empty at first.
using Ring = Cursor<2>;

// One tile of rows under one query head.
struct Work {
    AttentionTile tile;
    uint32_t head;
};

// What a block has in shared memory beside the rings.
template <uint32_t GROUPS>
struct PrefillShared {
    uint64_t keys_full[2], keys_empty[2];
    uint64_t values_full[2], values_empty[2];
    uint64_t queries_full[GROUPS][2], queries_empty[GROUPS][2];
    // What the queries in a stage belong to.
    Work work[GROUPS][2];

    __device__ __forceinline__ void init() {
        for (uint32_t stage = 0; stage < 2; stage++) {
            init(keys_full[stage], 1);
            init(values_full[stage], 1);
            // A lane of each warp that computes.
            init(keys_empty[stage], 4 * GROUPS);
            init(values_empty[stage], 4 * GROUPS);
            for (uint32_t group = 0; group < GROUPS; group++) {
                init(queries_full[group][stage], WARP);
                init(queries_empty[group][stage], 4);
            }
        }
        ptx::fence_mbarrier_init();
    }

    static __device__ __forceinline__ void init(uint64_t &barrier, uint32_t count) {
        ptx::mbarrier_init(ptx::shared_address(&barrier), count);
    }
};

__device__ __forceinline__ void wait(const uint64_t &barrier, uint32_t parity) {
    mbarrier_wait(ptx::shared_address(&barrier), parity);
}

__device__ __forceinline__ void arrive(const uint64_t &barrier) {
    ptx::mbarrier_arrive(ptx::shared_address(&barrier));
}

// The number of a block's piece of work in round `round`. Rounds go through the blocks to and fro:
// who had the longest piece of one has the shortest of the next.
__device__ __forceinline__ uint32_t work_of(uint32_t round) {
    const uint32_t place = round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x;
    return round * gridDim.x + place;
}

// Whether there is that piece; if not, the block has none in a later round either.
__device__ __forceinline__ bool has_work(const AttentionPrefillParams &p, uint32_t round) {
    return work_of(round) < p.tile_count * p.q_heads;
}

__device__ __forceinline__ Work load_work(const AttentionPrefillParams &p, uint32_t round) {
    const uint32_t index = work_of(round);
    const uint4 tile = *reinterpret_cast<const uint4 *>(p.tiles + index / p.q_heads);
    return Work{AttentionTile{tile.x, tile.y, tile.z, tile.w}, index % p.q_heads};
}

__device__ __forceinline__ Span seen_by_tile(const AttentionPrefillParams &p,
                                             const AttentionTile &tile) {
    return seen_by(tile.position, tile.position + tile.rows - 1, p.window);
}

// The tiles of tokens that hold those of `seen`.
__device__ __forceinline__ Span tiles_of(const Span &seen) {
    constexpr uint32_t TOKENS = ATTENTION_KV_TILE;
    return Span{seen.first / TOKENS, (seen.end + TOKENS - 1) / TOKENS};
}

// What one lane of the warp that fetches copies of a tile's keys, and of its values: slots of a
// page in one chunk of dimensions.
struct Copy {
    Span slots;
    // Elements from the beginning of the pool.
    uint64_t source;
    // Bytes from the beginning of the stage.
    uint32_t target;
};

template <uint32_t D>
__device__ __forceinline__ Copy copy_of_lane(const AttentionPrefillParams &p, const Work &work,
                                             const Span &seen, uint32_t tile) {
    using Shape = PrefillShape<D, 1>;
    const uint32_t lane = threadIdx.x % WARP;
    const uint32_t chunk = lane % Shape::CHUNKS;
    const uint32_t page_of_tile = lane / Shape::CHUNKS;
    if (page_of_tile >= 2) return Copy{Span{0, 0}, 0, 0};
    const uint32_t page = tile * 2 + page_of_tile;
    const Span slots = slots_of(seen, page);
    if (slots.first == slots.end) return Copy{slots, 0, 0};
    const uint64_t entry = (uint64_t)work.tile.table * p.table_stride + page;
    const uint32_t kv_head = work.head / (p.q_heads / p.kv_heads);
    const uint64_t block = (uint64_t)p.block_tables[entry] * p.kv_heads + kv_head;
    return Copy{slots, block * (KV_PAGE_TOKENS * D) + (chunk * KV_PAGE_TOKENS + slots.first) * 64,
                chunk * Shape::TILE_CHUNK_BYTES +
                    (page_of_tile * KV_PAGE_TOKENS + slots.first) * SWIZZLE_BYTES};
}

// Fills a stage with the tokens `valid` of a tile, once it is empty. The others are not read and
// become zero: what lies there is undefined, and a weight of zero times NaN would be NaN.
template <uint32_t D>
__device__ __forceinline__ void fill_stage(uint32_t stage, const uint16_t *pool, const Copy &copy,
                                           const Span &valid, const uint64_t &empty,
                                           const uint64_t &full, uint32_t parity) {
    using Shape = PrefillShape<D, 1>;
    const uint32_t lane = threadIdx.x % WARP;
    const uint32_t barrier = ptx::shared_address(&full);
    wait(empty, parity);
    const uint32_t tokens = valid.end - valid.first;
    if (tokens < Shape::TOKENS) {
        for (uint32_t part = lane; part < Shape::TOKENS * 8; part += WARP) {
            if (valid.holds(part / 8)) continue;
#pragma unroll
            for (uint32_t chunk = 0; chunk < Shape::CHUNKS; chunk++) {
                ptx::st_shared_v4_u32(stage + chunk * Shape::TILE_CHUNK_BYTES + part * 16,
                                      make_uint4(0, 0, 0, 0));
            }
        }
        ptx::fence_proxy_async();
        __syncwarp();
    }
    if (lane == 0) ptx::mbarrier_arrive_expect_tx(barrier, tokens * (D * 2));
    __syncwarp();
    if (copy.slots.first < copy.slots.end) {
        ptx::cp_async_bulk(stage + copy.target, pool + copy.source,
                           (copy.slots.end - copy.slots.first) * SWIZZLE_BYTES, barrier);
    }
}

// One warp: keys and values of all tiles that the block needs, as far ahead as there are stages.
template <uint32_t D, uint32_t GROUPS>
__device__ __forceinline__ void fetch_tiles(const AttentionPrefillParams &p, uint32_t storage,
                                            const PrefillShared<GROUPS> &shared) {
    using Shape = PrefillShape<D, GROUPS>;
    Ring ring;
    for (uint32_t round = 0; has_work(p, round); round++) {
        const Work work = load_work(p, round);
        const Span seen = seen_by_tile(p, work.tile);
        const Span tiles = tiles_of(seen);
        for (uint32_t tile = tiles.first; tile < tiles.end; tile++, ring.advance()) {
            const Copy copy = copy_of_lane<D>(p, work, seen, tile);
            const uint32_t start = tile * Shape::TOKENS;
            const Span valid{max(seen.first, start) - start, min(seen.end - start, Shape::TOKENS)};
            const uint32_t stage = ring.stage;
            const uint32_t at = storage + stage * Shape::TILE_BYTES;
            fill_stage<D>(at + Shape::KEYS, p.k_pages, copy, valid, shared.keys_empty[stage],
                          shared.keys_full[stage], ring.phase ^ 1);
            fill_stage<D>(at + Shape::VALUES, p.v_pages, copy, valid, shared.values_empty[stage],
                          shared.values_full[stage], ring.phase ^ 1);
        }
    }
}

// One warp for each group of 64 rows: their queries, those of the next piece of work during this
// one. Rows past the tile's last become zero.
template <uint32_t D, uint32_t GROUPS>
__device__ __forceinline__ void fetch_queries(const AttentionPrefillParams &p, uint32_t storage,
                                              uint32_t group, PrefillShared<GROUPS> &shared) {
    using Shape = PrefillShape<D, GROUPS>;
    constexpr uint32_t PARTS = D / 8;
    constexpr uint32_t ROWS = WARP / PARTS;
    const uint32_t lane = threadIdx.x % WARP;
    const uint32_t dim = lane % PARTS * 8;
    Ring ring;
    for (uint32_t round = 0; has_work(p, round); round++, ring.advance()) {
        const Work work = load_work(p, round);
        const uint32_t stage = ring.stage;
        wait(shared.queries_empty[group][stage], ring.phase ^ 1);
        if (lane == 0) shared.work[group][stage] = work;
        const uint32_t target = storage + (stage * GROUPS + group) * Shape::QUERY_BYTES;
#pragma unroll 2
        for (uint32_t row = lane / PARTS; row < 64; row += ROWS) {
            const bool exists = group * 64 + row < work.tile.rows;
            const uint64_t of_batch = work.tile.row + (exists ? group * 64 + row : 0);
            const uint64_t at = of_batch * p.q_heads + work.head;
            ptx::cp_async_16(target + part_offset<64>(row, dim), p.q + at * D + dim,
                             exists ? 16 : 0);
        }
        ptx::cp_async_commit_group();
        ptx::cp_async_wait_group<0>();
        ptx::fence_proxy_async();
        arrive(shared.queries_full[group][stage]);
    }
}
