// gemm_prefill_sm90: out = epilogue(x W^T) for many rows of x, at the speed of Hopper's tensor
// cores.
//
//   x        bf16 [rows, k]   16-byte aligned, k a multiple of 16
//   W        bf16 [n, k]      row-major, 16-byte aligned; or
//            int4 [n, k]      packed by repack.rs in groups of 128 or 64, 16-byte aligned
//   the others as GemmParams says; n any number, with a residual or SwiGLU a multiple of 16
//
// As in the portable kernels W is the A operand and the tokens are the B operand: int4 weights have
// to pass through registers, from which wgmma takes A alone, and the sums come out as those of
// mma, 16 features by 8 tokens, so that the epilogue is the same. Hence the width of a tile along
// the tokens is free. bf16 weights lie row-major on the device, as a tensor copy takes them. Of
// int4 weights a lane's words for 64 columns are one access of 16 bytes, in the order in which
// wgmma wants A: the order that the decode family streams serves this one too.
//
// A block takes 128 features and 256, 128, 64 or 32 tokens (int4 at most 128) in three
// warpgroups. Two compute 64 features each. One thread of the third starts copies into a ring of
// stages; three warps of it compute 1 / rms of the tile's rows meanwhile. Two blocks whose features
// are neighbours form a cluster: each fetches half of the tokens for both. Blocks stay and take
// tile after tile, so that the copies for the next tile run during the epilogue. Weights of the
// first stages are fetched before the grids before this one have ended.
//
// The order of a sum is that of gemm_prefill.cu: with bf16 weights one chain of accumulators takes
// all of K, ascending by 16; with int4 weights one chain takes each group, ascending by 16, and
// groups are added in ascending order, each by one fma with its scale. A row has the same bits in
// every tile width, and whatever is beside it.
//
// Floor: 2 rows n k flops. Requested are the weights (2 n k bytes, or for each 64 features that
// begin in n the units of repack.rs) once for each tile of tokens, 2 k bytes a row of x for each
// two tiles of features, and with a norm k / 4 more for each tile of features.
//
// Performance model, for an H100 or H200 of 132 SMs that do 2048 multiplications a clock and get
// about 32 bytes a clock from L2, each. Of 64 columns, a tile of 256 tokens with bf16 weights takes
// 1024 clocks of the tensor cores and asks L2 for 16 KiB of weights and 16 KiB of tokens, 32 bytes
// a clock (128 tokens: 48; without clusters 48 and 64): 128 flops a byte, just at the ridge. Stages
// are 48 KiB, and 3 of 4 are under way, 144 KiB or 4600 clocks of L2's rate, against a latency of
// about 1000. int4 weights at 128 tokens: 512 clocks for 4.1 KiB of weights and 8 KiB of tokens, 24
// bytes a clock. The sums of a group are another 64 registers beside the 64 of the tile, which is
// why a tile has 128 tokens. A warp issues about 190 instructions for 128 columns (converting 44 a
// k64, 64 fma) in the 1024 clocks that both warpgroups' products take; two warps share a
// scheduler, so 40 % of its slots. While one warpgroup waits for its group and adds it, the other's
// products run.
// wgmma with 64 x 256 sums reads 10 KiB of shared memory in 128 clocks, of 16 KiB that it could.
// The epilogue of a tile takes about 5000 clocks in which the tensor cores rest: 7 % at K = 4096
// with 256 tokens. A power-limited H200 reaches 790 TFLOP/s on random data; expected of that are
// 90 % with bf16 weights, and 85 % with int4 ones, from 2048 rows on. Below, tiles are narrower and
// the rate of L2 is the limit.
//
// Measured: nothing yet. To be tried first on a GPU: 256 tokens against 128 with two blocks that
// take turns (epilogue under the other's products); clusters of 2 along the tokens, which share
// weights instead; and the depth of the raster (GEMM_SM90_RASTER_TOKENS), which decides what L2
// keeps.
//
// Grid: x = clusters of two blocks, at most as many as fit on the device at once.
//
// Held by tests/device/gemm_prefill.rs, gemm_hopper.rs, gemm_traffic.rs and gemm_kernels.rs, and
// tests/static_gates.rs.

#include "gemm_sm90.cuh"

template <class Stage>
__device__ __forceinline__ uint32_t steps_of(const GemmParams &p) {
    return (p.k + Stage::K - 1) / Stage::K;
}

