//! What a family's decoder asks for: operands as register rows.

use super::scope::{Found, Register, Rows, Scopes, Symbol};
use super::{Constant, Program, special};
use crate::isa::{Class, Exec, Inst, Registers};
use crate::syntax::tree::{Instruction, Operand};
use std::collections::HashMap;

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

/// What `ld.param` and `st.param` address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamRef {
    /// Offset in the entry's parameters.
    Entry(u32),
    /// Offset in the activation's `.param` bytes.
    Frame(u32),
    /// An address in the parameter window, from a register.
    Register(Address),
}

/// What the current instruction has asked for.
#[derive(Default)]
pub(super) struct Current {
    /// 32-bit registers read.
    pub sources: Vec<u16>,
    /// 32-bit registers written.
    pub destinations: Vec<u16>,
    /// What the family's decoder says instead.
    pub told: Option<(Vec<u16>, Vec<u16>)>,
    /// Instructions to run before it: negations of predicates.
    pub before: Vec<Inst>,
    /// `inst.target` is the number of a label.
    pub branches: bool,
}

/// What is known of the function that is decoded.
#[derive(Default)]
pub(super) struct Activation {
    /// Rows in use.
    pub rows: Rows,
    /// Constant rows, by what they hold.
    pub constants32: HashMap<Constant, u16>,
    pub constants64: HashMap<Constant, u16>,
    pub constants_p: HashMap<Constant, u16>,
    /// Rows for `_`: of 32 bits, of 64 bits, of predicates.
    sinks: [Option<u16>; 3],
    /// Rows of negated predicates.
    negated: HashMap<u16, u16>,
}

/// Resolves the operands of one function's instructions.
#[derive(Default)]
pub struct Decoder {
    /// What has been decoded.
    pub(super) program: Program,
    /// Whether each function has a body.
    pub(super) defined: Vec<bool>,
    /// Offset of the function's dynamic shared memory.
    pub(super) dynamic: u64,
    pub(super) scopes: Scopes,
    pub(super) activation: Activation,
    pub(super) current: Current,
}

impl Decoder {
    /// Row of a 32-bit source: register, immediate, special register or address of a variable.
    /// Registers of 8 and 16 bits are zero-extended, and taken too.
    pub fn source32(&mut self, operand: &Operand) -> Result<u16, Problem> {
        self.source(operand, 32, 8)
    }

    /// As `source32`, with an immediate cut to 16 bits, and without wider registers.
    pub fn source16(&mut self, operand: &Operand) -> Result<u16, Problem> {
        self.source(operand, 16, 8)
    }

    /// Row of a 64-bit source.
    pub fn source64(&mut self, operand: &Operand) -> Result<u16, Problem> {
        self.source(operand, 64, 64)
    }

    /// Row of a predicate source; `!p` and the constants 0 and 1 get a row of their own. A
    /// negation is an instruction of its own, `not.pred`, before the one that asks for it.
    pub fn source_predicate(&mut self, operand: &Operand) -> Result<u16, Problem> {
        match operand {
            Operand::Int(value @ (0 | 1)) => self.constant(Constant::Bits(*value as u64), 1),
            Operand::Not(name) => {
                let row = self.source(&Operand::Name(name.clone()), 1, 1)?;
                self.negated(row)
            }
            _ => self.source(operand, 1, 1),
        }
    }

    /// Row of a 32-, 16- or 8-bit destination; `_` gets a row nobody reads.
    pub fn dest32(&mut self, operand: &Operand) -> Result<u16, Problem> {
        self.destination(operand, 32, 8)
    }

    /// Row of a 64-bit destination.
    pub fn dest64(&mut self, operand: &Operand) -> Result<u16, Problem> {
        self.destination(operand, 64, 64)
    }

    /// Row of a predicate destination.
    pub fn dest_predicate(&mut self, operand: &Operand) -> Result<u16, Problem> {
        self.destination(operand, 1, 1)
    }

    /// Row and width of a destination of any width but a predicate.
    pub fn dest_any(&mut self, operand: &Operand) -> Result<(u16, u32), Problem> {
        match self.width(operand) {
            Some(64) => Ok((self.dest64(operand)?, 64)),
            width => Ok((self.dest32(operand)?, width.unwrap_or(64))),
        }
    }

    /// Row and width of a source of at least `bits` bits; anything but a register gets `bits`.
    pub fn source_any(&mut self, operand: &Operand, bits: u32) -> Result<(u16, u32), Problem> {
        let width = self.width(operand).unwrap_or(bits);
        if width < bits {
            return Err(format!("{} has {width} bits where {bits} are wanted", show(operand)));
        }
        match width {
            64 => Ok((self.source64(operand)?, 64)),
            16 => Ok((self.source16(operand)?, 16)),
            _ => Ok((self.source32(operand)?, width)),
        }
    }

