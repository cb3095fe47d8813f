//! The inner loop of the blocked product: M rows of x by N rows of weights in f32, sixteen lanes
//! each, all of them in registers.

use super::simd::{LANES, Simd};
use super::weight::WeightRow;
use std::ops::Range;

/// A strip of N rows of weights as f32 for some blocks of k: `[block][row][16]`.
pub(super) struct Panel<const N: usize> {
    blocks: Vec<[[f32; LANES]; N]>,
}

impl<const N: usize> Panel<N> {
    /// Room for `blocks` blocks.
    pub(super) fn new(blocks: usize) -> Panel<N> {
        Panel { blocks: vec![[[0.0; LANES]; N]; blocks] }
    }

    /// Sets row `i` to the blocks `k` of a row of weights, and asks for what lies `ahead` bytes on.
    #[inline(always)]
    pub(super) fn convert<'a, S: Simd, R: WeightRow<'a>>(
        &mut self,
        s: S,
        i: usize,
        row: R,
        k: Range<usize>,
        ahead: usize,
    ) {
        row.convert(s, k, &mut self.blocks, i, ahead);
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
