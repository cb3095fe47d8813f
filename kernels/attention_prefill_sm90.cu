// attention_prefill for Hopper: causal attention of many rows of each sequence over its pages, by
// wgmma and bulk copies (the method of FlashAttention-3, Shah et al. 2024, arXiv 2407.08608).
//
//   q, out         bf16 [rows, q_heads, D]        k_pages, v_pages   bf16 [pages, kv_heads, 64, D]
//   block_tables   u32  [tables, table_stride]              each page and head swizzled (kv_offset)
//
// A piece of work is a tile of 64 GROUPS rows of one sequence under one query head. One warpgroup
// computes each 64 rows; another fetches: one of its warps keys and values, by one bulk copy for
// the 64 dimensions of a page, since a page lies in memory as wgmma reads it; one warp for each
// group its queries. Keys and values come in tiles of 128 tokens, in ascending order, each to one
// of two stages. While the weights of a tile meet their values, the scores of the next are computed
// and go through the softmax; weights stay in registers. Two groups take turns at the tensor cores,
// so that the softmax of one hides behind the products of the other.
//
// Grid: as many blocks as run at once. Pieces are numbered tile by tile, those that see most first,
// and dealt to the blocks to and fro; those of the heads of a group run side by side and find
// their pages in L2.
//
// A row's bits hang on its position alone: tiles of tokens begin at multiples of 128, one of which
// a row sees nothing changes nothing (update_softmax), each is scores over D in ascending k16 steps
// from 0, weights, and k16 steps in ascending tokens onto the sums before; weights are rounded to
// bf16, their sum is not. GROUPS is only how often a fetched tile is used.
//
// Floor: 4 * D bytes for each row and query head and for each visible token and key/value head;
// 4 * D flops for each row, query head and visible token. Requested: the rows' bytes; for each
// piece 4 * D for each token that the tile sees and D / 16 for each page (its entry of the block
// table, by a lane for each 64 dimensions), and 512 for each warp that fetches (the tile). Flops
// are done for 128 tokens and all 64 rows of a group at a time.
//
// Model, for D = 128 and two groups. A tile of tokens is 64 KiB and 8.4 Mflop, 128 flops for each
// byte: 2048 cycles of the tensor cores, 1.4 us at the 790 TFLOP/s that dense products reach.
// - Softmax: of a group and tile each warp has about 400 instructions, 66 of them exponentials of 8
//   cycles each: 530 cycles at best, 930 if nothing overlaps. Both fit behind the 1024 cycles of
//   the other group's products; with one group only the weights of the tile before hide them.
// - Bytes: at that rate all multiprocessors ask L2 for 6.2 TB/s, near what it gives, and device
//   memory for a fraction of it, since heads and tiles of rows share pages. Under way are up to
//   64 KiB a multiprocessor, and 32 KiB of queries for the next piece; 6.2 TB/s at a latency of
//   1 us take 47 KiB.
// - Work for nothing: scores above the diagonal, a fifth of all at 512 tokens and 3 % at 4096.
// Expected is three quarters of 790 TFLOP/s from 4096 tokens on, where the method's authors
// published 0.73 to 0.78 of it. With D = 64 products take half as long and the softmax as long as
// before, so exponentials are the limit: half of 790 TFLOP/s. If L2 falls short, a cluster whose
// blocks share tiles is what to try first.
//
// Held by tests/device/attention_prefill.rs, attention_prefill_sm90.rs and tests/static_gates.rs.

#include "attention_sm90.cuh"

// A group of 64 rows in the registers of the warpgroup that computes it.
template <uint32_t D>
struct RowGroup {
    using Shape = PrefillShape<D, 1>;
    static constexpr uint32_t BLOCKS = Shape::TOKENS / 8;
    // Groups of products that start_values starts.
    static constexpr int VALUE_GROUPS = Shape::TOKENS / 64;

