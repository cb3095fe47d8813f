//! What names mean: registers, variables and labels of the function and of the blocks in it.
//! Inline assembly repeats the same names in one block after another.

use super::Problem;
use crate::syntax::type_bytes;
use std::collections::HashMap;

/// What a name stands for, if not a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    /// Offset in the block's shared memory.
    Shared(u64),
    /// Dynamic shared memory, which starts at another offset in another entry.
    Dynamic,
    /// Offset in local memory.
    Local(u64),
    /// Index in [`super::Program::variables`].
    Variable(u32),
    /// A variable that another module defines.
    External,
    /// Offset and bytes of an entry's parameter.
    EntryParam(u32, u32),
    /// Offset and bytes in the activation's `.param` bytes.
    FrameParam(u32, u32),
    /// Index in [`super::Program::functions`].
    Function(u32),
    /// Number of a label of the function.
    Label(u32),
    /// Index in [`super::Program::targets`].
    Targets(u32),
    /// A `.callprototype` or `.calltargets`.
    Prototype,
}

/// A register that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Register {
    /// Declared width; 1 for a predicate.
    pub bits: u32,
    /// Row, in the file that the width says.
    pub row: u16,
}

/// How many rows of each kind are in use.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rows {
    pub r32: usize,
    pub r64: usize,
    pub p: usize,
}

impl Rows {
    /// A new row for a register of so many bits. The last number is left free, since it stands
    /// for a missing guard.
    pub fn take(&mut self, bits: u32) -> Result<u16, Problem> {
        let count = match bits {
            1 => &mut self.p,
            64 => &mut self.r64,
            _ => &mut self.r32,
        };
        let row = u16::try_from(*count).ok().filter(|row| *row < u16::MAX);
        *count += 1;
        row.ok_or_else(|| "the function uses more registers than can be numbered".to_owned())
    }
}

/// Registers declared by one name: one, or as many as `<n>` says.
#[derive(Debug)]
struct Declared {
    bits: u32,
    count: Option<u32>,
    /// Rows of those that are used, by number.
    rows: HashMap<u32, u16>,
}

/// One block.
#[derive(Default)]
struct Scope {
    symbols: HashMap<String, Symbol>,
    registers: HashMap<String, Declared>,
}

/// The blocks around the current statement; the first holds what the module declares.
#[derive(Default)]
pub(super) struct Scopes {
    scopes: Vec<Scope>,
}

impl Scopes {
    pub fn open(&mut self) {
        self.scopes.push(Scope::default());
    }

    pub fn close(&mut self) {
        self.scopes.pop();
    }

    /// Gives a name its meaning in the innermost block.
    pub fn declare(&mut self, name: &str, symbol: Symbol) -> Result<(), Problem> {
        let Some(scope) = self.scopes.last_mut() else { return Ok(()) };
        let taken = scope.registers.contains_key(name);
        match scope.symbols.insert(name.to_owned(), symbol) {
            None if !taken => Ok(()),
            _ => Err(format!("`{name}` is declared twice")),
        }
    }

    /// Declares registers of a type in the innermost block.
    pub fn registers(&mut self, ty: &str, name: &str, count: Option<u32>) -> Result<(), Problem> {
        let bits = match type_bytes(ty) {
            Some(0) => 1,
            bytes => 8 * bytes.unwrap_or(16),
        };
        let Some(scope) = self.scopes.last_mut() else { return Ok(()) };
        let taken = scope.symbols.contains_key(name);
        let declared = Declared { bits, count, rows: HashMap::new() };
        match scope.registers.insert(name.to_owned(), declared) {
            None if !taken => Ok(()),
            _ => Err(format!("`{name}` is declared twice")),
        }
    }

    /// What a name means, with the innermost block first. A register that is met for the first
    /// time gets a row.
    pub fn find(&mut self, name: &str, rows: &mut Rows) -> Result<Option<Found>, Problem> {
        for scope in self.scopes.iter_mut().rev() {
            if let Some(symbol) = scope.symbols.get(name) {
                return Ok(Some(Found::Symbol(*symbol)));
            }
            if let Some((declared, number)) = scope.register(name) {
                let bits = declared.bits;
                if bits > 64 {
                    return Err(format!("`{name}` is a register of {bits} bits: not supported"));
                }
                let row = match declared.rows.get(&number) {
                    Some(row) => *row,
                    None => {
                        let row = rows.take(bits)?;
                        declared.rows.insert(number, row);
                        row
                    }
                };
                return Ok(Some(Found::Register(Register { bits, row })));
            }
        }
        Ok(None)
    }
}

/// What a name was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Register(Register),
    Symbol(Symbol),
}

impl Scope {
    /// The declaration of a register and its number: `%r12` is declared by `%r<40>`, but also by
    /// `%r1<5>`.
    fn register(&mut self, name: &str) -> Option<(&mut Declared, u32)> {
        /// More digits than the largest count has.
        const DIGITS: usize = 10;
        let mut found = None;
        if self.registers.get(name).is_some_and(|declared| declared.count.is_none()) {
            found = Some((name, 0));
        }
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).take(DIGITS).count();
        for start in name.len() - digits..name.len() {
            let (prefix, number) = name.split_at(start);
            let plain = number == "0" || !number.starts_with('0');
            let Ok(number) = number.parse::<u32>() else { continue };
            let count = self.registers.get(prefix).and_then(|declared| declared.count);
            if found.is_none() && plain && count.is_some_and(|count| number < count) {
                found = Some((prefix, number));
            }
        }
        let (prefix, number) = found?;
        Some((self.registers.get_mut(prefix)?, number))
    }
}
