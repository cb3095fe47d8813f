// gemm_decode: out = epilogue(x W^T) for few rows of x, where reading W is the cost.
//
//   x        bf16 [rows, k]   16-byte aligned, k a multiple of 16
//   W        bf16 [n, k]      row-major, 16-byte aligned; or
//            int4 [n, k]      packed by repack.rs in groups of 128 or 64, 16-byte aligned; or
//            int8 [n, k]      packed by repack_int8.rs, a scale a row, 16-byte aligned
//   the others as GemmParams says; n any number, with a residual or SwiGLU a multiple of 16
//
// A block takes 64 features, all tokens of a tile of 8, 16 or 32, and with `splits` blocks a tile a
// part of K. Each of its four warps takes a slice of that part and all 64 features, so that it
// needs nobody: it has a ring of stages of its own, filled by asynchronous copies, and the main
// loop is free of block barriers. Weights are read once and leave L2 first. Copies of weights begin
// before the grids before this one have ended; nothing of theirs is touched until then.
//
// The order of a sum follows from (n, k) and the kind of weights alone, so a row has the same bits
// in every tile width: in a slice k ascends by 16 in one chain of accumulators, which with int4
// weights starts anew for each group, whose sum then counts by one fma with its scale; the slices
// of a block are added in ascending order, with int8 weights that sum is multiplied by the row's
// scale, then the sums of the blocks are added, by the last to arrive. A slice is
// [steps * i / slices, steps * (i + 1) / slices) of the steps of K, 64 columns or one group of int4
// weights, with four slices a block.
//
// Floor: the weights, 2 n k bytes or the units of repack.rs, and what the epilogue reads and
// writes; 2 n k flops a row. Requested are, with tiles = ceil(n / 64): the weights once for each
// tile of rows, and tiles * rows * (2 k + k / 4 with a norm) bytes of x and squares, from L2; with
// splits also 8 * splits * rows * 64 * tiles bytes of partial sums, and scales of int8 rows once
// for each split.
//
// The number of stages changes no bit. In flight on an SM are with deep rings, at 8 columns, the
// weights of two blocks of four warps: 2 stages of 8 KiB each (128 KiB), or of int4 3 units of
// groups of 128 (99 KiB) or 7 of groups of 64 (119 KiB), or of int8 3 units (96 KiB). At 16 and 32
// columns one block fits, with half of that, or two at 16 with int8. Shallow rings fit into the 99
// KiB that a block has on compute capability 8.6, 8.9 and 12.x: a block has 32 KiB in flight, of
// int4 16, where the memory of such a device needs about 5 KiB an SM (1 TB/s, 0.6 us, 128 SMs). At
// 8 columns the main loop takes for 32 weights, in PTX instructions of a warp, 1.53 with bf16, 2.5
// with int8, 1.65 with groups of 128 and 2.07 with groups of 64, and with zero points 0.1 and 0.2
// more. A Hopper can issue four in the time that the bytes of 32 int4 weights take, and eight in
// that of int8.
//
// Grid: x = tiles of rows, which share a tile of W in L2, y = tiles of features, z = splits.
//
// Held by tests/device/gemm_decode.rs, gemm_traffic.rs and gemm_kernels.rs.

#include "gemm_decode.cuh"

// The ring of one warp: STAGES stages, each the weights of a step and the tokens' part of it.
template <class Slice>
struct Ring {
    using Tokens = typename Slice::Tokens;
    static constexpr uint32_t STAGE_BYTES = Slice::WEIGHT_BYTES + Tokens::BYTES;
    static constexpr uint32_t BYTES = Slice::STAGES * STAGE_BYTES;
    static constexpr uint32_t AHEAD = Slice::STAGES - 1;
    // Stages whose tokens are loaded at once at the start, through at most 64 registers.
    static constexpr uint32_t BATCH = Tokens::COPIES >= 16           ? 1
                                      : AHEAD * Tokens::COPIES <= 16 ? AHEAD
                                                                     : 16 / Tokens::COPIES;

    uint32_t storage;
    uint32_t first, last;  // the steps of the slice

