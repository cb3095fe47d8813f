//! Which kernels `gemm_decode` and `gemm_prefill` come in, what a block of each keeps in shared
//! memory, and which products have one on a device: a model is refused by name when it is loaded,
//! not in the middle of a step.

use crate::backend::Phase;
use crate::backend::cuda::kernels::{KernelSet, Kernels};
use crate::backend::cuda::params::{
    GEMM_DECODE_BF16_K, GEMM_DECODE_BF16_SHALLOW_STAGES, GEMM_DECODE_BF16_STAGES,
    GEMM_DECODE_FEATURES, GEMM_DECODE_INT4_SHALLOW_COLUMNS, GEMM_DECODE_INT4_STAGES,
    GEMM_DECODE_INT8_SHALLOW_STAGES, GEMM_DECODE_INT8_STAGES, GEMM_DECODE_SM90_TOKENS,
    GEMM_DECODE_WARPS, GEMM_PREFILL_FEATURES, GEMM_PREFILL_INT4_STAGES, GEMM_PREFILL_K,
    GEMM_PREFILL_STAGES, GEMM_PREFILL_THREADS, GEMM_SM90_BOX_K, GEMM_SM90_CLUSTER,
    GEMM_SM90_EPILOGUE_TOKENS, GEMM_SM90_FEATURES, GEMM_SM90_RING_BYTES, GEMM_SM90_THREADS,
    INT4_UNIT_ROWS, INT8_UNIT_COLUMNS, NORM_GROUP,
};
use crate::error::{Error, Result};

use super::check;

/// Threads of a warp.
const WARP: u32 = 32;
/// Bytes of an element of bf16.
const BF16: u32 = 2;
/// Bytes of an element of f32, and of a barrier in shared memory.
const F32: u32 = 4;
const BARRIER: u32 = 8;
/// What L2 brings to each multiprocessor of an H100 at once, about: 5.5 TB/s at 1.3 to 1.7 GHz.
const L2_BYTES_A_CLOCK: u32 = 32;
/// What K is a multiple of: the depth of one product of matrices in a tensor core.
pub(super) const K_STEP: u32 = 16;
/// The least shared memory that a block has on any device since compute capability 8.0.
const SHARED_LEAST: u32 = 99 << 10;
/// Blocks of a grid along y.
const GRID_LIMIT: usize = 65_535;
/// One more than the largest sizes: beyond them `gemm_decode` would have too many blocks along y,
/// or 32-bit numbers in the kernels would overflow.
pub(super) const N_LIMIT: usize = GRID_LIMIT * GEMM_DECODE_FEATURES as usize + 1;
pub(super) const K_LIMIT: usize = 1 << 24;

/// How the weights of a matrix are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightKind {
    /// bf16, row-major.
    Bf16,
    /// 4 bits, as [`crate::backend::cuda::repack`] packs them.
    Int4 {
        /// Columns that share a scale.
        group: u32,
        /// Whether there are zero points.
        zero_points: bool,
    },
    /// 8 bits and a scale a row, as [`crate::backend::cuda::repack_int8`] packs them. For heads,
    /// which the decode family computes in every pass, so it alone has kernels.
    Int8,
}

impl WeightKind {
    /// Those that have kernels of both families.
    pub const ALL: [WeightKind; 5] = [
        WeightKind::Bf16,
        WeightKind::Int4 { group: 128, zero_points: false },
        WeightKind::Int4 { group: 128, zero_points: true },
        WeightKind::Int4 { group: 64, zero_points: false },
        WeightKind::Int4 { group: 64, zero_points: true },
    ];

    /// Those that have kernels of a family.
    pub fn of(phase: Phase) -> Vec<WeightKind> {
        let further = match phase {
            Phase::Decode => Some(WeightKind::Int8),
            Phase::Prefill => None,
        };
        WeightKind::ALL.into_iter().chain(further).collect()
    }

    /// Its part of a kernel's name, if a family has kernels for it.
    fn name(self, phase: Phase) -> Option<&'static str> {
        if self == WeightKind::Int8 {
            return (phase == Phase::Decode).then_some("int8");
        }
        let names = ["bf16", "int4g128", "int4g128z", "int4g64", "int4g64z"];
        WeightKind::ALL.iter().zip(names).find(|(kind, _)| **kind == self).map(|(_, name)| name)
    }

    /// What the columns of a matrix are a multiple of.
    fn k_step(self) -> u32 {
        match self {
            WeightKind::Bf16 | WeightKind::Int8 => K_STEP,
            WeightKind::Int4 { group, .. } => group,
        }
    }
}

