//! News of a request, as C sees it.

use super::super::memory::sized;
use super::super::status::{Fault, Outcome, caught, rp_status};
use crate::engine::{Event, Finish};
use crate::request::{FinishReason, TokenId};
use crate::sample::Sampled;
use crate::text::TextStream;
use std::ffi::c_char;

/// `rp_event.kind`: a token was drawn. The one that ends a sequence is one too; it has no text.
pub const RP_EVENT_TOKEN: u32 = 1;
/// `rp_event.kind`: the request is done. Nothing follows.
pub const RP_EVENT_FINISHED: u32 = 2;
/// `rp_event.kind`: the request failed; the tokens before stand. Nothing follows.
pub const RP_EVENT_FAILED: u32 = 3;

/// `rp_event.reason`: an end-of-sequence token, or another of `stop_tokens`.
pub const RP_FINISH_EOS: u32 = 1;
/// `rp_event.reason`: a stop string.
pub const RP_FINISH_STOP: u32 = 2;
/// `rp_event.reason`: `max_tokens`, or the context is full.
pub const RP_FINISH_LENGTH: u32 = 3;
/// `rp_event.reason`: it was cancelled.
pub const RP_FINISH_CANCELLED: u32 = 4;

/// A token and its log-probability: natural logarithm, of the raw logits.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_logprob {
    /// The token.
    pub token: u32,
    /// Its log-probability.
    pub logprob: f32,
}

/// News of a request. What it points at stays until the next event of the request is taken, or
/// the request is destroyed; in a callback, until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_event {
    /// sizeof(rp_event).
    pub size: usize,
    /// RP_EVENT_...
    pub kind: u32,
    /// RP_EVENT_TOKEN: the token.
    pub token: u32,
    /// RP_EVENT_TOKEN and RP_EVENT_FINISHED: what can be shown now, UTF-8 that ends with a zero.
    /// Often empty: characters may take several tokens, and what could become a stop string is
    /// held back.
    pub text: *const c_char,
    /// Its bytes, without the zero.
    pub text_bytes: usize,
    /// RP_EVENT_TOKEN: the log-probability of the token, if asked for.
    pub logprob: f32,
    /// RP_EVENT_FINISHED: RP_FINISH_...
    pub reason: u32,
    /// RP_EVENT_TOKEN: the most probable tokens, most probable first, if asked for.
    pub top: *const rp_logprob,
    /// How many.
    pub top_count: usize,
    /// RP_EVENT_FINISHED: tokens of the prompt.
    pub prompt_tokens: usize,
    /// RP_EVENT_FINISHED: of these, found in the prefix cache.
    pub cached_tokens: usize,
    /// RP_EVENT_FINISHED: tokens that were drawn.
    pub output_tokens: usize,
    /// RP_EVENT_FINISHED: seconds from submission to admission.
    pub queued_s: f64,
    /// RP_EVENT_FINISHED: seconds from admission to the first token.
    pub prefill_s: f64,
    /// RP_EVENT_FINISHED: seconds from the first token to the end.
    pub decode_s: f64,
    /// RP_EVENT_FAILED: what a call that failed so would have returned. `text` says why.
    pub status: u32,
    /// Zero.
    pub reserved: u32,
}

sized!(rp_event);

/// What an event points at.
#[derive(Default)]
pub(super) struct Shown {
    text: Vec<u8>,
    top: Vec<rp_logprob>,
}

impl Shown {
    fn set(&mut self, text: &str) {
        self.text.clear();
        // A text of C ends at its first zero; a zero that the model wrote is shown as a mark.
        self.text.extend(text.replace('\0', "\u{fffd}").into_bytes());
        self.text.push(0);
    }

    /// An event of `kind` that points here.
    fn event(&self, kind: u32) -> rp_event {
        rp_event {
            size: size_of::<rp_event>(),
            kind,
            token: 0,
            text: self.text.as_ptr().cast(),
            text_bytes: self.text.len() - 1,
            logprob: 0.0,
            reason: 0,
            top: if self.top.is_empty() { std::ptr::null() } else { self.top.as_ptr() },
            top_count: self.top.len(),
            prompt_tokens: 0,
            cached_tokens: 0,
            output_tokens: 0,
            queued_s: 0.0,
            prefill_s: 0.0,
            decode_s: 0.0,
            status: 0,
            reserved: 0,
        }
    }
}

/// Turns events of an engine into those of C.
pub(super) struct Teller {
    stream: Option<TextStream>,
    stop_tokens: Vec<TokenId>,
    shown: Shown,
}

impl Teller {
    pub(super) fn new(stream: Option<TextStream>, stop_tokens: Vec<TokenId>) -> Teller {
        Teller { stream, stop_tokens, shown: Shown::default() }
    }

    /// The event, which points into `self`. A token whose text cannot be had is the request's
    /// failure, which the engine knows nothing of: it is for the caller to give the request up.
    pub(super) fn tell(&mut self, event: Event) -> rp_event {
        let told = caught(|| match event {
            Event::Token(sampled) => self.token(sampled),
            Event::Finished(finish) => Ok(self.finished(finish)),
            Event::Failed(error) => Err(Fault::from(error)),
        });
        told.unwrap_or_else(|fault| self.failed(&fault))
    }

    fn failed(&mut self, fault: &Fault) -> rp_event {
        self.shown.top.clear();
        self.shown.set(&fault.text);
        rp_event { status: fault.status as u32, ..self.shown.event(RP_EVENT_FAILED) }
    }

    fn token(&mut self, sampled: Sampled) -> Outcome<rp_event> {
        let ends = self.stop_tokens.contains(&sampled.token);
        let text = match &mut self.stream {
            Some(stream) if !ends => stream.push(sampled.token)?.text,
            _ => String::new(),
        };
        self.shown.set(&text);
        self.shown.top.clear();
        let logprob = sampled.logprobs.map_or(0.0, |found| {
            let pairs = found.top.iter().map(|&(id, logprob)| rp_logprob { token: id.0, logprob });
            self.shown.top.extend(pairs);
            found.logprob
        });
        Ok(rp_event { token: sampled.token.0, logprob, ..self.shown.event(RP_EVENT_TOKEN) })
    }

    fn finished(&mut self, finish: Finish) -> rp_event {
        let rest = self.stream.as_mut().map(TextStream::finish).unwrap_or_default();
        self.shown.set(&rest);
        self.shown.top.clear();
        rp_event {
            reason: match finish.reason {
                FinishReason::Eos => RP_FINISH_EOS,
                FinishReason::Stop => RP_FINISH_STOP,
                FinishReason::Length => RP_FINISH_LENGTH,
                FinishReason::Cancelled => RP_FINISH_CANCELLED,
                FinishReason::Error => unreachable!("a failure is an event of its own"),
            },
            prompt_tokens: finish.prompt_tokens,
            cached_tokens: finish.cached_tokens,
            output_tokens: finish.output_tokens,
            queued_s: finish.queued.as_secs_f64(),
            prefill_s: finish.prefill.as_secs_f64(),
            decode_s: finish.decode.as_secs_f64(),
            ..self.shown.event(RP_EVENT_FINISHED)
        }
    }
}

/// After the last event.
pub(super) fn ended() -> Fault {
    Fault::new(rp_status::RP_ENDED, "the request has ended, and its last event was taken")
}
