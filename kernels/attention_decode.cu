// attention_decode: causal attention of a few rows of each sequence over its pages.
//
//   q, out            bf16 [rows, q_heads, D]     k_pages, v_pages   bf16 [pages, kv_heads, 64, D]
//   block_tables      u32  [tables, table_stride]           each page and head swizzled (kv_offset)
//   partials          f32  [rows, q_heads, chunk_stride, D]
//   partial_weights   f32  [rows, q_heads, chunk_stride, 2]    arrivals   u32 [rows, kv_heads]
//
// A unit of work is ATTENTION_CHUNK tokens of one sequence under one key/value head, with up to
// 16 M columns: its query heads at its positions, which share each load. Warp i takes page i of the
// chunk in tiles of 16 tokens, through stages of its own that no block barrier guards. Then the
// four warps, and after them the chunks of a row, are put together in ascending order. All of this
// hangs on absolute positions alone: a row gets the same bits whatever its neighbours are, however
// many columns it shares its loads with, and whatever the grid is.
//
// The work is read on the device, so one captured graph serves every step: blocks share out the
// units that the host has planned, and a layer with a window passes over chunks that no column of
// the unit sees. Where a unit's columns see several chunks, the last block to arrive at their
// counter adds up the chunks; atomicInc leaves the counter at zero for the next launch.
//
// Floor: 4 * D bytes for each visible token and key/value head, 4 * D for each row and query head,
// and 4 * D flops for each column and visible token. Requested beyond it: for each unit its item
// and an entry of the block table by every thread (544), and 2 * D a column for its queries; for
// each column of a chunk that does not stand alone, 8 * D + 12 to store and add up its sum, and 8
// by each of the D / 4 lanes that do so. With 4 columns and D = 128 that is 3 % of a whole chunk.
// Under way on a multiprocessor: (STAGES - 1) * STAGE_BYTES for each of 8 warps, 128 KiB at
// D = 128.
//
// Held by tests/device/attention_decode.rs.

#include "attention.cuh"

template <uint32_t D, uint32_t M>
struct Decode {
    static constexpr uint32_t COLUMNS = 16 * M;
    static constexpr uint32_t TILE = 16;
    static constexpr uint32_t TILE_BYTES = TILE * D * 2;
    // Keys and values of a tile. Three stages of four warps with D = 128 are 96 KiB: two blocks on
    // a Hopper multiprocessor, and one where a block may have no more than 99 KiB.
    static constexpr uint32_t STAGE_BYTES = 2 * TILE_BYTES;
    static constexpr uint32_t STAGES = 3;
    static constexpr uint32_t SHARED_BYTES = ATTENTION_WARPS * STAGES * STAGE_BYTES;
    static_assert(STAGE_BYTES >= COLUMNS * D * 2, "queries wait in a stage");
    // Floats from one column's sum to the next in shared memory: the rows of a fragment are eight
    // banks apart, so a warp stores them without conflicts.
    static constexpr uint32_t SUM_STRIDE = D + 8;
};

// What a block works on.
struct Unit {
    AttentionItem item;
    uint32_t kv_head;
    uint32_t group;
    uint32_t window;

    __device__ __forceinline__ uint32_t row_of(uint32_t column) const {
        return (item.first_column + column) / group;
    }
    __device__ __forceinline__ uint32_t head_of(uint32_t column) const {
        return kv_head * group + (item.first_column + column) % group;
    }
    // Page of this warp.
    __device__ __forceinline__ uint32_t page() const {
        return item.chunk * ATTENTION_WARPS + threadIdx.x / WARP;
    }
    // Row of `q` and `out` when their heads are counted as rows.
    __device__ __forceinline__ uint64_t query_row(const AttentionDecodeParams &p,
                                                  uint32_t column) const {
        return (uint64_t)(item.row + row_of(column)) * p.q_heads + head_of(column);
    }
    // Position of a row of the sequence.
    __device__ __forceinline__ uint32_t position_of(uint32_t row) const {
        return item.position == KV_NO_SLOT ? KV_NO_SLOT : item.position + row;
    }
    // Position of a column; columns past the last see nothing.
    __device__ __forceinline__ uint32_t column_position(uint32_t column) const {
        return column < item.columns ? position_of(row_of(column)) : KV_NO_SLOT;
    }
    // Positions that some column sees.
    __device__ __forceinline__ Span span() const {
        return seen_by(position_of(row_of(0)), position_of(row_of(item.columns - 1)), window);
    }
    // Positions that a column sees.
    __device__ __forceinline__ Span column_span(uint32_t column) const {
        return seen_by(column_position(column), column_position(column), window);
    }
};

