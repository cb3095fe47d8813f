//! The driver itself: memory, launches, graphs, and what becomes of a kernel that goes wrong.

use super::{Rig, rigs, samples};
use bytemuck::Zeroable;
use half::bf16;
use ridgepoint::backend::cuda::driver::Boxes;
use ridgepoint::backend::cuda::kernels::Shape;
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::backend::cuda::params::{
    GEMM_SM90_THREADS, GemmTensorParams, SILU_MUL_THREADS, SiluMulParams,
};
use ridgepoint::error::Error;

const WIDTH: usize = 64;

/// The argument of tensor copies is made from a matrix; what no driver takes is refused.
#[test]
fn tensor_maps_are_made_and_checked() {
    let rig = rigs().pop().unwrap();
    let matrix = rig.room::<bf16>(32 * WIDTH);
    let boxes = Boxes { at: matrix.ptr(), rows: 32, columns: WIDTH as u64, box_rows: 16 };
    let map = |boxes: Boxes| rig.kernels.tensor_map(&boxes).map(|map| map.words);
    let made = map(boxes).unwrap();
    assert_eq!(map(boxes).unwrap(), made);
    assert_ne!(map(Boxes { rows: 31, ..boxes }).unwrap(), made);
    for refused in [
        Boxes { at: boxes.at + 2, ..boxes },
        Boxes { columns: WIDTH as u64 + 1, ..boxes },
        Boxes { box_rows: 257, ..boxes },
        Boxes { rows: 0, ..boxes },
    ] {
        assert!(matches!(map(refused), Err(Error::Device(_))), "{refused:?}");
    }
}

/// Blocks of a cluster are started together, so a grid holds whole clusters.
#[test]
#[should_panic(expected = "clusters of 2")]
fn a_grid_of_half_a_cluster_is_refused() {
    let rig = Rig::simulated(false);
    let params = GemmTensorParams::zeroed();
    let shape = Shape { grid: [3, 1, 1], block: GEMM_SM90_THREADS, shared_bytes: 0 };
    let _ = rig.kernels.launch("gemm_prefill_bf16_bf16_m32_sm90", shape, &params);
}

/// A launch of `silu_mul` over `rows` rows of `WIDTH`, of which the input holds `held`.
struct Case {
    gate_up: Buffer,
    out: Buffer,
    rows: usize,
}

impl Case {
    fn new(rig: &Rig, rows: usize, held: usize) -> Case {
        let gate_up = rig.upload(&samples(held * 2 * WIDTH, 5));
        Case { gate_up, out: rig.poisoned::<bf16>(rows * WIDTH), rows }
    }

    fn launch(&self, rig: &Rig) -> ridgepoint::error::Result<()> {
        let params = SiluMulParams {
            gate_up: self.gate_up.ptr(),
            out: self.out.ptr(),
            rows: self.rows as u32,
            intermediate: WIDTH as u32,
        };
        let grid = [self.rows as u32, 1, 1];
        let shape = Shape { grid, block: SILU_MUL_THREADS, shared_bytes: 0 };
        rig.kernels.launch("silu_mul_bf16", shape, &params)
    }

    fn read(&self) -> Vec<u16> {
        self.out.read(self.rows * WIDTH).unwrap()
    }
}

#[test]
fn memory_holds_what_is_written_and_is_given_back() {
    for rig in rigs() {
        let before = rig.driver().free_bytes().unwrap();
        let data: Vec<u32> = (0..1000).collect();
        let buffer = rig.upload(&data);
        assert_eq!(buffer.read::<u32>(1000).unwrap(), data);
        rig.driver().fill(buffer.ptr() + 4, 0xab, 8).unwrap();
        assert_eq!(buffer.read::<u32>(4).unwrap(), [0, 0xabab_abab, 0xabab_abab, 3]);
        assert!(buffer.ptr().is_multiple_of(256));
        drop(buffer);
        assert_eq!(rig.driver().free_bytes().unwrap(), before);
    }
}

