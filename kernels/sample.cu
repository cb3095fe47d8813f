// sample: draws one token from each row of logits, the same that src/sample.rs draws.
//
//   logits           f32 [row_count, stride]   the first `vocab` columns
//   rows             SampleRowParams [row_count], then the tile indices and adjustments they name
//   tokens, status   u32 [row_count]
//   states, bins, candidates                   workspace, see selection.cuh
//
// The definition orders tokens by value, descending, and id, ascending. A token's key is both in
// one integer, so that the largest value, the edge of top-k, the edge of top-p and the winner of a
// draw are maxima of keys or sums over keys, in any order of blocks and threads. All that decides
// is computed as the definition has it (sampling.cuh).
//
//   sample_scan_f32     the largest key of the values, or of the values plus noise. It is the whole
//                       draw where there is no filter: one pass over the logits.
//   sample_choose_f32   rows with top-k, top-p or min-p: lists the tokens that may be drawn, cuts
//                       the list, draws from it. Other rows end at once.
//
// Noise is computed only where it may decide: not where even the largest noise, or a cheap bound of
// the noise itself, leaves four tokens of every lane behind the best of the warp so far.
//
// Floor: row_count * (4 * vocab + 8) bytes; 15 to 80 instructions a token, the latter where all
// noise is computed. Rows with filters read the logits again, from L2 unless they have left it.
// Requested: a block asks for 88 bytes of its row, the last block for 2 KB, or with filters 6 KB
// and 80 bytes a candidate; each adjustment is 16 bytes. A distribution of a language model has
// some hundreds of candidates. A flat one has all of the vocabulary, through which the last block
// alone goes about ten times.
//
// Grid: x = blocks of tiles_per_block tiles, y = rows. No result depends on tiles_per_block.
//
// Held by tests/device/sample.rs (tokens, faults, schedules, traffic) and tests/kernels.rs.

#include "selection.cuh"

using namespace selection;

// Finite logits are brought within this on both sides, 2^100.
constexpr float LOGIT_MAX = 0x1p100f;

// What every thread looks at often, in shared memory.
struct Shared {
    SampleRowParams params;
    SelectionScan scan;
};

// What the blocks of one row have in common.
struct Row {
    const SampleRowParams &params;
    const SelectionScan &found;  // by an earlier launch
    SelectionState &state;
    const float *logits;
    uint32_t first_tile, end_tile;

    // All threads: they fill `shared` together.
    __device__ __forceinline__ Row(const SampleParams &p, Shared &shared)
        : params(shared.params),
          found(shared.scan),
          state(p.states[blockIdx.y]),
          logits(p.logits + (uint64_t)blockIdx.y * p.stride),
          first_tile(blockIdx.x * p.tiles_per_block),
          end_tile(min(first_tile + p.tiles_per_block, tiles_of(p.vocab))) {
        copy_words(shared.params, p.rows[blockIdx.y], 0);
        copy_words(shared.scan, state.scan, THREADS / 2);
        __syncthreads();
    }

    // Word by word, beginning with one thread.
    template <typename T>
    static __device__ __forceinline__ void copy_words(T &to, const T &from, uint32_t first) {
        static_assert(sizeof(T) / 4 <= THREADS / 2, "half the threads take a word each");
        const uint32_t word = threadIdx.x - first;
        if (word < sizeof(T) / 4) {
            reinterpret_cast<uint32_t *>(&to)[word] =
                reinterpret_cast<const uint32_t *>(&from)[word];
        }
    }
};

// Steps 2 to 4 of the definition, for one token.
__device__ __forceinline__ float adjusted(float x, const SampleAdjustment &a,
                                          const SampleRowParams &r) {
    if (a.flags & ADJUST_BIAS) x += a.bias;
    if (a.flags & ADJUST_REPETITION) {
        x = x > 0.0f ? __fdiv_rn(x, r.repetition) : x * r.repetition;
    }
    if (a.output_count > 0) x = (x - r.frequency * (float)a.output_count) - r.presence;
    return x;
}

