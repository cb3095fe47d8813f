//! The order in which int4 weights lie on the device, made once when a model is loaded.
//!
//! A matrix `[n, k]` is cut into units of 64 rows by one group of 128 or 64 columns; units of one
//! row of units follow one another. Each is one contiguous piece: the weights, 4 bits each, then a
//! scale for each of its rows in bf16, then, where there are zero points, an offset for each row in
//! bf16, which is `-(128 + zero point)`. Rows up to the next multiple of 64 have a scale of 0.
//!
//! Inside a unit the weights lie as tensor cores take them: the word of a lane holds the eight
//! weights of 16 by 16 that lane has of an A fragment, `mma.m16n8k16` or, warp by warp,
//! `wgmma.m64k16`. Four words for 64 columns stand together, so that one 16-byte access fetches
//! them. For row r and column c of a unit let
//!
//! ```text
//! w = r / 16    h = r % 16 / 8    g = r % 8
//! j = c / 16    i = c % 16 / 8    t = c % 8 / 2    e = c % 2
//! ```
//!
//! then the weight is nibble `h + 2 i + 4 e` of word `(j / 4 * 4 + w) * 128 + (4 g + t) * 4 + j % 4`,
//! and scale and offset of row r are elements `16 w + 2 g + h` of their vectors.

use half::bf16;
use rayon::prelude::*;

/// Rows of a unit.
pub const UNIT_ROWS: usize = 64;
/// Columns of a fragment.
const K_STEP: usize = 16;
/// The largest zero point: beyond it an offset is no whole number in bf16.
const ZERO_POINT_MAX: u8 = 127;

/// How a packed matrix is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int4Layout {
    /// Rows, without those that fill up the last units.
    pub n: usize,
    /// Columns, a multiple of `group`.
    pub k: usize,
    /// Columns that share a scale: 128 or 64.
    pub group: usize,
    /// Whether each group has a zero point. Without, it is 8.
    pub zero_points: bool,
}

/// A quantised matrix as checkpoints mean it: weight `[r, c]` is
/// `scales[r, c / group] * (quants[r, c] - zero_points[r, c / group])`.
#[derive(Debug, Clone, PartialEq)]
pub struct Int4Matrix {
    /// From 0 to 15, `[n, k]`.
    pub quants: Vec<u8>,
    /// `[n, k / group]`.
    pub scales: Vec<bf16>,
    /// From 0 to 127, `[n, k / group]`; `None` is 8 everywhere.
    pub zero_points: Option<Vec<u8>>,
}

impl Int4Layout {
    /// Bytes of the weights of a unit, which come first.
    fn weight_bytes(&self) -> usize {
        UNIT_ROWS * self.group / 2
    }

    /// Bytes of a unit.
    pub fn unit_bytes(&self) -> usize {
        let vectors = if self.zero_points { 2 } else { 1 };
        self.weight_bytes() + vectors * UNIT_ROWS * size_of::<bf16>()
    }

    /// Groups of a row.
    pub fn groups(&self) -> usize {
        self.k / self.group
    }

    /// Bytes of the packed matrix.
    pub fn bytes(&self) -> usize {
        self.n.div_ceil(UNIT_ROWS) * self.groups() * self.unit_bytes()
    }

    fn check(&self) {
        assert!(self.n > 0 && self.k > 0, "{self:?}");
        assert!([64, 128].contains(&self.group) && self.k.is_multiple_of(self.group), "{self:?}");
    }
}

/// Packs a matrix.
///
/// # Panics
/// If a length does not follow from the layout, or a weight or zero point is out of its range.
pub fn pack(layout: &Int4Layout, matrix: &Int4Matrix) -> Vec<u8> {
    layout.check();
    let groups = layout.groups();
    assert_eq!(matrix.quants.len(), layout.n * layout.k, "weights of {layout:?}");
    assert_eq!(matrix.scales.len(), layout.n * groups, "scales of {layout:?}");
    assert_eq!(matrix.zero_points.is_some(), layout.zero_points, "zero points of {layout:?}");
    if let Some(zero_points) = &matrix.zero_points {
        assert_eq!(zero_points.len(), layout.n * groups, "zero points of {layout:?}");
        let largest = zero_points.iter().max();
        assert!(largest.is_none_or(|z| *z <= ZERO_POINT_MAX), "a zero point of {largest:?}");
    }
    let mut packed = vec![0; layout.bytes()];
    let units = packed.par_chunks_exact_mut(layout.unit_bytes()).enumerate();
    units.for_each(|(unit, bytes)| pack_unit(layout, matrix, unit / groups, unit % groups, bytes));
    packed
}

