//! Prompt lookup: what followed the last tokens when they stood in the request before (Saxena 2023,
//! "Prompt lookup decoding"). Costs no device time, and is right where a text repeats itself. What
//! it costs the host is to enter each token into an index once.

use super::{Ask, DraftWork, Drafter};
use crate::engine::events::RequestId;
use crate::error::Result;
use crate::request::TokenId;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

/// The longest runs of tokens that may be looked for.
pub const LENGTH_MAX: usize = 16;

/// Finds the last occurrence of the last `longest` tokens, or of fewer, down to one.
#[derive(Debug)]
pub struct Ngrams {
    longest: usize,
    requests: HashMap<RequestId, Index>,
}

/// Where each run of tokens was seen last.
#[derive(Debug, Default)]
struct Index {
    /// From the hash of a run to the place behind it. A place is compared before it is used, so a
    /// collision costs a draft and nothing else.
    places: HashMap<u64, usize, Hashed>,
    /// Runs that end here or before are in it.
    indexed: usize,
}

impl Ngrams {
    /// # Panics
    /// If `longest` is not in `1..=LENGTH_MAX`.
    pub fn new(longest: usize) -> Ngrams {
        assert!((1..=LENGTH_MAX).contains(&longest), "runs of {longest} tokens");
        Ngrams { longest, requests: HashMap::new() }
    }

    fn one(&mut self, ask: &Ask<'_>, draft: &mut Vec<TokenId>) {
        let index = self.requests.entry(ask.id).or_default();
        let tokens = ask.tokens;
        for end in index.indexed + 1..tokens.len() {
            for length in 1..=self.longest.min(end) {
                index.places.insert(hash(&tokens[end - length..end]), end);
            }
        }
        index.indexed = tokens.len() - 1;
        for length in (1..=self.longest.min(tokens.len())).rev() {
            let run = &tokens[tokens.len() - length..];
            let Some(&place) = index.places.get(&hash(run)) else { continue };
            if place >= length && tokens[place - length..place] == *run {
                draft.extend(tokens[place..].iter().take(ask.depth));
                // What follows runs into the end of the text: it goes on as it did.
                let period = tokens.len() - place;
                while draft.len() < ask.depth {
                    draft.push(draft[draft.len() - period]);
                }
                return;
            }
        }
    }
}

impl Drafter for Ngrams {
    fn draft(
        &mut self,
        asks: &[Ask<'_>],
        drafts: &mut [Vec<TokenId>],
        timed: &mut dyn FnMut(DraftWork, Duration),
    ) -> Result<()> {
        for (ask, draft) in asks.iter().zip(drafts).filter(|(ask, _)| ask.depth > 0) {
            let (started, lag) = (Instant::now(), self.lag(ask));
            self.one(ask, draft);
            timed(DraftWork::Reading(lag), started.elapsed());
        }
        Ok(())
    }

    fn lag(&self, ask: &Ask<'_>) -> usize {
        let indexed = self.requests.get(&ask.id).map_or(0, |index| index.indexed);
        ask.tokens.len() - 1 - indexed
    }

    fn forget(&mut self, id: RequestId) {
        self.requests.remove(&id);
    }
}

/// Leaves keys as they are: they are hashes already.
#[derive(Debug, Clone, Copy, Default)]
struct Hashed(u64);

impl BuildHasher for Hashed {
    type Hasher = Hashed;

    fn build_hasher(&self) -> Hashed {
        Hashed(0)
    }
}

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 << 8 | u64::from(*byte)));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// FNV-1a over the tokens (Fowler, Noll, Vo).
fn hash(tokens: &[TokenId]) -> u64 {
    tokens.iter().fold(0xcbf2_9ce4_8422_2325, |hash, token| {
        (hash ^ u64::from(token.0)).wrapping_mul(0x0100_0000_01b3)
    })
}
