//! Numbers, and the constant expressions of the PTX ISA (section "Constant Expressions") as far
//! as they are made of integers.

use super::cursor::Cursor;
use super::lexer::Kind;
use crate::error::Error;

/// How deep signs and parentheses may nest.
const DEPTH: u32 = 32;

/// What a literal stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    Int(i64),
    F32(u32),
    F64(u64),
}

/// Whether the next token starts a literal.
pub(super) fn starts(cursor: &Cursor<'_>) -> bool {
    cursor.peek(0).kind == Kind::Number || ["-", "~", "("].iter().any(|mark| cursor.is(mark))
}

/// Takes a literal or a constant expression.
pub(super) fn value(cursor: &mut Cursor<'_>) -> Result<Value, Error> {
    expression(cursor, 0, 0)
}

/// Takes an integer.
pub(super) fn int(cursor: &mut Cursor<'_>, what: &str) -> Result<i64, Error> {
    let start = cursor.position();
    match value(cursor) {
        Ok(Value::Int(int)) => Ok(int),
        _ => Err(cursor.fail_at(start, what)),
    }
}

/// Takes an integer that fits 32 bits without a sign.
pub(super) fn u32(cursor: &mut Cursor<'_>, what: &str) -> Result<u32, Error> {
    let start = cursor.position();
    u32::try_from(int(cursor, what)?).map_err(|_| cursor.fail_at(start, what))
}

/// Operators with their strength, as in C.
const OPERATORS: &[(&str, u32)] =
    &[("|", 1), ("^", 2), ("&", 3), ("<<", 4), (">>", 4), ("+", 5), ("-", 5), ("*", 6), ("/", 6)];

fn expression(cursor: &mut Cursor<'_>, weakest: u32, depth: u32) -> Result<Value, Error> {
    let mut left = operand(cursor, depth)?;
    loop {
        let mark = cursor.peek(0);
        let Some(&(_, strength)) = OPERATORS.iter().find(|(text, _)| *text == mark.text) else {
            return Ok(left);
        };
        let Value::Int(a) = left else { return Ok(left) };
        if strength <= weakest {
            return Ok(left);
        }
        cursor.next();
        let start = cursor.position();
        let right = expression(cursor, strength, depth + 1)?;
        let result = if let Value::Int(b) = right { apply(mark.text, a, b) } else { None };
        let wrong = || cursor.fail_at(start, "an integer that this operator can take");
        left = Value::Int(result.ok_or_else(wrong)?);
    }
}

fn apply(operator: &str, a: i64, b: i64) -> Option<i64> {
    let shift = u32::try_from(b).ok().filter(|bits| *bits < 64);
    match operator {
        "|" => Some(a | b),
        "^" => Some(a ^ b),
        "&" => Some(a & b),
        "<<" => Some(a << shift?),
        ">>" => Some(a >> shift?),
        "+" => Some(a.wrapping_add(b)),
        "-" => Some(a.wrapping_sub(b)),
        "*" => Some(a.wrapping_mul(b)),
        _ => a.checked_div(b),
    }
}

fn operand(cursor: &mut Cursor<'_>, depth: u32) -> Result<Value, Error> {
    if depth > DEPTH {
        return Err(cursor.fail(&format!("an expression with at most {DEPTH} levels")));
    }
    if cursor.accept("(") {
        let value = expression(cursor, 0, depth + 1)?;
        cursor.expect(")")?;
        return Ok(value);
    }
    if cursor.accept("-") {
        return Ok(match operand(cursor, depth + 1)? {
            Value::Int(int) => Value::Int(int.wrapping_neg()),
            Value::F32(bits) => Value::F32(bits ^ 1 << 31),
            Value::F64(bits) => Value::F64(bits ^ 1 << 63),
        });
    }
    let start = cursor.position();
    if cursor.accept("~") {
        return match operand(cursor, depth + 1)? {
            Value::Int(int) => Ok(Value::Int(!int)),
            _ => Err(cursor.fail_at(start, "an integer")),
        };
    }
    let token = cursor.peek(0);
    let value = if token.kind == Kind::Number { number(token.text) } else { None };
    let value = value.ok_or_else(|| cursor.fail("a number"))?;
    cursor.next();
    Ok(value)
}

/// One number as written, without a sign.
pub(super) fn number(text: &str) -> Option<Value> {
    let lower = text.get(..2).map(str::to_ascii_lowercase);
    match lower.as_deref() {
        Some("0f") => return bits(&text[2..], 8).map(|b| Value::F32(b as u32)),
        Some("0d") => return bits(&text[2..], 16).map(Value::F64),
        _ => {}
    }
    let digits = text.strip_suffix(['u', 'U']).unwrap_or(text);
    let whole = match lower.as_deref() {
        Some("0x") => integer(&digits[2..], 16),
        Some("0b") => integer(&digits[2..], 2),
        _ if digits.starts_with('0') && digits.len() > 1 => integer(&digits[1..], 8),
        _ => integer(digits, 10),
    };
    if let Some(whole) = whole {
        // The upper half of the 64 bits is what a negative number of the same bits is.
        return Some(Value::Int(whole as i64));
    }
    let decimal = text.contains(['.', 'e', 'E'])
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    if decimal { text.parse().ok().map(|f: f64| Value::F64(f.to_bits())) } else { None }
}

fn integer(digits: &str, radix: u32) -> Option<u64> {
    let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain { u64::from_str_radix(digits, radix).ok() } else { None }
}

fn bits(digits: &str, count: usize) -> Option<u64> {
    if digits.len() == count { integer(digits, 16) } else { None }
}
