//! Log-probabilities on the device have the bits of `src/sample/logprob.rs`.

use super::sample::{Memory, Rng, like_a_model, passes};
use super::traffic::Budget;
use super::{Rig, rigs};
use ridgepoint::backend::cuda::CudaBackend;
use ridgepoint::backend::cuda::ops::logprobs::{
    Logprobs, LogprobsOut, decode, encode_tops, logprobs,
};
use ridgepoint::backend::cuda::params::LOGPROBS_TOP_MAX;
use ridgepoint::backend::{Backend, Role, SampleRow};
use ridgepoint::request::{SamplingParams, TokenId, TokenLogprobs};
use ridgepoint::sample;

const WIDTH: usize = LOGPROBS_TOP_MAX as usize;

struct Case {
    logits: Vec<f32>,
    token: u32,
    top: Option<u32>,
}

impl Case {
    fn random(rng: &mut Rng, vocab: usize) -> Case {
        let top = [Some(0), Some(1), Some(5), Some(64), Some(rng.below(65) as u32), None];
        Case { logits: rng.logits(vocab), token: rng.below(vocab) as u32, top: rng.of(&top) }
    }

    fn expected(&self) -> Option<TokenLogprobs> {
        self.top.map(|top| sample::logprobs(&self.logits, TokenId(self.token), top))
    }
}

/// Log-probabilities as bits, so that equal means equal.
fn bits(found: &TokenLogprobs) -> (u32, Vec<(u32, u32)>) {
    let pair = |(token, logprob): &(TokenId, f32)| (token.0, logprob.to_bits());
    (found.logprob.to_bits(), found.top.iter().map(pair).collect())
}

/// The rows of one batch; `None` for what is not wanted.
fn run(rig: &Rig, cases: &[Case], stride: usize) -> Vec<Option<TokenLogprobs>> {
    let (rows, vocab) = (cases.len(), cases[0].logits.len());
    let mut logits = vec![f32::NAN; rows * stride];
    for (row, case) in logits.chunks_mut(stride).zip(cases) {
        row[..vocab].copy_from_slice(&case.logits);
    }
    let tops: Vec<Option<u32>> = cases.iter().map(|case| case.top).collect();
    let logits = rig.upload(&logits);
    let tokens = rig.upload(&cases.iter().map(|case| case.token).collect::<Vec<u32>>());
    let tops = rig.upload(&encode_tops(&tops));
    let memory = Memory::new(rig, rows, vocab);
    let (out, counts) = (rig.poisoned::<f32>(rows), rig.poisoned::<u32>(rows));
    let top_tokens = rig.poisoned::<u32>(rows * WIDTH);
    let top_logprobs = rig.poisoned::<f32>(rows * WIDTH);
    let op = Logprobs {
        logits: logits.ptr(),
        tokens: tokens.ptr(),
        tops: tops.ptr(),
        workspace: memory.operands(),
        out: LogprobsOut {
            logprobs: out.ptr(),
            top_counts: counts.ptr(),
            top_tokens: top_tokens.ptr(),
            top_logprobs: top_logprobs.ptr(),
        },
        rows: rows as u32,
        vocab: vocab as u32,
        stride: stride as u32,
    };
    logprobs(&rig.kernels, &op).unwrap();
    memory.check_clean();
    let (out, counts) = (out.read::<f32>(rows).unwrap(), counts.read::<u32>(rows).unwrap());
    let top_tokens = top_tokens.read::<u32>(rows * WIDTH).unwrap();
    let top_logprobs = top_logprobs.read::<f32>(rows * WIDTH).unwrap();
    let result = |row: usize| {
        let at = row * WIDTH..(row + 1) * WIDTH;
        if cases[row].top.is_none() {
            let nothing = out[row].is_nan() && counts[row] == u32::MAX;
            assert!(nothing, "row {row} was written, which wants nothing");
            return None;
        }
        Some(decode(out[row], counts[row], &top_tokens[at.clone()], &top_logprobs[at]))
    };
    (0..rows).map(result).collect()
}

fn check(rig: &Rig, cases: &[Case], stride: usize) {
    for (row, (found, case)) in run(rig, cases, stride).iter().zip(cases).enumerate() {
        let expected = case.expected();
        let vocab = case.logits.len();
        let what = format!("row {row} of {}, {vocab} tokens, {:?}", cases.len(), case.top);
        assert_eq!(found.as_ref().map(bits), expected.as_ref().map(bits), "{what}");
    }
}

#[test]
fn random_rows_have_the_bits_of_the_definition() {
    for (pass, rig) in rigs().into_iter().enumerate() {
        let sizes = [(1, 8), (2, 20), (31, 60), (211, 60), (1000, 30), (5003, 12)];
        for (i, (vocab, rows)) in sizes.into_iter().enumerate() {
            let seed = (pass * sizes.len() + i) as u64;
            rig.set_seed(seed);
            let mut rng = Rng(1000 + seed);
            let cases: Vec<Case> = (0..rows).map(|_| Case::random(&mut rng, vocab)).collect();
            check(&rig, &cases, vocab + i % 3);
        }
    }
}

