//! Log-probabilities on the device: what [`crate::sample::logprobs`] defines, bit for bit.

use super::check;
use super::selection::{self, SelectionWorkspace};
use crate::backend::cuda::driver::DevicePtr;
use crate::backend::cuda::kernels::Kernels;
use crate::backend::cuda::params::{LOGPROBS_SKIP, LOGPROBS_TOP_MAX, LogprobsParams};
use crate::error::Result;
use crate::request::{LOGPROBS_MAX, TokenId, TokenLogprobs};

const _: () = assert!(LOGPROBS_TOP_MAX == LOGPROBS_MAX, "a row has room for what may be asked");

/// Where the results of [`logprobs`] go.
#[derive(Debug, Clone, Copy)]
pub struct LogprobsOut {
    /// Of each row's token, f32 `[rows]`.
    pub logprobs: DevicePtr,
    /// How many of the most probable tokens there are, u32 `[rows]`.
    pub top_counts: DevicePtr,
    /// The most probable tokens, u32 `[rows, LOGPROBS_TOP_MAX]`.
    pub top_tokens: DevicePtr,
    /// Their log-probabilities, f32 `[rows, LOGPROBS_TOP_MAX]`.
    pub top_logprobs: DevicePtr,
}

/// Operands of [`logprobs`].
#[derive(Debug, Clone, Copy)]
pub struct Logprobs {
    /// f32 `[rows, stride]`, of which `vocab` columns are logits.
    pub logits: DevicePtr,
    /// The token of each row, u32 `[rows]`, such as the draw has written. One at or above `vocab`
    /// stops the kernel: [`crate::error::Error::Device`] of a later call.
    pub tokens: DevicePtr,
    /// What [`encode_tops`] made, u32 `[rows]`; read when the launches run.
    pub tops: DevicePtr,
    /// For as many rows and this vocabulary.
    pub workspace: SelectionWorkspace,
    /// Nothing is written for rows that want nothing.
    pub out: LogprobsOut,
    /// Rows of logits.
    pub rows: u32,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// Elements from a row of logits to the next, at least `vocab`.
    pub stride: u32,
}

/// How many of the most probable tokens each row wants besides its own; `None` wants nothing.
///
/// # Panics
/// If a row wants more than [`LOGPROBS_MAX`].
pub fn encode_tops(tops: &[Option<u32>]) -> Vec<u32> {
    let most = LOGPROBS_MAX;
    let encode = |top: &Option<u32>| {
        let top = top.unwrap_or(LOGPROBS_SKIP);
        assert!(top <= most || top == LOGPROBS_SKIP, "{top} log-probabilities, at most {most}");
        top
    };
    tops.iter().map(encode).collect()
}

/// The log-probability of a token of each row, and the most probable tokens with theirs. A row that
/// [`crate::sample::draw`] refuses has NaN and no tokens.
///
/// # Errors
/// [`crate::error::Error::Device`] if the device fails.
///
/// # Panics
/// If an address is null or not aligned, or the vocabulary is empty or above 2^23.
pub fn logprobs(kernels: &Kernels, op: &Logprobs) -> Result<()> {
    let LogprobsOut { logprobs, top_counts, top_tokens, top_logprobs } = op.out;
    for (what, at) in [
        ("logits", op.logits),
        ("tokens", op.tokens),
        ("tops", op.tops),
        ("logprobs", logprobs),
        ("top_counts", top_counts),
        ("top_tokens", top_tokens),
        ("top_logprobs", top_logprobs),
    ] {
        check::demand(check::words(what, at));
    }
    check::demand(op.workspace.check());
    assert!(op.stride >= op.vocab, "rows of {} elements for {} tokens", op.stride, op.vocab);
    let (shape, tiles_per_block) = selection::grid(kernels, op.rows, op.vocab);
    let params = LogprobsParams {
        logits: op.logits,
        tokens: op.tokens,
        tops: op.tops,
        states: op.workspace.states,
        bins: op.workspace.bins,
        candidates: op.workspace.candidates,
        logprobs,
        top_counts,
        top_tokens,
        top_logprobs,
        row_count: op.rows,
        vocab: op.vocab,
        stride: op.stride,
        tiles_per_block,
    };
    kernels.launch("logprobs_scan_f32", shape, &params)?;
    kernels.launch("logprobs_choose_f32", shape, &params)
}

/// One row of what [`logprobs`] has written: its log-probability and count, and the rows of
/// `top_tokens` and `top_logprobs`.
pub fn decode(logprob: f32, count: u32, tokens: &[u32], logprobs: &[f32]) -> TokenLogprobs {
    let pairs = tokens.iter().map(|token| TokenId(*token)).zip(logprobs.iter().copied());
    TokenLogprobs { logprob, top: pairs.take(count as usize).collect() }
}
