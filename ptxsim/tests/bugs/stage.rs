//! A kernel of tests/kernels on a device, with its arguments and the lines it shall be blamed for.

use crate::common::{compile, root};
use ptxsim::{Device, FaultKind, Launch, ModuleId, Report};

/// A loaded kernel file.
pub struct Stage {
    pub device: Device,
    pub module: ModuleId,
    source: String,
    params: Vec<u8>,
}

impl Stage {
    /// Compiles `tests/kernels/<file>` for sm_80 with macros.
    pub fn new(file: &str, defines: &[&str]) -> Stage {
        let path = format!("ptxsim/tests/kernels/{file}");
        let text = compile(&path, defines, "compute_80");
        let mut device = Device::new();
        let module = device.load_ptx(file, &text).unwrap_or_else(|e| panic!("{e}"));
        let source = std::fs::read_to_string(root().join(path)).unwrap();
        Stage { device, module, source, params: Vec::new() }
    }

    /// A buffer with contents, as the next parameter.
    pub fn input<T: Copy, const N: usize>(&mut self, data: &[T], bytes: fn(T) -> [u8; N]) -> u64 {
        let data: Vec<u8> = data.iter().flat_map(|&x| bytes(x)).collect();
        let address = self.output(data.len());
        self.device.copy_in(address, &data).unwrap();
        address
    }

    /// A buffer without contents, as the next parameter.
    pub fn output(&mut self, bytes: usize) -> u64 {
        let address = self.device.alloc(bytes as u64).unwrap();
        while !self.params.len().is_multiple_of(8) {
            self.params.push(0);
        }
        self.params.extend(address.to_le_bytes());
        address
    }

    /// A scalar of four bytes, as the next parameter.
    pub fn scalar(&mut self, bytes: [u8; 4]) {
        self.params.extend(bytes);
    }

    /// A launch of an entry with the parameters so far.
    pub fn launch(&self, entry: &str, grid: [u32; 3], threads: u32) -> Launch {
        Launch {
            module: self.module,
            entry: entry.into(),
            grid,
            block: [threads, 1, 1],
            params: self.params.clone(),
            shared_opt_in: true,
            ..Launch::default()
        }
    }

    /// Runs it.
    pub fn run(&mut self, launch: &Launch) -> Report {
        self.device.launch(launch).unwrap_or_else(|e| panic!("{e}"))
    }

    /// What a buffer of floats holds.
    pub fn floats(&mut self, address: u64, n: usize) -> Vec<f32> {
        let mut bytes = vec![0; 4 * n];
        self.device.copy_out(address, &mut bytes).unwrap();
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    /// What a buffer of integers holds.
    pub fn integers(&mut self, address: u64, n: usize) -> Vec<i32> {
        self.floats(address, n).iter().map(|x| x.to_bits() as i32).collect()
    }

    /// Whether a fault of this kind stands at a line that says `// FAULT ... name`, or in code that
    /// is called there.
    pub fn blamed(&self, report: &Report, kind: FaultKind, name: &str) -> bool {
        let lines: Vec<u32> = (1..)
            .zip(self.source.lines())
            .filter(|(_, line)| {
                let words = line.split("// FAULT").nth(1).unwrap_or_default();
                words.split_whitespace().any(|word| word == name)
            })
            .map(|(number, _)| number)
            .collect();
        assert!(!lines.is_empty(), "no line is marked with {name}");
        report.faults.iter().any(|fault| {
            let site = &fault.first.site;
            let marked = lines.contains(&site.line) || lines.contains(&site.called_from);
            fault.kind() == kind && marked
        })
    }
}

/// bf16 bits of a small float, which is exact.
pub fn bf16(x: f32) -> u16 {
    assert_eq!(x.to_bits() & 0xffff, 0, "{x} is no bf16");
    (x.to_bits() >> 16) as u16
}

/// A float that a bf16 holds exactly, from -1 to 1, that an index decides.
pub fn sample(index: usize) -> f32 {
    let mixed = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> 40) % 257) as f32 / 128.0 - 1.0
}