// The chunks that hold the positions of `span`; one where it is empty.
__device__ __forceinline__ Span chunks_of(const Span &span) {
    const uint32_t first = span.first / ATTENTION_CHUNK;
    return Span{first, max((span.end + ATTENTION_CHUNK - 1) / ATTENTION_CHUNK, first + 1)};
}

// Four dimensions of a column: sums of weighted values, relative to 2^base.
struct Sum {
    float weight;
    float4 values;

    // Adds what another warp or chunk has summed up relative to its own maximum.
    // `other_weight` is that maximum and the sum of weights.
    __device__ __forceinline__ void add(float base, float2 other_weight, const float4 &other) {
        const float factor = ptx::ex2_approx_ftz_f32(other_weight.x - base);
        weight = fmaf(factor, other_weight.y, weight);
        values.x = fmaf(factor, other.x, values.x);
        values.y = fmaf(factor, other.y, values.y);
        values.z = fmaf(factor, other.z, values.z);
        values.w = fmaf(factor, other.w, values.w);
    }

    __device__ __forceinline__ void store(uint16_t *out) const {
        const float scale = reciprocal_weight(weight);
        *reinterpret_cast<uint2 *>(out) =
            make_uint2(bf16_pair(values.x * scale, values.y * scale),
                       bf16_pair(values.z * scale, values.w * scale));
    }
};

__device__ __forceinline__ Sum no_sum() { return Sum{0.0f, make_float4(0.0f, 0.0f, 0.0f, 0.0f)}; }

// Brings the queries of all columns to shared memory; those past the last become zero.
template <uint32_t D, uint32_t M>
__device__ __forceinline__ void copy_queries(const AttentionDecodeParams &p, const Unit &unit,
                                             uint32_t target) {
    constexpr uint32_t COLUMNS = Decode<D, M>::COLUMNS;
    constexpr uint32_t PARTS = D / 8;
    static_assert(COLUMNS * PARTS % ATTENTION_THREADS == 0, "every thread copies equally many");
#pragma unroll
    for (uint32_t pass = 0; pass < COLUMNS * PARTS / ATTENTION_THREADS; pass++) {
        const uint32_t part = pass * ATTENTION_THREADS + threadIdx.x;
        const uint32_t column = part / PARTS;
        const uint32_t dim = part % PARTS * 8;
        const bool exists = column < unit.item.columns;
        const uint64_t from = unit.query_row(p, exists ? column : 0) * D + dim;
        ptx::cp_async_16(target + part_offset<COLUMNS>(column, dim), p.q + from, exists ? 16 : 0);
    }
}

// The tiles of a warp's page that some column sees, which go through the warp's stages in turn.
template <uint32_t D, uint32_t M>
struct Tiles {
    using Shape = Decode<D, M>;
    uint64_t block;
    Span slots;
    uint32_t first;
    uint32_t count;

    __device__ __forceinline__ Tiles(const AttentionDecodeParams &p, const Unit &unit) {
        slots = slots_of(unit.span(), unit.page());
        first = slots.first / Shape::TILE;
        count = (slots.end + Shape::TILE - 1) / Shape::TILE - first;
        block = 0;
        // An entry whose page nobody sees may be anything, so it is not even read.
        if (count > 0) {
            const uint64_t table = (uint64_t)unit.item.table * p.table_stride;
            block = (uint64_t)p.block_tables[table + unit.page()] * p.kv_heads + unit.kv_head;
        }
    }

    // Starts the copy of a tile into its stage. Past the last one the group is empty, so that the
    // groups under way can be counted by a constant.
    __device__ __forceinline__ void copy(const AttentionDecodeParams &p, uint32_t tile,
                                         uint32_t stages) const {
        if (tile < count) {
            const uint32_t lane = threadIdx.x % WARP;
            const uint32_t slot = (first + tile) * Shape::TILE;
            const uint32_t keys = stages + tile % Shape::STAGES * Shape::STAGE_BYTES;
            const uint64_t start = block * (KV_PAGE_TOKENS * D);
            copy_tokens<D, Shape::TILE, WARP>(keys, p.k_pages + start, slot, slots, lane);
            copy_tokens<D, Shape::TILE, WARP>(keys + Shape::TILE_BYTES, p.v_pages + start, slot,
                                              slots, lane);
        }
        ptx::cp_async_commit_group();
    }
};

