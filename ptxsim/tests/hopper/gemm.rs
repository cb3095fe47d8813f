//! The warp-specialised product of `hopper_gemm.cu`: right and without faults whatever the
//! schedule, and every planted bug found where it is.

use super::{Bench, Params, matrix, value, values_bf16};
use ptxsim::tensor::swizzle::Swizzle;
use ptxsim::tensor::tma::DataType;
use ptxsim::{FaultKind, Launch};

const B: usize = 100_000;

struct Gemm {
    bench: Bench,
    launch: Launch,
    c: u64,
    size: [usize; 3],
}

impl Gemm {
    fn new([m, n, k]: [usize; 3], defines: &[&str]) -> Gemm {
        let mut bench = Bench::new("hopper_gemm.cu", defines);
        let a = bench.put(&values_bf16(0, m * k));
        let b = bench.put(&values_bf16(B, n * k));
        let c = bench.device.alloc((m * n * 4) as u64).unwrap();
        let map = |at, rows, shape| matrix(DataType::Bf16, at, [k, rows], shape, Swizzle::B128);
        let params = Params::default().map(&map(a, m, [64, 128])).map(&map(b, n, [64, 64]));
        let params = params.pointer(a).pointer(b).pointer(c);
        let params = params.int(m as i32).int(n as i32).int(k as i32).0;
        let launch = Launch {
            module: bench.module,
            entry: "hopper_gemm".into(),
            grid: [n.div_ceil(64) as u32, m.div_ceil(128) as u32, 1],
            block: [384, 1, 1],
            shared_bytes: 2 * 24576 + 32,
            shared_opt_in: true,
            registers: 168,
            params,
            ..Launch::default()
        };
        Gemm { bench, launch, c, size: [m, n, k] }
    }

    /// Elements of C that are wrong.
    fn wrong(&mut self) -> usize {
        let [m, n, k] = self.size;
        let c = self.bench.floats(self.c, m * n);
        let exact = |row: usize, column: usize| -> f64 {
            let product = |i| f64::from(value(row * k + i)) * f64::from(value(B + column * k + i));
            (0..k).map(product).sum()
        };
        (0..m * n).filter(|at| f64::from(c[*at]) != exact(at / n, at % n)).count()
    }
}

/// Each stage is used by four steps, under the same descriptors: were a converted tile of B kept
/// for longer than its product, the sums would be wrong.
#[test]
fn tensor_copies_are_right_and_clean() {
    let mut gemm = Gemm::new([128, 128, 512], &["TENSOR_COPIES"]);
    for seed in 0..50 {
        let report = gemm.bench.clean(&gemm.launch, seed);
        assert_eq!(report.counters.matrix_macs, 128 * 128 * 512);
        let bytes = report.counters.async_copies;
        assert_eq!((bytes.bytes, bytes.sectors), (2 * 8 * 24576, 2 * 8 * 24576 / 32));
    }
    assert_eq!(gemm.wrong(), 0);
}

/// Boxes that leave the tensor are filled up with zeros, and count in full on the barrier.
#[test]
fn clipped_boxes_are_right_and_clean() {
    let mut gemm = Gemm::new([100, 40, 192], &["TENSOR_COPIES"]);
    for seed in 0..10 {
        gemm.bench.clean(&gemm.launch, seed);
    }
    assert_eq!(gemm.wrong(), 0);
}

#[test]
fn stored_tiles_are_right_and_clean() {
    let mut gemm = Gemm::new([128, 64, 256], &[]);
    for seed in 0..50 {
        gemm.bench.clean(&gemm.launch, seed);
    }
    assert_eq!(gemm.wrong(), 0);
}

#[test]
fn products_that_overlap_are_right_and_clean() {
    let mut gemm = Gemm::new([128, 64, 512], &["TENSOR_COPIES", "OVERLAPPED"]);
    for seed in 0..30 {
        gemm.bench.clean(&gemm.launch, seed);
    }
    assert_eq!(gemm.wrong(), 0);
}

#[test]
fn planted_bugs_are_found() {
    for (defines, least) in [
        (&["TENSOR_COPIES", "BUG_NO_FULL_WAIT"][..], 20),
        (&["TENSOR_COPIES", "BUG_NO_EMPTY_WAIT"], 20),
        (&["TENSOR_COPIES", "BUG_EARLY_RELEASE"], 20),
        (&["TENSOR_COPIES", "OVERLAPPED", "BUG_EARLY_RELEASE"], 20),
        (&["TENSOR_COPIES", "BUG_NO_WGMMA_WAIT"], 20),
        (&["TENSOR_COPIES", "BUG_NO_WGMMA_FENCE"], 20),
        (&["TENSOR_COPIES", "BUG_NO_EXPECT"], 20),
        (&["BUG_NO_PROXY_FENCE"], 20),
    ] {
        let mut gemm = Gemm::new([128, 64, 512], defines);
        let found = gemm.bench.found(&gemm.launch, defines.last().unwrap());
        assert!(found >= least, "{defines:?}: {found} of 20");
    }
}

/// A wrong step along K reads what is there, so only the values can tell.
#[test]
fn a_wrong_step_gives_wrong_values() {
    let mut gemm = Gemm::new([128, 64, 256], &["TENSOR_COPIES", "BUG_WRONG_STEP"]);
    let report = gemm.bench.launch(&gemm.launch);
    assert!(!report.is_clean() || gemm.wrong() > 1000);
}

/// An early release is told with the product that was reading.
#[test]
fn an_overwritten_operand_names_its_product() {
    let mut gemm = Gemm::new([128, 64, 512], &["TENSOR_COPIES", "BUG_EARLY_RELEASE"]);
    let report = gemm.bench.launch(&gemm.launch);
    let fault = report.faults.iter().find(|f| f.kind() == FaultKind::OverwriteRace).unwrap();
    let previous = fault.first.previous.as_ref().unwrap();
    assert_eq!(previous.what, "wgmma of warpgroup", "{fault}");
    assert!(previous.site.opcode.starts_with("wgmma.mma_async"), "{fault}");
}
