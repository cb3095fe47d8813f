//! The command line's grammar and help texts.

use crate::cli::bench::args::BenchArgs;
use crate::cli::quantize::args::QuantizeArgs;
use crate::engine::speculate::LENGTH_MAX;
use crate::quantize::Scheme;
use crate::service::NGRAM_DEFAULT;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::fmt;
use std::path::PathBuf;

/// `ridgepoint`.
#[derive(Debug, Parser)]
#[command(
    name = "ridgepoint",
    version,
    about = "An LLM inference engine whose output depends on nothing but the request",
    after_help = "Exit code: 0 for success, 2 for a mistake in what was given, 1 for a fault, \
                  130 after an interrupt.",
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Generate text from a prompt, a file of prompts, or in a chat
    Generate(Box<GenerateArgs>),
    /// Rate given text: negative log-likelihood of each token, and perplexity
    Eval(EvalArgs),
    /// Measure latency and throughput: of single steps, of many requests, under a load
    Bench(Box<BenchArgs>),
    /// Write a model with 4 bits a weight, and say what that cost
    Quantize(Box<QuantizeArgs>),
    /// List the GPU kernels in this binary with their registers, memory and code size
    Kernels(KernelsArgs),
    /// Tell from config.json alone what fits on a GPU, how fast it can be, and what it costs
    Plan(Box<PlanArgs>),
}

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceArg {
    /// The best device that this build can use
    Auto,
    /// The processor
    Cpu,
    /// An NVIDIA GPU
    Cuda,
    /// The PTX simulator
    Sim,
}

/// Options of every command that runs a model.
#[derive(Debug, Args)]
pub struct ModelArgs {
    /// A model directory: config.json, safetensors weights, tokenizer.json [default: the small
    /// story model that ships with the project]
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// The device to run on
    #[arg(long, value_enum, default_value = "auto")]
    pub device: DeviceArg,
    /// The most tokens of prompt and output together [default: what the prompts need, at most
    /// the model's own limit]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Processor threads [default: one for each core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Quantise the matrices while they are loaded: int4, with any of group=128|64, zero-point,
    /// method=rtn|search and head=16|8|4, as in int4:group=64,method=search
    #[arg(long, value_name = "SCHEME")]
    pub quantize: Option<Scheme>,
}

/// `ridgepoint generate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        ridgepoint generate --prompt \"The fox\" --max-tokens 60\n  \
        ridgepoint generate --model ./Llama-3.1-8B --prompt \"Once\" --temperature 0.8 --seed 7\n  \
        ridgepoint generate --prompts requests.jsonl --json > results.jsonl\n  \
        ridgepoint generate --chat --temperature 0.7\n\n\
        A line of a --prompts file is an object: {\"id\"?, \"prompt\" | \"tokens\" | \"messages\", \
        and any of max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, \
        frequency_penalty, presence_penalty, logit_bias, seed, logprobs, stop, ignore_eos}. \
        What a line leaves out is taken from the command line. A bad line is reported and the \
        others go on; the exit code is then 2.")]
pub struct GenerateArgs {
    /// The model and its device.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Print one JSON object for each result on stdout, and everything else on stderr
    #[arg(long)]
    pub json: bool,
    /// Where prompts come from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// A system message for --chat
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,
    /// The most tokens to generate
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max_tokens: usize,
    /// How tokens are drawn.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// End the output before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Go on past end-of-sequence tokens
    #[arg(long)]
    pub ignore_eos: bool,
    /// How requests are served.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// How an engine serves; nothing here but `--share-generated` changes any output.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Serving")]
pub struct EngineArgs {
    /// Requests that run at a time
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub running: usize,
    /// Prompt tokens of a step
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub prefill_tokens: usize,
    /// Pages of 64 tokens in the KV cache [default: what the requests that run need]
    #[arg(long, value_name = "N")]
    pub kv_pages: Option<usize>,
    /// How much of the room that outputs may need is promised before a request runs, in percent;
    /// with less than 100 requests may be preempted and computed again
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub reserve: usize,
    /// Share no pages among requests
    #[arg(long)]
    pub no_prefix_cache: bool,
    /// Share pages of generated tokens too, not of prompts only: for conversations. On a GPU, whose
    /// prompt and decode kernels round differently, outputs then depend on what was cached
    #[arg(long, conflicts_with = "no_prefix_cache")]
    pub share_generated: bool,
    /// Draft tokens and check several in one pass: a directory with a smaller model of the same
    /// tokenizer, or ngram[:max=N,depth=N] to look for repetitions in the request itself
    #[arg(long, value_name = "DIR|ngram", value_parser = parse_draft)]
    pub draft: Option<DraftArg>,
    /// Tokens of every draft [default: as many as pay]
    #[arg(long, value_name = "N")]
    pub depth: Option<usize>,
}

/// What drafts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftArg {
    /// Prompt lookup.
    Ngrams {
        /// The longest run of tokens that is looked for.
        max: usize,
        /// Tokens of every draft.
        depth: Option<usize>,
    },
    /// A model.
    Model(PathBuf),
}

