//! `hopper_copies.cu`: bulk and tensor copies in every direction.

use super::{Bench, Params, matrix};
use ptxsim::tensor::swizzle::Swizzle;
use ptxsim::tensor::tma::{DataType, Fill, TensorMap, Tiled};
use ptxsim::{FaultKind, Launch};

const FILE: &str = "hopper_copies.cu";

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn warp(bench: &Bench, entry: &str, params: Params) -> Launch {
    Launch {
        module: bench.module,
        entry: entry.into(),
        block: [32, 1, 1],
        shared_bytes: 8192,
        params: params.0,
        ..Launch::default()
    }
}

/// A kernel that adds one to a box of a 40 x 20 matrix; the launch, and where the result is.
fn through(defines: &[&str], swizzle: Swizzle, [x, y]: [i32; 2]) -> (Bench, Launch, u64) {
    let mut bench = Bench::new(FILE, defines);
    let from = bench.put(&bytes(&(0..800).collect::<Vec<u32>>()));
    let to = bench.put(&bytes(&[7; 800]));
    let width = if swizzle == Swizzle::None { 24 } else { swizzle.span() / 4 };
    let map = |at| matrix(DataType::U32, at, [40, 20], [width, 8], swizzle);
    let params = Params::default().map(&map(from)).map(&map(to));
    let params = params.int(width as i32 * 8).int(x).int(y);
    let launch = warp(&bench, "through", params);
    (bench, launch, to)
}

/// Every swizzle there and back, in the middle and over each corner.
#[test]
fn boxes_go_through_shared_memory() {
    for swizzle in [Swizzle::None, Swizzle::B32, Swizzle::B64, Swizzle::B128] {
        let width = if swizzle == Swizzle::None { 24 } else { swizzle.span() as i32 / 4 };
        for [x, y] in [[4, 8], [-3, -2], [35, 17], [-100, 0]] {
            let (mut bench, launch, to) = through(&[], swizzle, [x, y]);
            bench.clean(&launch, 3);
            let inside =
                |at: i32| (x..x + width).contains(&(at % 40)) && (y..y + 8).contains(&(at / 40));
            let expected = (0..800).map(|at| if inside(at) { at as u32 + 1 } else { 7 });
            assert_eq!(bench.words(to, 800), expected.collect::<Vec<_>>(), "{swizzle:?} {x} {y}");
        }
    }
}

#[test]
fn bugs_around_a_store_are_found() {
    for name in ["BUG_NO_PROXY_FENCE", "BUG_NO_WARP_SYNC", "BUG_EARLY_REUSE", "BUG_NO_WAIT"] {
        let (mut bench, launch, _) = through(&[name], Swizzle::B128, [0, 0]);
        assert_eq!(bench.found(&launch, name), 20, "{name}");
    }
}

#[test]
fn boxes_of_three_dimensions() {
    let mut bench = Bench::new(FILE, &[]);
    let from = bench.put(&bytes(&(0..8 * 5 * 3).collect::<Vec<u32>>()));
    let out = bench.put(&[0; 4 * 4 * 3 * 2 * 4]);
    let map = TensorMap::new(&Tiled {
        element: DataType::U32,
        address: from,
        dims: &[8, 5, 3],
        strides: &[32, 160],
        box_dims: &[4, 3, 2],
        element_strides: &[1, 1, 1],
        swizzle: Swizzle::None,
        fill: Fill::Zero,
    });
    let params = Params::default().map(&map.unwrap()).pointer(out).int(24).int(2).int(3).int(2);
    let launch = warp(&bench, "solid", params);
    for seed in 0..5 {
        bench.clean(&launch, seed);
    }
    let at = |i: u32| {
        let (x, y, z) = (2 + i % 4, 3 + i / 4 % 3, 2 + i / 12);
        if y < 5 && z < 3 { z * 40 + y * 8 + x } else { 0 }
    };
    assert_eq!(bench.words(out, 24), (0..24).map(at).collect::<Vec<_>>());
}

#[test]
fn lines_and_what_is_wrong_with_them() {
    let mut bench = Bench::new(FILE, &[]);
    let words: Vec<u32> = (0..256).map(|i| i * i).collect();
    let (from, to) = (bench.put(&bytes(&words)), bench.put(&[0; 1024]));
    let line = |bench: &Bench, to, from, bytes, offset| {
        let params = Params::default().pointer(to).pointer(from).int(bytes).int(offset);
        warp(bench, "line", params)
    };
    let launch = line(&bench, to, from, 1008, 16);
    let report = bench.clean(&launch, 1);
    assert_eq!(report.counters.async_copies.bytes, 2016);
    assert_eq!(report.counters.async_copies.sectors, 64);
    assert_eq!(bench.words(to, 252), words[..252]);
    for (launch, kind) in [
        (line(&bench, to, from + 8, 64, 0), FaultKind::Misaligned),
        (line(&bench, to, from, 72, 0), FaultKind::Misaligned),
        (line(&bench, to, from, 64, 4), FaultKind::Misaligned),
        (line(&bench, to, from, 64, 8192), FaultKind::OutOfBounds),
        (line(&bench, to, from + 512, 1024, 0), FaultKind::OutOfBounds),
    ] {
        assert!(bench.launch(&launch).has(kind), "{kind:?}");
    }
    let mut bench = Bench::new(FILE, &["BUG_NO_INIT"]);
    let (from, to) = (bench.put(&bytes(&words)), bench.put(&[0; 1024]));
    let launch = line(&bench, to, from, 64, 0);
    assert_eq!(bench.found(&launch, "BUG_NO_INIT"), 20);
}

