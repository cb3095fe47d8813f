//! The KV cache's bookkeeping: which pages exist and which are free. It knows no device.

pub mod pool;

pub use pool::PagePool;

/// Tokens of one KV page.
pub const PAGE_SIZE: usize = 64;

/// A page of the KV pool; the same number in every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u32);

/// The pages that hold `tokens` tokens.
pub fn pages_for(tokens: usize) -> usize {
    tokens.div_ceil(PAGE_SIZE)
}
