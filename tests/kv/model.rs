//! Pool and prefix tree against a model that counts everything anew, over a million operations.
//!
//! The model knows which nodes exist and who holds which page. What is idle, what is evicted next
//! and how much is available it works out each time from the definitions, by looking at all nodes.

use super::{hashes, page_of, pages_of};
use ridgepoint::kv::{
    Cursor, Demand, Family, Inserted, KvPages, Match, PAGE_SIZE, PageHash, PageId, PrefixOptions,
    PrefixStats, Rest, Sharing,
};
use ridgepoint::request::TokenId;
use std::cmp::Reverse;

const OPERATIONS: u64 = 1_000_000;
/// So many operations apart everything is compared.
const FULL_CHECK: u64 = 64;
const SEQUENCES: usize = 10;

/// A generator of test data (Vigna 2015, splitmix64).
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// A node of the model; it lies in the table at the number of its page.
#[derive(Clone)]
struct Node {
    made: u64,
    parent: Option<PageId>,
    salt: Option<u64>,
    depth: usize,
    content: (u32, Family),
    idle_since: Option<u64>,
}

/// Where a cursor stands. A node is named by its page and by the operation that made it.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Behind(PageId, u64),
    Outside,
}

struct Sequence {
    salt: Option<u64>,
    /// What its pages hold, and those that it has yet to take.
    content: Vec<(u32, Family)>,
    pages: Vec<PageId>,
    published: usize,
    cursor: Cursor,
    place: Place,
}

#[derive(Clone)]
struct Model {
    sharing: Sharing,
    nodes: Vec<Option<Node>>,
    /// References by sequences.
    readers: Vec<u32>,
    stats: PrefixStats,
    clock: u64,
}

impl Model {
    fn new(pages: usize, sharing: Sharing) -> Model {
        let stats = PrefixStats::default();
        Model { sharing, nodes: vec![None; pages], readers: vec![0; pages], stats, clock: 0 }
    }

    fn cached(&self) -> impl Iterator<Item = (PageId, &Node)> {
        self.nodes.iter().enumerate().filter_map(|(i, n)| Some((PageId(i as u32), n.as_ref()?)))
    }

    fn child(
        &self,
        salt: Option<u64>,
        parent: Option<PageId>,
        content: (u32, Family),
    ) -> Option<PageId> {
        let is_child =
            |node: &Node| node.parent == parent && node.content == content && node.salt == salt;
        self.cached().find(|(_, node)| is_child(node)).map(|(page, _)| page)
    }

    fn find(&self, salt: Option<u64>, kinds: &[u32], max_pages: usize) -> Vec<PageId> {
        let mut found: Vec<PageId> = Vec::new();
        for kind in kinds.iter().take(max_pages) {
            let parent = found.last().copied();
            let families = [Family::Prompt, Family::Generated];
            let child = families.iter().find_map(|f| self.child(salt, parent, (*kind, *f)));
            let Some(page) = child else { break };
            found.push(page);
        }
        found
    }