impl fmt::Display for DraftArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DraftArg::Model(path) => path.display().fmt(f),
            DraftArg::Ngrams { max, depth: None } => write!(f, "ngram:max={max}"),
            DraftArg::Ngrams { max, depth: Some(depth) } => {
                write!(f, "ngram:max={max},depth={depth}")
            }
        }
    }
}

fn parse_draft(text: &str) -> Result<DraftArg, String> {
    let rest = match text.strip_prefix("ngram") {
        Some("") => return Ok(DraftArg::Ngrams { max: NGRAM_DEFAULT, depth: None }),
        Some(rest) if rest.starts_with(':') => &rest[1..],
        _ => return Ok(DraftArg::Model(text.into())),
    };
    let (mut max, mut depth) = (NGRAM_DEFAULT, None);
    for part in rest.split(',') {
        let (name, value) = part.split_once('=').ok_or("expected ngram:max=N,depth=N")?;
        let value: usize = value.parse().map_err(|e| format!("{name}={value}: {e}"))?;
        match name {
            "max" if (1..=LENGTH_MAX).contains(&value) => max = value,
            "max" => return Err(format!("max is {value}, expected 1 to {LENGTH_MAX}")),
            "depth" => depth = Some(value),
            _ => return Err(format!("{name} is not known; expected max or depth")),
        }
    }
    Ok(DraftArg::Ngrams { max, depth })
}

/// Exactly one source of prompts.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct SourceArgs {
    /// A prompt as text
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// A prompt as token ids
    #[arg(long, value_name = "1,2,3", value_delimiter = ',')]
    pub tokens: Option<Vec<u32>>,
    /// A file of prompts, one JSON object a line; - reads standard input
    #[arg(long, value_name = "FILE.jsonl")]
    pub prompts: Option<PathBuf>,
    /// Chat on the terminal, with the model's chat template
    #[arg(long)]
    pub chat: bool,
}

/// How tokens are drawn; the order of operations is in the documentation of `sample`.
#[derive(Debug, Args)]
pub struct SamplingArgs {
    /// 0 takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub temperature: f32,
    /// Draw from the N most probable tokens; 0 from all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub top_k: u32,
    /// Draw from the fewest tokens whose probability reaches P
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f32,
    /// Draw from tokens at least P times as probable as the most probable one
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub min_p: f32,
    /// Divide positive and multiply negative logits of tokens that occurred
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub repetition_penalty: f32,
    /// Subtract X from a logit for each time its token was generated
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub frequency_penalty: f32,
    /// Subtract X from a logit if its token was generated
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    pub presence_penalty: f32,
    /// Add X to the logit of token ID; may be given several times
    #[arg(long, value_name = "ID:X", value_parser = parse_bias)]
    pub logit_bias: Vec<(u32, f32)>,
    /// The seed of the noise; equal seeds give equal output
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Report log-probabilities of each token and of the N most probable ones
    #[arg(long, value_name = "N")]
    pub logprobs: Option<u32>,
}

fn parse_bias(text: &str) -> Result<(u32, f32), String> {
    let (id, bias) = text.split_once(':').ok_or("expected ID:X, for example 15:-2.5")?;
    let id = id.parse().map_err(|e| format!("token id {id:?}: {e}"))?;
    let bias = bias.parse().map_err(|e| format!("bias {bias:?}: {e}"))?;
    Ok((id, bias))
}

/// `ridgepoint eval`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        ridgepoint eval --text models/heldout.txt\n  \
        ridgepoint eval --model ./Qwen3-0.6B --tokens sequences.json --json\n\n\
        FILE.json is an array of arrays of token ids. --text is cut into windows that do not \
        overlap; the first token of a sequence or window is not rated. JSON: one object a \
        sequence, {\"index\", \"nll\": [n - 1 numbers], \"perplexity\"}.")]
pub struct EvalArgs {
    /// The model and its device.
    #[command(flatten)]
    pub model: ModelArgs,
    /// Print one JSON object for each result on stdout, and everything else on stderr
    #[arg(long)]
    pub json: bool,
    /// What to rate.
    #[command(flatten)]
    pub source: EvalSourceArgs,
    /// Tokens of a window of --text [default: the model's context, at most 2048]
    #[arg(long, value_name = "N", requires = "text")]
    pub window: Option<usize>,
    /// The kernel family that computes the hidden states
    #[arg(long, value_enum, default_value = "prefill")]
    pub phase: PhaseArg,
}

/// Exactly one source of tokens.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct EvalSourceArgs {
    /// A text file
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// A file of token ids: an array of arrays
    #[arg(long, value_name = "FILE.json")]
    pub tokens: Option<PathBuf>,
}

/// The kernel families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PhaseArg {
    /// As prompts are computed
    Prefill,
    /// As generated tokens are computed
    Decode,
}

