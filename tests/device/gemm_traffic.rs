//! What products ask of memory, of shared memory and of the issue slots, against the heads of
//! `gemm_decode` and `gemm_prefill`. Operands are zeros: counts do not depend on values.

use super::gemm::{Format, INT4, KINDS, Kind};
use super::traffic::Budget;
use super::{Rig, rigs};
use ptxsim::Counters;
use ridgepoint::backend::Phase;
use ridgepoint::backend::cuda::kernels::KernelSet;
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::backend::cuda::ops::gemm::{
    Gemm, InputNorm, Output, arrivals_count, decode_ranges, decode_splits, gemm, gemm_in_tiles,
    partials_bytes, range_arrivals_count, range_partials_bytes,
};
use ridgepoint::backend::cuda::repack::packed_bytes;
use ridgepoint::backend::cuda::repack_int8;
use ridgepoint::tensor::int4::Int4Shape;

#[derive(Debug, Clone, Copy)]
struct Product {
    phase: Phase,
    format: Format,
    kind: Kind,
    norm: bool,
    bias: bool,
    rows: usize,
    n: usize,
    k: usize,
    /// The width of a tile; `None` is what the launch code chooses.
    tile: Option<usize>,
}

const PLAIN: Product = Product {
    phase: Phase::Decode,
    format: Format::Bf16,
    kind: Kind::Bf16,
    norm: true,
    bias: false,
    rows: 8,
    n: 1088,
    k: 1024,
    tile: None,
};

/// Clusters of two blocks that the simulated Hopper, of 132 multiprocessors, holds at once.
const SIMULATED_CLUSTERS: usize = 66;

/// Those of both families.
fn formats() -> impl Iterator<Item = Format> {
    [Format::Bf16].into_iter().chain(INT4)
}

fn decode_formats() -> impl Iterator<Item = Format> {
    formats().chain([Format::Int8])
}

impl Product {
    fn weight_bytes(&self) -> usize {
        let (n, k) = (self.n, self.k);
        match self.format {
            Format::Bf16 => 2 * n * k,
            Format::Int4 { group, zero_points } => {
                packed_bytes(&Int4Shape { n, k, group, zero_points })
            }
            Format::Int8 => repack_int8::packed_bytes(n, k),
        }
    }

    /// Of them the scales of rows, which every block along K loads and not copies.
    fn row_scale_bytes(&self) -> usize {
        if self.format == Format::Int8 { self.n.next_multiple_of(64) * 4 } else { 0 }
    }

    /// Whether it runs on Hopper's kernel of decode, which has tiles of 64 alone.
    fn is_decode_sm90(&self) -> bool {
        self.phase == Phase::Decode && self.tile == Some(64)
    }

    /// Bytes of sums that blocks leave for each other, and the number of counters.
    fn scratch(&self) -> (usize, usize) {
        let Product { rows, n, k, .. } = *self;
        if self.phase == Phase::Prefill {
            return (0, 0);
        }
        if self.is_decode_sm90() {
            let ranges = decode_ranges(n, k, rows);
            let bytes = range_partials_bytes(n, rows, ranges) as usize;
            return (bytes, range_arrivals_count(n, rows, ranges));
        }
        let splits = decode_splits(n, k) as usize;
        let (bytes, tiles) = (4 * splits * rows * n.next_multiple_of(64), n.div_ceil(64));
        if splits == 1 { (0, 0) } else { (bytes, tiles * rows.div_ceil(8)) }
    }

    /// Bytes that a product asks for, after the heads of the kernels.
    fn requested(&self, set: KernelSet) -> usize {
        let Product { rows, n, k, .. } = *self;
        let features = match self.phase {
            Phase::Decode if !self.is_decode_sm90() => 64,
            _ => 128,
        };
        let row_tiles = rows.div_ceil(self.tile.unwrap_or_else(|| self.decode_tile()));
        let feature_tiles = n.div_ceil(features);
        let squares = if self.norm { k / 4 } else { 0 };
        let scales = (decode_splits(n, k) as usize - 1) * self.row_scale_bytes();
        let weights = self.weight_bytes() + scales;
        // Two blocks of Hopper's kernels share their tokens.
        let shared = match (self.phase, set) {
            (Phase::Prefill, KernelSet::Hopper) => 2,
            _ if self.is_decode_sm90() => 2,
            _ => 1,
        };
        let squares = match self.is_decode_sm90() {
            true => self.normed_rows() * squares,
            false => rows * feature_tiles * squares,
        };
        let tokens = rows * feature_tiles.div_ceil(shared) * 2 * k + squares;
        let operands = row_tiles * weights + tokens;
        let partials = 2 * self.scratch().0;
        let bias = if self.bias { 2 * rows * n } else { 0 };
        // The stream and its weights are read; the stream, what is scaled and its squares written.
        let epilogue = match self.kind {
            Kind::Bf16 => 2 * rows * n,
            Kind::F32 => 4 * rows * n,
            Kind::SwiGlu => rows * n,
            Kind::Residual => 8 * rows * n + rows * n / 4,
        };
        operands + partials + bias + epilogue
    }