    /// Sets since when each node is idle: nobody reads it or anything below it. Nodes that become
    /// idle together are ordered from the leaves up.
    fn settle(&mut self) {
        let mut busy = vec![false; self.nodes.len()];
        for (page, _) in self.cached().filter(|(page, _)| self.readers[page.index()] > 0) {
            let mut next = Some(page);
            while let Some(page) = next.filter(|page| !busy[page.index()]) {
                busy[page.index()] = true;
                next = self.node(page).parent;
            }
        }
        let mut newly: Vec<PageId> = Vec::new();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let Some(node) = node else { continue };
            if busy[index] {
                node.idle_since = None;
            } else if node.idle_since.is_none() {
                newly.push(PageId(index as u32));
            }
        }
        newly.sort_by_key(|page| Reverse(self.node(*page).depth));
        for page in newly {
            self.clock += 1;
            self.nodes[page.index()].as_mut().unwrap().idle_since = Some(self.clock);
        }
    }

    fn node(&self, page: PageId) -> &Node {
        self.nodes[page.index()].as_ref().unwrap()
    }

    fn idle(&self) -> usize {
        self.cached().filter(|(_, node)| node.idle_since.is_some()).count()
    }

    /// What would be evicted, one leaf after the other.
    fn order_of_eviction(&self) -> Vec<PageId> {
        let mut left = self.clone();
        let mut order = Vec::new();
        while left.idle() > 0 {
            let victim = left.victim();
            left.nodes[victim.index()] = None;
            order.push(victim);
        }
        order
    }

    fn free(&self) -> usize {
        let is_free = |index: &usize| self.readers[*index] == 0 && self.nodes[*index].is_none();
        (0..self.nodes.len()).filter(is_free).count()
    }

    fn available(&self) -> usize {
        self.free() + self.idle()
    }

    /// The least recently used leaf without readers.
    fn victim(&self) -> PageId {
        let is_leaf = |page: PageId| self.cached().all(|(_, node)| node.parent != Some(page));
        let idle = self.cached().filter(|(page, node)| node.idle_since.is_some() && is_leaf(*page));
        idle.min_by_key(|(_, node)| node.idle_since).unwrap().0
    }

    /// What taking `count` pages evicts.
    fn make_room(&mut self, count: usize) {
        for _ in self.free()..count {
            let victim = self.victim();
            self.nodes[victim.index()] = None;
            self.stats.evicted += PAGE_SIZE as u64;
            self.stats.cached -= PAGE_SIZE as u64;
        }
    }

    fn read(&mut self, pages: &[PageId]) {
        for page in pages {
            self.readers[page.index()] += 1;
        }
    }

    /// Pages that were just taken must have been free.
    fn take(&mut self, pages: &[PageId]) {
        for page in pages {
            let free = self.readers[page.index()] == 0 && self.nodes[page.index()].is_none();
            assert!(free, "page {} was handed out and is in use", page.0);
            self.readers[page.index()] = 1;
        }
    }

    fn insert(&mut self, sequence: &Sequence, page: PageId, made: u64) -> (Inserted, Place) {
        let content = sequence.content[sequence.published];
        let shared = content.1 == Family::Prompt || self.sharing == Sharing::All;
        let parent = match sequence.place {
            Place::Root => Some(None),
            Place::Behind(parent, made) => {
                let node = self.nodes[parent.index()].as_ref();
                node.is_some_and(|node| node.made == made).then_some(Some(parent))
            }
            Place::Outside => None,
        };
        let Some(parent) = parent.filter(|_| shared) else {
            return (Inserted::Refused, Place::Outside);
        };
        if let Some(present) = self.child(sequence.salt, parent, content) {
            let made = self.node(present).made;
            return (Inserted::Present, Place::Behind(present, made));
        }
        let depth = parent.map_or(0, |parent| self.node(parent).depth);
        let (salt, depth) = (sequence.salt, depth + 1);
        let node = Node { made, parent, salt, depth, content, idle_since: None };
        self.nodes[page.index()] = Some(node);
        self.stats.cached += PAGE_SIZE as u64;
        (Inserted::New, Place::Behind(page, made))
    }

    fn clear(&mut self) {
        self.nodes.fill(None);
        self.stats.cached = 0;
    }
}

/// The pages, the model, and the sequences that use both.
struct World {
    rng: Rng,
    kv: KvPages,
    model: Model,
    sequences: Vec<Sequence>,
    steps: u64,
    /// How often each outcome came about, so that none is missed.
    seen: [u64; 7],
}

/// Outcomes that must come about.
#[derive(Clone, Copy)]
enum Seen {
    Admitted,
    TurnedAway,
    Shared,
    Evicted,
    New,
    Present,
    Lost,
}

impl World {
    fn new(seed: u64, pages: usize, hash: PageHash, sharing: Sharing) -> World {
        World {
            rng: Rng(seed),
            kv: KvPages::new(pages, Some(PrefixOptions { hash, sharing })),
            model: Model::new(pages, sharing),
            sequences: Vec::new(),
            steps: 0,
            seen: [0; 7],
        }
    }

    fn saw(&mut self, what: Seen, times: usize) {
        self.seen[what as usize] += times as u64;
    }

    fn step(&mut self) {
        let has_room = self.sequences.len() < SEQUENCES;
        match self.rng.below(64) {
            0..14 if has_room => self.admit(),
            14..18 if has_room => self.look_up(),
            18..22 => self.peek(),
            22..30 => self.grow(),
            30..52 => self.publish(),
            // Rarely, since what took many operations to cache is gone then.
            63 if self.rng.below(32) == 0 => self.clear(),
            _ => self.release(),
        }
        self.model.settle();
        assert_eq!(self.kv.available(), self.model.available());
        assert_eq!(self.kv.stats(), self.model.stats);
        self.steps += 1;
        if self.steps.is_multiple_of(FULL_CHECK) {
            self.compare();
        }
    }

