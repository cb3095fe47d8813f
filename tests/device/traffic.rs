//! What a kernel asked of memory, held against the formula at its head.

use super::Rig;
use ptxsim::Counters;

/// What the formulas give.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Bytes that all lanes ask device memory for.
    pub requested: u64,
    /// Bytes of the 32-byte sectors that each instruction touches. A word that a whole warp asks
    /// for is one sector; what several warps read counts for each.
    pub sectors: u64,
    /// Bytes that must come from device memory or go there, each once: whoever asks again finds
    /// them in a cache.
    pub compulsory: u64,
}

impl Budget {
    /// Holds the launches since the last look at the counters against the budget, with 2 % to
    /// spare, and shared memory against the fewest passes, with 10 %. Says nothing on a GPU, which
    /// counts nothing.
    pub fn check(&self, rig: &Rig, what: &str) {
        let Some(launches) = rig.counters() else { return };
        assert!(!launches.is_empty(), "{what}: nothing was launched");
        let sum = |of: fn(&Counters) -> u64| launches.iter().map(of).sum::<u64>();
        let requested =
            sum(|c| c.global_reads.bytes + c.global_writes.bytes + c.async_copies.bytes);
        let sectors =
            sum(|c| c.global_reads.sectors + c.global_writes.sectors + c.async_copies.sectors);
        let unique = sum(|c| c.unique_read_sectors + c.unique_written_sectors);
        let passes = sum(|c| c.shared_reads.wavefronts + c.shared_writes.wavefronts);
        let least = sum(|c| c.shared_reads.least_wavefronts + c.shared_writes.least_wavefronts);
        within(&format!("{what}: requested"), requested, self.requested, 1.02);
        within(&format!("{what}: sectors"), 32 * sectors, self.sectors, 1.02);
        within(&format!("{what}: different sectors"), 32 * unique, self.compulsory, 1.02);
        within(&format!("{what}: shared memory"), passes, least, 1.1);
    }
}

fn within(what: &str, found: u64, formula: u64, slack: f64) {
    assert!(found as f64 <= formula as f64 * slack, "{what} {found}, the formula gives {formula}");
}
