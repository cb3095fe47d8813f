//! What drafts did, as results and benchmarks tell it.

use crate::engine::speculate::DraftCounts;
use serde::Serialize;

/// What drafts did, as results show it.
#[derive(Debug, Serialize)]
pub struct DraftFigures {
    /// Decode steps of the model, one for each sequence of a step.
    pub steps: u64,
    /// Mean tokens that such a step gave; `None` without steps.
    pub tokens_per_step: Option<f64>,
    /// Drafted tokens that the model computed.
    pub drafted_tokens: u64,
    /// Of these, those that were drawn.
    pub accepted_tokens: u64,
    /// Of these, those that came to nothing.
    pub wasted_tokens: u64,
    /// By place in the draft, the share of the drafted tokens that were drawn.
    pub acceptance_by_position: Vec<f64>,
}

impl DraftFigures {
    /// Of what was counted.
    pub fn of(counts: &DraftCounts) -> DraftFigures {
        DraftFigures {
            steps: counts.steps,
            tokens_per_step: counts.tokens_per_step(),
            drafted_tokens: counts.drafted.iter().sum(),
            accepted_tokens: counts.accepted.iter().sum(),
            wasted_tokens: counts.wasted(),
            acceptance_by_position: counts.acceptance(),
        }
    }

    /// The acceptance of each place in percent, for a reader; a dash where nothing was drafted.
    pub fn acceptance(&self) -> String {
        match self.acceptance_by_position.is_empty() {
            true => "-".to_string(),
            false => {
                let percent = |share: &f64| format!("{:.0}", 100.0 * share);
                self.acceptance_by_position.iter().map(percent).collect::<Vec<_>>().join(" ")
            }
        }
    }
}
