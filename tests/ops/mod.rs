//! Every op of a backend against a plain reference in f64, at shapes that hurt; and the promise of
//! equal bits: the same row, whatever is beside it, wherever its pages lie, on any instruction set.

mod attention;
mod gemm;
mod quantised;
mod rows;

use ridgepoint::backend::cpu::{CpuBackend, InstructionSet, Tensor};
use ridgepoint::backend::{Backend, Batch, Norm, PAGE_SIZE, PageId, Phase, Role};
use ridgepoint::request::TokenId;
use ridgepoint::tensor::{Dtype, HostTensor, SharedBytes};
use std::sync::Arc;

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::Bf16];

/// One backend for each instruction set of this processor, the fastest last.
fn backends() -> Vec<CpuBackend> {
    InstructionSet::available().into_iter().map(CpuBackend::with).collect()
}

/// A generator of test data (Vigna 2015, splitmix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Evenly from -1 to 1.
    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    /// `n` different numbers below `of`, in no order.
    fn pick(&mut self, n: usize, of: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..of).collect();
        for i in 0..n {
            let j = i + self.below(of - i);
            all.swap(i, j);
        }
        all.truncate(n);
        all
    }
}

/// `values` as a stored tensor that begins at an odd address, and what it holds after rounding.
fn stored(dtype: Dtype, shape: &[usize], values: &[f32]) -> (HostTensor, Vec<f32>) {
    let mut bytes = vec![0xa5];
    for &x in values {
        match dtype {
            Dtype::F32 => bytes.extend(x.to_le_bytes()),
            Dtype::F16 => bytes.extend(half::f16::from_f32(x).to_le_bytes()),
            Dtype::Bf16 => bytes.extend(half::bf16::from_f32(x).to_le_bytes()),
        }
    }
    if (bytes.as_ptr() as usize).is_multiple_of(2) {
        bytes.push(0);
    } else {
        bytes.insert(0, 0);
    }
    let start = if bytes.as_ptr().addr().is_multiple_of(2) { 1 } else { 2 };
    let size = values.len() * dtype.size();
    let shared = SharedBytes::new(Arc::new(bytes), start..start + size);
    let tensor = HostTensor::new("w", dtype, shape.to_vec(), shared);
    let rounded = tensor.to_f32();
    (tensor, rounded)
}

/// A tensor of these rows.
fn tensor(backend: &CpuBackend, width: usize, values: &[f32]) -> Tensor {
    let mut out = backend.tensor(values.len() / width, width, Role::Plain).unwrap();
    backend.upload(values, &mut out).unwrap();
    out
}

/// A tensor full of NaN, for an op to overwrite.
fn poisoned(backend: &CpuBackend, rows: usize, width: usize) -> Tensor {
    tensor(backend, width, &vec![f32::NAN; rows * width])
}

/// Somewhere to put the norm of rows of `width`, with a weight of ones.
struct NormOut {
    weight: <CpuBackend as Backend>::Vector,
    out: Tensor,
}

impl NormOut {
    fn new(backend: &CpuBackend, rows: usize, width: usize) -> NormOut {
        let ones = HostTensor::from_f32("ones", vec![width], &vec![1.0; width]);
        NormOut {
            weight: backend.vector(&[ones]).unwrap(),
            out: backend.tensor(rows, width, Role::Normed).unwrap(),
        }
    }

    fn norm(&mut self) -> Norm<'_, CpuBackend> {
        Norm { weight: &self.weight, eps: 1e-5, out: &mut self.out }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Runs on every instruction set, twice, and gives the one result they must all have.
#[track_caller]
fn on_all(run: impl Fn(&CpuBackend) -> Vec<f32>) -> Vec<f32> {
    let backends = backends();
    let first = run(&backends[0]);
    for backend in backends.iter().chain(backends.last()) {
        let again = run(backend);
        let same = bits(&first) == bits(&again);
        assert!(same, "{} has other bits than {}", backend.describe(), backends[0].describe());
    }
    first
}

/// Compares with a reference; `scale[i]` is the size of the terms that were added up for i.
#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], scale: &[f64], relative: f64, case: &str) {
    assert_eq!(found.len(), expected.len(), "{case}");
    for i in 0..found.len() {
        let error = (f64::from(found[i]) - expected[i]).abs();
        let bound = relative * scale[i] + 1e-37;
        assert!(error <= bound, "{case}: [{i}] is {}, expected {}", found[i], expected[i]);
    }
}

/// A sequence in a batch: its first position, its rows, its pages.
struct Sequence {
    start: usize,
    rows: usize,
    pages: Vec<PageId>,
}

impl Sequence {
    fn end(&self) -> usize {
        self.start + self.rows
    }
}

/// A sequence on pages taken from `free`.
fn sequence(start: usize, rows: usize, free: &mut Vec<usize>) -> Sequence {
    let pages = (start + rows).div_ceil(PAGE_SIZE);
    let pages = (0..pages).map(|_| PageId(free.pop().unwrap() as u32)).collect();
    Sequence { start, rows, pages }
}

fn batch(phase: Phase, sequences: &[Sequence]) -> Batch {
    let mut batch = Batch::new(phase);
    for s in sequences {
        batch.push(s.start, &vec![TokenId(0); s.rows], &s.pages);
    }
    batch
}
