//! What the passes of a phase must at least have moved and computed, from the engine's counters and
//! the costs of `model/budget`; and the time that a device of given ceilings would need for it.

use crate::backend::Phase;
use crate::engine::PhaseStats;
use crate::model::ModelConfig;
use crate::model::budget::{self, Formats, StepLoad};
use crate::model::gpu::Gpu;

/// What is computed with.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// The formats of its weights.
    pub formats: &'a Formats,
}

/// The work of one op in all passes of a phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// The op.
    pub op: &'static str,
    /// Bytes moved.
    pub bytes: f64,
    /// Floating-point operations.
    pub flops: f64,
}

/// Costs of a step grow by the same for each row, each pair of a row and a token it sees, and each
/// row of logits; so a few steps tell what any number of passes cost. `running` is the most rows of
/// logits that one pass may have had.
pub fn work(model: Model<'_>, phase: Phase, stats: &PhaseStats, running: usize) -> Vec<Work> {
    // Layers differ in their windows only, which the counters have in them: each pair and each
    // token that is read costs what it does in any layer.
    let layers = model.config.layers as f64;
    let rows = stats.rows as f64;
    let [pairs, read] = [stats.pairs, stats.context_tokens].map(|n| n as f64 / layers);
    let passes = stats.passes as f64;
    let logit_rows = stats.logit_rows as f64;
    // Not every pass of a prefill ends a prompt: the head is read as seldom as can be.
    let logit_passes = match phase {
        Phase::Decode => passes,
        Phase::Prefill => (logit_rows / running.max(1) as f64).ceil(),
    };
    let one = totals(model, 1, 0);
    let two = totals(model, 2, 0);
    let longer = totals(model, 1, 1);
    let each = one.iter().zip(&two).zip(&longer);
    each.map(|((one, two), longer)| {
        let (row, pair) = (two.less(one), longer.less(one));
        let [bytes, flops] = match one.op {
            "attention" => [
                rows * (row.bytes - pair.bytes) + read * pair.bytes,
                rows * (row.flops - pair.flops) + pairs * pair.flops,
            ],
            "gather" | "head" => [
                logit_passes * (one.bytes - row.bytes) + logit_rows * row.bytes,
                logit_passes * (one.flops - row.flops) + logit_rows * row.flops,
            ],
            _ => [
                passes * (one.bytes - row.bytes) + rows * row.bytes,
                passes * (one.flops - row.flops) + rows * row.flops,
            ],
        };
        Work { op: one.op, bytes, flops }
    })
    .collect()
}

/// The operations of attention for one pair of a row and a token that it sees, in all layers.
pub fn flops_of_pair(model: Model<'_>) -> f64 {
    let [one, longer] = [0, 1].map(|context| totals(model, 1, context));
    let pairs = one.iter().zip(&longer).map(|(one, longer)| longer.less(one).flops);
    pairs.sum()
}

/// The least time for so much work, op by op.
pub fn floor_s(work: &[Work], gpu: &Gpu) -> f64 {
    let each = |work: &Work| (work.bytes / gpu.bytes_per_s).max(work.flops / gpu.flops_per_s);
    work.iter().map(each).sum()
}

impl Work {
    fn less(&self, other: &Work) -> Work {
        let (bytes, flops) = (self.bytes - other.bytes, self.flops - other.flops);
        Work { op: self.op, bytes, flops }
    }
}

/// The ops of a decode step, each summed over the layers.
fn totals(model: Model<'_>, rows: usize, context: usize) -> Vec<Work> {
    let load = StepLoad { phase: Phase::Decode, rows, context, logit_rows: rows };
    let mut totals: Vec<Work> = Vec::new();
    for cost in budget::step_in(model.config, model.formats, load) {
        let (op, bytes, flops) = (cost.op, cost.bytes as f64, cost.flops as f64);
        match totals.iter_mut().find(|total| total.op == op) {
            Some(total) => (total.bytes, total.flops) = (total.bytes + bytes, total.flops + flops),
            None => totals.push(Work { op, bytes, flops }),
        }
    }
    totals
}
