//! Many requests at once give what each gives alone: the promise of equal bits, on whole engines.

use crate::common::fixture;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ridgepoint::backend::Backend;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::backend::pages_for;
use ridgepoint::engine::speculate::{DEPTH_MAX, Depths, SpeculationStats};
use ridgepoint::engine::{Engine, EngineOptions, Event, Generator, Stream, SubmitOptions};
use ridgepoint::load::Checkpoint;
use ridgepoint::model::{Decoder, Limits, ModelConfig};
use ridgepoint::request::{FinishReason, Request, SamplingParams, TokenId, TokenLogprobs};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The most tokens of prompt and output.
pub const CONTEXT: usize = 256;

/// A request of a case.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Prompts of one kind begin alike, for as many tokens as the shorter has, less `own`.
    pub kind: u32,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// How many of these, at its end, no other prompt has.
    pub own: usize,
    /// The most tokens of the output.
    pub output: usize,
    /// Odd seeds sample, even ones are greedy.
    pub seed: u64,
    /// The step before which it comes.
    pub arrival: usize,
    /// Priority and, where odd, a tenant of its own.
    pub priority: i32,
    /// It is cancelled after so many tokens.
    pub cancel: Option<usize>,
}

/// Requests, and how they are served.
#[derive(Debug, Clone)]
pub struct Case {
    /// The requests.
    pub asked: Vec<Asked>,
    /// See [`EngineOptions`].
    pub prefill_tokens: usize,
    /// See [`EngineOptions`].
    pub running: usize,
    /// Pages beyond those that the largest request needs.
    pub spare_pages: usize,
    /// See [`EngineOptions`].
    pub reserve_percent: usize,
    /// See [`EngineOptions`].
    pub prefix_cache: bool,
    /// What drafts, if anything, and how deep; without a depth it is chosen.
    pub drafts: Option<(Drafts, Option<usize>)>,
}

/// Who drafts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drafts {
    /// Prompt lookup.
    Ngrams,
    /// The same model, on the CPU, with so many pages for all its sequences.
    Model(usize),
    /// Random tokens.
    Random,
    /// Never what will be drawn, if it can be helped.
    Wrong,
    /// It fails every second time, once by a panic.
    Failing,
}

impl Asked {
    fn request(&self, index: usize) -> Request {
        let token = |i: usize| match i + self.own < self.prompt {
            true => (i as u32 * 11 + self.kind * 5) % 200,
            false => (i as u32 * 7 + index as u32 * 13 + 3) % 200,
        };
        let sampled = self.seed % 2 == 1;
        Request {
            prompt: (0..self.prompt).map(|i| TokenId(token(i))).collect(),
            max_tokens: self.output,
            sampling: SamplingParams {
                temperature: if sampled { 0.9 } else { 0.0 },
                top_p: if sampled { 0.95 } else { 1.0 },
                repetition_penalty: if self.seed.is_multiple_of(3) { 1.1 } else { 1.0 },
                seed: self.seed,
                logprobs: Some(2),
                ..SamplingParams::default()
            },
            stop: Vec::new(),
            stop_tokens: vec![TokenId(7)],
        }
    }

    fn pages(&self) -> usize {
        pages_for((self.prompt + self.output).min(CONTEXT))
    }
}

/// What a request gave.
#[derive(Debug, PartialEq)]
struct Given {
    tokens: Vec<(TokenId, Option<TokenLogprobs>)>,
    reason: Option<FinishReason>,
}

fn alone<B: Backend>(generator: &mut Generator<B>, request: &Request) -> Given {
    let mut tokens = Vec::new();
    let never = AtomicBool::new(false);
    let generation = generator.run(request, None, &never, &mut |sampled| {
        tokens.push((sampled.token, sampled.logprobs.clone()));
        Ok(())
    });
    Given { tokens, reason: Some(generation.unwrap().finish_reason) }
}

fn take(stream: &mut Stream, given: &mut Given) {
    while let Some(event) = stream.next_within(Duration::ZERO) {
        match event {
            Event::Token(sampled) => given.tokens.push((sampled.token, sampled.logprobs)),
            Event::Finished(finish) => {
                assert_eq!(finish.output_tokens, given.tokens.len());
                assert!(given.reason.replace(finish.reason).is_none(), "two ends");
            }
            Event::Failed(error) => panic!("{error}"),
        }
    }
}

/// Serves a case step by step and gives what came, with the preemptions that it took.
fn together<B: Backend>(name: &str, decoder: Decoder<B>, case: &Case) -> (Vec<Given>, Ran) {
    let largest = case.asked.iter().map(Asked::pages).max().unwrap();
    let options = EngineOptions { pages: largest + case.spare_pages, ..case.options() };
    let mut engine = Engine::new(decoder, None, &options).unwrap();
    if let Some((drafts, depth)) = case.drafts {
        engine.speculate(drafts.drafter(name, options.limits()), Depths::new(depth));
    }
    let client = engine.client();
    let mut streams: Vec<Option<Stream>> = case.asked.iter().map(|_| None).collect();
    let mut given: Vec<Given> =
        case.asked.iter().map(|_| Given { tokens: Vec::new(), reason: None }).collect();
    for step in 0.. {
        assert!(step < 20_000, "it does not end");
        for (i, asked) in case.asked.iter().enumerate().filter(|(_, a)| a.arrival == step) {
            let salt = (asked.priority % 2 != 0).then_some(asked.priority as u64);
            let options = SubmitOptions { priority: asked.priority, salt };
            streams[i] = Some(client.submit(asked.request(i), options).unwrap());
        }
        engine.step();
        engine.scheduler().check();
        for ((stream, given), asked) in streams.iter_mut().zip(&mut given).zip(&case.asked) {
            let Some(stream) = stream else { continue };
            take(stream, given);
            if asked.cancel.is_some_and(|count| given.tokens.len() >= count) {
                stream.cancel();
            }
        }
        if given.iter().all(|given| given.reason.is_some()) {
            break;
        }
    }
    let kv = engine.scheduler().kv();
    assert_eq!(kv.available(), kv.pages(), "pages were lost");
    let preemptions = engine.scheduler().counts().preemptions;
    let stats = client.stats();
    let (prefix_hits, speculation) = (stats.prefix_cache_hits, stats.speculation);
    (given, Ran { preemptions, prefix_hits, speculation })
}

