// logprobs: log-probabilities of raw logits, the same that src/sample/logprob.rs computes.
//
//   logits                        f32 [row_count, stride]   the first `vocab` columns
//   tokens, tops                  u32 [row_count]           which token, and how many of the best
//   logprobs, top_counts          f32, u32 [row_count]
//   top_tokens, top_logprobs      u32, f32 [row_count, LOGPROBS_TOP_MAX]
//   states, bins, candidates      workspace, see selection.cuh
//
// logprob(t) = (x_t - max) - ln(sum of weight(x_i - max) 2^-40), in two launches:
//
//   logprobs_scan_f32     the largest logit, and a bound that the tokens wanted are not below
//   logprobs_choose_f32   the sum of weights; lists the tokens from the bound up, cuts the list and
//                         ranks what is left
//
// A row with a logit that is NaN or +inf, or of nothing but -inf, has NaN for its log-probability
// and no best tokens.
//
// Floor: row_count * (4 * vocab + 8) bytes once from device memory and once more from L2, 25
// instructions a token. Requested: a block asks for 28 bytes of its row, the last blocks for 8 KB
// and 40 bytes a candidate.
//
// Grid: x = blocks of tiles_per_block tiles, y = rows. No result depends on tiles_per_block.
//
// Held by tests/device/logprobs.rs (numbers, schedules, traffic) and tests/kernels.rs (the build).

#include "selection.cuh"

using namespace selection;

// What every thread looks at often, in shared memory.
struct Shared {
    uint32_t token, wanted;
    SelectionScan scan;
};

// All threads. What is wanted of the row, and what an earlier launch has found.
__device__ __forceinline__ void load_row(Shared &shared, const LogprobsParams &p) {
    if (threadIdx.x == 0) {
        shared.wanted = p.tops[blockIdx.y];
        shared.token = p.tokens[blockIdx.y];
        shared.scan = p.states[blockIdx.y].scan;
    }
    __syncthreads();
}

// The best key of this block's tiles, a fault where a logit is none; with `bins` their counts.
__device__ __forceinline__ uint64_t scan_tiles(const LogprobsParams &p, const float *logits,
                                               uint32_t *bins) {
    const uint32_t first = blockIdx.x * p.tiles_per_block;
    const uint32_t end = min(first + p.tiles_per_block, tiles_of(p.vocab));
    uint64_t best = 0;
    for (uint32_t tile = first; tile < end; tile++) {
        Part part;
        load_part(part, logits, tile, p.vocab);
        if (bins != nullptr) count_part(bins, part);
#pragma unroll
        for (uint32_t i = 0; i < FOURS; i++) {
#pragma unroll
            for (uint32_t j = 0; j < FOUR; j++) {
                const float x = part.y[i][j];
                const bool good = x < sampling::INFINITE;
                const uint32_t value = good ? sampling::ordered(x) : sampling::ORDERED_FAULT;
                const uint32_t token = tile * SAMPLE_TILE + Part::offset(i) + j;
                best = Larger()(best, sampling::key_of(value, token));
            }
        }
    }
    return best;
}

__device__ __forceinline__ void scan(const LogprobsParams &p) {
    __shared__ Histogram histogram;
    __shared__ Shared shared;
    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    load_row(shared, p);
    const uint32_t wanted = shared.wanted;
    if (wanted == LOGPROBS_SKIP) return;
    SelectionState &state = p.states[blockIdx.y];
    const float *logits = p.logits + (uint64_t)blockIdx.y * p.stride;
    uint32_t *const bin = p.bins + blockIdx.y * SAMPLE_BINS + threadIdx.x;
    histogram.keys[threadIdx.x] = 0;
    __syncthreads();
    uint32_t *const bins = wanted > 0 ? histogram.keys : nullptr;
    const uint64_t own = join_block<Larger>(scan_tiles(p, logits, bins), histogram.scratch);
    if (threadIdx.x == 0) atomicMax((unsigned long long *)&state.best, own);
    const uint32_t counted = histogram.keys[threadIdx.x];
    if (counted > 0) atomicAdd(bin, counted);
    if (!last_to_arrive(&state.arrivals)) return;

    const uint64_t best = state.best;
    uint32_t bound = sampling::ORDERED_FAULT;  // nothing is listed
    if (wanted > 0) {
        const uint32_t count = *bin;
        *bin = 0;
        bound = bound_of_rank(count, wanted, histogram);
        bound = max(bound, sampling::ORDERED_MINUS_INFINITY + 1);
    }
    __syncthreads();  // every thread has read the state
    if (threadIdx.x != 0) return;
    state.best = 0;
    state.scan = SelectionScan{best, bound, 0};
}

