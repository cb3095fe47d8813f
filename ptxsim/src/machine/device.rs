//! The simulated GPU as its user sees it: memory, modules, launches.

use super::ctx::World;
use super::rng::Rng;
use super::state::Grid;
use crate::counters::Traffic;
use crate::decode::{self, Function, Program};
use crate::error::Error;
use crate::memory::global::Global;
use crate::report::{Faults, Report};
use crate::syntax::tree::{Init, Space};
use crate::tensor::Arithmetic;
use std::collections::HashMap;
use std::sync::Arc;

/// Threads of a block.
const THREADS_MAX: u32 = 1024;
/// Shared memory of a block, without and with the opt-in.
const SHARED_DEFAULT: u32 = 48 << 10;
/// With the opt-in.
const SHARED_MAX: u32 = 227 << 10;
/// Shared memory of an SM, of which each block takes a kilobyte more than it asks for.
const SHARED_SM: u32 = 228 << 10;
/// 32-bit registers of an SM.
const REGISTERS_SM: u32 = 64 << 10;
/// Threads of an SM.
const THREADS_SM: u32 = 2048;

/// A loaded module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ModuleId(usize);

/// One kernel launch.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The module.
    pub module: ModuleId,
    /// Name of the `.entry`.
    pub entry: String,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y and z.
    pub block: [u32; 3],
    /// Blocks of a cluster in x, y and z; a divisor of `grid`.
    pub cluster: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
    /// The kernel has been allowed more than 48 KB of shared memory (the attribute
    /// `MAX_DYNAMIC_SHARED_SIZE_BYTES` of the CUDA driver).
    pub shared_opt_in: bool,
    /// The parameters as one block, laid out like a C struct.
    pub params: Vec<u8>,
    /// Decides the order of warps and blocks, their turns, and when copies complete.
    pub seed: u64,
    /// Watch memory. Without, the kernel runs two to three times as fast.
    pub checks: bool,
    /// Programmatic stream serialisation: may start when all blocks of the launch before have
    /// issued `griddepcontrol.launch_dependents` or ended.
    pub programmatic: bool,
    /// Registers a thread, as ptxas gave them, which bound how many blocks are resident. 0 takes
    /// `.maxnreg`, or else as many as the block's size allows, up to 255.
    pub registers: u32,
    /// Multiprocessors of the GPU.
    pub sms: u32,
    /// Warp instructions after which a kernel counts as one that never ends.
    pub step_limit: u64,
    /// How tensor cores add.
    pub arithmetic: Arithmetic,
}

impl Default for Launch {
    fn default() -> Launch {
        Launch {
            module: ModuleId(0),
            entry: String::new(),
            grid: [1; 3],
            block: [1; 3],
            cluster: [1; 3],
            shared_bytes: 0,
            shared_opt_in: false,
            params: Vec::new(),
            seed: 0,
            checks: true,
            programmatic: false,
            registers: 0,
            sms: 132,
            step_limit: 2_000_000_000,
            arithmetic: Arithmetic::default(),
        }
    }
}

impl Launch {
    /// Position in the grid of the first block of a cluster.
    pub(crate) fn cluster_origin(&self, index: u64) -> [u32; 3] {
        let clusters = [0, 1, 2].map(|i| self.grid[i] / self.cluster[i]);
        let at = super::start::unrank(index, clusters);
        [0, 1, 2].map(|i| at[i] * self.cluster[i])
    }

    /// Registers a thread.
    pub(crate) fn registers_per_thread(&self, function: &Function) -> u32 {
        if self.registers != 0 {
            return self.registers;
        }
        let threads = self.block.iter().product::<u32>().max(1);
        let fit = (REGISTERS_SM / threads.next_multiple_of(32) / 8 * 8).min(255);
        function.max_registers.unwrap_or(fit).min(fit)
    }
}

struct Loaded {
    program: Arc<Program>,
    variables: Arc<Vec<u64>>,
}

/// A simulated GPU.
pub struct Device {
    global: Global,
    modules: Vec<Loaded>,
    next_team: u32,
    next_grid: u64,
}

impl Default for Device {
    fn default() -> Device {
        Device { global: Global::default(), modules: Vec::new(), next_team: 1, next_grid: 1 }
    }
}

impl Device {
    /// A GPU with nothing on it.
    pub fn new() -> Device {
        Device::default()
    }

