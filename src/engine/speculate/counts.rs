//! What came of drafts, in numbers.

use super::DEPTH_MAX;
use std::ops::AddAssign;
use std::time::Duration;

/// The decode steps of one sequence or of many, and what of their tokens had been drafted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DraftCounts {
    /// Steps of the model in which a sequence drew; one for each sequence of a step.
    pub steps: u64,
    /// Tokens that were drawn in them: the first of a request comes from its prompt and is not
    /// counted.
    pub tokens: u64,
    /// Drafted tokens that were computed, by their place in the draft.
    pub drafted: [u64; DEPTH_MAX],
    /// Of these, those that were drawn as well.
    pub accepted: [u64; DEPTH_MAX],
}

impl DraftCounts {
    /// One step that drew so many tokens after a draft of `drafted`, the first `accepted` of which
    /// were among them.
    pub fn step(tokens: usize, drafted: usize, accepted: usize) -> DraftCounts {
        let first = |count: usize| std::array::from_fn(|place| u64::from(place < count));
        DraftCounts {
            steps: 1,
            tokens: tokens as u64,
            drafted: first(drafted),
            accepted: first(accepted),
        }
    }

    /// Adds a step that drew a token and had no draft.
    pub fn add_plain(&mut self) {
        self.steps += 1;
        self.tokens += 1;
    }

    /// What happened since `before`.
    pub fn since(&self, before: &DraftCounts) -> DraftCounts {
        let less = |now: &[u64; DEPTH_MAX], then: &[u64; DEPTH_MAX]| {
            std::array::from_fn(|place| now[place] - then[place])
        };
        DraftCounts {
            steps: self.steps - before.steps,
            tokens: self.tokens - before.tokens,
            drafted: less(&self.drafted, &before.drafted),
            accepted: less(&self.accepted, &before.accepted),
        }
    }

    /// Drafted tokens that came to nothing.
    pub fn wasted(&self) -> u64 {
        self.drafted.iter().sum::<u64>() - self.accepted.iter().sum::<u64>()
    }

    /// Mean tokens that a step gave a sequence, 1 without drafts; `None` without steps.
    pub fn tokens_per_step(&self) -> Option<f64> {
        (self.steps > 0).then(|| self.tokens as f64 / self.steps as f64)
    }

    /// By place, the share of the drafted tokens that were drawn: the chance that a token and all
    /// before it in its draft are right. Ends where nothing was drafted.
    pub fn acceptance(&self) -> Vec<f64> {
        let places =
            self.drafted.iter().zip(self.accepted).take_while(|(drafted, _)| **drafted > 0);
        places.map(|(&drafted, accepted)| accepted as f64 / drafted as f64).collect()
    }
}

impl AddAssign for DraftCounts {
    fn add_assign(&mut self, other: DraftCounts) {
        self.steps += other.steps;
        self.tokens += other.tokens;
        let add = |to: &mut [u64; DEPTH_MAX], from: &[u64; DEPTH_MAX]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        };
        add(&mut self.drafted, &other.drafted);
        add(&mut self.accepted, &other.accepted);
    }
}

/// What came of the drafts of an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpeculationStats {
    /// Something drafts.
    pub is_on: bool,
    /// Steps and tokens; none without a drafter.
    pub counts: DraftCounts,
    /// Time spent on drafts.
    pub time: Duration,
    /// Steps whose drafts failed or had a token outside of the vocabulary; the requests went on
    /// without what was wrong.
    pub faults: u64,
}

impl SpeculationStats {
    /// What happened since `before`.
    pub fn since(&self, before: &SpeculationStats) -> SpeculationStats {
        SpeculationStats {
            is_on: self.is_on,
            counts: self.counts.since(&before.counts),
            time: self.time - before.time,
            faults: self.faults - before.faults,
        }
    }
}
