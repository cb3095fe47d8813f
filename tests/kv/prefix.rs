//! The rules of the prefix cache one by one.

use super::{hashes, page_of, pages_of};
use ridgepoint::kv::{
    Cursor, Demand, Family, Inserted, KvPages, PAGE_SIZE, PageHash, PageId, PagePool,
    PrefixOptions, PrefixStats, PrefixTree, Rest, Sharing,
};
use ridgepoint::request::TokenId;
use std::cell::RefCell;
use std::collections::HashSet;

/// A pool that shares pages of prompts only.
fn prompts(pages: usize) -> KvPages {
    with(pages, PageHash::keyed(3), Sharing::Prompt)
}

fn with(pages: usize, hash: PageHash, sharing: Sharing) -> KvPages {
    KvPages::new(pages, Some(PrefixOptions { hash, sharing }))
}

/// Takes pages for a prompt, publishes them all, and returns them with the place behind.
fn run(kv: &mut KvPages, salt: Option<u64>, kinds: &[u32]) -> (Vec<PageId>, Cursor) {
    let pages = kv.take(kinds.len()).unwrap();
    let mut cursor = Cursor::start(salt);
    for (kind, page) in kinds.iter().zip(&pages) {
        kv.insert(&mut cursor, &page_of(*kind), *page, Family::Prompt);
    }
    kv.check();
    (pages, cursor)
}

/// The same, but the sequence has ended: its pages are cached and idle.
fn cache(kv: &mut KvPages, kinds: &[u32]) -> Vec<PageId> {
    let (pages, _) = run(kv, None, kinds);
    kv.release(&pages);
    kv.check();
    pages
}

fn found(kv: &KvPages, kinds: &[u32]) -> Vec<PageId> {
    kv.peek(None, &pages_of(kinds), usize::MAX).pages
}

#[test]
fn the_longest_prefix_of_full_pages_is_found() {
    for hash in hashes() {
        let mut kv = with(8, hash, Sharing::Prompt);
        let (pages, _) = run(&mut kv, None, &[1, 2, 3]);
        assert_eq!(found(&kv, &[1, 2, 3]), pages);
        assert_eq!(found(&kv, &[1, 2, 3, 4]), pages);
        assert_eq!(found(&kv, &[1, 2, 4, 3]), pages[..2]);
        assert_eq!(found(&kv, &[2, 3]), []);
        assert_eq!(found(&kv, &[1, 3]), pages[..1]);
        let tokens = pages_of(&[1, 2, 3]);
        assert_eq!(kv.peek(None, &tokens, 2).pages, pages[..2]);
        assert_eq!(kv.peek(None, &tokens, 0).pages, []);
        assert_eq!(kv.peek(None, &tokens[..3 * PAGE_SIZE - 1], 9).pages, pages[..2]);
        assert_eq!(kv.peek(None, &[], 9).pages, []);
    }
}

#[test]
fn every_token_counts() {
    for hash in hashes() {
        let mut kv = with(2, hash, Sharing::Prompt);
        let (pages, _) = run(&mut kv, None, &[1, 2]);
        for place in 0..2 * PAGE_SIZE {
            let mut tokens = pages_of(&[1, 2]);
            tokens[place] = TokenId(tokens[place].0 ^ 0x8000_0000);
            assert_eq!(kv.peek(None, &tokens, 2).pages, pages[..place / PAGE_SIZE], "{place}");
        }
    }
}

/// Chains of equal pages: only the parent and the depth tell the nodes apart.
#[test]
fn equal_pages_in_different_places_are_different_nodes() {
    for hash in hashes() {
        let mut kv = with(8, hash, Sharing::Prompt);
        let (ones, _) = run(&mut kv, None, &[1, 1, 1]);
        let (twos, _) = run(&mut kv, None, &[2, 1, 1]);
        assert_eq!(found(&kv, &[1, 1, 1, 1]), ones);
        assert_eq!(found(&kv, &[2, 1, 1, 1]), twos);
    }
}

