// Arguments of attention_decode and attention_prefill, and the work that the host plans for them.

#ifndef RIDGEPOINT_PARAMS_ATTENTION_H
#define RIDGEPOINT_PARAMS_ATTENTION_H

#include "params_common.h"

/// Tokens whose keys and values one block of `attention_decode` takes: a chunk begins at a
/// multiple of it. Part of the order of sums, so another number gives other bits.
static const uint32_t ATTENTION_CHUNK = 256;

/// Most columns of a block of `attention_decode`. A column is one query head at one position;
/// those of a key/value head are numbered position by position.
static const uint32_t ATTENTION_COLUMNS = 32;

/// Threads in a block of `attention_decode` and of `attention_prefill`. In decode, warp i takes
/// page i of the chunk, so the number is part of the order of sums.
static const uint32_t ATTENTION_THREADS = 128;

/// Tokens of a tile of keys and values of `attention_prefill` on Hopper: two pages, beginning at a
/// multiple of it. Part of the order of sums.
static const uint32_t ATTENTION_KV_TILE = 128;

/// Work that the host plans for `attention_decode`: a chunk of a sequence under some columns, for
/// each key/value head. A sector of 32 bytes, so that a block starts after one read.
typedef struct AttentionItem {
    /// First row of the sequence in the batch.
    uint32_t row;
    /// Position of that row. The rows after it have the next positions. `KV_NO_SLOT`: the rows pad
    /// the batch, see nothing, and become zero.
    uint32_t position;
    /// The sequence's row of the block tables.
    uint32_t table;
    /// Number of the chunk: its tokens begin at position `chunk * ATTENTION_CHUNK`.
    uint32_t chunk;
    /// First column, a multiple of `ATTENTION_COLUMNS`. Column c of key/value head h is row
    /// `c / group` of the sequence under query head `h * group + c % group`.
    uint32_t first_column;
    /// Columns, 1 to `ATTENTION_COLUMNS`.
    uint32_t columns;
    /// Fill the sector. Zero.
    uint32_t reserved[2];
} AttentionItem;

/// Arguments of `attention_decode`: causal attention of few rows of each sequence over its pages.
typedef struct AttentionDecodeParams {
    /// Rotated queries, bf16 `[rows, q_heads, head_dim]`.
    DEVICE_PTR(const uint16_t) q;
    /// Keys of this layer as `RopeAppendParams` has them.
    DEVICE_PTR(const uint16_t) k_pages;
    /// Values of this layer, laid out like the keys.
    DEVICE_PTR(const uint16_t) v_pages;
    /// Pages of each sequence in order, `[tables, table_stride]`. Entries past a sequence's last
    /// row, or before all its windows, are not read.
    DEVICE_PTR(const uint32_t) block_tables;
    /// Number of items.
    DEVICE_PTR(const uint32_t) item_count;
    /// The work, `[item_count]`. Blocks share out the pairs of item and key/value head.
    DEVICE_PTR(const AttentionItem) items;
    /// Weighted values, bf16 `[rows, q_heads, head_dim]`, written whole.
    DEVICE_PTR(uint16_t) out;
    /// Sums of weighted values of a chunk, f32 `[rows, q_heads, chunk_stride, head_dim]`.
    DEVICE_PTR(float) partials;
    /// Maximum and sum of weights of a chunk, f32 `[rows, q_heads, chunk_stride, 2]`.
    DEVICE_PTR(float) partial_weights;
    /// Counts the blocks that have finished a chunk, `[rows, kv_heads]`; zero before and after.
    DEVICE_PTR(uint32_t) arrivals;
    /// Query heads, `group` for each key/value head.
    uint32_t q_heads;
    /// Key/value heads.
    uint32_t kv_heads;
    /// Entries of a block table.
    uint32_t table_stride;
    /// Chunks that `partials` has room for.
    uint32_t chunk_stride;
    /// Positions that a row sees, itself included: at most 2^31, which is all.
    uint32_t window;
    /// What scores are multiplied by to become exponents of 2: `log2(e) / sqrt(head_dim)`.
    float scale_log2;
} AttentionDecodeParams;

/// Work that the host plans for `attention_prefill`: neighbouring rows of one sequence, for each
/// query head.
typedef struct AttentionTile {
    /// First row in the batch.
    uint32_t row;
    /// Rows: at least 1, at most those of the variant's tile.
    uint32_t rows;
    /// Position of the first row. The rows after it have the next positions.
    uint32_t position;
    /// The sequence's row of the block tables.
    uint32_t table;
} AttentionTile;

/// Arguments of `attention_prefill`: causal attention of many rows of a sequence over its pages.
typedef struct AttentionPrefillParams {
    /// Rotated queries, bf16 `[rows, q_heads, head_dim]`.
    DEVICE_PTR(const uint16_t) q;
    /// Keys of this layer as `RopeAppendParams` has them.
    DEVICE_PTR(const uint16_t) k_pages;
    /// Values of this layer, laid out like the keys.
    DEVICE_PTR(const uint16_t) v_pages;
    /// Pages of each sequence in order, `[tables, table_stride]`. Entries past a sequence's last
    /// row, or before all its windows, are not read.
    DEVICE_PTR(const uint32_t) block_tables;
    /// The work, `[tile_count]`, each for every query head. The portable kernels have a block for
    /// each, tiles along y and query heads along x; in Hopper's, blocks share them out.
    DEVICE_PTR(const AttentionTile) tiles;
    /// Weighted values, bf16 `[rows, q_heads, head_dim]`; the rows of the tiles are written.
    DEVICE_PTR(uint16_t) out;
    /// Query heads, `group` for each key/value head.
    uint32_t q_heads;
    /// Key/value heads.
    uint32_t kv_heads;
    /// Entries of a block table.
    uint32_t table_stride;
    /// Positions that a row sees, itself included: at most 2^31, which is all.
    uint32_t window;
    /// What scores are multiplied by to become exponents of 2: `log2(e) / sqrt(head_dim)`.
    float scale_log2;
    /// Tiles.
    uint32_t tile_count;
} AttentionPrefillParams;

#endif
