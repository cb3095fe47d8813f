//! Runs decoded programs. (Skeleton.)

pub mod control;

/// What an instruction may reach.
pub struct Ctx<'a> {
    /// Registers of the activation that runs.
    pub registers: &'a mut crate::isa::Registers,
}

/// What happens after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// On to the next.
    Next,
}
