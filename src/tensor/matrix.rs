//! A weight matrix in host memory, in whatever form its checkpoint or a quantiser left it.

use super::int4::Int4Tensor;
use super::{Dtype, HostTensor};
use std::fmt;

/// A matrix `[n, k]` quantised to 8 bits, one scale a row: weight `[r, c]` is
/// `scales[r] * values[r, c]`.
#[derive(Clone, PartialEq)]
pub struct Int8Tensor {
    /// Its name in the checkpoint, for messages.
    pub name: String,
    /// Rows.
    pub n: usize,
    /// Columns.
    pub k: usize,
    /// `[n, k]`.
    pub values: Vec<i8>,
    /// `[n]`, finite.
    pub scales: Vec<f32>,
}

/// A weight matrix `[n, k]`, for a backend to prepare.
#[derive(Clone)]
pub enum HostMatrix {
    /// 16 or 32 bits an element, where its file is mapped.
    Plain(HostTensor),
    /// 8 bits an element.
    Int8(Int8Tensor),
    /// 4 bits an element.
    Int4(Int4Tensor),
}

/// How the elements of a matrix are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatrixFormat {
    /// As numbers.
    Plain(Dtype),
    /// 8 bits, and a scale for each row.
    Int8,
    /// 4 bits, and a scale for each group of a row.
    Int4 {
        /// Columns of a group.
        group: usize,
        /// Whether each group has a zero point.
        zero_points: bool,
        /// Whether columns are in an order of their own.
        ordered: bool,
    },
}

impl fmt::Display for MatrixFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MatrixFormat::Plain(dtype) => dtype.fmt(f),
            MatrixFormat::Int8 => f.write_str("int8"),
            MatrixFormat::Int4 { group, zero_points, ordered } => {
                let zeros = if *zero_points { " with zero points" } else { "" };
                let order = if *ordered { " in an order of its own" } else { "" };
                write!(f, "int4 in groups of {group}{zeros}{order}")
            }
        }
    }
}

impl HostMatrix {
    /// Its name in the checkpoint.
    pub fn name(&self) -> &str {
        match self {
            HostMatrix::Plain(tensor) => &tensor.name,
            HostMatrix::Int8(tensor) => &tensor.name,
            HostMatrix::Int4(tensor) => &tensor.name,
        }
    }

    /// Rows and columns.
    ///
    /// # Panics
    /// If it is a tensor of other than two dimensions.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            HostMatrix::Plain(tensor) => tensor.matrix_shape(),
            HostMatrix::Int8(tensor) => [tensor.n, tensor.k],
            HostMatrix::Int4(tensor) => [tensor.shape.n, tensor.shape.k],
        }
    }

    /// Its format. Matrices with equal formats can be stacked.
    pub fn format(&self) -> MatrixFormat {
        match self {
            HostMatrix::Plain(tensor) => MatrixFormat::Plain(tensor.dtype),
            HostMatrix::Int8(_) => MatrixFormat::Int8,
            HostMatrix::Int4(tensor) => MatrixFormat::Int4 {
                group: tensor.shape.group,
                zero_points: tensor.shape.zero_points,
                ordered: tensor.matrix.order.is_some(),
            },
        }
    }

    /// Tensors as matrices.
    pub fn plain(tensors: impl IntoIterator<Item = HostTensor>) -> Vec<HostMatrix> {
        tensors.into_iter().map(HostMatrix::Plain).collect()
    }

    /// The tensor, if it is one of plain elements.
    pub fn as_plain(&self) -> Option<&HostTensor> {
        match self {
            HostMatrix::Plain(tensor) => Some(tensor),
            _ => None,
        }
    }
}

impl From<HostTensor> for HostMatrix {
    fn from(tensor: HostTensor) -> HostMatrix {
        HostMatrix::Plain(tensor)
    }
}

impl fmt::Debug for HostMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [n, k] = self.shape();
        write!(f, "{} {} [{n}, {k}]", self.name(), self.format())
    }
}
