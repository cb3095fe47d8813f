//! Tensor maps: what is refused, and where every byte of a box goes.

use super::Random;
use ptxsim::Error;
use ptxsim::tensor::swizzle::Swizzle;
use ptxsim::tensor::tma::{DataType, Fill, TensorMap, Tiled};

fn plain<'a>(dims: &'a [u64], strides: &'a [u64], box_dims: &'a [u32]) -> Tiled<'a> {
    Tiled {
        element: DataType::Bf16,
        address: 0x10000,
        dims,
        strides,
        box_dims,
        element_strides: &[1; 5][..dims.len()],
        swizzle: Swizzle::None,
        fill: Fill::Zero,
    }
}

fn refusal(tiled: &Tiled<'_>) -> String {
    match TensorMap::new(tiled) {
        Err(Error::Argument(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_driver_refuses() {
    let good = plain(&[64, 32], &[128], &[64, 8]);
    assert!(TensorMap::new(&good).is_ok());
    let cases: [(Tiled<'_>, &str); 13] = [
        (Tiled { address: 8, ..good.clone() }, "16-byte aligned"),
        (Tiled { dims: &[0, 32], ..good.clone() }, "dimension 0 is 0"),
        (Tiled { dims: &[(1 << 32) + 1, 32], ..good.clone() }, "dimension 0"),
        (Tiled { strides: &[120], ..good.clone() }, "multiple of 16"),
        (Tiled { strides: &[1 << 40], ..good.clone() }, "below 2^40"),
        (Tiled { strides: &[], ..good.clone() }, "fit rank 2"),
        (Tiled { box_dims: &[64, 257], ..good.clone() }, "box dimension 1 is 257"),
        (Tiled { box_dims: &[64, 0], ..good.clone() }, "box dimension 1 is 0"),
        (Tiled { box_dims: &[4, 8], ..good.clone() }, "8 bytes, not a multiple of 16"),
        (Tiled { element_strides: &[1, 9], ..good.clone() }, "element stride 1 is 9"),
        (Tiled { swizzle: Swizzle::B64, ..good.clone() }, "128 bytes, the swizzle's 64"),
        (Tiled { element: DataType::U16, fill: Fill::Nan, ..good.clone() }, "only floating-point"),
        (Tiled { element: DataType::Tf32, ..good.clone() }, "tf32"),
    ];
    for (tiled, reason) in cases {
        let message = refusal(&tiled);
        assert!(message.contains(reason), "{message}");
    }
    assert!(refusal(&plain(&[], &[], &[])).contains("rank 0"));
    assert!(refusal(&plain(&[256; 5], &[512; 4], &[256; 5])).contains("shared memory"));
}

#[test]
fn a_swizzled_tile_is_a_ramp() {
    for swizzle in [Swizzle::B32, Swizzle::B64, Swizzle::B128] {
        let elements = swizzle.span() / 2;
        let box_dims = [elements, 64];
        let tiled = Tiled { swizzle, ..plain(&[1024, 1024], &[2048], &box_dims) };
        let map = TensorMap::new(&tiled).expect("valid");
        assert_eq!(map.box_bytes(), elements * 2 * 64);
        let mut seen = vec![false; map.box_bytes() as usize / 16];
        map.box_pieces(&[elements as i32, 3], 0x4000, |piece| {
            assert_eq!((piece.skip, piece.bytes), (0, 16));
            let offset = piece.global - 0x10000;
            let (row, byte) = (offset / 2048 - 3, offset % 2048 - u64::from(elements) * 2);
            // Chunk c of row r lies at chunk c ^ x of it, x being its 128-byte line number.
            let line = row * u64::from(swizzle.span()) / 128;
            let chunk = (byte / 16) ^ (line % (u64::from(swizzle.span()) / 16));
            let wanted = row * u64::from(swizzle.span()) + chunk * 16;
            let at = u64::from(piece.shared) - 0x4000;
            if swizzle == Swizzle::B128 {
                assert_eq!(at, wanted);
            }
            // Narrower rows share a line: only the bits inside the span move.
            assert_eq!(at / 128, (row * u64::from(swizzle.span()) + byte) / 128);
            let plain = row * u64::from(swizzle.span()) + byte;
            assert_eq!(at, plain ^ (plain / 128 % (u64::from(swizzle.span()) / 16) * 16));
            seen[at as usize / 16] = true;
        });
        assert!(seen.iter().all(|seen| *seen));
    }
}

/// Every element of random boxes, at random places around random tensors.
#[test]
fn boxes_element_by_element() {
    let mut random = Random::new(16);
    for _ in 0..400 {
        let rank = 1 + random.below(5);
        let element = [DataType::U8, DataType::Bf16, DataType::F32, DataType::F64][random.below(4)];
        let size = u64::from(element.bytes());
        let dims: Vec<u64> = (0..rank).map(|_| 1 + random.below(20) as u64).collect();
        let mut strides = Vec::new();
        let mut step = (dims[0] * size).next_multiple_of(16);
        for dim in &dims[1..] {
            strides.push(step + 16 * random.below(3) as u64);
            step = strides[strides.len() - 1] * dim;
        }
        let mut box_dims: Vec<u32> = (0..rank).map(|_| 1 + random.below(5) as u32).collect();
        box_dims[0] = (16 / size) as u32 * (1 + random.below(3) as u32);
        let element_strides: Vec<u32> = (0..rank).map(|_| 1 + random.below(3) as u32).collect();
        let map = TensorMap::new(&Tiled {
            element,
            address: 0x7000,
            dims: &dims,
            strides: &strides,
            box_dims: &box_dims,
            element_strides: &element_strides,
            swizzle: Swizzle::None,
            fill: Fill::Zero,
        })
        .expect("valid");
        assert_eq!(TensorMap::decode(&map.encode()), Ok(map));
        let at: Vec<i32> = (0..rank).map(|_| random.below(30) as i32 - 8).collect();
        let mut global = vec![None; map.box_bytes() as usize];
        map.box_pieces(&at, 0x400, |piece| {
            for byte in 0..piece.bytes {
                let shared = piece.shared - 0x400 + piece.skip + byte;
                global[shared as usize] = Some(piece.global + u64::from(byte));
            }
        });
        let mut shared = 0;
        let mut index = vec![0u32; rank];
        loop {
            let place = |d: usize| {
                let every = if d == 0 { 1 } else { element_strides[d] };
                i64::from(at[d]) + i64::from(index[d] * every)
            };
            let inside = (0..rank).all(|d| (0..dims[d] as i64).contains(&place(d)));
            let address = (1..rank).fold(0x7000 + place(0) * size as i64, |sum, d| {
                sum + place(d) * strides[d - 1] as i64
            });
            for byte in 0..size {
                let wanted = inside.then_some(address as u64 + byte);
                assert_eq!(global[shared], wanted, "{map:?} at {at:?}");
                shared += 1;
            }
            let Some(d) = (0..rank).find(|d| {
                let every = if *d == 0 { 1 } else { element_strides[*d] };
                index[*d] + 1 < box_dims[*d].div_ceil(every)
            }) else {
                break;
            };
            index[d] += 1;
            index[..d].fill(0);
        }
        assert_eq!(shared, map.box_bytes() as usize);
    }
}

#[test]
fn encodings_and_fills() {
    let tiled = Tiled {
        element: DataType::F32Ftz,
        swizzle: Swizzle::B128,
        fill: Fill::Nan,
        ..plain(&[100, 7, 3], &[512, 4096], &[32, 7, 2])
    };
    let map = TensorMap::new(&tiled).expect("valid");
    let mut bytes = map.encode();
    assert_eq!(TensorMap::decode(&bytes), Ok(map));
    assert_eq!(map.fill_bytes()[..4], 0x7fff_ffffu32.to_le_bytes());
    let mut data = [0; 16];
    data[..4].copy_from_slice(&0x8000_0001u32.to_le_bytes());
    data[4..8].copy_from_slice(&1f32.to_le_bytes());
    map.convert(&mut data);
    assert_eq!(data[..8], [0, 0, 0, 0x80, 0, 0, 0x80, 0x3f]);
    bytes[0] ^= 1;
    assert!(TensorMap::decode(&bytes).is_err());
    assert!(TensorMap::decode(&[0; 128]).is_err());
}
