//! Single properties of a draw: ties, filters, penalties, distribution, faults.

use super::{at_temperature, draw_after, draw_first};
use ridgepoint::error::Error;
use ridgepoint::request::{SamplingParams, TokenId};
use ridgepoint::sample::{Path, SampleRow, draw, draw_on, log_prob, logprobs};
use std::collections::BTreeSet;

const INF: f32 = f32::INFINITY;

/// The tokens that 2,000 seeds draw.
fn reachable(logits: &[f32], params: &SamplingParams) -> BTreeSet<u32> {
    (0..2000).map(|seed| draw_first(logits, &SamplingParams { seed, ..params.clone() })).collect()
}

#[test]
fn temperature_zero_takes_the_largest_and_the_lowest_id() {
    let greedy = SamplingParams::default();
    assert_eq!(draw_first(&[1.0, 3.0, 3.0, 2.0], &greedy), 1);
    assert_eq!(draw_first(&[-0.0, 0.0], &greedy), 0);
    assert_eq!(draw_first(&[-INF, -5.0], &greedy), 1);
    assert_eq!(draw_first(&[f32::MIN, f32::MIN], &greedy), 0);
    let mut many = vec![0.0; 1000];
    many[517] = 1.0;
    many[900] = 1.0;
    assert_eq!(draw_first(&many, &greedy), 517);
}

#[test]
fn every_filter_alone() {
    // Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625.
    let logits: Vec<f32> = [0.5f32, 0.25, 0.125, 0.0625, 0.0625].map(f32::ln).to_vec();
    let set = |ids: &[u32]| ids.iter().copied().collect::<BTreeSet<_>>();
    let base = at_temperature(1.0);
    assert_eq!(reachable(&logits, &base), set(&[0, 1, 2, 3, 4]));
    for (top_k, expected) in
        [(1, &[0][..]), (3, &[0, 1, 2]), (4, &[0, 1, 2, 3]), (5, &[0, 1, 2, 3, 4])]
    {
        assert_eq!(reachable(&logits, &SamplingParams { top_k, ..base.clone() }), set(expected));
    }
    let params = SamplingParams { top_k: u32::MAX, ..base.clone() };
    assert_eq!(reachable(&logits, &params), set(&[0, 1, 2, 3, 4]));
    for (top_p, expected) in
        [(1e-30, &[0][..]), (0.49, &[0]), (0.51, &[0, 1]), (0.9, &[0, 1, 2, 3])]
    {
        assert_eq!(reachable(&logits, &SamplingParams { top_p, ..base.clone() }), set(expected));
    }
    for (min_p, expected) in [(1.0, &[0][..]), (0.49, &[0, 1]), (0.2, &[0, 1, 2])] {
        assert_eq!(reachable(&logits, &SamplingParams { min_p, ..base.clone() }), set(expected));
    }
}

#[test]
fn ties_at_the_edge_of_a_filter_keep_the_lowest_ids() {
    let equal = [1.0; 8];
    let base = at_temperature(1.0);
    let first: BTreeSet<u32> = (0..3).collect();
    assert_eq!(reachable(&equal, &SamplingParams { top_k: 3, ..base.clone() }), first);
    assert_eq!(reachable(&equal, &SamplingParams { top_p: 0.375, ..base.clone() }), first);
    let all = reachable(&equal, &SamplingParams { min_p: 1.0, ..base });
    assert_eq!(all.len(), 8);
}

#[test]
fn top_p_measures_what_top_k_left() {
    // 0.4, 0.3, 0.3: of the first two, 0.4 / 0.7 is above one half.
    let logits: Vec<f32> = [0.4f32, 0.3, 0.3].map(f32::ln).to_vec();
    let both = SamplingParams { top_k: 2, top_p: 0.5, ..at_temperature(1.0) };
    assert_eq!(reachable(&logits, &both), BTreeSet::from([0]));
    let alone = SamplingParams { top_p: 0.5, ..at_temperature(1.0) };
    assert_eq!(reachable(&logits, &alone), BTreeSet::from([0, 1]));
}

