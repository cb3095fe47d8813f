//! The sampler's definition: a pure function of the logits, the parameters and the history. A
//! kernel that samples on a device equals [`draw`] bit for bit.
//!
//! # The order of operations
//!
//! All arithmetic is f32, each operation rounded once to nearest, ties to even, and nothing fused
//! but where [`math`] says so. For a row of logits `x[0..vocab]`:
//!
//! 1. *Range.* A logit beyond ±2^100 becomes ±2^100, so that no later step can overflow. -inf
//!    stays: its token is forbidden. NaN, +inf and a row of nothing but -inf are faults of the
//!    device.
//! 2. *Bias.* `x[t] = x[t] + b`, where b is the sum of t's entries in the order they are listed,
//!    starting from the first.
//! 3. *Repetition penalty r*, for every token of prompt or output, once: `x / r` if x > 0, else
//!    `x * r`.
//! 4. *Frequency penalty f, presence penalty p*, for every token that stands n > 0 times in the
//!    output: `x = (x - f * n) - p`.
//! 5. *Temperature T.* If T = 0, the result is the largest x, lowest id on ties, and the steps
//!    below are left out: they could not remove it. Else `y = x / T`.
//! 6. *Top-k.* In the order "y descending, id ascending" (+0 equals -0) the first k tokens stay.
//! 7. *Top-p.* Each token has the integer weight `w = round(exp(y - max y) * 2^40)`
//!    ([`math::weight`]). Of the tokens that top-k left, with total weight W, the shortest
//!    beginning of the same order stays whose weights add up to `ceil(W * P / 2^32)` or more, with
//!    `P = ceil(top_p * 2^32)`. top_p = 1 removes nothing, not even tokens of weight 0.
//! 8. *Min-p.* Of those, tokens with `w >= ceil(min_p * 2^40)` stay; the largest y has w = 2^40.
//! 9. *Draw.* The largest `y + g`, lowest id on ties, g being the token's noise.
//!
//! No filter removes the first token of the order, so one always remains. Sums are of integers and
//! maxima are of a total order: neither depends on the order in which threads come to them. No sum
//! overflows: there are at most 2^23 weights of at most 2^40.
//!
//! # The noise
//!
//! Gumbel-max: the argmax of `y + g` with independent standard Gumbel g has the distribution
//! softmax(y), restricted to the tokens that remain. The noise of token t at position n, the length
//! of prompt and output so far, comes from [`philox`]: key = (low, high) word of the seed, counter
//! = (t / 4, n, 0, 0), word t mod 4 of the result, mapped by [`math::gumbel`]. It does not depend
//! on the logits. Two models that draw with the same seed at the same position therefore tend to
//! agree, which is what speculative decoding accepts by (Daliri, Musco and Suresh 2024, "Coupling
//! without communication and drafter-invariant speculative decoding").

mod filter;
mod logprob;
pub mod math;
pub mod philox;
mod simd;

pub use logprob::{log_prob, logprobs};
pub use simd::Path;

use crate::error::{Error, Result};
use crate::request::{SamplingParams, TokenId, TokenLogprobs};
use simd::Pass;

/// Finite logits are brought within ± this, 2^100.
const LOGIT_MAX: f32 = (1u128 << 100) as f32;
/// Philox blocks that are computed together, of four tokens each.
const BLOCKS: usize = 8;
/// Tokens of these blocks.
const WIDTH: usize = 4 * BLOCKS;

/// One row of a batch of draws.
#[derive(Debug, Clone, Copy)]
pub struct SampleRow<'a> {
    /// How to draw.
    pub params: &'a SamplingParams,
    /// Prompt and output so far; the drawn token's position is its length.
    pub history: &'a [TokenId],
    /// How many of `history` are the prompt.
    pub prompt_len: usize,
}

/// A drawn token.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token: TokenId,
    /// Log-probabilities, if the row's parameters ask for them.
    pub logprobs: Option<TokenLogprobs>,
}

/// Draws a token from `logits` `[vocab]`, as the [module](self) defines it. The parameters are
/// taken as valid ([`SamplingParams::validate`]).
///
/// # Errors
/// [`Error::Device`] naming the first logit that is NaN or +inf, or saying that all are -inf.
pub fn draw(logits: &[f32], row: &SampleRow<'_>) -> Result<Sampled> {
    draw_on(Path::best(), logits, row)
}

/// [`draw`] with a given instruction set: the same result, for tests and measurements.
///
/// # Errors
/// As [`draw`].
pub fn draw_on(path: Path, logits: &[f32], row: &SampleRow<'_>) -> Result<Sampled> {
    let vocab = logits.len();
    assert!((1..=math::VOCAB_MAX).contains(&vocab), "{vocab} logits, not 1..{}", math::VOCAB_MAX);
    assert!(row.prompt_len <= row.history.len(), "the prompt is longer than the history");
    let params = row.params;
    let mut values = vec![0.0; vocab];
    if path.run(Range { logits, values: &mut values }) {
        return Err(fault(logits));
    }
    add_bias(&mut values, &params.logit_bias);
    penalize(&mut values, row);
    let token = match params.temperature == 0.0 {
        true => argmax(&values),
        false => draw_scaled(path, &mut values, row),
    };
    let token = TokenId(token as u32);
    let logprobs = params.logprobs.map(|top| logprobs(logits, token, top));
    Ok(Sampled { token, logprobs })
}

