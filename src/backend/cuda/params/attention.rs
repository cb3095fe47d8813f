//! Launch arguments and constants that host and kernels share. Made by `make params` from
//! kernels/params.h and what it includes, where to change them.
//!
//! Headers: df4b403344dcaac622a730af92e1c12c

/// Tokens whose keys and values one block of `attention_decode` takes: a chunk begins at a
/// multiple of it. Part of the order of sums, so another number gives other bits.
pub const ATTENTION_CHUNK: u32 = 256;
/// Most columns of a block of `attention_decode`. A column is one query head at one position;
/// those of a key/value head are numbered position by position.
pub const ATTENTION_COLUMNS: u32 = 32;
/// Threads in a block of `attention_decode` and of `attention_prefill`. In decode, warp i takes
/// page i of the chunk, so the number is part of the order of sums.
pub const ATTENTION_THREADS: u32 = 128;
/// Tokens of a tile of keys and values of `attention_prefill` on Hopper: two pages, beginning at a
/// multiple of it. Part of the order of sums.
pub const ATTENTION_KV_TILE: u32 = 128;
/// Work that the host plans for `attention_decode`: a chunk of a sequence under some columns, for
/// each key/value head. A sector of 32 bytes, so that a block starts after one read.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AttentionItem {
    /// First row of the sequence in the batch.
    pub row: u32,
    /// Position of that row. The rows after it have the next positions. `KV_NO_SLOT`: the rows pad
    /// the batch, see nothing, and become zero.
    pub position: u32,
    /// The sequence's row of the block tables.
    pub table: u32,
    /// Number of the chunk: its tokens begin at position `chunk * ATTENTION_CHUNK`.
    pub chunk: u32,
    /// First column, a multiple of `ATTENTION_COLUMNS`. Column c of key/value head h is row
    /// `c / group` of the sequence under query head `h * group + c % group`.
    pub first_column: u32,
    /// Columns, 1 to `ATTENTION_COLUMNS`.
    pub columns: u32,
    /// Fill the sector. Zero.
    pub reserved: [u32; 2usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionItem"][::std::mem::size_of::<AttentionItem>() - 32usize];
    ["Alignment of AttentionItem"][::std::mem::align_of::<AttentionItem>() - 4usize];
    ["Offset of field: AttentionItem::row"][::std::mem::offset_of!(AttentionItem, row) - 0usize];
    ["Offset of field: AttentionItem::position"]
        [::std::mem::offset_of!(AttentionItem, position) - 4usize];
    ["Offset of field: AttentionItem::table"]
        [::std::mem::offset_of!(AttentionItem, table) - 8usize];
    ["Offset of field: AttentionItem::chunk"]
        [::std::mem::offset_of!(AttentionItem, chunk) - 12usize];
    ["Offset of field: AttentionItem::first_column"]
        [::std::mem::offset_of!(AttentionItem, first_column) - 16usize];
    ["Offset of field: AttentionItem::columns"]
        [::std::mem::offset_of!(AttentionItem, columns) - 20usize];
    ["Offset of field: AttentionItem::reserved"]
        [::std::mem::offset_of!(AttentionItem, reserved) - 24usize];
};
/// Arguments of `attention_decode`: causal attention of few rows of each sequence over its pages.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AttentionDecodeParams {
    /// Rotated queries, bf16 `[rows, q_heads, head_dim]`.
    pub q: u64,
    /// Keys of this layer as `RopeAppendParams` has them.
    pub k_pages: u64,
    /// Values of this layer, laid out like the keys.
    pub v_pages: u64,
    /// Pages of each sequence in order, `[tables, table_stride]`. Entries past a sequence's last
    /// row, or before all its windows, are not read.
    pub block_tables: u64,
    /// Number of items.
    pub item_count: u64,
    /// The work, `[item_count]`. Blocks share out the pairs of item and key/value head.
    pub items: u64,
    /// Weighted values, bf16 `[rows, q_heads, head_dim]`, written whole.
    pub out: u64,
    /// Sums of weighted values of a chunk, f32 `[rows, q_heads, chunk_stride, head_dim]`.
    pub partials: u64,
    /// Maximum and sum of weights of a chunk, f32 `[rows, q_heads, chunk_stride, 2]`.
    pub partial_weights: u64,
    /// Counts the blocks that have finished a chunk, `[rows, kv_heads]`; zero before and after.
    pub arrivals: u64,
    /// Query heads, `group` for each key/value head.
    pub q_heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Entries of a block table.
    pub table_stride: u32,
    /// Chunks that `partials` has room for.
    pub chunk_stride: u32,
    /// Positions that a row sees, itself included: at most 2^31, which is all.
    pub window: u32,
    /// What scores are multiplied by to become exponents of 2: `log2(e) / sqrt(head_dim)`.
    pub scale_log2: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionDecodeParams"][::std::mem::size_of::<AttentionDecodeParams>() - 104usize];
    ["Alignment of AttentionDecodeParams"]
        [::std::mem::align_of::<AttentionDecodeParams>() - 8usize];
    ["Offset of field: AttentionDecodeParams::q"]
        [::std::mem::offset_of!(AttentionDecodeParams, q) - 0usize];
    ["Offset of field: AttentionDecodeParams::k_pages"]
        [::std::mem::offset_of!(AttentionDecodeParams, k_pages) - 8usize];
    ["Offset of field: AttentionDecodeParams::v_pages"]
        [::std::mem::offset_of!(AttentionDecodeParams, v_pages) - 16usize];
    ["Offset of field: AttentionDecodeParams::block_tables"]
        [::std::mem::offset_of!(AttentionDecodeParams, block_tables) - 24usize];
    ["Offset of field: AttentionDecodeParams::item_count"]
        [::std::mem::offset_of!(AttentionDecodeParams, item_count) - 32usize];
    ["Offset of field: AttentionDecodeParams::items"]
        [::std::mem::offset_of!(AttentionDecodeParams, items) - 40usize];
    ["Offset of field: AttentionDecodeParams::out"]
        [::std::mem::offset_of!(AttentionDecodeParams, out) - 48usize];
    ["Offset of field: AttentionDecodeParams::partials"]
        [::std::mem::offset_of!(AttentionDecodeParams, partials) - 56usize];
    ["Offset of field: AttentionDecodeParams::partial_weights"]
        [::std::mem::offset_of!(AttentionDecodeParams, partial_weights) - 64usize];
    ["Offset of field: AttentionDecodeParams::arrivals"]
        [::std::mem::offset_of!(AttentionDecodeParams, arrivals) - 72usize];
    ["Offset of field: AttentionDecodeParams::q_heads"]
        [::std::mem::offset_of!(AttentionDecodeParams, q_heads) - 80usize];
    ["Offset of field: AttentionDecodeParams::kv_heads"]
        [::std::mem::offset_of!(AttentionDecodeParams, kv_heads) - 84usize];
    ["Offset of field: AttentionDecodeParams::table_stride"]
        [::std::mem::offset_of!(AttentionDecodeParams, table_stride) - 88usize];
    ["Offset of field: AttentionDecodeParams::chunk_stride"]
        [::std::mem::offset_of!(AttentionDecodeParams, chunk_stride) - 92usize];
    ["Offset of field: AttentionDecodeParams::window"]
        [::std::mem::offset_of!(AttentionDecodeParams, window) - 96usize];
    ["Offset of field: AttentionDecodeParams::scale_log2"]
        [::std::mem::offset_of!(AttentionDecodeParams, scale_log2) - 100usize];
};
/// Work that the host plans for `attention_prefill`: neighbouring rows of one sequence, for each
/// query head.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AttentionTile {
    /// First row in the batch.
    pub row: u32,
    /// Rows: at least 1, at most those of the variant's tile.
    pub rows: u32,
    /// Position of the first row. The rows after it have the next positions.
    pub position: u32,
    /// The sequence's row of the block tables.
    pub table: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionTile"][::std::mem::size_of::<AttentionTile>() - 16usize];
    ["Alignment of AttentionTile"][::std::mem::align_of::<AttentionTile>() - 4usize];
    ["Offset of field: AttentionTile::row"][::std::mem::offset_of!(AttentionTile, row) - 0usize];
    ["Offset of field: AttentionTile::rows"][::std::mem::offset_of!(AttentionTile, rows) - 4usize];
    ["Offset of field: AttentionTile::position"]
        [::std::mem::offset_of!(AttentionTile, position) - 8usize];
    ["Offset of field: AttentionTile::table"]
        [::std::mem::offset_of!(AttentionTile, table) - 12usize];
};
/// Arguments of `attention_prefill`: causal attention of many rows of a sequence over its pages.
#[repr(C)]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AttentionPrefillParams {
    /// Rotated queries, bf16 `[rows, q_heads, head_dim]`.
    pub q: u64,
    /// Keys of this layer as `RopeAppendParams` has them.
    pub k_pages: u64,
    /// Values of this layer, laid out like the keys.
    pub v_pages: u64,
    /// Pages of each sequence in order, `[tables, table_stride]`. Entries past a sequence's last
    /// row, or before all its windows, are not read.
    pub block_tables: u64,
    /// The work, `[tile_count]`, each for every query head. The portable kernels have a block for
    /// each, tiles along y and query heads along x; in Hopper's, blocks share them out.
    pub tiles: u64,
    /// Weighted values, bf16 `[rows, q_heads, head_dim]`; the rows of the tiles are written.
    pub out: u64,
    /// Query heads, `group` for each key/value head.
    pub q_heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Entries of a block table.
    pub table_stride: u32,
    /// Positions that a row sees, itself included: at most 2^31, which is all.
    pub window: u32,
    /// What scores are multiplied by to become exponents of 2: `log2(e) / sqrt(head_dim)`.
    pub scale_log2: f32,
    /// Tiles.
    pub tile_count: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of AttentionPrefillParams"][::std::mem::size_of::<AttentionPrefillParams>() - 72usize];
    ["Alignment of AttentionPrefillParams"]
        [::std::mem::align_of::<AttentionPrefillParams>() - 8usize];
    ["Offset of field: AttentionPrefillParams::q"]
        [::std::mem::offset_of!(AttentionPrefillParams, q) - 0usize];
    ["Offset of field: AttentionPrefillParams::k_pages"]
        [::std::mem::offset_of!(AttentionPrefillParams, k_pages) - 8usize];
    ["Offset of field: AttentionPrefillParams::v_pages"]
        [::std::mem::offset_of!(AttentionPrefillParams, v_pages) - 16usize];
    ["Offset of field: AttentionPrefillParams::block_tables"]
        [::std::mem::offset_of!(AttentionPrefillParams, block_tables) - 24usize];
    ["Offset of field: AttentionPrefillParams::tiles"]
        [::std::mem::offset_of!(AttentionPrefillParams, tiles) - 32usize];
    ["Offset of field: AttentionPrefillParams::out"]
        [::std::mem::offset_of!(AttentionPrefillParams, out) - 40usize];
    ["Offset of field: AttentionPrefillParams::q_heads"]
        [::std::mem::offset_of!(AttentionPrefillParams, q_heads) - 48usize];
    ["Offset of field: AttentionPrefillParams::kv_heads"]
        [::std::mem::offset_of!(AttentionPrefillParams, kv_heads) - 52usize];
    ["Offset of field: AttentionPrefillParams::table_stride"]
        [::std::mem::offset_of!(AttentionPrefillParams, table_stride) - 56usize];
    ["Offset of field: AttentionPrefillParams::window"]
        [::std::mem::offset_of!(AttentionPrefillParams, window) - 60usize];
    ["Offset of field: AttentionPrefillParams::scale_log2"]
        [::std::mem::offset_of!(AttentionPrefillParams, scale_log2) - 64usize];
    ["Offset of field: AttentionPrefillParams::tile_count"]
        [::std::mem::offset_of!(AttentionPrefillParams, tile_count) - 68usize];
};
