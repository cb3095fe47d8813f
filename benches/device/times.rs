//! Times on a GPU, taken by its own clock around replays of recorded launches.

use super::models::Model;
use super::{Device, Floor, Launch, Op, Sizes, is_wanted, operations};
use criterion::{Criterion, Throughput};
use ridgepoint::error::{Error, Result};
use ridgepoint::model::gpu::Gpu;
use std::process::Command;
use std::time::Duration;

const SIZES: Sizes = Sizes {
    decode: &[1, 2, 4, 8, 16, 32, 64],
    prefill: &[128, 256, 512, 2048, 8192],
    batches: &[1, 8, 32, 128],
    contexts: &[512, 1024, 4096, 8192, 32_768, 131_072],
    prompts: &[512, 1024, 2048, 4096, 8192, 16_384, 32_768],
};

/// Three times the L2 cache of a large GPU: operands that are used again have left it.
const ROTATION_BYTES: u64 = 3 * 50_000_000;
/// Most copies of operands. Small operations stay in the cache, as they do in a model.
const COPIES_MAX: u64 = 64;
/// Launches of a recording, at least: the time to start it is shared among them.
const LAUNCHES_MIN: usize = 20;
/// Names a GPU, or its TB/s and TFLOP/s, where the device's own name does not tell.
const GPU_VARIABLE: &str = "RIDGEPOINT_BENCH_GPU";

/// Times every operation of every model that fits into the memory of the device.
///
/// # Errors
/// [`Error::Device`] if there is no GPU.
#[cfg(feature = "cuda")]
pub fn time(criterion: Criterion) -> Result<()> {
    use ridgepoint::backend::cuda::driver::CudaDriver;
    let device = Device::new(std::sync::Arc::new(CudaDriver::open(0)?), true)?;
    time_on(&device, criterion)
}

/// # Errors
/// [`Error::Device`]: this build has no kernels.
#[cfg(not(feature = "cuda"))]
pub fn time(_: Criterion) -> Result<()> {
    Err(Error::Device("this build is without the feature `cuda`".to_owned()))
}

#[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "nothing opens a GPU"))]
fn time_on(device: &Device, mut criterion: Criterion) -> Result<()> {
    let gpu = gpu_of(&device.driver().properties().name)?;
    println!(
        "{}: floors at {:.2} TB/s and {:.0} TFLOP/s, of its data sheet",
        device.driver().properties().name,
        gpu.bytes_per_s / 1e12,
        gpu.flops_per_s / 1e12
    );
    print_state();
    let all = operations(&Model::all()?, &SIZES);
    for op in all.iter().filter(|op| is_wanted(&op.name())) {
        one(device, &mut criterion, &gpu, &**op)?;
    }
    print_state();
    criterion.final_summary();
    Ok(())
}

/// Times one operation and prints it beside its floor.
fn one(device: &Device, criterion: &mut Criterion, gpu: &Gpu, op: &dyn Op) -> Result<()> {
    let (name, floor) = (op.name(), op.floor());
    let Some(recording) = Recording::new(device, op)? else {
        println!("{name}: left out, the device has no memory for it");
        return Ok(());
    };
    let mut samples: Vec<f64> = Vec::new();
    let mut failure = None;
    let mut group = criterion.benchmark_group("cuda");
    group.throughput(Throughput::Bytes(floor.bytes));
    group.bench_function(&name, |bencher| {
        bencher.iter_custom(|iterations| {
            // After a failure no figure is printed; criterion wants some number.
            let seconds = recording.time(device, iterations).unwrap_or_else(|error| {
                failure.get_or_insert(error);
                1.0
            });
            samples.push(seconds);
            Duration::from_secs_f64(seconds * iterations as f64)
        });
    });
    group.finish();
    if let Some(error) = failure {
        return Err(error);
    }
    samples.sort_by(f64::total_cmp);
    if let Some(median) = samples.get(samples.len() / 2) {
        print_line(&name, *median, floor, gpu);
    }
    Ok(())
}

fn print_line(name: &str, seconds: f64, floor: Floor, gpu: &Gpu) {
    let least = gpu.floor_s(floor.bytes, floor.flops);
    let rate = match floor.flops as f64 / gpu.flops_per_s >= least {
        true => format!("{:.0} TFLOP/s", floor.flops as f64 / seconds / 1e12),
        false => format!("{:.0} GB/s", floor.bytes as f64 / seconds / 1e9),
    };
    println!(
        "{name}: {:.2} us, {rate}, {:.0} % of the floor's {:.2} us",
        seconds * 1e6,
        100.0 * least / seconds,
        least * 1e6
    );
}

/// An operation as a graph of launches, each on the next of several copies of its operands.
struct Recording {
    graph: ridgepoint::backend::cuda::kernels::Graph,
    launches: usize,
    /// Owns the operands.
    _copies: Vec<Launch>,
}

impl Recording {
    /// `None` if there is no memory for it.
    fn new(device: &Device, op: &dyn Op) -> Result<Option<Recording>> {
        let wanted = ROTATION_BYTES.div_ceil(op.floor().bytes.max(1)).clamp(2, COPIES_MAX);
        let mut copies = Vec::new();
        while copies.len() < wanted as usize {
            // Fewer copies do where there is no memory for more: what is that large displaces
            // itself from the cache.
            let Some(copy) = device.prepare(op)? else { break };
            copies.push(copy);
        }
        let Some(first) = copies.first() else { return Ok(None) };
        // The first launch of a kernel loads it, which cannot be recorded.
        first(&device.kernels)?;
        device.driver().synchronize()?;
        let launches = LAUNCHES_MIN.next_multiple_of(copies.len());
        let graph = device.kernels.record(|| {
            copies.iter().cycle().take(launches).try_for_each(|copy| copy(&device.kernels))
        })?;
        Ok(Some(Recording { graph, launches, _copies: copies }))
    }

    /// Seconds of one launch, of at least so many.
    fn time(&self, device: &Device, iterations: u64) -> Result<f64> {
        let replays = iterations.div_ceil(self.launches as u64);
        let driver = device.driver();
        let from = driver.record()?;
        for _ in 0..replays {
            driver.replay(self.graph.id())?;
        }
        let to = driver.record()?;
        let milliseconds = driver.elapsed_ms(from, to)?;
        let milliseconds =
            milliseconds.ok_or_else(|| Error::Device("the device has no clock".to_owned()))?;
        Ok(f64::from(milliseconds) / 1e3 / (replays * self.launches as u64) as f64)
    }
}

/// The figures of the device, by its name or as the variable says.
fn gpu_of(name: &str) -> Result<Gpu> {
    if let Ok(given) = std::env::var(GPU_VARIABLE) {
        return Gpu::parse(&given);
    }
    let lower = name.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter_map(|word| Gpu::parse(word).ok()).next().ok_or_else(|| {
        Error::Usage(format!("no figures for {name}: set {GPU_VARIABLE}, as in h100 or 3.35,989"))
    })
}

/// What decides a time beside the program, as the driver's tool tells it.
fn print_state() {
    let query = "--query-gpu=timestamp,name,driver_version,clocks.sm,clocks.mem,power.draw,\
                 temperature.gpu";
    let out = Command::new("nvidia-smi").args([query, "--format=csv"]).output();
    match out {
        Ok(out) if out.status.success() => print!("{}", String::from_utf8_lossy(&out.stdout)),
        _ => println!("clocks: unknown, there is no nvidia-smi"),
    }
}
