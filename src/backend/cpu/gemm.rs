//! The matrix product: cut into tiles of the output, each done by one thread.
//!
//! A tile is computed in one of two ways, which give the same bits (the order is fixed in the
//! [module](super)). *Streamed*: few rows of x; each weight is read from memory once and used for
//! all rows while it is in the cache. *Blocked*: many rows; a strip of weights is converted to f32
//! for a block of k and stays in the first-level cache while all rows of x pass by.

use super::CpuBackend;
use super::math;
use super::parallel::{self, Tile};
use super::simd::{InstructionSet, Kernel, LANES, Simd};
use super::store::{Bf16, Element, F16, F32, Matrix, Rows, Tensor};
use super::tile;
use crate::backend::Epilogue;
use crate::tensor::Dtype;

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
) {
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
    let weights = weight.rows();
    parallel::for_each(work, parallel::tiles(out.rows_mut(), rows, cols), |tile| {
        set.run(Job { x, weights: &weights, dtype: weight.dtype, n, epilogue, tile });
    });
}

/// One tile of the output.
struct Job<'a> {
    x: &'a Tensor,
    weights: &'a Rows<'a>,
    dtype: Dtype,
    /// Columns of the whole output; with a gate, the first row of up.
    n: usize,
    epilogue: &'a Epilogue<'a, CpuBackend>,
    tile: Tile<'a>,
}

impl Kernel for Job<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let cols = self.tile.rows[0].len();
        let gated = matches!(self.epilogue, Epilogue::SwiGlu);
        let strips = if gated { 2 * cols } else { cols };
        let mut acc = vec![0.0; self.tile.rows.len() * strips];
        if self.tile.rows.len() > STREAMED_ROWS {
            blocked(s, &self, strips, &mut acc);
        } else {
            match self.dtype {
                Dtype::F32 => streamed::<S, F32>(s, &self, strips, &mut acc),
                Dtype::F16 => streamed::<S, F16>(s, &self, strips, &mut acc),
                Dtype::Bf16 => streamed::<S, Bf16>(s, &self, strips, &mut acc),
            }
        }
        let col = self.tile.col;
        for (out, acc) in self.tile.rows.iter_mut().zip(acc.chunks_exact(strips)) {
            finish(s, self.epilogue, col, acc, out);
        }
    }
}

impl Job<'_> {
    /// The weights of accumulator column `j`: with a gate, those of up follow those of the gate.
    #[inline(always)]
    fn weight(&self, j: usize) -> &[u8] {
        let cols = self.tile.rows[0].len();
        let row = if j < cols { self.tile.col + j } else { self.n + self.tile.col + j - cols };
        self.weights.get(row)
    }
}

/// `acc[row][j]` of all rows of the tile, straight from the stored weights.
#[inline(always)]
fn streamed<S: Simd, E: Element>(s: S, job: &Job<'_>, strips: usize, acc: &mut [f32]) {
    match S::TILE.1 {
        4 => streamed_strips::<S, E, 4>(s, job, strips, acc),
        2 => streamed_strips::<S, E, 2>(s, job, strips, acc),
        _ => streamed_strips::<S, E, 1>(s, job, strips, acc),
    }
}

#[inline(always)]
fn streamed_strips<S: Simd, E: Element, const N: usize>(
    s: S,
    job: &Job<'_>,
    strips: usize,
    acc: &mut [f32],
) {
    let rows = job.tile.rows.len();
    for j in (0..strips).step_by(N) {
        // Past the last column the last one is computed again; nobody asks for the result.
        let mut w: [&[u8]; N] = [&[]; N];
        for (i, w) in w.iter_mut().enumerate() {
            *w = job.weight((j + i).min(strips - 1));
        }
        let mut row = 0;
        while row < rows {
            let left = (rows - row).min(S::TILE.0);
            let acc = &mut acc[row * strips..];
            row += if S::TILE.0 >= 4 && left >= 4 {
                streamed_rows::<S, E, 4, N>(s, job, row, &w, (j, strips), acc)
            } else if S::TILE.0 >= 2 && left >= 2 {
                streamed_rows::<S, E, 2, N>(s, job, row, &w, (j, strips), acc)
            } else {
                streamed_rows::<S, E, 1, N>(s, job, row, &w, (j, strips), acc)
            };
        }
    }
}