    float out[D / 2];
    // Scores of a tile, which become weights.
    float scores[BLOCKS * 4];
    // The weights of a tile in bf16: for each 16 tokens the A operand of a product.
    uint32_t weights[BLOCKS / 2][4];
    Softmax softmax[2];
    // What `out` must be multiplied by before the weights of the next tile.
    float factor[2];

    __device__ __forceinline__ void begin() {
        softmax[0] = softmax[1] = Softmax{minus_infinity(), 0.0f};
#pragma unroll
        for (uint32_t i = 0; i < D / 2; i++) out[i] = 0.0f;
    }

    // Starts scores = queries . keys, a group of products for each 64 dimensions.
    __device__ __forceinline__ void start_scores(uint32_t queries, uint32_t keys) {
        const uint64_t a = swizzled_rows(queries);
        const uint64_t b = swizzled_rows(keys);
        ptx::pin(scores);
#pragma unroll
        for (uint32_t chunk = 0; chunk < Shape::CHUNKS; chunk++) {
            ptx::wgmma_fence();
#pragma unroll
            for (uint32_t k = 0; k < 4; k++) {
                ptx::wgmma_bf16(scores,
                                a + chunk * (Shape::QUERY_CHUNK_BYTES / 16) + k * SWIZZLED_K16,
                                b + chunk * (Shape::TILE_CHUNK_BYTES / 16) + k * SWIZZLED_K16,
                                chunk + k > 0);
            }
            ptx::wgmma_commit_group();
        }
    }

    // Starts out += weights . values in ascending order, a group of products for each 64 tokens.
    __device__ __forceinline__ void start_values(uint32_t values) {
        const uint64_t b = swizzled_columns<Shape::TILE_CHUNK_BYTES>(values);
        ptx::pin(out);
#pragma unroll
        for (uint32_t k = 0; k < BLOCKS / 2; k++) ptx::pin(weights[k]);
#pragma unroll
        for (int part = 0; part < VALUE_GROUPS; part++) {
            ptx::wgmma_fence();
#pragma unroll
            for (uint32_t k = part * 4; k < part * 4 + 4; k++) {
                ptx::wgmma_bf16<1>(out, weights[k], b + k * SWIZZLED_COLUMNS_K16, 1);
            }
            ptx::wgmma_commit_group();
        }
    }

    // Turns the scores of a tile into weights.
    __device__ __forceinline__ void weigh(const AttentionPrefillParams &p, uint32_t position,
                                          uint32_t tile) {
        float(&blocks)[BLOCKS][4] = reinterpret_cast<float(&)[BLOCKS][4]>(scores);
        const uint32_t token = tile * Shape::TOKENS;
        // Rows that do not exist count here too: more of them can only ask for a mask.
        const bool whole =
            token + Shape::TOKENS <= position + 1 && sees(position + 63, token, p.window);
        if (!whole) {
            const uint32_t lane = threadIdx.x % WARP;
            const uint32_t row = position + threadIdx.x / WARP % 4 * 16 + lane / 4;
            const uint32_t positions[2] = {row, row + 8};
            mask_scores(blocks, positions, token, p.window, lane);
        }
        update_softmax(softmax, blocks, p.scale_log2, factor);
        ptx::pin(scores);
    }

    __device__ __forceinline__ void round_weights() {
#pragma unroll
        for (uint32_t i = 0; i < BLOCKS * 2; i++) {
            weights[i / 4][i % 4] = bf16_pair(scores[2 * i], scores[2 * i + 1]);
        }
    }

    __device__ __forceinline__ void rescale() {
#pragma unroll
        for (uint32_t i = 0; i < D / 2; i++) out[i] *= factor[i / 2 % 2];
    }
};

// Named barriers of the block; number 0 is __syncthreads. One for each group's turn at the tensor
// cores, one for the warps of each group.
constexpr uint32_t TURN = 1;
constexpr uint32_t GROUP = 3;

