//! What a model needs of a device: bytes that it keeps there, and for each op of a step the least
//! bytes that must move and the operations that must be done. The only place that counts either;
//! it sizes nothing by itself, but a table of it stands in every message about missing memory, and
//! every floor is from here.
//!
//! All figures are for the CUDA backend: bf16 activations, keys and values, f32 logits, and weights
//! in bf16 unless [`Formats`] say otherwise.

mod fit;
mod format;
mod ledger;
mod step;

pub use fit::{BATCH_MAX, Fit, Load};
pub use format::{Formats, HeadFormat, Int4Group, Other, WeightFormat};
pub use ledger::{Budget, Line, scratch_bytes};
pub use step::{Cost, StepLoad, sample, seen, step, step_in};

use crate::backend::PAGE_SIZE;
use crate::model::ModelConfig;
use crate::model::parts::Input;

/// Bytes of an element of weights, activations, keys and values.
const BF16: u64 = 2;
/// Bytes of a logit, a partial sum, or a sum of squares.
const F32: u64 = 4;
/// Elements whose squares are summed into one number beside a normed row.
const NORM_GROUP: u64 = 16;

/// Bytes of one page in all layers, keys and values.
pub fn page_bytes(config: &ModelConfig) -> u64 {
    let heads = config.heads;
    (2 * config.layers * heads.kv * PAGE_SIZE * heads.dim) as u64 * BF16
}

/// Bytes of all weights.
pub fn weight_bytes(config: &ModelConfig, formats: &Formats) -> u64 {
    let (vocab, hidden) = (config.vocab_size as u64, config.hidden_size as u64);
    let matrices = layer_matrices(config);
    let bytes = |layer| {
        matrices.iter().map(move |&(name, n, k)| formats.of_matrix(layer, name).bytes(n, k))
    };
    let layers: u64 = (0..config.layers).flat_map(bytes).sum();
    let head = match formats.head {
        HeadFormat::Bf16 if config.tied => 0,
        format => format.bytes(vocab, hidden),
    };
    let small = config.layers as u64 * small_elements(config) + hidden;
    (vocab * hidden + small) * BF16 + layers + head
}

/// Bytes in the unit that keeps three digits before the point.
pub fn size(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    let digits = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.digits$} {}", units[unit])
}

/// The matrices of a layer as they are multiplied with: the name of the product, rows, columns.
fn layer_matrices(config: &ModelConfig) -> [(&'static str, u64, u64); 4] {
    Input::ALL.map(|input| {
        let shapes = input.parts().iter().map(|part| part.shape(config));
        let rows: usize = shapes.map(|[n, _]| n).sum();
        let [_, columns] = input.parts()[0].shape(config);
        (input.product(), rows as u64, columns as u64)
    })
}

/// `(n, k)` of the matrices of a model, each shape once.
fn matrices(config: &ModelConfig) -> Vec<(usize, usize)> {
    let mut shapes: Vec<(usize, usize)> =
        layer_matrices(config).iter().map(|&(_, n, k)| (n as usize, k as usize)).collect();
    shapes.push((config.vocab_size, config.hidden_size));
    shapes
}

/// Norm weights and biases of a layer.
fn small_elements(config: &ModelConfig) -> u64 {
    let heads = config.heads;
    2 * config.hidden_size as u64
        + if config.qkv_bias { heads.qkv_width() as u64 } else { 0 }
        + if config.qk_norm { 2 * heads.dim as u64 } else { 0 }
}

/// Parameters of the model, whatever their format.
pub fn parameters(config: &ModelConfig) -> u64 {
    let (vocab, hidden) = (config.vocab_size as u64, config.hidden_size as u64);
    let layer: u64 = layer_matrices(config).iter().map(|(_, n, k)| n * k).sum();
    let tables = if config.tied { 1 } else { 2 };
    tables * vocab * hidden + config.layers as u64 * (layer + small_elements(config)) + hidden
}