fn pack_unit(
    layout: &Int4Layout,
    matrix: &Int4Matrix,
    block: usize,
    group: usize,
    bytes: &mut [u8],
) {
    let (weights, vectors) = bytes.split_at_mut(layout.weight_bytes());
    let (scales, offsets) = vectors.split_at_mut(UNIT_ROWS * size_of::<bf16>());
    let words = weights.as_chunks_mut::<4>().0;
    let first = block * UNIT_ROWS;
    for row in 0..UNIT_ROWS.min(layout.n - first) {
        let start = (first + row) * layout.k + group * layout.group;
        let columns = &matrix.quants[start..start + layout.group];
        for (step, quants) in columns.as_chunks::<K_STEP>().0.iter().enumerate() {
            assert!(quants.iter().all(|q| *q < 16), "a weight of more than 4 bits in {quants:?}");
            for t in 0..4 {
                let place = &mut words[word(row, step, t)];
                *place = (u32::from_le_bytes(*place) | lane_bits(row, quants, t)).to_le_bytes();
            }
        }
        let of_group = (first + row) * layout.groups() + group;
        let at = vector_place(row) * 2;
        scales[at..at + 2].copy_from_slice(&matrix.scales[of_group].to_le_bytes());
        if let Some(zero_points) = &matrix.zero_points {
            let offset = bf16::from_f32(-128.0 - f32::from(zero_points[of_group]));
            offsets[at..at + 2].copy_from_slice(&offset.to_le_bytes());
        }
    }
}

/// Unpacks what [`pack`] has packed.
///
/// # Panics
/// If the number of bytes does not follow from the layout.
pub fn unpack(layout: &Int4Layout, packed: &[u8]) -> Int4Matrix {
    layout.check();
    assert_eq!(packed.len(), layout.bytes(), "{layout:?}");
    let groups = layout.groups();
    let mut matrix = Int4Matrix {
        quants: vec![0; layout.n * layout.k],
        scales: vec![bf16::ZERO; layout.n * groups],
        zero_points: layout.zero_points.then(|| vec![0; layout.n * groups]),
    };
    for (unit, bytes) in packed.chunks_exact(layout.unit_bytes()).enumerate() {
        let (block, group) = (unit / groups, unit % groups);
        let (weights, vectors) = bytes.split_at(layout.weight_bytes());
        let words = weights.as_chunks::<4>().0;
        let vectors = vectors.as_chunks::<2>().0;
        for row in 0..UNIT_ROWS.min(layout.n - block * UNIT_ROWS) {
            let start = (block * UNIT_ROWS + row) * layout.k + group * layout.group;
            let columns = &mut matrix.quants[start..start + layout.group];
            for (step, quants) in columns.as_chunks_mut::<K_STEP>().0.iter_mut().enumerate() {
                for t in 0..4 {
                    let bits = u32::from_le_bytes(words[word(row, step, t)]);
                    take_lane_bits(row, bits, quants, t);
                }
            }
            let of_group = (block * UNIT_ROWS + row) * groups + group;
            let at = vector_place(row);
            matrix.scales[of_group] = bf16::from_le_bytes(vectors[at]);
            if let Some(zero_points) = &mut matrix.zero_points {
                let offset = bf16::from_le_bytes(vectors[UNIT_ROWS + at]);
                zero_points[of_group] = (-128.0 - offset.to_f32()) as u8;
            }
        }
    }
    matrix
}

/// The word of a unit that holds columns `16 step + 2 t`, the next one, and both 8 further on.
fn word(row: usize, step: usize, t: usize) -> usize {
    (step / 4 * 4 + row / 16) * 128 + (row % 8 * 4 + t) * 4 + step % 4
}

/// The element of a vector of scales or offsets that belongs to a row.
fn vector_place(row: usize) -> usize {
    row / 16 * 16 + row % 8 * 2 + row % 16 / 8
}

/// Bits from which the four weights of a row in one word begin, in the order of their columns.
fn shifts(row: usize) -> [u32; 4] {
    let nibble = (row % 16 / 8) as u32;
    [nibble, nibble + 4, nibble + 2, nibble + 6].map(|n| 4 * n)
}

/// Columns of a fragment that are in word t, in the order of [`shifts`].
fn columns(t: usize) -> [usize; 4] {
    [2 * t, 2 * t + 1, 2 * t + 8, 2 * t + 9]
}

fn lane_bits(row: usize, quants: &[u8; K_STEP], t: usize) -> u32 {
    let pairs = columns(t).into_iter().zip(shifts(row));
    pairs.fold(0, |bits, (c, shift)| bits | u32::from(quants[c]) << shift)
}

fn take_lane_bits(row: usize, bits: u32, quants: &mut [u8; K_STEP], t: usize) {
    for (c, shift) in columns(t).into_iter().zip(shifts(row)) {
        quants[c] = (bits >> shift & 15) as u8;
    }
}
