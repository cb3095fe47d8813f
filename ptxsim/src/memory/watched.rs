//! Reads and writes by single lanes, with every check: the one way to memory for all instructions.

use super::global_shadow::{GlobalAccess, GlobalActor};
use super::shadow::{Access, STRONG};
use crate::machine::Ctx;
use crate::machine::order::Strength;
use crate::report::{FaultKind, Space};

/// Marks keys of `Warp::observed` that are shared addresses.
const SHARED_KEY: u64 = 1 << 63;

impl Ctx<'_, '_> {
    /// Reads shared memory at an address of the shared window for a lane; what could not be read
    /// is left as it was. False on a fault that kept it from reading.
    #[inline]
    pub fn shared_read(&mut self, lane: u8, address: u64, into: &mut [u8], s: Strength) -> bool {
        let (rank, offset) = self.locate_shared(address);
        let flags = if s.strong { STRONG } else { 0 };
        let access = self.access(lane, flags);
        if !self.shared_checked(rank, offset, into.len(), access, false, None) {
            return false;
        }
        let shared = &self.team.blocks[rank].shared;
        into.copy_from_slice(&shared.data[offset as usize..offset as usize + into.len()]);
        if s.strong
            && let Some(var) = shared.sync.get(&offset)
        {
            let seen = var.list().to_vec();
            self.observe(SHARED_KEY | (rank as u64) << 32 | offset as u64, &seen, s);
            self.warp.synchronise(1 << lane);
        }
        true
    }

    /// Writes shared memory.
    #[inline]
    pub fn shared_write(&mut self, lane: u8, address: u64, from: &[u8], s: Strength) -> bool {
        let (rank, offset) = self.locate_shared(address);
        let flags = if s.strong { STRONG } else { 0 };
        if s.strong {
            self.release_shared(rank, offset, s, false);
        }
        let access = self.access(lane, flags);
        if !self.shared_checked(rank, offset, from.len(), access, true, Some(from)) {
            return false;
        }
        let data = &mut self.team.blocks[rank].shared.data;
        data[offset as usize..offset as usize + from.len()].copy_from_slice(from);
        true
    }

    /// Lets a strong write to a shared word publish what this warp has released.
    pub fn release_shared(&mut self, rank: usize, offset: u32, s: Strength, update: bool) {
        let published = self.releases(s);
        let sync = &mut self.team.blocks[rank].shared.sync;
        if !published.is_empty() || sync.contains_key(&offset) {
            sync.entry(offset).or_default().publish(published, update);
        }
    }

    /// Checks a shared access and enters it into the shadow. False if it is out of bounds.
    #[inline]
    pub fn shared_checked(
        &mut self,
        rank: usize,
        offset: u32,
        bytes: usize,
        access: Access,
        write: bool,
        new: Option<&[u8]>,
    ) -> bool {
        let at = offset as usize;
        if at + bytes > self.team.blocks[rank].shared.data.len() {
            self.shared_outside(rank, offset, bytes, access.lane);
            return false;
        }
        if !self.world.checks {
            return true;
        }
        let shared = &mut self.team.blocks[rank].shared;
        let actor = Ctx::actor(self.warp, access, false);
        let conflict = if write {
            shared.shadow.write(at, bytes, &actor)
        } else {
            shared.shadow.read(at, bytes, &actor)
        };
        if let Some((kind, by)) = conflict {
            // Two threads that write the same value do no harm that anybody could see.
            let same = new.is_some_and(|new| shared.data[at..at + bytes] == *new);
            if !(same && kind == FaultKind::WriteRace) {
                self.shared_fault(kind, access.lane, rank, offset, by);
            }
        }
        true
    }

    #[cold]
    fn shared_outside(&mut self, rank: usize, offset: u32, bytes: usize, lane: u8) {
        let size = self.team.blocks[rank].shared.data.len();
        let base = self.team.blocks[rank].shared.base;
        let space = Some(Space::Shared(offset.wrapping_add(base) as u64, offset));
        let text = format!("{bytes} bytes at byte {} of {size}", offset as i32);
        self.fault_at(FaultKind::OutOfBounds, lane, space, None, text);
    }

