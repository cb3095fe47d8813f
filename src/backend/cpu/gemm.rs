//! The matrix product: cut into tiles of the output, each done by one thread.
//!
//! Columns of weights that a quantiser has put into an order of its own stay in it: x is gathered
//! into that order once, before the product. A tile is computed in one of two ways, which give the
//! same bits (the order is fixed in the [module](super)). *Streamed*: few rows of x; each weight is
//! read from memory once and used for all rows while it is in the cache. *Blocked*: many rows; a
//! strip of weights is converted to f32 for a block of k and stays in the first-level cache while
//! all rows of x pass by.

use super::CpuBackend;
use super::math;
use super::matrix::{Matrix, PackedRow, RowFormat, Run};
use super::parallel::{self, Tile};
use super::rows;
use super::simd::{InstructionSet, Kernel, LANES, Simd};
use super::store::{Bf16, F16, F32, Tensor};
use super::tile;
use super::weight::{Int8Row, PlainRow, WeightRow};
use crate::backend::Epilogue;
use crate::error::Result;
use crate::tensor::Dtype;
use std::ops::Range;

/// The most rows of x that are streamed; from here on arithmetic costs more than memory.
const STREAMED_ROWS: usize = 8;
/// Rows of weights follow one another in memory: what lies this many bytes ahead is wanted soon.
const AHEAD: usize = 32 << 10;
/// Rows and columns of a blocked tile: the block of x stays in the second-level cache.
const BLOCK_ROWS: usize = 128;
const BLOCK_COLS: usize = 64;
/// Blocks of sixteen k whose strip of weights stays in the first-level cache.
const BLOCK_K: usize = 64;

/// The op, see [`crate::backend::Backend::gemm`].
pub(super) fn gemm(
    set: InstructionSet,
    x: &Tensor,
    weight: &Matrix,
    epilogue: &Epilogue<'_, CpuBackend>,
    out: &mut Tensor,
) -> Result<()> {
    let gated = matches!(epilogue, Epilogue::SwiGlu);
    let n = if gated { weight.n / 2 } else { weight.n };
    assert!(!gated || weight.n.is_multiple_of(2), "{} rows of gate and up", weight.n);
    assert_eq!(x.width, weight.k, "x [{}, {}], W [{}, {}]", x.rows, x.width, weight.n, weight.k);
    assert_eq!(out.width, n, "out of a product with W [{}, {}]", weight.n, weight.k);
    match epilogue {
        Epilogue::Bias(bias) => assert_eq!(bias.len, n, "bias of {n} columns"),
        Epilogue::Residual(_) => assert_eq!(out.rows, x.rows, "residual of {} rows", x.rows),
        Epilogue::Store | Epilogue::SwiGlu => {}
    }
    out.set_rows(x.rows);
    let work = x.rows * weight.n * weight.k;
    let wanted = parallel::tasks(work);
    let (rows, cols) = if x.rows <= STREAMED_ROWS {
        (STREAMED_ROWS, n.div_ceil(wanted).next_multiple_of(4))
    } else {
        (BLOCK_ROWS, n.div_ceil(wanted).next_multiple_of(4).min(BLOCK_COLS))
    };
    let cols = cols.max(4);
    let ordered = weight.orders.iter().map(|order| rows::in_order(x, order));
    let ordered = ordered.collect::<Result<Vec<Tensor>>>()?;
    parallel::for_each(work, parallel::tiles(out.rows_mut(), rows, cols), |tile| {
        set.run(Job { x, ordered: &ordered, weight, n, epilogue, tile });
    });
    Ok(())
}

/// One tile of the output.
struct Job<'a> {
    x: &'a Tensor,
    /// x in each of the weights' orders of columns.
    ordered: &'a [Tensor],
    weight: &'a Matrix,
    /// Columns of the whole output; with a gate, the first row of up.
    n: usize,
    epilogue: &'a Epilogue<'a, CpuBackend>,
    tile: Tile<'a>,
}

impl Kernel for Job<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.weight.format() {
            RowFormat::Plain(Dtype::F32) => self.run_on::<S, PlainRow<'_, F32>>(s),
            RowFormat::Plain(Dtype::F16) => self.run_on::<S, PlainRow<'_, F16>>(s),
            RowFormat::Plain(Dtype::Bf16) => self.run_on::<S, PlainRow<'_, Bf16>>(s),
            RowFormat::Int8 => self.run_on::<S, Int8Row<'_>>(s),
            RowFormat::Int4 => self.run_on::<S, PackedRow<'_>>(s),
        }
    }
}

/// Rows of weights of one part, and where their products go.
struct Piece<'a> {
    x: &'a Tensor,
    run: Run<'a>,
    /// The accumulator columns of its rows, of `strips` in a tile.
    columns: Range<usize>,
    strips: usize,
}

