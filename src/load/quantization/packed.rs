//! The parts of one quantised matrix in the files of a checkpoint: found, and checked against what
//! config.json says of its shape.

use super::parts::{NIBBLES, PackedParts, Part, Unfit, order_of, row_scales};
use super::{Bits, Layout, Order, Scheme};
use crate::error::{Error, Result};
use crate::load::Checkpoint;
use crate::tensor::int4::{Int4Shape, Int4Tensor};
use crate::tensor::{HostMatrix, HostTensor, Int8Tensor, MatrixFormat, SharedBytes};
use rayon::prelude::*;

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
        // Rows of 8 bits that do not fill their last word are filled up.
        if scheme.bits == Bits::Four && !layout.packs_whole_words([n, k]) {
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
            order_of(bytes.as_slice(), group).map_err(|(found, expected)| {
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

    /// The matrix.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the tensor, as [`PackedParts::unpack`] has it.
    pub(super) fn unpack(self, files: &Checkpoint) -> Result<HostMatrix> {
        let Int4Shape { n, k, .. } = self.shape;
        let stored = self.scales.to_f32();
        if self.bits == Bits::Eight {
            let scales = row_scales(self.layout, n, &stored).map_err(|e| self.unfit(files, e))?;
            let values = self.bytes();
            return Ok(HostMatrix::Int8(Int8Tensor { name: self.name, n, k, values, scales }));
        }
        let parts = PackedParts {
            layout: self.layout,
            shape: self.shape,
            words: self.words.as_slice(),
            scales: &stored,
            zeros: self.zeros.as_ref().map(SharedBytes::as_slice),
            order: self.order.as_deref(),
        };
        let matrix = parts.unpack().map_err(|unfit| self.unfit(files, unfit))?;
        Ok(HostMatrix::Int4(Int4Tensor { name: self.name, shape: self.shape, matrix }))
    }

    fn unfit(&self, files: &Checkpoint, unfit: Unfit) -> Error {
        let part = match unfit.part {
            Part::Shape | Part::Words => self.layout.weights(),
            Part::Scales => self.layout.scales(),
            Part::Zeros => self.layout.zeros(),
        };
        let name = format!("{}.{part}", self.module);
        let what = format!("tensor {name}");
        Error::invalid(&files.file_for(&name), what, unfit.found, unfit.expected)
    }

    /// Eight bits a weight: 128 is zero.
    fn bytes(&self) -> Vec<i8> {
        let k = self.shape.k;
        // A row that is no multiple of four ends in bytes that mean nothing.
        let rows = self.words.as_slice().par_chunks_exact(k.next_multiple_of(4));
        rows.flat_map_iter(|row| row[..k].iter().map(|byte| (byte ^ 0x80).cast_signed())).collect()
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
