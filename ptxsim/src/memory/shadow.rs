//! The shadow of shared memory: for every four bytes, who wrote them last and who has read them
//! since. A row of 16 bytes has one record while all that happens to it happens to the whole of
//! it. A record takes 56 bytes, which comes to 14.5 a byte of shared memory at most.

use super::clock::Clock;
use crate::report::FaultKind;
use std::collections::HashMap;

/// Lane of a record that stands for several lanes of a warp.
pub const MANY: u8 = 254;
/// Lane of an access that no lane makes itself.
pub const ENGINE: u8 = 255;

/// Atomic or otherwise strong: does not race with another of its kind.
pub const STRONG: u8 = 1;
/// An asynchronous copy is still on its way to this word.
pub const PENDING: u8 = 2;
/// Written by an asynchronous engine, not by a generic store.
pub const ASYNC: u8 = 4;
/// A barrier object lives here.
pub const MBARRIER: u8 = 8;
/// Read by the non-coherent path.
pub const NON_COHERENT: u8 = 16;

/// One access to a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// The agent's clock; 0 is no access at all.
    pub clock: u32,
    /// Which instruction.
    pub pc: u32,
    /// The warp's count of warp-level synchronisations at the access.
    pub sync: u32,
    /// Who.
    pub agent: u16,
    /// Which lane, or `MANY` or `ENGINE`.
    pub lane: u8,
    /// `STRONG` and the like.
    pub flags: u8,
}

/// The shadow of four bytes.
#[derive(Clone, Copy, Default)]
pub struct Word {
    write: Access,
    read: [Access; 2],
    /// Readers that do not fit: index of an interned set.
    more: u32,
    /// Bytes that `write` covers.
    written: u8,
    /// Bytes that hold a value.
    initialised: u8,
    /// Bytes that each of `read` covers.
    bytes: [u8; 2],
}

/// Who makes an access, and what that agent knows.
pub struct Actor<'a> {
    /// The access to be recorded.
    pub access: Access,
    /// What the agent knows.
    pub clock: &'a Clock,
    /// Each lane's last warp-level synchronisation; all `u32::MAX` for an engine.
    pub lane_sync: &'a [u32; 32],
    /// A read or write by the asynchronous proxy.
    pub asynchronous: bool,
}

/// What is wrong with an access, and who was there before.
pub type Conflict = (FaultKind, Access);

/// Bytes of a row, the most that a lane moves at once.
const ROW: usize = 16;
/// Words of a row.
const WORDS: usize = 4;
/// The words of a row but its first.
type Others = [Word; WORDS - 1];
/// Sixteen bytes of shadow a byte of shared memory are the most, whatever is done to it: the record
/// of a row, its number, its other words, and their place among the free ones.
const _: () = assert!(size_of::<Word>() + 4 + size_of::<Others>() + 4 <= 16 * ROW);
/// Rows whose other words are made at once.
const PIECE: usize = 32;

/// The shadow of one block's shared memory. Tiles are copied, read by matrix loads and by products
/// in rows of 16 bytes, so a row has one record, that of its first word, until somebody touches
/// only a part of it. Then its other words get theirs, elsewhere, so that the rows lie close.
#[derive(Default)]
pub struct Shadow {
    rows: Vec<Word>,
    /// By row: 0, or one more than the number of its other words in `others`.
    fine: Vec<u32>,
    /// In pieces, for a growing vector would take twice the room for a while.
    others: Vec<Box<[Others; PIECE]>>,
    /// Free numbers of `others`.
    free: Vec<u32>,
    sets: Vec<Box<[(Access, u8)]>>,
    index: HashMap<Box<[(Access, u8)]>, u32>,
    memo: Option<(u32, Access, u8, u32, u32)>,
    /// Counts the changes of any clock of the team: what was worked out before may not hold after.
    pub stamp: u32,
}

