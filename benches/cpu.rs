//! Benchmarks of single operations on the CPU, each beside its floor: bytes that must come from
//! memory over the bandwidth that the same run measures with the same number of threads.

use super::bandwidth::Memory;
use criterion::{Criterion, Throughput};
use ridgepoint::backend::cpu::{CpuBackend, InstructionSet, KvCache, Matrix, Tensor};
use ridgepoint::backend::{
    Backend, Batch, Epilogue, Heads, KvShape, Norm, PAGE_SIZE, PageId, Phase, Role,
};
use ridgepoint::request::TokenId;
use ridgepoint::tensor::int4::{Int4Matrix, Int4Shape, Int4Tensor};
use ridgepoint::tensor::{Dtype, HostMatrix, HostTensor, Int8Tensor};
use std::cell::Cell;
use std::time::{Duration, Instant};

type Result = ridgepoint::error::Result<()>;

/// What a measurement is compared with.
enum Floor {
    /// Bytes that an iteration reads from memory.
    Bytes(usize),
    /// Multiply-adds of an iteration; no floor is measured for them.
    Macs(usize),
    /// Rows of a whole model's step.
    Rows(usize),
}

struct Bench {
    criterion: Criterion,
    backend: CpuBackend,
    /// More than the caches hold; its reading is the measure of memory bandwidth.
    memory: Memory,
}

/// Runs all of them.
pub fn run(criterion: Criterion) -> Result {
    let backend = CpuBackend::new();
    let mut bench = Bench { criterion, backend, memory: Memory::new() };
    println!("{}; reads {:.1} GB/s", backend.describe(), bench.memory.bandwidth() / 1e9);
    gemm_decode(&mut bench)?;
    gemm_prefill(&mut bench)?;
    attention(&mut bench)?;
    rows(&mut bench)?;
    small_model(&mut bench)?;
    bench.criterion.final_summary();
    Ok(())
}

impl Bench {
    /// Times `op` and prints the best iteration beside its floor.
    fn run(&mut self, name: &str, floor: Floor, mut op: impl FnMut() -> Result) {
        let before = if matches!(floor, Floor::Bytes(_)) { self.memory.bandwidth() } else { 0.0 };
        let best = Cell::new(f64::INFINITY);
        let mut group = self.criterion.benchmark_group("cpu");
        group.throughput(match floor {
            Floor::Bytes(n) => Throughput::Bytes(n as u64),
            Floor::Macs(n) | Floor::Rows(n) => Throughput::Elements(n as u64),
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
                let rate = n as f64 / seconds / 1e9;
                let bandwidth = before.max(self.memory.bandwidth()) / 1e9;
                let share = 100.0 * rate / bandwidth;
                println!(
                    "{name}: {rate:.1} GB/s, {share:.0} % of the {bandwidth:.1} GB/s measured"
                );
            }
            Floor::Macs(n) => println!("{name}: {:.1} GMAC/s", n as f64 / seconds / 1e9),
            Floor::Rows(n) => println!("{name}: {:.0} rows/s", n as f64 / seconds),
        }
    }
}

/// Small numbers that differ.
fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + i / 61) % 127) as f32 / 64.0 - 1.0).collect()
}

fn bf16_matrix(backend: &CpuBackend, n: usize, k: usize) -> ridgepoint::error::Result<Matrix> {
    backend.matrix(vec![bf16_tensor(n, k).into()])
}

fn bf16_tensor(n: usize, k: usize) -> HostTensor {
    let pattern: Vec<u8> =
        values(8_191).into_iter().flat_map(|x| half::bf16::from_f32(x).to_le_bytes()).collect();
    let mut bytes = pattern.repeat((n * k * 2).div_ceil(pattern.len()));
    bytes.truncate(n * k * 2);
    HostTensor::new("w", Dtype::Bf16, vec![n, k], bytes.into())
}

fn int4_matrix(n: usize, k: usize, group: usize) -> HostMatrix {
    let shape = Int4Shape { n, k, group, zero_points: false };
    let quants = (0..n * k).map(|i| ((i * 37 + i / 61) % 16) as u8).collect();
    let scales = vec![0.01; n * shape.groups()];
    let matrix = Int4Matrix { quants, scales, zero_points: None, order: None };
    HostMatrix::Int4(Int4Tensor { name: "w".to_string(), shape, matrix })
}

