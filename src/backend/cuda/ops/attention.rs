//! Attention: what both families have in common, and the decode family; prefill is beside it.
//!
//! The host plans once a step, for all layers: which chunks of which sequences there are
//! ([`plan_decode`]), or which tiles of rows ([`super::attention_prefill::plan_prefill`]). Plans
//! are plain data that go to the device together with the block tables. A decode launch is the same
//! for every step of the same capacity, whatever its plan says, so that one recorded graph serves
//! all of them.

use super::attention_prefill::{TILE_ROWS_MAX, portable_shared_bytes};
use super::check::{self, Checked};
use crate::backend::Heads;
use crate::backend::cuda::driver::DevicePtr;
use crate::backend::cuda::kernels::{Kernels, Shape};
use crate::backend::cuda::params::{
    ATTENTION_CHUNK, ATTENTION_COLUMNS, ATTENTION_THREADS, AttentionDecodeParams, AttentionItem,
    KV_NO_SLOT, KV_PAGE_TOKENS,
};
use crate::error::{Error, Result};
use std::f64::consts::LOG2_E;

/// Positions and windows are at most this, so that differences of positions tell before from after.
pub(crate) const POSITIONS_MAX: u32 = 1 << 31;
/// Bytes before the items of a decode plan, of which the first four are their number. The items
/// keep to sectors of device memory.
const PLAN_HEADER_BYTES: usize = 32;
const F32_BYTES: u64 = 4;
const BF16_BYTES: u32 = 2;
/// Tokens of a tile of `attention_decode`, and the tiles that a warp has under way.
const DECODE_TILE: u32 = 16;
const DECODE_STAGES: u32 = 3;
/// Most query heads of a key/value head.
const GROUP_MAX: usize = 16;

/// Rows of one sequence in a batch, at consecutive positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceRows {
    /// The first row.
    pub row: u32,
    /// How many, at least one.
    pub rows: u32,
    /// Position of the first row. `None`: the rows pad the batch; they see nothing and become zero.
    pub position: Option<u32>,
    /// The sequence's row of the block tables.
    pub table: u32,
}

impl SequenceRows {
    /// Positions after the last row, 0 for rows that pad.
    pub(super) fn end(&self) -> u32 {
        assert!(self.rows > 0, "{self:?} has no rows");
        let end = self.position.map_or(0, |first| first + self.rows);
        assert!(end <= POSITIONS_MAX, "{self:?} ends above {POSITIONS_MAX}");
        end
    }
}

/// What the buffers of a decode launch have room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeCapacity {
    /// Rows of a batch.
    pub rows: u32,
    /// Sequences of a batch, those that pad it included.
    pub sequences: u32,
    /// Most rows of one sequence. Chooses the variant of the kernel: up to 16 columns (rows times
    /// query heads of a key/value head) an item, or more.
    pub sequence_rows: u32,
    /// Positions of a sequence.
    pub context: u32,
}

impl DecodeCapacity {
    fn chunks(&self) -> u32 {
        self.context.div_ceil(ATTENTION_CHUNK).max(1)
    }

    /// The most items of a plan.
    pub fn items(&self, heads: Heads) -> u64 {
        // A sequence of c columns has 1 + floor((c - 1) / most) blocks of them.
        let columns = u64::from(self.rows) * group_of(heads) as u64;
        let sequences = u64::from(self.sequences);
        let further = columns.saturating_sub(sequences) / u64::from(ATTENTION_COLUMNS);
        let blocks = sequences + further;
        blocks * u64::from(self.chunks())
    }

    /// Bytes of the plan of [`plan_decode`].
    pub fn plan_bytes(&self, heads: Heads) -> u64 {
        PLAN_HEADER_BYTES as u64 + self.items(heads) * size_of::<AttentionItem>() as u64
    }

    /// Bytes of the sums that chunks leave for each other, for one layer at a time.
    pub fn partials_bytes(&self, heads: Heads) -> u64 {
        self.partial_sums(heads) * (heads.dim as u64 + 2) * F32_BYTES
    }

    fn partial_sums(&self, heads: Heads) -> u64 {
        u64::from(self.rows) * heads.query as u64 * u64::from(self.chunks())
    }