impl Actor<'_> {
    /// Whether an earlier access is ordered before this one.
    #[inline(always)]
    fn after(&self, earlier: &Access) -> bool {
        if earlier.agent != self.access.agent {
            return self.clock.of(earlier.agent) >= earlier.clock;
        }
        if earlier.lane == self.access.lane && earlier.lane != MANY {
            return true;
        }
        self.warp_synchronised(earlier)
    }

    /// Within a warp, lanes are ordered by a synchronisation that both took part in.
    #[inline(always)]
    fn warp_synchronised(&self, earlier: &Access) -> bool {
        let mine = self.access.lane;
        if mine >= 32 {
            return mine == ENGINE || self.access.sync > earlier.sync;
        }
        self.lane_sync[mine as usize] > earlier.sync
            && (earlier.lane >= 32 || self.lane_sync[earlier.lane as usize] > earlier.sync)
    }

    fn same_kind(&self, earlier: &Access) -> bool {
        self.access.flags & earlier.flags & STRONG != 0
    }
}

impl Shadow {
    /// The shadow of `bytes` bytes, none of them initialised.
    pub fn new(bytes: usize) -> Shadow {
        let rows = bytes.div_ceil(ROW);
        Shadow {
            rows: vec![Word::default(); rows],
            fine: vec![0; rows],
            sets: vec![Box::default()],
            ..Shadow::default()
        }
    }

    /// Records a read of `bytes` bytes at `offset`; both within the memory. The first conflict.
    #[inline]
    pub fn read(&mut self, offset: usize, bytes: usize, actor: &Actor<'_>) -> Option<Conflict> {
        if offset.is_multiple_of(ROW) && bytes == ROW && self.fine[offset / ROW] == 0 {
            return self.read_word(offset / ROW * WORDS, 15, actor);
        }
        let mut found = None;
        for (index, mask) in pieces(offset, bytes) {
            self.refine(index / WORDS);
            let conflict = self.read_word(index, mask, actor);
            found = found.or(conflict);
        }
        found
    }

    #[inline(always)]
    fn read_word(&mut self, index: usize, mask: u8, actor: &Actor<'_>) -> Option<Conflict> {
        let word = self.word_mut(index);
        let conflict = word.read_conflict(mask, actor);
        if !word.note_read(mask, actor) {
            self.overflow(index, mask, actor);
        }
        conflict
    }

    /// The last write to the row of 16 bytes at `offset`, or to its first word.
    #[inline(always)]
    pub fn writer(&self, offset: usize) -> Access {
        self.rows[offset / ROW].write
    }

    /// Records a write, which conflicts with earlier writes and reads that nothing orders before.
    #[inline]
    pub fn write(&mut self, offset: usize, bytes: usize, actor: &Actor<'_>) -> Option<Conflict> {
        if offset.is_multiple_of(ROW) && bytes == ROW {
            return self.write_row(offset / ROW, actor);
        }
        let mut found = None;
        for (index, mask) in pieces(offset, bytes) {
            self.refine(index / WORDS);
            let conflict = self.write_conflict(index, mask, actor);
            self.word_mut(index).note_write(mask, actor);
            found = found.or(conflict);
        }
        found
    }

    /// A write of a whole row leaves nothing to tell its words apart.
    #[inline]
    fn write_row(&mut self, row: usize, actor: &Actor<'_>) -> Option<Conflict> {
        let first = row * WORDS;
        let conflict = match self.fine[row] {
            0 => self.write_conflict(first, 15, actor),
            _ => (first..first + WORDS).find_map(|index| self.write_conflict(index, 15, actor)),
        };
        self.coarsen(row);
        self.rows[row].note_write(15, actor);
        conflict
    }

    /// One record is enough for the row from now on.
    #[inline(always)]
    fn coarsen(&mut self, row: usize) {
        if self.fine[row] != 0 {
            self.free.push(self.fine[row]);
            self.fine[row] = 0;
        }
    }

    /// The record of a word, of a row that has one for each of them unless it is the first.
    #[inline(always)]
    fn word(&self, index: usize) -> &Word {
        match index % WORDS {
            0 => &self.rows[index / WORDS],
            other => {
                let at = self.fine[index / WORDS] as usize - 1;
                &self.others[at / PIECE][at % PIECE][other - 1]
            }
        }
    }

    /// As `word`.
    #[inline(always)]
    fn word_mut(&mut self, index: usize) -> &mut Word {
        match index % WORDS {
            0 => &mut self.rows[index / WORDS],
            other => {
                let at = self.fine[index / WORDS] as usize - 1;
                &mut self.others[at / PIECE][at % PIECE][other - 1]
            }
        }
    }

