//! Speculative decoding (Leviathan et al. 2023; Chen et al. 2023): something cheap drafts what may
//! come next, and one pass of the model computes the rows of the draft behind the row that is due.
//! The tokens after all of them are then drawn, each with the noise of its own position, and stand
//! for as long as the draft had the one before. A row's bits do not depend on how many rows a
//! sequence has in a step, so the output is that without a draft, token for token.
//!
//! A draft is worth what it is often right. A model that drafts therefore draws with the request's
//! own noise (Daliri, Musco, Suresh 2024, "Coupling without communication and drafter-invariant
//! speculative decoding"), so that it agrees with the other as often as their distributions allow.

mod depth;
mod model;
mod ngram;

pub use depth::Depths;
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

/// Something that drafts.
pub trait Drafter {
    /// Puts a draft for `asks[i]` into `drafts[i]`, which is empty: as many tokens as were asked
    /// for, or fewer. Tells `timed` the sequences and the time of each round of its own work.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] if it cannot; it can be asked again.
    fn draft(
        &mut self,
        asks: &[Ask<'_>],
        drafts: &mut [Vec<TokenId>],
        timed: &mut dyn FnMut(usize, Duration),
    ) -> Result<()>;

    /// The request has ended: nothing more will be asked for it.
    fn forget(&mut self, id: RequestId) {
        let _ = id;
    }
}

/// What came of drafts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpeculationStats {
    /// Drafted tokens that were computed, by their place in the draft.
    pub drafted: [u64; DEPTH_MAX],
    /// Of these, those that were drawn.
    pub accepted: [u64; DEPTH_MAX],
    /// Time spent on drafts.
    pub time: Duration,
    /// Steps whose drafts failed; the requests went on without.
    pub faults: u64,
}

impl SpeculationStats {
    /// What happened since `before`.
    pub fn since(&self, before: &SpeculationStats) -> SpeculationStats {
        let less = |now: &[u64; DEPTH_MAX], then: &[u64; DEPTH_MAX]| {
            std::array::from_fn(|i| now[i] - then[i])
        };
        SpeculationStats {
            drafted: less(&self.drafted, &before.drafted),
            accepted: less(&self.accepted, &before.accepted),
            time: self.time - before.time,
            faults: self.faults - before.faults,
        }
    }

    /// Drafted tokens that came to nothing.
    pub fn wasted(&self) -> u64 {
        self.drafted.iter().sum::<u64>() - self.accepted.iter().sum::<u64>()
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
        let (drafts, stats) = (Vec::new(), SpeculationStats::default());
        Speculator { drafter, depths, drafts, stats }
    }

    pub(super) fn is_some(&self) -> bool {
        self.drafter.is_some()
    }

    pub(super) fn stats(&self) -> &SpeculationStats {
        &self.stats
    }

    /// Drafts for those who ask, whose `depth` is the most that they could use; `rows` is what the
    /// step has without drafts.
    pub(super) fn draft(&mut self, mut asks: Vec<Ask<'_>>, rows: usize) -> &[Vec<TokenId>] {
        self.drafts.iter_mut().for_each(Vec::clear);
        self.drafts.resize_with(asks.len(), Vec::new);
        let Some(drafter) = &mut self.drafter else { return &self.drafts };
        let wanted: Vec<(RequestId, usize)> = asks.iter().map(|ask| (ask.id, ask.depth)).collect();
        for (ask, depth) in asks.iter_mut().zip(self.depths.choose(&wanted, rows)) {
            ask.depth = depth;
        }
        if asks.iter().all(|ask| ask.depth == 0) {
            return &self.drafts;
        }
        let started = Instant::now();
        let depths = &mut self.depths;
        let result = super::core::guarded(|| {
            let mut timed = |rows: usize, time: Duration| {
                depths.learn_round(rows, time.as_secs_f64());
            };
            drafter.draft(&asks, &mut self.drafts, &mut timed)
        });
        if result.is_err() {
            self.stats.faults += 1;
            self.drafts.iter_mut().for_each(Vec::clear);
        }
        for (ask, draft) in asks.iter().zip(&mut self.drafts) {
            draft.truncate(ask.depth);
        }
        self.stats.time += started.elapsed();
        &self.drafts
    }

    /// A decode pass of so many rows took so long.
    pub(super) fn learn_pass(&mut self, rows: usize, time: Duration) {
        if self.is_some() {
            self.depths.learn_pass(rows, time.as_secs_f64());
        }
    }

    /// Of a draft, so many tokens were drawn.
    pub(super) fn learn(&mut self, id: RequestId, drafted: usize, accepted: usize) {
        self.stats.drafted[..drafted].iter_mut().for_each(|count| *count += 1);
        self.stats.accepted[..accepted].iter_mut().for_each(|count| *count += 1);
        if drafted > 0 {
            self.depths.learn_acceptance(id, drafted, accepted);
        }
    }

    pub(super) fn forget(&mut self, id: RequestId) {
        self.depths.forget(id);
        if let Some(drafter) = &mut self.drafter {
            drafter.forget(id);
        }
    }
}