    /// Parses and decodes PTX, and gives its `.global` and `.const` variables their place.
    /// `name` stands in messages. An instruction that the simulator does not know is an error
    /// here, not when it is reached.
    pub fn load_ptx(&mut self, name: &str, text: &str) -> Result<ModuleId, Error> {
        let module = crate::syntax::parse(name, text)?;
        let program = decode::decode(&module, name)?;
        let mut variables = Vec::with_capacity(program.variables.len());
        for v in &program.variables {
            let bytes = v.bytes.unwrap_or(0);
            // Constants are written once, here, and by nobody after.
            variables.push(self.global.alloc(bytes, v.space == Space::Const)?);
        }
        for (index, v) in program.variables.iter().enumerate() {
            let mut data = Vec::with_capacity(v.bytes.unwrap_or(0) as usize);
            for item in &v.init {
                match item {
                    Init::Bytes(bytes) => data.extend_from_slice(bytes),
                    Init::Zeros(n) => data.resize(data.len() + *n as usize, 0),
                    Init::Address { name: of, offset, shift, bytes, .. } => {
                        let at = program.variables.iter().position(|w| w.name == *of);
                        let base = at.map(|at| variables[at]).ok_or_else(|| {
                            Error::Argument(format!("{name}: {} names unknown {of}", v.name))
                        })?;
                        let value = base.wrapping_add_signed(*offset) >> shift;
                        data.extend(&value.to_le_bytes()[..(*bytes as usize).min(8)]);
                    }
                }
            }
            data.resize(v.bytes.unwrap_or(0) as usize, 0);
            self.put(variables[index], &data)?;
        }
        self.modules.push(Loaded { program: Arc::new(program), variables: Arc::new(variables) });
        Ok(ModuleId(self.modules.len() - 1))
    }

    /// The decoded module.
    pub fn program(&self, module: ModuleId) -> &Program {
        &self.modules[module.0].program
    }

    /// Address and bytes of a module variable.
    pub fn variable(&self, module: ModuleId, name: &str) -> Option<(u64, u64)> {
        let loaded = &self.modules[module.0];
        let index = loaded.program.variables.iter().position(|v| v.name == name)?;
        Some((loaded.variables[index], loaded.program.variables[index].bytes.unwrap_or(0)))
    }

    /// Takes device memory, uninitialised, aligned to 256 bytes and no more.
    pub fn alloc(&mut self, bytes: u64) -> Result<u64, Error> {
        self.global.alloc(bytes, false)
    }

    /// Gives device memory back. Its addresses are not used again.
    pub fn free(&mut self, address: u64) -> Result<(), Error> {
        self.global.free(address)
    }

    /// Copies to the device.
    pub fn copy_in(&mut self, address: u64, data: &[u8]) -> Result<(), Error> {
        self.put(address, data)
    }

    fn put(&mut self, address: u64, data: &[u8]) -> Result<(), Error> {
        let place = self.find(address, data.len())?;
        self.global.write(place, data);
        Ok(())
    }

    /// Copies from the device. Bytes that nobody has written read as 0xff.
    pub fn copy_out(&mut self, address: u64, data: &mut [u8]) -> Result<(), Error> {
        let place = self.find(address, data.len())?;
        self.global.read(place, data);
        Ok(())
    }

    fn find(&mut self, address: u64, bytes: usize) -> Result<crate::memory::global::Place, Error> {
        self.global.find(address, bytes as u64).map_err(|miss| {
            Error::Argument(format!("{bytes} bytes at {address:#x}: {}", miss.describe()))
        })
    }

    /// Bytes of host memory that device memory and its shadow take.
    pub fn footprint(&self) -> (usize, usize) {
        let footprint = self.global.footprint();
        (footprint.data, footprint.shadow)
    }

    /// Runs one kernel.
    pub fn launch(&mut self, launch: &Launch) -> Result<Report, Error> {
        self.launch_all(std::slice::from_ref(launch))
    }

    /// Runs kernels in the order of a stream; those launched as programmatic dependents overlap
    /// with the one before. Seed, checks and step limit are the first one's.
    pub fn launch_all(&mut self, launches: &[Launch]) -> Result<Report, Error> {
        let Some(first) = launches.first() else {
            return Err(Error::Argument("no launch".into()));
        };
        let mut grids = Vec::with_capacity(launches.len());
        let mut team = self.next_team;
        for launch in launches {
            let grid = self.grid(launch, team)?;
            team += grid.clusters as u32;
            grids.push(grid);
        }
        self.global.begin_launch();
        let mut world = World {
            global: &mut self.global,
            grids,
            rng: Rng::new(first.seed),
            faults: Faults::default(),
            checks: first.checks,
            steps: 0,
            events: 0,
            sync: HashMap::new(),
            stopped: false,
            printed: String::new(),
            favourite: 0,
            live_first: self.next_team,
        };
        super::schedule::run(&mut world, first.step_limit);
        let World { grids, faults, printed, .. } = world;
        self.next_team = team;
        self.next_grid += launches.len() as u64;
        let mut report = Report::new(grids, faults, printed);
        let counters = &mut report.counters;
        [counters.unique_read_sectors, counters.unique_written_sectors] = self.global.touched();
        Ok(report)
    }