#[test]
fn too_much_memory_is_an_error_that_says_how_much() {
    for rig in rigs() {
        let error = Buffer::new(rig.driver(), 1 << 50).err().unwrap();
        let text = error.to_string();
        assert!(matches!(error, Error::Device(_)), "{text}");
        assert!(text.contains("1125899906842624 bytes") && text.contains("free"), "{text}");
    }
}

#[test]
fn a_graph_repeats_its_launches_on_what_lies_there_now() {
    for rig in rigs() {
        let case = Case::new(&rig, 3, 3);
        case.launch(&rig).unwrap();
        let expected = case.read();
        let graph = rig.kernels.record(|| case.launch(&rig)).unwrap();
        rig.driver().fill(case.out.ptr(), 0, case.out.bytes()).unwrap();
        assert!(case.read().iter().all(|x| *x == 0), "a record runs nothing");
        assert!(rig.kernels.replay(&graph, || case.launch(&rig)).unwrap());
        assert_eq!(case.read(), expected);
        let other = Case::new(&rig, 2, 2);
        rig.driver().fill(case.out.ptr(), 0, case.out.bytes()).unwrap();
        assert!(!rig.kernels.replay(&graph, || other.launch(&rig)).unwrap());
        assert!(!rig.kernels.replay(&graph, || Ok(())).unwrap());
        assert!(case.read().iter().all(|x| *x == 0), "a record that differs does not run");
    }
}

#[test]
fn a_failed_record_leaves_the_device_usable() {
    for rig in rigs() {
        let case = Case::new(&rig, 1, 1);
        let failed = rig.kernels.record(|| Err(Error::Device("no".to_string())));
        assert!(failed.is_err());
        case.launch(&rig).unwrap();
        assert_ne!(case.read()[0], 0xffff);
    }
}

/// An engine catches panics and goes on: launches must then run again, and not be recorded or
/// compared with a record for ever.
#[test]
fn a_panic_while_recording_leaves_the_device_usable() {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    for rig in rigs() {
        let case = Case::new(&rig, 1, 1);
        let graph = rig.kernels.record(|| case.launch(&rig)).unwrap();
        let panics = || -> ridgepoint::error::Result<()> { panic!("a planned panic") };
        let recorded = catch_unwind(AssertUnwindSafe(|| rig.kernels.record(panics).map(drop)));
        let replayed = catch_unwind(AssertUnwindSafe(|| rig.kernels.replay(&graph, panics)));
        assert!(recorded.is_err() && replayed.is_err());
        case.launch(&rig).unwrap();
        assert_ne!(case.read()[0], 0xffff);
    }
}

/// Only in the simulator: on a GPU such a kernel may or may not be noticed.
#[test]
fn a_finding_of_the_simulator_fails_the_step_with_its_report() {
    for portable in [false, true] {
        let rig = Rig::simulated(portable);
        let case = Case::new(&rig, 4, 3);
        let launched = case.launch(&rig).and_then(|()| rig.driver().synchronize());
        let text = launched.unwrap_err().to_string();
        assert!(text.contains("silu_mul_bf16 grid [4, 1, 1]"), "{text}");
        assert!(text.contains("out of bounds at silu_mul.cu"), "{text}");
        let again = rig.driver().synchronize().unwrap_err().to_string();
        assert_eq!(text, again, "what failed stays failed");
    }
}

/// Without a driver library the message says what is missing; with one, the GPU is there.
#[test]
fn a_missing_driver_is_named() {
    use ridgepoint::backend::cuda::driver::{CudaDriver, device_count};
    match device_count() {
        Ok(count) => assert!(count > 0 && CudaDriver::open(count).is_err()),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("NVIDIA driver") || text.contains("cuInit"), "{text}");
            assert_eq!(CudaDriver::open(0).err().unwrap().to_string(), text);
        }
    }
}
