//! Products of both families with the matrices of a layer and with the head.

use super::models::Model;
use super::{BF16, Device, Floor, Launch, Op, keeping};
use ridgepoint::backend::Phase;
use ridgepoint::backend::cuda::kernels::KernelSet;
use ridgepoint::backend::cuda::ops::gemm::{
    Gemm, InputNorm, Output, Weight, WeightKind, arrivals_count, decode_ranges, decode_splits,
    decode_tile, gemm, partials_bytes, prefill_tile, range_partials_bytes,
};
use ridgepoint::backend::cuda::params::{
    GEMM_DECODE_FEATURES, GEMM_DECODE_SM90_TOKENS, GEMM_PREFILL_FEATURES, GEMM_SM90_CLUSTER,
    GEMM_SM90_FEATURES, NORM_GROUP,
};
use ridgepoint::backend::cuda::repack::packed_bytes;
use ridgepoint::error::Result;
use ridgepoint::tensor::int4::Int4Shape;

/// Elements of a row whose squares are added up.
const GROUP: usize = NORM_GROUP as usize;

/// Names of [`ridgepoint::model::budget`].
const MATRICES: [&str; 5] = ["qkv", "output", "gate_up", "down", "head"];

/// A product with one of a model's matrices.
struct Product {
    model: Model,
    matrix: &'static str,
    phase: Phase,
    kind: WeightKind,
    rows: usize,
}

/// The formats of weights that are measured, and their names.
const KINDS: [(WeightKind, &str); 2] = [
    (WeightKind::Bf16, "bf16"),
    (WeightKind::Int4 { group: INT4_GROUP as u32, zero_points: false }, "int4g128"),
];
const INT4_GROUP: usize = 128;

/// The products of a step with so many rows. Logits are always the work of the decode family, of
/// a few rows.
pub fn of(model: &Model, phase: Phase, rows: usize) -> impl Iterator<Item = Box<dyn Op>> {
    let wanted = move |matrix: &&str| phase == Phase::Decode || *matrix != "head";
    let model = model.clone();
    let of = move |matrix| {
        let model = model.clone();
        KINDS.into_iter().map(move |(kind, _)| {
            Box::new(Product { model: model.clone(), matrix, phase, kind, rows }) as Box<dyn Op>
        })
    };
    MATRICES.into_iter().filter(wanted).flat_map(of)
}

impl Product {
    /// Rows and columns of W.
    fn shape(&self) -> (usize, usize) {
        let config = &self.model.config;
        let query = config.heads.query * config.heads.dim;
        match self.matrix {
            "qkv" => (config.heads.qkv_width(), config.hidden_size),
            "output" => (config.hidden_size, query),
            "gate_up" => (2 * config.intermediate_size, config.hidden_size),
            "down" => (config.hidden_size, config.intermediate_size),
            _ => (config.vocab_size, config.hidden_size),
        }
    }

    fn weight_bytes(&self) -> usize {
        let (n, k) = self.shape();
        match self.kind {
            WeightKind::Int4 { .. } => {
                packed_bytes(&Int4Shape { n, k, group: INT4_GROUP, zero_points: false })
            }
            _ => n * k * BF16,
        }
    }

    fn has_norm(&self) -> bool {
        ["qkv", "gate_up", "head"].contains(&self.matrix)
    }

    fn has_residual(&self) -> bool {
        ["output", "down"].contains(&self.matrix)
    }

    /// Bytes of a row of the output.
    fn out_bytes(&self) -> usize {
        let (n, _) = self.shape();
        match self.matrix {
            "gate_up" => n / 2 * BF16,
            "head" => n * size_of::<f32>(),
            _ => n * BF16,
        }
    }
}

impl Op for Product {
    fn name(&self) -> String {
        let family = match self.phase {
            Phase::Decode => "gemm_decode",
            Phase::Prefill => "gemm_prefill",
        };
        let (n, k) = self.shape();
        let kind = KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or("", |(_, name)| name);
        format!("{family} {kind} {} {} {k}x{n} m{}", self.model.name, self.matrix, self.rows)
    }

    fn floor(&self) -> Floor {
        let (n, k) = self.shape();
        let Floor { bytes, flops } = self.model.floor(self.matrix, self.phase, self.rows, 0);
        Floor { bytes: bytes - (n * k * BF16) as u64 + self.weight_bytes() as u64, flops }
    }

