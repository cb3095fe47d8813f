//! The grammar of `ridgepoint bench`.

use crate::cli::args::{EngineArgs, ModelArgs};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// `ridgepoint bench`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        ridgepoint bench latency --prompt 128,512 --output 64 --batch 1,4,16\n  \
        ridgepoint bench throughput --requests 200 --prompt 256 --output 128 --spread 0.5\n  \
        ridgepoint bench load --rate 1,2,4 --workload shared-prefix --plot load.svg\n  \
        ridgepoint bench load --trace day.jsonl --slo-ttft-ms 200 --json out.json\n  \
        ridgepoint bench throughput --model ./Qwen3-8B/config.json --dummy-weights --gpu h100\n\n\
        Every output runs to its full length, past end-of-sequence tokens. TTFT counts from the \
        moment in which a request was due, so that a queue before the engine counts too. TPOT is \
        (e2e - TTFT) / (tokens - 1). Percentiles are interpolated linearly between ranks.")]
pub struct BenchArgs {
    /// What is measured.
    #[command(subcommand)]
    pub kind: BenchKind,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum BenchKind {
    /// Prompts of one length and outputs of one length, in batches: tokens a second of each phase
    Latency(LatencyArgs),
    /// Many requests, all at once
    Throughput(ThroughputArgs),
    /// Requests that arrive over time
    Load(LoadArgs),
}

/// What all have in common.
#[derive(Debug, Args)]
pub struct CommonArgs {
    /// The model and its device.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Make up random weights for the model's config.json; no other file of it is needed
    #[arg(long, requires = "model")]
    pub dummy_weights: bool,
    /// The seed of prompts, lengths, arrivals and made-up weights; equal seeds give equal requests
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// How requests are served.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Write the results as one JSON object to FILE; without FILE or with - to stdout, and tables
    /// to stderr
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Write the results as CSV, a row each
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// The ceilings that shares of the roofline refer to: a name such as h200, a file of ceilings
    /// as for `plan`, or TB/s,TFLOP/s [default: those of the GPU it runs on, if it is known]
    #[arg(long, value_name = "GPU|FILE.json")]
    pub gpu: Option<String>,
    /// Dollars an hour of the machine: prints what a million tokens cost
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub price_per_hour: Option<f64>,
}

/// `ridgepoint bench latency`.
#[derive(Debug, Args)]
pub struct LatencyArgs {
    /// What all have in common.
    #[command(flatten)]
    pub common: CommonArgs,
    /// Tokens of the prompts whose prefill is measured
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "128,512")]
    pub prompt: Vec<usize>,
    /// Tokens of the outputs whose decode is measured
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "64,128")]
    pub output: Vec<usize>,
    /// Requests at a time
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,4,16")]
    pub batch: Vec<usize>,
    /// Tokens that are in the cache when decode begins
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub depth: usize,
    /// How often each is measured, after once for warming up
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub repeat: usize,
}

/// Requests that are made up.
#[derive(Debug, Args)]
pub struct SizeArgs {
    /// How many requests [default: 64; of a file all]
    #[arg(long, value_name = "N")]
    pub requests: Option<usize>,
    /// Mean tokens of a prompt
    #[arg(long, value_name = "MEAN", default_value_t = 128)]
    pub prompt: usize,
    /// Mean tokens of an output
    #[arg(long, value_name = "MEAN", default_value_t = 64)]
    pub output: usize,
    /// Lengths are even between MEAN * (1 - X) and MEAN * (1 + X)
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub spread: f64,
    /// Requests of a file instead, one JSON object a line: {"arrival_s", "prompt_tokens" |
    /// "tokens", "max_tokens"}
    #[arg(long, value_name = "FILE.jsonl", conflicts_with_all = ["prompt", "output", "spread"])]
    pub trace: Option<PathBuf>,
    /// Goodput counts requests whose TTFT is at most X milliseconds
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub slo_ttft_ms: Option<f64>,
    /// Goodput counts requests whose TPOT is at most X milliseconds
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub slo_tpot_ms: Option<f64>,
}

/// `ridgepoint bench throughput`.
#[derive(Debug, Args)]
pub struct ThroughputArgs {
    /// What all have in common.
    #[command(flatten)]
    pub common: CommonArgs,
    /// The requests.
    #[command(flatten)]
    pub sizes: SizeArgs,
    /// Requests of a file instead, in the format of `generate --prompts`; --output is the length
    /// of those that do not say
    #[arg(long, value_name = "FILE.jsonl", conflicts_with_all = ["prompt", "spread", "trace"])]
    pub prompts: Option<PathBuf>,
}

/// `ridgepoint bench load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// What all have in common.
    #[command(flatten)]
    pub common: CommonArgs,
    /// The requests.
    #[command(flatten)]
    pub sizes: SizeArgs,
    /// Requests a second that arrive; several rates give several results. With multi-turn,
    /// conversations that begin
    #[arg(
        long,
        value_name = "X,X",
        value_delimiter = ',',
        required_unless_present = "trace",
        conflicts_with = "trace",
        allow_negative_numbers = true
    )]
    pub rate: Vec<f64>,
    /// How they arrive
    #[arg(long, value_enum, default_value = "poisson", conflicts_with = "trace")]
    pub arrivals: ArrivalsArg,
    /// Hold requests back while so many are in the engine
    #[arg(long, value_name = "N")]
    pub concurrency: Option<usize>,
    /// What prompts have in common
    #[arg(long, value_enum, default_value = "random", conflicts_with = "trace")]
    pub workload: WorkloadArg,
    /// Tokens that all prompts of --workload shared-prefix begin with, before --prompt of their own
    #[arg(long, value_name = "TOKENS", default_value_t = 256)]
    pub prefix: usize,
    /// Turns of each conversation of --workload multi-turn
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub turns: usize,
    /// Draw TTFT and TPOT against the rate
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

/// How requests arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArrivalsArg {
    /// At random, independently of each other
    Poisson,
    /// At equal distances
    Constant,
}

/// What prompts have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WorkloadArg {
    /// Nothing
    Random,
    /// Their beginning
    SharedPrefix,
    /// Each prompt holds the turns before it
    MultiTurn,
}
