//! Attention over pages, of both phases: sizes, the plan of a step, and the launch.

use super::super::memory::{self as c, sized};
use super::super::status::{Fault, Outcome, rp_status};
use super::gemm::phase;
use super::rows::heads;
use super::{refuse, rp_heads, rp_kernels, with};
use crate::backend::cuda::ops::attention::{
    self, AttentionDecode, DecodeCapacity, POSITIONS_MAX, SequenceRows, check_heads,
};
use crate::backend::cuda::ops::attention_prefill::{self, AttentionPrefill};
use crate::backend::cuda::params::{AttentionTile, KV_PAGE_TOKENS};
use crate::backend::{Heads, Phase};

/// A position of rows that pad a decode batch: they see nothing and become zero.
pub const RP_NO_POSITION: u32 = u32::MAX;
/// Tokens of a page.
pub const RP_PAGE_TOKENS: u32 = 64;

const _: () = assert!(RP_PAGE_TOKENS == KV_PAGE_TOKENS);

/// What a workspace and its plans have room for, and the cache they read. Equal for all layers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_attention_shape {
    /// sizeof(rp_attention_shape).
    pub size: usize,
    /// RP_PHASE_PREFILL or RP_PHASE_DECODE.
    pub phase: u32,
    /// The model's heads.
    pub heads: rp_heads,
    /// Most rows of a batch.
    pub rows: u32,
    /// Most sequences of a batch, those that pad it included.
    pub sequences: u32,
    /// Decode: most rows of one sequence, such as 1, or more to verify drafts.
    pub sequence_rows: u32,
    /// Most positions of a sequence.
    pub context: u32,
    /// Pages of the pool.
    pub pages: u32,
    /// Entries of a block table.
    pub table_stride: u32,
}

/// Neighbouring rows of a batch that belong to one sequence, at consecutive positions.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_sequence {
    /// The first row.
    pub row: u32,
    /// How many, at least one.
    pub rows: u32,
    /// Position of the first row, or in decode RP_NO_POSITION.
    pub position: u32,
    /// The sequence's row of the block tables.
    pub table: u32,
}

/// Bytes that a shape needs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_attention_sizes {
    /// sizeof(rp_attention_sizes).
    pub size: usize,
    /// Of a plan, on the host and on the device.
    pub plan_bytes: usize,
    /// Of the workspace on the device. All zero before the first use, and left so that the next
    /// launch of this shape can use it.
    pub workspace_bytes: usize,
}

/// A plan of a step, which all layers use. The caller copies `bytes` of its buffer to the device.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_attention_plan {
    /// sizeof(rp_attention_plan).
    pub size: usize,
    /// Bytes of the plan.
    pub bytes: usize,
    /// Prefill: tiles of rows, the y size of the grid. 0 in decode, whose launch is the same for
    /// every plan of a shape, so that one graph serves them all.
    pub tiles: u32,
    /// Prefill: rows of a tile.
    pub tile_rows: u32,
}

/// Attention of one layer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_attention {
    /// sizeof(rp_attention).
    pub size: usize,
    /// As the plan was made for.
    pub shape: *const rp_attention_shape,
    /// What `rp_attention_make_plan` wrote.
    pub plan: *const rp_attention_plan,
    /// Device: the plan.
    pub plan_at: u64,
    /// Device, bf16 `[rows, query, dim]`: rotated queries.
    pub q: u64,
    /// Device, bf16 `[pages, kv, 64, dim]`, as `rp_rope_append_run` leaves them.
    pub k_pages: u64,
    /// Device, laid out like the keys.
    pub v_pages: u64,
    /// Device, u32 `[tables, table_stride]`: the pages of each sequence in order.
    pub block_tables: u64,
    /// Device, bf16 `[rows, query, dim]`. All rows of the plan are written.
    pub out: u64,
    /// Device: the workspace; 0 where it has no bytes.
    pub workspace: u64,
    /// Positions that a row sees, itself included; 0 for all.
    pub window: u32,
    /// Zero.
    pub reserved: u32,
}

