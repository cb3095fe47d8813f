//! The shadow of device memory: for every four bytes, who wrote them last and two of those who
//! read them, over all the grids that may overlap. Teams (clusters) are numbered through the life
//! of a device, so a record of a team below the first live one is of a grid that is over.

use super::clock::Clock;
use super::global::PAGE;
use super::shadow::{NON_COHERENT, STRONG};
use crate::report::FaultKind;

const WORDS: usize = PAGE / 4;
/// Words of a row of 16 bytes: reads of whole rows, as tensor copies and wide loads make them,
/// leave one record, in the row's first word, until somebody touches a part of the row.
const ROW: usize = 4;

/// One access to a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GlobalAccess {
    /// Cluster, numbered through the life of the device; 0 is no access at all.
    pub team: u32,
    /// The agent's clock.
    pub clock: u32,
    /// Which instruction.
    pub pc: u32,
    /// The warp's count of warp-level synchronisations at the access.
    pub sync: u32,
    /// Who.
    pub agent: u16,
    /// Which lane, or `ENGINE`.
    pub lane: u8,
    /// `STRONG` and the like.
    pub flags: u8,
}

/// An access, and the bytes of the word that it covers.
type Record = (GlobalAccess, u8);

/// Shadow of a page, its halves made when they are needed: weights are only ever read.
#[derive(Default)]
pub struct GlobalShadow {
    writes: Option<Box<[Record; WORDS]>>,
    reads: Option<Box<[[Record; 2]; WORDS]>>,
    /// Rows whose words have a record each in `reads`, one bit a row.
    fine: [u64; WORDS / ROW / 64],
}

/// Bytes of host memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    /// Of the data itself, with its page tables.
    pub data: usize,
    /// Of the shadow.
    pub shadow: usize,
}

/// Who makes an access, and what that agent knows.
pub struct GlobalActor<'a> {
    /// The access to be recorded.
    pub access: GlobalAccess,
    /// What the agent knows.
    pub clock: &'a Clock,
    /// Each lane's last warp-level synchronisation.
    pub lane_sync: &'a [u32; 32],
    /// First team of the actor's own grid: teams below are of grids before.
    pub grid_first: u32,
    /// First team of a grid that may still run: everything below is over and visible.
    pub live_first: u32,
    /// A read or write by the asynchronous proxy.
    pub asynchronous: bool,
}

impl GlobalActor<'_> {
    /// Whether an earlier access is ordered before this one; else what to call it.
    fn conflict(&self, earlier: &GlobalAccess, otherwise: FaultKind) -> Option<FaultKind> {
        if earlier.team < self.live_first {
            return None;
        }
        if earlier.team < self.grid_first {
            return (!self.clock.waited).then_some(FaultKind::GridNotWaitedFor);
        }
        let strong = earlier.flags & self.access.flags & STRONG != 0;
        if strong || self.after(earlier) { None } else { Some(otherwise) }
    }

    fn after(&self, earlier: &GlobalAccess) -> bool {
        let mine = &self.access;
        if earlier.team != mine.team || earlier.agent != mine.agent {
            return self.clock.of_team(mine.team, earlier.team, earlier.agent) >= earlier.clock;
        }
        if earlier.lane == mine.lane || mine.lane >= 32 || earlier.lane >= 32 {
            return true;
        }
        self.lane_sync[mine.lane as usize] > earlier.sync
            && self.lane_sync[earlier.lane as usize] > earlier.sync
    }

    fn unfenced(&self, earlier: &GlobalAccess) -> bool {
        self.asynchronous
            && earlier.team == self.access.team
            && earlier.flags & super::shadow::ASYNC == 0
            && self.clock.fenced.get(earlier.agent as usize).copied().unwrap_or(0) < earlier.clock
    }
}

impl GlobalShadow {
    /// Bytes of host memory this page's shadow takes.
    pub fn bytes(&self) -> usize {
        let writes = self.writes.as_ref().map_or(0, |w| size_of_val(&**w));
        let reads = self.reads.as_ref().map_or(0, |r| size_of_val(&**r));
        size_of::<GlobalShadow>() + writes + reads
    }

