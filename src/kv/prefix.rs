//! The prefix cache: a tree over full pages of tokens, in which a sequence finds the pages that
//! another one with the same beginning has filled.
//!
//! A node is one page of the pool and stands in a table at that page's number; its parent is the
//! page before it. The tree owns one reference to each page it holds, whoever owns another is a
//! *reader*. A node is *busy* while its page has a reader or a child is busy, else *idle*; what
//! stands below an idle node is idle too, so that exactly the idle nodes can be evicted.
//!
//! Idle nodes are listed in the order in which they became idle, and a node becomes idle no earlier
//! than its children. The first of the list is therefore always a leaf, and the least recently used
//! one: eviction takes it without looking at any other node.

mod check;

use crate::kv::hash::PageHash;
use crate::kv::idle::IdleList;
use crate::kv::{PAGE_SIZE, PageId, PagePool};
use crate::request::TokenId;

/// The family of ops that wrote a page. A row of one family has other bits than the same row of
/// the other, so a page is only found by who asks for its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Every token of the page belongs to a prompt.
    Prompt,
    /// At least one token of the page was generated.
    Generated,
}

/// Which pages are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    /// Pages of prompt tokens: a request's output does not depend on what is cached.
    #[default]
    Prompt,
    /// Pages with generated tokens as well. A prompt that contains an earlier output then reads
    /// what the decode family wrote where it would have written by the prefill family itself: its
    /// output may depend, in the last bits, on what is cached.
    All,
}

/// Where a sequence stands in the tree: behind the last page that it found or inserted. It may be
/// kept for as long as one likes; behind a page that is no longer cached nothing can be inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(Place);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first page of a tenant's sequence.
    Root(Option<u64>),
    /// Behind a node. The serial number tells whether the page still holds that node.
    Node { page: PageId, serial: u64 },
    /// Outside of the tree.
    Outside,
}

impl Cursor {
    /// The place before a sequence's first page. Only sequences with equal salts share pages, so
    /// that no tenant can learn by timing what another one has asked.
    pub fn start(salt: Option<u64>) -> Cursor {
        Cursor(Place::Root(salt))
    }

    /// The place of a sequence that does not take part.
    pub fn outside() -> Cursor {
        Cursor(Place::Outside)
    }

    /// Whether nothing can be inserted here any more: a page of the sequence was refused.
    pub fn is_outside(&self) -> bool {
        self.0 == Place::Outside
    }
}

/// The longest cached prefix of a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Its pages, in order.
    pub pages: Vec<PageId>,
    /// The place behind it.
    pub cursor: Cursor,
}

/// What became of a page that was to be inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is cached now.
    New,
    /// An equal page is cached already and stays; the caller goes on with its own.
    Present,
    /// It is not shared: its family is not, or the page before it is not cached any more. Nor are
    /// the pages after it.
    Refused,
}

/// Counters in tokens, since the tree was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrefixStats {
    /// Tokens of the sequences that were looked up.
    pub queried: u64,
    /// Tokens that were found.
    pub hit: u64,
    /// Tokens whose pages were evicted.
    pub evicted: u64,
    /// Tokens that are cached now.
    pub cached: u64,
}

/// What tells nodes apart whose tokens are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parent {
    Root(Option<u64>),
    Node(PageId),
}

#[derive(Debug, Clone)]
struct Node {
    /// Counts the nodes ever made, from one; 0 where the page is not cached.
    serial: u64,
    hash: u128,
    parent: Parent,
    family: Family,
    children: u32,
    /// Busy children, and one more if the page has a reader.
    holds: u32,
    /// The next node of the same bucket.
    next: Option<PageId>,
    tokens: [TokenId; PAGE_SIZE],
}

const VACANT: Node = Node {
    serial: 0,
    hash: 0,
    parent: Parent::Root(None),
    family: Family::Prompt,
    children: 0,
    holds: 0,
    next: None,
    tokens: [TokenId(0); PAGE_SIZE],
};

/// The tree; see the head of this module. All calls must get the same pool, and references to
/// cached pages must be dropped by [`PrefixTree::release`], which keeps track of readers.
#[derive(Debug)]
pub struct PrefixTree {
    hash: PageHash,
    sharing: Sharing,
    nodes: Vec<Node>,
    /// Heads of the chains; a power of two of them, at least one per page of the pool.
    buckets: Vec<Option<PageId>>,
    idle: IdleList,
    serial: u64,
    stats: PrefixStats,
}

