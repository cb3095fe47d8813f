//! The order in which cached pages that nobody reads are evicted.

use crate::kv::PageId;

/// A doubly linked list of pages, least recently used first. The links lie in a table indexed by
/// page, so that taking a page out of the middle is O(1) and nothing is ever allocated.
#[derive(Debug)]
pub(super) struct IdleList {
    links: Vec<Links>,
    first: Option<PageId>,
    last: Option<PageId>,
    len: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Links {
    before: Option<PageId>,
    after: Option<PageId>,
}

impl IdleList {
    /// An empty list for pages below `pages`.
    pub(super) fn new(pages: usize) -> IdleList {
        IdleList { links: vec![Links::default(); pages], first: None, last: None, len: 0 }
    }

    /// How many pages are listed.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The least recently used page.
    pub(super) fn first(&self) -> Option<PageId> {
        self.first
    }

    /// Appends a page that is not listed.
    pub(super) fn push(&mut self, page: PageId) {
        self.links[page.index()] = Links { before: self.last, after: None };
        match self.last {
            Some(last) => self.links[last.index()].after = Some(page),
            None => self.first = Some(page),
        }
        self.last = Some(page);
        self.len += 1;
    }

    /// Takes out a page that is listed.
    pub(super) fn remove(&mut self, page: PageId) {
        let Links { before, after } = self.links[page.index()];
        match before {
            Some(before) => self.links[before.index()].after = after,
            None => self.first = after,
        }
        match after {
            Some(after) => self.links[after.index()].before = before,
            None => self.last = before,
        }
        self.len -= 1;
    }

    /// Takes out every page.
    pub(super) fn clear(&mut self) {
        (self.first, self.last, self.len) = (None, None, 0);
    }

    /// The pages, least recently used first.
    pub(super) fn iter(&self) -> impl Iterator<Item = PageId> {
        let after = |page: &PageId| self.links[page.index()].after;
        std::iter::successors(self.first, after)
    }
}
