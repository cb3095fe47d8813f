//! Which requests run, and which of their tokens the next step computes. It knows no device, clock,
//! float or text: the same calls give the same steps.
//!
//! A sequence is its tokens (prompt, then output), how many of them are computed, and its pages.
//! What is left of the prompt is computed by the prefill family, in chunks; what is left of the
//! output by the decode family, one row a step in general and up to [`DECODE_ROWS`] after a
//! preemption, when its rows are computed anew. A sequence draws a token when all it has is
//! computed. It may be given a draft of what comes next, which is then computed in the same step,
//! so that several tokens can be drawn at once. No result depends on any choice made here.
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

mod types;

pub use types::{Caps, Chunk, Refusal, SchedulerCounts, SeqId, Step, Submission};

use crate::kv::{Cursor, Demand, Family, KvPages, PAGE_SIZE, PageId, Rest, pages_for};
use crate::request::TokenId;
use std::collections::{BTreeMap, BTreeSet};

/// The most rows of one sequence that a step computes by the decode family.
pub const DECODE_ROWS: usize = 8;

/// Steps by which one unit of priority puts a request ahead.
const HEAD_START: i64 = 256;

#[derive(Debug)]
struct Sequence {
    /// Prompt and output, then a draft.
    tokens: Vec<TokenId>,
    /// Tokens of prompt and output.
    len: usize,
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
    /// Pages that it was promised, those that it has included; it may come to have more.
    reserved: usize,
    cursor: Cursor,
    /// Pages that others can find.
    published: usize,
    running: bool,
    preempted: bool,
}

