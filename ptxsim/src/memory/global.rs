//! Device memory: allocations of pages that exist once they are touched, so that two gigabytes of
//! which a kernel reads a few kilobytes cost a few kilobytes.

use super::global_shadow::{GlobalShadow, Traffic};
use super::warpwide::copy;
use crate::error::Error;

/// Bytes of a page. Allocations start at multiples of 256, so an aligned access of up to 256 bytes
/// never crosses a page.
pub const PAGE: usize = 4096;
/// The first address; nothing below it is ever valid.
const FIRST: u64 = 0x7_0000_0000;
/// Unused addresses after each allocation, so that a small overrun hits nothing.
const GAP: u64 = 64 << 10;

/// Bytes of a sector of device memory.
pub const SECTOR: usize = 32;

/// What an untouched byte reads as: a NaN in every float format.
pub const POISON: u8 = 0xff;

struct Page {
    data: [u8; PAGE],
    /// One bit a byte: it holds a value.
    initialised: [u64; PAGE / 64],
    /// One bit a sector: it was read, it was written, by the launch of that number.
    touched: [u128; 2],
    launch: u64,
}

const _: () = assert!(PAGE / SECTOR == u128::BITS as usize);

struct Allocation {
    base: u64,
    bytes: u64,
    pages: Vec<Option<Box<Page>>>,
    shadow: Vec<Option<Box<GlobalShadow>>>,
    freed: bool,
    constant: bool,
}

/// Device memory.
pub struct Global {
    allocations: Vec<Allocation>,
    next: u64,
    last: usize,
    /// Number of the launch, by which pages tell what was touched in it from what was before.
    launch: u64,
    /// Sectors that it has read and has written, each counted once.
    touched: [u64; 2],
}

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// In no allocation, or running over the end of one.
    Outside,
    /// In an allocation that was freed.
    Freed,
}

impl Miss {
    /// In words.
    pub fn describe(self) -> &'static str {
        match self {
            Miss::Outside => "not within one allocation",
            Miss::Freed => "in an allocation that was freed",
        }
    }
}

/// A range that lies within one allocation.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    allocation: usize,
    offset: usize,
}

impl Place {
    /// The place `bytes` further on, in the same allocation.
    pub fn plus(self, bytes: usize) -> Place {
        Place { offset: self.offset + bytes, ..self }
    }

    /// Whether `bytes` bytes from here lie within one page.
    pub fn same_page(self, bytes: usize) -> bool {
        self.offset / PAGE == (self.offset + bytes - 1) / PAGE
    }
}

impl Default for Global {
    fn default() -> Self {
        Global { allocations: Vec::new(), next: FIRST, last: 0, launch: 0, touched: [0; 2] }
    }
}

impl Global {
    /// Takes `bytes` bytes, uninitialised; their address is a multiple of 256 and of no more.
    pub fn alloc(&mut self, bytes: u64, constant: bool) -> Result<u64, Error> {
        if bytes > 1 << 40 {
            return Err(Error::Argument(format!("cannot allocate {bytes} bytes: over 1 TiB")));
        }
        let base = self.next + 256;
        self.next = (base + bytes + GAP).next_multiple_of(512);
        let pages = (bytes as usize).div_ceil(PAGE);
        let mut allocation = Allocation {
            base,
            bytes,
            pages: Vec::new(),
            shadow: Vec::new(),
            freed: false,
            constant,
        };
        allocation.pages.resize_with(pages, || None);
        allocation.shadow.resize_with(pages, || None);
        self.allocations.push(allocation);
        Ok(base)
    }

    /// Gives an allocation back. Its addresses are not used again, so later accesses are found.
    pub fn free(&mut self, address: u64) -> Result<(), Error> {
        let found = self.allocations.iter_mut().find(|a| a.base == address && !a.constant);
        match found {
            Some(a) if !a.freed => {
                a.freed = true;
                a.pages = Vec::new();
                a.shadow = Vec::new();
                Ok(())
            }
            Some(_) => Err(Error::Argument(format!("{address:#x} is already freed"))),
            None => Err(Error::Argument(format!("{address:#x} is not the start of an allocation"))),
        }
    }

    /// Finds `bytes` bytes at `address`.
    #[inline(always)]
    pub fn find(&mut self, address: u64, bytes: u64) -> Result<Place, Miss> {
        if let Some(a) = self.allocations.get(self.last)
            && address >= a.base
            && address - a.base + bytes <= a.bytes
            && !a.freed
        {
            return Ok(Place { allocation: self.last, offset: (address - a.base) as usize });
        }
        self.find_slow(address, bytes)
    }

    fn find_slow(&mut self, address: u64, bytes: u64) -> Result<Place, Miss> {
        let after = self.allocations.partition_point(|a| a.base <= address);
        let Some(index) = after.checked_sub(1) else { return Err(Miss::Outside) };
        let a = &self.allocations[index];
        let offset = address - a.base;
        if offset >= a.bytes || bytes > a.bytes - offset {
            return Err(Miss::Outside);
        }
        if a.freed {
            return Err(Miss::Freed);
        }
        self.last = index;
        Ok(Place { allocation: index, offset: offset as usize })
    }

    /// The allocation at or before an address, for a report: its base and size.
    pub fn nearest(&self, address: u64) -> Option<(u64, u64)> {
        let after = self.allocations.partition_point(|a| a.base <= address);
        after.checked_sub(1).map(|i| (self.allocations[i].base, self.allocations[i].bytes))
    }

    /// Constant memory may not be written.
    pub fn is_constant(&self, place: Place) -> bool {
        self.allocations[place.allocation].constant
    }

