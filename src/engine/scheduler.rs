//! Which requests run, and which of their tokens the next step computes. It knows no device, clock,
//! float or text: the same calls give the same steps.
//!
//! A sequence is its tokens (prompt, then output), how many of them are computed, and its pages.
//! What is left of the prompt is computed by the prefill family, in chunks; what is left of the
//! output by the decode family, one row a step in general and up to [`DECODE_ROWS`] after a
//! preemption, when its rows are computed anew. A sequence draws a token when all it has is
//! computed. No result depends on any choice made here.
//!
//! Order: a request's *rank* is the step in which it came, less a head start for its priority.
//! Ranks never change, so a request is overtaken for a bounded time only, whatever comes after it;
//! and nobody overtakes a request that waits for pages.
//!
//! Room: admission takes the pages of all tokens that a request has, and promises those that its
//! output may need. As long as all of them are promised (`reserve_percent` 100) no sequence ever
//! lacks a page. With less, the youngest is preempted when one does: its pages go back and it waits
//! again, and both it and all that still run are promised all they may need from then on. So it
//! comes back when it can stay, and the pool recovers instead of thrashing.

use crate::kv::{Cursor, Demand, Family, KvPages, PAGE_SIZE, PageId, Rest, pages_for};
use crate::request::TokenId;
use std::collections::{BTreeMap, BTreeSet};

/// The most rows of one sequence that a step computes by the decode family.
pub const DECODE_ROWS: usize = 8;

/// Steps by which one unit of priority puts a request ahead.
const HEAD_START: i64 = 256;

/// What a scheduler may give out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Prompt tokens of a step.
    pub prefill_tokens: usize,
    /// Rows of the decode family of a step; no fewer than `running`.
    pub decode_rows: usize,
    /// Sequences that run at a time.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// How much of the room that outputs may need is promised at admission, 0 to 100.
    pub reserve_percent: usize,
}

/// A sequence, from submission to its end. Numbers are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeqId(pub u32);

/// What a scheduler has to know of a request.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The prompt.
    pub prompt: Vec<TokenId>,
    /// The most tokens of prompt and output.
    pub last: usize,
    /// Higher is sooner.
    pub priority: i32,
    /// Who may share the prompt's pages: those with an equal salt.
    pub salt: Option<u64>,
}

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It could never run.
    TooLarge {
        /// Pages that it needs.
        needed: usize,
        /// Pages that there are.
        pages: usize,
    },
    /// So many wait already.
    Full {
        /// Requests that wait.
        waiting: usize,
    },
}

/// Consecutive tokens of a sequence that a step computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// The sequence.
    pub id: SeqId,
    /// The first token.
    pub start: usize,
    /// How many.
    pub count: usize,
    /// Whether a token is drawn after the last.
    pub draws: bool,
}

/// What a step computes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// Sequences that run from now on, with the tokens that they found in the prefix cache.
    pub admitted: Vec<(SeqId, usize)>,
    /// By the prefill family.
    pub prefill: Vec<Chunk>,
    /// By the decode family.
    pub decode: Vec<Chunk>,
}

/// What happened so far, in tokens where nothing else is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedulerCounts {
    /// Times a sequence lost its pages.
    pub preemptions: u64,
    /// Computed once more after that.
    pub recomputed: u64,
}

#[derive(Debug)]
struct Sequence {
    tokens: Vec<TokenId>,
    prompt_len: usize,
    last: usize,
    salt: Option<u64>,
    /// The order of service; unique.
    rank: (i64, u64),
    /// Tokens whose keys and values are in `pages`.
    computed: usize,
    /// The most that were, before a preemption.
    reached: usize,
    pages: Vec<PageId>,
    /// Pages that it was promised, those that it has included.
    promised: usize,
    cursor: Cursor,
    /// Pages that others can find.
    published: usize,
    running: bool,
    preempted: bool,
}

/// The scheduler, with the pages that it gives out.
#[derive(Debug)]
pub struct Scheduler {
    caps: Caps,
    kv: KvPages,
    pages: usize,
    sequences: Vec<Option<Sequence>>,
    free: Vec<SeqId>,
    waiting: BTreeSet<((i64, u64), SeqId)>,
    /// By rank.
    running: Vec<((i64, u64), SeqId)>,
    /// Pages promised and not taken.
    promised: usize,
    /// The first of the waiting did not fit, and nothing has changed since: not looked at again.
    is_blocked: bool,
    step: Step,
    steps: i64,
    arrivals: u64,
    counts: SchedulerCounts,
}

