//! The product and its epilogues.

use super::{DTYPES, NormOut, Rng, assert_close, backends, bits, on_all, poisoned, stored, tensor};
use proptest::prelude::*;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::backend::{Backend, Epilogue, Phase};
use ridgepoint::tensor::{Dtype, HostMatrix, HostTensor};

/// What a case multiplies: x `[m, k]`, W `[n, k]` in two parts, and an operand of the epilogue.
struct Case {
    m: usize,
    n: usize,
    k: usize,
    x: Vec<f32>,
    parts: Vec<HostTensor>,
    /// The same rows as gate and up.
    halves: [HostTensor; 2],
    w: Vec<f32>,
    bias: Vec<f32>,
    old: Vec<f32>,
}

impl Case {
    fn new(seed: u64, dtype: Dtype, m: usize, n: usize, k: usize) -> Case {
        let mut rng = Rng(seed);
        let (x, w) = (rng.floats(m * k), rng.floats(n * k));
        let cut = n / 3;
        let (first, mut rounded) = stored(dtype, &[cut, k], &w[..cut * k]);
        let (second, rest) = stored(dtype, &[n - cut, k], &w[cut * k..]);
        rounded.extend(rest);
        let half = n / 2 * k;
        let halves = [&w[..half], &w[half..]].map(|w| stored(dtype, &[n / 2, k], w).0);
        let (bias, old) = (rng.floats(n), rng.floats(m * n));
        Case { m, n, k, x, parts: vec![first, second], halves, w: rounded, bias, old }
    }

    fn run(&self, backend: &CpuBackend, kind: &str) -> Vec<f32> {
        let x = tensor(backend, self.k, &self.x);
        let weight = match kind {
            "swiglu" => {
                let [gate, up] = self.halves.clone();
                backend.gated(gate.into(), up.into()).unwrap()
            }
            _ => backend.matrix(HostMatrix::plain(self.parts.clone())).unwrap(),
        };
        let mut normed = NormOut::new(backend, self.m, width_of(self, kind));
        let bias = HostTensor::from_f32("bias", vec![self.n], &self.bias);
        let bias = backend.vector(&[bias]).unwrap();
        let mut out = poisoned(backend, self.m, width_of(self, kind));
        let epilogue = match kind {
            "store" => Epilogue::Store,
            "bias" => Epilogue::Bias(&bias),
            "residual" => {
                backend.upload(&self.old, &mut out).unwrap();
                Epilogue::Residual(normed.norm())
            }
            _ => Epilogue::SwiGlu,
        };
        backend.gemm(Phase::Prefill, &x, &weight, epilogue, &mut out).unwrap();
        backend.download(&out).unwrap()
    }

    /// The product in f64, and the sum of the absolute values of its terms.
    fn product(&self) -> (Vec<f64>, Vec<f64>) {
        let (mut sums, mut sizes) = (Vec::new(), Vec::new());
        for m in 0..self.m {
            for n in 0..self.n {
                let terms = (0..self.k)
                    .map(|k| f64::from(self.x[m * self.k + k]) * f64::from(self.w[n * self.k + k]));
                sums.push(terms.clone().sum());
                sizes.push(terms.map(f64::abs).sum());
            }
        }
        (sums, sizes)
    }

    fn check(&self, kind: &str, found: &[f32]) {
        let (sums, sizes) = self.product();
        let column = |i: usize| i % self.n;
        let (expected, sizes): (Vec<f64>, Vec<f64>) = match kind {
            "store" => (sums, sizes),
            "swiglu" => {
                let half = self.n / 2;
                let at =
                    |i: usize| (i / half * self.n + i % half, i / half * self.n + half + i % half);
                (0..self.m * half)
                    .map(|i| {
                        let (gate, up) = (sums[at(i).0], sums[at(i).1]);
                        let silu = gate / (1.0 + (-gate).exp());
                        let size = 2.0 * sizes[at(i).0] * up.abs() + silu.abs() * sizes[at(i).1];
                        (silu * up, size)
                    })
                    .unzip()
            }
            _ => {
                let added = |i: usize| match kind {
                    "bias" => f64::from(self.bias[column(i)]),
                    _ => f64::from(self.old[i]),
                };
                let sums = sums.iter().enumerate().map(|(i, x)| x + added(i)).collect();
                let sizes = sizes.iter().enumerate().map(|(i, x)| x + added(i).abs()).collect();
                (sums, sizes)
            }
        };
        // A sum of K terms, sixteen at a time, then four additions and the epilogue.
        let relative = (self.k as f64 / 16.0 + 12.0) * 2f64.powi(-24);
        let case = format!("{kind} m {} n {} k {}", self.m, self.n, self.k);
        assert_close(found, &expected, &sizes, relative, &case);
    }
}