    /// Bytes of the counters of finished chunks. They are zero before the first launch; each
    /// launch leaves them so.
    pub fn arrivals_bytes(&self, heads: Heads) -> u64 {
        u64::from(self.rows) * heads.kv as u64 * size_of::<u32>() as u64
    }

    /// A grid that fills a GPU of so many multiprocessors, and has no more blocks than work. Two
    /// blocks with 96 KiB of shared memory share a multiprocessor; with half of it four do, where
    /// their registers allow it.
    pub fn blocks(&self, heads: Heads, multiprocessors: u32) -> u32 {
        let resident = if heads.dim > 64 { 2 } else { 4 };
        let most = u64::from(multiprocessors * resident);
        (self.items(heads) * heads.kv as u64).min(most) as u32
    }
}

/// Refuses heads for which there is no kernel, or none whose block fits where one can have
/// `shared_bytes` of shared memory.
///
/// # Errors
/// [`Error::NoKernel`], which says what there is instead.
pub fn check_heads(heads: Heads, shared_bytes: u32) -> Result<()> {
    let Heads { query, kv, dim } = heads;
    let refuse = |what: String, supported: String| Err(Error::NoKernel { what, supported });
    if dim != 64 && dim != 128 {
        return refuse(format!("head_dim {dim}"), "64 and 128".to_owned());
    }
    let is_grouped = kv > 0 && query > 0 && query.is_multiple_of(kv);
    if !is_grouped || query / kv > GROUP_MAX {
        let what = format!("{query} query heads over {kv} key/value heads");
        return refuse(what, "1 to 16 query heads to each key/value head".to_owned());
    }
    let prefill = portable_shared_bytes(dim, TILE_ROWS_MAX);
    let block = decode_shared_bytes(dim).max(prefill);
    if !check::fits_block(block, shared_bytes) {
        let what =
            format!("attention with head_dim {dim} in {shared_bytes} bytes of shared memory");
        return refuse(what, format!("devices whose blocks have more than {block}"));
    }
    Ok(())
}

/// Dynamic shared memory of a block of `attention_decode`: keys and values of a tile, for each
/// stage of each warp.
fn decode_shared_bytes(dim: usize) -> u32 {
    let pages = ATTENTION_CHUNK / KV_PAGE_TOKENS;
    pages * DECODE_STAGES * 2 * DECODE_TILE * dim as u32 * BF16_BYTES
}

/// Query heads of a key/value head.
pub(super) fn group_of(heads: Heads) -> u32 {
    let Heads { query, kv, dim } = heads;
    assert!(dim == 64 || dim == 128, "head_dim {dim}, expected 64 or 128");
    assert!(kv > 0 && query > 0 && query.is_multiple_of(kv), "{query} query heads for {kv}");
    (query / kv) as u32
}

/// Writes the plan of a decode batch to `plan`, in place of what it holds: words for the device,
/// at most [`DecodeCapacity::plan_bytes`]. The chunks of a sequence follow one another, and those
/// of its columns.
///
/// # Panics
/// If a sequence has no rows or ends above 2^31.
pub fn plan_decode(sequences: &[SequenceRows], heads: Heads, plan: &mut Vec<u32>) {
    let group = group_of(heads);
    plan.clear();
    plan.resize(PLAN_HEADER_BYTES / size_of::<u32>(), 0);
    let mut items = 0;
    for sequence in sequences {
        let columns = sequence.rows * group;
        for chunk in 0..sequence.end().div_ceil(ATTENTION_CHUNK).max(1) {
            for first_column in (0..columns).step_by(ATTENTION_COLUMNS as usize) {
                let item = AttentionItem {
                    row: sequence.row,
                    position: sequence.position.unwrap_or(KV_NO_SLOT),
                    table: sequence.table,
                    chunk,
                    first_column,
                    columns: (columns - first_column).min(ATTENTION_COLUMNS),
                    reserved: [0; 2],
                };
                plan.extend_from_slice(bytemuck::cast_slice(&[item]));
                items += 1;
            }
        }
    }
    plan[0] = items;
}

