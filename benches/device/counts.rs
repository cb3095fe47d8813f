//! Counts of the simulator: what decides a kernel's speed and can be known without a GPU.

use super::models::Model;
use super::{Device, Sizes, is_wanted, operations};
use ptxsim::Counters;
use ridgepoint::backend::cuda::driver::SimDriver;
use ridgepoint::error::Result;
use std::sync::Arc;

/// What the simulator runs in a minute or two: it executes about seven million instructions of
/// warps a second.
const SIZES: Sizes = Sizes {
    decode: &[1, 8, 32],
    prefill: &[256],
    batches: &[1, 32],
    contexts: &[512, 8192],
    prompts: &[512, 2048],
};

const HEADING: &str = "\
Counts of single launches in the simulator (sm_90a): exact, and no times.

  floor    bytes that must come from device memory or go there
  unique   bytes of the different 32-byte sectors that a launch touches, as a multiple of the floor
  sectors  the same instruction by instruction; above 1 where blocks read what others have read,
           from L2
  asked    bytes that all lanes ask for, as a multiple of the formula at the head of the kernel
  waves    passes through shared memory, as a multiple of the fewest that could do
  instr    instructions of warps, and how many for each 32 weights

Operations with more rows, tokens or sequences would take minutes each and are left to a GPU.
";

/// Prints a table of the operations of the first model, or of those that a filter on names leaves.
pub fn count() -> Result<()> {
    let sim = Arc::new(SimDriver::new(false));
    sim.keep_counters();
    // The tests watch every access. Here that would only take time.
    sim.set_checks(false);
    let device = Device::new(sim.clone(), false)?;
    let mut models = Model::all()?;
    models.truncate(1);
    println!("{HEADING}");
    println!(
        "{:<53} {:>10} {:>6} {:>7} {:>6} {:>6} {:>12} {:>6}",
        "operation", "floor", "unique", "sectors", "asked", "waves", "instr", "per 32"
    );
    for op in operations(&models, &SIZES) {
        let name = op.name();
        if !is_wanted(&name) {
            continue;
        }
        let launch = op.prepare(&device)?;
        sim.take_counters()?;
        launch(&device.kernels)?;
        let counters = sim.take_counters()?;
        let sum = |of: fn(&Counters) -> u64| counters.iter().map(of).sum::<u64>();
        let unique = 32 * sum(|c| c.unique_read_sectors + c.unique_written_sectors);
        let sectors =
            32 * sum(|c| c.global_reads.sectors + c.global_writes.sectors + c.async_copies.sectors);
        let asked = sum(|c| c.global_reads.bytes + c.global_writes.bytes + c.async_copies.bytes);
        let waves = sum(|c| c.shared_reads.wavefronts + c.shared_writes.wavefronts);
        let fewest = sum(|c| c.shared_reads.least_wavefronts + c.shared_writes.least_wavefronts);
        let instructions = sum(|c| c.warp_instructions);
        let floor = op.floor();
        let per_32 = op.weights().map(|n| ratio(32 * instructions, n)).unwrap_or_default();
        println!(
            "{name:<53} {:>10} {:>6} {:>7} {:>6} {:>6} {instructions:>12} {per_32:>6}",
            floor.bytes,
            ratio(unique, floor.bytes),
            ratio(sectors, floor.bytes),
            ratio(asked, op.requested(&device)),
            ratio(waves, fewest),
        );
    }
    Ok(())
}

fn ratio(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.2}", part as f64 / whole as f64) }
}
