//! What the CUDA backend asks of a GPU: memory, modules, launches, graphs, events. Two things can
//! give it: a GPU by way of its driver (`cudarc`, feature `cuda`), and [`SimDriver`], which runs
//! the kernels' own PTX on the processor. Launch code, page tables and arguments are the same on
//! both, and so are the tests.
//!
//! There is one stream: what is asked for happens in order. A fault of the device, and in the
//! simulator any finding of its checks, is an error of the call that meets it or of a later one.

#[cfg(feature = "cuda")]
mod cudarc;
pub mod dry;
mod sim;

#[cfg(feature = "cuda")]
pub use self::cudarc::{CudaDriver, device_count};
pub use dry::DryDriver;
pub use sim::SimDriver;

use super::module::{Entry, Module};
use super::params::TensorMap;
use crate::error::Result;

/// An address in device memory.
pub type DevicePtr = u64;

/// What the backend has to know of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Properties {
    /// Its name, for messages.
    pub name: String,
    /// Compute capability, such as (9, 0).
    pub compute: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Memory in all.
    pub memory_bytes: u64,
    /// Shared memory that a block can have, static and dynamic together.
    pub shared_bytes: u32,
}

/// [`Properties::shared_bytes`] of devices of a compute capability ("Technical Specifications per
/// Compute Capability" in the CUDA C++ Programming Guide), for where no device can be asked. What
/// is newer than the table gets the least.
pub fn shared_bytes_of(compute: (u32, u32)) -> u32 {
    match compute {
        (8, 0) | (8, 7) => 163 << 10,
        (9..=11, _) => 227 << 10,
        _ => 99 << 10,
    }
}

/// One kernel launch.
#[derive(Debug, Clone)]
pub struct Launch<'a> {
    /// The file of the kernel.
    pub module: &'static Module,
    /// The kernel.
    pub entry: &'static Entry,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block, all in x.
    pub block: u32,
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// The kernel's one argument.
    pub params: &'a [u8],
    /// May start before the launch before it has ended. Only for a kernel that waits for that end
    /// itself ([`super::module::KernelTarget::waits_for_grid`]).
    pub programmatic: bool,
}

/// A matrix in bf16 that kernels copy by boxes of 64 columns, 128 bytes, to shared memory. There
/// the eight parts of 16 bytes of a row are permuted by the row's number (the 128-byte swizzle), as
/// the descriptors of wgmma take them. What of a box lies outside of the matrix becomes 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boxes {
    /// The first element, 16-byte aligned; row-major.
    pub at: DevicePtr,
    /// Rows of the matrix.
    pub rows: u64,
    /// Columns of the matrix, a multiple of 8.
    pub columns: u64,
    /// Rows of a box, at most 256.
    pub box_rows: u32,
}

/// Columns of a box.
const BOX_COLUMNS: u32 = 64;
/// Bytes of an element of bf16.
const BF16: u64 = 2;

/// A captured sequence of launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GraphId(pub u64);

/// A point in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId(pub u64);

/// A device. Errors are [`crate::error::Error::Device`].
pub trait Driver: Send + Sync {
    /// What it is.
    fn properties(&self) -> &Properties;

    /// The name of the machine-code target that kernels come from, such as `sm_90a`: what
    /// [`super::module::KernelTarget::target`] says of it holds here.
    fn target(&self) -> &'static str;

    /// Free device memory in bytes.
    ///
    /// # Errors
    /// If the device cannot be asked.
    fn free_bytes(&self) -> Result<u64>;

    /// Makes the kernels of a file ready; once is enough.
    ///
    /// # Errors
    /// If the device cannot run them.
    fn load(&self, module: &'static Module) -> Result<()>;

    /// Takes memory, aligned to 256 bytes, its content undefined.
    ///
    /// # Errors
    /// If there is not that much left.
    fn alloc(&self, bytes: u64) -> Result<DevicePtr>;

    /// Gives memory back, after what has been asked for before. An address that [`Driver::alloc`]
    /// did not give is a programmer's fault.
    fn free(&self, at: DevicePtr);

    /// Copies to the device; `data` may be reused at once.
    ///
    /// # Errors
    /// If the device fails, as in everything below.
    fn write(&self, at: DevicePtr, data: &[u8]) -> Result<()>;

    /// Copies from the device, after all that was asked for before.
    ///
    /// # Errors
    /// As [`Driver::write`].
    fn read(&self, at: DevicePtr, data: &mut [u8]) -> Result<()>;

    /// Sets every byte.
    ///
    /// # Errors
    /// As [`Driver::write`].
    fn fill(&self, at: DevicePtr, value: u8, bytes: u64) -> Result<()>;

    /// Starts a kernel, or records it while a graph is captured.
    ///
    /// # Errors
    /// As [`Driver::write`]; the message names the kernel and its grid.
    fn launch(&self, launch: &Launch<'_>) -> Result<()>;

    /// The argument by which kernels of Hopper copy boxes of a matrix. Nothing is asked of the
    /// device, so a launch with it can be recorded.
    ///
    /// # Errors
    /// If the driver refuses it.
    fn tensor_map(&self, boxes: &Boxes) -> Result<TensorMap>;

    /// Waits for all that was asked for.
    ///
    /// # Errors
    /// As [`Driver::write`].
    fn synchronize(&self) -> Result<()>;

    /// Records the launches that follow instead of running them.
    ///
    /// # Errors
    /// As [`Driver::write`].
    fn begin_capture(&self) -> Result<()>;

    /// Ends the recording.
    ///
    /// # Errors
    /// As [`Driver::write`].
    fn end_capture(&self) -> Result<GraphId>;

    /// Runs a recording.
    ///
    /// # Errors
    /// As [`Driver::write`].
    fn replay(&self, graph: GraphId) -> Result<()>;

    /// Forgets a recording.
    fn drop_graph(&self, graph: GraphId);

    /// Marks the present point of the stream.
    ///
    /// # Errors
    /// As [`Driver::write`].
    fn record(&self) -> Result<EventId>;

    /// Milliseconds between two marks, which it forgets; waits for the second. `None` where the
    /// device has no clock of its own.
    ///
    /// # Errors
    /// As [`Driver::write`].
    fn elapsed_ms(&self, from: EventId, to: EventId) -> Result<Option<f32>>;
}
