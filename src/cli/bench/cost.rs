//! What tokens cost, of a machine that is paid by the hour.
//!
//! A load is a mixture, so its price has to be split. First by time: prefill passes bear the price
//! of the run in proportion to the time in them, decode passes the rest, so that idle time falls on
//! both. The decode part is borne by the output tokens. The prefill part is borne by the prompt
//! tokens, and split among them by operations: tokens from the prefix cache bear what attending to
//! them took, all others the rest.

use serde::Serialize;

/// How the split of the price is told to the reader.
pub const SPLIT: &str = "price split by time in prefill and decode passes; within prefill, cached \
                         tokens bear the operations of attending to them";

/// Dollars for a million tokens; `None` where there were no such tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Of prompts, not cached.
    pub input_per_million: Option<f64>,
    /// Of prompts, from the prefix cache.
    pub cached_per_million: Option<f64>,
    /// Of outputs.
    pub output_per_million: Option<f64>,
}

/// What a run did in its time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// From its start to its end.
    pub duration_s: f64,
    /// In prefill passes.
    pub prefill_s: f64,
    /// In decode passes.
    pub decode_s: f64,
    /// Prompt tokens that were computed.
    pub input_tokens: u64,
    /// Prompt tokens from the prefix cache.
    pub cached_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// The share of prefill's operations that attended to cached tokens, 0 to 1.
    pub cached_share: f64,
}

impl Cost {
    /// At so many dollars an hour.
    pub fn of(price_per_hour: f64, spent: &Spent) -> Cost {
        let busy = spent.prefill_s + spent.decode_s;
        if busy <= 0.0 {
            return Cost::default();
        }
        let dollars = price_per_hour * spent.duration_s / 3600.0;
        let prefill = dollars * spent.prefill_s / busy;
        let per_million =
            |dollars: f64, tokens: u64| (tokens > 0).then(|| dollars / tokens as f64 * 1e6);
        let cached = if spent.cached_tokens > 0 { prefill * spent.cached_share } else { 0.0 };
        Cost {
            input_per_million: per_million(prefill - cached, spent.input_tokens),
            cached_per_million: per_million(cached, spent.cached_tokens),
            output_per_million: per_million(dollars - prefill, spent.output_tokens),
        }
    }
}
