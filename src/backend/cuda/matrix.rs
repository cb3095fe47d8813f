//! Weight matrices on a GPU: bf16 row by row, int4 in the order of [`super::repack`], or int8 in
//! that of [`super::repack_int8`]. Several tensors of a checkpoint become one matrix, so that one
//! product computes them all.

use super::adapt::adapted;
use super::driver::{DevicePtr, Driver};
use super::memory::Buffer;
use super::ops::gemm::{Weight, WeightKind};
use super::repack::pack_rows;
use super::repack_int8;
use crate::error::{Error, Result};
use crate::tensor::int4::{Int4Shape, Int4Tensor};
use crate::tensor::{Dtype, HostMatrix, HostTensor, Int8Tensor};
use half::bf16;
use rayon::prelude::*;
use std::sync::Arc;

/// Bytes that are converted on the host before they are copied.
const STAGING_BYTES: usize = 8 << 20;
/// Rows of gate, and then of up, that follow one another in a gated matrix.
const GATE_ROWS: usize = 8;
/// What K is a multiple of: the depth of one product of matrices in a tensor core.
const K_STEP: usize = 16;

/// A weight matrix `[n, k]`.
pub struct Matrix {
    data: Buffer,
    kind: WeightKind,
    /// Rows; of gate and up together.
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) gated: bool,
}

impl Matrix {
    /// `parts`, all of one format, stacked; or, if `gated`, gate and up in turns.
    pub(super) fn new(
        driver: &Arc<dyn Driver>,
        parts: Vec<HostMatrix>,
        gated: bool,
    ) -> Result<Matrix> {
        let (mut plain, mut int4, mut int8) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            match adapted(part)? {
                HostMatrix::Plain(tensor) => plain.push(tensor),
                HostMatrix::Int4(tensor) => int4.push(tensor),
                HostMatrix::Int8(tensor) => int8.push(tensor),
            }
        }
        let formats = [plain.is_empty(), int4.is_empty(), int8.is_empty()];
        assert_eq!(formats.iter().filter(|empty| !**empty).count(), 1, "formats of a matrix");
        if let Some(first) = int8.first() {
            let gate = first.name.clone();
            let order = match gated {
                true => gated_order(&gate, first.n)?,
                false => stacked_order(int8.iter().map(|part| part.n)),
            };
            return Matrix::of_int8_rows(driver, &int8, &order, gated);
        }
        match (gated, int4.is_empty()) {
            (false, true) => Matrix::stacked(driver, &plain),
            (false, false) => Matrix::stacked_int4(driver, &int4),
            (true, true) => {
                let up = plain.pop().expect("gate and up");
                Matrix::gated(driver, plain.pop().expect("gate and up"), up)
            }
            (true, false) => Matrix::gated_int4(driver, &int4[0], &int4[1]),
        }
    }

    /// `parts` stacked.
    pub(super) fn stacked(driver: &Arc<dyn Driver>, parts: &[HostTensor]) -> Result<Matrix> {
        let order = stacked_order(parts.iter().map(|part| part.shape[0]));
        Matrix::of_rows(driver, parts, &order, false)
    }

    /// Gate and up in turns of eight rows, so that both come to one thread of a product.
    pub(super) fn gated(
        driver: &Arc<dyn Driver>,
        gate: HostTensor,
        up: HostTensor,
    ) -> Result<Matrix> {
        assert_eq!(gate.shape, up.shape, "gate and up");
        let order = gated_order(&gate, gate.shape[0])?;
        Matrix::of_rows(driver, &[gate, up], &order, true)
    }

    /// `parts` stacked, whose columns and groups must be the same.
    ///
    /// # Errors
    /// [`Error::NoKernel`] if the columns are not whole groups of 64 or 128, [`Error::Device`] if
    /// the device has no memory left.
    ///
    /// # Panics
    /// If a tensor's lengths do not follow from its shape.
    pub fn stacked_int4(driver: &Arc<dyn Driver>, parts: &[Int4Tensor]) -> Result<Matrix> {
        let order = stacked_order(parts.iter().map(|part| part.shape.n));
        Matrix::of_int4_rows(driver, &parts.iter().collect::<Vec<_>>(), &order, false)
    }

    /// Gate and up in turns of eight rows.
    ///
    /// # Errors
    /// As [`Matrix::stacked_int4`], and [`Error::NoKernel`] if the rows come in no whole turns.
    ///
    /// # Panics
    /// As [`Matrix::stacked_int4`].
    pub fn gated_int4(
        driver: &Arc<dyn Driver>,
        gate: &Int4Tensor,
        up: &Int4Tensor,
    ) -> Result<Matrix> {
        assert_eq!(gate.shape.n, up.shape.n, "rows of {} and {}", gate.name, up.name);
        let order = gated_order(&gate.name, gate.shape.n)?;
        Matrix::of_int4_rows(driver, &[gate, up], &order, true)
    }

    fn of_rows(
        driver: &Arc<dyn Driver>,
        parts: &[HostTensor],
        order: &[PartRow],
        gated: bool,
    ) -> Result<Matrix> {
        let first = parts.first().expect("a matrix has parts");
        let (n, k) = (order.len(), first.shape[1]);
        if !k.is_multiple_of(K_STEP) {
            return Err(Error::NoKernel {
                what: format!("{first:?}, with rows of {k},"),
                supported: format!("multiples of {K_STEP}"),
            });
        }
        let data = Buffer::new(driver, (n * k * 2) as u64)?;
        let rows_at_once = (STAGING_BYTES / (2 * k)).max(1);
        let mut staging = vec![0u8; 2 * k * rows_at_once.min(n)];
        for (i, piece) in order.chunks(rows_at_once).enumerate() {
            let staging = &mut staging[..2 * k * piece.len()];
            let into = staging.par_chunks_exact_mut(2 * k);
            into.zip(piece).for_each(|(to, at)| row_to_bf16(&parts[at.part], at.row, to));
            driver.write(data.ptr() + (i * rows_at_once * 2 * k) as u64, staging)?;
        }
        Ok(Matrix { data, kind: WeightKind::Bf16, n, k, gated })
    }

    fn of_int4_rows(
        driver: &Arc<dyn Driver>,
        parts: &[&Int4Tensor],
        order: &[PartRow],
        gated: bool,
    ) -> Result<Matrix> {
        let first = parts.first().expect("a matrix has parts");
        let Int4Shape { k, group, zero_points, .. } = first.shape;
        for part in parts {
            let found = Int4Shape { n: first.shape.n, ..part.shape };
            assert_eq!(found, first.shape, "{} beside {}", part.name, first.name);
        }
        let kind = WeightKind::Int4 { group: group as u32, zero_points };
        if !WeightKind::ALL.contains(&kind) || !k.is_multiple_of(group) {
            return Err(Error::NoKernel {
                what: format!("{}, rows of {k} in groups of {group},", first.name),
                supported: "whole groups of 64 or 128".to_owned(),
            });
        }
        let shape = Int4Shape { n: order.len(), ..first.shape };
        let packed = pack_rows(&shape, |row| {
            let PartRow { part, row } = order[row];
            parts[part].matrix.row(&parts[part].shape, row)
        });
        Ok(Matrix { data: Buffer::of(driver, &packed)?, kind, n: shape.n, k, gated })
    }

    fn of_int8_rows(
        driver: &Arc<dyn Driver>,
        parts: &[Int8Tensor],
        order: &[PartRow],
        gated: bool,
    ) -> Result<Matrix> {
        let (n, k) = (order.len(), parts[0].k);
        if !k.is_multiple_of(K_STEP) {
            return Err(Error::NoKernel {
                what: format!("{}, with rows of {k},", parts[0].name),
                supported: format!("multiples of {K_STEP}"),
            });
        }
        let packed = repack_int8::pack_rows((n, k), |row| {
            let (part, row) = (&parts[order[row].part], order[row].row);
            (&part.values[row * part.k..][..part.k], part.scales[row])
        });
        Ok(Matrix { data: Buffer::of(driver, &packed)?, kind: WeightKind::Int8, n, k, gated })
    }

    /// Operand of a product.
    pub fn weight(&self) -> Weight {
        let at = self.data.ptr();
        match self.kind {
            WeightKind::Bf16 => Weight::Bf16(at),
            WeightKind::Int8 => Weight::Int8(at),
            WeightKind::Int4 { group, zero_points } => Weight::Int4 { at, group, zero_points },
        }
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> u64 {
        self.data.bytes()
    }

    /// Where its rows are, one after the other in bf16.
    pub(super) fn rows_ptr(&self) -> DevicePtr {
        assert_eq!(self.kind, WeightKind::Bf16, "rows of a matrix [{}, {}]", self.n, self.k);
        self.data.ptr()
    }
}

