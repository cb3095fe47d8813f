//! Every kernel by way of its launch code, on the device that the suite is run on: the simulator,
//! both passes of the build, or with `RIDGEPOINT_TEST_DEVICE=cuda` a GPU. The numbers against f64,
//! the same bits whatever is beside a row, no finding under any schedule, no more traffic than
//! the head of the kernel says.

mod attention;
mod attention_chain;
mod attention_decode;
mod attention_prefill;
mod attention_prefill_sm90;
mod batches;
mod checkpoints;
mod driver;
mod embed;
mod engine;
mod gather;
mod gemm;
mod gemm_decode;
mod gemm_decode_wgmma;
mod gemm_hopper;
mod gemm_kernels;
mod gemm_prefill;
mod gemm_traffic;
mod logprobs;
mod matrix;
mod model;
mod quantised;
mod rings;
mod rmsnorm;
mod rope_append;
mod sample;
mod silu_mul;
mod traffic;
mod wgmma_probe;

use half::bf16;
use ptxsim::Counters;
use ridgepoint::backend::cuda::driver::CudaDriver;
use ridgepoint::backend::cuda::driver::Driver;
use ridgepoint::backend::cuda::driver::SimDriver;
use ridgepoint::backend::cuda::kernels::{KernelSet, Kernels};
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::backend::cuda::module::target_for;
use ridgepoint::error::Result;
use std::sync::Arc;

/// A device with all kernels loaded.
pub struct Rig {
    pub kernels: Kernels,
    sim: Option<Arc<SimDriver>>,
}

/// The devices that a test runs on: both passes of the simulator, or one GPU.
pub fn rigs() -> Vec<Rig> {
    match std::env::var("RIDGEPOINT_TEST_DEVICE").as_deref() {
        Err(_) | Ok("sim") => {
            // A build for Hopper alone has no figures of the portable pass.
            let passes = [true, false].into_iter().filter(|p| !p || target_for((8, 0)).is_some());
            passes.map(Rig::simulated).collect()
        }
        Ok("cuda") => {
            let kernels = Kernels::new(Arc::new(CudaDriver::open(0).unwrap())).unwrap();
            vec![Rig { kernels, sim: None }]
        }
        Ok(other) => panic!("RIDGEPOINT_TEST_DEVICE is {other}, expected sim or cuda"),
    }
}

/// The device whose kernels are Hopper's, once more with the portable ones; `None` if there is no
/// such device.
pub fn portable_twin() -> Option<Rig> {
    let last = rigs().pop().filter(|rig| rig.kernels.set() == KernelSet::Hopper)?;
    Some(match last.sim {
        Some(_) => Rig::portable((9, 0)),
        None => {
            let driver = Arc::new(CudaDriver::open(0).unwrap());
            Rig { kernels: Kernels::of_set(driver, KernelSet::Portable).unwrap(), sim: None }
        }
    })
}

/// Each case on one of the devices, by turns, where both take too long: the passes are of the same
/// kernels, whose own tests run on both.
pub fn in_turns(names: &'static [&'static str]) -> impl Iterator<Item = (&'static str, Rig)> {
    names.iter().enumerate().map(|(i, name)| {
        let mut rigs = rigs();
        let turn = i % rigs.len();
        (*name, rigs.swap_remove(turn))
    })
}

impl Rig {
    /// `portable`: compute capability 8.0 instead of 9.0.
    pub fn simulated(portable: bool) -> Rig {
        Rig::posing(if portable { (8, 0) } else { (9, 0) })
    }

    /// The simulator as a device of a compute capability.
    pub fn posing(compute: (u32, u32)) -> Rig {
        Rig::with(compute, Kernels::new)
    }

    /// The same with the portable kernels, whatever the device has.
    pub fn portable(compute: (u32, u32)) -> Rig {
        Rig::with(compute, |driver| Kernels::of_set(driver, KernelSet::Portable))
    }

    fn with(compute: (u32, u32), load: impl Fn(Arc<dyn Driver>) -> Result<Kernels>) -> Rig {
        let sim = Arc::new(SimDriver::of(compute));
        sim.keep_counters();
        let kernels = load(sim.clone()).unwrap();
        Rig { kernels, sim: Some(sim) }
    }

    pub fn driver(&self) -> &Arc<dyn Driver> {
        self.kernels.driver()
    }

    /// The order in which the simulator lets warps go on; nothing on a GPU.
    pub fn set_seed(&self, seed: u64) {
        if let Some(sim) = &self.sim {
            sim.set_seed(seed);
        }
    }

    /// Schedules worth trying: several in the simulator, one on a GPU.
    pub fn seeds(&self, count: u64) -> std::ops::Range<u64> {
        0..if self.sim.is_some() { count } else { 1 }
    }

    /// Counters of the launches since the last call, added up by the caller; `None` on a GPU.
    pub fn counters(&self) -> Option<Vec<Counters>> {
        self.sim.as_ref().map(|sim| sim.take_counters().unwrap())
    }

    pub fn upload<T: bytemuck::NoUninit>(&self, data: &[T]) -> Buffer {
        Buffer::of(self.driver(), data).unwrap()
    }

    /// Room for `count` elements whose bytes are all 0xff: NaN in bf16 and f32. In the simulator
    /// it counts as written; see [`Rig::room`].
    pub fn poisoned<T>(&self, count: usize) -> Buffer {
        let buffer = self.room::<T>(count);
        self.driver().fill(buffer.ptr(), 0xff, buffer.bytes()).unwrap();
        buffer
    }

    /// Room for `count` elements that nobody has written: in the simulator reading them is a
    /// finding.
    pub fn room<T>(&self, count: usize) -> Buffer {
        Buffer::new(self.driver(), (count * size_of::<T>()) as u64).unwrap()
    }
}

/// Numbers from -2 to 2 that an index decides, in bf16.
pub fn samples(n: usize, salt: u64) -> Vec<bf16> {
    let at = |i: usize| i as u64 + 1 + (salt << 32);
    let mix = |i: usize| at(i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (0..n).map(|i| bf16::from_f64(mix(i) as f64 / (1u64 << 22) as f64 - 2.0)).collect()
}
