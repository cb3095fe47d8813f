//! Matrices of 8x8 16-bit elements: `movmatrix`, and what `ldmatrix` and `stmatrix` do between
//! memory and registers (PTX ISA, "Warp-level matrix load instruction: ldmatrix").
//!
//! Row `r` of the matrix is 16 bytes; without `.trans` they go, four each, to lanes `4 * r` to
//! `4 * r + 3`, so that a register is the matrix in memory order. With `.trans` lane `4 * r + q`
//! gets elements `(2 * q, r)` and `(2 * q + 1, r)` instead.

use super::mma::write;
use crate::isa::{Inst, LANES, Registers, Row32};

/// Exchanges rows and columns of a matrix of 16-bit elements held by a warp.
#[inline]
pub fn transpose(matrix: &Row32) -> Row32 {
    let mut out = [0; LANES];
    for (r, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let shift = (r % 2 * 16) as u32;
        for (q, out) in out.iter_mut().enumerate() {
            let lower = matrix[8 * q + r / 2] >> shift & 0xffff;
            let upper = matrix[8 * q + 4 + r / 2] >> shift & 0xffff;
            *out = lower | upper << 16;
        }
    }
    out
}

/// The register that one matrix of an `ldmatrix` fills, from its eight rows in memory.
#[inline]
pub fn ldmatrix_distribute(rows: &[[u8; 16]; 8], trans: bool) -> Row32 {
    let bytes = rows.as_flattened().as_chunks::<4>().0;
    let mut out = [0; LANES];
    for (lane, bytes) in out.iter_mut().zip(bytes) {
        *lane = u32::from_le_bytes(*bytes);
    }
    if trans { transpose(&out) } else { out }
}

/// The eight rows that one matrix of a `stmatrix` writes: the reverse.
#[inline]
pub fn stmatrix_collect(register: &Row32, trans: bool) -> [[u8; 16]; 8] {
    let matrix = if trans { transpose(register) } else { *register };
    let mut rows = [[0; 16]; 8];
    let bytes = rows.as_flattened_mut().as_chunks_mut::<4>().0;
    for (lane, bytes) in matrix.iter().zip(bytes) {
        *bytes = lane.to_le_bytes();
    }
    rows
}

/// The lane whose address is that of row `row` of matrix `matrix`: lanes 0-7 give those of the
/// first matrix, 8-15 those of the second, and so on; the other lanes' addresses are not used.
pub const fn address_lane(matrix: usize, row: usize) -> usize {
    8 * matrix + row
}

/// Runs `movmatrix.trans`.
pub fn run_movmatrix(registers: &mut Registers, inst: &Inst, mask: u32) {
    let moved = transpose(&registers.r32[inst.s[0] as usize]);
    write(&mut registers.r32[inst.d[0] as usize], &moved, mask);
}
