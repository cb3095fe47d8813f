//! The shares of a device's ceilings that ops are taken to reach. One table: each with its reason.
//!
//! They are what the field's best kernels reach, or what ours aim at, and stay estimates until runs
//! on a device replace them; see [`crate::model::gpu::Measured`].

use crate::backend::Phase;
use crate::model::budget::{Formats, HeadFormat, WeightFormat};
use crate::model::gpu::{Gpu, Measured, TensorCores};

/// A share of a ceiling that something reaches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// What reaches it, and of which ceiling.
    pub of: &'static str,
    /// Above 0, at most 1.
    pub value: f64,
    /// Where it is from.
    pub reason: &'static str,
}

const fn share(of: &'static str, value: f64, reason: &'static str) -> Share {
    Share { of, value, reason }
}

/// Bandwidth that anything reaches of what a data sheet says.
const COPY: Share =
    share("copy, of a data sheet's TB/s", 0.90, "an H200 copies 4.3 of its 4.8 TB/s");
/// Arithmetic that anything reaches of what a data sheet says.
const DENSE: Share =
    share("product, of a data sheet's TFLOP/s", 0.80, "an H200 gives 790 of its 989 TFLOP/s");
/// Products of few rows with bf16 weights.
const BF16_BYTES: Share = share(
    "bf16 weights, of a copy",
    0.96,
    "the aim: 260 of 286 tokens a second of an 8B model, launches counted apart",
);
/// Products of few rows with int8 weights.
const INT8_BYTES: Share = share("int8 head, of a copy", 0.85, "between those of bf16 and int4");
/// Products of few rows with int4 weights.
const INT4_BYTES: Share =
    share("int4 weights, of a copy", 0.75, "the aim for matrices of 30 MB and more");
/// Attention over a cache.
const CACHE_BYTES: Share = share("KV cache, of a copy", 0.93, "the aim: 4.0 of 4.3 TB/s");
/// Ops that move little.
const SMALL_BYTES: Share =
    share("small ops, of a copy", 0.50, "too short to keep the memory busy to their ends");
/// Products by `mma.sync` where `wgmma` is what reaches the ceiling.
const MMA_ON_WGMMA: Share =
    share("products, of a dense one", 0.50, "mma.sync tops out near half of what wgmma gives");
/// Products by `mma.sync` where it is what reaches the ceiling.
const MMA: Share =
    share("products, of a dense one", 0.80, "a guess: tiles of 128 x 128, no tuned schedule");
/// Products with int4 weights beside those with bf16.
const INT4_FLOPS: Share =
    share("int4 products, of bf16 ones", 0.90, "weights are converted in registers");
/// Attention over a prompt by `mma.sync` where `wgmma` is what reaches the ceiling.
const ATTENTION_ON_WGMMA: Share =
    share("prompt attention, of a dense product", 0.38, "FlashAttention-2: 300 of 790 TFLOP/s");
/// Attention over a prompt by `mma.sync` where it is what reaches the ceiling.
const ATTENTION: Share = share(
    "prompt attention, of a dense product",
    0.70,
    "FlashAttention-2 gives 0.50 to 0.73 of an A100's data sheet",
);

/// What a launch in a graph costs beside its work, in seconds.
pub const LAUNCH_S: f64 = 1.3e-6;

/// The shares that hold for weights of given formats on a device.
#[derive(Debug, Clone, Copy)]
pub struct Shares<'a> {
    /// The device.
    pub gpu: &'a Gpu,
    /// The formats.
    pub formats: &'a Formats,
}

impl Shares<'_> {
    /// The rows of the table that are in use here.
    pub fn used(&self) -> Vec<Share> {
        let (measured, mut used) = (self.measured(), Vec::new());
        if self.gpu.measured.is_none() {
            used.extend([COPY, DENSE]);
        }
        if measured.decode_share.is_none() {
            used.push(self.weights());
            used.extend((self.formats.head == HeadFormat::Int8).then_some(INT8_BYTES));
            used.extend([CACHE_BYTES, SMALL_BYTES]);
        }
        if measured.prefill_share.is_none() {
            let (products, attention) = self.arithmetic();
            used.extend([products, attention]);
            used.extend((self.formats.weights != WeightFormat::Bf16).then_some(INT4_FLOPS));
        }
        used
    }

    /// The shares of bandwidth and of arithmetic that an op reaches.
    pub fn of(&self, phase: Phase, op: &str) -> (f64, f64) {
        let (products, attention) = self.arithmetic();
        let converted = match self.formats.weights {
            WeightFormat::Bf16 => 1.0,
            WeightFormat::Int4 { .. } => INT4_FLOPS.value,
        };
        let (bytes, flops) = match op {
            "qkv" | "output" | "gate_up" | "down" => {
                (self.weights().value, products.value * converted)
            }
            "head" => match self.formats.head {
                HeadFormat::Bf16 => (BF16_BYTES.value, products.value),
                HeadFormat::Int8 => (INT8_BYTES.value, products.value),
                HeadFormat::Int4 { .. } => (INT4_BYTES.value, products.value * INT4_FLOPS.value),
            },
            "attention" => (CACHE_BYTES.value, attention.value),
            _ => (SMALL_BYTES.value, 1.0),
        };
        // A measured ceiling is one that something reached.
        let (copy, dense) = match self.gpu.measured {
            None => (COPY.value, DENSE.value),
            Some(_) => (1.0, 1.0),
        };
        let measured = self.measured();
        let own = |share: Option<f64>, of: Phase| share.filter(|_| phase == of);
        (
            own(measured.decode_share, Phase::Decode).unwrap_or(copy * bytes),
            own(measured.prefill_share, Phase::Prefill).unwrap_or(dense * flops),
        )
    }

    /// Seconds that a launch costs beside its work.
    pub fn launch_s(&self) -> f64 {
        self.measured().launch_s.unwrap_or(LAUNCH_S)
    }

    fn measured(&self) -> Measured {
        self.gpu.measured.unwrap_or_default()
    }

    /// Of bandwidth, by products with the weights of a layer.
    fn weights(&self) -> Share {
        match self.formats.weights {
            WeightFormat::Bf16 => BF16_BYTES,
            WeightFormat::Int4 { .. } => INT4_BYTES,
        }
    }

    /// Of arithmetic, by products and by attention over a prompt.
    fn arithmetic(&self) -> (Share, Share) {
        match self.gpu.cores {
            TensorCores::Wgmma => (MMA_ON_WGMMA, ATTENTION_ON_WGMMA),
            TensorCores::Mma => (MMA, ATTENTION),
        }
    }
}
