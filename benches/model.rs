//! A whole model on the CPU: a dummy checkpoint of 317 M parameters (634 MB of bf16, larger than
//! the caches), loaded as a user's would be. Prints the share of the measured memory bandwidth that
//! decode at batch 1 reaches, the rate of a prefill, and peak memory against the weights; then the
//! same with weights of 4 bits in groups of 128 and a head of 8.
#![allow(clippy::print_stdout)] // the report

mod bandwidth;
mod dummy;

use bandwidth::Memory;
use criterion::{Criterion, Throughput};
use dummy::{CONTEXT, HIDDEN, INNER, KV_WIDTH, LAYERS, VOCAB};
use ridgepoint::backend::cpu::{CpuBackend, KvCache};
use ridgepoint::backend::{Backend, Batch, PageId, Phase};
use ridgepoint::error::{Error, Result};
use ridgepoint::load::{Checkpoint, Source};
use ridgepoint::model::{Decoder, Limits, ModelConfig};
use ridgepoint::quantize::Quantizing;
use ridgepoint::request::TokenId;
use serde_json::{Map, Value, json};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Rows of the prefill.
const ROWS: usize = 512;
/// What the second model's weights become while it is loaded, and the columns that share a scale.
const SCHEME: &str = "int4:group=128,head=8";
const GROUP: usize = 128;

fn main() -> Result<()> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    write_checkpoint(dir.path())?;
    let before = peak_bytes();
    let started = Instant::now();
    let checkpoint = Checkpoint::open(dir.path())?;
    let (mut decoder, mut kv) = load(dir.path(), &checkpoint)?;
    println!("load: {:.3} s", started.elapsed().as_secs_f64());
    let weights = checkpoint.bytes() as f64;
    prefill(&mut decoder, &mut kv)?;
    decode_step(&mut decoder, &mut kv)?;
    if let (Some(before), Some(after)) = (before, peak_bytes()) {
        let used = (after - before) as f64;
        println!("peak memory: {:.0} MB, {:.3} of the weights", used / 1e6, used / weights);
    }
    println!("{}", decoder.backend().describe());
    let memory = Memory::new();
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4))
        .without_plots()
        .configure_from_args();
    // The embedding is read for one row only; the head is read whole.
    let bytes = weights - (VOCAB * HIDDEN * 2) as f64;
    measure(&mut criterion, &memory, "model_317m_bf16", bytes, &mut decoder, &mut kv)?;
    drop((decoder, kv));

    let config = ModelConfig::load(dir.path())?;
    let source = Quantizing::new(&checkpoint, SCHEME.parse()?, &config);
    let (mut decoder, mut kv) = load(dir.path(), &source)?;
    let head = (VOCAB * (HIDDEN + 4)) as f64;
    let layers = LAYERS * (2 * HIDDEN * HIDDEN + 2 * KV_WIDTH * HIDDEN + 3 * INNER * HIDDEN);
    let bytes = head + layers as f64 * (0.5 + 5.0 / GROUP as f64);
    measure(&mut criterion, &memory, "model_317m_int4", bytes, &mut decoder, &mut kv)
}

/// Decode at batch 1, which reads `weights` bytes of weights, and prefill.
fn measure(
    criterion: &mut Criterion,
    memory: &Memory,
    name: &str,
    weights: f64,
    decoder: &mut Decoder<CpuBackend>,
    kv: &mut KvCache,
) -> Result<()> {
    prefill(decoder, kv)?;
    // The keys and values are of f32.
    let bytes = weights + (LAYERS * 2 * (ROWS + 1) * KV_WIDTH * 4) as f64;
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64));
    let before = memory.bandwidth();
    let best = timed(&mut group, "decode_m1", || decode_step(decoder, kv));
    if let Some(seconds) = best {
        let rate = bytes / seconds;
        let bandwidth = before.max(memory.bandwidth());
        println!(
            "{name} decode_m1: {:.1} tok/s, {:.1} GB/s, {:.0} % of the {:.1} GB/s measured",
            1.0 / seconds,
            rate / 1e9,
            100.0 * rate / bandwidth,
            bandwidth / 1e9
        );
    }
    group.throughput(Throughput::Elements(ROWS as u64));
    let best = timed(&mut group, "prefill_512", || prefill(decoder, kv));
    if let Some(seconds) = best {
        println!("{name} prefill_512: {:.0} tok/s", ROWS as f64 / seconds);
    }
    group.finish();
    Ok(())
}

/// Runs one benchmark; the best time of an iteration in seconds, or `None` if a filter left it out.
fn timed(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    mut step: impl FnMut() -> Result<()>,
) -> Option<f64> {
    let mut best: Option<f64> = None;
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            for _ in 0..iterations {
                let started = Instant::now();
                step().expect("the CPU does not fail");
                let time = started.elapsed();
                best = Some(best.unwrap_or(f64::INFINITY).min(time.as_secs_f64()));
                total += time;
            }
            total
        });
    });
    best
}

fn load(dir: &Path, source: &dyn Source) -> Result<(Decoder<CpuBackend>, KvCache)> {
    let config = ModelConfig::load(dir)?;
    let limits = Limits { rows: ROWS, logit_rows: 1, sequences: 1, context: CONTEXT };
    let decoder = Decoder::load(CpuBackend::new(), config, source, limits)?;
    let kv = decoder.kv_cache(CONTEXT.div_ceil(64))?;
    Ok((decoder, kv))
}

fn pages() -> Vec<PageId> {
    (0..CONTEXT.div_ceil(64) as u32).map(PageId).collect()
}

fn prefill(decoder: &mut Decoder<CpuBackend>, kv: &mut KvCache) -> Result<()> {
    let tokens: Vec<TokenId> = (0..ROWS as u32).map(TokenId).collect();
    let mut batch = Batch::new(Phase::Prefill);
    batch.push(0, &tokens, &pages());
    batch.logit_rows.push(ROWS - 1);
    decoder.forward(&batch, kv)
}

fn decode_step(decoder: &mut Decoder<CpuBackend>, kv: &mut KvCache) -> Result<()> {
    let mut batch = Batch::new(Phase::Decode);
    batch.push(ROWS, &[TokenId(7)], &pages());
    batch.logit_rows.push(0);
    decoder.forward(&batch, kv)
}

/// The most memory this process has held, where the system says so.
fn peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Writes the model as a user has one: a file, whose tensors are those that an engine makes up.
fn write_checkpoint(dir: &Path) -> Result<()> {
    let io = |e: std::io::Error| Error::io(dir, "cannot write")(e);
    fs::write(dir.join("config.json"), dummy::json().to_string()).map_err(io)?;
    let tensors = dummy::tensors();
    let (mut header, mut end) = (Map::new(), 0);
    for (name, shape) in &tensors {
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "BF16", "shape": shape, "data_offsets": [start, end]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = File::create(dir.join("model.safetensors")).map_err(io)?;
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
    file.write_all(header.as_bytes()).map_err(io)?;
    let made_up = Checkpoint::made_up(0);
    for (name, shape) in &tensors {
        let tensor = made_up.tensor(name, shape)?;
        file.write_all(tensor.bytes.as_slice()).map_err(io)?;
    }
    Ok(())
}
