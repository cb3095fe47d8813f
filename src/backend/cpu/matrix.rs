//! Weight matrices as the CPU keeps them: elements of 16 or 32 bits where their checkpoint has
//! them, 8 bits as they were quantised, 4 bits packed in an order that suits vectors.
//!
//! A row of int4 weights is cut into chunks of 128 columns, 64 bytes each, a cache line. A chunk is
//! sixteen words of 32 bits, little-endian; column c of the chunk is nibble `c / 16` of word
//! `c % 16`, the lowest first. One load thus brings eight vectors of sixteen neighbouring columns,
//! and each is a shift away. The last chunk of a row is filled up with zeros, which no product
//! reads beyond the next multiple of 16. Scales and zero points lie apart, row by row.

use super::simd::LANES;
use super::store::Aligned;
use crate::error::{Error, Result};
use crate::tensor::int4::Int4Tensor;
use crate::tensor::{Dtype, HostMatrix, HostTensor, Int8Tensor};
use rayon::prelude::*;
use std::ops::Range;

/// Columns of a chunk.
pub(super) const CHUNK: usize = 128;
/// Bytes of a chunk.
pub(super) const CHUNK_BYTES: usize = CHUNK / 2;

/// A weight matrix `[n, k]`: parts stacked along n, all of one format.
pub struct Matrix {
    parts: Vec<Part>,
    /// The different orders of columns that parts have, each a permutation of `0..k`.
    pub(super) orders: Vec<Vec<u32>>,
    pub(super) n: usize,
    pub(super) k: usize,
}

/// One of the matrices that are stacked.
struct Part {
    /// Its first row in the matrix.
    first: usize,
    /// Its rows.
    n: usize,
    weights: Weights,
    /// Which of [`Matrix::orders`] its columns have; `None` is their own.
    order: Option<usize>,
}

/// The weights of a part, row by row.
enum Weights {
    Plain(HostTensor),
    Int8(Int8Tensor),
    Int4(Packed),
}

/// Weights of 4 bits in the order of the [module](self).
struct Packed {
    words: Aligned<u8>,
    /// Bytes of a row of weights.
    row_bytes: usize,
    scales: Vec<f32>,
    /// As many as scales, also where all are 8.
    zero_points: Vec<u8>,
    /// Groups of a row.
    groups: usize,
    span: Span,
}

/// How many columns share a scale.
#[derive(Clone, Copy)]
pub(super) enum Span {
    /// Half a chunk.
    Half,
    /// So many chunks, of which a row may end before the last.
    Chunks(usize),
}

/// A row of [`Packed`] weights.
#[derive(Clone, Copy)]
pub(super) struct PackedRow<'a> {
    pub chunks: &'a [[u8; CHUNK_BYTES]],
    pub scales: &'a [f32],
    pub zero_points: &'a [u8],
    pub span: Span,
}

/// Rows of one part that follow one another, ready to be looked up many times.
pub(super) struct Run<'a> {
    view: View<'a>,
    /// Its first row in the part.
    first: usize,
    /// Its rows.
    pub n: usize,
    /// As [`Part::order`].
    pub order: Option<usize>,
}

/// What a row of weights is made of.
#[derive(Clone, Copy)]
pub(super) enum RowFormat {
    Plain(Dtype),
    Int8,
    Int4,
}

/// The weights of a part, wherever they lie.
#[derive(Clone, Copy)]
enum View<'a> {
    Plain { bytes: &'a [u8], row_bytes: usize },
    Int8 { values: &'a [i8], scales: &'a [f32] },
    Int4(&'a Packed),
}

impl Matrix {
    pub(super) fn new(parts: Vec<HostMatrix>) -> Result<Matrix> {
        let first = parts.first().expect("a matrix has parts");
        let ([_, k], format) = (first.shape(), first.format());
        for part in &parts {
            let fits = part.shape()[1] == k && part.format() == format;
            assert!(fits, "{part:?} cannot be stacked on {first:?}");
        }
        let mut matrix = Matrix { parts: Vec::new(), orders: Vec::new(), n: 0, k };
        for part in parts {
            let n = part.shape()[0];
            let (weights, order) = match part {
                HostMatrix::Plain(tensor) => (Weights::Plain(tensor), None),
                HostMatrix::Int8(tensor) => {
                    let found = (tensor.values.len(), tensor.scales.len());
                    assert_eq!(found, (n * k, n), "weights and scales of {}", tensor.name);
                    (Weights::Int8(tensor), None)
                }
                HostMatrix::Int4(mut tensor) => {
                    let order = tensor.matrix.order.take();
                    let order = order.map(|order| matrix.order(order, &tensor.name));
                    (Weights::Int4(Packed::new(tensor)?), order)
                }
            };
            matrix.parts.push(Part { first: matrix.n, n, weights, order });
            matrix.n += n;
        }
        Ok(matrix)
    }

    /// The index of an order of columns, which is usually that of the parts before.
    fn order(&mut self, order: Vec<u32>, name: &str) -> usize {
        let mut seen = vec![false; self.k];
        assert_eq!(order.len(), self.k, "order of the columns of {name}");
        for &column in &order {
            let seen = seen.get_mut(column as usize).filter(|seen| !**seen);
            *seen.unwrap_or_else(|| panic!("column {column} in the order of {name}")) = true;
        }
        self.orders.iter().position(|known| *known == order).unwrap_or_else(|| {
            self.orders.push(order);
            self.orders.len() - 1
        })
    }

    /// What all rows are made of.
    pub(super) fn format(&self) -> RowFormat {
        match &self.parts[0].weights {
            Weights::Plain(tensor) => RowFormat::Plain(tensor.dtype),
            Weights::Int8(_) => RowFormat::Int8,
            Weights::Int4(_) => RowFormat::Int4,
        }
    }

    /// The parts that rows belong to.
    pub(super) fn runs(&self, rows: Range<usize>) -> impl Iterator<Item = Run<'_>> {
        self.parts.iter().filter_map(move |part| {
            let start = rows.start.max(part.first);
            let end = rows.end.min(part.first + part.n);
            let (first, n) = (start.wrapping_sub(part.first), end.saturating_sub(start));
            (n > 0).then(|| Run { view: part.view(self.k), first, n, order: part.order })
        })
    }
}

