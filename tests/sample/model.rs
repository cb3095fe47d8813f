//! A slow model of the whole definition, written from its text: it sorts the vocabulary, keeps sets
//! of tokens and adds in 128 bits. Draws must equal it exactly, on every instruction set. A second
//! one in f64 knows nothing of polynomials and fixed point, and is met within tolerances.

use proptest::prelude::*;
use ridgepoint::request::{SamplingParams, TokenId};
use ridgepoint::sample::philox::philox4x32_10;
use ridgepoint::sample::{Path, SampleRow, draw, draw_on, log_prob, logprobs, math};

#[derive(Debug, Clone)]
struct Case {
    logits: Vec<f32>,
    history: Vec<TokenId>,
    prompt_len: usize,
    params: SamplingParams,
}

impl Case {
    fn row(&self) -> SampleRow<'_> {
        let (params, history) = (&self.params, &self.history[..]);
        SampleRow { params, history, prompt_len: self.prompt_len }
    }

    /// The logits after bias, penalties and temperature.
    fn scaled(&self) -> Vec<f32> {
        let p = &self.params;
        let limit = 2f32.powi(100);
        let output = &self.history[self.prompt_len..];
        let one = |(id, &logit): (usize, &f32)| {
            let token = TokenId(id as u32);
            let mut x = if logit == f32::NEG_INFINITY { logit } else { logit.clamp(-limit, limit) };
            let biases: Vec<f32> =
                p.logit_bias.iter().filter(|b| b.0 == token).map(|b| b.1).collect();
            if let Some(sum) = biases.into_iter().reduce(|a, b| a + b) {
                x += sum;
            }
            if self.history.contains(&token) {
                x = if x > 0.0 { x / p.repetition_penalty } else { x * p.repetition_penalty };
            }
            let count = output.iter().filter(|&&t| t == token).count();
            if count > 0 {
                x -= p.frequency_penalty * count as f32;
                x -= p.presence_penalty;
            }
            if p.temperature > 0.0 { x / p.temperature } else { x }
        };
        self.logits.iter().enumerate().map(one).collect()
    }

    fn noise(&self, id: usize) -> u32 {
        let key = [self.params.seed as u32, (self.params.seed >> 32) as u32];
        let counter = [id as u32 / 4, self.history.len() as u32, 0, 0];
        philox4x32_10(counter, key)[id % 4]
    }
}

/// Ids above -inf: value descending, id ascending.
fn order(values: &[f32]) -> Vec<usize> {
    let mut ids: Vec<usize> =
        (0..values.len()).filter(|&id| values[id] > f32::NEG_INFINITY).collect();
    ids.sort_by(|&a, &b| values[b].partial_cmp(&values[a]).unwrap().then(a.cmp(&b)));
    ids
}

fn model(case: &Case) -> usize {
    let (p, y) = (&case.params, case.scaled());
    let mut ids = order(&y);
    if p.temperature == 0.0 {
        return ids[0];
    }
    let weight = |id: usize| u128::from(math::weight(y[id] - y[ids[0]]));
    let weights: Vec<u128> = (0..y.len()).map(weight).collect();
    if p.top_k > 0 {
        ids.truncate(p.top_k as usize);
    }
    if p.top_p < 1.0 {
        let total: u128 = ids.iter().map(|&id| weights[id]).sum();
        let fraction = (f64::from(p.top_p) * 2f64.powi(32)).ceil() as u128;
        let wanted = (total * fraction).div_ceil(1 << 32);
        let mut mass = 0;
        let end = ids.iter().position(|&id| {
            mass += weights[id];
            mass >= wanted
        });
        ids.truncate(end.unwrap() + 1);
    }
    let floor = (f64::from(p.min_p) * 2f64.powi(40)).ceil() as u128;
    ids.retain(|&id| weights[id] >= floor);
    ids.sort();
    let score = |id: usize| y[id] + math::gumbel(case.noise(id));
    ids.iter().copied().reduce(|best, id| if score(id) > score(best) { id } else { best }).unwrap()
}

/// The same in f64, by library functions. `None` where a filter's edge or the second-best score is
/// so near that rounding may decide.
fn model_f64(case: &Case) -> Option<usize> {
    let (p, y) = (&case.params, case.scaled());
    let mut ids = order(&y);
    if p.temperature == 0.0 {
        return Some(ids[0]);
    }
    let y: Vec<f64> = y.into_iter().map(f64::from).collect();
    let max = y[ids[0]];
    let weight = |id: usize| (y[id] - max).exp();
    let mut near = false;
    if p.top_k > 0 {
        ids.truncate(p.top_k as usize);
    }
    if p.top_p < 1.0 {
        let total: f64 = ids.iter().map(|&id| weight(id)).sum();
        let mut mass = 0.0;
        let end = ids.iter().position(|&id| {
            mass += weight(id) / total;
            near |= (mass - f64::from(p.top_p)).abs() < 1e-5;
            mass >= f64::from(p.top_p)
        });
        ids.truncate(end.map_or(ids.len(), |end| end + 1));
    }
    near |= ids.iter().any(|&id| (weight(id) - f64::from(p.min_p)).abs() < 1e-5);
    ids.retain(|&id| weight(id) >= f64::from(p.min_p));
    let score = |id: usize| {
        let u = (f64::from(case.noise(id) >> 8) + 0.5) / 2f64.powi(24);
        y[id] - (-u.ln()).ln()
    };
    ids.sort_by(|&a, &b| score(b).partial_cmp(&score(a)).unwrap());
    near |= ids.len() > 1 && score(ids[0]) - score(ids[1]) < 1e-4;
    (!near).then(|| ids[0])
}

