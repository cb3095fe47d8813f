// What the arguments of several kernels have in common.

#ifndef RIDGEPOINT_PARAMS_COMMON_H
#define RIDGEPOINT_PARAMS_COMMON_H

#include <stdint.h>

// A device address. The host never dereferences one, so there it is a plain number.
#ifdef __CUDACC__
#define DEVICE_PTR(T) T *
#else
#define DEVICE_PTR(T) uint64_t
#endif

/// Tokens in one page of the KV cache.
static const uint32_t KV_PAGE_TOKENS = 64;

/// Elements of bf16 in the 16 bytes that a thread loads or stores at once. Rows whose length the
/// kernels take in vectors must be a multiple of it.
static const uint32_t BF16_VECTOR = 8;

/// What stands in `RopeAppendParams::slots` for a row whose keys and values are not kept, such as
/// one that pads a batch to the size of a captured graph.
static const uint32_t KV_NO_SLOT = 0xffffffff;

/// Neighbouring elements of a row whose squares are summed by the kernel that writes the row, so
/// that the product which reads it needs no pass of its own for the norm. Part of the order of
/// that sum.
static const uint32_t NORM_GROUP = 16;

/// How a matrix lies in device memory and in which boxes it is copied to shared memory: what
/// `cuTensorMapEncodeTiled` makes, and nobody else reads. A kernel has it among its arguments.
typedef struct TensorMap {
    /// As the driver made them.
    uint64_t words[16];
} __attribute__((aligned(128))) TensorMap;

#endif
