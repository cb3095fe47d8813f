//! The sampler's definition.

mod draw;
mod math;
mod model;

use ridgepoint::request::{SamplingParams, TokenId};
use ridgepoint::sample::{SampleRow, Sampled, draw};

/// A draw with no prompt or output before it.
fn draw_first(logits: &[f32], params: &SamplingParams) -> u32 {
    let row = SampleRow { params, history: &[], prompt_len: 0 };
    draw(logits, &row).unwrap().token.0
}

/// A draw after `prompt` and `output`.
fn draw_after(logits: &[f32], params: &SamplingParams, prompt: &[u32], output: &[u32]) -> Sampled {
    let history: Vec<TokenId> = prompt.iter().chain(output).map(|&id| TokenId(id)).collect();
    draw(logits, &SampleRow { params, history: &history, prompt_len: prompt.len() }).unwrap()
}

/// Parameters that draw at temperature `t` with no filter.
fn at_temperature(temperature: f32) -> SamplingParams {
    SamplingParams { temperature, ..SamplingParams::default() }
}
