//! How many tokens a step can give: from the distributions of both models at every position of an
//! output.
//!
//! Whatever proposes tokens of the distribution q for a model of the distribution p, a proposal is
//! right with chance 1 - TV(p, q) at most, TV being the total variation distance. Two draws with
//! the same Gumbel noise are both token x with chance 1 / sum_y max(p(y)/p(x), q(y)/q(x)) (Daliri,
//! Musco, Suresh 2024), which falls a little short of it. At temperature 0 both are 1 where the
//! likeliest tokens agree and 0 elsewhere.

use super::DEPTH;
use super::drafts::Model;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::backend::{Backend, Batch, PageId, Phase, pages_for};
use ridgepoint::error::Result;
use ridgepoint::model::{Decoder, Limits};
use ridgepoint::request::{Request, TokenId};

/// Means over positions, and tokens of a step over whole outputs.
pub struct Bound {
    /// Of 1 - TV.
    pub overlap: f64,
    /// Of the chance that two draws with the same noise agree.
    pub acceptance: f64,
    /// Tokens of a step at the chances of the overlap.
    pub any: f64,
    /// Tokens of a step at those of the shared noise.
    pub coupled: f64,
}

/// The bound of drafts of [`DEPTH`] tokens along these outputs.
pub fn along(
    target: &Model,
    draft: &Model,
    requests: &[Request],
    outputs: &[Vec<TokenId>],
) -> Result<Bound> {
    let (mut p, mut q) = (Logits::of(target)?, Logits::of(draft)?);
    let (mut overlaps, mut couplings) = (Vec::new(), Vec::new());
    let (mut positions, mut any, mut coupled) = (0.0, 0.0, 0.0);
    for (request, output) in requests.iter().zip(outputs) {
        let tokens = [&request.prompt[..], output].concat();
        let from = request.prompt.len();
        let temperature = f64::from(request.sampling.temperature);
        // The first token comes from the prompt; no draft is asked for it.
        let rows = from..tokens.len() - 1;
        let (p, q) = (p.along(&tokens)?, q.along(&tokens)?);
        let chances = rows.map(|row| chances(&p[row], &q[row], temperature));
        let (overlap, coupling): (Vec<f64>, Vec<f64>) = chances.unzip();
        positions += overlap.len() as f64;
        any += steps(&overlap);
        coupled += steps(&coupling);
        overlaps.extend(overlap);
        couplings.extend(coupling);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    Ok(Bound {
        overlap: mean(&overlaps),
        acceptance: mean(&couplings),
        any: positions / any,
        coupled: positions / coupled,
    })
}

/// The mean number of steps that draw as many tokens as there are chances, where a drafted token is
/// right with the chance of its position.
fn steps(chances: &[f64]) -> f64 {
    let count = chances.len();
    // By the tokens that are there already.
    let mut after = vec![0.0; count + 1];
    for at in (0..count).rev() {
        let (mut mean, mut reached) = (1.0, 1.0);
        // A step draws one token more than were right; no draft goes past the end.
        for drawn in 0..DEPTH.min(count - at - 1) {
            let right = reached * chances[at + drawn];
            mean += (reached - right) * after[at + drawn + 1];
            reached = right;
        }
        after[at] = mean + reached * after[at + DEPTH.min(count - at - 1) + 1];
    }
    after[0]
}

/// The overlap of two rows' distributions, and the chance that the same noise draws the same token.
fn chances(p: &[f32], q: &[f32], temperature: f64) -> (f64, f64) {
    if temperature == 0.0 {
        let likeliest = |row: &[f32]| {
            let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter().position(|x| *x == best)
        };
        let equal = f64::from(likeliest(p) == likeliest(q));
        return (equal, equal);
    }
    let (p, q) = (softmax(p, temperature), softmax(q, temperature));
    let both = |(p, q): (&f64, &f64)| p.min(*q);
    let overlap: f64 = p.iter().zip(&q).map(both).sum();
    let same = |(&px, &qx): (&f64, &f64)| match px.min(qx) {
        // Too rare to be seen in the sum.
        least if least < 1e-9 => 0.0,
        _ => 1.0 / p.iter().zip(&q).map(|(py, qy)| (py / px).max(qy / qx)).sum::<f64>(),
    };
    (overlap, p.iter().zip(&q).map(same).sum())
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let weights = logits.iter().map(|x| ((f64::from(*x) - most) / temperature).exp());
    let weights: Vec<f64> = weights.collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// A model that gives the logits after every token.
struct Logits {
    decoder: Decoder<CpuBackend>,
    kv: <CpuBackend as Backend>::KvCache,
    pages: Vec<PageId>,
}

impl Logits {
    fn of(model: &Model) -> Result<Logits> {
        const TOKENS: usize = super::PROMPT + super::OUTPUT;
        let (config, source) = model.open()?;
        let limits = Limits { rows: TOKENS, logit_rows: TOKENS, sequences: 1, context: TOKENS };
        let decoder = Decoder::load(CpuBackend::new(), config, &source, limits)?;
        let kv = decoder.kv_cache(pages_for(TOKENS))?;
        let pages = (0..pages_for(TOKENS) as u32).map(PageId).collect();
        Ok(Logits { decoder, kv, pages })
    }

    fn along(&mut self, tokens: &[TokenId]) -> Result<Vec<Vec<f32>>> {
        let mut batch = Batch::new(Phase::Prefill);
        batch.push(0, tokens, &self.pages);
        batch.logit_rows.extend(0..tokens.len());
        self.decoder.forward(&batch, &mut self.kv)?;
        let all = self.decoder.backend().download(self.decoder.logits())?;
        let width = self.decoder.config().vocab_size;
        Ok(all.chunks(width).take(tokens.len()).map(<[f32]>::to_vec).collect())
    }
}
