//! `ridgepoint kernels --plan`: the launches of a step, with what each must at least move and do.

use crate::backend::cuda::CudaBackend;
use crate::backend::cuda::driver::dry::{DryDriver, Planned};
use crate::backend::cuda::driver::{Properties, shared_bytes_of};
use crate::backend::cuda::module;
use crate::backend::{Batch, PAGE_SIZE, PageId, Phase};
use crate::cli::args::{KernelsArgs, PhaseArg};
use crate::cli::output::Output;
use crate::error::{Error, Result};
use crate::load::Checkpoint;
use crate::model::budget::{self, Cost, StepLoad};
use crate::model::gpu::Gpu;
use crate::model::{Decoder, Limits, ModelConfig};
use crate::request::TokenId;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// More rows of one step than any engine runs.
const ROWS_MAX: usize = 1 << 16;
/// Compute capability and multiprocessors that the launches are planned for.
const COMPUTE: (u32, u32) = (9, 0);
const MULTIPROCESSORS: u32 = 132;

/// A launch, and how often it occurs in the step.
#[derive(Debug, Serialize)]
struct Line {
    op: &'static str,
    kernel: &'static str,
    launches: usize,
    grid: [u32; 3],
    threads: u32,
    shared_bytes: u32,
    /// Of one launch.
    bytes: u64,
    flops: u64,
    floor_us: f64,
}

/// Prints the plan.
pub fn run(model: &Path, args: &KernelsArgs, out: &mut Output) -> Result<()> {
    let gpu = Gpu::parse(&args.gpu)?;
    let config = ModelConfig::find(model)?;
    let load = step_load(args, &config)?;
    let lines = lines(&config, load, &gpu)?;
    if args.json {
        return lines.iter().try_for_each(|line| out.json(line));
    }
    print_table(&lines, &gpu, out)
}

fn step_load(args: &KernelsArgs, config: &ModelConfig) -> Result<StepLoad> {
    let (phase, usual) = match args.phase {
        PhaseArg::Decode => (Phase::Decode, 1),
        PhaseArg::Prefill => (Phase::Prefill, 2048.min(config.context)),
    };
    let rows = args.rows.unwrap_or(usual);
    if !(1..=ROWS_MAX).contains(&rows) {
        return Err(Error::Usage(format!("--rows is {rows}, expected 1 to {ROWS_MAX}")));
    }
    let last = args.tokens.saturating_add(if phase == Phase::Prefill { rows } else { 1 });
    if last > config.context {
        let most = config.context;
        let message = format!("the step reaches {last} tokens, but the model's context is {most}");
        return Err(Error::Usage(message));
    }
    let logit_rows = if phase == Phase::Decode { rows } else { 1 };
    Ok(StepLoad { phase, rows, context: args.tokens, logit_rows })
}

/// The step of a model of one layer tells all launches: every layer has the same.
fn launches(config: &ModelConfig, load: StepLoad) -> Result<Vec<Planned>> {
    let missing = || Error::Usage("--plan: this build has no kernels".to_string());
    let target = module::target_for(COMPUTE).ok_or_else(missing)?;
    let properties = Properties {
        name: "plan".to_string(),
        compute: COMPUTE,
        multiprocessors: MULTIPROCESSORS,
        memory_bytes: u64::MAX,
        shared_bytes: shared_bytes_of(COMPUTE),
    };
    let driver = Arc::new(DryDriver::new(properties, target));
    let mut one = config.clone();
    one.layers = 1;
    one.windows.truncate(1);
    let sequences = if load.phase == Phase::Decode { load.rows } else { 1 };
    let last = load.context + load.rows.div_ceil(sequences);
    let limits = Limits { rows: load.rows, logit_rows: load.logit_rows, sequences, context: last };
    let backend = CudaBackend::new(driver.clone())?;
    let mut decoder = Decoder::load(backend, one, &Checkpoint::of_zeros(), limits)?;
    let pages = vec![PageId(0); last.div_ceil(PAGE_SIZE)];
    let mut kv = decoder.kv_cache(1)?;
    let mut batch = Batch::new(load.phase);
    for _ in 0..sequences {
        batch.push(load.context, &vec![TokenId(0); load.rows / sequences], &pages);
    }
    batch.logit_rows = (load.rows - load.logit_rows..load.rows).collect();
    driver.take_launches();
    decoder.forward(&batch, &mut kv)?;
    Ok(driver.take_launches())
}

fn lines(config: &ModelConfig, load: StepLoad, gpu: &Gpu) -> Result<Vec<Line>> {
    let launches = launches(config, load)?;
    let costs = budget::step(config, load);
    // Of the first layer, then what differs in the others: layers with another window.
    let in_layer = costs.iter().filter(|cost| cost.layer == Some(0)).count();
    assert_eq!(launches.len(), costs.len() - (config.layers - 1) * in_layer, "one launch an op");
    let mut lines: Vec<Line> = Vec::new();
    for (i, cost) in costs.iter().enumerate() {
        let launch = match cost.layer {
            None if i == 0 => &launches[0],
            None => &launches[launches.len() - (costs.len() - i)],
            Some(_) => &launches[1 + (i - 1) % in_layer],
        };
        let line = line(launch, cost, gpu);
        let same = |other: &&mut Line| (other.op, other.bytes) == (line.op, line.bytes);
        match lines.iter_mut().find(same) {
            Some(known) => known.launches += 1,
            None => lines.push(line),
        }
    }
    Ok(lines)
}

fn line(launch: &Planned, cost: &Cost, gpu: &Gpu) -> Line {
    Line {
        op: cost.op,
        kernel: launch.symbol,
        launches: 1,
        grid: launch.grid,
        threads: launch.block,
        shared_bytes: launch.shared_bytes,
        bytes: cost.bytes,
        flops: cost.flops,
        floor_us: gpu.floor_s(cost.bytes, cost.flops) * 1e6,
    }
}

fn print_table(lines: &[Line], gpu: &Gpu, out: &mut Output) -> Result<()> {
    let head = ["op", "kernel", "launches", "grid", "threads", "shared", "bytes", "flops", "floor"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for line in lines {
        let [x, y, z] = line.grid;
        rows.push(vec![
            line.op.to_string(),
            line.kernel.to_string(),
            line.launches.to_string(),
            format!("{x}x{y}x{z}"),
            line.threads.to_string(),
            line.shared_bytes.to_string(),
            budget::size(line.bytes),
            format!("{:.3e}", line.flops as f64),
            format!("{:.2} us", line.floor_us),
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in &rows {
        let cell = |(column, text): (usize, &String)| match column < 2 {
            true => format!("{text:<width$}", width = widths[column]),
            false => format!("{text:>width$}", width = widths[column]),
        };
        let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
        out.text(&format!("{}\n", cells.join("  ").trim_end()))?;
    }
    let each = |line: &Line| line.launches as f64 * line.floor_us;
    let total: f64 = lines.iter().map(each).sum();
    let count: usize = lines.iter().map(|line| line.launches).sum();
    let bytes: u64 = lines.iter().map(|line| line.launches as u64 * line.bytes).sum();
    out.text(&format!(
        "{count} launches, {}, at least {total:.1} us on {} ({:.2} TB/s, {:.0} TFLOP/s)\n",
        budget::size(bytes),
        gpu.name,
        gpu.bytes_per_s / 1e12,
        gpu.flops_per_s / 1e12
    ))
}
