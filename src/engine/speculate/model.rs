//! A small model that drafts, with a KV cache of its own.

use super::{Ask, DraftWork, Drafter};
use crate::backend::{Backend, Batch, DECODE_ROWS_MAX, Phase, SampleRow};
use crate::engine::events::RequestId;
use crate::error::Result;
use crate::kv::{PageId, PagePool, pages_for};
use crate::model::{Decoder, Limits};
use crate::request::{SamplingParams, TokenId};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Drafts for many sequences at once: round by round, each draws its next token with the noise
/// that the request itself has at that position.
///
/// A sequence that is behind by more than a step's rows (a new one, or one without drafts for long)
/// is first brought up by prefill, within the rows of one pass a step. One that finds no page is
/// left without a draft; pages of sequences that are not asking are taken back for those that are.
pub struct DraftModel<B: Backend> {
    decoder: Decoder<B>,
    kv: B::KvCache,
    pool: PagePool,
    sequences: HashMap<RequestId, Sequence>,
    batch: Batch,
}

#[derive(Default)]
struct Sequence {
    /// Tokens whose keys and values are in `pages`.
    computed: Vec<TokenId>,
    pages: Vec<PageId>,
}

impl Sequence {
    /// Forgets what was computed, and its pages.
    fn give_back(&mut self, pool: &mut PagePool) {
        self.computed.clear();
        for page in self.pages.drain(..) {
            pool.release(page);
        }
    }
}

/// A draft on the way.
struct Work {
    /// Which of those who ask.
    index: usize,
    id: RequestId,
    /// Prompt, output and draft.
    tokens: Vec<TokenId>,
    left: usize,
    /// How its tokens are drawn, where the request itself wants more than a token: nobody looks at
    /// the log-probabilities of a draft.
    params: Option<SamplingParams>,
}

impl<B: Backend> DraftModel<B> {
    /// What the decoder of a draft must be made for, to serve an engine of these limits.
    pub fn limits(target: Limits) -> Limits {
        let rows = target.rows.max(target.sequences * DECODE_ROWS_MAX);
        Limits { rows, logit_rows: target.sequences, ..target }
    }

    /// A draft model with `pages` pages for its own keys and values.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] if there is no room for them.
    pub fn new(decoder: Decoder<B>, pages: usize) -> Result<DraftModel<B>> {
        let kv = decoder.kv_cache(pages)?;
        let (pool, sequences) = (PagePool::new(pages), HashMap::new());
        Ok(DraftModel { decoder, kv, pool, sequences, batch: Batch::new(Phase::Decode) })
    }