// What the columns of a warp have summed up over its page, relative to their own maxima.
template <uint32_t D, uint32_t M>
struct PageSums {
    float out[M][D / 8][4] = {};
    Softmax rows[M][2];

    __device__ __forceinline__ PageSums() {
#pragma unroll
        for (uint32_t m = 0; m < M; m++) {
            rows[m][0] = rows[m][1] = Softmax{minus_infinity(), 0.0f};
        }
    }
};

// The loop over a warp's tiles, of which all stages but one are under way.
template <uint32_t D, uint32_t M>
__device__ __forceinline__ void attend_tiles(PageSums<D, M> &sums, const Tiles<D, M> &tiles,
                                             const uint32_t (&queries)[D / 16][M][4],
                                             const AttentionDecodeParams &p, const Unit &unit,
                                             uint32_t stages) {
    using Shape = Decode<D, M>;
    const uint32_t lane = threadIdx.x % WARP;
    uint32_t positions[M][2];
#pragma unroll
    for (uint32_t m = 0; m < M; m++) {
        positions[m][0] = unit.column_position(m * 16 + lane / 4);
        positions[m][1] = unit.column_position(m * 16 + lane / 4 + 8);
    }
    for (uint32_t tile = 0; tile < tiles.count; tile++) {
        // Every lane has read the stage before it is overwritten.
        __syncwarp();
        tiles.copy(p, tile + Shape::STAGES - 1, stages);
        ptx::cp_async_wait_group<Shape::STAGES - 1>();
        __syncwarp();
        const uint32_t keys = stages + tile % Shape::STAGES * Shape::STAGE_BYTES;
        float scores[M][Shape::TILE / 8][4] = {};
#pragma unroll
        for (uint32_t k = 0; k < D / 16; k++) {
            add_scores<Shape::TILE, Shape::TILE, M>(scores, queries[k], keys, k * 16, lane);
        }
        const uint32_t first =
            unit.page() * KV_PAGE_TOKENS + (tiles.first + tile) * Shape::TILE;
#pragma unroll
        for (uint32_t m = 0; m < M; m++) {
            mask_scores(scores[m], positions[m], first, p.window, lane);
        }
        attend_tokens<D, Shape::TILE, Shape::TILE, M>(
            sums.out, sums.rows, scores, keys + Shape::TILE_BYTES, p.scale_log2, lane);
    }
}

// A warp's page from the first copy to the last product.
template <uint32_t D, uint32_t M>
__device__ __forceinline__ void attend_page(PageSums<D, M> &sums, const AttentionDecodeParams &p,
                                            const Unit &unit, uint32_t shared) {
    using Shape = Decode<D, M>;
    const uint32_t lane = threadIdx.x % WARP;
    const uint32_t stages = shared + threadIdx.x / WARP * (Shape::STAGES * Shape::STAGE_BYTES);
    // The queries wait in the first warp's last stage until they are in registers.
    const uint32_t waiting = shared + (Shape::STAGES - 1) * Shape::STAGE_BYTES;
    copy_queries<D, M>(p, unit, waiting);
    ptx::cp_async_commit_group();
    const Tiles<D, M> tiles(p, unit);
#pragma unroll
    for (uint32_t tile = 0; tile < Shape::STAGES - 1; tile++) tiles.copy(p, tile, stages);
    ptx::cp_async_wait_group<Shape::STAGES - 1>();
    __syncthreads();
    uint32_t queries[D / 16][M][4];
#pragma unroll
    for (uint32_t k = 0; k < D / 16; k++) {
#pragma unroll
        for (uint32_t m = 0; m < M; m++) {
            load_rows<Shape::COLUMNS>(queries[k][m], waiting + m * (16 * 128), k * 16, lane);
        }
    }
    __syncthreads();
    attend_tiles<D, M>(sums, tiles, queries, p, unit, stages);
}

// Where the warps' sums lie in shared memory, once nobody reads a stage any more.
template <uint32_t D, uint32_t M>
struct SharedSums {
    float values[ATTENTION_WARPS][Decode<D, M>::COLUMNS][Decode<D, M>::SUM_STRIDE];
    float2 weights[ATTENTION_WARPS][Decode<D, M>::COLUMNS];
};

