//! How deep to draft: from what passes and drafts were seen to take and how often drafts were
//! right. It has no clock; times are told to it.
//!
//! A step is worth the tokens that it gives for its time. Without drafts that is one token for each
//! of its sequences. A drafted token adds the chance that it and all before it in its draft are
//! right; it costs what one more row adds to the pass, and its share of a round of the drafter. A
//! request that the drafter has yet to read costs that reading too, spread over the steps that it
//! can be hoped to serve. Drafted tokens are taken in the order of their chances for as long as
//! tokens per time rise, so a draft that would lose is not asked for. What a request's drafts are
//! worth is looked at again, one token at a time, for at most a hundredth of the time.

use super::{DEPTH_MAX, DraftWork};
use crate::engine::events::RequestId;
use std::collections::HashMap;

/// The share of the time that may go into drafts that are expected to lose.
const PROBE_SHARE: f64 = 0.01;
/// How much of a chance is forgotten at each new draft.
const CHANCE_RATE: f64 = 1.0 / 12.0;
/// The same over all requests, where a new one starts.
const COMMON_RATE: f64 = 1.0 / 64.0;
/// What is believed of the first draft of all.
const FIRST_CHANCE: f64 = 0.7;
/// By how much drafts must promise to be better than none. The best of many estimates is more often
/// one that errs in its own favour.
const MARGIN: f64 = 1.03;
/// A token that is right less often than this is not worth a look.
const LEAST_GAIN: f64 = 0.02;
/// How much of a time is forgotten at each new one.
const TIME_RATE: f64 = 1.0 / 8.0;
/// The most that a new time counts for, in multiples of the mean: what is far above it is most
/// often the machine's doing, and would forbid a width for long.
const OUTLIER: f64 = 2.0;
/// A time that was not seen for so many others is no longer believed.
const TIMES_KEPT: u64 = 4096;
/// Nothing is compared with passes without drafts unless so many were seen, the last of them not
/// longer ago than so many others.
const PLAIN_LEAST: u32 = 3;
const PLAIN_AGE: u64 = 256;
/// For how many passes the answer that no draft pays stands at most.
const REST_PASSES: f64 = 8.0;
/// How many more tokens a request is hoped to draw, at least.
const TOKENS_HOPED: usize = 16;

/// A request that a draft may be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// Whose.
    pub id: RequestId,
    /// The most tokens that are of use.
    pub most: usize,
    /// Tokens that the drafter must read before it can draft.
    pub lag: usize,
    /// Tokens of its output so far.
    pub drawn: usize,
}

/// Chooses depths.
#[derive(Debug)]
pub struct Depths {
    fixed: Option<usize>,
    pass: Times,
    round: Times,
    /// Of what the drafter reads at once, in tokens rounded up to a power of two.
    reading: Times,
    common: Chances,
    requests: HashMap<RequestId, Chances>,
    /// Time in passes and rounds, and what of it was lost to probes.
    spent: f64,
    probed: f64,
    /// What the step that has a probe would take without it.
    without_probe: Option<f64>,
    /// All that the drafter does in this step is a probe.
    is_probing: bool,
    /// No draft pays in steps of so many rows, and none is to be probed before so much time is
    /// spent.
    rest: Option<(usize, f64)>,
    /// Whose turn a probe is.
    turn: usize,
}

/// That the token at a place of a draft is right if all before it are.
#[derive(Debug, Clone, Copy)]
struct Chances {
    /// By place.
    means: [f64; DEPTH_MAX],
    /// How many drafts each is the mean of.
    counts: [u32; DEPTH_MAX],
}

/// How long something takes, by its rows: a mean for each number of rows that was seen of late.
#[derive(Debug, Default)]
struct Times {
    /// Ascending by rows.
    seen: Vec<Seen>,
    /// How many times were learnt.
    count: u64,
}

#[derive(Debug)]
struct Seen {
    rows: usize,
    seconds: f64,
    /// The mean, within what the next fewer rows allow: more rows take no less, and no more than in
    /// proportion. Of many widths that were seen now and then, the one that was lucky must not be
    /// the one that is taken, and one that was not must not be shunned.
    expected: f64,
    /// How often it was seen.
    times: u32,
    /// The count at its last time.
    last: u64,
}

