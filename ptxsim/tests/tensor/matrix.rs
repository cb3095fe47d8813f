//! ldmatrix, stmatrix and movmatrix against the PTX ISA's tables.

use super::Random;
use ptxsim::tensor::matrix::{ldmatrix_distribute, stmatrix_collect, transpose};

/// Element (`row`, `column`) of eight rows of eight b16.
fn element(rows: &[[u8; 16]; 8], row: usize, column: usize) -> u16 {
    u16::from_le_bytes([rows[row][2 * column], rows[row][2 * column + 1]])
}

#[test]
fn fragments_of_loads_and_stores() {
    let mut random = Random::new(9);
    let rows: [[u8; 16]; 8] = std::array::from_fn(|_| std::array::from_fn(|_| random.word() as u8));
    for trans in [false, true] {
        let register = ldmatrix_distribute(&rows, trans);
        for (lane, word) in register.iter().enumerate() {
            // Lane T holds elements 2 * (T % 4) and the next of row T / 4, of columns if .trans.
            for half in 0..2 {
                let (row, column) = (lane / 4, lane % 4 * 2 + half);
                let (row, column) = if trans { (column, row) } else { (row, column) };
                let wanted = element(&rows, row, column);
                assert_eq!((word >> (16 * half)) as u16, wanted);
            }
        }
        assert_eq!(stmatrix_collect(&register, trans), rows);
    }
    let register = ldmatrix_distribute(&rows, false);
    assert_eq!(transpose(&register), ldmatrix_distribute(&rows, true));
    assert_eq!(transpose(&transpose(&register)), register);
}