#[test]
fn zeros_of_both_signs_and_equal_logits() {
    for rig in rigs() {
        let case = |logits: &[f32], token| Case { logits: logits.to_vec(), token, top: Some(64) };
        let inf = f32::INFINITY;
        let three = [
            case(&[-0.0, -inf, -inf], 0),
            case(&[-inf, 0.0, -0.0], 2),
            case(&[0.0, -200.0, -inf], 2),
            case(&[f32::MIN, f32::MAX, 0.0], 0),
        ];
        check(&rig, &three, 3);
        check(&rig, &[case(&vec![3.5; 2500], 2499)], 2500);
    }
}

#[test]
fn a_row_has_the_same_bits_under_any_schedule_and_beside_any_other() {
    for rig in rigs() {
        let vocab = 9000;
        let mut rng = Rng(4);
        let mut case = |top| Case { logits: like_a_model(&mut rng, vocab), token: 17, top };
        let cases = [case(Some(20)), case(Some(0)), case(None), case(Some(64))];
        for seed in rig.seeds(6) {
            rig.set_seed(seed);
            check(&rig, &cases, vocab);
        }
        // So many rows that a block takes all tiles of its row.
        let many: Vec<Case> = (0..600)
            .map(|row| Case {
                logits: cases[row % 4].logits.clone(),
                token: cases[row % 4].token,
                top: if row < 4 { cases[row].top } else { None },
            })
            .collect();
        check(&rig, &many, vocab);
    }
}

#[test]
fn faulty_rows_are_not_numbers_and_harm_no_other() {
    for rig in rigs() {
        let vocab = 2100;
        let mut rng = Rng(6);
        let mut cases: Vec<Case> = (0..5).map(|_| Case::random(&mut rng, vocab)).collect();
        for (row, case) in cases.iter_mut().enumerate() {
            case.top = Some(row as u32);
        }
        cases[0].logits[2099] = f32::NAN;
        cases[2].logits[5] = f32::INFINITY;
        cases[3].logits.fill(f32::NEG_INFINITY);
        let found = run(&rig, &cases, vocab);
        for (row, (found, case)) in found.iter().zip(&cases).enumerate() {
            let (found, expected) = (found.as_ref().unwrap(), case.expected().unwrap());
            if [0, 2, 3].contains(&row) {
                assert!(found.logprob.is_nan() && expected.logprob.is_nan(), "row {row}");
                assert!(found.top.is_empty(), "row {row}");
            } else {
                assert_eq!(bits(found), bits(&expected), "row {row}");
            }
        }
    }
}

#[test]
fn the_backend_draws_and_ranks_without_the_host() {
    let vocab = 2500;
    for rig in rigs() {
        let backend = CudaBackend::new(rig.driver().clone()).unwrap();
        let mut logits = backend.tensor(8, vocab, Role::Logits { context: 16 }).unwrap();
        let mut rng = Rng(9);
        let values: Vec<Vec<f32>> = (0..5).map(|_| like_a_model(&mut rng, vocab)).collect();
        backend.upload(&values.concat(), &mut logits).unwrap();
        let history = [TokenId(3), TokenId(4)];
        let tops = [Some(3), None, Some(0), Some(64), None];
        for (wanted, temperature) in
            [(tops, 0.0), (tops, 0.9), ([None; 5], 0.9), ([Some(0); 5], 0.0)]
        {
            let params = wanted.map(|logprobs| SamplingParams {
                temperature,
                logprobs,
                top_p: 0.9,
                ..SamplingParams::default()
            });
            let rows: Vec<SampleRow<'_>> = params
                .iter()
                .map(|params| SampleRow { params, history: &history, prompt_len: 1 })
                .collect();
            let found = backend.sample(&logits, &rows).unwrap();
            for (i, (found, row)) in found.iter().zip(&rows).enumerate() {
                let expected = sample::draw(&values[i], row).unwrap();
                assert_eq!(found.token, expected.token, "row {i}");
                let (found, expected) = (found.logprobs.as_ref(), expected.logprobs.as_ref());
                assert_eq!(found.map(bits), expected.map(bits), "row {i}");
            }
        }
        let targets = [7, 0, 2499, 5, 6].map(TokenId);
        for count in [5, 2] {
            let found = backend.log_probs(&logits, &targets[..count]).unwrap();
            assert_eq!(found.len(), count);
            for ((found, values), target) in found.iter().zip(&values).zip(targets) {
                assert_eq!(found.to_bits(), sample::log_prob(values, target).to_bits());
            }
        }
    }
}

#[test]
fn traffic_is_what_the_head_says() {
    for rig in rigs() {
        let (vocab, rows) = (32_000, 3);
        let mut rng = Rng(2);
        let mut case = || Case { logits: like_a_model(&mut rng, vocab), token: 5, top: Some(20) };
        let cases: Vec<Case> = (0..rows).map(|_| case()).collect();
        rig.counters();
        run(&rig, &cases, vocab);
        // About thirty candidates lie in bins down to that of the twentieth token.
        let row = 2 * (vocab * 4 + vocab.div_ceil(2048) * 28) + 8192 + 40 * 32;
        let bytes = (rows * row) as u64;
        // Counts and keys are written and read, logits read by each launch or once in a chain.
        let compulsory = (rows * (passes(&rig) * vocab * 4 + 2 * 1024 + 2 * 40 * 8)) as u64;
        Budget { requested: bytes, sectors: bytes, compulsory }.check(&rig, "logprobs");
    }
}

#[test]
#[should_panic(expected = "65 log-probabilities, at most 64")]
fn more_than_there_is_room_for_is_refused() {
    encode_tops(&[Some(64), None, Some(65)]);
}
