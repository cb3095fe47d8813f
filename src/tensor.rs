//! Tensors as a checkpoint stores them: bytes that somebody else owns, with a dtype and a shape.

pub mod int4;
mod matrix;

pub use matrix::{HostMatrix, Int8Tensor, MatrixFormat};

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// The number formats of stored weights and of the KV pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::Bf16 => "BF16",
        })
    }
}

/// A shared, read-only range of bytes: a part of a mapped file or of a buffer.
///
/// Clones share the owner, so a tensor keeps its file mapped for as long as it lives and nothing
/// is copied. The start may have any alignment: readers load elements bytewise or unaligned.
#[derive(Clone)]
pub struct SharedBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl SharedBytes {
    /// The bytes `range` of `owner`.
    ///
    /// # Panics
    /// If the range reaches past the owner's end.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> SharedBytes {
        let len = (*owner).as_ref().len();
        assert!(range.start <= range.end && range.end <= len, "{range:?} of {len} bytes");
        SharedBytes { owner, range }
    }

    /// The bytes themselves.
    pub fn as_slice(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> SharedBytes {
        let range = 0..bytes.len();
        SharedBytes::new(Arc::new(bytes), range)
    }
}

/// A weight in host memory: little-endian elements, row-major, last dimension fastest.
#[derive(Clone)]
pub struct HostTensor {
    /// The name in the checkpoint, for messages.
    pub name: String,
    /// The element type.
    pub dtype: Dtype,
    /// The shape, outermost dimension first: `[rows, columns]` of a matrix, `[length]` of a vector.
    pub shape: Vec<usize>,
    /// `shape.product() * dtype.size()` bytes, at any alignment.
    pub bytes: SharedBytes,
}

impl HostTensor {
    /// A tensor over `bytes`.
    ///
    /// # Panics
    /// If the number of bytes does not follow from shape and dtype.
    pub fn new(
        name: impl Into<String>,
        dtype: Dtype,
        shape: Vec<usize>,
        bytes: SharedBytes,
    ) -> HostTensor {
        let name = name.into();
        let expected = shape.iter().product::<usize>() * dtype.size();
        assert_eq!(bytes.as_slice().len(), expected, "bytes of {name} {dtype} {shape:?}");
        HostTensor { name, dtype, shape, bytes }
    }

    /// A tensor that owns a copy of `values` as F32.
    pub fn from_f32(name: impl Into<String>, shape: Vec<usize>, values: &[f32]) -> HostTensor {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        HostTensor::new(name, Dtype::F32, shape, bytes.into())
    }

    /// Rows and columns of a matrix.
    ///
    /// # Panics
    /// If it has other than two dimensions.
    pub fn matrix_shape(&self) -> [usize; 2] {
        match self.shape[..] {
            [n, k] => [n, k],
            _ => panic!("{self:?} is not a matrix"),
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements as f32 (exact for every stored dtype), on one thread.
    pub fn to_f32(&self) -> Vec<f32> {
        let bytes = self.bytes.as_slice();
        match self.dtype {
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => pairs(bytes).map(|bits| half::f16::from_bits(bits).to_f32()).collect(),
            Dtype::Bf16 => pairs(bytes).map(|bits| f32::from_bits(u32::from(bits) << 16)).collect(),
        }
    }
}

impl fmt::Debug for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?}", self.name, self.dtype, self.shape)
    }
}

fn pairs(bytes: &[u8]) -> impl Iterator<Item = u16> + '_ {
    bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
}
