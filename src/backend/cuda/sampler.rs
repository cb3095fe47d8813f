//! What stands beside a tensor of logits: room for the parameters of its rows, for the work of the
//! kernels that draw, and for what they drew.

use super::driver::{DevicePtr, Driver};
use super::kernels::Kernels;
use super::memory::Buffer;
use super::ops::sample::{self, Sample, SampleInputs};
use super::ops::selection::{SelectionSizes, SelectionWorkspace};
use super::store::Rows;
use crate::backend::SampleRow;
use crate::error::Result;
use crate::request::TokenId;
use std::sync::Arc;

/// Draws tokens from rows of logits.
pub(super) struct Sampler {
    vocab: usize,
    inputs: Buffer,
    states: Buffer,
    bins: Buffer,
    candidates: Buffer,
    /// Tokens, then statuses, `[2, rows]`.
    drawn: Buffer,
}

impl Sampler {
    /// For `rows` rows of `vocab` logits and histories of at most `context` tokens.
    pub(super) fn new(
        driver: &Arc<dyn Driver>,
        rows: usize,
        vocab: usize,
        context: usize,
    ) -> Result<Sampler> {
        let sizes = SelectionSizes { rows, vocab };
        Ok(Sampler {
            vocab,
            inputs: Buffer::new(driver, SampleInputs::bytes_max(rows, vocab, context))?,
            states: Buffer::zeroed(driver, sizes.state_bytes())?,
            bins: Buffer::zeroed(driver, sizes.bin_bytes())?,
            candidates: Buffer::new(driver, sizes.candidate_bytes())?,
            drawn: Buffer::new(driver, drawn_bytes(rows))?,
        })
    }

    /// Bytes that it takes.
    pub(super) fn bytes(rows: usize, vocab: usize, context: usize) -> u64 {
        let sizes = SelectionSizes { rows, vocab };
        let inputs = SampleInputs::bytes_max(rows, vocab, context);
        let work = sizes.state_bytes() + sizes.bin_bytes() + sizes.candidate_bytes();
        inputs + work + drawn_bytes(rows)
    }

    fn workspace(&self) -> SelectionWorkspace {
        SelectionWorkspace {
            states: self.states.ptr(),
            bins: self.bins.ptr(),
            candidates: self.candidates.ptr(),
        }
    }

    /// Draws a token from each of the first `rows` rows of `logits`; the rows after them are pads.
    pub(super) fn sample(
        &self,
        kernels: &Kernels,
        logits: DevicePtr,
        all: Rows,
        rows: &[SampleRow<'_>],
    ) -> Result<Vec<TokenId>> {
        assert_eq!(rows.len(), all.valid, "draws from {} rows of logits", all.valid);
        let inputs = SampleInputs::new(rows, all.padded, self.vocab);
        self.inputs.write(&inputs.bytes)?;
        sample::sample(
            kernels,
            &Sample {
                logits,
                inputs: self.inputs.ptr(),
                workspace: self.workspace(),
                tokens: self.drawn.ptr(),
                status: self.drawn.ptr() + 4 * all.padded as u64,
                rows: all.padded as u32,
                vocab: self.vocab as u32,
                stride: self.vocab as u32,
                filters: inputs.filters,
            },
        )?;
        let drawn = self.drawn.read::<u32>(2 * all.padded)?;
        let (tokens, status) = drawn.split_at(all.padded);
        sample::check_status(&status[..all.valid], self.vocab)?;
        Ok(tokens[..all.valid].iter().map(|token| TokenId(*token)).collect())
    }
}

fn drawn_bytes(rows: usize) -> u64 {
    2 * 4 * rows as u64
}
