//! The sampler's definition.

use crate::request::{SamplingParams, TokenId, TokenLogprobs};

/// One row of a batch of draws.
#[derive(Debug, Clone, Copy)]
pub struct SampleRow<'a> {
    /// How to draw.
    pub params: &'a SamplingParams,
    /// Prompt and output so far; the drawn token's position is its length.
    pub history: &'a [TokenId],
    /// How many of `history` are the prompt.
    pub prompt_len: usize,
}

/// A drawn token.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token: TokenId,
    /// Log-probabilities, if the row's parameters ask for them.
    pub logprobs: Option<TokenLogprobs>,
}
