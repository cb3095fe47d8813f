//! Drawing tokens on the device: what [`crate::sample`] defines, bit for bit. The host turns each
//! row's parameters and history into a few words ([`SampleInputs`]), which are copied to the
//! device; the launches after it may be recorded in a graph.

use super::check::{self, Checked};
use super::selection::{self, SelectionWorkspace};
use crate::backend::SampleRow;
use crate::backend::cuda::driver::DevicePtr;
use crate::backend::cuda::kernels::Kernels;
use crate::backend::cuda::params::{
    ADJUST_BIAS, ADJUST_REPETITION, SAMPLE_ADJUST, SAMPLE_DRAW, SAMPLE_FILTER, SAMPLE_INFINITY,
    SAMPLE_NAN, SAMPLE_NO_TOKEN, SAMPLE_OK, SAMPLE_SKIP, SAMPLE_TILE, SAMPLE_TOP_P_BITS,
    SampleAdjustment, SampleParams, SampleRowParams,
};
use crate::error::{Error, Result};
use crate::request::{LOGIT_BIAS_MAX, SamplingParams, TokenId};
use crate::sample::math::WEIGHT_ONE;

/// Bits of a status that hold a token.
const STATUS_TOKEN: u32 = (1 << 24) - 1;

/// What the device is told of a batch of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleInputs {
    /// What [`Sample::inputs`] points at.
    pub bytes: Vec<u8>,
    /// Whether a row has top-k, top-p or min-p, and so needs the second launch.
    pub filters: bool,
}

impl SampleInputs {
    /// Encodes `rows`, whose parameters are valid for `vocab`; rows up to `padded` are added, which
    /// are left alone: their token is 0.
    pub fn new(rows: &[SampleRow<'_>], padded: usize, vocab: usize) -> SampleInputs {
        assert!(rows.len() <= padded, "{} rows padded to {padded}", rows.len());
        let skipped = SampleRowParams { flags: SAMPLE_SKIP, ..bytemuck::Zeroable::zeroed() };
        let mut all = vec![skipped; padded];
        let mut lists: Vec<u8> = Vec::new();
        let start = std::mem::size_of_val(&all[..]);
        for (encoded, row) in all.iter_mut().zip(rows) {
            *encoded = encode(row, vocab);
            let adjustments = adjustments(row);
            if adjustments.is_empty() {
                continue;
            }
            encoded.flags |= SAMPLE_ADJUST;
            encoded.tiles = (start + lists.len()) as u64;
            lists.extend(bytemuck::cast_slice::<u32, u8>(&tile_starts(&adjustments, vocab)));
            encoded.adjustments = (start + lists.len()) as u64;
            lists.extend(bytemuck::cast_slice::<_, u8>(&adjustments));
        }
        let filters = all.iter().any(|row| row.flags & SAMPLE_FILTER != 0);
        SampleInputs { bytes: [bytemuck::cast_slice(&all), &lists[..]].concat(), filters }
    }

    /// The most bytes that `rows` rows with histories of at most `context` tokens can have.
    pub fn bytes_max(rows: usize, vocab: usize, context: usize) -> u64 {
        let adjustments = vocab.min(context + LOGIT_BIAS_MAX) * size_of::<SampleAdjustment>();
        let starts = (selection::tiles(vocab) + 1) * size_of::<u32>();
        (rows * (size_of::<SampleRowParams>() + starts + adjustments)) as u64
    }
}

fn encode(row: &SampleRow<'_>, vocab: usize) -> SampleRowParams {
    let params = row.params;
    let top_p = (f64::from(params.top_p) * (1u64 << SAMPLE_TOP_P_BITS) as f64).ceil() as u64;
    let top_k = if (params.top_k as usize) < vocab { params.top_k } else { 0 };
    // Exact, as in the definition.
    let min_weight = (params.min_p * WEIGHT_ONE as f32).ceil() as u64;
    let filter = top_k > 0 || params.top_p < 1.0 || params.min_p > 0.0;
    let flags = match (params.temperature > 0.0, filter) {
        (false, _) => 0,
        (true, false) => SAMPLE_DRAW,
        (true, true) => SAMPLE_DRAW | SAMPLE_FILTER,
    };
    SampleRowParams {
        seed: params.seed,
        top_p,
        min_weight,
        tiles: 0,
        adjustments: 0,
        temperature: params.temperature,
        reach: reach(params, top_k, min_weight),
        top_k,
        position: u32::try_from(row.history.len()).expect("positions are below 2^32"),
        repetition: params.repetition_penalty,
        frequency: params.frequency_penalty,
        presence: params.presence_penalty,
        flags,
    }
}

/// How far below the largest value min-p can leave a token. Where top-p weighs what top-k left, the
/// lightest of these tokens count too, and there is no such bound.
fn reach(params: &SamplingParams, top_k: u32, min_weight: u64) -> f32 {
    if min_weight == 0 || (top_k > 0 && params.top_p < 1.0) {
        return f32::NEG_INFINITY;
    }
    // The lightest token that rounds to the weight, and a thousandth more: far more than
    // exponentials err.
    let lightest = (min_weight as f64 - 0.5) / WEIGHT_ONE as f64;
    (lightest.ln() - 1e-3) as f32
}

/// What is done to single logits, by ascending token.
fn adjustments(row: &SampleRow<'_>) -> Vec<SampleAdjustment> {
    let params = row.params;
    let mut list = Vec::new();
    let off = SamplingParams::default();
    let penalties =
        |p: &SamplingParams| (p.repetition_penalty, p.frequency_penalty, p.presence_penalty);
    if penalties(params) != penalties(&off) {
        // One sort by token, where what stands in the output comes after what stands in the prompt.
        let order = |(at, token): (usize, &TokenId)| {
            u64::from(token.0) << 1 | u64::from(at >= row.prompt_len)
        };
        let mut tokens: Vec<u64> = row.history.iter().enumerate().map(order).collect();
        tokens.sort_unstable();
        list.extend(tokens.chunk_by(|a, b| a >> 1 == b >> 1).map(|same| SampleAdjustment {
            token: (same[0] >> 1) as u32,
            flags: ADJUST_REPETITION,
            output_count: same.iter().filter(|t| *t & 1 == 1).count() as u32,
            bias: 0.0,
        }));
    }
    let mut bias = params.logit_bias.clone();
    // Stable: entries of one token keep their order, in which they are added.
    bias.sort_by_key(|&(token, _)| token);
    list.extend(bias.chunk_by(|a, b| a.0 == b.0).map(|same| SampleAdjustment {
        token: same[0].0.0,
        flags: ADJUST_BIAS,
        output_count: 0,
        bias: same[1..].iter().fold(same[0].1, |sum, &(_, bias)| sum + bias),
    }));
    list.sort_by_key(|a| a.token);
    // A token has at most one entry of each kind.
    list.dedup_by(|second, first| {
        let same = second.token == first.token;
        if same {
            first.flags |= second.flags;
            first.bias = second.bias;
        }
        same
    });
    list
}

/// Where the adjustments of each tile begin, and where the last end.
fn tile_starts(adjustments: &[SampleAdjustment], vocab: usize) -> Vec<u32> {
    let ends = (0..=selection::tiles(vocab)).map(|tile| tile * SAMPLE_TILE as usize);
    ends.map(|end| adjustments.partition_point(|a| (a.token as usize) < end) as u32).collect()
}

/// Operands of [`sample`].
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// f32 `[rows, stride]`, of which `vocab` columns are logits.
    pub logits: DevicePtr,
    /// [`SampleInputs::bytes`] of as many rows; read when the launches run.
    pub inputs: DevicePtr,
    /// For as many rows and this vocabulary.
    pub workspace: SelectionWorkspace,
    /// Drawn tokens, u32 `[rows]`, written whole; 0 for rows that are padding or faulty.
    pub tokens: DevicePtr,
    /// What [`check_status`] reads, u32 `[rows]`, written whole.
    pub status: DevicePtr,
    /// Rows of logits.
    pub rows: u32,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// Elements from a row of logits to the next, at least `vocab`. Rows are read fastest if it is
    /// a multiple of 4 and `logits` is aligned to 16 bytes.
    pub stride: u32,
    /// Whether any row may have filters ([`SampleInputs::filters`]). A graph for inputs to come
    /// says yes; without it a row with filters has no token.
    pub filters: bool,
}

