//! Places in the CUDA source, from `.loc` (PTX ISA, "Debugging Directives: .loc").
//!
//! For inlined code nvcc writes a chain, one line a caller: `.loc 1 12 3`, then
//! `.loc 2 107 3, function_name f, inlined_at 1 12 3`, and so on inwards. Each line names only its
//! direct caller, so the outermost one is found by keeping what the lines before led to.

use super::cursor::Cursor;
use super::literal;
use super::tree::Place;
use crate::error::Error;
use std::collections::HashMap;

/// File, line and column.
type Spot = (u32, u32, u32);
/// File and line.
type Line = (u32, u32);

/// What the `.loc` directives of one function have said so far.
#[derive(Default)]
pub(super) struct Locations {
    /// Where the chains of places that were inlined start: `outer` and `own` of [`Place`].
    callers: HashMap<Spot, (Line, Line)>,
    outer: Line,
    own: Line,
    inner: Line,
}

impl Locations {
    /// The place of a statement at this line of the PTX text.
    pub fn place(&self, ptx_line: u32) -> Place {
        Place { ptx_line, outer: self.outer, own: self.own, inner: self.inner }
    }

    /// Takes what follows `.loc`.
    pub fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Error> {
        let own = spot(cursor)?;
        let mut caller = None;
        while cursor.accept(",") {
            if cursor.accept("function_name") {
                cursor.name("the label of a function's name")?;
                if cursor.accept("+") {
                    literal::int(cursor, "an offset")?;
                }
            } else if cursor.accept("inlined_at") {
                caller = Some(spot(cursor)?);
            } else {
                return Err(cursor.fail("`function_name` or `inlined_at`"));
            }
        }
        self.inner = (own.0, own.1);
        (self.outer, self.own) = (self.inner, self.inner);
        match caller {
            Some(at) => {
                let start = ((at.0, at.1), (at.0, at.1));
                (self.outer, self.own) = self.callers.get(&at).copied().unwrap_or(start);
                // Line 0 is what the compiler made itself.
                if own.0 == self.outer.0 && own.1 > 0 {
                    self.own = self.inner;
                }
                self.callers.insert(own, (self.outer, self.own));
            }
            // The same code, not inlined: what an earlier chain said of it holds no longer.
            None => {
                self.callers.remove(&own);
            }
        }
        Ok(())
    }
}

fn spot(cursor: &mut Cursor<'_>) -> Result<Spot, Error> {
    let file = literal::u32(cursor, "the number of a `.file`")?;
    let line = literal::u32(cursor, "a line of the source")?;
    let column = literal::u32(cursor, "a column of the source")?;
    Ok((file, line, column))
}
