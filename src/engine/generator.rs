//! One request at a time: prefill in chunks, then draw and append token by token.

use crate::backend::{Backend, Batch, Phase, SampleRow, Sampled};
use crate::error::{Error, Result};
use crate::kv::{PageId, PagePool, pages_for};
use crate::model::{Decoder, Limits, ModelConfig};
use crate::request::{FinishReason, Request, TokenId};
use crate::text::{TextStream, Tokenizer};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A model with a KV cache for one sequence.
pub struct Generator<B: Backend> {
    pub(super) decoder: Decoder<B>,
    pub(super) kv: B::KvCache,
    pool: PagePool,
}

/// What a finished request leaves beside its tokens.
#[derive(Debug, Clone)]
pub struct Generation {
    /// The drawn tokens, the end-of-sequence token included.
    pub tokens: Vec<TokenId>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// From the start to the first token.
    pub prefill: Duration,
    /// From there to the end.
    pub decode: Duration,
}

impl<B: Backend> Generator<B> {
    /// Allocates the KV cache for one sequence of the decoder's context.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no room for it.
    pub fn new(decoder: Decoder<B>) -> Result<Generator<B>> {
        let pages = pages_for(decoder.limits().context);
        let kv = decoder.kv_cache(pages)?;
        Ok(Generator { decoder, kv, pool: PagePool::new(pages) })
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        self.decoder.config()
    }

    /// The sizes it was made for.
    pub fn limits(&self) -> Limits {
        self.decoder.limits()
    }

    /// Runs `request` to its end and shows each token as it is drawn. The tokenizer is needed only
    /// for stop strings. Setting `cancel` ends the request after the pass that is under way.
    ///
    /// # Errors
    /// [`Error::Request`] for a request that cannot be served, [`Error::Device`] if the device
    /// fails; the generator stays usable after both.
    pub fn run(
        &mut self,
        request: &Request,
        tokenizer: Option<&Tokenizer>,
        cancel: &AtomicBool,
        on_token: &mut dyn FnMut(&Sampled) -> Result<()>,
    ) -> Result<Generation> {
        let context = self.limits().context;
        request.validate(self.config().vocab_size, context)?;
        let stops = match (request.stop.is_empty(), tokenizer) {
            (true, _) => None,
            (false, Some(tokenizer)) => {
                Some(TextStream::new(tokenizer, &request.prompt, request.stop.clone())?)
            }
            (false, None) => {
                return Err(Error::Request("stop strings need a tokenizer".to_string()));
            }
        };
        let last = request.prompt.len().saturating_add(request.max_tokens).min(context);
        let pages = self.pages(last);
        let result = self.run_in(&pages, request, last, stops, cancel, on_token);
        self.give_back(pages);
        result
    }

    /// Pages for `tokens` tokens, which are at most the context the pool was made for.
    pub(super) fn pages(&mut self, tokens: usize) -> Vec<PageId> {
        let (needed, free) = (pages_for(tokens), self.pool.free_pages());
        self.pool.take(needed).unwrap_or_else(|| panic!("{needed} pages needed, {free} free"))
    }

    pub(super) fn give_back(&mut self, pages: Vec<PageId>) {
        // The first page is given back last, so that the next sequence starts with it.
        for page in pages.into_iter().rev() {
            self.pool.release(page);
        }
    }

    fn run_in(
        &mut self,
        pages: &[PageId],
        request: &Request,
        last: usize,
        mut stops: Option<TextStream>,
        cancel: &AtomicBool,
        on_token: &mut dyn FnMut(&Sampled) -> Result<()>,
    ) -> Result<Generation> {
        let started = Instant::now();
        let mut history = request.prompt.clone();
        let reached = self.prefill(pages, &request.prompt, cancel)?;
        let mut prefill = None;
        let mut finish_reason = (!reached).then_some(FinishReason::Cancelled);
        while finish_reason.is_none() {
            let sampled = self.draw(request, &history)?;
            // A device may still be at work when a pass returns; a token is there when it is.
            prefill.get_or_insert_with(|| started.elapsed());
            history.push(sampled.token);
            on_token(&sampled)?;
            let stopped = match &mut stops {
                Some(stops) => stops.push(sampled.token)?.stopped,
                None => false,
            };
            finish_reason = if request.stop_tokens.contains(&sampled.token) {
                Some(FinishReason::Eos)
            } else if stopped {
                Some(FinishReason::Stop)
            } else if history.len() >= last {
                Some(FinishReason::Length)
            } else if cancel.load(Ordering::Relaxed) {
                Some(FinishReason::Cancelled)
            } else {
                let mut batch = Batch::new(Phase::Decode);
                batch.push(history.len() - 1, &[sampled.token], pages);
                batch.logit_rows.push(0);
                self.decoder.forward(&batch, &mut self.kv)?;
                None
            };
        }
        let prefill = prefill.unwrap_or_else(|| started.elapsed());
        Ok(Generation {
            tokens: history.split_off(request.prompt.len()),
            finish_reason: finish_reason.unwrap_or(FinishReason::Cancelled),
            prefill,
            decode: started.elapsed() - prefill,
        })
    }

    /// Runs the prompt in chunks of the decoder's rows; false if it was cancelled on the way.
    fn prefill(
        &mut self,
        pages: &[PageId],
        prompt: &[TokenId],
        cancel: &AtomicBool,
    ) -> Result<bool> {
        let rows = self.limits().rows;
        for (i, chunk) in prompt.chunks(rows).enumerate() {
            if cancel.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let start = i * rows;
            let mut batch = Batch::new(Phase::Prefill);
            batch.push(start, chunk, pages);
            if start + chunk.len() == prompt.len() {
                batch.logit_rows.push(chunk.len() - 1);
            }
            self.decoder.forward(&batch, &mut self.kv)?;
        }
        Ok(true)
    }

    /// Draws from the logits of the last forward.
    fn draw(&self, request: &Request, history: &[TokenId]) -> Result<Sampled> {
        let row =
            SampleRow { params: &request.sampling, history, prompt_len: request.prompt.len() };
        let mut drawn = self.decoder.backend().sample(self.decoder.logits(), &[row])?;
        assert_eq!(drawn.len(), 1, "one row gives one token");
        Ok(drawn.remove(0))
    }
}
