//! The families of instructions whose modifiers are too many for a table.

use super::control;
use crate::arith::moves;
use crate::{agents, machine, memory, tensor};
use super::operands::DecodeFn;

/// A family: every opcode that starts with `base` is given to `decode`.
pub struct Family {
    /// First part of the opcode, or the first parts with a dot (`cp.async.bulk`): the longest wins.
    pub base: &'static str,
    /// Decoder.
    pub decode: DecodeFn,
    /// The forms it takes, for the table in the README.
    pub syntax: &'static [&'static str],
}

const MOV: &[Family] = &[Family {
    base: "mov",
    decode: moves::decode_mov,
    syntax: &["mov.type d, a", "mov.b16|b32|b64 d, {a, b{, c, d}} and back"],
}];

/// Every family, filled by the modules that run them.
pub const FAMILIES: &[&[Family]] = &[
    control::FAMILIES,
    MOV,
    memory::decode::FAMILIES,
    machine::decode::FAMILIES,
    agents::decode::FAMILIES,
    tensor::decode_mma::FAMILIES,
    tensor::decode_wgmma::FAMILIES,
];