impl std::fmt::Display for WeightKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WeightKind::Bf16 => write!(f, "bf16 weights"),
            WeightKind::Int8 => write!(f, "int8 weights"),
            WeightKind::Int4 { group, zero_points } => {
                let with = if *zero_points { "with" } else { "without" };
                write!(f, "int4 weights in groups of {group} {with} zero points")
            }
        }
    }
}

/// The stages that a block fills ahead of its products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    /// Bytes of weights in a stage, of all warps together.
    pub weight_bytes: u32,
    /// Bytes of tokens in a stage.
    pub token_bytes: u32,
    /// Stages, of which all but one are on their way from memory.
    pub stages: u32,
    /// Shared memory beside the stages.
    pub other_bytes: u32,
}

impl Ring {
    /// Shared memory that a launch gives a block.
    pub fn bytes(&self) -> u32 {
        self.stages * (self.weight_bytes + self.token_bytes) + self.other_bytes
    }

    /// Bytes of 64 rows by `columns` of packed int4 weights, and of their scales and offsets.
    fn unit_bytes(columns: u32, zero_points: bool) -> u32 {
        let vectors = if zero_points { 2 } else { 1 };
        INT4_UNIT_ROWS * (columns / 2 + vectors * BF16)
    }
}

/// One kernel. Neither the tile nor the ring changes a bit of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// The kernels that it is one of. Of the decode family those for Hopper stand beside the
    /// portable ones.
    pub set: KernelSet,
    /// The family.
    pub phase: Phase,
    /// The weights.
    pub kind: WeightKind,
    /// Tokens of a tile: one of those that the family has for these weights.
    pub tile: u32,
    /// Whether its ring has the fewest stages, for a device whose blocks have less shared memory.
    pub shallow: bool,
}

