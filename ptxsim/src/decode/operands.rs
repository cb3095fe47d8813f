//! What a family's decoder asks for: operands as register rows. (Skeleton: bodies to be written.)

use crate::isa::Inst;
use crate::syntax::tree::{Instruction, Operand};

/// What is wrong with an instruction, in a sentence without its place.
pub type Problem = String;

/// The register that an address starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// 32-bit row: shared memory.
    R32(u16),
    /// 64-bit row.
    R64(u16),
}

/// `[base+offset]`. The address of a variable, and an absolute address, are constant rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Row.
    pub base: Base,
    /// Bytes to add.
    pub offset: i64,
}

/// Resolves the operands of one function's instructions.
pub struct Decoder {}

impl Decoder {
    /// Row of a 32-bit source: register, immediate, special register or address of a variable.
    pub fn source32(&mut self, operand: &Operand) -> Result<u16, Problem> {
        let _ = operand;
        Err("skeleton".into())
    }

    /// As `source32`, with an immediate cut to 16 bits.
    pub fn source16(&mut self, operand: &Operand) -> Result<u16, Problem> {
        self.source32(operand)
    }

    /// Row of a 64-bit source.
    pub fn source64(&mut self, operand: &Operand) -> Result<u16, Problem> {
        self.source32(operand)
    }

    /// Row of a predicate source; `!p` and the constants 0 and 1 get a row of their own.
    pub fn source_predicate(&mut self, operand: &Operand) -> Result<u16, Problem> {
        self.source32(operand)
    }

    /// Row of a 32- or 16-bit destination; `_` gets a row nobody reads.
    pub fn dest32(&mut self, operand: &Operand) -> Result<u16, Problem> {
        self.source32(operand)
    }

    /// Row of a 64-bit destination.
    pub fn dest64(&mut self, operand: &Operand) -> Result<u16, Problem> {
        self.source32(operand)
    }

    /// Row of a predicate destination.
    pub fn dest_predicate(&mut self, operand: &Operand) -> Result<u16, Problem> {
        self.source32(operand)
    }

    /// An immediate.
    pub fn immediate(&mut self, operand: &Operand) -> Result<i64, Problem> {
        let _ = operand;
        Err("skeleton".into())
    }

    /// `[base+offset]` of a space that is addressed by registers (not `.param`).
    pub fn address(&mut self, operand: &Operand) -> Result<Address, Problem> {
        let _ = operand;
        Err("skeleton".into())
    }

    /// The elements of `{a, b}`, or the operand itself as the only one.
    pub fn elements<'a>(&self, operand: &'a Operand) -> Vec<&'a Operand> {
        match operand {
            Operand::Vector(list) => list.iter().collect(),
            one => vec![one],
        }
    }

    /// Keeps a long operand list; the number goes to `inst.list`.
    pub fn list(&mut self, rows: Vec<u16>) -> u32 {
        let _ = rows;
        0
    }

    /// Declares which 32-bit rows the instruction reads and writes where these are not simply
    /// those that `source32` and `dest32` handed out while it was decoded (the default).
    pub fn uses(&mut self, sources: Vec<u16>, destinations: Vec<u16>) {
        let _ = (sources, destinations);
    }
}

/// Decodes the instructions of one family.
pub type DecodeFn = fn(&mut Decoder, &Instruction) -> Result<Inst, Problem>;
