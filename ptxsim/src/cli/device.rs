//! The one place where the command line meets the simulated GPU.

use crate::error::Error;
use crate::machine::device::{Device, Launch, ModuleId};

/// A launch, as the command line knows it.
pub(super) struct Request {
    pub entry: String,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub cluster: [u32; 3],
    pub shared_bytes: u32,
    pub seed: u64,
    pub checks: bool,
    pub params: Vec<u8>,
}

/// What a launch has left behind.
pub(super) struct Outcome {
    pub faults: usize,
    /// The report as text.
    pub text: String,
}

/// A GPU with one module on it.
pub(super) struct Gpu {
    device: Device,
    module: ModuleId,
}

impl Gpu {
    pub fn new(name: &str, text: &str) -> Result<Gpu, Error> {
        let mut device = Device::new();
        let module = device.load_ptx(name, text)?;
        Ok(Gpu { device, module })
    }

    /// Takes memory that nobody has written.
    pub fn alloc(&mut self, bytes: u64) -> Result<u64, Error> {
        self.device.alloc(bytes)
    }

    pub fn copy_in(&mut self, address: u64, data: &[u8]) -> Result<(), Error> {
        self.device.copy_in(address, data)
    }

    pub fn copy_out(&mut self, address: u64, data: &mut [u8]) -> Result<(), Error> {
        self.device.copy_out(address, data)
    }

    pub fn launch(&mut self, request: Request) -> Result<Outcome, Error> {
        let Request { entry, grid, block, cluster, shared_bytes, seed, checks, params } = request;
        let report = self.device.launch(&Launch {
            module: self.module,
            entry,
            grid,
            block,
            cluster,
            shared_bytes,
            // Whoever asks for more than 48 KB on the command line means it.
            shared_opt_in: true,
            seed,
            checks,
            params,
            ..Launch::default()
        })?;
        Ok(Outcome { faults: report.faults.len(), text: report.to_string() })
    }
}
