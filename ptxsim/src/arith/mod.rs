//! Scalar arithmetic, exact to the bit, and the table of register-only instructions.

pub mod formats;
pub mod integer;
pub mod logic;
pub mod moves;
pub mod rows;

use crate::isa::TableRow;

/// Every register-only instruction.
pub const TABLE: &[&[TableRow]] = &[
    integer::ROWS,
    integer::WIDTH_16,
    integer::WIDTH_32,
    integer::WIDTH_64,
    integer::CARRY_32,
    integer::CARRY_64,
    logic::ROWS,
    logic::WIDTH_16,
    logic::WIDTH_32,
    logic::WIDTH_64,
    moves::ROWS,
];
