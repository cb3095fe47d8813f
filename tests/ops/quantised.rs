//! Products with quantised weights: near their reference in f64, and with the bits of the product
//! with a twin of f32, whose order of sums the tests of the plain product hold.

use super::{Rng, assert_close, bits, on_all, poisoned, stored, tensor};
use proptest::prelude::*;
use ridgepoint::backend::cpu::{CpuBackend, Matrix};
use ridgepoint::backend::{Backend, Batch, Epilogue, Norm, Phase, Role};
use ridgepoint::request::TokenId;
use ridgepoint::tensor::int4::{Int4Matrix, Int4Shape, Int4Tensor};
use ridgepoint::tensor::{Dtype, HostMatrix, HostTensor, Int8Tensor};

/// A format of 4 bits or, without a group, of 8.
#[derive(Debug, Clone, Copy)]
struct Format {
    group: Option<usize>,
    zero_points: bool,
    ordered: bool,
}

const INT8: Format = Format { group: None, zero_points: false, ordered: false };

/// What rows of `k` columns can be stored as.
fn formats(k: usize) -> Vec<Format> {
    let mut formats = vec![INT8];
    for group in [64, 128, k] {
        for (zero_points, ordered) in [(false, false), (true, false), (false, true), (true, true)] {
            if k.is_multiple_of(group) {
                formats.push(Format { group: Some(group), zero_points, ordered });
            }
        }
    }
    formats
}

/// A matrix `[n, k]`: what a backend is given, and what it means.
struct Quantised {
    host: HostMatrix,
    /// The columns' places in x.
    order: Vec<u32>,
    /// Whole numbers times scales, in f64 without rounding, `[n, k]` in the stored order.
    exact: Vec<f64>,
    /// The same rounded to f32.
    twin: HostTensor,
}

impl Quantised {
    fn new(rng: &mut Rng, format: Format, n: usize, k: usize) -> Quantised {
        let group = format.group.unwrap_or(k);
        let groups = k / group;
        let scales: Vec<f32> = (0..n * groups).map(|_| 0.02 + 0.01 * rng.float()).collect();
        let zeros = format.zero_points.then(|| (0..n * groups).map(|_| rng.below(128) as u8));
        let zeros: Option<Vec<u8>> = zeros.map(Iterator::collect);
        let order: Vec<u32> = if format.ordered {
            rng.pick(k, k).into_iter().map(|column| column as u32).collect()
        } else {
            (0..k as u32).collect()
        };
        let (mut exact, mut twin) = (Vec::new(), Vec::new());
        let mut put = |i: usize, whole: i32| {
            let scale = scales[i / group];
            exact.push(f64::from(scale) * f64::from(whole));
            twin.push(scale * whole as f32);
        };
        let host = if format.group.is_some() {
            let quants: Vec<u8> = (0..n * k).map(|_| rng.below(16) as u8).collect();
            for (i, &q) in quants.iter().enumerate() {
                put(i, i32::from(q) - zeros.as_ref().map_or(8, |z| i32::from(z[i / group])));
            }
            let order = format.ordered.then(|| order.clone());
            let matrix = Int4Matrix { quants, scales, zero_points: zeros, order };
            let shape = Int4Shape { n, k, group, zero_points: format.zero_points };
            HostMatrix::Int4(Int4Tensor { name: "w".into(), shape, matrix })
        } else {
            let values: Vec<i8> = (0..n * k).map(|_| rng.below(255) as i8).collect();
            for (i, &q) in values.iter().enumerate() {
                put(i, i32::from(q));
            }
            HostMatrix::Int8(Int8Tensor { name: "w".into(), n, k, values, scales })
        };
        let twin = HostTensor::from_f32("twin", vec![n, k], &twin);
        Quantised { host, order, exact, twin }
    }

    /// Rows of x with the columns as the weights have them.
    fn gathered(&self, x: &[f32]) -> Vec<f32> {
        let rows = x.chunks_exact(self.order.len());
        rows.flat_map(|x| self.order.iter().map(|&column| x[column as usize])).collect()
    }
}

fn product(backend: &CpuBackend, weight: &Matrix, n: usize, k: usize, x: &[f32]) -> Vec<f32> {
    let mut out = poisoned(backend, x.len() / k, n);
    let x = tensor(backend, k, x);
    backend.gemm(Phase::Decode, &x, weight, Epilogue::Store, &mut out).unwrap();
    backend.download(&out).unwrap()
}