template <uint32_t D, uint32_t M>
__device__ __forceinline__ void store_sums(SharedSums<D, M> &shared, const PageSums<D, M> &sums) {
    const uint32_t warp = threadIdx.x / WARP;
    const uint32_t lane = threadIdx.x % WARP;
#pragma unroll
    for (uint32_t m = 0; m < M; m++) {
#pragma unroll
        for (uint32_t r = 0; r < 2; r++) {
            const uint32_t column = m * 16 + r * 8 + lane / 4;
            const float weight = sum_lanes<4>(sums.rows[m][r].sum);
            if (lane % 4 == 0) {
                shared.weights[warp][column] = make_float2(sums.rows[m][r].max, weight);
            }
#pragma unroll
            for (uint32_t n = 0; n < D / 8; n++) {
                float2 *pair = reinterpret_cast<float2 *>(
                    &shared.values[warp][column][n * 8 + lane % 4 * 2]);
                *pair = make_float2(sums.out[m][n][2 * r], sums.out[m][n][2 * r + 1]);
            }
        }
    }
}

// The chunk's sum of one column at four dimensions from `dim`: warps in ascending order.
template <uint32_t D, uint32_t M>
__device__ __forceinline__ Sum add_warps(const SharedSums<D, M> &shared, uint32_t column,
                                         uint32_t dim, float &max) {
    float2 weights[ATTENTION_WARPS];
    max = minus_infinity();
#pragma unroll
    for (uint32_t warp = 0; warp < ATTENTION_WARPS; warp++) {
        weights[warp] = shared.weights[warp][column];
        max = fmaxf(max, weights[warp].x);
    }
    Sum sum = no_sum();
#pragma unroll
    for (uint32_t warp = 0; warp < ATTENTION_WARPS; warp++) {
        const float *values = &shared.values[warp][column][dim];
        sum.add(weight_base(max), weights[warp], *reinterpret_cast<const float4 *>(values));
    }
    return sum;
}

// The sum of one column over the chunks that its row sees, in ascending order. All lanes of a warp
// take part.
template <uint32_t D>
__device__ __forceinline__ Sum add_chunks(const AttentionDecodeParams &p, uint64_t column,
                                          const Span &chunks, uint32_t dim) {
    constexpr uint32_t LANES = D / 4;
    // Loads under way at once; chunks past the last add nothing, to the bit.
    constexpr uint32_t BATCH = 8;
    const float2 *weights =
        reinterpret_cast<const float2 *>(p.partial_weights) + column * p.chunk_stride;
    const float *values = p.partials + column * p.chunk_stride * D + dim;
    float max = minus_infinity();
    for (uint32_t c = chunks.first + threadIdx.x % LANES; c < chunks.end; c += LANES) {
        max = fmaxf(max, weights[c].x);
    }
#pragma unroll
    for (uint32_t distance = LANES / 2; distance > 0; distance /= 2) {
        max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, distance));
    }
    const float base = weight_base(max);
    Sum sum = no_sum();
    for (uint32_t first = chunks.first; first < chunks.end; first += BATCH) {
        float2 weight[BATCH];
        float4 value[BATCH];
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) {
            weight[i] = make_float2(minus_infinity(), 0.0f);
            value[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (first + i < chunks.end) {
                weight[i] = weights[first + i];
                value[i] = *reinterpret_cast<const float4 *>(values + (uint64_t)(first + i) * D);
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < BATCH; i++) sum.add(base, weight[i], value[i]);
    }
    return sum;
}

// Whether this block is the last of `expected` to come here. What the others have stored before
// can be read after.
__device__ __forceinline__ bool arrive_last(uint32_t *arrivals, uint32_t expected) {
    __shared__ uint32_t before;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        // Counts to expected - 1 and then to zero, ready for the next launch.
        before = atomicInc(arrivals, expected - 1);
        __threadfence();
    }
    __syncthreads();
    return before == expected - 1;
}

