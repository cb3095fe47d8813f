//! `bench throughput`: how long a number of requests takes that are there from the start.

use super::args::ThroughputArgs;
use super::workload::{Kind, Script, scripts};
use super::{Bench, REQUESTS_MAX, count, sizes, slo, trace, warn_of_failures};
use crate::cli::Done;
use crate::cli::output::Output;
use crate::cli::prompts::{self, Defaults};
use crate::error::{Error, Result};
use crate::request::SamplingParams;
use std::path::Path;
use std::time::Duration;

/// Runs the command.
pub fn run(args: &ThroughputArgs, out: &mut Output) -> Result<Done> {
    let bench = Bench::new(&args.common, slo(&args.sizes))?;
    let (scripts, workload) = requests(args, &bench)?;
    let options = bench.options(&scripts)?;
    let stand = bench.start(options, &[])?;
    let bar = stand.bar(scripts.len());
    bar.set_message(workload.clone());
    let run = stand.drive(usize::MAX, &bar, |driver| driver.run(scripts, 0))?;
    bar.finish_and_clear();
    warn_of_failures(&run.timelines);
    let result = stand.measurement("throughput".to_string(), None, &run);
    stand.finish("throughput", workload, vec![result], out)
}

/// The requests, all due at once, and what they are.
fn requests(args: &ThroughputArgs, bench: &Bench<'_>) -> Result<(Vec<Script>, String)> {
    if let Some(path) = &args.prompts {
        return Ok((of_prompts(path, args, bench)?, path.display().to_string()));
    }
    if let Some(mut scripts) = trace(&args.sizes, bench)? {
        scripts.iter_mut().for_each(|script| script.due = Duration::ZERO);
        return Ok((scripts, "trace, all at once".to_string()));
    }
    let sizes = sizes(&args.sizes, args.sizes.prompt)?;
    let vocab_size = bench.session.config.vocab_size;
    let scripts = scripts(Kind::Random, &sizes, vocab_size, args.common.seed);
    Ok((scripts, "random".to_string()))
}

fn of_prompts(path: &Path, args: &ThroughputArgs, bench: &Bench<'_>) -> Result<Vec<Script>> {
    let most = args.sizes.requests.unwrap_or(REQUESTS_MAX);
    count("--requests", most, REQUESTS_MAX)?;
    let defaults = Defaults {
        sampling: SamplingParams { seed: args.common.seed, ..SamplingParams::default() },
        max_tokens: args.sizes.output,
        stop: Vec::new(),
        ignore_eos: true,
    };
    let jobs = prompts::read(path, &bench.session, &defaults)?;
    let (vocab_size, context) = (bench.session.config.vocab_size, bench.context());
    let script = |(number, job): (usize, prompts::Job)| {
        let request = job.request?;
        request.validate(vocab_size, context).map_err(|error| {
            Error::Request(format!("{} request {}: {error}", path.display(), number + 1))
        })?;
        Ok(Script::single(Duration::ZERO, request))
    };
    jobs.into_iter().take(most).enumerate().map(script).collect()
}