    /// Rows whose squares the blocks of Hopper's kernel of decode read: those of each tile of
    /// tokens that a block comes to from another one.
    fn normed_rows(&self) -> usize {
        let (tiles, feature_tiles) = (self.rows.div_ceil(64), self.n.div_ceil(128));
        let ranges = decode_ranges(self.n, self.k, self.rows) as usize;
        let items = tiles * feature_tiles.div_ceil(2) * ranges;
        let clusters = items.min(SIMULATED_CLUSTERS);
        let rows_of = |first: usize, rank: usize| {
            let mut normed = None;
            let own = (first..items).step_by(clusters);
            let exists = |i: &usize| i / tiles / ranges * 2 + rank < feature_tiles;
            let rows = own.filter(exists).map(move |i| {
                let tile = i % tiles;
                let known = normed.replace(tile) == Some(tile);
                if known { 0 } else { (self.rows - 64 * tile).min(64) }
            });
            rows.sum::<usize>()
        };
        (0..clusters).map(|first| rows_of(first, 0) + rows_of(first, 1)).sum()
    }

    /// Bytes of the operands, of the results, and of what blocks leave for each other, each once.
    fn compulsory(&self) -> usize {
        let Product { rows, n, k, .. } = *self;
        let squares = if self.norm { k / 4 } else { 0 };
        let bias = if self.bias { 2 * n } else { 0 };
        let result = match self.kind {
            Kind::Bf16 => 2 * rows * n,
            Kind::F32 => 4 * rows * n,
            Kind::SwiGlu => rows * n,
            Kind::Residual => 6 * rows * n + rows * n / 4 + 2 * n,
        };
        // Written and read: sums, and a counter for each tile.
        let (sums, counters) = self.scratch();
        let scratch = 2 * (sums + 4 * counters);
        self.weight_bytes() + rows * (2 * k + squares) + bias + result + scratch
    }

    /// The tile that the launch code takes: the narrowest that holds all rows, if one does.
    fn decode_tile(&self) -> usize {
        assert_eq!(self.phase, Phase::Decode, "prefill is run in tiles of a given width");
        self.rows.next_power_of_two().clamp(8, 32)
    }

    fn launch(&self, rig: &Rig) {
        let Product { rows, n, k, .. } = *self;
        let zeros = |bytes: usize| Buffer::zeroed(rig.driver(), bytes as u64).unwrap();
        let x = zeros(2 * rows * k);
        let weight = zeros(self.weight_bytes());
        let squares = zeros(rows * k / 4);
        let [bias, gamma] = [zeros(2 * n), zeros(2 * n)];
        let [stream, next_squares] = [zeros(2 * rows * n), zeros(rows * n / 4)];
        let out = zeros(4 * rows * n);
        let partials = zeros(partials_bytes(n, k, rows) as usize);
        let arrivals = zeros(4 * arrivals_count(n, k, rows));
        let op = Gemm {
            phase: self.phase,
            x: x.ptr(),
            norm: self.norm.then_some(InputNorm { squares: squares.ptr(), epsilon: 1e-5 }),
            weight: self.format.weight(weight.ptr()),
            bias: if self.bias { bias.ptr() } else { 0 },
            output: match self.kind {
                Kind::Bf16 => Output::Bf16,
                Kind::F32 => Output::F32,
                Kind::SwiGlu => Output::SwiGlu,
                Kind::Residual => Output::Residual {
                    stream: stream.ptr(),
                    gamma: gamma.ptr(),
                    squares: next_squares.ptr(),
                },
            },
            out: out.ptr(),
            partials: partials.ptr(),
            arrivals: arrivals.ptr(),
            rows,
            n,
            k,
        };
        match self.tile {
            None => gemm(&rig.kernels, &op).unwrap(),
            Some(tile) => gemm_in_tiles(&rig.kernels, &op, tile as u32).unwrap(),
        }
    }

