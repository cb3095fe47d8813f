//! CUDA's headers and libdevice run as they are, and are right.

use crate::common::compile;
use ptxsim::{Device, Launch, ModuleId, Report};

const N: usize = 64;

fn load() -> (Device, ModuleId) {
    let text = compile("ptxsim/tests/kernels/library.cu", &[], "compute_90a");
    let mut device = Device::new();
    let module = device.load_ptx("library.ptx", &text).unwrap_or_else(|e| panic!("{e}"));
    (device, module)
}

/// Runs an entry on words, and gives `rows` rows of as many.
fn run(entry: &str, grid: u32, input: &[u32], rows: usize, counts: bool) -> (Vec<u32>, Report) {
    let (mut device, module) = load();
    let n = input.len();
    let x = device.alloc(4 * n as u64).unwrap();
    let data: Vec<u8> = input.iter().flat_map(|v| v.to_le_bytes()).collect();
    device.copy_in(x, &data).unwrap();
    let mut params = x.to_le_bytes().to_vec();
    let y = device.alloc((4 * n * rows.max(1)) as u64).unwrap();
    if rows > 0 {
        params.extend(y.to_le_bytes());
    }
    if counts {
        params.extend((n as u32).to_le_bytes());
    }
    let launch = Launch {
        module,
        entry: entry.into(),
        grid: [grid, 1, 1],
        block: [n as u32, 1, 1],
        params,
        ..Launch::default()
    };
    let report = device.launch(&launch).unwrap_or_else(|e| panic!("{e}"));
    assert!(report.is_clean(), "{report}");
    let mut out = vec![0; 4 * n * rows];
    if rows > 0 {
        device.copy_out(y, &mut out).unwrap();
    }
    (out.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect(), report)
}

fn inputs() -> Vec<f32> {
    (0..N).map(|i| (i as f32 - 31.5) * 0.37 + (i % 7) as f32 * 0.011).collect()
}

#[test]
fn mathematics_of_libdevice() {
    let functions: [fn(f64) -> f64; 19] = [
        f64::exp,
        |v| (v.abs() + 1.0).ln(),
        f64::sin,
        f64::cos,
        f64::tanh,
        |v| v.abs().powf(1.7f32 as f64),
        erf,
        f64::cbrt,
        |v| v.abs().sqrt(),
        |v| 1.0 / (v + 100.0),
        |v| v % 1.5,
        f64::round_ties_even,
        |v| v.floor() + v.ceil() * 0.5,
        f64::exp2,
        |v| (v.abs() + 0.5).log2(),
        |v| v.atan2(2.0),
        f64::exp,
        |v| v.hypot(3.0),
        |v| 1.0 / (v.abs() + 0.25).sqrt(),
    ];
    let x = inputs();
    let bits: Vec<u32> = x.iter().map(|v| v.to_bits()).collect();
    let (got, _) = run("floats", 20, &bits, 20, true);
    for (f, function) in functions.iter().enumerate() {
        for (i, v) in x.iter().enumerate() {
            let (got, want) = (f32::from_bits(got[f * N + i]) as f64, function(*v as f64));
            let error = (got - want).abs() / want.abs().max(1e-3);
            assert!(error < 2e-6, "function {f} of {v}: {got}, not {want}");
        }
    }
}

/// By its series, which converges everywhere (Abramowitz and Stegun 7.1.6).
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..2000 {
        term *= 2.0 * x * x / (2 * n + 1) as f64;
        sum += term;
        if term.abs() < 1e-18 * sum.abs() {
            break;
        }
    }
    sum * (-x * x).exp() * 2.0 / std::f64::consts::PI.sqrt()
}

#[test]
fn integer_intrinsics() {
    let mix = |i: usize| ((i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as u32;
    let x: Vec<u32> = (0..N).map(mix).collect();
    let (got, _) = run("integers", 1, &x, 14, true);
    for i in 0..N {
        let (a, b) = (x[i], x[(i + 1) % N] | 1);
        let bytes: Vec<u32> =
            a.to_le_bytes().iter().chain(&b.to_le_bytes()).map(|&x| x as u32).collect();
        let dot: u32 = (0..4).map(|k| bytes[k] * bytes[4 + k]).sum();
        let want = [
            a.reverse_bits(),
            a.leading_zeros(),
            a.count_ones(),
            if a == 0 { 0 } else { a.trailing_zeros() + 1 },
            ((a as u64 * b as u64) >> 32) as u32,
            bytes[5] | bytes[1] << 8 | bytes[7] << 16 | bytes[3] << 24,
            b << 13 | a >> 19,
            dot.wrapping_add(7),
            a / b,
            a % b,
            (a as i32).abs_diff(b as i32).wrapping_add(5),
            ((a as u64).wrapping_mul(12_345_678_901) / b as u64) as u32,
            ((a as i32 as i64 + b as i32 as i64) >> 1) as u32,
            ((a as i32 as i64 * b as i32 as i64) >> 32) as u32,
        ];
        for (f, want) in want.iter().enumerate() {
            assert_eq!(got[f * N + i], *want, "function {f} of {a:#x} and {b:#x}");
        }
    }
}

#[test]
fn halves_of_the_headers() {
    let x = inputs();
    let bits: Vec<u32> = x.iter().map(|v| v.to_bits()).collect();
    let (got, _) = run("halves", 1, &bits, 12, true);
    for i in 0..N {
        let (a, b) = (x[i] as f64, x[(i + 1) % N] as f64);
        // What is exact, and how many parts of it the format's last place may be off, twice over.
        let want = [
            (a + b, 1e-3),
            (a * b, 2e-3),
            (a * b + a, 3e-3),
            (a + b, 1.2e-2),
            (a * b, 1.6e-2),
            (a.max(b), 4e-3),
            (a + b, 1e-3),
            (a, 0.07),
            (b, 0.14),
            (a.exp2(), 2e-2),
            (1.0 / b, 1.2e-2),
            ((a < b) as u8 as f64, 0.0),
        ];
        for (f, (want, tolerance)) in want.iter().enumerate() {
            let got = f32::from_bits(got[f * N + i]) as f64;
            let near = (got - want).abs() <= tolerance * (want.abs() + a.abs() + b.abs() + 0.01);
            assert!(near, "function {f} of {a} and {b}: {got}, not {want}");
        }
    }
}

#[test]
fn cooperative_groups() {
    let x: Vec<u32> = (0..128).map(|i| (i * 37) % 101).collect();
    let (got, _) = run("groups", 1, &x, 4, false);
    for i in 0..128 {
        let warp = &x[i / 32 * 32..][..32];
        let eight = &x[i / 8 * 8..][..8];
        assert_eq!(got[i], warp.iter().sum::<u32>());
        assert_eq!(got[128 + i], *eight.iter().max().unwrap());
        let rank = warp[..i % 32].iter().filter(|v| *v & 1 == 1).count() as u32;
        assert_eq!(got[256 + i], if x[i] & 1 == 1 { rank } else { u32::MAX });
        let ballot = warp.iter().enumerate().fold(0, |m, (l, v)| m | ((*v > 50) as u32) << l);
        assert_eq!(got[384 + i], eight[3].wrapping_add(ballot));
    }
}

#[test]
fn a_kernel_prints() {
    let (_, report) = run("prints", 1, &[5, 6, 7, 8], 0, false);
    assert_eq!(report.printed, "8  3.14|abc   |0000beef 1099511627776 z%\n");
}
