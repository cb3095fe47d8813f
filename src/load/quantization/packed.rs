//! The parts of one quantised matrix: found, checked against what config.json says of its shape,
//! and unpacked.

use super::{Bits, Layout, Order, Scheme};
use crate::error::{Error, Result};
use crate::load::Checkpoint;
use crate::tensor::int4::{Int4Matrix, Int4Shape, Int4Tensor};
use crate::tensor::{HostMatrix, HostTensor, Int8Tensor, MatrixFormat, SharedBytes};
use rayon::prelude::*;

/// Weights of 4 bits in a word.
const NIBBLES: usize = 8;
/// Which of eight neighbours each nibble of a word belongs to, where they are in order.
const IN_ORDER: [usize; NIBBLES] = [0, 1, 2, 3, 4, 5, 6, 7];
/// The same for AWQ, whose kernels take even and odd neighbours apart.
const AWQ_ORDER: [usize; NIBBLES] = [0, 2, 4, 6, 1, 3, 5, 7];
/// Rows that are unpacked together: as many lines of the result stay in a cache.
const ROWS: usize = 64;
/// The zero point of a format without zero points.
const MIDDLE: u8 = 8;

/// The parts of a matrix `[n, k]`. Their dtypes and shapes fit each other.
pub(super) struct Packed {
    name: String,
    module: String,
    layout: Layout,
    bits: Bits,
    shape: Int4Shape,
    words: SharedBytes,
    scales: HostTensor,
    /// Whether or not they are all 8.
    zeros: Option<SharedBytes>,
    order: Option<Vec<u32>>,
}

impl Packed {
    /// Finds the parts of `module`. Nothing of the size of the matrix is read.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the part that is missing or unfit.
    pub(super) fn find(
        files: &Checkpoint,
        layout: Layout,
        scheme: Scheme,
        module: &str,
        [n, k]: [usize; 2],
    ) -> Result<Packed> {
        let part = |part: &str| format!("{module}.{part}");
        let group = scheme.group.unwrap_or(k);
        let weights = part(layout.weights());
        let unfit = |found: String, expected: String| {
            Error::invalid(&files.file_for(&weights), format!("tensor {weights}"), found, expected)
        };
        if !k.is_multiple_of(group) {
            let expected = format!("a multiple of the group, {group}");
            return Err(unfit(format!("rows of {k} columns"), expected));
        }
        let groups = k / group;
        let per_word = match scheme.bits {
            Bits::Four => NIBBLES,
            Bits::Eight => 4,
        };
        let packs_rows = layout != Layout::PackQuantized;
        if packs_rows && !n.is_multiple_of(NIBBLES) || layout != Layout::Awq && k % NIBBLES > 0 {
            let expected = format!("multiples of {NIBBLES}, as {} packs them", layout.weights());
            return Err(unfit(format!("a matrix [{n}, {k}]"), expected));
        }
        let (words, scales, zeros) = match layout {
            Layout::Gptq { .. } => ([k / NIBBLES, n], [groups, n], [groups, n / NIBBLES]),
            Layout::Awq => ([k, n / NIBBLES], [groups, n], [groups, n / NIBBLES]),
            Layout::PackQuantized => {
                ([n, k.div_ceil(per_word)], [n, groups], [n.div_ceil(NIBBLES), groups])
            }
        };
        if layout == Layout::PackQuantized {
            check_shape(files, &part("weight_shape"), [n, k])?;
        }
        let stores_zeros = scheme.zero_points || layout.stores_all_zeros();
        let zeros = stores_zeros.then(|| files.raw(&part(layout.zeros()), "I32", &zeros));
        let index = part(layout.group_index());
        let is_ordered = match scheme.order {
            Order::None => false,
            Order::Optional => files.contains(&index),
            Order::Required => true,
        };
        let order = is_ordered.then(|| {
            let bytes = files.raw(&index, "I32", &[k])?;
            order_of(words_of(&bytes), group).map_err(|(found, expected)| {
                Error::invalid(&files.file_for(&index), format!("tensor {index}"), found, expected)
            })
        });
        Ok(Packed {
            name: part("weight"),
            module: module.to_string(),
            layout,
            bits: scheme.bits,
            shape: Int4Shape { n, k, group, zero_points: scheme.zero_points },
            words: files.raw(&weights, "I32", &words)?,
            scales: files.tensor(&part(layout.scales()), &scales)?,
            zeros: zeros.transpose()?,
            order: order.transpose()?.flatten(),
        })
    }

