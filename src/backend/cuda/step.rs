//! A batch on a GPU: what the kernels of a step read of it. All of it lies where it lay in the step
//! before, so that one captured graph serves every decode batch of a size.

use super::driver::{DevicePtr, Driver, Properties};
use super::kernels::{Graph, Kernels};
use super::memory::Buffer;
use super::ops::attention::{self, AttentionDecode, DecodeCapacity, SequenceRows};
use super::ops::attention_prefill::{self as prefill, AttentionPrefill};
use super::params::{AttentionTile, KV_NO_SLOT, KV_PAGE_TOKENS};
use super::store::{Rows, padded_rows};
use crate::backend::{Batch, DECODE_ROWS_MAX, Heads, Phase, StepShape};
use crate::error::Result;
use crate::kv::pages_for;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// Arrays of one word a row, one after the other.
const COLUMNS: usize = 4;

/// What a decode graph was recorded for: rows, rows of logits, most rows of a sequence.
type GraphKey = (usize, usize, u32);

/// The batch of a step, and what attention writes down between its blocks.
pub struct Step {
    shape: StepShape,
    phase: Phase,
    pub(super) rows: Rows,
    pub(super) logit_rows: Rows,
    last_position: usize,
    /// Tokens, positions, slots and wanted rows, `[COLUMNS, capacity]` words.
    columns: Buffer,
    capacity: usize,
    /// `[sequences, table_stride]` page ids.
    tables: Buffer,
    table_stride: usize,
    /// The items or the tiles of attention.
    plan: Buffer,
    decode: DecodeCapacity,
    blocks: u32,
    tile_rows: u32,
    tile_count: u32,
    partials: Buffer,
    arrivals: Buffer,
    graphs: RefCell<HashMap<GraphKey, Option<Graph>>>,
    host: Host,
}

/// What is written on the host before it is copied, kept so that a step allocates nothing.
#[derive(Default)]
struct Host {
    columns: Vec<u32>,
    tables: Vec<u32>,
    sequences: Vec<SequenceRows>,
    plan: Vec<u32>,
    tiles: Vec<AttentionTile>,
}

/// How much each part of a step takes.
struct Sizes {
    capacity: usize,
    columns_bytes: u64,
    tables_bytes: u64,
    plan_bytes: u64,
    decode: DecodeCapacity,
}

impl Sizes {
    fn of(shape: StepShape) -> Sizes {
        let capacity = padded_rows(shape.rows.max(shape.logit_rows));
        let decode_rows = capacity.min(padded_rows(shape.sequences * DECODE_ROWS_MAX));
        // A row of padding is a sequence of its own, and there are fewer than eight.
        let decode = DecodeCapacity {
            rows: decode_rows as u32,
            sequences: (shape.sequences + 7).min(decode_rows) as u32,
            sequence_rows: DECODE_ROWS_MAX as u32,
            context: shape.context as u32,
        };
        let tiles = prefill::prefill_tiles_max(capacity as u32, shape.sequences as u32) as usize;
        let tiles_bytes = (tiles * size_of::<AttentionTile>()) as u64;
        Sizes {
            capacity,
            columns_bytes: (COLUMNS * capacity * 4) as u64,
            tables_bytes: (shape.sequences * pages_for(shape.context) * 4) as u64,
            plan_bytes: decode.plan_bytes(shape.heads).max(tiles_bytes),
            decode,
        }
    }
}

impl Step {
    pub(super) fn new(driver: &Arc<dyn Driver>, shape: StepShape) -> Result<Step> {
        attention::check_heads(shape.heads, driver.properties().shared_bytes)?;
        let sizes = Sizes::of(shape);
        Ok(Step {
            shape,
            phase: Phase::Prefill,
            rows: Rows::default(),
            logit_rows: Rows::default(),
            last_position: 0,
            columns: Buffer::new(driver, sizes.columns_bytes)?,
            capacity: sizes.capacity,
            tables: Buffer::new(driver, sizes.tables_bytes)?,
            table_stride: pages_for(shape.context),
            plan: Buffer::new(driver, sizes.plan_bytes)?,
            decode: sizes.decode,
            blocks: 0,
            tile_rows: 0,
            tile_count: 0,
            partials: Buffer::new(driver, sizes.decode.partials_bytes(shape.heads))?,
            arrivals: Buffer::zeroed(driver, sizes.decode.arrivals_bytes(shape.heads))?,
            graphs: RefCell::default(),
            host: Host::default(),
        })
    }

