//! Starts kernels by name: looks them up in the table of the build, checks what can be checked of a
//! launch, and says whether it may overlap with the one before.

use super::driver::{Driver, GraphId, Launch};
use super::module::{Entry, KernelTarget, MODULES, Module};
use crate::error::{Error, Result};
use std::collections::HashMap;
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

/// The kernels of this binary on a device.
pub struct Kernels {
    driver: Arc<dyn Driver>,
    entries: HashMap<&'static str, Kernel>,
    programmatic: bool,
}

#[derive(Clone, Copy)]
struct Kernel {
    module: &'static Module,
    entry: &'static Entry,
    target: &'static KernelTarget,
}

impl Kernels {
    /// Loads every kernel that the device can run.
    ///
    /// # Errors
    /// [`Error::Device`] if this build has none, or the device refuses one.
    pub fn new(driver: Arc<dyn Driver>) -> Result<Kernels> {
        let target = driver.target();
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
        Ok(Kernels { driver, entries, programmatic: true })
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
    /// If there is no such kernel: which there are is decided when a model is loaded.
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
        self.driver.launch(&Launch {
            module: kernel.module,
            entry: kernel.entry,
            grid: shape.grid,
            block: shape.block,
            shared_bytes: shape.shared_bytes,
            params: bytemuck::bytes_of(params),
            programmatic: self.programmatic && kernel.target.waits_for_grid,
        })
    }

    /// Records what `body` launches.
    ///
    /// # Errors
    /// That of `body`, after which nothing is recorded, or of the device.
    pub fn capture(&self, body: impl FnOnce() -> Result<()>) -> Result<GraphId> {
        self.driver.begin_capture()?;
        let result = body();
        let graph = self.driver.end_capture();
        match (result, graph) {
            (Ok(()), graph) => graph,
            (Err(error), graph) => {
                if let Ok(graph) = graph {
                    self.driver.drop_graph(graph);
                }
                Err(error)
            }
        }
    }
}