impl PrefixTree {
    /// An empty tree over a pool of `pages` pages. It never allocates later.
    pub fn new(pages: usize, hash: PageHash, sharing: Sharing) -> PrefixTree {
        PrefixTree {
            hash,
            sharing,
            nodes: vec![VACANT; pages],
            buckets: vec![None; pages.next_power_of_two()],
            idle: IdleList::new(pages),
            serial: 0,
            stats: PrefixStats::default(),
        }
    }

    /// The longest cached prefix of `tokens`, at most `max_pages` pages of it. Takes no references,
    /// so that its pages may be evicted next, and counts nothing.
    pub fn peek(&self, salt: Option<u64>, tokens: &[TokenId], max_pages: usize) -> Match {
        let mut found = Match { pages: Vec::new(), cursor: Cursor::start(salt) };
        let (mut parent, mut hash) = (Parent::Root(salt), self.hash.root(salt));
        let (pages, _) = tokens.as_chunks::<PAGE_SIZE>();
        for tokens in pages.iter().take(max_pages) {
            let child =
                |family| self.find(self.hash.page(hash, family, tokens), parent, family, tokens);
            let child = match self.sharing {
                Sharing::Prompt => child(Family::Prompt),
                Sharing::All => child(Family::Prompt).or_else(|| child(Family::Generated)),
            };
            let Some(page) = child else { break };
            (parent, hash) = (Parent::Node(page), self.nodes[page.index()].hash);
            found.pages.push(page);
            found.cursor = self.behind(page);
        }
        found
    }

    /// The longest cached prefix of `tokens`, at most `max_pages` pages of it, with a reference
    /// to each page for the caller.
    pub fn lookup(
        &mut self,
        salt: Option<u64>,
        tokens: &[TokenId],
        max_pages: usize,
        pool: &mut PagePool,
    ) -> Match {
        let found = self.peek(salt, tokens, max_pages);
        self.acquire(&found, tokens.len(), pool);
        found
    }

    /// Takes the references of a lookup of `queried` tokens that found `found`.
    pub(super) fn acquire(&mut self, found: &Match, queried: usize, pool: &mut PagePool) {
        for page in &found.pages {
            pool.share(*page);
            if pool.references(*page) == 2 {
                self.hold(*page);
            }
        }
        self.stats.queried += queried as u64;
        self.stats.hit += (found.pages.len() * PAGE_SIZE) as u64;
    }