// The same for a tile. Adjustments are few and anywhere, so they meet the values in shared memory;
// a tile without any does not go there.
__device__ __forceinline__ void adjust(Part &part, const SampleParams &p, const Row &row,
                                       uint32_t tile) {
    __shared__ __align__(16) float values[SAMPLE_TILE];
    if (!(row.params.flags & SAMPLE_ADJUST)) return;
    const char *base = reinterpret_cast<const char *>(p.rows);
    const uint32_t *tiles = reinterpret_cast<const uint32_t *>(base + row.params.tiles);
    const auto *list = reinterpret_cast<const SampleAdjustment *>(base + row.params.adjustments);
    const uint32_t first = tiles[tile], end = tiles[tile + 1];
    if (first == end) return;
#pragma unroll
    for (uint32_t i = 0; i < FOURS; i++) {
        const float4 v = make_float4(part.y[i][0], part.y[i][1], part.y[i][2], part.y[i][3]);
        *reinterpret_cast<float4 *>(values + Part::offset(i)) = v;
    }
    __syncthreads();
    for (uint32_t i = first + threadIdx.x; i < end; i += THREADS) {
        float &value = values[list[i].token % SAMPLE_TILE];
        value = adjusted(value, list[i], row.params);
    }
    __syncthreads();
#pragma unroll
    for (uint32_t i = 0; i < FOURS; i++) {
        const float4 v = *reinterpret_cast<const float4 *>(values + Part::offset(i));
        part.y[i][0] = v.x;
        part.y[i][1] = v.y;
        part.y[i][2] = v.z;
        part.y[i][3] = v.w;
    }
}

// The values of a tile: steps 1 to 5. The key of the first bad logit goes to `fault`.
__device__ __forceinline__ void values_of(Part &part, uint64_t &fault, const SampleParams &p,
                                          const Row &row, uint32_t tile) {
    load_part(part, row.logits, tile, p.vocab);
#pragma unroll
    for (uint32_t i = 0; i < FOURS; i++) {
#pragma unroll
        for (uint32_t j = 0; j < FOUR; j++) {
            float &x = part.y[i][j];
            if (!(x < sampling::INFINITE)) {
                const uint32_t token = tile * SAMPLE_TILE + Part::offset(i) + j;
                fault = Larger()(fault, sampling::key_of(sampling::ORDERED_FAULT, token));
            }
            if (x > -sampling::INFINITE) x = fminf(fmaxf(x, -LOGIT_MAX), LOGIT_MAX);
        }
    }
    adjust(part, p, row, tile);
    if (!(row.params.flags & SAMPLE_DRAW)) return;
#pragma unroll
    for (uint32_t i = 0; i < FOURS; i++) {
#pragma unroll
        for (uint32_t j = 0; j < FOUR; j++) {
            part.y[i][j] = __fdiv_rn(part.y[i][j], row.params.temperature);
        }
    }
}

// The best key of four tokens. `leader` is the best score of the warp so far: tokens that cannot
// reach it are left out, all lanes together.
__device__ __forceinline__ void draw_four(uint64_t &best, float &leader, const float (&y)[FOUR],
                                          uint32_t token, const SampleRowParams &r) {
    const float most = fmaxf(fmaxf(y[0], y[1]), fmaxf(y[2], y[3]));
    if (!__any_sync(0xffffffffu, most + sampling::GUMBEL_MAX >= leader)) return;
    uint32_t words[FOUR];
    sampling::philox(words, token / FOUR, r.position, r.seed);
    float bound = -sampling::INFINITE;
#pragma unroll
    for (uint32_t j = 0; j < FOUR; j++) {
        bound = fmaxf(bound, y[j] + sampling::gumbel_bound(words[j]));
    }
    if (!__any_sync(0xffffffffu, bound >= leader)) return;
#pragma unroll
    for (uint32_t j = 0; j < FOUR; j++) {
        const float score = y[j] + sampling::gumbel(words[j]);
        best = Larger()(best, sampling::key_of(sampling::ordered(score), token + j));
    }
    const uint32_t of_warp = __reduce_max_sync(0xffffffffu, (uint32_t)(best >> 32));
    leader = sampling::key_value((uint64_t)of_warp << 32);
}

// The best key of this block's tiles. Rows with filters are counted in bins.
__device__ __forceinline__ uint64_t scan_tiles(const SampleParams &p, const Row &row,
                                               uint32_t *bins) {
    const bool filter = row.params.flags & SAMPLE_FILTER;
    const bool draw = (row.params.flags & SAMPLE_DRAW) && !filter;
    uint64_t best = 0;
    float leader = -sampling::INFINITE;
    for (uint32_t tile = row.first_tile; tile < row.end_tile; tile++) {
        Part part;
        values_of(part, best, p, row, tile);
        if (filter) count_part(bins, part);
#pragma unroll
        for (uint32_t i = 0; i < FOURS; i++) {
            const uint32_t token = tile * SAMPLE_TILE + Part::offset(i);
            if (draw) {
                draw_four(best, leader, part.y[i], token, row.params);
                continue;
            }
#pragma unroll
            for (uint32_t j = 0; j < FOUR; j++) {
                const uint32_t value = sampling::ordered(part.y[i][j]);
                best = Larger()(best, sampling::key_of(value, token + j));
            }
        }
    }
    return best;
}