impl<'a> Job<'a> {
    #[inline(always)]
    fn run_on<S: Simd, R: WeightRow<'a>>(mut self, s: S) {
        let cols = self.tile.rows[0].len();
        let gated = matches!(self.epilogue, Epilogue::SwiGlu);
        let strips = if gated { 2 * cols } else { cols };
        let mut acc = vec![0.0; self.tile.rows.len() * strips];
        for piece in self.pieces(strips) {
            if self.tile.rows.len() > STREAMED_ROWS {
                blocked::<S, R>(s, &self.tile, &piece, &mut acc);
            } else {
                streamed::<S, R>(s, &self.tile, &piece, &mut acc);
            }
        }
        let col = self.tile.col;
        for (out, acc) in self.tile.rows.iter_mut().zip(acc.chunks_exact(strips)) {
            finish(s, self.epilogue, col, acc, out);
        }
    }

    /// The weights of all accumulator columns; with a gate, those of up follow those of the gate.
    fn pieces(&self, strips: usize) -> Vec<Piece<'a>> {
        let (mut pieces, cols) = (Vec::new(), self.tile.rows[0].len());
        for first in [self.tile.col, self.n + self.tile.col].into_iter().take(strips / cols) {
            let mut column = pieces.len().min(1) * cols;
            for run in self.weight.runs(first..first + cols) {
                let x = run.order.map_or(self.x, |order| &self.ordered[order]);
                let columns = column..column + run.n;
                column = columns.end;
                pieces.push(Piece { x, run, columns, strips });
            }
        }
        pieces
    }
}

impl<'a> Piece<'a> {
    /// The rows of weights from accumulator column `j` on. Past the last column the last one is
    /// computed again; nobody asks for the result.
    #[inline(always)]
    fn weights<R: WeightRow<'a>, const N: usize>(&self, j: usize) -> [R; N] {
        let mut w = [R::of(&self.run, j - self.columns.start); N];
        for (i, w) in w.iter_mut().enumerate().skip(1) {
            *w = R::of(&self.run, (j + i).min(self.columns.end - 1) - self.columns.start);
        }
        w
    }

    /// M rows of x from row `row` on.
    #[inline(always)]
    fn rows<const M: usize>(&self, row: usize) -> [&'a [[f32; LANES]]; M] {
        let mut x: [&[[f32; LANES]]; M] = [&[]; M];
        for (i, x) in x.iter_mut().enumerate() {
            *x = self.x.blocks(row + i);
        }
        x
    }

    /// Adds up the lanes and stores them: row i at `acc[i * strips..]`, as far as there are
    /// columns.
    #[inline(always)]
    fn put<S: Simd, const M: usize, const N: usize>(
        &self,
        s: S,
        lanes: &[[S::V; N]; M],
        j: usize,
        acc: &mut [f32],
    ) {
        let cols = N.min(self.columns.end - j);
        for (i, lanes) in lanes.iter().enumerate() {
            store_some(&s.sums(lanes), &mut acc[i * self.strips + j..][..cols]);
        }
    }
}

/// `acc[row][j]` of all rows of the tile, straight from the stored weights.
#[inline(always)]
fn streamed<'a, S: Simd, R: WeightRow<'a>>(
    s: S,
    tile: &Tile<'_>,
    piece: &Piece<'a>,
    acc: &mut [f32],
) {
    match S::TILE.1 {
        4 => streamed_strips::<S, R, 4>(s, tile, piece, acc),
        2 => streamed_strips::<S, R, 2>(s, tile, piece, acc),
        _ => streamed_strips::<S, R, 1>(s, tile, piece, acc),
    }
}

#[inline(always)]
fn streamed_strips<'a, S: Simd, R: WeightRow<'a>, const N: usize>(
    s: S,
    tile: &Tile<'_>,
    piece: &Piece<'a>,
    acc: &mut [f32],
) {
    let rows = tile.rows.len();
    for j in piece.columns.clone().step_by(N) {
        let w = piece.weights::<R, N>(j);
        let mut row = 0;
        while row < rows {
            let left = (rows - row).min(S::TILE.0);
            let (at, acc) = ((tile.row + row, j), &mut acc[row * piece.strips..]);
            row += if S::TILE.0 >= 4 && left >= 4 {
                streamed_rows::<S, R, 4, N>(s, piece, at, &w, acc)
            } else if S::TILE.0 >= 2 && left >= 2 {
                streamed_rows::<S, R, 2, N>(s, piece, at, &w, acc)
            } else {
                streamed_rows::<S, R, 1, N>(s, piece, at, &w, acc)
            };
        }
    }
}

#[inline(always)]
fn streamed_rows<'a, S: Simd, R: WeightRow<'a>, const M: usize, const N: usize>(
    s: S,
    piece: &Piece<'a>,
    (row, j): (usize, usize),
    w: &[R; N],
    acc: &mut [f32],
) -> usize {
    let lanes = R::lanes::<S, M, N>(s, &piece.rows::<M>(row), w, AHEAD);
    piece.put(s, &lanes, j, acc);
    M
}

/// The first `out.len()` of N numbers. The usual case, all N, is kept apart: its length is known.
#[inline(always)]
pub(super) fn store_some<const N: usize>(from: &[f32; N], out: &mut [f32]) {
    match <&mut [f32; N]>::try_from(&mut *out) {
        Ok(out) => *out = *from,
        Err(_) => out.copy_from_slice(&from[..out.len()]),
    }
}