#[test]
fn tenants_with_different_salts_share_nothing() {
    for hash in hashes() {
        let mut kv = with(8, hash, Sharing::Prompt);
        let salts = [None, Some(0), Some(1)];
        let pages = salts.map(|salt| run(&mut kv, salt, &[1, 2]).0);
        for (salt, pages) in salts.iter().zip(&pages) {
            assert_eq!(kv.peek(*salt, &pages_of(&[1, 2]), 9).pages, *pages);
        }
        assert_eq!(kv.peek(Some(2), &pages_of(&[1, 2]), 9).pages, []);
    }
}

thread_local! {
    static HASHED: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The tree is right under any hash, so only this shows that the hash tells pages apart.
#[test]
fn the_hash_is_of_everything_that_makes_a_page() {
    let record = |key: u128, bytes: &[u8]| {
        HASHED.with_borrow_mut(|hashed| hashed.push(bytes.to_vec()));
        bytes.iter().fold(key, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(1_099_511_627))
    };
    let kv = |key| with(8, PageHash::custom(key, record), Sharing::All);
    let mut tokens = pages_of(&[0]);
    kv(1).peek(None, &tokens, 1);
    for place in 0..PAGE_SIZE {
        for bit in [0, 31] {
            tokens[place].0 ^= 1 << bit;
            kv(1).peek(None, &tokens, 1);
            tokens[place].0 ^= 1 << bit;
        }
    }
    for salt in [Some(0), Some(1), Some(1 << 63)] {
        kv(1).peek(salt, &tokens, 1);
    }
    // The second page after two different ones.
    for first in [8, 9] {
        let mut kv = kv(1);
        run(&mut kv, None, &[first]);
        HASHED.with_borrow_mut(|hashed| hashed.truncate(hashed.len() - 2));
        kv.peek(None, &pages_of(&[first, 0]), 2);
    }
    let hashed = HASHED.take();
    let pages: Vec<_> = hashed.iter().filter(|bytes| bytes.len() > 4 * PAGE_SIZE).collect();
    // Each page that was not found was looked for in both families; the first page of the second
    // part was hashed once and found.
    assert_eq!(pages.len(), 2 * (1 + 2 * PAGE_SIZE + 3) + 2 * 3);
    assert_eq!(pages.iter().collect::<HashSet<_>>().len(), pages.len());
}

#[test]
fn keys_are_random_and_tell_hashes_apart() {
    let [a, b] = [PageHash::random(), PageHash::random()].map(|hash| format!("{hash:?}"));
    assert_ne!(a, b);
}

#[test]
fn only_pages_of_prompts_are_shared_unless_told_otherwise() {
    for (sharing, first, then, pages_found) in [
        (Sharing::Prompt, Inserted::Refused, Inserted::Refused, 1),
        (Sharing::All, Inserted::New, Inserted::New, 3),
    ] {
        let mut kv = with(4, PageHash::keyed(3), sharing);
        let (_, mut cursor) = run(&mut kv, None, &[1]);
        let pages = kv.take(2).unwrap();
        let inserted = kv.insert(&mut cursor, &page_of(2), pages[0], Family::Generated);
        assert_eq!(inserted, first);
        // After a page that is not shared, none can be: its parent is missing.
        assert_eq!(cursor.is_outside(), first == Inserted::Refused);
        assert_eq!(kv.insert(&mut cursor, &page_of(3), pages[1], Family::Prompt), then);
        assert_eq!(found(&kv, &[1, 2, 3]).len(), pages_found);
        kv.check();
    }
    assert_eq!(PrefixOptions::default().sharing, Sharing::Prompt);
}

#[test]
fn a_page_of_the_prompt_is_preferred_to_a_generated_one() {
    for hash in hashes() {
        let mut kv = with(4, hash, Sharing::All);
        let pages = kv.take(2).unwrap();
        for (page, family) in pages.iter().zip([Family::Generated, Family::Prompt]) {
            let inserted = kv.insert(&mut Cursor::start(None), &page_of(1), *page, family);
            assert_eq!(inserted, Inserted::New);
        }
        assert_eq!(found(&kv, &[1]), pages[1..]);
        kv.check();
    }
}

#[test]
fn pages_are_shared_while_their_sequence_runs() {
    let mut kv = prompts(6);
    let (pages, mut cursor) = run(&mut kv, None, &[1, 2]);
    let other = kv.lookup(None, &pages_of(&[1, 2, 3]), 9);
    assert_eq!((&other.pages, other.cursor), (&pages, cursor));
    assert_eq!(pages.iter().map(|page| kv.references(*page)).collect::<Vec<_>>(), [3, 3]);
    // Both go on from the same node.
    let more = kv.take(2).unwrap();
    kv.insert(&mut cursor, &page_of(3), more[0], Family::Prompt);
    kv.insert(&mut other.cursor.clone(), &page_of(4), more[1], Family::Prompt);
    assert_eq!(found(&kv, &[1, 2, 3]), [pages[0], pages[1], more[0]]);
    assert_eq!(found(&kv, &[1, 2, 4]), [pages[0], pages[1], more[1]]);
    // The first ends; what the second reads stays.
    kv.release(&[pages[0], pages[1], more[0]]);
    kv.check();
    assert_eq!((kv.available(), kv.idle_pages()), (3, vec![more[0]]));
}

#[test]
fn an_equal_page_stays_and_the_cursor_follows_it() {
    let mut kv = prompts(6);
    let (first, _) = run(&mut kv, None, &[1, 2]);
    let own = kv.take(3).unwrap();
    let mut cursor = Cursor::start(None);
    assert_eq!(kv.insert(&mut cursor, &page_of(1), own[0], Family::Prompt), Inserted::Present);
    assert_eq!(kv.insert(&mut cursor, &page_of(2), own[1], Family::Prompt), Inserted::Present);
    assert_eq!(kv.insert(&mut cursor, &page_of(3), own[2], Family::Prompt), Inserted::New);
    assert_eq!(own.iter().map(|page| kv.references(*page)).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!(found(&kv, &[1, 2, 3]), [first[0], first[1], own[2]]);
    // Nobody reads the first two nodes, but what stands below them is read.
    kv.release(&first);
    kv.check();
    assert_eq!((kv.available(), kv.idle_pages()), (1, vec![]));
    kv.release(&own);
    kv.check();
    assert_eq!(kv.idle_pages(), [own[2], first[1], first[0]]);
    assert_eq!(kv.available(), 6);
}

#[test]
fn a_sequence_may_publish_its_own_page_again() {
    let mut kv = prompts(2);
    let (pages, cursor) = run(&mut kv, None, &[1]);
    let mut again = Cursor::start(None);
    assert_eq!(kv.insert(&mut again, &page_of(1), pages[0], Family::Prompt), Inserted::Present);
    assert_eq!((again, kv.references(pages[0])), (cursor, 2));
}

#[test]
fn the_least_recently_used_leaf_is_evicted_first() {
    let mut kv = prompts(8);
    let a = cache(&mut kv, &[1, 2]);
    let b = cache(&mut kv, &[3, 4]);
    let c = kv.lookup(None, &pages_of(&[1, 2]), 1).pages;
    assert_eq!(kv.idle_pages(), [a[1], b[1], b[0]]);
    kv.release(&c);
    // The first page of `a` was used last; its child not at all.
    assert_eq!(kv.idle_pages(), [a[1], b[1], b[0], a[0]]);
    found(&kv, &[1, 2]);
    assert_eq!(kv.idle_pages(), [a[1], b[1], b[0], a[0]], "to peek is not to use");
    assert!(kv.take(4 + 2).is_some());
    assert_eq!((found(&kv, &[1]).len(), found(&kv, &[3]).len()), (1, 1));
    assert_eq!((found(&kv, &[1, 2]).len(), found(&kv, &[3, 4]).len()), (1, 1));
    assert!(kv.take(1).is_some());
    assert_eq!((found(&kv, &[1]).len(), found(&kv, &[3]).len()), (1, 0));
    kv.check();
}

/// The order in which a sequence gives its pages back makes no difference to what is evicted.
#[test]
fn children_are_evicted_before_their_parents() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut kv = prompts(3);
        let (pages, _) = run(&mut kv, None, &[1, 2, 3]);
        for place in order {
            kv.release(&pages[place..=place]);
            kv.check();
        }
        assert_eq!(kv.idle_pages(), [pages[2], pages[1], pages[0]]);
    }
}

