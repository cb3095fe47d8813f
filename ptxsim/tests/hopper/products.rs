//! `hopper_products.cu`: the less common forms of `wgmma`.

use super::{Bench, Params, matrix, value, values_bf16};
use ptxsim::tensor::swizzle::Swizzle;
use ptxsim::tensor::tma::DataType;
use ptxsim::{FaultKind, Launch};

const FILE: &str = "hopper_products.cu";

fn group(bench: &Bench, entry: &str, params: Params) -> Launch {
    Launch {
        module: bench.module,
        entry: entry.into(),
        block: [128, 1, 1],
        params: params.0,
        ..Launch::default()
    }
}

/// Runs a kernel on A, B and room for `words` words of C, over ten seeds.
fn product(entry: &str, a: &[u8], b: &[u8], words: usize) -> Vec<u32> {
    let mut bench = Bench::new(FILE, &[]);
    let (a, b) = (bench.put(a), bench.put(b));
    let c = bench.device.alloc(words as u64 * 4).unwrap();
    let launch = group(&bench, entry, Params::default().pointer(a).pointer(b).pointer(c));
    for seed in 0..10 {
        bench.clean(&launch, seed);
    }
    bench.words(c, words)
}

/// The sum over k of `a(row, k) * b(column, k)` for 64 rows of `n` columns.
fn sums(
    n: usize,
    k: usize,
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<f32> {
    let sum = |at: usize| (0..k).map(|i| a(at / n, i) * b(at % n, i)).sum();
    (0..64 * n).map(sum).collect()
}

fn floats(words: Vec<u32>) -> Vec<f32> {
    words.into_iter().map(f32::from_bits).collect()
}

#[test]
fn a_from_registers() {
    let c = product("from_registers", &values_bf16(0, 1024), &values_bf16(5000, 1024), 4096);
    let expected = sums(64, 16, |row, k| value(row * 16 + k), |n, k| value(5000 + n * 16 + k));
    assert_eq!(floats(c), expected);
}

#[test]
fn a_in_registers_may_not_change() {
    let mut bench = Bench::new(FILE, &["BUG_CHANGES_A"]);
    let (a, b) = (bench.put(&values_bf16(0, 1024)), bench.put(&values_bf16(9, 1024)));
    let c = bench.device.alloc(4096 * 4).unwrap();
    let params = Params::default().pointer(a).pointer(b).pointer(c);
    let launch = group(&bench, "from_registers", params);
    assert_eq!(bench.found(&launch, "BUG_CHANGES_A"), 20);
}

#[test]
fn b_with_n_contiguous() {
    let c = product("n_contiguous", &values_bf16(0, 1024), &values_bf16(5000, 1024), 4096);
    let expected = sums(64, 16, |row, k| value(row * 16 + k), |n, k| value(5000 + k * 64 + n));
    assert_eq!(floats(c), expected);
}

/// Codes of 0, 0.5, 1, 2, -0.5, -1 and -2.
fn pick<T: Copy>(codes: [T; 7], index: usize) -> (T, f32) {
    let which = index.wrapping_mul(2_654_435_761) / 1024 % 7;
    (codes[which], [0.0, 0.5, 1.0, 2.0, -0.5, -1.0, -2.0][which])
}

#[test]
fn factors_of_eight_bits() {
    let e4m3 = |index| pick([0x00u8, 0x30, 0x38, 0x40, 0xb0, 0xb8, 0xc0], index);
    let codes = |first: usize| (first..first + 2048).map(|i| e4m3(i).0).collect::<Vec<u8>>();
    let c = product("eight_bits", &codes(0), &codes(7777), 4096);
    let expected = sums(64, 32, |row, k| e4m3(row * 32 + k).1, |n, k| e4m3(7777 + n * 32 + k).1);
    assert_eq!(floats(c), expected);
}

#[test]
fn results_in_f16() {
    let f16 = |i| pick([0u16, 0x3800, 0x3c00, 0x4000, 0xb800, 0xbc00, 0xc000], i);
    let codes = |first: usize| -> Vec<u8> {
        (first..first + 1024).flat_map(|i| f16(i).0.to_le_bytes()).collect()
    };
    let c = product("half_results", &codes(0), &codes(4444), 512);
    let once = sums(16, 16, |row, k| f16(row * 16 + k).1, |n, k| f16(4444 + n * 16 + k).1);
    for (at, sum) in once.iter().enumerate() {
        let half = (c[at / 2] >> (at % 2 * 16)) as u16;
        let (exponent, fraction) = (i32::from(half >> 10 & 31), f32::from(half & 1023) / 1024.0);
        let magnitude =
            if exponent == 0 { 0.0 } else { (1.0 + fraction) * 2f32.powi(exponent - 15) };
        let found = if half >> 15 == 1 { -magnitude } else { magnitude };
        assert_eq!(found, 2.0 * sum, "element {at}");
    }
}

/// Every warp of the group must know that B has arrived, whichever comes first.
#[test]
fn every_warp_waits_for_b() {
    for (defines, bug) in [(&[][..], false), (&["BUG_ONE_WARP_WAITS"][..], true)] {
        let mut bench = Bench::new(FILE, defines);
        let tile = bench.put(&values_bf16(0, 4096));
        let c = bench.device.alloc(4096 * 4).unwrap();
        let map = matrix(DataType::Bf16, tile, [64, 64], [64, 64], Swizzle::B128);
        let launch = group(&bench, "waits_apart", Params::default().map(&map).pointer(c));
        if bug {
            assert_eq!(bench.found(&launch, "BUG_ONE_WARP_WAITS"), 20);
            continue;
        }
        for seed in 0..10 {
            bench.clean(&launch, seed);
        }
        let tile = |row: usize, k: usize| value(row * 64 + k);
        assert_eq!(bench.floats(c, 4096), sums(64, 16, tile, tile));
    }
}

#[test]
fn three_warps_are_no_warpgroup() {
    let mut bench = Bench::new(FILE, &[]);
    let (a, b) = (bench.put(&[0; 2048]), bench.put(&[0; 2048]));
    let c = bench.device.alloc(4096 * 4).unwrap();
    let params = Params::default().pointer(a).pointer(b).pointer(c);
    let launch = Launch { block: [96, 1, 1], ..group(&bench, "eight_bits", params) };
    assert!(bench.launch(&launch).has(FaultKind::Divergence));
}