// A warpgroup that computes, and where it is in the rings.
template <uint32_t D, uint32_t GROUPS>
struct Computer {
    using Shape = PrefillShape<D, GROUPS>;
    static constexpr uint32_t THREADS = GROUPS * WARPGROUP;

    uint32_t storage;
    uint32_t group;
    PrefillShared<GROUPS> &shared;
    Ring keys, values;
    RowGroup<D> rows;

    __device__ __forceinline__ uint32_t key_stage() const {
        return storage + Shape::KEYS + keys.stage * Shape::TILE_BYTES;
    }
    __device__ __forceinline__ uint32_t value_stage() const {
        return storage + Shape::VALUES + values.stage * Shape::TILE_BYTES;
    }

    // One lane of each warp says that the warp is done with a stage.
    __device__ __forceinline__ void release(Ring &ring, const uint64_t (&empty)[2]) {
        if (threadIdx.x % WARP == 0) arrive(empty[ring.stage]);
        ring.advance();
    }

    // With two groups, one starts its products while the other is at its softmax: each waits for
    // its turn, and gives it to the other when its products are on their way.
    __device__ __forceinline__ void take_turn() const {
        if (GROUPS == 2) ptx::bar_sync(TURN + group, THREADS);
    }
    __device__ __forceinline__ void give_turn(uint32_t to) const {
        if (GROUPS == 2) ptx::bar_arrive(TURN + to, THREADS);
    }

    // Waits until no more than PENDING groups of products are under way, those of the scores not
    // among them, and turns the scores into weights.
    template <int PENDING>
    __device__ __forceinline__ void weigh(const AttentionPrefillParams &p, uint32_t position,
                                          uint32_t tile) {
        ptx::wgmma_wait_group<PENDING>();
        ptx::pin(rows.scores);
        release(keys, shared.keys_empty);
        rows.weigh(p, position, tile);
    }

    // Goes through the tiles of tokens: the scores of each are on their way while the weights of
    // the one before meet their values.
    __device__ __forceinline__ void attend(const AttentionPrefillParams &p, uint32_t queries,
                                           uint32_t position, const Span &tiles) {
        rows.begin();
        wait(shared.keys_full[keys.stage], keys.phase);
        rows.start_scores(queries, key_stage());
        weigh<0>(p, position, tiles.first);
        wait(shared.values_full[values.stage], values.phase);
        rows.round_weights();
        for (uint32_t tile = tiles.first + 1; tile < tiles.end; tile++) {
            wait(shared.keys_full[keys.stage], keys.phase);
            take_turn();
            rows.start_scores(queries, key_stage());
            rows.start_values(value_stage());
            give_turn(group ^ 1);
            weigh<RowGroup<D>::VALUE_GROUPS>(p, position, tile);
            // The values of this tile are waited for here rather than where they are needed: ptxas
            // moves a wait for products up to the last branch ahead of it, and without one the
            // softmax would come after the products that it runs beside.
            Ring next = values;
            next.advance();
            wait(shared.values_full[next.stage], next.phase);
            ptx::wgmma_wait_group<0>();
            ptx::pin(rows.out);
            release(values, shared.values_empty);
            rows.round_weights();
            rows.rescale();
        }
        rows.start_values(value_stage());
        ptx::wgmma_wait_group<0>();
        ptx::pin(rows.out);
        release(values, shared.values_empty);
    }

