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
//! then the weight is nibble `h + 2 i + 4 e` of word
//! `(j / 4 * 4 + w) * 128 + (4 g + t) * 4 + j % 4`, and scale and offset of row r are elements
//! `16 w + 2 g + h` of their vectors.

use crate::tensor::int4::{Int4Matrix, Int4Row, Int4Shape};
use half::bf16;
use rayon::prelude::*;

/// Rows of a unit.
pub const UNIT_ROWS: usize = 64;
/// Columns of a fragment.
const K_STEP: usize = 16;
/// The largest zero point: beyond it an offset is no whole number in bf16.
const ZERO_POINT_MAX: u8 = 127;

/// Bytes of the weights of a unit, which come first.
fn weight_bytes(shape: &Int4Shape) -> usize {
    UNIT_ROWS * shape.group / 2
}

/// Bytes of a unit.
pub fn unit_bytes(shape: &Int4Shape) -> usize {
    let vectors = if shape.zero_points { 2 } else { 1 };
    weight_bytes(shape) + vectors * UNIT_ROWS * size_of::<bf16>()
}

/// Bytes of a packed matrix.
pub fn packed_bytes(shape: &Int4Shape) -> usize {
    shape.n.div_ceil(UNIT_ROWS) * shape.groups() * unit_bytes(shape)
}

fn check(shape: &Int4Shape) {
    assert!(shape.n > 0 && shape.k > 0, "{shape:?}");
    assert!([64, 128].contains(&shape.group) && shape.k.is_multiple_of(shape.group), "{shape:?}");
}

/// Packs a matrix.
///
/// # Panics
/// If a length does not follow from the shape, or a weight or zero point is out of its range.
pub fn pack(shape: &Int4Shape, matrix: &Int4Matrix) -> Vec<u8> {
    assert_eq!(matrix.quants.len(), shape.n * shape.k, "weights of {shape:?}");
    pack_rows(shape, |row| matrix.row(shape, row))
}

/// Packs rows that need not lie together: `row` finds each of the `shape.n`.
///
/// # Panics
/// As [`pack`].
pub fn pack_rows<'a>(shape: &Int4Shape, row: impl Fn(usize) -> Int4Row<'a> + Sync) -> Vec<u8> {
    check(shape);
    let mut packed = vec![0; packed_bytes(shape)];
    // A row of units is 64 whole rows, which are read from one end to the other.
    let blocks = packed.par_chunks_exact_mut(shape.groups() * unit_bytes(shape)).enumerate();
    blocks.for_each(|(block, bytes)| {
        let first = block * UNIT_ROWS;
        for i in 0..UNIT_ROWS.min(shape.n - first) {
            pack_row(shape, i, &row(first + i), bytes);
        }
    });
    packed
}

/// Puts row `row` of 64 into its row of units.
fn pack_row(shape: &Int4Shape, row: usize, from: &Int4Row<'_>, units: &mut [u8]) {
    let groups = shape.groups();
    assert_eq!((from.quants.len(), from.scales.len()), (shape.k, groups), "a row of {shape:?}");
    let zero_points = from.zero_points.map_or(0, <[u8]>::len);
    let wanted = if shape.zero_points { groups } else { 0 };
    assert_eq!(zero_points, wanted, "zero points of a row of {shape:?}");
    let columns = from.quants.chunks_exact(shape.group);
    for (group, (bytes, quants)) in
        units.chunks_exact_mut(unit_bytes(shape)).zip(columns).enumerate()
    {
        let (weights, vectors) = bytes.split_at_mut(weight_bytes(shape));
        pack_columns(row, quants, weights.as_chunks_mut::<4>().0);
        let vectors = vectors.as_chunks_mut::<2>().0;
        vectors[vector_place(row)] = bf16::from_f32(from.scales[group]).to_le_bytes();
        if let Some(zero_points) = from.zero_points {
            let zero_point = zero_points[group];
            assert!(zero_point <= ZERO_POINT_MAX, "a zero point of {zero_point}");
            let offset = bf16::from_f32(-128.0 - f32::from(zero_point));
            vectors[UNIT_ROWS + vector_place(row)] = offset.to_le_bytes();
        }
    }
}

/// Puts the weights of one row and group into the words of their unit.
fn pack_columns(row: usize, columns: &[u8], words: &mut [[u8; 4]]) {
    for (step, quants) in columns.as_chunks::<K_STEP>().0.iter().enumerate() {
        assert!(quants.iter().all(|q| *q < 16), "a weight of more than 4 bits in {quants:?}");
        for t in 0..4 {
            let place = &mut words[word(row, step, t)];
            *place = (u32::from_le_bytes(*place) | lane_bits(row, quants, t)).to_le_bytes();
        }
    }
}

/// Unpacks what [`pack`] has packed.
///
/// # Panics
/// If the number of bytes does not follow from the shape.
pub fn unpack(shape: &Int4Shape, packed: &[u8]) -> Int4Matrix {
    check(shape);
    assert_eq!(packed.len(), packed_bytes(shape), "{shape:?}");
    let groups = shape.groups();
    let mut matrix = Int4Matrix {
        quants: vec![0; shape.n * shape.k],
        scales: vec![0.0; shape.n * groups],
        order: None,
        zero_points: shape.zero_points.then(|| vec![0; shape.n * groups]),
    };
    for (unit, bytes) in packed.chunks_exact(unit_bytes(shape)).enumerate() {
        let (block, group) = (unit / groups, unit % groups);
        let (weights, vectors) = bytes.split_at(weight_bytes(shape));
        let words = weights.as_chunks::<4>().0;
        let vectors = vectors.as_chunks::<2>().0;
        for row in 0..UNIT_ROWS.min(shape.n - block * UNIT_ROWS) {
            let start = (block * UNIT_ROWS + row) * shape.k + group * shape.group;
            let columns = &mut matrix.quants[start..start + shape.group];
            for (step, quants) in columns.as_chunks_mut::<K_STEP>().0.iter_mut().enumerate() {
                for t in 0..4 {
                    let bits = u32::from_le_bytes(words[word(row, step, t)]);
                    take_lane_bits(row, bits, quants, t);
                }
            }
            let of_group = (block * UNIT_ROWS + row) * groups + group;
            let at = vector_place(row);
            matrix.scales[of_group] = bf16::from_le_bytes(vectors[at]).to_f32();
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