/// Few distinct values, so that ties are common; -inf; and any finite f32 at times.
fn logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => (-20i8..20).prop_map(|x| f32::from(x) / 4.0),
        6 => -30f32..30.0,
        1 => Just(f32::NEG_INFINITY),
        1 => Just(-0.0f32),
        1 => prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL,
    ]
}

fn params(vocab: usize) -> impl Strategy<Value = SamplingParams> {
    let filters = (
        prop_oneof![Just(0.0f32), Just(1.0), 1e-3f32..4.0],
        prop_oneof![Just(0), 0..vocab as u32 + 3, 1u32..4],
        prop_oneof![Just(1.0f32), 1e-6f32..1.0, Just(0.9), Just(f32::MIN_POSITIVE)],
        prop_oneof![3 => Just(0.0f32), 2 => 0f32..1.0, 1 => Just(1.0)],
    );
    let penalties = (
        prop_oneof![Just(1.0f32), 0.01f32..100.0, 1f32..1.5],
        prop_oneof![Just(0.0f32), -100f32..100.0, 0f32..1.0],
        prop_oneof![Just(0.0f32), -100f32..100.0, 0f32..1.0],
        prop::collection::vec((0..vocab as u32, -1e4f32..1e4), 0..6),
    );
    (filters, penalties, any::<u64>()).prop_map(|(filters, penalties, seed)| SamplingParams {
        temperature: filters.0,
        top_k: filters.1,
        top_p: filters.2,
        min_p: filters.3,
        repetition_penalty: penalties.0,
        frequency_penalty: penalties.1,
        presence_penalty: penalties.2,
        logit_bias: penalties.3.into_iter().map(|(id, bias)| (TokenId(id), bias)).collect(),
        seed,
        logprobs: None,
    })
}

fn case(vocab: impl Strategy<Value = usize>) -> impl Strategy<Value = Case> {
    vocab.prop_flat_map(|vocab| {
        let logits = prop::collection::vec(logit(), vocab);
        let history = prop::collection::vec((0..vocab as u32).prop_map(TokenId), 0..40);
        (logits, history, 0..vocab, any::<prop::sample::Index>(), params(vocab)).prop_map(
            |(mut logits, history, finite, prompt, params)| {
                if logits.iter().all(|&x| x == f32::NEG_INFINITY) {
                    logits[finite] = 0.5;
                }
                let prompt_len = prompt.index(history.len() + 1);
                Case { logits, history, prompt_len, params }
            },
        )
    })
}

fn check(case: &Case) -> std::result::Result<(), TestCaseError> {
    let expected = TokenId(model(case) as u32);
    let row = case.row();
    prop_assert_eq!(draw(&case.logits, &row).unwrap().token, expected);
    prop_assert_eq!(draw_on(Path::PORTABLE, &case.logits, &row).unwrap().token, expected);
    if let Some(near) = model_f64(case) {
        prop_assert_eq!(expected.index(), near, "the f64 model differs");
    }
    Ok(())
}

/// A failure prints its case; it leaves no file behind.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn draws_equal_the_model(case in case(1usize..200)) {
        check(&case)?;
    }

    #[test]
    fn logprobs_equal_a_sum_in_f64(case in case(1usize..200), top in 0u32..9) {
        let logits: Vec<f64> = case.logits.iter().map(|&x| f64::from(x)).collect();
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = logits.iter().map(|x| (x - max).exp()).sum();
        let exact = |id: usize| logits[id] - max - sum.ln();
        let close = |found: f32, id: usize| {
            let exact = exact(id);
            let bound = 2e-6 * exact.abs().max(1.0);
            f64::from(found) == exact || (f64::from(found) - exact).abs() < bound
                || exact < f64::from(f32::MIN)
        };
        for id in 0..logits.len() {
            let found = log_prob(&case.logits, TokenId(id as u32));
            prop_assert!(close(found, id), "{} instead of {}", found, exact(id));
        }
        let found = logprobs(&case.logits, TokenId(0), top);
        prop_assert_eq!(found.logprob.to_bits(), log_prob(&case.logits, TokenId(0)).to_bits());
        let mut expected = order(&case.logits);
        expected.truncate(top as usize);
        let ids: Vec<usize> = found.top.iter().map(|pair| pair.0.index()).collect();
        prop_assert_eq!(ids, expected);
        for (token, value) in found.top {
            prop_assert_eq!(value.to_bits(), log_prob(&case.logits, token).to_bits());
        }
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn draws_equal_the_model_for_a_large_vocabulary(case in case(4000usize..5000)) {
        check(&case)?;
    }
}
