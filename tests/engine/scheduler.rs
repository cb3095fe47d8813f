//! The scheduler with its pages, against a naive model of what the pages hold.
//!
//! The model writes into each slot of a page what a forward pass would: something that only this
//! token after exactly these tokens can give. Before a chunk is computed, everything that its rows
//! would read must be there. A page that is lost, used twice, shared wrongly or read after it was
//! freed cannot go unnoticed for long.

use ridgepoint::backend::{PAGE_SIZE, PageId, pages_for};
use ridgepoint::engine::scheduler::{Caps, Chunk, Refusal, Scheduler, SeqId, Submission};
use ridgepoint::kv::{KvPages, PrefixOptions};
use ridgepoint::request::TokenId;
use std::collections::BTreeMap;

/// A small generator of random numbers (Vigna's splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn is_full(scheduler: &Scheduler, id: SeqId) -> bool {
    scheduler.tokens(id).len() >= scheduler.last(id)
}

fn caps() -> Caps {
    Caps { prefill_tokens: 96, decode_rows: 12, running: 8, waiting: 20, reserve_percent: 100 }
}

fn scheduler(caps: Caps, pages: usize, prefix: bool) -> Scheduler {
    Scheduler::new(caps, KvPages::new(pages, prefix.then(PrefixOptions::default)))
}

fn submission(prompt: Vec<TokenId>, output: usize) -> Submission {
    Submission { last: prompt.len() + output, prompt, priority: 0, salt: None }
}

fn prompt(len: usize, kind: u32) -> Vec<TokenId> {
    (0..len as u32).map(|i| TokenId(i * 7 + kind)).collect()
}

/// What a slot holds: of tokens and salt up to and with this one, and of the family.
fn fingerprint(before: u64, token: TokenId, is_prompt: bool) -> u64 {
    let mixed = before ^ (u64::from(token.0) << 1 | u64::from(is_prompt));
    Random(mixed).next()
}

struct Model {
    scheduler: Scheduler,
    /// By page and slot.
    slots: Vec<[u64; PAGE_SIZE]>,
    live: BTreeMap<SeqId, Known>,
}

struct Known {
    salt: Option<u64>,
    prompt_len: usize,
    last: usize,
    submitted: usize,
}

impl Model {
    fn new(caps: Caps, pages: usize, prefix: bool) -> Model {
        let slots = vec![[0; PAGE_SIZE]; pages];
        Model { scheduler: scheduler(caps, pages, prefix), slots, live: BTreeMap::new() }
    }

    /// What the slots of a sequence must hold.
    fn expected(&self, id: SeqId) -> impl Iterator<Item = u64> {
        let Known { salt, prompt_len, .. } = self.live[&id];
        let mut state = salt.map_or(1, |salt| salt.wrapping_mul(31) + 2);
        let tokens = self.scheduler.tokens_and_draft(id).iter().enumerate();
        tokens.map(move |(position, token)| {
            state = fingerprint(state, *token, position < prompt_len);
            state
        })
    }

    fn slot(&mut self, table: &[PageId], position: usize) -> &mut u64 {
        &mut self.slots[table[position / PAGE_SIZE].0 as usize][position % PAGE_SIZE]
    }

    /// Reads what the chunk's rows read and writes what they write.
    fn compute(&mut self, chunk: Chunk) {
        let expected: Vec<u64> = self.expected(chunk.id).take(chunk.start + chunk.rows()).collect();
        let table = self.scheduler.table(chunk.id).to_vec();
        assert!(table.len() >= pages_for(chunk.start + chunk.rows()), "{chunk:?} lacks pages");
        for (position, value) in expected.iter().enumerate() {
            let slot = self.slot(&table, position);
            if position < chunk.start {
                assert_eq!(slot, value, "{chunk:?} reads position {position} of another");
            }
            *slot = *value;
        }
    }

    /// One step, as an engine takes it; `fails` is the share of passes that fail, in percent.
    fn step(&mut self, random: &mut Random, fails: usize) -> usize {
        if random.below(3) > 0 {
            self.draft(random);
        }
        self.scheduler.schedule();
        let mut computed = 0;
        for phase in 0..2 {
            let step = self.scheduler.step();
            let chunks = if phase == 0 { step.decode.clone() } else { step.prefill.clone() };
            self.hold_caps(&chunks, phase == 0);
            computed += chunks.len();
            if random.below(100) < fails {
                chunks.iter().for_each(|chunk| self.end(chunk.id));
                continue;
            }
            chunks.iter().for_each(|chunk| self.compute(*chunk));
            self.scheduler.computed(&chunks);
            for chunk in chunks.iter().filter(|chunk| chunk.draws) {
                self.accept(chunk, random);
                if is_full(&self.scheduler, chunk.id) || random.below(40) == 0 {
                    self.end(chunk.id);
                }
            }
        }
        computed
    }

