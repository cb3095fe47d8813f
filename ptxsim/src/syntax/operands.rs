//! Operands of instructions (PTX ISA, "Instruction Operands").

use super::cursor::Cursor;
use super::literal::{self, Value};
use super::tree::Operand;
use crate::error::Error;

/// How deep braces and brackets may nest. A tensor copy needs two.
const DEPTH: u32 = 4;

/// Takes the operands up to the semicolon. Those of a call may come in parentheses.
pub(super) fn operands(cursor: &mut Cursor<'_>, call: bool) -> Result<Vec<Operand>, Error> {
    let mut operands = Vec::new();
    if cursor.accept(";") {
        return Ok(operands);
    }
    loop {
        operands.push(if call && cursor.accept("(") {
            Operand::Group(list(cursor, ")", 1)?)
        } else {
            operand(cursor, 0)?
        });
        if cursor.accept(";") {
            return Ok(operands);
        }
        if !cursor.accept(",") {
            return Err(cursor.fail("`,` or `;` after an operand"));
        }
    }
}

/// Takes what is between an opening mark and `close`.
fn list(cursor: &mut Cursor<'_>, close: &str, depth: u32) -> Result<Vec<Operand>, Error> {
    let mut list = Vec::new();
    if cursor.accept(close) {
        return Ok(list);
    }
    loop {
        list.push(operand(cursor, depth)?);
        if cursor.accept(close) {
            return Ok(list);
        }
        if !cursor.accept(",") {
            return Err(cursor.fail(&format!("`,` or `{close}`")));
        }
    }
}

fn operand(cursor: &mut Cursor<'_>, depth: u32) -> Result<Operand, Error> {
    if depth > DEPTH {
        return Err(cursor.fail(&format!("an operand with at most {DEPTH} levels of braces")));
    }
    if cursor.accept("{") {
        return Ok(Operand::Vector(list(cursor, "}", depth + 1)?));
    }
    if cursor.accept("[") {
        return address(cursor, depth);
    }
    if cursor.accept("!") {
        return Ok(Operand::Not(cursor.name("the name of a predicate")?.to_owned()));
    }
    let first = plain(cursor)?;
    if !cursor.accept("|") {
        return Ok(first);
    }
    let second = cursor.name("the name of the second destination")?.to_owned();
    Ok(Operand::Pair(Box::new(first), Box::new(Operand::Name(second))))
}

/// A literal, a name, or a name and an offset.
fn plain(cursor: &mut Cursor<'_>) -> Result<Operand, Error> {
    if literal::starts(cursor) {
        return Ok(match literal::value(cursor)? {
            Value::Int(int) => Operand::Int(int),
            Value::F32(bits) => Operand::F32(bits),
            Value::F64(bits) => Operand::F64(bits),
        });
    }
    let name = cursor.name("an operand")?.to_owned();
    Ok(match offset(cursor)? {
        Some(offset) => Operand::Offset(name, offset),
        None => Operand::Name(name),
    })
}

/// `+8`, `+-8` or `-8`.
pub(super) fn offset(cursor: &mut Cursor<'_>) -> Result<Option<i64>, Error> {
    if cursor.accept("+") || cursor.is("-") {
        return literal::int(cursor, "an offset in bytes").map(Some);
    }
    Ok(None)
}

/// What follows `[`.
fn address(cursor: &mut Cursor<'_>, depth: u32) -> Result<Operand, Error> {
    let first = plain(cursor)?;
    if cursor.accept("]") {
        return match first {
            Operand::Name(name) => Ok(Operand::Address { base: Some(name), offset: 0 }),
            Operand::Offset(name, offset) => Ok(Operand::Address { base: Some(name), offset }),
            Operand::Int(offset) => Ok(Operand::Address { base: None, offset }),
            _ => Err(cursor.fail("an address before this")),
        };
    }
    if !cursor.accept(",") {
        return Err(cursor.fail("`]` or `,` after an address"));
    }
    let mut parts = vec![first];
    parts.extend(list(cursor, "]", depth + 1)?);
    Ok(Operand::Tensor(parts))
}
