//! The tree that the parser builds. It knows PTX's grammar and nothing about what an instruction
//! does, so that any text nvcc writes parses, whether or not it can be run.

/// Where a statement stands in the PTX text and, by the last `.loc`, in the CUDA source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Line of the PTX text, from 1.
    pub ptx_line: u32,
    /// `.file` number and line of the outermost caller: where a user looks first. 0 if unknown;
    /// the compiler gives what it made itself a file but line 0.
    pub outer: (u32, u32),
    /// The same for the innermost function of the chain that stands in the file of `outer`: the
    /// line of the kernel's own file that the statement comes from.
    pub own: (u32, u32),
    /// `.file` number and line of the innermost inlined function; equal to `outer` if not inlined.
    pub inner: (u32, u32),
}

/// A whole PTX module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    /// `.version`, as (major, minor).
    pub version: (u32, u32),
    /// The first name after `.target`, such as `sm_90a`.
    pub target: String,
    /// Paths by `.file` number.
    pub files: Vec<(u32, String)>,
    /// Variables at module scope.
    pub variables: Vec<Variable>,
    /// Entries and functions, in the order of the text. A declaration has no body.
    pub functions: Vec<Function>,
}

/// A state space that a variable may live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// `.reg`
    Register,
    /// `.param`
    Param,
    /// `.global`
    Global,
    /// `.const`
    Const,
    /// `.shared`
    Shared,
    /// `.local`
    Local,
}

/// A variable of any space but `.reg`.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its space.
    pub space: Space,
    /// Alignment in bytes; that of the type where the text gives none.
    pub align: u32,
    /// Element type without its dot, such as `b8`.
    pub ty: String,
    /// Bytes in all; `None` for `name[]`, whose size the launch decides.
    pub bytes: Option<u64>,
    /// Initial contents, from offset 0, without gaps; the rest is zero. Only `.global` and
    /// `.const` have one.
    pub init: Vec<Init>,
    /// `.extern`.
    pub external: bool,
    /// Where it is declared.
    pub place: Place,
}

/// One element of an initialiser.
#[allow(missing_docs)] // fields are told of with their variant
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// Literals, one after another, little endian, as many bytes as the elements have.
    Bytes(Vec<u8>),
    /// As many zero bytes: what a nested list leaves out.
    Zeros(u64),
    /// The address of a variable or function plus an offset (`generic` where `generic()` was asked
    /// for). Stored are `bytes` bytes of it, from bit `shift` up: 8 and 0 but for `.u32` variables
    /// and for masks, `0xFF00(name)` being one byte from bit 8.
    Address { name: String, offset: i64, generic: bool, shift: u32, bytes: u32 },
}

/// An `.entry` or `.func`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// `.entry`: may be launched.
    pub entry: bool,
    /// Return values of a `.func` (in `.param` or `.reg` space).
    pub returns: Vec<Variable>,
    /// Parameters in order.
    pub params: Vec<Variable>,
    /// `.maxntid`, missing dimensions as 1.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`.
    pub required_threads: Option<[u32; 3]>,
    /// `.maxnreg`.
    pub max_registers: Option<u32>,
    /// `.minnctapersm`.
    pub min_blocks: Option<u32>,
    /// `.reqnctapercluster` (or the size given with `.explicitcluster`).
    pub cluster: Option<[u32; 3]>,
    /// Statements; `None` for a declaration.
    pub body: Option<Vec<Statement>>,
    /// Where it is declared.
    pub place: Place,
}

/// One statement of a function.
#[allow(missing_docs)] // fields are told of with their variant
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `name:`
    Label(String),
    /// `.reg .type a, b;` or `.reg .type %r<n>;` (then `count` is n and names are name0..n-1).
    Registers { ty: String, name: String, count: Option<u32> },
    /// A `.shared`, `.local` or `.param` variable.
    Variable(Variable),
    /// `{ ... }`: its registers, labels and variables are its own.
    Block(Vec<Statement>),
    /// `name: .branchtargets a, b;`
    BranchTargets { name: String, labels: Vec<String> },
    /// `name: .calltargets a, b;` and `.callprototype`: only the name matters here.
    CallPrototype { name: String },
    /// An instruction.
    Instruction(Instruction),
}

/// One instruction as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// `@%p` or `@!%p` (then the flag is true).
    pub guard: Option<(String, bool)>,
    /// The full opcode with its dots, such as `ld.global.nc.v4.u32`. `::` stays inside a part, as
    /// in `shared::cta`.
    pub opcode: String,
    /// Operands in order. A `call`'s lists come as [`Operand::Group`].
    pub operands: Vec<Operand>,
    /// Where it stands.
    pub place: Place,
}

/// One operand as written.
#[allow(missing_docs)] // fields are told of with their variant
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register, special register (`%tid.x`), label, variable or function. `_` too.
    Name(String),
    /// `!name`
    Not(String),
    /// `-%r` is not PTX; a negative literal is an `Int`. Signed values are sign-extended.
    Int(i64),
    /// `0f........`, by its bits.
    F32(u32),
    /// `0d................`, by its bits; decimal literals such as `1.5` too.
    F64(u64),
    /// `name+offset` outside brackets, as in `mov.u64 %rd1, table+8`.
    Offset(String, i64),
    /// `{a, b, ...}`
    Vector(Vec<Operand>),
    /// `[base+offset]`; the base is a name or, for an absolute address, nothing.
    Address { base: Option<String>, offset: i64 },
    /// `[map, {x, y}]`, with any further operands inside the brackets: tensor coordinates.
    Tensor(Vec<Operand>),
    /// `d|p`
    Pair(Box<Operand>, Box<Operand>),
    /// `(a, b)`: the lists of a `call`.
    Group(Vec<Operand>),
}
