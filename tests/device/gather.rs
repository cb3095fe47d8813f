//! `gather`: a copy of rows and of the sums beside them.

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
            rig.counters();
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
            let written = (ids.len() * (2 * width + 4 * groups)) as u64;
            for counters in rig.counters().into_iter().flatten() {
                assert!(counters.global_writes.bytes % written == 0, "{counters}");
            }
        }
    }
}
