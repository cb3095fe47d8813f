//! Starts kernels by name: looks them up in the table of the build and says whether a launch may
//! overlap with the one before. Records launches as graphs, and holds a replay against its record.

use super::driver::{Boxes, Driver, GraphId, Launch};
use super::module::{Entry, KernelTarget, MODULES, Module};
use super::params::TensorMap;
use super::wgmma::{self, DecodeWgmma};
use crate::error::{Error, Result};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// Blocks, threads and shared memory of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Blocks in x, y and z. A launch without blocks is left out.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: u32,
    /// Bytes of dynamic shared memory.
    pub shared_bytes: u32,
}

/// The environment variable by which the portable kernels are taken on every device.
pub const KERNELS_VARIABLE: &str = "RIDGEPOINT_KERNELS";

/// What the names of kernel files for Hopper alone end in.
const HOPPER_SUFFIX: &str = "_sm90";

/// The code that Hopper's kernels need.
const HOPPER_TARGET: &str = "sm_90a";
/// The file of the products of decode.
const DECODE: &str = "gemm_decode";

/// Which kernels an op takes where there are several. A request has the same bits whatever stands
/// beside it as long as one set computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelSet {
    /// Those that every device can run.
    Portable,
    /// Those of `*_sm90.cu` for the ops that have one, which need compute capability 9.0.
    Hopper,
}

impl KernelSet {
    /// The set of a device by its target, or the portable one if `wanted`, the value of
    /// [`KERNELS_VARIABLE`], asks for it.
    ///
    /// # Errors
    /// [`Error::Usage`] if it asks for anything else.
    pub fn choose(target: &str, wanted: Option<&str>) -> Result<KernelSet> {
        match wanted {
            None | Some("") if target == HOPPER_TARGET => Ok(KernelSet::Hopper),
            None | Some("" | "portable") => Ok(KernelSet::Portable),
            Some(other) => {
                Err(Error::Usage(format!("{KERNELS_VARIABLE}={other}: it can be `portable`")))
            }
        }
    }
}

impl std::fmt::Display for KernelSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            KernelSet::Portable => "portable",
            KernelSet::Hopper => "hopper",
        })
    }
}

/// The kernels of this binary on a device.
pub struct Kernels {
    driver: Arc<dyn Driver>,
    set: KernelSet,
    wgmma: DecodeWgmma,
    entries: HashMap<&'static str, Kernel>,
    programmatic: bool,
    tape: RefCell<Tape>,
}

/// What becomes of a launch.
enum Tape {
    /// It runs, or the driver records it.
    Launch,
    /// It is recorded, and its name, shape and argument are hashed.
    Record(DefaultHasher),
    /// It is only hashed: a record holds it already.
    Compare(DefaultHasher),
}

/// Recorded launches.
pub struct Graph {
    driver: Arc<dyn Driver>,
    id: GraphId,
    fingerprint: u64,
}

impl Graph {
    /// Its name at the driver.
    pub fn id(&self) -> GraphId {
        self.id
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        self.driver.drop_graph(self.id);
    }
}

#[derive(Clone, Copy)]
struct Kernel {
    module: &'static Module,
    entry: &'static Entry,
    target: &'static KernelTarget,
}

impl Kernels {
    /// Loads every kernel that the device can run, and takes the set that [`KernelSet::choose`]
    /// gives for it and the environment.
    ///
    /// # Errors
    /// [`Error::Device`] if this build has none, or the device refuses one; [`Error::Usage`] for a
    /// set that does not exist.
    pub fn new(driver: Arc<dyn Driver>) -> Result<Kernels> {
        let wanted = std::env::var(KERNELS_VARIABLE).ok();
        let set = KernelSet::choose(driver.target(), wanted.as_deref())?;
        Kernels::of_set(driver, set)
    }