// The products of one warpgroup, 64 features by TOKENS tokens, with weights in bf16: wgmma reads
// both from shared memory.
template <uint32_t TOKENS_>
struct Bf16Stage {
    static constexpr uint32_t TOKENS = TOKENS_;
    static constexpr uint32_t K = GEMM_SM90_BOX_K;
    static constexpr uint32_t WEIGHT_BYTES = GEMM_SM90_FEATURES * SWIZZLE_BYTES;

    float sum[TOKENS / 2];

    static __device__ __forceinline__ uint32_t weight_bytes(const GemmParams &p,
                                                            const Place &place, uint32_t) {
        return place.feature < p.n ? WEIGHT_BYTES : 0;
    }

    static __device__ __forceinline__ void copy_weights(const GemmTensorParams &p,
                                                        const Place &place, uint32_t step,
                                                        uint32_t target, uint32_t barrier) {
        ptx::cp_async_bulk_tensor_2d(target, &p.weight_map, step * K, place.feature, barrier);
    }

    // `consumer`: the first or the second 64 features.
    template <class Stages, class Cursor>
    __device__ __forceinline__ void multiply(const Stages &ring, Cursor &at, const GemmParams &p,
                                             uint32_t consumer) {
        const uint32_t steps = steps_of<Bf16Stage>(p);
        const uint32_t first = consumer * CONSUMER_FEATURES * SWIZZLE_BYTES;
        uint32_t before = 0;
#pragma unroll 1
        for (uint32_t step = 0; step < steps; step++) {
            mbarrier_wait(ring.full(at.stage), at.phase);
            const uint64_t a = swizzled_rows(ring.weights(at.stage) + first);
            const uint64_t b = swizzled_rows(ring.tokens(at.stage));
            ptx::pin(sum);
            ptx::wgmma_fence();
#pragma unroll
            for (uint32_t k16 = 0; k16 < K / 16; k16++) {
                ptx::wgmma_bf16(sum, a + k16 * SWIZZLED_K16, b + k16 * SWIZZLED_K16, step + k16);
            }
            ptx::wgmma_commit_group();
            ptx::wgmma_wait_group<1>();
            ptx::pin(sum);
            if (step > 0) ring.release(before);
            before = at.stage;
            at.advance();
        }
        ptx::wgmma_wait_group<0>();
        ptx::pin(sum);
        ring.release(before);
    }
};

// The same with weights in int4: the A operand is made in registers. A stage is 128 columns, one
// group or two, of the units of each warpgroup.
template <uint32_t TOKENS_, uint32_t GROUP, bool ZERO_POINTS>
struct Int4Stage {
    static constexpr uint32_t TOKENS = TOKENS_;
    static constexpr uint32_t K = 2 * GEMM_SM90_BOX_K;
    using Unit = Int4Unit<GROUP, ZERO_POINTS>;
    static constexpr uint32_t UNITS = K / GROUP;  // of one consumer in a stage
    static constexpr uint32_t CONSUMER_BYTES = UNITS * Unit::BYTES;
    static constexpr uint32_t WEIGHT_BYTES = CONSUMERS * CONSUMER_BYTES;
    static_assert(INT4_UNIT_ROWS == CONSUMER_FEATURES, "a consumer takes one row of units");

    float sum[TOKENS / 2];
    float group[TOKENS / 2];

    // Rows of units that the tile has.
    static __device__ __forceinline__ uint32_t unit_rows(const GemmParams &p, const Place &place) {
        return place.feature >= p.n ? 0 : place.feature + CONSUMER_FEATURES < p.n ? 2 : 1;
    }

    // Bytes of one row of units in a step.
    static __device__ __forceinline__ uint32_t row_bytes(const GemmParams &p, uint32_t step) {
        return min(UNITS, p.k / GROUP - step * UNITS) * Unit::BYTES;
    }

    static __device__ __forceinline__ uint32_t weight_bytes(const GemmParams &p,
                                                            const Place &place, uint32_t step) {
        return unit_rows(p, place) * row_bytes(p, step);
    }

