//! What an instruction may reach while it runs, and how it reports what is wrong.

use super::rng::Rng;
use super::state::{Grid, Shared, Team, Warp};
use crate::decode::Program;
use crate::isa::{Registers, WINDOW_MASK};
use crate::memory::clock::Clock;
use crate::memory::global::Global;
use crate::memory::global_shadow::GlobalAccess;
use crate::memory::shadow::{Access, Actor};
use crate::report::{Accessor, FaultKind, FaultSite, Faults, Space};
use std::collections::HashMap;

/// What happens after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// On to the next.
    Next,
    /// The lanes of the mask go to `inst.target`, the others on.
    Branch(u32),
    /// The program counters of the lanes have been set; choose anew whom to run.
    Regroup,
    /// The lanes wait; the instruction is run again when something has happened.
    Wait,
    /// On to the next, but let other warps go first.
    Yield,
}

/// What all blocks of a launch share.
pub struct World<'d> {
    /// Device memory.
    pub global: &'d mut Global,
    /// The kernels, in the order of the stream.
    pub grids: Vec<Grid>,
    /// Chance.
    pub rng: Rng,
    /// What went wrong so far.
    pub faults: Faults,
    /// Watch memory.
    pub checks: bool,
    /// Warp instructions so far.
    pub steps: u64,
    /// Counts writes to device memory, which may wake whoever polls.
    pub events: u64,
    /// What was released through addresses of device memory.
    pub sync: HashMap<u64, super::order::SyncVar>,
    /// Set by a trap or by a fault after which nothing makes sense: nothing runs any more.
    pub stopped: bool,
    /// What the kernels printed.
    pub printed: String,
    /// The team that ran last.
    pub favourite: u32,
    /// First team of the first grid that is not over.
    pub live_first: u32,
}

/// What an instruction may reach.
pub struct Ctx<'a, 'd> {
    /// What all blocks share.
    pub world: &'a mut World<'d>,
    /// The cluster.
    pub team: &'a mut Team,
    /// The warp.
    pub warp: &'a mut Warp,
    /// Registers of the activation that runs.
    pub registers: &'a mut Registers,
    /// The module.
    pub program: &'a Program,
    /// The instruction's program counter.
    pub pc: u32,
    /// The collective instruction just tried has run for no lane yet.
    pub postponed: bool,
}

impl Ctx<'_, '_> {
    /// The grid that runs.
    pub fn grid(&self) -> &Grid {
        &self.world.grids[self.team.grid]
    }

    /// Some clock of the team has changed: what the shadow remembers of their order is void, and
    /// whoever waits may look again.
    pub fn team_changed(&mut self) {
        self.team.events += 1;
        let block = self.warp.block;
        self.team.blocks[block].shared.shadow.stamp += 1;
    }

    /// As `team_changed`, where this warp has only learnt something: nobody can go on by that.
    pub fn team_changed_quietly(&mut self) {
        let block = self.warp.block;
        self.team.blocks[block].shared.shadow.stamp += 1;
    }

    /// Shared memory of the own block.
    pub fn shared(&mut self) -> &mut Shared {
        &mut self.team.blocks[self.warp.block].shared
    }

    /// Splits a shared address into block rank and offset; the offset may be out of bounds.
    pub fn locate_shared(&self, address: u64) -> (usize, u32) {
        let address = (address & WINDOW_MASK) as u32;
        let rank = match address >> 24 {
            0 => self.warp.block,
            tag => (tag as usize - 1) % self.team.blocks.len(),
        };
        let base = self.team.blocks[rank].shared.base;
        (rank, (address & 0xff_ffff).wrapping_sub(base))
    }

    /// The address of an offset in the own block's shared memory.
    pub fn shared_address(&self, rank: usize, offset: u32) -> u64 {
        (self.team.blocks[rank].shared.base + offset) as u64
    }

    /// The record of an access by a lane of this warp.
    #[inline(always)]
    pub fn access(&self, lane: u8, flags: u8) -> Access {
        Access {
            clock: self.warp.now(),
            pc: self.pc,
            sync: self.warp.sync,
            agent: self.warp.agent,
            lane,
            flags,
        }
    }

    /// Reports a fault of a lane (or of none, by 255) at an address.
    pub fn fault(&mut self, kind: FaultKind, lane: u8, detail: impl Into<String>) {
        self.fault_at(kind, lane, None, None, detail.into());
    }

    /// Reports a fault at a shared address with whoever was there before.
    pub fn shared_fault(
        &mut self,
        kind: FaultKind,
        lane: u8,
        rank: usize,
        offset: u32,
        by: Access,
    ) {
        let space = Space::Shared(self.shared_address(rank, offset), offset);
        let previous = (by.clock != 0).then(|| {
            let (what, block, index) = self.team.agents.describe(by.agent);
            Accessor {
                what,
                block: self.team.blocks.get(block).map_or([0; 3], |b| b.ctaid),
                index,
                lane: by.lane,
                site: self.site_of(by.pc),
            }
        });
        self.fault_at(kind, lane, Some(space), previous, String::new());
    }

    /// Reports a fault at a device address with whoever was there before.
    pub fn global_fault(&mut self, kind: FaultKind, lane: u8, address: u64, by: GlobalAccess) {
        let previous = (by.team != 0).then(|| self.world.describe(self.team, &by));
        self.fault_at(kind, lane, Some(Space::Global(address)), previous, String::new());
    }

    /// Reports a fault with everything there is to say.
    pub fn fault_at(
        &mut self,
        kind: FaultKind,
        lane: u8,
        space: Option<Space>,
        previous: Option<Accessor>,
        detail: String,
    ) {
        let site = self.site_of(self.pc);
        let block = self.team.blocks[self.warp.block].ctaid;
        let entry = self.grid().launch.entry.clone();
        self.world.faults.add(FaultSite {
            kind,
            kernel: entry,
            site,
            block,
            warp: self.warp.index,
            lane,
            space,
            previous,
            detail,
        });
    }

    /// Where an instruction stands.
    pub fn site_of(&self, pc: u32) -> crate::report::Site {
        crate::report::Site::of(self.program, pc)
    }

    /// Sums up who acts, for the shadow of shared memory.
    #[inline(always)]
    pub fn actor(warp: &Warp, access: Access, asynchronous: bool) -> Actor<'_> {
        Actor { access, clock: &warp.clock, lane_sync: &warp.lane_sync, asynchronous }
    }

    /// Lets every warp of the team see that a clock has changed.
    pub fn join_clock(&mut self, clock: &Clock) {
        self.warp.clock.join(clock);
        self.team_changed();
    }
}

impl World<'_> {
    /// Who made an access to device memory, in words.
    pub(crate) fn describe(&self, team: &Team, by: &GlobalAccess) -> Accessor {
        let grid = self.grids.iter().rev().find(|g| g.first_team <= by.team);
        let Some(grid) = grid else {
            return Accessor::unknown();
        };
        let cluster = grid.launch.cluster;
        let (what, rank, index) = team.agents.describe(by.agent);
        let first = grid.launch.cluster_origin((by.team - grid.first_team) as u64);
        let offset = crate::machine::start::unrank(rank as u64, cluster);
        Accessor {
            what,
            block: [0, 1, 2].map(|i| first[i] + offset[i]),
            index,
            lane: by.lane,
            site: crate::report::Site::of(&grid.program, by.pc),
        }
    }
}
