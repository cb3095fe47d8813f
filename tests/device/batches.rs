//! The promise of equal bits on whole models: a row of logits is the same alone and among any
//! others, in padded and recorded batches, on any pages, and however many positions of a sequence
//! a step computes at once.

use super::{Rig, in_turns};
use crate::common::fixture;
use crate::reference::bits;
use ridgepoint::backend::cuda::{CudaBackend, KvCache};
use ridgepoint::backend::{Backend, Batch, PAGE_SIZE, PageId, Phase};
use ridgepoint::load::Checkpoint;
use ridgepoint::model::{Decoder, Limits, ModelConfig};
use ridgepoint::request::TokenId;

const SEQUENCES: usize = 17;
const CONTEXT: usize = 192;
const PAGES_EACH: usize = CONTEXT / PAGE_SIZE;

/// A model with the prompts of many sequences in its cache.
struct Run {
    decoder: Decoder<CudaBackend>,
    kv: KvCache,
    /// Which page is the n-th.
    pages: Vec<PageId>,
}

impl Run {
    /// `turn` permutes the pages.
    fn new(rig: &Rig, name: &str, turn: usize) -> Run {
        let dir = fixture(name);
        let config = ModelConfig::load(&dir).unwrap();
        let limits = Limits { rows: 256, logit_rows: 64, sequences: 64, context: CONTEXT };
        let backend = CudaBackend::new(rig.driver().clone()).unwrap();
        let checkpoint = Checkpoint::open(&dir).unwrap();
        let decoder = Decoder::load(backend, config, &checkpoint, limits).unwrap();
        let count = SEQUENCES * PAGES_EACH;
        let kv = decoder.kv_cache(count).unwrap();
        // Coprime with the count, so every page is named once.
        let pages = (0..count).map(|i| PageId(((i * 7 + turn) % count) as u32)).collect();
        Run { decoder, kv, pages }
    }

    fn pages(&self, sequence: usize) -> Vec<PageId> {
        self.pages[sequence * PAGES_EACH..][..PAGES_EACH].to_vec()
    }

    /// Runs some rows `(sequence, position, tokens)` and gives the logits of each.
    fn step(&mut self, phase: Phase, rows: &[(usize, usize, Vec<TokenId>)]) -> Vec<Vec<u32>> {
        let mut batch = Batch::new(phase);
        for (sequence, position, tokens) in rows {
            batch.push(*position, tokens, &self.pages(*sequence));
        }
        let wanted = batch.rows().min(64);
        batch.logit_rows = (batch.rows() - wanted..batch.rows()).collect();
        self.decoder.forward(&batch, &mut self.kv).unwrap();
        let logits = self.decoder.backend().download(self.decoder.logits()).unwrap();
        let vocab = self.decoder.config().vocab_size;
        assert_eq!(logits.len(), wanted * vocab);
        logits.chunks_exact(vocab).map(bits).collect()
    }
}

fn token(sequence: usize, position: usize) -> TokenId {
    TokenId(((sequence * 31 + position * 17 + 5) % 190) as u32)
}

fn tokens(sequence: usize, positions: std::ops::Range<usize>) -> Vec<TokenId> {
    positions.map(|p| token(sequence, p)).collect()
}

/// Lengths around pages and windows.
fn length(sequence: usize) -> usize {
    [1, 63, 64, 65, 23, 24, 25, 130, 5][sequence % 9] + sequence / 9
}

fn prefill_all(run: &mut Run) {
    let prompts: Vec<_> = (0..SEQUENCES).map(|s| (s, 0, tokens(s, 0..length(s)))).collect();
    for some in prompts.chunks(3) {
        run.step(Phase::Prefill, some);
    }
}

#[test]
fn a_decode_row_has_the_same_bits_in_every_batch_and_on_every_page() {
    for (name, rig) in in_turns(&["mistral_window", "llama3_gqa4"]) {
        let mut run = Run::new(&rig, name, 0);
        prefill_all(&mut run);
        let row = |s: usize| (s, length(s), tokens(s, length(s)..length(s) + 1));
        let all: Vec<_> = (0..SEQUENCES).map(row).collect();
        let expected = run.step(Phase::Decode, &all);
        // Alone, and in batches that are padded; twice each, so that records are run too.
        for s in [0, 7, 16] {
            for _ in 0..2 {
                assert_eq!(run.step(Phase::Decode, &[row(s)])[0], expected[s], "{name} {s}");
            }
        }
        for count in [2, 3, 9] {
            for first in [0, 5] {
                let found = run.step(Phase::Decode, &all[first..first + count]);
                assert_eq!(found, expected[first..first + count], "{name} {first}+{count}");
            }
        }
        assert_eq!(run.step(Phase::Decode, &all), expected, "{name} again");
        let mut moved = Run::new(&rig, name, 40);
        prefill_all(&mut moved);
        assert_eq!(moved.step(Phase::Decode, &all), expected, "{name} on other pages");
    }
}

#[test]
fn several_positions_at_once_are_those_of_one_at_a_time() {
    for (name, rig) in in_turns(&["qwen2_gqa7", "qwen3_gqa2"]) {
        let mut run = Run::new(&rig, name, 3);
        prefill_all(&mut run);
        let some = [2, 7];
        let mut expected = Vec::new();
        for s in some {
            for p in length(s)..length(s) + 8 {
                expected.push(run.step(Phase::Decode, &[(s, p, tokens(s, p..p + 1))]).remove(0));
            }
        }
        let rows = |n: usize, at: usize| {
            let row =
                |s: &usize| (*s, length(*s) + at, tokens(*s, length(*s) + at..length(*s) + at + n));
            some.iter().map(row).collect::<Vec<_>>()
        };
        for n in [8, 4, 2] {
            for at in (0..8).step_by(n) {
                let found = run.step(Phase::Decode, &rows(n, at));
                for (i, found) in found.chunks_exact(n).enumerate() {
                    assert_eq!(found, &expected[i * 8 + at..][..n], "sequence {i}: {n} from {at}");
                }
            }
        }
    }
}

#[test]
fn a_prefill_row_has_the_same_bits_in_every_chunk_and_batch() {
    for (name, rig) in in_turns(&["mistral_window", "llama3_gqa4"]) {
        let mut run = Run::new(&rig, name, 5);
        let (s, len) = (4, 150);
        let expected = run.step(Phase::Prefill, &[(s, 0, tokens(s, 0..len))]);
        for start in [90, 128, 149] {
            run.step(Phase::Prefill, &[(s, 0, tokens(s, 0..start))]);
            let rest = (s, start, tokens(s, start..len));
            let other = (9, 0, tokens(9, 0..70));
            let found = run.step(Phase::Prefill, &[other, rest]);
            let count = len - start;
            let found = &found[found.len() - count.min(64)..];
            assert_eq!(found, &expected[64 - found.len()..], "from {start}");
        }
    }
}
