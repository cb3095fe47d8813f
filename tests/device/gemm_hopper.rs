//! `gemm_prefill_sm90`: what Hopper's kernel has beyond the portable one, whose tests it shares.

use super::gemm::{Case, Format, INT4, KINDS, Kind, row};
use super::{Rig, rigs};
use ridgepoint::backend::Phase;
use ridgepoint::backend::cuda::kernels::KernelSet;
use ridgepoint::backend::cuda::ops::gemm::{Variant, WeightKind, prefill_tile};

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
fn hoppers() -> impl Iterator<Item = Rig> {
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