#[test]
fn what_is_no_tensor_map_is_refused() {
    let (mut bench, mut launch, _) = through(&[], Swizzle::B128, [0, 0]);
    launch.params[20] ^= 1;
    launch.params[0] ^= 1;
    assert!(bench.launch(&launch).has(FaultKind::TensorMap));
}

fn pair(bench: &Bench, entry: &str, params: Params) -> Launch {
    let launch = warp(bench, entry, params);
    Launch { shared_bytes: 0, grid: [4, 1, 1], cluster: [2, 1, 1], ..launch }
}

#[test]
fn copies_to_both_blocks_of_a_cluster() {
    let words: Vec<u32> = (0..256).map(|i| i * 3).collect();
    for (defines, bug) in [(&[][..], false), (&["BUG_NO_EMPTY_WAIT"][..], true)] {
        let mut bench = Bench::new(FILE, defines);
        let (from, out) = (bench.put(&bytes(&words)), bench.put(&[0; 1024]));
        let launch = pair(&bench, "both", Params::default().pointer(from).pointer(out));
        let launch = Launch { grid: [2, 1, 1], ..launch };
        if bug {
            assert_eq!(bench.found(&launch, "BUG_NO_EMPTY_WAIT"), 20);
            continue;
        }
        for seed in 0..50 {
            bench.clean(&launch, seed);
        }
        let sum = |i: usize| words[i / 64 * 64 + i % 32] + words[i / 64 * 64 + 32 + i % 32];
        assert_eq!(bench.words(out, 256), (0..256).map(sum).collect::<Vec<_>>());
    }
}

#[test]
fn copies_between_blocks_of_a_cluster() {
    let mut bench = Bench::new(FILE, &[]);
    let words: Vec<u32> = (0..64).collect();
    let (from, out) = (bench.put(&bytes(&words)), bench.put(&[0; 256]));
    let launch = pair(&bench, "exchange", Params::default().pointer(from).pointer(out));
    let launch = Launch { grid: [2, 1, 1], ..launch };
    for seed in 0..50 {
        bench.clean(&launch, seed);
    }
    let expected: Vec<u32> = (0..64).map(|i| 2 * ((i + 32) % 64)).collect();
    assert_eq!(bench.words(out, 64), expected);
}

type Combine<'a> = &'a dyn Fn(u32, u32) -> u32;

#[test]
fn reductions() {
    let mut bench = Bench::new(FILE, &[]);
    let words: Vec<u32> = (0..128u32).map(|i| i.wrapping_mul(0x9e37_79b9) >> 1).collect();
    let floats: Vec<u32> = (0..128).map(|i| (i as f32).to_bits()).collect();
    // Pairs of bf16: 1 and -2.
    let pairs = vec![0xc000_3f80; 128];
    let fold = |start: u32, combine: Combine<'_>, from: &[u32]| -> Vec<u32> {
        (0..32).map(|i| (0..4).fold(start, |sum, b| combine(sum, from[b * 32 + i]))).collect()
    };
    let add_floats = |a, b| (f32::from_bits(a) + f32::from_bits(b)).to_bits();
    let cases: [(&[u32], u32, Combine<'_>); 10] = [
        (&words, 5, &u32::wrapping_add),
        (&words, 1 << 30, &|a, b| (a as i32).min(b as i32) as u32),
        (&words, 1 << 30, &u32::max),
        (&words, u32::MAX, &|a, b| a & b),
        (&words, 1, &|a, b| a | b),
        (&words, 1, &|a, b| a ^ b),
        (&[1 << 20; 128], 9, &|a, b| if a >= b { 0 } else { a + 1 }),
        (&[1 << 20; 128], 9, &|a, b| if a == 0 || a > b { b } else { a - 1 }),
        (&floats, 0, &add_floats),
        (&pairs, 0, &|_, _| 0xc100_4080),
    ];
    for (what, (values, start, combine)) in cases.into_iter().enumerate() {
        let (from, out) = (bench.put(&bytes(values)), bench.put(&bytes(&[start; 32])));
        let params = Params::default().pointer(from).pointer(out).int(what as i32);
        let launch = Launch { grid: [4, 1, 1], ..warp(&bench, "combine", params) };
        bench.clean(&launch, what as u64);
        assert_eq!(bench.words(out, 32), fold(start, combine, values), "operation {what}");
    }
    let (from, out) = (bench.put(&bytes(&floats[..64])), bench.put(&[0; 256]));
    let map = matrix(DataType::F32, out, [8, 8], [8, 8], Swizzle::None);
    let params = Params::default().map(&map).pointer(from);
    let launch = Launch { grid: [3, 1, 1], ..warp(&bench, "combine_box", params) };
    bench.clean(&launch, 1);
    assert_eq!(bench.floats(out, 64), (0..64).map(|i| 3.0 * i as f32).collect::<Vec<_>>());
}

#[test]
fn a_ring_filled_by_cp_async() {
    let words: Vec<u32> = (0..8 * 128).collect();
    for (defines, bug) in [(&[][..], false), (&["BUG_NO_FULL_WAIT"][..], true)] {
        let mut bench = Bench::new(FILE, defines);
        let (from, out) = (bench.put(&bytes(&words)), bench.put(&[0; 8 * 512]));
        let params = Params::default().pointer(from).pointer(out).int(8);
        let launch = Launch { block: [64, 1, 1], ..warp(&bench, "ring", params) };
        if bug {
            assert_eq!(bench.found(&launch, "BUG_NO_FULL_WAIT"), 20);
            continue;
        }
        for seed in 0..50 {
            bench.clean(&launch, seed);
        }
        let expected: Vec<u32> = (0..8 * 128).map(|i| i ^ 4).collect();
        assert_eq!(bench.words(out, 8 * 128), expected);
    }
}