fn width_of(case: &Case, kind: &str) -> usize {
    if kind == "swiglu" { case.n / 2 } else { case.n }
}

const KINDS: [&str; 4] = ["store", "bias", "residual", "swiglu"];

#[test]
fn equals_the_reference_at_every_number_of_rows() {
    let rows = (1..=17).chain(31..=33).chain(63..=65).chain(127..=129);
    for (i, m) in rows.enumerate() {
        let case = Case::new(i as u64, DTYPES[i % 3], m, 26, 100);
        for kind in KINDS {
            case.check(kind, &on_all(|backend| case.run(backend, kind)));
        }
    }
}

#[test]
fn equals_the_reference_at_odd_widths() {
    for dtype in DTYPES {
        for (k, n) in
            [(1, 2), (7, 10), (15, 4), (16, 6), (17, 134), (129, 66), (1024, 6), (1029, 10)]
        {
            for m in [1, 3, 11] {
                let case = Case::new(k as u64, dtype, m, n, k);
                for kind in KINDS {
                    case.check(kind, &on_all(|backend| case.run(backend, kind)));
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_many() {
    for dtype in DTYPES {
        let (m, n, k) = (150, 90, 1100);
        let case = Case::new(7, dtype, m, n, k);
        let backend = CpuBackend::new();
        let many = case.run(&backend, "swiglu");
        for row in [0, 1, 77, 127, 128, 149] {
            for count in [1, 2, 5, 9] {
                let count = count.min(m - row);
                let x = case.x[row * k..(row + count) * k].to_vec();
                let (parts, halves) = (case.parts.clone(), case.halves.clone());
                let (w, bias, old) = (vec![], vec![0.0; n], vec![]);
                let few = Case { m: count, n, k, x, parts, halves, w, bias, old };
                let found = few.run(&backend, "swiglu");
                let expected = &many[row * n / 2..(row + count) * n / 2];
                assert_eq!(bits(&found), bits(expected), "{dtype} rows {row} + {count}");
            }
        }
    }
}

#[test]
fn the_phases_and_large_parallel_products_have_the_same_bits() {
    let (n, k) = (1500, 1024);
    let case = Case::new(3, Dtype::Bf16, 20, n, k);
    for backend in backends().into_iter().skip(1) {
        let weight = backend.matrix(HostMatrix::plain(case.parts.clone())).unwrap();
        let mut all = Vec::new();
        for phase in [Phase::Prefill, Phase::Decode] {
            let x = tensor(&backend, k, &case.x);
            let mut out = poisoned(&backend, 20, n);
            backend.gemm(phase, &x, &weight, Epilogue::Store, &mut out).unwrap();
            all.push(backend.download(&out).unwrap());
        }
        let x = tensor(&backend, k, &case.x[..k]);
        let mut out = poisoned(&backend, 1, n);
        backend.gemm(Phase::Decode, &x, &weight, Epilogue::Store, &mut out).unwrap();
        assert_eq!(bits(&all[0]), bits(&all[1]));
        assert_eq!(bits(&backend.download(&out).unwrap()), bits(&all[0][..n]));
        case.check("store", &all[0]);
    }
}

/// silu of numbers of all sizes: x is (v, 1), gate (1, 0) and up (0, 1), so out is silu(v).
#[test]
fn silu_is_within_a_few_ulp() {
    let mut inputs: Vec<f32> = (-1_800..1_800).map(|i| i as f32 * 0.05 + 1e-3).collect();
    inputs.extend([0.0, 1e-30, -1e-30, 1e20, -1e20, f32::MIN_POSITIVE]);
    let found = on_all(|backend| {
        let x: Vec<f32> = inputs.iter().flat_map(|&v| [v, 1.0]).collect();
        let x = tensor(backend, 2, &x);
        let row = |values: &[f32]| HostTensor::from_f32("w", vec![1, 2], values);
        let weight = backend.gated(row(&[1.0, 0.0]).into(), row(&[0.0, 1.0]).into()).unwrap();
        let mut out = poisoned(backend, inputs.len(), 1);
        backend.gemm(Phase::Prefill, &x, &weight, Epilogue::SwiGlu, &mut out).unwrap();
        backend.download(&out).unwrap()
    });
    let exact = |v: &f32| f64::from(*v) / (1.0 + (-f64::from(*v)).exp());
    let expected: Vec<f64> = inputs.iter().map(exact).collect();
    // Below -88.7 e^-x overflows and the result is -0 instead of some 1e-37.
    let sizes: Vec<f64> = expected.iter().map(|x| x.abs() + 2e-30).collect();
    assert_close(&found, &expected, &sizes, 4.0 * 2f64.powi(-24), "silu");
}

#[test]
fn the_norm_after_a_residual_is_that_of_the_new_rows() {
    let case = Case::new(11, Dtype::Bf16, 5, 34, 40);
    let norms = |backend: &CpuBackend, fused: bool| {
        let x = tensor(backend, case.k, &case.x);
        let weight = backend.matrix(HostMatrix::plain(case.parts.clone())).unwrap();
        let mut out = tensor(backend, case.n, &case.old);
        let mut normed = NormOut::new(backend, case.m, case.n);
        let epilogue = Epilogue::Residual(normed.norm());
        backend.gemm(Phase::Decode, &x, &weight, epilogue, &mut out).unwrap();
        if !fused {
            normed = NormOut::new(backend, case.m, case.n);
            backend.rmsnorm(&out, normed.norm());
        }
        backend.download(&normed.out).unwrap()
    };
    let (fused, apart) = (on_all(|b| norms(b, true)), on_all(|b| norms(b, false)));
    assert_eq!(bits(&fused), bits(&apart));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn equals_the_reference_at_random_shapes(
        seed: u64, m in 1usize..40, n in 1usize..40, k in 1usize..200, kind in 0usize..4,
    ) {
        let case = Case::new(seed, DTYPES[(seed % 3) as usize], m, 2 * n, k);
        let backend = CpuBackend::new();
        case.check(KINDS[kind], &case.run(&backend, KINDS[kind]));
    }
}

#[test]
#[should_panic(expected = "x [1, 3], W [2, 4]")]
fn panics_where_k_disagrees() {
    let backend = CpuBackend::new();
    let weight = backend.matrix(vec![stored(Dtype::F32, &[2, 4], &[0.0; 8]).0.into()]).unwrap();
    let x = tensor(&backend, 3, &[0.0; 3]);
    let mut out = poisoned(&backend, 1, 2);
    let _ = backend.gemm(Phase::Decode, &x, &weight, Epilogue::Store, &mut out);
}

#[test]
#[should_panic(expected = "3 rows in a tensor of at most 2")]
fn panics_where_the_rows_do_not_fit() {
    let backend = CpuBackend::new();
    let weight = backend.matrix(vec![stored(Dtype::F32, &[2, 4], &[0.0; 8]).0.into()]).unwrap();
    let x = tensor(&backend, 4, &[0.0; 12]);
    let mut out = poisoned(&backend, 2, 2);
    let _ = backend.gemm(Phase::Decode, &x, &weight, Epilogue::Store, &mut out);
}

#[test]
#[should_panic(expected = "cannot be stacked")]
fn panics_where_parts_disagree() {
    let backend = CpuBackend::new();
    let parts = [Dtype::F32, Dtype::F16].map(|dtype| stored(dtype, &[1, 4], &[0.0; 4]).0);
    let _ = backend.matrix(HostMatrix::plain(parts.to_vec()));
}
