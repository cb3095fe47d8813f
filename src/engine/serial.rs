//! A generator whose device is chosen when the program runs.

use crate::backend::{Backend, Phase, Sampled};
use crate::engine::{Generation, Generator};
use crate::error::Result;
use crate::request::{Request, TokenId};
use crate::text::Tokenizer;
use std::sync::atomic::AtomicBool;

/// One request at a time, on any device.
pub trait Serial {
    /// See [`Generator::run`].
    ///
    /// # Errors
    /// As there.
    fn run(
        &mut self,
        request: &Request,
        tokenizer: Option<&Tokenizer>,
        cancel: &AtomicBool,
        on_token: &mut dyn FnMut(&Sampled) -> Result<()>,
    ) -> Result<Generation>;

    /// See [`Generator::score`].
    ///
    /// # Errors
    /// As there.
    fn score(&mut self, tokens: &[TokenId], phase: Phase) -> Result<Vec<f32>>;
}

impl<B: Backend> Serial for Generator<B> {
    fn run(
        &mut self,
        request: &Request,
        tokenizer: Option<&Tokenizer>,
        cancel: &AtomicBool,
        on_token: &mut dyn FnMut(&Sampled) -> Result<()>,
    ) -> Result<Generation> {
        Generator::run(self, request, tokenizer, cancel, on_token)
    }

    fn score(&mut self, tokens: &[TokenId], phase: Phase) -> Result<Vec<f32>> {
        Generator::score(self, tokens, phase)
    }
}
