//! Token NLLs and greedy continuations of every supported family, against the values that Hugging
//! Face transformers computed in float32 (`tests/fixtures/README.md`).

use crate::common::fixture;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::backend::{Backend, Phase};
use ridgepoint::engine::Generator;
use ridgepoint::load::Checkpoint;
use ridgepoint::model::{Decoder, Limits, ModelConfig};
use ridgepoint::request::{Request, SamplingParams, TokenId};
use serde::Deserialize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

pub const CASES: &[&str] = &[
    "llama2_mha",
    "llama31_scaled_new",
    "llama31_scaled_old",
    "llama3_gqa4",
    "llama_linear_f32",
    "llama_linear_new",
    "mistral_full_f16",
    "mistral_window",
    "qwen2_gqa7",
    "qwen2_window_new",
    "qwen2_window_old",
    "qwen3_gqa2",
    "qwen3_tied",
];

/// The greatest |dNLL| of any token. The engine and the reference both work in f32 and differ in
/// the order of sums; float64 agrees with the reference within 1.3e-6.
const NLL_TOLERANCE: f32 = 1e-4;
/// Where the two best logits are closer than this, either may win.
const MARGIN: f32 = 1e-3;

#[derive(Deserialize)]
pub struct Expected {
    pub sequences: Vec<Sequence>,
    pub greedy: Vec<Greedy>,
}

#[derive(Deserialize)]
pub struct Sequence {
    pub tokens: Vec<TokenId>,
    pub nll: Vec<f32>,
}

#[derive(Deserialize)]
pub struct Greedy {
    pub prompt: Vec<TokenId>,
    pub tokens: Vec<TokenId>,
    pub margins: Vec<f32>,
}

pub fn expected(name: &str) -> Expected {
    let text = std::fs::read_to_string(fixture(name).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn generator(name: &str, rows: usize) -> Generator<CpuBackend> {
    load(&fixture(name), CpuBackend::new(), rows)
}

/// The model of a directory on a device, for chunks of `rows`.
pub fn load<B: Backend>(dir: &Path, backend: B, rows: usize) -> Generator<B> {
    let config = ModelConfig::load(dir).unwrap();
    let checkpoint = Checkpoint::open(dir).unwrap();
    let limits = Limits { rows, logit_rows: rows, sequences: 1, context: config.context };
    Generator::new(Decoder::load(backend, config, &checkpoint, limits).unwrap()).unwrap()
}

/// Every fixture is in the list: a new one cannot be forgotten.
#[test]
fn every_fixture_is_compared() {
    let mut found: Vec<String> = std::fs::read_dir(fixture(""))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("config.json").exists())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_string())
        .collect();
    found.sort();
    assert_eq!(found, CASES);
}

#[test]
fn nll_equals_the_reference() {
    for name in CASES {
        let mut generator = generator(name, 128);
        for phase in [Phase::Prefill, Phase::Decode] {
            for (i, sequence) in expected(name).sequences.iter().enumerate() {
                let nll = generator.score(&sequence.tokens, phase).unwrap();
                assert_eq!(nll.len(), sequence.nll.len(), "{name} {phase:?} sequence {i}");
                for (t, (ours, theirs)) in nll.iter().zip(&sequence.nll).enumerate() {
                    assert!(
                        (ours - theirs).abs() <= NLL_TOLERANCE,
                        "{name} {phase:?} sequence {i} token {}: {ours}, expected {theirs}",
                        t + 1
                    );
                }
            }
        }
    }
}

#[test]
fn greedy_tokens_equal_the_reference() {
    for name in CASES {
        let mut generator = generator(name, 64);
        for (i, greedy) in expected(name).greedy.iter().enumerate() {
            let tokens = continuation(&mut generator, &greedy.prompt, greedy.tokens.len());
            assert_eq!(tokens.len(), greedy.tokens.len());
            for (t, (ours, theirs)) in tokens.iter().zip(&greedy.tokens).enumerate() {
                if greedy.margins[t] <= MARGIN {
                    break; // from here on the two may rightly differ
                }
                assert_eq!(ours, theirs, "{name} prompt {i} token {t}");
            }
        }
    }
}

/// The greedy continuation of a prompt, past any end-of-sequence token.
pub fn continuation<B: Backend>(
    generator: &mut Generator<B>,
    prompt: &[TokenId],
    max_tokens: usize,
) -> Vec<TokenId> {
    let request = Request {
        prompt: prompt.to_vec(),
        max_tokens,
        sampling: SamplingParams::default(),
        stop: Vec::new(),
        stop_tokens: Vec::new(),
    };
    let cancel = AtomicBool::new(false);
    generator.run(&request, None, &cancel, &mut |_| Ok(())).unwrap().tokens
}

/// The same bits for a row whatever the chunk it is computed in.
#[test]
fn chunks_do_not_change_bits() {
    for name in CASES {
        let sequences = expected(name).sequences;
        let tokens = &sequences.last().unwrap().tokens;
        let whole = generator(name, 256).score(tokens, Phase::Prefill).unwrap();
        for rows in [1, 7, 64, 65] {
            let parts = generator(name, rows).score(tokens, Phase::Prefill).unwrap();
            assert_eq!(bits(&whole), bits(&parts), "{name} in chunks of {rows}");
        }
    }
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
