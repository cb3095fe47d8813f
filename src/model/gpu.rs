//! Memory, bandwidth and arithmetic of GPUs: ceilings under which every kernel stays.
//!
//! Those of named GPUs are from NVIDIA's data sheets; arithmetic is that of dense bf16 products in
//! the tensor cores with f32 accumulation, half of what a sheet gives "with sparsity". What is
//! measured on a device is less, and can be given in a file instead.

use crate::error::{Error, Result};
use crate::load::checkpoint::read_json_text;
use crate::load::fields::Fields;
use std::path::Path;

/// How a GPU's tensor cores are fed, which decides what share of them portable code reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorCores {
    /// By `mma.sync`, which reaches all of them: Ampere and Ada.
    Mma,
    /// By `wgmma` or later instructions; `mma.sync` reaches about six tenths of them.
    Wgmma,
}

/// What was measured on a device in place of what a data sheet says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measured {
    /// The share of the bandwidth that a whole decode step reaches.
    pub decode_share: Option<f64>,
    /// The share of the arithmetic that a whole prefill step reaches.
    pub prefill_share: Option<f64>,
    /// Seconds that a launch costs beside its work; 0 if the shares hold them.
    pub launch_s: Option<f64>,
}

/// A GPU's limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Gpu {
    /// The name it is asked for by.
    pub name: String,
    /// Bytes a second from and to its memory.
    pub bytes_per_s: f64,
    /// Floating-point operations a second; a multiply-add counts as two.
    pub flops_per_s: f64,
    /// Bytes of its memory, if they are known.
    pub memory_bytes: Option<u64>,
    /// Its tensor cores.
    pub cores: TensorCores,
    /// Set if the ceilings are measured ones and not those of a data sheet.
    pub measured: Option<Measured>,
}

/// A row of the table: name, another name if it has one, GB, TB/s, TFLOP/s, tensor cores.
type Sheet = (&'static str, Option<&'static str>, f64, f64, f64, TensorCores);

use TensorCores::{Mma, Wgmma};

/// From the data sheets of "NVIDIA A10", "A100" (40 GB PCIe and 80 GB SXM), "HGX B200", "H100"
/// (SXM and PCIe), "H200", "L4", "L40S", and the Ampere GA102 and Ada architecture papers for the
/// GeForce cards. A sheet's GB are taken as 10^9 bytes; what a device has beyond is left to its
/// driver.
const SHEETS: &[Sheet] = &[
    ("h100", Some("h100-sxm"), 80.0, 3.35, 989.4, Wgmma),
    ("h100-pcie", None, 80.0, 2.0, 756.0, Wgmma),
    ("h200", None, 141.0, 4.8, 989.4, Wgmma),
    ("b200", None, 180.0, 8.0, 2250.0, Wgmma),
    ("a100", Some("a100-80gb"), 80.0, 2.039, 312.0, Mma),
    ("a100-40gb", None, 40.0, 1.555, 312.0, Mma),
    ("a10", None, 24.0, 0.600, 125.0, Mma),
    ("l40s", None, 48.0, 0.864, 362.0, Mma),
    ("l4", None, 24.0, 0.300, 121.0, Mma),
    ("4090", Some("rtx-4090"), 24.0, 1.008, 165.2, Mma),
    ("3090", Some("rtx-3090"), 24.0, 0.936, 71.0, Mma),
];

/// What a driver's context, loaded code and captured graphs are taken to need: an estimate.
pub const DRIVER_BYTES: u64 = 600_000_000;

/// Far above any device: a larger figure in a file is in another unit.
const MOST: f64 = 1e6;