    /// The same with a given set.
    ///
    /// # Errors
    /// [`Error::Device`] as [`Kernels::new`], or if the device does not run the set.
    pub fn of_set(driver: Arc<dyn Driver>, set: KernelSet) -> Result<Kernels> {
        let target = driver.target();
        if set == KernelSet::Hopper && target != HOPPER_TARGET {
            let name = &driver.properties().name;
            return Err(Error::Device(format!("{name}: {target} does not run Hopper's kernels")));
        }
        let mut entries = HashMap::new();
        for module in MODULES {
            let mut found = false;
            for entry in module.entries {
                if let Some(target) = entry.targets.iter().find(|t| t.target == target) {
                    entries.insert(entry.symbol, Kernel { module, entry, target });
                    found = true;
                }
            }
            if found {
                driver.load(module)?;
            }
        }
        if entries.is_empty() {
            let name = &driver.properties().name;
            return Err(Error::Device(format!("{name}: this build has no kernels for {target}")));
        }
        let compute = driver.properties().compute;
        let wgmma = DecodeWgmma::of(&wgmma::committed()?, set, compute);
        let tape = RefCell::new(Tape::Launch);
        Ok(Kernels { driver, set, wgmma, entries, programmatic: true, tape })
    }

    /// The same with wgmma in decode as if a probe had found equal bits, for tests and
    /// measurements.
    ///
    /// # Panics
    /// If the set is not [`KernelSet::Hopper`].
    pub fn assume_equal_bits(mut self) -> Kernels {
        assert_eq!(self.set, KernelSet::Hopper, "the portable kernels have no wgmma");
        self.wgmma = DecodeWgmma::Assumed;
        self
    }

    /// Whether `gemm_decode` takes wgmma for more than 32 rows, and why.
    pub fn decode_wgmma(&self) -> &DecodeWgmma {
        &self.wgmma
    }

    /// The same kernels loaded once more, by the same choices.
    ///
    /// # Errors
    /// As [`Kernels::of_set`].
    pub fn again(&self) -> Result<Kernels> {
        let (wgmma, programmatic) = (self.wgmma.clone(), self.programmatic);
        let other = Kernels::of_set(self.driver.clone(), self.set)?;
        Ok(Kernels { wgmma, programmatic, ..other })
    }

    /// The same without programmatic dependent launches, for comparison.
    pub fn without_overlap(mut self) -> Kernels {
        self.programmatic = false;
        self
    }

    /// The device.
    pub fn driver(&self) -> &Arc<dyn Driver> {
        &self.driver
    }

    /// The set that ops take their kernels from.
    pub fn set(&self) -> KernelSet {
        self.set
    }

    /// The kernels that ops may take, by symbol: where an op has a file for Hopper beside the
    /// portable one, those of the set. Products of decode take those for Hopper beside the others.
    pub fn taken(&self) -> Vec<(&'static str, &'static KernelTarget)> {
        let own = |module: &Module| match (self.set, module.name.strip_suffix(HOPPER_SUFFIX)) {
            (_, Some(DECODE)) => self.wgmma.is_taken(),
            (set, Some(_)) => set == KernelSet::Hopper,
            (KernelSet::Portable, None) => true,
            (KernelSet::Hopper, None) if module.name == DECODE => true,
            (KernelSet::Hopper, None) => {
                let replaces = |m: &Module| m.name.strip_suffix(HOPPER_SUFFIX) == Some(module.name);
                !MODULES.iter().any(replaces)
            }
        };
        let all = self.entries.iter().filter(|(_, kernel)| own(kernel.module));
        let mut taken: Vec<_> = all.map(|(symbol, kernel)| (*symbol, kernel.target)).collect();
        taken.sort_unstable_by_key(|(symbol, _)| *symbol);
        taken
    }

    /// The argument by which a kernel copies boxes of a matrix.
    ///
    /// # Errors
    /// [`Error::Device`] if the driver refuses it.
    pub fn tensor_map(&self, boxes: &Boxes) -> Result<TensorMap> {
        self.driver.tensor_map(boxes)
    }

