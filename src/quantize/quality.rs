//! What quantisation did to the predictions of a model, token by token, with the text given.
//!
//! Tokens near one another are not independent, so the bootstrap draws blocks of neighbours
//! (Künsch 1989) and gives the middle 95 % of the means of a thousand draws. Two ways of
//! quantising are compared token by token: their difference varies far less than either.

use crate::load::made_up::{GOLDEN, mixed};
use serde::Serialize;

/// Neighbouring tokens that are drawn together.
const BLOCK: usize = 64;
/// Draws of the bootstrap.
const DRAWS: usize = 1000;

/// Predictions of a text before and after, one entry for each token that was predicted.
#[derive(Debug, Clone, Default)]
pub struct Quality {
    /// The negative log-likelihood of the token before, in nats.
    pub nll_before: Vec<f64>,
    /// And after.
    pub nll_after: Vec<f64>,
    /// The Kullback-Leibler divergence of the prediction after from that before, in nats.
    pub divergence: Vec<f64>,
    /// 1 where the most probable token is another one, else 0.
    pub changed: Vec<f64>,
}

/// A mean and the interval that holds it with 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// What a receipt says of a text.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Tokens that were predicted.
    pub tokens: usize,
    /// exp of the mean negative log-likelihood before.
    pub perplexity_before: f64,
    /// And after.
    pub perplexity_after: f64,
    /// The share of tokens at which the most probable token is another one.
    pub changed: Mean,
    /// The mean Kullback-Leibler divergence, in nats a token.
    pub divergence: Mean,
}

impl Quality {
    /// Adds the prediction of `target` by logits before and after.
    pub fn add(&mut self, before: &[f32], after: &[f32], target: usize) {
        let (p, q) = (log_softmax(before), log_softmax(after));
        self.nll_before.push(-p[target]);
        self.nll_after.push(-q[target]);
        self.divergence.push(p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum());
        self.changed.push(f64::from(u8::from(argmax(before) != argmax(after))));
    }

    /// The figures of a receipt.
    pub fn summary(&self) -> Summary {
        let perplexity = |nll: &[f64]| (nll.iter().sum::<f64>() / nll.len().max(1) as f64).exp();
        Summary {
            tokens: self.nll_before.len(),
            perplexity_before: perplexity(&self.nll_before),
            perplexity_after: perplexity(&self.nll_after),
            changed: bootstrap(&self.changed),
            divergence: bootstrap(&self.divergence),
        }
    }
}

/// The mean of `a - b`, token by token.
///
/// # Panics
/// If they are not of the same text.
pub fn paired(a: &[f64], b: &[f64]) -> Mean {
    assert_eq!(a.len(), b.len(), "tokens of the same text");
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    bootstrap(&differences)
}

/// The mean of `values` and how well they determine it.
pub fn bootstrap(values: &[f64]) -> Mean {
    let blocks: Vec<(f64, usize)> =
        values.chunks(BLOCK).map(|block| (block.iter().sum(), block.len())).collect();
    let of = |(sum, count): (f64, usize)| if count == 0 { 0.0 } else { sum / count as f64 };
    let add = |a: (f64, usize), b: &(f64, usize)| (a.0 + b.0, a.1 + b.1);
    let mean = of(blocks.iter().fold((0.0, 0), add));
    // SplitMix64: the same text gives the same interval.
    let mut state = 0u64;
    let mut draw = || {
        let drawn = mixed(state);
        state = state.wrapping_add(GOLDEN);
        (drawn % blocks.len() as u64) as usize
    };
    let mut means: Vec<f64> = (0..DRAWS)
        .map(|_| of((0..blocks.len()).fold((0.0, 0), |sum, _| add(sum, &blocks[draw()]))))
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((DRAWS - 1) as f64 * share).round() as usize];
    Mean { mean, low: at(0.025), high: at(0.975) }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
    logits.iter().map(|x| f64::from(x - most) - sum.ln()).collect()
}

/// The first of the greatest, as the sampler takes it.
fn argmax(logits: &[f32]) -> usize {
    let greater = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (0..logits.len()).fold(0, greater)
}
