//! Host time of the engine: what a step costs beside the device's work, from submission to the
//! first step, and the prefix cache. Prints the best and the median time of each operation beside
//! its bound; nothing fails by a bound, since other work on the machine moves these figures.
#![allow(clippy::print_stdout)] // the report

mod null;
mod prefix;
mod steps;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion};
use std::time::Duration;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args();
    steps::run(&mut criterion);
    prefix::run(&mut criterion);
}

/// Runs one benchmark whose iterations time themselves; the best and the median time, or `None` if
/// a filter left it out.
pub fn timed(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    mut iteration: impl FnMut() -> Duration,
) -> Option<(Duration, Duration)> {
    let mut times = Vec::new();
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let before = times.len();
            times.extend((0..iterations).map(|_| iteration()));
            times[before..].iter().sum()
        });
    });
    times.sort_unstable();
    Some((*times.first()?, times[times.len() / 2]))
}
