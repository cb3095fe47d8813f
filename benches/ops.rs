//! Benchmarks of single operations, each beside its floor. `RIDGEPOINT_BENCH_DEVICE` says where:
//! `cpu` (the default) times the CPU backend; `cuda` times the kernels on a GPU; `sim` runs them in
//! the simulator and prints counts, which need no GPU and are the same on every machine.
//!
//! An argument is a filter on names, as with every benchmark of criterion.
#![allow(clippy::print_stdout)] // the report

mod bandwidth;
mod cpu;
mod device;

use criterion::Criterion;
use ridgepoint::error::{Error, Result};
use std::time::Duration;

fn main() -> Result<()> {
    let criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args();
    match std::env::var("RIDGEPOINT_BENCH_DEVICE").as_deref() {
        Err(_) | Ok("cpu") => cpu::run(criterion),
        Ok("sim") => device::count(),
        Ok("cuda") => device::time(criterion),
        Ok(other) => Err(Error::Usage(format!(
            "RIDGEPOINT_BENCH_DEVICE is {other}, expected cpu, sim or cuda"
        ))),
    }
}