fn int8_matrix(n: usize, k: usize) -> HostMatrix {
    let values = (0..n * k).map(|i| ((i * 37 + i / 61) % 255) as u8 as i8).collect();
    HostMatrix::Int8(Int8Tensor { name: "w".to_string(), n, k, values, scales: vec![0.01; n] })
}

fn tensor(backend: &CpuBackend, rows: usize, width: usize) -> ridgepoint::error::Result<Tensor> {
    let mut out = backend.tensor(rows, width, Role::Plain)?;
    backend.upload(&values(rows * width), &mut out)?;
    Ok(out)
}

fn gemm_decode(bench: &mut Bench) -> Result {
    let backend = bench.backend;
    let (n, k) = (14_336, 4_096);
    let weight = bf16_matrix(&backend, n, k)?;
    for m in [1, 4, 16] {
        let x = tensor(&backend, m, k)?;
        let mut out = backend.tensor(m, n, Role::Plain)?;
        bench.run(&format!("gemm_decode_bf16_m{m}"), Floor::Bytes(n * k * 2), || {
            backend.gemm(Phase::Decode, &x, &weight, Epilogue::Store, &mut out)
        });
    }
    for (name, weight, bytes) in [
        ("int4g128", int4_matrix(n, k, 128), n * k / 2 + n * k / 128 * 5),
        ("int4g64", int4_matrix(n, k, 64), n * k / 2 + n * k / 64 * 5),
        ("int8", int8_matrix(n, k), n * k + n * 4),
    ] {
        let weight = backend.matrix(vec![weight])?;
        for m in [1, 4, 16] {
            let x = tensor(&backend, m, k)?;
            let mut out = backend.tensor(m, n, Role::Plain)?;
            bench.run(&format!("gemm_decode_{name}_m{m}"), Floor::Bytes(bytes), || {
                backend.gemm(Phase::Decode, &x, &weight, Epilogue::Store, &mut out)
            });
        }
    }
    let (n, k) = (512, 256);
    let weight = bf16_matrix(&backend, n, k)?;
    let x = tensor(&backend, 1, k)?;
    let mut out = backend.tensor(1, n, Role::Plain)?;
    bench.run("gemm_decode_bf16_m1_in_cache", Floor::Macs(n * k), || {
        backend.gemm(Phase::Decode, &x, &weight, Epilogue::Store, &mut out)
    });
    Ok(())
}

fn gemm_prefill(bench: &mut Bench) -> Result {
    let best = bench.backend;
    for (m, n, k) in [(512, 4_096, 4_096), (512, 1_280, 256), (32, 4_096, 4_096)] {
        let half = || bf16_tensor(n / 2, k).into();
        gemm_many(bench, best, &format!("gemm_prefill_bf16_m{m}_n{n}_k{k}"), half, m)?;
    }
    for m in [512, 32] {
        let half = || int4_matrix(2_048, 4_096, 128);
        gemm_many(bench, best, &format!("gemm_prefill_int4g128_m{m}_n4096_k4096"), half, m)?;
    }
    // The portable set, first in the list, is for reference only.
    for set in InstructionSet::available().into_iter().skip(1) {
        let name = format!("gemm_prefill_bf16_in_cache_{set}");
        gemm_many(bench, CpuBackend::with(set), &name, || bf16_tensor(64, 512).into(), 64)?;
    }
    Ok(())
}

