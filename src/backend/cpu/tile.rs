//! The inner loops of the product: M rows of x by N rows of weights, sixteen lanes each, all of
//! them in registers.

use super::simd::{LANES, Simd};
use super::store::{Bf16, Element, F16, F32};
use crate::tensor::Dtype;
use std::ops::Range;

/// The lanes of M x N products, weights as they are stored. What lies `ahead` bytes (wrapping) from
/// a weight is wanted soon and asked for.
#[inline(always)]
pub(super) fn stored<S: Simd, E: Element, const M: usize, const N: usize>(
    s: S,
    x: &[&[[f32; LANES]]; M],
    w: &[&[u8]; N],
    ahead: usize,
) -> [[S::V; N]; M] {
    let mut acc = [[s.splat(0.0); N]; M];
    let whole = E::split(w[0]).0.len();
    let mut blocks: [&[E::Block]; N] = [&[]; N];
    for j in 0..N {
        blocks[j] = &E::split(w[j]).0[..whole];
    }
    let mut rows: [&[[f32; LANES]]; M] = [&[]; M];
    for i in 0..M {
        rows[i] = &x[i][..whole];
    }
    for k in 0..whole {
        let mut v = [s.splat(0.0); N];
        for j in 0..N {
            let block = &blocks[j][k];
            s.prefetch(std::ptr::from_ref(block).cast::<u8>().wrapping_add(ahead));
            v[j] = E::load(s, block);
        }
        for i in 0..M {
            let x = s.load(&rows[i][k]);
            for j in 0..N {
                acc[i][j] = s.fma(x, v[j], acc[i][j]);
            }
        }
    }
    if !E::split(w[0]).1.is_empty() {
        for j in 0..N {
            let v = E::load(s, &E::pad(E::split(w[j]).1));
            for i in 0..M {
                acc[i][j] = s.fma(s.load(&x[i][whole]), v, acc[i][j]);
            }
        }
    }
    acc
}

/// A strip of N rows of weights as f32 for some blocks of k: `[block][row][16]`.
pub(super) struct Panel<const N: usize> {
    blocks: Vec<[[f32; LANES]; N]>,
}

impl<const N: usize> Panel<N> {
    /// Room for `blocks` blocks.
    pub(super) fn new(blocks: usize) -> Panel<N> {
        Panel { blocks: vec![[[0.0; LANES]; N]; blocks] }
    }

    /// Sets row `i` to the blocks `k` of `bytes`, continued with zeros.
    #[inline(always)]
    pub(super) fn convert<S: Simd>(
        &mut self,
        s: S,
        i: usize,
        (dtype, bytes): (Dtype, &[u8]),
        k: Range<usize>,
    ) {
        match dtype {
            Dtype::F32 => self.convert_from::<S, F32>(s, i, bytes, k),
            Dtype::F16 => self.convert_from::<S, F16>(s, i, bytes, k),
            Dtype::Bf16 => self.convert_from::<S, Bf16>(s, i, bytes, k),
        }
    }

    #[inline(always)]
    fn convert_from<S: Simd, E: Element>(&mut self, s: S, i: usize, bytes: &[u8], k: Range<usize>) {
        let (whole, rest) = E::split(bytes);
        let whole = &whole[k.start.min(whole.len())..k.end.min(whole.len())];
        for (to, from) in self.blocks.iter_mut().zip(whole) {
            s.store(E::load(s, from), &mut to[i]);
        }
        for (b, to) in self.blocks[whole.len()..k.len()].iter_mut().enumerate() {
            let rest = if b == 0 { rest } else { &[] };
            s.store(E::load(s, &E::pad(rest)), &mut to[i]);
        }
    }
}

/// Adds the products of M rows of x with a panel to lanes.
#[inline(always)]
pub(super) fn panelled<S: Simd, const M: usize, const N: usize>(
    s: S,
    x: &[&[[f32; LANES]]; M],
    panel: &Panel<N>,
    mut acc: [[S::V; N]; M],
) -> [[S::V; N]; M] {
    let blocks = x[0].len();
    let mut rows: [&[[f32; LANES]]; M] = [&[]; M];
    for i in 0..M {
        rows[i] = &x[i][..blocks];
    }
    for (k, w) in panel.blocks[..blocks].iter().enumerate() {
        let mut v = [s.splat(0.0); N];
        for j in 0..N {
            v[j] = s.load(&w[j]);
        }
        for i in 0..M {
            let x = s.load(&rows[i][k]);
            for j in 0..N {
                acc[i][j] = s.fma(x, v[j], acc[i][j]);
            }
        }
    }
    acc
}
