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
    fn convert<S: Simd, const N: usize>(
        self,
        s: S,
        k: Range<usize>,
        to: &mut [[[f32; LANES]; N]],
        i: usize,
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

impl<'a, E: Element> WeightRow<'a> for PlainRow<'a, E>
where
    E::Block: 'a,
{
    #[inline(always)]
    fn of(run: &Run<'a>, i: usize) -> Self {
        PlainRow(run.plain_row(i), PhantomData)
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
    ) {
        convert_blocks(s, self, k, to, i);
    }
}

impl<'a> WeightRow<'a> for Int8Row<'a> {
    #[inline(always)]
    fn of(run: &Run<'a>, i: usize) -> Self {
        let (values, scale) = run.int8_row(i);
        Int8Row { values, scale }
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
    ) {
        convert_blocks(s, self, k, to, i);
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
) {
    let (whole, rest) = row.split();
    let scale = s.splat(row.scale());
    let inside = &whole[k.start.min(whole.len())..k.end.min(whole.len())];
    for (to, from) in to.iter_mut().zip(inside) {
        s.store(R::load(s, from, scale), &mut to[i]);
    }
    if let (Some(rest), true) = (rest, inside.len() < k.len()) {
        s.store(R::load(s, &rest, scale), &mut to[inside.len()][i]);
    }
}

impl PackedRow<'_> {
    #[inline(always)]
    fn table<S: Simd>(self, s: S, group: usize) -> S::Table {
        s.table(self.scales[group], self.zero_point(group))
    }

    /// The chunks of a group, and how many weights of each word come before it.
    #[inline(always)]
    fn chunks_of(self, group: usize) -> (Range<usize>, usize) {
        match self.span {
            Span::Half => (group / 2..group / 2 + 1, group % 2 * (CHUNK_BLOCKS / 2)),
            Span::Chunks(n) => (group * n..((group + 1) * n).min(self.chunks.len()), 0),
        }
    }

    /// Weights of each word that belong to one group.
    #[inline(always)]
    fn depth(self) -> usize {
        match self.span {
            Span::Half => CHUNK_BLOCKS / 2,
            Span::Chunks(_) => CHUNK_BLOCKS,
        }
    }

    /// The words of a chunk, the first `skipped` weights of each dropped: none or half.
    #[inline(always)]
    fn words<S: Simd>(self, s: S, chunk: usize, skipped: usize) -> S::Words {
        let mut words = s.load_words(&self.chunks[chunk]);
        if skipped > 0 {
            for _ in 0..CHUNK_BLOCKS / 2 {
                words = s.next_weight(words);
            }
        }
        words
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
        let mut acc = [[s.splat(0.0); N]; M];
        let blocks = x[0].len();
        for group in 0..rows[0].scales.len() {
            let mut tables = [s.table(0.0, 0.0); N];
            for j in 0..N {
                tables[j] = rows[j].table(s, group);
            }
            let (chunks, skipped) = rows[0].chunks_of(group);
            for chunk in chunks {
                let mut words = [s.load_words(&[0; 4 * LANES]); N];
                for j in 0..N {
                    let line = std::ptr::from_ref(&rows[j].chunks[chunk]).cast::<u8>();
                    s.prefetch(line.wrapping_add(ahead));
                    words[j] = rows[j].words(s, chunk, skipped);
                }
                let first = chunk * CHUNK_BLOCKS + skipped;
                let k = first..(first + rows[0].depth()).min(blocks);
                acc = lanes_of_words(s, x, k, words, &tables, acc);
            }
        }
        acc
    }

    #[inline(always)]
    fn convert<S: Simd, const N: usize>(
        self,
        s: S,
        k: Range<usize>,
        to: &mut [[[f32; LANES]; N]],
        i: usize,
    ) {
        assert!(k.start.is_multiple_of(CHUNK_BLOCKS), "blocks from {} on", k.start);
        let mut group = match self.span {
            Span::Half => 2 * (k.start / CHUNK_BLOCKS),
            Span::Chunks(n) => k.start / CHUNK_BLOCKS / n,
        };
        let mut block = k.start;
        while block < k.end {
            let table = self.table(s, group);
            let (chunks, skipped) = self.chunks_of(group);
            for chunk in chunks.start.max(block / CHUNK_BLOCKS)..chunks.end {
                let mut words = self.words(s, chunk, skipped);
                for to in to[block - k.start..k.len()].iter_mut().take(self.depth()) {
                    s.store(s.lowest_weight(words, table), &mut to[i]);
                    words = s.next_weight(words);
                    block += 1;
                }
            }
            group += 1;
        }
    }
}

/// Adds the products of the blocks `k` of x, one weight of each word after the other, to lanes.
#[inline(always)]
fn lanes_of_words<S: Simd, const M: usize, const N: usize>(
    s: S,
    x: &[&[[f32; LANES]]; M],
    k: Range<usize>,
    mut words: [S::Words; N],
    tables: &[S::Table; N],
    mut acc: [[S::V; N]; M],
) -> [[S::V; N]; M] {
    let mut tokens: [&[[f32; LANES]]; M] = [&[]; M];
    for i in 0..M {
        tokens[i] = &x[i][k.clone()];
    }
    for k in 0..k.len() {
        let mut v = [s.splat(0.0); N];
        for j in 0..N {
            v[j] = s.lowest_weight(words[j], tables[j]);
            words[j] = s.next_weight(words[j]);
        }
        for i in 0..M {
            let x = s.load(&tokens[i][k]);
            for j in 0..N {
                acc[i][j] = s.fma(x, v[j], acc[i][j]);
            }
        }
    }
    acc
}
