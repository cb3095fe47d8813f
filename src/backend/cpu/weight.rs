//! Rows of weights in each format, and the inner loops of the product that read them as they are
//! stored: M rows of x by N rows of weights, sixteen lanes each, all of them in registers.
//!
//! A quantised weight is what its twin in f32 would be: the scale times a whole number, rounded
//! once. Everything after that is one product in one order, so a quantised matrix and its twin
//! give the same bits.

use super::matrix::{CHUNK, PackedRow, Run, Span};
use super::simd::{LANES, Simd};
use super::store::Element;
use std::marker::PhantomData;
use std::ops::Range;

/// Blocks of sixteen columns in a chunk of int4 weights.
const CHUNK_BLOCKS: usize = CHUNK / LANES;

/// A row of weights. Blocks are of sixteen columns, the last one continued with anything finite:
/// x is continued with zeros.
pub(super) trait WeightRow<'a>: Copy {
    /// Row `i` of a run.
    fn of(run: &Run<'a>, i: usize) -> Self;

    /// The lanes of M x N products, from the first block to the last. What lies `ahead` bytes
    /// (wrapping) from a weight is wanted soon and asked for.
    fn lanes<S: Simd, const M: usize, const N: usize>(
        s: S,
        x: &[&[[f32; LANES]]; M],
        rows: &[Self; N],
        ahead: usize,
    ) -> [[S::V; N]; M];

    /// The blocks `k` as f32, each to column `i` of one of `to`. `k` starts at a multiple of 8.
    /// What lies `ahead` bytes (wrapping) from a weight is wanted soon and asked for.
    fn convert<S: Simd, const N: usize>(
        self,
        s: S,
        k: Range<usize>,
        to: &mut [[[f32; LANES]; N]],
        i: usize,
        ahead: usize,
    );
}

/// A row of stored elements.
pub(super) struct PlainRow<'a, E>(&'a [u8], PhantomData<E>);

/// A row of int8.
#[derive(Clone, Copy)]
pub(super) struct Int8Row<'a> {
    values: &'a [i8],
    scale: f32,
}

/// Rows that are read a block at a time, each alone.
trait Blocks<'a>: Copy {
    /// The bytes of sixteen elements.
    type Block: Copy + 'a;
    /// Row `i` of a run.
    fn row(run: &Run<'a>, i: usize) -> Self;
    /// Whole blocks, and what is left continued with zeros.
    fn split(self) -> (&'a [Self::Block], Option<Self::Block>);
    /// What all elements are multiplied by, where that is not 1.
    fn scale(self) -> f32;
    /// Sixteen elements.
    fn load<S: Simd>(s: S, block: &Self::Block, scale: S::V) -> S::V;
}

impl<E> Clone for PlainRow<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for PlainRow<'_, E> {}

impl<'a, E: Element> Blocks<'a> for PlainRow<'a, E>
where
    E::Block: 'a,
{
    type Block = E::Block;

    #[inline(always)]
    fn row(run: &Run<'a>, i: usize) -> Self {
        PlainRow(run.plain_row(i), PhantomData)
    }
    #[inline(always)]
    fn split(self) -> (&'a [E::Block], Option<E::Block>) {
        let (whole, rest) = E::split(self.0);
        (whole, (!rest.is_empty()).then(|| E::pad(rest)))
    }
    #[inline(always)]
    fn scale(self) -> f32 {
        1.0
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, block: &E::Block, _: S::V) -> S::V {
        E::load(s, block)
    }
}

impl<'a> Blocks<'a> for Int8Row<'a> {
    type Block = [i8; LANES];

    #[inline(always)]
    fn row(run: &Run<'a>, i: usize) -> Self {
        let (values, scale) = run.int8_row(i);
        Int8Row { values, scale }
    }
    #[inline(always)]
    fn split(self) -> (&'a [[i8; LANES]], Option<[i8; LANES]>) {
        let (whole, rest) = self.values.as_chunks();
        let mut last = [0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        (whole, (!rest.is_empty()).then_some(last))
    }
    #[inline(always)]
    fn scale(self) -> f32 {
        self.scale
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, block: &[i8; LANES], scale: S::V) -> S::V {
        s.mul(scale, s.load_i8(block))
    }
}

impl<'a, R: Blocks<'a>> WeightRow<'a> for R {
    #[inline(always)]
    fn of(run: &Run<'a>, i: usize) -> Self {
        R::row(run, i)
    }
    #[inline(always)]
    fn lanes<S: Simd, const M: usize, const N: usize>(
        s: S,
        x: &[&[[f32; LANES]]; M],
        rows: &[Self; N],
        ahead: usize,
    ) -> [[S::V; N]; M] {
        lanes_of_blocks(s, x, rows, ahead)
    }
    #[inline(always)]
    fn convert<S: Simd, const N: usize>(
        self,
        s: S,
        k: Range<usize>,
        to: &mut [[[f32; LANES]; N]],
        i: usize,
        ahead: usize,
    ) {
        convert_blocks(s, self, k, to, i, ahead);
    }
}

