//! RMSNorm of single kernels: against f64, and the same bits wherever a row stands.

use super::traffic::Budget;
use super::{Rig, rigs, samples};
use half::bf16;
use ridgepoint::backend::cuda::ops::norm::{RmsNorm, rmsnorm};

const EPSILON: f32 = 1e-5;

/// Rows that their numbers decide.
fn rows_of(rows: &[u64], hidden: usize, salt: u64) -> Vec<bf16> {
    rows.iter().flat_map(|row| samples(hidden, salt + row)).collect()
}

/// What the residual stream becomes, and the output.
fn run(rig: &Rig, rows: &[u64], hidden: usize, residual: bool) -> (Vec<bf16>, Vec<bf16>) {
    let input = rig.upload(&rows_of(rows, hidden, 100));
    let stream = rig.upload(&rows_of(rows, hidden, 200));
    let gamma = rig.upload(&samples(hidden, 7));
    let n = rows.len() * hidden;
    let out = rig.room::<bf16>(n);
    let op = RmsNorm {
        input: input.ptr(),
        residual: residual.then(|| stream.ptr()),
        gamma: gamma.ptr(),
        out: out.ptr(),
        rows: rows.len() as u32,
        hidden: hidden as u32,
        epsilon: EPSILON,
    };
    rmsnorm(&rig.kernels, &op).unwrap();
    (stream.read(n).unwrap(), out.read(n).unwrap())
}

fn near(got: bf16, want: f64, what: &str) {
    // Half a unit of the last place of bf16, and the errors of f32 before it.
    let error = (got.to_f64() - want).abs();
    assert!(error <= want.abs() * (1.0 / 256.0 + 1e-5) + 1e-30, "{what}: {got}, not {want}");
}

fn check(rig: &Rig, rows: &[u64], hidden: usize, residual: bool) -> (Vec<bf16>, Vec<bf16>) {
    let found = run(rig, rows, hidden, residual);
    let (input, old) = (rows_of(rows, hidden, 100), rows_of(rows, hidden, 200));
    let gamma = samples(hidden, 7);
    for (r, row) in found.1.chunks(hidden).enumerate() {
        let at = r * hidden..(r + 1) * hidden;
        for i in at.clone().filter(|_| residual) {
            let sum = bf16::from_f32(input[i].to_f32() + old[i].to_f32());
            assert_eq!(found.0[i], sum, "the residual stream");
        }
        let h = if residual { &found.0[at] } else { &input[at] };
        let mean = h.iter().map(|x| x.to_f64().powi(2)).sum::<f64>() / hidden as f64;
        let scale = 1.0 / (mean + f64::from(EPSILON)).sqrt();
        for i in 0..hidden {
            near(row[i], h[i].to_f64() * scale * gamma[i].to_f64(), "norm");
        }
    }
    if !residual {
        assert_eq!(found.0, old, "a stream that is not part of it");
    }
    found
}

#[test]
fn a_row_has_the_same_bits_wherever_it_stands() {
    let mut passes = Vec::new();
    for rig in rigs() {
        let mut all = Vec::new();
        for hidden in [8, 64, 80, 264, 2056, 4096] {
            for residual in [true, false] {
                let (sums, rows) = check(&rig, &[3, 4, 5], hidden, residual);
                for seed in rig.seeds(4) {
                    rig.set_seed(seed);
                    let alone = run(&rig, &[5], hidden, residual);
                    assert_eq!(alone.0, sums[2 * hidden..], "{hidden}, seed {seed}");
                    assert_eq!(alone.1, rows[2 * hidden..], "{hidden}, seed {seed}");
                }
                all.push((sums, rows));
            }
        }
        passes.push(all);
    }
    assert!(passes.windows(2).all(|pair| pair[0] == pair[1]), "the two passes differ");
}

#[test]
fn the_input_may_be_the_output() {
    for rig in rigs() {
        let (rows, hidden) = ([1, 2], 136);
        let apart = run(&rig, &rows, hidden, false).1;
        let both = rig.upload(&rows_of(&rows, hidden, 100));
        let gamma = rig.upload(&samples(hidden, 7));
        let op = RmsNorm {
            input: both.ptr(),
            residual: None,
            gamma: gamma.ptr(),
            out: both.ptr(),
            rows: 2,
            hidden: hidden as u32,
            epsilon: EPSILON,
        };
        rmsnorm(&rig.kernels, &op).unwrap();
        assert_eq!(both.read::<bf16>(2 * hidden).unwrap(), apart);
    }
}

#[test]
fn traffic_is_what_the_head_says() {
    for rig in rigs() {
        let (rows, hidden) = ([1, 2, 3, 4], 4096);
        for (residual, moved) in [(true, 8), (false, 4)] {
            rig.counters();
            run(&rig, &rows, hidden, residual);
            // And gamma for every row.
            let bytes = (rows.len() * hidden * (moved + 2)) as u64;
            let compulsory = ((rows.len() * moved + 2) * hidden) as u64;
            Budget { requested: bytes, sectors: bytes, compulsory }.check(&rig, "rmsnorm");
        }
    }
}
