//! What fits into a device's memory: the ledger of a load, and the largest load.

use super::{Budget, Formats};
use crate::backend::PAGE_SIZE;
use crate::error::Result;
use crate::model::{Limits, ModelConfig};

/// More sequences than any engine runs at a time.
pub const BATCH_MAX: usize = 1 << 14;

/// So many sequences at a time, each with so many tokens of prompt and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Sequences.
    pub batch: usize,
    /// Tokens of each.
    pub context: usize,
}

/// A model in given formats on a device of given memory.
pub struct Fit<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// Its weights' formats.
    pub formats: &'a Formats,
    /// Prompt tokens of a step.
    pub prefill_tokens: usize,
    /// Memory that the engine may use.
    pub memory_bytes: u64,
    /// What the backend needs beside; see [`super::scratch_bytes`].
    pub scratch: &'a dyn Fn(Limits) -> Result<u64>,
}

impl Fit<'_> {
    /// The uses of memory under `load`, with room for every token of every sequence.
    ///
    /// # Errors
    /// Those of the backend.
    pub fn ledger(&self, load: Load) -> Result<Budget> {
        let Load { batch, context } = load;
        let rows = self.prefill_tokens.max(batch);
        let limits = Limits { rows, logit_rows: batch, sequences: batch, context };
        let pages = batch * context.div_ceil(PAGE_SIZE);
        let scratch = (self.scratch)(limits)?;
        Ok(Budget::in_formats(self.config, self.formats, limits, pages, scratch))
    }

    /// Whether `load` fits.
    ///
    /// # Errors
    /// As [`Fit::ledger`].
    pub fn fits(&self, load: Load) -> Result<bool> {
        Ok(self.ledger(load)?.bytes() <= self.memory_bytes)
    }

    /// The most sequences of `context` tokens that fit, at most [`BATCH_MAX`]; 0 if not even one
    /// does.
    ///
    /// # Errors
    /// As [`Fit::ledger`].
    pub fn largest_batch(&self, context: usize) -> Result<usize> {
        largest(BATCH_MAX, |batch| self.fits(Load { batch, context }))
    }

    /// The most tokens of each of `batch` sequences that fit, at most the model's context; 0 if
    /// there is no room for any.
    ///
    /// # Errors
    /// As [`Fit::ledger`].
    pub fn largest_context(&self, batch: usize) -> Result<usize> {
        largest(self.config.context, |context| self.fits(Load { batch, context }))
    }
}

/// The largest of 1 to `most` for which `holds`, which no larger number does once one does not;
/// 0 if it holds for none.
fn largest(most: usize, holds: impl Fn(usize) -> Result<bool>) -> Result<usize> {
    // It holds at `low`, if that is not 0, and nowhere above `high`.
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        match holds(middle)? {
            true => low = middle,
            false => high = middle - 1,
        }
    }
    Ok(low)
}