    /// What is known of a sequence that is still true, with pages for `len` tokens. False if there
    /// are none to be had.
    fn prepare(&mut self, ask: &Ask<'_>, asks: &[Ask<'_>]) -> bool {
        let needed = pages_for((ask.tokens.len() + ask.depth).min(self.decoder.limits().context));
        let sequence = self.sequences.entry(ask.id).or_default();
        // The last token is never computed yet: its row gives the first of the draft.
        let known = &ask.tokens[..ask.tokens.len() - 1];
        let equal = sequence.computed.iter().zip(known).take_while(|(a, b)| a == b).count();
        sequence.computed.truncate(equal);
        let lacking = needed.saturating_sub(sequence.pages.len());
        if lacking > self.pool.free_pages() {
            self.take_back(asks);
        }
        let sequence = self.sequences.get_mut(&ask.id).expect("it was made above");
        let has_room = self.pool.take_into(lacking, &mut sequence.pages);
        if !has_room {
            // Sequences that all wait for a page while each holds some would wait for long.
            sequence.give_back(&mut self.pool);
        }
        has_room
    }

    /// Frees the pages of sequences that ask for nothing.
    fn take_back(&mut self, asks: &[Ask<'_>]) {
        for (id, sequence) in &mut self.sequences {
            if !asks.iter().any(|ask| ask.id == *id && ask.depth > 0) {
                sequence.give_back(&mut self.pool);
            }
        }
    }

    /// Computes what sequences lack beyond the rows of a decode step; gives those that are ready.
    fn catch_up(
        &mut self,
        work: Vec<Work>,
        timed: &mut dyn FnMut(DraftWork, Duration),
    ) -> Result<Vec<Work>> {
        let started = Instant::now();
        let mut left = self.decoder.limits().rows;
        let (mut ready, mut chunks) = (Vec::new(), Vec::new());
        self.batch.clear();
        self.batch.phase = Phase::Prefill;
        for item in work {
            let sequence = &self.sequences[&item.id];
            let (start, end) = (sequence.computed.len(), item.tokens.len() - 1);
            let count = (end - start).min(left);
            if end - start >= DECODE_ROWS_MAX {
                if count > 0 {
                    let tokens = &item.tokens[start..start + count];
                    self.batch.push(start, tokens, &sequence.pages);
                    chunks.push((item.id, tokens.to_vec()));
                    left -= count;
                }
                if count < end - start {
                    continue; // it gets its draft in a later step
                }
            }
            ready.push(item);
        }
        if !chunks.is_empty() {
            self.decoder.forward(&self.batch, &mut self.kv)?;
            timed(DraftWork::Reading(self.batch.rows()), started.elapsed());
        }
        for (id, tokens) in chunks {
            let sequence = self.sequences.get_mut(&id).expect("it was prepared");
            sequence.computed.extend(tokens);
        }
        Ok(ready)
    }

    /// One more token for each of `work`.
    fn round(&mut self, asks: &[Ask<'_>], work: &mut [Work]) -> Result<()> {
        self.batch.clear();
        self.batch.phase = Phase::Decode;
        for item in &*work {
            let sequence = &self.sequences[&item.id];
            let start = sequence.computed.len();
            let rows = self.batch.push(start, &item.tokens[start..], &sequence.pages);
            self.batch.logit_rows.push(rows.end - 1);
        }
        self.decoder.forward(&self.batch, &mut self.kv)?;
        let rows = work.iter().map(|item| {
            let ask = &asks[item.index];
            let params = item.params.as_ref().unwrap_or(ask.params);
            SampleRow { params, history: &item.tokens, prompt_len: ask.prompt_len }
        });
        let rows: Vec<SampleRow<'_>> = rows.collect();
        let drawn = self.decoder.backend().sample(self.decoder.logits(), &rows)?;
        for (item, sampled) in work.iter_mut().zip(drawn) {
            let sequence = self.sequences.get_mut(&item.id).expect("it was prepared");
            sequence.computed.extend_from_slice(&item.tokens[sequence.computed.len()..]);
            item.tokens.push(sampled.token);
            item.left -= 1;
        }
        Ok(())
    }
}

impl<B: Backend> Drafter for DraftModel<B> {
    fn draft(
        &mut self,
        asks: &[Ask<'_>],
        drafts: &mut [Vec<TokenId>],
        timed: &mut dyn FnMut(DraftWork, Duration),
    ) -> Result<()> {
        let mut work = Vec::new();
        let context = self.decoder.limits().context;
        for (index, ask) in asks.iter().enumerate() {
            // The draft's context may be the shorter one: beyond it nothing is drafted.
            let left = ask.depth.min(context.saturating_sub(ask.tokens.len()));
            if left > 0 && self.prepare(ask, asks) {
                let params = ask.params.logprobs.is_some().then(|| ask.params.clone());
                let params = params.map(|params| SamplingParams { logprobs: None, ..params });
                work.push(Work { index, id: ask.id, tokens: ask.tokens.to_vec(), left, params });
            }
        }
        let mut work = self.catch_up(work, timed)?;
        let mut started = Instant::now();
        while !work.is_empty() {
            self.round(asks, &mut work)?;
            timed(DraftWork::Round(work.len()), started.elapsed());
            started = Instant::now();
            for item in work.iter().filter(|item| item.left == 0) {
                let ask = &asks[item.index];
                drafts[item.index].extend_from_slice(&item.tokens[ask.tokens.len()..]);
            }
            work.retain(|item| item.left > 0);
        }
        Ok(())
    }

    fn lag(&self, ask: &Ask<'_>) -> usize {
        let computed = self.sequences.get(&ask.id).map_or(0, |sequence| sequence.computed.len());
        match (ask.tokens.len() - 1).saturating_sub(computed) {
            // These are rows of the first round.
            behind if behind < DECODE_ROWS_MAX => 0,
            behind => behind,
        }
    }

    fn forget(&mut self, id: RequestId) {
        if let Some(mut sequence) = self.sequences.remove(&id) {
            sequence.give_back(&mut self.pool);
        }
    }
}
