//! Drawing tokens from logits.

use super::super::memory::{self as c, sized};
use super::super::sampling::{self, rp_sampling};
use super::super::status::{Fault, Outcome, rp_status};
use super::{refuse, rp_kernels, with};
use crate::backend::SampleRow;
use crate::backend::cuda::ops::sample::{self, Sample, SampleInputs};
use crate::backend::cuda::ops::selection::{SelectionSizes, SelectionWorkspace};
use crate::request::{SamplingParams, TokenId};
use crate::sample::math::VOCAB_MAX;

/// What a workspace of draws has room for.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_sample_shape {
    /// sizeof(rp_sample_shape).
    pub size: usize,
    /// Most rows of logits.
    pub rows: u32,
    /// Tokens of the vocabulary.
    pub vocab: u32,
    /// Most tokens of a row's history.
    pub context: u32,
    /// Zero.
    pub reserved: u32,
}

/// Bytes that a shape needs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_sample_sizes {
    /// sizeof(rp_sample_sizes).
    pub size: usize,
    /// Of a plan, on the host and on the device.
    pub plan_bytes: usize,
    /// Of the workspace on the device. All zero before the first use, and left so that the next
    /// launch of this shape can use it.
    pub workspace_bytes: usize,
}

/// A row to draw from.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_sample_row {
    /// How; null is the most probable token.
    pub sampling: *const rp_sampling,
    /// Prompt, then output so far. Its length is the position of the noise.
    pub history: *const u32,
    /// How many tokens it has.
    pub history_count: usize,
    /// How many of them are the prompt.
    pub prompt_count: usize,
}

/// A plan of draws. The caller copies `bytes` of its buffer to the device.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_sample_plan {
    /// sizeof(rp_sample_plan).
    pub size: usize,
    /// Bytes of the plan.
    pub bytes: usize,
    /// Rows of the plan; those that pad it are left alone.
    pub rows: u32,
    /// Not 0: a row has top-k, top-p or min-p. A graph for plans to come sets it to 1.
    pub filters: u32,
}

/// Draws a token from each row.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_sample {
    /// sizeof(rp_sample).
    pub size: usize,
    /// As the plan was made for.
    pub shape: *const rp_sample_shape,
    /// What `rp_sample_make_plan` wrote.
    pub plan: *const rp_sample_plan,
    /// Device: the plan.
    pub plan_at: u64,
    /// Device, f32 `[rows, stride]`, of which `vocab` columns are logits.
    pub logits: u64,
    /// Elements from a row of logits to the next.
    pub stride: u32,
    /// Zero.
    pub reserved: u32,
    /// Device, u32 `[rows]`, written whole: the tokens; 0 for rows that pad, or are faulty.
    pub tokens: u64,
    /// Device, u32 `[rows]`, written whole: 0 where a token was drawn; `rp_sample_status` says
    /// what else there is.
    pub status: u64,
    /// Device: the workspace.
    pub workspace: u64,
}

sized!(
    rp_sample_shape with reserved,
    rp_sample_sizes,
    rp_sample_plan,
    rp_sample with reserved,
);

fn read(shape: rp_sample_shape) -> Outcome<SelectionSizes> {
    let rp_sample_shape { rows, vocab, context, .. } = shape;
    let sizes = SelectionSizes { rows: rows as usize, vocab: vocab as usize };
    let vocab_is_there = (1..=VOCAB_MAX).contains(&sizes.vocab);
    if rows == 0 || rows >= 1 << 16 || !vocab_is_there || context == 0 {
        let text = format!("sample: {rows} rows of {vocab} logits, histories of {context} tokens");
        return Err(Fault::invalid(text));
    }
    Ok(sizes)
}

/// Bytes of each part of a workspace, in their order.
fn parts(sizes: SelectionSizes) -> [u64; 3] {
    let bytes = [sizes.state_bytes(), sizes.bin_bytes(), sizes.candidate_bytes()];
    bytes.map(|bytes| bytes.next_multiple_of(256))
}

/// Bytes of a plan and of the workspace.
///
/// # Safety
/// `shape` and `sizes` are structs as large as they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_sample_workspace_size(
    kernels: *const rp_kernels,
    shape: *const rp_sample_shape,
    sizes: *mut rp_sample_sizes,
) -> rp_status {
    with(kernels, |_| {
        // SAFETY: as the caller promises.
        let shape = unsafe { c::read(shape) }?;
        let selection = read(shape)?;
        let context = shape.context as usize;
        let plan = SampleInputs::bytes_max(selection.rows, selection.vocab, context);
        let workspace: u64 = parts(selection).iter().sum();
        let needed = rp_sample_sizes {
            size: 0,
            plan_bytes: plan as usize,
            workspace_bytes: workspace as usize,
        };
        // SAFETY: as the caller promises.
        unsafe { c::write(sizes, needed) }
    })
}