impl Sequence {
    /// Pages promised and not taken.
    fn outstanding(&self) -> usize {
        self.reserved.saturating_sub(self.pages.len())
    }
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
            len: prompt.len(),
            tokens: prompt,
            last,
            salt,
            rank,
            computed: 0,
            reached: 0,
            pages: Vec::new(),
            reserved: 0,
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
        let now = pages_for(sequence.len);
        let reserved = pages_for(reserved).max(now);
        // The last token of a prompt is always computed: its logits are wanted.
        let demand = Demand {
            salt: sequence.salt,
            tokens: &sequence.tokens[..sequence.prompt_len],
            max_shared: (sequence.prompt_len - 1) / PAGE_SIZE,
            pages: now,
            keep_free: self.promised + reserved - now,
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
        sequence.reserved = reserved;
        sequence.running = true;
        self.step.admitted.push((id, found.shared_tokens));
        self.promised += reserved - now;
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
            let (start, left) = (sequence.computed, sequence.len - sequence.computed);
            let count = left.min(DECODE_ROWS).min(1 + spare);
            if !self.grow(id, start + count) {
                continue; // it was the youngest itself
            }
            spare -= count - 1;
            let draws = count == left;
            let room = if draws { spare.min(DECODE_ROWS - count) } else { 0 };
            let drafted = self.take_draft(id, room);
            spare -= drafted;
            self.step.decode.push(Chunk { id, start, count, draws, drafted });
        }
    }

    /// Cuts a sequence's draft to `room` tokens and to the pages that nobody else needs.
    fn take_draft(&mut self, id: SeqId, room: usize) -> usize {
        let sequence = self.sequences[id.0 as usize].as_mut().expect("it runs");
        let drafted = (sequence.tokens.len() - sequence.len).min(room);
        sequence.tokens.truncate(sequence.len + drafted);
        while sequence.pages.len() < pages_for(sequence.tokens.len()) {
            let is_promised = sequence.outstanding() > 0;
            let may = is_promised || self.kv.available() > self.promised;
            if !(may && self.kv.take_into(1, &mut sequence.pages)) {
                sequence.tokens.truncate(sequence.pages.len() * PAGE_SIZE);
                break;
            }
            self.promised -= usize::from(is_promised);
        }
        sequence.tokens.len() - sequence.len
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
            let draws = count == left && sequence.len == sequence.prompt_len;
            self.step.prefill.push(Chunk { id, start, count, draws, drafted: 0 });
        }
    }

    /// Sees to it that a running sequence has pages for `tokens` tokens. False if it had to give
    /// back those it had.
    fn grow(&mut self, id: SeqId, tokens: usize) -> bool {
        let needed = pages_for(tokens);
        while self.sequence(id).pages.len() < needed {
            let sequence = self.sequences[id.0 as usize].as_mut().expect("it runs");
            let is_promised = sequence.outstanding() > 0;
            // What was promised is taken; what was not must leave the promises to others whole.
            let may = is_promised || self.kv.available() > self.promised;
            if may && self.kv.take_into(1, &mut sequence.pages) {
                self.promised -= usize::from(is_promised);
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
            let before = sequence.outstanding();
            sequence.reserved = pages_for(sequence.last);
            self.promised += sequence.outstanding() - before;
        }
    }

    /// Takes its pages, its promise and its part in this step from a running sequence.
    fn stop_running(&mut self, id: SeqId) {
        let sequence = self.sequences[id.0 as usize].as_mut().expect("it runs");
        assert!(std::mem::take(&mut sequence.running), "{id:?} does not run");
        self.promised -= sequence.outstanding();
        let pages = std::mem::take(&mut sequence.pages);
        sequence.reserved = 0;
        sequence.tokens.truncate(sequence.len);
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
            let sequence = self.sequence(chunk.id);
            assert_eq!(sequence.computed, chunk.start, "a chunk of {:?} out of turn", chunk.id);
            self.advance(chunk.id, chunk.count);
        }
    }

    /// Counts the next `count` tokens as computed, and shares the pages that they fill.
    fn advance(&mut self, id: SeqId, count: usize) {
        let sequence = self.sequences[id.0 as usize].as_mut().expect("it runs");
        let before = sequence.computed;
        sequence.computed += count;
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

    /// Rows that the decode family has in the next step without drafts, if nobody is admitted and
    /// nobody preempted.
    pub fn decode_rows(&self) -> usize {
        let rows = self.running.iter().map(|&(_, id)| {
            let sequence = self.sequence(id);
            match sequence.computed >= sequence.prompt_len {
                true => (sequence.len - sequence.computed).min(DECODE_ROWS),
                false => 0,
            }
        });
        rows.sum()
    }

    /// Sequences whose next step draws after one row: those to whom a draft is of use, with the
    /// most tokens that are.
    pub fn draftable(&self) -> impl Iterator<Item = (SeqId, usize)> {
        self.running.iter().filter_map(|&(_, id)| {
            let sequence = self.sequence(id);
            let room = (sequence.last - sequence.len - 1).min(DECODE_ROWS - 1);
            let draws =
                sequence.computed >= sequence.prompt_len && sequence.computed + 1 == sequence.len;
            (draws && room > 0).then_some((id, room))
        })
    }

    /// What may come next in a running sequence. The next step computes it as far as there is room.
    pub fn propose(&mut self, id: SeqId, draft: &[TokenId]) {
        let sequence = self.sequence_mut(id);
        assert!(sequence.running && sequence.tokens.len() == sequence.len, "{id:?} has a draft");
        assert!(sequence.len + draft.len() < sequence.last, "a draft past the end of {id:?}");
        sequence.tokens.extend_from_slice(draft);
    }

    /// Appends tokens that were drawn after the rows of one chunk: those that its draft had, then
    /// one more. The sequence goes on; one that should not is ended by the caller. The draft is
    /// forgotten, and pages that it took beyond the sequence go back.
    pub fn accept(&mut self, id: SeqId, drawn: &[TokenId]) {
        let sequence = self.sequence_mut(id);
        let draft = &sequence.tokens[sequence.len..];
        let known = drawn.len() - 1;
        assert!(known <= draft.len(), "{known} of a draft of {}", draft.len());
        assert_eq!(draft[..known], drawn[..known], "drawn and drafted tokens of {id:?}");
        assert!(sequence.len + drawn.len() <= sequence.last, "{id:?} is at its end");
        sequence.tokens.truncate(sequence.len);
        sequence.tokens.extend_from_slice(drawn);
        sequence.len += drawn.len();
        self.advance(id, known);
        let sequence = self.sequences[id.0 as usize].as_mut().expect("it runs");
        let needed = pages_for(sequence.len);
        if sequence.pages.len() > needed {
            let before = sequence.outstanding();
            self.kv.release(&sequence.pages[needed..]);
            sequence.pages.truncate(needed);
            self.promised += sequence.outstanding() - before;
            self.is_blocked = false;
        }
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
        let mut sequence = self.sequences[id.0 as usize].take().expect("it was there");
        sequence.tokens.truncate(sequence.len);
        sequence.tokens
    }

    /// Prompt and output so far.
    pub fn tokens(&self, id: SeqId) -> &[TokenId] {
        let sequence = self.sequence(id);
        &sequence.tokens[..sequence.len]
    }

    /// Prompt and output so far, and the draft behind them.
    pub fn tokens_and_draft(&self, id: SeqId) -> &[TokenId] {
        &self.sequence(id).tokens
    }

    /// The most tokens that prompt and output may have.
    pub fn last(&self, id: SeqId) -> usize {
        self.sequence(id).last
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
            assert!(sequence.running && sequence.len <= sequence.tokens.len(), "{sequence:?}");
            assert!(pages_for(sequence.computed) <= sequence.pages.len(), "{sequence:?}");
            sequence.outstanding()
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
