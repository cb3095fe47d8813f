//! Drafts: that no draft changes the output, what is accepted, and that a bad draft costs nothing.

use super::together::{Case, Drafts, crowded, decoder, hold};
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::engine::RequestId;
use ridgepoint::engine::speculate::{
    Ask, DEPTH_MAX, Depths, DraftModel, DraftWork, Drafter, Ngrams, Wanted,
};
use ridgepoint::error::{Error, Result};
use ridgepoint::model::Limits;
use ridgepoint::request::{SamplingParams, TokenId};
use std::time::Duration;

impl Drafts {
    /// The drafter, for an engine of these limits on the fixture `name`.
    pub fn drafter(self, name: &str, limits: Limits) -> Box<dyn Drafter> {
        match self {
            Drafts::Ngrams => Box::new(Ngrams::new(3)),
            Drafts::Model(pages) => {
                let limits = DraftModel::<CpuBackend>::limits(limits);
                let decoder = decoder(name, CpuBackend::new(), limits);
                Box::new(DraftModel::new(decoder, pages).unwrap())
            }
            other => Box::new(Nonsense { kind: other, calls: 0 }),
        }
    }
}

struct Nonsense {
    kind: Drafts,
    calls: u32,
}

impl Drafter for Nonsense {
    fn draft(
        &mut self,
        asks: &[Ask<'_>],
        drafts: &mut [Vec<TokenId>],
        _timed: &mut dyn FnMut(DraftWork, Duration),
    ) -> Result<()> {
        self.calls += 1;
        for (ask, draft) in asks.iter().zip(drafts) {
            let token = |i: usize| match self.kind {
                // Nobody draws the last token of the vocabulary.
                Drafts::Wrong => TokenId(210),
                _ => TokenId((self.calls * 31 + i as u32 * 7) % 200),
            };
            draft.extend((0..ask.depth).map(token));
        }
        match self.kind {
            Drafts::Failing if self.calls == 2 => panic!("a planned panic"),
            Drafts::Failing if self.calls.is_multiple_of(2) => {
                Err(Error::Device("a planned fault".to_string()))
            }
            _ => Ok(()),
        }
    }
}

fn drafted(drafts: Drafts, depth: usize) -> Case {
    let mut case = crowded();
    case.reserve_percent = 100;
    case.spare_pages = 40;
    case.prefill_tokens = 512;
    case.asked.iter_mut().for_each(|asked| {
        asked.arrival = 0;
        asked.cancel = None;
    });
    Case { drafts: Some((drafts, Some(depth))), ..case }
}

/// The model that drafts is the one that decides: everything is right, greedy and sampled, since
/// both draw with the same noise.
#[test]
fn a_perfect_draft_is_accepted_whole() {
    let ran = hold("llama3_gqa4", CpuBackend::new, &drafted(Drafts::Model(100), 4));
    let stats = &ran.speculation.counts;
    assert_eq!(stats.drafted, stats.accepted, "{stats:?}");
    assert!(stats.drafted[3] > 20 && stats.drafted[4] == 0, "{stats:?}");
}

#[test]
fn a_wrong_draft_is_wasted_whole() {
    let ran = hold("llama3_gqa4", CpuBackend::new, &drafted(Drafts::Wrong, 7));
    let stats = &ran.speculation.counts;
    // By chance a sampled token may be the one that was meant to be wrong.
    assert!(stats.accepted.iter().sum::<u64>() < 3 && stats.wasted() > 100, "{stats:?}");
}

#[test]
fn a_drafter_that_fails_is_counted_and_done_without() {
    let ran = hold("llama3_gqa4", CpuBackend::new, &drafted(Drafts::Failing, 2));
    assert!(ran.speculation.faults > 3, "{:?}", ran.speculation);
}

/// Pages for two sequences of seven: the others go on without drafts.
#[test]
fn a_draft_model_without_pages_leaves_some_without_drafts() {
    let ran = hold("llama3_gqa4", CpuBackend::new, &drafted(Drafts::Model(5), 4));
    assert!(ran.speculation.counts.drafted[0] > 0, "{:?}", ran.speculation);
}

/// Two sequences that both stand at the end of their page, and one page left of three: who finds
/// none gives back what it has, so that one of them always goes on.
#[test]
fn sequences_that_wait_for_pages_hold_none() {
    let limits = Limits { rows: 512, logit_rows: 2, sequences: 2, context: 256 };
    let mut drafter = Drafts::Model(3).drafter("llama3_gqa4", limits);
    let params = SamplingParams::default();
    let texts: [Vec<TokenId>; 2] =
        [3, 5].map(|step| (0..200).map(|i| TokenId(i * step % 200)).collect());
    let mut drafted = Vec::new();
    for len in 60..190 {
        let ask = |i: usize| Ask {
            id: RequestId(i as u64),
            tokens: &texts[i][..len],
            prompt_len: 1,
            params: &params,
            depth: 2,
        };
        let mut drafts = vec![Vec::new(); 2];
        drafter.draft(&[ask(0), ask(1)], &mut drafts, &mut |_, _| ()).unwrap();
        drafted.push(drafts.iter().filter(|draft| !draft.is_empty()).count());
    }
    assert_eq!(drafted[..2], [2, 2], "both have a page");
    assert_eq!(drafted[drafted.len() - 1], 1, "three pages are those of one");
    assert!(drafted.iter().all(|count| *count > 0), "{drafted:?}");
}

fn drafts_of(ngrams: &mut Ngrams, text: &[u32], depth: usize) -> Vec<u32> {
    let tokens: Vec<TokenId> = text.iter().map(|&id| TokenId(id)).collect();
    let params = SamplingParams::default();
    let ask = Ask { id: RequestId(1), tokens: &tokens, prompt_len: 1, params: &params, depth };
    let mut drafts = vec![Vec::new()];
    ngrams.draft(&[ask], &mut drafts, &mut |_, _| ()).unwrap();
    drafts[0].iter().map(|token| token.0).collect()
}

#[test]
fn a_lookup_takes_the_longest_run_and_of_these_the_last() {
    let cases: [(&[u32], usize, &[u32]); 6] = [
        (&[1, 2, 3, 4, 1, 2], 3, &[3, 4, 1]),
        (&[1, 2, 3, 1, 2, 4, 1, 2], 2, &[4, 1]),
        (&[9, 2, 7, 8, 2, 5, 9, 2], 2, &[7, 8]), // "9 2" beats the later "2"
        (&[1, 2, 3], 4, &[]),
        (&[5, 6, 5, 6, 5], 4, &[6, 5, 6, 5]), // it runs into its own end, and on
        (&[7, 7], 3, &[7, 7, 7]),
    ];
    for (text, depth, expected) in cases {
        let whole = drafts_of(&mut Ngrams::new(3), text, depth);
        assert_eq!(whole, expected, "{text:?}");
        // Token by token it comes to the same.
        let mut ngrams = Ngrams::new(3);
        (1..text.len()).for_each(|len| drop(drafts_of(&mut ngrams, &text[..len], depth)));
        assert_eq!(drafts_of(&mut ngrams, text, depth), expected, "{text:?} grown");
    }
}

/// Runs an engine's choices against a modelled device; gives tokens for each second.
struct Modelled {
    /// Seconds of a pass of so many rows.
    pass: fn(usize) -> f64,
    /// Seconds of a round of the drafter for so many sequences.
    round: fn(usize) -> f64,
    /// The chance of each drafted token of the i-th sequence.
    chance: fn(usize) -> f64,
}

impl Modelled {
    fn rate(&self, mut depths: Depths, sequences: usize, steps: usize) -> f64 {
        let mut state = 9u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let wanted = |drawn| {
            let one = |i| Wanted { id: RequestId(i as u64), most: DEPTH_MAX, lag: 0, drawn };
            (0..sequences).map(one).collect::<Vec<_>>()
        };
        let (mut tokens, mut seconds) = (0.0, 0.0);
        for step in 0..steps {
            let chosen = depths.choose(&wanted(step), sequences);
            for round in 0..DEPTH_MAX {
                let asking = chosen.iter().filter(|depth| **depth > round).count();
                if asking > 0 {
                    seconds += (self.round)(asking);
                    depths.learn_drafting(DraftWork::Round(asking), (self.round)(asking));
                }
            }
            let rows = sequences + chosen.iter().sum::<usize>();
            seconds += (self.pass)(rows);
            depths.learn_pass(rows, (self.pass)(rows));
            for (i, depth) in chosen.into_iter().enumerate() {
                let right = (0..depth).take_while(|_| random() < (self.chance)(i)).count();
                tokens += 1.0 + right as f64;
                if depth > 0 {
                    depths.learn_acceptance(RequestId(i as u64), depth, right);
                }
            }
        }
        tokens / seconds
    }
}

/// Bound by memory: the rows of a pass are nearly free.
fn flat(rows: usize) -> f64 {
    1.0 + 0.01 * rows as f64
}

/// Bound by arithmetic: they are not.
fn steep(rows: usize) -> f64 {
    0.05 + rows as f64
}

#[test]
fn a_draft_that_is_always_wrong_costs_less_than_two_percent() {
    for pass in [flat, steep] {
        for round in [|_: usize| 0.0, |_: usize| 0.1, |_: usize| 0.8] {
            for sequences in [1, 4, 32] {
                let modelled = Modelled { pass, round, chance: |_| 0.0 };
                let plain = modelled.rate(Depths::new(Some(0)), sequences, 4000);
                let chosen = modelled.rate(Depths::new(None), sequences, 4000);
                assert!(chosen > 0.98 * plain, "{sequences} sequences: {chosen} of {plain}");
            }
        }
    }
}

#[test]
fn the_depth_comes_near_the_best_fixed_one() {
    let round = |_| 0.08;
    for modelled in [
        Modelled { pass: flat, round, chance: |_| 0.9 },
        Modelled { pass: flat, round, chance: |_| 0.5 },
        Modelled { pass: steep, round, chance: |_| 0.9 },
        Modelled { pass: flat, round, chance: |i| [0.0, 0.95][i % 2] },
    ] {
        let fixed = |depth| modelled.rate(Depths::new(Some(depth)), 4, 3000);
        let best = (0..=DEPTH_MAX).map(fixed).fold(0.0, f64::max);
        let chosen = modelled.rate(Depths::new(None), 4, 3000);
        assert!(chosen > 0.95 * best, "{chosen} of {best}");
    }
}

/// Half of the sequences draft well: they get deep drafts, and the others none.
#[test]
fn each_sequence_has_a_depth_of_its_own() {
    let chance = |i: usize| [0.0, 0.95][i % 2];
    let modelled = Modelled { pass: flat, round: |_| 0.08, chance };
    let fixed = |depth| modelled.rate(Depths::new(Some(depth)), 4, 3000);
    let best = (0..=DEPTH_MAX).map(fixed).fold(0.0, f64::max);
    let chosen = modelled.rate(Depths::new(None), 4, 3000);
    assert!(chosen > best, "{chosen}, but one depth for all gives {best}");
}

/// Depths that have seen drafts be right, of passes that are nearly free beyond their first row.
fn hopeful() -> Depths {
    let mut depths = Depths::new(None);
    for rows in [1, 1, 1, 2, 4, 8] {
        depths.learn_pass(rows, flat(rows));
    }
    depths.learn_drafting(DraftWork::Round(1), 0.05);
    (0..20).for_each(|_| depths.learn_acceptance(RequestId(1), DEPTH_MAX, DEPTH_MAX));
    depths
}

fn chosen(depths: &mut Depths, lag: usize, drawn: usize, most: usize) -> usize {
    depths.choose(&[Wanted { id: RequestId(1), most, lag, drawn }], 1)[0]
}

#[test]
fn a_request_is_read_where_that_may_pay() {
    let mut depths = hopeful();
    depths.learn_drafting(DraftWork::Reading(1000), 40.0);
    assert_eq!(chosen(&mut depths, 0, 1, 7), 7, "nothing is to be read");
    assert_eq!(chosen(&mut depths, 1000, 1, 7), 7, "forty passes over eight steps: five a step");
    assert_eq!(chosen(&mut depths, 1000, 900, 3), 0, "it is about to end");
    depths.learn_drafting(DraftWork::Reading(9000), 400.0);
    assert_eq!(chosen(&mut depths, 9000, 1, 7), 0, "fifty a step");
    assert_eq!(chosen(&mut depths, 9000, 900, 7), 7, "it goes on for long");
}

#[test]
fn a_pass_that_was_slow_by_chance_forbids_no_depth_for_long() {
    let mut depths = hopeful();
    depths.learn_pass(8, 500.0);
    assert_eq!(chosen(&mut depths, 0, 1, 7), 7, "one among others");
    // The first of its width counts for as many passes as it has rows, at most.
    let mut depths = Depths::new(None);
    for (rows, seconds) in [(1, 1.0), (1, 1.0), (1, 1.0), (2, 500.0), (4, 1.04), (8, 1.08)] {
        depths.learn_pass(rows, seconds);
    }
    (0..20).for_each(|_| depths.learn_acceptance(RequestId(1), DEPTH_MAX, DEPTH_MAX));
    assert_eq!(chosen(&mut depths, 0, 1, 7), 7);
    // One that was lucky is not believed: eight rows take no less than four.
    let mut depths = Depths::new(None);
    for (rows, seconds) in [(1, 1.0), (4, 3.9), (8, 0.5)] {
        (0..9).for_each(|_| depths.learn_pass(rows, seconds));
    }
    (0..9).for_each(|_| depths.learn_acceptance(RequestId(1), 4, 2));
    assert!(chosen(&mut depths, 0, 1, 7) <= 1, "two tokens more for the time of four passes");
}

/// What a pass takes without drafts is seen some times before anything is drafted, and again after
/// many passes with them: or the first pass of all, which is often slow, would make the rows of
/// drafts look free for long.
#[test]
fn what_plain_passes_take_is_known_and_not_long_ago() {
    let mut depths = Depths::new(None);
    for seconds in [5.0, 1.0, 1.0] {
        assert_eq!(chosen(&mut depths, 0, 1, 7), 0);
        depths.learn_pass(1, seconds);
    }
    assert!(chosen(&mut depths, 0, 1, 7) > 0);
    for drafted in 0..=256 {
        assert!(chosen(&mut depths, 0, 1, 7) > 0, "{drafted}");
        depths.learn_pass(8, 1.08);
        depths.learn_acceptance(RequestId(1), DEPTH_MAX, DEPTH_MAX);
    }
    assert_eq!(chosen(&mut depths, 0, 1, 7), 0);
    depths.learn_pass(1, 1.0);
    assert!(chosen(&mut depths, 0, 1, 7) > 0);
}

/// Rows go by fours, so that a fifth takes as long as four more: far more than was seen of any
/// width before it.
#[test]
fn a_probe_is_charged_what_it_took() {
    let by_fours = |rows: usize| 1.0 + rows.div_ceil(4) as f64;
    for sequences in [4, 8, 16] {
        let modelled = Modelled { pass: by_fours, round: |_| 0.0, chance: |_| 0.0 };
        let plain = modelled.rate(Depths::new(Some(0)), sequences, 4000);
        let chosen = modelled.rate(Depths::new(None), sequences, 4000);
        assert!(chosen > 0.985 * plain, "{sequences} sequences: {chosen} of {plain}");
    }
}

/// Where no draft pays, that is not asked in every step, but soon enough again, and at once when
/// something has changed.
#[test]
fn where_no_draft_pays_nobody_asks_for_a_while() {
    let mut depths = Depths::new(None);
    let step = |depths: &mut Depths, id| {
        let rests = depths.rests(1);
        let wanted = [Wanted { id: RequestId(id), most: DEPTH_MAX, lag: 0, drawn: 1 }];
        let depth = if rests { 0 } else { depths.choose(&wanted, 1)[0] };
        if depth > 0 {
            depths.learn_acceptance(RequestId(id), depth, 0);
        }
        depths.learn_pass(1 + depth, steep(1 + depth));
        rests
    };
    let rested = (0..2000).filter(|_| step(&mut depths, 1)).count();
    assert!((1600..2000).contains(&rested), "{rested} of 2000 steps");
    let longest = (0..2000).map(|_| step(&mut depths, 1)).collect::<Vec<_>>();
    let longest = longest.split(|rests| !rests).map(<[bool]>::len).max();
    assert!(longest <= Some(9), "{longest:?}");
    while !step(&mut depths, 1) {}
    assert!(!depths.rests(2), "another number of rows");
    depths.forget(RequestId(1));
    assert!(!depths.rests(1), "another request");
    assert!(Depths::new(Some(0)).rests(3) && !Depths::new(Some(1)).rests(3));
}
