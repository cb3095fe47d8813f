//! `gather`: a copy of rows and of the sums beside them.

use super::traffic::Budget;
use super::{rigs, samples};
use half::bf16;
use ridgepoint::backend::cuda::ops::gather::{Gather, gather};

#[test]
fn rows_come_in_any_order_and_more_than_once() {
    for rig in rigs() {
        for width in [16, 80, 1040] {
            let (x_rows, ids) = (9, [8u32, 0, 3, 3]);
            let groups = width / 16;
            let x = samples(x_rows * width, 1);
            let squares: Vec<f32> = (0..x_rows * groups).map(|i| i as f32).collect();
            let (x_on, squares_on, ids_on) =
                (rig.upload(&x), rig.upload(&squares), rig.upload(&ids));
            let out = rig.poisoned::<bf16>(ids.len() * width);
            let out_squares = rig.poisoned::<f32>(ids.len() * groups);
            let op = Gather {
                x: x_on.ptr(),
                squares: squares_on.ptr(),
                row_ids: ids_on.ptr(),
                out: out.ptr(),
                out_squares: out_squares.ptr(),
                rows: ids.len(),
                x_rows,
                width,
            };
            for seed in rig.seeds(4) {
                rig.set_seed(seed);
                gather(&rig.kernels, &op).unwrap();
            }
            let rows = |i: &u32| x[*i as usize * width..][..width].to_vec();
            let sums = |i: &u32| squares[*i as usize * groups..][..groups].to_vec();
            let expected: Vec<bf16> = ids.iter().flat_map(rows).collect();
            let expected_sums: Vec<f32> = ids.iter().flat_map(sums).collect();
            assert_eq!(out.read::<bf16>(expected.len()).unwrap(), expected);
            assert_eq!(out_squares.read::<f32>(expected_sums.len()).unwrap(), expected_sums);
        }
    }
}

#[test]
fn traffic_is_what_the_head_says() {
    for rig in rigs() {
        let (x_rows, width, ids) = (7, 4096, [6u32, 0, 3, 2]);
        let (rows, groups) = (ids.len(), width / 16);
        let (x, row_ids) = (rig.upload(&samples(x_rows * width, 1)), rig.upload(&ids));
        let squares = rig.upload(&vec![1.0f32; x_rows * groups]);
        let (out, out_squares) = (rig.room::<bf16>(rows * width), rig.room::<f32>(rows * groups));
        let op = Gather {
            x: x.ptr(),
            squares: squares.ptr(),
            row_ids: row_ids.ptr(),
            out: out.ptr(),
            out_squares: out_squares.ptr(),
            rows,
            x_rows,
            width,
        };
        rig.counters();
        gather(&rig.kernels, &op).unwrap();
        // Read and written. Every thread reads the number of its row, a warp as one sector.
        let copied = rows * 2 * (2 * width + 4 * groups);
        let budget = Budget {
            requested: (copied + rows * width / 8 * 4) as u64,
            sectors: (copied + rows * width / 256 * 32) as u64,
            compulsory: (copied + 4 * rows) as u64,
        };
        budget.check(&rig, "gather");
    }
}