    /// Declared bits of a register, 1 for a predicate; `None` for anything else.
    pub fn width(&mut self, operand: &Operand) -> Option<u32> {
        let (Operand::Name(name) | Operand::Not(name)) = operand else { return None };
        match self.scopes.find(name, &mut self.activation.rows) {
            Ok(Some(Found::Register(register))) => Some(register.bits),
            _ => None,
        }
    }

    /// An immediate.
    pub fn immediate(&mut self, operand: &Operand) -> Result<i64, Problem> {
        match operand {
            Operand::Int(value) => Ok(*value),
            Operand::Name(name) if name == "WARP_SZ" => Ok(32),
            _ => Err(format!("{} stands where a number must be written out", show(operand))),
        }
    }

    /// `[base+offset]` of a space that is addressed by registers (not `.param`).
    pub fn address(&mut self, operand: &Operand) -> Result<Address, Problem> {
        let Operand::Address { base, offset } = operand else {
            return Err(format!("{} stands where an address is wanted", show(operand)));
        };
        let Some(name) = base else {
            let row = self.constant(Constant::Bits(0), 64)?;
            return Ok(Address { base: Base::R64(row), offset: *offset });
        };
        let base = match self.find(name)? {
            Some(Found::Register(Register { bits: 32, row })) => {
                self.current.sources.push(row);
                Base::R32(row)
            }
            Some(Found::Register(Register { bits: 64, row })) => Base::R64(row),
            Some(Found::Register(Register { bits, .. })) => {
                return Err(format!("`{name}` has {bits} bits, too few for an address"));
            }
            Some(Found::Symbol(symbol @ (Symbol::Shared(_) | Symbol::Dynamic))) => {
                Base::R32(self.symbol(name, symbol, 0, 32)?)
            }
            Some(Found::Symbol(symbol)) => Base::R64(self.symbol(name, symbol, 0, 64)?),
            None => return Err(unknown(name)),
        };
        Ok(Address { base, offset: *offset })
    }

    /// `[name+offset]` of `ld.param` and `st.param`.
    pub fn param(&mut self, operand: &Operand) -> Result<ParamRef, Problem> {
        let Operand::Address { base: Some(name), offset } = operand else {
            return Err(format!("{} stands where a parameter is wanted", show(operand)));
        };
        let place = |start: u32, bytes: u32| {
            let inside = u32::try_from(*offset).ok().filter(|offset| *offset < bytes);
            let inside = inside.and_then(|offset| start.checked_add(offset));
            inside.ok_or_else(|| format!("`{name}+{offset}` is not in `{name}` of {bytes} bytes"))
        };
        match self.find(name)? {
            Some(Found::Symbol(Symbol::EntryParam(start, bytes))) => {
                place(start, bytes).map(ParamRef::Entry)
            }
            Some(Found::Symbol(Symbol::FrameParam(start, bytes))) => {
                place(start, bytes).map(ParamRef::Frame)
            }
            Some(Found::Register(Register { bits: 64, .. })) => {
                self.address(operand).map(ParamRef::Register)
            }
            Some(_) => Err(format!("`{name}` is no parameter")),
            None => Err(unknown(name)),
        }
    }

    /// A variable in `.param` space that a call passes: its offset and bytes in the activation's
    /// `.param` bytes.
    pub fn frame_param(&mut self, operand: &Operand) -> Result<(u32, u32), Problem> {
        if let Operand::Name(name) = operand
            && let Some(Found::Symbol(Symbol::FrameParam(start, bytes))) = self.find(name)?
        {
            return Ok((start, bytes));
        }
        Err(format!("{} stands where only a `.param` variable is supported", show(operand)))
    }

    /// A label, for `inst.target`: a number that becomes the program counter once all of the
    /// function is decoded.
    pub fn label(&mut self, operand: &Operand) -> Result<u32, Problem> {
        if let Operand::Name(name) = operand
            && let Some(Found::Symbol(Symbol::Label(label))) = self.find(name)?
        {
            self.current.branches = true;
            return Ok(label);
        }
        Err(format!("{} stands where a label of this function is wanted", show(operand)))
    }

