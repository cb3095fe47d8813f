//! `gemm_decode` and `gemm_prefill`: the matrix product and what follows it.

use crate::backend::Phase;
use crate::backend::cuda::driver::{Boxes, DevicePtr};
use crate::backend::cuda::kernels::{KernelSet, Kernels, Shape};
use crate::backend::cuda::params::{
    GEMM_DECODE_FEATURES, GEMM_DECODE_SM90_TOKENS, GEMM_OUT_F32, GEMM_PREFILL_FEATURES,
    GEMM_SM90_CLUSTER, GEMM_SM90_FEATURES, GEMM_SWIGLU, GemmParams, GemmTensorParams, NORM_GROUP,
    TensorMap,
};
use crate::error::Result;

use super::check::{self, Checked};
use super::gemm_kernels::{K_LIMIT, K_STEP, N_LIMIT};
pub use super::gemm_kernels::{Ring, Variant, WeightKind, check_product};
use super::gemm_ranges::range_scratch;
pub use super::gemm_ranges::{
    decode_ranges, possible_ranges, range_arrivals_count, range_partials_bytes,
};

/// Multiprocessors of an H100 or H200. A constant and not a property of the device, because the
/// order of sums in `gemm_decode` follows from it.
pub(super) const MULTIPROCESSORS: u32 = 132;
/// Tokens of the narrowest tile of `gemm_decode`, and of the widest.
const DECODE_TILE_LEAST: u32 = 8;
const DECODE_TILE_MOST: u32 = 32;
/// The least columns of W that are worth a block of their own.
const DECODE_SPLIT_K: u32 = 512;

/// A weight matrix `[n, k]` on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// bf16, row-major, 16-byte aligned.
    Bf16(DevicePtr),
    /// int4 as [`crate::backend::cuda::repack`] packs it, 16-byte aligned; k is a multiple of
    /// `group`.
    Int4 {
        /// Where the first unit is.
        at: DevicePtr,
        /// Columns that share a scale: 128 or 64.
        group: u32,
        /// Whether there are zero points.
        zero_points: bool,
    },
    /// int8 as [`crate::backend::cuda::repack_int8`] packs it, 16-byte aligned.
    Int8(DevicePtr),
}

impl Weight {
    fn at(&self) -> DevicePtr {
        match *self {
            Weight::Bf16(at) | Weight::Int4 { at, .. } | Weight::Int8(at) => at,
        }
    }

    /// How it is stored.
    pub fn kind(&self) -> WeightKind {
        match *self {
            Weight::Bf16(_) => WeightKind::Bf16,
            Weight::Int8(_) => WeightKind::Int8,
            Weight::Int4 { group, zero_points, .. } => WeightKind::Int4 { group, zero_points },
        }
    }
}

/// What becomes of `acc = x W^T / rms + bias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// `out = bf16(acc)`, `[rows, n]`.
    Bf16,
    /// `out = acc` in f32, `[rows, n]`.
    F32,
    /// `out = bf16(silu(gate) * up)`, `[rows, n / 2]`. Of each sixteen rows of W eight are gate and
    /// then eight up, so n is a multiple of 16.
    SwiGlu,
    /// `stream = bf16(stream + acc)`, `out = bf16(stream * gamma)`, both `[rows, n]` with n a
    /// multiple of 16.
    Residual {
        /// The residual stream, bf16 `[rows, n]`, updated in place.
        stream: DevicePtr,
        /// Weight of the norm to come, bf16 `[n]`.
        gamma: DevicePtr,
        /// Sums of squares of the new stream, f32 `[rows, n / 16]`, written whole.
        squares: DevicePtr,
    },
}

/// The norm of the rows of the input, whose weight they have been multiplied by already.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputNorm {
    /// Sums of squares, f32 `[rows, k / 16]`.
    pub squares: DevicePtr,
    /// Added to the mean of squares before the root.
    pub epsilon: f32,
}