/// [`WeightRow::lanes`] of rows of stored elements that are no weights.
#[inline(always)]
pub(super) fn stored<S: Simd, E: Element, const M: usize, const N: usize>(
    s: S,
    x: &[&[[f32; LANES]]; M],
    rows: &[&[u8]; N],
    ahead: usize,
) -> [[S::V; N]; M] {
    lanes_of_blocks(s, x, &rows.map(|row| PlainRow::<E>(row, PhantomData)), ahead)
}

#[inline(always)]
fn lanes_of_blocks<'a, S: Simd, R: Blocks<'a>, const M: usize, const N: usize>(
    s: S,
    x: &[&[[f32; LANES]]; M],
    rows: &[R; N],
    ahead: usize,
) -> [[S::V; N]; M] {
    let mut acc = [[s.splat(0.0); N]; M];
    let mut scales = [s.splat(1.0); N];
    let whole = rows[0].split().0.len();
    let mut blocks: [&[R::Block]; N] = [&[]; N];
    for j in 0..N {
        blocks[j] = &rows[j].split().0[..whole];
        scales[j] = s.splat(rows[j].scale());
    }
    let mut tokens: [&[[f32; LANES]]; M] = [&[]; M];
    for i in 0..M {
        tokens[i] = &x[i][..whole];
    }
    for k in 0..whole {
        let mut v = [s.splat(0.0); N];
        for j in 0..N {
            let block = &blocks[j][k];
            s.prefetch(std::ptr::from_ref(block).cast::<u8>().wrapping_add(ahead));
            v[j] = R::load(s, block, scales[j]);
        }
        for i in 0..M {
            let x = s.load(&tokens[i][k]);
            for j in 0..N {
                acc[i][j] = s.fma(x, v[j], acc[i][j]);
            }
        }
    }
    for j in 0..N {
        if let Some(rest) = rows[j].split().1 {
            let v = R::load(s, &rest, scales[j]);
            for i in 0..M {
                acc[i][j] = s.fma(s.load(&x[i][whole]), v, acc[i][j]);
            }
        }
    }
    acc
}

#[inline(always)]
fn convert_blocks<'a, S: Simd, R: Blocks<'a>, const N: usize>(
    s: S,
    row: R,
    k: Range<usize>,
    to: &mut [[[f32; LANES]; N]],
    i: usize,
    ahead: usize,
) {
    let (whole, rest) = row.split();
    let scale = s.splat(row.scale());
    let inside = &whole[k.start.min(whole.len())..k.end.min(whole.len())];
    for (to, from) in to.iter_mut().zip(inside) {
        s.prefetch(std::ptr::from_ref(from).cast::<u8>().wrapping_add(ahead));
        s.store(R::load(s, from, scale), &mut to[i]);
    }
    if let (Some(rest), true) = (rest, inside.len() < k.len()) {
        s.store(R::load(s, &rest, scale), &mut to[inside.len()][i]);
    }
}

impl PackedRow<'_> {
    #[inline(always)]
    fn table<S: Simd>(self, s: S, group: usize) -> S::Table {
        s.table(self.scales[group], f32::from(self.zero_points[group]))
    }
}

impl<'a> WeightRow<'a> for PackedRow<'a> {
    #[inline(always)]
    fn of(run: &Run<'a>, i: usize) -> Self {
        run.int4_row(i)
    }

    #[inline(always)]
    fn lanes<S: Simd, const M: usize, const N: usize>(
        s: S,
        x: &[&[[f32; LANES]]; M],
        rows: &[Self; N],
        ahead: usize,
    ) -> [[S::V; N]; M] {
        match rows[0].span {
            Span::Half => lanes_of_chunks::<S, M, N, 2>(s, x, rows, 1, ahead),
            Span::Chunks(n) => lanes_of_chunks::<S, M, N, 1>(s, x, rows, n, ahead),
        }
    }

    #[inline(always)]
    fn convert<S: Simd, const N: usize>(
        self,
        s: S,
        k: Range<usize>,
        to: &mut [[[f32; LANES]; N]],
        i: usize,
        ahead: usize,
    ) {
        assert!(k.start.is_multiple_of(CHUNK_BLOCKS), "blocks from {} on", k.start);
        let (halves, n) = match self.span {
            Span::Half => (2, 1),
            Span::Chunks(n) => (1, n),
        };
        for (to, chunk) in to[..k.len()].chunks_mut(CHUNK_BLOCKS).zip(k.start / CHUNK_BLOCKS..) {
            let line = &self.chunks[chunk];
            s.prefetch(std::ptr::from_ref(line).cast::<u8>().wrapping_add(ahead));
            let mut words = s.load_words(line);
            for (half, to) in to.chunks_mut(CHUNK_BLOCKS / halves).enumerate() {
                let table = self.table(s, halves * chunk / n + half);
                for to in to {
                    s.store(s.lowest_weight(words, table), &mut to[i]);
                    words = s.next_weight(words);
                }
            }
        }
    }
}

