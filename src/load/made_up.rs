//! Weights that nobody trained: random, the same for the same seed, of a scale at which activations
//! neither vanish nor grow. For measuring a model's speed by its configuration alone.

use crate::tensor::{Dtype, HostTensor, SharedBytes};
use rayon::prelude::*;
use std::sync::Arc;

/// Elements that are drawn from one state of the generator, so that chunks can be made at once.
const CHUNK: usize = 1 << 16;
/// A line of the processor's caches: where the tensor begins, as in a file whose maker cared.
const ALIGNMENT: usize = 64;

/// The tensor `name`, in bf16. Norms are ones; all else is uniform with a standard deviation of
/// `1/sqrt(columns)`, with which a product keeps the magnitude of its input.
pub fn tensor(seed: u64, name: &str, shape: &[usize]) -> HostTensor {
    let elements: usize = shape.iter().product();
    let mut bytes = vec![0u8; elements * Dtype::Bf16.size() + ALIGNMENT];
    let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let range = start..start + elements * Dtype::Bf16.size();
    let columns = *shape.last().expect("a tensor has a dimension") as f32;
    let is_norm = shape.len() == 1 && name.contains("norm");
    let key = name.bytes().fold(seed, |key, byte| mixed(key ^ u64::from(byte)));
    let chunks = bytes[range.clone()].par_chunks_mut(CHUNK * Dtype::Bf16.size());
    chunks.enumerate().for_each(|(number, chunk)| match is_norm {
        true => fill_ones(chunk),
        // Uniform in -h..h has the standard deviation h / sqrt(3).
        false => fill(chunk, mixed(key ^ number as u64), (3.0 / columns).sqrt()),
    });
    HostTensor::new(name, Dtype::Bf16, shape.to_vec(), SharedBytes::new(Arc::new(bytes), range))
}

fn fill_ones(bytes: &mut [u8]) {
    let one = half::bf16::ONE.to_le_bytes();
    bytes.chunks_exact_mut(2).for_each(|element| element.copy_from_slice(&one));
}

/// Four elements of each number that is drawn.
fn fill(bytes: &mut [u8], key: u64, half_width: f32) {
    let scale = half_width / 32768.0;
    for (number, elements) in bytes.chunks_mut(8).enumerate() {
        let mut bits = mixed(key.wrapping_add((number as u64).wrapping_mul(GOLDEN)));
        for element in elements.chunks_exact_mut(2) {
            let value = f32::from(bits as u16 as i16) * scale;
            element.copy_from_slice(&half::bf16::from_f32(value).to_le_bytes());
            bits >>= 16;
        }
    }
}

/// The increment of SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// What it draws in the state `x`: every bit of it depends on all bits of `x`.
pub(crate) fn mixed(x: u64) -> u64 {
    let x = x.wrapping_add(GOLDEN);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
