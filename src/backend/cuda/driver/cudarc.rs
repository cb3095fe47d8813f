//! A GPU by way of NVIDIA's driver library, which is loaded when it is first asked for: a machine
//! without one runs the same program.
//!
//! All work goes to one stream, the driver's own or one that the caller brings together with its
//! context. Numbers of calls below are those of the CUDA Driver API manual, version 13.0.
#![allow(unsafe_code)]

use super::{BF16, BOX_COLUMNS, Boxes, DevicePtr, Driver, EventId, GraphId, Launch, Properties};
use crate::backend::cuda::module::{self, Module};
use crate::backend::cuda::params::TensorMap;
use crate::error::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The driver that machine code of CUDA 13.0 needs, as cuDriverGetVersion counts.
const DRIVER_MIN: i32 = 13_000;
/// What a user finds under that number.
const DRIVER_MIN_NAME: &str = "580";

/// A GPU.
pub struct CudaDriver {
    properties: Properties,
    target: &'static str,
    context: sys::CUcontext,
    stream: AtomicPtr<sys::CUstream_st>,
    /// The device whose primary context was retained; `None` for a context of the caller's.
    owned: Option<sys::CUdevice>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    modules: HashMap<&'static str, sys::CUmodule>,
    functions: HashMap<(&'static str, &'static str), sys::CUfunction>,
    graphs: HashMap<u64, sys::CUgraphExec>,
    events: HashMap<u64, sys::CUevent>,
    next_id: u64,
}

// SAFETY: the handles are names that the CUDA driver gives out. It may be called with them from any
// thread, as long as the context is made current first, which every method does.
unsafe impl Send for CudaDriver {}
// SAFETY: as above; what the methods change lies behind a mutex.
unsafe impl Sync for CudaDriver {}

/// Names the call that failed, and what the driver says of it.
fn fault(call: &'static str) -> impl FnOnce(DriverError) -> Error {
    move |error| {
        let text = |found: std::result::Result<&std::ffi::CStr, DriverError>| {
            found.map_or_else(|_| String::new(), |text| text.to_string_lossy().into_owned())
        };
        let (name, says) = (text(error.error_name()), text(error.error_string()));
        Error::Device(format!("CUDA: {call}: {name}: {says}"))
    }
}

/// Whether the driver library is there and new enough, and how many GPUs it finds.
///
/// # Errors
/// [`Error::Device`] that says what is missing.
pub fn device_count() -> Result<usize> {
    // SAFETY: only tries to open the library.
    if !unsafe { sys::is_culib_present() } {
        let message = "no NVIDIA driver: the library libcuda was not found";
        return Err(Error::Device(message.to_string()));
    }
    let mut version = 0;
    // SAFETY: writes one int; may be called before cuInit.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(fault("driver version"))?;
    if version < DRIVER_MIN {
        return Err(Error::Device(format!(
            "the NVIDIA driver is for CUDA {}.{}; this program needs CUDA {}.{}, driver \
             {DRIVER_MIN_NAME} or newer",
            version / 1000,
            version % 1000 / 10,
            DRIVER_MIN / 1000,
            DRIVER_MIN % 1000 / 10
        )));
    }
    result::init().map_err(fault("cuInit"))?;
    match result::device::get_count().map_err(fault("device count"))? {
        0 => Err(Error::Device("the NVIDIA driver finds no GPU".to_string())),
        count => Ok(count as usize),
    }
}

impl CudaDriver {
    /// The GPU of that number, with its primary context and a new stream.
    ///
    /// # Errors
    /// [`Error::Device`] if there is no such GPU, it is too old, or the driver fails.
    pub fn open(ordinal: usize) -> Result<CudaDriver> {
        let count = device_count()?;
        if ordinal >= count {
            return Err(Error::Device(format!("no GPU {ordinal}; there are {count}")));
        }
        let device = result::device::get(ordinal as i32).map_err(fault("device"))?;
        let (properties, target) = describe(device)?;
        // SAFETY: `device` comes from the driver; the context is released in Drop.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(fault("context"))?;
        // SAFETY: the context has just been retained.
        unsafe { result::ctx::set_current(context) }.map_err(fault("context"))?;
        let kind = result::stream::StreamKind::NonBlocking;
        let stream = result::stream::create(kind).map_err(fault("stream"))?;
        let (stream, state) = (AtomicPtr::new(stream), Mutex::default());
        Ok(CudaDriver { properties, target, context, stream, owned: Some(device), state })
    }

