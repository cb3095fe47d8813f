//! The bookkeeping of the KV cache: reference counts, the prefix tree, and both against a model.

mod model;
mod pool;
mod prefix;

use ridgepoint::kv::{PAGE_SIZE, PageHash};
use ridgepoint::request::TokenId;

/// Tokens of one page. Pages of different kinds differ in their last token only.
fn page_of(kind: u32) -> [TokenId; PAGE_SIZE] {
    let mut tokens = [TokenId(7); PAGE_SIZE];
    tokens[PAGE_SIZE - 1] = TokenId(100 + kind);
    tokens
}

/// Tokens of several pages.
fn pages_of(kinds: &[u32]) -> Vec<TokenId> {
    kinds.iter().flat_map(|kind| page_of(*kind)).collect()
}

/// Hashes under which the tree must do the same: as it is used, and two that only make collisions.
fn hashes() -> [PageHash; 3] {
    let sum = |_, bytes: &[u8]| bytes.iter().map(|byte| u128::from(*byte)).sum::<u128>() % 4;
    [PageHash::keyed(11), PageHash::custom(0, |_, _| 5), PageHash::custom(0, sum)]
}
