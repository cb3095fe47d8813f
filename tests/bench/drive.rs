//! The driver against an engine: who is sent when, and what is noted of it.

use crate::common::fixture;
use indicatif::ProgressBar;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::cli::bench::drive::{Driver, Run};
use ridgepoint::cli::bench::metrics::Ending;
use ridgepoint::cli::bench::workload::{Kind, Script, Sizes, scripts};
use ridgepoint::engine::{Engine, EngineOptions, EngineThread};
use ridgepoint::load::Checkpoint;
use ridgepoint::model::{Decoder, ModelConfig};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const VOCAB: usize = 211;

fn engine() -> EngineThread {
    let folder = fixture("llama2_mha");
    let config = ModelConfig::load(&folder).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let options = EngineOptions::new(512, 4);
    EngineThread::start(move |server| {
        let decoder = Decoder::load(CpuBackend::new(), config, &checkpoint, options.limits())?;
        server.serve(Engine::new(decoder, None, &options)?)
    })
    .unwrap()
}

fn drive(engine: &EngineThread, limit: usize, scripts: Vec<Script>, salt: u64) -> Run {
    let (cancel, bar) = (AtomicBool::new(false), ProgressBar::hidden());
    let driver = Driver { client: engine.client(), limit, cancel: &cancel, bar: &bar };
    let run = driver.run(scripts, salt).unwrap();
    assert_eq!(bar.position() as usize, run.timelines.len());
    run
}

#[test]
fn conversations_grow_turn_by_turn() {
    let engine = engine();
    let sizes = Sizes { requests: 6, prompt: 70, output: 5, spread: 0.0 };
    let run = drive(&engine, usize::MAX, scripts(Kind::MultiTurn(3), &sizes, VOCAB, 1), 0);
    let mut prompts: Vec<usize> = run.timelines.iter().map(|t| t.prompt_tokens).collect();
    prompts.sort_unstable();
    assert_eq!(prompts, [70, 70, 145, 145, 220, 220]);
    for timeline in &run.timelines {
        assert_eq!((&timeline.ending, timeline.tokens.len()), (&Ending::Finished, 5));
        assert!(timeline.tokens.is_sorted() && timeline.tokens[0] > timeline.due);
        assert_eq!(timeline.end, timeline.tokens[4]);
        // Each turn is due when the one before has ended.
        let is_first = timeline.prompt_tokens == 70;
        let ends = run.timelines.iter().any(|other| other.end == timeline.due);
        assert!(is_first == timeline.due.is_zero() && is_first != ends, "{timeline:?}");
        // Full pages of the prompt before are found: one of 70 tokens, two of 145.
        let pages = [70, 145, 220].iter().position(|&len| len == timeline.prompt_tokens);
        assert_eq!(timeline.cached_tokens, 64 * pages.unwrap());
    }
    assert_eq!(run.stats.generation_tokens, 30);
    assert_eq!(run.stats.prefix_cache_hits, 2 * (64 + 128));
    assert_eq!(run.duration, run.timelines.iter().map(|t| t.end).max().unwrap());
}

#[test]
fn runs_of_another_salt_share_nothing() {
    let engine = engine();
    let sizes = Sizes { requests: 2, prompt: 130, output: 2, spread: 0.0 };
    let hits = |salt| {
        let scripts = scripts(Kind::Random, &sizes, VOCAB, 1);
        drive(&engine, usize::MAX, scripts, salt).stats.prefix_cache_hits
    };
    assert_eq!((hits(0), hits(1), hits(0)), (0, 0, 256));
}

#[test]
fn a_limit_holds_requests_back_and_they_count_from_when_they_were_due() {
    let engine = engine();
    let sizes = Sizes { requests: 6, prompt: 20, output: 8, spread: 0.0 };
    let run = drive(&engine, 1, scripts(Kind::Random, &sizes, VOCAB, 1), 0);
    // One after the other: each begins when the one before has ended, and all were due at once.
    assert!(run.timelines.iter().all(|timeline| timeline.due.is_zero()));
    for pair in run.timelines.windows(2) {
        assert!(pair[1].tokens[0] > pair[0].end);
        assert!(pair[1].ttft() > Some(pair[0].e2e()));
    }
}

#[test]
fn a_request_is_not_sent_before_it_is_due() {
    let engine = engine();
    let sizes = Sizes { requests: 3, prompt: 20, output: 2, spread: 0.0 };
    let mut scripts = scripts(Kind::Random, &sizes, VOCAB, 1);
    let dues = [0, 40, 80].map(Duration::from_millis);
    scripts.iter_mut().zip(dues).for_each(|(script, due)| script.due = due);
    let run = drive(&engine, usize::MAX, scripts, 0);
    for (timeline, due) in run.timelines.iter().zip(dues) {
        assert_eq!(timeline.due, due);
        assert!(timeline.tokens[0] > due);
    }
}

#[test]
fn what_is_cancelled_ends_and_the_rest_is_not_sent() {
    let engine = engine();
    let sizes = Sizes { requests: 3, prompt: 20, output: 400, spread: 0.0 };
    let mut scripts = scripts(Kind::Random, &sizes, VOCAB, 1);
    scripts[2].due = Duration::from_secs(3600);
    let (cancel, bar) = (AtomicBool::new(false), ProgressBar::hidden());
    let driver = Driver { client: engine.client(), limit: 4, cancel: &cancel, bar: &bar };
    let started = Instant::now();
    let run = std::thread::scope(|scope| {
        scope.spawn(|| {
            while engine.client().stats().generation_tokens == 0 {
                std::thread::yield_now();
            }
            cancel.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        driver.run(scripts, 0).unwrap()
    });
    assert!(started.elapsed() < Duration::from_secs(600), "it does not wait for the third");
    assert_eq!(run.timelines.len(), 2);
    assert!(run.timelines.iter().any(|timeline| timeline.ending == Ending::Cancelled));
    assert_eq!(engine.client().health().open, 0);
}