    __device__ __forceinline__ void begin_weights(const Slice &slice) const {
#pragma unroll
        for (uint32_t s = 0; s < AHEAD; s++) {
            if (first + s < last) slice.copy_weights(storage + s * STAGE_BYTES, first + s);
            ptx::cp_async_commit_group();
        }
    }

    // By plain loads: a group of asynchronous copies counts as done only after all before it, so
    // that the first step would wait for the weights of all stages.
    __device__ __forceinline__ void begin_tokens(const Tokens &tokens) const {
#pragma unroll 1
        for (uint32_t s = 0; s < AHEAD && first + s < last; s += BATCH) {
            tokens.template copy_now<BATCH>(storage + s * STAGE_BYTES + Slice::WEIGHT_BYTES,
                                            STAGE_BYTES, first + s, last);
        }
    }

    __device__ __forceinline__ void run(Slice &slice, const Tokens &tokens) const {
        uint32_t used = storage, filled = storage + AHEAD * STAGE_BYTES;
#pragma unroll 1
        for (uint32_t step = first; step < last; step++) {
            ptx::cp_async_wait_group<AHEAD - 1>();
            // All lanes' copies have arrived, and all lanes have left the stage before.
            __syncwarp();
            if (step + AHEAD < last) {
                slice.copy_weights(filled, step + AHEAD);
                tokens.template copy<false>(filled + Slice::WEIGHT_BYTES, step + AHEAD);
            }
            ptx::cp_async_commit_group();
            slice.multiply(used);
            filled = used;
            used = used == storage + AHEAD * STAGE_BYTES ? storage : used + STAGE_BYTES;
        }
    }
};

// Whether this block is the last of those that share a tile to come here; if so, it sees what the
// others wrote before, and the counter is 0 again.
__device__ __forceinline__ bool last_to_arrive(uint32_t *arrivals, uint32_t blocks) {
    __shared__ bool is_last;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        is_last = atomicInc(arrivals, blocks - 1) == blocks - 1;
        __threadfence();
    }
    __syncthreads();
    return is_last;
}

__device__ __forceinline__ void add(Part &sum, const Part &other) {
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        sum.low[i] += other.low[i];
        sum.high[i] += other.high[i];
    }
}

// `factors`: of the part's first four features; those of the others are 8 features on.
__device__ __forceinline__ void multiply(Part &sum, const float4 *factors) {
    const float4 low = factors[0], high = factors[2];
    const float f[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        sum.low[i] *= f[i];
        sum.high[i] *= f[4 + i];
    }
}

__device__ __forceinline__ Part load_partial(const float *at) {
    const float4 low = *reinterpret_cast<const float4 *>(at);
    const float4 high = *reinterpret_cast<const float4 *>(at + 8);
    return Part{{low.x, low.y, low.z, low.w}, {high.x, high.y, high.z, high.w}};
}