    /// Some of the draft was right; then comes a token that nobody drafted.
    fn accept(&mut self, chunk: &Chunk, random: &mut Random) {
        let all = self.scheduler.tokens_and_draft(chunk.id);
        let draft = &all[all.len() - chunk.drafted..];
        let mut drawn = draft[..random.below(chunk.drafted + 1)].to_vec();
        drawn.push(TokenId(random.below(3) as u32));
        self.scheduler.accept(chunk.id, &drawn);
    }

    /// Drafts for some of those who can use one.
    fn draft(&mut self, random: &mut Random) {
        let draftable: Vec<(SeqId, usize)> = self.scheduler.draftable().collect();
        for (id, room) in draftable {
            let count = random.below(room + 1);
            let draft: Vec<TokenId> = (0..count).map(|_| TokenId(random.below(3) as u32)).collect();
            self.scheduler.propose(id, &draft);
        }
    }

    fn hold_caps(&self, chunks: &[Chunk], is_decode: bool) {
        let caps = self.scheduler.caps();
        let rows: usize = chunks.iter().map(Chunk::rows).sum();
        assert!(rows <= if is_decode { caps.decode_rows } else { caps.prefill_tokens }, "{rows}");
        assert!(chunks.iter().all(|chunk| chunk.count > 0 && (!is_decode || chunk.rows() <= 8)));
        for chunk in chunks {
            let known = &self.live[&chunk.id];
            let is_prompt = chunk.start < known.prompt_len;
            assert_eq!(is_prompt, !is_decode, "{chunk:?} in the wrong family");
            assert!(!is_prompt || chunk.start + chunk.count <= known.prompt_len);
            let all = self.scheduler.tokens(chunk.id).len();
            assert_eq!(chunk.draws, chunk.start + chunk.count == all, "{chunk:?} of {all}");
            assert!(all <= known.last);
        }
    }

    fn end(&mut self, id: SeqId) {
        self.live.remove(&id).expect("it was there");
        self.scheduler.end(id);
    }

    fn submit(&mut self, random: &mut Random, now: usize) {
        // Few kinds of prompts, so that many begin alike.
        let len = 1 + random.below(200);
        let mut tokens = prompt(len, random.below(3) as u32);
        if random.below(2) == 0 {
            let from = random.below(len);
            tokens[from..].iter_mut().for_each(|token| token.0 += 1000);
        }
        let output = 1 + random.below(100);
        let priority = random.below(3) as i32 - 1;
        let salt = (random.below(4) == 0).then(|| random.below(2) as u64);
        let (prompt_len, last) = (len, len + output);
        let new = Submission { prompt: tokens, last, priority, salt };
        match self.scheduler.submit(new) {
            Ok(id) => {
                let known = Known { salt, prompt_len, last, submitted: now };
                assert!(self.live.insert(id, known).is_none(), "{id:?} is two requests");
            }
            Err(Refusal::Full { waiting }) => assert!(waiting >= self.scheduler.caps().waiting),
            Err(Refusal::TooLarge { needed, pages }) => {
                assert!(needed > pages && pages_for(last) == needed);
            }
        }
    }

    fn check(&self) {
        self.scheduler.check();
        assert_eq!(self.live.len(), self.scheduler.running() + self.scheduler.waiting());
    }
}

/// Runs random operations; gives the scheduler at their end, with nothing left to do.
fn run(seed: u64, operations: usize, caps: Caps, pages: usize, prefix: bool) -> Scheduler {
    let mut random = Random(seed);
    let mut model = Model::new(caps, pages, prefix);
    for now in 0..operations {
        match random.below(10) {
            0 | 1 => model.submit(&mut random, now),
            2 if random.below(5) == 0 && !model.live.is_empty() => {
                let nth = random.below(model.live.len());
                let id = *model.live.keys().nth(nth).unwrap();
                model.end(id);
            }
            _ => drop(model.step(&mut random, 1)),
        }
        model.scheduler.check_counts();
        if now % 64 == 0 {
            model.check();
        }
        // Nobody starves: with twenty waiting and eight running, all ends come soon.
        let oldest = model.live.values().map(|known| known.submitted).min().unwrap_or(now);
        assert!(now - oldest < 40_000, "a request waits since operation {oldest} at {now}");
    }
    let mut idle = 0;
    while !model.live.is_empty() {
        idle = if model.step(&mut random, 0) == 0 { idle + 1 } else { 0 };
        assert!(idle < 2, "{} requests are stuck", model.live.len());
    }
    model.check();
    assert_eq!(model.scheduler.kv().available(), pages, "a page was lost");
    model.scheduler
}

