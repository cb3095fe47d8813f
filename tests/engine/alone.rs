//! One request at a time: limits, ends, and that nothing but the request decides its tokens.

use crate::common::fixture;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::engine::{Generation, Generator};
use ridgepoint::error::{Error, Result};
use ridgepoint::load::Checkpoint;
use ridgepoint::model::{Decoder, Limits, ModelConfig};
use ridgepoint::request::{FinishReason, Request, SamplingParams, TokenId, TokenLogprobs};
use ridgepoint::text::Tokenizer;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

fn generator(rows: usize, context: usize) -> Generator<CpuBackend> {
    let dir = fixture("mistral_window");
    let config = ModelConfig::load(&dir).unwrap();
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let limits = Limits { rows, logit_rows: 1, sequences: 1, context };
    Generator::new(Decoder::load(CpuBackend::new(), config, &checkpoint, limits).unwrap()).unwrap()
}

fn request(prompt: impl IntoIterator<Item = u32>, max_tokens: usize) -> Request {
    Request {
        prompt: prompt.into_iter().map(TokenId).collect(),
        max_tokens,
        sampling: SamplingParams { temperature: 1.0, seed: 3, ..SamplingParams::default() },
        stop: Vec::new(),
        stop_tokens: Vec::new(),
    }
}

fn run(generator: &mut Generator<CpuBackend>, request: &Request) -> Result<Generation> {
    generator.run(request, None, &AtomicBool::new(false), &mut |_| Ok(()))
}

#[test]
fn the_context_ends_the_output() {
    let mut generator = generator(64, 70);
    let generation = run(&mut generator, &request(0..66, 100)).unwrap();
    assert_eq!(generation.finish_reason, FinishReason::Length);
    assert_eq!(generation.tokens.len(), 4);
    let generation = run(&mut generator, &request(0..69, 1)).unwrap();
    assert_eq!(generation.tokens.len(), 1);
}

#[test]
fn bad_requests_leave_the_generator_usable() {
    let mut generator = generator(64, 70);
    let good = request([1, 2, 3], 5);
    let before = run(&mut generator, &good).unwrap().tokens;
    let seed = SamplingParams::default();
    let cases: Vec<(Request, &str)> = vec![
        (request([], 5), "the prompt is empty"),
        (request(0..70, 5), "70 tokens, but the context holds 70"),
        (request([1_000_000], 5), "token 1000000"),
        (request([1], 0), "max_tokens is 0"),
        (Request { stop: vec!["x".into()], ..good.clone() }, "need a tokenizer"),
        (Request { stop: vec![String::new()], ..good.clone() }, "a stop string of 0 bytes"),
        (Request { stop: vec!["x".repeat(2000)], ..good.clone() }, "2000 bytes"),
        (Request { stop: vec!["x".into(); 100], ..good.clone() }, "100 stop strings"),
        (with(&good, SamplingParams { temperature: f32::NAN, ..seed.clone() }), "temperature is"),
        (with(&good, SamplingParams { temperature: 1e-9, ..seed.clone() }), "temperature is"),
        (with(&good, SamplingParams { top_p: 1.5, ..seed.clone() }), "top_p is 1.5"),
        (with(&good, SamplingParams { min_p: -0.1, ..seed.clone() }), "min_p is -0.1"),
        (
            with(&good, SamplingParams { repetition_penalty: 0.0, ..seed.clone() }),
            "repetition_penalty is 0",
        ),
        (
            with(&good, SamplingParams { frequency_penalty: f32::INFINITY, ..seed.clone() }),
            "frequency_penalty is inf",
        ),
        (
            with(&good, SamplingParams { logit_bias: vec![(TokenId(9999), 1.0)], ..seed.clone() }),
            "logit_bias names token 9999",
        ),
        (with(&good, SamplingParams { logprobs: Some(65), ..seed }), "logprobs is 65"),
    ];
    for (bad, part) in cases {
        let error = run(&mut generator, &bad).expect_err(part);
        assert!(error.is_mistake() && error.to_string().contains(part), "{part}: {error}");
    }
    // An error of the reader gives the pages back too.
    let gone = |_: &_| Err(Error::Device("the reader is gone".to_string()));
    let result = generator.run(&good, None, &AtomicBool::new(false), &mut { gone });
    assert!(result.is_err());
    assert_eq!(run(&mut generator, &good).unwrap().tokens, before);
}

fn with(request: &Request, sampling: SamplingParams) -> Request {
    Request { sampling, ..request.clone() }
}