// From the warps' sums to the output, or to partial sums and from those of all chunks to the
// output. The last chunk of a row is added up like its only one: by add_chunks a sum that stands
// alone is multiplied by 1 and keeps its bits.
template <uint32_t D, uint32_t M>
__device__ __forceinline__ void combine(const AttentionDecodeParams &p, const Unit &unit,
                                        const SharedSums<D, M> &shared) {
    constexpr uint32_t LANES = D / 4;
    constexpr uint32_t AT_ONCE = ATTENTION_THREADS / LANES;
    const uint32_t dim = threadIdx.x % LANES * 4;
    const Span chunks = chunks_of(unit.span());
    const bool alone = chunks.end - chunks.first == 1;
    for (uint32_t column = threadIdx.x / LANES; column < unit.item.columns; column += AT_ONCE) {
        float max;
        const Sum sum = add_warps<D, M>(shared, column, dim, max);
        const uint64_t at = unit.query_row(p, column);
        if (alone) {
            sum.store(p.out + at * D + dim);
        } else if (chunks_of(unit.column_span(column)).holds(unit.item.chunk)) {
            const uint64_t place = at * p.chunk_stride + unit.item.chunk;
            *reinterpret_cast<float4 *>(p.partials + place * D + dim) = sum.values;
            if (dim == 0) {
                reinterpret_cast<float2 *>(p.partial_weights)[place] =
                    make_float2(max, sum.weight);
            }
        }
    }
    if (alone) return;
    const uint32_t counter = unit.item.row + unit.item.first_column / ATTENTION_COLUMNS;
    uint32_t *arrivals = p.arrivals + (uint64_t)counter * p.kv_heads + unit.kv_head;
    if (!arrive_last(arrivals, chunks.end - chunks.first)) return;
    // A warp goes on while one of its columns is there. Lanes past the last add that up again and
    // store nothing: add_chunks wants all of them.
    constexpr uint32_t OF_WARP = WARP / LANES;
    uint32_t asked = threadIdx.x / LANES;
    for (; asked / OF_WARP * OF_WARP < unit.item.columns; asked += AT_ONCE) {
        const uint32_t column = min(asked, unit.item.columns - 1);
        const uint64_t at = unit.query_row(p, column);
        const Sum sum = add_chunks<D>(p, at, chunks_of(unit.column_span(column)), dim);
        if (asked == column) sum.store(p.out + at * D + dim);
    }
}

template <uint32_t D, uint32_t M>
__device__ __forceinline__ void attention_decode_block(const AttentionDecodeParams &p) {
    extern __shared__ __align__(128) uint4 storage[];
    static_assert(sizeof(SharedSums<D, M>) <= Decode<D, M>::SHARED_BYTES, "sums take stages");
    SharedSums<D, M> &shared = *reinterpret_cast<SharedSums<D, M> *>(storage);
    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    // Not in registers, which the loop over tiles needs.
    __shared__ Unit unit;
    __shared__ uint32_t units;
    if (threadIdx.x == 0) units = *p.item_count * p.kv_heads;
    __syncthreads();
    for (uint32_t i = blockIdx.x; i < units; i += gridDim.x) {
        // Nobody is at work on the last unit any more.
        __syncthreads();
        if (threadIdx.x == 0) {
            unit = Unit{p.items[i / p.kv_heads], i % p.kv_heads, p.q_heads / p.kv_heads, p.window};
        }
        __syncthreads();
        // More columns than the launch was chosen for would be left out in silence.
        if (unit.item.columns > Decode<D, M>::COLUMNS) ptx::trap();
        if (!chunks_of(unit.span()).holds(unit.item.chunk)) continue;
        PageSums<D, M> sums;
        attend_page<D, M>(sums, p, unit, ptx::shared_address(storage));
        __syncthreads();
        store_sums<D, M>(shared, sums);
        __syncthreads();
        combine<D, M>(p, unit, shared);
    }
}

// Instances: the list of what is supported, head_dim and most columns of an item.
KERNEL(attention_decode_bf16_d64_c16, AttentionDecodeParams, ATTENTION_THREADS, 2) {
    attention_decode_block<64, 1>(p);
}
KERNEL(attention_decode_bf16_d64_c32, AttentionDecodeParams, ATTENTION_THREADS, 2) {
    attention_decode_block<64, 2>(p);
}
KERNEL(attention_decode_bf16_d128_c16, AttentionDecodeParams, ATTENTION_THREADS, 2) {
    attention_decode_block<128, 1>(p);
}
KERNEL(attention_decode_bf16_d128_c32, AttentionDecodeParams, ATTENTION_THREADS, 2) {
    attention_decode_block<128, 2>(p);
}
