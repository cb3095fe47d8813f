//! Speculative decoding (Leviathan et al. 2023; Chen et al. 2023): something cheap drafts what may
//! come next, and one pass of the model computes the rows of the draft behind the row that is due.
//! The tokens after all of them are then drawn, each with the noise of its own position, and stand
//! for as long as the draft had the one before. A row's bits do not depend on how many rows a
//! sequence has in a step, so the output is that without a draft, token for token.
//!
//! A draft is worth what it is often right. A model that drafts therefore draws with the request's
//! own noise (Daliri, Musco, Suresh 2024, "Coupling without communication and drafter-invariant
//! speculative decoding"), so that it agrees with the other as often as their distributions allow.

mod counts;
mod depth;
mod model;
mod ngram;

pub use counts::{DraftCounts, SpeculationStats};
pub use depth::{Depths, Wanted};
pub use model::DraftModel;
pub use ngram::{LENGTH_MAX, Ngrams};

use crate::engine::events::RequestId;
use crate::error::Result;
use crate::request::{SamplingParams, TokenId};
use std::time::{Duration, Instant};

/// The most tokens of a draft: with the row that is due, a decode step has room for no more.
pub const DEPTH_MAX: usize = crate::engine::scheduler::DECODE_ROWS - 1;

/// A sequence that wants a draft.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Whose.
    pub id: RequestId,
    /// Prompt and output so far.
    pub tokens: &'a [TokenId],
    /// How many of them are the prompt.
    pub prompt_len: usize,
    /// How its tokens are drawn.
    pub params: &'a SamplingParams,
    /// The most tokens that are wanted.
    pub depth: usize,
}

/// What a drafter does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DraftWork {
    /// One more token for each of so many sequences.
    Round(usize),
    /// It reads so many tokens that are there already.
    Reading(usize),
}

/// Something that drafts.
pub trait Drafter {
    /// Puts a draft for `asks[i]` into `drafts[i]`, which is empty: as many tokens as were asked
    /// for, or fewer. What is beyond that, or from a token outside of the vocabulary on, is cut
    /// off; the latter counts as a fault. Tells `timed` the time of each part of its work.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] if it cannot; it can be asked again.
    fn draft(
        &mut self,
        asks: &[Ask<'_>],
        drafts: &mut [Vec<TokenId>],
        timed: &mut dyn FnMut(DraftWork, Duration),
    ) -> Result<()>;

    /// Tokens that it must read before it can draft for `ask`; 0 if that is no work of its own.
    fn lag(&self, ask: &Ask<'_>) -> usize {
        let _ = ask;
        0
    }

    /// The request has ended: nothing more will be asked for it.
    fn forget(&mut self, id: RequestId) {
        let _ = id;
    }
}

/// A drafter, how deep it is asked, and what came of it.
pub(super) struct Speculator {
    drafter: Option<Box<dyn Drafter>>,
    depths: Depths,
    /// By the sequences of the last call.
    drafts: Vec<Vec<TokenId>>,
    stats: SpeculationStats,
}

impl Speculator {
    pub(super) fn none() -> Speculator {
        Speculator::new(None, Depths::new(Some(0)))
    }

    pub(super) fn new(drafter: Option<Box<dyn Drafter>>, depths: Depths) -> Speculator {
        let stats = SpeculationStats { is_on: drafter.is_some(), ..SpeculationStats::default() };
        Speculator { drafter, depths, drafts: Vec::new(), stats }
    }

    pub(super) fn is_some(&self) -> bool {
        self.drafter.is_some()
    }

    pub(super) fn stats(&self) -> &SpeculationStats {
        &self.stats
    }

    /// Whether it would draft for nobody in a step of so many rows.
    pub(super) fn rests(&self, rows: usize) -> bool {
        self.drafter.is_none() || self.depths.rests(rows)
    }

    /// Drafts for those who ask, whose `depth` is the most that they could use; `rows` is what the
    /// decode pass has without drafts, and tokens are below `vocab_size`.
    pub(super) fn draft(
        &mut self,
        mut asks: Vec<Ask<'_>>,
        rows: usize,
        vocab_size: usize,
    ) -> &[Vec<TokenId>] {
        self.drafts.iter_mut().for_each(Vec::clear);
        self.drafts.resize_with(asks.len(), Vec::new);
        let Some(drafter) = &mut self.drafter else { return &self.drafts };
        let wanted = asks.iter().map(|ask| Wanted {
            id: ask.id,
            most: ask.depth,
            lag: drafter.lag(ask),
            drawn: ask.tokens.len() - ask.prompt_len,
        });
        let wanted: Vec<Wanted> = wanted.collect();
        for (ask, depth) in asks.iter_mut().zip(self.depths.choose(&wanted, rows)) {
            ask.depth = depth;
        }
        if asks.iter().all(|ask| ask.depth == 0) {
            return &self.drafts;
        }
        let started = Instant::now();
        let depths = &mut self.depths;
        let result = super::core::guarded(|| {
            let mut timed = |work: DraftWork, time: Duration| {
                depths.learn_drafting(work, time.as_secs_f64());
            };
            drafter.draft(&asks, &mut self.drafts, &mut timed)
        });
        if result.is_err() {
            self.drafts.iter_mut().for_each(Vec::clear);
        }
        let mut is_fault = result.is_err();
        for (ask, draft) in asks.iter().zip(&mut self.drafts) {
            draft.truncate(ask.depth);
            // A row of a token that the model does not know would fail the whole step.
            if let Some(known) = draft.iter().position(|token| token.index() >= vocab_size) {
                draft.truncate(known);
                is_fault = true;
            }
        }
        self.stats.faults += u64::from(is_fault);
        self.stats.time += started.elapsed();
        &self.drafts
    }

    /// A decode pass of so many rows took so long.
    pub(super) fn learn_pass(&mut self, rows: usize, time: Duration) {
        if self.is_some() {
            self.depths.learn_pass(rows, time.as_secs_f64());
        }
    }

    /// A step of a sequence that had no draft gave a token.
    pub(super) fn learn_plain(&mut self) {
        self.stats.counts.add_plain();
    }

    /// What a step of a sequence gave. Of its draft the first `judged` tokens are known to be right
    /// or wrong: an output that ends within it leaves the rest open.
    pub(super) fn learn(&mut self, id: RequestId, step: DraftCounts, judged: usize, right: usize) {
        self.stats.counts += step;
        if judged > 0 {
            self.depths.learn_acceptance(id, judged, right);
        }
    }

    pub(super) fn forget(&mut self, id: RequestId) {
        self.depths.forget(id);
        if let Some(drafter) = &mut self.drafter {
            drafter.forget(id);
        }
    }
}