#[inline(always)]
fn streamed_rows<S: Simd, E: Element, const M: usize, const N: usize>(
    s: S,
    job: &Job<'_>,
    row: usize,
    w: &[&[u8]; N],
    place: (usize, usize),
    acc: &mut [f32],
) -> usize {
    let x = rows_of::<M>(job, row);
    let lanes = tile::stored::<S, E, M, N>(s, &x, w, AHEAD);
    put(s, &lanes, place, acc);
    M
}

#[inline(always)]
fn rows_of<'a, const M: usize>(job: &'a Job<'_>, row: usize) -> [&'a [[f32; LANES]]; M] {
    let mut x: [&[[f32; LANES]]; M] = [&[]; M];
    for (i, x) in x.iter_mut().enumerate() {
        *x = job.x.blocks(job.tile.row + row + i);
    }
    x
}

/// Adds up the lanes and stores them: row i at `acc[i * strips..]`, as far as there are strips.
#[inline(always)]
fn put<S: Simd, const M: usize, const N: usize>(
    s: S,
    lanes: &[[S::V; N]; M],
    (j, strips): (usize, usize),
    acc: &mut [f32],
) {
    let cols = N.min(strips - j);
    for (i, lanes) in lanes.iter().enumerate() {
        store_some(&s.sums(lanes), &mut acc[i * strips + j..][..cols]);
    }
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
fn blocked<S: Simd>(s: S, job: &Job<'_>, strips: usize, acc: &mut [f32]) {
    match S::TILE {
        (4, 4) => blocked_strips::<S, 4, 4>(s, job, strips, acc),
        (2, 2) => blocked_strips::<S, 2, 2>(s, job, strips, acc),
        _ => blocked_strips::<S, 1, 1>(s, job, strips, acc),
    }
}

#[inline(always)]
fn blocked_strips<S: Simd, const M: usize, const N: usize>(
    s: S,
    job: &Job<'_>,
    strips: usize,
    acc: &mut [f32],
) {
    let rows = job.tile.rows.len();
    let blocks = job.x.width.div_ceil(LANES);
    let mut panel = tile::Panel::<N>::new(blocks.min(BLOCK_K));
    // Lanes between two blocks of k, per row and strip.
    let kept = if blocks > BLOCK_K { rows * strips.next_multiple_of(N) } else { 0 };
    let mut kept = vec![[0.0; LANES]; kept];
    for first in (0..blocks).step_by(BLOCK_K) {
        let k = first..(first + BLOCK_K).min(blocks);
        for j in (0..strips).step_by(N) {
            for i in 0..N {
                let w = if j + i < strips { job.weight(j + i) } else { &[] };
                panel.convert(s, i, (job.dtype, w), k.clone());
            }
            let at = Place { j, strips, k: k.clone(), last: k.end == blocks };
            let mut row = 0;
            while row + M <= rows {
                block_rows::<S, M, N>(s, job, row, &panel, &at, &mut kept, acc);
                row += M;
            }
            while row < rows {
                block_rows::<S, 1, N>(s, job, row, &panel, &at, &mut kept, acc);
                row += 1;
            }
        }
    }
}

/// Where a panel lies: its first accumulator column of `strips`, and its blocks of k.
struct Place {
    j: usize,
    strips: usize,
    k: std::ops::Range<usize>,
    last: bool,
}

#[inline(always)]
fn block_rows<S: Simd, const M: usize, const N: usize>(
    s: S,
    job: &Job<'_>,
    row: usize,
    panel: &tile::Panel<N>,
    at: &Place,
    kept: &mut [[f32; LANES]],
    acc: &mut [f32],
) {
    let mut x = rows_of::<M>(job, row);
    for x in &mut x {
        *x = &x[at.k.clone()];
    }
    let padded = at.strips.next_multiple_of(N);
    let mut lanes = [[s.splat(0.0); N]; M];
    if at.k.start > 0 {
        for (i, lanes) in lanes.iter_mut().enumerate() {
            let kept = &kept[(row + i) * padded + at.j..][..N];
            for j in 0..N {
                lanes[j] = s.load(&kept[j]);
            }
        }
    }
    let lanes = tile::panelled(s, &x, panel, lanes);
    if at.last {
        return put(s, &lanes, (at.j, at.strips), &mut acc[row * at.strips..]);
    }
    for (i, lanes) in lanes.iter().enumerate() {
        let kept = &mut kept[(row + i) * padded + at.j..][..N];
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
