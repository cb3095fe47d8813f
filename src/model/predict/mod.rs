//! How long steps take: the roofline of each op (Williams, Waterman and Patterson 2009), summed.
//!
//! Two predictions stand side by side. The *floor* takes each op to run at the ceilings of the
//! device: no kernel is as fast. The *expected* time divides the floor by the shares of
//! [`Shares`], which are estimates until runs on the device replace them, and adds what each launch
//! costs. Host time between steps is in neither.

mod shares;

pub use shares::{LAUNCH_S, Share, Shares};

use crate::backend::Phase;
use crate::model::ModelConfig;
use crate::model::budget::{self, Cost, Formats, StepLoad};
use crate::model::gpu::Gpu;
use std::fmt;

/// Launches that draw tokens: a scan, and a choice where not every token may be drawn.
const SAMPLE_LAUNCHES: usize = 2;

/// What takes the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Bytes from and to memory.
    Memory,
    /// Operations of the tensor cores.
    Arithmetic,
    /// Starting kernels.
    Launches,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resource::Memory => "memory",
            Resource::Arithmetic => "arithmetic",
            Resource::Launches => "launches",
        })
    }
}

/// Seconds, by the resource that takes them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Time {
    memory_s: f64,
    arithmetic_s: f64,
    launches_s: f64,
}

impl Time {
    /// Of an op whose slower resource hides the faster one.
    fn of(bytes_s: f64, flops_s: f64, launches_s: f64) -> Time {
        match bytes_s >= flops_s {
            true => Time { memory_s: bytes_s, arithmetic_s: 0.0, launches_s },
            false => Time { memory_s: 0.0, arithmetic_s: flops_s, launches_s },
        }
    }

    fn add(&mut self, other: Time) {
        self.memory_s += other.memory_s;
        self.arithmetic_s += other.arithmetic_s;
        self.launches_s += other.launches_s;
    }

    /// All of them.
    pub fn seconds(&self) -> f64 {
        self.memory_s + self.arithmetic_s + self.launches_s
    }

    /// The resource that takes most.
    pub fn limiting(&self) -> Resource {
        let most = self.memory_s.max(self.arithmetic_s).max(self.launches_s);
        match most {
            _ if most == self.memory_s => Resource::Memory,
            _ if most == self.arithmetic_s => Resource::Arithmetic,
            _ => Resource::Launches,
        }
    }
}

/// An op in all layers.
#[derive(Debug, Clone, PartialEq)]
pub struct OpTime {
    /// Its name.
    pub op: &'static str,
    /// How often it is launched.
    pub launches: usize,
    /// Bytes that all of them move.
    pub bytes: u64,
    /// Operations that all of them do.
    pub flops: u64,
    /// No kernel is faster.
    pub floor: Time,
    /// What ours are taken to need.
    pub expected: Time,
}

/// The ops of one or several steps of a phase.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PhaseTime {
    /// In the order in which they first run.
    pub ops: Vec<OpTime>,
}

impl PhaseTime {
    /// No engine is faster.
    pub fn floor(&self) -> Time {
        self.sum(|op| op.floor)
    }

    /// What ours is taken to need.
    pub fn expected(&self) -> Time {
        self.sum(|op| op.expected)
    }

    fn sum(&self, which: impl Fn(&OpTime) -> Time) -> Time {
        let mut sum = Time::default();
        self.ops.iter().for_each(|op| sum.add(which(op)));
        sum
    }

    fn add(&mut self, time: OpTime) {
        let Some(known) = self.ops.iter_mut().find(|op| op.op == time.op) else {
            self.ops.push(time);
            return;
        };
        known.launches += time.launches;
        known.bytes += time.bytes;
        known.flops += time.flops;
        known.floor.add(time.floor);
        known.expected.add(time.expected);
    }
}

/// Requests that are alike, so many at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload {
    /// Sequences that run at a time.
    pub batch: usize,
    /// Tokens of each prompt.
    pub prompt: usize,
    /// Tokens of each output.
    pub output: usize,
}

/// What a workload comes to, by its floor or as expected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Time to the first token of a prompt that has the device to itself.
    pub ttft_s: f64,
    /// Time per token after the first, in steps that compute no prompts.
    pub tpot_s: f64,
    /// The same while finished requests are replaced by new ones, whose prompts everybody waits
    /// for. Without meaning, and equal to `tpot_s`, for outputs of one token.
    pub loaded_tpot_s: f64,
    /// Prompt tokens a second of steps that compute nothing else.
    pub prefill_tokens_per_s: f64,
    /// Output tokens a second of steps that compute nothing else.
    pub decode_tokens_per_s: f64,
    /// Requests a second of the whole workload; times `prompt` or `output` it gives its tokens.
    pub requests_per_s: f64,
}

