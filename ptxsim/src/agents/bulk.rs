//! Bulk and tensor copies: engines that move boxes between device and shared memory. (Skeleton.)

use crate::machine::ctx::World;
use crate::machine::state::Team;

/// Copies in flight of a team.
#[derive(Default)]
pub struct BulkQueue {}

/// The groups of bulk copies that each lane of a warp has committed.
#[derive(Default)]
pub struct BulkGroups {}

impl BulkQueue {
    /// Nothing is in flight.
    pub fn is_empty(&self) -> bool {
        true
    }
}

/// Completes one copy, chosen by chance.
pub fn complete_one(_: &mut World<'_>, _: &mut Team) {}