    /// Reads device memory for a lane.
    #[inline]
    pub fn global_read(
        &mut self,
        lane: u8,
        address: u64,
        into: &mut [u8],
        s: Strength,
        flags: u8,
    ) -> bool {
        let Some(place) = self.global_place(lane, address, into.len()) else { return false };
        let whole = self.world.global.read(place, into);
        if self.world.checks {
            if !whole {
                let space = Some(Space::Global(address));
                self.fault_at(FaultKind::Uninitialised, lane, space, None, String::new());
            }
            let flags = flags | if s.strong { STRONG } else { 0 };
            let access = self.global_access(lane, flags);
            self.global_checked(place, address, into.len(), access, None);
        }
        if s.strong
            && let Some(var) = self.world.sync.get(&address)
        {
            let seen = var.list().to_vec();
            self.observe(address, &seen, s);
            self.warp.synchronise(1 << lane);
        }
        true
    }

    /// Writes device memory for a lane.
    #[inline]
    pub fn global_write(&mut self, lane: u8, address: u64, from: &[u8], s: Strength) -> bool {
        let Some(place) = self.global_place(lane, address, from.len()) else { return false };
        if self.world.global.is_constant(place) {
            let space = Some(Space::Global(address));
            self.fault_at(FaultKind::ReadOnly, lane, space, None, String::new());
            return false;
        }
        if s.strong {
            self.release_global(address, s, false);
        }
        if self.world.checks {
            let access = self.global_access(lane, if s.strong { STRONG } else { 0 });
            self.global_checked(place, address, from.len(), access, Some(from));
        }
        self.world.global.write(place, from);
        true
    }

    /// Lets a strong write to device memory publish what this warp has released.
    pub fn release_global(&mut self, address: u64, s: Strength, update: bool) {
        let published = self.releases(s);
        if !published.is_empty() || self.world.sync.contains_key(&address) {
            self.world.sync.entry(address).or_default().publish(published, update);
        }
    }

    /// Finds device memory, or reports that there is none.
    #[inline]
    pub fn global_place(
        &mut self,
        lane: u8,
        address: u64,
        bytes: usize,
    ) -> Option<super::global::Place> {
        match self.world.global.find(address, bytes as u64) {
            Ok(place) => Some(place),
            Err(miss) => {
                self.global_outside(lane, address, bytes, miss);
                None
            }
        }
    }

    #[cold]
    fn global_outside(&mut self, lane: u8, address: u64, bytes: usize, miss: super::global::Miss) {
        let near = self.world.global.nearest(address);
        let text = match near {
            Some((base, size)) => format!(
                "{bytes} bytes at byte {} of an allocation of {size} bytes at {base:#x}",
                address - base
            ),
            None => format!("{bytes} bytes where nothing was ever allocated"),
        };
        let kind = match miss {
            super::global::Miss::Outside => FaultKind::OutOfBounds,
            super::global::Miss::Freed => FaultKind::UseAfterFree,
        };
        self.fault_at(kind, lane, Some(Space::Global(address)), None, text);
    }

    /// The record of an access to device memory by a lane of this warp.
    #[inline(always)]
    pub fn global_access(&self, lane: u8, flags: u8) -> GlobalAccess {
        GlobalAccess {
            team: self.team.id,
            clock: self.warp.now(),
            pc: self.pc,
            sync: self.warp.sync,
            agent: self.warp.agent,
            lane,
            flags,
        }
    }

    /// Enters an access to device memory into the shadow; a write if `new` is given.
    #[inline]
    pub fn global_checked(
        &mut self,
        place: super::global::Place,
        address: u64,
        bytes: usize,
        access: GlobalAccess,
        new: Option<&[u8]>,
    ) {
        let actor = GlobalActor {
            access,
            clock: &self.warp.clock,
            lane_sync: &self.warp.lane_sync,
            grid_first: self.world.grids[self.team.grid].first_team,
            live_first: self.world.live_first,
            asynchronous: false,
        };
        let (shadow, offset) = self.world.global.shadow(place);
        let conflict = match new {
            Some(_) => shadow.write(offset, bytes, &actor),
            None => shadow.read(offset, bytes, &actor),
        };
        if let Some((kind, by)) = conflict {
            let mut old = [0u8; 16];
            let same = new.is_some_and(|new| {
                new.len() <= 16
                    && self.world.global.read(place, &mut old[..new.len()])
                    && old[..new.len()] == *new
            });
            if !(same && kind == FaultKind::WriteRace) {
                self.global_fault(kind, access.lane, address, by);
            }
        }
    }
}
