//! How an engine is to serve, in numbers that a person gives.

use crate::engine::EngineOptions;
use std::ops::RangeInclusive;

const RUNNING: RangeInclusive<usize> = 1..=4096;
const WAITING: RangeInclusive<usize> = 1..=1 << 20;
const PREFILL_TOKENS: RangeInclusive<usize> = 1..=1 << 16;
const KV_PAGES: RangeInclusive<usize> = 1..=1 << 26;

/// How an engine serves. Nothing here but `share_generated` changes any output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeOptions {
    /// Requests that run at a time.
    pub running: usize,
    /// Requests that may wait.
    pub waiting: usize,
    /// Prompt tokens of a step.
    pub prefill_tokens: usize,
    /// Pages of 64 tokens in the KV cache; `None` is what the requests that run need.
    pub kv_pages: Option<usize>,
    /// See [`EngineOptions::reserve_percent`].
    pub reserve_percent: usize,
    /// Whether prompts share pages.
    pub prefix_cache: bool,
    /// Whether pages of generated tokens are shared as well.
    pub share_generated: bool,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            running: 32,
            waiting: 4096,
            prefill_tokens: 512,
            kv_pages: None,
            reserve_percent: 100,
            prefix_cache: true,
            share_generated: false,
        }
    }
}

impl ServeOptions {
    /// The options of an engine for `count` requests of at most `context` tokens.
    ///
    /// # Errors
    /// The name of a field, and what it is and should be.
    pub fn engine(
        &self,
        context: usize,
        count: usize,
    ) -> std::result::Result<EngineOptions, (&'static str, String)> {
        let within = |name, value: usize, range: RangeInclusive<usize>| {
            let (low, high) = (range.start(), range.end());
            match range.contains(&value) {
                true => Ok(()),
                false => Err((name, format!("{value}, expected {low} to {high}"))),
            }
        };
        within("running", self.running, RUNNING)?;
        within("waiting", self.waiting, WAITING)?;
        within("prefill_tokens", self.prefill_tokens, PREFILL_TOKENS)?;
        within("reserve_percent", self.reserve_percent, 0..=100)?;
        within("kv_pages", self.kv_pages.unwrap_or(1), KV_PAGES)?;
        let mut options = EngineOptions::new(context, self.running.min(count.max(1)));
        options.pages = self.kv_pages.unwrap_or(options.pages);
        options.waiting = self.waiting;
        options.prefill_tokens = self.prefill_tokens.min(context * options.running);
        options.reserve_percent = self.reserve_percent;
        options.prefix_cache = self.prefix_cache;
        options.share_generated = self.share_generated;
        Ok(options)
    }
}