    /// Records a read of `bytes` bytes at `offset` of the page.
    #[inline]
    pub fn read(
        &mut self,
        offset: usize,
        bytes: usize,
        actor: &GlobalActor<'_>,
    ) -> Option<(FaultKind, GlobalAccess)> {
        let mut found = None;
        if let Some(writes) = &self.writes {
            for (index, mask) in words(offset, bytes) {
                let (write, covered) = &writes[index];
                if write.team != 0 && covered & mask != 0 {
                    found = found.or(read_conflict(write, actor).map(|kind| (kind, *write)));
                }
            }
        }
        if (offset | bytes).is_multiple_of(4 * ROW) {
            let reads = self.reads.get_or_insert_with(|| Box::new([Default::default(); WORDS]));
            for row in offset / (4 * ROW)..(offset + bytes) / (4 * ROW) {
                let fine = self.fine[row / 64] >> (row % 64) & 1 == 1;
                for slots in &mut reads[row * ROW..][..if fine { ROW } else { 1 }] {
                    note_read(slots, 15, actor);
                }
            }
            return found;
        }
        self.refine(offset, bytes);
        let reads = self.reads.get_or_insert_with(|| Box::new([Default::default(); WORDS]));
        for (index, mask) in words(offset, bytes) {
            note_read(&mut reads[index], mask, actor);
        }
        found
    }

    /// Gives each word of the rows in a range a record of its reads.
    #[inline(always)]
    fn refine(&mut self, offset: usize, bytes: usize) {
        for row in offset / (4 * ROW)..(offset + bytes).div_ceil(4 * ROW) {
            let bit = 1 << (row % 64);
            if self.fine[row / 64] & bit != 0 {
                continue;
            }
            self.fine[row / 64] |= bit;
            if let Some(reads) = &mut self.reads {
                let record = reads[row * ROW];
                reads[row * ROW + 1..][..ROW - 1].fill(record);
            }
        }
    }

    /// Records a write of `bytes` bytes at `offset` of the page.
    pub fn write(
        &mut self,
        offset: usize,
        bytes: usize,
        actor: &GlobalActor<'_>,
    ) -> Option<(FaultKind, GlobalAccess)> {
        let mut found = None;
        self.refine(offset, bytes);
        let writes = self.writes.get_or_insert_with(|| Box::new([Default::default(); WORDS]));
        for (index, mask) in words(offset, bytes) {
            let (write, covered) = &mut writes[index];
            if write.team != 0 && *covered & mask != 0 {
                let mut kind = actor.conflict(write, FaultKind::WriteRace);
                if kind.is_none() && actor.unfenced(write) {
                    kind = Some(FaultKind::MissingProxyFence);
                }
                found = found.or(kind.map(|kind| (kind, *write)));
            }
            let same = GlobalAccess { pc: actor.access.pc, ..*write } == actor.access;
            *covered = if same { *covered | mask } else { mask };
            *write = actor.access;
            if let Some(reads) = &mut self.reads {
                for (read, bytes) in &mut reads[index] {
                    if read.team != 0 && *bytes & mask != 0 {
                        found = found.or(overwrite(read, actor).map(|kind| (kind, *read)));
                    }
                    read.team = 0;
                }
            }
        }
        found
    }
}

/// Enters a reader beside at most one other that is not ordered before it.
#[inline(always)]
fn note_read(slots: &mut [Record; 2], mask: u8, actor: &GlobalActor<'_>) {
    let mine = actor.access;
    let free = |(access, bytes): &Record| {
        if access.team == mine.team && access.agent == mine.agent {
            return access.lane == mine.lane || *bytes == mask;
        }
        access.team < actor.live_first.max(1) || actor.after(access)
    };
    let slot = if free(&slots[0]) {
        0
    } else if free(&slots[1]) {
        1
    } else {
        // Neither is ordered before this read: keep one of them, by a rule that the schedule
        // varies, so that over several seeds each is seen.
        (mine.clock as usize + mine.agent as usize) & 1
    };
    slots[slot] = (mine, mask);
}

fn read_conflict(write: &GlobalAccess, actor: &GlobalActor<'_>) -> Option<FaultKind> {
    if actor.access.flags & NON_COHERENT != 0 && write.team >= actor.grid_first {
        return Some(FaultKind::NonCoherentRead);
    }
    let kind = actor.conflict(write, FaultKind::ReadRace);
    if kind.is_none() && actor.unfenced(write) {
        return Some(FaultKind::MissingProxyFence);
    }
    kind
}

fn overwrite(read: &GlobalAccess, actor: &GlobalActor<'_>) -> Option<FaultKind> {
    if read.flags & NON_COHERENT != 0 && read.team >= actor.grid_first {
        return Some(FaultKind::NonCoherentRead);
    }
    actor.conflict(read, FaultKind::OverwriteRace)
}

/// The words that `bytes` bytes at `offset` touch, and which of their bytes.
fn words(offset: usize, bytes: usize) -> impl Iterator<Item = (usize, u8)> {
    let end = offset + bytes;
    (offset >> 2..end.div_ceil(4)).map(move |index| {
        let first = offset.max(index * 4) & 3;
        let last = end.min(index * 4 + 4) - index * 4;
        (index, (((1u32 << (last - first)) - 1) << first) as u8)
    })
}