/// A row of one of the tensors that make up a matrix.
#[derive(Debug, Clone, Copy)]
struct PartRow {
    part: usize,
    row: usize,
}

/// The rows of one tensor after those of another.
fn stacked_order(rows: impl Iterator<Item = usize>) -> Vec<PartRow> {
    let of_part = |(part, rows)| (0..rows).map(move |row| PartRow { part, row });
    rows.enumerate().flat_map(of_part).collect()
}

/// [`GATE_ROWS`] rows of gate, then as many of up, and so on.
fn gated_order(gate: &dyn std::fmt::Debug, inner: usize) -> Result<Vec<PartRow>> {
    if !inner.is_multiple_of(GATE_ROWS) {
        return Err(Error::NoKernel {
            what: format!("{gate:?}, a gate of {inner} rows,"),
            supported: format!("multiples of {GATE_ROWS}"),
        });
    }
    let turn = |i: usize| PartRow {
        part: i / GATE_ROWS % 2,
        row: i / (2 * GATE_ROWS) * GATE_ROWS + i % GATE_ROWS,
    };
    Ok((0..2 * inner).map(turn).collect())
}

/// Row `row` of a matrix, rounded to bf16.
fn row_to_bf16(part: &HostTensor, row: usize, to: &mut [u8]) {
    let bytes = part.shape[1] * part.dtype.size();
    let from = &part.bytes.as_slice()[row * bytes..][..bytes];
    let to_pairs = to.as_chunks_mut::<2>().0;
    match part.dtype {
        Dtype::Bf16 => to.copy_from_slice(from),
        Dtype::F16 => {
            for (to, from) in to_pairs.iter_mut().zip(from.as_chunks::<2>().0) {
                *to = bf16::from_f32(half::f16::from_le_bytes(*from).to_f32()).to_le_bytes();
            }
        }
        Dtype::F32 => {
            for (to, from) in to_pairs.iter_mut().zip(from.as_chunks::<4>().0) {
                *to = bf16::from_f32(f32::from_le_bytes(*from)).to_le_bytes();
            }
        }
    }
}