    /// The context that is current on this thread, and a stream of it.
    ///
    /// # Errors
    /// As [`CudaDriver::open`].
    ///
    /// # Safety
    /// `stream` is a CUstream of the current context, which outlives what is returned; the stream
    /// lives as long as work is sent to it.
    pub unsafe fn current(stream: u64) -> Result<CudaDriver> {
        device_count()?;
        let none = || Error::Device("CUDA: no context is current on this thread".to_string());
        let context = result::ctx::get_current().map_err(fault("context"))?.ok_or_else(none)?;
        let mut device = 0;
        // SAFETY: writes one handle, that of the current context's device.
        unsafe { sys::cuCtxGetDevice(&mut device) }.result().map_err(fault("device"))?;
        let (properties, target) = describe(device)?;
        let (nowhere, state) = (AtomicPtr::default(), Mutex::default());
        let driver =
            CudaDriver { properties, target, context, stream: nowhere, owned: None, state };
        // SAFETY: as the caller promises.
        unsafe { driver.set_stream(stream) }?;
        Ok(driver)
    }

    /// Sends what is asked for from here on to another stream. Between the two there is no order
    /// but the caller's.
    ///
    /// # Errors
    /// [`Error::Device`] if the stream belongs to another context.
    ///
    /// # Safety
    /// `stream` is a CUstream that lives as long as work is sent to it.
    pub unsafe fn set_stream(&self, stream: u64) -> Result<()> {
        let _current = self.state()?;
        let stream = stream as sys::CUstream;
        let mut context = std::ptr::null_mut();
        // SAFETY: writes one handle; the stream is one, as the caller promises.
        unsafe { sys::cuStreamGetCtx(stream, &mut context) }.result().map_err(fault("stream"))?;
        if context != self.context {
            let message = "CUDA: the stream belongs to another context than the kernels";
            return Err(Error::Device(message.to_string()));
        }
        self.stream.store(stream, Ordering::Relaxed);
        Ok(())
    }

    fn stream(&self) -> sys::CUstream {
        self.stream.load(Ordering::Relaxed)
    }

    /// The state, with the context current on this thread. A borrowed context is so only for as
    /// long as this is held: the thread is the caller's, who may have made another one current.
    fn state(&self) -> Result<Current<'_>> {
        let is_pushed = self.owned.is_none();
        // SAFETY: the context lives as long as `self`.
        let made_current = unsafe {
            match is_pushed {
                true => sys::cuCtxPushCurrent_v2(self.context).result(),
                false => result::ctx::set_current(self.context),
            }
        };
        made_current.map_err(fault("context"))?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Current { state, is_pushed })
    }
}

/// The state of a driver, while its context is current on this thread.
struct Current<'a> {
    state: MutexGuard<'a, State>,
    is_pushed: bool,
}

impl Deref for Current<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Current<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        if self.is_pushed {
            let mut popped = std::ptr::null_mut();
            // SAFETY: writes one handle. It was pushed on this thread, which the guard of the
            // mutex cannot leave. It cannot fail: every call that pushes another pops it again.
            let _ = unsafe { sys::cuCtxPopCurrent_v2(&mut popped) };
        }
    }
}

fn attribute(device: sys::CUdevice, which: sys::CUdevice_attribute) -> Result<i32> {
    // SAFETY: `device` comes from the driver.
    unsafe { result::device::get_attribute(device, which) }.map_err(fault("device attribute"))
}