    /// Its format.
    pub(super) fn format(&self) -> MatrixFormat {
        let Int4Shape { group, zero_points, .. } = self.shape;
        match self.bits {
            Bits::Four => MatrixFormat::Int4 { group, zero_points, ordered: self.order.is_some() },
            Bits::Eight => MatrixFormat::Int8,
        }
    }

    /// The matrix. Scales and zero points come first: what is refused for them costs nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the tensor, for a scale that is zero or not finite, or a zero
    /// point other than 8 where the configuration says that there are none.
    pub(super) fn unpack(self, files: &Checkpoint) -> Result<HostMatrix> {
        let scales = self.row_scales(files)?;
        let Int4Shape { n, k, .. } = self.shape;
        if self.bits == Bits::Eight {
            let values = self.bytes();
            return Ok(HostMatrix::Int8(Int8Tensor { name: self.name, n, k, values, scales }));
        }
        let zero_points = self.zero_points(files)?;
        let words = words_of(&self.words);
        let mut quants = vec![0u8; n * k];
        quants.par_chunks_mut(ROWS * k).enumerate().for_each(|(block, rows)| {
            self.unpack_rows(words, block * ROWS, rows);
            if let Some(order) = &self.order {
                for row in rows.chunks_exact_mut(k) {
                    let stored = row.to_vec();
                    row.iter_mut().zip(order).for_each(|(q, &from)| *q = stored[from as usize]);
                }
            }
        });
        let matrix = Int4Matrix { quants, scales, zero_points, order: self.order };
        Ok(HostMatrix::Int4(Int4Tensor { name: self.name, shape: self.shape, matrix }))
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

    /// Eight bits a weight: 128 is zero.
    fn bytes(&self) -> Vec<i8> {
        let k = self.shape.k;
        // A row that is no multiple of four ends in bytes that mean nothing.
        let rows = self.words.as_slice().par_chunks_exact(k.next_multiple_of(4));
        rows.flat_map_iter(|row| row[..k].iter().map(|byte| (byte ^ 0x80).cast_signed())).collect()
    }

    /// `[n, groups]`.
    fn row_scales(&self, files: &Checkpoint) -> Result<Vec<f32>> {
        let stored = self.scales.to_f32();
        if let Some(at) = stored.iter().position(|scale| !scale.is_finite() || *scale == 0.0) {
            let [_, columns] = self.scales.shape[..] else { panic!("{:?}", self.scales) };
            let name = &self.scales.name;
            let found = format!("{} in row {}, column {}", stored[at], at / columns, at % columns);
            let what = format!("tensor {name}");
            let expected = "scales that are finite and not zero";
            return Err(Error::invalid(&files.file_for(name), what, found, expected));
        }
        Ok(match self.layout {
            Layout::PackQuantized => stored,
            _ => transposed(&stored, self.shape.n),
        })
    }

    /// `[n, groups]`; `None` if there are none.
    fn zero_points(&self, files: &Checkpoint) -> Result<Option<Vec<u8>>> {
        let Some(zeros) = &self.zeros else { return Ok(None) };
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
            Some(at) => {
                let name = format!("{}.{}", self.module, self.layout.zeros());
                let found = format!("zero point {} in row {}", points[at], at / groups);
                let expected = "8 everywhere, since sym is true (if all are 9, checkpoint_format \
                                should be gptq_v2; if all are 7, gptq)";
                Err(Error::invalid(
                    &files.file_for(&name),
                    format!("tensor {name}"),
                    found,
                    expected,
                ))
            }
        }
    }
}

/// The shape that a file repeats.
fn check_shape(files: &Checkpoint, name: &str, shape: [usize; 2]) -> Result<()> {
    let bytes = files.raw(name, "I64", &[2])?;
    let found: Vec<i64> =
        bytes.as_slice().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect();
    match found == shape.map(|size| size as i64) {
        true => Ok(()),
        false => {
            let expected = format!("{shape:?} (from config.json)");
            let what = format!("tensor {name}");
            Err(Error::invalid(&files.file_for(name), what, format!("{found:?}"), expected))
        }
    }
}

/// Which column belongs to each place of groups that follow one another; `None` if each is its
/// own. Columns of one group keep their order. What was found and expected if `index` leaves
/// columns over.
fn order_of(
    index: &[[u8; 4]],
    group: usize,
) -> std::result::Result<Option<Vec<u32>>, (String, String)> {
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

/// Little-endian words, at any address.
fn words_of(bytes: &SharedBytes) -> &[[u8; 4]] {
    bytes.as_slice().as_chunks().0
}

/// `[groups, n]` as `[n, groups]`.
fn transposed(values: &[f32], n: usize) -> Vec<f32> {
    let groups = values.len() / n;
    (0..n * groups).map(|at| values[at % groups * n + at / groups]).collect()
}
