//! The bodies of functions: declarations, labels, blocks and instructions.

use super::cursor::Cursor;
use super::lexer::Kind;
use super::literal;
use super::loc::Locations;
use super::operands::operands;
use super::tree::{Instruction, Space, Statement};
use super::{parser, variables};
use crate::error::Error;

/// How deep `{ }` may nest. A compiler writes two.
const DEPTH: u32 = 64;

/// Takes the statements of a body or block, after its opening brace, and the closing one.
pub(super) fn block(
    cursor: &mut Cursor<'_>,
    locations: &mut Locations,
    depth: u32,
) -> Result<Vec<Statement>, Error> {
    if depth > DEPTH {
        return Err(cursor.fail(&format!("at most {DEPTH} blocks inside one another")));
    }
    let mut body = Vec::new();
    while !cursor.accept("}") {
        let token = cursor.peek(0);
        match token.kind {
            Kind::Mark if token.text == "{" => {
                cursor.next();
                body.push(Statement::Block(block(cursor, locations, depth + 1)?));
            }
            // Inline assembly often ends in a semicolon of its own.
            Kind::Mark if token.text == ";" => {
                cursor.next();
            }
            Kind::Mark if token.text == "@" => body.push(instruction(cursor, locations)?),
            Kind::Word if token.text.starts_with('.') => {
                directive(cursor, locations, &mut body)?;
            }
            Kind::Word if cursor.peek(1).text == ":" => body.push(label(cursor)?),
            Kind::Word => body.push(instruction(cursor, locations)?),
            _ => return Err(cursor.fail("an instruction, a declaration or `}`")),
        }
    }
    Ok(body)
}

fn instruction(cursor: &mut Cursor<'_>, locations: &Locations) -> Result<Statement, Error> {
    let place = locations.place(cursor.line());
    let mut guard = None;
    if cursor.accept("@") {
        let negated = cursor.accept("!");
        guard = Some((cursor.name("the name of a predicate")?.to_owned(), negated));
    }
    let opcode = cursor.name("an instruction")?;
    let call = opcode == "call" || opcode.starts_with("call.");
    let operands = operands(cursor, call)?;
    let opcode = opcode.to_owned();
    Ok(Statement::Instruction(Instruction { guard, opcode, operands, place }))
}

/// A label, alone or before `.branchtargets`, `.calltargets` or `.callprototype`.
fn label(cursor: &mut Cursor<'_>) -> Result<Statement, Error> {
    let name = cursor.name("a label")?.to_owned();
    cursor.expect(":")?;
    if cursor.accept(".branchtargets") {
        let mut labels = Vec::new();
        loop {
            labels.push(cursor.name("a label")?.to_owned());
            if cursor.accept(";") {
                return Ok(Statement::BranchTargets { name, labels });
            }
            cursor.expect(",")?;
        }
    }
    if cursor.is(".calltargets") || cursor.is(".callprototype") {
        cursor.skip_to(";")?;
        return Ok(Statement::CallPrototype { name });
    }
    Ok(Statement::Label(name))
}

fn directive(
    cursor: &mut Cursor<'_>,
    locations: &mut Locations,
    body: &mut Vec<Statement>,
) -> Result<(), Error> {
    let place = locations.place(cursor.line());
    let mut external = false;
    while [".extern", ".weak", ".visible", ".common"].iter().any(|word| cursor.is(word)) {
        external |= cursor.next().text == ".extern";
    }
    match (cursor.peek(0).text, variables::space(cursor.peek(0).text)) {
        (_, Some(Space::Register)) => {
            cursor.next();
            registers(cursor, body)
        }
        (_, Some(space)) => {
            cursor.next();
            let mut declared = Vec::new();
            variables::declaration(cursor, space, external, place, &mut declared)?;
            body.extend(declared.into_iter().map(Statement::Variable));
            Ok(())
        }
        (".loc", _) => {
            cursor.next();
            locations.read(cursor)
        }
        (".pragma", _) => cursor.skip_to(";"),
        (".file", _) => parser::file(cursor).map(drop),
        _ => Err(cursor.fail("a declaration, `.loc`, `.pragma` or an instruction")),
    }
}

/// `.b32 %r<5>;` or `.pred p, q;`.
fn registers(cursor: &mut Cursor<'_>, body: &mut Vec<Statement>) -> Result<(), Error> {
    let start = cursor.position();
    let ty = cursor.dotted("the type of the registers")?.to_owned();
    if variables::type_bytes(&ty).is_none() {
        return Err(cursor.fail_at(start, "the type of a register, such as `.b32` or `.pred`"));
    }
    loop {
        let name = cursor.name("the name of a register")?.to_owned();
        let mut count = None;
        if cursor.accept("<") {
            count = Some(literal::u32(cursor, "the number of registers")?);
            cursor.expect(">")?;
        }
        body.push(Statement::Registers { ty: ty.clone(), name, count });
        if cursor.accept(";") {
            return Ok(());
        }
        cursor.expect(",")?;
    }
}
