//! Log-probabilities of the raw logits: before bias, penalties and temperature.
//!
//! `log_prob(t) = (x_t - max) - ln(sum of weight(x_i - max) 2^-40)`: two f32 subtractions around
//! the fixed-point sum of [`super::math`], which does not depend on the order of its terms. The
//! weights have an absolute error of 2^-41 each, so a vocabulary of 2^17 tokens adds at most 6e-8.

use super::filter::{self, Mass, key_id, key_value};
use super::math::{VOCAB_MAX, ln_weight};
use super::simd::Path;
use crate::request::{TokenId, TokenLogprobs};

/// The natural logarithm of the softmax of `logits` `[vocab]` at `token`; -inf for a token at -inf.
/// NaN if a logit is NaN or +inf, or all are -inf, so that a fault cannot pass for a figure.
pub fn log_prob(logits: &[f32], token: TokenId) -> f32 {
    LogSoftmax::of(logits).at(logits[token.index()])
}

/// [`log_prob`] of `token` and of the `top` most probable tokens (fewer if fewer are above -inf):
/// logit descending, id ascending.
pub fn logprobs(logits: &[f32], token: TokenId, top: u32) -> TokenLogprobs {
    let softmax = LogSoftmax::of(logits);
    let mut keys = match top {
        0 => Vec::new(),
        count => filter::largest(logits, count as usize),
    };
    keys.sort_unstable_by(|a, b| b.cmp(a));
    let pair = |key: u64| (TokenId(key_id(key) as u32), softmax.at(key_value(key)));
    TokenLogprobs {
        logprob: softmax.at(logits[token.index()]),
        top: keys.into_iter().map(pair).collect(),
    }
}

/// What the log-probabilities of one row have in common.
struct LogSoftmax {
    max: f32,
    ln_sum: f32,
}

impl LogSoftmax {
    fn of(logits: &[f32]) -> LogSoftmax {
        assert!(logits.len() <= VOCAB_MAX, "{} logits, at most {VOCAB_MAX}", logits.len());
        let max = filter::max(logits);
        let faulty = logits.iter().fold(false, |faulty, x| faulty | x.is_nan());
        let ln_sum = match faulty || !max.is_finite() {
            true => f32::NAN,
            false => ln_weight(Path::best().run(Mass { values: logits, max })),
        };
        LogSoftmax { max, ln_sum }
    }

    fn at(&self, logit: f32) -> f32 {
        (logit - self.max) - self.ln_sum
    }
}
