//! Whether decode may use wgmma. A row has the same bits whatever is computed beside it, so the
//! wgmma kernels of `gemm_decode`, which are for more rows than 32, must give the bits of those by
//! mma.sync, which are for fewer. The simulator shows that both add in the same order; that the
//! tensor cores round alike in both instructions is for a GPU to show. `wgmma_probe.txt` holds what
//! GPUs have shown.

use super::kernels::KernelSet;
use crate::error::{Error, Result};

/// What the probe has found so far.
const RESULTS: &str = include_str!("wgmma_probe.txt");

/// One run of the probe: a line of `wgmma_probe.txt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    /// Compute capability, such as (9, 0).
    pub compute: (u32, u32),
    /// Version of the driver, such as `580.65.06`.
    pub driver: String,
    /// Day of the run in UTC, as in `2026-01-31`.
    pub date: String,
    /// Whether all bits of all products were equal.
    pub equal: bool,
    /// Name of the device.
    pub device: String,
}

impl std::fmt::Display for ProbeResult {
    /// The line without its end.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor) = self.compute;
        let equal = if self.equal { "equal" } else { "different" };
        write!(f, "{major}.{minor} {} {} {equal} {}", self.driver, self.date, self.device)
    }
}

impl ProbeResult {
    fn of_line(line: &str) -> Option<ProbeResult> {
        let mut words = line.splitn(5, ' ');
        let (major, minor) = words.next()?.split_once('.')?;
        let (driver, date) = (words.next()?, words.next()?);
        let equal = match words.next()? {
            "equal" => true,
            "different" => false,
            _ => return None,
        };
        let device = words.next()?;
        let is_driver = |c: char| c.is_ascii_digit() || c == '.';
        let is_day = date.len() == 10
            && date.char_indices().all(|(i, c)| match i {
                4 | 7 => c == '-',
                _ => c.is_ascii_digit(),
            });
        let whole = !driver.is_empty() && driver.chars().all(is_driver) && is_day;
        let named = !device.is_empty() && device.trim() == device;
        let found = ProbeResult {
            compute: (major.parse().ok()?, minor.parse().ok()?),
            driver: driver.to_owned(),
            date: date.to_owned(),
            equal,
            device: device.to_owned(),
        };
        // Numbers have one way to be written.
        (whole && named && found.to_string() == line).then_some(found)
    }
}

/// Reads a file of results: lines of [`ProbeResult`], lines that begin with `#`, and empty lines.
///
/// # Errors
/// [`Error::Device`] with the first line that is none of these.
pub fn parse(text: &str) -> Result<Vec<ProbeResult>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let read = |line: &str| {
        ProbeResult::of_line(line)
            .ok_or_else(|| Error::Device(format!("wgmma_probe.txt has no result in `{line}`")))
    };
    lines.map(read).collect()
}

/// The committed results.
///
/// # Errors
/// As [`parse`].
pub fn committed() -> Result<Vec<ProbeResult>> {
    parse(RESULTS)
}

/// Whether `gemm_decode` takes wgmma above 32 rows, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecodeWgmma {
    /// It does: all runs of the probe on devices of this kind found equal bits; this is one.
    Confirmed(ProbeResult),
    /// It does because somebody asked for it, for tests and measurements.
    Assumed,
    /// It does not: the portable kernels are taken.
    Portable,
    /// It does not: no run of the probe on a device of this compute capability is known.
    Unknown((u32, u32)),
    /// It does not: this run found other bits.
    Different(ProbeResult),
}

impl DecodeWgmma {
    /// What follows from the results for a device and the set of its kernels.
    pub fn of(results: &[ProbeResult], set: KernelSet, compute: (u32, u32)) -> DecodeWgmma {
        if set == KernelSet::Portable {
            return DecodeWgmma::Portable;
        }
        let mut own = results.iter().filter(|result| result.compute == compute);
        match (own.clone().find(|result| !result.equal), own.next()) {
            (Some(different), _) => DecodeWgmma::Different(different.clone()),
            (None, Some(equal)) => DecodeWgmma::Confirmed(equal.clone()),
            (None, None) => DecodeWgmma::Unknown(compute),
        }
    }

    /// Whether it does.
    pub fn is_taken(&self) -> bool {
        matches!(self, DecodeWgmma::Confirmed(_) | DecodeWgmma::Assumed)
    }
}

impl std::fmt::Display for DecodeWgmma {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (by, why) = match self {
            DecodeWgmma::Confirmed(result) => ("wgmma", format!("the probe says {result}")),
            DecodeWgmma::Assumed => ("wgmma", "its bits are assumed to be equal".to_owned()),
            DecodeWgmma::Portable => ("mma.sync", "the kernels are the portable ones".to_owned()),
            DecodeWgmma::Unknown((major, minor)) => {
                let what = "no probe has shown that wgmma gives the same bits";
                ("mma.sync", format!("{what} on compute capability {major}.{minor}"))
            }
            DecodeWgmma::Different(result) => ("mma.sync", format!("the probe says {result}")),
        };
        write!(f, "decode with more than 32 rows uses {by}: {why}")
    }
}