/// Holds the product of one matrix to its reference and its twin.
fn hold(seed: u64, format: Format, m: usize, n: usize, k: usize) {
    let case = format!("{format:?} m {m} n {n} k {k}");
    let mut rng = Rng(seed);
    let matrix = Quantised::new(&mut rng, format, n, k);
    let x = rng.floats(m * k);
    let found = on_all(|backend| {
        let weight = backend.matrix(vec![matrix.host.clone()]).unwrap();
        product(backend, &weight, n, k, &x)
    });
    let gathered = matrix.gathered(&x);
    let backend = CpuBackend::new();
    let twin = backend.matrix(vec![matrix.twin.clone().into()]).unwrap();
    assert_eq!(bits(&found), bits(&product(&backend, &twin, n, k, &gathered)), "{case}: twin");

    let (mut sums, mut sizes) = (Vec::new(), Vec::new());
    for x in gathered.chunks_exact(k) {
        for w in matrix.exact.chunks_exact(k) {
            let terms = x.iter().zip(w).map(|(x, w)| f64::from(*x) * w);
            sums.push(terms.clone().sum());
            sizes.push(terms.map(f64::abs).sum());
        }
    }
    // One rounding of each weight, then those of the plain product.
    let relative = (k as f64 / 16.0 + 12.0) * 2f64.powi(-24);
    assert_close(&found, &sums, &sizes, relative, &case);
}

#[test]
fn products_equal_the_reference_and_their_twins() {
    for (i, k) in [64, 128, 192].into_iter().enumerate() {
        for format in formats(k) {
            for (j, n) in [1, 7, 8, 211].into_iter().enumerate() {
                hold((8 * i + j) as u64, format, 1 + (i + j) % 4, n, k);
            }
            for m in (1..=17).chain([33]) {
                hold(m as u64, format, m, 9, k);
            }
        }
    }
}