    /// Bytes that a step of this shape takes on a device of `properties`.
    ///
    /// # Errors
    /// As [`Step::new`].
    pub(super) fn bytes(properties: &Properties, shape: StepShape) -> Result<u64> {
        attention::check_heads(shape.heads, properties.shared_bytes)?;
        let sizes = Sizes::of(shape);
        let inputs = sizes.columns_bytes + sizes.tables_bytes + sizes.plan_bytes;
        let decode = sizes.decode;
        Ok(inputs + decode.partials_bytes(shape.heads) + decode.arrivals_bytes(shape.heads))
    }

    /// Puts `batch` on the device.
    pub(super) fn take(&mut self, batch: &Batch, kernels: &Kernels) -> Result<()> {
        let (rows, sequences) = (batch.rows(), batch.spans.len());
        let shape = self.shape;
        assert!(rows <= shape.rows && sequences <= shape.sequences, "{rows} rows for {shape:?}");
        assert!(batch.logit_rows.len() <= shape.logit_rows, "rows of logits for {shape:?}");
        self.phase = batch.phase;
        let padded = |rows| match batch.phase {
            Phase::Prefill => Rows::exactly(rows),
            Phase::Decode => Rows::for_graph(rows),
        };
        self.rows = padded(rows);
        self.logit_rows = padded(batch.logit_rows.len());
        self.last_position = batch.positions.iter().copied().max().unwrap_or(0) as usize;
        assert!(
            self.last_position < shape.context,
            "position {} of a {shape:?}",
            self.last_position
        );
        self.fill_columns(batch);
        self.fill_tables(batch);
        self.columns.write(&self.host.columns)?;
        self.tables.write(&self.host.tables)?;
        self.plan_attention(batch, kernels)
    }

    fn fill_columns(&mut self, batch: &Batch) {
        let columns = &mut self.host.columns;
        columns.clear();
        columns.resize(COLUMNS * self.capacity, 0);
        let (tokens, rest) = columns.split_at_mut(self.capacity);
        let (positions, rest) = rest.split_at_mut(self.capacity);
        let (slots, wanted) = rest.split_at_mut(self.capacity);
        slots.fill(KV_NO_SLOT);
        for (to, token) in tokens.iter_mut().zip(&batch.tokens) {
            *to = token.0;
        }
        positions[..batch.rows()].copy_from_slice(&batch.positions);
        for (to, row) in wanted.iter_mut().zip(&batch.logit_rows) {
            *to = *row as u32;
        }
        for span in &batch.spans {
            for (row, position) in span.rows.clone().zip(span.start as u32..) {
                let page = batch.table(span)[(position / KV_PAGE_TOKENS) as usize];
                slots[row] = page.0 * KV_PAGE_TOKENS + position % KV_PAGE_TOKENS;
            }
        }
    }

    fn fill_tables(&mut self, batch: &Batch) {
        let tables = &mut self.host.tables;
        tables.clear();
        for span in &batch.spans {
            let needed = pages_for(span.start + span.rows.len());
            tables.extend(batch.table(span)[..needed].iter().map(|page| page.0));
            tables.resize(tables.len() + self.table_stride - needed, u32::MAX);
        }
    }

