//! The ops of a step: for each the least bytes that must move and the operations to be done.

use super::{BF16, F32, Formats, HeadFormat, NORM_GROUP, layer_matrices};
use crate::backend::Phase;
use crate::model::ModelConfig;

/// What one op of a step must at least do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Its name.
    pub op: &'static str,
    /// The layer, for those that belong to one.
    pub layer: Option<usize>,
    /// Bytes that must come from memory or go there: weights, activations, keys and values.
    pub bytes: u64,
    /// Floating-point operations; a multiply-add counts as two.
    pub flops: u64,
}

/// A step whose costs are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepLoad {
    /// The family of its rows.
    pub phase: Phase,
    /// Rows: sequences in decode, tokens of one prompt in prefill.
    pub rows: usize,
    /// Tokens in the cache before the step, of each sequence.
    pub context: usize,
    /// Rows whose logits are wanted.
    pub logit_rows: usize,
}

/// The ops of a step in the order in which they run, with bf16 weights.
pub fn step(config: &ModelConfig, load: StepLoad) -> Vec<Cost> {
    step_in(config, &Formats::default(), load)
}

/// The same with weights of other formats.
pub fn step_in(config: &ModelConfig, formats: &Formats, load: StepLoad) -> Vec<Cost> {
    let rows = load.rows as u64;
    let hidden = config.hidden_size as u64;
    let heads = config.heads;
    let (query, width) = ((heads.query * heads.dim) as u64, heads.qkv_width() as u64);
    let normed = hidden * BF16 + hidden / NORM_GROUP * F32;
    let mut costs = vec![Cost {
        op: "embed",
        layer: None,
        bytes: rows * (2 * hidden * BF16 + normed) + hidden * BF16,
        flops: rows * 3 * hidden,
    }];
    for layer in 0..config.layers {
        let [qkv, output, gate_up, down] = layer_matrices(config);
        let product = |(op, n, k): (&'static str, u64, u64), moved: u64| Cost {
            op,
            layer: Some(layer),
            bytes: formats.of_matrix(layer, op).bytes(n, k) + rows * moved,
            flops: 2 * rows * n * k,
        };
        // The stream is read and written, and its norm written.
        let residual = 2 * hidden * BF16 + normed;
        costs.push(product(qkv, normed + width * BF16));
        costs.push(Cost {
            op: "rope_append",
            layer: Some(layer),
            bytes: rows * (2 * width * BF16 + heads.dim as u64 * F32),
            flops: rows * 6 * width,
        });
        costs.push(attention(config, load, layer));
        costs.push(product(output, query * BF16 + residual));
        costs.push(product(gate_up, normed + config.intermediate_size as u64 * BF16));
        costs.push(product(down, config.intermediate_size as u64 * BF16 + residual));
    }
    if load.logit_rows > 0 {
        costs.extend(logits(config, formats.head, load.logit_rows as u64));
    }
    costs
}

/// What `rows` rows of a sequence see behind `context` tokens, in a layer with a window or without:
/// pairs of a row and a token that it sees, itself included, and tokens that are read for them.
pub fn seen(window: Option<usize>, context: u64, rows: u64) -> (u64, u64) {
    let window = window.map_or(u64::MAX, |window| window as u64);
    // Rows see all that is before them until the window is full.
    let growing = window.saturating_sub(context).min(rows);
    let full = (rows - growing).checked_mul(window).unwrap_or(0);
    let pairs = growing * context + growing * (growing + 1) / 2 + full;
    (pairs, (context + rows).min(window.saturating_add(rows.saturating_sub(1))))
}

fn attention(config: &ModelConfig, load: StepLoad, layer: usize) -> Cost {
    let heads = config.heads;
    let (rows, context) = (load.rows as u64, load.context as u64);
    let window = config.windows[layer];
    let (pairs, read) = match load.phase {
        // Each row is a sequence's.
        Phase::Decode => {
            let (pairs, read) = seen(window, context, 1);
            (rows * pairs, rows * read)
        }
        Phase::Prefill => seen(window, context, rows),
    };
    let query = (heads.query * heads.dim) as u64;
    Cost {
        op: "attention",
        layer: Some(layer),
        bytes: 2 * rows * query * BF16 + read * 2 * (heads.kv * heads.dim) as u64 * BF16,
        flops: 4 * pairs * query,
    }
}

fn logits(config: &ModelConfig, format: HeadFormat, rows: u64) -> [Cost; 2] {
    let (vocab, hidden) = (config.vocab_size as u64, config.hidden_size as u64);
    let normed = hidden * BF16 + hidden / NORM_GROUP * F32;
    [
        Cost { op: "gather", layer: None, bytes: 2 * rows * normed, flops: 0 },
        Cost {
            op: "head",
            layer: None,
            bytes: format.bytes(vocab, hidden) + rows * (normed + vocab * F32),
            flops: 2 * rows * vocab * hidden,
        },
    ]
}

/// The draw of a token from each row of logits, which is no part of the pass: each logit is read
/// once.
pub fn sample(config: &ModelConfig, rows: usize) -> Cost {
    let logits = rows as u64 * config.vocab_size as u64;
    Cost { op: "sample", layer: None, bytes: logits * F32, flops: 0 }
}