/// Operands of [`attention_decode`].
#[derive(Debug, Clone, Copy)]
pub struct AttentionDecode {
    /// Rotated queries, bf16 `[rows, query, dim]`.
    pub q: DevicePtr,
    /// Keys of the layer, bf16 `[pages, kv, 64, dim]`, swizzled as `rope_append` leaves them.
    pub k_pages: DevicePtr,
    /// Values of the layer, laid out like the keys.
    pub v_pages: DevicePtr,
    /// Pages of each sequence in order, u32 `[tables, table_stride]`.
    pub block_tables: DevicePtr,
    /// What [`plan_decode`] wrote.
    pub plan: DevicePtr,
    /// Attention, bf16 `[rows, query, dim]`. All rows of the plan are written.
    pub out: DevicePtr,
    /// [`DecodeCapacity::partials_bytes`] of scratch.
    pub partials: DevicePtr,
    /// [`DecodeCapacity::arrivals_bytes`] of zeros.
    pub arrivals: DevicePtr,
    /// The model's heads.
    pub heads: Heads,
    /// Entries of a block table.
    pub table_stride: u32,
    /// Positions that a row sees, itself included; `None` for all.
    pub window: Option<u32>,
    /// What the buffers have room for. The plan keeps within it.
    pub capacity: DecodeCapacity,
    /// Blocks of the grid, such as [`DecodeCapacity::blocks`]: any number gives the same bits.
    pub blocks: u32,
}

impl AttentionDecode {
    /// Whether [`attention_decode`] takes it, if [`check_heads`] does not refuse its heads.
    pub fn check(&self) -> Checked {
        let (capacity, group) = (self.capacity, group_of(self.heads));
        let few = group <= ATTENTION_COLUMNS;
        check::ensure(few, || format!("{group} query heads for a key/value head"))?;
        let holds = capacity.sequence_rows > 0 && capacity.context <= POSITIONS_MAX;
        check::ensure(holds, || format!("{capacity:?}"))?;
        check::ensure(self.blocks > 0, || "a grid without blocks".to_string())?;
        let vectors = [
            ("q", self.q),
            ("k_pages", self.k_pages),
            ("v_pages", self.v_pages),
            ("plan", self.plan),
            ("out", self.out),
            ("partials", self.partials),
        ];
        vectors.iter().try_for_each(|(what, at)| check::vectors(what, *at))?;
        check::words("block_tables", self.block_tables)?;
        check::words("arrivals", self.arrivals)
    }
}

/// Causal attention of a batch's rows over the pages of their sequences, by the decode family.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// If there is no kernel for the heads, or an address is null or not aligned.
pub fn attention_decode(kernels: &Kernels, op: &AttentionDecode) -> Result<()> {
    let AttentionDecode { heads, capacity, .. } = *op;
    check::demand(op.check());
    let group = group_of(heads);
    let columns = if group * capacity.sequence_rows > 16 { 32 } else { 16 };
    let dim = heads.dim as u32;
    let weights = capacity.partial_sums(heads) * heads.dim as u64 * F32_BYTES;
    let params = AttentionDecodeParams {
        q: op.q,
        k_pages: op.k_pages,
        v_pages: op.v_pages,
        block_tables: op.block_tables,
        item_count: op.plan,
        items: op.plan + PLAN_HEADER_BYTES as u64,
        out: op.out,
        partials: op.partials,
        partial_weights: op.partials + weights,
        arrivals: op.arrivals,
        q_heads: heads.query as u32,
        kv_heads: heads.kv as u32,
        table_stride: op.table_stride,
        chunk_stride: capacity.chunks(),
        window: window_of(op.window),
        scale_log2: scale_log2(heads),
    };
    let shape = Shape {
        grid: [op.blocks, 1, 1],
        block: ATTENTION_THREADS,
        shared_bytes: decode_shared_bytes(heads.dim),
    };
    kernels.launch(&format!("attention_decode_bf16_d{dim}_c{columns}"), shape, &params)
}

pub(super) fn window_of(window: Option<u32>) -> u32 {
    assert!(window != Some(0), "a window of no positions");
    window.unwrap_or(POSITIONS_MAX).min(POSITIONS_MAX)
}

pub(super) fn scale_log2(heads: Heads) -> f32 {
    (LOG2_E / (heads.dim as f64).sqrt()) as f32
}
