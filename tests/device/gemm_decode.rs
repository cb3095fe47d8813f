//! `gemm_decode`: products with few rows.

use super::gemm::{Case, Format, INT4, KINDS, Kind, row};
use super::rigs;
use ridgepoint::backend::Phase;
use ridgepoint::backend::cuda::ops::gemm::{arrivals_count, decode_splits, partials_bytes};

const PLAIN: Case = Case {
    phase: Phase::Decode,
    format: Format::Bf16,
    n: 64,
    k: 128,
    norm: false,
    bias: false,
    kind: Kind::Bf16,
};

#[test]
fn any_number_of_rows_is_right() {
    let counts = (1..=17).chain(31..=33).chain(63..=65).chain(127..=129);
    for (i, count) in counts.enumerate() {
        let case = Case { norm: true, bias: i % 2 == 0, kind: KINDS[i % 4], ..PLAIN };
        let rows: Vec<usize> = (0..count).collect();
        for rig in rigs() {
            case.check(&rows, &case.run(&rig, &rows));
        }
    }
}

#[test]
fn any_k_and_n_are_right() {
    for rig in rigs() {
        for k in [16, 32, 64, 80, 96, 112, 128, 144, 272, 400] {
            for kind in KINDS {
                let case = Case { n: 80, k, kind, norm: kind != Kind::Bf16, ..PLAIN };
                case.check(&[0, 1, 2], &case.run(&rig, &[0, 1, 2]));
            }
        }
        for n in [1, 2, 3, 7, 8, 12, 63, 65, 66, 72, 100, 211] {
            for kind in [Kind::Bf16, Kind::F32] {
                let case = Case { n, k: 80, bias: true, norm: true, kind, ..PLAIN };
                case.check(&[5, 6], &case.run(&rig, &[5, 6]));
            }
        }
    }
}

#[test]
fn int4_weights_are_right() {
    for rig in rigs() {
        for format in INT4 {
            let Format::Int4 { group, .. } = format else { unreachable!() };
            for (i, groups) in [1, 2, 3, 4, 7, 9, 13].into_iter().enumerate() {
                let case = Case {
                    format,
                    k: groups * group,
                    kind: KINDS[i % 4],
                    norm: i % 2 == 0,
                    ..PLAIN
                };
                for count in [1, 11, 30] {
                    let rows: Vec<usize> = (0..count).collect();
                    let case = if i % 4 < 2 { Case { n: 99, ..case } } else { case };
                    case.check(&rows, &case.run(&rig, &rows));
                }
            }
        }
    }
}

#[test]
fn int4_blocks_along_k_are_added_up() {
    for rig in rigs() {
        for (format, count) in INT4.into_iter().zip([3, 12, 20, 34]) {
            let case = Case { format, n: 80, k: 1536, kind: Kind::Residual, norm: true, ..PLAIN };
            let rows: Vec<usize> = (0..count).collect();
            let ready = case.ready(&rig, &rows);
            let first = ready.run(0);
            case.check(&rows, &first);
            for seed in rig.seeds(3) {
                assert_eq!(ready.run(seed), first, "{case:?}, schedule {seed}");
            }
        }
    }
}

#[test]
fn an_int4_row_has_the_same_bits_wherever_it_stands() {
    for rig in rigs() {
        for format in INT4 {
            let case = Case { format, n: 80, k: 1152, kind: Kind::F32, norm: true, ..PLAIN };
            let alone = case.run(&rig, &[7]);
            for count in [2, 9, 17, 33] {
                let at = count * 2 / 3;
                let mut rows: Vec<usize> = (100..100 + count).collect();
                rows[at] = 7;
                let among = case.run(&rig, &rows);
                assert_eq!(row(&among, count, at), alone, "{case:?}: row {at} of {count}");
            }
        }
    }
}

/// Long rows, with several blocks along K.
const LONG: Case = Case { n: 80, k: 1552, norm: true, bias: true, ..PLAIN };

