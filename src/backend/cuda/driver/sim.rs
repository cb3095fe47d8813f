//! The simulator as a device: kernels run on the processor from the PTX that this binary embeds,
//! with every memory access watched. Any finding fails the step, with the simulator's report.
//!
//! Launches that may overlap with the one before wait for each other's arrival: a chain of
//! programmatic launches is handed over as a whole, when the first launch comes that may not
//! overlap, or when the host looks at memory.

use super::{
    BF16, BOX_COLUMNS, Boxes, DevicePtr, Driver, EventId, GraphId, Launch, Properties,
    shared_bytes_of,
};
use crate::backend::cuda::module::{KernelTarget, Module};
use crate::backend::cuda::params::TensorMap;
use crate::error::{Error, Result};
use ptxsim::tensor::swizzle::Swizzle;
use ptxsim::tensor::tma::{DataType, Fill, Tiled};
use ptxsim::{Counters, Device, ModuleId};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Multiprocessors of the simulated GPU, as an H200 has them.
const MULTIPROCESSORS: u32 = 132;
/// Memory that it says it has. Only what is written takes memory of the host.
const MEMORY_BYTES: u64 = 64 << 30;

/// A simulated GPU.
pub struct SimDriver {
    properties: Properties,
    target: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    device: Device,
    modules: HashMap<&'static str, ModuleId>,
    sizes: HashMap<DevicePtr, u64>,
    used_bytes: u64,
    seed: u64,
    unchecked: bool,
    /// A chain of programmatic launches that has not run yet.
    pending: Vec<ptxsim::Launch>,
    capturing: Option<Vec<ptxsim::Launch>>,
    graphs: HashMap<u64, Vec<ptxsim::Launch>>,
    next_id: u64,
    counters: Vec<Counters>,
    keep_counters: bool,
    /// What went wrong; everything after it fails too, as on a GPU.
    failed: Option<String>,
}

impl SimDriver {
    /// A Hopper GPU, or with `portable` one of compute capability 8.0. They run the two PTX passes
    /// of each kernel.
    pub fn new(portable: bool) -> SimDriver {
        SimDriver::of(if portable { (8, 0) } else { (9, 0) })
    }

    /// A GPU of a compute capability, with the shared memory that its blocks have. Hopper's runs
    /// the pass for it, every other the portable one.
    pub fn of(compute: (u32, u32)) -> SimDriver {
        let (major, minor) = compute;
        let target = if major == 9 { "sm_90a" } else { "sm_80" };
        let properties = Properties {
            name: format!("PTX simulator of {target}, as {major}.{minor}"),
            compute,
            multiprocessors: MULTIPROCESSORS,
            memory_bytes: MEMORY_BYTES,
            shared_bytes: shared_bytes_of(compute),
        };
        SimDriver { properties, target, state: Mutex::default() }
    }

    /// The seed of the order in which warps, blocks and copies of the following launches go on.
    pub fn set_seed(&self, seed: u64) {
        let mut state = self.state();
        // What waits was asked for under the old seed. A failure stays for the next call.
        let _ = state.flush();
        state.seed = seed;
    }

    /// Whether memory accesses are watched, which they are unless told otherwise.
    pub fn set_checks(&self, checks: bool) {
        self.state().unchecked = !checks;
    }

    /// Starts keeping the counters of launches for [`SimDriver::take_counters`].
    pub fn keep_counters(&self) {
        self.state().keep_counters = true;
    }

    /// Counters of what ran since the last call, one for each launch or chain of programmatic
    /// launches.
    ///
    /// # Errors
    /// [`Error::Device`] if a launch fails.
    pub fn take_counters(&self) -> Result<Vec<Counters>> {
        let mut state = self.state();
        state.flush()?;
        Ok(std::mem::take(&mut state.counters))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic of another thread leaves nothing half done that a later call would trust.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn launch_of(&self, state: &State, launch: &Launch<'_>) -> Result<ptxsim::Launch> {
        let missing = || Error::Device(format!("{} is not loaded", launch.module.name));
        let module = *state.modules.get(launch.module.name).ok_or_else(missing)?;
        let is_target = |t: &&KernelTarget| t.target == self.target;
        let facts = launch.entry.targets.iter().find(is_target).ok_or_else(missing)?;
        // The simulator itself has the shared memory of a Hopper.
        let (shared, limit) =
            (facts.shared_bytes + launch.shared_bytes, self.properties.shared_bytes);
        if shared > limit {
            let name = launch.entry.symbol;
            let message = format!("{name}: {shared} bytes of shared memory, a block has {limit}");
            return Err(Error::Device(message));
        }
        Ok(ptxsim::Launch {
            module,
            entry: launch.entry.symbol.to_owned(),
            grid: launch.grid,
            cluster: [facts.cluster, 1, 1],
            block: [launch.block, 1, 1],
            shared_bytes: launch.shared_bytes,
            shared_opt_in: true,
            params: launch.params.to_vec(),
            seed: state.seed,
            checks: !state.unchecked,
            programmatic: launch.programmatic,
            registers: facts.registers,
            sms: MULTIPROCESSORS,
            ..ptxsim::Launch::default()
        })
    }
}

impl State {
    fn check(&self) -> Result<()> {
        match &self.failed {
            None => Ok(()),
            Some(reason) => Err(Error::Device(reason.clone())),
        }
    }

    fn fail<T>(&mut self, reason: String) -> Result<T> {
        self.failed = Some(reason.clone());
        Err(Error::Device(reason))
    }

    fn enqueue(&mut self, launch: ptxsim::Launch) -> Result<()> {
        if !launch.programmatic {
            self.flush()?;
        }
        self.pending.push(launch);
        Ok(())
    }

