//! Outputs that end, or are ended, within a run of accepted tokens.

use super::together::{Drafts, crowded, decoder, hold};
use crate::common::fixture;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::engine::speculate::{Ask, DEPTH_MAX, Depths, DraftWork, Drafter};
use ridgepoint::engine::{Completion, Engine, EngineOptions, Event, Generator, SubmitOptions};
use ridgepoint::error::Result;
use ridgepoint::model::Limits;
use ridgepoint::request::{FinishReason, Request, SamplingParams, TokenId, TokenLogprobs};
use ridgepoint::text::{TextStream, Tokenizer};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const MODEL: &str = "llama3_gqa4";
const CONTEXT: usize = 128;
/// The vocabulary of the model, and a token of it that the requests here forbid.
const VOCAB: u32 = 257;
const NEVER: TokenId = TokenId(256);

/// Knows the whole output. It has so many tokens of each draft right, then goes wrong in its way.
#[derive(Clone)]
struct Prophet {
    output: Vec<TokenId>,
    right: usize,
    then: TokenId,
}

impl Drafter for Prophet {
    fn draft(
        &mut self,
        asks: &[Ask<'_>],
        drafts: &mut [Vec<TokenId>],
        _timed: &mut dyn FnMut(DraftWork, Duration),
    ) -> Result<()> {
        for (ask, draft) in asks.iter().zip(drafts) {
            let drawn = ask.tokens.len() - ask.prompt_len;
            draft.extend(self.output[drawn..].iter().take(self.right.min(ask.depth)));
            // More than was asked for is cut off.
            draft.resize(DEPTH_MAX + 3, self.then);
        }
        Ok(())
    }
}

fn request(temperature: f32) -> Request {
    Request {
        prompt: (0..9).map(|i| TokenId(i * 17 % 200)).collect(),
        max_tokens: 40,
        sampling: SamplingParams {
            temperature,
            seed: 11,
            top_p: 0.95,
            frequency_penalty: 0.3,
            logit_bias: vec![(NEVER, -100.0)],
            logprobs: Some(2),
            ..SamplingParams::default()
        },
        stop: Vec::new(),
        stop_tokens: Vec::new(),
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(&fixture("tokenizer"), 100_000).unwrap()
}

/// All that a caller sees of an output.
#[derive(Debug, PartialEq)]
struct Seen {
    tokens: Vec<TokenId>,
    logprobs: Vec<Option<TokenLogprobs>>,
    reason: FinishReason,
    text: String,
}

fn text(request: &Request, tokens: &[TokenId]) -> String {
    let mut stream = TextStream::new(&tokenizer(), &request.prompt, request.stop.clone()).unwrap();
    let shown = tokens.iter().filter(|token| !request.stop_tokens.contains(token));
    let text: String = shown.map(|token| stream.push(*token).unwrap().text).collect();
    text + &stream.finish()
}

struct Plain(Generator<CpuBackend>);

impl Plain {
    fn new() -> Plain {
        let limits = Limits { rows: 64, logit_rows: 1, sequences: 1, context: CONTEXT };
        Plain(Generator::new(decoder(MODEL, CpuBackend::new(), limits)).unwrap())
    }

    fn run(&mut self, request: &Request) -> Seen {
        let (mut logprobs, never) = (Vec::new(), AtomicBool::new(false));
        let generation = self.0.run(request, Some(&tokenizer()), &never, &mut |sampled| {
            logprobs.push(sampled.logprobs.clone());
            Ok(())
        });
        let generation = generation.unwrap();
        let text = text(request, &generation.tokens);
        Seen { tokens: generation.tokens, logprobs, reason: generation.finish_reason, text }
    }
}

fn engine(prophet: Prophet) -> Engine<CpuBackend> {
    let options = EngineOptions { depth: DEPTH_MAX, ..EngineOptions::new(CONTEXT, 2) };
    let decoder = decoder(MODEL, CpuBackend::new(), options.limits());
    let mut engine = Engine::new(decoder, Some(tokenizer()), &options).unwrap();
    engine.speculate(Box::new(prophet), Depths::new(Some(DEPTH_MAX)));
    engine
}

/// Runs a request to its end on an engine that does nothing else; its pages must come back.
fn serve(engine: &mut Engine<CpuBackend>, request: &Request) -> (Seen, Completion) {
    let stream = engine.client().submit(request.clone(), SubmitOptions::default()).unwrap();
    while engine.step() {
        engine.scheduler().check();
    }
    let kv = engine.scheduler().kv();
    assert_eq!(kv.available(), kv.pages(), "pages were lost");
    let completion = stream.collect_all().unwrap();
    let seen = Seen {
        tokens: completion.ids(),
        logprobs: completion.tokens.iter().map(|sampled| sampled.logprobs.clone()).collect(),
        reason: completion.finish.reason,
        text: text(request, &completion.ids()),
    };
    (seen, completion)
}

/// The same request, ended at its n-th token in each way that can be had.
fn endings(request: &Request, output: &[TokenId], n: usize) -> Vec<(FinishReason, Request)> {
    let length = Request { max_tokens: n, ..request.clone() };
    let mut all = vec![(FinishReason::Length, length)];
    let last = output[n - 1];
    if !output[..n - 1].contains(&last) {
        let stop_tokens = vec![NEVER, last];
        all.push((FinishReason::Eos, Request { stop_tokens, ..request.clone() }));
    }
    let (before, after) = (text(request, &output[..n - 1]), text(request, &output[..n]));
    if let Some(piece) = after.strip_prefix(&before)
        && !piece.is_empty()
        && !before.contains(piece)
    {
        let stop = vec![piece.to_string()];
        all.push((FinishReason::Stop, Request { stop, ..request.clone() }));
    }
    all
}

/// The first token comes from the prompt and every step draws eight more, so ends at 2 to 17 tokens
/// lie at every place of two runs: before the first accepted token, behind each, and at the last.
#[test]
fn an_end_within_a_run_is_that_of_the_plain_output() {
    let mut plain = Plain::new();
    let mut seen_of = [0usize; 5];
    for temperature in [0.0, 1.0] {
        let request = request(temperature);
        let output = plain.run(&request).tokens;
        assert!(output.len() == 40 && !output.contains(&NEVER));
        for right in [DEPTH_MAX, 3, 0] {
            let prophet = Prophet { output: output.clone(), right, then: NEVER };
            let mut engine = engine(prophet);
            for n in 2..=17 {
                for (reason, request) in endings(&request, &output, n) {
                    let expected = plain.run(&request);
                    assert_eq!(expected.reason, reason, "at {n}: {request:?}");
                    let (found, completion) = serve(&mut engine, &request);
                    assert_eq!(found, expected, "{right} right, at {n}: {request:?}");
                    let drafts = completion.finish.drafts.unwrap();
                    let drawn = found.tokens.len() - 1;
                    assert_eq!(drafts.tokens, drawn as u64);
                    assert_eq!(drafts.steps, drawn.div_ceil(right + 1) as u64, "{drafts:?}");
                    seen_of[reason as usize] += 1;
                }
            }
        }
    }
    for reason in [FinishReason::Length, FinishReason::Eos, FinishReason::Stop] {
        assert!(seen_of[reason as usize] > 40, "{reason:?}: {seen_of:?}");
    }
}

/// A draft that is right for k tokens and then proposes the end: the output goes on.
#[test]
fn a_proposed_end_is_no_end() {
    let mut plain = Plain::new();
    for temperature in [0.0, 1.0] {
        let request = Request { stop_tokens: vec![NEVER], ..request(temperature) };
        let expected = plain.run(&request);
        for right in 0..=DEPTH_MAX {
            let prophet = Prophet { output: expected.tokens.clone(), right, then: NEVER };
            let (found, completion) = serve(&mut engine(prophet), &request);
            assert_eq!(found, expected, "{right} right");
            let drafts = completion.finish.drafts.unwrap();
            // Exactly so many are accepted, in every step but those at the end.
            assert_eq!(drafts.steps, 39_u64.div_ceil(right as u64 + 1), "{drafts:?}");
            assert_eq!(drafts.accepted[right..], [0; DEPTH_MAX][right..], "{drafts:?}");
        }
    }
}

/// Tokens that the model does not know are cut off with all behind them, and counted as a fault.
#[test]
fn tokens_outside_of_the_vocabulary_are_ignored() {
    let mut plain = Plain::new();
    let request = request(1.0);
    let expected = plain.run(&request);
    for then in [VOCAB, u32::MAX] {
        let prophet = Prophet { output: expected.tokens.clone(), right: 2, then: TokenId(then) };
        let mut engine = engine(prophet);
        let (found, completion) = serve(&mut engine, &request);
        assert_eq!(found, expected, "token {then}");
        let drafts = completion.finish.drafts.unwrap();
        assert_eq!((drafts.drafted[2], drafts.wasted()), (0, 0), "{drafts:?}");
        let stats = engine.client().stats();
        // The last draft has no room for a third token.
        assert_eq!((drafts.steps, stats.speculation.faults), (13, 12), "{stats:?}");
    }
}

/// What came before the cancellation stands; the pages of the run come back, from the model and
/// from its draft, whose cache has room for one request only.
#[test]
fn a_run_that_is_cancelled_gives_its_pages_back() {
    let mut request = request(1.0);
    request.prompt = (0..60).map(TokenId).collect();
    let expected = Plain::new().run(&request).tokens;
    let options = EngineOptions { depth: DEPTH_MAX, ..EngineOptions::new(CONTEXT, 1) };
    let loaded = decoder(MODEL, CpuBackend::new(), options.limits());
    let mut engine = Engine::new(loaded, None, &options).unwrap();
    let drafter = Drafts::Model(2).drafter(MODEL, options.limits());
    engine.speculate(drafter, Depths::new(Some(4)));
    for round in 0..3 {
        let mut stream = engine.client().submit(request.clone(), SubmitOptions::default()).unwrap();
        let mut tokens = Vec::new();
        while tokens.len() < 11 {
            assert!(engine.step());
            while let Some(Event::Token(sampled)) = stream.next_within(Duration::ZERO) {
                tokens.push(sampled.token);
            }
        }
        assert_eq!(tokens.len() % 5, 1, "the first, and runs of five");
        assert!(engine.scheduler().kv().available() < options.pages, "it runs on pages");
        stream.cancel();
        while engine.step() {}
        let Some(Event::Finished(finish)) = stream.next_within(Duration::ZERO) else {
            panic!("no end")
        };
        assert_eq!(finish.reason, FinishReason::Cancelled);
        assert_eq!(tokens, expected[..tokens.len()], "round {round}");
        let drafts = finish.drafts.unwrap();
        assert_eq!((drafts.wasted(), drafts.tokens), (0, tokens.len() as u64 - 1), "{drafts:?}");
        engine.scheduler().check();
        assert_eq!(engine.scheduler().kv().available(), options.pages, "pages were lost");
    }
}

/// Shared prompts and preempted requests, with drafts that are right and drafts that are not.
#[test]
fn shared_and_preempted_requests_get_the_same_with_drafts() {
    for drafts in [Drafts::Model(40), Drafts::Random] {
        for depth in [3, DEPTH_MAX] {
            let mut case = crowded();
            // Every second prompt is one that others have; all outputs grow by a page or two.
            for (i, asked) in case.asked.iter_mut().enumerate() {
                (asked.prompt, asked.output) = ([60, 130][i % 2], 90);
            }
            case.drafts = Some((drafts, Some(depth)));
            let ran = hold(MODEL, CpuBackend::new, &case);
            assert!(ran.preemptions > 0, "{drafts:?}: nothing was preempted");
            assert!(ran.prefix_hits >= 64, "{drafts:?}: nothing was shared");
            let drafted: u64 = ran.speculation.counts.drafted.iter().sum();
            assert!(drafted > 50, "{drafts:?}: {:?}", ran.speculation);
        }
    }
}