impl Times {
    fn learn(&mut self, rows: usize, seconds: f64) {
        self.count += 1;
        let last = self.count;
        match self.seen.binary_search_by_key(&rows, |seen| seen.rows) {
            Ok(at) => {
                let seen = &mut self.seen[at];
                seen.seconds = match seconds * OUTLIER < seen.seconds {
                    // What is far above the truth was the mean: the first pass of all often is.
                    true => seconds,
                    false => {
                        let seconds = seconds.min(OUTLIER * seen.seconds);
                        seen.seconds + TIME_RATE * (seconds - seen.seconds)
                    }
                };
                seen.times = seen.times.saturating_add(1);
                seen.last = last;
            }
            Err(at) => {
                self.seen.insert(at, Seen { rows, seconds, expected: seconds, times: 1, last });
            }
        }
        if last.is_multiple_of(TIMES_KEPT / 16) {
            self.seen.retain(|seen| last - seen.last < TIMES_KEPT);
        }
        let mut fewer: Option<(usize, f64)> = None;
        for seen in &mut self.seen {
            seen.expected = match fewer {
                None => seen.seconds,
                Some((rows, least)) => {
                    seen.seconds.clamp(least, least * seen.rows as f64 / rows as f64)
                }
            };
            fewer = Some((seen.rows, seen.expected));
        }
    }

    /// Whether the time of `rows` rows is known well enough to compare with: that of this number or
    /// of one that is less by an eighth at most.
    fn is_known(&self, rows: usize) -> bool {
        let until = self.seen.partition_point(|seen| seen.rows <= rows);
        let mut near = self.seen[..until].iter().rev().take_while(|s| s.rows * 8 >= rows * 7);
        near.any(|s| s.times >= PLAIN_LEAST && self.count - s.last <= PLAIN_AGE)
    }

    /// Between what was seen on both sides; beyond it, as long as the nearest, so that nothing is
    /// thought dear before it was tried.
    fn expect(&self, rows: usize) -> f64 {
        let above = self.seen.partition_point(|seen| seen.rows < rows);
        match (above.checked_sub(1).map(|below| &self.seen[below]), self.seen.get(above)) {
            (Some(low), Some(high)) => {
                let share = (rows - low.rows) as f64 / (high.rows - low.rows) as f64;
                low.expected + (high.expected - low.expected) * share
            }
            (Some(seen), None) | (None, Some(seen)) => seen.expected,
            (None, None) => 0.0,
        }
    }
}

impl Chances {
    /// The first drafts count for more, so that nobody drafts for long on a belief alone.
    fn learn(&mut self, drafted: usize, accepted: usize, rate: f64) {
        for place in 0..drafted.min(accepted + 1) {
            let right = if place < accepted { 1.0 } else { 0.0 };
            self.counts[place] = self.counts[place].saturating_add(1);
            let rate = rate.max(1.0 / (f64::from(self.counts[place]) + 1.0));
            self.means[place] += rate * (right - self.means[place]);
        }
    }
}

impl Depths {
    /// `fixed` is the depth of every draft; without it the depth follows from times and chances.
    pub fn new(fixed: Option<usize>) -> Depths {
        Depths {
            fixed,
            pass: Times::default(),
            round: Times::default(),
            reading: Times::default(),
            common: Chances { means: [FIRST_CHANCE; DEPTH_MAX], counts: [0; DEPTH_MAX] },
            requests: HashMap::new(),
            spent: 0.0,
            probed: 0.0,
            without_probe: None,
            is_probing: false,
            rest: None,
            turn: 0,
        }
    }

    /// A pass of the model over so many rows took so long.
    pub fn learn_pass(&mut self, rows: usize, seconds: f64) {
        self.pass.learn(rows, seconds);
        self.spent += seconds;
        if let Some(without) = self.without_probe.take() {
            self.probed += (seconds - without).max(0.0);
        }
    }

    /// The drafter worked for so long.
    pub fn learn_drafting(&mut self, work: DraftWork, seconds: f64) {
        match work {
            DraftWork::Round(sequences) => self.round.learn(sequences, seconds),
            DraftWork::Reading(tokens) => self.reading.learn(tokens.next_power_of_two(), seconds),
        }
        self.spent += seconds;
        if self.is_probing {
            self.probed += seconds;
        }
    }

    /// Of a draft, the first `accepted` tokens were right.
    pub fn learn_acceptance(&mut self, id: RequestId, drafted: usize, accepted: usize) {
        self.rest = None;
        self.common.learn(drafted, accepted, COMMON_RATE);
        // What others have taught counts as much as a request's own last dozen.
        let common = Chances { counts: [u32::MAX; DEPTH_MAX], ..self.common };
        self.requests.entry(id).or_insert(common).learn(drafted, accepted, CHANCE_RATE);
    }

    /// The request has ended.
    pub fn forget(&mut self, id: RequestId) {
        self.rest = None;
        self.requests.remove(&id);
    }

    /// Whether [`Depths::choose`] would give no depth to anybody in a step of `rows` rows, known
    /// without asking it: steps that draft nothing are to cost what they cost without a drafter.
    pub fn rests(&self, rows: usize) -> bool {
        let until = |&(at, until): &(usize, f64)| at == rows && self.spent < until;
        self.fixed == Some(0) || self.rest.as_ref().is_some_and(until)
    }

