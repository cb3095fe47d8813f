//! The engine: a model, its KV cache, a scheduler, and the step that serves all requests at once.

use crate::backend::{Backend, Batch, Phase, SampleRow, Sampled};
use crate::engine::events::{Event, Finish, RequestId};
use crate::engine::handle::Client;
use crate::engine::mail::{Job, Mail};
use crate::engine::scheduler::{Caps, Chunk, Refusal, Scheduler, SeqId, Submission};
use crate::engine::speculate::{Ask, DEPTH_MAX, Depths, DraftCounts, Drafter, Speculator};
use crate::engine::stats::PhaseStats;
use crate::error::{Error, Result};
use crate::kv::{KvPages, PrefixOptions, Sharing, pages_for};
use crate::model::budget::seen;
use crate::model::{Decoder, Limits};
use crate::request::{FinishReason, Request, TokenId};
use crate::text::{TextStream, Tokenizer};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How an engine serves. [`EngineOptions::limits`] gives the limits of the decoder for it.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineOptions {
    /// The most tokens of prompt and output of one request.
    pub context: usize,
    /// Pages of the KV pool, of 64 tokens.
    pub pages: usize,
    /// Prompt tokens of a step.
    pub prefill_tokens: usize,
    /// Requests that run at a time.
    pub running: usize,
    /// Requests that may wait.
    pub waiting: usize,
    /// How much of the room that outputs may need is promised when a request is admitted, in
    /// percent. With 100 no request is ever preempted.
    pub reserve_percent: usize,
    /// Whether prompts share pages.
    pub prefix_cache: bool,
    /// Whether generated tokens are shared as well. The output may then differ from that without
    /// the cache: what was computed token by token takes the place of a prompt.
    pub share_generated: bool,
    /// When a caller gives up on an engine that completes no step.
    pub patience: Duration,
    /// The most tokens that are drafted for a request at a time; 0 without a drafter.
    pub depth: usize,
}

impl EngineOptions {
    /// For requests of at most `context` tokens, `running` at a time, each with its pages.
    pub fn new(context: usize, running: usize) -> EngineOptions {
        EngineOptions {
            context,
            pages: running * pages_for(context),
            prefill_tokens: 512,
            running,
            waiting: 4096,
            reserve_percent: 100,
            prefix_cache: true,
            share_generated: false,
            patience: Duration::from_secs(600),
            depth: 0,
        }
    }

    /// What the decoder must be made for.
    pub fn limits(&self) -> Limits {
        // A sequence that runs again after a preemption may take rows that others leave.
        let drafted = self.running * (1 + self.depth.min(DEPTH_MAX));
        let rows = self.prefill_tokens.max(drafted);
        let (sequences, context) = (self.running, self.context);
        Limits { rows, logit_rows: drafted, sequences, context }
    }
}

/// A request that waits or runs.
struct Live {
    id: RequestId,
    request: Request,
    prompt_len: usize,
    stops: Option<TextStream>,
    output_tokens: usize,
    cached_tokens: usize,
    submitted: Instant,
    admitted: Option<Instant>,
    first_token: Option<Instant>,
    drafts: Option<Box<DraftCounts>>,
}

/// Serves requests in steps. It does nothing by itself: call [`Engine::step`], or give it a thread
/// with [`crate::engine::EngineThread`].
pub struct Engine<B: Backend> {
    decoder: Decoder<B>,
    kv: B::KvCache,
    scheduler: Scheduler,
    tokenizer: Option<Tokenizer>,
    mail: Arc<Mail>,
    /// By sequence.
    live: Vec<Option<Live>>,
    by_request: HashMap<RequestId, SeqId>,
    events: Vec<(RequestId, Event)>,
    batch: Batch,
    chunks: Vec<Chunk>,
    accepted: Vec<TokenId>,
    speculator: Speculator,
    prefill: PhaseStats,
    decode: PhaseStats,
    /// How many layers have each window, or none.
    windows: Vec<(Option<usize>, u64)>,
    totals: Totals,
    /// When a request last ended, and the mean time between such ends.
    last_end: Option<Instant>,
    end_interval: Option<Duration>,
}

#[derive(Default)]
struct Totals {
    prompt_tokens: u64,
    generation_tokens: u64,
    finished: [u64; 5],
    steps: u64,
    step_time: Duration,
}

