//! The gated activation of single kernels, against f64.

use super::traffic::Budget;
use super::{Rig, rigs, samples};
use half::bf16;
use ridgepoint::backend::cuda::ops::activation::{SiluMul, silu_mul};

fn run(rig: &Rig, gate_up: &[bf16], rows: usize) -> Vec<bf16> {
    let n = gate_up.len() / 2;
    let (source, out) = (rig.upload(gate_up), rig.room::<bf16>(n));
    let op = SiluMul {
        gate_up: source.ptr(),
        out: out.ptr(),
        rows: rows as u32,
        intermediate: (n / rows) as u32,
    };
    silu_mul(&rig.kernels, &op).unwrap();
    out.read(n).unwrap()
}

#[test]
fn every_element_is_within_a_rounding_and_the_same_in_any_row() {
    for rig in rigs() {
        for (rows, n) in [(1, 8), (3, 1040), (2, 40), (17, 64)] {
            // Gates up to 32 in size.
            let mut both = samples(rows * 2 * n, 5);
            for gate in both.chunks_mut(2 * n).flat_map(|row| &mut row[..n]) {
                *gate = bf16::from_f32(gate.to_f32() * 16.0);
            }
            let mut first = None;
            for seed in rig.seeds(4) {
                rig.set_seed(seed);
                let got = run(&rig, &both, rows);
                assert_eq!(first.get_or_insert(got.clone()), &got, "seed {seed}");
            }
            let got = first.unwrap();
            for (pair, got) in both.chunks(2 * n).zip(got.chunks(n)) {
                for i in 0..n {
                    let (gate, up) = (pair[i].to_f64(), pair[n + i].to_f64());
                    let want = gate / (1.0 + (-gate).exp()) * up;
                    let error = (got[i].to_f64() - want).abs();
                    let bound = want.abs() * (1.0 / 256.0 + 1e-5);
                    assert!(error <= bound, "silu({gate}) * {up}: {}, not {want}", got[i]);
                }
            }
            assert_eq!(run(&rig, &both[2 * n * (rows - 1)..], 1), got[n * (rows - 1)..]);
        }
    }
}

#[test]
fn the_ends_of_the_range_are_numbers() {
    let big = bf16::from_f32(1e38);
    let gates = [big, -big, bf16::ZERO, bf16::NEG_ZERO, bf16::INFINITY, bf16::NAN];
    let gates: Vec<bf16> = gates.into_iter().chain([bf16::ONE; 2]).collect();
    let both = [&gates[..], &[bf16::ONE; 8]].concat();
    for rig in rigs() {
        let got = run(&rig, &both, 1);
        assert_eq!(got[..4], [big, bf16::NEG_ZERO, bf16::ZERO, bf16::NEG_ZERO]);
        assert_eq!(got[4], bf16::INFINITY);
        assert!(got[5].is_nan());
    }
}

#[test]
fn traffic_is_what_the_head_says() {
    for rig in rigs() {
        let (rows, n) = (4, 8192);
        let both = samples(rows * 2 * n, 5);
        rig.counters();
        run(&rig, &both, rows);
        let bytes = (rows * n * 6) as u64;
        let budget = Budget { requested: bytes, sectors: bytes, compulsory: bytes };
        budget.check(&rig, "silu_mul");
    }
}
