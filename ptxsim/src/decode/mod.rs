//! The tree to a [`Program`]: names become register rows, opcodes become functions to call.
//! Everything that cannot be run is found here, before anything runs.

mod control;
mod families;
mod functions;
mod layout;
mod operands;
mod problems;
mod scope;
mod special;
pub mod table;

pub use families::{FAMILIES, Family};
pub use functions::decode;
pub use operands::{Address, Base, Decoder, ParamRef, Problem};

use crate::isa::Inst;
use crate::syntax::tree::{Place, Variable};

/// 32-bit rows that an instruction reads, and those that it writes.
pub type Uses = (Box<[u16]>, Box<[u16]>);

/// What a row holds before the first instruction of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Constant {
    /// The same bits in every lane.
    Bits(u64),
    /// A special register.
    Special(Special),
    /// Offset from the start of the block's shared memory; becomes an address in the shared window.
    Shared(u64),
    /// Offset in the lane's local memory of this activation, as an address in the local window.
    Local(u64),
    /// Index of a module variable, plus an offset: its address in device memory.
    Variable(u32, i64),
    /// Offset in the entry's parameters, as an address in the parameter window.
    Param(u64),
    /// Index of a function in [`Program::functions`], for indirect calls.
    Function(u32),
}

/// Special registers whose value is fixed for the life of a warp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Special {
    TidX,
    TidY,
    TidZ,
    NtidX,
    NtidY,
    NtidZ,
    CtaidX,
    CtaidY,
    CtaidZ,
    NctaidX,
    NctaidY,
    NctaidZ,
    LaneId,
    WarpId,
    NwarpId,
    SmId,
    NsmId,
    GridId,
    LanemaskEq,
    LanemaskLe,
    LanemaskLt,
    LanemaskGe,
    LanemaskGt,
    ClusterIdX,
    ClusterIdY,
    ClusterIdZ,
    NclusterIdX,
    NclusterIdY,
    NclusterIdZ,
    ClusterCtaidX,
    ClusterCtaidY,
    ClusterCtaidZ,
    ClusterNctaidX,
    ClusterNctaidY,
    ClusterNctaidZ,
    ClusterCtarank,
    ClusterNctarank,
    IsExplicitCluster,
    DynamicSmemSize,
    TotalSmemSize,
}

/// A decoded module.
#[derive(Clone, Default)]
pub struct Program {
    /// Name given to the loader.
    pub name: String,
    /// `.target`.
    pub target: String,
    /// Paths by `.file` number.
    pub files: Vec<(u32, String)>,
    /// Instructions of all functions, one after another; the program counter is an index.
    pub code: Vec<Inst>,
    /// Where each instruction stands.
    pub places: Vec<Place>,
    /// Each instruction's opcode as written: an index into `opcodes`.
    pub opcode: Vec<u32>,
    /// Distinct opcodes.
    pub opcodes: Vec<String>,
    /// 32-bit rows each instruction reads and writes (its sources, then its destinations), for the
    /// check of registers that an asynchronous product still writes: `(sources, destinations)`.
    pub uses: Vec<Uses>,
    /// Register lists of instructions with many operands.
    pub lists: Vec<Box<[u16]>>,
    /// Lists of branch targets, by `inst.list` of `brx.idx`: program counters.
    pub targets: Vec<Box<[u32]>>,
    /// Call sites, by `inst.target` of the call.
    pub calls: Vec<CallSite>,
    /// Functions; calls go by index.
    pub functions: Vec<Function>,
    /// `.global` and `.const` variables at module scope; addresses are given at load.
    pub variables: Vec<Variable>,
    /// Alignment that the dynamic shared memory asks for.
    pub dynamic_align: u32,
}

/// What the machine must know of a function.
#[derive(Clone, Default)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// May be launched.
    pub entry: bool,
    /// First instruction, and one past the last; equal for a function that is only declared
    /// (`vprintf` and the like).
    pub code: (u32, u32),
    /// Rows of each kind.
    pub rows32: usize,
    /// Rows of 64 bits.
    pub rows64: usize,
    /// Predicates.
    pub predicates: usize,
    /// Rows of `r32` that are filled at the start.
    pub constants32: Vec<(u16, Constant)>,
    /// Rows of `r64` that are filled at the start.
    pub constants64: Vec<(u16, Constant)>,
    /// Predicates that are filled at the start, with [`Constant::Bits`] or a special register.
    pub constants_p: Vec<(u16, Constant)>,
    /// Offset and bytes of each parameter; for an entry in the parameter block, for a `.func` in
    /// its activation's `.param` bytes.
    pub params: Vec<(u32, u32)>,
    /// Offset and bytes of the return values in the activation's `.param` bytes.
    pub returns: Vec<(u32, u32)>,
    /// Bytes of `.param` space of an activation: parameters and returns of a `.func`, then the
    /// `param0`/`retval0` variables of its calls.
    pub param_bytes: u32,
    /// Bytes of an entry's parameters.
    pub entry_param_bytes: u32,
    /// Bytes of `.local` of an activation.
    pub local_bytes: u32,
    /// Bytes of static shared memory of an entry, with what the functions that it can reach use;
    /// rounded up to where the dynamic part starts if there may be one.
    pub shared_bytes: u32,
    /// Alignment of the static shared memory.
    pub shared_align: u32,
    /// `.maxntid` or `.reqntid` (then the flag is true).
    pub threads: Option<([u32; 3], bool)>,
    /// `.maxnreg`.
    pub max_registers: Option<u32>,
    /// Cluster that the kernel asks for.
    pub cluster: Option<[u32; 3]>,
    /// Holds `griddepcontrol.wait`.
    pub waits_for_grid: bool,
}

/// What a `call` needs beyond its [`Inst`], whose `target` is the index here.
#[derive(Clone, Debug, Default)]
pub struct CallSite {
    /// Function called.
    pub function: u32,
    /// For each parameter: offset in the caller's `.param` bytes.
    pub arguments: Vec<u32>,
    /// For each return value: offset in the caller's `.param` bytes.
    pub results: Vec<u32>,
}
