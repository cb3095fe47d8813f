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

/// Draws one token.
pub fn draw(logits: &[f32], row: &SampleRow) -> crate::error::Result<Sampled> {
    let _ = row;
    let best = (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
    Ok(Sampled { token: TokenId(best as u32), logprobs: None })
}
