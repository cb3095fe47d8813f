//! What an engine counts. Times are those of its thread; tokens are exact.

use crate::engine::speculate::SpeculationStats;
use std::time::Duration;

/// The work of one kernel family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PhaseStats {
    /// Forward passes.
    pub passes: u64,
    /// Rows, so tokens, that were computed.
    pub rows: u64,
    /// Pairs of a row and a token that it sees, in all layers together: what attention computes.
    pub pairs: u64,
    /// Cached tokens that attention reads, in all layers together: each sequence of a pass once, as
    /// far back as its first row sees.
    pub context_tokens: u64,
    /// Logits rows.
    pub logit_rows: u64,
    /// Time in forward passes and draws.
    pub time: Duration,
}

/// A snapshot of an engine's counters. Counts and times grow from its start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Requests that run now.
    pub requests_running: usize,
    /// Requests that wait now.
    pub requests_waiting: usize,
    /// Pages in use now that no eviction could free.
    pub kv_pages_used: usize,
    /// Pages of the pool.
    pub kv_pages: usize,
    /// Prompt tokens of finished requests.
    pub prompt_tokens: u64,
    /// Drawn tokens.
    pub generation_tokens: u64,
    /// Prompt tokens that were looked for in the prefix cache.
    pub prefix_cache_queries: u64,
    /// Of these, found.
    pub prefix_cache_hits: u64,
    /// Tokens whose pages the prefix cache gave up.
    pub prefix_cache_evictions: u64,
    /// Sequences that lost their pages.
    pub preemptions: u64,
    /// Tokens computed again after that.
    pub recomputed_tokens: u64,
    /// Requests that ended, by reason: eos, stop, length, cancelled, error.
    pub finished: [u64; 5],
    /// Steps.
    pub steps: u64,
    /// Time of the steps.
    pub step_time: Duration,
    /// By the prefill family.
    pub prefill: PhaseStats,
    /// By the decode family.
    pub decode: PhaseStats,
    /// Drafts and what came of them.
    pub speculation: SpeculationStats,
}

impl Stats {
    /// Time of the steps outside of forward passes, draws and drafts.
    pub fn host_time(&self) -> Duration {
        let busy = self.prefill.time + self.decode.time + self.speculation.time;
        self.step_time.saturating_sub(busy)
    }

    /// Tokens that decode passes drew: with drafts fewer than the rows that they drew from.
    pub fn decoded_tokens(&self) -> u64 {
        match self.speculation.is_on {
            true => self.speculation.counts.tokens,
            false => self.decode.logit_rows,
        }
    }

    /// Time in decode passes and in the drafts for them.
    pub fn decode_time(&self) -> Duration {
        self.decode.time + self.speculation.time
    }

    /// Share of the pool that is in use, 0 to 1.
    pub fn kv_usage(&self) -> f64 {
        self.kv_pages_used as f64 / self.kv_pages.max(1) as f64
    }

    /// What happened since `before`, a snapshot of the same engine; gauges are those of now.
    pub fn since(&self, before: &Stats) -> Stats {
        let mut finished = self.finished;
        finished.iter_mut().zip(before.finished).for_each(|(now, then)| *now -= then);
        Stats {
            prompt_tokens: self.prompt_tokens - before.prompt_tokens,
            generation_tokens: self.generation_tokens - before.generation_tokens,
            prefix_cache_queries: self.prefix_cache_queries - before.prefix_cache_queries,
            prefix_cache_hits: self.prefix_cache_hits - before.prefix_cache_hits,
            prefix_cache_evictions: self.prefix_cache_evictions - before.prefix_cache_evictions,
            preemptions: self.preemptions - before.preemptions,
            recomputed_tokens: self.recomputed_tokens - before.recomputed_tokens,
            finished,
            steps: self.steps - before.steps,
            step_time: self.step_time - before.step_time,
            prefill: self.prefill.since(&before.prefill),
            decode: self.decode.since(&before.decode),
            speculation: self.speculation.since(&before.speculation),
            ..self.clone()
        }
    }
}

impl PhaseStats {
    fn since(&self, before: &PhaseStats) -> PhaseStats {
        PhaseStats {
            passes: self.passes - before.passes,
            rows: self.rows - before.rows,
            pairs: self.pairs - before.pairs,
            context_tokens: self.context_tokens - before.context_tokens,
            logit_rows: self.logit_rows - before.logit_rows,
            time: self.time - before.time,
        }
    }
}
