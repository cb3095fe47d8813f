//! What serving requests together gains on the CPU: output tokens a second of 32 at a time against
//! one after the other, of the model that ships and of one larger than the caches. A step reads the
//! weights once for all of its rows, which is what makes the difference.
#![allow(clippy::print_stdout)] // the report

mod dummy;

use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::engine::{Client, Engine, EngineOptions, EngineThread, SubmitOptions};
use ridgepoint::error::Result;
use ridgepoint::load::Checkpoint;
use ridgepoint::model::{Decoder, ModelConfig};
use ridgepoint::request::{Request, SamplingParams, TokenId};
use std::path::Path;
use std::time::Instant;

/// Requests at a time.
const TOGETHER: usize = 32;
/// Tokens of a prompt and of an output: a prompt row costs what an output row costs and counts for
/// nothing, so outputs are long beside prompts.
const PROMPT: usize = 4;
const OUTPUT: usize = 128;

fn main() -> Result<()> {
    let root = std::env::var("RIDGEPOINT_ROOT").unwrap_or(env!("CARGO_MANIFEST_DIR").to_string());
    let shipped = Path::new(&root).join("models/target");
    let (config, checkpoint) = (ModelConfig::load(&shipped)?, Checkpoint::open(&shipped)?);
    compare("shipped", config, checkpoint, 32, 10, Bounds { serial: 1500.0, gain: 2.5 })?;
    let (config, checkpoint) = (dummy::config()?, Checkpoint::made_up(0));
    compare("dummy of 317 M", config, checkpoint, 1, 2, Bounds { serial: 0.0, gain: 5.0 })
}

/// What is asked for, in tokens of output; prompts are short.
struct Bounds {
    /// Tokens a second of one request after the other.
    serial: f64,
    /// How many times as many together.
    gain: f64,
}

/// Measures both in the order A B B A, `rounds` times, and compares the best of each: what else the
/// machine does only ever slows them down.
fn compare(
    name: &str,
    config: ModelConfig,
    checkpoint: Checkpoint,
    alone: usize,
    rounds: usize,
    bounds: Bounds,
) -> Result<()> {
    let vocab_size = config.vocab_size;
    let options = EngineOptions::new(PROMPT + OUTPUT, TOGETHER);
    let engine = EngineThread::start(move |server| {
        let decoder = Decoder::load(CpuBackend::new(), config, &checkpoint, options.limits())?;
        server.serve(Engine::new(decoder, None, &options)?)
    })?;
    let requests = |count| (0..count).map(|number| request(number, vocab_size));
    let serial = |client: &Client| {
        for request in requests(alone) {
            client.run(request)?;
        }
        Ok(alone)
    };
    let together = |client: &Client| {
        let submit = |request| client.submit(request, SubmitOptions::default());
        let streams = requests(TOGETHER).map(submit).collect::<Result<Vec<_>>>()?;
        streams.into_iter().try_for_each(|stream| stream.collect_all().map(drop))?;
        Ok(TOGETHER)
    };
    let rate = |work: &dyn Fn(&Client) -> Result<usize>| -> Result<f64> {
        let started = Instant::now();
        let count = work(engine.client())?;
        Ok((count * OUTPUT) as f64 / started.elapsed().as_secs_f64())
    };
    engine.client().run(request(0, vocab_size))?;
    let (mut singly, mut jointly) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        singly.push(rate(&serial)?);
        jointly.push(rate(&together)?);
        jointly.push(rate(&together)?);
        singly.push(rate(&serial)?);
    }
    let ends = |rates: &[f64]| {
        let worst = rates.iter().copied().fold(f64::INFINITY, f64::min);
        (worst, rates.iter().copied().fold(0.0, f64::max))
    };
    let ((low, serial), (lowest, together)) = (ends(&singly), ends(&jointly));
    let gain = together / serial;
    let verdict = |ok: bool| if ok { "within" } else { "BELOW" };
    println!(
        "{name}: serial {low:.0} to {serial:.0} tok/s ({} {}), {TOGETHER} together {lowest:.0} to \
         {together:.0} tok/s, the best {gain:.2} times as many ({} {})",
        verdict(serial >= bounds.serial),
        bounds.serial,
        verdict(gain >= bounds.gain),
        bounds.gain
    );
    Ok(())
}

/// A request that runs to its full length; prompts differ.
fn request(number: usize, vocab_size: usize) -> Request {
    let token = |place: usize| TokenId(((number * PROMPT + place) * 7919 % vocab_size) as u32);
    Request {
        prompt: (0..PROMPT).map(token).collect(),
        max_tokens: OUTPUT,
        sampling: SamplingParams::default(),
        stop: Vec::new(),
        stop_tokens: Vec::new(),
    }
}
