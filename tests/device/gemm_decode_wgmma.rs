//! `gemm_decode_sm90`: the products of decode by wgmma, which must have the bits of those by
//! mma.sync.

use super::gemm::{Case, Format, INT4, KINDS, Kind, Way};
use super::gemm_hopper::{executions, hoppers};
use ridgepoint::backend::Phase;
use ridgepoint::backend::cuda::ops::gemm::{
    arrivals_count, decode_ranges, decode_splits, partials_bytes, possible_ranges,
    range_arrivals_count, range_partials_bytes,
};

const PLAIN: Case = Case {
    phase: Phase::Decode,
    format: INT4[0],
    n: 144,
    k: 640,
    norm: true,
    bias: true,
    kind: Kind::Bf16,
};
const TILE: u32 = 64;
const FORMATS: [Format; 5] = [INT4[0], INT4[1], INT4[2], INT4[3], Format::Bf16];

#[test]
fn any_number_of_rows_has_the_bits_of_mma() {
    for rig in hoppers() {
        for (i, count) in [1, 33, 40, 63, 64, 65, 127, 128, 129].into_iter().enumerate() {
            let (format, kind) = (FORMATS[i % 5], KINDS[(i + i / 4) % 4]);
            let case = Case { format, kind, bias: i % 3 == 0, norm: i % 2 == 0, ..PLAIN };
            let rows: Vec<usize> = (0..count).collect();
            let found = case.run_in_tiles(&rig, &rows, TILE);
            assert!(found == case.run_in_tiles(&rig, &rows, 32), "{case:?}, {count} rows");
        }
    }
}

/// Slices of several groups, of one, and of none; one split and several; an odd number of tiles; n
/// no multiple of 8; each way to divide K.
#[test]
fn any_shape_and_any_ranges_have_the_bits_of_mma() {
    let rows: Vec<usize> = (0..41).collect();
    for rig in hoppers() {
        for (i, format) in FORMATS.into_iter().enumerate() {
            for (j, (n, k)) in [(80, 128), (272, 1152), (16, 2688)].into_iter().enumerate() {
                let kind = KINDS[(i + j) % 4];
                let case =
                    Case { format, n, k, kind, norm: j != 1, bias: (i + j) % 2 == 0, ..PLAIN };
                let expected = case.run_in_tiles(&rig, &rows, 32);
                for ranges in possible_ranges(n, k) {
                    let found = case.run_in_ranges(&rig, &rows, ranges);
                    assert!(found == expected, "{case:?}: {ranges} ranges");
                }
            }
            let kind = if i % 2 == 0 { Kind::Bf16 } else { Kind::F32 };
            for n in [1, 211] {
                let case = Case { format, n, k: 256, kind, ..PLAIN };
                let found = case.run_in_tiles(&rig, &rows, TILE);
                assert!(found == case.run_in_tiles(&rig, &rows, 32), "{case:?}");
            }
        }
    }
    let all = |n, k| possible_ranges(n, k).collect::<Vec<u32>>();
    assert_eq!(
        (all(80, 128), all(272, 1152), all(16, 2688)),
        (vec![1, 4], vec![1, 2, 8], vec![1, 5, 20],)
    );
}

/// Columns that are no whole stage.
#[test]
fn any_k_of_bf16_has_the_bits_of_mma() {
    let rows: Vec<usize> = (0..35).collect();
    for rig in hoppers() {
        for (i, k) in [16, 80, 112, 208, 400].into_iter().enumerate() {
            let case = Case { format: Format::Bf16, n: 80, k, kind: KINDS[i % 4], ..PLAIN };
            for ranges in possible_ranges(case.n, k) {
                let found = case.run_in_ranges(&rig, &rows, ranges);
                assert!(found == case.run_in_tiles(&rig, &rows, 32), "{case:?}: {ranges} ranges");
            }
        }
    }
}

/// Against f64 as well, not only against the other kernel.
#[test]
fn it_is_right() {
    let rows: Vec<usize> = (0..35).collect();
    for rig in hoppers() {
        for (format, kind) in FORMATS.into_iter().zip(KINDS.into_iter().cycle()) {
            let case = Case { format, kind, k: 1152, ..PLAIN };
            case.check(&rows, &case.run_in_tiles(&rig, &rows, TILE));
        }
    }
}

