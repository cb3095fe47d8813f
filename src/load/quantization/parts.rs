//! The packed parts of a matrix of 4 bits in memory, and the matrix that they are.

use super::Layout;
use crate::tensor::int4::{Int4Matrix, Int4Shape};
use rayon::prelude::*;

/// Weights of 4 bits in a word.
pub(super) const NIBBLES: usize = 8;
/// Which of eight neighbours each nibble of a word belongs to, where they are in order.
const IN_ORDER: [usize; NIBBLES] = [0, 1, 2, 3, 4, 5, 6, 7];
/// The same for AWQ, whose kernels take even and odd neighbours apart.
const AWQ_ORDER: [usize; NIBBLES] = [0, 2, 4, 6, 1, 3, 5, 7];
/// Rows that are unpacked together: as many lines of the result stay in a cache.
const ROWS: usize = 64;
/// The zero point of a format without zero points.
const MIDDLE: u8 = 8;

/// The parts of a matrix `[n, k]`, laid out as [`Layout`] says. Words are little-endian, at any
/// address.
#[derive(Debug, Clone, Copy)]
pub struct PackedParts<'a> {
    /// Where each weight is.
    pub layout: Layout,
    /// Rows, columns, groups.
    pub shape: Int4Shape,
    /// The weights.
    pub words: &'a [u8],
    /// The scales, in the order of the layout.
    pub scales: &'a [f32],
    /// The zero points, whether or not they are all 8.
    pub zeros: Option<&'a [u8]>,
    /// Which column of x belongs to each place of a row ([`order_of`]); `None` is its own.
    pub order: Option<&'a [u32]>,
}

/// What is wrong with a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// Which.
    pub part: Part,
    /// What it holds.
    pub found: String,
    /// What it should hold.
    pub expected: String,
}

/// A part of a packed matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The shape as a whole.
    Shape,
    /// The weights.
    Words,
    /// The scales.
    Scales,
    /// The zero points.
    Zeros,
}

impl PackedParts<'_> {
    /// The matrix. Scales and zero points come first: what is refused for them costs nothing.
    ///
    /// # Errors
    /// A part that is too long or too short, a scale that is zero or not finite, or a zero point
    /// other than 8 where there should be none.
    pub fn unpack(&self) -> std::result::Result<Int4Matrix, Unfit> {
        self.check_sizes()?;
        let scales = row_scales(self.layout, self.shape.n, self.scales)?;
        let zero_points = self.zero_points()?;
        let Int4Shape { n, k, .. } = self.shape;
        let words = words_of(self.words);
        let mut quants = vec![0u8; n * k];
        quants.par_chunks_mut(ROWS * k).enumerate().for_each(|(block, rows)| {
            self.unpack_rows(words, block * ROWS, rows);
            if let Some(order) = &self.order {
                for row in rows.chunks_exact_mut(k) {
                    let stored = row.to_vec();
                    row.iter_mut().zip(*order).for_each(|(q, &from)| *q = stored[from as usize]);
                }
            }
        });
        let order = self.order.map(<[u32]>::to_vec);
        Ok(Int4Matrix { quants, scales, zero_points, order })
    }

    fn check_sizes(&self) -> std::result::Result<(), Unfit> {
        let Int4Shape { n, k, group, .. } = self.shape;
        let unfit = |part, found: String, expected: String| Err(Unfit { part, found, expected });
        if n == 0 || k == 0 || group == 0 || !k.is_multiple_of(group) {
            let found = format!("a matrix [{n}, {k}]");
            return unfit(Part::Shape, found, format!("columns in groups of {group}"));
        }
        if !self.layout.packs_whole_words([n, k]) {
            let found = format!("a matrix [{n}, {k}]");
            return unfit(Part::Shape, found, format!("multiples of {NIBBLES}"));
        }
        let groups = self.shape.groups();
        let zeros = 4 * n.div_ceil(NIBBLES) * groups;
        let sizes = [
            (Part::Words, self.words.len(), n * k / 2),
            (Part::Scales, self.scales.len(), n * groups),
            (Part::Zeros, self.zeros.map_or(zeros, <[u8]>::len), zeros),
        ];
        match sizes.iter().find(|(_, found, expected)| found != expected) {
            Some((part, found, expected)) => {
                let unit = if *part == Part::Scales { "scales" } else { "bytes" };
                unfit(*part, format!("{found} {unit}"), format!("{expected}"))
            }
            None => Ok(()),
        }
    }

    /// Rows `first..`, their columns in the order of the file.
    fn unpack_rows(&self, words: &[[u8; 4]], first: usize, rows: &mut [u8]) {
        let Int4Shape { n, k, .. } = self.shape;
        let count = rows.len() / k;
        match self.layout {
            Layout::PackQuantized => {
                let words = &words[first * k / NIBBLES..];
                for (quants, word) in rows.as_chunks_mut::<NIBBLES>().0.iter_mut().zip(words) {
                    *quants = nibbles(*word);
                }
            }
            Layout::Gptq { .. } => {
                for i in 0..k / NIBBLES {
                    for (row, word) in words[i * n + first..][..count].iter().enumerate() {
                        rows[row * k + i * NIBBLES..][..NIBBLES].copy_from_slice(&nibbles(*word));
                    }
                }
            }
            // Eight columns of eight rows at a time, so that each row gets its bytes at once.
            Layout::Awq => {
                let (width, at) = (n / NIBBLES, first / NIBBLES);
                for (column, words) in words.chunks(NIBBLES * width).enumerate() {
                    for i in 0..count / NIBBLES {
                        let column_words = words[at + i..].iter().step_by(width);
                        let mut block = [[0u8; NIBBLES]; NIBBLES];
                        for (c, word) in column_words.clone().enumerate() {
                            let quants = nibbles(*word);
                            block.iter_mut().zip(quants).for_each(|(row, q)| row[c] = q);
                        }
                        let columns = column_words.len();
                        for (row, of) in block.iter().zip(AWQ_ORDER) {
                            let at = (i * NIBBLES + of) * k + column * NIBBLES;
                            rows[at..][..columns].copy_from_slice(&row[..columns]);
                        }
                    }
                }
            }
        }
    }

    /// `[n, groups]`; `None` if there are none.
    fn zero_points(&self) -> std::result::Result<Option<Vec<u8>>, Unfit> {
        let Some(zeros) = self.zeros else { return Ok(None) };
        let (n, groups, words) = (self.shape.n, self.shape.groups(), words_of(zeros));
        let mut points = vec![0u8; n * groups];
        let (places, offset) = match self.layout {
            Layout::Gptq { zero_offset } => (IN_ORDER, zero_offset),
            Layout::Awq => (AWQ_ORDER, 0),
            Layout::PackQuantized => (IN_ORDER, 0),
        };
        for (i, word) in words.iter().enumerate() {
            let (rows, group) = match self.layout {
                Layout::PackQuantized => (i / groups, i % groups),
                _ => (i % (n / NIBBLES), i / (n / NIBBLES)),
            };
            for (zero, place) in nibbles(*word).into_iter().zip(places) {
                let row = rows * NIBBLES + place;
                if row < n {
                    points[row * groups + group] = zero + offset;
                }
            }
        }
        if self.shape.zero_points {
            return Ok(Some(points));
        }
        match points.iter().position(|point| *point != MIDDLE) {
            None => Ok(None),
            Some(at) => Err(Unfit {
                part: Part::Zeros,
                found: format!("zero point {} in row {}", points[at], at / groups),
                expected: "8 everywhere, since sym is true (if all are 9, checkpoint_format \
                           should be gptq_v2; if all are 7, gptq)"
                    .to_string(),
            }),
        }
    }
}