impl Variant {
    /// The tiles of the kernels of a set, widest first.
    fn tiles(set: KernelSet, phase: Phase, kind: WeightKind) -> &'static [u32] {
        match (phase, set, kind) {
            (Phase::Decode, KernelSet::Portable, _) => &[32, 16, 8],
            (Phase::Decode, KernelSet::Hopper, WeightKind::Int8) => &[],
            (Phase::Decode, KernelSet::Hopper, _) => &[GEMM_DECODE_SM90_TOKENS],
            // With int4 weights there are two sets of accumulators.
            (Phase::Prefill, KernelSet::Hopper, WeightKind::Bf16) => &[256, 128, 64, 32],
            (Phase::Prefill, _, _) => &[128, 64, 32],
        }
    }

    /// All kernels of a family for some weights on a device of a set, widest and deepest first. A
    /// shallow ring is there where the deep one does not fit every device that runs its set.
    pub fn all(
        set: KernelSet,
        phase: Phase,
        kind: WeightKind,
    ) -> impl Iterator<Item = Variant> + Clone {
        let beside = (phase, set) == (Phase::Decode, KernelSet::Hopper);
        let sets = [set].into_iter().chain(beside.then_some(KernelSet::Portable));
        let of_set = move |set| Variant::tiles(set, phase, kind).iter().map(move |t| (set, *t));
        let tiles = sets.flat_map(of_set).filter(move |_| kind.name(phase).is_some());
        let of = move |(set, tile)| {
            [false, true].map(|shallow| Variant { set, phase, kind, tile, shallow })
        };
        let exists = |variant: &Variant| {
            let deep = Variant { shallow: false, ..*variant };
            !variant.shallow || variant.set == KernelSet::Portable && !deep.fits(SHARED_LEAST)
        };
        tiles.flat_map(of).filter(exists)
    }

    fn fits(&self, shared_bytes: u32) -> bool {
        check::fits_block(self.ring().bytes(), shared_bytes)
    }

    /// Its symbol.
    ///
    /// # Panics
    /// If there is no such kernel.
    pub fn symbol(&self) -> String {
        let Variant { set, phase, kind, tile, shallow } = *self;
        let op = match phase {
            Phase::Decode => "gemm_decode",
            Phase::Prefill => "gemm_prefill",
        };
        assert!(Variant::tiles(set, phase, kind).contains(&tile), "{op} in tiles of {tile}");
        let weights = kind.name(phase).unwrap_or_else(|| panic!("{op} has no kernel for {kind}"));
        let ring = if shallow { "_shallow" } else { "" };
        let device = if set == KernelSet::Hopper { "_sm90" } else { "" };
        format!("{op}_bf16_{weights}_m{tile}{ring}{device}")
    }

    /// Threads of a block.
    pub fn threads(&self) -> u32 {
        match (self.phase, self.set) {
            (Phase::Decode, KernelSet::Portable) => GEMM_DECODE_WARPS * WARP,
            (Phase::Prefill, KernelSet::Portable) => GEMM_PREFILL_THREADS,
            (_, KernelSet::Hopper) => GEMM_SM90_THREADS,
        }
    }

    /// Rows of W that a block takes.
    pub fn features(&self) -> u32 {
        match (self.phase, self.set) {
            (Phase::Decode, KernelSet::Portable) => GEMM_DECODE_FEATURES,
            (Phase::Prefill, KernelSet::Portable) => GEMM_PREFILL_FEATURES,
            (_, KernelSet::Hopper) => GEMM_SM90_FEATURES,
        }
    }

    /// Its stages. In the portable decode family each warp has a ring of its own.
    ///
    /// # Panics
    /// With int8 weights, if it is not of the portable decode family: there are none.
    pub fn ring(&self) -> Ring {
        if self.set == KernelSet::Hopper {
            return self.hopper_ring();
        }
        match (self.phase, self.kind) {
            (Phase::Decode, WeightKind::Bf16) => Ring {
                weight_bytes: GEMM_DECODE_WARPS * GEMM_DECODE_FEATURES * GEMM_DECODE_BF16_K * BF16,
                token_bytes: GEMM_DECODE_WARPS * self.tile * GEMM_DECODE_BF16_K * BF16,
                stages: match self.shallow {
                    true => GEMM_DECODE_BF16_SHALLOW_STAGES,
                    false => GEMM_DECODE_BF16_STAGES,
                },
                other_bytes: 0,
            },
            (Phase::Decode, WeightKind::Int4 { group, zero_points }) => Ring {
                weight_bytes: GEMM_DECODE_WARPS * Ring::unit_bytes(group, zero_points),
                token_bytes: GEMM_DECODE_WARPS * self.tile * group * BF16,
                stages: match self.shallow {
                    true => 1 + GEMM_DECODE_INT4_SHALLOW_COLUMNS / group,
                    false => GEMM_DECODE_INT4_STAGES * 128 / group,
                },
                other_bytes: 0,
            },
            (Phase::Decode, WeightKind::Int8) => Ring {
                weight_bytes: GEMM_DECODE_WARPS * GEMM_DECODE_FEATURES * INT8_UNIT_COLUMNS,
                token_bytes: GEMM_DECODE_WARPS * self.tile * INT8_UNIT_COLUMNS * BF16,
                stages: match self.shallow {
                    true => GEMM_DECODE_INT8_SHALLOW_STAGES,
                    false => GEMM_DECODE_INT8_STAGES,
                },
                other_bytes: 0,
            },
            (Phase::Prefill, WeightKind::Int8) => panic!("gemm_prefill has no ring of int8"),
            (Phase::Prefill, WeightKind::Bf16) => Ring {
                weight_bytes: GEMM_PREFILL_FEATURES * GEMM_PREFILL_K * BF16,
                token_bytes: self.tile * GEMM_PREFILL_K * BF16,
                stages: GEMM_PREFILL_STAGES,
                other_bytes: 0,
            },
            // A stage has a unit for each 64 features or, with groups of 128, half the columns of
            // one and all its scales.
            (Phase::Prefill, WeightKind::Int4 { zero_points, .. }) => Ring {
                weight_bytes: GEMM_PREFILL_FEATURES / INT4_UNIT_ROWS
                    * Ring::unit_bytes(GEMM_PREFILL_K, zero_points),
                token_bytes: self.tile * GEMM_PREFILL_K * BF16,
                stages: GEMM_PREFILL_INT4_STAGES,
                other_bytes: 0,
            },
        }
    }

    /// Stages of one box of columns with bf16 weights and of two with int4, in decode of one group
    /// and the sums of its tokens, as many as fit beside the sums that are on their way to the
    /// epilogue, 1 / rms of two tiles, and the barriers: two for each stage, and in prefill two for
    /// each of those tiles, in decode one more for each stage.
    fn hopper_ring(&self) -> Ring {
        let (columns, weight_bytes) = match (self.kind, self.phase) {
            (WeightKind::Bf16, _) => (GEMM_SM90_BOX_K, GEMM_SM90_FEATURES * GEMM_SM90_BOX_K * BF16),
            (WeightKind::Int4 { group, zero_points }, phase) => {
                let columns = if phase == Phase::Decode { group } else { 2 * GEMM_SM90_BOX_K };
                let units = GEMM_SM90_FEATURES / INT4_UNIT_ROWS * (columns / group);
                (columns, units * Ring::unit_bytes(group, zero_points))
            }
            (WeightKind::Int8, _) => panic!("Hopper has no ring of int8"),
        };
        let token_sums = match (self.phase, self.kind) {
            (Phase::Decode, WeightKind::Int4 { .. }) => self.tile * F32,
            _ => 0,
        };
        let token_bytes = self.tile * columns * BF16 + token_sums;
        let stages = GEMM_SM90_RING_BYTES / (weight_bytes + token_bytes);
        // Rows of sums are four floats longer than they need be, to lie in different banks.
        let sums = GEMM_SM90_EPILOGUE_TOKENS * (GEMM_SM90_FEATURES + 2 * 4) * F32;
        let barriers = 2 * stages + if self.phase == Phase::Decode { stages } else { 4 };
        let other_bytes = sums + 2 * self.tile * F32 + barriers * BARRIER;
        Ring { weight_bytes, token_bytes, stages, other_bytes }
    }

    /// Clocks that a tile of Hopper's kernels of prefill takes for 64 columns: those of the tensor
    /// cores, 2048 multiplications each, or those in which L2 brings the operands, if that is more.
    fn hopper_clocks(&self) -> u32 {
        let ring = self.hopper_ring();
        let boxes = ring.token_bytes / (self.tile * GEMM_SM90_BOX_K * BF16);
        let bytes = (ring.weight_bytes + ring.token_bytes / GEMM_SM90_CLUSTER) / boxes;
        let products = GEMM_SM90_FEATURES * self.tile * GEMM_SM90_BOX_K / 2048;
        products.max(bytes / L2_BYTES_A_CLOCK)
    }

    /// The tile of Hopper's kernels of prefill in which a product takes the least time on a large
    /// GPU, of equal ones the widest.
    pub fn hopper_tile(kind: WeightKind, n: usize, rows: usize) -> u32 {
        let clusters = super::gemm::MULTIPROCESSORS / GEMM_SM90_CLUSTER;
        let pairs = (n as u32).div_ceil(GEMM_SM90_CLUSTER * GEMM_SM90_FEATURES);
        let clocks = |variant: &Variant| {
            let tiles = u64::from(pairs) * u64::from((rows as u32).div_ceil(variant.tile));
            tiles.div_ceil(u64::from(clusters)) * u64::from(variant.hopper_clocks())
        };
        let all = Variant::all(KernelSet::Hopper, Phase::Prefill, kind);
        all.min_by_key(clocks).map_or(0, |variant| variant.tile)
    }

    /// The widest kernel of a family whose tile is at most `tile`, or the narrowest if that is less
    /// than all; of those with that tile the deepest whose block has no more than `shared_bytes` of
    /// shared memory. A narrower tile would read the weights more often, which costs more than a
    /// deeper ring gains.
    pub fn choose(
        set: KernelSet,
        phase: Phase,
        kind: WeightKind,
        tile: u32,
        shared_bytes: u32,
    ) -> Option<Variant> {
        let all = Variant::all(set, phase, kind);
        let narrowest = all.clone().last().map_or(tile, |variant| variant.tile);
        let most = tile.max(narrowest);
        all.into_iter().find(|v| v.tile <= most && v.fits(shared_bytes))
    }
}