#[test]
fn cancelling_ends_it_at_every_stage() {
    let mut generator = generator(8, 200);
    let request = request(0..100, 50);
    for stop_after in [0, 1, 7] {
        let cancel = AtomicBool::new(stop_after == 0);
        let mut seen = 0;
        let generation = generator
            .run(&request, None, &cancel, &mut |_| {
                seen += 1;
                cancel.store(seen >= stop_after, Ordering::Relaxed);
                Ok(())
            })
            .unwrap();
        assert_eq!(generation.finish_reason, FinishReason::Cancelled);
        assert_eq!(generation.tokens.len(), stop_after);
    }
    assert_eq!(run(&mut generator, &request).unwrap().tokens.len(), 50);
}

#[test]
fn end_tokens_and_stop_strings_end_it() {
    let mut generator = generator(64, 200);
    let mut request = request([1, 2, 3], 40);
    let tokens = run(&mut generator, &request).unwrap().tokens;
    let end = tokens[5];
    let first = tokens.iter().position(|t| *t == end).unwrap();
    request.stop_tokens = vec![end];
    let generation = run(&mut generator, &request).unwrap();
    assert_eq!(generation.finish_reason, FinishReason::Eos);
    assert_eq!(generation.tokens, tokens[..=first], "the end token is part of the tokens");

    request.stop_tokens.clear();
    let tokenizer = Tokenizer::load(&fixture("tokenizer"), 100_000).unwrap();
    let text = tokenizer.decode(&tokens[..9]).unwrap();
    let tail: String = text.chars().rev().take(2).collect::<Vec<_>>().into_iter().rev().collect();
    request.stop = vec![tail];
    let cancel = AtomicBool::new(false);
    let stopped = generator.run(&request, Some(&tokenizer), &cancel, &mut |_| Ok(())).unwrap();
    assert_eq!(stopped.finish_reason, FinishReason::Stop);
    assert!(stopped.tokens.len() <= 10 && tokens.starts_with(&stopped.tokens));
}

/// Tokens and log-probabilities do not depend on the chunks of the prefill, on the context the
/// generator was made for, or on what ran before.
#[test]
fn nothing_but_the_request_decides() {
    let mut request = request((0..130).map(|i| i * 7 % 200), 20);
    request.sampling.logprobs = Some(3);
    request.sampling.top_p = 0.9;
    let result = |rows: usize, context: usize, before: bool| {
        let mut generator = generator(rows, context);
        if before {
            run(&mut generator, &self::request([5; 90], 30)).unwrap();
        }
        let mut logprobs: Vec<TokenLogprobs> = Vec::new();
        let generation = generator
            .run(&request, None, &AtomicBool::new(false), &mut |sampled| {
                logprobs.extend(sampled.logprobs.clone());
                Ok(())
            })
            .unwrap();
        assert_eq!(logprobs.len(), generation.tokens.len());
        (generation.tokens, logprobs)
    };
    let expected = result(200, 512, false);
    for (rows, context, before) in [(1, 150, false), (7, 200, true), (64, 512, true)] {
        assert_eq!(result(rows, context, before), expected, "{rows} {context} {before}");
    }
}

#[test]
fn scoring_refuses_what_it_cannot_rate() {
    use ridgepoint::backend::Phase::Prefill;
    let mut generator = generator(64, 70);
    let ids = |ids: std::ops::Range<u32>| ids.map(TokenId).collect::<Vec<_>>();
    assert!(generator.score(&[], Prefill).unwrap_err().to_string().contains("0 tokens"));
    assert!(generator.score(&ids(0..71), Prefill).unwrap_err().to_string().contains("71 tokens"));
    let error = generator.score(&[TokenId(0), TokenId(70_000)], Prefill).unwrap_err();
    assert!(error.to_string().contains("token 70000 at place 1"), "{error}");
    assert_eq!(generator.score(&ids(0..70), Prefill).unwrap().len(), 69);
    assert_eq!(generator.score(&ids(0..1), Prefill).unwrap(), Vec::<f32>::new());
}

#[test]
fn a_context_beyond_the_memory_is_refused() {
    let dir = fixture("llama2_mha");
    let mut config = ModelConfig::load(&dir).unwrap();
    config.context = 1 << 24;
    let checkpoint = Checkpoint::open(Path::new(&dir)).unwrap();
    let limits = Limits { rows: 8, logit_rows: 1, sequences: 1, context: 512 };
    let decoder = Decoder::load(CpuBackend::new(), config, &checkpoint, limits).unwrap();
    let error = decoder.kv_cache(1 << 40).err().expect("2^40 pages do not fit");
    assert!(matches!(error, Error::Device(_)), "{error}");
}