/// Scales of a matrix with `n` rows as `[n, groups]`.
///
/// # Errors
/// A scale that is zero or not finite.
pub(super) fn row_scales(
    layout: Layout,
    n: usize,
    stored: &[f32],
) -> std::result::Result<Vec<f32>, Unfit> {
    let groups = stored.len() / n;
    let columns = if layout == Layout::PackQuantized { groups } else { n };
    if let Some(at) = stored.iter().position(|scale| !scale.is_finite() || *scale == 0.0) {
        let found = format!("{} in row {}, column {}", stored[at], at / columns, at % columns);
        let expected = "scales that are finite and not zero".to_string();
        return Err(Unfit { part: Part::Scales, found, expected });
    }
    Ok(match layout {
        Layout::PackQuantized => stored.to_vec(),
        _ => transposed(stored, n),
    })
}

/// Which column belongs to each place of groups that follow one another; `None` if each is its
/// own. Columns of one group keep their order. What was found and expected if `index` leaves
/// columns over.
pub fn order_of(
    index: &[u8],
    group: usize,
) -> std::result::Result<Option<Vec<u32>>, (String, String)> {
    let index = words_of(index);
    let groups = index.len() / group;
    let index = || index.iter().map(|word| u32::from_le_bytes(*word)).enumerate();
    if index().all(|(column, of)| of as usize == column / group) {
        return Ok(None);
    }
    let mut filled = vec![0usize; groups];
    let mut order = vec![0u32; groups * group];
    for (column, of) in index() {
        let Some(filled) = filled.get_mut(of as usize) else {
            let found = format!("group {} of column {column}", of.cast_signed());
            return Err((found, format!("groups below {groups}")));
        };
        if *filled == group {
            let found = format!("more than {group} columns in group {of}");
            return Err((found, format!("{group}, the group size")));
        }
        order[of as usize * group + *filled] = column as u32;
        *filled += 1;
    }
    Ok(Some(order))
}

fn nibbles(word: [u8; 4]) -> [u8; NIBBLES] {
    std::array::from_fn(|i| word[i / 2] >> (4 * (i % 2)) & 15)
}

fn words_of(bytes: &[u8]) -> &[[u8; 4]] {
    bytes.as_chunks().0
}

/// `[groups, n]` as `[n, groups]`.
fn transposed(values: &[f32], n: usize) -> Vec<f32> {
    let groups = values.len() / n;
    (0..n * groups).map(|at| values[at % groups * n + at / groups]).collect()
}