impl Scheduler {
    /// Schedules sequences on the pages of `kv`.
    ///
    /// # Panics
    /// If a cap is zero or the decode rows are too few for the sequences.
    pub fn new(caps: Caps, kv: KvPages) -> Scheduler {
        assert!(caps.prefill_tokens > 0 && caps.running > 0 && caps.waiting > 0, "{caps:?}");
        assert!(caps.decode_rows >= caps.running && caps.reserve_percent <= 100, "{caps:?}");
        let pages = kv.pages();
        Scheduler {
            caps,
            kv,
            pages,
            sequences: Vec::new(),
            free: Vec::new(),
            waiting: BTreeSet::new(),
            running: Vec::new(),
            promised: 0,
            is_blocked: false,
            step: Step::default(),
            steps: 0,
            arrivals: 0,
            counts: SchedulerCounts::default(),
        }
    }

    /// Takes a request, or says why not.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub fn submit(&mut self, submission: Submission) -> Result<SeqId, Refusal> {
        let Submission { prompt, last, priority, salt } = submission;
        assert!(!prompt.is_empty() && last > prompt.len(), "{} of {last} tokens", prompt.len());
        let needed = pages_for(last);
        if needed > self.pages {
            return Err(Refusal::TooLarge { needed, pages: self.pages });
        }
        if self.waiting.len() >= self.caps.waiting {
            return Err(Refusal::Full { waiting: self.waiting.len() });
        }
        self.arrivals += 1;
        let rank = (self.steps - i64::from(priority) * HEAD_START, self.arrivals);
        let sequence = Sequence {
            prompt_len: prompt.len(),
            tokens: prompt,
            last,
            salt,
            rank,
            computed: 0,
            reached: 0,
            pages: Vec::new(),
            promised: 0,
            cursor: Cursor::outside(),
            published: 0,
            running: false,
            preempted: false,
        };
        let id = self.free.pop().unwrap_or_else(|| {
            self.sequences.push(None);
            SeqId(self.sequences.len() as u32 - 1)
        });
        self.sequences[id.0 as usize] = Some(sequence);
        self.waiting.insert((rank, id));
        self.is_blocked = false;
        Ok(id)
    }

    /// Admits what fits and plans a step. The step is to be computed and then told to
    /// [`computed`](Scheduler::computed), or its sequences ended, before the next.
    pub fn schedule(&mut self) -> &Step {
        self.steps += 1;
        self.step.admitted.clear();
        self.step.prefill.clear();
        self.step.decode.clear();
        while self.admit() {}
        self.plan_decode();
        self.plan_prefill();
        &self.step
    }

    /// Lets the first of the waiting run, if there is room for it.
    fn admit(&mut self) -> bool {
        if self.is_blocked || self.running.len() >= self.caps.running {
            return false;
        }
        let Some(&(rank, id)) = self.waiting.first() else { return false };
        let sequence = self.sequences[id.0 as usize].as_mut().expect("it waits");
        let output = sequence.last - sequence.prompt_len;
        let percent = if sequence.preempted { 100 } else { self.caps.reserve_percent };
        let reserved = sequence.prompt_len + (output * percent).div_ceil(100);
        let now = pages_for(sequence.tokens.len());
        let promised = pages_for(reserved).max(now);
        // The last token of a prompt is always computed: its logits are wanted.
        let demand = Demand {
            salt: sequence.salt,
            tokens: &sequence.tokens[..sequence.prompt_len],
            max_shared: (sequence.prompt_len - 1) / PAGE_SIZE,
            pages: now,
            keep_free: self.promised + promised - now,
            rest: Rest::Now,
        };
        let Some(found) = self.kv.admit(&demand) else {
            self.is_blocked = true;
            return false;
        };
        sequence.pages = found.pages;
        sequence.cursor = found.cursor;
        sequence.computed = found.shared_tokens;
        sequence.published = found.shared_tokens / PAGE_SIZE;
        sequence.promised = promised;
        sequence.running = true;
        self.step.admitted.push((id, found.shared_tokens));
        self.promised += promised - now;
        self.waiting.remove(&(rank, id));
        let at = self.running.partition_point(|other| *other < (rank, id));
        self.running.insert(at, (rank, id));
        true
    }

    fn plan_decode(&mut self) {
        let mut i = 0;
        // Everybody who decodes gets a row; those who are replayed share what is left.
        let mut spare = self.caps.decode_rows - self.running.len().min(self.caps.decode_rows);
        while i < self.running.len() {
            let id = self.running[i].1;
            i += 1;
            let sequence = self.sequence(id);
            if sequence.computed < sequence.prompt_len {
                continue;
            }
            let (start, left) = (sequence.computed, sequence.tokens.len() - sequence.computed);
            let count = left.min(DECODE_ROWS).min(1 + spare);
            if !self.grow(id, start + count) {
                continue; // it was the youngest itself
            }
            spare -= count - 1;
            self.step.decode.push(Chunk { id, start, count, draws: count == left });
        }
    }

    fn plan_prefill(&mut self) {
        let mut budget = self.caps.prefill_tokens;
        for &(_, id) in &self.running {
            if budget == 0 {
                break;
            }
            let sequence = self.sequences[id.0 as usize].as_ref().expect("it runs");
            let left = sequence.prompt_len.saturating_sub(sequence.computed);
            if left == 0 {
                continue;
            }
            let (start, count) = (sequence.computed, left.min(budget));
            budget -= count;
            let draws = count == left && sequence.tokens.len() == sequence.prompt_len;
            self.step.prefill.push(Chunk { id, start, count, draws });
        }
    }

    /// Sees to it that a running sequence has pages for `tokens` tokens. False if it had to give
    /// back those it had.
    fn grow(&mut self, id: SeqId, tokens: usize) -> bool {
        let needed = pages_for(tokens);
        while self.sequence(id).pages.len() < needed {
            let sequence = self.sequence(id);
            let is_promised = sequence.pages.len() < sequence.promised;
            // What was promised is taken; what was not must leave the promises to others whole.
            let may = is_promised || self.kv.available() > self.promised;
            if let Some(page) = may.then(|| self.kv.take(1)).flatten() {
                self.promised -= usize::from(is_promised);
                let sequence = self.sequence_mut(id);
                sequence.pages.extend(page);
                sequence.promised = sequence.promised.max(sequence.pages.len());
                continue;
            }
            let youngest = self.running.last().expect("somebody runs").1;
            self.preempt(youngest);
            if youngest == id {
                return false;
            }
        }
        true
    }

    fn preempt(&mut self, id: SeqId) {
        self.counts.preemptions += 1;
        self.stop_running(id);
        let sequence = self.sequence_mut(id);
        sequence.reached = sequence.reached.max(sequence.computed);
        sequence.computed = 0;
        sequence.published = 0;
        sequence.cursor = Cursor::outside();
        sequence.preempted = true;
        let rank = sequence.rank;
        self.waiting.insert((rank, id));
        for &(_, id) in &self.running {
            let sequence = self.sequences[id.0 as usize].as_mut().expect("it runs");
            let all = pages_for(sequence.last);
            self.promised += all - sequence.promised;
            sequence.promised = all;
        }
    }

    /// Takes its pages, its promise and its part in this step from a running sequence.
    fn stop_running(&mut self, id: SeqId) {
        let sequence = self.sequences[id.0 as usize].as_mut().expect("it runs");
        assert!(std::mem::take(&mut sequence.running), "{id:?} does not run");
        let pages = std::mem::take(&mut sequence.pages);
        self.promised -= sequence.promised - pages.len();
        sequence.promised = 0;
        let key = (sequence.rank, id);
        self.kv.release(&pages);
        self.is_blocked = false;
        let at = self.running.binary_search(&key).expect("it runs");
        self.running.remove(at);
        self.step.decode.retain(|chunk| chunk.id != id);
        self.step.prefill.retain(|chunk| chunk.id != id);
    }

    /// The chunks of this step that were computed: their tokens count, and full pages are shared.
    pub fn computed(&mut self, chunks: &[Chunk]) {
        for chunk in chunks {
            let sequence = self.sequences[chunk.id.0 as usize].as_mut().expect("it runs");
            let before = sequence.computed;
            assert_eq!(before, chunk.start, "a chunk of {:?} out of turn", chunk.id);
            sequence.computed += chunk.count;
            let again = sequence.reached.min(sequence.computed).saturating_sub(before);
            self.counts.recomputed += again as u64;
            while sequence.published < sequence.computed / PAGE_SIZE {
                let page = sequence.published;
                let end = (page + 1) * PAGE_SIZE;
                let tokens = &sequence.tokens[end - PAGE_SIZE..end];
                let family =
                    if end <= sequence.prompt_len { Family::Prompt } else { Family::Generated };
                // Who may find it is for the cache to decide.
                self.kv.insert(&mut sequence.cursor, tokens, sequence.pages[page], family);
                sequence.published += 1;
                self.is_blocked = false;
            }
        }
    }

    /// Appends a drawn token. The sequence goes on; one that should not is ended by the caller.
    pub fn push(&mut self, id: SeqId, token: TokenId) {
        let sequence = self.sequence_mut(id);
        assert!(sequence.tokens.len() < sequence.last, "{id:?} is at its end");
        sequence.tokens.push(token);
    }

    /// Ends a sequence in any state and gives its tokens.
    pub fn end(&mut self, id: SeqId) -> Vec<TokenId> {
        if self.sequence(id).running {
            self.stop_running(id);
        } else {
            let rank = self.sequence(id).rank;
            assert!(self.waiting.remove(&(rank, id)), "{id:?} neither runs nor waits");
            self.is_blocked = false;
        }
        self.free.push(id);
        self.sequences[id.0 as usize].take().expect("it was there").tokens
    }

    /// Prompt and output so far.
    pub fn tokens(&self, id: SeqId) -> &[TokenId] {
        &self.sequence(id).tokens
    }

    /// Whether prompt and output have as many tokens as they may.
    pub fn is_full(&self, id: SeqId) -> bool {
        let sequence = self.sequence(id);
        sequence.tokens.len() >= sequence.last
    }

    /// The block table.
    pub fn table(&self, id: SeqId) -> &[PageId] {
        &self.sequence(id).pages
    }

    /// The step that was planned last, less what was ended since.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// Sequences that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests that wait, those that were preempted included.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The first of the waiting.
    pub fn first_waiting(&self) -> Option<SeqId> {
        self.waiting.first().map(|(_, id)| *id)
    }

    /// What happened so far.
    pub fn counts(&self) -> SchedulerCounts {
        self.counts
    }

    /// The pages.
    pub fn kv(&self) -> &KvPages {
        &self.kv
    }

    /// What it may give out.
    pub fn caps(&self) -> Caps {
        self.caps
    }

    /// Panics if the promises do not add up. Cheap.
    #[doc(hidden)]
    pub fn check_counts(&self) {
        let each = |&(_, id): &(_, SeqId)| {
            let sequence = self.sequence(id);
            assert!(sequence.running && sequence.promised >= sequence.pages.len(), "{sequence:?}");
            assert!(pages_for(sequence.computed) <= sequence.pages.len(), "{sequence:?}");
            sequence.promised - sequence.pages.len()
        };
        assert_eq!(self.running.iter().map(each).sum::<usize>(), self.promised, "promises");
        assert!(self.running.is_sorted() && self.running.len() <= self.caps.running);
    }

    /// Panics if a page is lost, or is held by somebody who does not know.
    #[doc(hidden)]
    pub fn check(&self) {
        self.check_counts();
        self.kv.check();
        let mut readers = BTreeMap::new();
        for page in self.running.iter().flat_map(|&(_, id)| self.table(id)) {
            *readers.entry(*page).or_insert(0) += 1;
        }
        for (page, readers) in readers {
            let held = self.kv.references(page);
            // The cache itself holds one reference at most.
            assert!(held == readers || held == readers + 1, "{page:?}: {readers} of {held}");
        }
        let idle = self.waiting.iter().map(|&(_, id)| self.sequence(id));
        idle.for_each(|sequence| assert!(!sequence.running && sequence.pages.is_empty()));
    }

    fn sequence(&self, id: SeqId) -> &Sequence {
        self.sequences[id.0 as usize].as_ref().expect("a sequence that was not ended")
    }

    fn sequence_mut(&mut self, id: SeqId) -> &mut Sequence {
        self.sequences[id.0 as usize].as_mut().expect("a sequence that was not ended")
    }
}
