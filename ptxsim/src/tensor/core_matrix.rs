//! Core matrices and products in plain Rust: what the AVX2 routines are held against, and what
//! runs where there is no AVX2.

use super::Element;
use super::kernels::{Fragment, PairsA, RowsA};
use crate::arith::formats::{self, Rounding};
use crate::isa::{LANES, Row32};

/// What a product that is not a number gives (PTX ISA, "mma": the canonical NaN).
pub const NAN: u32 = 0x7fff_ffff;

/// Element `index` of row `row` of a core matrix.
pub fn element(kind: Element, core: &Row32, row: usize, index: usize) -> f32 {
    let per_lane = 4 / kind.bytes();
    let lane = core[4 * row + index / per_lane];
    let bits = lane >> (index % per_lane * kind.bytes() * 8);
    match kind {
        Element::F16 => formats::f16_to_f32(bits as u16),
        Element::Bf16 => formats::bf16_to_f32(bits as u16),
        // Only the upper 19 bits enter the product.
        Element::Tf32 => f32::from_bits(bits & 0xffff_e000),
        Element::E4m3 => formats::e4m3_to_f32(bits as u8),
        Element::E5m2 => formats::e5m2_to_f32(bits as u8),
        Element::S8 => f32::from(bits as u8 as i8),
        Element::U8 => f32::from(bits as u8),
    }
}

fn pair(kind: Element, core: &Row32, row: usize, index: usize) -> i32 {
    let bits = core[4 * row + index / 2] >> (index % 2 * 16);
    let widen = |byte: u8| match kind {
        Element::S8 => byte as i8 as i16 as u16,
        _ => u16::from(byte),
    };
    (u32::from(widen(bits as u8)) | u32::from(widen((bits >> 8) as u8)) << 16) as i32
}

pub(super) fn widen_rows(kind: Element, core: &Row32, out: &mut [[f32; 32]], at: usize) {
    for (row, out) in out.iter_mut().enumerate().take(8) {
        for (index, out) in out[at..][..kind.per_row()].iter_mut().enumerate() {
            *out = element(kind, core, row, index);
        }
    }
}

pub(super) fn widen_columns(kind: Element, core: &Row32, out: &mut [[f32; 8]]) {
    for (index, out) in out[..kind.per_row()].iter_mut().enumerate() {
        for (row, out) in out.iter_mut().enumerate() {
            *out = element(kind, core, row, index);
        }
    }
}

pub(super) fn pair_rows(kind: Element, core: &Row32, out: &mut [[i32; 16]], at: usize) {
    for (row, out) in out.iter_mut().enumerate().take(8) {
        for (index, out) in out[at..][..8].iter_mut().enumerate() {
            *out = pair(kind, core, row, index);
        }
    }
}

pub(super) fn pair_columns(kind: Element, core: &Row32, out: &mut [[i32; 8]]) {
    for (index, out) in out[..8].iter_mut().enumerate() {
        for (row, out) in out.iter_mut().enumerate() {
            *out = pair(kind, core, row, index);
        }
    }
}

/// Row and column of the 16x8 product that lane `lane` of fragment row `register` holds.
pub fn place(register: usize, lane: usize) -> (usize, usize) {
    (lane / 4 + register / 2 * 8, lane % 4 * 2 + register % 2)
}

pub(super) fn multiply(c: &mut Fragment, a: &RowsA, b: &[[f32; 8]]) {
    for (register, c) in c.iter_mut().enumerate() {
        for (lane, c) in c.iter_mut().enumerate() {
            let (row, column) = place(register, lane);
            let mut sum = f32::from_bits(*c);
            for (k, b) in b.iter().enumerate() {
                sum = a[row][k].mul_add(b[column], sum);
            }
            *c = if sum.is_nan() { NAN } else { sum.to_bits() };
        }
    }
}

pub(super) fn multiply_pairs(c: &mut Fragment, a: &PairsA, b: &[[i32; 8]]) {
    let half = |pair: i32, index: u32| i32::from((pair >> (16 * index)) as i16);
    for (register, c) in c.iter_mut().enumerate() {
        for (lane, c) in c.iter_mut().enumerate() {
            let (row, column) = place(register, lane);
            for (k, b) in b.iter().enumerate() {
                let (x, y) = (a[row][k], b[column]);
                let sum = half(x, 0) * half(y, 0) + half(x, 1) * half(y, 1);
                *c = c.wrapping_add(sum as u32);
            }
        }
    }
}

pub(super) fn mma(kinds: [Element; 2], a: &[&Row32], b: &[&Row32], c: &mut Fragment) {
    let (mut rows, mut columns) = ([[0.0; 32]; 16], [[0.0; 8]; 32]);
    let step = kinds[0].per_row();
    for (index, core) in a.iter().enumerate() {
        widen_rows(kinds[0], core, &mut rows[index % 2 * 8..][..8], index / 2 * step);
    }
    for (index, core) in b.iter().enumerate() {
        widen_columns(kinds[1], core, &mut columns[index * step..]);
    }
    multiply(c, &rows, &columns[..b.len() * step]);
}

pub(super) fn unpack_halves(packed: &Row32, low: &mut Row32, high: &mut Row32) {
    for lane in 0..LANES {
        low[lane] = formats::f16_to_f32(packed[lane] as u16).to_bits();
        high[lane] = formats::f16_to_f32((packed[lane] >> 16) as u16).to_bits();
    }
}

pub(super) fn pack_halves(low: &Row32, high: &Row32) -> Row32 {
    let half = |bits| u32::from(formats::f32_to_f16(f32::from_bits(bits), Rounding::NearestEven));
    std::array::from_fn(|lane| half(low[lane]) | half(high[lane]) << 16)
}
