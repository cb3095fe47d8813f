//! `ridgepoint bench`: what an engine achieves with a model on a device, idle and under a load.
//!
//! [`workload`] and [`trace`] make requests, [`drive`] sends them and notes when tokens come,
//! [`metrics`], [`roofline`] and [`cost`] make figures of that, [`report`] and [`plot`] show them.

pub mod args;
pub mod cost;
pub mod drive;
mod latency;
mod load;
pub mod metrics;
pub mod plot;
pub mod report;
pub mod roofline;
mod throughput;
pub mod trace;
pub mod workload;

use crate::backend::{Phase, pages_for};
use crate::cli::Done;
use crate::cli::output::Output;
use crate::cli::session::{self, Interrupt, Session, Started};
use crate::engine::{EngineOptions, EngineThread, PhaseStats, Stats};
use crate::error::{Error, Result};
use crate::model::budget::{Formats, HeadFormat, WeightFormat, seen};
use crate::model::gpu::Gpu;
use crate::tensor::Dtype;
use crate::text::utc_now;
use args::{BenchArgs, BenchKind, CommonArgs, SizeArgs};
use cost::{Cost, Spent};
use drive::{Driver, Run};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use metrics::{Ending, Metrics, Slo, Timeline};
use report::{EngineFigures, Measurement, Report, Settings};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use workload::{Random, Script, request};

/// More requests, or tokens of prompts, than a machine has memory for.
const REQUESTS_MAX: usize = 1 << 22;
const TOKENS_MAX: usize = 1 << 28;
/// Tokens of the request that is served before anything is measured.
const WARM_UP: usize = 64;

/// Runs the command.
pub(crate) fn run(args: &BenchArgs, out: &mut Output) -> Result<Done> {
    match &args.kind {
        BenchKind::Latency(args) => latency::run(args, out),
        BenchKind::Throughput(args) => throughput::run(args, out),
        BenchKind::Load(args) => load::run(args, out),
    }
}

/// A benchmark whose model has been found and whose flags are sound.
struct Bench<'a> {
    args: &'a CommonArgs,
    session: Session,
    gpu: Option<Gpu>,
    slo: Slo,
}

/// A benchmark whose engine runs.
struct Stand<'a> {
    bench: Bench<'a>,
    engine: EngineThread,
    options: EngineOptions,
    device: String,
    /// Of the weights there, and what plain elements are.
    formats: Formats,
    plain: Dtype,
    interrupt: Arc<Interrupt>,
}

impl<'a> Bench<'a> {
    fn new(args: &'a CommonArgs, slo: Slo) -> Result<Bench<'a>> {
        let gpu = args.gpu.as_deref().map(Gpu::parse).transpose()?;
        for (name, value) in [
            ("--price-per-hour", args.price_per_hour),
            ("--slo-ttft-ms", slo.ttft_ms),
            ("--slo-tpot-ms", slo.tpot_ms),
        ] {
            if let Some(value) = value {
                positive(name, value)?;
            }
        }
        let session = match args.dummy_weights {
            true => session::open_made_up(&args.model, args.seed)?,
            false => session::open(&args.model)?,
        };
        Ok(Bench { args, session, gpu, slo })
    }

    /// The most tokens that a request may have.
    fn context(&self) -> usize {
        self.args.model.context.unwrap_or(self.session.config.context)
    }

    /// Options of an engine that can serve all of these.
    fn options(&self, scripts: &[Script]) -> Result<EngineOptions> {
        let longest = scripts.iter().map(Script::tokens).max().unwrap_or(0).max(2);
        self.check_context(longest)?;
        let count = scripts.iter().map(|script| script.turns.len()).sum::<usize>();
        let mut options = self.args.engine.options(longest, count, &self.session)?;
        options.waiting = options.waiting.max(count);
        check_pages(&options)?;
        Ok(options)
    }

    fn check_context(&self, longest: usize) -> Result<()> {
        let context = self.context();
        match longest <= context {
            true => Ok(()),
            false => Err(Error::Usage(format!(
                "a request takes {longest} tokens of prompt and output, but the context holds \
                 {context}: shorter ones, or a larger --context if the model allows it"
            ))),
        }
    }

    /// Loads the model and serves one request, so that what is measured finds everything in use.
    /// `files` are written later, if they can be.
    fn start(mut self, options: EngineOptions, files: &[Option<&PathBuf>]) -> Result<Stand<'a>> {
        let of_all = [self.args.json.as_ref(), self.args.csv.as_ref()];
        for path in of_all.iter().chain(files).flatten().filter(|path| !is_stdout(path)) {
            check_writable(path)?;
        }
        let interrupt = Interrupt::watch()?;
        let Started { engine, device, formats, plain, load } =
            self.session.engine(options.clone(), &self.args.engine.draft()?)?;
        self.gpu = self.gpu.or_else(|| Gpu::of_device(&device));
        eprintln!("loaded in {:.3} s", load.as_secs_f64());
        let stand = Stand { bench: self, engine, options, device, formats, plain, interrupt };
        let prompt = WARM_UP.min(stand.options.context - 1);
        let tokens = Random::new(0).tokens(prompt, stand.bench.session.config.vocab_size);
        let warm_up = request(tokens, 2.min(stand.options.context - prompt));
        stand.engine.client().run(warm_up)?;
        Ok(stand)
    }
}