    /// A list of labels (`.branchtargets`), for `inst.list`: its index in [`Program::targets`].
    pub fn targets(&mut self, operand: &Operand) -> Result<u32, Problem> {
        if let Operand::Name(name) = operand
            && let Some(Found::Symbol(Symbol::Targets(index))) = self.find(name)?
        {
            return Ok(index);
        }
        Err(format!("{} stands where a `.branchtargets` is wanted", show(operand)))
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
        self.program.lists.push(rows.into_boxed_slice());
        u32::try_from(self.program.lists.len() - 1).unwrap_or(u32::MAX)
    }

    /// Declares which 32-bit rows the instruction reads and writes where these are not simply
    /// those that `source32` and `dest32` handed out while it was decoded (the default).
    pub fn uses(&mut self, sources: Vec<u16>, destinations: Vec<u16>) {
        self.current.told = Some((sources, destinations));
    }

    /// What a name means, in this function or in the module.
    pub(super) fn find(&mut self, name: &str) -> Result<Option<Found>, Problem> {
        self.scopes.find(name, &mut self.activation.rows)
    }

    /// A source of `bits` bits; registers may have as few as `least`.
    fn source(&mut self, operand: &Operand, bits: u32, least: u32) -> Result<u16, Problem> {
        let (name, offset) = match operand {
            Operand::Name(name) => (name, None),
            Operand::Offset(name, offset) => (name, Some(*offset)),
            _ => return self.constant(Constant::Bits(literal(operand, bits)?), bits),
        };
        match self.find(name)? {
            Some(Found::Register(register)) if offset.is_none() => {
                fits(name, register, bits, least)?;
                if !matches!(bits, 1 | 64) {
                    self.current.sources.push(register.row);
                }
                Ok(register.row)
            }
            Some(Found::Register(_)) => Err(format!("{} is not an operand", show(operand))),
            Some(Found::Symbol(symbol)) => self.symbol(name, symbol, offset.unwrap_or(0), bits),
            None if name == "WARP_SZ" => self.source(&Operand::Int(32), bits, least),
            None => match special::special(name) {
                // The manual lets a 64-bit special register be read as one of 32 bits.
                Some((special, has)) if has == bits || (has, bits) == (64, 32) => {
                    self.constant(Constant::Special(special), bits)
                }
                Some((_, has)) => Err(format!("`{name}` has {has} bits where {bits} are wanted")),
                None => Err(unknown(name)),
            },
        }
    }

    fn destination(&mut self, operand: &Operand, bits: u32, least: u32) -> Result<u16, Problem> {
        let Operand::Name(name) = operand else {
            return Err(format!("{} stands where a register is written", show(operand)));
        };
        if name == "_" {
            let sink = match bits {
                1 => 2,
                64 => 1,
                _ => 0,
            };
            if let Some(row) = self.activation.sinks[sink] {
                return Ok(row);
            }
            let row = self.activation.rows.take(bits)?;
            self.activation.sinks[sink] = Some(row);
            return Ok(row);
        }
        match self.find(name)? {
            Some(Found::Register(register)) => {
                fits(name, register, bits, least)?;
                if !matches!(bits, 1 | 64) {
                    self.current.destinations.push(register.row);
                }
                Ok(register.row)
            }
            Some(Found::Symbol(_)) => Err(format!("`{name}` cannot be written")),
            None if special::special(name).is_some() || special::clock(name).is_some() => {
                Err(format!("`{name}` cannot be written"))
            }
            None => Err(unknown(name)),
        }
    }

    /// A row that holds the same from the start of every activation.
    fn constant(&mut self, constant: Constant, bits: u32) -> Result<u16, Problem> {
        let activation = &mut self.activation;
        let constants = match bits {
            1 => &mut activation.constants_p,
            64 => &mut activation.constants64,
            _ => &mut activation.constants32,
        };
        if let Some(row) = constants.get(&constant) {
            return Ok(*row);
        }
        let row = activation.rows.take(bits)?;
        constants.insert(constant, row);
        Ok(row)
    }

    /// The address of a variable or function.
    fn symbol(
        &mut self,
        name: &str,
        symbol: Symbol,
        offset: i64,
        bits: u32,
    ) -> Result<u16, Problem> {
        let constant = match symbol {
            Symbol::Shared(at) => Constant::Shared(at.wrapping_add_signed(offset)),
            Symbol::Dynamic => Constant::Shared(self.dynamic.wrapping_add_signed(offset)),
            Symbol::Local(at) => Constant::Local(at.wrapping_add_signed(offset)),
            Symbol::Variable(index) => Constant::Variable(index, offset),
            Symbol::EntryParam(at, _) => Constant::Param(u64::from(at).wrapping_add_signed(offset)),
            Symbol::Function(index) if offset == 0 => Constant::Function(index),
            Symbol::External => return Err(format!("`{name}` is defined in another module")),
            Symbol::FrameParam(..) => {
                return Err(format!("the address of `{name}`, a parameter of a call, is taken"));
            }
            _ => return Err(format!("`{name}` is a label, not a value")),
        };
        match (bits, symbol) {
            (64, _) | (32, Symbol::Shared(_) | Symbol::Dynamic) => self.constant(constant, bits),
            _ => Err(format!("the address of `{name}` does not fit {bits} bits")),
        }
    }