    /// The depth of a draft for each of `wanted`, in a step that has `rows` rows without drafts.
    pub fn choose(&mut self, wanted: &[Wanted], rows: usize) -> Vec<usize> {
        (self.is_probing, self.without_probe, self.rest) = (false, None, None);
        if let Some(fixed) = self.fixed {
            return wanted.iter().map(|wanted| fixed.min(wanted.most)).collect();
        }
        let mut depths = vec![0; wanted.len()];
        if !self.pass.is_known(rows) {
            return depths;
        }
        let tokens = self.by_gain(wanted);
        let taken = self.worthwhile(&tokens, wanted, rows);
        tokens[..taken].iter().for_each(|&(_, i)| depths[i] += 1);
        let wait = self.probe(wanted, rows + taken, &mut depths);
        if !wanted.is_empty() && depths.iter().all(|depth| *depth == 0) {
            let most = REST_PASSES * self.pass.expect(rows);
            self.rest = Some((rows, self.spent + wait.unwrap_or(most).min(most)));
        }
        depths
    }

    /// All tokens that could be drafted, as the gain of each and whose it is, the largest first.
    fn by_gain(&self, wanted: &[Wanted]) -> Vec<(f64, usize)> {
        let mut tokens = Vec::new();
        for (i, wanted) in wanted.iter().enumerate() {
            let chances = self.requests.get(&wanted.id).unwrap_or(&self.common);
            let mut gain = 1.0;
            for chance in &chances.means[..wanted.most.min(DEPTH_MAX)] {
                gain *= chance;
                if gain < LEAST_GAIN {
                    break;
                }
                tokens.push((gain, i));
            }
        }
        // A draft's own tokens are in order already: the sort keeps equals as they were.
        tokens.sort_by(|a, b| b.0.total_cmp(&a.0));
        tokens
    }

    /// How many of the tokens make the most of the step's time.
    fn worthwhile(&self, by_gain: &[(f64, usize)], wanted: &[Wanted], rows: usize) -> usize {
        let plain = self.pass.expect(rows);
        let (mut tokens, mut drafting) = (rows as f64, 0.0);
        let (mut best, mut taken) = (MARGIN * tokens / plain.max(1e-12), 0);
        let mut depths = vec![0; wanted.len()];
        let mut asking = [0usize; DEPTH_MAX];
        // Beyond what was seen, times are a guess: one step goes no further than twice as far.
        let largest = self.pass.seen.last().map_or(0, |seen| seen.rows);
        let room = (2 * largest).saturating_sub(rows);
        for (count, &(gain, i)) in by_gain.iter().enumerate().take(room) {
            let round = depths[i];
            if round == 0 {
                drafting += self.reading(&wanted[i]) / steps_hoped(&wanted[i]);
            }
            if asking[round] > 0 {
                drafting -= self.round.expect(asking[round]);
            }
            asking[round] += 1;
            drafting += self.round.expect(asking[round]);
            depths[i] += 1;
            tokens += gain;
            let rate = tokens / (self.pass.expect(rows + count + 1) + drafting).max(1e-12);
            if rate > best {
                (best, taken) = (rate, count + 1);
            }
        }
        taken
    }

    /// What the drafter takes to read what it lacks of a request.
    fn reading(&self, wanted: &Wanted) -> f64 {
        match wanted.lag {
            0 => 0.0,
            lag => self.reading.expect(lag.next_power_of_two()),
        }
    }

    /// Gives one of those without a draft one token of it, if there is time to lose; else tells how
    /// much must be spent before there is, if anybody could have one.
    fn probe(&mut self, wanted: &[Wanted], rows: usize, depths: &mut [usize]) -> Option<f64> {
        if wanted.is_empty() {
            return None;
        }
        self.turn = (self.turn + 1) % wanted.len();
        let without = |i: &usize| depths[*i] == 0 && wanted[*i].most > 0;
        let candidates = (self.turn..wanted.len()).chain(0..self.turn);
        let i = candidates.into_iter().find(without)?;
        let without = self.pass.expect(rows);
        let row = (self.pass.expect(rows + 1) - without).max(0.0);
        let drafting = self.round.expect(1) + self.reading(&wanted[i]);
        let needed = (self.probed + row + drafting) / PROBE_SHARE;
        if needed > self.spent {
            return Some(needed - self.spent);
        }
        // Where nobody else drafts, what the drafter takes is seen. What the row takes always is,
        // and may be far more than was expected: that of a fifth row where rows go by fours.
        self.is_probing = depths.iter().all(|depth| *depth == 0);
        self.probed += if self.is_probing { 0.0 } else { drafting };
        self.without_probe = Some(without);
        depths[i] = 1;
        None
    }
}

/// Over how many steps the reading of a request is spread: it is hoped to draw as many tokens again
/// as it has, at two a step.
fn steps_hoped(wanted: &Wanted) -> f64 {
    match wanted.most < DEPTH_MAX {
        true => 1.0, // a step or two from its end
        false => (wanted.drawn.max(TOKENS_HOPED) / 2) as f64,
    }
}