/// Operands; see [`GemmParams`] for their layouts. Addresses are multiples of 16.
#[derive(Debug, Clone, Copy)]
pub struct Gemm {
    /// The family of kernels.
    pub phase: Phase,
    /// Input, bf16 `[rows, k]`.
    pub x: DevicePtr,
    /// With it, accumulators are divided by the root mean square of each row.
    pub norm: Option<InputNorm>,
    /// Weights `[n, k]`.
    pub weight: Weight,
    /// Bias, bf16 `[n]`, or 0.
    pub bias: DevicePtr,
    /// What is stored.
    pub output: Output,
    /// Where.
    pub out: DevicePtr,
    /// [`partials_bytes`] of scratch memory; 0 if that is none.
    pub partials: DevicePtr,
    /// [`arrivals_count`] counters of 32 bits that are 0, and 0 again afterwards; 0 if there are
    /// none.
    pub arrivals: DevicePtr,
    /// Rows of the input.
    pub rows: usize,
    /// Rows of W.
    pub n: usize,
    /// Columns of W, a multiple of 16.
    pub k: usize,
}

/// Blocks along K for each tile of `gemm_decode`: so many that a narrow matrix with long rows keeps
/// the memory of a large GPU busy. W alone decides, since the order of sums follows from it.
pub fn decode_splits(n: usize, k: usize) -> u32 {
    let tiles = (n as u32).div_ceil(GEMM_DECODE_FEATURES).max(1);
    // Two blocks fit on a multiprocessor.
    (2 * MULTIPROCESSORS / tiles).min(k as u32 / DECODE_SPLIT_K).max(1)
}

/// Scratch memory that a product of the decode family with up to `rows` rows needs, on any device.
pub fn partials_bytes(n: usize, k: usize, rows: usize) -> u64 {
    let splits = decode_splits(n, k);
    let width = n.next_multiple_of(GEMM_DECODE_FEATURES as usize);
    let sums = (rows * width * size_of::<f32>()) as u64;
    let portable = if splits == 1 { 0 } else { u64::from(splits) * sums };
    portable.max(range_scratch(n, k, rows).0)
}

/// Counters that a product of the decode family with up to `rows` rows needs, in tiles of any width
/// and on any device.
pub fn arrivals_count(n: usize, k: usize, rows: usize) -> usize {
    let tiles = n.div_ceil(GEMM_DECODE_FEATURES as usize);
    let row_tiles = rows.div_ceil(DECODE_TILE_LEAST as usize);
    let portable = if decode_splits(n, k) == 1 { 0 } else { tiles * row_tiles };
    portable.max(range_scratch(n, k, rows).1)
}

/// Tokens of a tile of `gemm_decode`: 8, 16 or 32, and 64 for more rows where wgmma is taken
/// ([`Kernels::decode_wgmma`]), but for int8 weights.
pub fn decode_tile(kernels: &Kernels, kind: WeightKind, rows: usize) -> u32 {
    let exists = kind != WeightKind::Int8 && kernels.decode_wgmma().is_taken();
    if rows > DECODE_TILE_MOST as usize && exists {
        return GEMM_DECODE_SM90_TOKENS;
    }
    (rows as u32).next_power_of_two().clamp(DECODE_TILE_LEAST, DECODE_TILE_MOST)
}

/// Tokens of a tile of `gemm_prefill`. Of the portable kernels 128, 64 or 32, the widest that is
/// half full and leaves no multiprocessor of a large GPU idle; of Hopper's also 256 with bf16
/// weights, whichever takes the least time ([`Variant::hopper_tile`]).
pub fn prefill_tile(set: KernelSet, kind: WeightKind, n: usize, rows: usize) -> u32 {
    if set == KernelSet::Hopper {
        return Variant::hopper_tile(kind, n, rows);
    }
    let (n, rows) = (n as u32, rows as u32);
    let fills = |tile: &u32| {
        let blocks = n.div_ceil(GEMM_PREFILL_FEATURES) * rows.div_ceil(*tile);
        rows > tile / 2 && blocks >= MULTIPROCESSORS
    };
    [128, 64].into_iter().find(fills).unwrap_or(32)
}

