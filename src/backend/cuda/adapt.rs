//! Quantised matrices that no kernel takes as they are, made into some that one does.

use crate::error::{Error, Result};
use crate::tensor::int4::{Int4Matrix, Int4Shape, Int4Tensor};
use crate::tensor::{Dtype, HostMatrix, HostTensor};
use half::bf16;
use rayon::prelude::*;

/// Columns that share a scale in the kernels, widest first.
const GROUPS: [usize; 2] = [128, 64];

/// A matrix of the same values, or of those values rounded to bf16, that has kernels.
///
/// # Errors
/// [`Error::NoKernel`] if its groups are no whole groups of a kernel.
pub(super) fn adapted(matrix: HostMatrix) -> Result<HostMatrix> {
    match matrix {
        HostMatrix::Int4(tensor) if tensor.matrix.order.is_some() => {
            Ok(HostMatrix::Plain(dequantised(&tensor)))
        }
        HostMatrix::Int4(tensor) if !GROUPS.contains(&tensor.shape.group) => {
            narrowed(tensor).map(HostMatrix::Int4)
        }
        other => Ok(other),
    }
}

/// The widest group of a kernel that a group is whole ones of.
pub(crate) fn kernel_group(group: usize) -> Option<usize> {
    GROUPS.into_iter().find(|of| group > 0 && group.is_multiple_of(*of))
}

/// The same values in groups of a kernel: each scale stands several times.
///
/// # Errors
/// [`Error::NoKernel`] if there are none.
pub(crate) fn narrowed(tensor: Int4Tensor) -> Result<Int4Tensor> {
    let Int4Tensor { name, shape, matrix } = tensor;
    let Some(group) = kernel_group(shape.group) else {
        return Err(Error::NoKernel {
            what: format!("{name}, rows of {} in groups of {},", shape.k, shape.group),
            supported: "whole groups of 64 or 128".to_owned(),
        });
    };
    let times = shape.group / group;
    let scales = matrix.scales.iter().flat_map(|scale| vec![*scale; times]).collect();
    let zero_points = matrix.zero_points.map(|zero_points| {
        zero_points.into_iter().flat_map(|zero_point| vec![zero_point; times]).collect()
    });
    let matrix = Int4Matrix { scales, zero_points, ..matrix };
    Ok(Int4Tensor { name, shape: Int4Shape { group, ..shape }, matrix })
}

/// The values in bf16, each rounded once, and columns where x has them: a kernel would have to
/// gather x for each product.
fn dequantised(tensor: &Int4Tensor) -> HostTensor {
    let Int4Tensor { name, shape, matrix } = tensor;
    let order = matrix.order.as_ref().expect("columns in an order of their own");
    assert_eq!(order.len(), shape.k, "order of the columns of {name}");
    let mut bytes = vec![0; 2 * shape.n * shape.k];
    bytes.par_chunks_exact_mut(2 * shape.k).enumerate().for_each(|(row, to)| {
        let (row, to) = (matrix.row(shape, row), to.as_chunks_mut::<2>().0);
        for (i, (&q, &column)) in row.quants.iter().zip(order).enumerate() {
            let group = i / shape.group;
            let zero_point = row.zero_points.map_or(8, |zero_points| zero_points[group]);
            let value = row.scales[group] * (f32::from(q) - f32::from(zero_point));
            to[column as usize] = bf16::from_f32(value).to_le_bytes();
        }
    });
    HostTensor::new(name.clone(), Dtype::Bf16, vec![shape.n, shape.k], bytes.into())
}