sized!(
    rp_attention_shape,
    rp_attention_sizes,
    rp_attention_plan,
    rp_attention with reserved,
);

/// Rows times query heads times positions. Below it no count of bytes is above 64 bits, and no
/// device has room for a plan or a workspace near it.
const SUMS_MAX: u128 = 1 << 53;

struct Shape {
    phase: Phase,
    heads: Heads,
    given: rp_attention_shape,
}

impl Shape {
    /// # Safety
    /// `shape` is a struct as large as it says.
    unsafe fn read(held: &super::Held, shape: *const rp_attention_shape) -> Outcome<Shape> {
        // SAFETY: as the caller promises.
        let given = unsafe { c::read(shape) }?;
        let (phase, heads) = (phase(given.phase)?, heads(given.heads));
        let invalid = refuse("attention");
        let rp_attention_shape { rows, sequences, sequence_rows, context, .. } = given;
        check_heads(heads, held.driver().properties().shared_bytes)?;
        let counts_are_there = rows > 0 && sequences > 0 && context > 0;
        let rows_are_there = phase == Phase::Prefill || sequence_rows > 0;
        if !counts_are_there || !rows_are_there || sequences > rows || rows >= 1 << 24 {
            let text = format!(
                "{rows} rows of {sequences} sequences, {sequence_rows} each, context {context}"
            );
            return Err(invalid(text));
        }
        let sums = u128::from(rows) * heads.query as u128 * u128::from(context);
        if context > POSITIONS_MAX || sums > SUMS_MAX {
            let text = format!("{rows} rows of {} heads, context {context}", heads.query);
            return Err(invalid(format!("{text}: more than a device holds")));
        }
        if u64::from(context) > u64::from(given.table_stride) * u64::from(KV_PAGE_TOKENS) {
            let stride = given.table_stride;
            return Err(invalid(format!("tables of {stride} pages for {context} positions")));
        }
        Ok(Shape { phase, heads, given })
    }

    fn capacity(&self) -> DecodeCapacity {
        let rp_attention_shape { rows, sequences, sequence_rows, context, .. } = self.given;
        DecodeCapacity { rows, sequences, sequence_rows, context }
    }

    fn plan_bytes(&self) -> u64 {
        match self.phase {
            Phase::Decode => self.capacity().plan_bytes(self.heads),
            Phase::Prefill => {
                let most =
                    attention_prefill::prefill_tiles_max(self.given.rows, self.given.sequences);
                u64::from(most) * size_of::<AttentionTile>() as u64
            }
        }
    }

    /// Bytes of the counters, which come first in the workspace.
    fn arrivals_bytes(&self) -> u64 {
        self.capacity().arrivals_bytes(self.heads).next_multiple_of(256)
    }

    fn workspace_bytes(&self) -> u64 {
        match self.phase {
            Phase::Decode => self.arrivals_bytes() + self.capacity().partials_bytes(self.heads),
            Phase::Prefill => 0,
        }
    }

