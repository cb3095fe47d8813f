//! Attention of both families over pages that lie anywhere in the pool.

use super::models::Model;
use super::{BF16, Device, Floor, Launch, Op, Random};
use ridgepoint::backend::cuda::kernels::{KernelSet, Kernels};
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::backend::cuda::ops::attention::{
    AttentionDecode, DecodeCapacity, SequenceRows, attention_decode, plan_decode,
};
use ridgepoint::backend::cuda::ops::attention_prefill::{
    AttentionPrefill, attention_prefill, plan_prefill, prefill_tile_rows,
};
use ridgepoint::backend::cuda::params::{ATTENTION_CHUNK, KV_PAGE_TOKENS};
use ridgepoint::backend::{Heads, Phase};
use ridgepoint::error::Result;

const PAGE: usize = KV_PAGE_TOKENS as usize;

/// Sequences that all see as many positions.
struct Attention {
    model: Model,
    phase: Phase,
    sequences: usize,
    /// Rows of each sequence, at its last positions.
    rows: usize,
    /// Positions up to the last row.
    end: usize,
}

/// One row of each of `sequences`, which sees `context` positions.
pub fn decode(model: &Model, sequences: usize, context: usize) -> Box<dyn Op> {
    let (model, phase) = (model.clone(), Phase::Decode);
    Box::new(Attention { model, phase, sequences, rows: 1, end: context })
}

/// A whole prompt.
pub fn prefill(model: &Model, tokens: usize) -> Box<dyn Op> {
    let (model, phase) = (model.clone(), Phase::Prefill);
    Box::new(Attention { model, phase, sequences: 1, rows: tokens, end: tokens })
}

impl Attention {
    fn heads(&self) -> Heads {
        self.model.config.heads
    }

    fn batch(&self) -> Vec<SequenceRows> {
        let rows = self.rows as u32;
        let sequence = |index: u32| SequenceRows {
            row: index * rows,
            rows,
            position: Some(self.end as u32 - rows),
            table: index,
        };
        (0..self.sequences as u32).map(sequence).collect()
    }

    fn requested_by_decode(&self) -> usize {
        let Heads { query, kv, dim } = self.heads();
        let (row, chunks) = (BF16 * dim, self.end.div_ceil(ATTENTION_CHUNK as usize));
        let cache = 2 * self.end * kv * row;
        let (queries, units) = (chunks * query, chunks * kv);
        // A row of several chunks stores their sums and adds them up.
        let sums = if chunks > 1 { chunks * query } else { 0 };
        let sequence =
            cache + (queries + query) * row + 544 * units + sums * (4 * row + 12 + 2 * dim);
        self.sequences * sequence
    }

    fn requested_by_prefill(&self, device: &Device) -> usize {
        let Heads { query, dim, .. } = self.heads();
        let tile = prefill_tile_rows(&device.kernels, &self.batch(), self.heads());
        let ends = (0..self.rows).step_by(tile as usize).map(|at| self.end.min(at + tile as usize));
        let tiles = ends.len();
        let (tokens, pages) =
            ends.fold((0, 0), |(tokens, pages), end| (tokens + end, pages + end.div_ceil(PAGE)));
        let plan = match device.kernels.set() {
            KernelSet::Hopper => pages * dim / 16 + tiles * 512 * (1 + tile as usize / 64),
            KernelSet::Portable => 512 * pages,
        };
        query * (BF16 * dim * 2 * (tokens + self.rows) + plan)
    }
}

/// What launches of both families read and write.
struct Batch {
    rows: Vec<SequenceRows>,
    q: Buffer,
    k_pages: Buffer,
    v_pages: Buffer,
    block_tables: Buffer,
    table_stride: u32,
    out: Buffer,
}