/// Launches it.
///
/// # Errors
/// [`crate::error::Error::Device`] if the device fails.
///
/// # Panics
/// If a shape or an address is not what the fields of [`Gemm`] ask for, or if [`check_product`]
/// refuses it.
pub fn gemm(kernels: &Kernels, op: &Gemm) -> Result<()> {
    let tile = match op.phase {
        Phase::Decode => decode_tile(kernels, op.weight.kind(), op.rows),
        Phase::Prefill => prefill_tile(kernels.set(), op.weight.kind(), op.n, op.rows),
    };
    launch(kernels, op, &variant(kernels, op, tile), decode_ranges(op.n, op.k, op.rows))
}

/// Launches it with tiles of so many tokens: in the decode family 8, 16 or 32, with Hopper's
/// kernels also 64, but for int8 weights; in the prefill family 32, 64 or 128, with Hopper's
/// kernels also 256, for bf16 weights. The width changes no bit of the result, only the time; of
/// the 64 of decode a device has to show it ([`crate::backend::cuda::wgmma`]).
///
/// # Errors
/// As [`gemm`].
///
/// # Panics
/// As [`gemm`], or if there is no such width.
pub fn gemm_in_tiles(kernels: &Kernels, op: &Gemm, tile: u32) -> Result<()> {
    let variant = variant(kernels, op, tile);
    assert_eq!(variant.tile, tile, "the width of a tile");
    launch(kernels, op, &variant, decode_ranges(op.n, op.k, op.rows))
}

/// Launches it on Hopper's kernels of the decode family with K in so many ranges, one of
/// [`possible_ranges`]. Scratch memory is what [`range_partials_bytes`] and
/// [`range_arrivals_count`] give. The number changes no bit of the result.
///
/// # Errors
/// As [`gemm`].
///
/// # Panics
/// As [`gemm`], or if there are no such ranges or no such kernel.
pub fn gemm_in_ranges(kernels: &Kernels, op: &Gemm, ranges: u32) -> Result<()> {
    assert!(possible_ranges(op.n, op.k).any(|some| some == ranges), "{ranges} ranges: {op:?}");
    let variant = variant(kernels, op, GEMM_DECODE_SM90_TOKENS);
    assert_eq!((variant.phase, variant.set), (Phase::Decode, KernelSet::Hopper), "{op:?}");
    launch(kernels, op, &variant, ranges)
}

fn variant(kernels: &Kernels, op: &Gemm, tile: u32) -> Variant {
    let limit = kernels.driver().properties().shared_bytes;
    let variant = Variant::choose(kernels.set(), op.phase, op.weight.kind(), tile, limit);
    variant.unwrap_or_else(|| panic!("no kernel fits: {op:?}"))
}

/// `ranges`: of K, in Hopper's kernels of the decode family.
fn launch(kernels: &Kernels, op: &Gemm, variant: &Variant, ranges: u32) -> Result<()> {
    check::demand(op.check());
    let (rows, n) = (op.rows as u32, op.n as u32);
    let row_tiles = rows.div_ceil(variant.tile);
    let feature_tiles = n.div_ceil(variant.features());
    let shape =
        |grid| Shape { grid, block: variant.threads(), shared_bytes: variant.ring().bytes() };
    let symbol = variant.symbol();
    let (splits, ranges) = match (op.phase, variant.set) {
        (Phase::Decode, KernelSet::Portable) => (decode_splits(op.n, op.k), 1),
        (Phase::Decode, KernelSet::Hopper) => (decode_splits(op.n, op.k), ranges),
        (Phase::Prefill, _) => (1, 1),
    };
    let shared = match variant.set {
        KernelSet::Portable => splits > 1,
        KernelSet::Hopper => ranges > 1,
    };
    let scratch = op.partials != 0 && op.arrivals != 0;
    assert!(!shared || scratch, "no scratch memory: {op:?}");
    let params = params(op, splits, shared);
    match (op.phase, variant.set) {
        (Phase::Decode, KernelSet::Portable) => {
            kernels.launch(&symbol, shape([row_tiles, feature_tiles, splits]), &params)
        }
        (Phase::Prefill, KernelSet::Portable) => {
            kernels.launch(&symbol, shape([row_tiles * feature_tiles, 1, 1]), &params)
        }
        (_, KernelSet::Hopper) => {
            // A block stays on its multiprocessor and takes one tile after the other.
            let most = kernels.driver().properties().multiprocessors / GEMM_SM90_CLUSTER;
            let clusters = row_tiles * feature_tiles.div_ceil(GEMM_SM90_CLUSTER) * ranges;
            let shape = shape([clusters.min(most.max(1)) * GEMM_SM90_CLUSTER, 1, 1]);
            kernels.launch(&symbol, shape, &tensor_params(kernels, op, variant, ranges, params)?)
        }
    }
}

