//! What a launch leaves behind: faults, counters and what the kernel printed.

use crate::decode::Program;
use crate::machine::state::Grid;
use std::collections::HashMap;
use std::fmt;

pub use crate::counters::{Counters, InstructionCounters, Traffic};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum FaultKind {
    ReadRace,
    WriteRace,
    OverwriteRace,
    Uninitialised,
    OutOfBounds,
    UseAfterFree,
    Misaligned,
    ReadOnly,
    InFlight,
    MissingProxyFence,
    AccumulatorInFlight,
    NonCoherentRead,
    GridNotWaitedFor,
    Divergence,
    Deadlock,
    StepLimit,
    DivisionByZero,
    StackOverflow,
    Trap,
    Barrier,
    Mbarrier,
    Unwaited,
    Descriptor,
    TensorMap,
    WgmmaFence,
    Registers,
    Call,
    BadOperand,
}
impl FaultKind {
    /// A short name, such as `read race`.
    pub fn name(self) -> &'static str {
        use FaultKind::*;
        match self {
            ReadRace => "read race: reads what another thread writes, with nothing ordering them",
            WriteRace => "write race: two threads write, with nothing ordering them",
            OverwriteRace => "overwrite race: writes what another thread still reads",
            Uninitialised => "read of uninitialised memory",
            OutOfBounds => "out of bounds",
            UseAfterFree => "use after free",
            Misaligned => "misaligned address",
            ReadOnly => "write to read-only memory",
            InFlight => "access to an asynchronous copy in flight",
            MissingProxyFence => "missing fence.proxy.async",
            AccumulatorInFlight => "use of a wgmma register before wgmma.wait_group",
            NonCoherentRead => "read by .nc of memory that is written during the launch",
            GridNotWaitedFor => "access before griddepcontrol.wait to what the grid before writes",
            Divergence => "divergent .sync instruction",
            Deadlock => "deadlock",
            StepLimit => "step limit reached",
            DivisionByZero => "division by zero",
            StackOverflow => "stack overflow",
            Trap => "trap",
            Barrier => "misuse of a barrier",
            Mbarrier => "misuse of an mbarrier",
            Unwaited => "exit with an asynchronous operation not waited for",
            Descriptor => "bad wgmma descriptor",
            TensorMap => "bad tensor copy",
            WgmmaFence => "wgmma without wgmma.fence",
            Registers => "setmaxnreg beyond the launch's registers",
            Call => "call of something that cannot be called",
            BadOperand => "operand out of its range",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An address, as a reader wants to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Device memory.
    Global(u64),
    /// Shared memory: address, and offset from the block's first byte.
    Shared(u64, u32),
    /// Local memory.
    Local(u64),
    /// The parameters of the kernel.
    Param(u64),
}

/// Where an instruction stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// `file.cu` of the outermost caller, or nothing.
    pub file: String,
    /// Line in that file, from 1, where the code stands; 0 if unknown.
    pub line: u32,
    /// Where that code was inlined to: the line of its outermost caller, in the same file; 0 if
    /// it was not.
    pub called_from: u32,
    /// Where the code was inlined from, as `file:line`, if it was.
    pub inlined: String,
    /// Line of the PTX text.
    pub ptx_line: u32,
    /// The opcode.
    pub opcode: String,
}

/// Who was at a word before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accessor {
    /// `warp`, `bulk copy of warp` and the like.
    pub what: &'static str,
    /// Position of its block in the grid.
    pub block: [u32; 3],
    /// Index of the warp or warpgroup.
    pub index: usize,
    /// Lane; above 31 if it was no single lane.
    pub lane: u8,
    /// The instruction.
    pub site: Site,
}

/// Something wrong that a kernel did, where and when it was first seen, and how often.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Everything about its first occurrence.
    pub first: FaultSite,
    /// Times it was seen: same kind, same instruction, same earlier instruction.
    pub count: u64,
}

/// One occurrence of a fault.
#[derive(Clone, Debug)]
pub struct FaultSite {
    /// What.
    pub kind: FaultKind,
    /// The entry that ran.
    pub kernel: String,
    /// The instruction.
    pub site: Site,
    /// Position of the block in the grid.
    pub block: [u32; 3],
    /// Index of the warp in the block.
    pub warp: usize,
    /// Lane; above 31 if it was no single lane.
    pub lane: u8,
    /// The address.
    pub space: Option<Space>,
    /// Who was there before.
    pub previous: Option<Accessor>,
    /// What else there is to say.
    pub detail: String,
}

impl Fault {
    /// What.
    pub fn kind(&self) -> FaultKind {
        self.first.kind
    }

    /// Line of the CUDA source where the code stands; 0 if unknown.
    pub fn line(&self) -> u32 {
        self.first.site.line
    }
}

/// Faults as they come in, equal ones folded.
#[derive(Default)]
pub struct Faults {
    list: Vec<Fault>,
    index: HashMap<(FaultKind, u32, u32, String), usize>,
}

