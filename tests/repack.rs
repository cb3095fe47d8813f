//! `backend/cuda/repack`: nothing is lost, and every lane of a tensor-core product finds its
//! weights.

use half::bf16;
use proptest::prelude::*;
use ridgepoint::backend::cuda::repack::{UNIT_ROWS, pack, packed_bytes, unit_bytes, unpack};
use ridgepoint::tensor::int4::{Int4Matrix, Int4Shape};

fn matrix(shape: &Int4Shape, seed: u64) -> Int4Matrix {
    let mix = |i: usize| (i as u64 + 1 + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let groups = shape.n * shape.groups();
    Int4Matrix {
        quants: (0..shape.n * shape.k).map(|i| (mix(i) % 16) as u8).collect(),
        scales: (0..groups).map(|i| bf16::from_bits(mix(i + 7) as u16).to_f32()).collect(),
        order: None,
        zero_points: shape
            .zero_points
            .then(|| (0..groups).map(|i| (mix(i + 9) % 128) as u8).collect()),
    }
}

fn same_bits(a: &Int4Matrix, b: &Int4Matrix) -> bool {
    let bits = |m: &Int4Matrix| m.scales.iter().map(|s| s.to_bits()).collect::<Vec<_>>();
    a.quants == b.quants && a.zero_points == b.zero_points && bits(a) == bits(b)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn unpacking_gives_back_what_was_packed(
        n in 1usize..200,
        groups in 1usize..5,
        wide in any::<bool>(),
        zero_points in any::<bool>(),
        seed in any::<u32>(),
    ) {
        let group = if wide { 128 } else { 64 };
        let shape = Int4Shape { n, k: groups * group, group, zero_points };
        let matrix = matrix(&shape, u64::from(seed));
        let packed = pack(&shape, &matrix);
        prop_assert_eq!(packed.len(), packed_bytes(&shape));
        prop_assert!(same_bits(&unpack(&shape, &packed), &matrix));
    }
}

#[test]
fn a_unit_is_as_long_as_the_kernels_say() {
    let bytes =
        |group, zero_points| packed_bytes(&Int4Shape { n: 64, k: group, group, zero_points });
    assert_eq!([bytes(128, false), bytes(128, true)], [4224, 4352]);
    assert_eq!([bytes(64, false), bytes(64, true)], [2176, 2304]);
    assert_eq!(packed_bytes(&Int4Shape { n: 65, k: 256, group: 64, zero_points: true }), 8 * 2304);
}

/// Row and column of element `i` of lane `lane` in the A fragment of mma.m16n8k16 with 16-bit
/// elements, as the PTX manual tabulates it. A warp's part of wgmma.m64k16 is the same.
fn fragment(lane: usize, i: usize) -> (usize, usize) {
    let row = lane / 4 + if matches!(i, 0 | 1 | 4 | 5) { 0 } else { 8 };
    let column = lane % 4 * 2 + i % 2 + if i < 4 { 0 } else { 8 };
    (row, column)
}

/// One 16-byte access a lane gives the fragments of four steps along K, register r of the word
/// `q` being `q >> 4 r & 0x000f000f`.
#[test]
fn every_lane_finds_its_weights() {
    for group in [128, 64] {
        let shape = Int4Shape { n: 2 * UNIT_ROWS, k: 2 * group, group, zero_points: false };
        let matrix = matrix(&shape, 3);
        let packed = pack(&shape, &matrix);
        let mut seen = vec![0; shape.n * shape.k];
        for (unit, bytes) in packed.chunks_exact(unit_bytes(&shape)).enumerate() {
            let (first_row, first_column) = (unit / 2 * UNIT_ROWS, unit % 2 * group);
            for (k64, warp, lane) in (0..group / 64 * 4 * 32).map(|i| (i / 128, i / 32 % 4, i % 32))
            {
                let at = ((k64 * 4 + warp) * 32 + lane) * 16;
                for (step, word) in bytes[at..at + 16].as_chunks::<4>().0.iter().enumerate() {
                    for i in 0..8 {
                        let register = u32::from_le_bytes(*word) >> (4 * (i / 2)) & 0x000f_000f;
                        let half = register >> (16 * (i % 2)) & 0xffff;
                        let (row, column) = fragment(lane, i);
                        let row = first_row + warp * 16 + row;
                        let place = row * shape.k + first_column + k64 * 64 + step * 16 + column;
                        assert_eq!(half, u32::from(matrix.quants[place]), "lane {lane}, {i}");
                        seen[place] += 1;
                    }
                }
            }
        }
        assert!(seen.iter().all(|times| *times == 1));
    }
}

/// Lane 4g + t takes one word of a vector for rows g and g + 8 of its fragment.
#[test]
fn every_lane_finds_its_scales_and_offsets() {
    let shape = Int4Shape { n: 40, k: 128, group: 128, zero_points: true };
    let matrix = matrix(&shape, 4);
    let packed = pack(&shape, &matrix);
    let pairs = packed[UNIT_ROWS * 64..].as_chunks::<2>().0;
    for (warp, g, half) in (0..UNIT_ROWS).map(|i| (i / 16, i / 2 % 8, i % 2)) {
        let row = warp * 16 + g + 8 * half;
        let at = 2 * (warp * 8 + g) + half;
        let (scale, offset) = (bf16::from_le_bytes(pairs[at]), bf16::from_le_bytes(pairs[64 + at]));
        if row < shape.n {
            let zero_point = matrix.zero_points.as_ref().unwrap()[row];
            assert_eq!(scale.to_f32().to_bits(), matrix.scales[row].to_bits());
            assert_eq!(offset.to_f32(), -128.0 - f32::from(zero_point));
        } else {
            assert_eq!((scale.to_bits(), offset.to_bits()), (0, 0), "row {row} fills up the unit");
        }
    }
}

#[test]
#[should_panic(expected = "more than 4 bits")]
fn a_weight_of_five_bits_is_refused() {
    let shape = Int4Shape { n: 1, k: 64, group: 64, zero_points: false };
    let mut matrix = matrix(&shape, 5);
    matrix.quants[3] = 16;
    pack(&shape, &matrix);
}

mod int8 {
    //! The same of `backend/cuda/repack_int8`.

    use super::fragment;
    use proptest::prelude::*;
    use ridgepoint::backend::cuda::repack_int8::{UNIT, pack_rows, packed_bytes, unpack};

    fn values(n: usize, k: usize, seed: usize) -> (Vec<i8>, Vec<f32>) {
        let mix = |i: usize| ((i + 1 + seed) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let values = (0..n * k).map(|i| (mix(i) % 255) as i8).collect();
        (values, (0..n).map(|i| mix(i) as f32 * 1e-5).collect())
    }

    fn pack(n: usize, k: usize, values: &[i8], scales: &[f32]) -> Vec<u8> {
        pack_rows((n, k), |row| (&values[row * k..][..k], scales[row]))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn unpacking_gives_back_what_was_packed(
            n in 1usize..200,
            k in 1usize..300,
            seed in 0usize..1000,
        ) {
            let (values, scales) = values(n, k, seed);
            let packed = pack(n, k, &values, &scales);
            prop_assert_eq!(packed.len(), packed_bytes(n, k));
            prop_assert_eq!(unpack((n, k), &packed), (values, scales));
        }
    }

    /// One 16-byte access a lane gives the fragments of two steps along K: register r is bytes
    /// r % 2 and r % 2 + 2 of word r / 2 of the step.
    #[test]
    fn every_lane_finds_its_weights_and_every_row_its_scale() {
        let (n, k) = (UNIT + 8, 2 * UNIT + 16);
        let (values, scales) = values(n, k, 9);
        let packed = pack(n, k, &values, &scales);
        let blocks: Vec<&[u8]> = packed.chunks_exact(packed_bytes(1, k)).collect();
        assert_eq!(blocks.len(), 2);
        for (block, bytes) in blocks.into_iter().enumerate() {
            let (units, block_scales) = bytes.split_at(3 * UNIT * UNIT);
            for (row, scale) in block_scales.as_chunks::<4>().0.iter().enumerate() {
                let expected = scales.get(block * UNIT + row).copied().unwrap_or(0.0);
                assert_eq!(f32::from_le_bytes(*scale), expected);
            }
            for (i, words) in units.as_chunks::<16>().0.iter().enumerate() {
                let (k32, warp, lane) = (i / 128, i / 32 % 4, i % 32);
                for (step, part) in (0..2).flat_map(|step| (0..8).map(move |part| (step, part))) {
                    let register = part / 2;
                    let byte = words[step * 8 + register / 2 * 4 + register % 2 + part % 2 * 2];
                    let (row, column) = fragment(lane, part);
                    let row = block * UNIT + warp * 16 + row;
                    let column = k32 * 32 + step * 16 + column;
                    let inside = row < n && column < k;
                    let expected = if inside { values[row * k + column] } else { 0 };
                    assert_eq!(byte as i8, expected, "row {row}, column {column}");
                }
            }
        }
    }
}
