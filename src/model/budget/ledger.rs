//! Device memory, line by line.

use super::{BF16, F32, Formats, NORM_GROUP, matrices, page_bytes, parameters, size, weight_bytes};
use crate::backend::{Backend, PAGE_SIZE, StepShape};
use crate::error::{Error, Result};
use crate::model::{Limits, ModelConfig};
use std::fmt;

/// What the rows of a step are padded to, at most.
const PADDED_ROWS: usize = 8;

/// Device memory, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    lines: Vec<Line>,
}

/// A use of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its name.
    pub what: &'static str,
    /// What its size follows from.
    pub detail: String,
    /// Its size.
    pub bytes: u64,
}

impl Budget {
    /// What a decoder of these limits with bf16 weights and a KV pool of `pages` take;
    /// `scratch_bytes` is what the backend needs beside (partial sums, plans).
    pub fn new(config: &ModelConfig, limits: Limits, pages: usize, scratch_bytes: u64) -> Budget {
        Budget::in_formats(config, &Formats::default(), limits, pages, scratch_bytes)
    }

    /// The same with weights of other formats.
    pub fn in_formats(
        config: &ModelConfig,
        formats: &Formats,
        limits: Limits,
        pages: usize,
        scratch_bytes: u64,
    ) -> Budget {
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
        let line = |what, detail, bytes| Line { what, detail, bytes };
        let lines = vec![
            line(
                "weights",
                format!("{} in {formats}", count(parameters(config))),
                weight_bytes(config, formats),
            ),
            line(
                "KV cache",
                format!("{pages} pages of {PAGE_SIZE} tokens, {} each", size(page)),
                pages as u64 * page,
            ),
            line("activations", format!("{rows} rows"), rows * row),
            line(
                "logits",
                format!("{logit_rows} rows of {}", config.vocab_size),
                logit_rows * logits,
            ),
            line("rotary angles", format!("{} positions", limits.context), angles),
            line("scratch", "partial sums, plans, block tables".to_string(), scratch_bytes),
        ];
        Budget { lines }
    }

    /// What a decoder of these limits, weights of `formats`, and `pages` pages take on the device.
    ///
    /// # Errors
    /// [`Error::NoKernel`] if it cannot run the model.
    pub fn of<B: Backend>(
        backend: &B,
        config: &ModelConfig,
        formats: &Formats,
        limits: Limits,
        pages: usize,
    ) -> Result<Budget> {
        let scratch = scratch_bytes(backend, config, limits)?;
        Ok(Budget::in_formats(config, formats, limits, pages, scratch))
    }

    /// Whether `pages` pages and a decoder of these limits fit on the device.
    ///
    /// # Errors
    /// [`Error::Device`] with the table if they do not; as [`Budget::of`].
    pub fn check<B: Backend>(
        backend: &B,
        config: &ModelConfig,
        formats: &Formats,
        limits: Limits,
        pages: usize,
    ) -> Result<()> {
        let Some(free) = backend.free_bytes()? else { return Ok(()) };
        let budget = Budget::of(backend, config, formats, limits, pages)?;
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
        self.lines.iter().map(|line| line.bytes).sum()
    }

    /// The uses one by one.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { what, detail, bytes } in &self.lines {
            writeln!(f, "  {what:<14} {:>10}  {detail}", size(*bytes))?;
        }
        write!(f, "  {:<14} {:>10}", "in all", size(self.bytes()))
    }
}

/// What a backend needs for a decoder of these limits beside weights, pages and activations.
///
/// # Errors
/// [`Error::NoKernel`] if it cannot run the model.
pub fn scratch_bytes<B: Backend>(backend: &B, config: &ModelConfig, limits: Limits) -> Result<u64> {
    let Limits { rows, logit_rows, sequences, context } = limits;
    let shape = StepShape { rows, logit_rows, sequences, context, heads: config.heads };
    backend.scratch_bytes(shape, config.vocab_size, &matrices(config))
}

fn count(elements: u64) -> String {
    let (value, unit) = match elements as f64 {
        n if n < 1e6 => (n / 1e3, "thousand"),
        n if n < 1e9 => (n / 1e6, "million"),
        n => (n / 1e9, "billion"),
    };
    format!("{value:.2} {unit}")
}
