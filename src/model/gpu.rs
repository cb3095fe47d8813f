//! Memory bandwidth and arithmetic of GPUs, for floors. All figures are from NVIDIA's data sheets:
//! bf16 tensor-core products with f32 accumulation, dense. A kernel can reach what is measured on a
//! device, which is less: on an H200 a copy moves about nine tenths of the figure.

use crate::error::{Error, Result};

/// A GPU's two limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Gpu {
    /// The name it is asked for by.
    pub name: String,
    /// Bytes a second from and to its memory.
    pub bytes_per_s: f64,
    /// Floating-point operations a second; a multiply-add counts as two.
    pub flops_per_s: f64,
}

/// Name, TB/s, TFLOP/s.
const GPUS: &[(&str, f64, f64)] = &[
    ("a10", 0.600, 125.0),
    ("a100-40gb", 1.555, 312.0),
    ("a100-80gb", 2.039, 312.0),
    ("b200", 8.0, 2250.0),
    ("h100", 3.35, 989.4),
    ("h100-pcie", 2.0, 756.0),
    ("h200", 4.8, 989.4),
    ("l4", 0.300, 121.0),
    ("l40s", 0.864, 362.0),
    ("rtx-3090", 0.936, 71.0),
    ("rtx-4090", 1.008, 165.2),
];

impl Gpu {
    /// The GPU of that name, or two numbers `TB/s,TFLOP/s`.
    ///
    /// # Errors
    /// [`Error::Usage`] with the names there are.
    pub fn parse(text: &str) -> Result<Gpu> {
        let scaled = |name: &str, terabytes: f64, teraflops: f64| Gpu {
            name: name.to_string(),
            bytes_per_s: terabytes * 1e12,
            flops_per_s: teraflops * 1e12,
        };
        if let Some(&(name, bytes, flops)) = GPUS.iter().find(|gpu| gpu.0 == text.to_lowercase()) {
            return Ok(scaled(name, bytes, flops));
        }
        let numbers = text.split_once(',').and_then(|(bytes, flops)| {
            let positive = |text: &str| text.trim().parse::<f64>().ok().filter(|x| *x > 0.0);
            Some((positive(bytes)?, positive(flops)?))
        });
        match numbers {
            Some((bytes, flops)) if bytes.is_finite() && flops.is_finite() => {
                Ok(scaled(text, bytes, flops))
            }
            _ => {
                let names: Vec<&str> = GPUS.iter().map(|gpu| gpu.0).collect();
                let names = names.join(", ");
                Err(Error::Usage(format!(
                    "--gpu is {text}, expected one of {names}, or TB/s,TFLOP/s as in 4.8,989"
                )))
            }
        }
    }

    /// The least seconds in which so much can be moved and computed.
    pub fn floor_s(&self, bytes: u64, flops: u64) -> f64 {
        (bytes as f64 / self.bytes_per_s).max(flops as f64 / self.flops_per_s)
    }
}
