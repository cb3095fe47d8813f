//! Requests that are made up, and when they arrive: the same for the same seed, on any machine.

use crate::load::made_up::{GOLDEN, mixed};
use crate::request::{Request, SamplingParams, TokenId};
use std::time::Duration;

/// What one client sends: a request, and after its end perhaps another that continues it.
#[derive(Debug, Clone, PartialEq)]
pub struct Script {
    /// When the first request is due, from the start of the run.
    pub due: Duration,
    /// The turns. The prompt of each holds only what is new; before it come the prompts and outputs
    /// of those before.
    pub turns: Vec<Request>,
}

impl Script {
    /// A single request.
    pub fn single(due: Duration, request: Request) -> Script {
        Script { due, turns: vec![request] }
    }

    /// The most tokens of prompt and output that one of its requests takes: those of the last.
    pub fn tokens(&self) -> usize {
        let each = self.turns.iter().map(|turn| turn.prompt.len().saturating_add(turn.max_tokens));
        each.fold(0, usize::saturating_add)
    }
}

/// A request that runs to its full length, with the most probable tokens.
pub fn request(prompt: Vec<TokenId>, max_tokens: usize) -> Request {
    Request {
        prompt,
        max_tokens,
        sampling: SamplingParams::default(),
        stop: Vec::new(),
        stop_tokens: Vec::new(),
    }
}

/// What prompts have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Random,
    /// So many tokens at their beginning.
    SharedPrefix(usize),
    /// So many turns of a conversation; each prompt holds those before.
    MultiTurn(usize),
}

/// How many requests, and of which lengths.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    /// Requests in all; each turn of a conversation is one.
    pub requests: usize,
    /// Mean tokens of a prompt.
    pub prompt: usize,
    /// Mean tokens of an output.
    pub output: usize,
    /// Lengths are even between `mean * (1 - spread)` and `mean * (1 + spread)`; 0 to 1.
    pub spread: f64,
}

/// Scripts that are all due at once, of tokens below `vocab_size`.
pub fn scripts(kind: Kind, sizes: &Sizes, vocab_size: usize, seed: u64) -> Vec<Script> {
    let mut random = Random::new(seed);
    let (prefix, turns) = match kind {
        Kind::Random => (Vec::new(), 1),
        Kind::SharedPrefix(tokens) => (random.tokens(tokens, vocab_size), 1),
        Kind::MultiTurn(turns) => (Vec::new(), turns),
    };
    let mut left = sizes.requests;
    let mut scripts = Vec::with_capacity(sizes.requests.div_ceil(turns));
    while left > 0 {
        let count = turns.min(left);
        left -= count;
        let turn = |_| {
            let len = random.length(sizes.prompt, sizes.spread);
            let mut prompt = prefix.clone();
            prompt.extend(random.tokens(len, vocab_size));
            request(prompt, random.length(sizes.output, sizes.spread))
        };
        scripts.push(Script { due: Duration::ZERO, turns: (0..count).map(turn).collect() });
    }
    scripts
}

/// How requests arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// Independently: the times between them are exponentially distributed.
    Poisson,
    /// At equal distances, the first at once.
    Constant,
}

/// The times of `count` arrivals, `rate` a second on average. Those of another rate and the same
/// seed are the same but for their scale.
pub fn arrivals(kind: Arrivals, rate: f64, count: usize, seed: u64) -> Vec<Duration> {
    // Other noise than that of the prompts.
    let mut random = Random::new(seed ^ 0x6172_7269_7661_6c73);
    let mut at = 0.0;
    let next = |i: usize| {
        at = match kind {
            Arrivals::Poisson => at - (1.0 - random.unit()).ln(),
            Arrivals::Constant => i as f64,
        };
        Duration::from_secs_f64(at / rate)
    };
    (0..count).map(next).collect()
}

/// SplitMix64 (Steele, Lea and Flood 2014).
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        let drawn = mixed(self.0);
        self.0 = self.0.wrapping_add(GOLDEN);
        drawn
    }

    /// Even in 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Even in 0 to below `end`.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// Even in `mean * (1 - spread)` to `mean * (1 + spread)`, and at least 1.
    fn length(&mut self, mean: usize, spread: f64) -> usize {
        let reach = (mean as f64 * spread).floor() as usize;
        (mean - reach + self.below(2 * reach + 1)).max(1)
    }

    /// Tokens, all alike probable.
    pub fn tokens(&mut self, count: usize, vocab_size: usize) -> Vec<TokenId> {
        (0..count).map(|_| TokenId(self.below(vocab_size) as u32)).collect()
    }
}
