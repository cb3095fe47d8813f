//! What speculation gains and what it costs on the CPU: tokens of a step of the model against the
//! bound that two distributions set, and output tokens a second with and without drafts, in the
//! same run and with the same tokens. What drafts well is here, and what never does.
#![allow(clippy::print_stdout)] // the report

mod bound;
mod drafts;
#[path = "../dummy.rs"]
mod dummy;

use drafts::{Kind, Model};
use ridgepoint::backend::Backend;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::engine::speculate::{DEPTH_MAX, Depths, DraftCounts};
use ridgepoint::engine::{Engine, EngineOptions, EngineThread, Stats, SubmitOptions};
use ridgepoint::error::{Error, Result};
use ridgepoint::model::Decoder;
use ridgepoint::request::{Request, SamplingParams, TokenId};
use ridgepoint::text::Tokenizer;
use std::path::PathBuf;
use std::time::Instant;

/// Tokens of a draft where the bound is for so many.
const DEPTH: usize = 4;
/// Tokens of a prompt from the held-out stories.
const PROMPT: usize = 12;
/// The most tokens of an output of the shipped model; most stories end before.
const OUTPUT: usize = 240;
/// How often each part is measured, twice each time.
const ROUNDS: usize = 5;
/// The wall time that a hopeless draft may cost, in percent.
const WORST: f64 = 5.0;

fn main() -> Result<()> {
    println!("{}", CpuBackend::new().describe());
    let shipped = Model::Stored(root().join("models/target"));
    let draft = Model::Stored(root().join("models/draft"));
    for temperature in [0.0, 1.0] {
        acceptance(&shipped, &draft, &stories(40, temperature)?)?;
    }
    println!();
    for temperature in [0.0, 1.0] {
        for running in [1, 4, 16] {
            let case = Case {
                name: format!("shipped, temperature {temperature}, batch {running}"),
                target: &shipped,
                requests: stories(16, temperature)?,
                running,
                rounds: ROUNDS,
            };
            let wrong = Kind::Wrong(draft.clone());
            case.compare(&[Kind::Model(draft.clone()), Kind::Ngrams, wrong])?;
        }
    }
    for running in [1, 4] {
        let case = Case {
            name: format!("dummy of 317 M, batch {running}"),
            target: &Model::Dummy,
            requests: random(running),
            running,
            rounds: 2,
        };
        let truth = case.outputs()?;
        let oracle = |percent| Kind::Oracle { truth: truth.clone(), percent };
        case.compare(&[oracle(80), oracle(0), Kind::Ngrams])?;
    }
    Ok(())
}

fn root() -> PathBuf {
    std::env::var("RIDGEPOINT_ROOT").unwrap_or(env!("CARGO_MANIFEST_DIR").to_string()).into()
}

/// Requests to go on with held-out stories, to their end.
fn stories(count: usize, temperature: f32) -> Result<Vec<Request>> {
    let dir = root().join("models/target");
    let tokenizer = Tokenizer::load(&dir, usize::MAX)?;
    let path = root().join("models/heldout.txt");
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path, "cannot read"))?;
    let mut requests = Vec::new();
    for (number, story) in text.split("\n\n").take(count).enumerate() {
        let mut prompt = tokenizer.encode(story, true)?;
        prompt.truncate(PROMPT);
        let seed = number as u64;
        requests.push(Request {
            prompt,
            max_tokens: OUTPUT,
            sampling: SamplingParams { temperature, seed, ..SamplingParams::default() },
            stop: Vec::new(),
            stop_tokens: vec![TokenId(1)],
        });
    }
    Ok(requests)
}

/// Requests for a model that has learnt nothing.
fn random(count: usize) -> Vec<Request> {
    let token = |number: usize, i: usize| TokenId(((number * 97 + i) * 7919 % dummy::VOCAB) as u32);
    let request = |number| Request {
        prompt: (0..PROMPT).map(|i| token(number, i)).collect(),
        max_tokens: 64,
        sampling: SamplingParams { temperature: 0.0, ..SamplingParams::default() },
        stop: Vec::new(),
        stop_tokens: Vec::new(),
    };
    (0..count).map(request).collect()
}

/// Starts an engine on a model, with something that drafts.
fn start(
    target: &Model,
    running: usize,
    kind: &Kind,
    depth: Option<usize>,
) -> Result<EngineThread> {
    let (target, kind) = (target.clone(), kind.clone());
    EngineThread::start(move |server| {
        let mut options = EngineOptions::new(PROMPT + OUTPUT, running);
        options.depth = if matches!(kind, Kind::Plain) { 0 } else { DEPTH_MAX };
        let (config, source) = target.open()?;
        let decoder = Decoder::load(CpuBackend::new(), config, &source, options.limits())?;
        let mut engine = Engine::new(decoder, None, &options)?;
        if let Some(drafter) = kind.drafter(&options)? {
            engine.speculate(drafter, Depths::new(depth));
        }
        server.serve(engine)
    })
}

