//! Scalar arithmetic, exact to the bit, and the table of register-only instructions.

pub mod compare;
pub mod convert;
pub mod convert_packed;
pub mod exact;
pub mod float32;
pub mod float64;
pub mod formats;
pub mod integer;
pub mod logic;
pub mod moves;
pub mod rows;
pub mod simd;

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
    compare::EQUAL_16,
    compare::EQUAL_32,
    compare::EQUAL_64,
    compare::U16,
    compare::S16,
    compare::U32,
    compare::S32,
    compare::U64,
    compare::S64,
    compare::F32,
    compare::F32_FTZ,
    compare::F64,
    compare::F16,
    compare::F16_FTZ,
    compare::BF16,
    compare::HALVES,
    compare::HALVES_FTZ,
    compare::BRAINS,
    compare::SELECT,
    convert::FROM_U8,
    convert::FROM_S8,
    convert::FROM_U16,
    convert::FROM_S16,
    convert::FROM_U32,
    convert::FROM_S32,
    convert::FROM_U64,
    convert::FROM_S64,
    convert::FROM_F16,
    convert::FROM_BF16,
    convert::FROM_F32,
    convert::FROM_F32_FTZ,
    convert::FROM_F64,
    convert::F16_F32,
    convert::F32_F64,
    convert::F32_F16,
    convert::F32_F16_FTZ,
    convert::F64_F16,
    convert::F64_F32,
    convert::F64_F32_FTZ,
    convert::WHOLE_F16,
    convert::WHOLE_BF16,
    convert::WHOLE_F32,
    convert::WHOLE_F32_FTZ,
    convert::WHOLE_F64,
    convert::BRAINS,
    convert_packed::F16X2,
    convert_packed::BF16X2,
    convert_packed::SMALL,
    convert_packed::PACK,
    float32::ADD,
    float32::SUB,
    float32::MUL,
    float32::FMA,
    float32::MAD,
    float32::DIV,
    float32::RCP,
    float32::SQRT,
    float32::APPROXIMATE,
    float32::MIN,
    float32::MAX,
    float32::ROWS,
    float64::ADD,
    float64::SUB,
    float64::MUL,
    float64::FMA,
    float64::MAD,
    float64::DIV,
    float64::RCP,
    float64::SQRT,
    float64::ROWS,
];
