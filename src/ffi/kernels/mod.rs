//! The kernel layer: single ops on memory and a stream that the caller brings.
//!
//! A context of kernels belongs to the CUDA context that was current when it was made, or to the
//! simulator; which context is current on the caller's thread is as before after every call. One
//! thread at a time may use it; another is told RP_IN_USE. `..._workspace_size` and
//! `..._plan` work on the host alone; `..._run` checks its arguments and launches: it allocates
//! nothing, waits for nothing and keeps nothing, so that it can be captured in a graph.

pub mod attention;
pub mod gemm;
pub mod memory;
pub mod query;
pub mod repack;
pub mod rows;
pub mod sample;

use super::handle;
use super::memory::{self as c, sized};
#[cfg(not(feature = "cuda"))]
use super::status::WITHOUT_KERNELS;
use super::status::{Fault, Outcome, guard, rp_status};
use crate::backend::cuda::driver::{Driver, SimDriver};
use crate::backend::cuda::kernels::Kernels;
use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex};

#[cfg(feature = "cuda")]
use crate::backend::cuda::driver::CudaDriver;

/// `rp_kernels_options.device`: the CUDA context that is current on the calling thread.
pub const RP_DEVICE_CURRENT: u32 = 0;
/// `rp_kernels_options.device`: a simulated GPU, which runs the kernels' PTX on the processor and
/// reports races, reads of what nobody wrote, and accesses out of bounds as errors.
pub const RP_DEVICE_SIM: u32 = 1;

/// The phase of a product or of attention: many rows of a prompt, bound by arithmetic.
pub const RP_PHASE_PREFILL: u32 = 0;
/// The phase of a product or of attention: few rows a sequence, bound by memory bandwidth.
pub const RP_PHASE_DECODE: u32 = 1;

/// Kernels on a device. One thread at a time.
pub struct rp_kernels {
    _private: [u8; 0],
}

/// Where kernels run.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_kernels_options {
    /// sizeof(rp_kernels_options).
    pub size: usize,
    /// RP_DEVICE_CURRENT or RP_DEVICE_SIM.
    pub device: u32,
    /// With RP_DEVICE_SIM, the compute capability times ten: 80, 86, 89 or 90; 0 is 90.
    pub sim_compute: u32,
    /// With RP_DEVICE_CURRENT, a CUstream (or cudaStream_t) of that context; null is its default
    /// stream. It lives as long as launches go to it.
    pub stream: *mut c_void,
}

/// Heads of attention.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_heads {
    /// Query heads.
    pub query: u32,
    /// Key/value heads, which divide the query heads.
    pub kv: u32,
    /// Elements of a head: 64 or 128.
    pub dim: u32,
}

sized!(rp_kernels_options);

/// What stands behind a handle of kernels.
pub(super) struct KernelState(Mutex<Held>);

/// The kernels and their device.
pub(super) struct Held {
    kernels: Kernels,
    #[cfg(feature = "cuda")]
    cuda: Option<Arc<CudaDriver>>,
}

impl Held {
    fn driver(&self) -> &Arc<dyn Driver> {
        self.kernels.driver()
    }
}

/// Does something with kernels that nobody else uses meanwhile.
fn with(kernels: *const rp_kernels, body: impl FnOnce(&Held) -> Outcome) -> rp_status {
    guard(|| {
        let state = handle::get::<KernelState, _>(kernels)?;
        let held = handle::alone(&state.0, "kernels")?;
        body(&held)
    })
}

/// A refusal of an op's own check.
fn refuse(op: &str) -> impl Fn(String) -> Fault {
    move |why| Fault::invalid(format!("{op}: {why}"))
}