    /// Plans for all layers at once.
    fn plan_attention(&mut self, batch: &Batch, kernels: &Kernels) -> Result<()> {
        let heads = self.shape.heads;
        let host = &mut self.host;
        host.sequences.clear();
        host.sequences.extend(batch.spans.iter().enumerate().map(|(table, span)| SequenceRows {
            row: span.rows.start as u32,
            rows: span.rows.len() as u32,
            position: Some(span.start as u32),
            table: table as u32,
        }));
        match batch.phase {
            Phase::Prefill => {
                self.tile_rows = prefill::prefill_tile_rows(kernels, &host.sequences, heads);
                prefill::plan_prefill(&host.sequences, self.tile_rows, &mut host.tiles);
                self.tile_count = host.tiles.len() as u32;
                self.plan.write(&host.tiles)
            }
            Phase::Decode => {
                let most = host.sequences.iter().map(|s| s.rows).max().unwrap_or(1);
                self.decode.sequence_rows = most.next_power_of_two();
                let multiprocessors = kernels.driver().properties().multiprocessors;
                self.blocks = self.decode.blocks(heads, multiprocessors);
                host.sequences.extend((self.rows.valid..self.rows.padded).map(|row| {
                    SequenceRows { row: row as u32, rows: 1, position: None, table: 0 }
                }));
                attention::plan_decode(&host.sequences, heads, &mut host.plan);
                self.plan.write(&host.plan)
            }
        }
    }

    fn column(&self, column: usize) -> DevicePtr {
        self.columns.ptr() + (column * self.capacity * 4) as u64
    }

    /// A token a row.
    pub(super) fn tokens(&self) -> DevicePtr {
        self.column(0)
    }

    /// A position a row.
    pub(super) fn positions(&self) -> DevicePtr {
        self.column(1)
    }

    /// Where the keys and values of each row go.
    pub(super) fn slots(&self) -> DevicePtr {
        self.column(2)
    }

    /// The rows whose logits are wanted.
    pub(super) fn wanted_rows(&self) -> DevicePtr {
        self.column(3)
    }

    /// The largest position of the batch.
    pub(super) fn last_position(&self) -> usize {
        self.last_position
    }

    /// Attention of the batch's family over the pages of a layer.
    pub(super) fn attention(
        &self,
        kernels: &Kernels,
        (k_pages, v_pages): (DevicePtr, DevicePtr),
        heads: Heads,
        window: Option<usize>,
        (q, out): (DevicePtr, DevicePtr),
    ) -> Result<()> {
        assert_eq!(heads, self.shape.heads, "the heads that the step was made for");
        let window = window.map(|w| w.min(self.shape.context) as u32);
        let (block_tables, table_stride) = (self.tables.ptr(), self.table_stride as u32);
        match self.phase {
            Phase::Prefill => prefill::attention_prefill(
                kernels,
                &AttentionPrefill {
                    q,
                    k_pages,
                    v_pages,
                    block_tables,
                    tiles: self.plan.ptr(),
                    tile_count: self.tile_count,
                    tile_rows: self.tile_rows,
                    out,
                    heads,
                    table_stride,
                    window,
                },
            ),
            Phase::Decode => attention::attention_decode(
                kernels,
                &AttentionDecode {
                    q,
                    k_pages,
                    v_pages,
                    block_tables,
                    plan: self.plan.ptr(),
                    out,
                    partials: self.partials.ptr(),
                    arrivals: self.arrivals.ptr(),
                    heads,
                    table_stride,
                    window,
                    capacity: self.decode,
                    blocks: self.blocks,
                },
            ),
        }
    }

    /// Runs the ops of `body`. A decode pass of a size that was seen before is recorded, and from
    /// then on the record is run: the first pass of a size runs as it is, so that everything a
    /// driver loads late is loaded before it records.
    pub(super) fn pass(
        &self,
        kernels: &Kernels,
        body: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        if self.phase == Phase::Prefill {
            return body();
        }
        let key = (self.rows.padded, self.logit_rows.padded, self.decode.sequence_rows);
        let mut graphs = self.graphs.borrow_mut();
        let Some(known) = graphs.get_mut(&key) else {
            body()?;
            graphs.insert(key, None);
            return Ok(());
        };
        if let Some(graph) = known
            && kernels.replay(graph, &mut *body)?
        {
            return Ok(());
        }
        // Not recorded yet, or for other addresses: another KV cache, or scratch that has grown.
        let graph = kernels.record(&mut *body)?;
        kernels.driver().replay(graph.id())?;
        *known = Some(graph);
        Ok(())
    }
}