    static __device__ __forceinline__ void copy_weights(const GemmTensorParams &p,
                                                        const Place &place, uint32_t step,
                                                        uint32_t target, uint32_t barrier) {
        const uint32_t groups = p.gemm.k / GROUP, bytes = row_bytes(p.gemm, step);
        for (uint32_t row = 0; row < unit_rows(p.gemm, place); row++) {
            const uint64_t unit = (uint64_t)(place.feature / INT4_UNIT_ROWS + row) * groups;
            ptx::cp_async_bulk(target + row * CONSUMER_BYTES,
                               p.gemm.weight + (unit + step * UNITS) * Unit::BYTES, bytes,
                               barrier);
        }
    }

    // The pairs of rows g and g + 8 of this warp's sixteen.
    struct Vectors {
        uint32_t scales;
        uint32_t offsets;

        __device__ __forceinline__ void load(uint32_t unit) {
            const uint32_t features = threadIdx.x % WARPGROUP / WARP;
            scales = Unit::row_pair(unit + Unit::SCALES, features);
            offsets = ZERO_POINTS
                          ? Unit::row_pair(unit + Unit::SCALES + Unit::VECTOR_BYTES, features)
                          : Unit::OFFSET_PAIR;
        }
    };

    // This warp's part of the A operand for 64 columns, of which `nibbles` has the weights.
    static __device__ __forceinline__ void convert(uint32_t (&a)[4][4], uint32_t nibbles,
                                                   const Vectors &vectors) {
        const uint4 q = ptx::ld_shared_v4_u32(nibbles + threadIdx.x % WARPGROUP * 16);
        const uint32_t words[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
        for (uint32_t k16 = 0; k16 < 4; k16++) {
            int4_fragment(a[k16], words[k16], __byte_perm(vectors.offsets, 0, 0x1010),
                          __byte_perm(vectors.offsets, 0, 0x3232));
            ptx::pin(a[k16]);
        }
    }

    // Starts the products of 64 columns; `first` of their group.
    __device__ __forceinline__ void start(uint32_t (&a)[4][4], uint32_t tokens, bool first) {
        const uint64_t b = swizzled_rows(tokens);
        ptx::pin(group);
        ptx::wgmma_fence();
#pragma unroll
        for (uint32_t k16 = 0; k16 < 4; k16++) {
            ptx::wgmma_bf16(group, a[k16], b + k16 * SWIZZLED_K16, !first || k16 > 0);
        }
        ptx::wgmma_commit_group();
    }

    // Waits for the products of a group and adds them up.
    __device__ __forceinline__ void add_group(const Vectors &vectors) {
        ptx::wgmma_wait_group<0>();
        ptx::pin(group);
#pragma unroll
        for (uint32_t i = 0; i < TOKENS / 2; i++) {
            const uint32_t scales = vectors.scales;
            const float scale = i % 4 < 2 ? bf16_low(scales) : bf16_high(scales);
            sum[i] = fmaf(scale, group[i], sum[i]);
        }
    }

    template <class Stages, class Cursor>
    __device__ __forceinline__ void multiply(const Stages &ring, Cursor &at, const GemmParams &p,
                                             uint32_t consumer) {
        constexpr uint32_t HALF_BYTES = INT4_UNIT_ROWS * GEMM_SM90_BOX_K / 2;
        constexpr uint32_t SECOND = UNITS == 2 ? Unit::BYTES : HALF_BYTES;
        const uint32_t halves = p.k / GEMM_SM90_BOX_K;
        Vectors of_half[2];
        uint32_t a[2][4][4];
        uint32_t before = 0;
#pragma unroll
        for (uint32_t i = 0; i < TOKENS / 2; i++) sum[i] = 0.0f;
#pragma unroll 1
        for (uint32_t half = 0; half < halves; half += 2) {
            const Vectors last = of_half[UNITS - 1];
            mbarrier_wait(ring.full(at.stage), at.phase);
            const uint32_t weights = ring.weights(at.stage) + consumer * CONSUMER_BYTES;
            const uint32_t tokens = ring.tokens(at.stage);
            of_half[0].load(weights);
            convert(a[0], weights, of_half[0]);
            if (half > 0) {
                add_group(last);
                ring.release(before);
            }
            start(a[0], tokens, true);
            if (UNITS == 1) {
                convert(a[1], weights + SECOND, of_half[0]);
                start(a[1], tokens + Stages::BOX_BYTES, false);
                ptx::wgmma_wait_group<1>();
            } else if (half + 1 < halves) {
                of_half[1].load(weights + SECOND);
                convert(a[1], weights + SECOND, of_half[1]);
                add_group(of_half[0]);
                start(a[1], tokens + Stages::BOX_BYTES, true);
            } else {
                of_half[1] = of_half[0];
            }
            before = at.stage;
            at.advance();
        }
        add_group(of_half[UNITS - 1]);
        ring.release(before);
    }
};

// All tiles, in groups of neighbours along both sides. A cluster takes CLUSTER tiles of features
// at a time and goes on to those that are as many further on as there are clusters.
template <uint32_t TOKENS>
struct Schedule {
    static constexpr uint32_t RASTER = GEMM_SM90_RASTER_TOKENS / TOKENS;
    static constexpr uint32_t FEATURES = GEMM_SM90_CLUSTER * GEMM_SM90_FEATURES;

