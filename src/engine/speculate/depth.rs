//! How deep to draft: from what passes and drafts were seen to take and how often drafts were
//! right. It has no clock; times are told to it.
//!
//! A step is worth the tokens that it gives for its time. Without drafts that is one token for each
//! of its sequences. A drafted token adds the chance that it and all before it in its draft are
//! right; it costs what one more row adds to the pass, and its share of a round of the drafter.
//! Drafted tokens are taken in the order of their chances for as long as tokens per time rise, so a
//! draft that would lose is not asked for. What a request's drafts are worth is looked at again,
//! one token at a time, for at most a hundredth of the time.

use super::DEPTH_MAX;
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
/// How much of a time is forgotten at each new one.
const TIME_RATE: f64 = 1.0 / 8.0;

/// Chooses depths.
#[derive(Debug)]
pub struct Depths {
    fixed: Option<usize>,
    pass: Times,
    round: Times,
    common: Chances,
    requests: HashMap<RequestId, Chances>,
    /// Time in passes and rounds, and what of it was lost to probes.
    spent: f64,
    probed: f64,
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

/// How long something takes, by its rows: a mean for each number of rows that was seen.
#[derive(Debug, Default)]
struct Times {
    /// Ascending.
    seen: Vec<(usize, f64)>,
}

impl Times {
    fn learn(&mut self, rows: usize, seconds: f64) {
        match self.seen.binary_search_by_key(&rows, |seen| seen.0) {
            Ok(at) => self.seen[at].1 += TIME_RATE * (seconds - self.seen[at].1),
            Err(at) => self.seen.insert(at, (rows, seconds)),
        }
    }

    /// Between what was seen on both sides; beyond it, as long as the nearest, so that nothing is
    /// thought dear before it was tried.
    fn expect(&self, rows: usize) -> f64 {
        let above = self.seen.partition_point(|seen| seen.0 < rows);
        match (above.checked_sub(1).map(|below| self.seen[below]), self.seen.get(above)) {
            (Some((low, from)), Some(&(high, to))) => {
                from + (to - from) * (rows - low) as f64 / (high - low) as f64
            }
            (Some((_, seconds)), None) | (None, Some(&(_, seconds))) => seconds,
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
            common: Chances { means: [FIRST_CHANCE; DEPTH_MAX], counts: [0; DEPTH_MAX] },
            requests: HashMap::new(),
            spent: 0.0,
            probed: 0.0,
            turn: 0,
        }
    }

    /// A pass of the model over so many rows took so long.
    pub fn learn_pass(&mut self, rows: usize, seconds: f64) {
        self.pass.learn(rows, seconds);
        self.spent += seconds;
    }

    /// A round of the drafter over so many sequences took so long.
    pub fn learn_round(&mut self, rows: usize, seconds: f64) {
        self.round.learn(rows, seconds);
        self.spent += seconds;
    }

    /// Of a draft, the first `accepted` tokens were right.
    pub fn learn_acceptance(&mut self, id: RequestId, drafted: usize, accepted: usize) {
        self.common.learn(drafted, accepted, COMMON_RATE);
        // What others have taught counts as much as a request's own last dozen.
        let common = Chances { counts: [u32::MAX; DEPTH_MAX], ..self.common };
        self.requests.entry(id).or_insert(common).learn(drafted, accepted, CHANCE_RATE);
    }

    /// The request has ended.
    pub fn forget(&mut self, id: RequestId) {
        self.requests.remove(&id);
    }

    /// The depth of a draft for each of `wanted`, at most the one beside it, in a step that has
    /// `rows` rows without drafts.
    pub fn choose(&mut self, wanted: &[(RequestId, usize)], rows: usize) -> Vec<usize> {
        if let Some(fixed) = self.fixed {
            return wanted.iter().map(|&(_, most)| fixed.min(most)).collect();
        }
        let mut depths = vec![0; wanted.len()];
        // What the step takes without drafts must be known before anything is compared with it.
        let Some(&(largest, _)) = self.pass.seen.last() else { return depths };
        if self.pass.seen[0].0 > rows {
            return depths;
        }
        let mut steps = Vec::with_capacity(wanted.len() * DEPTH_MAX);
        for (i, &(id, most)) in wanted.iter().enumerate() {
            let chances = self.requests.get(&id).unwrap_or(&self.common);
            let mut gain = 1.0;
            for chance in &chances.means[..most.min(DEPTH_MAX)] {
                gain *= chance;
                steps.push((gain, i));
            }
        }
        // A draft's own tokens are in order already: the sort keeps equals as they were.
        steps.sort_by(|a, b| b.0.total_cmp(&a.0));
        let plain = self.pass.expect(rows);
        let (mut tokens, mut best, mut taken) = (rows as f64, rows as f64 / plain.max(1e-12), 0);
        let mut asking = [0usize; DEPTH_MAX];
        // Beyond what was seen, times are a guess: one step goes no further than twice as far.
        let room = (2 * largest).saturating_sub(rows);
        for (count, &(gain, i)) in steps.iter().enumerate().take(room) {
            asking[depths[i]] += 1;
            depths[i] += 1;
            tokens += gain;
            let rounds = asking.iter().filter(|asking| **asking > 0);
            let drafting: f64 = rounds.map(|asking| self.round.expect(*asking)).sum();
            let rate = tokens / (self.pass.expect(rows + count + 1) + drafting).max(1e-12);
            if rate > best {
                (best, taken) = (rate, count + 1);
            }
        }
        depths.fill(0);
        steps[..taken].iter().for_each(|&(_, i)| depths[i] += 1);
        self.probe(wanted, rows + taken, &mut depths);
        depths
    }

    /// Gives one of those without a draft one token of it, if there is time to lose.
    fn probe(&mut self, wanted: &[(RequestId, usize)], rows: usize, depths: &mut [usize]) {
        let cost = self.pass.expect(rows + 1) - self.pass.expect(rows) + self.round.expect(1);
        let cost = cost.max(0.0);
        if self.probed + cost > PROBE_SHARE * self.spent || wanted.is_empty() {
            return;
        }
        self.turn = (self.turn + 1) % wanted.len();
        let without = |i: &usize| depths[*i] == 0 && wanted[*i].1 > 0;
        if let Some(i) = (self.turn..wanted.len()).chain(0..self.turn).find(without) {
            depths[i] = 1;
            self.probed += cost;
        }
    }
}
