//! `bench load`: what users see whose requests arrive over time, at one or several rates.

use super::args::{ArrivalsArg, LoadArgs, WorkloadArg};
use super::workload::{Arrivals, Kind, Script, arrivals, scripts};
use super::{Bench, TOKENS_MAX, count, plot, positive, sizes, slo, trace, warn_of_failures};
use crate::cli::Done;
use crate::cli::output::Output;
use crate::error::Result;

/// Turns of a conversation.
const TURNS_MAX: usize = 1024;

/// Requests with the times at which they are due.
struct Plan {
    name: String,
    rate: Option<f64>,
    scripts: Vec<Script>,
}

/// Runs the command.
pub fn run(args: &LoadArgs, out: &mut Output) -> Result<Done> {
    let bench = Bench::new(&args.common, slo(&args.sizes))?;
    let limit = args.concurrency.unwrap_or(usize::MAX);
    count("--concurrency", limit, usize::MAX)?;
    let (plans, workload) = plans(args, &bench)?;
    let options = bench.options(&plans[0].scripts)?;
    let stand = bench.start(options, &[args.plot.as_ref()])?;
    let turns = |plan: &Plan| plan.scripts.iter().map(|script| script.turns.len()).sum::<usize>();
    let bar = stand.bar(plans.iter().map(turns).sum());
    let results = stand.drive(limit, &bar, |driver| {
        let mut results = Vec::new();
        for (number, plan) in plans.into_iter().enumerate() {
            if stand.interrupt.requested() {
                break;
            }
            bar.set_message(plan.name.clone());
            // The prompts of all rates are the same: no rate may find those of another.
            let run = driver.run(plan.scripts, number as u64)?;
            warn_of_failures(&run.timelines);
            results.push(stand.measurement(plan.name, plan.rate, &run));
        }
        Ok(results)
    })?;
    bar.finish_and_clear();
    if let Some(path) = &args.plot {
        plot::draw(&results, path)?;
    }
    stand.finish("load", workload, results, out)
}

/// One plan a rate, with the same requests; or that of the trace.
fn plans(args: &LoadArgs, bench: &Bench<'_>) -> Result<(Vec<Plan>, String)> {
    if let Some(scripts) = trace(&args.sizes, bench)? {
        let plan = Plan { name: "trace".to_string(), rate: None, scripts };
        return Ok((vec![plan], "trace".to_string()));
    }
    for &rate in &args.rate {
        positive("--rate", rate)?;
    }
    let (kind, name) = match args.workload {
        WorkloadArg::Random => (Kind::Random, "random"),
        WorkloadArg::SharedPrefix => (Kind::SharedPrefix(args.prefix), "shared-prefix"),
        WorkloadArg::MultiTurn => (Kind::MultiTurn(args.turns), "multi-turn"),
    };
    let before = match kind {
        Kind::Random => 0,
        Kind::SharedPrefix(prefix) => count("--prefix", prefix, TOKENS_MAX).map(|()| prefix)?,
        Kind::MultiTurn(turns) => count("--turns", turns, TURNS_MAX).map(|()| 0)?,
    };
    let sizes = sizes(&args.sizes, args.sizes.prompt.saturating_add(before))?;
    let made = scripts(kind, &sizes, bench.session.config.vocab_size, args.common.seed);
    let (pattern, how) = match args.arrivals {
        ArrivalsArg::Poisson => (Arrivals::Poisson, "Poisson"),
        ArrivalsArg::Constant => (Arrivals::Constant, "constant"),
    };
    let plan = |&rate: &f64| {
        let mut scripts = made.clone();
        let times = arrivals(pattern, rate, scripts.len(), args.common.seed);
        scripts.iter_mut().zip(times).for_each(|(script, due)| script.due = due);
        Plan { name: format!("{name} {rate}/s"), rate: Some(rate), scripts }
    };
    Ok((args.rate.iter().map(plan).collect(), format!("{name}, {how} arrivals")))
}