    /// A prompt, what is generated after it, and the length of the former. There are few kinds of
    /// pages, so that many prefixes are shared.
    fn content(&mut self) -> (Option<u64>, Vec<(u32, Family)>, usize) {
        let salt = [None, None, Some(0), Some(1)][self.rng.below(4)];
        let (prompt, generated) = (1 + self.rng.below(6), self.rng.below(4));
        let mut content = Vec::new();
        for place in 0..prompt + generated {
            let family = if place < prompt { Family::Prompt } else { Family::Generated };
            content.push((self.rng.below(2) as u32, family));
        }
        (salt, content, prompt)
    }

    /// The kinds of a prompt's pages, and its tokens: those of the pages and some more.
    fn tokens(&mut self, prompt: &[(u32, Family)]) -> (Vec<u32>, Vec<TokenId>) {
        let kinds: Vec<u32> = prompt.iter().map(|(kind, _)| *kind).collect();
        let mut tokens = pages_of(&kinds);
        tokens.extend_from_slice(&page_of(0)[..self.rng.below(PAGE_SIZE)]);
        (kinds, tokens)
    }

    /// A sequence that found the first `shared` of its pages.
    fn begin(
        &mut self,
        (salt, content): (Option<u64>, Vec<(u32, Family)>),
        (pages, shared): (Vec<PageId>, usize),
        (cursor, queried): (Cursor, usize),
    ) {
        let place = match pages[..shared].last() {
            Some(page) => Place::Behind(*page, self.model.node(*page).made),
            None => Place::Root,
        };
        self.model.stats.queried += queried as u64;
        self.model.stats.hit += (shared * PAGE_SIZE) as u64;
        self.saw(Seen::Shared, shared);
        self.sequences.push(Sequence { salt, content, pages, published: shared, cursor, place });
    }

    fn admit(&mut self) {
        let (salt, content, prompt) = self.content();
        let (kinds, tokens) = self.tokens(&content[..prompt]);
        let rest = [Rest::Now, Rest::Later][self.rng.below(2)];
        let (max_shared, keep_free) = (self.rng.below(8), self.rng.below(3));
        let pages = 1 + self.rng.below(content.len());
        let demand = Demand { salt, tokens: &tokens, max_shared, pages, keep_free, rest };
        let found = self.model.find(salt, &kinds, max_shared.min(pages));
        let missing = pages - found.len();
        let is_idle = |page: &&PageId| self.model.node(**page).idle_since.is_some();
        let idle = found.iter().filter(is_idle).count();
        let fits = self.model.available() >= idle + missing + keep_free;
        let admitted = self.kv.admit(&demand);
        assert_eq!(admitted.is_some(), fits);
        let Some(admitted) = admitted else { return self.saw(Seen::TurnedAway, 1) };
        self.saw(Seen::Admitted, 1);
        assert_eq!(admitted.shared_tokens, found.len() * PAGE_SIZE);
        assert_eq!(admitted.pages[..found.len()], found);
        self.model.read(&found);
        self.model.settle();
        let rest = &admitted.pages[found.len()..];
        match demand.rest {
            Rest::Now => {
                assert_eq!(rest.len(), missing);
                self.take(rest);
            }
            Rest::Later => assert_eq!(rest, []),
        }
        let queried = tokens.len();
        let shared = (admitted.pages, found.len());
        self.begin((salt, content), shared, (admitted.cursor, queried));
    }

    /// Tells the model of pages that were taken.
    fn take(&mut self, pages: &[PageId]) {
        let before = self.model.stats.evicted;
        self.model.make_room(pages.len());
        self.model.take(pages);
        self.saw(Seen::Evicted, usize::from(self.model.stats.evicted > before));
    }

    fn look_up(&mut self) {
        let (salt, content, prompt) = self.content();
        let (kinds, tokens) = self.tokens(&content[..prompt]);
        let max_pages = self.rng.below(8);
        let found = self.model.find(salt, &kinds, max_pages);
        let Match { pages, cursor } = self.kv.lookup(salt, &tokens, max_pages);
        assert_eq!(pages, found);
        self.model.read(&found);
        self.begin((salt, content), (pages, found.len()), (cursor, tokens.len()));
    }