impl Faults {
    /// Adds one.
    pub fn add(&mut self, site: FaultSite) {
        let before = site.previous.as_ref().map_or(0, |p| p.site.ptx_line);
        let key = (site.kind, site.site.ptx_line, before, site.kernel.clone());
        match self.index.get(&key) {
            Some(&at) => self.list[at].count += 1,
            None => {
                self.index.insert(key, self.list.len());
                self.list.push(Fault { first: site, count: 1 });
            }
        }
    }

    /// All of them, in the order they were first seen.
    pub fn into_list(self) -> Vec<Fault> {
        self.list
    }
}

impl Site {
    /// Where the instruction at a program counter stands.
    pub fn of(program: &Program, pc: u32) -> Site {
        let Some(place) = program.places.get(pc as usize) else { return Site::default() };
        let file = |number: u32| {
            let path = program.files.iter().find(|(n, _)| *n == number).map(|(_, p)| p.as_str());
            let path = path.unwrap_or_default();
            path.rsplit('/').next().unwrap_or_default().to_string()
        };
        let called_from = if place.own == place.outer { 0 } else { place.outer.1 };
        let inlined = (place.inner != place.own && place.inner.1 != 0)
            .then(|| format!("{}:{}", file(place.inner.0), place.inner.1));
        let opcode = program.opcode.get(pc as usize).and_then(|&o| program.opcodes.get(o as usize));
        Site {
            file: file(place.outer.0),
            line: place.own.1,
            called_from,
            inlined: inlined.unwrap_or_default(),
            ptx_line: place.ptx_line,
            opcode: opcode.cloned().unwrap_or_default(),
        }
    }
}

impl Accessor {
    /// Somebody of a grid that is not at hand any more.
    pub fn unknown() -> Accessor {
        Accessor {
            what: "an earlier grid",
            block: [0; 3],
            index: 0,
            lane: 255,
            site: Site::default(),
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line != 0 {
            write!(f, "{}:{}", self.file, self.line)?;
        } else {
            write!(f, "PTX line {}", self.ptx_line)?;
        }
        match (self.called_from, self.inlined.as_str()) {
            (0, "") => {}
            (0, from) => write!(f, " (inlined from {from})")?,
            (line, "") => write!(f, " (called from line {line})")?,
            (line, from) => write!(f, " (called from line {line}, inlined from {from})")?,
        }
        write!(f, " {}", self.opcode)
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Space::Global(a) => write!(f, "global address {a:#x}"),
            Space::Shared(a, o) => write!(f, "shared address {a:#x} (byte {o} of the block)"),
            Space::Local(a) => write!(f, "local address {a:#x}"),
            Space::Param(a) => write!(f, "parameter byte {a}"),
        }
    }
}

fn position([x, y, z]: [u32; 3]) -> String {
    format!("block ({x},{y},{z})")
}

fn lane_name(lane: u8) -> String {
    match lane {
        0..=31 => format!(" lane {lane}"),
        254 => " several lanes".to_string(),
        _ => String::new(),
    }
}

impl fmt::Display for Accessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, block) = (self.what, position(self.block));
        write!(f, "{what} {}{} of {block} at {}", self.index, lane_name(self.lane), self.site)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = &self.first;
        write!(f, "{} at {}", first.kind, first.site)?;
        write!(f, "\n    {} warp {}{}", position(first.block), first.warp, lane_name(first.lane))?;
        if let Some(space) = &first.space {
            write!(f, ", {space}")?;
        }
        if !first.detail.is_empty() {
            write!(f, ": {}", first.detail)?;
        }
        if let Some(previous) = &first.previous {
            write!(f, "\n    before it: {previous}")?;
        }
        write!(f, "\n    in {}, PTX line {}", first.kernel, first.site.ptx_line)?;
        if self.count > 1 {
            write!(f, "; {} times in all", self.count)?;
        }
        Ok(())
    }
}

/// What a launch leaves behind.
#[derive(Clone, Debug)]
pub struct Report {
    /// What went wrong, in the order it was first seen; empty for a correct kernel.
    pub faults: Vec<Fault>,
    /// What was counted.
    pub counters: Counters,
    /// What the kernels printed by `printf`.
    pub printed: String,
}

impl Report {
    pub(crate) fn new(grids: Vec<Grid>, faults: Faults, printed: String) -> Report {
        Report { faults: faults.into_list(), counters: Counters::of(&grids), printed }
    }

    /// No faults.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether a fault of a kind was found.
    pub fn has(&self, kind: FaultKind) -> bool {
        self.faults.iter().any(|f| f.kind() == kind)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            0 => writeln!(f, "no faults")?,
            1 => writeln!(f, "1 fault")?,
            n => writeln!(f, "{n} different faults")?,
        }
        for (number, fault) in self.faults.iter().enumerate() {
            writeln!(f, "\n{:>3}. {fault}", number + 1)?;
        }
        if !self.printed.is_empty() {
            writeln!(f, "\nprinted by the kernel:\n{}", self.printed.trim_end())?;
        }
        write!(f, "\n{}", self.counters)
    }
}