/// Plans draws on the host: writes the plan to `buffer`, which the caller copies to the device.
/// Rows up to `padded` are added, which are left alone.
///
/// # Safety
/// Structs are as large as they say, arrays as long, `buffer` has `capacity` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_sample_make_plan(
    kernels: *const rp_kernels,
    shape: *const rp_sample_shape,
    rows: *const rp_sample_row,
    row_count: usize,
    padded: usize,
    buffer: *mut u8,
    capacity: usize,
    plan: *mut rp_sample_plan,
) -> rp_status {
    with(kernels, |_| {
        // SAFETY: as the caller promises.
        let shape = unsafe { c::read(shape) }?;
        let sizes = read(shape)?;
        // SAFETY: as the caller promises.
        let given = unsafe { c::slice("rows", rows, row_count) }?;
        // SAFETY: as the caller promises.
        unsafe { c::check_out(plan) }?;
        if given.len() > padded || padded > sizes.rows || padded == 0 {
            let (count, most) = (given.len(), sizes.rows);
            let text = format!("sample plan: {count} rows padded to {padded}, at most {most}");
            return Err(Fault::invalid(text));
        }
        // SAFETY: as the caller promises.
        let read = |row: &rp_sample_row| unsafe { read_row(row, &shape) };
        let rows = given.iter().map(read).collect::<Outcome<Vec<_>>>()?;
        let rows: Vec<SampleRow<'_>> = rows.iter().map(Row::as_row).collect();
        let inputs = SampleInputs::new(&rows, padded, sizes.vocab);
        let bytes = inputs.bytes.len();
        if capacity < bytes {
            let text = format!("the plan has {bytes} bytes, the buffer {capacity}");
            return Err(Fault::new(rp_status::RP_TOO_SMALL, text));
        }
        // SAFETY: as the caller promises.
        unsafe { c::slice_mut("buffer", buffer, bytes) }?.copy_from_slice(&inputs.bytes);
        let filters = u32::from(inputs.filters);
        let made = rp_sample_plan { size: 0, bytes, rows: padded as u32, filters };
        // SAFETY: as the caller promises.
        unsafe { c::write(plan, made) }
    })
}

struct Row {
    params: SamplingParams,
    history: Vec<TokenId>,
    prompt: usize,
}

impl Row {
    fn as_row(&self) -> SampleRow<'_> {
        SampleRow { params: &self.params, history: &self.history, prompt_len: self.prompt }
    }
}

unsafe fn read_row(row: &rp_sample_row, shape: &rp_sample_shape) -> Outcome<Row> {
    // SAFETY: as the caller promises.
    let params = unsafe { sampling::params(row.sampling) }?;
    params.validate(shape.vocab as usize)?;
    // SAFETY: as the caller promises.
    let history = unsafe { c::slice("history", row.history, row.history_count) }?;
    let (count, most) = (history.len(), shape.context as usize);
    if count > most || row.prompt_count > count {
        let prompt = row.prompt_count;
        let text = format!("sample plan: a history of {count} tokens, {prompt} of the prompt");
        return Err(Fault::invalid(format!("{text}; the context is {most}")));
    }
    if let Some(token) = history.iter().find(|token| **token >= shape.vocab) {
        let text = format!("sample plan: token {token} of a vocabulary of {}", shape.vocab);
        return Err(Fault::invalid(text));
    }
    let history = history.iter().map(|token| TokenId(*token)).collect();
    Ok(Row { params, history, prompt: row.prompt_count })
}

/// Launches draws: one kernel, and another for rows with filters.
///
/// # Safety
/// Structs are as large as they say, and the addresses hold what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_sample_run(
    kernels: *mut rp_kernels,
    op: *const rp_sample,
) -> rp_status {
    with(kernels, |held| {
        // SAFETY: as the caller promises.
        let op = unsafe { c::read(op) }?;
        // SAFETY: as the caller promises.
        let shape = unsafe { c::read(op.shape) }?;
        // SAFETY: as the caller promises.
        let plan = unsafe { c::read(op.plan) }?;
        let sizes = read(shape)?;
        let refused = refuse("sample");
        if plan.rows == 0 || plan.rows > shape.rows {
            let (rows, most) = (plan.rows, shape.rows);
            return Err(refused(format!("a plan of {rows} rows, expected 1 to {most}")));
        }
        if op.workspace == 0 {
            return Err(refused("workspace is null".to_string()));
        }
        let [states, bins, _] = parts(sizes);
        let workspace = SelectionWorkspace {
            states: op.workspace,
            bins: op.workspace.wrapping_add(states),
            candidates: op.workspace.wrapping_add(states + bins),
        };
        let op = Sample {
            logits: op.logits,
            inputs: op.plan_at,
            workspace,
            tokens: op.tokens,
            status: op.status,
            rows: plan.rows,
            vocab: shape.vocab,
            stride: op.stride,
            filters: plan.filters != 0,
        };
        op.check().map_err(refused)?;
        Ok(sample::sample(&held.kernels, &op)?)
    })
}

/// Reads statuses that were copied from the device: RP_OK if every row could be drawn from, else
/// RP_DEVICE with a text that says which logit was what.
///
/// # Safety
/// `status` has `count` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_sample_status(
    status: *const u32,
    count: usize,
    vocab: u32,
) -> rp_status {
    super::guard(|| {
        // SAFETY: as the caller promises.
        let status = unsafe { c::slice("status", status, count) }?;
        Ok(sample::check_status(status, vocab as usize)?)
    })
}
