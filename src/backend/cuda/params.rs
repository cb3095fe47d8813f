//! Launch arguments and constants that host and kernels share. Made by `make params` from
//! kernels/params.h, where to change them.
//!
//! Header: a047046ddbcc6c196ba2f81114949050

#[doc = " Tokens in one page of the KV cache."]
pub const KV_PAGE_TOKENS: u32 = 64;
#[doc = " Elements of bf16 in the 16 bytes that a thread loads or stores at once. Rows whose length the\n kernels take in vectors must be a multiple of it."]
pub const BF16_VECTOR: u32 = 8;
#[doc = " Threads in a block of `embed`. One thread copies one vector, so a row takes\n `ceil(hidden / (EMBED_THREADS * BF16_VECTOR))` blocks along y and the tokens lie along x."]
pub const EMBED_THREADS: u32 = 128;
#[doc = " Arguments of `embed`: rows of the embedding table, picked by token id."]
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct EmbedParams {
    #[doc = " Embedding table, bf16 `[vocab, hidden]`."]
    pub table: u64,
    #[doc = " Token ids, `[tokens]`, each below `vocab`."]
    pub token_ids: u64,
    #[doc = " Hidden states, bf16 `[tokens, hidden]`, written whole."]
    pub out: u64,
    #[doc = " Rows to write: the x size of the grid."]
    pub tokens: u32,
    #[doc = " Elements in a row, a multiple of `BF16_VECTOR`."]
    pub hidden: u32,
    #[doc = " Rows of the table. A token id at or above it stops the kernel with a trap."]
    pub vocab: u32,
    #[doc = " Keeps the size a multiple of 8 without implicit padding. Zero."]
    pub reserved: u32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of EmbedParams"][::std::mem::size_of::<EmbedParams>() - 40usize];
    ["Alignment of EmbedParams"][::std::mem::align_of::<EmbedParams>() - 8usize];
    ["Offset of field: EmbedParams::table"][::std::mem::offset_of!(EmbedParams, table) - 0usize];
    ["Offset of field: EmbedParams::token_ids"]
        [::std::mem::offset_of!(EmbedParams, token_ids) - 8usize];
    ["Offset of field: EmbedParams::out"][::std::mem::offset_of!(EmbedParams, out) - 16usize];
    ["Offset of field: EmbedParams::tokens"][::std::mem::offset_of!(EmbedParams, tokens) - 24usize];
    ["Offset of field: EmbedParams::hidden"][::std::mem::offset_of!(EmbedParams, hidden) - 28usize];
    ["Offset of field: EmbedParams::vocab"][::std::mem::offset_of!(EmbedParams, vocab) - 32usize];
    ["Offset of field: EmbedParams::reserved"]
        [::std::mem::offset_of!(EmbedParams, reserved) - 36usize];
};