__device__ __forceinline__ uint32_t status_of(uint64_t best, const float *logits) {
    if (!is_fault(best)) return SAMPLE_OK;
    if (best >> 32 == sampling::ORDERED_MINUS_INFINITY) return SAMPLE_NO_TOKEN;
    const uint32_t token = sampling::key_id(best);
    return token | (logits[token] == sampling::INFINITE ? SAMPLE_INFINITY : SAMPLE_NAN);
}

// ceil(mass * top_p / 2^32), in halves: neither product leaves 64 bits.
__device__ __forceinline__ uint64_t mass_wanted(uint64_t mass, uint64_t top_p) {
    const uint64_t lower = (mass & 0xffffffffu) * top_p;
    return (mass >> 32) * top_p + ((lower + 0xffffffffu) >> SAMPLE_TOP_P_BITS);
}

// The value as an ordered integer that no token of the nucleus is below. The weights in a bin are
// no more than at its upper edge and no less than at its lower, each moved by far more than an
// exponential errs; and the first token of the order weighs 1.
__device__ __forceinline__ uint32_t bound_of_mass(uint32_t count, uint64_t top_p, float most,
                                                  Histogram &histogram) {
    constexpr float SLACK = 1.0f / 64;
    const float upper = edge(threadIdx.x + 1) + SLACK - most;
    const float lower = edge(threadIdx.x) - SLACK - most;
    const uint64_t at_most = count * sampling::weight(fminf(upper, 0.0f));
    const uint64_t at_least = count * sampling::weight(fminf(lower, 0.0f));
    const uint64_t all = join_block<Plus>(at_most, histogram.scratch);
    const uint64_t sum = join_block<Plus>(at_least, histogram.scratch);
    // The nucleus of a larger mass leaves no less.
    const uint64_t mass = Larger()(sum, 1ull << sampling::WEIGHT_BITS);
    const uint64_t left_over = mass - mass_wanted(mass, top_p);
    histogram.low[threadIdx.x] = (uint32_t)at_most;
    histogram.high[threadIdx.x] = (uint32_t)(at_most >> 32);
    __syncthreads();
    histogram.find(all - left_over);
    return sampling::ordered(edge(histogram.bin));
}

// Of a row with filters, by its last block: the value as an ordered integer from which tokens are
// listed.
__device__ __forceinline__ uint32_t bound_of(const SampleRowParams &r, uint32_t count, float most,
                                             Histogram &histogram) {
    uint32_t bound = sampling::ordered(most + r.reach);
    if (r.top_k > 0) {
        bound = max(bound, bound_of_rank(count, r.top_k, histogram));
    } else if (!(r.top_p >> SAMPLE_TOP_P_BITS)) {
        bound = max(bound, bound_of_mass(count, r.top_p, most, histogram));
    }
    return max(bound, sampling::ORDERED_MINUS_INFINITY + 1);
}

__device__ __forceinline__ void scan(const SampleParams &p) {
    __shared__ Histogram histogram;
    __shared__ Shared shared;
    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    const Row row(p, shared);
    if (row.params.flags & SAMPLE_SKIP) {
        if (blockIdx.x == 0 && threadIdx.x == 0) {
            p.tokens[blockIdx.y] = 0;
            p.status[blockIdx.y] = SAMPLE_OK;
        }
        return;
    }
    const bool filter = row.params.flags & SAMPLE_FILTER;
    uint32_t *const bin = p.bins + blockIdx.y * SAMPLE_BINS + threadIdx.x;
    histogram.keys[threadIdx.x] = 0;
    __syncthreads();
    const uint64_t own = join_block<Larger>(scan_tiles(p, row, histogram.keys), histogram.scratch);
    if (threadIdx.x == 0) atomicMax((unsigned long long *)&row.state.best, own);
    const uint32_t counted = histogram.keys[threadIdx.x];
    if (counted > 0) atomicAdd(bin, counted);
    if (!last_to_arrive(&row.state.arrivals)) return;

    const uint64_t best = row.state.best;
    const uint32_t status = status_of(best, row.logits);
    uint32_t bound = 0;
    if (filter) {
        const uint32_t count = *bin;
        *bin = 0;
        bound = bound_of(row.params, count, sampling::key_value(best), histogram);
    }
    __syncthreads();  // every thread has read the state
    if (threadIdx.x != 0) return;
    row.state.best = 0;
    row.state.scan = SelectionScan{best, bound, 0};
    p.status[blockIdx.y] = status;
    if (!filter || status != SAMPLE_OK) {
        p.tokens[blockIdx.y] = status == SAMPLE_OK ? sampling::key_id(best) : 0;
    }
}

