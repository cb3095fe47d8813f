//! Attention of the prefill family: the plan of tiles that it reads on the device, and its launch.
//!
//! There are two sets of kernels. The portable ones have a block for each tile of rows and query
//! head. Hopper's have as many blocks as the device holds at once, which share out the work. A set
//! gives a row the same bits in every tile; the two need not agree with each other.

use super::attention::{SequenceRows, group_of, scale_log2, window_of};
use super::check::{self, Checked};
use crate::backend::Heads;
use crate::backend::cuda::driver::DevicePtr;
use crate::backend::cuda::kernels::{KernelSet, Kernels, Shape};
use crate::backend::cuda::params::{
    ATTENTION_KV_TILE, ATTENTION_THREADS, AttentionPrefillParams, AttentionTile, KV_PAGE_TOKENS,
};
use crate::error::Result;
use std::cmp::Reverse;

const BF16_BYTES: u32 = 2;
/// Rows of the largest tile.
pub(super) const TILE_ROWS_MAX: u32 = 128;
/// Rows that a warpgroup of Hopper's kernels has.
const GROUP_ROWS: u32 = 64;
const WARPGROUP: u32 = 128;
/// What a tile of keys and values takes two groups of rows together, and one alone: half of the
/// products, but nobody's products to hide its softmax behind. An estimate.
const PAIR_TIME: u64 = 8;
const LONE_TIME: u64 = 5;

/// Dynamic shared memory of a block of the portable kernels: the queries, and two stages of a page
/// of keys and one of values.
pub(super) fn portable_shared_bytes(dim: usize, tile_rows: u32) -> u32 {
    (tile_rows + 4 * KV_PAGE_TOKENS) * dim as u32 * BF16_BYTES
}

/// The same of Hopper's: two stages each of queries, of keys and of values.
fn hopper_shared_bytes(dim: usize, tile_rows: u32) -> u32 {
    2 * (tile_rows + 2 * ATTENTION_KV_TILE) * dim as u32 * BF16_BYTES
}

/// Rows of a tile for a batch on the device: 128, where keys and values are used twice as often, or
/// 64 where that would leave multiprocessors without work. Both give the same bits.
///
/// # Panics
/// If a sequence has no rows, or ends beyond 2^31 tokens.
pub fn prefill_tile_rows(kernels: &Kernels, sequences: &[SequenceRows], heads: Heads) -> u32 {
    let multiprocessors = kernels.driver().properties().multiprocessors;
    let choose = match kernels.set() {
        KernelSet::Portable => portable_tile_rows,
        KernelSet::Hopper => hopper_tile_rows,
    };
    choose(sequences, heads, multiprocessors)
}

/// The choice of [`prefill_tile_rows`] for the portable kernels.
pub fn portable_tile_rows(sequences: &[SequenceRows], heads: Heads, multiprocessors: u32) -> u32 {
    let tiles = |rows: u32| sequences.iter().map(|s| s.rows.div_ceil(rows)).sum::<u32>() as u64;
    // Two blocks share a multiprocessor.
    let large = tiles(128) * heads.query as u64;
    if large >= 2 * u64::from(multiprocessors) { 128 } else { 64 }
}

/// The choice of [`prefill_tile_rows`] for Hopper's kernels: whichever has the busiest block done
/// first, which has the longest tile or its share of all of them.
///
/// # Panics
/// As [`prefill_tile_rows`].
pub fn hopper_tile_rows(sequences: &[SequenceRows], heads: Heads, multiprocessors: u32) -> u32 {
    let time = |rows: u32, each: u64| {
        let steps = sequences.iter().flat_map(|s| {
            let end = s.end();
            let ends = (end - s.rows..end).step_by(rows as usize).map(move |at| at + rows);
            ends.map(move |at| u64::from(at.min(end).div_ceil(ATTENTION_KV_TILE)))
        });
        let (longest, all) = steps.fold((0, 0), |(longest, all), n| (n.max(longest), all + n));
        let share = (all * heads.query as u64).div_ceil(u64::from(multiprocessors));
        longest.max(share) * each
    };
    if time(128, PAIR_TIME) <= time(64, LONE_TIME) { 128 } else { 64 }
}

/// The most tiles of [`plan_prefill`] for so many rows of so many sequences.
pub fn prefill_tiles_max(rows: u32, sequences: u32) -> u32 {
    rows / 64 + sequences
}

