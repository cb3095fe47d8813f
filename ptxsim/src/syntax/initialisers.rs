//! Initial contents of variables (PTX ISA, "Initializers").

use super::cursor::Cursor;
use super::lexer::Kind;
use super::literal::{self, Value};
use super::operands;
use super::tree::Init;
use crate::error::Error;

/// Takes what follows `=`. Also returns the size of a first dimension that was left open.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    element: u32,
    dimensions: &[Option<u64>],
) -> Result<(Vec<Init>, Option<u64>), Error> {
    let mut reader = Reader { init: Vec::new(), element };
    let count = reader.level(cursor, dimensions)?;
    let open = if dimensions.first() == Some(&None) { Some(count) } else { None };
    Ok((reader.init, open))
}

struct Reader {
    init: Vec<Init>,
    element: u32,
}

impl Reader {
    /// One element, or a list of what one dimension less would take. The depth is that of the
    /// dimensions, of which there are few. Returns how many entries it had.
    fn level(&mut self, cursor: &mut Cursor<'_>, dimensions: &[Option<u64>]) -> Result<u64, Error> {
        let Some((own, inner)) = dimensions.split_first() else {
            self.element(cursor)?;
            return Ok(1);
        };
        let known = inner.iter().try_fold(1_u64, |all, one| all.checked_mul((*one)?));
        let elements = known.ok_or_else(|| cursor.fail("contents for a smaller array"))?;
        cursor.expect("{")?;
        // Without braces of their own, the elements of inner dimensions follow one another.
        let nested = cursor.is("{");
        let each = if nested { 1 } else { elements.max(1) };
        let mut count = 0_u64;
        while !cursor.accept("}") {
            if own.is_some_and(|own| count / each >= own) {
                return Err(cursor.fail("`}`, the array being full"));
            }
            if nested {
                let entries = self.level(cursor, inner)?;
                let full = inner.first().copied().flatten().unwrap_or(1);
                self.zeros(full.saturating_sub(entries), elements / full.max(1));
            } else {
                self.element(cursor)?;
            }
            count += 1;
            if !cursor.accept(",") && !cursor.is("}") {
                return Err(cursor.fail("`,` or `}` after a value"));
            }
        }
        let rest = (each - count % each) % each;
        self.zeros(rest, 1);
        Ok(count.div_ceil(each))
    }

    /// What a list has left out: entries of as many elements each. A product that is too large
    /// belongs to a variable that is refused for its size.
    fn zeros(&mut self, entries: u64, elements: u64) {
        let bytes = entries.saturating_mul(elements).saturating_mul(u64::from(self.element));
        if bytes > 0 {
            self.init.push(Init::Zeros(bytes));
        }
    }

    fn element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Error> {
        if cursor.peek(0).kind == Kind::Word {
            // An address fills eight bytes, or four where it is known to be small.
            if !matches!(self.element, 4 | 8) {
                return Err(cursor.fail("a number, or a mask and a name as in `0xFF(name)`"));
            }
            return self.address(cursor, 0, self.element);
        }
        let start = cursor.position();
        let masked = cursor.peek(0).kind == Kind::Number
            && cursor.peek(1).text == "("
            && cursor.peek(2).kind == Kind::Word;
        if masked {
            let Some(Value::Int(mask)) = literal::number(cursor.next().text) else {
                return Err(cursor.fail_at(start, "a mask such as `0xFF00`"));
            };
            let shift = mask.trailing_zeros();
            if self.element != 1 || shift > 56 || shift % 8 != 0 || mask as u64 >> shift != 0xff {
                return Err(cursor.fail_at(start, "a mask of one byte in a variable of bytes"));
            }
            cursor.expect("(")?;
            self.address(cursor, shift, 1)?;
            return cursor.expect(")");
        }
        let value = literal::value(cursor)?;
        let bytes = encode(value, self.element)
            .ok_or_else(|| cursor.fail_at(start, "a value of the variable's type"))?;
        let bytes = &bytes[..self.element as usize];
        match self.init.last_mut() {
            Some(Init::Bytes(before)) => before.extend_from_slice(bytes),
            _ => self.init.push(Init::Bytes(bytes.to_vec())),
        }
        Ok(())
    }

    /// `name`, `name+8` or `generic(name)+8`.
    fn address(&mut self, cursor: &mut Cursor<'_>, shift: u32, bytes: u32) -> Result<(), Error> {
        let generic = cursor.is("generic") && cursor.peek(1).text == "(";
        if generic {
            cursor.next();
            cursor.expect("(")?;
        }
        let name = cursor.name("the name of a variable")?.to_owned();
        let mut offset = operands::offset(cursor)?.unwrap_or(0);
        if generic {
            cursor.expect(")")?;
            offset = offset.wrapping_add(operands::offset(cursor)?.unwrap_or(0));
        }
        self.init.push(Init::Address { name, offset, generic, shift, bytes });
        Ok(())
    }
}

/// The little-endian bytes of a value of a type of so many bytes; those beyond it mean nothing.
fn encode(value: Value, bytes: u32) -> Option<[u8; 8]> {
    let bits = match (value, bytes) {
        (Value::Int(int), 1..=8) => int as u64,
        (Value::F32(bits), 4) => u64::from(bits),
        (Value::F32(bits), 8) => f64::from(f32::from_bits(bits)).to_bits(),
        (Value::F64(bits), 8) => bits,
        (Value::F64(bits), 4) => u64::from((f64::from_bits(bits) as f32).to_bits()),
        _ => return None,
    };
    Some(bits.to_le_bytes())
}
