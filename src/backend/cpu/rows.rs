//! The ops that touch each row once: embed, rmsnorm, rope_append, gather. All are bound by memory.

use super::math;
use super::matrix::{Matrix, PackedRow, RowFormat};
use super::parallel;
use super::simd::{InstructionSet, Kernel, LANES, Simd};
use super::store::{Bf16, F16, F32, KvCache, RopeTable, Tensor, Vector};
use super::weight::{Int8Row, PlainRow, WeightRow};
use crate::backend::{Batch, Heads, PAGE_SIZE, QkNorm};
use crate::error::Result;
use crate::request::TokenId;
use crate::tensor::Dtype;
use rayon::prelude::*;

/// Rows of a task.
const TASK_ROWS: usize = 16;

/// Work of one element, in the multiply-adds of [`parallel`].
const ELEMENT_WORK: usize = 8;

/// The op, see [`crate::backend::Backend::embed`].
pub(super) fn embed(set: InstructionSet, tokens: &[TokenId], table: &Matrix, out: &mut Tensor) {
    assert_eq!(out.width, table.k, "width of an embedding [{}, {}]", table.n, table.k);
    out.set_rows(tokens.len());
    let work = tokens.len() * table.k * ELEMENT_WORK;
    let tiles = parallel::tiles(out.rows_mut(), TASK_ROWS, table.k);
    parallel::for_each(work, tiles, |tile| {
        for (row, out) in tile.rows.into_iter().enumerate() {
            let token = tokens[tile.row + row];
            assert!(token.index() < table.n, "token {} of {}", token.0, table.n);
            set.run(Convert { table, row: token.index(), out });
        }
    });
}

/// Stored elements to f32.
struct Convert<'a> {
    table: &'a Matrix,
    row: usize,
    out: &'a mut [f32],
}

impl Kernel for Convert<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.table.format() {
            RowFormat::Plain(Dtype::F32) => self.run_on::<S, PlainRow<'_, F32>>(s),
            RowFormat::Plain(Dtype::F16) => self.run_on::<S, PlainRow<'_, F16>>(s),
            RowFormat::Plain(Dtype::Bf16) => self.run_on::<S, PlainRow<'_, Bf16>>(s),
            RowFormat::Int8 => self.run_on::<S, Int8Row<'_>>(s),
            RowFormat::Int4 => self.run_on::<S, PackedRow<'_>>(s),
        }
    }
}

impl<'a> Convert<'a> {
    #[inline(always)]
    fn run_on<S: Simd, R: WeightRow<'a>>(self, s: S) {
        let run = self.table.runs(self.row..self.row + 1).next().expect("a row that exists");
        let row = R::of(&run, 0);
        let Some(order) = run.order else {
            return convert::<S, R>(s, row, self.out);
        };
        let mut ordered = vec![0.0; self.out.len()];
        convert::<S, R>(s, row, &mut ordered);
        for (&column, x) in self.table.orders[order].iter().zip(ordered) {
            self.out[column as usize] = x;
        }
    }
}

#[inline(always)]
fn convert<'a, S: Simd, R: WeightRow<'a>>(s: S, row: R, out: &mut [f32]) {
    let (whole, last) = out.as_chunks_mut::<LANES>();
    let blocks = whole.len();
    row.convert(s, 0..blocks, whole.as_chunks_mut::<1>().0, 0, 0);
    if !last.is_empty() {
        // Conversion begins at whole chunks of weights.
        let first = blocks / 8 * 8;
        let mut lanes = [[[0.0; LANES]]; 8];
        row.convert(s, first..blocks + 1, &mut lanes, 0, 0);
        last.copy_from_slice(&lanes[blocks - first][0][..last.len()]);
    }
}

/// x with column `order[c]` in place of column c.
pub(super) fn in_order(x: &Tensor, order: &[u32]) -> Result<Tensor> {
    assert_eq!(order.len(), x.width, "columns of an order");
    let mut out = Tensor::new(x.rows, x.width)?;
    out.set_rows(x.rows);
    let tiles = parallel::tiles(out.rows_mut(), TASK_ROWS, order.len());
    parallel::for_each(x.rows * x.width, tiles, |tile| {
        for (row, out) in tile.rows.into_iter().enumerate() {
            let x = x.row(tile.row + row);
            for (out, &column) in out.iter_mut().zip(order) {
                *out = x[column as usize];
            }
        }
    });
    Ok(out)
}

/// See [`crate::backend::Norm`].
pub(super) fn rmsnorm(
    set: InstructionSet,
    x: &Tensor,
    weight: &Vector,
    eps: f32,
    out: &mut Tensor,
) {
    assert_eq!(weight.len, x.width, "norm weight of rows of {}", x.width);
    assert_eq!(out.width, x.width, "width of rmsnorm's out");
    out.set_rows(x.rows);
    let work = x.rows * x.width * ELEMENT_WORK;
    let tiles = parallel::tiles(out.rows_mut(), TASK_ROWS, x.width);
    parallel::for_each(work, tiles, |tile| {
        for (row, out) in tile.rows.into_iter().enumerate() {
            set.run(Norm { x: x.blocks(tile.row + row), weight, eps, out });
        }
    });
}