    /// The sequences of a step, which lie within the shape and, if their tables are given, read
    /// pages of the pool.
    fn sequences(
        &self,
        given: &[rp_sequence],
        tables: Option<&[u32]>,
    ) -> Outcome<Vec<SequenceRows>> {
        let invalid = refuse("attention plan");
        let most = self.given.sequences;
        if given.is_empty() || given.len() > most as usize {
            return Err(invalid(format!("{} sequences, expected 1 to {most}", given.len())));
        }
        let mut all = Vec::with_capacity(given.len());
        let mut rows_used = 0u64;
        for (i, sequence) in given.iter().enumerate() {
            let rp_sequence { row, rows, position, table } = *sequence;
            rows_used += u64::from(rows);
            let most =
                if self.phase == Phase::Decode { self.given.sequence_rows } else { u32::MAX };
            let inside = u64::from(row) + u64::from(rows) <= u64::from(self.given.rows);
            if rows == 0 || rows > most || !inside {
                let text = format!("sequence {i} has rows {row} to {row} + {rows}");
                return Err(invalid(format!("{text}, which the shape does not")));
            }
            let pads = position == RP_NO_POSITION;
            let end = u64::from(position) + u64::from(rows);
            if pads && self.phase == Phase::Prefill || !pads && end > self.given.context.into() {
                let context = self.given.context;
                return Err(invalid(format!(
                    "sequence {i} has positions {position} + {rows}, the context is {context}"
                )));
            }
            if let (Some(tables), false) = (tables, pads) {
                self.check_pages(i, table, end, tables)?;
            }
            let position = (!pads).then_some(position);
            all.push(SequenceRows { row, rows, position, table });
        }
        if rows_used > u64::from(self.given.rows) {
            let most = self.given.rows;
            return Err(invalid(format!("{rows_used} rows in all, at most {most}")));
        }
        Ok(all)
    }

    fn check_pages(&self, sequence: usize, table: u32, end: u64, tables: &[u32]) -> Outcome {
        let stride = self.given.table_stride as usize;
        let (first, count) =
            (table as usize * stride, end.div_ceil(u64::from(KV_PAGE_TOKENS)) as usize);
        let invalid = refuse("attention plan");
        let Some(pages) = tables.get(first..first + count) else {
            return Err(invalid(format!("sequence {sequence} has table {table}, past the last")));
        };
        match pages.iter().find(|page| **page >= self.given.pages) {
            Some(page) => {
                let pool = self.given.pages;
                let text = format!("sequence {sequence} has page {page}, the pool has {pool}");
                Err(invalid(text))
            }
            None => Ok(()),
        }
    }
}

/// Bytes of a plan and of the workspace.
///
/// # Safety
/// `shape` and `sizes` are structs as large as they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_attention_workspace_size(
    kernels: *const rp_kernels,
    shape: *const rp_attention_shape,
    sizes: *mut rp_attention_sizes,
) -> rp_status {
    with(kernels, |held| {
        // SAFETY: as the caller promises.
        let shape = unsafe { Shape::read(held, shape) }?;
        let sizes_now = rp_attention_sizes {
            size: 0,
            plan_bytes: shape.plan_bytes() as usize,
            workspace_bytes: shape.workspace_bytes() as usize,
        };
        // SAFETY: as the caller promises.
        unsafe { c::write(sizes, sizes_now) }
    })
}

/// Plans a step, once for all layers, on the host: writes the plan to `buffer`, which the caller
/// copies to the device. With `block_tables`, the host's copy of `table_count` tables, every page
/// that a sequence reads is checked to be one of the pool; null leaves that out.
///
/// # Safety
/// Structs are as large as they say, arrays as long, `buffer` has `capacity` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_attention_make_plan(
    kernels: *const rp_kernels,
    shape: *const rp_attention_shape,
    sequences: *const rp_sequence,
    sequence_count: usize,
    block_tables: *const u32,
    table_count: usize,
    buffer: *mut u8,
    capacity: usize,
    plan: *mut rp_attention_plan,
) -> rp_status {
    with(kernels, |held| {
        // SAFETY: as the caller promises.
        let shape = unsafe { Shape::read(held, shape) }?;
        // SAFETY: as the caller promises.
        let sequences = unsafe { c::slice("sequences", sequences, sequence_count) }?;
        let entries = table_count.checked_mul(shape.given.table_stride as usize);
        let entries = entries.ok_or_else(|| Fault::invalid(format!("{table_count} tables")))?;
        let tables = match block_tables.is_null() {
            true => None,
            // SAFETY: as the caller promises.
            false => Some(unsafe { c::slice("block_tables", block_tables, entries) }?),
        };
        // SAFETY: as the caller promises.
        unsafe { c::check_out(plan) }?;
        let sequences = shape.sequences(sequences, tables)?;
        let (mut words, mut tiles, mut tile_rows) = (Vec::new(), Vec::new(), 0);
        let bytes: &[u8] = match shape.phase {
            Phase::Decode => {
                attention::plan_decode(&sequences, shape.heads, &mut words);
                bytemuck::cast_slice(&words)
            }
            Phase::Prefill => {
                let kernels = &held.kernels;
                tile_rows = attention_prefill::prefill_tile_rows(kernels, &sequences, shape.heads);
                attention_prefill::plan_prefill(&sequences, tile_rows, &mut tiles);
                bytemuck::cast_slice(&tiles)
            }
        };
        if capacity < bytes.len() {
            let text = format!("the plan has {} bytes, the buffer {capacity}", bytes.len());
            return Err(Fault::new(rp_status::RP_TOO_SMALL, text));
        }
        // SAFETY: as the caller promises.
        unsafe { c::slice_mut("buffer", buffer, bytes.len()) }?.copy_from_slice(bytes);
        let made =
            rp_attention_plan { size: 0, bytes: bytes.len(), tiles: tiles.len() as u32, tile_rows };
        // SAFETY: as the caller promises.
        unsafe { c::write(plan, made) }
    })
}

