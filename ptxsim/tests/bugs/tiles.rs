//! Tiled kernels with asynchronous copies, matrix loads, products and shuffles.

use super::stage::{Stage, bf16, sample};
use ptxsim::{FaultKind, Report};

/// Schedules that a correct kernel is run under, and that a bug is looked for under.
const RIGHT: u64 = 50;
const WRONG: u64 = 20;

struct Gemm {
    stage: Stage,
    c: u64,
    expected: Vec<f64>,
}

const M: usize = 128;
const N: usize = 128;
const K: usize = 96;

fn gemm(defines: &[&str]) -> Gemm {
    let mut stage = Stage::new("gemm.cu", defines);
    let a: Vec<f32> = (0..M * K).map(sample).collect();
    let b: Vec<f32> = (0..N * K).map(|i| sample(i + 77_777)).collect();
    let bits = |x: f32| bf16(x).to_le_bytes();
    stage.input(&a, bits);
    stage.input(&b, bits);
    let c = stage.output(M * N * 4);
    stage.scalar((N as i32).to_le_bytes());
    stage.scalar((K as i32).to_le_bytes());
    let mut expected = vec![0.0; M * N];
    for (i, e) in expected.iter_mut().enumerate() {
        let (row, column) = (i / N, i % N);
        *e = (0..K).map(|k| a[row * K + k] as f64 * b[column * K + k] as f64).sum();
    }
    Gemm { stage, c, expected }
}

impl Gemm {
    /// Runs under a seed; the report and whether the product is right.
    fn run(&mut self, seed: u64) -> (Report, bool) {
        let mut launch = self.stage.launch("gemm", [(N / 128) as u32, (M / 128) as u32, 1], 256);
        launch.shared_bytes = 2 * 2 * 128 * 64;
        launch.seed = seed;
        let report = self.stage.run(&launch);
        let got = self.stage.floats(self.c, M * N);
        let near = |(x, e): (&f32, &f64)| (*x as f64 - e).abs() <= 1e-4;
        (report, got.iter().zip(&self.expected).all(near))
    }
}

#[test]
fn a_correct_gemm_is_clean_under_every_schedule() {
    let mut gemm = gemm(&[]);
    let mut counters = None;
    for seed in 0..RIGHT {
        let (report, right) = gemm.run(seed);
        assert!(report.is_clean() && right, "seed {seed}: right {right}\n{report}");
        assert!(report.counters.bank_conflicts().is_empty(), "{report}");
        // Nothing in this kernel waits by spinning, so the schedule changes no count.
        assert_eq!(counters.get_or_insert(report.counters.clone()), &report.counters);
    }
    let counters = counters.unwrap();
    assert_eq!(counters.matrix_macs, (M * N * K) as u64);
    assert_eq!(counters.async_copies.bytes, ((M + N) * K * 2) as u64);
    assert_eq!(counters.async_copies.sectors, counters.async_copies.least_sectors);
    assert_eq!(counters.global_writes.bytes, (M * N * 4) as u64);
    let sectors = [counters.unique_read_sectors, counters.unique_written_sectors];
    assert_eq!(sectors, [((M + N) * K * 2 / 32) as u64, (M * N * 4 / 32) as u64]);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let mut gemm = gemm(&["BUG_NO_BARRIER_BEFORE"]);
    for seed in [3, 4] {
        let [one, two] = [0, 1].map(|_| gemm.run(seed).0);
        assert_eq!(one.to_string(), two.to_string());
        assert_eq!(one.counters, two.counters);
    }
}

/// How many of the schedules found a fault of a kind at a marked line.
fn found(name: &str, kind: FaultKind) -> u64 {
    let mut gemm = gemm(&[name]);
    let hits = (0..WRONG).filter(|&seed| {
        let report = gemm.run(seed).0;
        gemm.stage.blamed(&report, kind, name)
    });
    hits.count() as u64
}

#[test]
fn a_missing_wait_is_found() {
    assert_eq!(found("BUG_NO_WAIT", FaultKind::InFlight), WRONG);
}

#[test]
fn a_missing_barrier_before_reading_is_found() {
    let name = "BUG_NO_BARRIER_BEFORE";
    let mut gemm = gemm(&[name]);
    for seed in 0..WRONG {
        let report = gemm.run(seed).0;
        let blamed = [FaultKind::InFlight, FaultKind::ReadRace, FaultKind::Uninitialised]
            .iter()
            .any(|&kind| gemm.stage.blamed(&report, kind, name));
        assert!(blamed, "seed {seed}\n{report}");
    }
}