#[test]
fn blocks_along_k_are_added_up() {
    assert_eq!(decode_splits(LONG.n, LONG.k), 3);
    for rig in rigs() {
        for (kind, count) in KINDS.into_iter().zip([3, 12, 20, 34]) {
            let case = Case { kind, ..LONG };
            let rows: Vec<usize> = (0..count).collect();
            let ready = case.ready(&rig, &rows);
            let first = ready.run(0);
            case.check(&rows, &first);
            for seed in rig.seeds(4) {
                assert_eq!(ready.run(seed), first, "{case:?}, schedule {seed}");
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_wherever_it_stands() {
    for rig in rigs() {
        for (case, kind) in [(PLAIN, Kind::SwiGlu), (PLAIN, Kind::Residual), (LONG, Kind::F32)] {
            let case = Case { kind, norm: true, ..case };
            let alone = case.run(&rig, &[7]);
            for count in [2, 9, 17, 33, 70] {
                let at = count * 2 / 3;
                let mut rows: Vec<usize> = (100..100 + count).collect();
                rows[at] = 7;
                let among = case.run(&rig, &rows);
                assert_eq!(row(&among, count, at), alone, "{case:?}: row {at} of {count}");
            }
        }
    }
}

#[test]
fn tiles_of_any_width_give_the_same_bits() {
    for rig in rigs() {
        for case in [LONG, Case { kind: Kind::SwiGlu, n: 144, k: 400, ..LONG }] {
            let rows = [3, 1, 4, 1, 5];
            let narrow = case.run_in_tiles(&rig, &rows, 8);
            assert_eq!(row(&narrow, 5, 1), row(&narrow, 5, 3), "one row twice");
            for tile in [16, 32] {
                assert_eq!(case.run_in_tiles(&rig, &rows, tile), narrow, "{case:?}: {tile}");
            }
        }
    }
}

#[test]
fn int4_tiles_of_any_width_give_the_same_bits() {
    for rig in rigs() {
        for format in INT4 {
            let case = Case { format, k: 1536, ..LONG };
            let rows = [3, 1, 4, 1, 5];
            let narrow = case.run_in_tiles(&rig, &rows, 8);
            for tile in [16, 32] {
                assert_eq!(case.run_in_tiles(&rig, &rows, tile), narrow, "{case:?}: {tile}");
            }
        }
    }
}

#[test]
fn both_passes_give_the_same_bits() {
    let all: Vec<_> = rigs().iter().map(|rig| LONG.run(rig, &[0, 1])).collect();
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn schedules_change_nothing() {
    for rig in rigs() {
        for kind in KINDS {
            let case = Case { n: 144, k: 272, norm: true, kind, ..PLAIN };
            let ready = case.ready(&rig, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
            let first = ready.run(0);
            for seed in rig.seeds(6) {
                assert_eq!(ready.run(seed), first, "{case:?}, schedule {seed}");
            }
        }
    }
}

#[test]
fn the_weight_alone_decides_the_blocks_along_k() {
    // Small matrices, those of the models in use, and a head.
    for (n, k, splits) in [
        (64, 64, 1),
        (384, 640, 1),
        (4096, 4096, 4),
        (6144, 4096, 2),
        (28_672, 4096, 1),
        (4096, 14_336, 4),
        (1024, 3072, 6),
        (128_256, 4096, 1),
    ] {
        assert_eq!(decode_splits(n, k), splits, "W [{n}, {k}]");
    }
    assert_eq!((partials_bytes(64, 64, 9), arrivals_count(64, 64, 9)), (0, 0));
    assert_eq!(partials_bytes(1000, 1024, 33), 2 * 33 * 1024 * 4);
    assert_eq!(arrivals_count(1000, 1024, 32), 4 * 16);
    assert_eq!(arrivals_count(1000, 1024, 33), 5 * 16);
}

const INT8: Case = Case { format: Format::Int8, ..PLAIN };

#[test]
fn int8_weights_are_right() {
    for rig in rigs() {
        for (i, k) in [16, 64, 80, 112, 128, 272, 400, 1552].into_iter().enumerate() {
            for (j, n) in [1, 7, 64, 80, 211].into_iter().enumerate() {
                let kind = if n == 80 { KINDS[i % 4] } else { KINDS[(i + j) % 2] };
                let case = Case { n, k, kind, norm: i % 2 == 0, bias: j % 2 == 0, ..INT8 };
                let rows: Vec<usize> = (0..[1, 5, 8, 11, 30][(i + j) % 5]).collect();
                case.check(&rows, &case.run(&rig, &rows));
            }
        }
        for count in (1..=17).chain(31..=33).chain([65]) {
            let case = Case { n: 211, k: 96, kind: Kind::F32, norm: true, ..INT8 };
            let rows: Vec<usize> = (0..count).collect();
            case.check(&rows, &case.run(&rig, &rows));
        }
    }
}

#[test]
fn int8_rows_have_the_same_bits_wherever_they_stand() {
    for rig in rigs() {
        for k in [400, 1552] {
            let case = Case { n: 211, k, kind: Kind::F32, norm: true, ..INT8 };
            let alone = case.run(&rig, &[7]);
            for count in [2, 9, 17, 33] {
                let at = count * 2 / 3;
                let mut rows: Vec<usize> = (100..100 + count).collect();
                rows[at] = 7;
                let among = case.run(&rig, &rows);
                assert_eq!(row(&among, count, at), alone, "{case:?}: row {at} of {count}");
            }
            let rows = [3, 1, 4, 1, 5];
            let narrow = case.run_in_tiles(&rig, &rows, 8);
            for tile in [16, 32] {
                assert_eq!(case.run_in_tiles(&rig, &rows, tile), narrow, "{case:?}: {tile}");
            }
        }
    }
}

#[test]
fn int8_blocks_along_k_and_schedules_change_nothing() {
    for rig in rigs() {
        for (kind, count) in KINDS.into_iter().zip([3, 12, 20, 34]) {
            let case = Case { kind, format: Format::Int8, ..LONG };
            let rows: Vec<usize> = (0..count).collect();
            let ready = case.ready(&rig, &rows);
            let first = ready.run(0);
            case.check(&rows, &first);
            for seed in rig.seeds(4) {
                assert_eq!(ready.run(seed), first, "{case:?}, schedule {seed}");
            }
        }
    }
}