/// The lanes of rows of int4 that have a table for each of HALVES parts of a chunk or, with one
/// part, for each `n` chunks.
#[inline(always)]
fn lanes_of_chunks<S: Simd, const M: usize, const N: usize, const HALVES: usize>(
    s: S,
    x: &[&[[f32; LANES]]; M],
    rows: &[PackedRow<'_>; N],
    n: usize,
    ahead: usize,
) -> [[S::V; N]; M] {
    let mut acc = [[s.splat(0.0); N]; M];
    let (whole, rest) = (x[0].len() / CHUNK_BLOCKS, x[0].len() % CHUNK_BLOCKS);
    // Indices into slices of lengths that the compiler knows to be equal need no checks.
    let mut rows = *rows;
    for row in &mut rows {
        row.chunks = &row.chunks[..whole + rest.min(1)];
    }
    let mut tokens: [&[[[f32; LANES]; CHUNK_BLOCKS]]; M] = [&[]; M];
    for i in 0..M {
        tokens[i] = &x[i].as_chunks().0[..whole];
    }
    let (mut group, mut left) = (0, n);
    for chunk in 0..whole {
        let mut words = load_chunk(s, &rows, chunk, ahead);
        for half in 0..HALVES {
            let mut tables = [s.table(0.0, 0.0); N];
            for j in 0..N {
                tables[j] = rows[j].table(s, group + half);
            }
            for b in 0..CHUNK_BLOCKS / HALVES {
                let mut x: [&[f32; LANES]; M] = [&[0.0; LANES]; M];
                for (x, tokens) in x.iter_mut().zip(tokens) {
                    *x = &tokens[chunk][half * (CHUNK_BLOCKS / HALVES) + b];
                }
                add_weights(s, x, &mut words, &tables, &mut acc);
            }
        }
        left -= 1;
        if left == 0 {
            (group, left) = (group + HALVES, n);
        }
    }
    if rest > 0 {
        let mut words = load_chunk(s, &rows, whole, ahead);
        for b in 0..rest {
            let mut tables = [s.table(0.0, 0.0); N];
            for j in 0..N {
                tables[j] = rows[j].table(s, group + b / (CHUNK_BLOCKS / HALVES));
            }
            let mut last: [&[f32; LANES]; M] = [&[0.0; LANES]; M];
            for i in 0..M {
                last[i] = &x[i][whole * CHUNK_BLOCKS + b];
            }
            add_weights(s, last, &mut words, &tables, &mut acc);
        }
    }
    acc
}

#[inline(always)]
fn load_chunk<S: Simd, const N: usize>(
    s: S,
    rows: &[PackedRow<'_>; N],
    chunk: usize,
    ahead: usize,
) -> [S::Words; N] {
    let mut words = [s.load_words(&[0; 4 * LANES]); N];
    for j in 0..N {
        let line = &rows[j].chunks[chunk];
        s.prefetch(std::ptr::from_ref(line).cast::<u8>().wrapping_add(ahead));
        words[j] = s.load_words(line);
    }
    words
}

/// Adds the products of one block of x with the lowest weight of each word, and drops that weight.
#[inline(always)]
fn add_weights<S: Simd, const M: usize, const N: usize>(
    s: S,
    x: [&[f32; LANES]; M],
    words: &mut [S::Words; N],
    tables: &[S::Table; N],
    acc: &mut [[S::V; N]; M],
) {
    let mut v = [s.splat(0.0); N];
    for j in 0..N {
        v[j] = s.lowest_weight(words[j], tables[j]);
        words[j] = s.next_weight(words[j]);
    }
    for i in 0..M {
        let x = s.load(x[i]);
        for j in 0..N {
            acc[i][j] = s.fma(x, v[j], acc[i][j]);
        }
    }
}
