//! The shadow of device memory: for every four bytes, who wrote them last and two of those who
//! read them, over all the grids that may overlap. Teams (clusters) are numbered through the life
//! of a device, so a record of a team below the first live one is of a grid that is over.

use super::clock::Clock;
use super::global::PAGE;
use super::shadow::{NON_COHERENT, STRONG};
use crate::report::FaultKind;

/// Rows of 16 bytes of a page.
const ROWS: usize = PAGE / 16;
/// Words of a row.
const ROW_WORDS: usize = 4;

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

/// Shadow of a page, its halves made when they are needed: weights are only ever read. As in shared
/// memory, a row of 16 bytes has one record, that of its first word, until somebody touches a part.
#[derive(Default)]
pub struct GlobalShadow {
    writes: Option<Box<Words<Record>>>,
    reads: Option<Box<Words<[Record; 2]>>>,
    /// By row, a bit: each word has a record of its own.
    fine: [u64; ROWS / 64],
}

/// One record a word, those of the rows' first words close together.
struct Words<T> {
    rows: [T; ROWS],
    others: Option<Box<[[T; ROW_WORDS - 1]; ROWS]>>,
}

impl<T: Copy + Default> Default for Words<T> {
    fn default() -> Words<T> {
        Words { rows: [T::default(); ROWS], others: None }
    }
}

impl<T: Copy + Default> Words<T> {
    #[inline(always)]
    fn get(&mut self, index: usize) -> &mut T {
        match index % ROW_WORDS {
            0 => &mut self.rows[index / ROW_WORDS],
            other => {
                let others = self
                    .others
                    .get_or_insert_with(|| Box::new([[T::default(); ROW_WORDS - 1]; ROWS]));
                &mut others[index / ROW_WORDS][other - 1]
            }
        }
    }

    /// Copies the first word's record to the others of a row.
    fn spread(&mut self, row: usize) {
        let first = self.rows[row];
        let others =
            self.others.get_or_insert_with(|| Box::new([[T::default(); ROW_WORDS - 1]; ROWS]));
        others[row] = [first; ROW_WORDS - 1];
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.others.as_ref().map_or(0, |others| size_of_val(&**others))
    }
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
        let writes = self.writes.as_ref().map_or(0, |words| words.bytes());
        let reads = self.reads.as_ref().map_or(0, |words| words.bytes());
        size_of::<GlobalShadow>() + writes + reads
    }

    #[inline(always)]
    fn is_fine(&self, row: usize) -> bool {
        self.fine[row / 64] >> (row % 64) & 1 == 1
    }

    /// Records a read of `bytes` bytes at `offset` of the page.
    #[inline]
    pub fn read(
        &mut self,
        offset: usize,
        bytes: usize,
        actor: &GlobalActor<'_>,
    ) -> Option<(FaultKind, GlobalAccess)> {
        if self.is_row(offset, bytes) && !self.is_fine(offset / 16) {
            return self.read_word(offset / 4, 15, actor);
        }
        let mut found = None;
        for (index, mask) in words(offset, bytes) {
            self.refine(index / ROW_WORDS);
            found = found.or(self.read_word(index, mask, actor));
        }
        found
    }

    #[inline(always)]
    fn read_word(
        &mut self,
        index: usize,
        mask: u8,
        actor: &GlobalActor<'_>,
    ) -> Option<(FaultKind, GlobalAccess)> {
        let mut found = None;
        if let Some(writes) = &mut self.writes {
            let (write, covered) = writes.get(index);
            if write.team != 0 && *covered & mask != 0 {
                found = read_conflict(write, actor).map(|kind| (kind, *write));
            }
        }
        note_read(self.reads.get_or_insert_default().get(index), mask, actor);
        found
    }

    #[inline(always)]
    fn is_row(&self, offset: usize, bytes: usize) -> bool {
        bytes == 16 && offset.is_multiple_of(16)
    }

    /// Gives each word of a row records of its own.
    #[inline(always)]
    fn refine(&mut self, row: usize) {
        if self.is_fine(row) {
            return;
        }
        self.fine[row / 64] |= 1 << (row % 64);
        if let Some(writes) = &mut self.writes {
            writes.spread(row);
        }
        if let Some(reads) = &mut self.reads {
            reads.spread(row);
        }
    }

    /// Records a write of `bytes` bytes at `offset` of the page.
    #[inline]
    pub fn write(
        &mut self,
        offset: usize,
        bytes: usize,
        actor: &GlobalActor<'_>,
    ) -> Option<(FaultKind, GlobalAccess)> {
        let mut found = None;
        if self.is_row(offset, bytes) {
            let row = offset / 16;
            let words = if self.is_fine(row) { ROW_WORDS } else { 1 };
            for index in row * ROW_WORDS..row * ROW_WORDS + words {
                found = found.or(self.write_word(index, 15, actor));
            }
            self.fine[row / 64] &= !(1 << (row % 64));
            return found;
        }
        for (index, mask) in words(offset, bytes) {
            self.refine(index / ROW_WORDS);
            found = found.or(self.write_word(index, mask, actor));
        }
        found
    }

    #[inline(always)]
    fn write_word(
        &mut self,
        index: usize,
        mask: u8,
        actor: &GlobalActor<'_>,
    ) -> Option<(FaultKind, GlobalAccess)> {
        let mut found = None;
        let (write, covered) = self.writes.get_or_insert_default().get(index);
        if write.team != 0 && *covered & mask != 0 {
            let mut kind = actor.conflict(write, FaultKind::WriteRace);
            if kind.is_none() && actor.unfenced(write) {
                kind = Some(FaultKind::MissingProxyFence);
            }
            found = kind.map(|kind| (kind, *write));
        }
        let same = GlobalAccess { pc: actor.access.pc, ..*write } == actor.access;
        *covered = if same { *covered | mask } else { mask };
        *write = actor.access;
        if let Some(reads) = &mut self.reads {
            for (read, bytes) in reads.get(index) {
                if read.team != 0 && *bytes & mask != 0 {
                    found = found.or(overwrite(read, actor).map(|kind| (kind, *read)));
                }
                read.team = 0;
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
