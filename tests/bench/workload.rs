//! Requests that are made up: equal for equal seeds, and of the distribution that was asked for.

use ridgepoint::cli::bench::trace::Reader;
use ridgepoint::cli::bench::workload::{Arrivals, Kind, Script, Sizes, arrivals, scripts};
use ridgepoint::error::Result;
use ridgepoint::load::Checkpoint;
use std::path::Path;
use std::time::Duration;

const SIZES: Sizes = Sizes { requests: 200, prompt: 50, output: 20, spread: 0.5 };

#[test]
fn poisson_arrivals_have_their_rate_and_spread() {
    let (count, rate) = (20_000, 4.0);
    let times = arrivals(Arrivals::Poisson, rate, count, 7);
    assert!(times.is_sorted());
    let gaps: Vec<f64> = std::iter::once(times[0])
        .chain(times.windows(2).map(|pair| pair[1] - pair[0]))
        .map(|gap| gap.as_secs_f64() * rate)
        .collect();
    let mean = gaps.iter().sum::<f64>() / count as f64;
    // An exponential distribution: mean 1, variance 1, and exp(-1) of it above 1. Four standard
    // errors each.
    assert!((mean - 1.0).abs() < 4.0 / (count as f64).sqrt(), "{mean}");
    let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count as f64;
    assert!((variance - 1.0).abs() < 4.0 * (8.0 / count as f64).sqrt(), "{variance}");
    let above = gaps.iter().filter(|gap| **gap > 1.0).count() as f64 / count as f64;
    assert!((above - (-1f64).exp()).abs() < 0.014, "{above}");
}

#[test]
fn arrivals_follow_from_seed_and_rate() {
    let of = |rate, seed| arrivals(Arrivals::Poisson, rate, 50, seed);
    assert_eq!(of(2.0, 1), of(2.0, 1));
    assert_ne!(of(2.0, 1), of(2.0, 2));
    for (slow, quick) in of(1.0, 3).iter().zip(of(4.0, 3)) {
        let difference = slow.as_secs_f64() - 4.0 * quick.as_secs_f64();
        assert!(difference.abs() < 1e-8, "a rate only stretches the times: {difference}");
    }
    let constant = arrivals(Arrivals::Constant, 4.0, 3, 0);
    assert_eq!(constant, [0, 250, 500].map(Duration::from_millis));
}

#[test]
fn lengths_are_even_around_their_mean() {
    let scripts = scripts(Kind::Random, &Sizes { requests: 5000, ..SIZES }, 300, 1);
    assert_eq!(scripts.len(), 5000);
    let lengths: Vec<usize> = scripts.iter().map(|script| script.turns[0].prompt.len()).collect();
    assert_eq!((lengths.iter().min(), lengths.iter().max()), (Some(&25), Some(&75)));
    let mean = lengths.iter().sum::<usize>() as f64 / 5000.0;
    // The standard deviation of 51 even values is 14.7.
    assert!((mean - 50.0).abs() < 4.0 * 14.7 / 5000f64.sqrt(), "{mean}");
    let turns = || scripts.iter().map(|script| &script.turns[0]);
    assert!(turns().all(|turn| (10..=30).contains(&turn.max_tokens)));
    assert!(turns().all(|turn| turn.prompt.iter().all(|id| id.index() < 300)));
    let highest = turns().flat_map(|turn| &turn.prompt).max().unwrap();
    assert_eq!(highest.0, 299, "the whole vocabulary occurs");
}

#[test]
fn equal_seeds_give_equal_requests() {
    for kind in [Kind::Random, Kind::SharedPrefix(40), Kind::MultiTurn(3)] {
        assert_eq!(scripts(kind, &SIZES, 300, 5), scripts(kind, &SIZES, 300, 5));
        assert_ne!(scripts(kind, &SIZES, 300, 5), scripts(kind, &SIZES, 300, 6));
    }
}

#[test]
fn a_shared_prefix_is_shared_and_the_rest_is_not() {
    let scripts = scripts(Kind::SharedPrefix(40), &SIZES, 300, 5);
    let prompt = |i: usize| &scripts[i].turns[0].prompt;
    assert!((0..200).all(|i| prompt(i)[..40] == prompt(0)[..40]));
    assert!((1..200).all(|i| prompt(i)[40..60] != prompt(0)[40..60]));
    assert!((0..200).all(|i| prompt(i).len() >= 40 + 25));
}

#[test]
fn conversations_have_their_turns() {
    let sizes = Sizes { requests: 11, spread: 0.0, ..SIZES };
    let scripts = scripts(Kind::MultiTurn(4), &sizes, 300, 5);
    let turns: Vec<usize> = scripts.iter().map(|script| script.turns.len()).collect();
    assert_eq!(turns, [4, 4, 3], "eleven requests in all");
    assert_eq!(scripts[0].tokens(), 4 * (50 + 20), "the last turn holds all before");
}

