//! What a caller hears of a request: tokens as they are drawn, then exactly one end.

use crate::engine::speculate::DraftCounts;
use crate::error::Error;
use crate::request::FinishReason;
use crate::sample::Sampled;
use std::time::Duration;

/// A request of an engine, from its submission to its end. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// News of a request.
#[derive(Debug)]
pub enum Event {
    /// A token was drawn. The end-of-sequence token is one too.
    Token(Sampled),
    /// The request is done. Nothing follows.
    Finished(Finish),
    /// The request failed; the tokens before stand. Nothing follows.
    Failed(Error),
}

impl Event {
    /// Whether nothing follows.
    pub fn is_end(&self) -> bool {
        !matches!(self, Event::Token(_))
    }
}

/// How a request ended, and what it took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// Why.
    pub reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Of these, found in the prefix cache when the request was first admitted.
    pub cached_tokens: usize,
    /// Tokens that were drawn.
    pub output_tokens: usize,
    /// From submission to admission.
    pub queued: Duration,
    /// From admission to the first token.
    pub prefill: Duration,
    /// From the first token to the end.
    pub decode: Duration,
    /// What drafts did for it; `None` where nothing drafts. Apart, so that all the other events
    /// are as small as they were.
    pub drafts: Option<Box<DraftCounts>>,
}