/// `out = (x * (1 / sqrt(mean(x^2) + eps))) * weight`.
struct Norm<'a> {
    x: &'a [[f32; LANES]],
    weight: &'a Vector,
    eps: f32,
    out: &'a mut [f32],
}

impl Kernel for Norm<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.out.len();
        let mean = math::sum_of_squares(s, self.x) / width as f32;
        let scale = s.splat(1.0 / (mean + self.eps).sqrt());
        let (out, last) = self.out.as_chunks_mut::<LANES>();
        let whole = out.len();
        let weight = self.weight.blocks();
        for ((out, x), w) in out.iter_mut().zip(self.x).zip(weight) {
            s.store(s.mul(s.mul(s.load(x), scale), s.load(w)), out);
        }
        if !last.is_empty() {
            let mut lanes = [0.0; LANES];
            let scaled = s.mul(s.load(&self.x[whole]), scale);
            s.store(s.mul(scaled, s.load(&weight[whole])), &mut lanes);
            last.copy_from_slice(&lanes[..last.len()]);
        }
    }
}

/// The table, see [`crate::backend::Backend::rope_table`].
pub(super) fn rope_table(inv_freq: &[f32], values: &mut [f32]) {
    let half = inv_freq.len();
    values.par_chunks_exact_mut(2 * half.max(1)).enumerate().for_each(|(position, row)| {
        let (cos, sin) = row.split_at_mut(half);
        for ((cos, sin), f) in cos.iter_mut().zip(sin).zip(inv_freq) {
            let angle = f64::from(position as f32 * f);
            (*cos, *sin) = (angle.cos() as f32, angle.sin() as f32);
        }
    });
}

/// The op, see [`crate::backend::Backend::rope_append`].
#[allow(clippy::too_many_arguments)] // an op's operands
pub(super) fn rope_append(
    set: InstructionSet,
    batch: &Batch,
    layer: usize,
    qkv: &Tensor,
    norm: Option<QkNorm<'_, Vector>>,
    rope: &RopeTable,
    query: &mut Tensor,
    kv: &mut KvCache,
) {
    let heads = kv.shape.heads;
    let Heads { query: query_heads, kv: kv_heads, dim } = heads;
    assert_eq!(qkv.rows, batch.rows(), "qkv rows of a batch of {}", batch.rows());
    assert_eq!(qkv.width, heads.qkv_width(), "qkv width of {heads:?}");
    assert_eq!(query.width, query_heads * dim, "query width of {heads:?}");
    assert_eq!(2 * rope.half, dim, "the rope table's head_dim");
    assert!(layer < kv.shape.layers, "layer {layer} of {}", kv.shape.layers);
    if let Some(norm) = &norm {
        assert_eq!((norm.query.len, norm.key.len), (dim, dim), "norm weights of heads");
    }
    query.set_rows(qkv.rows);
    let eps = norm.as_ref().map_or(0.0, |norm| norm.eps);
    let (query_norm, key_norm) = norm.map_or((None, None), |n| (Some(n.query), Some(n.key)));

    let work = qkv.rows * query.width * ELEMENT_WORK;
    let tiles = parallel::tiles(query.rows_mut(), TASK_ROWS, query_heads * dim);
    parallel::for_each(work, tiles, |tile| {
        for (i, out) in tile.rows.into_iter().enumerate() {
            let row = tile.row + i;
            let at = rope.at(batch.positions[row]);
            let from = qkv.row(row).chunks_exact(dim);
            for (out, from) in out.chunks_exact_mut(dim).zip(from) {
                turn(set, from, query_norm, eps, at, out);
            }
        }
    });
    // A few heads of each row: too little to be worth sharing out by page.
    let mut key = vec![0.0; dim];
    for span in &batch.spans {
        for (i, row) in span.rows.clone().enumerate() {
            let position = span.start + i;
            let at = rope.at(batch.positions[row]);
            let slot = (batch.table(span)[position / PAGE_SIZE], position % PAGE_SIZE);
            let (keys, values) = qkv.row(row)[query_heads * dim..].split_at(kv_heads * dim);
            for head in 0..kv_heads {
                turn(set, &keys[head * dim..][..dim], key_norm, eps, at, &mut key);
                kv.put(layer, slot, head, &key, &values[head * dim..][..dim]);
            }
        }
    }
}

/// Normalises a head if there is a weight, and rotates it. No fused multiply-add: the compiler
/// vectorises this without one on every instruction set, with the same bits.
fn turn(
    set: InstructionSet,
    head: &[f32],
    norm: Option<&Vector>,
    eps: f32,
    (cos, sin): (&[f32], &[f32]),
    out: &mut [f32],
) {
    match norm {
        None => out.copy_from_slice(head),
        Some(weight) => {
            let mut padded = vec![[0.0; LANES]; head.len().div_ceil(LANES)];
            padded.as_flattened_mut()[..head.len()].copy_from_slice(head);
            set.run(Norm { x: &padded, weight, eps, out });
        }
    }
    let (low, high) = out.split_at_mut(cos.len());
    for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

/// The op, see [`crate::backend::Backend::gather`].
pub(super) fn gather(x: &Tensor, rows: &[usize], out: &mut Tensor) {
    assert_eq!(out.width, x.width, "width of gather's out");
    out.set_rows(rows.len());
    for (out, &row) in out.rows_mut().zip(rows) {
        out.copy_from_slice(x.row(row));
    }
}