#[test]
fn top_p_one_keeps_what_has_no_weight() {
    // -40 has weight 0; a bias-free draw of it is as good as impossible, but it is not removed.
    let logits = [-40.0, -INF];
    assert_eq!(draw_first(&logits, &at_temperature(1.0)), 0);
    let params = SamplingParams { top_k: 1, top_p: 1.0, min_p: 1.0, ..at_temperature(1.0) };
    assert_eq!(draw_first(&logits, &params), 0);
}

#[test]
fn bias_adds_up_and_forbids() {
    let bias = |pairs: &[(u32, f32)]| SamplingParams {
        logit_bias: pairs.iter().map(|&(id, bias)| (TokenId(id), bias)).collect(),
        ..SamplingParams::default()
    };
    let logits = [1.0, 2.0, 3.0];
    assert_eq!(draw_first(&logits, &bias(&[(0, 1.5), (0, 1.5)])), 0);
    assert_eq!(draw_first(&logits, &bias(&[(0, 2.0)])), 0, "a tie goes to the lowest id");
    assert_eq!(draw_first(&logits, &bias(&[(2, -1e4), (1, -1e4)])), 0);
    assert_eq!(draw_first(&[-INF, 0.0], &bias(&[(0, 1e4)])), 1, "-inf stays forbidden");
}

#[test]
fn penalties_count_what_they_should() {
    let logits = [4.0, 3.0, -1.0];
    let token = |params: &SamplingParams, prompt: &[u32], output: &[u32]| {
        draw_after(&logits, params, prompt, output).token.0
    };
    let repetition = SamplingParams { repetition_penalty: 2.0, ..SamplingParams::default() };
    assert_eq!(token(&repetition, &[0], &[]), 1, "the prompt counts for repetition");
    assert_eq!(token(&repetition, &[], &[0]), 1);
    assert_eq!(token(&repetition, &[0, 0, 0], &[1]), 0, "once, however often it stands there");
    let negative = [-2.0, -3.0];
    assert_eq!(draw_after(&negative, &repetition, &[0], &[]).token.0, 1, "-2 * 2 is below -3");

    let presence = SamplingParams { presence_penalty: 1.5, ..SamplingParams::default() };
    assert_eq!(token(&presence, &[0, 0], &[]), 0, "the prompt does not count for presence");
    assert_eq!(token(&presence, &[], &[0]), 1);
    assert_eq!(token(&presence, &[], &[0, 0, 1]), 0, "once");

    let frequency = SamplingParams { frequency_penalty: 0.6, ..SamplingParams::default() };
    assert_eq!(token(&frequency, &[0, 0, 0], &[]), 0);
    assert_eq!(token(&frequency, &[], &[0]), 0);
    assert_eq!(token(&frequency, &[], &[0, 0]), 1);
}

/// 60,000 draws against softmax(logits / T): the statistic has 19 degrees of freedom, and exceeds
/// 50 once in 7,000 sets of seeds.
#[test]
fn draws_follow_the_softmax() {
    let logits: Vec<f32> = (0..20).map(|i| ((i * 7) % 20) as f32 / 8.0).collect();
    for (temperature, seeds) in [(1.0f32, true), (0.6, false)] {
        let mut counts = [0f64; 20];
        let history = vec![TokenId(0); 60_000];
        for i in 0..60_000usize {
            // New seeds at one position, or one seed at new positions.
            let seed = if seeds { i as u64 } else { 17 };
            let params = SamplingParams { seed, ..at_temperature(temperature) };
            let history = if seeds { &history[..3] } else { &history[..i] };
            let row = SampleRow { params: &params, history, prompt_len: history.len() };
            counts[draw(&logits, &row).unwrap().token.index()] += 1.0;
        }
        let weights: Vec<f64> =
            logits.iter().map(|x| (f64::from(*x) / f64::from(temperature)).exp()).collect();
        let total: f64 = weights.iter().sum();
        let expected = weights.iter().map(|w| w / total * 60_000.0);
        let chi: f64 = counts.iter().zip(expected).map(|(n, e)| (n - e).powi(2) / e).sum();
        assert!(chi < 50.0, "chi-square {chi} at temperature {temperature}");
    }
}

