//! How fast weights are quantised while a model is loaded, in bytes of bf16 a second, and how fast
//! those are unpacked that others quantised, in bytes of the packed weights.
#![allow(clippy::unwrap_used)] // a benchmark that cannot be set up is to end with a panic

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use half::bf16;
use ridgepoint::load::{Layout, PackedParts};
use ridgepoint::model::budget::Int4Group;
use ridgepoint::quantize::gptq::Gptq;
use ridgepoint::quantize::matrix::{Fit, int4};
use ridgepoint::quantize::{Grid, Method};
use ridgepoint::tensor::int4::Int4Shape;
use ridgepoint::tensor::{Dtype, HostTensor};
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

/// One projection of a model of 8 billion parameters, more than the caches hold.
const SHAPE: [usize; 2] = [4096, 4096];

fn weights() -> HostTensor {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 0.03
    };
    let count = SHAPE.iter().product();
    let bytes: Vec<u8> = (0..count).flat_map(|_| bf16::from_f32(next()).to_le_bytes()).collect();
    HostTensor::new("weights", Dtype::Bf16, SHAPE.to_vec(), bytes.into())
}

fn quantize(criterion: &mut Criterion) {
    let tensor = weights();
    let mut group = criterion.benchmark_group("quantize");
    group.sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Bytes(2 * tensor.len() as u64));
    for (name, method) in [("rtn", Method::Rtn), ("search", Method::Search)] {
        for zero_points in [false, true] {
            let zeros = if zero_points { "/zero-point" } else { "" };
            for threads in [1, rayon::current_num_threads()] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let grid = Grid { group: Int4Group::G128, zero_points };
                group.bench_function(format!("{name}{zeros}/{threads} threads"), |b| {
                    let fit = Fit::from(method);
                    let one = || int4(Path::new(""), black_box(&tensor), grid, fit).unwrap();
                    pool.install(|| b.iter(one));
                });
            }
        }
    }
    group.finish();
}

/// What gptq does once for each input of a layer, besides the sums; `k^3 / 3` multiply-adds.
fn factor(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("gptq");
    group.sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    for k in [1024usize, 2048] {
        let mut hessian = vec![0.0; k * k];
        (0..k * k).for_each(|at| hessian[at] = 1.0 / (1.0 + (at / k).abs_diff(at % k) as f64));
        group.throughput(Throughput::Elements((k * k * k / 3) as u64));
        group.bench_function(format!("factor of {k} columns"), |b| {
            b.iter(|| Gptq::new(hessian.clone(), k, false).unwrap());
        });
    }
    group.finish();
}

/// From the parts of each published format to rows of points.
fn unpack(criterion: &mut Criterion) {
    let [n, k] = SHAPE;
    let shape = Int4Shape { n, k, group: 128, zero_points: true };
    let words: Vec<u8> = (0..n * k / 2).map(|at| ((at * 37) >> 3) as u8).collect();
    let scales = vec![0.01; n * shape.groups()];
    let zeros = vec![0x77; n / 2 * shape.groups()];
    let mut group = criterion.benchmark_group("unpack");
    group.sample_size(10).warm_up_time(Duration::from_millis(300));
    group.measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Bytes(words.len() as u64));
    for (name, layout) in [
        ("gptq", Layout::Gptq { zero_offset: 1 }),
        ("awq", Layout::Awq),
        ("pack-quantized", Layout::PackQuantized),
    ] {
        for threads in [1, rayon::current_num_threads()] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let (words, scales, zeros) = (&words[..], &scales[..], Some(&zeros[..]));
            let parts = PackedParts { layout, shape, words, scales, zeros, order: None };
            group.bench_function(format!("{name}/{threads} threads"), |b| {
                pool.install(|| b.iter(|| black_box(&parts).unpack().unwrap()));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, quantize, factor, unpack);
criterion_main!(benches);