/// What a device is, and the machine code that it runs.
fn describe(device: sys::CUdevice) -> Result<(Properties, &'static str)> {
    use sys::CUdevice_attribute as A;
    let number = |which| attribute(device, which).map(|n| n as u32);
    let compute = (
        number(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        number(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    let name = result::device::get_name(device).map_err(fault("device name"))?;
    if compute < (8, 0) {
        let (major, minor) = compute;
        return Err(Error::Device(format!(
            "{name} has compute capability {major}.{minor}; 8.0 (Ampere) or newer is needed"
        )));
    }
    let target = module::target_for(compute).ok_or_else(|| {
        let (major, minor) = compute;
        Error::Device(format!("{name}: this build has no kernels for {major}.{minor}"))
    })?;
    // SAFETY: `device` comes from the driver.
    let memory = unsafe { result::device::total_mem(device) }.map_err(fault("device memory"))?;
    let properties = Properties {
        name,
        compute,
        multiprocessors: number(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory_bytes: memory as u64,
        shared_bytes: number(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
    };
    Ok((properties, target))
}

impl Driver for CudaDriver {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn target(&self) -> &'static str {
        self.target
    }

    fn free_bytes(&self) -> Result<u64> {
        let _current = self.state()?;
        result::mem_get_info().map(|(free, _)| free as u64).map_err(fault("free memory"))
    }

    fn load(&self, module: &'static Module) -> Result<()> {
        use sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let mut state = self.state()?;
        if state.modules.contains_key(module.name) {
            return Ok(());
        }
        // SAFETY: a fat binary as nvcc wrote it, aligned, and never freed.
        let loaded = unsafe { result::module::load_data(module.fatbin.as_ptr().cast()) }
            .map_err(fault("module"))?;
        state.modules.insert(module.name, loaded);
        for entry in module.entries {
            let Some(facts) = entry.targets.iter().find(|t| t.target == self.target) else {
                continue;
            };
            let name = CString::new(entry.symbol).expect("a symbol has no zero byte");
            // SAFETY: the module has just been loaded.
            let function =
                unsafe { result::module::get_function(loaded, name) }.map_err(fault("function"))?;
            let dynamic = self.properties.shared_bytes as i32 - facts.shared_bytes as i32;
            let which = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is of this module. Done here, since it may not be while a
            // graph is captured.
            unsafe { result::function::set_function_attribute(function, which, dynamic) }
                .map_err(fault("shared memory of a function"))?;
            state.functions.insert((module.name, entry.symbol), function);
        }
        Ok(())
    }

    fn alloc(&self, bytes: u64) -> Result<DevicePtr> {
        let _current = self.state()?;
        // SAFETY: the memory is read only after something has been written, which is the
        // contract of this method's callers.
        unsafe { result::malloc_sync(bytes as usize) }.map_err(|error| {
            let free = result::mem_get_info().map_or(0, |(free, _)| free);
            match fault("memory")(error) {
                Error::Device(says) => {
                    Error::Device(format!("{bytes} bytes asked for, {free} free: {says}"))
                }
                other => other,
            }
        })
    }

    fn free(&self, at: DevicePtr) {
        // An error here is that of an earlier launch, which a later call returns again.
        if let Ok(_current) = self.state() {
            // SAFETY: the owner of the memory gives it back once; cuMemFree waits for its users.
            let _ = unsafe { result::free_sync(at) };
        }
    }

    fn write(&self, at: DevicePtr, data: &[u8]) -> Result<()> {
        let _current = self.state()?;
        // SAFETY: `at` has room for `data`, as the caller promises. From pageable memory the call
        // returns once `data` has been copied to the driver's own.
        unsafe { result::memcpy_htod_async(at, data, self.stream()) }.map_err(fault("copy in"))
    }

    fn read(&self, at: DevicePtr, data: &mut [u8]) -> Result<()> {
        let _current = self.state()?;
        // SAFETY: `at` holds that many bytes, as the caller promises, and `data` is not touched
        // before the stream has come to the end of the copy.
        unsafe {
            result::memcpy_dtoh_async(data, at, self.stream()).map_err(fault("copy out"))?;
            result::stream::synchronize(self.stream()).map_err(fault("copy out"))
        }
    }

    fn fill(&self, at: DevicePtr, value: u8, bytes: u64) -> Result<()> {
        let _current = self.state()?;
        // SAFETY: `at` has room for `bytes`, as the caller promises.
        unsafe { result::memset_d8_async(at, value, bytes as usize, self.stream()) }
            .map_err(fault("fill"))
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        use sys::CUlaunchAttributeID_enum as Id;
        let state = self.state()?;
        let key = (launch.module.name, launch.entry.symbol);
        let symbol = launch.entry.symbol;
        let missing = || Error::Device(format!("CUDA: {symbol} is not loaded"));
        let function = *state.functions.get(&key).ok_or_else(missing)?;
        let mut overlap = sys::CUlaunchAttribute {
            id: Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let [x, y, z] = launch.grid;
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: launch.block,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: launch.shared_bytes,
            hStream: self.stream(),
            attrs: &mut overlap,
            numAttrs: u32::from(launch.programmatic),
        };
        let mut argument = [launch.params.as_ptr().cast::<c_void>().cast_mut()];
        let no_extra = std::ptr::null_mut();
        // SAFETY: the kernel takes one struct of the size of `params`, which the tests compare
        // with the PTX; the driver copies it before the call returns.
        unsafe { sys::cuLaunchKernelEx(&config, function, argument.as_mut_ptr(), no_extra) }
            .result()
            .map_err(|error| match fault("launch")(error) {
                Error::Device(says) => Error::Device(format!(
                    "{symbol}, grid {:?}, {} threads, {} bytes of shared memory: {says}",
                    launch.grid, launch.block, launch.shared_bytes
                )),
                other => other,
            })
    }

    fn tensor_map(&self, boxes: &Boxes) -> Result<TensorMap> {
        use sys::CUtensorMapFloatOOBfill_enum::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE as ZEROS;
        use sys::CUtensorMapL2promotion_enum::CU_TENSOR_MAP_L2_PROMOTION_L2_256B as L2_LINES;
        let _current = self.state()?;
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        let dims = [boxes.columns, boxes.rows];
        let strides = [boxes.columns * BF16];
        let (sizes, steps) = ([BOX_COLUMNS, boxes.box_rows], [1; 2]);
        // SAFETY: `map` is written and the arrays are read during the call, two elements of each
        // and one stride, as the rank says; the address is not followed.
        unsafe {
            sys::cuTensorMapEncodeTiled(
                &mut map,
                sys::CUtensorMapDataType_enum::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                dims.len() as u32,
                boxes.at as *mut c_void,
                dims.as_ptr(),
                strides.as_ptr(),
                sizes.as_ptr(),
                steps.as_ptr(),
                sys::CUtensorMapInterleave_enum::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle_enum::CU_TENSOR_MAP_SWIZZLE_128B,
                L2_LINES,
                ZEROS,
            )
        }
        .result()
        .map_err(|error| match fault("tensor map")(error) {
            Error::Device(says) => Error::Device(format!("{boxes:?}: {says}")),
            other => other,
        })?;
        Ok(TensorMap { words: map.opaque })
    }

    fn synchronize(&self) -> Result<()> {
        let _current = self.state()?;
        // SAFETY: the stream lives as long as `self`.
        unsafe { result::stream::synchronize(self.stream()) }.map_err(fault("a kernel"))
    }

    fn begin_capture(&self) -> Result<()> {
        use sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        let _current = self.state()?;
        let mode = CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as `self`.
        unsafe { result::stream::begin_capture(self.stream(), mode) }.map_err(fault("capture"))
    }

    fn end_capture(&self) -> Result<GraphId> {
        let mut state = self.state()?;
        // SAFETY: the stream is being captured. The graph is a template that the executable form
        // has no more need of.
        let runnable = unsafe {
            let graph = result::stream::end_capture(self.stream()).map_err(fault("capture"))?;
            let mut runnable = std::ptr::null_mut();
            let made = sys::cuGraphInstantiateWithFlags(&mut runnable, graph, 0).result();
            result::graph::destroy(graph).map_err(fault("graph"))?;
            made.map_err(fault("graph"))?;
            runnable
        };
        state.next_id += 1;
        let id = state.next_id;
        state.graphs.insert(id, runnable);
        Ok(GraphId(id))
    }

    fn replay(&self, graph: GraphId) -> Result<()> {
        let state = self.state()?;
        let runnable = *state.graphs.get(&graph.0).expect("a graph that was captured");
        // SAFETY: graph and stream live as long as `self`.
        unsafe { result::graph::launch(runnable, self.stream()) }.map_err(fault("graph launch"))
    }

    fn drop_graph(&self, graph: GraphId) {
        let Ok(mut state) = self.state() else { return };
        if let Some(runnable) = state.graphs.remove(&graph.0) {
            // SAFETY: nobody has its name any more; a run that is under way is waited for first.
            unsafe {
                let _ = result::stream::synchronize(self.stream());
                let _ = result::graph::exec_destroy(runnable);
            }
        }
    }

    fn record(&self) -> Result<EventId> {
        let mut state = self.state()?;
        let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
        let event = result::event::create(flags).map_err(fault("event"))?;
        state.next_id += 1;
        let id = state.next_id;
        state.events.insert(id, event);
        // SAFETY: event and stream live as long as `self`.
        unsafe { result::event::record(event, self.stream()) }.map_err(fault("event"))?;
        Ok(EventId(id))
    }

    fn elapsed_ms(&self, from: EventId, to: EventId) -> Result<Option<f32>> {
        let mut state = self.state()?;
        let mut take = |id: EventId| state.events.remove(&id.0).expect("an event of this device");
        let (from, to) = (take(from), take(to));
        // SAFETY: both were recorded, on one stream, and are destroyed once.
        unsafe {
            let waited = result::event::synchronize(to);
            let time = waited.and_then(|()| result::event::elapsed(from, to));
            for event in [from, to] {
                result::event::destroy(event).map_err(fault("event"))?;
            }
            time.map(Some).map_err(fault("event"))
        }
    }
}

impl Drop for CudaDriver {
    fn drop(&mut self) {
        // What fails here has failed before, and nobody is left to be told.
        let Ok(mut state) = self.state() else { return };
        let State { modules, graphs, events, .. } = std::mem::take(&mut *state);
        // SAFETY: every handle was made by this driver and is destroyed once, after all work: that
        // of the context, where streams are the caller's, who may have changed or ended them.
        unsafe {
            let _ = match self.owned {
                Some(_) => result::stream::synchronize(self.stream()),
                None => result::ctx::synchronize(),
            };
            for graph in graphs.into_values() {
                let _ = result::graph::exec_destroy(graph);
            }
            for event in events.into_values() {
                let _ = result::event::destroy(event);
            }
            for module in modules.into_values() {
                let _ = result::module::unload(module);
            }
            if let Some(device) = self.owned {
                let _ = result::stream::destroy(self.stream());
                let _ = result::primary_ctx::release(device);
            }
        }
    }
}