/// Whether a product with W `[n, k]` has a kernel on this device. `fused`: its output is SwiGLU or
/// goes to a residual stream.
///
/// # Errors
/// [`Error::NoKernel`], which says what there is instead.
pub fn check_product(
    kernels: &Kernels,
    phase: Phase,
    kind: WeightKind,
    (n, k): (usize, usize),
    fused: bool,
) -> Result<()> {
    let family = match phase {
        Phase::Decode => "decode",
        Phase::Prefill => "prefill",
    };
    let refuse = |supported: String| {
        let what = format!("a product of the {family} family with {kind} [{n}, {k}]");
        Err(Error::NoKernel { what, supported })
    };
    if kind.name(phase).is_none() {
        let further = if phase == Phase::Decode { ", int8 weights" } else { "" };
        return refuse(format!("bf16 weights, int4 weights in groups of 64 or 128{further}"));
    }
    if k == 0 || !k.is_multiple_of(kind.k_step() as usize) {
        return refuse(format!("columns in multiples of {}", kind.k_step()));
    }
    if n == 0 || fused && !n.is_multiple_of(NORM_GROUP as usize) {
        let step = if fused { NORM_GROUP } else { 1 };
        return refuse(format!("rows in multiples of {step} for this output"));
    }
    if n >= N_LIMIT || k >= K_LIMIT {
        return refuse(format!("fewer than {N_LIMIT} rows and {K_LIMIT} columns"));
    }
    let properties = kernels.driver().properties();
    if Variant::choose(kernels.set(), phase, kind, 0, properties.shared_bytes).is_none() {
        return refuse(format!("devices with more shared memory than {}", properties.name));
    }
    Ok(())
}