/// Steps 5 to 9 for a temperature above 0.
fn draw_scaled(path: Path, values: &mut [f32], row: &SampleRow<'_>) -> usize {
    let params = row.params;
    for value in values.iter_mut() {
        *value /= params.temperature;
    }
    if filter::is_set(params, values.len()) {
        let max = filter::max(values);
        filter::apply(path, values, max, params);
    }
    let position = u32::try_from(row.history.len()).expect("positions are below 2^32");
    path.run(GumbelMax { values, seed: params.seed, position })
}

/// The largest value, lowest id on ties.
fn argmax(values: &[f32]) -> usize {
    let max = filter::max(values);
    values.iter().position(|&value| value == max).expect("a maximum is one of the values")
}

/// Says what is wrong with a row that [`Range`] refused.
#[cold]
fn fault(logits: &[f32]) -> Error {
    let bad = |&(_, x): &(usize, &f32)| x.is_nan() || *x == f32::INFINITY;
    Error::Device(match logits.iter().enumerate().find(bad) {
        Some((index, value)) => format!(
            "the model computed {value} for logit {index} of {}, expected a number below infinity",
            logits.len()
        ),
        None => format!("the model computed -inf for all {} logits", logits.len()),
    })
}

/// Step 2.
fn add_bias(values: &mut [f32], bias: &[(TokenId, f32)]) {
    let mut bias = bias.to_vec();
    // Stable: entries of one token keep their order.
    bias.sort_by_key(|&(token, _)| token);
    for entries in bias.chunk_by(|a, b| a.0 == b.0) {
        let (token, first) = entries[0];
        let sum = entries[1..].iter().fold(first, |sum, &(_, bias)| sum + bias);
        values[token.index()] += sum;
    }
}

/// Steps 3 and 4.
fn penalize(values: &mut [f32], row: &SampleRow<'_>) {
    let params = row.params;
    let (repetition, frequency) = (params.repetition_penalty, params.frequency_penalty);
    let presence = params.presence_penalty;
    if repetition == 1.0 && frequency == 0.0 && presence == 0.0 {
        return;
    }
    let mut counts = vec![0u32; values.len()];
    for token in &row.history[row.prompt_len..] {
        counts[token.index()] += 1;
    }
    let mut done = vec![false; values.len()];
    for token in row.history {
        let index = token.index();
        if std::mem::replace(&mut done[index], true) {
            continue;
        }
        let mut x = values[index];
        x = if x > 0.0 { x / repetition } else { x * repetition };
        if counts[index] > 0 {
            let penalty = frequency * counts[index] as f32;
            x = (x - penalty) - presence;
        }
        values[index] = x;
    }
}

/// Step 1: copies the logits within their range; true if they cannot be sampled.
struct Range<'a> {
    logits: &'a [f32],
    values: &'a mut [f32],
}

impl Pass for Range<'_> {
    type Out = bool;

    #[inline(always)]
    fn run(self) -> bool {
        // Bitwise, so that the loop has no branch.
        let (mut bad, mut some) = (false, false);
        for (value, &x) in self.values.iter_mut().zip(self.logits) {
            bad |= x.is_nan() | (x == f32::INFINITY);
            let finite = x > f32::NEG_INFINITY;
            some |= finite;
            let above = if x < -LOGIT_MAX { -LOGIT_MAX } else { x };
            let within = if above > LOGIT_MAX { LOGIT_MAX } else { above };
            *value = if finite { within } else { x };
        }
        bad | !some
    }
}

/// Step 9: the token with the largest `value + noise`.
struct GumbelMax<'a> {
    values: &'a [f32],
    seed: u64,
    position: u32,
}

impl Pass for GumbelMax<'_> {
    type Out = usize;

    #[inline(always)]
    fn run(self) -> usize {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let (mut best, mut token) = (f32::NEG_INFINITY, 0);
        for (index, chunk) in self.values.chunks(WIDTH).enumerate() {
            let mut scores = [f32::NEG_INFINITY; WIDTH];
            scores[..chunk.len()].copy_from_slice(chunk);
            // Rounding keeps order, so no score of this chunk can be larger than this sum. Chunks
            // that the filters emptied end here too.
            if filter::max(&scores) + math::GUMBEL_MAX <= best {
                continue;
            }
            let first_block = index * BLOCKS;
            let numbers = std::array::from_fn(|block| (first_block + block) as u32);
            let counters = [numbers, [self.position; BLOCKS], [0; BLOCKS], [0; BLOCKS]];
            let words = philox::blocks(counters, key);
            for block in 0..BLOCKS {
                for (lane, words) in words.iter().enumerate() {
                    scores[4 * block + lane] += math::gumbel(words[block]);
                }
            }
            let top = filter::max(&scores);
            if top > best {
                best = top;
                let first = scores.iter().position(|&score| score == top);
                token = index * WIDTH + first.expect("a maximum is one of the scores");
            }
        }
        token
    }
}
