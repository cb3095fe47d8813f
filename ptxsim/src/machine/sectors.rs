//! Counts what a warp's access costs memory: sectors of device memory, wavefronts of shared memory.

use super::ctx::Ctx;
use crate::memory::global;

/// Bytes of a sector of device memory.
const SECTOR: u64 = global::SECTOR as u64;

impl Ctx<'_, '_> {
    /// Counts an access of `bytes` bytes by each lane of `mask` at its device address.
    pub fn count_global(&mut self, addresses: &[u64; 32], mask: u32, bytes: u32, write: bool) {
        if mask == 0 {
            return;
        }
        let global = &mut *self.world.global;
        let (sectors, least) = sectors(addresses, mask, bytes, |address, bytes| {
            // Where there is nothing, the access itself is a fault.
            if let Ok(place) = global.find(address, bytes) {
                global.touch(place, bytes as usize, write);
            }
        });
        let lanes = mask.count_ones() as u64;
        let traffic = &mut self.world.grids[self.team.grid].traffic[self.pc as usize];
        traffic.bytes += lanes * bytes as u64;
        traffic.lanes += lanes;
        traffic.sectors += sectors;
        traffic.least_sectors += least;
    }

    /// Counts `bytes` contiguous bytes of device memory that an engine moves.
    pub fn count_range(&mut self, address: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let last = address + bytes - 1;
        let traffic = &mut self.world.grids[self.team.grid].traffic[self.pc as usize];
        traffic.bytes += bytes;
        traffic.sectors += last / SECTOR - address / SECTOR + 1;
        traffic.least_sectors += bytes.div_ceil(SECTOR);
    }

    /// Counts an access of `bytes` bytes by each lane of `mask` at its offset in shared memory.
    pub fn count_shared(&mut self, offsets: &[u32; 32], mask: u32, bytes: u32) {
        if mask == 0 {
            return;
        }
        let (wavefronts, least) = wavefronts(offsets, mask, bytes);
        let lanes = mask.count_ones() as u64;
        let traffic = &mut self.world.grids[self.team.grid].traffic[self.pc as usize];
        traffic.bytes += lanes * bytes as u64;
        traffic.lanes += lanes;
        traffic.wavefronts += wavefronts;
        traffic.least_wavefronts += least;
    }
}

/// Sectors that the lanes touch, and the fewest that could hold their different bytes. `each` is
/// given ranges in which every sector is touched, by address and length.
pub fn sectors(
    addresses: &[u64; 32],
    mask: u32,
    bytes: u32,
    mut each: impl FnMut(u64, u64),
) -> (u64, u64) {
    let n = bytes as u64;
    if mask == u32::MAX {
        let first = addresses[0];
        let run = (0..32).all(|l| addresses[l] == first.wrapping_add(l as u64 * n));
        if run {
            let last = first + 32 * n - 1;
            each(first, 32 * n);
            return (last / SECTOR - first / SECTOR + 1, (32 * n).div_ceil(SECTOR));
        }
    }
    let mut list = [0u64; 32];
    let mut count = 0;
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        list[count] = addresses[lane];
        count += 1;
    }
    let list = &mut list[..count];
    list.sort_unstable();
    let (mut touched, mut next_sector, mut distinct, mut covered) = (0, 0, 0, 0);
    let mut range = (list[0], list[0]);
    for &address in list.iter() {
        let end = address.saturating_add(n);
        if address / SECTOR > range.1 / SECTOR {
            each(range.0, range.1 - range.0);
            range.0 = address;
        }
        range.1 = end;
        distinct += end - address.max(covered).min(end);
        covered = covered.max(end);
        let first = (address / SECTOR).max(next_sector);
        let last = (end - 1) / SECTOR;
        if first <= last {
            touched += last - first + 1;
            next_sector = last + 1;
        }
    }
    each(range.0, range.1 - range.0);
    (touched, distinct.div_ceil(SECTOR))
}

/// Passes that shared memory needs: 32 banks of four bytes; accesses of 8 and 16 bytes are served
/// by halves and quarters of the warp. Lanes that read the same word share a pass.
pub fn wavefronts(offsets: &[u32; 32], mask: u32, bytes: u32) -> (u64, u64) {
    let width = (bytes / 4).max(1);
    let lanes = (32 / width) as usize;
    let (mut total, mut least) = (0, 0);
    for phase in 0..32 / lanes {
        let part = if lanes == 32 { mask } else { mask >> (phase * lanes) & ((1 << lanes) - 1) };
        if part == 0 {
            continue;
        }
        least += 1;
        total += pass(&offsets[phase * lanes..(phase + 1) * lanes], part, width);
    }
    (total, least)
}

fn pass(offsets: &[u32], mask: u32, width: u32) -> u64 {
    let (mut banks, mut clash) = (0u32, false);
    let bits = if width == 4 { 15 } else { (1u32 << width) - 1 };
    for (lane, offset) in offsets.iter().enumerate() {
        if mask >> lane & 1 == 1 {
            let taken = bits << (offset / 4 % 32 / width * width);
            clash |= banks & taken != 0;
            banks |= taken;
        }
    }
    if !clash {
        return 1;
    }
    let mut words: Vec<u32> = (0..offsets.len())
        .filter(|lane| mask >> lane & 1 == 1)
        .flat_map(|lane| (0..width).map(move |w| offsets[lane] / 4 + w))
        .collect();
    words.sort_unstable();
    words.dedup();
    let mut load = [0u64; 32];
    for word in words {
        load[word as usize % 32] += 1;
    }
    load.into_iter().max().unwrap_or(0)
}