/// Widths that end inside a block of sixteen or a chunk, and those that a panel holds in parts.
#[test]
fn odd_and_large_widths_equal_the_reference_and_their_twins() {
    for k in [1, 15, 40, 80, 130, 320, 1_152, 2_176] {
        for format in formats(k) {
            for m in [1, 5, 11] {
                hold(k as u64, format, m, 10, k);
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_many() {
    let (m, n, k) = (140, 90, 1_152);
    for format in formats(k) {
        let mut rng = Rng(17);
        let matrix = Quantised::new(&mut rng, format, n, k);
        let x = rng.floats(m * k);
        let backend = CpuBackend::new();
        let weight = backend.matrix(vec![matrix.host]).unwrap();
        let many = product(&backend, &weight, n, k, &x);
        for row in [0, 1, 77, 127, 128, 131] {
            for count in [1, 2, 5, 9] {
                let few = product(&backend, &weight, n, k, &x[row * k..(row + count) * k]);
                let expected = &many[row * n..(row + count) * n];
                assert_eq!(bits(&few), bits(expected), "{format:?} rows {row} + {count}");
            }
        }
    }
}

/// Large enough for all threads.
#[test]
fn the_phases_have_the_same_bits() {
    let (n, k) = (1_500, 1_024);
    for format in formats(k) {
        let mut rng = Rng(5);
        let matrix = Quantised::new(&mut rng, format, n, k);
        let values = rng.floats(20 * k);
        let backend = CpuBackend::new();
        let weight = backend.matrix(vec![matrix.host]).unwrap();
        let run = |phase, rows: usize| {
            let x = tensor(&backend, k, &values[..rows * k]);
            let mut out = poisoned(&backend, rows, n);
            backend.gemm(phase, &x, &weight, Epilogue::Store, &mut out).unwrap();
            bits(&backend.download(&out).unwrap())
        };
        let all = run(Phase::Prefill, 20);
        assert_eq!(run(Phase::Decode, 20), all, "{format:?}");
        assert_eq!(run(Phase::Decode, 1), all[..n], "{format:?}");
    }
}

/// Stacked parts, each with an order of columns of its own, in one tile and in several.
#[test]
fn stacked_parts_keep_their_orders() {
    let k = 256;
    for format in formats(k) {
        let mut rng = Rng(23);
        let parts = [5, 70, 1].map(|n| Quantised::new(&mut rng, format, n, k));
        for m in [1, 3, 10] {
            let x = rng.floats(m * k);
            let found = on_all(|backend| {
                let host = parts.iter().map(|part| part.host.clone()).collect();
                let weight = backend.matrix(host).unwrap();
                product(backend, &weight, 76, k, &x)
            });
            let backend = CpuBackend::new();
            let each = parts.each_ref().map(|part| {
                let weight = backend.matrix(vec![part.host.clone()]).unwrap();
                (part.twin.shape[0], product(&backend, &weight, part.twin.shape[0], k, &x))
            });
            let row = |i: usize| each.iter().flat_map(move |(n, out)| &out[i * n..(i + 1) * n]);
            let expected: Vec<f32> = (0..m).flat_map(row).copied().collect();
            assert_eq!(bits(&found), bits(&expected), "{format:?} m {m}");
        }
    }
}

#[test]
fn gates_keep_their_orders() {
    let (n, k) = (70, 192);
    for format in formats(k) {
        let mut rng = Rng(29);
        let [gate, up] = [0, 1].map(|_| Quantised::new(&mut rng, format, n, k));
        for m in [1, 3, 10] {
            let x = rng.floats(m * k);
            let found = on_all(|backend| {
                let weight = backend.gated(gate.host.clone(), up.host.clone()).unwrap();
                let x = tensor(backend, k, &x);
                let mut out = poisoned(backend, m, n);
                backend.gemm(Phase::Prefill, &x, &weight, Epilogue::SwiGlu, &mut out).unwrap();
                backend.download(&out).unwrap()
            });
            // silu(gate) * up of products whose bits are held above.
            let backend = CpuBackend::new();
            let [g, u] = [&gate, &up].map(|part| {
                let weight = backend.matrix(vec![part.host.clone()]).unwrap();
                product(&backend, &weight, n, k, &x)
            });
            let pairs = g.iter().zip(&u).map(|(g, u)| (f64::from(*g), f64::from(*u)));
            let expected: Vec<f64> = pairs.map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            let sizes: Vec<f64> = expected.iter().map(|x| x.abs() + 1e-30).collect();
            assert_close(&found, &expected, &sizes, 1e-6, &format!("{format:?} m {m}"));
        }
    }
}

#[test]
fn embeddings_are_the_twins() {
    for k in [15, 80, 130, 192, 256] {
        for format in formats(k) {
            let mut rng = Rng(31);
            let parts = [3, 8].map(|n| Quantised::new(&mut rng, format, n, k));
            let tokens = [10, 0, 3, 2, 3];
            let found = on_all(|backend| {
                let host = parts.iter().map(|part| part.host.clone()).collect();
                let table = backend.matrix(host).unwrap();
                let mut batch = Batch::new(Phase::Prefill);
                batch.tokens = tokens.map(TokenId).to_vec();
                let ones = stored(Dtype::F32, &[k], &vec![1.0; k]).0;
                let weight = backend.vector(&[ones]).unwrap();
                let mut normed = backend.tensor(5, k, Role::Normed).unwrap();
                let mut out = poisoned(backend, 5, k);
                let norm = Norm { weight: &weight, eps: 1e-5, out: &mut normed };
                backend.embed(&batch, &table, norm, &mut out).unwrap();
                backend.download(&out).unwrap()
            });
            let mut expected = vec![f32::NAN; 5 * k];
            for (row, token) in tokens.into_iter().enumerate() {
                let (part, at) = if token < 3 { (0, token) } else { (1, token - 3) };
                let twin = &parts[part].twin.to_f32()[at as usize * k..][..k];
                for (&column, &x) in parts[part].order.iter().zip(twin) {
                    expected[row * k + column as usize] = x;
                }
            }
            assert_eq!(bits(&found), bits(&expected), "{format:?} k {k}");
        }
    }
}

#[test]
fn groups_that_no_product_reads_are_refused_by_name() {
    let narrow = Format { group: Some(32), zero_points: false, ordered: false };
    let matrix = Quantised::new(&mut Rng(1), narrow, 4, 64).host;
    let Err(error) = CpuBackend::new().matrix(vec![matrix]) else { panic!("it was taken") };
    let message = error.to_string();
    assert!(message.contains('w') && message.contains("groups of 32"), "{message}");
}

#[test]
#[should_panic(expected = "column 0 in the order of w")]
fn an_order_with_a_column_twice_is_a_fault() {
    let matrix = Quantised::new(&mut Rng(1), formats(64)[1], 4, 64).host;
    let HostMatrix::Int4(mut tensor) = matrix else { panic!("the format is int4") };
    tensor.matrix.order = Some(vec![0; 64]);
    let _ = CpuBackend::new().matrix(vec![HostMatrix::Int4(tensor)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_product_equals_the_reference_and_its_twin(
        m in 1usize..20,
        n in 1usize..80,
        groups in 1usize..6,
        which in 0usize..13,
        seed in any::<u64>(),
    ) {
        let k = 128 * groups;
        let formats = formats(k);
        hold(seed, formats[which % formats.len()], m, n, k);
    }
}