template <class Slice>
__device__ __forceinline__ void gemm_decode(const GemmParams &p) {
    constexpr uint32_t COLUMNS = Slice::COLUMNS;
    constexpr uint32_t THREADS = GEMM_DECODE_WARPS * WARP;
    constexpr uint32_t PARTS = COLUMNS * GEMM_DECODE_FEATURES / 8;
    using Tile = SumTile<GEMM_DECODE_FEATURES>;
    static_assert(COLUMNS * Tile::TOKEN_BYTES <= Ring<Slice>::BYTES, "sums take stages' place");
    extern __shared__ uint4 storage[];
    __shared__ float inverse_rms[COLUMNS];
    __shared__ float4 row_scales[GEMM_DECODE_FEATURES / 4];  // of Slice::ROW_SCALES

    ptx::griddepcontrol_launch_dependents();
    const uint32_t warp = threadIdx.x / WARP;
    const uint32_t row = blockIdx.x * COLUMNS;
    const uint32_t feature = blockIdx.y * GEMM_DECODE_FEATURES;
    char *own = reinterpret_cast<char *>(storage) + warp * Ring<Slice>::BYTES;
    const uint32_t steps = (p.k + Slice::K - 1) / Slice::K;
    const uint32_t slices = p.splits * GEMM_DECODE_WARPS;
    const uint32_t index = blockIdx.z * GEMM_DECODE_WARPS + warp;
    const Ring<Slice> ring{ptx::shared_address(own), steps * index / slices,
                           steps * (index + 1) / slices};
    Slice slice(p);
    ring.begin_weights(slice);

    ptx::griddepcontrol_wait();
    const typename Slice::Tokens tokens(p.x, p.rows, p.k, row, threadIdx.x % WARP);
    // Loaded while the tokens are on their way.
    const bool brings_scales = Slice::ROW_SCALES && threadIdx.x < GEMM_DECODE_FEATURES / 4;
    float4 scales = {};
    if constexpr (Slice::ROW_SCALES) {
        if (brings_scales) scales = Slice::row_scales(p)[threadIdx.x];
    }
    ring.begin_tokens(tokens);
    if (brings_scales) row_scales[threadIdx.x] = scales;
    constexpr uint32_t ROWS = COLUMNS / GEMM_DECODE_WARPS;
    const auto norm = [&] { input_rms<ROWS>(p, row + warp * ROWS, inverse_rms + warp * ROWS); };
    if (p.splits == 1) norm();
    ring.run(slice, tokens);

    // Each warp's sums where its stages were.
    float *tile = reinterpret_cast<float *>(own);
    __syncwarp();
#pragma unroll
    for (uint32_t f = 0; f < GEMM_DECODE_FEATURES / 16; f++) {
#pragma unroll
        for (uint32_t t = 0; t < COLUMNS / 8; t++) Tile::write(tile, f, t, slice.sum[f][t]);
    }
    __syncthreads();

    const auto sum_of_warps = [&](uint32_t part) {
        const float *first = reinterpret_cast<const float *>(storage);
        Part sum = Tile::read(first, part);
#pragma unroll
        for (uint32_t w = 1; w < GEMM_DECODE_WARPS; w++) {
            add(sum, Tile::read(first + w * (Ring<Slice>::BYTES / sizeof(float)), part));
        }
        if constexpr (Slice::ROW_SCALES) {
            multiply(sum, row_scales + Tile::feature(part) / 4);
        }
        return sum;
    };
    if (p.splits == 1) {
        for (uint32_t part = threadIdx.x; part < PARTS; part += THREADS) {
            Part sum = sum_of_warps(part);
            const uint32_t token = Tile::token(part);
            epilogue(p, row + token, feature + Tile::feature(part), inverse_rms[token], sum);
        }
        return;
    }

    const uint32_t width = gridDim.y * GEMM_DECODE_FEATURES;
    const uint64_t distance = (uint64_t)p.rows * width;
    const auto partial = [&](uint32_t part) {
        return p.partials + (uint64_t)(row + Tile::token(part)) * width + feature +
               Tile::feature(part);
    };
    for (uint32_t part = threadIdx.x; part < PARTS; part += THREADS) {
        if (row + Tile::token(part) >= p.rows) continue;
        const Part sum = sum_of_warps(part);
        float *at = partial(part) + blockIdx.z * distance;
        store_four(at, 0, 4, sum.low);
        store_four(at + 8, 0, 4, sum.high);
    }
    if (!last_to_arrive(p.arrivals + blockIdx.y * gridDim.x + blockIdx.x, p.splits)) return;
    norm();
    __syncthreads();
    for (uint32_t part = threadIdx.x; part < PARTS; part += THREADS) {
        const uint32_t token = Tile::token(part);
        Part sum = {};
        if (row + token < p.rows) {
            const float *at = partial(part);
            sum = load_partial(at);
#pragma unroll 4
            for (uint32_t split = 1; split < p.splits; split++) {
                add(sum, load_partial(at + split * distance));
            }
        }
        epilogue(p, row + token, feature + Tile::feature(part), inverse_rms[token], sum);
    }
}

