//! A pool of pages with a free list: taking and giving back a page are O(1).

use crate::kv::PageId;

/// Which pages are free. Pages are handed out last-freed-first, so that a warm page is used again.
#[derive(Debug)]
pub struct PagePool {
    free: Vec<PageId>,
    /// Whether a page is free, to catch a page given back twice.
    is_free: Vec<bool>,
}

impl PagePool {
    /// A pool of `pages` pages, all free.
    ///
    /// # Panics
    /// If there are more pages than a [`PageId`] can number.
    pub fn new(pages: usize) -> PagePool {
        let count = u32::try_from(pages).expect("a page number has 32 bits");
        PagePool { free: (0..count).rev().map(PageId).collect(), is_free: vec![true; pages] }
    }

    /// Takes `count` pages, or none at all if there are not so many.
    pub fn take(&mut self, count: usize) -> Option<Vec<PageId>> {
        let rest = self.free.len().checked_sub(count)?;
        let mut pages = self.free.split_off(rest);
        pages.reverse();
        for page in &pages {
            self.is_free[page.0 as usize] = false;
        }
        Some(pages)
    }

    /// Gives pages back.
    ///
    /// # Panics
    /// If a page is free already or does not belong to the pool.
    pub fn give_back(&mut self, pages: Vec<PageId>) {
        for page in pages.into_iter().rev() {
            let free = &mut self.is_free[page.0 as usize];
            assert!(!*free, "page {} was given back twice", page.0);
            *free = true;
            self.free.push(page);
        }
    }

    /// The number of free pages.
    pub fn free_pages(&self) -> usize {
        self.free.len()
    }
}