#[test]
fn a_missing_barrier_after_reading_is_found() {
    let name = "BUG_NO_BARRIER_AFTER";
    let mut gemm = gemm(&[name]);
    for seed in 0..WRONG {
        let report = gemm.run(seed).0;
        // The copy is inlined: the call in the loop is blamed, or the copy that it overtakes is
        // found in flight by a reader that is still at work.
        let reader = report.has(FaultKind::InFlight);
        let writer = report.has(FaultKind::OverwriteRace);
        assert!(reader || writer, "seed {seed}\n{report}");
    }
    assert!(found(name, FaultKind::OverwriteRace) > WRONG / 2);
}

#[test]
fn a_store_out_of_bounds_is_found() {
    assert_eq!(found("BUG_OUT_OF_BOUNDS", FaultKind::OutOfBounds), WRONG);
}

#[test]
fn wrong_operands_and_wrong_swizzles_give_wrong_products() {
    for name in ["BUG_SWAPPED_OPERANDS", "BUG_SWIZZLE"] {
        let mut gemm = gemm(&[name]);
        for seed in 0..WRONG {
            assert!(!gemm.run(seed).1, "{name}");
        }
    }
}

#[test]
fn attention_is_right_and_clean() {
    let (keys, queries, dim) = (128, 64, 128);
    let mut stage = Stage::new("attention.cu", &[]);
    let fill = |n: usize, salt: usize| (0..n * dim).map(|i| sample(i + salt)).collect::<Vec<_>>();
    let (q, k, v) = (fill(queries, 0), fill(keys, 9_999), fill(keys, 55_555));
    let bits = |x: f32| bf16(x).to_le_bytes();
    stage.input(&q, bits);
    stage.input(&k, bits);
    stage.input(&v, bits);
    let out = stage.output(queries * dim * 4);
    let scale = 1.0 / (dim as f32).sqrt() * std::f32::consts::LOG2_E;
    stage.scalar((keys as i32).to_le_bytes());
    stage.scalar(scale.to_le_bytes());
    let mut launch = stage.launch("attention", [1, 1, 1], 128);
    launch.shared_bytes = 5 * 64 * 128 * 2;
    for seed in 0..RIGHT {
        launch.seed = seed;
        let report = stage.run(&launch);
        assert!(report.is_clean(), "seed {seed}\n{report}");
    }
    let got = stage.floats(out, queries * dim);
    for row in 0..queries {
        let score = |key: usize| {
            let products = (0..dim).map(|d| q[row * dim + d] as f64 * k[key * dim + d] as f64);
            products.sum::<f64>() * scale as f64
        };
        let weights: Vec<f64> = (0..keys).map(|key| score(key).exp2()).collect();
        let total: f64 = weights.iter().sum();
        for d in 0..dim {
            let sum: f64 = (0..keys).map(|key| weights[key] * v[key * dim + d] as f64).sum();
            let error = (got[row * dim + d] as f64 - sum / total).abs();
            assert!(error < 4e-3, "row {row} column {d}: off by {error}");
        }
    }
}

fn softmax(defines: &[&str]) -> (Stage, u64) {
    let mut stage = Stage::new("softmax.cu", defines);
    let x: Vec<f32> = (0..4 * 200).map(sample).collect();
    stage.input(&x, f32::to_le_bytes);
    let y = stage.output(4 * 200 * 4);
    stage.scalar(200i32.to_le_bytes());
    (stage, y)
}

#[test]
fn softmax_is_right_and_clean() {
    let (mut stage, y) = softmax(&[]);
    for seed in 0..RIGHT {
        let mut launch = stage.launch("softmax", [4, 1, 1], 128);
        launch.seed = seed;
        let report = stage.run(&launch);
        assert!(report.is_clean(), "seed {seed}\n{report}");
    }
    let got = stage.floats(y, 800);
    for row in 0..4 {
        let weights: Vec<f64> = (0..200).map(|i| (sample(row * 200 + i) as f64).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (i, w) in weights.iter().enumerate() {
            assert!((got[row * 200 + i] as f64 - w / total).abs() < 1e-7);
        }
    }
}

#[test]
fn bugs_in_softmax_are_found() {
    let bugs = [
        ("BUG_NO_BARRIER", FaultKind::ReadRace, WRONG - 2),
        ("BUG_DIVERGENT_SHUFFLE", FaultKind::Divergence, WRONG),
        ("BUG_UNINITIALISED", FaultKind::Uninitialised, WRONG),
    ];
    for (name, kind, least) in bugs {
        let (mut stage, _) = softmax(&[name]);
        let hits = (0..WRONG).filter(|&seed| {
            let mut launch = stage.launch("softmax", [4, 1, 1], 128);
            launch.seed = seed;
            let report = stage.run(&launch);
            let early =
                name == "BUG_NO_BARRIER" && stage.blamed(&report, FaultKind::Uninitialised, name);
            early || stage.blamed(&report, kind, name)
        });
        let hits = hits.count() as u64;
        assert!(hits >= least, "{name}: {hits} of {WRONG} schedules");
    }
}
