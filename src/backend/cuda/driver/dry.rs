//! A device that computes nothing: it hands out addresses without memory behind them and writes
//! down what is launched. A plan of a step is what the backend does on it, so it cannot differ
//! from what runs.

use super::{Boxes, DevicePtr, Driver, EventId, GraphId, Launch, Properties};
use crate::backend::cuda::module::Module;
use crate::backend::cuda::params::TensorMap;
use crate::error::Result;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where addresses begin: anywhere but at 0, which means no operand.
const FIRST_ADDRESS: DevicePtr = 1 << 32;
const ALIGNMENT: u64 = 256;

/// A launch that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The kernel.
    pub symbol: &'static str,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: u32,
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
    /// Whether it may start before the launch before it has ended.
    pub programmatic: bool,
}

/// The device.
pub struct DryDriver {
    properties: Properties,
    target: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Bytes of what is allocated, by address.
    allocated: HashMap<DevicePtr, u64>,
    /// Room that was ever given out: where the next address lies.
    used_bytes: u64,
    launches: Vec<Planned>,
}

impl DryDriver {
    /// As if it were a device of `properties` that runs the machine code of `target`.
    pub fn new(properties: Properties, target: &'static str) -> DryDriver {
        DryDriver { properties, target, state: Mutex::default() }
    }

    /// The launches since the last call.
    pub fn take_launches(&self) -> Vec<Planned> {
        std::mem::take(&mut self.state().launches)
    }

    /// Bytes that are allocated now.
    pub fn allocated_bytes(&self) -> u64 {
        self.state().allocated.values().sum()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver for DryDriver {
    fn properties(&self) -> &Properties {
        &self.properties
    }

    fn target(&self) -> &'static str {
        self.target
    }

    fn free_bytes(&self) -> Result<u64> {
        Ok(self.properties.memory_bytes)
    }

    fn load(&self, _module: &'static Module) -> Result<()> {
        Ok(())
    }

    fn alloc(&self, bytes: u64) -> Result<DevicePtr> {
        let mut state = self.state();
        let at = FIRST_ADDRESS + state.used_bytes;
        // Two allocations never share an address, not even those of nothing.
        state.used_bytes += bytes.next_multiple_of(ALIGNMENT).max(ALIGNMENT);
        state.allocated.insert(at, bytes);
        Ok(at)
    }

    fn free(&self, at: DevicePtr) {
        self.state().allocated.remove(&at);
    }

    fn write(&self, _at: DevicePtr, _data: &[u8]) -> Result<()> {
        Ok(())
    }

    fn read(&self, _at: DevicePtr, data: &mut [u8]) -> Result<()> {
        data.fill(0);
        Ok(())
    }

    fn fill(&self, _at: DevicePtr, _value: u8, _bytes: u64) -> Result<()> {
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        self.state().launches.push(Planned {
            symbol: launch.entry.symbol,
            grid: launch.grid,
            block: launch.block,
            shared_bytes: launch.shared_bytes,
            programmatic: launch.programmatic,
        });
        Ok(())
    }

    fn tensor_map(&self, _boxes: &Boxes) -> Result<TensorMap> {
        Ok(TensorMap { words: [0; 16] })
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn begin_capture(&self) -> Result<()> {
        Ok(())
    }

    fn end_capture(&self) -> Result<GraphId> {
        Ok(GraphId(0))
    }

    fn replay(&self, _graph: GraphId) -> Result<()> {
        Ok(())
    }

    fn drop_graph(&self, _graph: GraphId) {}

    fn record(&self) -> Result<EventId> {
        Ok(EventId(0))
    }

    fn elapsed_ms(&self, _from: EventId, _to: EventId) -> Result<Option<f32>> {
        Ok(None)
    }
}
