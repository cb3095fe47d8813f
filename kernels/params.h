// Launch arguments of every kernel and the constants that host and device share: the one
// definition of both. Plain C with <stdint.h> alone, because three compilers read it: nvcc for the
// kernels, libclang for `make params`, which writes src/backend/cuda/params.rs, and a C compiler
// in anyone's binding.
//
// Each kernel takes exactly one of these structs, by value. The driver checks neither the number
// nor the order nor the type of launch arguments, so a struct whose size and offsets both sides
// assert is the only argument list that cannot be got wrong in silence.

#ifndef RIDGEPOINT_PARAMS_H
#define RIDGEPOINT_PARAMS_H

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

/// Threads in a block of `embed`. One thread copies one vector, so a row takes
/// `ceil(hidden / (EMBED_THREADS * BF16_VECTOR))` blocks along y and the tokens lie along x.
static const uint32_t EMBED_THREADS = 128;

/// Arguments of `embed`: rows of the embedding table, picked by token id.
typedef struct EmbedParams {
    /// Embedding table, bf16 `[vocab, hidden]`.
    DEVICE_PTR(const uint16_t) table;
    /// Token ids, `[tokens]`, each below `vocab`.
    DEVICE_PTR(const uint32_t) token_ids;
    /// Hidden states, bf16 `[tokens, hidden]`, written whole.
    DEVICE_PTR(uint16_t) out;
    /// Rows to write: the x size of the grid.
    uint32_t tokens;
    /// Elements in a row, a multiple of `BF16_VECTOR`.
    uint32_t hidden;
    /// Rows of the table. A token id at or above it stops the kernel with a trap.
    uint32_t vocab;
    /// Keeps the size a multiple of 8 without implicit padding. Zero.
    uint32_t reserved;
} EmbedParams;

#endif
