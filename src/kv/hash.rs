//! The key under which a page of tokens is found: a keyed hash chained over the pages before it.

use crate::kv::PAGE_SIZE;
use crate::kv::prefix::Family;
use crate::request::TokenId;
use siphasher::sip128::SipHasher13;
use std::hash::{BuildHasher, RandomState};

/// A hash of 128 bits with its key.
///
/// With a key that nobody else knows, no client can make up prompts that fall into one bucket. The
/// prefix tree stays right under any hash, because it compares what it finds; a bad one costs time.
#[derive(Debug, Clone, Copy)]
pub struct PageHash {
    key: u128,
    function: fn(u128, &[u8]) -> u128,
}

/// Parent's hash, family, tokens: a multiple of the eight bytes that SipHash takes at a time.
const PAGE_BYTES: usize = 16 + 8 + 4 * PAGE_SIZE;

impl PageHash {
    /// SipHash-1-3 with 128 bits of output and a key from the system's randomness.
    pub fn random() -> PageHash {
        // The standard library seeds its own keyed hash from the system; two values of it are a
        // key, without another dependency.
        let state = RandomState::new();
        PageHash::keyed(u128::from(state.hash_one(0u64)) << 64 | u128::from(state.hash_one(1u64)))
    }

    /// SipHash-1-3 with 128 bits of output and this key.
    pub fn keyed(key: u128) -> PageHash {
        PageHash::custom(key, siphash)
    }

    /// Another hash: `function` gets the key and the bytes.
    pub fn custom(key: u128, function: fn(u128, &[u8]) -> u128) -> PageHash {
        PageHash { key, function }
    }

    /// The hash from which the chains of a tenant start.
    pub(super) fn root(&self, salt: Option<u64>) -> u128 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&u64::from(salt.is_some()).to_le_bytes());
        bytes[8..].copy_from_slice(&salt.unwrap_or(0).to_le_bytes());
        (self.function)(self.key, &bytes)
    }

    /// The hash of a page after the one whose hash is `parent`.
    pub(super) fn page(&self, parent: u128, family: Family, tokens: &[TokenId; PAGE_SIZE]) -> u128 {
        let mut bytes = [0; PAGE_BYTES];
        bytes[..16].copy_from_slice(&parent.to_le_bytes());
        bytes[16] = family as u8;
        for (bytes, token) in bytes[24..].chunks_exact_mut(4).zip(tokens) {
            bytes.copy_from_slice(&token.0.to_le_bytes());
        }
        (self.function)(self.key, &bytes)
    }
}

fn siphash(key: u128, bytes: &[u8]) -> u128 {
    SipHasher13::new_with_keys((key >> 64) as u64, key as u64).hash(bytes).as_u128()
}
