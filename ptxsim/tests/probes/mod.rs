//! Every instruction through the whole simulator: a kernel of one instruction each, run on edge
//! patterns and random inputs, its results compared with a slow model of the instruction. The
//! same kernels run on a GPU (tools/golden.py), whose results are kept in ptxsim/golden.

mod agents;
mod atomics;
mod control;
mod export;
mod golden;
mod matrix;
mod memory;
mod pick;
mod ptxas;
mod run;
mod table;
mod warp;
mod write;

pub use golden::Golden;

use std::collections::HashSet;
use std::sync::OnceLock;

/// Disagreements that a failure lists, of all probes together.
const LISTED: usize = 100;
/// What stands before the entries of a module.
pub const HEADER: &str = ".version 8.7\n.target sm_90a\n.address_size 64\n\n";

/// A parameter of a probe's entry, in the order of the entry.
pub enum Param {
    /// Address of a buffer with these bytes.
    In(Vec<u8>),
    /// The same, and what it holds afterwards is a result.
    InOut(Vec<u8>),
    /// Address of a buffer of so many zeros, which takes results.
    Out(usize),
    /// A 32-bit number.
    Word(u32),
    /// A struct, aligned to its size.
    Bytes([u8; 16]),
}

/// Says what is wrong with the results, one line each; nothing if all is well.
pub type Check = Box<dyn Fn(&[Vec<u8>]) -> Vec<String> + Send + Sync>;

/// A kernel of one instruction.
pub struct Probe {
    /// Unique; starts with the opcode.
    pub name: String,
    /// The row of the table of forms that it confirms: its first part is the base mnemonic.
    pub opcode: String,
    /// The operands of that row; empty for instructions that no table holds.
    pub operands: String,
    /// Name of the entry, unique among all probes.
    pub entry: String,
    /// The entry, and functions and variables that it needs, whose names start with the entry's.
    pub text: String,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub params: Vec<Param>,
    /// Of every so many bytes of results, the ranges that mean anything.
    pub keep: (usize, Vec<(usize, usize)>),
    /// The model.
    pub check: Check,
    /// A GPU's results must be the same to the bit; else they too must agree with the model, which
    /// allows the error that the PTX ISA states.
    pub exact: bool,
    /// Results can be compared with a GPU's: they do not depend on where memory lies.
    pub comparable: bool,
    /// What the kernel prints.
    pub printed: String,
}

impl Probe {
    /// First part of the opcode.
    pub fn base(&self) -> &str {
        self.opcode.split('.').next().unwrap_or_default()
    }

    /// Bytes of all results.
    pub fn results(&self) -> usize {
        let bytes = self.params.iter().map(|p| match p {
            Param::InOut(data) => data.len(),
            Param::Out(bytes) => *bytes,
            _ => 0,
        });
        bytes.sum()
    }

    /// Changes when the kernel or its inputs do (FNV-1a).
    pub fn hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut take = |bytes: &[u8]| {
            for &byte in bytes {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        };
        take(self.text.replace(&self.entry, "").as_bytes());
        for param in &self.params {
            match param {
                Param::In(data) | Param::InOut(data) => take(data),
                Param::Out(bytes) => take(&bytes.to_le_bytes()),
                Param::Word(word) => take(&word.to_le_bytes()),
                Param::Bytes(bytes) => take(bytes),
            }
        }
        take(format!("{:?} {:?} {:?}", self.grid, self.block, self.keep).as_bytes());
        hash
    }

    /// The bytes of results that mean anything.
    pub fn kept(&self, results: &[u8]) -> Vec<u8> {
        let (stride, ranges) = &self.keep;
        let groups = results.chunks(*stride);
        groups.flat_map(|g| ranges.iter().flat_map(|&(at, n)| g[at..at + n].to_vec())).collect()
    }
}

/// All probes, in a fixed order.
pub fn all() -> &'static [Probe] {
    static ALL: OnceLock<Vec<Probe>> = OnceLock::new();
    ALL.get_or_init(make)
}

fn make() -> Vec<Probe> {
    let mut out = table::probes();
    out.extend(warp::probes());
    out.extend(memory::probes());
    out.extend(atomics::probes());
    out.extend(matrix::probes());
    out.extend(control::probes());
    out.extend(agents::probes());
    out.extend(pick::probes());
    let mut names = HashSet::new();
    for (number, probe) in out.iter_mut().enumerate() {
        let entry = format!("probe_{number}");
        probe.text = probe.text.replace("@ENTRY@", &entry);
        probe.entry = entry;
        assert!(names.insert(probe.name.clone()), "two probes are called {}", probe.name);
    }
    out
}

/// Results agree with the models. With `PTXSIM_PROBES_OUT` set to a folder, the probes are written
/// there too, for `tools/golden.py`.
#[test]
fn probes_agree_with_their_models() {
    let probes = all();
    if let Some(folder) = std::env::var_os("PTXSIM_PROBES_OUT") {
        export::write(probes, folder.as_ref());
    }
    let mut problems = run::run(probes);
    let count = problems.len();
    problems.truncate(LISTED);
    assert!(problems.is_empty(), "{count} disagree:\n{}", problems.join("\n"));
}

/// Every opcode of every table has a probe.
#[test]
fn every_opcode_is_probed() {
    let probed: HashSet<(&str, &str)> =
        all().iter().map(|p| (p.opcode.as_str(), p.operands.as_str())).collect();
    let mut missing = Vec::new();
    for row in ptxsim::decode::table::TABLES.iter().copied().flatten().copied().flatten() {
        for opcode in ptxsim::decode::table::expand(row.pattern) {
            if !probed.contains(&(opcode.as_str(), row.operands)) {
                missing.push(format!("{opcode} {}", row.operands));
            }
        }
    }
    assert!(missing.is_empty(), "{} without a probe:\n{}", missing.len(), missing.join("\n"));
}