    fn peek(&mut self) {
        let (salt, content, prompt) = self.content();
        let (kinds, tokens) = self.tokens(&content[..prompt]);
        let max_pages = self.rng.below(8);
        let found = self.model.find(salt, &kinds, max_pages);
        assert_eq!(self.kv.peek(salt, &tokens, max_pages).pages, found);
    }

    fn any_sequence(&mut self) -> Option<usize> {
        (!self.sequences.is_empty()).then(|| self.rng.below(self.sequences.len()))
    }

    fn grow(&mut self) {
        let Some(index) = self.any_sequence() else { return };
        let room = self.sequences[index].content.len() - self.sequences[index].pages.len();
        let count = self.rng.below(room + 1);
        let taken = self.kv.take(count);
        assert_eq!(taken.is_some(), self.model.available() >= count);
        if let Some(pages) = taken {
            assert_eq!(pages.len(), count);
            self.take(&pages);
            self.sequences[index].pages.extend(pages);
        }
    }

    fn publish(&mut self) {
        let Some(index) = self.any_sequence() else { return };
        let sequence = &mut self.sequences[index];
        let Some(&page) = sequence.pages.get(sequence.published) else { return };
        let (kind, family) = sequence.content[sequence.published];
        let was_inside = !sequence.cursor.is_outside();
        let (expected, place) = self.model.insert(sequence, page, self.steps);
        let inserted = self.kv.insert(&mut sequence.cursor, &page_of(kind), page, family);
        assert_eq!(inserted, expected);
        assert_eq!(sequence.cursor.is_outside(), place == Place::Outside);
        sequence.published += 1;
        sequence.place = place;
        match inserted {
            Inserted::New => self.saw(Seen::New, 1),
            Inserted::Present => self.saw(Seen::Present, 1),
            Inserted::Refused if was_inside && family == Family::Prompt => self.saw(Seen::Lost, 1),
            Inserted::Refused => {}
        }
    }

    fn release(&mut self) {
        let Some(index) = self.any_sequence() else { return };
        let sequence = self.sequences.swap_remove(index);
        self.kv.release(&sequence.pages);
        for page in &sequence.pages {
            self.model.readers[page.index()] -= 1;
        }
    }

    fn clear(&mut self) {
        self.kv.clear();
        self.model.clear();
    }

    /// Compares everything there is.
    fn compare(&self) {
        self.kv.check();
        let mut held = vec![0; self.kv.pages()];
        for page in self.sequences.iter().flat_map(|sequence| &sequence.pages) {
            held[page.index()] += 1;
        }
        assert_eq!(self.model.readers, held);
        for (index, readers) in held.iter().enumerate() {
            let cached = self.model.nodes[index].is_some();
            let page = PageId(index as u32);
            assert_eq!(self.kv.references(page), readers + u32::from(cached), "page {index}");
        }
        assert_eq!(self.kv.idle_pages(), self.model.order_of_eviction());
    }

    /// Ends every sequence: what was taken must all be available again.
    fn end(mut self) -> [u64; 7] {
        while !self.sequences.is_empty() {
            self.release();
            self.model.settle();
        }
        self.compare();
        assert_eq!(self.kv.available(), self.kv.pages());
        let all = self.kv.take(self.kv.pages()).unwrap();
        self.take(&all);
        self.kv.check();
        assert_eq!((self.model.free(), self.kv.stats().cached), (0, 0));
        self.seen
    }
}

/// Says on the way out where a comparison failed.
struct Whereabouts {
    world: &'static str,
    seed: u64,
    step: u64,
}

impl Drop for Whereabouts {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} pages, seed {}, operation {}", self.world, self.seed, self.step);
        }
    }
}

#[test]
fn a_million_operations_agree_with_the_model() {
    let pools = [("3", 3), ("12", 12), ("24", 24), ("48", 48)];
    let worlds = pools.len() * hashes().len() * 2;
    let (mut seed, mut total) = (0, [0; 7]);
    for (world, pages) in pools {
        for hash in hashes() {
            for sharing in [Sharing::Prompt, Sharing::All] {
                seed += 1;
                let mut at = Whereabouts { world, seed, step: 0 };
                let mut state = World::new(seed, pages, hash, sharing);
                while at.step < OPERATIONS.div_ceil(worlds as u64) {
                    state.step();
                    at.step += 1;
                }
                let seen = state.end();
                total.iter_mut().zip(seen).for_each(|(total, seen)| *total += seen);
            }
        }
    }
    assert!(total.iter().all(|count| *count > 500), "{total:?}");
}
