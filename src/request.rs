//! What a caller asks for and what comes back: data only, no behaviour beyond validation.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// A token's number in the vocabulary.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct TokenId(pub u32);

impl TokenId {
    /// The number as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The most alternatives that [`SamplingParams::logprobs`] may ask for.
pub const LOGPROBS_MAX: u32 = 64;
/// The most entries of [`SamplingParams::logit_bias`].
pub const LOGIT_BIAS_MAX: usize = 1024;
/// The most stop strings of a request.
pub const STOP_MAX: usize = 64;
/// The most bytes of one stop string.
pub const STOP_BYTES_MAX: usize = 1024;

/// How the next token is drawn from the logits. The order of operations is defined in
/// [`crate::sample`].
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// 0 takes the largest logit; above 0 the logits are divided by it and a token is drawn.
    pub temperature: f32,
    /// Keep the `top_k` largest logits; 0 keeps all.
    pub top_k: u32,
    /// Keep the fewest tokens, largest first, whose probability reaches `top_p`; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least `min_p` times as probable as the most probable one; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens of prompt and output; 1 is off.
    pub repetition_penalty: f32,
    /// Subtracted from a logit once for every time its token stands in the output.
    pub frequency_penalty: f32,
    /// Subtracted from a logit if its token stands in the output.
    pub presence_penalty: f32,
    /// Added to the logits of single tokens; a token named twice gets the sum.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// The seed of the noise. Equal requests with equal seeds give equal tokens.
    pub seed: u64,
    /// With `Some(n)`, log-probabilities of the drawn token and of the `n` most probable ones,
    /// taken from the raw logits.
    pub logprobs: Option<u32>,
}

impl Default for SamplingParams {
    fn default() -> SamplingParams {
        SamplingParams {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
            logprobs: None,
        }
    }
}

impl SamplingParams {
    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`Error::Request`] naming the field, what was found and the range.
    pub fn validate(&self, vocab_size: usize) -> Result<()> {
        let within = |name: &str, value: f32, ok: bool, range: &str| match ok {
            true => Ok(()),
            false => Err(Error::Request(format!("{name} is {value}, expected {range}"))),
        };
        let t = self.temperature;
        // Below 1e-3 a logit divided by the temperature may leave f32.
        within("temperature", t, t == 0.0 || (1e-3..=1e3).contains(&t), "0 or 0.001..1000")?;
        let p = self.top_p;
        within("top_p", p, p > 0.0 && p <= 1.0, "above 0, at most 1")?;
        within("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "0..1")?;
        let r = self.repetition_penalty;
        within("repetition_penalty", r, (1e-2..=1e2).contains(&r), "0.01..100")?;
        for (name, value) in [
            ("frequency_penalty", self.frequency_penalty),
            ("presence_penalty", self.presence_penalty),
        ] {
            within(name, value, (-100.0..=100.0).contains(&value), "-100..100")?;
        }
        if self.logit_bias.len() > LOGIT_BIAS_MAX {
            let found = self.logit_bias.len();
            let message = format!("logit_bias has {found} entries, at most {LOGIT_BIAS_MAX}");
            return Err(Error::Request(message));
        }
        for &(token, bias) in &self.logit_bias {
            within("logit_bias", bias, (-1e4..=1e4).contains(&bias), "-10000..10000")?;
            if token.index() >= vocab_size {
                let message = format!(
                    "logit_bias names token {}, but the vocabulary has {vocab_size} tokens",
                    token.0
                );
                return Err(Error::Request(message));
            }
        }
        match self.logprobs {
            Some(n) if n > LOGPROBS_MAX => {
                Err(Error::Request(format!("logprobs is {n}, at most {LOGPROBS_MAX}")))
            }
            _ => Ok(()),
        }
    }
}

/// One request: a prompt in tokens and how to go on from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The prompt; at least one token.
    pub prompt: Vec<TokenId>,
    /// The most tokens to generate; at least one.
    pub max_tokens: usize,
    /// How tokens are drawn.
    pub sampling: SamplingParams,
    /// Texts that end the output; they are not part of it.
    pub stop: Vec<String>,
    /// Tokens that end the output (the model's end-of-sequence tokens); empty to go on past them.
    pub stop_tokens: Vec<TokenId>,
}

impl Request {
    /// Checks the request against the model's vocabulary and the engine's context.
    ///
    /// # Errors
    /// [`Error::Request`] naming the field, what was found and what was expected.
    pub fn validate(&self, vocab_size: usize, context: usize) -> Result<()> {
        let refuse = |message: String| Err(Error::Request(message));
        if self.prompt.is_empty() {
            return refuse("the prompt is empty, expected at least one token".to_string());
        }
        if self.prompt.len() >= context {
            return refuse(format!(
                "the prompt has {} tokens, but the context holds {context} and must leave room for \
                 one more",
                self.prompt.len()
            ));
        }
        if let Some(id) = self.prompt.iter().find(|id| id.index() >= vocab_size) {
            return refuse(format!(
                "the prompt holds token {}, but the vocabulary has {vocab_size} tokens",
                id.0
            ));
        }
        if self.max_tokens == 0 {
            return refuse("max_tokens is 0, expected at least 1".to_string());
        }
        if self.stop.len() > STOP_MAX {
            return refuse(format!("{} stop strings, at most {STOP_MAX}", self.stop.len()));
        }
        if let Some(stop) = self.stop.iter().find(|s| s.is_empty() || s.len() > STOP_BYTES_MAX) {
            let bytes = stop.len();
            return refuse(format!("a stop string of {bytes} bytes, expected 1..{STOP_BYTES_MAX}"));
        }
        self.sampling.validate(vocab_size)
    }
}

/// Log-probabilities at one position, natural logarithm, of the raw logits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenLogprobs {
    /// Of the token that was drawn.
    pub logprob: f32,
    /// The most probable tokens, most probable first, lower id first among equals.
    pub top: Vec<(TokenId, f32)>,
}

/// Why a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// An end-of-sequence token was drawn.
    Eos,
    /// A stop string appeared.
    Stop,
    /// `max_tokens` or the context was reached.
    Length,
    /// The caller cancelled.
    Cancelled,
    /// The request failed.
    Error,
}
