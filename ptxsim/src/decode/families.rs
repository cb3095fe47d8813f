//! The families of instructions whose modifiers are too many for a table.

use super::control;
use super::operands::DecodeFn;
use crate::agents;
use crate::arith::moves;
use crate::machine;
use crate::memory;
use crate::tensor;

/// A family: every opcode that starts with `base` is given to `decode`.
pub struct Family {
    /// First part of the opcode, or the first parts with a dot (`cp.async.bulk`): the longest wins.
    pub base: &'static str,
    /// Decoder.
    pub decode: DecodeFn,
    /// The forms it takes, for the table in the README.
    pub syntax: &'static [&'static str],
}

const MOV: &[Family] =
    &[Family { base: "mov", decode: moves::decode_mov, syntax: moves::MOV_SYNTAX }];

/// Every family, filled by the modules that run them.
pub const FAMILIES: &[&[Family]] = &[
    control::FAMILIES,
    MOV,
    memory::decode::FAMILIES,
    machine::decode::FAMILIES,
    agents::decode::FAMILIES,
    agents::bulk_decode::FAMILIES,
    tensor::decode_mma::FAMILIES,
    tensor::decode_wgmma::FAMILIES,
];
