//! Kernels for sm_90a: the engines beside the warps, and the bugs that they must find.

mod copies;
mod gemm;
mod launches;
mod products;

use crate::common;
use ptxsim::tensor::swizzle::Swizzle;
use ptxsim::tensor::tma::{DataType, Fill, TensorMap, Tiled};
use ptxsim::{Device, Launch, ModuleId, Report};

/// A device with a module of `tests/kernels`, and the module's source.
pub struct Bench {
    pub device: Device,
    pub module: ModuleId,
    source: String,
}

impl Bench {
    pub fn new(file: &str, defines: &[&str]) -> Bench {
        let path = format!("ptxsim/tests/kernels/{file}");
        let ptx = common::compile(&path, defines, "compute_90a");
        let source = std::fs::read_to_string(common::root().join(path)).unwrap();
        let mut device = Device::new();
        let module = device.load_ptx(file, &ptx).unwrap_or_else(|e| panic!("{e}"));
        Bench { device, module, source }
    }

    /// Device memory that holds these bytes.
    pub fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.device.alloc(bytes.len() as u64).unwrap();
        self.device.copy_in(at, bytes).unwrap();
        at
    }

    pub fn floats(&mut self, at: u64, count: usize) -> Vec<f32> {
        self.words(at, count).into_iter().map(f32::from_bits).collect()
    }

    pub fn words(&mut self, at: u64, count: usize) -> Vec<u32> {
        let mut bytes = vec![0; 4 * count];
        self.device.copy_out(at, &mut bytes).unwrap();
        bytes.chunks(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    }

    pub fn launch(&mut self, launch: &Launch) -> Report {
        self.device.launch(launch).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Runs a launch with a seed and expects no fault.
    pub fn clean(&mut self, launch: &Launch, seed: u64) -> Report {
        let report = self.launch(&Launch { seed, ..launch.clone() });
        assert!(report.is_clean(), "{} with seed {seed}: {report}", launch.entry);
        report
    }

    /// Whether a report holds a fault that the source announces: at the end of its line, or on
    /// lines of their own above it, stands `// FAULT name kinds`, with `|` between kinds.
    pub fn announced(&self, report: &Report, name: &str) -> bool {
        let lines: Vec<&str> = self.source.lines().collect();
        let alone = |line: &&&str| line.trim_start().starts_with("// FAULT ");
        let announces = |line: u32, kind: &str| {
            let at = (line as usize).saturating_sub(1).min(lines.len() - 1);
            let above = lines[..at].iter().rev().take_while(alone);
            above.chain([&lines[at]]).any(|text| {
                let entry = text.split_once("// FAULT ").and_then(|(_, e)| e.split_once(' '));
                entry.is_some_and(|(bug, kinds)| bug == name && kinds.split('|').any(|k| k == kind))
            })
        };
        // The line of the code, or that which it was called from.
        report.faults.iter().any(|fault| {
            let (site, kind) = (&fault.first.site, format!("{:?}", fault.kind()));
            announces(site.line, &kind) || announces(site.called_from, &kind)
        })
    }

    /// Runs 20 seeds; with how many of them the bug of that name is found as announced.
    #[allow(clippy::print_stdout)] // how often, and what else was found instead
    pub fn found(&mut self, launch: &Launch, name: &str) -> usize {
        assert!(self.source.contains(name), "no bug is called {name}");
        let hit = |seed| {
            let report = self.launch(&Launch { seed, ..launch.clone() });
            let found = self.announced(&report, name);
            if !found {
                println!("{name}, seed {seed}: {report}");
            }
            usize::from(found)
        };
        let found = (0..20).map(hit).sum();
        println!("{name}: {found} of 20");
        found
    }
}

/// Parameters of a kernel, laid out like a C struct.
#[derive(Default)]
pub struct Params(pub Vec<u8>);

impl Params {
    pub fn map(mut self, map: &TensorMap) -> Params {
        self.0.resize(self.0.len().next_multiple_of(64), 0);
        self.0.extend(map.encode());
        self
    }

    pub fn pointer(mut self, at: u64) -> Params {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self.0.extend(at.to_le_bytes());
        self
    }

    pub fn int(mut self, value: i32) -> Params {
        self.0.extend(value.to_le_bytes());
        self
    }
}

/// The map of a matrix of `rows` rows of `columns` elements without gaps, in boxes of
/// `shape[1]` rows of `shape[0]` elements.
pub fn matrix(
    element: DataType,
    address: u64,
    [columns, rows]: [usize; 2],
    shape: [u32; 2],
    swizzle: Swizzle,
) -> TensorMap {
    let tiled = Tiled {
        element,
        address,
        dims: &[columns as u64, rows as u64],
        strides: &[columns as u64 * u64::from(element.bytes())],
        box_dims: &shape,
        element_strides: &[1, 1],
        swizzle,
        fill: Fill::Zero,
    };
    TensorMap::new(&tiled).unwrap()
}

/// Small multiples of 1/8, by which sums in f32 are exact.
pub fn value(index: usize) -> f32 {
    ((index.wrapping_mul(2_654_435_761) >> 9) & 15) as f32 / 8.0 - 1.0
}

pub fn bf16(value: f32) -> [u8; 2] {
    ((value.to_bits() >> 16) as u16).to_le_bytes()
}

/// A bf16 matrix of `count` elements, `value(index + first)`.
pub fn values_bf16(first: usize, count: usize) -> Vec<u8> {
    (first..first + count).flat_map(|index| bf16(value(index))).collect()
}