    // The output, by way of where the queries were: from there whole sectors go out.
    __device__ __forceinline__ void store(const AttentionPrefillParams &p, const Work &work,
                                          uint8_t *staging) const {
        constexpr uint32_t PARTS = D / 8;
        const uint32_t lane = threadIdx.x % WARP;
        const uint32_t first = threadIdx.x / WARP % 4 * 16;
#pragma unroll
        for (uint32_t r = 0; r < 2; r++) {
            const float scale = reciprocal_weight(sum_lanes<4>(rows.softmax[r].sum));
            const uint32_t row = first + r * 8 + lane / 4;
#pragma unroll
            for (uint32_t n = 0; n < D / 8; n++) {
                const float *pair = &rows.out[n * 4 + r * 2];
                *reinterpret_cast<uint32_t *>(staging + part_offset<64>(row, n * 8) +
                                              lane % 4 * 4) =
                    bf16_pair(pair[0] * scale, pair[1] * scale);
            }
        }
        __syncwarp();
#pragma unroll 4
        for (uint32_t part = lane; part < 16 * PARTS; part += WARP) {
            const uint32_t row = first + part / PARTS;
            const uint32_t dim = part % PARTS * 8;
            if (group * 64 + row >= work.tile.rows) break;
            const uint64_t of_batch = work.tile.row + group * 64 + row;
            const uint64_t at = of_batch * p.q_heads + work.head;
            *reinterpret_cast<uint4 *>(p.out + at * D + dim) =
                *reinterpret_cast<const uint4 *>(staging + part_offset<64>(row, dim));
        }
    }

    __device__ __forceinline__ void run(const AttentionPrefillParams &p, uint8_t *bytes) {
        if (group == 1) give_turn(0);
        Ring queries;
        for (uint32_t round = 0; has_work(p, round); round++, queries.advance()) {
            const uint32_t stage = queries.stage;
            const uint32_t at = (stage * GROUPS + group) * Shape::QUERY_BYTES;
            wait(shared.queries_full[group][stage], queries.phase);
            const Work work = shared.work[group][stage];
            attend(p, storage + at, work.tile.position + group * 64,
                   tiles_of(seen_by_tile(p, work.tile)));
            // No warp's products read the queries any more.
            ptx::bar_sync(GROUP + group, WARPGROUP);
            store(p, work, bytes + at);
            __syncwarp();
            if (threadIdx.x % WARP == 0) arrive(shared.queries_empty[group][stage]);
        }
        // The last turn that the other group gave away.
        if (group == 0) take_turn();
    }
};

template <uint32_t D, uint32_t GROUPS>
__device__ __forceinline__ void attention_prefill(const AttentionPrefillParams &p) {
    extern __shared__ __align__(1024) uint8_t bytes[];
    __shared__ PrefillShared<GROUPS> shared;
    const uint32_t storage = ptx::shared_address(bytes);
    const uint32_t warp = threadIdx.x / WARP;
    ptx::griddepcontrol_launch_dependents();
    if (threadIdx.x == 0) shared.init();
    ptx::griddepcontrol_wait();
    __syncthreads();
    if (warp < 4) {
        ptx::setmaxnreg_dec<40>();
        if (warp == 0) {
            fetch_tiles<D, GROUPS>(p, storage, shared);
        } else if (warp <= GROUPS) {
            fetch_queries<D, GROUPS>(p, storage, warp - 1, shared);
        }
    } else {
        ptx::setmaxnreg_inc<GROUPS == 2 ? 232 : 216>();
        Computer<D, GROUPS> computer{storage, warp / 4 - 1, shared};
        computer.run(p, bytes);
    }
}

// Instances: the list of what is supported, head_dim and rows of a tile.
KERNEL(attention_prefill_bf16_d64_r64_sm90, AttentionPrefillParams, 2 * WARPGROUP, 2) {
    attention_prefill<64, 1>(p);
}
KERNEL(attention_prefill_bf16_d64_r128_sm90, AttentionPrefillParams, 3 * WARPGROUP, 1) {
    attention_prefill<64, 2>(p);
}
KERNEL(attention_prefill_bf16_d128_r64_sm90, AttentionPrefillParams, 2 * WARPGROUP, 2) {
    attention_prefill<128, 1>(p);
}
KERNEL(attention_prefill_bf16_d128_r128_sm90, AttentionPrefillParams, 3 * WARPGROUP, 1) {
    attention_prefill<128, 2>(p);
}
