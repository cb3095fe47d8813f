//! Benchmarks of single operations on the CPU, each beside its floor: bytes that must come from
//! memory over the bandwidth that the same run measures with the same number of threads.
#![allow(clippy::print_stdout)] // the report

mod bandwidth;

use criterion::{Criterion, Throughput};
use ridgepoint::backend::cpu::{CpuBackend, KvCache, Matrix, Tensor};
use ridgepoint::backend::{Backend, Batch, Epilogue, Heads, KvShape, PAGE_SIZE, PageId, Phase};
use ridgepoint::request::TokenId;
use ridgepoint::tensor::{Dtype, HostTensor};
use std::cell::Cell;
use std::time::{Duration, Instant};

type Result = ridgepoint::error::Result<()>;

/// What a measurement is compared with.
enum Floor {
    /// Bytes that an iteration reads from memory.
    Bytes(usize),
    /// Multiply-adds of an iteration; no floor is measured for them.
    Macs(usize),
}

struct Bench {
    criterion: Criterion,
    backend: CpuBackend,
    /// Bytes a second that all threads together read.
    bandwidth: f64,
}

fn main() -> Result {
    let criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .without_plots()
        .configure_from_args();
    let backend = CpuBackend::new();
    let bandwidth = bandwidth::read_bandwidth();
    println!("{}; reads {:.1} GB/s", backend.describe(), bandwidth / 1e9);
    let mut bench = Bench { criterion, backend, bandwidth };
    gemm_decode(&mut bench)?;
    gemm_prefill(&mut bench)?;
    attention(&mut bench)?;
    rows(&mut bench)?;
    bench.criterion.final_summary();
    Ok(())
}

impl Bench {
    /// Times `op` and prints the best iteration beside its floor.
    fn run(&mut self, name: &str, floor: Floor, mut op: impl FnMut() -> Result) {
        let best = Cell::new(f64::INFINITY);
        let mut group = self.criterion.benchmark_group("cpu");
        group.throughput(match floor {
            Floor::Bytes(n) => Throughput::Bytes(n as u64),
            Floor::Macs(n) => Throughput::Elements(n as u64),
        });
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                let mut total = Duration::ZERO;
                for _ in 0..iterations {
                    let start = Instant::now();
                    op().expect("the op runs");
                    let time = start.elapsed();
                    best.set(best.get().min(time.as_secs_f64()));
                    total += time;
                }
                total
            });
        });
        group.finish();
        let seconds = best.get();
        if seconds.is_infinite() {
            return; // left out by a filter on the command line
        }
        match floor {
            Floor::Bytes(n) => {
                let rate = n as f64 / seconds;
                let share = 100.0 * rate / self.bandwidth;
                println!("{name}: {:.1} GB/s, {share:.0} % of measured bandwidth", rate / 1e9);
            }
            Floor::Macs(n) => println!("{name}: {:.1} GMAC/s", n as f64 / seconds / 1e9),
        }
    }
}

/// Small numbers that differ.
fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + i / 61) % 127) as f32 / 64.0 - 1.0).collect()
}

fn bf16_matrix(backend: &CpuBackend, n: usize, k: usize) -> ridgepoint::error::Result<Matrix> {
    let bytes: Vec<u8> = values(1 << 16)
        .into_iter()
        .cycle()
        .take(n * k)
        .flat_map(|x| half::bf16::from_f32(x).to_le_bytes())
        .collect();
    backend.matrix(vec![HostTensor::new("w", Dtype::Bf16, vec![n, k], bytes.into())])
}

fn tensor(backend: &CpuBackend, rows: usize, width: usize) -> ridgepoint::error::Result<Tensor> {
    let mut out = backend.tensor(rows, width)?;
    backend.upload(&values(rows * width), &mut out)?;
    Ok(out)
}

fn gemm_decode(bench: &mut Bench) -> Result {
    let backend = bench.backend;
    let (n, k) = (14_336, 4_096);
    let weight = bf16_matrix(&backend, n, k)?;
    for m in [1, 4, 16] {
        let x = tensor(&backend, m, k)?;
        let mut out = backend.tensor(m, n)?;
        bench.run(&format!("gemm_decode_bf16_m{m}"), Floor::Bytes(n * k * 2), || {
            backend.gemm(Phase::Decode, &x, &weight, Epilogue::Store, &mut out)
        });
    }
    let (n, k) = (512, 256);
    let weight = bf16_matrix(&backend, n, k)?;
    let x = tensor(&backend, 1, k)?;
    let mut out = backend.tensor(1, n)?;
    bench.run("gemm_decode_bf16_m1_in_cache", Floor::Macs(n * k), || {
        backend.gemm(Phase::Decode, &x, &weight, Epilogue::Store, &mut out)
    });
    Ok(())
}

