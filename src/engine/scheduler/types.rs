//! What a scheduler is asked and what it answers.

use crate::request::TokenId;

/// What a scheduler may give out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Prompt tokens of a step.
    pub prefill_tokens: usize,
    /// Rows of the decode family of a step; no fewer than `running`.
    pub decode_rows: usize,
    /// Sequences that run at a time.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// How much of the room that outputs may need is promised at admission, 0 to 100.
    pub reserve_percent: usize,
}

/// A sequence, from submission to its end. Numbers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqId(pub u32);

/// What a scheduler has to know of a request.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The prompt.
    pub prompt: Vec<TokenId>,
    /// The most tokens of prompt and output.
    pub last: usize,
    /// Higher is sooner.
    pub priority: i32,
    /// Who may share the prompt's pages: those with an equal salt.
    pub salt: Option<u64>,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It could never run.
    TooLarge {
        /// Pages that it needs.
        needed: usize,
        /// Pages that there are.
        pages: usize,
    },
    /// So many wait already.
    Full {
        /// Requests that wait.
        waiting: usize,
    },
}

/// Consecutive tokens of a sequence that a step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The sequence.
    pub id: SeqId,
    /// The first token.
    pub start: usize,
    /// How many.
    pub count: usize,
    /// Whether a token is drawn after the last.
    pub draws: bool,
    /// Drafted tokens that are computed behind them, after each of which another is drawn.
    pub drafted: usize,
}

impl Chunk {
    /// Rows of a batch.
    pub fn rows(&self) -> usize {
        self.count + self.drafted
    }

    /// Rows of logits.
    pub fn logit_rows(&self) -> usize {
        if self.draws { 1 + self.drafted } else { 0 }
    }
}

/// What a step computes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// Sequences that run from now on, with the tokens that they found in the prefix cache.
    pub admitted: Vec<(SeqId, usize)>,
    /// By the prefill family.
    pub prefill: Vec<Chunk>,
    /// By the decode family.
    pub decode: Vec<Chunk>,
}

/// What happened so far, in tokens where nothing else is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedulerCounts {
    /// Times a sequence lost its pages.
    pub preemptions: u64,
    /// Computed once more after that.
    pub recomputed: u64,
}