    fn negated(&mut self, row: u16) -> Result<u16, Problem> {
        let to = match self.activation.negated.get(&row) {
            Some(to) => *to,
            None => {
                let to = self.activation.rows.take(1)?;
                self.activation.negated.insert(row, to);
                to
            }
        };
        let mut inst = Inst::new(Exec::Alu(negate), Class::Compare);
        inst.s[0] = row;
        inst.d[0] = to;
        self.current.before.push(inst);
        Ok(to)
    }
}

/// Decodes the instructions of one family.
pub type DecodeFn = fn(&mut Decoder, &Instruction) -> Result<Inst, Problem>;

/// `not.pred`, put before an instruction that reads a negated predicate.
fn negate(registers: &mut Registers, inst: &Inst, mask: u32) {
    let value = !registers.p[usize::from(inst.s[0])];
    let to = &mut registers.p[usize::from(inst.d[0])];
    *to = (*to & !mask) | (value & mask);
}

/// Whether a register may stand where `bits` bits are wanted.
fn fits(name: &str, register: Register, bits: u32, least: u32) -> Result<(), Problem> {
    let has = register.bits;
    if (least..=bits).contains(&has) {
        return Ok(());
    }
    let what = |bits| if bits == 1 { "a predicate".to_owned() } else { format!("{bits} bits") };
    Err(match has {
        1 => format!("`{name}` is a predicate where {} are wanted", what(bits)),
        _ if bits == 1 => format!("`{name}` has {has} bits where a predicate is wanted"),
        _ => format!("`{name}` has {has} bits where {bits} are wanted"),
    })
}

/// The bits of a number as a source of so many bits.
fn literal(operand: &Operand, bits: u32) -> Result<u64, Problem> {
    match (operand, bits) {
        (Operand::Int(value), 64) => Ok(*value as u64),
        (Operand::Int(value), 16 | 32) => {
            // Written with or without a sign, as the programmer thinks of it.
            let fits = (-1 << (bits - 1)..1 << bits).contains(value);
            let kept = *value as u64 & ((1 << bits) - 1);
            if fits { Ok(kept) } else { Err(format!("{value} does not fit {bits} bits")) }
        }
        (Operand::F32(value), 32) => Ok(u64::from(*value)),
        (Operand::F32(value), 64) => Ok(f64::from(f32::from_bits(*value)).to_bits()),
        (Operand::F64(value), 64) => Ok(*value),
        (Operand::F64(value), 32) => Ok(u64::from((f64::from_bits(*value) as f32).to_bits())),
        _ if bits == 1 => Err(format!("{} stands where a predicate is wanted", show(operand))),
        _ => Err(format!("{} stands where {bits} bits are wanted", show(operand))),
    }
}

/// Why a name without a declaration is refused.
fn unknown(name: &str) -> Problem {
    match name {
        "_" => "`_` stands where a value is read".to_owned(),
        _ if special::clock(name).is_some() => format!("`{name}` can only be read by `mov`"),
        _ if name.starts_with('%') => {
            format!("`{name}` is neither declared nor a special register that is supported")
        }
        _ => format!("`{name}` is not declared"),
    }
}

/// An operand for a message.
pub(super) fn show(operand: &Operand) -> String {
    match operand {
        Operand::Name(name) => format!("`{name}`"),
        Operand::Not(name) => format!("`!{name}`"),
        Operand::Int(value) => format!("`{value}`"),
        Operand::F32(bits) => format!("`0f{bits:08X}`"),
        Operand::F64(bits) => format!("`0d{bits:016X}`"),
        Operand::Offset(name, offset) => format!("`{name}+{offset}`"),
        Operand::Vector(_) => "a vector".to_owned(),
        Operand::Address { .. } => "an address".to_owned(),
        Operand::Tensor(_) => "an address with coordinates".to_owned(),
        Operand::Pair(..) => "a pair of destinations".to_owned(),
        Operand::Group(_) => "a list of arguments".to_owned(),
    }
}