impl Attention {
    fn operands(&self, device: &Device) -> Result<Batch> {
        let (heads, rows) = (self.heads(), self.sequences * self.rows);
        let stride = self.end.div_ceil(PAGE);
        let pages = self.sequences * stride;
        let mut order: Vec<u32> = (0..pages as u32).collect();
        let mut random = Random(1);
        for at in (1..pages).rev() {
            order.swap(at, random.below(at + 1));
        }
        let width = heads.query * heads.dim;
        let pool = || device.numbers(pages * heads.kv * PAGE * heads.dim);
        Ok(Batch {
            rows: self.batch(),
            q: device.numbers(rows * width)?,
            k_pages: pool()?,
            v_pages: pool()?,
            block_tables: device.upload(&order)?,
            table_stride: stride as u32,
            out: device.room(rows * width * BF16)?,
        })
    }

    fn prepare_prefill(&self, device: &Device) -> Result<Launch> {
        let (heads, batch) = (self.heads(), self.operands(device)?);
        let tile_rows = prefill_tile_rows(&device.kernels, &batch.rows, heads);
        let mut tiles = Vec::new();
        plan_prefill(&batch.rows, tile_rows, &mut tiles);
        let plan = device.upload(&tiles)?;
        Ok(Box::new(move |kernels: &Kernels| {
            let op = AttentionPrefill {
                q: batch.q.ptr(),
                k_pages: batch.k_pages.ptr(),
                v_pages: batch.v_pages.ptr(),
                block_tables: batch.block_tables.ptr(),
                tiles: plan.ptr(),
                tile_count: tiles.len() as u32,
                tile_rows,
                out: batch.out.ptr(),
                heads,
                table_stride: batch.table_stride,
                window: None,
            };
            attention_prefill(kernels, &op)
        }))
    }

    fn prepare_decode(&self, device: &Device) -> Result<Launch> {
        let (heads, batch) = (self.heads(), self.operands(device)?);
        let capacity = DecodeCapacity {
            rows: (self.sequences * self.rows) as u32,
            sequences: self.sequences as u32,
            sequence_rows: self.rows as u32,
            context: self.end as u32,
        };
        let mut words = Vec::new();
        plan_decode(&batch.rows, heads, &mut words);
        let plan = device.upload(&words)?;
        let partials = device.room(capacity.partials_bytes(heads) as usize)?;
        let arrivals = device.zeros(capacity.arrivals_bytes(heads) as usize)?;
        let blocks = capacity.blocks(heads, device.multiprocessors());
        Ok(Box::new(move |kernels: &Kernels| {
            let op = AttentionDecode {
                q: batch.q.ptr(),
                k_pages: batch.k_pages.ptr(),
                v_pages: batch.v_pages.ptr(),
                block_tables: batch.block_tables.ptr(),
                plan: plan.ptr(),
                out: batch.out.ptr(),
                partials: partials.ptr(),
                arrivals: arrivals.ptr(),
                heads,
                table_stride: batch.table_stride,
                window: None,
                capacity,
                blocks,
            };
            attention_decode(kernels, &op)
        }))
    }
}

impl Op for Attention {
    fn name(&self) -> String {
        let Attention { model, sequences, rows, end, .. } = self;
        match self.phase {
            Phase::Decode => format!("attention_decode {} b{sequences} of {end}", model.name),
            Phase::Prefill => format!("attention_prefill {} {rows} tokens", model.name),
        }
    }

    fn floor(&self) -> Floor {
        match self.phase {
            Phase::Decode => {
                self.model.floor("attention", self.phase, self.sequences, self.end - 1)
            }
            Phase::Prefill => {
                self.model.floor("attention", self.phase, self.rows, self.end - self.rows)
            }
        }
    }

    fn requested(&self, device: &Device) -> u64 {
        match self.phase {
            Phase::Decode => self.requested_by_decode() as u64,
            Phase::Prefill => self.requested_by_prefill(device) as u64,
        }
    }

    fn prepare(&self, device: &Device) -> Result<Launch> {
        match self.phase {
            Phase::Decode => self.prepare_decode(device),
            Phase::Prefill => self.prepare_prefill(device),
        }
    }
}