#[test]
fn a_parent_goes_after_its_last_child() {
    let mut kv = prompts(4);
    let a = cache(&mut kv, &[1, 2]);
    let b = kv.lookup(None, &pages_of(&[1]), 9);
    let mut cursor = b.cursor;
    let own = kv.take(1).unwrap();
    kv.insert(&mut cursor, &page_of(3), own[0], Family::Prompt);
    kv.release(&[b.pages[0], own[0]]);
    assert_eq!(kv.idle_pages(), [a[1], own[0], a[0]]);
    kv.take(3).unwrap();
    assert_eq!(found(&kv, &[1, 3]), [a[0]]);
    kv.check();
    kv.take(1).unwrap();
    assert_eq!((found(&kv, &[1]), kv.available()), (vec![], 0));
    kv.check();
}

#[test]
fn what_has_readers_is_not_evicted() {
    let mut kv = prompts(4);
    let pages = cache(&mut kv, &[1, 2, 3]);
    assert_eq!(kv.available(), 4);
    let reader = kv.lookup(None, &pages_of(&[1, 2]), 9).pages;
    assert_eq!((kv.available(), kv.idle_pages()), (2, vec![pages[2]]));
    assert_eq!((kv.take(3), found(&kv, &[1, 2, 3]).len()), (None, 3), "none is none");
    assert_eq!(kv.take(2).unwrap().len(), 2);
    assert_eq!((found(&kv, &[1, 2, 3]), kv.available()), (pages[..2].to_vec(), 0));
    // Two readers: the page is idle when the second is done.
    let second = kv.lookup(None, &pages_of(&[1, 2]), 9).pages;
    kv.release(&reader);
    assert_eq!(kv.available(), 0);
    kv.release(&second);
    assert_eq!(kv.available(), 2);
    kv.check();
}

