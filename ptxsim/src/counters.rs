//! What decides a kernel's speed on a GPU, counted: exact, and the same at every run of a seed.
//! These are counts, not times.

use crate::isa::Class;
use crate::machine::state::Grid;
use crate::report::Site;
use std::collections::BTreeMap;
use std::fmt;

/// What one instruction did to memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes that the lanes asked for, each lane's own.
    pub bytes: u64,
    /// 32-byte sectors of device memory that were touched, instruction by instruction.
    pub sectors: u64,
    /// The fewest sectors that could hold the different bytes each instruction touched.
    pub least_sectors: u64,
    /// Passes that shared memory needs, for the bank conflicts of each instruction.
    pub wavefronts: u64,
    /// The passes it would need without conflicts.
    pub least_wavefronts: u64,
    /// Lanes that took part.
    pub lanes: u64,
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Traffic) {
        self.bytes += other.bytes;
        self.sectors += other.sectors;
        self.least_sectors += other.least_sectors;
        self.wavefronts += other.wavefronts;
        self.least_wavefronts += other.least_wavefronts;
        self.lanes += other.lanes;
    }
}

/// Counts of one instruction of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstructionCounters {
    /// The kernel's entry.
    pub kernel: String,
    /// The instruction.
    pub site: Site,
    /// What it counts as.
    pub class: Class,
    /// Times a warp executed it.
    pub executions: u64,
    /// What it did to memory.
    pub traffic: Traffic,
}

/// Counts of a whole launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Instructions executed by warps.
    pub warp_instructions: u64,
    /// The same by class.
    pub classes: BTreeMap<Class, u64>,
    /// Multiply-accumulates of mma and wgmma.
    pub matrix_macs: u64,
    /// Reads of device memory, without asynchronous copies.
    pub global_reads: Traffic,
    /// Writes of device memory.
    pub global_writes: Traffic,
    /// Asynchronous copies: cp.async and bulk.
    pub async_copies: Traffic,
    /// Different 32-byte sectors of device memory that were read, by whatever instruction, atomic
    /// operations included.
    pub unique_read_sectors: u64,
    /// The same of those that were written.
    pub unique_written_sectors: u64,
    /// Reads of shared memory, ldmatrix included.
    pub shared_reads: Traffic,
    /// Writes of shared memory, stmatrix included.
    pub shared_writes: Traffic,
    /// Atomic operations by lanes.
    pub atomics: u64,
    /// Barriers that warps came to.
    pub barriers: u64,
    /// Everything by instruction, in the order of the code; only those that were executed.
    pub instructions: Vec<InstructionCounters>,
}

impl Counters {
    /// Sums up what the grids of a launch did.
    pub fn of(grids: &[Grid]) -> Counters {
        let mut sum = Counters::default();
        for grid in grids {
            for (pc, &executions) in grid.hits.iter().enumerate().filter(|(_, n)| **n > 0) {
                let inst = &grid.program.code[pc];
                let item = InstructionCounters {
                    kernel: grid.launch.entry.clone(),
                    site: Site::of(&grid.program, pc as u32),
                    class: inst.class,
                    executions,
                    traffic: grid.traffic[pc],
                };
                sum.add(&item);
                sum.instructions.push(item);
            }
        }
        sum
    }

    fn add(&mut self, item: &InstructionCounters) {
        self.warp_instructions += item.executions;
        *self.classes.entry(item.class).or_default() += item.executions;
        let opcode = item.site.opcode.as_str();
        let store = opcode.starts_with("st");
        match item.class {
            Class::Mma => self.matrix_macs += item.executions * shape_macs(opcode),
            // Four warps share one product of 64 rows.
            Class::Wgmma => self.matrix_macs += item.executions * shape_macs(opcode) / 4,
            Class::Global if store => self.global_writes += item.traffic,
            Class::Global => self.global_reads += item.traffic,
            Class::Shared | Class::Matrix if store => self.shared_writes += item.traffic,
            Class::Shared | Class::Matrix => self.shared_reads += item.traffic,
            Class::AsyncCopy | Class::Bulk => self.async_copies += item.traffic,
            Class::Atomic => self.atomics += item.traffic.lanes,
            Class::Barrier => self.barriers += item.executions,
            _ => {}
        }
    }

    /// Instructions whose shared-memory accesses take more passes than they need, worst first.
    pub fn bank_conflicts(&self) -> Vec<&InstructionCounters> {
        let extra = |i: &&InstructionCounters| i.traffic.wavefronts - i.traffic.least_wavefronts;
        let mut list: Vec<_> = self.instructions.iter().filter(|i| extra(i) > 0).collect();
        list.sort_by_key(|i| std::cmp::Reverse(extra(i)));
        list
    }
}

/// Multiply-accumulates of a shape such as `m16n8k16` in an opcode; 0 without one.
fn shape_macs(opcode: &str) -> u64 {
    let shape = |part: &&str| part.starts_with('m') && part.contains('n') && part.contains('k');
    let Some(part) = opcode
        .split('.')
        .skip(1)
        .find(|p| shape(p) && p[1..].starts_with(|c: char| c.is_ascii_digit()))
    else {
        return 0;
    };
    part.split(['m', 'n', 'k']).filter_map(|n| n.parse::<u64>().ok()).product()
}

fn ratio(part: u64, whole: u64) -> String {
    if whole == 0 { "-".into() } else { format!("{:.2}", part as f64 / whole as f64) }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "warp instructions    {:>14}", self.warp_instructions)?;
        for (class, n) in &self.classes {
            writeln!(f, "  {:<18} {n:>14}", format!("{class:?}").to_lowercase())?;
        }
        if self.matrix_macs > 0 {
            writeln!(f, "matrix MACs          {:>14}", self.matrix_macs)?;
        }
        let global = [
            ("global reads", &self.global_reads),
            ("global writes", &self.global_writes),
            ("async copies", &self.async_copies),
        ];
        for (name, t) in global.iter().filter(|(_, t)| t.bytes > 0) {
            let over = ratio(t.sectors, t.least_sectors);
            writeln!(
                f,
                "{name:<20} {:>14} bytes, {} sectors of 32 bytes, {over} of the least possible",
                t.bytes, t.sectors
            )?;
        }
        if self.unique_read_sectors + self.unique_written_sectors > 0 {
            let (read, written) = (self.unique_read_sectors, self.unique_written_sectors);
            writeln!(f, "different sectors    {read:>14} read, {written} written")?;
        }
        let shared = [("shared reads", &self.shared_reads), ("shared writes", &self.shared_writes)];
        for (name, t) in shared.iter().filter(|(_, t)| t.wavefronts > 0) {
            let over = ratio(t.wavefronts, t.least_wavefronts);
            writeln!(
                f,
                "{name:<20} {:>14} bytes, {} wavefronts, {over} of those without conflicts",
                t.bytes, t.wavefronts
            )?;
        }
        writeln!(f, "atomics by lanes     {:>14}", self.atomics)?;
        writeln!(f, "barriers by warps    {:>14}", self.barriers)?;
        let conflicts = self.bank_conflicts();
        if !conflicts.is_empty() {
            writeln!(f, "bank conflicts")?;
        }
        for i in conflicts.iter().take(8) {
            let t = &i.traffic;
            writeln!(f, "  {} wavefronts for {} at {}", t.wavefronts, t.least_wavefronts, i.site)?;
        }
        Ok(())
    }
}
