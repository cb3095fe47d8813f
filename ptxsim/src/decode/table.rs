//! The table of register-only instructions: patterns to opcodes, letters to operands.

use super::operands::{Decoder, Problem, show};
use super::{FAMILIES, Family};
use crate::isa::{Inst, TableRow};
use crate::syntax::tree::{Instruction, Operand};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Every table, filled by the modules that run them.
pub const TABLES: &[&[&[TableRow]]] = &[crate::arith::TABLE, &[crate::warp::ROWS]];

/// Rows of each opcode.
type Rows = BTreeMap<String, Vec<&'static TableRow>>;

/// How many known forms a refusal lists.
const LISTED: usize = 6;
/// An opcode longer than any is not looked at part by part.
const LONGEST: usize = 200;

fn rows() -> &'static Rows {
    static ROWS: OnceLock<Rows> = OnceLock::new();
    ROWS.get_or_init(|| {
        let mut rows = Rows::new();
        for row in TABLES.iter().copied().flatten().copied().flatten() {
            for opcode in expand(row.pattern) {
                rows.entry(opcode).or_default().push(row);
            }
        }
        rows
    })
}

/// The opcodes that a pattern covers (see [`TableRow`]).
pub fn expand(pattern: &str) -> Vec<String> {
    let Some(open) = pattern.find(['{', '(']) else { return vec![pattern.to_owned()] };
    let (head, rest) = pattern.split_at(open);
    let optional = rest.starts_with('{');
    let Some(close) = rest.find(if optional { '}' } else { ')' }) else {
        return vec![pattern.to_owned()];
    };
    let tails = expand(&rest[close + 1..]);
    let mut choices: Vec<&str> = rest[1..close].split('|').collect();
    if optional {
        choices.insert(0, "");
    }
    let choices = choices.into_iter();
    choices.flat_map(|one| tails.iter().map(move |tail| format!("{head}{one}{tail}"))).collect()
}

/// Decodes an instruction by table or family.
pub(super) fn decode(decoder: &mut Decoder, inst: &Instruction) -> Result<Inst, Problem> {
    let family = family(&inst.opcode);
    let Some(rows) = rows().get(&inst.opcode) else {
        return match family {
            Some(family) => (family.decode)(decoder, inst),
            None => Err(refuse(&inst.opcode)),
        };
    };
    let mut first = None;
    for row in rows {
        match by_row(decoder, inst, row) {
            Ok(decoded) => return Ok(decoded),
            Err(problem) => {
                first.get_or_insert(problem);
            }
        }
    }
    match family {
        Some(family) => (family.decode)(decoder, inst),
        None => Err(first.unwrap_or_else(|| refuse(&inst.opcode))),
    }
}

/// The family with the longest base that an opcode starts with.
fn family(opcode: &str) -> Option<&'static Family> {
    let starts = |family: &&Family| {
        let rest = opcode.strip_prefix(family.base);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let all = FAMILIES.iter().copied().flatten();
    all.filter(starts).max_by_key(|family| family.base.len())
}

/// Decodes the operands of one row. Nothing is asked of the decoder until all of them are of the
/// right kind, so that a row that does not fit leaves no trace.
fn by_row(decoder: &mut Decoder, inst: &Instruction, row: &TableRow) -> Result<Inst, Problem> {
    let (to, from) = row.operands.split_once('=').unwrap_or(("", row.operands));
    let mut wanted = Vec::new();
    let mut operands = inst.operands.iter();
    let missing = || format!("operands are of the kinds `{}`", row.operands);
    let mut letters = to.bytes().peekable();
    while let Some(letter) = letters.next() {
        let operand = operands.next().ok_or_else(missing)?;
        if letters.next_if_eq(&b'|').is_some() {
            let Operand::Pair(first, second) = operand else { return Err(missing()) };
            let other = letters.next().ok_or_else(missing)?;
            wanted.extend([(letter, &**first), (other, &**second)]);
        } else {
            wanted.push((letter, operand));
        }
    }
    let written = wanted.len();
    for letter in from.bytes() {
        wanted.push((letter, operands.next().ok_or_else(missing)?));
    }
    if operands.next().is_some() {
        return Err(missing());
    }
    for (letter, operand) in &wanted {
        check(decoder, *letter, operand)?;
    }
    let mut decoded = Inst::new(row.exec, row.class);
    for ((letter, operand), slot) in wanted[..written].iter().zip(&mut decoded.d) {
        *slot = match letter {
            b'l' => decoder.dest64(operand)?,
            b'p' => decoder.dest_predicate(operand)?,
            _ => decoder.dest32(operand)?,
        };
    }
    let mut next = 0;
    for (letter, operand) in &wanted[written..] {
        if *letter == b'i' {
            decoded.imm = decoder.immediate(operand)?;
            continue;
        }
        decoded.s[next] = match letter {
            b'l' => decoder.source64(operand)?,
            b'p' => decoder.source_predicate(operand)?,
            b'h' => decoder.source16(operand)?,
            _ => decoder.source32(operand)?,
        };
        next += 1;
    }
    Ok(decoded)
}

/// Whether a register has the width that a letter says; other operands are the decoder's to judge.
fn check(decoder: &mut Decoder, letter: u8, operand: &Operand) -> Result<(), Problem> {
    let Some(has) = decoder.width(operand) else { return Ok(()) };
    let (fits, wanted) = match letter {
        b'r' => (has == 32, "a 32-bit register"),
        b'h' => (matches!(has, 8 | 16), "a 16-bit register"),
        b'l' => (has == 64, "a 64-bit register"),
        b'p' => (has == 1, "a predicate"),
        _ => (false, "a number"),
    };
    if fits {
        return Ok(());
    }
    let what = if has == 1 { "a predicate".to_owned() } else { format!("of {has} bits") };
    Err(format!("{} is {what} where {wanted} is wanted", show(operand)))
}

/// Why an opcode is refused: which of its parts is unknown, and what is known instead.
fn refuse(opcode: &str) -> Problem {
    if opcode.len() > LONGEST {
        return "unknown instruction".to_owned();
    }
    let ends = opcode.match_indices('.').map(|(at, _)| at).chain([opcode.len()]);
    let known = ends.take_while(|end| !starting(&opcode[..*end], 1).is_empty()).last();
    let Some(known) = known else { return "unknown instruction".to_owned() };
    let forms = starting(&opcode[..known], LISTED).join(", ");
    match opcode[known..].strip_prefix('.') {
        Some(rest) => {
            let part = rest.split('.').next().unwrap_or(rest);
            format!("unknown modifier `.{part}`; known forms: {forms}")
        }
        None => format!("something is missing; known forms: {forms}"),
    }
}

/// Some opcodes that start with these whole parts.
fn starting(parts: &str, most: usize) -> Vec<&'static str> {
    let fits = |opcode: &&str| {
        let rest = opcode.strip_prefix(parts);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let from = rows().range(parts.to_owned()..).map(|(opcode, _)| opcode.as_str());
    from.take_while(|opcode| opcode.starts_with(parts)).filter(fits).take(most).collect()
}

/// Every form that can be run, as patterns, in the order of their names: the table's rows with
/// their operands, and what families say of themselves.
pub fn forms() -> Vec<(&'static str, &'static str)> {
    let rows = TABLES.iter().copied().flatten().copied().flatten();
    let rows = rows.map(|row| (row.pattern, row.operands));
    let families = FAMILIES.iter().copied().flatten();
    let families = families.flat_map(|family| family.syntax.iter().map(|form| (*form, "")));
    let mut forms: Vec<_> = rows.chain(families).collect();
    forms.sort_unstable();
    forms.dedup();
    forms
}