fn trace(text: &str) -> Result<Vec<Script>> {
    let path = Path::new("t.jsonl");
    Reader { path, requests: 10, vocab_size: 100, context: 64, seed: 3 }.parse(text)
}

#[test]
fn a_trace_gives_times_lengths_and_tokens() {
    let text = "{\"arrival_s\": 0.5, \"prompt_tokens\": 7, \"max_tokens\": 3}\n\n\
                {\"arrival_s\": 2, \"tokens\": [5, 99], \"max_tokens\": 1}\n";
    let scripts = trace(text).unwrap();
    assert_eq!(scripts.len(), 2);
    assert_eq!(scripts[0].due, Duration::from_millis(500));
    let turn = &scripts[0].turns[0];
    assert_eq!((turn.prompt.len(), turn.max_tokens), (7, 3));
    let ids: Vec<u32> = scripts[1].turns[0].prompt.iter().map(|id| id.0).collect();
    assert_eq!(ids, [5, 99]);
    assert_eq!(trace(text).unwrap(), scripts, "equal seeds, equal prompts");
}

#[test]
fn a_bad_trace_names_line_and_field() {
    let good = "{\"arrival_s\": 1, \"prompt_tokens\": 7, \"max_tokens\": 3}";
    for (line, parts) in [
        ("{", &["line 2", "object"][..]),
        ("[1]", &["line 2", "object"]),
        ("{\"prompt_tokens\": 7, \"max_tokens\": 3}", &["line 2", "arrival_s", "no such field"]),
        ("{\"arrival_s\": -1, \"prompt_tokens\": 7, \"max_tokens\": 3}", &["arrival_s", "-1"]),
        ("{\"arrival_s\": 0.9, \"prompt_tokens\": 7, \"max_tokens\": 3}", &["0.9", "at least 1"]),
        ("{\"arrival_s\": 1, \"max_tokens\": 3}", &["line 2", "prompt_tokens", "no such field"]),
        ("{\"arrival_s\": 1, \"prompt_tokens\": 0, \"max_tokens\": 3}", &["prompt_tokens", "0"]),
        ("{\"arrival_s\": 1, \"prompt_tokens\": 65, \"max_tokens\": 3}", &["65", "1 to 64"]),
        ("{\"arrival_s\": 1, \"prompt_tokens\": 7, \"max_tokens\": 1.5}", &["max_tokens", "1.5"]),
        ("{\"arrival_s\": 1, \"tokens\": [], \"max_tokens\": 3}", &["tokens", "at least one"]),
        ("{\"arrival_s\": 1, \"tokens\": [100], \"max_tokens\": 3}", &["tokens", "below 100"]),
        (
            "{\"arrival_s\": 1, \"tokens\": [1], \"prompt_tokens\": 1, \"max_tokens\": 3}",
            &["tokens", "one of them"],
        ),
        (
            "{\"arrival_s\": 1, \"prompt_tokens\": 7, \"max_tokens\": 3, \"x\": 0}",
            &["line 2, x", "unknown"],
        ),
    ] {
        let error = trace(&format!("{good}\n{line}\n")).unwrap_err();
        assert!(error.is_mistake(), "{error}");
        let message = error.to_string();
        assert!(message.contains("t.jsonl"), "{message}");
        for part in parts {
            assert!(message.contains(part), "{line}: {message:?} does not say {part:?}");
        }
    }
    assert!(trace("\n").unwrap_err().to_string().contains("no line"));
}

#[test]
fn made_up_weights_are_random_and_the_same_again() {
    let tensor = |seed, name: &str, shape: &[usize]| {
        Checkpoint::made_up(seed).tensor(name, shape).unwrap().to_f32()
    };
    let (rows, columns) = (300, 400);
    let weights = tensor(1, "a.weight", &[rows, columns]);
    assert_eq!(weights, tensor(1, "a.weight", &[rows, columns]));
    assert_ne!(weights, tensor(2, "a.weight", &[rows, columns]));
    assert_ne!(weights, tensor(1, "b.weight", &[rows, columns]));
    let count = (rows * columns) as f32;
    let mean = weights.iter().sum::<f32>() / count;
    let variance = weights.iter().map(|x| x * x).sum::<f32>() / count;
    let expected = 1.0 / columns as f32;
    assert!(mean.abs() < 4.0 * (expected / count).sqrt(), "{mean}");
    assert!((variance / expected - 1.0).abs() < 0.02, "{variance}, expected {expected}");
    // Blocks of a tensor, which are made apart, differ.
    assert_ne!(weights[..1000], weights[1 << 16..][..1000]);
    assert_eq!(tensor(1, "model.norm.weight", &[5]), [1.0; 5]);
}