impl Stand<'_> {
    /// A bar on stderr if that is a terminal; it counts requests.
    fn bar(&self, requests: usize) -> ProgressBar {
        let target = ProgressDrawTarget::stderr();
        let bar = ProgressBar::with_draw_target(Some(requests as u64), target);
        let style =
            ProgressStyle::with_template("{msg:24} {bar:30} {pos}/{len} {elapsed} of {duration}");
        bar.with_style(style.expect("the template is sound"))
    }

    /// Runs `work` with what sends requests, `limit` at a time; the first interrupt ends it early.
    fn drive<T>(
        &self,
        limit: usize,
        bar: &ProgressBar,
        work: impl FnOnce(&Driver<'_>) -> Result<T>,
    ) -> Result<T> {
        self.interrupt
            .during(|cancel| work(&Driver { client: self.engine.client(), limit, cancel, bar }))
    }

    /// The figures of a run.
    fn measurement(&self, name: String, rate: Option<f64>, run: &Run) -> Measurement {
        let stats = &run.stats;
        Measurement {
            name,
            rate,
            tokens_per_s: None,
            ms: None,
            metrics: Metrics::of(&run.timelines, run.duration, self.bench.slo),
            engine: EngineFigures::of(stats, |phase, of| self.roofline_share(phase, of)),
            dollars: self.cost(&run.timelines, run.duration, stats),
        }
    }

    fn model(&self) -> roofline::Model<'_> {
        roofline::Model { config: &self.bench.session.config, formats: &self.formats }
    }

    fn roofline_share(&self, phase: Phase, stats: &PhaseStats) -> Option<f64> {
        let gpu = self.bench.gpu.as_ref()?;
        let work = roofline::work(self.model(), phase, stats, self.options.running);
        let seconds = stats.time.as_secs_f64();
        (seconds > 0.0).then(|| roofline::floor_s(&work, gpu) / seconds)
    }

    fn cost(&self, timelines: &[Timeline], duration: Duration, stats: &Stats) -> Cost {
        let Some(price) = self.bench.args.price_per_hour else { return Cost::default() };
        let finished = || timelines.iter().filter(|t| t.ending == Ending::Finished);
        let computed = |t: &Timeline| (t.prompt_tokens - t.cached_tokens) as u64;
        // Of tokens behind a cached beginning, the pairs with it.
        let windows = &self.bench.session.config.windows;
        let pairs_of = |t: &Timeline, window| {
            let cached = t.cached_tokens as u64;
            seen(window, cached, computed(t)).0 - seen(window, 0, computed(t)).0
        };
        let pairs: u64 =
            finished().flat_map(|t| windows.iter().map(move |window| pairs_of(t, *window))).sum();
        let pairs = pairs as f64 / windows.len() as f64;
        let work =
            roofline::work(self.model(), Phase::Prefill, &stats.prefill, self.options.running);
        let flops: f64 = work.iter().map(|work| work.flops).sum();
        let spent = Spent {
            duration_s: duration.as_secs_f64(),
            prefill_s: stats.prefill.time.as_secs_f64(),
            decode_s: stats.decode_time().as_secs_f64(),
            input_tokens: finished().map(computed).sum(),
            cached_tokens: finished().map(|t| t.cached_tokens as u64).sum(),
            output_tokens: finished().map(|t| t.tokens.len() as u64).sum(),
            cached_share: (pairs * roofline::flops_of_pair(self.model()) / flops.max(1.0)).min(1.0),
        };
        Cost::of(price, &spent)
    }

    /// Shows and writes the results.
    fn finish(
        self,
        command: &'static str,
        workload: String,
        results: Vec<Measurement>,
        out: &mut Output,
    ) -> Result<Done> {
        let (args, options) = (self.bench.args, &self.options);
        let report = Report {
            schema: report::SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            device: self.device,
            date: utc_now("%Y-%m-%dT%H:%M:%SZ"),
            config: Settings {
                command,
                workload,
                model: self.bench.session.dir.display().to_string(),
                weights: match self.formats.weights {
                    WeightFormat::Bf16 => self.plain.to_string().to_lowercase(),
                    packed => packed.to_string(),
                },
                head: match self.formats.head {
                    HeadFormat::Bf16 => self.plain.to_string().to_lowercase(),
                    packed => packed.to_string(),
                },
                matrices_in_other_formats: self.formats.others.len(),
                dummy_weights: args.dummy_weights,
                context: options.context,
                running: options.running,
                prefill_tokens: options.prefill_tokens,
                kv_pages: options.pages,
                reserve_percent: options.reserve_percent,
                prefix_cache: options.prefix_cache,
                seed: args.seed,
                slo_ttft_ms: self.bench.slo.ttft_ms,
                slo_tpot_ms: self.bench.slo.tpot_ms,
                gpu: self.bench.gpu.map(|gpu| gpu.name),
                price_per_hour: args.price_per_hour,
                draft: args.engine.draft.as_ref().map(ToString::to_string),
                depth: args.engine.depth,
            },
            results,
        };
        let to_stdout = args.json.as_ref().is_some_and(|path| is_stdout(path));
        match to_stdout {
            true => {
                eprint!("{}", report.tables());
                out.json(&report)?;
            }
            false => out.text(&report.tables())?,
        }
        let files = [(&args.json, Report::json as fn(&Report) -> String), (&args.csv, Report::csv)];
        for (path, text) in files {
            if let Some(path) = path.as_ref().filter(|path| !is_stdout(path)) {
                std::fs::write(path, text(&report)).map_err(Error::io(path, "cannot write"))?;
            }
        }
        let failed = report.results.iter().any(|result| result.metrics.failed > 0);
        Ok(match (self.interrupt.requested(), failed) {
            (true, _) => Done::Interrupted,
            (false, true) => Done::WithFaults,
            (false, false) => Done::Well,
        })
    }
}

