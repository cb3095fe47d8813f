//! That sampled tokens follow the model's distribution when something drafts: Pearson's chi-square
//! test of the first token of many seeds, and of the first token behind a run of accepted ones.
//!
//! Each context's tokens are laid into ten bins by their rank, so that each bin has about a tenth
//! of the probability; what falls into a bin over all contexts is compared with the sum of its
//! probabilities there. With nine degrees of freedom a sound sampler exceeds [`LIMIT`] with a
//! chance of 1 in 10,000 for a fresh choice of seeds; with these it always gives the same.

use super::together::decoder;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::backend::{Backend, Batch, PageId, Phase};
use ridgepoint::engine::speculate::{Depths, DraftModel, Drafter};
use ridgepoint::engine::{Engine, EngineOptions, SubmitOptions};
use ridgepoint::model::{Decoder, Limits};
use ridgepoint::request::{Request, SamplingParams, TokenId};

const MODEL: &str = "qwen3_gqa2";
/// A model with the same vocabulary and nothing else in common.
const OTHER: &str = "mistral_window";
const BINS: usize = 10;
/// The 0.9999 quantile of chi-square with `BINS - 1` degrees of freedom.
const LIMIT: f64 = 33.72;
const SEEDS: u64 = 2000;
/// Low enough for the distribution of an untrained model to be far from even.
const TEMPERATURE: f32 = 0.4;
const CONTEXT: usize = 64;

fn prompt() -> Vec<TokenId> {
    (0..7).map(|i| TokenId(i * 31 % 200)).collect()
}

/// What each seed draws on `model`, with drafts of two tokens by `draft`: the output, and how many
/// tokens of the first draft were accepted.
fn outputs(model: &str, draft: Option<&str>) -> Vec<(Vec<TokenId>, usize)> {
    const RUNNING: usize = 32;
    let depth = if draft.is_some() { 2 } else { 0 };
    let options =
        EngineOptions { depth, waiting: SEEDS as usize, ..EngineOptions::new(CONTEXT, RUNNING) };
    let loaded = decoder(model, CpuBackend::new(), options.limits());
    let mut engine = Engine::new(loaded, None, &options).unwrap();
    if let Some(name) = draft {
        let limits = DraftModel::<CpuBackend>::limits(options.limits());
        let loaded = decoder(name, CpuBackend::new(), limits);
        let drafter: Box<dyn Drafter> = Box::new(DraftModel::new(loaded, options.pages).unwrap());
        engine.speculate(drafter, Depths::new(Some(depth)));
    }
    let client = engine.client();
    let streams: Vec<_> = (0..SEEDS)
        .map(|seed| {
            let sampling =
                SamplingParams { temperature: TEMPERATURE, seed, ..SamplingParams::default() };
            // One from the prompt, then a step of up to three: no other is drafted for.
            let request = Request {
                prompt: prompt(),
                max_tokens: 4,
                sampling,
                stop: Vec::new(),
                stop_tokens: Vec::new(),
            };
            client.submit(request, SubmitOptions::default()).unwrap()
        })
        .collect();
    while engine.step() {}
    streams
        .into_iter()
        .map(|stream| {
            let done = stream.collect_all().unwrap();
            let right = done.finish.drafts.as_ref().map_or(0, |drafts| {
                // A later draft has room for one token only.
                drafts.accepted[1] as usize * 2
            });
            (done.ids(), right)
        })
        .collect()
}

/// The distribution of the next token, of a model in f64.
struct Model {
    decoder: Decoder<CpuBackend>,
    kv: <CpuBackend as Backend>::KvCache,
}

impl Model {
    fn new(name: &str) -> Model {
        let limits = Limits { rows: CONTEXT, logit_rows: 1, sequences: 1, context: CONTEXT };
        let decoder = decoder(name, CpuBackend::new(), limits);
        let kv = decoder.kv_cache(1).unwrap();
        Model { decoder, kv }
    }

    fn next(&mut self, tokens: &[TokenId], temperature: f32) -> Vec<f64> {
        let mut batch = Batch::new(Phase::Prefill);
        batch.push(0, tokens, &[PageId(0)]);
        batch.logit_rows.push(tokens.len() - 1);
        self.decoder.forward(&batch, &mut self.kv).unwrap();
        let logits = self.decoder.backend().download(self.decoder.logits()).unwrap();
        let logits = &logits[..self.decoder.config().vocab_size];
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights = logits.iter().map(|x| f64::from((x - most) / temperature).exp());
        let weights: Vec<f64> = weights.collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }
}

#[derive(Default)]
struct Chi {
    found: [f64; BINS],
    expected: [f64; BINS],
}

impl Chi {
    fn add(&mut self, chances: &[f64], token: TokenId) {
        let mut order: Vec<usize> = (0..chances.len()).collect();
        order.sort_by(|a, b| chances[*b].total_cmp(&chances[*a]));
        let mut before = 0.0;
        for id in order {
            let bin = ((before * BINS as f64) as usize).min(BINS - 1);
            before += chances[id];
            self.expected[bin] += chances[id];
            self.found[bin] += f64::from(id == token.index());
        }
    }

    fn statistic(&self) -> f64 {
        let each = self.found.iter().zip(&self.expected);
        assert!(self.expected.iter().all(|expected| *expected > 20.0), "{:?}", self.expected);
        each.map(|(found, expected)| (found - expected).powi(2) / expected).sum()
    }
}

#[test]
fn sampled_tokens_follow_the_distribution_with_any_draft() {
    let mut model = Model::new(MODEL);
    let first = model.next(&prompt(), TEMPERATURE);
    for draft in [MODEL, OTHER] {
        let (mut firsts, mut behind, mut runs) = (Chi::default(), Chi::default(), 0usize);
        for (output, right) in outputs(MODEL, Some(draft)) {
            firsts.add(&first, output[0]);
            if right == 2 {
                let context = [&prompt()[..], &output[..3]].concat();
                behind.add(&model.next(&context, TEMPERATURE), output[3]);
                runs += 1;
            }
        }
        assert!(runs > 300 && (runs == SEEDS as usize || draft == OTHER), "{draft}: {runs} runs");
        for (chi, place) in [(firsts, "first"), (behind, "behind a run")] {
            let statistic = chi.statistic();
            assert!(statistic < LIMIT, "{draft}, {place}: {statistic} over {:?}", chi.found);
        }
    }
}

/// What the test is for: draws that are off are found with as many seeds.
#[test]
fn biased_draws_are_found() {
    let mut model = Model::new(MODEL);
    // A draft whose tokens are believed unseen.
    let first = model.next(&prompt(), TEMPERATURE);
    let mut unseen = Chi::default();
    outputs(OTHER, None).iter().for_each(|(output, _)| unseen.add(&first, output[0]));
    assert!(unseen.statistic() > LIMIT, "{}", unseen.statistic());
    // A temperature that is a third too high.
    let cooler = model.next(&prompt(), TEMPERATURE * 0.75);
    let mut warm = Chi::default();
    outputs(MODEL, None).iter().for_each(|(output, _)| warm.add(&cooler, output[0]));
    assert!(warm.statistic() > LIMIT, "{}", warm.statistic());
}
