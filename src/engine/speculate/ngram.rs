//! Prompt lookup: what followed the last tokens when they stood in the request before (Saxena 2023,
//! "Prompt lookup decoding"). Costs no device time, and is right where a text repeats itself.

use super::{Ask, DraftWork, Drafter};
use crate::engine::events::RequestId;
use crate::error::Result;
use crate::request::TokenId;
use std::collections::HashMap;
use std::time::Duration;

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
    /// From length and hash of a run to the place behind it. A place is compared before it is
    /// used, so a collision costs a draft and nothing else.
    places: HashMap<(usize, u64), usize>,
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
                index.places.insert((length, hash(&tokens[end - length..end])), end);
            }
        }
        index.indexed = tokens.len() - 1;
        for length in (1..=self.longest.min(tokens.len())).rev() {
            let run = &tokens[tokens.len() - length..];
            let Some(&place) = index.places.get(&(length, hash(run))) else { continue };
            if tokens[place - length..place] == *run {
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
        _timed: &mut dyn FnMut(DraftWork, Duration),
    ) -> Result<()> {
        for (ask, draft) in asks.iter().zip(drafts).filter(|(ask, _)| ask.depth > 0) {
            self.one(ask, draft);
        }
        Ok(())
    }

    fn forget(&mut self, id: RequestId) {
        self.requests.remove(&id);
    }
}

/// FNV-1a over the tokens (Fowler, Noll, Vo).
fn hash(tokens: &[TokenId]) -> u64 {
    tokens.iter().fold(0xcbf2_9ce4_8422_2325, |hash, token| {
        (hash ^ u64::from(token.0)).wrapping_mul(0x0100_0000_01b3)
    })
}
