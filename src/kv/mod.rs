//! The KV cache's bookkeeping: which pages exist, who holds them, and which of them hold a prefix
//! that another sequence can read. It knows no device.
//!
//! [`KvPages`] is the face of it; [`pool`] counts references, [`prefix`] finds and evicts.

pub mod hash;
mod idle;
pub mod pool;
pub mod prefix;

pub use hash::PageHash;
pub use pool::PagePool;
pub use prefix::{Cursor, Family, Inserted, Match, PrefixStats, PrefixTree, Sharing};

use crate::request::TokenId;

/// Tokens of one KV page.
pub const PAGE_SIZE: usize = 64;

/// A page of the KV pool; the same number in every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u32);

impl PageId {
    /// The number as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The pages that hold `tokens` tokens.
pub fn pages_for(tokens: usize) -> usize {
    tokens.div_ceil(PAGE_SIZE)
}

/// How a prefix cache works.
#[derive(Debug, Clone, Copy)]
pub struct PrefixOptions {
    /// How pages are found.
    pub hash: PageHash,
    /// Which pages are shared.
    pub sharing: Sharing,
}

impl Default for PrefixOptions {
    /// A random key, and pages of prompts only.
    fn default() -> PrefixOptions {
        PrefixOptions { hash: PageHash::random(), sharing: Sharing::default() }
    }
}

/// What a sequence needs in order to run.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// Only sequences with equal salts share pages: a number per tenant.
    pub salt: Option<u64>,
    /// The tokens whose pages may be found in the prefix cache.
    pub tokens: &'a [TokenId],
    /// The most pages to share. Some token must be left whose logits are computed.
    pub max_shared: usize,
    /// All pages it will need, shared ones included.
    pub pages: usize,
    /// How many pages must still be available afterwards.
    pub keep_free: usize,
    /// When the pages that are not shared are taken.
    pub rest: Rest,
}

/// When the pages of an admitted sequence are taken that it does not share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// At once.
    Now,
    /// By calls of [`KvPages::take`] as the sequence grows. They are available on admission, but
    /// nothing keeps them for it.
    Later,
}

/// What an admitted sequence starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The shared pages, and the rest where that was taken. The sequence holds one reference to
    /// each.
    pub pages: Vec<PageId>,
    /// How many tokens are cached already: all of the shared pages.
    pub shared_tokens: usize,
    /// Where it goes on publishing.
    pub cursor: Cursor,
}

/// The pages of the KV cache, with a prefix cache or without one.
///
/// A page is *available* if it is free or holds a prefix that nobody reads: taking pages evicts
/// such prefixes, least recently used first, so that caching never costs a sequence its place.
#[derive(Debug)]
pub struct KvPages {
    pool: PagePool,
    tree: Option<PrefixTree>,
}

impl KvPages {
    /// `pages` free pages. Without `prefix` nothing is found, inserted or evicted.
    ///
    /// # Panics
    /// If there are more pages than a [`PageId`] can number.
    pub fn new(pages: usize, prefix: Option<PrefixOptions>) -> KvPages {
        let tree = prefix.map(|options| PrefixTree::new(pages, options.hash, options.sharing));
        KvPages { pool: PagePool::new(pages), tree }
    }

    /// The number of pages, available or not.
    pub fn pages(&self) -> usize {
        self.pool.pages()
    }

    /// How many pages can be taken now.
    pub fn available(&self) -> usize {
        self.pool.free_pages() + self.tree.as_ref().map_or(0, PrefixTree::evictable)
    }

    /// Takes `count` pages, or none at all if not so many are available.
    pub fn take(&mut self, count: usize) -> Option<Vec<PageId>> {
        let mut taken = Vec::new();
        self.take_into(count, &mut taken).then_some(taken)
    }

    /// Appends `count` pages to `pages`; false, with nothing changed, if not so many are available.
    pub fn take_into(&mut self, count: usize, pages: &mut Vec<PageId>) -> bool {
        if count > self.available() {
            return false;
        }
        let missing = count.saturating_sub(self.pool.free_pages());
        if let Some(tree) = &mut self.tree {
            tree.evict(missing, &mut self.pool);
        }
        self.pool.take_into(count, pages)
    }