/// Makes kernels ready. Takes the longest of all calls here: it loads the machine code.
///
/// # Safety
/// `options` is a struct as large as it says, `kernels` is writable, and the stream is one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_kernels_create(
    options: *const rp_kernels_options,
    kernels: *mut *mut rp_kernels,
) -> rp_status {
    guard(|| {
        // SAFETY: as the caller promises.
        let options = unsafe { c::read(options) }?;
        c::check_put("kernels", kernels)?;
        let held = match options.device {
            // SAFETY: as the caller promises.
            RP_DEVICE_CURRENT => unsafe { current(options.stream) }?,
            RP_DEVICE_SIM => simulated(options.sim_compute)?,
            other => {
                let text = format!("device is {other}, expected RP_DEVICE_CURRENT or _SIM");
                return Err(Fault::invalid(text));
            }
        };
        let handle = handle::keep(Arc::new(KernelState(Mutex::new(held))));
        // SAFETY: as the caller promises.
        unsafe { c::put("kernels", kernels, handle) }
    })
}

#[cfg(feature = "cuda")]
unsafe fn current(stream: *mut c_void) -> Outcome<Held> {
    // SAFETY: as the caller promises.
    let driver = Arc::new(unsafe { CudaDriver::current(stream.addr() as u64) }?);
    let kernels = Kernels::new(driver.clone())?;
    Ok(Held { kernels, cuda: Some(driver) })
}

#[cfg(not(feature = "cuda"))]
unsafe fn current(_stream: *mut c_void) -> Outcome<Held> {
    Err(Fault::new(rp_status::RP_UNSUPPORTED, WITHOUT_KERNELS))
}

fn simulated(compute: u32) -> Outcome<Held> {
    let compute = match compute {
        0 => (9, 0),
        80 | 86 | 89 | 90 => (compute / 10, compute % 10),
        other => {
            let text = format!("sim_compute is {other}, expected 0, 80, 86, 89 or 90");
            return Err(Fault::invalid(text));
        }
    };
    let kernels = Kernels::new(Arc::new(SimDriver::of(compute)))?;
    Ok(Held {
        kernels,
        #[cfg(feature = "cuda")]
        cuda: None,
    })
}

/// Ends the handle: waits for all work of its CUDA context and unloads the machine code. Graphs
/// that hold launches of it may not run afterwards. Not while a stream of the context is captured.
#[unsafe(no_mangle)]
pub extern "C" fn rp_kernels_destroy(kernels: *mut rp_kernels) -> rp_status {
    guard(|| handle::end::<KernelState, _>(kernels).map(drop))
}

/// Sends the launches that follow to another stream of the same context. The simulator has but
/// one, and takes null.
///
/// # Safety
/// `stream` is a CUstream that lives as long as launches go to it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_kernels_set_stream(
    kernels: *mut rp_kernels,
    stream: *mut c_void,
) -> rp_status {
    with(kernels, |held| {
        #[cfg(feature = "cuda")]
        if let Some(cuda) = &held.cuda {
            // SAFETY: as the caller promises.
            return unsafe { cuda.set_stream(stream.addr() as u64) }
                .map_err(|error| Fault::invalid(error.to_string()));
        }
        let _ = held;
        match stream.is_null() {
            true => Ok(()),
            false => Err(Fault::invalid("the simulator has no streams but the null one")),
        }
    })
}

/// Says what the kernels run on: device, compute capability, machine code. `needed` may be null.
///
/// # Safety
/// `text` has `capacity` writable bytes; `needed` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_kernels_describe(
    kernels: *const rp_kernels,
    text: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rp_status {
    with(kernels, |held| {
        let driver = held.driver();
        let properties = driver.properties();
        let ((major, minor), name) = (properties.compute, &properties.name);
        let says = format!("{name}, compute capability {major}.{minor}, {}", driver.target());
        // SAFETY: as the caller promises.
        unsafe { c::give_text(&says, text, capacity, needed) }
    })
}

/// Waits until all launches have ended, and tells what became of them: a fault of the device, or
/// any finding of the simulator. For tests and measurements; an engine synchronises its stream by
/// its own means.
#[unsafe(no_mangle)]
pub extern "C" fn rp_kernels_synchronize(kernels: *mut rp_kernels) -> rp_status {
    with(kernels, |held| Ok(held.driver().synchronize()?))
}