/// Says why the first of the failed requests failed.
fn warn_of_failures(timelines: &[Timeline]) {
    let why = timelines.iter().find_map(|timeline| match &timeline.ending {
        Ending::Failed(why) => Some(why),
        _ => None,
    });
    if let Some(why) = why {
        eprintln!("error: a request failed: {why}");
    }
}

/// The pool must hold the longest request, or that is never served.
fn check_pages(options: &EngineOptions) -> Result<()> {
    let needed = pages_for(options.context);
    match needed <= options.pages {
        true => Ok(()),
        false => Err(Error::Usage(format!(
            "--kv-pages is {}, but the longest request takes {needed}",
            options.pages
        ))),
    }
}

/// The lengths and numbers of made-up requests.
fn sizes(args: &SizeArgs, prompt_and_more: usize) -> Result<workload::Sizes> {
    const REQUESTS: usize = 64;
    let requests = args.requests.unwrap_or(REQUESTS);
    count("--requests", requests, REQUESTS_MAX)?;
    count("--prompt", args.prompt, TOKENS_MAX)?;
    count("--output", args.output, TOKENS_MAX)?;
    if !(0.0..=1.0).contains(&args.spread) {
        return Err(Error::Usage(format!("--spread is {}, expected 0 to 1", args.spread)));
    }
    let tokens = requests.saturating_mul(prompt_and_more);
    if tokens > TOKENS_MAX {
        let message = format!("the prompts have {tokens} tokens together, at most {TOKENS_MAX}");
        return Err(Error::Usage(message));
    }
    Ok(workload::Sizes { requests, prompt: args.prompt, output: args.output, spread: args.spread })
}

/// The requests of a trace, if there is one.
fn trace(args: &SizeArgs, bench: &Bench<'_>) -> Result<Option<Vec<Script>>> {
    let Some(path) = &args.trace else { return Ok(None) };
    let requests = args.requests.unwrap_or(REQUESTS_MAX);
    count("--requests", requests, REQUESTS_MAX)?;
    let (context, seed) = (bench.context(), bench.args.seed);
    let vocab_size = bench.session.config.vocab_size;
    trace::Reader { path, requests, vocab_size, context, seed }.read().map(Some)
}

fn slo(args: &SizeArgs) -> Slo {
    Slo { ttft_ms: args.slo_ttft_ms, tpot_ms: args.slo_tpot_ms }
}

fn count(name: &str, value: usize, most: usize) -> Result<()> {
    match (1..=most).contains(&value) {
        true => Ok(()),
        false => Err(Error::Usage(format!("{name} is {value}, expected 1 to {most}"))),
    }
}

fn positive(name: &str, value: f64) -> Result<()> {
    const MOST: f64 = 1e9;
    match value > 0.0 && value <= MOST {
        true => Ok(()),
        false => Err(Error::Usage(format!("{name} is {value}, expected above 0, at most {MOST}"))),
    }
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A run that takes an hour must not end with a file that cannot be written.
fn check_writable(path: &Path) -> Result<()> {
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    file.map(drop).map_err(Error::io(path, "cannot write"))
}
