//! `gemm_prefill`: products with many rows.

use super::gemm::{Case, Format, INT4, KINDS, Kind, row};
use super::rigs;
use ridgepoint::backend::Phase;

const PLAIN: Case = Case {
    phase: Phase::Prefill,
    format: Format::Bf16,
    n: 144,
    k: 208,
    norm: true,
    bias: true,
    kind: Kind::Bf16,
};
const TILES: [u32; 3] = [32, 64, 128];

#[test]
fn any_number_of_rows_is_right() {
    let counts = [1, 2, 7, 8, 9, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129];
    for rig in rigs() {
        for (i, count) in counts.into_iter().enumerate() {
            let case = Case { kind: KINDS[i % 4], bias: i % 3 == 0, ..PLAIN };
            let rows: Vec<usize> = (0..count).collect();
            for tile in TILES {
                case.check(&rows, &case.run_in_tiles(&rig, &rows, tile));
            }
        }
    }
}

#[test]
fn any_k_and_n_are_right() {
    for rig in rigs() {
        for (i, k) in [16, 32, 64, 80, 96, 112, 128, 144, 272, 400].into_iter().enumerate() {
            let case = Case { n: 80, k, kind: KINDS[i % 4], norm: i % 3 > 0, ..PLAIN };
            case.check(&[0, 1, 2], &case.run(&rig, &[0, 1, 2]));
        }
        for n in [1, 2, 3, 7, 8, 12, 63, 65, 66, 72, 100, 211] {
            for kind in [Kind::Bf16, Kind::F32] {
                let case = Case { n, k: 80, kind, ..PLAIN };
                case.check(&[5, 6], &case.run(&rig, &[5, 6]));
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_wherever_it_stands() {
    for rig in rigs() {
        for kind in KINDS {
            let case = Case { kind, ..PLAIN };
            let alone = case.run(&rig, &[7]);
            for (count, tile) in [(2, 32), (33, 32), (33, 64), (70, 64), (70, 128), (131, 128)] {
                let at = count * 3 / 4;
                let mut rows: Vec<usize> = (100..100 + count).collect();
                rows[at] = 7;
                let among = case.run_in_tiles(&rig, &rows, tile);
                assert_eq!(row(&among, count, at), alone, "{case:?}: row {at} of {count}, {tile}");
            }
        }
    }
}

#[test]
fn int4_weights_are_right() {
    for rig in rigs() {
        for format in INT4 {
            let Format::Int4 { group, .. } = format else { unreachable!() };
            for (i, groups) in [1, 2, 3, 4, 7].into_iter().enumerate() {
                let case = Case { format, k: groups * group, kind: KINDS[i % 4], ..PLAIN };
                // With 144 features the second row of units of the second tile does not exist.
                let case = if i % 4 < 2 { Case { n: 99, ..case } } else { case };
                for (count, tile) in [(3, 32), (40, 64), (70, 128)] {
                    let rows: Vec<usize> = (0..count).collect();
                    case.check(&rows, &case.run_in_tiles(&rig, &rows, tile));
                }
            }
        }
    }
}

#[test]
fn an_int4_row_has_the_same_bits_wherever_it_stands() {
    for rig in rigs() {
        for format in INT4 {
            let case = Case { format, k: 384, kind: Kind::F32, ..PLAIN };
            let alone = case.run(&rig, &[7]);
            for (count, tile) in [(2, 32), (33, 64), (70, 128)] {
                let at = count * 3 / 4;
                let mut rows: Vec<usize> = (100..100 + count).collect();
                rows[at] = 7;
                let among = case.run_in_tiles(&rig, &rows, tile);
                assert_eq!(row(&among, count, at), alone, "{case:?}: row {at} of {count}, {tile}");
            }
        }
    }
}

/// More tiles than one group of the numbering holds, the last group not full.
#[test]
fn every_tile_is_done_once() {
    for rig in rigs() {
        let case = Case { n: 300, k: 32, kind: Kind::F32, ..PLAIN };
        let rows: Vec<usize> = (0..32 * 18 + 5).collect();
        case.check(&rows, &case.run_in_tiles(&rig, &rows, 32));
    }
}

/// The launch code takes the wide tiles by itself where there is enough to do.
#[test]
fn large_products_are_right() {
    let case = Case { n: 66 * 128, k: 48, kind: Kind::SwiGlu, ..PLAIN };
    let rows: Vec<usize> = (0..129).collect();
    for rig in rigs() {
        let wide = case.run(&rig, &rows);
        case.check(&rows, &wide);
        assert_eq!(case.run_in_tiles(&rig, &rows, 32), wide);
    }
}

#[test]
fn both_passes_give_the_same_bits() {
    let all: Vec<_> = rigs().iter().map(|rig| PLAIN.run(rig, &[0, 1])).collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn schedules_change_nothing() {
    for rig in rigs() {
        let int4 = INT4.map(|format| Case { format, k: 640, kind: Kind::F32, ..PLAIN });
        let bf16 = KINDS.map(|kind| Case { kind, k: 400, ..PLAIN });
        for case in bf16.into_iter().chain(int4) {
            let rows: Vec<usize> = (0..40).collect();
            let ready = case.ready(&rig, &rows);
            let first = ready.run(0);
            for seed in rig.seeds(4) {
                assert_eq!(ready.run(seed), first, "{case:?}, schedule {seed}");
            }
        }
    }
}