    /// Runs what is pending.
    fn flush(&mut self) -> Result<()> {
        self.check()?;
        if self.pending.is_empty() {
            return Ok(());
        }
        let launches = std::mem::take(&mut self.pending);
        let names = || {
            let name = |l: &ptxsim::Launch| format!("{} grid {:?}", l.entry, l.grid);
            launches.iter().map(name).collect::<Vec<_>>().join(", ")
        };
        match self.device.launch_all(&launches) {
            Err(error) => {
                let reason = format!("{}: {error}", names());
                self.fail(reason)
            }
            Ok(report) if !report.is_clean() => {
                let reason = format!("{}\n{report}", names());
                self.fail(reason)
            }
            Ok(report) => {
                if self.keep_counters {
                    self.counters.push(report.counters);
                }
                Ok(())
            }
        }
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

fn device(error: ptxsim::Error) -> Error {
    Error::Device(error.to_string())
}

impl Driver for SimDriver {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn target(&self) -> &'static str {
        self.target
    }

    fn free_bytes(&self) -> Result<u64> {
        Ok(MEMORY_BYTES - self.state().used_bytes)
    }

    fn load(&self, module: &'static Module) -> Result<()> {
        let text = match self.properties.compute.0 {
            9 => Some(module.ptx_90a),
            _ => module.ptx_80,
        };
        let Some(text) = text else {
            return Err(Error::Device(format!("{} has no pass for {}", module.name, self.target)));
        };
        let mut state = self.state();
        if !state.modules.contains_key(module.name) {
            let id = state.device.load_ptx(module.name, text).map_err(device)?;
            state.modules.insert(module.name, id);
        }
        Ok(())
    }

    fn alloc(&self, bytes: u64) -> Result<DevicePtr> {
        let mut state = self.state();
        let left = MEMORY_BYTES - state.used_bytes;
        if bytes > left {
            return Err(Error::Device(format!("{bytes} bytes asked for, {left} free")));
        }
        let at = state.device.alloc(bytes).map_err(device)?;
        state.sizes.insert(at, bytes);
        state.used_bytes += bytes;
        Ok(at)
    }

    fn free(&self, at: DevicePtr) {
        let mut state = self.state();
        // A failure stays in the state, for the next call that can return it.
        let _ = state.flush();
        let Some(bytes) = state.sizes.remove(&at) else {
            state.failed.get_or_insert(format!("free of {at:#x}, where no memory was given out"));
            return;
        };
        state.used_bytes -= bytes;
        if let Err(error) = state.device.free(at) {
            state.failed.get_or_insert(error.to_string());
        }
    }

    fn write(&self, at: DevicePtr, data: &[u8]) -> Result<()> {
        let mut state = self.state();
        state.flush()?;
        state.device.copy_in(at, data).map_err(device)
    }

    fn read(&self, at: DevicePtr, data: &mut [u8]) -> Result<()> {
        let mut state = self.state();
        state.flush()?;
        state.device.copy_out(at, data).map_err(device)
    }

    fn fill(&self, at: DevicePtr, value: u8, bytes: u64) -> Result<()> {
        let mut state = self.state();
        state.flush()?;
        let piece = vec![value; bytes.min(1 << 20) as usize];
        for start in (0..bytes).step_by(1 << 20) {
            let piece = &piece[..(bytes - start).min(1 << 20) as usize];
            state.device.copy_in(at + start, piece).map_err(device)?;
        }
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        let mut state = self.state();
        state.check()?;
        let launch = self.launch_of(&state, launch)?;
        match &mut state.capturing {
            Some(recorded) => recorded.push(launch),
            None => state.enqueue(launch)?,
        }
        Ok(())
    }

    fn tensor_map(&self, boxes: &Boxes) -> Result<TensorMap> {
        let map = ptxsim::tensor::tma::TensorMap::new(&Tiled {
            element: DataType::Bf16,
            address: boxes.at,
            dims: &[boxes.columns, boxes.rows],
            strides: &[boxes.columns * BF16],
            box_dims: &[BOX_COLUMNS, boxes.box_rows],
            element_strides: &[1; 2],
            swizzle: Swizzle::B128,
            fill: Fill::Zero,
        });
        Ok(bytemuck::cast(map.map_err(device)?.encode()))
    }

    fn synchronize(&self) -> Result<()> {
        self.state().flush()
    }

    fn begin_capture(&self) -> Result<()> {
        let mut state = self.state();
        state.flush()?;
        assert!(state.capturing.is_none(), "a capture within a capture");
        state.capturing = Some(Vec::new());
        Ok(())
    }

    fn end_capture(&self) -> Result<GraphId> {
        let mut state = self.state();
        let recorded = state.capturing.take().expect("no capture has begun");
        state.check()?;
        let id = state.new_id();
        state.graphs.insert(id, recorded);
        Ok(GraphId(id))
    }

    fn replay(&self, graph: GraphId) -> Result<()> {
        let mut state = self.state();
        state.check()?;
        let launches = state.graphs.get(&graph.0).expect("a graph that was captured").clone();
        for mut launch in launches {
            launch.seed = state.seed;
            launch.checks = !state.unchecked;
            state.enqueue(launch)?;
        }
        Ok(())
    }

    fn drop_graph(&self, graph: GraphId) {
        self.state().graphs.remove(&graph.0);
    }

    fn record(&self) -> Result<EventId> {
        let mut state = self.state();
        state.check()?;
        Ok(EventId(state.new_id()))
    }

    fn elapsed_ms(&self, _from: EventId, _to: EventId) -> Result<Option<f32>> {
        self.state().flush()?;
        Ok(None)
    }
}