/// More tiles than clusters, of which some meet rows of another tile of tokens: 1 / rms and the
/// ring of stages go on from one to the next.
#[test]
fn blocks_take_tile_after_tile() {
    for rig in hoppers() {
        let rows: Vec<usize> = (0..64 * 4 + 1).collect();
        let case = Case { n: 256 * 15 + 16, k: 128, kind: Kind::SwiGlu, ..PLAIN };
        let bf16 = Case { format: Format::Bf16, k: 80, ..case };
        for (case, ranges, rows) in
            [(case, 1, &rows[..]), (case, 4, &rows[..70]), (bf16, 4, &rows[..70])]
        {
            let found = case.run_in_ranges(&rig, rows, ranges);
            assert!(found == case.run_in_tiles(&rig, rows, 32), "{ranges} ranges");
        }
    }
}

/// Twenty schedules, divided among formats, outputs and ranges.
#[test]
fn schedules_change_nothing() {
    for rig in hoppers() {
        for (i, format) in FORMATS.into_iter().enumerate() {
            let (n, k) = ([272, 80, 144, 16, 144], [1152, 640, 1024, 1344, 1040]);
            let case = Case { format, n: n[i], k: k[i], kind: KINDS[i % 4], bias: i > 1, ..PLAIN };
            let ranges = possible_ranges(case.n, case.k).collect::<Vec<u32>>();
            let rows: Vec<usize> = (0..[70, 33, 64, 40, 66][i]).collect();
            let ready = case.ready_in(&rig, &rows, Way::Ranges(ranges[(i + 1) % ranges.len()]));
            let first = ready.run(0);
            assert!(first == case.run_in_tiles(&rig, &rows, 32), "{case:?}");
            for seed in rig.seeds(4) {
                let seed = 1 + 4 * i as u64 + seed;
                assert!(ready.run(seed) == first, "{case:?}, schedule {seed}");
            }
        }
    }
}

/// By the model of the launch code: a matrix of few features is divided, one that fills the device
/// is not, nor one with many rows.
#[test]
fn ranges_are_as_many_as_the_product_can_fill() {
    for (n, k, rows, ranges) in [
        (4096, 4096, 64, 4),
        (6144, 4096, 64, 2),
        (4096, 14_336, 64, 4),
        (17_408, 4096, 64, 4),
        (16_896, 4096, 64, 1),
        (28_672, 4096, 64, 1),
        (128_256, 4096, 64, 1),
        (4096, 4096, 8192, 1),
        (64, 64, 64, 1),
    ] {
        assert_eq!(decode_ranges(n, k, rows), ranges, "W [{n}, {k}], {rows} rows");
    }
}

/// What is asked for serves every number of rows up to that for which it was asked.
#[test]
fn scratch_memory_suffices_for_fewer_rows() {
    for (n, k) in [(4096, 4096), (17_408, 4096), (80, 1552), (28_672, 4096)] {
        for most in [1, 40, 64, 200, 512] {
            for rows in (1..=most).step_by(13) {
                let ranges = decode_ranges(n, k, rows);
                let what = format!("W [{n}, {k}], {rows} of {most} rows");
                let bytes = range_partials_bytes(n, rows, ranges);
                assert!(bytes <= partials_bytes(n, k, most), "{what}");
                let count = range_arrivals_count(n, rows, ranges);
                assert!(count <= arrivals_count(n, k, most), "{what}");
                assert!(partials_bytes(n, k, rows) <= partials_bytes(n, k, most), "{what}");
            }
        }
    }
    // Four slices of a matrix that mma.sync would not divide.
    assert_eq!(decode_splits(17_408, 4096), 1);
    assert_eq!(partials_bytes(17_408, 4096, 40), 4 * 40 * 17_408 * 4);
    assert_eq!(arrivals_count(17_408, 4096, 40), 17_408 / 64);
}

/// As in prefill: the order of registers is asked for once in 64 columns, and four products go
/// together. A block sums its tokens once, with half as many products of mma as tokens by 16.
#[test]
fn a_fence_and_a_commit_for_each_64_columns() {
    for rig in hoppers() {
        for format in FORMATS {
            let case = Case { format, n: 256, k: 896, kind: Kind::Bf16, ..PLAIN };
            rig.counters();
            case.run_in_ranges(&rig, &[0, 1, 2], 1);
            let Some(counters) = rig.counters() else { continue };
            // Four warps of two warpgroups of two blocks.
            let warps = 4 * 2 * 2;
            let steps = case.k as u64 / 64;
            for (opcode, times) in
                [("wgmma.fence", 1), ("wgmma.commit_group", 1), ("wgmma.mma_async", 4)]
            {
                let found = executions(&counters, opcode);
                assert_eq!(found, warps * steps * times, "{opcode}, {case:?}");
            }
            // Of two blocks, 64 tokens by 16 and the columns by 16.
            let sums = match format {
                Format::Bf16 => 0,
                _ => 2 * (64 / 16) * (case.k as u64 / 16),
            };
            assert_eq!(executions(&counters, "mma.sync"), sums, "{case:?}");
        }
    }
}