impl Figures {
    fn of(load: Workload, prefill_s: f64, decode_s: f64) -> Figures {
        let Workload { batch, prompt, output } = load;
        let (batch, prompt) = (batch as f64, prompt as f64);
        // The first token comes out of the prompt's last step.
        let further = output.saturating_sub(1) as f64;
        let request_s = prefill_s + further * decode_s / batch;
        // By Little's law a request stays for batch x request_s, of which its own prompt is one
        // part; the prompts of the others delay its tokens.
        let delay_s = if output > 1 { (batch - 1.0) * prefill_s / further } else { 0.0 };
        Figures {
            ttft_s: prefill_s,
            tpot_s: decode_s,
            loaded_tpot_s: decode_s + delay_s,
            prefill_tokens_per_s: prompt / prefill_s,
            decode_tokens_per_s: batch / decode_s,
            requests_per_s: 1.0 / request_s,
        }
    }
}

/// Both predictions for a workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Steps of a prompt.
    pub prefill: PhaseTime,
    /// A step in the middle of the outputs.
    pub decode: PhaseTime,
    /// No engine does better.
    pub floor: Figures,
    /// What ours is taken to do.
    pub expected: Figures,
}

/// Dollars for a million tokens of a device that costs so much an hour, makes so many a second
/// while it is busy, and is busy for the share `utilisation` of the time.
pub fn dollars_per_million(price_per_hour: f64, tokens_per_s: f64, utilisation: f64) -> f64 {
    price_per_hour / (tokens_per_s * 3600.0) * 1e6 / utilisation
}

/// A model in given formats on a device.
#[derive(Debug, Clone)]
pub struct Predictor<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// Its weights' formats.
    pub formats: Formats,
    /// The device.
    pub gpu: &'a Gpu,
    /// Prompt tokens of a step.
    pub prefill_tokens: usize,
}

impl Predictor<'_> {
    /// A step that appends a token to each of `batch` sequences with `context` tokens in the cache.
    pub fn decode(&self, batch: usize, context: usize) -> PhaseTime {
        let load = StepLoad { phase: Phase::Decode, rows: batch, context, logit_rows: batch };
        let mut time = PhaseTime::default();
        self.add_step(&mut time, load);
        time
    }

    /// The steps of a prompt that has the device to itself, up to its first token.
    ///
    /// # Panics
    /// If there are no tokens, or none in a step.
    pub fn prefill(&self, prompt: usize) -> PhaseTime {
        assert!(prompt > 0 && self.prefill_tokens > 0, "{prompt} by {}", self.prefill_tokens);
        let mut time = PhaseTime::default();
        for context in (0..prompt).step_by(self.prefill_tokens) {
            let rows = self.prefill_tokens.min(prompt - context);
            let logit_rows = usize::from(context + rows == prompt);
            let load = StepLoad { phase: Phase::Prefill, rows, context, logit_rows };
            self.add_step(&mut time, load);
        }
        time
    }

    /// Both phases of a workload. Attention's time grows linearly with the context, so that a step
    /// in the middle of an output is the mean of all.
    ///
    /// # Panics
    /// If a number of `load` is zero.
    pub fn workload(&self, load: Workload) -> Prediction {
        assert!(load.batch > 0 && load.output > 0, "{load:?}");
        let prefill = self.prefill(load.prompt);
        let decode = self.decode(load.batch, load.prompt + (load.output - 1) / 2);
        let figures =
            |prefill: Time, decode: Time| Figures::of(load, prefill.seconds(), decode.seconds());
        let floor = figures(prefill.floor(), decode.floor());
        let expected = figures(prefill.expected(), decode.expected());
        Prediction { prefill, decode, floor, expected }
    }

    /// What turns the floors into expectations.
    pub fn shares(&self) -> Shares<'_> {
        Shares { gpu: self.gpu, formats: &self.formats }
    }

    fn add_step(&self, time: &mut PhaseTime, load: StepLoad) {
        for cost in budget::step_in(self.config, &self.formats, load) {
            time.add(self.op(load.phase, &cost, 1));
        }
        if load.logit_rows > 0 {
            let cost = budget::sample(self.config, load.logit_rows);
            time.add(self.op(load.phase, &cost, SAMPLE_LAUNCHES));
        }
    }

    fn op(&self, phase: Phase, cost: &Cost, launches: usize) -> OpTime {
        let bytes_s = cost.bytes as f64 / self.gpu.bytes_per_s;
        let flops_s = cost.flops as f64 / self.gpu.flops_per_s;
        let shares = self.shares();
        let (of_bytes, of_flops) = shares.of(phase, cost.op);
        let launches_s = launches as f64 * shares.launch_s();
        OpTime {
            op: cost.op,
            launches,
            bytes: cost.bytes,
            flops: cost.flops,
            floor: Time::of(bytes_s, flops_s, 0.0),
            expected: Time::of(bytes_s / of_bytes, flops_s / of_flops, launches_s),
        }
    }
}