    #[inline(always)]
    fn write_conflict(&self, index: usize, mask: u8, actor: &Actor<'_>) -> Option<Conflict> {
        let word = self.word(index);
        let conflict = word.write_conflict(mask, actor);
        if word.more != 0 && conflict.is_none() {
            return self.set_conflict(word.more, mask, actor);
        }
        conflict
    }

    /// Gives each word of a row a record of its own.
    #[inline(always)]
    fn refine(&mut self, row: usize) {
        if self.fine[row] == 0 {
            self.split(row);
        }
    }

    fn split(&mut self, row: usize) {
        if self.free.is_empty() {
            let made = (self.others.len() * PIECE) as u32;
            self.others.push(Box::new([Others::default(); PIECE]));
            self.free.extend((made + 1..=made + PIECE as u32).rev());
        }
        if let Some(number) = self.free.pop() {
            self.fine[row] = number;
            let at = number as usize - 1;
            self.others[at / PIECE][at % PIECE] = [self.rows[row]; WORDS - 1];
        }
    }

    fn set_conflict(&self, set: u32, mask: u8, actor: &Actor<'_>) -> Option<Conflict> {
        let late = self.sets[set as usize]
            .iter()
            .find(|(access, bytes)| bytes & mask != 0 && !actor.after(access));
        late.map(|(access, _)| (FaultKind::OverwriteRace, *access))
    }

    /// Puts a copy's destination in flight: until `arrive`, nobody may touch it.
    pub fn set_pending(&mut self, offset: usize, bytes: usize) {
        self.each(offset, bytes, |word| word.write.flags |= PENDING | ASYNC);
    }

    /// The copy has arrived, and counts as written by `access`.
    pub fn arrive(&mut self, offset: usize, bytes: usize, access: Access) {
        self.each(offset, bytes, |word| {
            word.write = Access { flags: access.flags & !PENDING, ..access };
            word.written = 15;
            word.initialised = 15;
        });
    }

    /// Marks or unmarks the place of a barrier object.
    pub fn set_mbarrier(&mut self, offset: usize, present: bool) {
        self.each(offset, 8, |word| {
            word.write.flags = if present { MBARRIER } else { 0 };
            word.initialised = if present { 15 } else { 0 };
        });
    }

    /// Changes the words of a range of whole words.
    #[inline]
    fn each(&mut self, offset: usize, bytes: usize, change: impl Fn(&mut Word)) {
        if offset.is_multiple_of(ROW) && bytes == ROW && self.fine[offset / ROW] == 0 {
            return change(&mut self.rows[offset / ROW]);
        }
        for (index, _) in pieces(offset, bytes) {
            self.refine(index / WORDS);
            change(self.word_mut(index));
        }
    }

    /// A third unordered reader: the second goes to an interned set, which all words of a tile
    /// that the same warps have read share.
    #[cold]
    fn overflow(&mut self, index: usize, mask: u8, actor: &Actor<'_>) {
        let word = *self.word(index);
        let mut old = word.read[1];
        if old.lane < 32 {
            old.lane = MANY;
        }
        let bytes = word.bytes[1];
        let key = (word.more, old, bytes);
        let set = match self.memo {
            Some((more, access, b, stamp, set))
                if (more, access, b) == key && stamp == self.stamp =>
            {
                set
            }
            _ => {
                let kept = self.sets[word.more as usize].iter().copied();
                let mut list: Vec<_> = kept.filter(|(access, _)| !actor.after(access)).collect();
                list.push((old, bytes));
                let set = intern(&mut self.sets, &mut self.index, list);
                self.memo = Some((key.0, key.1, key.2, self.stamp, set));
                set
            }
        };
        let word = self.word_mut(index);
        word.more = set;
        word.read[1] = actor.access;
        word.bytes[1] = mask;
    }
}

/// The words that a range touches, and which of their bytes.
#[inline(always)]
fn pieces(offset: usize, bytes: usize) -> impl Iterator<Item = (usize, u8)> {
    let end = offset + bytes;
    (offset >> 2..end.div_ceil(4)).map(move |index| {
        let first = offset.max(index * 4) & 3;
        let last = end.min(index * 4 + 4) - index * 4;
        (index, (((1u32 << (last - first)) - 1) << first) as u8)
    })
}

