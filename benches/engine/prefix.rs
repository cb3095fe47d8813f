//! Finding, publishing and evicting pages of a prefix.
//!
//! A prompt of 8,192 tokens, all of it cached, is to be found in 40 microseconds at most, however
//! much else is cached. Prints the best and the median time of each operation.

use crate::timed;
use criterion::{Criterion, Throughput};
use ridgepoint::kv::{
    Cursor, Family, Inserted, KvPages, PAGE_SIZE, PageHash, PageId, PrefixOptions, Sharing,
};
use ridgepoint::request::TokenId;
use std::time::{Duration, Instant};

/// Tokens of a prompt.
const PROMPT: usize = 8192;
const PROMPT_PAGES: usize = PROMPT / PAGE_SIZE;
/// Prompts in a cache that fills a large device: 524,288 tokens.
const MANY: usize = 64;
/// The most that a lookup may take.
const LOOKUP: Duration = Duration::from_micros(40);

/// Runs the benchmarks.
pub fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prefix");
    group.throughput(Throughput::Elements(PROMPT as u64));
    for (name, prompts) in [("lookup_8192", 1), ("lookup_8192_among_524288", MANY)] {
        if let Some((best, median)) = timed(&mut group, name, lookups(prompts)) {
            let verdict = if median <= LOOKUP { "within" } else { "OVER" };
            println!("{name}: best {best:?}, median {median:?}, {verdict} {LOOKUP:?}");
        }
    }
    group.throughput(Throughput::Elements(PROMPT_PAGES as u64));
    let (mut kv, mut turn) = (cache(MANY), 0);
    let insert = timed(&mut group, "insert_128_pages", || {
        turn += 1;
        let pages = kv.take(PROMPT_PAGES).expect("idle pages are evicted");
        let tokens = prompt(MANY + turn);
        let started = Instant::now();
        publish(&mut kv, &tokens, &pages);
        let time = started.elapsed();
        kv.release(&pages);
        time
    });
    let mut kv = cache(MANY);
    let evict = timed(&mut group, "take_128_evicting", || {
        turn += 1;
        let tokens = prompt(MANY + turn);
        let started = Instant::now();
        let pages = kv.take(PROMPT_PAGES).expect("idle pages are evicted");
        let time = started.elapsed();
        publish(&mut kv, &tokens, &pages);
        kv.release(&pages);
        time
    });
    for (name, times) in [("insert", insert), ("take and evict", evict)] {
        if let Some((best, median)) = times {
            let [best, median] = [best, median].map(|time| time / PROMPT_PAGES as u32);
            println!("{name}, per page: best {best:?}, median {median:?}");
        }
    }
    group.finish();
}

/// Finds cached prompts in turn, so that with many of them each is cold in the CPU's caches.
fn lookups(prompts: usize) -> impl FnMut() -> Duration {
    let mut kv = cache(prompts);
    let tokens: Vec<Vec<TokenId>> = (0..prompts).map(prompt).collect();
    let mut turn = 0;
    move || {
        turn = (turn + 1) % prompts;
        let started = Instant::now();
        let found = kv.lookup(None, &tokens[turn], PROMPT_PAGES);
        let time = started.elapsed();
        assert_eq!(found.pages.len(), PROMPT_PAGES);
        kv.release(&found.pages);
        time
    }
}

/// A pool that is full of idle prompts.
fn cache(prompts: usize) -> KvPages {
    let options = PrefixOptions { hash: PageHash::random(), sharing: Sharing::Prompt };
    let mut kv = KvPages::new(prompts * PROMPT_PAGES, Some(options));
    for number in 0..prompts {
        let pages = kv.take(PROMPT_PAGES).expect("room for every prompt");
        publish(&mut kv, &prompt(number), &pages);
        kv.release(&pages);
    }
    kv
}

fn publish(kv: &mut KvPages, tokens: &[TokenId], pages: &[PageId]) {
    let mut cursor = Cursor::start(None);
    for (tokens, page) in tokens.chunks_exact(PAGE_SIZE).zip(pages) {
        let inserted = kv.insert(&mut cursor, tokens, *page, Family::Prompt);
        assert_eq!(inserted, Inserted::New);
    }
}

/// Prompts that differ from their first token on.
fn prompt(number: usize) -> Vec<TokenId> {
    (0..PROMPT).map(|place| TokenId((number * PROMPT + place) as u32)).collect()
}