impl<B: Backend> Engine<B> {
    /// An engine with an empty KV pool. The tokenizer is needed for stop strings only.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no room for the pool.
    ///
    /// # Panics
    /// If the decoder was made for less than [`EngineOptions::limits`].
    pub fn new(
        decoder: Decoder<B>,
        tokenizer: Option<Tokenizer>,
        options: &EngineOptions,
    ) -> Result<Engine<B>> {
        let (has, needs) = (decoder.limits(), options.limits());
        let fits = has.rows >= needs.rows
            && has.logit_rows >= needs.logit_rows
            && has.sequences >= needs.sequences
            && has.context >= needs.context;
        assert!(fits, "a decoder for {has:?}, expected at least {needs:?}");
        let kv = decoder.kv_cache(options.pages)?;
        let caps = Caps {
            prefill_tokens: options.prefill_tokens,
            decode_rows: has.rows,
            running: options.running,
            waiting: options.waiting,
            reserve_percent: options.reserve_percent,
        };
        let prefix = options.prefix_cache.then(|| PrefixOptions {
            sharing: if options.share_generated { Sharing::All } else { Sharing::Prompt },
            ..PrefixOptions::default()
        });
        let pages = KvPages::new(options.pages, prefix);
        let mut sorted = decoder.config().windows.clone();
        sorted.sort_unstable();
        let same = sorted.chunk_by(|a, b| a == b);
        let windows = same.map(|layers| (layers[0], layers.len() as u64)).collect();
        Ok(Engine {
            decoder,
            kv,
            scheduler: Scheduler::new(caps, pages),
            tokenizer,
            mail: Arc::new(Mail::new(options.patience, options.waiting)),
            live: Vec::new(),
            by_request: HashMap::new(),
            events: Vec::new(),
            batch: Batch::new(Phase::Decode),
            chunks: Vec::new(),
            accepted: Vec::new(),
            speculator: Speculator::none(),
            prefill: PhaseStats::default(),
            decode: PhaseStats::default(),
            windows,
            totals: Totals::default(),
            last_end: None,
            end_interval: None,
        })
    }

    /// Speculates with what `drafter` drafts, as deep as `depths` says and as
    /// [`EngineOptions::depth`] left room for: with 0 nothing is drafted. The output stays the
    /// same.
    pub fn speculate(&mut self, drafter: Box<dyn Drafter>, depths: Depths) {
        self.speculator = Speculator::new(Some(drafter), depths);
    }

    /// A way to send it requests, from any thread.
    pub fn client(&self) -> Client {
        let config = self.decoder.config();
        let context = self.decoder.limits().context;
        Client::new(self.mail.clone(), config.vocab_size, context, self.tokenizer.is_some())
    }

    /// The model.
    pub fn decoder(&self) -> &Decoder<B> {
        &self.decoder
    }