/// The outputs of all requests, which run as many at a time as the engine lets them.
fn serve(engine: &EngineThread, requests: &[Request]) -> Result<Vec<Vec<TokenId>>> {
    let submit = |request: &Request| {
        engine.client().submit(request.clone(), SubmitOptions { priority: 0, salt: None })
    };
    let streams = requests.iter().map(submit).collect::<Result<Vec<_>>>()?;
    streams.into_iter().map(|stream| Ok(stream.collect_all()?.ids())).collect()
}

/// Prints the tokens of a step with drafts of [`DEPTH`] tokens beside their bound.
fn acceptance(target: &Model, draft: &Model, requests: &[Request]) -> Result<()> {
    let engine = start(target, 16, &Kind::Model(draft.clone()), Some(DEPTH))?;
    let outputs = serve(&engine, requests)?;
    let counts = engine.client().stats().speculation.counts;
    let bound = bound::along(target, draft, requests, &outputs)?;
    let percent = counts.acceptance().iter().map(|share| format!("{:.1}", 100.0 * share)).collect();
    let percent: Vec<String> = percent;
    println!(
        "temperature {}, depth {DEPTH}: {:.3} tokens a step over {} steps; accepted by position {} \
         %; expected of this coupling {:.3}, bound of any {:.3}; mean acceptance of a token {:.3}, \
         1 - TV {:.3}",
        requests[0].sampling.temperature,
        counts.tokens_per_step().unwrap_or_default(),
        counts.steps,
        percent.join(" "),
        bound.coupled,
        bound.any,
        bound.acceptance,
        bound.overlap
    );
    Ok(())
}

/// A load that is served with and without drafts.
struct Case<'a> {
    name: String,
    target: &'a Model,
    requests: Vec<Request>,
    running: usize,
    rounds: usize,
}

/// A way of serving it, and what was measured.
struct Side {
    name: &'static str,
    engine: EngineThread,
    /// The best time of each part of the requests.
    best: Vec<f64>,
    since: Stats,
}

impl Case<'_> {
    fn outputs(&self) -> Result<Vec<Vec<TokenId>>> {
        serve(&start(self.target, self.running, &Kind::Plain, Some(0))?, &self.requests)
    }

    /// Serves the requests in parts of as many as run at a time. Each part is measured on all sides
    /// in the order A B C C B A, and counts with its best time on each: what else the machine does
    /// only ever slows a part down. Every side must give the same tokens.
    fn compare(&self, kinds: &[Kind]) -> Result<()> {
        let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
        if filter.is_some_and(|filter| !self.name.contains(&filter)) {
            return Ok(());
        }
        let parts: Vec<&[Request]> = self.requests.chunks(self.running).collect();
        let mut sides = Vec::new();
        for kind in std::iter::once(&Kind::Plain).chain(kinds) {
            let engine = start(self.target, self.running, kind, None)?;
            // The first run is for what is learnt once: times, and how often drafts are right.
            serve(&engine, parts[0])?;
            let (best, since) = (vec![f64::INFINITY; parts.len()], engine.client().stats());
            sides.push(Side { name: kind.name(), engine, best, since });
        }
        let mut tokens = 0;
        for (number, part) in parts.iter().enumerate() {
            let expected = serve(&sides[0].engine, part)?;
            tokens += expected.iter().map(Vec::len).sum::<usize>();
            for _ in 0..self.rounds {
                for i in (0..sides.len()).chain((0..sides.len()).rev()) {
                    let side = &mut sides[i];
                    let started = Instant::now();
                    let found = serve(&side.engine, part)?;
                    let best = &mut side.best[number];
                    *best = best.min(started.elapsed().as_secs_f64());
                    assert!(found == expected, "{} changes tokens", side.name);
                }
            }
        }
        let rate = |side: &Side| tokens as f64 / side.best.iter().sum::<f64>();
        let plain = rate(&sides[0]);
        sides.iter().for_each(|side| self.report(side, rate(side), plain));
        Ok(())
    }

    fn report(&self, side: &Side, rate: f64, plain: f64) {
        let stats = side.engine.client().stats().since(&side.since);
        let DraftCounts { steps, drafted, .. } = stats.speculation.counts;
        let gain = rate / plain;
        let verdict = match side.name {
            "plain" => "",
            _ if gain >= 1.0 - WORST / 100.0 => ", within 5 % or better",
            _ => ", SLOWER by more than 5 %",
        };
        let of =
            |time: std::time::Duration| 100.0 * time.as_secs_f64() / stats.step_time.as_secs_f64();
        println!(
            "{}, {}: {:.0} tok/s, {gain:.3} of plain{verdict}; {:.2} tokens a step, {:.2} drafted; \
             {:.1} % of the time in drafts, {:.1} % in passes",
            self.name,
            side.name,
            rate,
            stats.speculation.counts.tokens_per_step().unwrap_or(1.0),
            drafted.iter().sum::<u64>() as f64 / steps.max(1) as f64,
            of(stats.speculation.time),
            of(stats.decode.time + stats.prefill.time),
        );
    }
}