    fn requested(&self, device: &Device) -> u64 {
        let ((n, k), rows) = (self.shape(), self.rows);
        let squares = if self.has_norm() { k / 4 } else { 0 };
        let tile = match self.phase {
            Phase::Decode => decode_tile(&device.kernels, self.kind, rows),
            Phase::Prefill => prefill_tile(device.kernels.set(), self.kind, n, rows),
        };
        let set = match self.phase {
            Phase::Decode if tile != GEMM_DECODE_SM90_TOKENS => KernelSet::Portable,
            _ => device.kernels.set(),
        };
        let width = n.next_multiple_of(GEMM_DECODE_FEATURES as usize);
        let (features, partials) = match (self.phase, set) {
            (Phase::Decode, KernelSet::Portable) => {
                let splits = decode_splits(n, k) as usize;
                let partials = if splits == 1 { 0 } else { 8 * splits * rows * width };
                (GEMM_DECODE_FEATURES, partials)
            }
            (Phase::Decode, KernelSet::Hopper) => {
                let ranges = decode_ranges(n, k, rows);
                (GEMM_SM90_FEATURES, 2 * range_partials_bytes(n, rows, ranges) as usize)
            }
            (Phase::Prefill, KernelSet::Hopper) => (GEMM_SM90_FEATURES, 0),
            (Phase::Prefill, KernelSet::Portable) => (GEMM_PREFILL_FEATURES, 0),
        };
        let feature_tiles = n.div_ceil(features as usize);
        // The blocks of a cluster fetch their tokens together.
        let shared = match set {
            KernelSet::Hopper => GEMM_SM90_CLUSTER as usize,
            KernelSet::Portable => 1,
        };
        let tokens = rows * (feature_tiles.div_ceil(shared) * 2 * k + feature_tiles * squares);
        let operands = self.weight_bytes() * rows.div_ceil(tile as usize) + tokens;
        // The stream and the weight of the norm are read, stream, norm and squares written.
        let residual = if self.has_residual() { 3 * n * BF16 + n / 4 } else { 0 };
        (operands + partials + rows * (self.out_bytes() + residual)) as u64
    }

    fn weights(&self) -> Option<u64> {
        let (n, k) = self.shape();
        Some((n * k) as u64)
    }

    fn prepare(&self, device: &Device) -> Result<Launch> {
        let ((n, k), rows) = (self.shape(), self.rows);
        // Any bytes are weights, and the scales among them are numbers too.
        let weight = device.numbers(self.weight_bytes() / BF16)?;
        let x = device.numbers(rows * k)?;
        let squares = device.squares(rows * k / GROUP)?;
        let out = device.room(rows * self.out_bytes())?;
        let (stream, gamma) = (device.numbers(rows * n)?, device.numbers(n)?);
        let next_squares = device.room(rows * n.div_ceil(GROUP) * size_of::<f32>())?;
        let partials = device.room(partials_bytes(n, k, rows) as usize)?;
        let arrivals = device.zeros(4 * arrivals_count(n, k, rows))?;
        let output = match self.matrix {
            "gate_up" => Output::SwiGlu,
            "head" => Output::F32,
            "qkv" => Output::Bf16,
            _ => Output::Residual {
                stream: stream.ptr(),
                gamma: gamma.ptr(),
                squares: next_squares.ptr(),
            },
        };
        let norm = InputNorm { squares: squares.ptr(), epsilon: 1e-5 };
        let op = Gemm {
            phase: self.phase,
            x: x.ptr(),
            norm: self.has_norm().then_some(norm),
            weight: match self.kind {
                WeightKind::Int4 { group, zero_points } => {
                    Weight::Int4 { at: weight.ptr(), group, zero_points }
                }
                _ => Weight::Bf16(weight.ptr()),
            },
            bias: 0,
            output,
            out: out.ptr(),
            partials: partials.ptr(),
            arrivals: arrivals.ptr(),
            rows,
            n,
            k,
        };
        let held = [x, weight, squares, out, stream, gamma, next_squares, partials, arrivals];
        Ok(keeping(held, move |kernels| gemm(kernels, &op)))
    }
}