fn tensor_params(
    kernels: &Kernels,
    op: &Gemm,
    variant: &Variant,
    ranges: u32,
    gemm: GemmParams,
) -> Result<GemmTensorParams> {
    let map = |at, rows: usize, box_rows| {
        let (rows, columns) = (rows as u64, op.k as u64);
        kernels.tensor_map(&Boxes { at, rows, columns, box_rows })
    };
    // Without rows nothing is launched, and a matrix without rows has no map.
    let none = TensorMap { words: [0; 16] };
    Ok(GemmTensorParams {
        x_map: match op.rows {
            0 => none,
            rows => map(op.x, rows, variant.tile / GEMM_SM90_CLUSTER)?,
        },
        weight_map: match op.weight {
            Weight::Bf16(at) => map(at, op.n, GEMM_SM90_FEATURES)?,
            Weight::Int4 { .. } | Weight::Int8(_) => none,
        },
        gemm,
        ranges,
        reserved: [0; 5],
    })
}

impl Gemm {
    /// Whether [`gemm`] takes it, if [`check_product`] does not refuse its shape.
    pub fn check(&self) -> Checked {
        let (rows, n, k) = (self.rows, self.n, self.k);
        let within = rows < 1 << 24 && n < N_LIMIT && k < K_LIMIT;
        check::ensure(within, || format!("{rows} rows, W [{n}, {k}]"))?;
        let steps = n > 0 && k > 0 && k.is_multiple_of(K_STEP as usize);
        check::ensure(steps, || format!("W [{n}, {k}]"))?;
        if let Weight::Int4 { group, .. } = self.weight {
            let whole = k.is_multiple_of(group as usize);
            check::ensure(whole, || format!("{k} columns in groups of {group}"))?;
        }
        let squares = self.norm.map_or(0, |norm| norm.squares);
        check::vectors("x", self.x)?;
        check::vectors("weight", self.weight.at())?;
        check::vectors("out", self.out)?;
        let optional = [
            ("squares of the norm", squares),
            ("bias", self.bias),
            ("partials", self.partials),
            ("arrivals", self.arrivals),
        ];
        let given = optional.iter().filter(|(_, at)| *at != 0);
        given.into_iter().try_for_each(|(what, at)| check::vectors(what, *at))?;
        if let Output::Residual { stream, gamma, squares } = self.output {
            check::vectors("stream", stream)?;
            check::vectors("gamma", gamma)?;
            check::vectors("squares", squares)?;
        }
        let groups = matches!(self.output, Output::SwiGlu | Output::Residual { .. });
        let whole = !groups || n.is_multiple_of(NORM_GROUP as usize);
        check::ensure(whole, || format!("{:?} of {n} features", self.output))
    }
}

/// `shared`: blocks leave each other sums of a tile.
fn params(op: &Gemm, splits: u32, shared: bool) -> GemmParams {
    let (residual, next_gamma, next_squares) = match op.output {
        Output::Residual { stream, gamma, squares } => (stream, gamma, squares),
        _ => (0, 0, 0),
    };
    GemmParams {
        x: op.x,
        weight: op.weight.at(),
        squares: op.norm.map_or(0, |norm| norm.squares),
        bias: op.bias,
        residual,
        next_gamma,
        next_squares,
        out: op.out,
        partials: if shared { op.partials } else { 0 },
        arrivals: if shared { op.arrivals } else { 0 },
        rows: op.rows as u32,
        n: op.n as u32,
        k: op.k as u32,
        splits,
        flags: match op.output {
            Output::SwiGlu => GEMM_SWIGLU,
            Output::F32 => GEMM_OUT_F32,
            Output::Bf16 | Output::Residual { .. } => 0,
        },
        epsilon: op.norm.map_or(0.0, |norm| norm.epsilon),
    }
}
