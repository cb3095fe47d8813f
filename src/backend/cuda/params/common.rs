//! Launch arguments and constants that host and kernels share. Made by `make params` from
//! kernels/params.h and what it includes, where to change them.
//!
//! Headers: df4b403344dcaac622a730af92e1c12c

/// Tokens in one page of the KV cache.
pub const KV_PAGE_TOKENS: u32 = 64;
/// Elements of bf16 in the 16 bytes that a thread loads or stores at once. Rows whose length the
/// kernels take in vectors must be a multiple of it.
pub const BF16_VECTOR: u32 = 8;
/// What stands in `RopeAppendParams::slots` for a row whose keys and values are not kept, such as
/// one that pads a batch to the size of a captured graph.
pub const KV_NO_SLOT: u32 = 4294967295;
/// Neighbouring elements of a row whose squares are summed by the kernel that writes the row, so
/// that the product which reads it needs no pass of its own for the norm. Part of the order of
/// that sum.
pub const NORM_GROUP: u32 = 16;
/// How a matrix lies in device memory and in which boxes it is copied to shared memory: what
/// `cuTensorMapEncodeTiled` makes, and nobody else reads. A kernel has it among its arguments.
#[repr(C)]
#[repr(align(128))]
#[derive(Debug, Copy, Clone, bytemuck::Pod, bytemuck::Zeroable)]
pub struct TensorMap {
    /// As the driver made them.
    pub words: [u64; 16usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of TensorMap"][::std::mem::size_of::<TensorMap>() - 128usize];
    ["Alignment of TensorMap"][::std::mem::align_of::<TensorMap>() - 128usize];
    ["Offset of field: TensorMap::words"][::std::mem::offset_of!(TensorMap, words) - 0usize];
};
