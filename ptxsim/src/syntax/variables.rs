//! Declarations of variables and parameters (PTX ISA, "Variables").

use super::cursor::Cursor;
use super::initialisers;
use super::literal;
use super::tree::{Place, Space, Variable};
use crate::error::Error;

/// The largest alignment that a variable may ask for.
const LARGEST_ALIGN: u32 = 1 << 16;

/// Bytes of a fundamental type; predicates have none.
pub fn type_bytes(ty: &str) -> Option<u32> {
    Some(match ty {
        "pred" => 0,
        "b8" | "u8" | "s8" | "e4m3" | "e5m2" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" | "e4m3x2" | "e5m2x2" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" | "tf32" => 4,
        "b64" | "u64" | "s64" | "f64" | "f32x2" | "texref" | "samplerref" | "surfref" => 8,
        "b128" => 16,
        _ => return None,
    })
}

/// The space that a directive without its dot names.
pub(super) fn space(word: &str) -> Option<Space> {
    Some(match word {
        ".reg" => Space::Register,
        ".param" => Space::Param,
        ".global" => Space::Global,
        ".const" => Space::Const,
        ".shared" => Space::Shared,
        ".local" => Space::Local,
        _ => return None,
    })
}

/// What stands between the space and the name.
pub(super) struct Attributes {
    align: Option<u32>,
    /// Elements of a `.v2` or `.v4` type.
    vector: u32,
    ty: String,
}

/// Takes alignment, type and what may stand around them. For parameters that includes `.ptr` and
/// what is known of the memory it points to, which nothing here needs.
pub(super) fn attributes(cursor: &mut Cursor<'_>) -> Result<Attributes, Error> {
    let mut found = Attributes { align: None, vector: 1, ty: String::new() };
    let mut pointer = false;
    while cursor.peek(0).text.starts_with('.') {
        let start = cursor.position();
        match cursor.dotted("a type")? {
            "align" => {
                let align = alignment(cursor)?;
                if !pointer {
                    found.align = Some(align);
                }
            }
            "attribute" => skip_parentheses(cursor)?,
            "ptr" => pointer = true,
            "global" | "const" | "shared" | "local" if pointer => {}
            "v2" => found.vector = 2,
            "v4" => found.vector = 4,
            "v8" => found.vector = 8,
            ty if found.ty.is_empty() && type_bytes(ty).is_some() => found.ty = ty.to_owned(),
            _ => return Err(cursor.fail_at(start, "a type such as `.b32`")),
        }
    }
    if found.ty.is_empty() {
        return Err(cursor.fail("a type such as `.b32`"));
    }
    Ok(found)
}

fn alignment(cursor: &mut Cursor<'_>) -> Result<u32, Error> {
    let expected = "an alignment that is a power of two and at most 65536";
    let start = cursor.position();
    let align = literal::u32(cursor, expected)?;
    let fits = align.is_power_of_two() && align <= LARGEST_ALIGN;
    if fits { Ok(align) } else { Err(cursor.fail_at(start, expected)) }
}

/// `.attribute(.managed)` and the like.
pub(super) fn skip_parentheses(cursor: &mut Cursor<'_>) -> Result<(), Error> {
    cursor.expect("(")?;
    let mut open = 1_usize;
    while open > 0 {
        match cursor.peek(0).text {
            "(" => open += 1,
            ")" => open -= 1,
            ";" | "{" | "}" | "" => return Err(cursor.fail("`)`")),
            _ => {}
        }
        cursor.next();
    }
    Ok(())
}

/// Takes a whole declaration after its space, with all its names and the semicolon.
pub(super) fn declaration(
    cursor: &mut Cursor<'_>,
    space: Space,
    external: bool,
    place: Place,
    into: &mut Vec<Variable>,
) -> Result<(), Error> {
    let attributes = attributes(cursor)?;
    loop {
        let mut variable = named(cursor, space, &attributes, place)?;
        variable.external = external;
        into.push(variable);
        if cursor.accept(";") {
            return Ok(());
        }
        if !cursor.accept(",") {
            return Err(cursor.fail("`,` or `;` after a variable"));
        }
    }
}

/// Takes the parameters of a function, after the opening parenthesis.
pub(super) fn parameters(cursor: &mut Cursor<'_>) -> Result<Vec<Variable>, Error> {
    let mut list = Vec::new();
    if cursor.accept(")") {
        return Ok(list);
    }
    loop {
        let place = Place { ptx_line: cursor.line(), ..Place::default() };
        let of = match space(cursor.peek(0).text) {
            Some(of @ (Space::Param | Space::Register)) => of,
            _ => return Err(cursor.fail("`.param` or `.reg`")),
        };
        cursor.next();
        let attributes = attributes(cursor)?;
        list.push(named(cursor, of, &attributes, place)?);
        if cursor.accept(")") {
            return Ok(list);
        }
        if !cursor.accept(",") {
            return Err(cursor.fail("`,` or `)` after a parameter"));
        }
    }
}

/// Name, dimensions and initial contents.
fn named(
    cursor: &mut Cursor<'_>,
    space: Space,
    attributes: &Attributes,
    place: Place,
) -> Result<Variable, Error> {
    let start = cursor.position();
    let name = cursor.name("the name of a variable")?.to_owned();
    let element = type_bytes(&attributes.ty).unwrap_or(0);
    let mut dimensions = dimensions(cursor)?;
    if attributes.vector > 1 {
        dimensions.push(Some(u64::from(attributes.vector)));
    }
    let mut init = Vec::new();
    let mut open = None;
    if cursor.accept("=") {
        if !matches!(space, Space::Global | Space::Const) {
            return Err(cursor.fail("no initial contents outside `.global` and `.const`"));
        }
        (init, open) = initialisers::read(cursor, element, &dimensions)?;
    }
    let mut bytes = Some(u64::from(element));
    for dimension in dimensions {
        let Some(count) = dimension.or(open) else {
            bytes = None;
            break;
        };
        let product = bytes.and_then(|bytes| bytes.checked_mul(count));
        bytes =
            Some(product.filter(|bytes| *bytes <= i64::MAX as u64).ok_or_else(|| {
                cursor.fail_at(start, "a variable whose size is below 2^63 bytes")
            })?);
    }
    let align = attributes.align.unwrap_or((element * attributes.vector).max(1));
    let ty = attributes.ty.clone();
    Ok(Variable { name, space, align, ty, bytes, init, external: false, place })
}

/// `[2][3]`; the first may be left open.
fn dimensions(cursor: &mut Cursor<'_>) -> Result<Vec<Option<u64>>, Error> {
    /// The manual names no limit; arrays of more dimensions are not written by any compiler.
    const MOST: usize = 8;
    let mut found = Vec::new();
    while cursor.accept("[") {
        if found.is_empty() && cursor.accept("]") {
            found.push(None);
            continue;
        }
        let start = cursor.position();
        let size = literal::int(cursor, "the size of an array")?;
        let size = u64::try_from(size).ok().filter(|_| found.len() < MOST);
        found.push(Some(size.ok_or_else(|| cursor.fail_at(start, "the size of an array"))?));
        cursor.expect("]")?;
    }
    Ok(found)
}