// Lists the candidates of this block's tiles, and adds up the weights of all tokens where top-p
// wants them.
__device__ __forceinline__ uint64_t choose_tiles(const SampleParams &p, const Row &row,
                                                 float most) {
    uint64_t *list = p.candidates + (uint64_t)blockIdx.y * p.vocab;
    const bool weighs = row.params.top_k == 0 && !(row.params.top_p >> SAMPLE_TOP_P_BITS);
    uint64_t mass = 0, fault = 0;
    for (uint32_t tile = row.first_tile; tile < row.end_tile; tile++) {
        Part part;
        values_of(part, fault, p, row, tile);
        list_part(list, &row.state.candidates, part, tile, row.found.bound);
        if (weighs) mass += weigh_part(part, most);
    }
    return mass;
}

// The last key of the order that top-k and top-p leave; 0 if they leave the whole list.
__device__ __forceinline__ uint64_t last_key(const Row &row, const uint64_t *keys, float most,
                                             Histogram &histogram) {
    const uint32_t length = row.state.candidates, top_k = row.params.top_k;
    const uint64_t top = row.found.top;
    const auto list = [&](uint32_t i) { return keys[i]; };
    const auto one = [](uint64_t) { return (uint64_t)1; };
    const auto weight = [&](uint64_t key) {
        return sampling::weight(sampling::key_value(key) - most);
    };
    uint64_t lowest = top;
    for (uint32_t i = threadIdx.x; i < length; i += THREADS) lowest = Smaller()(lowest, keys[i]);
    lowest = join_block<Smaller>(lowest, histogram.scratch);

    uint64_t last = 0;
    if (top_k > 0) last = cut(list, length, lowest, top, top_k, one, histogram);
    if (row.params.top_p >> SAMPLE_TOP_P_BITS) return last;
    uint64_t mass = row.state.mass;
    if (top_k > 0) {
        for (uint32_t i = threadIdx.x; i < length; i += THREADS) {
            if (keys[i] >= last) mass += weight(keys[i]);
        }
        mass = join_block<Plus>(mass, histogram.scratch);
    }
    const uint64_t wanted = mass_wanted(mass, row.params.top_p);
    return Larger()(last, cut(list, length, lowest, top, wanted, weight, histogram));
}

// The winner among the candidates up to `last` that min-p leaves.
__device__ __forceinline__ uint64_t draw_from(const Row &row, const uint64_t *keys, uint64_t last,
                                              float most) {
    const SampleRowParams &r = row.params;
    uint64_t best = 0;
    for (uint32_t i = threadIdx.x; i < row.state.candidates; i += THREADS) {
        const uint64_t key = keys[i];
        const float y = sampling::key_value(key);
        if (key < last || sampling::weight(y - most) < r.min_weight) continue;
        const uint32_t token = sampling::key_id(key);
        uint32_t words[FOUR];
        sampling::philox(words, token / FOUR, r.position, r.seed);
        const uint32_t low = token % 2 == 0 ? words[0] : words[1];
        const uint32_t high = token % 2 == 0 ? words[2] : words[3];
        const float score = y + sampling::gumbel(token % FOUR < 2 ? low : high);
        best = Larger()(best, sampling::key_of(sampling::ordered(score), token));
    }
    return best;
}

__device__ __forceinline__ void choose(const SampleParams &p) {
    __shared__ Histogram histogram;
    __shared__ Shared shared;
    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    const Row row(p, shared);
    if (!(row.params.flags & SAMPLE_FILTER) || is_fault(row.found.top)) return;
    const float most = sampling::key_value(row.found.top);
    const uint64_t own = join_block<Plus>(choose_tiles(p, row, most), histogram.scratch);
    if (threadIdx.x == 0) atomicAdd((unsigned long long *)&row.state.mass, own);
    if (!last_to_arrive(&row.state.arrivals)) return;

    const uint64_t *keys = p.candidates + (uint64_t)blockIdx.y * p.vocab;
    const uint64_t last = last_key(row, keys, most, histogram);
    const uint64_t best =
        join_block<Larger>(draw_from(row, keys, last, most), histogram.scratch);
    if (threadIdx.x != 0) return;
    p.tokens[blockIdx.y] = sampling::key_id(best);
    row.state.candidates = 0;
    row.state.mass = 0;
}

// Instances: the list of what is supported.
KERNEL(sample_scan_f32, SampleParams, SAMPLE_THREADS, 8) { scan(p); }
KERNEL(sample_choose_f32, SampleParams, SAMPLE_THREADS) { choose(p); }