/// What a case took.
#[derive(Debug)]
pub struct Ran {
    /// Preemptions.
    pub preemptions: u64,
    /// Prompt tokens that were found in the prefix cache.
    pub prefix_hits: u64,
    /// Drafts.
    pub speculation: SpeculationStats,
}

impl Case {
    fn options(&self) -> EngineOptions {
        EngineOptions {
            prefill_tokens: self.prefill_tokens,
            reserve_percent: self.reserve_percent,
            prefix_cache: self.prefix_cache,
            depth: self.drafts.map_or(0, |_| DEPTH_MAX),
            ..EngineOptions::new(CONTEXT, self.running)
        }
    }
}

/// Runs a case on the fixture `name` and holds it against each request alone.
pub fn hold<B: Backend>(name: &str, backend: impl Fn() -> B, case: &Case) -> Ran {
    let load = |limits| decoder(name, backend(), limits);
    let limits = Limits { rows: 64, logit_rows: 1, sequences: 1, context: CONTEXT };
    let mut generator = Generator::new(load(limits)).unwrap();
    let (given, ran) = together(name, load(case.options().limits()), case);
    for (i, (asked, found)) in case.asked.iter().zip(given).enumerate() {
        let mut expected = alone(&mut generator, &asked.request(i));
        if found.reason == Some(FinishReason::Cancelled) {
            assert!(asked.cancel.is_some(), "request {i} was not cancelled");
            expected.tokens.truncate(found.tokens.len());
            expected.reason = found.reason;
        }
        assert_eq!(found, expected, "request {i} of {case:#?}");
    }
    ran
}

/// A fixture on a backend.
pub fn decoder<B: Backend>(name: &str, backend: B, limits: Limits) -> Decoder<B> {
    let dir = fixture(name);
    let config = ModelConfig::load(Path::new(&dir)).unwrap();
    let checkpoint = Checkpoint::open(Path::new(&dir)).unwrap();
    Decoder::load(backend, config, &checkpoint, limits).unwrap()
}

fn asked() -> impl Strategy<Value = Asked> {
    let sizes = (0u32..3, 1usize..200, 0usize..40, 1usize..50);
    let how = (0u64..1000, 0usize..60, 0i32..4, proptest::option::weighted(0.15, 0usize..10));
    (sizes, how).prop_map(|((kind, prompt, own, output), (seed, arrival, priority, cancel))| {
        Asked { kind, prompt, own, output, seed, arrival, priority, cancel }
    })
}

/// Anything that may draft.
fn drafts() -> impl Strategy<Value = Option<(Drafts, Option<usize>)>> {
    let who = prop_oneof![
        Just(Drafts::Ngrams),
        (2usize..20).prop_map(Drafts::Model),
        Just(Drafts::Random),
        Just(Drafts::Wrong),
        Just(Drafts::Failing),
    ];
    proptest::option::weighted(0.6, (who, proptest::option::of(0usize..8)))
}

fn cases() -> impl Strategy<Value = Case> {
    let requests = proptest::collection::vec(asked(), 1..9);
    let prefill = prop_oneof![Just(1), Just(7), Just(64), Just(130), Just(512)];
    let how = (prefill, 1usize..8, 0usize..10, prop_oneof![Just(0), Just(40), Just(100)]);
    (requests, how, any::<bool>(), drafts()).prop_map(
        |(asked, (prefill_tokens, running, spare_pages, reserve_percent), prefix_cache, drafts)| {
            Case {
                asked,
                prefill_tokens,
                running,
                spare_pages,
                reserve_percent,
                prefix_cache,
                drafts,
            }
        },
    )
}

#[test]
fn a_request_gets_the_same_in_any_company() {
    for (name, count) in [("mistral_window", 30), ("qwen3_gqa2", 20)] {
        let mut runner = TestRunner::new(Config { cases: count, ..Config::default() });
        let held = runner.run(&cases(), |case| {
            hold(name, CpuBackend::new, &case);
            Ok(())
        });
        held.unwrap();
    }
}

/// A case that is known to preempt, share and cancel: the property would hold without any of it.
pub fn crowded() -> Case {
    let asked = |i: usize| Asked {
        kind: (i % 2) as u32,
        prompt: 70 + 20 * (i % 4),
        own: 3 + i,
        output: 30 + 5 * i,
        seed: i as u64,
        arrival: 2 * i,
        priority: 0,
        cancel: (i == 3).then_some(4),
    };
    Case {
        asked: (0..7).map(asked).collect(),
        prefill_tokens: 50,
        running: 6,
        spare_pages: 3,
        reserve_percent: 0,
        prefix_cache: true,
        drafts: None,
    }
}

#[test]
fn preempted_requests_get_the_same() {
    let ran = hold("llama3_gqa4", CpuBackend::new, &crowded());
    assert!(ran.preemptions > 0, "nothing was preempted");
}
