//! Whole models on the device: the fixtures of every family against the values of the reference
//! implementation, the shipped pair against the CPU, and the same bits whatever the chunk.

use super::{Rig, in_turns, rigs};
use crate::common::{fixture, root};
use crate::reference::{CASES, bits, continuation, expected, load};
use ridgepoint::backend::Phase;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::backend::cuda::CudaBackend;
use ridgepoint::engine::Generator;
use ridgepoint::request::TokenId;
use ridgepoint::text::Tokenizer;
use std::path::Path;

/// The greatest |dNLL| of any token between bf16 activations and f32.
pub const NLL_TOLERANCE: f32 = 0.03;
/// The same for the shipped models, whose trained weights spread wider than those of the fixtures.
pub const TRAINED_TOLERANCE: f32 = 0.1;
/// The greatest difference of the mean NLL, which is what `eval` reports.
pub const MEAN_TOLERANCE: f32 = 0.01;
/// Where the two best logits are closer than this, either may win.
pub const MARGIN: f32 = 0.05;

pub fn generator(rig: &Rig, dir: &Path, rows: usize) -> Generator<CudaBackend> {
    let backend = CudaBackend::of_set(rig.driver().clone(), rig.kernels.set()).unwrap();
    load(dir, backend, rows)
}

/// The greatest difference of two lists.
#[track_caller]
pub fn distance(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    assert!(ours.iter().all(|x| x.is_finite()));
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn nll_of_every_family_is_near_the_reference() {
    for (name, rig) in in_turns(CASES) {
        let mut generator = generator(&rig, &fixture(name), 64);
        for (i, sequence) in expected(name).sequences.iter().enumerate() {
            for (phase, most) in [(Phase::Prefill, 150), (Phase::Decode, 17)] {
                let count = sequence.tokens.len().min(most);
                let nll = generator.score(&sequence.tokens[..count], phase).unwrap();
                let far = distance(&nll, &sequence.nll[..count - 1]);
                assert!(far <= NLL_TOLERANCE, "{name} {phase:?} sequence {i}: {far}");
            }
        }
    }
}

#[test]
fn greedy_tokens_of_every_family_equal_the_reference() {
    for (name, rig) in in_turns(CASES) {
        let mut generator = generator(&rig, &fixture(name), 64);
        for (i, greedy) in expected(name).greedy.iter().enumerate() {
            let sure = greedy.margins.iter().take_while(|margin| **margin > MARGIN);
            let count = sure.take(6).count();
            if count > 0 {
                let found = continuation(&mut generator, &greedy.prompt, count);
                assert_eq!(found, greedy.tokens[..count], "{name} prompt {i}");
            }
        }
    }
}

#[test]
fn chunks_do_not_change_bits() {
    for (name, rig) in in_turns(CASES) {
        let dir = fixture(name);
        let sequences = expected(name).sequences;
        let tokens = &sequences.last().unwrap().tokens;
        let tokens = &tokens[..tokens.len().min(100)];
        let whole = generator(&rig, &dir, 256).score(tokens, Phase::Prefill).unwrap();
        for rows in [33, 64] {
            let parts = generator(&rig, &dir, rows).score(tokens, Phase::Prefill).unwrap();
            assert_eq!(bits(&whole), bits(&parts), "{name} in chunks of {rows}");
        }
    }
}

/// The beginning of the held-out text in the tokens of the shipped pair.
pub fn held_out(count: usize) -> Vec<TokenId> {
    let text = std::fs::read_to_string(root().join("models/heldout.txt")).unwrap();
    let tokenizer = Tokenizer::load(&root().join("models/target"), 1024).unwrap();
    let mut tokens = tokenizer.encode(&text[..8 * count], true).unwrap();
    tokens.truncate(count);
    assert_eq!(tokens.len(), count);
    tokens
}

#[test]
fn the_shipped_pair_agrees_with_the_cpu() {
    for rig in rigs() {
        for model in ["models/target", "models/draft"] {
            let dir = root().join(model);
            let tokens = held_out(160);
            let mut cpu = load(&dir, CpuBackend::new(), 160);
            let mut device = generator(&rig, &dir, 160);
            let expected = cpu.score(&tokens, Phase::Prefill).unwrap();
            let prefill = device.score(&tokens, Phase::Prefill).unwrap();
            let decode = device.score(&tokens[..25], Phase::Decode).unwrap();
            for found in [prefill, decode] {
                let expected = &expected[..found.len()];
                let mean = |nll: &[f32]| nll.iter().sum::<f32>() / nll.len() as f32;
                let apart = (mean(&found) - mean(expected)).abs();
                assert!(apart <= MEAN_TOLERANCE, "{model}: mean NLL apart by {apart}");
                let far = distance(&found, expected);
                assert!(far <= TRAINED_TOLERANCE, "{model}: {far}");
            }
        }
    }
}

#[test]
fn greedy_text_of_the_shipped_model_is_that_of_the_cpu() {
    for rig in rigs() {
        let dir = root().join("models/target");
        let prompt = held_out(12);
        let expected = continuation(&mut load(&dir, CpuBackend::new(), 64), &prompt, 16);
        let found = continuation(&mut generator(&rig, &dir, 64), &prompt, 16);
        assert_eq!(found, expected);
    }
}
