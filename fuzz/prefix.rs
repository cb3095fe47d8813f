//! What the fuzz target `prefix` does with its input: operations on the pages of a KV cache.
//!
//! The first two bytes choose the size, the sharing and the hash; each operation is a byte that
//! names it and a byte of arguments. A page is never handed out while it is held, and whoever finds
//! one finds exactly the tokens that were written to it, after the same tokens, of the same tenant.

use ridgepoint::kv::{
    Cursor, Demand, Family, Inserted, KvPages, Match, PAGE_SIZE, PageHash, PageId, PrefixOptions,
    Rest, Sharing,
};
use ridgepoint::request::TokenId;

/// A tenant and the kinds of all pages up to one: what decides who may read it.
type Content = (Option<u64>, Vec<u8>);

struct Sequence {
    content: Content,
    pages: Vec<PageId>,
    published: usize,
    cursor: Cursor,
}

struct World {
    kv: KvPages,
    sharing: Sharing,
    sequences: Vec<Sequence>,
    /// What each page held when it was published.
    written: Vec<Option<Content>>,
}

/// Operations on pages, as `data` says.
pub fn prefix(data: &[u8]) {
    let [size, kind, operations @ ..] = data else { return };
    let hash = match kind % 3 {
        0 => PageHash::keyed(u128::from(*kind)),
        1 => PageHash::custom(0, |_, _| 0),
        _ => PageHash::custom(0, |_, bytes| u128::from(bytes[0] ^ bytes[bytes.len() - 4]) % 2),
    };
    let sharing = if kind & 64 == 0 { Sharing::Prompt } else { Sharing::All };
    let options = (kind & 128 == 0).then_some(PrefixOptions { hash, sharing });
    let pages = usize::from(size % 32) + 1;
    let kv = KvPages::new(pages, options);
    let mut world = World { kv, sharing, sequences: Vec::new(), written: vec![None; pages] };
    let (operations, _) = operations.as_chunks::<2>();
    for &[operation, argument] in operations {
        world.step(operation, argument);
        world.check();
    }
    while !world.sequences.is_empty() {
        world.release(0);
    }
    world.check();
    assert_eq!(world.kv.available(), pages);
    assert!(world.kv.take(pages).is_some());
}

impl World {
    fn step(&mut self, operation: u8, argument: u8) {
        let high = usize::from(operation >> 3);
        let chosen = usize::from(argument) % self.sequences.len().max(1);
        match operation % 8 {
            0 | 1 => self.admit(high, argument),
            2 => self.look_up(high, argument),
            _ if self.sequences.is_empty() => {}
            3 | 4 => self.publish(chosen, high),
            5 => self.grow(chosen, high % 4),
            6 => self.release(chosen),
            _ if high == 31 => self.kv.clear(),
            _ => self.release(chosen),
        }
    }

    /// Four kinds of two bits each, as many of them as `high` says.
    fn content(high: usize, argument: u8) -> Content {
        let salt = [None, Some(1)][high & 1];
        let kinds = (0..1 + (high >> 1) % 4).map(|place| (argument >> (2 * place)) & 3);
        (salt, kinds.collect())
    }

    fn admit(&mut self, high: usize, argument: u8) {
        let content = World::content(high, argument);
        let tokens = tokens(&content.1);
        let rest = if high & 8 == 0 { Rest::Now } else { Rest::Later };
        let (max_shared, keep_free) = (content.1.len() - 1, high >> 4);
        let pages = content.1.len() + 1;
        let demand =
            Demand { salt: content.0, tokens: &tokens, max_shared, pages, keep_free, rest };
        let before = self.kv.available();
        let Some(admitted) = self.kv.admit(&demand) else {
            assert_eq!(self.kv.available(), before);
            return;
        };
        assert!(self.kv.available() >= keep_free);
        let shared = admitted.shared_tokens / PAGE_SIZE;
        let taken = if rest == Rest::Now { pages } else { shared };
        assert_eq!(admitted.pages.len(), taken);
        self.begin(content, admitted.pages, shared, admitted.cursor);
    }

    fn look_up(&mut self, high: usize, argument: u8) {
        let content = World::content(high, argument);
        let peeked = self.kv.peek(content.0, &tokens(&content.1), high >> 3);
        let found = self.kv.lookup(content.0, &tokens(&content.1), high >> 3);
        assert_eq!(found, peeked);
        let Match { pages, cursor } = found;
        let shared = pages.len();
        self.begin(content, pages, shared, cursor);
    }

    fn begin(&mut self, content: Content, pages: Vec<PageId>, shared: usize, cursor: Cursor) {
        for (place, page) in pages.iter().enumerate() {
            if place < shared {
                let found = self.written[page.index()].as_ref().expect("a page that was written");
                assert_eq!((found.0, &found.1[..]), (content.0, &content.1[..=place]));
            } else {
                self.written[page.index()] = None;
            }
        }
        self.sequences.push(Sequence { content, pages, published: shared, cursor });
    }

    /// Publishes the next page; what comes after the prompt is generated.
    fn publish(&mut self, chosen: usize, high: usize) {
        let sequence = &mut self.sequences[chosen];
        let place = sequence.published;
        let Some(&page) = sequence.pages.get(place) else { return };
        let family = if place == sequence.content.1.len() {
            sequence.content.1.push((high % 4) as u8);
            Family::Generated
        } else {
            Family::Prompt
        };
        sequence.published += 1;
        let kinds = &sequence.content.1[..=place];
        let tokens = tokens(&kinds[place..]);
        let inserted = self.kv.insert(&mut sequence.cursor, &tokens, page, family);
        let is_refused = family == Family::Generated && self.sharing == Sharing::Prompt;
        assert!(inserted == Inserted::Refused || !is_refused);
        if inserted == Inserted::New {
            self.written[page.index()] = Some((sequence.content.0, kinds.to_vec()));
        }
        assert_eq!(sequence.cursor.is_outside(), inserted == Inserted::Refused);
    }

    fn grow(&mut self, chosen: usize, count: usize) {
        let available = self.kv.available();
        let taken = self.kv.take(count);
        assert_eq!(taken.is_some(), available >= count);
        for page in taken.into_iter().flatten() {
            self.written[page.index()] = None;
            self.sequences[chosen].pages.push(page);
        }
    }

    fn release(&mut self, chosen: usize) {
        let sequence = self.sequences.swap_remove(chosen);
        self.kv.release(&sequence.pages);
    }

    fn check(&self) {
        self.kv.check();
        let mut held = vec![0; self.kv.pages()];
        for page in self.sequences.iter().flat_map(|sequence| &sequence.pages) {
            held[page.index()] += 1;
        }
        let mut cached = 0;
        for (index, held) in held.iter().enumerate() {
            let more = self.kv.references(PageId(index as u32)) - held;
            assert!(more <= 1, "page {index} has a reference that nobody holds");
            cached += u64::from(more);
        }
        assert_eq!(self.kv.stats().cached, cached * PAGE_SIZE as u64);
    }
}

fn tokens(kinds: &[u8]) -> Vec<TokenId> {
    let page = |kind: &u8| {
        let mut page = [TokenId(3); PAGE_SIZE];
        page[PAGE_SIZE - 1] = TokenId(u32::from(*kind));
        page
    };
    kinds.iter().flat_map(page).collect()
}