// The `wanted` first tokens of the list, in order, with their log-probabilities.
__device__ __forceinline__ void write_top(const LogprobsParams &p, const uint64_t *keys,
                                          uint32_t length, uint32_t wanted, float most,
                                          float ln_sum, Histogram &histogram) {
    __shared__ uint64_t kept[LOGPROBS_TOP_MAX];
    __shared__ uint32_t kept_count;
    uint64_t last = 0;
    if (length > wanted) {
        const auto list = [&](uint32_t i) { return keys[i]; };
        const auto one = [](uint64_t) { return (uint64_t)1; };
        last = cut(list, length, 0, ~0ull, wanted, one, histogram);
    }
    if (threadIdx.x == 0) kept_count = 0;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < length; i += THREADS) {
        if (keys[i] >= last) kept[atomicAdd(&kept_count, 1)] = keys[i];
    }
    __syncthreads();
    if (threadIdx.x == 0) p.top_counts[blockIdx.y] = kept_count;
    if (threadIdx.x >= kept_count) return;
    const uint64_t own = kept[threadIdx.x];
    uint32_t rank = 0;
    for (uint32_t i = 0; i < kept_count; i++) rank += kept[i] > own;
    const uint32_t place = blockIdx.y * LOGPROBS_TOP_MAX + rank;
    p.top_tokens[place] = sampling::key_id(own);
    p.top_logprobs[place] = (sampling::key_value(own) - most) - ln_sum;
}

__device__ __forceinline__ void choose(const LogprobsParams &p) {
    __shared__ Histogram histogram;
    __shared__ Shared shared;
    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    load_row(shared, p);
    if (shared.wanted == LOGPROBS_SKIP) return;
    if (is_fault(shared.scan.top)) {
        if (blockIdx.x == 0 && threadIdx.x == 0) {
            p.logprobs[blockIdx.y] = __uint_as_float(0x7fffffff);
            p.top_counts[blockIdx.y] = 0;
        }
        return;
    }
    SelectionState &state = p.states[blockIdx.y];
    const float *logits = p.logits + (uint64_t)blockIdx.y * p.stride;
    const float most = sampling::key_value(shared.scan.top);
    uint64_t *const keys = p.candidates + (uint64_t)blockIdx.y * p.vocab;
    const uint32_t first = blockIdx.x * p.tiles_per_block;
    const uint32_t end = min(first + p.tiles_per_block, tiles_of(p.vocab));
    uint64_t mass = 0;
    for (uint32_t tile = first; tile < end; tile++) {
        Part part;
        load_part(part, logits, tile, p.vocab);
        list_part(keys, &state.candidates, part, tile, shared.scan.bound);
        mass += weigh_part(part, most);
    }
    mass = join_block<Plus>(mass, histogram.scratch);
    if (threadIdx.x == 0) atomicAdd((unsigned long long *)&state.mass, mass);
    if (!last_to_arrive(&state.arrivals)) return;

    const float ln_sum = sampling::ln_weight(state.mass);
    const uint32_t length = state.candidates;
    __syncthreads();  // every thread has read the state
    if (threadIdx.x == 0) {
        if (shared.token >= p.vocab) ptx::trap();
        // A sum with 0 makes both zeros one, as keys do.
        const float x = logits[shared.token] + 0.0f;
        p.logprobs[blockIdx.y] = (x - most) - ln_sum;
        state.mass = 0;
        state.candidates = 0;
    }
    write_top(p, keys, length, shared.wanted, most, ln_sum, histogram);
}

// Instances: the list of what is supported.
KERNEL(logprobs_scan_f32, LogprobsParams, SAMPLE_THREADS, 8) { scan(p); }
KERNEL(logprobs_choose_f32, LogprobsParams, SAMPLE_THREADS) { choose(p); }