#[test]
fn eviction_frees_what_is_asked_for_and_no_more() {
    let mut pool = PagePool::new(4);
    let mut tree = PrefixTree::new(4, PageHash::keyed(1), Sharing::Prompt);
    let pages = pool.take(3).unwrap();
    let mut cursor = Cursor::start(None);
    for (kind, page) in pages.iter().enumerate() {
        tree.insert(&mut cursor, &page_of(kind as u32), *page, Family::Prompt, &mut pool);
    }
    assert_eq!((tree.evict(3, &mut pool), tree.evictable()), (0, 0));
    for page in &pages {
        assert!(!tree.release(*page, &mut pool), "the tree keeps it");
    }
    assert_eq!((tree.evict(2, &mut pool), tree.evictable(), pool.free_pages()), (2, 1, 3));
    assert_eq!((tree.evict(2, &mut pool), tree.evictable(), pool.free_pages()), (1, 0, 4));
    assert!(!tree.is_cached(pages[0]));
    tree.check(&pool);
    pool.check();
}

#[test]
fn free_pages_are_taken_before_any_is_evicted() {
    let mut kv = prompts(4);
    cache(&mut kv, &[1, 2]);
    kv.take(2).unwrap();
    assert_eq!((found(&kv, &[1, 2]).len(), kv.stats().evicted), (2, 0));
}

#[test]
fn behind_an_evicted_page_nothing_is_inserted() {
    let mut kv = prompts(3);
    let (pages, cursor) = run(&mut kv, None, &[1]);
    kv.release(&pages);
    // The same page is cached again, as another node.
    let mut taken = kv.take(3).unwrap();
    taken.retain(|page| *page != pages[0]);
    kv.insert(&mut Cursor::start(None), &page_of(5), pages[0], Family::Prompt);
    let mut stale = cursor;
    assert_eq!(kv.insert(&mut stale, &page_of(2), taken[0], Family::Prompt), Inserted::Refused);
    assert!(stale.is_outside());
    assert_eq!(found(&kv, &[5, 2]), pages);
    kv.check();
}