    /// The scheduler, to look at.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    pub(super) fn mail(&self) -> &Arc<Mail> {
        &self.mail
    }

    /// Serves every request a bit: takes what came in, plans, computes each family's rows and
    /// draws, and tells what came of it. False if there was nothing to do.
    pub fn step(&mut self) -> bool {
        let started = Instant::now();
        self.admit();
        let worked = self.schedule();
        for phase in [Phase::Decode, Phase::Prefill] {
            self.take_chunks(phase);
            if !self.chunks.is_empty() {
                let passed = Instant::now();
                let result = self.forward(phase).and_then(|()| self.sample());
                self.settle(phase, result, passed.elapsed());
            }
        }
        self.publish(started, worked);
        worked
    }

    /// Empties the inbox.
    fn admit(&mut self) {
        let mut inbox = self.mail.inbox();
        let jobs = std::mem::take(&mut inbox.jobs);
        let cancelled = std::mem::take(&mut inbox.cancelled);
        drop(inbox);
        for job in jobs {
            self.take_in(job);
        }
        for id in cancelled {
            if let Some(&seq) = self.by_request.get(&id) {
                self.finish(seq, FinishReason::Cancelled);
            }
        }
    }

    fn take_in(&mut self, job: Job) {
        let Job { id, mut request, options, submitted } = job;
        let stops = match (&self.tokenizer, request.stop.is_empty()) {
            (Some(tokenizer), false) => {
                TextStream::new(tokenizer, &request.prompt, request.stop.clone()).map(Some)
            }
            _ => Ok(None),
        };
        let prompt = std::mem::take(&mut request.prompt);
        let prompt_len = prompt.len();
        let context = self.decoder.limits().context;
        let last = prompt_len.saturating_add(request.max_tokens).min(context);
        let submission =
            Submission { prompt, last, priority: options.priority, salt: options.salt };
        let taken = stops.and_then(|stops| {
            let seq = self.scheduler.submit(submission).map_err(|why| self.refused(why))?;
            Ok((seq, stops))
        });
        match taken {
            Err(error) => {
                self.totals.finished[FinishReason::Error as usize] += 1;
                self.events.push((id, Event::Failed(error)));
            }
            Ok((seq, stops)) => {
                let place = seq.0 as usize;
                if self.live.len() <= place {
                    self.live.resize_with(place + 1, || None);
                }
                self.by_request.insert(id, seq);
                self.live[place] = Some(Live {
                    id,
                    request,
                    prompt_len,
                    stops,
                    output_tokens: 0,
                    cached_tokens: 0,
                    submitted,
                    admitted: None,
                    first_token: None,
                    drafts: None,
                });
            }
        }
    }

    fn refused(&self, why: Refusal) -> Error {
        match why {
            Refusal::TooLarge { needed, pages } => Error::Request(format!(
                "prompt and output may take {needed} pages of the KV cache, which has {pages}: a \
                 smaller max_tokens, or a larger cache"
            )),
            Refusal::Full { waiting } => {
                Error::Busy { waiting, retry_after: self.end_interval.unwrap_or_default() }
            }
        }
    }

    /// Plans the step. False if there is nothing to compute.
    fn schedule(&mut self) -> bool {
        if self.speculator.is_some() {
            let rows = self.scheduler.decode_rows();
            if rows > 0 && !self.speculator.rests(rows) {
                self.draft(rows);
            }
        }
        let step = self.scheduler.schedule();
        let now = Instant::now();
        for &(seq, shared) in &step.admitted {
            let live = self.live[seq.0 as usize].as_mut().expect("it waited");
            if live.admitted.is_none() {
                (live.admitted, live.cached_tokens) = (Some(now), shared);
            }
        }
        if !step.prefill.is_empty() || !step.decode.is_empty() {
            return true;
        }
        // With all pages free the first of the waiting always fits. Should it not, then it must not
        // keep everybody waiting.
        if self.scheduler.running() == 0
            && let Some(seq) = self.scheduler.first_waiting()
        {
            self.fail(seq, "it could not be scheduled on an idle engine");
            return true;
        }
        false
    }

    /// Asks for drafts of what those who decode will draw next, in a pass that has `rows` rows
    /// without them.
    fn draft(&mut self, rows: usize) {
        let most = self.decoder.limits().logit_rows / self.scheduler.caps().running - 1;
        let (scheduler, live) = (&self.scheduler, &self.live);
        let draftable: Vec<(SeqId, usize)> = scheduler.draftable().collect();
        let asks = draftable.iter().map(|&(seq, room)| {
            let live = live[seq.0 as usize].as_ref().expect("it runs");
            Ask {
                id: live.id,
                tokens: scheduler.tokens(seq),
                prompt_len: live.prompt_len,
                params: &live.request.sampling,
                depth: room.min(most),
            }
        });
        let vocab_size = self.decoder.config().vocab_size;
        let drafts = self.speculator.draft(asks.collect(), rows, vocab_size);
        for (&(seq, _), draft) in draftable.iter().zip(drafts).filter(|(_, d)| !d.is_empty()) {
            self.scheduler.propose(seq, draft);
        }
    }

    /// Which rows of the step are of this family.
    fn take_chunks(&mut self, phase: Phase) {
        let step = self.scheduler.step();
        self.chunks.clear();
        self.chunks.extend_from_slice(match phase {
            Phase::Prefill => &step.prefill,
            Phase::Decode => &step.decode,
        });
    }

    /// Computes the rows of the chunks.
    fn forward(&mut self, phase: Phase) -> Result<()> {
        let batch = &mut self.batch;
        batch.clear();
        batch.phase = phase;
        for chunk in &self.chunks {
            let tokens = self.scheduler.tokens_and_draft(chunk.id);
            let tokens = &tokens[chunk.start..][..chunk.rows()];
            let rows = batch.push(chunk.start, tokens, self.scheduler.table(chunk.id));
            batch.logit_rows.extend(rows.end - chunk.logit_rows()..rows.end);
        }
        let (decoder, kv) = (&mut self.decoder, &mut self.kv);
        guarded(|| decoder.forward(batch, kv))?;
        self.scheduler.computed(&self.chunks);
        Ok(())
    }

    /// Draws the tokens of the chunks that want one.
    fn sample(&mut self) -> Result<()> {
        self.chunks.retain(|chunk| chunk.draws);
        if self.chunks.is_empty() {
            return Ok(());
        }
        let (live, scheduler) = (&self.live, &self.scheduler);
        let rows = self.chunks.iter().flat_map(|chunk| {
            let live = live[chunk.id.0 as usize].as_ref().expect("it runs");
            let all = scheduler.tokens_and_draft(chunk.id);
            (all.len() - chunk.drafted..=all.len()).map(|len| SampleRow {
                params: &live.request.sampling,
                history: &all[..len],
                prompt_len: live.prompt_len,
            })
        });
        let rows: Vec<SampleRow<'_>> = rows.collect();
        let (backend, logits) = (self.decoder.backend(), self.decoder.logits());
        let drawn = guarded(|| backend.sample(logits, &rows))?;
        assert_eq!(drawn.len(), rows.len(), "one token a row");
        let mut drawn = drawn.into_iter();
        for i in 0..self.chunks.len() {
            let chunk = self.chunks[i];
            let mut mine = drawn.by_ref().take(chunk.logit_rows());
            self.take_tokens(chunk, &mut mine);
            mine.for_each(drop); // after what the draft had wrong
        }
        Ok(())
    }

    /// Takes what was drawn after a chunk: the first, and the next for as long as the draft had the
    /// one before and the request goes on.
    fn take_tokens(&mut self, chunk: Chunk, drawn: &mut dyn Iterator<Item = Sampled>) {
        let seq = chunk.id;
        let live = self.live[seq.0 as usize].as_mut().expect("it runs");
        let all = self.scheduler.tokens_and_draft(seq);
        let len = all.len() - chunk.drafted;
        let (draft, room) = (&all[len..], self.scheduler.last(seq) - len);
        live.first_token.get_or_insert_with(Instant::now);
        self.accepted.clear();
        let mut end = None;
        for sampled in drawn {
            let token = sampled.token;
            self.accepted.push(token);
            self.events.push((live.id, Event::Token(sampled)));
            let stopped = match &mut live.stops {
                Some(stops) => stops.push(token).map(|step| step.stopped),
                None => Ok(false),
            };
            end = match stopped {
                Err(error) => Some(Err(error)),
                _ if live.request.stop_tokens.contains(&token) => Some(Ok(FinishReason::Eos)),
                Ok(true) => Some(Ok(FinishReason::Stop)),
                Ok(false) if self.accepted.len() == room => Some(Ok(FinishReason::Length)),
                Ok(false) => None,
            };
            if end.is_some() || draft.get(self.accepted.len() - 1) != Some(&token) {
                break;
            }
        }
        live.output_tokens += self.accepted.len();
        self.totals.generation_tokens += self.accepted.len() as u64;
        if self.speculator.is_some() && self.batch.phase == Phase::Decode {
            let counts = live.drafts.get_or_insert_default();
            if chunk.drafted == 0 {
                counts.add_plain();
                self.speculator.learn_plain();
            } else {
                let right = draft.iter().zip(&self.accepted).take_while(|(a, b)| a == b).count();
                let judged = if right < self.accepted.len() { chunk.drafted } else { right };
                let step = DraftCounts::step(self.accepted.len(), chunk.drafted, right);
                **counts += step;
                self.speculator.learn(live.id, step, judged, right);
            }
        }
        self.scheduler.accept(seq, &self.accepted);
        match end {
            None => {}
            Some(Ok(reason)) => self.finish(seq, reason),
            Some(Err(error)) => self.fail(seq, &error.to_string()),
        }
    }

    /// Counts a pass, and ends those whose rows or draws failed: all chunks, or what is left of
    /// them when draws fail.
    fn settle(&mut self, phase: Phase, result: Result<()>, time: Duration) {
        let stats = match phase {
            Phase::Prefill => &mut self.prefill,
            Phase::Decode => &mut self.decode,
        };
        stats.passes += 1;
        stats.rows += self.batch.rows() as u64;
        stats.logit_rows += self.batch.logit_rows.len() as u64;
        for span in &self.batch.spans {
            for &(window, layers) in &self.windows {
                let (pairs, read) = seen(window, span.start as u64, span.rows.len() as u64);
                stats.pairs += layers * pairs;
                stats.context_tokens += layers * read;
            }
        }
        stats.time += time;
        if phase == Phase::Decode && result.is_ok() {
            self.speculator.learn_pass(self.batch.rows(), time);
        }
        if let Err(error) = result {
            let why = error.to_string();
            for i in 0..self.chunks.len() {
                self.fail(self.chunks[i].id, &why);
            }
        }
    }

    fn finish(&mut self, seq: SeqId, reason: FinishReason) {
        let live = self.remove(seq, reason);
        let now = Instant::now();
        let admitted = live.admitted.unwrap_or(now);
        let first = live.first_token.unwrap_or(now);
        let finish = Finish {
            reason,
            prompt_tokens: live.prompt_len,
            cached_tokens: live.cached_tokens,
            output_tokens: live.output_tokens,
            queued: admitted.saturating_duration_since(live.submitted),
            prefill: first.saturating_duration_since(admitted),
            decode: now.saturating_duration_since(first),
            drafts: live.drafts,
        };
        self.events.push((live.id, Event::Finished(finish)));
    }

    fn fail(&mut self, seq: SeqId, why: &str) {
        let live = self.remove(seq, FinishReason::Error);
        self.events.push((live.id, Event::Failed(Error::Device(why.to_string()))));
    }

    /// Takes a request out of everything; its pages go back.
    fn remove(&mut self, seq: SeqId, reason: FinishReason) -> Live {
        self.scheduler.end(seq);
        let live = self.live[seq.0 as usize].take().expect("it was there");
        self.by_request.remove(&live.id);
        self.speculator.forget(live.id);
        self.totals.finished[reason as usize] += 1;
        self.totals.prompt_tokens += live.prompt_len as u64;
        let now = Instant::now();
        if let Some(last) = self.last_end.replace(now) {
            let interval = now - last;
            let mean = self.end_interval.unwrap_or(interval);
            self.end_interval = Some((mean * 7 + interval) / 8);
        }
        live
    }

    /// Tells callers what happened, in one go.
    fn publish(&mut self, started: Instant, worked: bool) {
        if worked {
            self.totals.steps += 1;
            self.totals.step_time += started.elapsed();
        }
        let (scheduler, totals) = (&self.scheduler, &self.totals);
        let (prefill, decode) = (self.prefill, self.decode);
        let speculation = self.speculator.stats();
        let retry_after = self.end_interval.map(|time| time.max(Duration::from_millis(1)));
        self.mail.post(&mut self.events, retry_after, |stats| {
            let (kv, counts) = (scheduler.kv(), scheduler.counts());
            let cache = kv.stats();
            stats.requests_running = scheduler.running();
            stats.requests_waiting = scheduler.waiting();
            stats.kv_pages = kv.pages();
            stats.kv_pages_used = kv.pages() - kv.available();
            stats.prompt_tokens = totals.prompt_tokens;
            stats.generation_tokens = totals.generation_tokens;
            stats.prefix_cache_queries = cache.queried;
            stats.prefix_cache_hits = cache.hit;
            stats.prefix_cache_evictions = cache.evicted;
            stats.preemptions = counts.preemptions;
            stats.recomputed_tokens = counts.recomputed;
            stats.finished = totals.finished;
            stats.steps = totals.steps;
            stats.step_time = totals.step_time;
            (stats.prefill, stats.decode) = (prefill, decode);
            stats.speculation.clone_from(speculation);
        });
    }
}

/// Runs something of the device's; a panic in it is an error like any other.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::Device(format!("panicked: {}", text.unwrap_or("without a message"))))
    })
}

/// What a request leaves when nobody listened to its tokens one by one.
#[derive(Debug)]
pub struct Completion {
    /// The drawn tokens.
    pub tokens: Vec<Sampled>,
    /// How it ended.
    pub finish: Finish,
}

impl Completion {
    /// The tokens alone.
    pub fn ids(&self) -> Vec<TokenId> {
        self.tokens.iter().map(|sampled| sampled.token).collect()
    }
}
