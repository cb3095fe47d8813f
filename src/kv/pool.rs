//! A pool of pages with reference counts: taking, sharing and giving back a page are O(1).

use crate::kv::PageId;

/// How many owners each page has, and which pages have none. Pages are handed out last-freed-first,
/// so that a warm page is used again.
#[derive(Debug)]
pub struct PagePool {
    /// The owners of each page; a page without any is free.
    references: Vec<u32>,
    /// The free pages; the next one to hand out stands last.
    free: Vec<PageId>,
}

impl PagePool {
    /// A pool of `pages` pages, all free.
    ///
    /// # Panics
    /// If there are more pages than a [`PageId`] can number.
    pub fn new(pages: usize) -> PagePool {
        let count = u32::try_from(pages).expect("a page number has 32 bits");
        PagePool { references: vec![0; pages], free: (0..count).rev().map(PageId).collect() }
    }

    /// Takes `count` pages with one reference each, or none at all if there are not so many.
    pub fn take(&mut self, count: usize) -> Option<Vec<PageId>> {
        let mut taken = Vec::new();
        self.take_into(count, &mut taken).then_some(taken)
    }

    /// Appends `count` pages with one reference each to `pages`; false, with nothing changed, if
    /// there are not so many.
    pub fn take_into(&mut self, count: usize, pages: &mut Vec<PageId>) -> bool {
        let Some(rest) = self.free.len().checked_sub(count) else { return false };
        for page in self.free.drain(rest..).rev() {
            self.references[page.index()] = 1;
            pages.push(page);
        }
        true
    }

    /// Adds a reference to a page that somebody holds.
    ///
    /// # Panics
    /// If the page is free or does not belong to the pool.
    pub fn share(&mut self, page: PageId) {
        let references = &mut self.references[page.index()];
        assert!(*references > 0, "page {} is free, so nobody can share it", page.0);
        *references = references.checked_add(1).expect("fewer than 2^32 readers of a page");
    }

    /// Drops a reference to a page; true if it was the last one, so that the page is free now.
    ///
    /// # Panics
    /// If the page is free already or does not belong to the pool.
    pub fn release(&mut self, page: PageId) -> bool {
        let references = &mut self.references[page.index()];
        assert!(*references > 0, "page {} is free and was given back again", page.0);
        *references -= 1;
        let is_free = *references == 0;
        if is_free {
            self.free.push(page);
        }
        is_free
    }

    /// The references to a page; 0 if it is free.
    ///
    /// # Panics
    /// If the page does not belong to the pool.
    pub fn references(&self, page: PageId) -> u32 {
        self.references[page.index()]
    }

    /// The number of free pages.
    pub fn free_pages(&self) -> usize {
        self.free.len()
    }

    /// The number of pages, free or not.
    pub fn pages(&self) -> usize {
        self.references.len()
    }

    /// Counts everything anew and compares; O(pages), for tests.
    ///
    /// # Panics
    /// If a free page is listed twice or not at all, or has a reference.
    #[doc(hidden)]
    pub fn check(&self) {
        let mut listed = vec![false; self.pages()];
        for page in &self.free {
            assert_eq!(self.references(*page), 0, "page {} is listed as free", page.0);
            assert!(!listed[page.index()], "page {} is listed twice as free", page.0);
            listed[page.index()] = true;
        }
        let without = self.references.iter().filter(|count| **count == 0).count();
        assert_eq!(without, self.free.len(), "a page without references is not listed as free");
    }
}