fn gemm_many(
    bench: &mut Bench,
    backend: CpuBackend,
    name: &str,
    half: impl Fn() -> HostMatrix,
    m: usize,
) -> Result {
    let [n, k] = half().shape();
    let weight = backend.gated(half(), half())?;
    let x = tensor(&backend, m, k)?;
    let mut out = backend.tensor(m, n, Role::Plain)?;
    bench.run(name, Floor::Macs(m * 2 * n * k), || {
        backend.gemm(Phase::Prefill, &x, &weight, Epilogue::SwiGlu, &mut out)
    });
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
    let mut all = backend.tensor(len, heads.query * heads.dim, Role::Plain)?;
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
    let out = backend.tensor(sequences * rows, heads.query * heads.dim, Role::Plain)?;
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
    let (batch, query, kv, mut out) = attention_case(&backend, Phase::Prefill, 1, 128, len)?;
    let macs = 2 * 32 * 128 * (0..128).map(|row| len - row).sum::<usize>();
    bench.run("attention_prefill_f32_128_of_2048", Floor::Macs(macs), || {
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
    let mut out = backend.tensor(rows, width, Role::Plain)?;
    let mut normed = backend.tensor(rows, width, Role::Normed)?;
    let weight = HostTensor::from_f32("w", vec![width], &values(width));
    let weight = backend.vector(&[weight])?;
    let mut batch = Batch::new(Phase::Prefill);
    batch.tokens = tokens;
    bench.run("embed_bf16_with_norm", Floor::Bytes(rows * width * 14), || {
        let norm = Norm { weight: &weight, eps: 1e-5, out: &mut normed };
        backend.embed(&batch, &table, norm, &mut out)
    });
    let x = tensor(&backend, rows, width)?;
    bench.run("rmsnorm", Floor::Bytes(rows * width * 8), || {
        backend.rmsnorm(&x, Norm { weight: &weight, eps: 1e-5, out: &mut out });
        Ok(())
    });
    Ok(())
}

/// The ops of one decode step of a model of three million parameters, which lie in the cache: four
/// layers of width 256, heads 4/2 of 64, intermediate 640, 2,048 tokens; contexts of 128.
fn small_model(bench: &mut Bench) -> Result {
    let backend = bench.backend;
    let heads = Heads { query: 4, kv: 2, dim: 64 };
    let (width, inner, vocab, layers, context) = (256, 640, 2_048, 4, 128);
    let qkv_weight = bf16_matrix(&backend, heads.qkv_width(), width)?;
    let out_weight = bf16_matrix(&backend, width, width)?;
    let gate_up =
        backend.gated(bf16_tensor(inner, width).into(), bf16_tensor(inner, width).into())?;
    let down = bf16_matrix(&backend, width, inner)?;
    let head = bf16_matrix(&backend, vocab, width)?;
    let norm = backend.vector(&[HostTensor::from_f32("w", vec![width], &values(width))])?;
    let rope = backend.rope_table(&[0.01; 32], context)?;
    for rows in [1, 32] {
        let pages = context / PAGE_SIZE;
        let shape = KvShape { layers, pages: rows * pages, heads, dtype: Dtype::F32 };
        let mut kv = backend.kv_cache(shape)?;
        let mut batch = Batch::new(Phase::Decode);
        for row in 0..rows {
            let pages: Vec<PageId> =
                (row * pages..(row + 1) * pages).map(|p| PageId(p as u32)).collect();
            batch.push(context - 1, &[TokenId(row as u32)], &pages);
        }
        let t = |width| backend.tensor(rows, width, Role::Plain);
        let (mut x, mut normed, mut qkv, mut query, mut mixed, mut inside, mut logits) = (
            t(width)?,
            t(width)?,
            t(heads.qkv_width())?,
            t(width)?,
            t(width)?,
            t(inner)?,
            t(vocab)?,
        );
        let phase = Phase::Decode;
        bench.run(&format!("small_model_step_m{rows}"), Floor::Rows(rows), || {
            let (b, eps) = (&backend, 1e-5);
            b.embed(&batch, &head, Norm { weight: &norm, eps, out: &mut normed }, &mut x)?;
            for layer in 0..layers {
                b.gemm(phase, &normed, &qkv_weight, Epilogue::Store, &mut qkv)?;
                b.rope_append(&batch, layer, &qkv, None, &rope, &mut query, &mut kv)?;
                b.attention(&batch, layer, None, &query, &kv, &mut mixed)?;
                let next = Norm { weight: &norm, eps, out: &mut normed };
                b.gemm(phase, &mixed, &out_weight, Epilogue::Residual(next), &mut x)?;
                b.gemm(phase, &normed, &gate_up, Epilogue::SwiGlu, &mut inside)?;
                let next = Norm { weight: &norm, eps, out: &mut normed };
                b.gemm(phase, &inside, &down, Epilogue::Residual(next), &mut x)?;
            }
            b.gemm(phase, &normed, &head, Epilogue::Store, &mut logits)
        });
    }
    Ok(())
}
