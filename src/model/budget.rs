//! What a model needs of a device: bytes that it keeps there, and for each op of a step the least
//! bytes that must move and the operations that must be done. The only place that counts either;
//! it sizes nothing by itself, but a table of it stands in every message about missing memory, and
//! every floor is from here.
//!
//! All figures are for the CUDA backend: bf16 weights, activations, keys and values; f32 logits.

use crate::backend::{Backend, PAGE_SIZE, Phase, StepShape};
use crate::error::{Error, Result};
use crate::model::{Limits, ModelConfig};
use std::fmt;

/// Bytes of an element of weights, activations, keys and values.
const BF16: u64 = 2;
/// Bytes of a logit, a partial sum, or a sum of squares.
const F32: u64 = 4;
/// Elements whose squares are summed into one number beside a normed row.
const NORM_GROUP: u64 = 16;

/// What the rows of a step are padded to, at most.
const PADDED_ROWS: usize = 8;

/// Device memory, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    lines: Vec<(&'static str, String, u64)>,
}

impl Budget {
    /// What a decoder of these limits and a KV pool of `pages` take; `scratch_bytes` is what the
    /// backend needs beside (partial sums, plans).
    pub fn new(config: &ModelConfig, limits: Limits, pages: usize, scratch_bytes: u64) -> Budget {
        let weights = weight_elements(config) * BF16;
        let page = page_bytes(config);
        // A decode batch is padded to a size whose launches are recorded.
        let padded = |rows: usize| rows.next_multiple_of(PADDED_ROWS) as u64;
        let (rows, logit_rows) = (padded(limits.rows), padded(limits.logit_rows));
        let heads = config.heads;
        let query = (heads.query * heads.dim) as u64;
        let hidden = config.hidden_size as u64;
        let normed = hidden * BF16 + hidden / NORM_GROUP * F32;
        let plain = hidden + heads.qkv_width() as u64 + 2 * query;
        let row = (plain + config.intermediate_size as u64) * BF16 + normed;
        let logits = normed + config.vocab_size as u64 * F32;
        let angles = (limits.context * heads.dim) as u64 * F32;
        let lines = vec![
            ("weights", format!("{} in bf16", count(weight_elements(config))), weights),
            (
                "KV cache",
                format!("{pages} pages of {PAGE_SIZE} tokens, {} each", size(page)),
                pages as u64 * page,
            ),
            ("activations", format!("{rows} rows"), rows * row),
            ("logits", format!("{logit_rows} rows of {}", config.vocab_size), logit_rows * logits),
            ("rotary angles", format!("{} positions", limits.context), angles),
            ("scratch", "partial sums, plans, block tables".to_string(), scratch_bytes),
        ];
        Budget { lines }
    }

    /// What a decoder of these limits and `pages` pages take on the device.
    ///
    /// # Errors
    /// [`Error::NoKernel`] if it cannot run the model.
    pub fn of<B: Backend>(
        backend: &B,
        config: &ModelConfig,
        limits: Limits,
        pages: usize,
    ) -> Result<Budget> {
        let Limits { rows, logit_rows, sequences, context } = limits;
        let shape = StepShape { rows, logit_rows, sequences, context, heads: config.heads };
        let scratch = backend.scratch_bytes(shape, config.vocab_size, &matrices(config))?;
        Ok(Budget::new(config, limits, pages, scratch))
    }

    /// Whether `pages` pages and a decoder of these limits fit on the device.
    ///
    /// # Errors
    /// [`Error::Device`] with the table if they do not; as [`Budget::of`].
    pub fn check<B: Backend>(
        backend: &B,
        config: &ModelConfig,
        limits: Limits,
        pages: usize,
    ) -> Result<()> {
        let Some(free) = backend.free_bytes()? else { return Ok(()) };
        let budget = Budget::of(backend, config, limits, pages)?;
        match budget.bytes() <= free {
            true => Ok(()),
            false => Err(Error::Device(format!(
                "{} of device memory are free, too little for\n{budget}\nA smaller --context takes \
                 less.",
                size(free)
            ))),
        }
    }

    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.lines.iter().map(|line| line.2).sum()
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, detail, bytes) in &self.lines {
            writeln!(f, "  {what:<14} {:>10}  {detail}", size(*bytes))?;
        }
        write!(f, "  {:<14} {:>10}", "in all", size(self.bytes()))
    }
}