    fn check_traffic(&self, rig: &Rig) {
        rig.counters();
        self.launch(rig);
        let requested = self.requested(rig.kernels.set()) as u64;
        let compulsory = self.compulsory() as u64;
        let budget = Budget { requested, sectors: requested, compulsory };
        budget.check(rig, &format!("{self:?}"));
    }

    /// That each byte of the weights is copied once, to leave L2 first.
    fn check_streamed(&self, rig: &Rig) {
        let Some(counters) = self.counters(rig) else { return };
        let copies = counters.instructions.iter();
        let weights = copies.filter(|i| i.site.opcode.contains("cache_hint"));
        let (bytes, sectors) = weights.fold((0, 0), |(bytes, sectors), i| {
            (bytes + i.traffic.bytes, sectors + i.traffic.sectors)
        });
        let all = (self.weight_bytes() - self.row_scale_bytes()) as u64;
        assert_eq!((bytes, 32 * sectors), (all, all), "{self:?}");
    }

    /// What one launch counts; nothing on a GPU.
    fn counters(&self, rig: &Rig) -> Option<Counters> {
        rig.counters();
        self.launch(rig);
        let launches = rig.counters()?;
        let [counters] = launches.try_into().unwrap_or_else(|l: Vec<_>| panic!("{}", l.len()));
        Some(counters)
    }
}

#[test]
fn decode_asks_for_what_its_head_says() {
    for rig in rigs() {
        for (i, format) in decode_formats().enumerate() {
            for (j, (n, k)) in [(1088, 1024), (64 * 133, 256), (80, 2048)].into_iter().enumerate() {
                for (l, rows) in [1, 8, 20, 40].into_iter().enumerate() {
                    let kind = KINDS[(i + j + l) % 4];
                    let (norm, bias) = ((i + l) % 2 == 0, l % 2 == 0);
                    Product { format, kind, norm, bias, rows, n, k, ..PLAIN }.check_traffic(&rig);
                }
            }
        }
    }
}

#[test]
fn prefill_asks_for_what_its_head_says() {
    let plain = Product { phase: Phase::Prefill, n: 320, k: 512, ..PLAIN };
    for rig in rigs() {
        for (i, format) in formats().enumerate() {
            for (j, tile) in [32, 64, 128].into_iter().enumerate() {
                for (l, rows) in [20, 160].into_iter().enumerate() {
                    let kind = KINDS[(i + j + 2 * l) % 4];
                    let (norm, bias) = ((i + j) % 2 == 0, l == 0);
                    let tile = Some(tile);
                    Product { format, kind, norm, bias, rows, tile, ..plain }.check_traffic(&rig);
                }
            }
        }
    }
}

/// Tiles of 256 tokens, more of them than there are clusters, and features whose last cluster has
/// one block.
#[test]
fn hoppers_kernel_asks_for_what_its_head_says() {
    let plain = Product { phase: Phase::Prefill, ..PLAIN };
    for rig in rigs().iter().filter(|rig| rig.kernels.set() == KernelSet::Hopper) {
        for (kind, rows, n, k) in [
            (Kind::SwiGlu, 300, 320, 256),
            (Kind::Residual, 256, 128, 512),
            (Kind::F32, 40, 64 * 211, 64),
        ] {
            let tile = Some(if rows > 128 { 256 } else { 32 });
            Product { kind, rows, n, k, tile, bias: true, ..plain }.check_traffic(rig);
        }
        for (i, format) in INT4.into_iter().enumerate() {
            let (rows, tile, bias) = (40, Some(32), i % 2 == 0);
            let kind = KINDS[i];
            Product { format, kind, rows, n: 64 * 133, k: 128, tile, bias, ..plain }
                .check_traffic(rig);
        }
    }
}

/// Hopper's kernel of decode: a last tile of few rows, several tiles of tokens, features whose last
/// cluster has one block, ranges that share tiles, and a block that meets other tokens.
#[test]
fn decode_by_wgmma_asks_for_what_its_head_says() {
    for rig in rigs().iter().filter(|rig| rig.kernels.set() == KernelSet::Hopper) {
        for (i, format) in formats().enumerate() {
            for (j, (rows, n, k)) in
                [(64, 1088, 1024), (40, 320, 4096), (130, 256 * 23, 128)].into_iter().enumerate()
            {
                let (kind, norm, bias) = (KINDS[(i + j) % 4], i != 3, j == 1);
                let tile = Some(64);
                let product = Product { format, kind, norm, bias, rows, n, k, tile, ..PLAIN };
                product.check_traffic(rig);
            }
        }
        let shared = |n, k| decode_ranges(n, k, 40) > 1;
        assert!(shared(320, 4096) && !shared(256 * 23, 128));
    }
}