    /// Publishes a full page as the one behind `cursor`, which moves behind it. The caller holds
    /// the page; the tree takes a reference of its own.
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
        pool: &mut PagePool,
    ) -> Inserted {
        let Ok(tokens) = <&[TokenId; PAGE_SIZE]>::try_from(tokens) else {
            panic!("a page of {} tokens, but only full pages are shared", tokens.len());
        };
        let shared = family == Family::Prompt || self.sharing == Sharing::All;
        let Some((parent, parent_hash)) = self.parent_at(*cursor).filter(|_| shared) else {
            *cursor = Cursor::outside();
            return Inserted::Refused;
        };
        let hash = self.hash.page(parent_hash, family, tokens);
        if let Some(present) = self.find(hash, parent, family, tokens) {
            *cursor = self.behind(present);
            return Inserted::Present;
        }
        assert!(!self.is_cached(page), "page {} is cached in another place", page.0);
        pool.share(page);
        if let Parent::Node(parent) = parent {
            self.nodes[parent.index()].children += 1;
            self.hold(parent);
        }
        self.serial += 1;
        let bucket = self.bucket(hash);
        let next = self.buckets[bucket].replace(page);
        // The caller is a reader of its page.
        let (serial, children, holds, tokens) = (self.serial, 0, 1, *tokens);
        self.nodes[page.index()] =
            Node { serial, hash, parent, family, children, holds, next, tokens };
        self.stats.cached += PAGE_SIZE as u64;
        *cursor = self.behind(page);
        Inserted::New
    }

    /// Drops a caller's reference to a page, cached or not; true if it is free now.
    ///
    /// # Panics
    /// If the page is free, or only the tree holds it.
    pub fn release(&mut self, page: PageId, pool: &mut PagePool) -> bool {
        if !self.is_cached(page) {
            return pool.release(page);
        }
        assert!(pool.references(page) > 1, "page {} was given back once too often", page.0);
        pool.release(page);
        if pool.references(page) == 1 {
            self.let_go(page);
        }
        false
    }

    /// Frees up to `wanted` idle pages, least recently used first, and returns how many.
    pub fn evict(&mut self, wanted: usize, pool: &mut PagePool) -> usize {
        for freed in 0..wanted {
            let Some(page) = self.idle.first() else { return freed };
            self.idle.remove(page);
            self.remove(page, pool);
            self.stats.evicted += PAGE_SIZE as u64;
        }
        wanted
    }

    /// How many pages [`PrefixTree::evict`] could free.
    pub fn evictable(&self) -> usize {
        self.idle.len()
    }

    /// How many of `found`'s pages can be evicted as long as nobody reads them.
    pub(super) fn idle_among(&self, found: &Match) -> usize {
        // What stands below an idle node is idle.
        found.pages.iter().rev().take_while(|page| self.nodes[page.index()].holds == 0).count()
    }

    /// Forgets every page. Those that have readers stay with their readers. O(pages of the pool).
    pub fn clear(&mut self, pool: &mut PagePool) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if node.serial != 0 {
                node.serial = 0;
                pool.release(PageId(index as u32));
            }
        }
        self.buckets.fill(None);
        self.idle.clear();
        self.stats.cached = 0;
    }

    /// The counters.
    pub fn stats(&self) -> PrefixStats {
        self.stats
    }

    /// Whether the tree holds this page.
    pub fn is_cached(&self, page: PageId) -> bool {
        self.nodes[page.index()].serial != 0
    }

    fn behind(&self, page: PageId) -> Cursor {
        Cursor(Place::Node { page, serial: self.nodes[page.index()].serial })
    }

    /// The parent of what is inserted at `cursor`, and the parent's hash.
    fn parent_at(&self, cursor: Cursor) -> Option<(Parent, u128)> {
        match cursor.0 {
            Place::Root(salt) => Some((Parent::Root(salt), self.hash.root(salt))),
            Place::Node { page, serial } => {
                let node = &self.nodes[page.index()];
                (node.serial == serial).then_some((Parent::Node(page), node.hash))
            }
            Place::Outside => None,
        }
    }

    fn bucket(&self, hash: u128) -> usize {
        hash as usize & (self.buckets.len() - 1)
    }

    /// The node of these tokens below `parent`. The hash only says where to look: what decides is
    /// everything that it was made from.
    fn find(
        &self,
        hash: u128,
        parent: Parent,
        family: Family,
        tokens: &[TokenId; PAGE_SIZE],
    ) -> Option<PageId> {
        let mut next = self.buckets[self.bucket(hash)];
        while let Some(page) = next {
            let node = &self.nodes[page.index()];
            let is_key = node.hash == hash && node.parent == parent && node.family == family;
            if is_key && node.tokens == *tokens {
                return Some(page);
            }
            next = node.next;
        }
        None
    }

    /// Counts one more hold of a node. One that was idle is busy now, and so holds its parent.
    fn hold(&mut self, page: PageId) {
        let mut next = Parent::Node(page);
        while let Parent::Node(page) = next {
            let node = &mut self.nodes[page.index()];
            node.holds += 1;
            if node.holds > 1 {
                return;
            }
            next = node.parent;
            self.idle.remove(page);
        }
    }

    /// Counts one hold of a node less. One that becomes idle lets go of its parent. This climbs far
    /// only over pages that the same sequence has found, inserted or released one by one.
    fn let_go(&mut self, page: PageId) {
        let mut next = Parent::Node(page);
        while let Parent::Node(page) = next {
            let node = &mut self.nodes[page.index()];
            node.holds -= 1;
            if node.holds > 0 {
                return;
            }
            next = node.parent;
            self.idle.push(page);
        }
    }

    /// Takes an idle leaf out of the tree and gives its page back.
    fn remove(&mut self, page: PageId, pool: &mut PagePool) {
        let Node { hash, parent, next, children, .. } = self.nodes[page.index()];
        assert_eq!(children, 0, "page {} has children and is evicted", page.0);
        let bucket = self.bucket(hash);
        if self.buckets[bucket] == Some(page) {
            self.buckets[bucket] = next;
        } else {
            let mut before = self.buckets[bucket];
            while let Some(other) = before {
                let node = &mut self.nodes[other.index()];
                if node.next == Some(page) {
                    node.next = next;
                    break;
                }
                before = node.next;
            }
        }
        if let Parent::Node(parent) = parent {
            self.nodes[parent.index()].children -= 1;
        }
        self.nodes[page.index()].serial = 0;
        self.stats.cached -= PAGE_SIZE as u64;
        let is_free = pool.release(page);
        assert!(is_free, "page {} has a reader and is evicted", page.0);
    }
}
