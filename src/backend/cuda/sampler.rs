//! What stands beside a tensor of logits: room for the parameters of its rows, for the work of the
//! kernels that draw and rank, and for what they found. Logits stay on the device.

use super::driver::{DevicePtr, Driver};
use super::kernels::Kernels;
use super::memory::Buffer;
use super::ops::logprobs::{self, Logprobs, LogprobsOut};
use super::ops::sample::{self, Sample, SampleInputs};
use super::ops::selection::{SelectionSizes, SelectionWorkspace};
use super::params::LOGPROBS_TOP_MAX;
use super::store::Rows;
use crate::backend::{SampleRow, Sampled};
use crate::error::Result;
use crate::request::{TokenId, TokenLogprobs};
use std::sync::Arc;

/// The width of a row of most probable tokens.
const TOP: usize = LOGPROBS_TOP_MAX as usize;

/// Draws tokens from rows of logits, and tells their log-probabilities.
pub(super) struct Sampler {
    vocab: usize,
    inputs: Buffer,
    states: Buffer,
    bins: Buffer,
    candidates: Buffer,
    /// Tokens, then statuses, `[2, rows]`.
    drawn: Buffer,
    /// How many of the most probable tokens each row wants, `[rows]`.
    tops: Buffer,
    /// Log-probabilities of the tokens, then how many of the most probable there are, `[2, rows]`.
    ranked: Buffer,
    /// The most probable tokens, then their log-probabilities, `[2, rows, TOP]`.
    best: Buffer,
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
            drawn: Buffer::new(driver, words(2 * rows))?,
            tops: Buffer::new(driver, words(rows))?,
            ranked: Buffer::new(driver, words(2 * rows))?,
            best: Buffer::new(driver, words(2 * rows * TOP))?,
        })
    }

    /// Bytes that it takes.
    pub(super) fn bytes(rows: usize, vocab: usize, context: usize) -> u64 {
        let sizes = SelectionSizes { rows, vocab };
        let inputs = SampleInputs::bytes_max(rows, vocab, context);
        let work = sizes.state_bytes() + sizes.bin_bytes() + sizes.candidate_bytes();
        inputs + work + words(rows * (2 + 1 + 2 + 2 * TOP))
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
    ) -> Result<Vec<Sampled>> {
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
                status: self.drawn.ptr() + words(all.padded),
                rows: all.padded as u32,
                vocab: self.vocab as u32,
                stride: self.vocab as u32,
                filters: inputs.filters,
            },
        )?;
        let tops: Vec<Option<u32>> = rows.iter().map(|row| row.params.logprobs).collect();
        let logprobs = match tops.iter().any(Option::is_some) {
            true => self.rank(kernels, logits, all, &tops)?,
            false => vec![None; all.valid],
        };
        let drawn = self.drawn.read::<u32>(2 * all.padded)?;
        let (tokens, status) = drawn.split_at(all.padded);
        sample::check_status(&status[..all.valid], self.vocab)?;
        let tokens = tokens.iter().map(|token| TokenId(*token));
        Ok(tokens.zip(logprobs).map(|(token, logprobs)| Sampled { token, logprobs }).collect())
    }

    /// The log-probability of a token of each row.
    pub(super) fn log_probs(
        &self,
        kernels: &Kernels,
        logits: DevicePtr,
        all: Rows,
        targets: &[TokenId],
    ) -> Result<Vec<f32>> {
        assert!(targets.len() <= all.valid, "{} targets, {} rows", targets.len(), all.valid);
        let known = targets.iter().all(|target| target.index() < self.vocab);
        assert!(known, "targets of a vocabulary of {}: {targets:?}", self.vocab);
        self.drawn.write(&targets.iter().map(|target| target.0).collect::<Vec<u32>>())?;
        let found = self.rank(kernels, logits, all, &vec![Some(0); targets.len()])?;
        Ok(found.into_iter().flatten().map(|found| found.logprob).collect())
    }

    /// The log-probabilities of the tokens in `drawn`, and of as many others as `tops` says of the
    /// first rows. Nothing is wanted of rows after those.
    fn rank(
        &self,
        kernels: &Kernels,
        logits: DevicePtr,
        all: Rows,
        tops: &[Option<u32>],
    ) -> Result<Vec<Option<TokenLogprobs>>> {
        let mut padded = tops.to_vec();
        padded.resize(all.padded, None);
        self.tops.write(&logprobs::encode_tops(&padded))?;
        let (ranked, best) = (self.ranked.ptr(), self.best.ptr());
        logprobs::logprobs(
            kernels,
            &Logprobs {
                logits,
                tokens: self.drawn.ptr(),
                tops: self.tops.ptr(),
                workspace: self.workspace(),
                out: LogprobsOut {
                    logprobs: ranked,
                    top_counts: ranked + words(all.padded),
                    top_tokens: best,
                    top_logprobs: best + words(all.padded * TOP),
                },
                rows: all.padded as u32,
                vocab: self.vocab as u32,
                stride: self.vocab as u32,
            },
        )?;
        let ranked = self.ranked.read::<u32>(2 * all.padded)?;
        let (own, counts) = ranked.split_at(all.padded);
        // The kernel writes as many as there are, and only these may be looked at.
        let has_best = tops.iter().any(|top| top.is_some_and(|top| top > 0));
        let best = if has_best { self.best.read::<u32>(2 * all.padded * TOP)? } else { Vec::new() };
        let (tokens, values) = best.split_at(best.len() / 2);
        let row = |(index, top): (usize, &Option<u32>)| {
            top.map(|_| {
                let at = if has_best { index * TOP..(index + 1) * TOP } else { 0..0 };
                let values: Vec<f32> =
                    values[at.clone()].iter().map(|bits| f32::from_bits(*bits)).collect();
                let own = f32::from_bits(own[index]);
                logprobs::decode(own, counts[index], &tokens[at], &values)
            })
        };
        Ok(tops.iter().enumerate().map(row).collect())
    }
}

/// Bytes of so many numbers of 32 bits.
fn words(count: usize) -> u64 {
    4 * count as u64
}
