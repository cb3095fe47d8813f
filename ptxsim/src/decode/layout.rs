//! Where variables lie: parameters, and shared memory over all functions of a module.

use super::Problem;
use crate::syntax::tree::{Function, Module, Operand, Place, Space, Statement, Variable};
use std::collections::{HashMap, HashSet};

/// What a variable may take: four gigabytes are more than any of these spaces has.
const LARGEST: u64 = u32::MAX as u64;
/// Above this number of functions it is not found out which of them an entry can reach; all are
/// taken to be reachable, so that the time stays in proportion to the text.
const FOLLOWED: usize = 256;

/// Gives out addresses one after another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor {
    /// End of what is given out.
    pub end: u64,
    /// The largest alignment so far.
    pub align: u32,
}

impl Cursor {
    pub fn new(end: u64) -> Cursor {
        Cursor { end, align: 1 }
    }

    /// The offset of a variable after those before it.
    pub fn place(&mut self, variable: &Variable) -> Result<u32, Problem> {
        let too_large = || format!("`{}` is too large for its memory", variable.name);
        let bytes = variable.bytes.ok_or_else(|| format!("`{}` has no size", variable.name))?;
        let offset = self.end.next_multiple_of(u64::from(variable.align.max(1)));
        let end = offset.checked_add(bytes).filter(|end| *end <= LARGEST);
        self.end = end.ok_or_else(too_large)?;
        self.align = self.align.max(variable.align);
        u32::try_from(offset).map_err(|_| too_large())
    }
}

/// Offsets and sizes of parameters, and the bytes of all.
pub(super) fn params(list: &[Variable]) -> Result<(Vec<(u32, u32)>, u32), Problem> {
    let mut cursor = Cursor::new(0);
    let mut places = Vec::new();
    for variable in list {
        let offset = cursor.place(variable)?;
        places.push((offset, u32::try_from(variable.bytes.unwrap_or(0)).unwrap_or(0)));
    }
    Ok((places, u32::try_from(cursor.end).unwrap_or(0)))
}

/// The shared memory of one function.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FunctionShared {
    /// Where its own variables start.
    pub base: u64,
    /// Static bytes, of an entry with all that it can reach.
    pub bytes: u64,
    /// Where dynamic shared memory starts.
    pub dynamic: u64,
}

/// The shared memory of a module. What several entries may use lies at the same offset for all:
/// first the module's variables, then those of functions that are called, then an entry's own.
#[derive(Default)]
pub(super) struct Shared {
    /// Offsets of the module's variables.
    pub module: HashMap<String, u64>,
    /// By index of the function.
    pub functions: Vec<FunctionShared>,
    /// Alignment of the static part.
    pub align: u32,
    /// Alignment that the dynamic part asks for.
    pub dynamic_align: u32,
    /// The variables that could not be placed, and where they are declared.
    pub problems: Vec<(Place, Problem)>,
}

/// What a function mentions of what the module holds.
#[derive(Default)]
struct Mentions<'a> {
    names: HashSet<&'a str>,
    dynamic: bool,
}

/// Lays out shared memory. The list has one item for each function of the program.
pub(super) fn shared(module: &Module, functions: &[&Function]) -> Shared {
    let mut shared = Shared { align: 1, dynamic_align: 1, ..Shared::default() };
    let mut ends = HashMap::new();
    let mut cursor = Cursor::new(0);
    // What a body may mention, and whether that is dynamic shared memory.
    let mut known: HashMap<&str, bool> =
        functions.iter().map(|f| (f.name.as_str(), false)).collect();
    for variable in module.variables.iter().filter(|v| v.space == Space::Shared) {
        if variable.bytes.is_none() {
            known.insert(&variable.name, true);
            shared.dynamic_align = shared.dynamic_align.max(variable.align);
            continue;
        }
        match cursor.place(variable) {
            Ok(offset) => {
                shared.module.insert(variable.name.clone(), u64::from(offset));
                ends.insert(variable.name.as_str(), cursor.end);
                known.entry(&variable.name).or_insert(false);
            }
            Err(problem) => shared.problems.push((variable.place, problem)),
        }
    }
    let mut mentions = Vec::new();
    let mut own = Vec::new();
    for function in functions {
        let body = function.body.as_deref().unwrap_or_default();
        let (mut found, mut variables) = (Mentions::default(), Vec::new());
        read(body, &known, &mut found, &mut variables);
        let asked = variables.iter().filter(|v| v.bytes.is_none()).map(|v| v.align).max();
        shared.dynamic_align = shared.dynamic_align.max(asked.unwrap_or(1));
        found.dynamic |= asked.is_some();
        let base = cursor.end;
        if !function.entry {
            place_all(&mut cursor, &variables, &mut shared.problems);
            ends.insert(&function.name, cursor.end);
        }
        shared.functions.push(FunctionShared { base, ..FunctionShared::default() });
        mentions.push(found);
        own.push(variables);
    }
    let index = functions.iter().enumerate().map(|(i, f)| (f.name.as_str(), i)).collect();
    let reach = Reach { index, mentions: &mentions, ends: &ends, all: cursor.end };
    for (index, _) in functions.iter().enumerate().filter(|(_, f)| f.entry) {
        let base = reach.static_end(index);
        let mut cursor = Cursor { end: base, align: cursor.align };
        place_all(&mut cursor, &own[index], &mut shared.problems);
        shared.align = shared.align.max(cursor.align);
        shared.functions[index] = FunctionShared { base, bytes: cursor.end, dynamic: 0 };
    }
    dynamic(&mut shared, functions, &mentions);
    shared
}

