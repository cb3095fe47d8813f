//! What a launch leaves behind: faults, counters and what the kernel printed.

use std::fmt;

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