#[test]
fn a_million_random_operations_lose_no_page_and_read_no_other() {
    let mut preemptions = 0;
    for seed in 0..10 {
        let reserve_percent = [100, 0, 30][seed as usize % 3];
        let prefix = seed % 4 != 3;
        let pages = [9, 14, 24, 60][seed as usize % 4];
        let caps = Caps { reserve_percent, ..caps() };
        let scheduler = run(seed, 100_000, caps, pages, prefix);
        let counts = scheduler.counts();
        assert!(reserve_percent < 100 || counts.preemptions == 0, "{counts:?}");
        assert!(!prefix || scheduler.kv().stats().hit > 0);
        preemptions += counts.preemptions;
    }
    assert!(preemptions > 1000, "only {preemptions} preemptions were tried");
}

/// The same calls give the same steps.
#[test]
fn nothing_but_the_calls_decides() {
    let steps = || {
        let mut random = Random(5);
        let mut model = Model::new(Caps { reserve_percent: 10, ..caps() }, 14, true);
        let mut all = Vec::new();
        for now in 0..2000 {
            model.submit(&mut random, now);
            model.step(&mut random, 1);
            all.push(model.scheduler.step().clone());
        }
        all
    };
    assert_eq!(steps(), steps());
}

/// Runs all to their ends; gives the order of the ends.
fn ends(scheduler: &mut Scheduler) -> Vec<SeqId> {
    let mut order = Vec::new();
    while scheduler.running() + scheduler.waiting() > 0 {
        let step = scheduler.schedule().clone();
        let chunks: Vec<Chunk> = step.decode.into_iter().chain(step.prefill).collect();
        assert!(!chunks.is_empty(), "stuck");
        scheduler.computed(&chunks);
        for chunk in chunks.iter().filter(|chunk| chunk.draws) {
            scheduler.accept(chunk.id, &[TokenId(0)]);
            if is_full(scheduler, chunk.id) {
                scheduler.end(chunk.id);
                order.push(chunk.id);
            }
        }
    }
    order
}

#[test]
fn first_come_is_first_served_and_priority_is_a_head_start() {
    let mut scheduler = scheduler(Caps { running: 1, ..caps() }, 8, false);
    let mut submit = |priority, kind| {
        let new = Submission { priority, ..submission(prompt(20, kind), 3) };
        scheduler.submit(new).unwrap()
    };
    let ids: Vec<SeqId> = [0, 0, 1, -1, 1].iter().zip(0..).map(|(p, k)| submit(*p, k)).collect();
    let expected: Vec<SeqId> = [2, 4, 0, 1, 3].map(|i| ids[i]).to_vec();
    assert_eq!(ends(&mut scheduler), expected);
}

/// A stream of urgent requests that never ends does not starve one that is not.
#[test]
fn a_low_priority_is_served_in_the_end() {
    let mut scheduler = scheduler(Caps { running: 1, ..caps() }, 8, false);
    let low = Submission { priority: -3, ..submission(prompt(5, 1), 1) };
    let low = scheduler.submit(low).unwrap();
    for step in 0..10_000 {
        while scheduler.waiting() < 5 {
            let urgent = Submission { priority: 3, ..submission(prompt(5, 2), 1) };
            scheduler.submit(urgent).unwrap();
        }
        let chunks = scheduler.schedule().prefill.clone();
        if chunks.iter().any(|chunk| chunk.id == low) {
            assert!(step > 100, "priority had no effect");
            return;
        }
        scheduler.computed(&chunks);
        chunks.iter().for_each(|chunk| drop(scheduler.end(chunk.id)));
    }
    panic!("it starved");
}