fn gemm_prefill(bench: &mut Bench) -> Result {
    let backend = bench.backend;
    for (m, n, k) in [(512, 4_096, 4_096), (512, 1_280, 256), (32, 4_096, 4_096)] {
        let weight = bf16_matrix(&backend, n, k)?;
        let x = tensor(&backend, m, k)?;
        let mut out = backend.tensor(m, n / 2)?;
        bench.run(&format!("gemm_prefill_bf16_m{m}_n{n}_k{k}"), Floor::Macs(m * n * k), || {
            backend.gemm(Phase::Prefill, &x, &weight, Epilogue::SwiGlu, &mut out)
        });
    }
    Ok(())
}

/// Sequences of `len` positions whose last `rows` are computed; their keys and values are zeros.
fn attention_case(
    backend: &CpuBackend,
    phase: Phase,
    sequences: usize,
    rows: usize,
    len: usize,
) -> ridgepoint::error::Result<(Batch, Tensor, KvCache, Tensor)> {
    let heads = Heads { query: 32, kv: 8, dim: 128 };
    let each = len.div_ceil(PAGE_SIZE);
    let shape = KvShape { layers: 1, pages: sequences * each, heads, dtype: Dtype::F32 };
    let mut kv = backend.kv_cache(shape)?;
    let rope = backend.rope_table(&[0.01; 64], len)?;
    let mut all = backend.tensor(len, heads.query * heads.dim)?;
    let qkv = tensor(backend, len, heads.qkv_width())?;
    let mut batch = Batch::new(phase);
    for s in 0..sequences {
        let pages: Vec<PageId> = (s * each..(s + 1) * each).map(|p| PageId(p as u32)).collect();
        let mut fill = Batch::new(Phase::Prefill);
        fill.push(0, &vec![TokenId(0); len], &pages);
        backend.rope_append(&fill, 0, &qkv, None, &rope, &mut all, &mut kv)?;
        batch.push(len - rows, &vec![TokenId(0); rows], &pages);
    }
    let query = tensor(backend, sequences * rows, heads.query * heads.dim)?;
    let out = backend.tensor(sequences * rows, heads.query * heads.dim)?;
    Ok((batch, query, kv, out))
}

fn attention(bench: &mut Bench) -> Result {
    let backend = bench.backend;
    let len = 2_048;
    let (batch, query, kv, mut out) = attention_case(&backend, Phase::Decode, 8, 1, len)?;
    let bytes = 8 * len * 2 * 8 * 128 * 4;
    bench.run("attention_decode_f32_8x2048", Floor::Bytes(bytes), || {
        backend.attention(&batch, 0, None, &query, &kv, &mut out)
    });
    let (batch, query, kv, mut out) = attention_case(&backend, Phase::Prefill, 1, 512, len)?;
    let macs = 2 * 32 * 128 * (0..512).map(|row| len - row).sum::<usize>();
    bench.run("attention_prefill_f32_512_of_2048", Floor::Macs(macs), || {
        backend.attention(&batch, 0, None, &query, &kv, &mut out)
    });
    Ok(())
}

/// The ops that touch each row once, on more rows than the caches hold.
fn rows(bench: &mut Bench) -> Result {
    let backend = bench.backend;
    let (rows, width) = (4_096, 4_096);
    let table = bf16_matrix(&backend, 32_000, width)?;
    let tokens: Vec<TokenId> = (0..rows as u32).map(|i| TokenId(i * 7 % 32_000)).collect();
    let mut out = backend.tensor(rows, width)?;
    bench.run("embed_bf16", Floor::Bytes(rows * width * 6), || {
        backend.embed(&tokens, &table, &mut out)
    });
    let weight = HostTensor::from_f32("w", vec![width], &values(width));
    let weight = backend.vector(&[weight])?;
    let x = tensor(&backend, rows, width)?;
    bench.run("rmsnorm", Floor::Bytes(rows * width * 8), || {
        backend.rmsnorm(&x, &weight, 1e-5, &mut out)
    });
    Ok(())
}