impl Part {
    fn view(&self, k: usize) -> View<'_> {
        match &self.weights {
            Weights::Plain(tensor) => {
                View::Plain { bytes: tensor.bytes.as_slice(), row_bytes: k * tensor.dtype.size() }
            }
            Weights::Int8(tensor) => View::Int8 { values: &tensor.values, scales: &tensor.scales },
            Weights::Int4(packed) => View::Int4(packed),
        }
    }
}

impl Packed {
    fn new(tensor: Int4Tensor) -> Result<Packed> {
        let (shape, matrix) = (tensor.shape, tensor.matrix);
        let span = match shape.group {
            64 => Span::Half,
            group if group > 0 && group.is_multiple_of(CHUNK) => Span::Chunks(group / CHUNK),
            group if group == shape.k => Span::Chunks(group.div_ceil(CHUNK)),
            group => {
                return Err(Error::NoKernel {
                    what: format!("{}, int4 in groups of {group},", tensor.name),
                    supported: "groups of 64, of multiples of 128, and whole rows".to_string(),
                });
            }
        };
        assert!(shape.k.is_multiple_of(shape.group), "groups of {}: {shape:?}", tensor.name);
        let groups = shape.groups();
        let zero_points = matrix.zero_points.unwrap_or_else(|| vec![8; shape.n * groups]);
        let found = (matrix.quants.len(), matrix.scales.len(), zero_points.len());
        assert_eq!(found, (shape.n * shape.k, shape.n * groups, shape.n * groups), "{shape:?}");
        let row_bytes = shape.k.div_ceil(CHUNK) * CHUNK_BYTES;
        let bytes = shape.n.checked_mul(row_bytes);
        let mut words = Aligned::<u8>::zeros("weights of 4 bits", bytes)?;
        let rows = words.as_mut_slice()[..shape.n * row_bytes].par_chunks_exact_mut(row_bytes);
        rows.zip(matrix.quants.par_chunks_exact(shape.k)).for_each(|(row, quants)| {
            for (chunk, quants) in row.chunks_exact_mut(CHUNK_BYTES).zip(quants.chunks(CHUNK)) {
                pack_chunk(quants, chunk.as_chunks_mut().0);
            }
        });
        Ok(Packed { words, row_bytes, scales: matrix.scales, zero_points, groups, span })
    }

    #[inline(always)]
    fn row(&self, row: usize) -> PackedRow<'_> {
        let groups = row * self.groups..(row + 1) * self.groups;
        let bytes = &self.words.as_slice()[row * self.row_bytes..][..self.row_bytes];
        PackedRow {
            chunks: bytes.as_chunks().0,
            scales: &self.scales[groups.clone()],
            zero_points: &self.zero_points[groups],
            span: self.span,
        }
    }
}

fn pack_chunk(quants: &[u8], words: &mut [[u8; 4]]) {
    assert!(quants.iter().all(|q| *q < 16), "a weight of more than 4 bits in {quants:?}");
    for (i, quants) in quants.chunks(LANES).enumerate() {
        for (word, &q) in words.iter_mut().zip(quants) {
            word[i / 2] |= q << (4 * (i % 2));
        }
    }
}

impl<'a> Run<'a> {
    /// The bytes of row `i` of a run of plain elements.
    #[inline(always)]
    pub(super) fn plain_row(&self, i: usize) -> &'a [u8] {
        let View::Plain { bytes, row_bytes } = self.view else { panic!("another format") };
        &bytes[(self.first + i) * row_bytes..][..row_bytes]
    }

    /// Row `i` of a run of int8, and its scale.
    #[inline(always)]
    pub(super) fn int8_row(&self, i: usize) -> (&'a [i8], f32) {
        let View::Int8 { values, scales } = self.view else { panic!("another format") };
        let (row, k) = (self.first + i, values.len() / scales.len());
        (&values[row * k..][..k], scales[row])
    }

    /// Row `i` of a run of int4.
    #[inline(always)]
    pub(super) fn int4_row(&self, i: usize) -> PackedRow<'a> {
        let View::Int4(packed) = self.view else { panic!("another format") };
        packed.row(self.first + i)
    }
}