/// The copies that leave L2 first are those of the weights: no byte of them is asked for twice.
#[test]
fn decode_reads_each_weight_once() {
    for rig in rigs() {
        for format in decode_formats() {
            for (rows, n, k) in [(1, 80, 2048), (8, 1088, 1024), (16, 64 * 133, 256)] {
                let product = Product { format, rows, n, k, ..PLAIN };
                product.check_streamed(&rig);
            }
        }
    }
    // One tile of tokens; with more of them weights stay in L2 for the next one.
    for rig in rigs().iter().filter(|rig| rig.kernels.set() == KernelSet::Hopper) {
        for format in formats() {
            let tile = Some(64);
            Product { format, rows: 64, n: 80, k: 2048, tile, ..PLAIN }.check_streamed(rig);
        }
    }
}

/// PTX instructions of warps for each 32 weights, with 8 rows and K = 4096: of the main loop, which
/// is what twice the columns cost more, and of the whole kernel.
fn issue_budget(format: Format) -> (f64, f64) {
    match format {
        Format::Bf16 => (1.55, 1.75),
        Format::Int8 => (2.6, 2.8),
        Format::Int4 { group: 128, zero_points: false } => (1.75, 2.0),
        Format::Int4 { group: 128, zero_points: true } => (1.75, 2.05),
        // What is done once for each group counts twice.
        Format::Int4 { zero_points: false, .. } => (2.1, 2.45),
        Format::Int4 { zero_points: true, .. } => (2.3, 2.6),
    }
}

#[test]
fn decode_issues_few_instructions() {
    for rig in rigs() {
        if let Some(sim) = &rig.sim {
            sim.set_checks(false); // large products, whose accesses other tests watch
        }
        for format in decode_formats() {
            // So many tiles that no block shares its tile.
            let product = Product { format, kind: Kind::SwiGlu, n: 64 * 133, k: 4096, ..PLAIN };
            let long = Product { k: 8192, ..product };
            assert_eq!((decode_splits(product.n, 4096), decode_splits(product.n, 8192)), (1, 1));
            let Some(counters) = product.counters(&rig) else { continue };
            let whole = counters.warp_instructions as f64;
            let main = long.counters(&rig).unwrap().warp_instructions as f64 - whole;
            let each = |count: f64| count / (product.n * product.k / 32) as f64;
            let (main, whole) = (each(main), each(whole));
            let budget = issue_budget(format);
            let target = rig.driver().target();
            assert!(main <= budget.0, "{format:?} on {target}: {main:.3} in the main loop");
            assert!(whole <= budget.1, "{format:?} on {target}: {whole:.3} altogether");
        }
    }
}

/// PTX instructions of warps for each `mma` of the main loop, by the width of the tile. Addresses
/// of `ldmatrix`, which cost an addition each in PTX, are mostly constants in machine code.
#[test]
fn prefill_issues_few_instructions() {
    let per_mma = |counters: &Counters| counters.matrix_macs as f64 / (16 * 8 * 16) as f64;
    let mut over = Vec::new();
    for rig in rigs() {
        for format in formats() {
            let budget = match (rig.kernels.set(), format) {
                (KernelSet::Portable, Format::Bf16) => [7.0, 4.7, 3.4],
                (KernelSet::Portable, _) => [14.5, 8.7, 5.8],
                (KernelSet::Hopper, Format::Bf16) => [5.5, 2.8, 1.5],
                (KernelSet::Hopper, _) => [8.5, 4.8, 3.0],
            };
            for (tile, budget) in [32, 64, 128].into_iter().zip(budget) {
                let (phase, tile) = (Phase::Prefill, Some(tile));
                let product = Product { phase, format, rows: 256, n: 256, tile, ..PLAIN };
                let Some(short) = product.counters(&rig) else { continue };
                let long = Product { k: 2 * product.k, ..product }.counters(&rig).unwrap();
                let more = (long.warp_instructions - short.warp_instructions) as f64;
                let each = more / (per_mma(&long) - per_mma(&short));
                let set = rig.kernels.set();
                if each > budget {
                    over.push(format!("{format:?} in {set} tiles of {tile:?}: {each:.3}"));
                }
            }
        }
    }
    assert!(over.is_empty(), "{}", over.join("\n"));
}