    uint32_t token_tiles;
    uint32_t feature_tiles;
    uint32_t rank;
    uint32_t steps;

    __device__ __forceinline__ Schedule(const GemmParams &p, uint32_t rank, uint32_t steps)
        : token_tiles((p.rows + TOKENS - 1) / TOKENS),
          feature_tiles((p.n + FEATURES - 1) / FEATURES), rank(rank), steps(steps) {}

    static __device__ __forceinline__ uint32_t first() { return blockIdx.x / GEMM_SM90_CLUSTER; }
    static __device__ __forceinline__ uint32_t next(uint32_t index) {
        return index + gridDim.x / GEMM_SM90_CLUSTER;
    }
    __device__ __forceinline__ uint32_t end() const { return token_tiles * feature_tiles; }

    __device__ __forceinline__ Work work(uint32_t index) const {
        return Work{place(index), 0, steps};
    }

    __device__ __forceinline__ Place place(uint32_t index) const {
        const uint32_t group = index / (RASTER * feature_tiles) * RASTER;
        const uint32_t width = min(token_tiles - group, RASTER);
        const uint32_t within = index - group * feature_tiles;
        return Place{(group + within % width) * TOKENS,
                     within / width * FEATURES + rank * GEMM_SM90_FEATURES};
    }
};

// The ring, with barriers of the two places for 1 / rms.
template <class Stage>
struct PrefillRing : Ring<Stage> {
    __device__ __forceinline__ uint32_t norm_full(uint32_t place) const {
        return this->further(place);
    }
    __device__ __forceinline__ uint32_t norm_empty(uint32_t place) const {
        return this->further(2 + place);
    }

