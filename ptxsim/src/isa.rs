//! Decoded instructions: what the machine runs. An [`Inst`] is a function to call and the
//! register rows it reads and writes; there is no `match` over opcodes at run time.

use crate::machine::{Ctx, Flow};
use crate::report::FaultKind;

/// Lanes of a warp.
pub const LANES: usize = 32;
/// All lanes.
pub const ALL: u32 = u32::MAX;
/// A 32-bit register (or a 16- or 8-bit one, zero-extended) in every lane.
pub type Row32 = [u32; LANES];
/// A 64-bit register in every lane.
pub type Row64 = [u64; LANES];

/// Generic addresses whose top byte is this are shared memory: the low 32 bits are a shared
/// address.
/// A shared address is `rank + 1` of a block of the cluster in bits 24 to 31 (0 is the own block),
/// and an offset in that block's memory.
pub const SHARED_WINDOW: u64 = 0x01 << 56;
/// Generic addresses of local memory.
pub const LOCAL_WINDOW: u64 = 0x02 << 56;
/// Generic addresses of the entry's parameters.
pub const PARAM_WINDOW: u64 = 0x03 << 56;
/// What is left of an address once its window is taken off.
pub const WINDOW_MASK: u64 = (1 << 56) - 1;

/// The registers of one function activation of a warp. Immediates, special registers and addresses
/// of variables are rows too, filled when the activation starts.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    /// 32-, 16- and 8-bit registers. Bits above a register's width are zero.
    pub r32: Vec<Row32>,
    /// 64-bit registers.
    pub r64: Vec<Row64>,
    /// Predicates, one bit a lane.
    pub p: Vec<u32>,
    /// The carry flag CC.CF, one bit a lane.
    pub carry: u32,
    /// Set by an arithmetic instruction that may not go on, such as a division by zero.
    pub trouble: Option<(FaultKind, u32)>,
    /// How matrix products round.
    pub arithmetic: crate::tensor::Arithmetic,
}

/// Arithmetic on registers: reads `inst.s`, writes `inst.d` in the lanes of `mask`.
pub type Alu = fn(&mut Registers, &Inst, u32);
/// Anything that touches memory, other warps or the program counter.
pub type Act = fn(&mut Ctx<'_, '_>, &Inst, u32) -> Flow;

/// Which lanes must stand at a `.sync` instruction before it may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// Every lane that has not exited (`.aligned` instructions).
    Warp,
    /// The lanes of the member mask in 32-bit source row `s[index]`.
    Source(u8),
}

/// What to call.
#[derive(Clone, Copy)]
pub enum Exec {
    /// Registers only.
    Alu(Alu),
    /// Registers only, of lanes that must stand there together.
    Collective(Members, Alu),
    /// Memory or control.
    Act(Act),
    /// Memory or control, by lanes that must stand there together.
    CollectiveAct(Members, Act),
}

/// What an instruction counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Integer and logic.
    Integer,
    /// f32 and f64 arithmetic.
    Float,
    /// f16 and bf16 arithmetic.
    Half,
    /// `cvt`.
    Convert,
    /// `setp`, `set`, predicate logic.
    Compare,
    /// `mov`, `selp`, address conversions.
    Move,
    /// ex2, lg2, rcp, rsqrt, sqrt, sin, cos, tanh, div.
    Special,
    /// bra, call, ret, exit, brx.
    Control,
    /// `ld.param`, `ld.const`.
    Constant,
    /// Local memory.
    Local,
    /// ld and st of shared memory.
    Shared,
    /// ld and st of global memory, and generic ones.
    Global,
    /// atom and red.
    Atomic,
    /// ldmatrix, stmatrix, movmatrix.
    Matrix,
    /// mma.
    Mma,
    /// wgmma.
    Wgmma,
    /// cp.async.
    AsyncCopy,
    /// cp.async.bulk and tensor copies.
    Bulk,
    /// bar, barrier.
    Barrier,
    /// mbarrier.
    Mbarrier,
    /// shfl, vote, match, redux, activemask, elect.
    Warp,
    /// fence, membar, fence.proxy.
    Fence,
    /// What is left: nanosleep, setmaxnreg, griddepcontrol, prefetch, trap.
    Other,
}

/// No guard: the instruction runs in every active lane.
pub const UNGUARDED: u16 = u16::MAX;

/// One decoded instruction.
#[derive(Clone, Copy)]
pub struct Inst {
    /// What to call.
    pub exec: Exec,
    /// What it counts as.
    pub class: Class,
    /// Row of the guard predicate, or [`UNGUARDED`].
    pub guard: u16,
    /// `@!p`.
    pub guard_negated: bool,
    /// Destination rows.
    pub d: [u16; 4],
    /// Source rows.
    pub s: [u16; 12],
    /// An immediate or address offset; its meaning is the function's.
    pub imm: i64,
    /// A branch target, or a number that the decoder and the function agree on.
    pub target: u32,
    /// Index into [`crate::decode::Program::lists`] for operands that do not fit.
    pub list: u32,
}

impl Inst {
    /// An instruction without operands.
    pub fn new(exec: Exec, class: Class) -> Inst {
        Inst {
            exec,
            class,
            guard: UNGUARDED,
            guard_negated: false,
            d: [0; 4],
            s: [0; 12],
            imm: 0,
            target: 0,
            list: 0,
        }
    }
}

/// One row of the table of register-only instructions.
///
/// `pattern` is an opcode in which `{.x}` is optional, `{.x|.y}` is one of these or nothing, and
/// `(.x|.y)` is exactly one of these: `add{.rn}.f32`, `mov(.b32|.u32|.s32|.f32)`.
///
/// `operands` gives one letter an operand, `=` after the destinations: `r` 32-bit register, `h`
/// 16-bit register, `l` 64-bit register, `p` predicate (a source may be negated or `_`-less),
/// `i` an immediate that lands in `inst.imm`, `|` between the two names of a `d|p` pair.
/// Destinations fill `d[0..]`, sources `s[0..]`, both in order. So `setp` is `p=rr` or `p|p=rr`,
/// `lop3.b32` is `r=rrri`, `mad.wide.s32` is `l=rrl`.
#[derive(Clone, Copy)]
pub struct TableRow {
    /// The opcodes it covers.
    pub pattern: &'static str,
    /// The operands it takes.
    pub operands: &'static str,
    /// What to call.
    pub exec: Exec,
    /// What it counts as.
    pub class: Class,
}
