//! The order in which int8 weights lie on the device, made once when a model is loaded.
//!
//! A matrix `[n, k]` is cut into units of 64 rows by 64 columns, one byte a weight; the units of 64
//! rows follow one another, and behind them stands a scale in f32 for each of the rows. Columns and
//! rows up to the next multiple of 64 are zeros, with scales of 0.
//!
//! Inside a unit the weights lie as tensor cores take them: two words of a lane hold the eight
//! weights of 16 by 16 that lane has of an A fragment of `mma.m16n8k16`. Four words for 32 columns
//! stand together, so that one 16-byte access fetches them. For row r and column c of a unit let
//!
//! ```text
//! w = r / 16    h = r % 16 / 8    g = r % 8
//! j = c / 32    s = c % 32 / 16   i = c % 16 / 8    t = c % 8 / 2    e = c % 2
//! ```
//!
//! then the weight is byte `h + 2 e` of word `(j * 4 + w) * 128 + (4 g + t) * 4 + 2 s + i`.

use rayon::prelude::*;

/// Rows and columns of a unit.
pub const UNIT: usize = 64;
/// Bytes of a unit.
const UNIT_BYTES: usize = UNIT * UNIT;
/// Bytes of the scales behind the units of 64 rows.
const SCALE_BYTES: usize = UNIT * size_of::<f32>();

/// Bytes of 64 packed rows.
fn block_bytes(k: usize) -> usize {
    k.div_ceil(UNIT) * UNIT_BYTES + SCALE_BYTES
}

/// Bytes of a packed matrix `[n, k]`.
pub fn packed_bytes(n: usize, k: usize) -> usize {
    n.div_ceil(UNIT) * block_bytes(k)
}

/// Packs `n` rows of `k` weights that need not lie together: `row` finds each and its scale.
///
/// # Panics
/// If a row is not as long as it should be.
pub fn pack_rows<'a>(
    (n, k): (usize, usize),
    row: impl Fn(usize) -> (&'a [i8], f32) + Sync,
) -> Vec<u8> {
    assert!(n > 0 && k > 0, "a matrix [{n}, {k}]");
    let mut packed = vec![0; packed_bytes(n, k)];
    packed.par_chunks_exact_mut(block_bytes(k)).enumerate().for_each(|(block, bytes)| {
        let (units, scales) = bytes.split_at_mut(block_bytes(k) - SCALE_BYTES);
        let scales = scales.as_chunks_mut::<4>().0;
        for (r, to) in scales.iter_mut().enumerate().take(n - block * UNIT) {
            let (values, scale) = row(block * UNIT + r);
            assert_eq!(values.len(), k, "row {r} of a matrix [{n}, {k}]");
            *to = scale.to_le_bytes();
            for (unit, values) in units.chunks_exact_mut(UNIT_BYTES).zip(values.chunks(UNIT)) {
                for (c, &value) in values.iter().enumerate() {
                    unit[place(r, c)] = value.cast_unsigned();
                }
            }
        }
    });
    packed
}

/// The weights, `[n, k]`, and the scales of what [`pack_rows`] has packed.
///
/// # Panics
/// If the number of bytes does not follow from the shape.
pub fn unpack((n, k): (usize, usize), packed: &[u8]) -> (Vec<i8>, Vec<f32>) {
    assert_eq!(packed.len(), packed_bytes(n, k), "a matrix [{n}, {k}]");
    let (mut values, mut all_scales) = (Vec::with_capacity(n * k), Vec::with_capacity(n));
    for (i, bytes) in packed.chunks_exact(block_bytes(k)).enumerate() {
        let (units, scales) = bytes.split_at(block_bytes(k) - SCALE_BYTES);
        for (r, scale) in scales.as_chunks::<4>().0.iter().enumerate().take(n - i * UNIT) {
            let byte = |c: usize| units[c / UNIT * UNIT_BYTES + place(r, c % UNIT)];
            values.extend((0..k).map(|c| byte(c).cast_signed()));
            all_scales.push(f32::from_le_bytes(*scale));
        }
    }
    (values, all_scales)
}

/// The byte of a unit that holds row `r` and column `c`.
fn place(r: usize, c: usize) -> usize {
    let lane = r % 8 * 4 + c % 8 / 2;
    let word = (c / 32 * 4 + r / 16) * 128 + lane * 4 + c % 32 / 16 * 2 + c % 16 / 8;
    4 * word + r % 16 / 8 + c % 2 * 2
}
