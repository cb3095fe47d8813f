//! Matrices in the layout of compressed-tensors' `pack-quantized`.
//!
//! Points are stored with the lowest as 0, eight 4-bit or four 8-bit ones to a little-endian
//! 32-bit word, the first in the lowest bits: `weight_packed` packs along a row, and
//! `weight_zero_point` along a column, rows that lack filled up with zeros. Scales are bf16, and
//! exact: quantisers round them before they use them.

use crate::tensor::int4::Int4Tensor;
use crate::tensor::{HostMatrix, Int8Tensor};
use half::bf16;

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// What stands behind the name of the module.
    pub suffix: &'static str,
    /// The format of its elements, as safetensors names it.
    pub dtype: &'static str,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// Its elements.
    pub bytes: Vec<u8>,
}

/// The tensors that hold a matrix.
pub fn pack(matrix: &HostMatrix) -> Vec<Packed> {
    match matrix {
        HostMatrix::Plain(tensor) => vec![Packed {
            suffix: ".weight",
            dtype: dtype_name(tensor.dtype),
            shape: tensor.shape.clone(),
            bytes: tensor.bytes.as_slice().to_vec(),
        }],
        HostMatrix::Int8(tensor) => int8(tensor),
        HostMatrix::Int4(tensor) => int4(tensor),
    }
}

/// As safetensors names it.
pub fn dtype_name(dtype: crate::tensor::Dtype) -> &'static str {
    match dtype {
        crate::tensor::Dtype::F32 => "F32",
        crate::tensor::Dtype::F16 => "F16",
        crate::tensor::Dtype::Bf16 => "BF16",
    }
}

fn int4(tensor: &Int4Tensor) -> Vec<Packed> {
    let shape = tensor.shape;
    assert!(tensor.matrix.order.is_none(), "{} has an order of its own", tensor.name);
    let words = tensor.matrix.quants.chunks_exact(8).map(|points| {
        points.iter().enumerate().fold(0u32, |word, (i, q)| word | u32::from(*q) << (4 * i))
    });
    let mut packed = vec![
        packed_weights([shape.n, shape.k / 8], words),
        scales([shape.n, shape.groups()], &tensor.matrix.scales),
        weight_shape(shape.n, shape.k),
    ];
    if let Some(zeros) = &tensor.matrix.zero_points {
        let groups = shape.groups();
        let mut words = vec![0u32; shape.n.div_ceil(8) * groups];
        for (row, zeros) in zeros.chunks_exact(groups).enumerate() {
            let words = &mut words[row / 8 * groups..][..groups];
            for (word, zero) in words.iter_mut().zip(zeros) {
                *word |= u32::from(*zero) << (4 * (row % 8));
            }
        }
        packed.push(Packed {
            suffix: ".weight_zero_point",
            dtype: "I32",
            shape: vec![shape.n.div_ceil(8), groups],
            bytes: words.iter().flat_map(|word| word.to_le_bytes()).collect(),
        });
    }
    packed
}

fn int8(tensor: &Int8Tensor) -> Vec<Packed> {
    let (n, k) = (tensor.n, tensor.k);
    let rows = tensor.values.chunks_exact(k);
    let words = rows.flat_map(|row| {
        row.chunks(4).map(|values| {
            // A byte with its highest bit turned over is the value plus 128.
            let bytes = values.iter().enumerate();
            bytes.fold(0u32, |word, (i, v)| word | u32::from(*v as u8 ^ 0x80) << (8 * i))
        })
    });
    vec![
        packed_weights([n, k.div_ceil(4)], words),
        scales([n, 1], &tensor.scales),
        weight_shape(n, k),
    ]
}

fn packed_weights(shape: [usize; 2], words: impl Iterator<Item = u32>) -> Packed {
    Packed {
        suffix: ".weight_packed",
        dtype: "I32",
        shape: shape.to_vec(),
        bytes: words.flat_map(|word| word.to_le_bytes()).collect(),
    }
}

fn scales(shape: [usize; 2], scales: &[f32]) -> Packed {
    Packed {
        suffix: ".weight_scale",
        dtype: "BF16",
        shape: shape.to_vec(),
        bytes: scales.iter().flat_map(|s| bf16::from_f32(*s).to_le_bytes()).collect(),
    }
}

fn weight_shape(n: usize, k: usize) -> Packed {
    Packed {
        suffix: ".weight_shape",
        dtype: "I64",
        shape: vec![2],
        bytes: [n as i64, k as i64].iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}
