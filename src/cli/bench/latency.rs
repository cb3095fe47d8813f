//! `bench latency`: the table of prompt and generation lengths that llama-bench made common. A
//! prefill ends with the first token of its last request; decode begins there, and begins with a
//! short prompt in the cache unless `--depth` says more.

use super::args::LatencyArgs;
use super::drive::{Driver, Run};
use super::metrics::{Ending, Slo, Spread};
use super::report::Measurement;
use super::workload::{Random, Script, request};
use super::{Bench, Stand, check_pages, count, warn_of_failures};
use crate::cli::Done;
use crate::cli::args::EngineArgs;
use crate::cli::output::Output;
use crate::error::{Error, Result};
use std::time::Duration;

/// More than anybody waits for.
const REPEAT_MAX: usize = 10_000;
const BATCH_MAX: usize = 4096;

/// What is measured at a time.
#[derive(Clone, Copy)]
enum Test {
    /// Prefill of prompts of so many tokens.
    Prefill(usize),
    /// Decode of outputs of so many tokens.
    Decode(usize),
}

/// Runs the command.
pub fn run(args: &LatencyArgs, out: &mut Output) -> Result<Done> {
    let bench = Bench::new(&args.common, Slo::default())?;
    let longest = check(args, &bench)?;
    let most = args.batch.iter().copied().max().unwrap_or(1);
    // All requests of a batch run at a time, whatever is usual.
    let engine = EngineArgs { running: most, ..args.common.engine.clone() };
    let mut options = engine.options(longest, most, &bench.session)?;
    // Prompts are to be computed.
    options.prefix_cache = false;
    check_pages(&options)?;
    let stand = bench.start(options, &[])?;
    let tests: Vec<(Test, usize)> = args
        .batch
        .iter()
        .flat_map(|&batch| {
            let prefill = args.prompt.iter().map(move |&n| (Test::Prefill(n), batch));
            prefill.chain(args.output.iter().map(move |&n| (Test::Decode(n), batch)))
        })
        .collect();
    let requests: usize = tests.iter().map(|(_, batch)| batch * (1 + args.repeat)).sum();
    let bar = stand.bar(requests);
    let results = stand.drive(usize::MAX, &bar, |driver| {
        let mut results = Vec::new();
        for (test, batch) in tests {
            bar.set_message(test.name(batch));
            match measure(&stand, driver, test, batch, args)? {
                Some(result) => results.push(result),
                None => break,
            }
        }
        Ok(results)
    })?;
    bar.finish_and_clear();
    stand.finish("latency", "single lengths".to_string(), results, out)
}

/// The most tokens that a request takes.
fn check(args: &LatencyArgs, bench: &Bench<'_>) -> Result<usize> {
    let context = bench.context();
    for &prompt in &args.prompt {
        count("--prompt", prompt, context - 1)?;
    }
    for &output in &args.output {
        if output < 2 {
            let message =
                format!("--output is {output}, expected at least 2: decode draws the second");
            return Err(Error::Usage(message));
        }
    }
    for &batch in &args.batch {
        count("--batch", batch, BATCH_MAX)?;
    }
    count("--repeat", args.repeat, REPEAT_MAX)?;
    count("--depth", args.depth, context - 1)?;
    let most = |lengths: &[usize]| lengths.iter().copied().max().unwrap_or(1);
    let longest = (most(&args.prompt) + 1).max(args.depth.saturating_add(most(&args.output)));
    bench.check_context(longest)?;
    Ok(longest)
}

impl Test {
    fn name(self, batch: usize) -> String {
        match self {
            Test::Prefill(tokens) => format!("pp{tokens} batch {batch}"),
            Test::Decode(tokens) => format!("tg{tokens} batch {batch}"),
        }
    }

    /// Tokens a second, and milliseconds of a prompt or for each token.
    fn rate(self, run: &Run, batch: usize) -> (f64, f64) {
        let firsts = run.timelines.iter().filter_map(|t| t.tokens.first().copied());
        let first = firsts.max().unwrap_or_default();
        match self {
            Test::Prefill(tokens) => {
                let seconds = first.as_secs_f64().max(f64::MIN_POSITIVE);
                ((batch * tokens) as f64 / seconds, seconds * 1e3)
            }
            Test::Decode(_) => {
                let tokens = run.timelines.iter().flat_map(|t| &t.tokens);
                let later = tokens.filter(|at| **at > first).count() as f64;
                let seconds = (run.duration.saturating_sub(first)).as_secs_f64();
                let rate = later / seconds.max(f64::MIN_POSITIVE);
                (rate, batch as f64 / rate * 1e3)
            }
        }
    }
}

/// `None` after an interrupt.
fn measure(
    stand: &Stand<'_>,
    driver: &Driver<'_>,
    test: Test,
    batch: usize,
    args: &LatencyArgs,
) -> Result<Option<Measurement>> {
    let vocab_size = stand.bench.session.config.vocab_size;
    let (prompt, output) = match test {
        Test::Prefill(tokens) => (tokens, 1),
        Test::Decode(tokens) => (args.depth, tokens),
    };
    let mut random = Random::new(args.common.seed);
    let mut scripts = || -> Vec<Script> {
        let one = |_| request(random.tokens(prompt, vocab_size), output);
        (0..batch).map(one).map(|request| Script::single(Duration::ZERO, request)).collect()
    };
    driver.run(scripts(), 0)?;
    let before = driver.client.stats();
    let mut whole = Run { timelines: Vec::new(), duration: Duration::ZERO, stats: before.clone() };
    let (mut rates, mut times) = (Vec::new(), Vec::new());
    for _ in 0..args.repeat {
        let run = driver.run(scripts(), 0)?;
        warn_of_failures(&run.timelines);
        if run.timelines.len() < batch || run.timelines.iter().any(|t| t.ending != Ending::Finished)
        {
            break;
        }
        let (rate, ms) = test.rate(&run, batch);
        rates.push(rate);
        times.push(ms);
        whole.duration += run.duration;
        whole.timelines.extend(run.timelines);
    }
    whole.stats = driver.client.stats().since(&before);
    if rates.is_empty() {
        return Ok(None);
    }
    Ok(Some(Measurement {
        tokens_per_s: Some(Spread::of(&rates)),
        ms: Some(Spread::of(&times)),
        ..stand.measurement(test.name(batch), None, &whole)
    }))
}