/// Writes the tiles of a prefill batch to `tiles`, in place of what it holds: those that see most
/// come first, so that short ones fill the gaps at the end.
///
/// # Panics
/// If a sequence has no rows, pads, or ends above 2^31, or if there are no tiles of so many rows.
pub fn plan_prefill(sequences: &[SequenceRows], tile_rows: u32, tiles: &mut Vec<AttentionTile>) {
    assert!(tile_rows == 64 || tile_rows == 128, "tiles of {tile_rows} rows");
    tiles.clear();
    for sequence in sequences {
        let end = sequence.end();
        let position = sequence.position.unwrap_or_else(|| panic!("{sequence:?} pads"));
        for first in (position..end).step_by(tile_rows as usize) {
            tiles.push(AttentionTile {
                row: sequence.row + (first - position),
                rows: (end - first).min(tile_rows),
                position: first,
                table: sequence.table,
            });
        }
    }
    tiles.sort_by_key(|tile| Reverse(tile.position + tile.rows));
}

/// Operands of [`attention_prefill`].
#[derive(Debug, Clone, Copy)]
pub struct AttentionPrefill {
    /// Rotated queries, bf16 `[rows, query, dim]`.
    pub q: DevicePtr,
    /// Keys of the layer, bf16 `[pages, kv, 64, dim]`, swizzled as `rope_append` leaves them.
    pub k_pages: DevicePtr,
    /// Values of the layer, laid out like the keys.
    pub v_pages: DevicePtr,
    /// Pages of each sequence in order, u32 `[tables, table_stride]`.
    pub block_tables: DevicePtr,
    /// What [`plan_prefill`] wrote.
    pub tiles: DevicePtr,
    /// How many there are.
    pub tile_count: u32,
    /// Rows of a tile, as the plan was made.
    pub tile_rows: u32,
    /// Attention, bf16 `[rows, query, dim]`. The rows of the tiles are written.
    pub out: DevicePtr,
    /// The model's heads.
    pub heads: Heads,
    /// Entries of a block table.
    pub table_stride: u32,
    /// Positions that a row sees, itself included; `None` for all.
    pub window: Option<u32>,
}

impl AttentionPrefill {
    /// Whether [`attention_prefill`] takes it, if [`super::attention::check_heads`] does not refuse
    /// its heads.
    pub fn check(&self) -> Checked {
        group_of(self.heads);
        let rows = self.tile_rows;
        check::ensure(rows == 64 || rows == 128, || format!("tiles of {rows} rows"))?;
        let vectors = [
            ("q", self.q),
            ("k_pages", self.k_pages),
            ("v_pages", self.v_pages),
            ("out", self.out),
        ];
        vectors.iter().try_for_each(|(what, at)| check::vectors(what, *at))?;
        check::words("block_tables", self.block_tables)?;
        check::words("tiles", self.tiles)
    }
}

/// Causal attention of a batch's rows over the pages of their sequences, by the prefill family.
///
/// # Errors
/// Those of the device.
///
/// # Panics
/// If there is no kernel for the heads or the tile, or an address is null or not aligned.
pub fn attention_prefill(kernels: &Kernels, op: &AttentionPrefill) -> Result<()> {
    check::demand(op.check());
    let (heads, rows) = (op.heads, op.tile_rows);
    let dim = heads.dim as u32;
    let params = AttentionPrefillParams {
        q: op.q,
        k_pages: op.k_pages,
        v_pages: op.v_pages,
        block_tables: op.block_tables,
        tiles: op.tiles,
        out: op.out,
        q_heads: heads.query as u32,
        kv_heads: heads.kv as u32,
        table_stride: op.table_stride,
        window: window_of(op.window),
        scale_log2: scale_log2(heads),
        tile_count: op.tile_count,
    };
    let symbol = format!("attention_prefill_bf16_d{dim}_r{rows}");
    match kernels.set() {
        KernelSet::Portable => {
            let shape = Shape {
                grid: [heads.query as u32, op.tile_count, 1],
                block: ATTENTION_THREADS,
                shared_bytes: portable_shared_bytes(heads.dim, rows),
            };
            kernels.launch(&symbol, shape, &params)
        }
        KernelSet::Hopper => {
            let multiprocessors = kernels.driver().properties().multiprocessors;
            let shape = hopper_shape(heads, rows, op.tile_count, multiprocessors);
            kernels.launch(&format!("{symbol}_sm90"), shape, &params)
        }
    }
}

/// One warpgroup that fetches and one for each 64 rows. Blocks are as many as run at once, or as
/// there are tiles and heads.
fn hopper_shape(heads: Heads, rows: u32, tile_count: u32, multiprocessors: u32) -> Shape {
    // Two of the smallest blocks share the registers and the shared memory of a multiprocessor.
    let resident = if heads.dim == 64 && rows == GROUP_ROWS { 2 } else { 1 };
    let work = u64::from(tile_count) * heads.query as u64;
    Shape {
        grid: [work.min(u64::from(multiprocessors * resident)) as u32, 1, 1],
        block: WARPGROUP * (1 + rows / GROUP_ROWS),
        shared_bytes: hopper_shared_bytes(heads.dim, rows),
    }
}