/// A sequence whose place is gone can find a new one and publish its pages again.
#[test]
fn a_lost_place_can_be_found_again() {
    let mut kv = prompts(6);
    let (first, _) = run(&mut kv, None, &[1, 2]);
    let own = kv.take(3).unwrap();
    let mut cursor = Cursor::start(None);
    for (kind, page) in [1, 2].iter().zip(&own) {
        kv.insert(&mut cursor, &page_of(*kind), *page, Family::Prompt);
    }
    kv.release(&first);
    kv.take(2).unwrap();
    assert_eq!(kv.insert(&mut cursor, &page_of(3), own[2], Family::Prompt), Inserted::Refused);
    let place = kv.peek(None, &pages_of(&[1, 2]), 9);
    assert_eq!(place.pages, first[..1]);
    let mut cursor = place.cursor;
    assert_eq!(kv.insert(&mut cursor, &page_of(2), own[1], Family::Prompt), Inserted::New);
    assert_eq!(kv.insert(&mut cursor, &page_of(3), own[2], Family::Prompt), Inserted::New);
    assert_eq!(found(&kv, &[1, 2, 3]), [first[0], own[1], own[2]]);
    kv.check();
}

#[test]
fn clearing_forgets_all_and_takes_nothing_away() {
    let mut kv = prompts(6);
    cache(&mut kv, &[8, 9]);
    let (pages, mut cursor) = run(&mut kv, None, &[1, 2]);
    kv.clear();
    kv.check();
    assert_eq!((found(&kv, &[1]), found(&kv, &[8])), (vec![], vec![]));
    assert_eq!((kv.available(), kv.stats().cached, kv.references(pages[0])), (4, 0, 1));
    let more = kv.take(1).unwrap();
    assert_eq!(kv.insert(&mut cursor, &page_of(3), more[0], Family::Prompt), Inserted::Refused);
    kv.release(&pages);
    kv.release(&more);
    assert_eq!(kv.available(), 6);
    assert_eq!(cache(&mut kv, &[1, 2]), found(&kv, &[1, 2]));
}

#[test]
fn hits_queries_and_evictions_are_counted_in_tokens() {
    let mut kv = prompts(3);
    cache(&mut kv, &[1, 2]);
    let tokens = pages_of(&[1, 2, 3]);
    kv.peek(None, &tokens, 9);
    let cached = PrefixStats { cached: 128, ..PrefixStats::default() };
    assert_eq!(kv.stats(), cached);
    let pages = kv.lookup(None, &tokens[..150], 1).pages;
    assert_eq!(kv.stats(), PrefixStats { queried: 150, hit: 64, ..cached });
    kv.take(2).unwrap();
    assert_eq!(kv.stats(), PrefixStats { queried: 150, hit: 64, evicted: 64, cached: 64 });
    kv.release(&pages);
    kv.clear();
    assert_eq!(kv.stats(), PrefixStats { queried: 150, hit: 64, evicted: 64, cached: 0 });
}

fn demand(tokens: &[TokenId], pages: usize, keep_free: usize, rest: Rest) -> Demand<'_> {
    Demand { salt: None, tokens, max_shared: usize::MAX, pages, keep_free, rest }
}

