//! Weak accesses by all lanes of a warp at once, where they are plain sailing: in the own block's
//! shared memory, or within one page of one allocation. What is not goes lane by lane through
//! [`super::watched`], which says what is wrong.

use super::access::Data;
use super::global::{PAGE, Place};
use super::global_shadow::{GlobalAccess, GlobalActor};
use super::shadow::{Access, Actor};
use crate::machine::Ctx;
use crate::report::FaultKind;

/// Conflicts are rare: only their lanes are kept, and what was found.
type Found<T> = Vec<(u8, FaultKind, T)>;

impl Ctx<'_, '_> {
    /// All lanes' accesses to shared memory, of which `data` has the bytes or gets them. False if
    /// any lane is out of bounds or in another block's memory: then nothing has been done.
    pub fn shared_warp(
        &mut self,
        addresses: &[u64; 32],
        mask: u32,
        bytes: usize,
        data: &mut Data,
        write: bool,
    ) -> bool {
        let access = self.access(0, 0);
        let shared = &mut self.team.blocks[self.warp.block].shared;
        let (base, size) = (shared.base as u64, shared.data.len() as u64);
        let inside = |a: u64| {
            let a = a & super::super::isa::WINDOW_MASK;
            a >= base && a - base + bytes as u64 <= size
        };
        if !(0..32).all(|l| mask >> l & 1 == 0 || inside(addresses[l])) {
            return false;
        }
        let mut found: Found<(u32, Access)> = Vec::new();
        let mut actor = Actor {
            access,
            clock: &self.warp.clock,
            lane_sync: &self.warp.lane_sync,
            asynchronous: false,
        };
        for lane in 0..32 {
            if mask >> lane & 1 == 0 {
                continue;
            }
            let at = (addresses[lane] & 0xff_ffff) as usize - base as usize;
            let place = &mut shared.data[at..at + bytes];
            let mut conflict = None;
            if self.world.checks {
                actor.access.lane = lane as u8;
                conflict = match write {
                    true => shared.shadow.write(at, bytes, &actor),
                    false => shared.shadow.read(at, bytes, &actor),
                };
            }
            let lane_data = &mut data[lane][..bytes];
            if let Some((kind, by)) = conflict {
                // Two threads that write the same value do no harm that anybody could see.
                if !(write && kind == FaultKind::WriteRace && place == lane_data) {
                    found.push((lane as u8, kind, (at as u32, by)));
                }
            }
            if write {
                copy(lane_data, place);
            } else {
                copy(place, lane_data);
            }
        }
        for (lane, kind, (at, by)) in found {
            self.shared_fault(kind, lane, self.warp.block, at, by);
        }
        true
    }

    /// All lanes' accesses to device memory. False if they are not all within one page of one
    /// allocation: then nothing has been done.
    pub fn global_warp(
        &mut self,
        addresses: &[u64; 32],
        mask: u32,
        bytes: usize,
        data: &mut Data,
        flags: u8,
        write: bool,
    ) -> bool {
        let lanes = || (0..32).filter(|&l| mask >> l & 1 == 1);
        let low = lanes().map(|l| addresses[l]).min().unwrap_or(0);
        let high = lanes().map(|l| addresses[l]).max().unwrap_or(0);
        if mask == 0 || high - low > PAGE as u64 {
            return false;
        }
        let Ok(first) = self.world.global.find(low, high - low + bytes as u64) else {
            return false;
        };
        let one_page = first.same_page((high - low) as usize + bytes);
        if !one_page || (write && self.world.global.is_constant(first)) {
            return false;
        }
        if self.world.checks {
            self.global_warp_checked(addresses, mask, (low, first), (bytes, flags), data, write);
        }
        for lane in lanes() {
            let place = first.plus((addresses[lane] - low) as usize);
            let whole = match write {
                true => self.world.global.write_page(place, &data[lane][..bytes]),
                false => self.world.global.read_page(place, &mut data[lane][..bytes]),
            };
            if !whole && self.world.checks {
                let space = Some(crate::report::Space::Global(addresses[lane]));
                let kind = FaultKind::Uninitialised;
                self.fault_at(kind, lane as u8, space, None, String::new());
            }
        }
        true
    }

    fn global_warp_checked(
        &mut self,
        addresses: &[u64; 32],
        mask: u32,
        (low, first): (u64, Place),
        (bytes, flags): (usize, u8),
        data: &Data,
        write: bool,
    ) {
        let mut found: Found<GlobalAccess> = Vec::new();
        let mut actor = GlobalActor {
            access: self.global_access(0, flags),
            clock: &self.warp.clock,
            lane_sync: &self.warp.lane_sync,
            grid_first: self.world.grids[self.team.grid].first_team,
            live_first: self.world.live_first,
            asynchronous: false,
        };
        let (shadow, start) = self.world.global.shadow(first);
        for lane in 0..32 {
            if mask >> lane & 1 == 0 {
                continue;
            }
            actor.access.lane = lane as u8;
            let at = start + (addresses[lane] - low) as usize;
            let conflict = match write {
                true => shadow.write(at, bytes, &actor),
                false => shadow.read(at, bytes, &actor),
            };
            if let Some((kind, by)) = conflict {
                found.push((lane as u8, kind, by));
            }
        }
        for (lane, kind, by) in found {
            let address = addresses[lane as usize];
            let mut old = [0; 16];
            let place = first.plus((address - low) as usize);
            let same = write
                && kind == FaultKind::WriteRace
                && self.world.global.read_page(place, &mut old[..bytes])
                && old[..bytes] == data[lane as usize][..bytes];
            if !same {
                self.global_fault(kind, lane, address, by);
            }
        }
    }
}

/// Copies 1, 2, 4, 8 or 16 bytes, each by one move.
#[inline(always)]
pub fn copy(from: &[u8], to: &mut [u8]) {
    match from.len() {
        4 => to[..4].copy_from_slice(&from[..4]),
        16 => to[..16].copy_from_slice(&from[..16]),
        8 => to[..8].copy_from_slice(&from[..8]),
        2 => to[..2].copy_from_slice(&from[..2]),
        _ => to.copy_from_slice(from),
    }
}