/// `ridgepoint kernels`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ridgepoint kernels --json\n  \
        ridgepoint kernels --device cuda\n  \
        ridgepoint kernels --plan ./Llama-3.1-8B --gpu h200 --rows 8 --tokens 4096\n\n\
        A floor is the time in which a GPU of these data could move the least bytes or do the \
        operations, whichever takes longer; no kernel is as fast.")]
pub struct KernelsArgs {
    /// Print one JSON object for each row
    #[arg(long)]
    pub json: bool,
    /// Only the kernels that this device takes, after a line that says what it is and which set
    /// they are of. RIDGEPOINT_KERNELS=portable in the environment takes the portable set
    #[arg(long, value_enum, value_name = "DEVICE", conflicts_with = "plan")]
    pub device: Option<DeviceArg>,
    /// Instead of the kernels there are, list those that a step of this model launches: a model
    /// directory or a config.json
    #[arg(long, value_name = "MODEL")]
    pub plan: Option<PathBuf>,
    /// The GPU of the floors: a name such as h200, or TB/s,TFLOP/s
    #[arg(long, value_name = "GPU", default_value = "h200", requires = "plan")]
    pub gpu: String,
    /// The kind of step
    #[arg(long, value_enum, default_value = "decode", requires = "plan")]
    pub phase: PhaseArg,
    /// Rows of the step: sequences in decode, prompt tokens in prefill [default: 1, or 2048]
    #[arg(long, value_name = "N", requires = "plan")]
    pub rows: Option<usize>,
    /// Tokens of each sequence that are in the cache before the step
    #[arg(long, value_name = "N", default_value_t = 0, requires = "plan")]
    pub tokens: usize,
}

/// `ridgepoint plan`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
        ridgepoint plan ./Llama-3.1-8B --gpu h200 --batch 32 --prompt 2000 --output 500\n  \
        ridgepoint plan ./Llama-3.1-8B --gpu h100 --batch 64 --price-per-hour 2.5 \
        --utilisation 0.4\n  \
        ridgepoint plan ./Llama-3.1-8B --gpu 4090 --weights int4 --fit context\n  \
        ridgepoint plan ./Llama-3.1-8B --gpu h100 --compare\n  \
        ridgepoint plan --audit result.json\n\n\
        A floor is what a GPU of these data could do at best. What is expected is the floor over \
        shares that the output names: estimates, until measured ones are given in a file of \
        ceilings: {\"name\", \"memory_gb\", \"tb_per_s\", \"tflops\", and if known \
        \"decode_share\", \"prefill_share\", \"launch_us\"}.")]
pub struct PlanArgs {
    /// A model directory or a config.json; weights are not read
    #[arg(value_name = "MODEL", required_unless_present = "audit")]
    pub model: Option<PathBuf>,
    /// A GPU such as h100, h200, a100, l40s, 4090, or a file of ceilings [default: h200, or the
    /// device of --audit]
    #[arg(long, value_name = "GPU|FILE.json")]
    pub gpu: Option<String>,
    /// The format of the layers' weights: bf16, int4, or int4:group=64,zero-point [default: that
    /// of the model]
    #[arg(long, value_name = "FORMAT")]
    pub weights: Option<String>,
    /// The format of the output head [default: bf16, or that of a quantised model]
    #[arg(long, value_enum)]
    pub head: Option<HeadArg>,
    /// Sequences that run at a time
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub batch: usize,
    /// Tokens of each sequence, prompt and output together [default: --prompt and --output
    /// together, or 4096, at most the model's]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Tokens of each prompt [default: what --output leaves of the context]
    #[arg(long, value_name = "N")]
    pub prompt: Option<usize>,
    /// Tokens of each output [default: 256, at most half of the context]
    #[arg(long, value_name = "N")]
    pub output: Option<usize>,
    /// Prompt tokens of a step
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub prefill_tokens: usize,
    /// Dollars an hour of the GPU: prints what a million tokens cost
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub price_per_hour: Option<f64>,
    /// The share of the time in which the GPU has this load
    #[arg(long, value_name = "X", default_value_t = 1.0, allow_negative_numbers = true)]
    pub utilisation: f64,
    /// Print one JSON object for each result
    #[arg(long)]
    pub json: bool,
    /// What is asked for, if not the plan.
    #[command(flatten)]
    pub question: PlanQuestion,
}

/// Other questions than the plan of a load; one at most.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct PlanQuestion {
    /// Print only the largest context for the batch, or the largest batch for the context
    #[arg(long, value_enum)]
    pub fit: Option<FitArg>,
    /// Print bf16 beside int4 for batches of 1 to 256
    #[arg(long)]
    pub compare: bool,
    /// Print what was predicted beside what `ridgepoint bench` measured
    #[arg(long, value_name = "RESULT.json")]
    pub audit: Option<PathBuf>,
}

/// Formats of an output head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HeadArg {
    /// 16 bits
    Bf16,
    /// 8 bits, a scale for each row
    Int8,
}

/// What is to be as large as memory allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FitArg {
    /// Tokens of each sequence
    Context,
    /// Sequences at a time
    Batch,
}
