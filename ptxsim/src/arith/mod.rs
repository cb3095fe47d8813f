//! Scalar arithmetic, exact to the bit, and the table of register-only instructions.
//!
//! [`rows`] says how an operation on a lane becomes a line of the table; the other modules hold
//! the lines by subject. [`formats`] and [`exact`] are where floating-point results are rounded.

pub mod compare;
pub mod convert;
pub mod convert_packed;
pub mod exact;
pub mod float32;
pub mod float64;
pub mod formats;
pub mod half;
pub mod integer;
pub mod logic;
pub mod moves;
pub mod rows;
pub mod simd;

use crate::isa::TableRow;

/// Every register-only instruction.
pub const TABLE: &[&[TableRow]] = &GROUPS;

/// The lines by subject.
const SUBJECTS: &[&[&[TableRow]]] = &[
    integer::ROWS,
    logic::ROWS,
    moves::ROWS,
    compare::ROWS,
    compare::PAIRS,
    convert::ROWS[0],
    convert::ROWS[1],
    convert::ROWS[2],
    convert::ROWS[3],
    convert_packed::ROWS,
    float32::ROWS,
    float64::ROWS,
    half::ROWS,
];

const GROUPS: [&[TableRow]; count()] = {
    let mut all: [&[TableRow]; count()] = [&[]; count()];
    let (mut subject, mut next) = (0, 0);
    while subject < SUBJECTS.len() {
        let mut group = 0;
        while group < SUBJECTS[subject].len() {
            all[next] = SUBJECTS[subject][group];
            next += 1;
            group += 1;
        }
        subject += 1;
    }
    all
};

/// How many groups of lines there are.
const fn count() -> usize {
    let (mut subject, mut total) = (0, 0);
    while subject < SUBJECTS.len() {
        total += SUBJECTS[subject].len();
        subject += 1;
    }
    total
}