// Instances: the list of what is supported. A shallow ring is there where the deep one takes more
// than 99 KiB.
constexpr uint32_t THREADS = GEMM_DECODE_WARPS * WARP;
KERNEL(gemm_decode_bf16_bf16_m8, GemmParams, THREADS, 2) { gemm_decode<Bf16Slice<8>>(p); }
KERNEL(gemm_decode_bf16_bf16_m16, GemmParams, THREADS, 1) { gemm_decode<Bf16Slice<16>>(p); }
KERNEL(gemm_decode_bf16_bf16_m32, GemmParams, THREADS, 1) { gemm_decode<Bf16Slice<32>>(p); }
KERNEL(gemm_decode_bf16_int8_m8, GemmParams, THREADS, 2) { gemm_decode<Int8Slice<8>>(p); }
KERNEL(gemm_decode_bf16_int8_m16, GemmParams, THREADS, 2) { gemm_decode<Int8Slice<16>>(p); }
KERNEL(gemm_decode_bf16_int8_m32, GemmParams, THREADS, 1) { gemm_decode<Int8Slice<32>>(p); }
KERNEL(gemm_decode_bf16_int4g128_m8, GemmParams, THREADS, 2) {
    gemm_decode<Int4Slice<8, 128, false>>(p);
}
KERNEL(gemm_decode_bf16_int4g128_m16, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<16, 128, false>>(p);
}
KERNEL(gemm_decode_bf16_int4g128_m32, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<32, 128, false>>(p);
}
KERNEL(gemm_decode_bf16_int4g128z_m8, GemmParams, THREADS, 2) {
    gemm_decode<Int4Slice<8, 128, true>>(p);
}
KERNEL(gemm_decode_bf16_int4g128z_m16, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<16, 128, true>>(p);
}
KERNEL(gemm_decode_bf16_int4g128z_m32, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<32, 128, true>>(p);
}
KERNEL(gemm_decode_bf16_int4g64_m8, GemmParams, THREADS, 2) {
    gemm_decode<Int4Slice<8, 64, false>>(p);
}
KERNEL(gemm_decode_bf16_int4g64_m16, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<16, 64, false>>(p);
}
KERNEL(gemm_decode_bf16_int4g64_m32, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<32, 64, false>>(p);
}
KERNEL(gemm_decode_bf16_int4g64z_m8, GemmParams, THREADS, 2) {
    gemm_decode<Int4Slice<8, 64, true>>(p);
}
KERNEL(gemm_decode_bf16_int4g64z_m16, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<16, 64, true>>(p);
}
KERNEL(gemm_decode_bf16_int4g64z_m32, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<32, 64, true>>(p);
}
KERNEL(gemm_decode_bf16_bf16_m8_shallow, GemmParams, THREADS, 2) {
    gemm_decode<Bf16Slice<8, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_bf16_m16_shallow, GemmParams, THREADS, 1) {
    gemm_decode<Bf16Slice<16, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_bf16_m32_shallow, GemmParams, THREADS, 1) {
    gemm_decode<Bf16Slice<32, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_int8_m32_shallow, GemmParams, THREADS, 1) {
    gemm_decode<Int8Slice<32, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_int4g128_m16_shallow, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<16, 128, false, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_int4g128_m32_shallow, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<32, 128, false, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_int4g128z_m8_shallow, GemmParams, THREADS, 2) {
    gemm_decode<Int4Slice<8, 128, true, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_int4g128z_m16_shallow, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<16, 128, true, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_int4g128z_m32_shallow, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<32, 128, true, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_int4g64_m8_shallow, GemmParams, THREADS, 2) {
    gemm_decode<Int4Slice<8, 64, false, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_int4g64_m16_shallow, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<16, 64, false, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_int4g64_m32_shallow, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<32, 64, false, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_int4g64z_m8_shallow, GemmParams, THREADS, 2) {
    gemm_decode<Int4Slice<8, 64, true, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_int4g64z_m16_shallow, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<16, 64, true, Depth::Shallow>>(p);
}
KERNEL(gemm_decode_bf16_int4g64z_m32_shallow, GemmParams, THREADS, 1) {
    gemm_decode<Int4Slice<32, 64, true, Depth::Shallow>>(p);
}