impl Sample {
    /// Whether [`sample`] takes it.
    pub fn check(&self) -> Checked {
        check::words("logits", self.logits)?;
        check::vectors("inputs", self.inputs)?;
        check::words("tokens", self.tokens)?;
        check::words("status", self.status)?;
        self.workspace.check()?;
        selection::check_vocab(self.vocab as usize)?;
        check::ensure(self.stride >= self.vocab, || {
            format!("rows of {} elements for {} tokens", self.stride, self.vocab)
        })
    }
}

/// Draws one token from each row: one launch, and another for rows with filters.
///
/// # Errors
/// [`crate::error::Error::Device`] if the device fails.
///
/// # Panics
/// If an address is null or not aligned, or the vocabulary is empty or above 2^23.
pub fn sample(kernels: &Kernels, op: &Sample) -> Result<()> {
    check::demand(op.check());
    let (shape, tiles_per_block) = selection::grid(kernels, op.rows, op.vocab);
    let params = SampleParams {
        logits: op.logits,
        rows: op.inputs,
        states: op.workspace.states,
        bins: op.workspace.bins,
        candidates: op.workspace.candidates,
        tokens: op.tokens,
        status: op.status,
        row_count: op.rows,
        vocab: op.vocab,
        stride: op.stride,
        tiles_per_block,
    };
    kernels.launch("sample_scan_f32", shape, &params)?;
    match op.filters {
        true => kernels.launch("sample_choose_f32", shape, &params),
        false => Ok(()),
    }
}

/// Whether every row could be drawn from.
///
/// # Errors
/// [`Error::Device`] of the first row that could not, as [`crate::sample::draw`] has it, or of one
/// whose status no kernel wrote.
pub fn check_status(status: &[u32], vocab: usize) -> Result<()> {
    let Some(status) = status.iter().find(|status| **status != SAMPLE_OK) else {
        return Ok(());
    };
    let token = status & STATUS_TOKEN;
    let value = match status & !STATUS_TOKEN {
        SAMPLE_NAN => f32::NAN,
        SAMPLE_INFINITY => f32::INFINITY,
        SAMPLE_NO_TOKEN => {
            return Err(Error::Device(format!("the model computed -inf for all {vocab} logits")));
        }
        _ => return Err(Error::Device(format!("{status:#x} is no status of a row"))),
    };
    Err(Error::Device(format!(
        "the model computed {value} for logit {token} of {vocab}, expected a number below infinity"
    )))
}