    __device__ __forceinline__ void init() const {
        Ring<Stage>::init();
        for (uint32_t place = 0; place < 2; place++) {
            ptx::mbarrier_init(norm_full(place), SPARE_WARPS);
            ptx::mbarrier_init(norm_empty(place), CONSUMER_WARPS);
        }
        ptx::fence_mbarrier_init();
    }
};

// 1 / rms of each tile's rows, by warps that have nothing else to do, one tile ahead.
template <class Stage>
__device__ __forceinline__ void compute_norms(const PrefillRing<Stage> &ring, const GemmParams &p,
                                              const Schedule<Stage::TOKENS> &schedule,
                                              float *norms) {
    constexpr uint32_t AT_ONCE = 4;
    const uint32_t warp = threadIdx.x / WARP - 1;
    Cursor<2> at;
    for (uint32_t i = schedule.first(); i < schedule.end(); i = schedule.next(i)) {
        const Place tile = schedule.place(i);
        if (tile.feature >= p.n) continue;
        const uint32_t row = tile.row;
        float *place = norms + at.stage * Stage::TOKENS;
        mbarrier_wait(ring.norm_empty(at.stage), at.phase ^ 1);
#pragma unroll 1
        for (uint32_t j = warp * AT_ONCE; j < Stage::TOKENS; j += SPARE_WARPS * AT_ONCE) {
            input_rms<AT_ONCE>(p, row + j, place + j);
        }
        __syncwarp();
        if (threadIdx.x % WARP == 0) ptx::mbarrier_arrive(ring.norm_full(at.stage));
        at.advance();
    }
}

// A warpgroup multiplies and finishes 64 features of each tile.
template <class Stage>
__device__ __forceinline__ void consume(const PrefillRing<Stage> &ring, const GemmTensorParams &p,
                                        const Schedule<Stage::TOKENS> &schedule, char *storage) {
    using Rings = Ring<Stage>;
    const uint32_t consumer = threadIdx.x / WARPGROUP - 1;
    float *tile = reinterpret_cast<float *>(storage + Rings::SUMS + consumer * Rings::SUM_BYTES);
    const float *norms = reinterpret_cast<const float *>(storage + Rings::NORMS);
    const uint32_t steps = steps_of<Stage>(p.gemm);
    Cursor<Rings::STAGES> at;
    Cursor<2> norm;
    Stage stage;
    for (uint32_t i = schedule.first(); i < schedule.end(); i = schedule.next(i)) {
        const Place place = schedule.place(i);
        const bool exists = place.feature + consumer * CONSUMER_FEATURES < p.gemm.n;
        if (exists) {
            stage.multiply(ring, at, p.gemm, consumer);
        } else {
            // Of an odd number of tiles the last shares its tokens with one that does not exist.
            for (uint32_t step = 0; step < steps; step++) {
                mbarrier_wait(ring.full(at.stage), at.phase);
                ring.release(at.stage);
                at.advance();
            }
        }
        const bool normed = p.gemm.squares != nullptr && place.feature < p.gemm.n;
        if (normed) mbarrier_wait(ring.norm_full(norm.stage), norm.phase);
        if (exists) {
            finish<Stage>(p.gemm, place, consumer, stage.sum, tile,
                          norms + norm.stage * Stage::TOKENS);
        }
        if (normed) {
            __syncwarp();
            if (threadIdx.x % WARP == 0) ptx::mbarrier_arrive(ring.norm_empty(norm.stage));
            norm.advance();
        }
    }
}

template <class Stage>
__device__ __forceinline__ void gemm_prefill_sm90(const GemmTensorParams &p) {
    extern __shared__ __align__(1024) char storage[];

    ptx::griddepcontrol_launch_dependents();
    const PrefillRing<Stage> ring{{ptx::shared_address(storage)}};
    const Schedule<Stage::TOKENS> schedule(p.gemm, ptx::cluster_ctarank(),
                                          steps_of<Stage>(p.gemm));
    if (threadIdx.x == 0) {
        ring.init();
        fetch_ahead(ring, p, schedule);
    }
    __syncwarp();
    ptx::griddepcontrol_wait();
    // Nobody writes to a block, or to its barriers, before they are ready.
    ptx::barrier_cluster_arrive();
    ptx::barrier_cluster_wait();

    const uint32_t warp = threadIdx.x / WARP;
    if (warp < WARPGROUP / WARP) {
        ptx::setmaxnreg_dec<FETCH_REGISTERS>();
        if (threadIdx.x == 0) {
            fetch(ring, p, schedule);
        } else if (warp > 0 && p.gemm.squares != nullptr) {
            compute_norms(ring, p.gemm, schedule,
                          reinterpret_cast<float *>(storage + Ring<Stage>::NORMS));
        }
        __syncwarp();
    } else {
        ptx::setmaxnreg_inc<CONSUMER_REGISTERS>();
        consume(ring, p, schedule, storage);
    }
    // No block ends while the other may still write to it or tell it something.
    ptx::barrier_cluster_arrive();
    ptx::barrier_cluster_wait();
}

// Instances: the list of what is supported.
constexpr uint32_t THREADS = GEMM_SM90_THREADS;
constexpr uint32_t CLUSTER = GEMM_SM90_CLUSTER;
CLUSTER_KERNEL(gemm_prefill_bf16_bf16_m32_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Bf16Stage<32>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_bf16_m64_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Bf16Stage<64>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_bf16_m128_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Bf16Stage<128>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_bf16_m256_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Bf16Stage<256>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_int4g128_m32_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Int4Stage<32, 128, false>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_int4g128_m64_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Int4Stage<64, 128, false>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_int4g128_m128_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Int4Stage<128, 128, false>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_int4g128z_m32_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Int4Stage<32, 128, true>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_int4g128z_m64_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Int4Stage<64, 128, true>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_int4g128z_m128_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Int4Stage<128, 128, true>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_int4g64_m32_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Int4Stage<32, 64, false>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_int4g64_m64_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Int4Stage<64, 64, false>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_int4g64_m128_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Int4Stage<128, 64, false>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_int4g64z_m32_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Int4Stage<32, 64, true>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_int4g64z_m64_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Int4Stage<64, 64, true>>(p);
}
CLUSTER_KERNEL(gemm_prefill_bf16_int4g64z_m128_sm90, GemmTensorParams, CLUSTER, THREADS, 1) {
    gemm_prefill_sm90<Int4Stage<128, 64, true>>(p);
}