fn place_all(cursor: &mut Cursor, variables: &[&Variable], problems: &mut Vec<(Place, Problem)>) {
    for variable in variables.iter().filter(|v| v.bytes.is_some()) {
        if let Err(problem) = cursor.place(variable) {
            problems.push((variable.place, problem));
        }
    }
}

/// Dynamic shared memory follows the static part. A function that several entries call finds it
/// at one offset, so then all entries have as much before it as the largest.
fn dynamic(shared: &mut Shared, functions: &[&Function], mentions: &[Mentions<'_>]) {
    let align = u64::from(shared.dynamic_align);
    let called = functions.iter().zip(mentions).any(|(f, m)| !f.entry && m.dynamic);
    let largest = shared.functions.iter().map(|f| f.bytes).max().unwrap_or(0);
    for (layout, mentions) in shared.functions.iter_mut().zip(mentions) {
        let bytes = if called { largest } else { layout.bytes };
        layout.dynamic = bytes.next_multiple_of(align);
        if called || mentions.dynamic {
            layout.bytes = layout.dynamic;
        }
    }
}

/// Follows calls.
struct Reach<'a> {
    /// Functions by name.
    index: HashMap<&'a str, usize>,
    mentions: &'a [Mentions<'a>],
    /// Ends of the module's shared variables and of those of functions, by name.
    ends: &'a HashMap<&'a str, u64>,
    /// End of them all.
    all: u64,
}

impl Reach<'_> {
    /// End of the last variable that an entry, or a function that it mentions, can use.
    fn static_end(&self, entry: usize) -> u64 {
        if self.index.len() > FOLLOWED {
            return self.all;
        }
        let mut seen = HashSet::from([entry]);
        let mut left = vec![entry];
        let mut end = 0;
        while let Some(function) = left.pop() {
            for name in &self.mentions[function].names {
                end = end.max(self.ends.get(name).copied().unwrap_or(0));
                left.extend(self.index.get(name).copied().filter(|index| seen.insert(*index)));
            }
        }
        end
    }
}

/// Collects what a body mentions, and its shared variables in the order in which they are met.
fn read<'a>(
    body: &'a [Statement],
    known: &HashMap<&'a str, bool>,
    found: &mut Mentions<'a>,
    variables: &mut Vec<&'a Variable>,
) {
    for statement in body {
        match statement {
            Statement::Block(inner) => read(inner, known, found, variables),
            Statement::Variable(variable) if variable.space == Space::Shared => {
                variables.push(variable);
            }
            Statement::Instruction(instruction) => {
                for operand in &instruction.operands {
                    mention(operand, known, found);
                }
            }
            _ => {}
        }
    }
}

fn mention<'a>(operand: &'a Operand, known: &HashMap<&'a str, bool>, found: &mut Mentions<'a>) {
    match operand {
        Operand::Name(name)
        | Operand::Offset(name, _)
        | Operand::Address { base: Some(name), .. } => {
            if let Some((name, dynamic)) = known.get_key_value(name.as_str()) {
                found.names.insert(name);
                found.dynamic |= dynamic;
            }
        }
        Operand::Vector(list) | Operand::Tensor(list) | Operand::Group(list) => {
            for operand in list {
                mention(operand, known, found);
            }
        }
        Operand::Pair(first, second) => {
            mention(first, known, found);
            mention(second, known, found);
        }
        _ => {}
    }
}
