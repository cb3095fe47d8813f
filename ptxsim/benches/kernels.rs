//! How fast the simulator runs: the same tiled kernels with every check and with none. One launch
//! a sample, on one core; what criterion calls elements are multiply-accumulates.

// A benchmark that cannot be set up has nothing to measure.
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use ptxsim::tensor::swizzle::Swizzle;
use ptxsim::tensor::tma::{DataType, Fill, TensorMap, Tiled};
use ptxsim::{Device, Launch};
use std::time::Duration;

#[path = "../tests/common.rs"]
#[allow(dead_code)]
mod common;

/// A buffer of bf16 numbers from -1 to 1.
fn numbers(device: &mut Device, n: usize, params: &mut Vec<u8>) {
    let value = |i: usize| {
        let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = ((mixed >> 40) % 257) as f32 / 128.0 - 1.0;
        (x.to_bits() >> 16) as u16
    };
    let data: Vec<u8> = (0..n).flat_map(|i| value(i).to_le_bytes()).collect();
    let address = device.alloc(data.len() as u64).unwrap();
    device.copy_in(address, &data).unwrap();
    params.extend(address.to_le_bytes());
}

fn room(device: &mut Device, bytes: usize, params: &mut Vec<u8>) {
    params.extend(device.alloc(bytes as u64).unwrap().to_le_bytes());
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    device: &mut Device,
    launch: &Launch,
    macs: usize,
) {
    group.sample_size(20).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(4)).throughput(Throughput::Elements(macs as u64));
    for (name, checks) in [("all checks", true), ("no checks", false)] {
        let launch = Launch { checks, ..launch.clone() };
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let report = device.launch(&launch).unwrap();
                assert!(report.is_clean(), "{report}");
            });
        });
    }
}

fn load(device: &mut Device, file: &str, arch: &str) -> Launch {
    let text = common::compile(&format!("ptxsim/tests/kernels/{file}"), &[], arch);
    let module = device.load_ptx(file, &text).unwrap();
    Launch { module, shared_opt_in: true, ..Launch::default() }
}

fn gemm(c: &mut Criterion) {
    let n = 512;
    let mut device = Device::new();
    let mut launch = load(&mut device, "gemm.cu", "compute_80");
    numbers(&mut device, n * n, &mut launch.params);
    numbers(&mut device, n * n, &mut launch.params);
    room(&mut device, n * n * 4, &mut launch.params);
    launch.params.extend((n as i32).to_le_bytes());
    launch.params.extend((n as i32).to_le_bytes());
    launch.entry = "gemm".into();
    launch.grid = [4, 4, 1];
    launch.block = [256, 1, 1];
    launch.shared_bytes = 2 * 2 * 128 * 64;
    let mut group = c.benchmark_group("gemm bf16 mma 512x512x512");
    measure(&mut group, &mut device, &launch, n * n * n);
}

fn attention(c: &mut Criterion) {
    let (queries, keys, dim) = (64, 512, 128);
    let mut device = Device::new();
    let mut launch = load(&mut device, "attention.cu", "compute_80");
    numbers(&mut device, queries * dim, &mut launch.params);
    numbers(&mut device, keys * dim, &mut launch.params);
    numbers(&mut device, keys * dim, &mut launch.params);
    room(&mut device, queries * dim * 4, &mut launch.params);
    launch.params.extend((keys as i32).to_le_bytes());
    launch.params.extend(0.127f32.to_le_bytes());
    launch.entry = "attention".into();
    launch.block = [128, 1, 1];
    launch.shared_bytes = 5 * 64 * 128 * 2;
    let mut group = c.benchmark_group("attention 64 queries, 512 keys, 128");
    measure(&mut group, &mut device, &launch, 2 * queries * keys * dim);
}

/// Scalar code: what an instruction costs that no unit of the simulator is made for.
fn softmax(c: &mut Criterion) {
    let (rows, n) = (512, 512);
    let mut device = Device::new();
    let mut launch = load(&mut device, "softmax.cu", "compute_80");
    numbers(&mut device, 2 * rows * n, &mut launch.params);
    room(&mut device, rows * n * 4, &mut launch.params);
    launch.params.extend((n as i32).to_le_bytes());
    launch.entry = "softmax".into();
    launch.grid = [rows as u32, 1, 1];
    launch.block = [128, 1, 1];
    let mut group = c.benchmark_group("softmax 512 rows of 512");
    let report = device.launch(&launch).unwrap();
    measure(&mut group, &mut device, &launch, report.counters.warp_instructions as usize);
}

/// A tensor map of a matrix of bf16 at `address`, in boxes of `box_rows` rows of 64.
fn map(address: u64, [columns, rows]: [u64; 2], box_rows: u32) -> [u8; 128] {
    let tiled = Tiled {
        element: DataType::Bf16,
        address,
        dims: &[columns, rows],
        strides: &[columns * 2],
        box_dims: &[64, box_rows],
        element_strides: &[1, 1],
        swizzle: Swizzle::B128,
        fill: Fill::Zero,
    };
    TensorMap::new(&tiled).unwrap().encode()
}

fn hopper(c: &mut Criterion) {
    let (m, n, k) = (512, 512, 1024);
    let mut device = Device::new();
    let defines = ["TENSOR_COPIES"];
    let text = common::compile("ptxsim/tests/kernels/hopper_gemm.cu", &defines, "compute_90a");
    let module = device.load_ptx("hopper_gemm", &text).unwrap();
    let mut pointers = Vec::new();
    numbers(&mut device, m * k, &mut pointers);
    numbers(&mut device, n * k, &mut pointers);
    room(&mut device, m * n * 4, &mut pointers);
    let address = |i: usize| u64::from_le_bytes(pointers[8 * i..8 * i + 8].try_into().unwrap());
    let mut params = map(address(0), [k as u64, m as u64], 128).to_vec();
    params.extend(map(address(1), [k as u64, n as u64], 64));
    params.extend(&pointers);
    for size in [m, n, k] {
        params.extend((size as i32).to_le_bytes());
    }
    let launch = Launch {
        module,
        entry: "hopper_gemm".into(),
        grid: [n.div_ceil(64) as u32, m.div_ceil(128) as u32, 1],
        block: [384, 1, 1],
        shared_bytes: 2 * 24576 + 32,
        shared_opt_in: true,
        registers: 168,
        params,
        ..Launch::default()
    };
    let mut group = c.benchmark_group("gemm bf16 wgmma 512x512x1024");
    measure(&mut group, &mut device, &launch, m * n * k);
}

criterion_group!(benches, gemm, attention, hopper, softmax);
criterion_main!(benches);
