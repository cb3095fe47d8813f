//! Modules and the heads of their functions (PTX ISA, "Directives").

use super::cursor::Cursor;
use super::lexer::Kind;
use super::loc::Locations;
use super::tree::{Function, Module, Place, Space};
use super::{literal, statements, variables};
use crate::error::Error;

/// Parses a module. `name` stands for it in errors.
///
/// # Errors
///
/// [`Error::Syntax`] with the first place where the text is not PTX.
pub fn parse(name: &str, text: &str) -> Result<Module, Error> {
    let mut cursor = Cursor::new(name, text);
    let mut module = Module::default();
    header(&mut cursor, &mut module)?;
    while !cursor.at_end() {
        item(&mut cursor, &mut module)?;
    }
    Ok(module)
}

/// `.version`, `.target` and `.address_size`, which come first in every module.
fn header(cursor: &mut Cursor<'_>, module: &mut Module) -> Result<(), Error> {
    cursor.expect(".version")?;
    let token = cursor.peek(0);
    let numbers = token.text.split_once('.');
    module.version = numbers
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
        .filter(|_| token.kind == Kind::Number)
        .ok_or_else(|| cursor.fail("a version such as `9.0`"))?;
    cursor.next();
    cursor.expect(".target")?;
    module.target = cursor.name("a target such as `sm_80`")?.to_owned();
    while cursor.accept(",") {
        cursor.name("an option of the target")?;
    }
    if cursor.accept(".address_size") {
        let start = cursor.position();
        if literal::int(cursor, "`64`")? != 64 {
            return Err(cursor.fail_at(start, "`64`"));
        }
    }
    Ok(())
}

fn item(cursor: &mut Cursor<'_>, module: &mut Module) -> Result<(), Error> {
    let place = Place { ptx_line: cursor.line(), ..Place::default() };
    match cursor.peek(0).text {
        ".file" => {
            let file = file(cursor)?;
            module.files.push(file);
            return Ok(());
        }
        ".section" => return skip_section(cursor),
        ".pragma" | ".alias" => return cursor.skip_to(";"),
        ".loc" => {
            cursor.next();
            return Locations::default().read(cursor);
        }
        ";" => {
            cursor.next();
            return Ok(());
        }
        _ => {}
    }
    let mut external = false;
    while [".extern", ".visible", ".weak", ".common"].iter().any(|word| cursor.is(word)) {
        external |= cursor.next().text == ".extern";
    }
    let word = cursor.peek(0).text;
    match variables::space(word) {
        Some(space @ (Space::Global | Space::Const | Space::Shared)) => {
            cursor.next();
            variables::declaration(cursor, space, external, place, &mut module.variables)
        }
        None if word == ".entry" || word == ".func" => {
            cursor.next();
            let function = function(cursor, word == ".entry", place)?;
            module.functions.push(function);
            Ok(())
        }
        _ => Err(cursor.fail("`.entry`, `.func`, a variable or another directive of a module")),
    }
}

/// `.file 1 "path"`, perhaps with time and size.
pub(super) fn file(cursor: &mut Cursor<'_>) -> Result<(u32, String), Error> {
    cursor.expect(".file")?;
    let number = literal::u32(cursor, "the number of a file")?;
    let path = cursor.string("the path of a file")?.to_owned();
    while cursor.accept(",") {
        literal::int(cursor, "the time or size of a file")?;
    }
    Ok((number, path))
}

/// `.section name { ... }`: DWARF, which holds no braces.
fn skip_section(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    cursor.expect(".section")?;
    cursor.dotted("the name of a section")?;
    cursor.expect("{")?;
    cursor.skip_to("}")
}

fn function(cursor: &mut Cursor<'_>, entry: bool, place: Place) -> Result<Function, Error> {
    let mut function = Function { entry, place, ..Function::default() };
    while cursor.accept(".attribute") {
        variables::skip_parentheses(cursor)?;
    }
    if !entry && cursor.accept("(") {
        function.returns = variables::parameters(cursor)?;
    }
    function.name = cursor.name("the name of the function")?.to_owned();
    if cursor.accept("(") {
        function.params = variables::parameters(cursor)?;
    }
    while cursor.peek(0).text.starts_with('.') {
        performance(cursor, &mut function)?;
    }
    if cursor.accept(";") {
        return Ok(function);
    }
    if !cursor.accept("{") {
        return Err(cursor.fail("`{`, `;` or a directive such as `.maxntid`"));
    }
    function.body = Some(statements::block(cursor, &mut Locations::default(), 0)?);
    Ok(function)
}

/// What stands between the parameters and the body.
fn performance(cursor: &mut Cursor<'_>, function: &mut Function) -> Result<(), Error> {
    let start = cursor.position();
    match cursor.dotted("a directive")? {
        "maxntid" => function.max_threads = Some(dimensions(cursor)?),
        "reqntid" => function.required_threads = Some(dimensions(cursor)?),
        "reqnctapercluster" => function.cluster = Some(dimensions(cursor)?),
        "maxnreg" => function.max_registers = Some(literal::u32(cursor, "a number of registers")?),
        "minnctapersm" => function.min_blocks = Some(literal::u32(cursor, "a number of blocks")?),
        "maxnctapersm" | "maxclusterrank" | "abi_preserve" | "abi_preserve_control" => {
            literal::u32(cursor, "a number")?;
        }
        // Only `.explicitcluster` with a size is more than a promise of the launch.
        "explicitcluster" if cursor.peek(0).kind == Kind::Number => {
            function.cluster = Some(dimensions(cursor)?);
        }
        "explicitcluster" | "blocksareclusters" | "noreturn" => {}
        "attribute" => variables::skip_parentheses(cursor)?,
        "pragma" => cursor.skip_to(";")?,
        _ => return Err(cursor.fail_at(start, "a directive such as `.maxntid`, `;` or `{`")),
    }
    Ok(())
}

/// One to three sizes; those left out are 1.
fn dimensions(cursor: &mut Cursor<'_>) -> Result<[u32; 3], Error> {
    let mut sizes = [1; 3];
    sizes[0] = literal::u32(cursor, "a size")?;
    for size in &mut sizes[1..] {
        if !cursor.accept(",") {
            break;
        }
        *size = literal::u32(cursor, "a size")?;
    }
    Ok(sizes)
}
