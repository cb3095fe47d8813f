//! How tokens are drawn, as C says it; both layers read it.

use super::memory::{self, sized};
use super::status::Outcome;
use crate::request::{SamplingParams, TokenId};

/// An addition to the logit of a token.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_logit_bias {
    /// The token.
    pub token: u32,
    /// -10000 to 10000.
    pub bias: f32,
}

/// How the next token is drawn from the logits. All zeros: the most probable one, always.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_sampling {
    /// sizeof(rp_sampling).
    pub size: usize,
    /// 0 takes the largest logit; above 0 (0.001 to 1000) logits are divided by it.
    pub temperature: f32,
    /// Keep the `top_k` largest logits; 0 keeps all.
    pub top_k: u32,
    /// Keep the fewest tokens, largest first, whose probability reaches it; 0 and 1 keep all.
    pub top_p: f32,
    /// Keep tokens at least this many times as probable as the most probable one; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens of prompt and output; 0 and 1
    /// are off.
    pub repetition_penalty: f32,
    /// Subtracted from a logit once for every time its token stands in the output.
    pub frequency_penalty: f32,
    /// Subtracted from a logit if its token stands in the output.
    pub presence_penalty: f32,
    /// Not 0: log-probabilities come with each token.
    pub logprobs: u32,
    /// With `logprobs`: of how many of the most probable tokens as well, 0 to 64.
    pub top_logprobs: u32,
    /// Zero.
    pub reserved: u32,
    /// The seed of the noise. Equal requests with equal seeds give equal tokens.
    pub seed: u64,
    /// Additions to logits; a token named twice gets the sum.
    pub logit_bias: *const rp_logit_bias,
    /// How many.
    pub logit_bias_count: usize,
}

sized!(rp_sampling with reserved);

/// The parameters at `at`; null is the most probable token, always.
///
/// # Safety
/// `at` is null, misaligned, or a struct as large as it says, whose pointers hold what they say.
pub(super) unsafe fn params(at: *const rp_sampling) -> Outcome<SamplingParams> {
    if at.is_null() {
        return Ok(SamplingParams::default());
    }
    // SAFETY: as the caller promises.
    let given = unsafe { memory::read(at) }?;
    // SAFETY: as the caller promises.
    let bias = unsafe { memory::slice("logit_bias", given.logit_bias, given.logit_bias_count) }?;
    let or_one = |value: f32| if value == 0.0 { 1.0 } else { value };
    Ok(SamplingParams {
        temperature: given.temperature,
        top_k: given.top_k,
        top_p: or_one(given.top_p),
        min_p: given.min_p,
        repetition_penalty: or_one(given.repetition_penalty),
        frequency_penalty: given.frequency_penalty,
        presence_penalty: given.presence_penalty,
        logit_bias: bias.iter().map(|entry| (TokenId(entry.token), entry.bias)).collect(),
        seed: given.seed,
        logprobs: (given.logprobs != 0).then_some(given.top_logprobs),
    })
}