fn intern(
    sets: &mut Vec<Box<[(Access, u8)]>>,
    index: &mut HashMap<Box<[(Access, u8)]>, u32>,
    list: Vec<(Access, u8)>,
) -> u32 {
    let list = list.into_boxed_slice();
    *index.entry(list).or_insert_with_key(|list| {
        sets.push(list.clone());
        sets.len() as u32 - 1
    })
}

impl Word {
    #[inline(always)]
    fn read_conflict(&self, mask: u8, actor: &Actor<'_>) -> Option<Conflict> {
        let write = &self.write;
        if write.flags & (PENDING | MBARRIER) != 0 {
            return Some((self.occupied(), *write));
        }
        if self.initialised & mask != mask {
            return Some((FaultKind::Uninitialised, Access::default()));
        }
        if write.clock == 0 || self.written & mask == 0 {
            return None;
        }
        if !actor.after(write) {
            let fine = actor.same_kind(write);
            return (!fine).then_some((FaultKind::ReadRace, *write));
        }
        self.proxy_conflict(actor)
    }

    /// What a generic store wrote is visible to the asynchronous proxy only after a proxy fence
    /// (PTX ISA, "Async proxy").
    #[inline(always)]
    fn proxy_conflict(&self, actor: &Actor<'_>) -> Option<Conflict> {
        let write = &self.write;
        if !actor.asynchronous || write.flags & ASYNC != 0 || write.clock == 0 {
            return None;
        }
        let fenced = actor.clock.fenced.get(write.agent as usize).copied().unwrap_or(0);
        (fenced < write.clock).then_some((FaultKind::MissingProxyFence, *write))
    }

    #[inline(always)]
    fn write_conflict(&self, mask: u8, actor: &Actor<'_>) -> Option<Conflict> {
        let write = &self.write;
        if write.flags & (PENDING | MBARRIER) != 0 {
            return Some((self.occupied(), *write));
        }
        if write.clock != 0 && self.written & mask != 0 {
            if !actor.after(write) && !actor.same_kind(write) {
                return Some((FaultKind::WriteRace, *write));
            }
            if let Some(conflict) = self.proxy_conflict(actor) {
                return Some(conflict);
            }
        }
        for (read, bytes) in self.read.iter().zip(self.bytes) {
            if read.clock != 0 && bytes & mask != 0 && !actor.after(read) && !actor.same_kind(read)
            {
                return Some((FaultKind::OverwriteRace, *read));
            }
        }
        None
    }

    fn occupied(&self) -> FaultKind {
        if self.write.flags & PENDING != 0 { FaultKind::InFlight } else { FaultKind::Mbarrier }
    }

    #[inline(always)]
    fn note_write(&mut self, mask: u8, actor: &Actor<'_>) {
        let same = self.write.agent == actor.access.agent
            && self.write.lane == actor.access.lane
            && self.write.clock == actor.access.clock
            && self.write.sync == actor.access.sync;
        self.written = if same { self.written | mask } else { mask };
        self.write = actor.access;
        self.initialised |= mask;
        self.read = [Access::default(); 2];
        self.bytes = [0; 2];
        self.more = 0;
    }

    /// Finds a place for a reader; false if both are taken by readers that this one is not after.
    #[inline(always)]
    fn note_read(&mut self, mask: u8, actor: &Actor<'_>) -> bool {
        for slot in 0..2 {
            let old = &mut self.read[slot];
            if old.clock == 0 {
                *old = actor.access;
                self.bytes[slot] = mask;
                return true;
            }
            if old.agent == actor.access.agent {
                if old.lane == actor.access.lane || actor.warp_synchronised(old) {
                    let same = old.clock == actor.access.clock && old.lane == actor.access.lane;
                    self.bytes[slot] = if same { self.bytes[slot] | mask } else { mask };
                    *old = actor.access;
                    return true;
                }
                if self.bytes[slot] & mask == mask || self.bytes[slot] == 15 {
                    *old = Access { lane: MANY, ..actor.access };
                    self.bytes[slot] |= mask;
                    return true;
                }
            } else if actor.clock.of(old.agent) >= old.clock {
                *old = actor.access;
                self.bytes[slot] = mask;
                return true;
            }
        }
        false
    }
}