#[test]
fn seed_position_and_nothing_else_make_the_noise() {
    let logits = vec![0.0; 5000];
    let params = |seed| SamplingParams { seed, ..at_temperature(1.0) };
    let at = |seed, history: &[u32]| draw_after(&logits, &params(seed), history, &[]).token;
    assert_eq!(at(1, &[5, 6]), at(1, &[7, 8]), "only the length of the history matters");
    let seeds: BTreeSet<TokenId> = (0..20).map(|seed| at(seed << 32, &[])).collect();
    assert!(seeds.len() > 17, "the high word of the seed matters");
    let positions: BTreeSet<TokenId> = (0..20).map(|length| at(1, &vec![0; length])).collect();
    assert!(positions.len() > 17, "the position matters");
    // Prompt or output: the same position.
    assert_eq!(at(9, &[1, 2, 3]), draw_after(&logits, &params(9), &[1], &[2, 3]).token);
}

#[test]
fn instruction_sets_agree() {
    let logits: Vec<f32> = (0..3001).map(|i| ((i * 7919) % 3001) as f32 / 150.0).collect();
    for seed in 0..200 {
        let filters = [(0, 1.0, 0.0), (40, 1.0, 0.0), (0, 0.95, 0.0), (500, 0.8, 0.01)];
        let (top_k, top_p, min_p) = filters[seed as usize % 4];
        let params = SamplingParams { seed, top_k, top_p, min_p, ..at_temperature(1.3) };
        let row = SampleRow { params: &params, history: &[], prompt_len: 0 };
        let best = draw_on(Path::best(), &logits, &row).unwrap();
        assert_eq!(best, draw_on(Path::PORTABLE, &logits, &row).unwrap());
    }
}

#[test]
fn faulty_logits_are_named() {
    let row = SampleRow { params: &SamplingParams::default(), history: &[], prompt_len: 0 };
    for (logits, expected) in [
        (vec![0.0, f32::NAN, INF], "NaN for logit 1 of 3"),
        (vec![0.0, 1.0, INF], "inf for logit 2 of 3"),
        (vec![-INF; 4], "-inf for all 4 logits"),
    ] {
        let error = draw(&logits, &row).unwrap_err();
        assert!(matches!(error, Error::Device(_)));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn logprobs_are_of_the_raw_logits() {
    let logits = [2.0, 1.0, 0.0, -INF];
    let params = SamplingParams {
        logit_bias: vec![(TokenId(2), 100.0)],
        logprobs: Some(9),
        ..at_temperature(0.5)
    };
    let found = draw_after(&logits, &params, &[0], &[]);
    assert_eq!(found.token, TokenId(2));
    let logprobs = found.logprobs.unwrap();
    assert!((logprobs.logprob - -2.407_606).abs() < 1e-6);
    let ids: Vec<u32> = logprobs.top.iter().map(|pair| pair.0.0).collect();
    assert_eq!(ids, [0, 1, 2], "a forbidden token is not listed");
    assert_eq!(log_prob(&logits, TokenId(3)), -INF);
    assert_eq!(logprobs_ids(&[1.0, 5.0, 5.0], 2), [1, 2]);
    // A token that has nearly all the mass keeps the little that it lacks.
    let sure = log_prob(&[20.0, 0.0], TokenId(0));
    assert!((f64::from(sure) / -(-20f64).exp().ln_1p() - 1.0).abs() < 1e-3, "{sure}");
}

fn logprobs_ids(logits: &[f32], top: u32) -> Vec<u32> {
    logprobs(logits, TokenId(0), top).top.iter().map(|pair| pair.0.0).collect()
}

#[test]
fn log_probs_of_faulty_logits_are_not_numbers() {
    for logits in [[0.0, f32::NAN], [0.0, INF], [-INF, -INF]] {
        assert!(log_prob(&logits, TokenId(0)).is_nan());
    }
}

#[test]
#[should_panic(expected = "0 logits")]
fn no_logits_is_a_programmer_fault() {
    draw_first(&[], &SamplingParams::default());
}