/// Bytes of one page in all layers, keys and values.
pub fn page_bytes(config: &ModelConfig) -> u64 {
    let heads = config.heads;
    (2 * config.layers * heads.kv * PAGE_SIZE * heads.dim) as u64 * BF16
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

fn count(elements: u64) -> String {
    let (value, unit) = match elements as f64 {
        n if n < 1e6 => (n / 1e3, "thousand"),
        n if n < 1e9 => (n / 1e6, "million"),
        n => (n / 1e9, "billion"),
    };
    format!("{value:.2} {unit}")
}

/// The matrices of a layer: name, rows, columns.
fn layer_matrices(config: &ModelConfig) -> [(&'static str, u64, u64); 4] {
    let heads = config.heads;
    let (hidden, inner) = (config.hidden_size as u64, config.intermediate_size as u64);
    let query = (heads.query * heads.dim) as u64;
    [
        ("qkv", heads.qkv_width() as u64, hidden),
        ("output", hidden, query),
        ("gate_up", 2 * inner, hidden),
        ("down", hidden, inner),
    ]
}

/// `(n, k)` of the matrices of a model, each shape once.
fn matrices(config: &ModelConfig) -> Vec<(usize, usize)> {
    let mut shapes: Vec<(usize, usize)> =
        layer_matrices(config).iter().map(|&(_, n, k)| (n as usize, k as usize)).collect();
    shapes.push((config.vocab_size, config.hidden_size));
    shapes
}

fn weight_elements(config: &ModelConfig) -> u64 {
    let (vocab, hidden) = (config.vocab_size as u64, config.hidden_size as u64);
    let layer: u64 = layer_matrices(config).iter().map(|(_, n, k)| n * k).sum();
    let heads = config.heads;
    let small = 2 * hidden
        + if config.qkv_bias { heads.qkv_width() as u64 } else { 0 }
        + if config.qk_norm { 2 * heads.dim as u64 } else { 0 };
    let tables = if config.tied { 1 } else { 2 };
    tables * vocab * hidden + config.layers as u64 * (layer + small) + hidden
}

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

/// The ops of a step in the order in which they run.
pub fn step(config: &ModelConfig, load: StepLoad) -> Vec<Cost> {
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
            bytes: n * k * BF16 + rows * moved,
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
        costs.extend(logits(config, load.logit_rows as u64));
    }
    costs
}

fn attention(config: &ModelConfig, load: StepLoad, layer: usize) -> Cost {
    let heads = config.heads;
    let (rows, context) = (load.rows as u64, load.context as u64);
    let window = config.windows[layer].map_or(u64::MAX, |w| w as u64);
    // Tokens that a row sees, over all rows, and tokens that must be read.
    let (pairs, read) = match load.phase {
        Phase::Decode => {
            let seen = (context + 1).min(window);
            (rows * seen, rows * seen)
        }
        Phase::Prefill => {
            let seen = |row: u64| (context + row + 1).min(window);
            ((0..rows).map(seen).sum(), (context + rows).min(window.saturating_add(rows - 1)))
        }
    };
    let query = (heads.query * heads.dim) as u64;
    Cost {
        op: "attention",
        layer: Some(layer),
        bytes: 2 * rows * query * BF16 + read * 2 * (heads.kv * heads.dim) as u64 * BF16,
        flops: 4 * pairs * query,
    }
}

fn logits(config: &ModelConfig, rows: u64) -> [Cost; 2] {
    let (vocab, hidden) = (config.vocab_size as u64, config.hidden_size as u64);
    let normed = hidden * BF16 + hidden / NORM_GROUP * F32;
    [
        Cost { op: "gather", layer: None, bytes: 2 * rows * normed, flops: 0 },
        Cost {
            op: "head",
            layer: None,
            bytes: vocab * hidden * BF16 + rows * (normed + vocab * F32),
            flops: 2 * rows * vocab * hidden,
        },
    ]
}