    /// Copies out, and tells whether every byte held a value. May cross pages.
    #[inline]
    pub fn read(&self, place: Place, into: &mut [u8]) -> bool {
        let a = &self.allocations[place.allocation];
        let (mut at, mut done, mut whole) = (place.offset, 0, true);
        while done < into.len() {
            let start = at % PAGE;
            let n = (PAGE - start).min(into.len() - done);
            match &a.pages[at / PAGE] {
                None => {
                    into[done..done + n].fill(POISON);
                    whole = false;
                }
                Some(page) => {
                    into[done..done + n].copy_from_slice(&page.data[start..start + n]);
                    whole &= page.is_initialised(start, n);
                }
            }
            done += n;
            at += n;
        }
        whole
    }

    /// Copies in; the bytes then hold values. May cross pages.
    #[inline]
    pub fn write(&mut self, place: Place, from: &[u8]) {
        let a = &mut self.allocations[place.allocation];
        let (mut at, mut done) = (place.offset, 0);
        while done < from.len() {
            let start = at % PAGE;
            let n = (PAGE - start).min(from.len() - done);
            let page = a.pages[at / PAGE].get_or_insert_with(Page::poisoned);
            page.data[start..start + n].copy_from_slice(&from[done..done + n]);
            page.initialise(start, n);
            done += n;
            at += n;
        }
    }

    /// Begins to count the sectors that a launch touches.
    pub fn begin_launch(&mut self) {
        self.launch += 1;
        self.touched = [0; 2];
    }

    /// Sectors that the launch has read and has written, each counted once.
    pub fn touched(&self) -> [u64; 2] {
        self.touched
    }

    /// Enters a read or a write of `bytes` bytes into the sectors that the launch has touched.
    #[inline]
    pub fn touch(&mut self, place: Place, bytes: usize, write: bool) {
        let pages = &mut self.allocations[place.allocation].pages;
        let (mut at, end) = (place.offset, place.offset + bytes);
        while at < end {
            let n = (PAGE - at % PAGE).min(end - at);
            let page = pages[at / PAGE].get_or_insert_with(Page::poisoned);
            self.touched[write as usize] += page.touch(at % PAGE, n, write, self.launch);
            at += n;
        }
    }

    /// As `read`, of at most sixteen bytes that do not cross a page.
    #[inline(always)]
    pub fn read_page(&self, place: Place, into: &mut [u8]) -> bool {
        let start = place.offset % PAGE;
        match &self.allocations[place.allocation].pages[place.offset / PAGE] {
            None => {
                into.fill(POISON);
                false
            }
            Some(page) => {
                copy(&page.data[start..start + into.len()], into);
                page.is_initialised(start, into.len())
            }
        }
    }

    /// As `write`, of at most sixteen bytes that do not cross a page; always true.
    #[inline(always)]
    pub fn write_page(&mut self, place: Place, from: &[u8]) -> bool {
        let start = place.offset % PAGE;
        let slot = &mut self.allocations[place.allocation].pages[place.offset / PAGE];
        let page = slot.get_or_insert_with(Page::poisoned);
        copy(from, &mut page.data[start..start + from.len()]);
        page.initialise(start, from.len());
        true
    }

    /// The shadow of the page that `place` is in, and the offset in that page.
    #[inline(always)]
    pub fn shadow(&mut self, place: Place) -> (&mut GlobalShadow, usize) {
        let slot = &mut self.allocations[place.allocation].shadow[place.offset / PAGE];
        (slot.get_or_insert_with(Box::default), place.offset % PAGE)
    }

    /// Bytes of host memory that data and shadow take, for tests of their bounds.
    pub fn footprint(&self) -> Traffic {
        let mut sum = Traffic::default();
        for a in &self.allocations {
            sum.data += a.pages.iter().flatten().count() * size_of::<Page>();
            sum.data += a.pages.capacity() * size_of::<usize>() * 2;
            sum.shadow += a.shadow.iter().flatten().map(|s| s.bytes()).sum::<usize>();
        }
        sum
    }
}

impl Page {
    fn poisoned() -> Box<Page> {
        let (data, initialised) = ([POISON; PAGE], [0; PAGE / 64]);
        Box::new(Page { data, initialised, touched: [0; 2], launch: 0 })
    }

    /// Marks the sectors of `n` bytes from `start` on, and counts those that were not marked.
    #[inline]
    fn touch(&mut self, start: usize, n: usize, write: bool, launch: u64) -> u64 {
        if self.launch != launch {
            (self.launch, self.touched) = (launch, [0; 2]);
        }
        let (first, last) = (start / SECTOR, (start + n - 1) / SECTOR);
        let sectors = (u128::MAX >> (127 - (last - first))) << first;
        let touched = &mut self.touched[write as usize];
        let fresh = sectors & !*touched;
        *touched |= sectors;
        u64::from(fresh.count_ones())
    }

    #[inline(always)]
    fn is_initialised(&self, start: usize, n: usize) -> bool {
        let bit = start % 64;
        if bit + n <= 64 {
            let mask = (u64::MAX >> (64 - n)) << bit;
            return self.initialised[start / 64] & mask == mask;
        }
        if bit == 0 && n.is_multiple_of(64) {
            return self.initialised[start / 64..][..n / 64].iter().all(|bits| *bits == u64::MAX);
        }
        (start..start + n).all(|i| self.initialised[i / 64] >> (i % 64) & 1 == 1)
    }

    #[inline(always)]
    fn initialise(&mut self, start: usize, n: usize) {
        let bit = start % 64;
        if bit + n <= 64 {
            self.initialised[start / 64] |= (u64::MAX >> (64 - n)) << bit;
            return;
        }
        for i in start..start + n {
            self.initialised[i / 64] |= 1 << (i % 64);
        }
    }
}