    fn grid(&self, launch: &Launch, first_team: u32) -> Result<Grid, Error> {
        let named = |text: String| Error::Argument(format!("{}: {text}", launch.entry));
        let refuse = |text: String| Err(named(text));
        let Some(loaded) = self.modules.get(launch.module.0) else {
            return refuse("its module is not loaded".into());
        };
        let program = &loaded.program;
        let entry = program.functions.iter().position(|f| f.entry && f.name == launch.entry);
        let Some(entry) = entry else {
            let known = program.functions.iter().filter(|f| f.entry).map(|f| f.name.as_str());
            let known = known.collect::<Vec<_>>().join(", ");
            return refuse(format!("{} has no such entry; it has: {known}", program.name));
        };
        let function = &program.functions[entry];
        check_shape(launch, function).map_err(named)?;
        let dynamic_offset = match launch.shared_bytes {
            0 => function.shared_bytes,
            _ => function.shared_bytes.next_multiple_of(program.dynamic_align.max(1)),
        };
        let Some(shared_bytes) = dynamic_offset.checked_add(launch.shared_bytes) else {
            return refuse("shared memory beyond 4 GB".into());
        };
        check_shared(launch, shared_bytes).map_err(named)?;
        let capacity = capacity(launch, function, shared_bytes);
        if capacity == 0 {
            return refuse("a cluster needs more registers or shared memory than there is".into());
        }
        let blocks = launch.grid.iter().map(|&n| n as u64).product::<u64>();
        let clusters = blocks / launch.cluster.iter().map(|&n| n as u64).product::<u64>();
        if clusters > (u32::MAX - first_team) as u64 / 2 {
            return refuse(format!("{clusters} clusters are more than can be told apart"));
        }
        Ok(Grid {
            launch: launch.clone(),
            program: Arc::clone(program),
            variables: Arc::clone(&loaded.variables),
            entry,
            id: self.next_grid,
            clusters,
            started: 0,
            ended: 0,
            released: 0,
            first_team,
            hits: vec![0; program.code.len()],
            traffic: vec![Traffic::default(); program.code.len()],
            shared_bytes,
            dynamic_offset,
            capacity,
        })
    }
}

/// What can be said of a launch without looking at memory.
fn check_shape(launch: &Launch, function: &Function) -> Result<(), String> {
    let threads = launch.block.iter().map(|&n| n as u64).product::<u64>();
    if launch.grid.contains(&0) || launch.block.contains(&0) || launch.cluster.contains(&0) {
        return Err("a dimension of the grid, block or cluster is 0".into());
    }
    if threads > THREADS_MAX as u64 || launch.block[2] > 64 {
        let [x, y, z] = launch.block;
        return Err(format!("a block of {x} x {y} x {z} threads; at most 1024, and 64 in z"));
    }
    if launch.grid[1] > 65535 || launch.grid[2] > 65535 || launch.grid[0] > i32::MAX as u32 {
        return Err(format!("a grid of {:?}; y and z are at most 65535", launch.grid));
    }
    if let Some((bound, exact)) = function.threads {
        let limit = bound.iter().product::<u32>() as u64;
        if (exact && launch.block != bound) || threads > limit {
            let word = if exact { "exactly" } else { "at most" };
            return Err(format!("compiled for {word} {limit} threads a block, not {threads}"));
        }
    }
    let cluster = launch.cluster.iter().product::<u32>();
    if cluster > 16 || (0..3).any(|i| !launch.grid[i].is_multiple_of(launch.cluster[i])) {
        let (grid, cluster) = (launch.grid, launch.cluster);
        return Err(format!("clusters of {cluster:?} in a grid of {grid:?}; at most 16 blocks"));
    }
    if function.cluster.is_some_and(|c| c != launch.cluster) {
        let (want, have) = (function.cluster.unwrap_or_default(), launch.cluster);
        return Err(format!("compiled for clusters of {want:?}, not {have:?}"));
    }
    if launch.params.len() != function.entry_param_bytes as usize {
        let (have, want) = (launch.params.len(), function.entry_param_bytes);
        return Err(format!("{have} bytes of parameters; it takes {want}"));
    }
    Ok(())
}

fn check_shared(launch: &Launch, bytes: u32) -> Result<(), String> {
    if bytes > SHARED_MAX {
        return Err(format!("{bytes} bytes of shared memory; a block has at most {SHARED_MAX}"));
    }
    if bytes > SHARED_DEFAULT && !launch.shared_opt_in {
        return Err(format!(
            "{bytes} bytes of shared memory; above {SHARED_DEFAULT} needs the opt-in"
        ));
    }
    Ok(())
}

/// Clusters that are resident at a time on a GPU of the launch's size.
fn capacity(launch: &Launch, function: &Function, shared_bytes: u32) -> u64 {
    let threads = launch.block.iter().product::<u32>().next_multiple_of(32);
    let registers = launch.registers_per_thread(function).next_multiple_of(8).max(8) * threads;
    let per_sm = (THREADS_SM / threads)
        .min(32)
        .min(REGISTERS_SM / registers)
        .min(SHARED_SM / (shared_bytes + 1024));
    let cluster = launch.cluster.iter().product::<u32>();
    (per_sm * launch.sms / cluster) as u64
}