impl Gpu {
    /// The GPU of that name, a file of ceilings if the name ends with `.json`, or two numbers
    /// `TB/s,TFLOP/s`.
    ///
    /// A file is an object with `name`, `memory_gb` (what an engine may use), `tb_per_s` and
    /// `tflops`, and if they were measured too `decode_share`, `prefill_share` and `launch_us`.
    ///
    /// # Errors
    /// [`Error::Usage`] with the names there are, or what is wrong with the file.
    pub fn parse(text: &str) -> Result<Gpu> {
        if text.ends_with(".json") {
            return Gpu::read(Path::new(text));
        }
        let lower = text.to_lowercase();
        let is_called = |sheet: &&Sheet| sheet.0 == lower || sheet.1 == Some(&lower);
        if let Some(sheet) = SHEETS.iter().find(is_called) {
            return Ok(Gpu::of_sheet(sheet));
        }
        let numbers = text.split_once(',').and_then(|(bytes, flops)| {
            let positive = |text: &str| text.trim().parse::<f64>().ok().filter(|x| *x > 0.0);
            Some((positive(bytes)?, positive(flops)?))
        });
        match numbers {
            Some((bytes, flops)) if bytes.is_finite() && flops.is_finite() => Ok(Gpu {
                name: text.to_string(),
                bytes_per_s: bytes * 1e12,
                flops_per_s: flops * 1e12,
                memory_bytes: None,
                cores: TensorCores::Wgmma,
                measured: Some(Measured::default()),
            }),
            _ => {
                let names: Vec<&str> = SHEETS.iter().map(|sheet| sheet.0).collect();
                let names = names.join(", ");
                Err(Error::Usage(format!(
                    "--gpu is {text}, expected one of {names}, a file of ceilings (*.json), or \
                     TB/s,TFLOP/s as in 4.8,989"
                )))
            }
        }
    }

    /// The GPU that a driver's name such as "NVIDIA H100 80GB HBM3" speaks of: of the names in the
    /// table all of whose words occur in it, the one with most.
    pub fn of_device(device: &str) -> Option<Gpu> {
        let lower = device.to_lowercase();
        let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
        let known = |name: &str| name.split('-').all(|word| words.contains(&word));
        let found = SHEETS.iter().filter(|sheet| known(sheet.0));
        found.max_by_key(|sheet| sheet.0.split('-').count()).map(Gpu::of_sheet)
    }

    fn of_sheet(&(name, _, gigabytes, terabytes, teraflops, cores): &Sheet) -> Gpu {
        Gpu {
            name: name.to_string(),
            bytes_per_s: terabytes * 1e12,
            flops_per_s: teraflops * 1e12,
            memory_bytes: Some((gigabytes * 1e9) as u64),
            cores,
            measured: None,
        }
    }

    fn read(path: &Path) -> Result<Gpu> {
        let text = read_json_text(path)?;
        let fields = Fields::parse(&text, path)?;
        let within = |name: &str, most: f64| match fields.number(name)? {
            value if value > 0.0 && value <= most => Ok(value),
            value => Err(fields.invalid(name, value, format!("a number above 0, at most {most}"))),
        };
        let optional = |name: &str, most: f64| match fields.has(name) {
            true => within(name, most).map(Some),
            false => Ok(None),
        };
        let launch_us = match fields.number_or("launch_us", f64::NAN)? {
            us if us.is_nan() => None,
            0.0 => Some(0.0),
            _ => optional("launch_us", MOST)?,
        };
        let name = fields.string("name")?;
        Ok(Gpu {
            name: name.unwrap_or_else(|| path.display().to_string()),
            bytes_per_s: within("tb_per_s", MOST)? * 1e12,
            flops_per_s: within("tflops", MOST)? * 1e12,
            memory_bytes: Some((within("memory_gb", MOST)? * 1e9) as u64),
            cores: TensorCores::Wgmma,
            measured: Some(Measured {
                decode_share: optional("decode_share", 1.0)?,
                prefill_share: optional("prefill_share", 1.0)?,
                launch_s: launch_us.map(|us| us * 1e-6),
            }),
        })
    }

    /// The least seconds in which so much can be moved and computed.
    pub fn floor_s(&self, bytes: u64, flops: u64) -> f64 {
        (bytes as f64 / self.bytes_per_s).max(flops as f64 / self.flops_per_s)
    }

    /// Bytes of memory that an engine may use, if they are known.
    pub fn usable_bytes(&self) -> Option<u64> {
        let taken = if self.measured.is_some() { 0 } else { DRIVER_BYTES };
        self.memory_bytes.map(|bytes| bytes.saturating_sub(taken))
    }

    /// Operations for each byte at which a kernel is bound by both alike.
    pub fn ridge(&self) -> f64 {
        self.flops_per_s / self.bytes_per_s
    }
}
