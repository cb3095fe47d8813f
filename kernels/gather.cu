// gather: copies the rows of a normed tensor whose logits are wanted, with their sums of squares.
//
//   x             bf16 [x_rows, width]   rows times a norm's weight, 16-byte aligned
//   squares       f32  [x_rows, width / NORM_GROUP]
//   row_ids       u32  [rows]
//   out           bf16 [rows, width]     width a multiple of NORM_GROUP
//   out_squares   f32  [rows, width / NORM_GROUP]
//
// A copy, so a row's bits depend on nothing else. Floor: rows * (4.5 * width + 4) bytes.
//
// Grid: x = rows, y = slices of GATHER_THREADS vectors of a row. Of two threads that share a group
// of NORM_GROUP the first copies its sum.
//
// Held by tests/device/gather.rs.

#include "common.cuh"

__device__ __forceinline__ void gather_vector(const GatherParams &p) {
    ptx::griddepcontrol_launch_dependents();
    ptx::griddepcontrol_wait();
    const uint32_t column = (blockIdx.y * GATHER_THREADS + threadIdx.x) * BF16_VECTOR;
    if (column >= p.width) return;

    const uint32_t from = p.row_ids[blockIdx.x];
    if (from >= p.x_rows) ptx::trap();

    const uint64_t source = (uint64_t)from * p.width + column;
    const uint64_t target = (uint64_t)blockIdx.x * p.width + column;
    *reinterpret_cast<uint4 *>(p.out + target) = *reinterpret_cast<const uint4 *>(p.x + source);
    if (column % NORM_GROUP == 0) {
        p.out_squares[target / NORM_GROUP] = p.squares[source / NORM_GROUP];
    }
}

// Instances: the list of what is supported.
KERNEL(gather_bf16, GatherParams, GATHER_THREADS) { gather_vector(p); }