/// A large request is not overtaken for ever by small ones that would fit.
#[test]
fn a_large_request_is_not_starved_by_small_ones() {
    let mut scheduler = scheduler(caps(), 10, false);
    for kind in 0..3 {
        scheduler.submit(submission(prompt(100, kind), 60)).unwrap();
    }
    scheduler.schedule();
    let large = scheduler.submit(submission(prompt(600, 9), 40)).unwrap();
    let small: Vec<SeqId> =
        (0..6).map(|kind| scheduler.submit(submission(prompt(5, kind), 2)).unwrap()).collect();
    let order = {
        let running = scheduler.step().prefill.clone();
        scheduler.computed(&running);
        for chunk in running.iter().filter(|chunk| chunk.draws) {
            scheduler.accept(chunk.id, &[TokenId(0)]);
        }
        ends(&mut scheduler)
    };
    let place = |id: SeqId| order.iter().position(|other| *other == id).unwrap();
    assert!(small.iter().all(|id| place(*id) > place(large)), "{order:?}, large {large:?}");
}

#[test]
fn decode_goes_on_while_a_long_prompt_is_computed() {
    let mut scheduler = scheduler(caps(), 40, false);
    let first = scheduler.submit(submission(prompt(10, 1), 30)).unwrap();
    let chunks = scheduler.schedule().prefill.clone();
    scheduler.computed(&chunks);
    scheduler.accept(first, &[TokenId(0)]);
    let long = scheduler.submit(submission(prompt(1000, 2), 2)).unwrap();
    for i in 0..10 {
        let step = scheduler.schedule().clone();
        assert_eq!(
            step.decode,
            [Chunk { id: first, start: 10 + i, count: 1, draws: true, drafted: 0 }]
        );
        let expected = Chunk { id: long, start: 96 * i, count: 96, draws: false, drafted: 0 };
        assert_eq!(step.prefill, [expected]);
        scheduler.computed(&step.decode);
        scheduler.computed(&step.prefill);
        scheduler.accept(first, &[TokenId(0)]);
    }
}

#[test]
fn what_can_never_fit_and_what_is_too_many_is_refused() {
    let mut scheduler = scheduler(Caps { waiting: 2, ..caps() }, 4, true);
    let too_large = scheduler.submit(submission(prompt(200, 1), 57));
    assert_eq!(too_large, Err(Refusal::TooLarge { needed: 5, pages: 4 }));
    assert!(scheduler.submit(submission(prompt(200, 1), 56)).is_ok());
    assert!(scheduler.submit(submission(prompt(1, 1), 1)).is_ok());
    let full = scheduler.submit(submission(prompt(1, 1), 1));
    assert_eq!(full, Err(Refusal::Full { waiting: 2 }));
}

/// After a preemption the prompt comes back by prefill, the output by the decode family.
#[test]
fn a_preempted_sequence_is_replayed_by_the_families_that_computed_it() {
    let mut scheduler = scheduler(Caps { reserve_percent: 0, ..caps() }, 4, false);
    let old = scheduler.submit(submission(prompt(60, 1), 100)).unwrap();
    let young = scheduler.submit(submission(prompt(30, 2), 100)).unwrap();
    let mut replay = Vec::new();
    let mut order = Vec::new();
    while scheduler.running() + scheduler.waiting() > 0 {
        let step = scheduler.schedule().clone();
        let chunks: Vec<Chunk> = step.decode.iter().chain(&step.prefill).copied().collect();
        if scheduler.counts().preemptions > 0 {
            let mine = chunks.iter().filter(|chunk| chunk.id == young && chunk.start < 100);
            replay.extend(mine.copied());
        }
        scheduler.computed(&chunks);
        for chunk in chunks.iter().filter(|chunk| chunk.draws) {
            scheduler.accept(chunk.id, &[TokenId(0)]);
            if is_full(&scheduler, chunk.id) {
                scheduler.end(chunk.id);
                order.push(chunk.id);
            }
        }
    }
    assert_eq!(order, [old, young]);
    assert_eq!(scheduler.counts().preemptions, 1, "once was enough");
    let first = Chunk { id: young, start: 0, count: 30, draws: false, drafted: 0 };
    assert_eq!(replay[0], first);
    let rows: Vec<usize> = replay[1..].iter().map(|chunk| chunk.count).collect();
    assert!(rows[..4].iter().all(|&rows| rows == 8), "{rows:?}");
    assert!(replay.windows(2).all(|two| two[0].start + two[0].count == two[1].start));
    assert!(scheduler.counts().recomputed >= 30, "{:?}", scheduler.counts());
}