#[test]
fn admission_shares_and_takes_all_or_nothing() {
    let mut kv = prompts(6);
    let cached = cache(&mut kv, &[1, 2]);
    let other = kv.take(2).unwrap();
    let tokens = pages_of(&[1, 2, 3]);
    // Four are available, but two of them are the ones that would be shared.
    assert_eq!(kv.available(), 4);
    let before = (kv.stats(), kv.idle_pages());
    assert_eq!(kv.admit(&demand(&tokens, 5, 0, Rest::Now)), None);
    assert_eq!(kv.admit(&demand(&tokens, 5, 0, Rest::Later)), None);
    assert_eq!(kv.admit(&demand(&tokens, 4, 1, Rest::Now)), None);
    assert_eq!(kv.admit(&demand(&tokens, usize::MAX, usize::MAX, Rest::Now)), None);
    assert_eq!((kv.stats(), kv.idle_pages()), before, "a refusal leaves no trace");
    let admitted = kv.admit(&demand(&tokens, 4, 0, Rest::Now)).unwrap();
    assert_eq!((admitted.pages.len(), admitted.shared_tokens), (4, 128));
    assert_eq!(admitted.pages[..2], cached);
    assert_eq!((kv.available(), kv.stats().hit, kv.stats().queried), (0, 128, 192));
    let mut cursor = admitted.cursor;
    kv.insert(&mut cursor, &page_of(3), admitted.pages[2], Family::Prompt);
    kv.release(&admitted.pages);
    kv.release(&other);
    assert_eq!((kv.available(), found(&kv, &[1, 2, 3]).len()), (6, 3));
    kv.check();
}

#[test]
fn admission_can_leave_the_rest_for_later() {
    let mut kv = prompts(4);
    let cached = cache(&mut kv, &[1, 2]);
    let tokens = pages_of(&[1, 2]);
    let first = Demand { max_shared: 1, ..demand(&tokens, 2, 2, Rest::Later) };
    let admitted = kv.admit(&first).unwrap();
    assert_eq!((&admitted.pages[..], admitted.shared_tokens), (&cached[..1], 64));
    assert_eq!(kv.available(), 3);
    // More could be shared than is needed.
    let second = kv.admit(&demand(&tokens, 1, 0, Rest::Now)).unwrap();
    assert_eq!((second.pages.len(), kv.references(cached[0])), (1, 3));
    kv.check();
}

#[test]
fn without_a_prefix_cache_there_is_only_the_pool() {
    let mut kv = KvPages::new(3, None);
    let tokens = pages_of(&[1, 2]);
    let mut admitted = kv.admit(&demand(&tokens, 2, 1, Rest::Now)).unwrap();
    assert_eq!((admitted.shared_tokens, kv.available(), kv.pages()), (0, 1, 3));
    assert!(admitted.cursor.is_outside());
    let page = admitted.pages[0];
    let mut start = Cursor::start(None);
    for cursor in [&mut admitted.cursor, &mut start] {
        assert_eq!(kv.insert(cursor, &page_of(1), page, Family::Prompt), Inserted::Refused);
        assert!(cursor.is_outside());
    }
    assert_eq!(kv.lookup(None, &tokens, 9).pages, []);
    kv.clear();
    kv.release(&admitted.pages);
    assert_eq!((kv.available(), kv.stats()), (3, PrefixStats::default()));
    kv.check();
}

#[test]
#[should_panic(expected = "page 0 was given back once too often")]
fn the_trees_own_reference_is_not_the_callers() {
    let mut kv = prompts(1);
    let pages = cache(&mut kv, &[1]);
    kv.release(&pages);
}

#[test]
#[should_panic(expected = "page 0 is cached in another place")]
fn a_page_in_two_places_is_caught() {
    let mut kv = prompts(1);
    let (pages, mut cursor) = run(&mut kv, None, &[1]);
    kv.insert(&mut cursor, &page_of(2), pages[0], Family::Prompt);
}

#[test]
#[should_panic(expected = "page 0 is free, so nobody can share it")]
fn a_page_that_nobody_holds_is_caught() {
    prompts(1).insert(&mut Cursor::start(None), &page_of(2), PageId(0), Family::Prompt);
}

#[test]
#[should_panic(expected = "a page of 63 tokens, but only full pages are shared")]
fn a_page_that_is_not_full_is_caught() {
    let mut kv = prompts(1);
    let page = kv.take(1).unwrap()[0];
    kv.insert(&mut Cursor::start(None), &page_of(2)[1..], page, Family::Prompt);
}