/// `acc[row][j]` of all rows of the tile by way of panels of weights in f32.
#[inline(always)]
fn blocked<'a, S: Simd, R: WeightRow<'a>>(
    s: S,
    tile: &Tile<'_>,
    piece: &Piece<'a>,
    acc: &mut [f32],
) {
    match S::TILE {
        (4, 4) => blocked_strips::<S, R, 4, 4>(s, tile, piece, acc),
        (2, 2) => blocked_strips::<S, R, 2, 2>(s, tile, piece, acc),
        _ => blocked_strips::<S, R, 1, 1>(s, tile, piece, acc),
    }
}

#[inline(always)]
fn blocked_strips<'a, S: Simd, R: WeightRow<'a>, const M: usize, const N: usize>(
    s: S,
    tile: &Tile<'_>,
    piece: &Piece<'a>,
    acc: &mut [f32],
) {
    let rows = tile.rows.len();
    let blocks = piece.x.width.div_ceil(LANES);
    let mut panel = tile::Panel::<N>::new(blocks.min(BLOCK_K));
    // Lanes between two blocks of k, per row and strip.
    let kept = if blocks > BLOCK_K { rows * piece.columns.len().next_multiple_of(N) } else { 0 };
    let mut kept = vec![[0.0; LANES]; kept];
    for first in (0..blocks).step_by(BLOCK_K) {
        let k = first..(first + BLOCK_K).min(blocks);
        for j in piece.columns.clone().step_by(N) {
            for (i, w) in piece.weights::<R, N>(j).into_iter().enumerate() {
                panel.convert(s, i, w, k.clone(), AHEAD);
            }
            let at = Place { row: tile.row, j, k: k.clone(), last: k.end == blocks };
            let mut row = 0;
            while row + M <= rows {
                block_rows::<S, M, N>(s, piece, row, &panel, &at, &mut kept, acc);
                row += M;
            }
            while row < rows {
                block_rows::<S, 1, N>(s, piece, row, &panel, &at, &mut kept, acc);
                row += 1;
            }
        }
    }
}

/// Where a panel lies: the first row of the tile, the panel's first accumulator column, and its
/// blocks of k.
struct Place {
    row: usize,
    j: usize,
    k: Range<usize>,
    last: bool,
}

#[inline(always)]
fn block_rows<S: Simd, const M: usize, const N: usize>(
    s: S,
    piece: &Piece<'_>,
    row: usize,
    panel: &tile::Panel<N>,
    at: &Place,
    kept: &mut [[f32; LANES]],
    acc: &mut [f32],
) {
    let mut x = piece.rows::<M>(at.row + row);
    for x in &mut x {
        *x = &x[at.k.clone()];
    }
    let padded = piece.columns.len().next_multiple_of(N);
    let column = at.j - piece.columns.start;
    let mut lanes = [[s.splat(0.0); N]; M];
    if at.k.start > 0 {
        for (i, lanes) in lanes.iter_mut().enumerate() {
            let kept = &kept[(row + i) * padded + column..][..N];
            for j in 0..N {
                lanes[j] = s.load(&kept[j]);
            }
        }
    }
    let lanes = tile::panelled(s, &x, panel, lanes);
    if at.last {
        return piece.put(s, &lanes, at.j, &mut acc[row * piece.strips..]);
    }
    for (i, lanes) in lanes.iter().enumerate() {
        let kept = &mut kept[(row + i) * padded + column..][..N];
        for j in 0..N {
            s.store(lanes[j], &mut kept[j]);
        }
    }
}

/// The epilogue of one row of a tile whose first column is `col`.
#[inline(always)]
fn finish<S: Simd>(
    s: S,
    epilogue: &Epilogue<'_, CpuBackend>,
    col: usize,
    acc: &[f32],
    out: &mut [f32],
) {
    match epilogue {
        Epilogue::Store => out.copy_from_slice(acc),
        Epilogue::Bias(bias) => {
            let bias = &bias.as_slice()[col..][..out.len()];
            for ((out, acc), bias) in out.iter_mut().zip(acc).zip(bias) {
                *out = acc + bias;
            }
        }
        Epilogue::Residual(_) => {
            for (out, acc) in out.iter_mut().zip(acc) {
                *out += acc;
            }
        }
        Epilogue::SwiGlu => {
            let (gate, up) = acc.split_at(out.len());
            for ((out, gate), up) in
                out.chunks_mut(LANES).zip(gate.chunks(LANES)).zip(up.chunks(LANES))
            {
                let (mut g, mut u) = ([0.0; LANES], [0.0; LANES]);
                g[..gate.len()].copy_from_slice(gate);
                u[..up.len()].copy_from_slice(up);
                let v = s.mul(math::silu(s, s.load(&g)), s.load(&u));
                s.store(v, &mut g);
                out.copy_from_slice(&g[..out.len()]);
            }
        }
    }
}
