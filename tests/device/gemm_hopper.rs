//! `gemm_prefill_sm90`: what Hopper's kernel has beyond the portable one, whose tests it shares.

use super::gemm::{Case, Format, INT4, KINDS, Kind, row};
use super::{Rig, rigs};
use ptxsim::Counters;
use ridgepoint::backend::Phase;
use ridgepoint::backend::cuda::kernels::KernelSet;
use ridgepoint::backend::cuda::ops::gemm::{WeightKind, prefill_tile};

const PLAIN: Case = Case {
    phase: Phase::Prefill,
    format: Format::Bf16,
    n: 144,
    k: 208,
    norm: true,
    bias: true,
    kind: Kind::Bf16,
};

/// The devices that run it.
pub fn hoppers() -> impl Iterator<Item = Rig> {
    rigs().into_iter().filter(|rig| rig.kernels.set() == KernelSet::Hopper)
}

#[test]
fn tiles_of_256_are_right() {
    for rig in hoppers() {
        for (i, count) in [1, 127, 128, 129, 255, 257].into_iter().enumerate() {
            let case = Case { kind: KINDS[i % 4], bias: i % 3 == 0, norm: i % 2 == 0, ..PLAIN };
            let rows: Vec<usize> = (0..count).collect();
            case.check(&rows, &case.run_in_tiles(&rig, &rows, 256));
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_tiles_of_256() {
    for rig in hoppers() {
        for kind in KINDS {
            let case = Case { kind, ..PLAIN };
            let alone = case.run(&rig, &[7]);
            for (count, tile) in [(33, 256), (131, 256), (260, 256)] {
                let at = count * 3 / 4;
                let mut rows: Vec<usize> = (100..100 + count).collect();
                rows[at] = 7;
                let among = case.run_in_tiles(&rig, &rows, tile);
                assert_eq!(row(&among, count, at), alone, "{case:?}: row {at} of {count}, {tile}");
            }
        }
    }
}

/// More tiles than blocks that the device holds at once, so that each goes on to a second one while
/// stages are still full of it.
#[test]
fn blocks_take_tile_after_tile() {
    for rig in hoppers() {
        let rows: Vec<usize> = (0..32 * 35 + 3).collect();
        let bf16 = Case { n: 260, k: 80, kind: Kind::F32, ..PLAIN };
        let int4 = Case { format: INT4[1], k: 128, kind: Kind::Bf16, ..bf16 };
        for case in [bf16, int4] {
            case.check(&rows, &case.run_in_tiles(&rig, &rows, 32));
        }
    }
}

/// Twenty schedules, divided among formats, widths and outputs.
#[test]
fn schedules_change_nothing() {
    let formats = [Format::Bf16].into_iter().chain(INT4);
    for rig in hoppers() {
        for (i, format) in formats.clone().enumerate() {
            // Of an odd number of tiles the last one's neighbour does not exist.
            let (n, k) = ([272, 80, 144, 272, 16][i], [400, 640, 384, 448, 576][i]);
            let case = Case { format, n, k, kind: KINDS[i % 4], bias: i % 2 == 0, ..PLAIN };
            let rows: Vec<usize> = (0..[70, 33, 129, 40, 9][i]).collect();
            let ready = case.ready(&rig, &rows);
            let first = ready.run(0);
            case.check(&rows, &first);
            for seed in rig.seeds(4) {
                let seed = 1 + 4 * i as u64 + seed;
                assert_eq!(ready.run(seed), first, "{case:?}, schedule {seed}");
            }
        }
    }
}

/// Executions by warps of all instructions whose name begins so.
pub fn executions(counters: &[Counters], opcode: &str) -> u64 {
    let all = counters.iter().flat_map(|c| &c.instructions);
    all.filter(|i| i.site.opcode.starts_with(opcode)).map(|i| i.executions).sum()
}

/// A warpgroup asks for the order of its registers once in 64 columns, and lets four products go
/// together.
#[test]
fn a_fence_and_a_commit_for_each_64_columns() {
    for rig in hoppers() {
        for format in [Format::Bf16].into_iter().chain(INT4) {
            let case = Case { format, n: 256, k: 448 / 64 * 128, ..PLAIN };
            rig.counters();
            case.run_in_tiles(&rig, &[0, 1, 2], 32);
            let Some(counters) = rig.counters() else { continue };
            // Four warps of two warpgroups of two blocks.
            let warps = 4 * 2 * 2;
            let steps = case.k as u64 / 64;
            let what = format!("{case:?}");
            for (opcode, times) in
                [("wgmma.fence", 1), ("wgmma.commit_group", 1), ("wgmma.mma_async", 4)]
            {
                let found = executions(&counters, opcode);
                assert_eq!(found, warps * steps * times, "{opcode}, {what}");
            }
            let loads = executions(&counters, "cp.async.bulk.tensor.2d");
            assert!(loads > 0 && executions(&counters, "ldmatrix") == 0, "{what}");
        }
    }
}

/// The width with the least time by the model at the head of the kernel.
#[test]
fn tiles_are_as_wide_as_the_product_can_fill() {
    let tile = |kind, n, rows| prefill_tile(KernelSet::Hopper, kind, n, rows);
    let int4 = WeightKind::Int4 { group: 128, zero_points: false };
    for (rows, bf16, quantised) in [(8192, 256, 128), (1024, 256, 128), (128, 32, 32)] {
        assert_eq!(tile(WeightKind::Bf16, 4096, rows), bf16, "{rows} rows");
        assert_eq!(tile(int4, 4096, rows), quantised, "{rows} rows");
    }
    assert_eq!(tile(WeightKind::Bf16, 28672, 512), 256);
    assert_eq!(tile(int4, 28672, 512), 128);
    assert_eq!(tile(WeightKind::Bf16, 64, 1), 32);
}
