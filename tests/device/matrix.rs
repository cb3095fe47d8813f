//! Weight matrices in int4 as the backend keeps them: which row of which tensor is where.

use super::{Rig, rigs};
use half::bf16;
use ridgepoint::backend::Backend;
use ridgepoint::backend::cuda::CudaBackend;
use ridgepoint::backend::cuda::Matrix;
use ridgepoint::backend::cuda::ops::gemm::Weight;
use ridgepoint::backend::cuda::repack::{packed_bytes, unpack};
use ridgepoint::tensor::HostMatrix;
use ridgepoint::tensor::int4::{Int4Matrix, Int4Row, Int4Shape, Int4Tensor};

const SHAPE: Int4Shape = Int4Shape { n: 0, k: 256, group: 64, zero_points: true };

/// A tensor whose rows all differ from each other and from those of other salts.
fn tensor(salt: u8, shape: Int4Shape) -> Int4Tensor {
    let mix =
        |i: usize| ((i as u64 + 1) << 8 | u64::from(salt)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let groups = shape.n * shape.groups();
    let zero_points = (0..groups).map(|i| (mix(i) >> 57) as u8).collect();
    Int4Tensor {
        name: format!("part {salt}"),
        shape,
        matrix: Int4Matrix {
            quants: (0..shape.n * shape.k).map(|i| (mix(i) >> 60) as u8).collect(),
            scales: (0..groups).map(|i| bf16::from_bits((mix(i) >> 50) as u16).to_f32()).collect(),
            order: None,
            zero_points: shape.zero_points.then_some(zero_points),
        },
    }
}

/// The rows on the device are these, in this order.
fn assert_rows(rig: &Rig, matrix: &Matrix, shape: Int4Shape, rows: &[Int4Row<'_>]) {
    let Weight::Int4 { at, group, zero_points } = matrix.weight() else { panic!("int4 was put") };
    assert_eq!((group as usize, zero_points), (shape.group, shape.zero_points));
    let shape = Int4Shape { n: rows.len(), ..shape };
    assert_eq!(matrix.bytes(), packed_bytes(&shape) as u64);
    let mut packed = vec![0; packed_bytes(&shape)];
    rig.driver().read(at, &mut packed).unwrap();
    let found = unpack(&shape, &packed);
    for (i, want) in rows.iter().enumerate() {
        let row = found.row(&shape, i);
        assert_eq!(row.quants, want.quants, "row {i}");
        assert_eq!((row.scales, row.zero_points), (want.scales, want.zero_points), "row {i}");
    }
}

#[test]
fn int4_tensors_are_stacked() {
    for rig in rigs() {
        for zero_points in [false, true] {
            let of = |(salt, n)| tensor(salt, Int4Shape { n, zero_points, ..SHAPE });
            let parts = [(1, 80), (2, 16), (3, 17)].map(of);
            let matrix = Matrix::stacked_int4(rig.driver(), &parts).unwrap();
            let rows: Vec<Int4Row<'_>> = parts
                .iter()
                .flat_map(|part| (0..part.shape.n).map(|i| part.matrix.row(&part.shape, i)))
                .collect();
            assert_rows(&rig, &matrix, parts[0].shape, &rows);
        }
    }
}

#[test]
fn int4_gate_and_up_take_turns_of_eight_rows() {
    for rig in rigs() {
        let shape = Int4Shape { n: 72, group: 128, ..SHAPE };
        let (gate, up) = (tensor(1, shape), tensor(2, shape));
        let matrix = Matrix::gated_int4(rig.driver(), &gate, &up).unwrap();
        let mut rows = Vec::new();
        for first in (0..shape.n).step_by(8) {
            for part in [&gate, &up] {
                rows.extend((first..first + 8).map(|i| part.matrix.row(&shape, i)));
            }
        }
        assert_rows(&rig, &matrix, shape, &rows);
    }
}

#[test]
fn wide_groups_become_narrow_ones_with_the_same_scales() {
    for (k, wide, narrow) in [(384, 384, 128), (192, 192, 64), (512, 256, 128)] {
        for rig in rigs() {
            let backend = CudaBackend::new(rig.driver().clone()).unwrap();
            let part = tensor(3, Int4Shape { n: 70, k, group: wide, zero_points: true });
            let matrix = backend.matrix(vec![HostMatrix::Int4(part.clone())]).unwrap();
            let each = |values: &[u8]| -> Vec<u8> {
                values.iter().flat_map(|v| vec![*v; wide / narrow]).collect()
            };
            let scales: Vec<f32> =
                part.matrix.scales.iter().flat_map(|s| vec![*s; wide / narrow]).collect();
            let zeros = each(part.matrix.zero_points.as_ref().unwrap());
            let groups = k / narrow;
            let rows: Vec<Int4Row<'_>> = (0..70)
                .map(|i| Int4Row {
                    quants: &part.matrix.quants[i * k..][..k],
                    scales: &scales[i * groups..][..groups],
                    zero_points: Some(&zeros[i * groups..][..groups]),
                })
                .collect();
            let shape = Int4Shape { group: narrow, ..part.shape };
            assert_rows(&rig, &matrix, shape, &rows);
        }
    }
}

/// Column c of the weights belongs to column `order[c]` of the input.
#[test]
fn columns_in_an_order_of_their_own_are_put_back_in_bf16() {
    for rig in rigs() {
        let backend = CudaBackend::new(rig.driver().clone()).unwrap();
        assert!(backend.remarks().is_empty());
        let shape = Int4Shape { n: 24, ..SHAPE };
        let mut parts = [1, 2].map(|salt| tensor(salt, shape));
        for (part, step) in parts.iter_mut().zip([77, 101]) {
            part.matrix.order = Some((0..256).map(|c| (c * step + 5) % 256).collect());
        }
        let host = parts.clone().map(HostMatrix::Int4);
        let matrix = backend.matrix(host.to_vec()).unwrap();
        let Weight::Bf16(at) = matrix.weight() else { panic!("bf16 was expected") };
        let mut found = vec![0u8; 2 * 48 * 256];
        rig.driver().read(at, &mut found).unwrap();
        let found: &[bf16] = bytemuck::cast_slice(&found);
        for (i, found) in found.chunks_exact(256).enumerate() {
            let part = &parts[i / 24];
            let row = part.matrix.row(&shape, i % 24);
            for (c, &column) in part.matrix.order.as_ref().unwrap().iter().enumerate() {
                let zero_point = f32::from(row.zero_points.unwrap()[c / 64]);
                let exact = row.scales[c / 64] * (f32::from(row.quants[c]) - zero_point);
                let expected = bf16::from_f32(exact);
                assert_eq!(found[column as usize], expected, "row {i} column {c}");
            }
        }
        let [gate, up] = host;
        assert!(matches!(backend.gated(gate, up).unwrap().weight(), Weight::Bf16(_)));
        let remarks = backend.remarks();
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert!(remarks[0].starts_with("4 int4 matrices, part 1 the first"), "{remarks:?}");
    }
}

#[test]
fn int4_tensors_without_a_kernel_are_refused_by_name() {
    let rig = Rig::simulated(false);
    let refused = |result: ridgepoint::error::Result<Matrix>| match result {
        Ok(_) => panic!("it was taken"),
        Err(error) => error.to_string(),
    };
    let small = tensor(7, Int4Shape { n: 8, group: 32, ..SHAPE });
    let message = refused(Matrix::stacked_int4(rig.driver(), &[small]));
    assert!(message.contains("part 7") && message.contains("groups of 32"), "{message}");
    let odd = tensor(8, Int4Shape { n: 12, ..SHAPE });
    let message = refused(Matrix::gated_int4(rig.driver(), &odd, &odd));
    assert!(message.contains("part 8") && message.contains("multiples of 8"), "{message}");
}

#[test]
#[should_panic(expected = "part 2 beside part 1")]
fn parts_of_different_groups_are_a_fault() {
    let rig = Rig::simulated(false);
    let parts = [(1, 64), (2, 128)].map(|(s, group)| tensor(s, Int4Shape { n: 8, group, ..SHAPE }));
    let _ = Matrix::stacked_int4(rig.driver(), &parts);
}