    /// What ptxas says of a kernel on this device.
    ///
    /// # Panics
    /// If there is no such kernel.
    pub fn facts(&self, symbol: &str) -> &'static KernelTarget {
        self.kernel(symbol).target
    }

    fn kernel(&self, symbol: &str) -> Kernel {
        let target = self.driver.target();
        *self.entries.get(symbol).unwrap_or_else(|| panic!("no kernel {symbol} for {target}"))
    }

    /// Starts a kernel with its one argument.
    ///
    /// # Errors
    /// [`Error::Device`], naming the kernel and its grid.
    ///
    /// # Panics
    /// If there is no such kernel (which there are is decided when a model is loaded), or if the
    /// grid is not a whole number of its clusters.
    pub fn launch<P: bytemuck::NoUninit>(
        &self,
        symbol: &str,
        shape: Shape,
        params: &P,
    ) -> Result<()> {
        if shape.grid.contains(&0) {
            return Ok(());
        }
        let kernel = self.kernel(symbol);
        let cluster = kernel.target.cluster;
        assert!(
            shape.grid[0].is_multiple_of(cluster),
            "{symbol}: {shape:?}, clusters of {cluster}"
        );
        let params = bytemuck::bytes_of(params);
        match &mut *self.tape.borrow_mut() {
            Tape::Launch => {}
            Tape::Record(hash) => shape.hash_with(symbol, params, hash),
            Tape::Compare(hash) => {
                shape.hash_with(symbol, params, hash);
                return Ok(());
            }
        }
        self.driver.launch(&Launch {
            module: kernel.module,
            entry: kernel.entry,
            grid: shape.grid,
            block: shape.block,
            shared_bytes: shape.shared_bytes,
            params,
            programmatic: self.programmatic && kernel.target.waits_for_grid,
        })
    }

    /// Records what `body` launches, without running it.
    ///
    /// # Errors
    /// That of `body`, after which there is no record, or of the device.
    pub fn record(&self, body: impl FnOnce() -> Result<()>) -> Result<Graph> {
        self.driver.begin_capture()?;
        let (result, tape) = self.taped(Tape::Record(DefaultHasher::new()), body);
        let ended = self.driver.end_capture();
        // An engine goes on after a panic, on a device that must not be capturing then.
        let result = result.unwrap_or_else(|panic| resume_unwind(panic));
        let id = ended?;
        let Tape::Record(hash) = tape else { unreachable!("nobody else changes the tape") };
        let graph = Graph { driver: self.driver.clone(), id, fingerprint: hash.finish() };
        result.map(|()| graph)
    }

    /// What came of `body` with its launches taken so, and the tape afterwards. Launches go to the
    /// device again even if it panics.
    fn taped(&self, tape: Tape, body: impl FnOnce() -> Result<()>) -> (Caught, Tape) {
        self.tape.replace(tape);
        let result = catch_unwind(AssertUnwindSafe(body));
        (result, self.tape.replace(Tape::Launch))
    }

    /// Runs a record if it is what `body` would launch: `body` does its work on the host, and its
    /// launches are compared with the record instead of being run. False, and nothing has run, if
    /// they differ.
    ///
    /// # Errors
    /// That of `body` or of the device.
    pub fn replay(&self, graph: &Graph, body: impl FnOnce() -> Result<()>) -> Result<bool> {
        let (result, tape) = self.taped(Tape::Compare(DefaultHasher::new()), body);
        result.unwrap_or_else(|panic| resume_unwind(panic))?;
        let Tape::Compare(hash) = tape else { unreachable!("nobody else changes the tape") };
        if hash.finish() != graph.fingerprint {
            return Ok(false);
        }
        self.driver.replay(graph.id).map(|()| true)
    }
}

/// What a closure gave, or with what it panicked.
type Caught = std::thread::Result<Result<()>>;

impl Shape {
    fn hash_with(&self, symbol: &str, params: &[u8], hash: &mut DefaultHasher) {
        (symbol, self.grid, self.block, self.shared_bytes, params).hash(hash);
    }
}