    /// The longest cached prefix of `tokens`, at most `max_pages` pages of it, with a reference to
    /// each page for the caller. Pages that nobody has read so far are available no longer.
    pub fn lookup(&mut self, salt: Option<u64>, tokens: &[TokenId], max_pages: usize) -> Match {
        match &mut self.tree {
            Some(tree) => tree.lookup(salt, tokens, max_pages, &mut self.pool),
            None => nothing(),
        }
    }

    /// The same without references: its pages may be evicted by the next [`KvPages::take`]. Counts
    /// nothing.
    pub fn peek(&self, salt: Option<u64>, tokens: &[TokenId], max_pages: usize) -> Match {
        match &self.tree {
            Some(tree) => tree.peek(salt, tokens, max_pages),
            None => nothing(),
        }
    }

    /// Gives a sequence what it needs, or `None` with nothing changed and nothing counted.
    ///
    /// This walks over the tokens. As long as [`KvPages::available`] has not risen and nothing was
    /// inserted, what was refused is refused again.
    pub fn admit(&mut self, demand: &Demand) -> Option<Admission> {
        let found = self.peek(demand.salt, demand.tokens, demand.max_shared.min(demand.pages));
        let rest = demand.pages - found.pages.len();
        let mut idle = 0;
        if let Some(tree) = &self.tree {
            idle = tree.idle_among(&found);
        }
        if self.available() - idle < rest.saturating_add(demand.keep_free) {
            return None;
        }
        if let Some(tree) = &mut self.tree {
            tree.acquire(&found, demand.tokens.len(), &mut self.pool);
        }
        let shared_tokens = found.pages.len() * PAGE_SIZE;
        let Match { mut pages, cursor } = found;
        if demand.rest == Rest::Now {
            let is_taken = self.take_into(rest, &mut pages);
            assert!(is_taken, "{rest} pages are gone that were available");
        }
        Some(Admission { pages, shared_tokens, cursor })
    }

    /// Publishes a full page of a sequence, while it runs, as the one behind `cursor`, which moves
    /// on. What the page is said to hold must have been computed.
    ///
    /// # Panics
    /// If `tokens` are not a full page, if nobody holds `page`, or if it is cached in another
    /// place.
    pub fn insert(
        &mut self,
        cursor: &mut Cursor,
        tokens: &[TokenId],
        page: PageId,
        family: Family,
    ) -> Inserted {
        match &mut self.tree {
            Some(tree) => tree.insert(cursor, tokens, page, family, &mut self.pool),
            None => {
                *cursor = Cursor::outside();
                Inserted::Refused
            }
        }
    }

    /// Gives back the pages of a sequence that has ended or must wait. Those that are cached stay
    /// cached until they are evicted.
    ///
    /// # Panics
    /// If a page has no reader.
    pub fn release(&mut self, pages: &[PageId]) {
        // From the end, so that what all share is given back last and taken first.
        for page in pages.iter().rev() {
            match &mut self.tree {
                Some(tree) => tree.release(*page, &mut self.pool),
                None => self.pool.release(*page),
            };
        }
    }

    /// Forgets every cached prefix. Sequences keep their pages, but publish no more of them.
    pub fn clear(&mut self) {
        if let Some(tree) = &mut self.tree {
            tree.clear(&mut self.pool);
        }
    }

    /// Counters of the prefix cache; zeros without one.
    pub fn stats(&self) -> PrefixStats {
        self.tree.as_ref().map_or_else(PrefixStats::default, PrefixTree::stats)
    }

    /// Counts everything anew and compares; O(pages), for tests.
    ///
    /// # Panics
    /// If an invariant does not hold.
    #[doc(hidden)]
    pub fn check(&self) {
        self.pool.check();
        if let Some(tree) = &self.tree {
            tree.check(&self.pool);
        }
    }

    /// The pages that can be evicted, in the order in which they would be; for tests.
    #[doc(hidden)]
    pub fn idle_pages(&self) -> Vec<PageId> {
        self.tree.as_ref().map_or_else(Vec::new, PrefixTree::idle_pages)
    }

    /// The references to a page, the prefix cache's own included; for tests.
    #[doc(hidden)]
    pub fn references(&self, page: PageId) -> u32 {
        self.pool.references(page)
    }
}

fn nothing() -> Match {
    Match { pages: Vec::new(), cursor: Cursor::outside() }
}