/// Launches attention of one layer.
///
/// # Safety
/// Structs are as large as they say, and the addresses hold what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_attention_run(
    kernels: *mut rp_kernels,
    op: *const rp_attention,
) -> rp_status {
    with(kernels, |held| {
        // SAFETY: as the caller promises.
        let op = unsafe { c::read(op) }?;
        // SAFETY: as the caller promises.
        let shape = unsafe { Shape::read(held, op.shape) }?;
        // SAFETY: as the caller promises.
        let plan = unsafe { c::read(op.plan) }?;
        let window = (op.window != 0).then_some(op.window);
        match shape.phase {
            Phase::Decode => decode(held, &op, &shape, window),
            Phase::Prefill => prefill(held, &op, &shape, &plan, window),
        }
    })
}

fn decode(held: &super::Held, op: &rp_attention, shape: &Shape, window: Option<u32>) -> Outcome {
    let capacity = shape.capacity();
    let multiprocessors = held.driver().properties().multiprocessors;
    if op.workspace == 0 {
        let bytes = shape.workspace_bytes();
        let text = format!("attention: workspace is null, {bytes} bytes are needed");
        return Err(Fault::invalid(text));
    }
    let op = AttentionDecode {
        q: op.q,
        k_pages: op.k_pages,
        v_pages: op.v_pages,
        block_tables: op.block_tables,
        plan: op.plan_at,
        out: op.out,
        partials: op.workspace.wrapping_add(shape.arrivals_bytes()),
        arrivals: op.workspace,
        heads: shape.heads,
        table_stride: shape.given.table_stride,
        window,
        capacity,
        blocks: capacity.blocks(shape.heads, multiprocessors),
    };
    op.check().map_err(refuse("attention"))?;
    Ok(attention::attention_decode(&held.kernels, &op)?)
}

fn prefill(
    held: &super::Held,
    op: &rp_attention,
    shape: &Shape,
    plan: &rp_attention_plan,
    window: Option<u32>,
) -> Outcome {
    let most = attention_prefill::prefill_tiles_max(shape.given.rows, shape.given.sequences);
    if plan.tiles == 0 || plan.tiles > most {
        let text = format!("attention: a plan of {} tiles, expected 1 to {most}", plan.tiles);
        return Err(Fault::invalid(text));
    }
    let op = AttentionPrefill {
        q: op.q,
        k_pages: op.k_pages,
        v_pages: op.v_pages,
        block_tables: op.block_tables,
        tiles: op.plan_at,
        tile_count: plan.tiles,
        tile_rows: plan.tile_rows,
        out: op.out,
        heads: shape.heads,
        table_stride: shape.given.table_stride,
        window,
    };
    op.check().map_err(refuse("attention"))?;
    Ok(attention_prefill::attention_prefill(&held.kernels, &op)?)
}
