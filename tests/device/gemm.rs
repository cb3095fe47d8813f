//! What the tests of both families of products share: operands that a row's number decides, the
//! product in f64, and what is held of every result.

use super::{Rig, samples};
use half::bf16;
use ridgepoint::backend::Phase;
use ridgepoint::backend::cuda::driver::DevicePtr;
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::backend::cuda::ops::gemm::{
    Gemm, InputNorm, Output, Weight, WeightKind, arrivals_count, gemm, gemm_in_ranges,
    gemm_in_tiles, partials_bytes, range_arrivals_count, range_partials_bytes,
};
use ridgepoint::backend::cuda::repack::pack;
use ridgepoint::backend::cuda::repack_int8;
use ridgepoint::tensor::int4::{Int4Matrix, Int4Shape};

const EPSILON: f32 = 1e-5;

/// What is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bf16,
    F32,
    SwiGlu,
    Residual,
}

/// How the weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Bf16,
    Int4 { group: usize, zero_points: bool },
    Int8,
}

impl Format {
    /// What the launch code calls it.
    pub fn weight_kind(self) -> WeightKind {
        match self {
            Format::Bf16 => WeightKind::Bf16,
            Format::Int8 => WeightKind::Int8,
            Format::Int4 { group, zero_points } => {
                WeightKind::Int4 { group: group as u32, zero_points }
            }
        }
    }

    /// A matrix of this format as an operand.
    pub fn weight(self, at: DevicePtr) -> Weight {
        match self.weight_kind() {
            WeightKind::Bf16 => Weight::Bf16(at),
            WeightKind::Int8 => Weight::Int8(at),
            WeightKind::Int4 { group, zero_points } => Weight::Int4 { at, group, zero_points },
        }
    }
}

pub const INT4: [Format; 4] = [
    Format::Int4 { group: 128, zero_points: false },
    Format::Int4 { group: 128, zero_points: true },
    Format::Int4 { group: 64, zero_points: false },
    Format::Int4 { group: 64, zero_points: true },
];

pub const KINDS: [Kind; 4] = [Kind::Bf16, Kind::F32, Kind::SwiGlu, Kind::Residual];

/// A product with one matrix. The rows of x are chosen by number when it is run.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub phase: Phase,
    pub format: Format,
    pub n: usize,
    pub k: usize,
    pub norm: bool,
    pub bias: bool,
    pub kind: Kind,
}

/// What a product wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// As f32, which holds bf16 exactly.
    pub out: Vec<f32>,
    /// The residual stream, if there is one.
    pub stream: Vec<bf16>,
    /// Its sums of squares.
    pub squares: Vec<f32>,
}

/// How a product is divided among blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As the launch code chooses.
    Chosen,
    /// In tiles of so many tokens.
    Tiles(u32),
    /// On Hopper's kernels of decode, in so many ranges of K.
    Ranges(u32),
}

/// A product whose operands are on a device.
pub struct Ready<'a> {
    rig: &'a Rig,
    case: Case,
    rows: Vec<usize>,
    op: Gemm,
    way: Way,
    stream: Buffer,
    next_squares: Buffer,
    out: Buffer,
    arrivals: Buffer,
    /// Memory that only the device looks at.
    _operands: Vec<Buffer>,
}

/// An operand that a row's number decides, for several rows.
fn of_rows(rows: &[usize], width: usize, salt: u64) -> Vec<bf16> {
    rows.iter().flat_map(|&row| samples(width, salt + row as u64)).collect()
}

impl Case {
    /// Features of the output.
    pub fn width(&self) -> usize {
        if self.kind == Kind::SwiGlu { self.n / 2 } else { self.n }
    }

    fn x(&self, rows: &[usize]) -> Vec<bf16> {
        of_rows(rows, self.k, 1_000)
    }

    /// The matrix as bytes for the device and as numbers, `[n, k]`.
    fn weight(&self) -> (Vec<u8>, Vec<f64>) {
        let (n, k) = (self.n, self.k);
        if self.format == Format::Int8 {
            let whole = |x: &bf16| (x.to_f32() * 63.5) as i8;
            let values: Vec<i8> = samples(n * k, 4).iter().map(whole).collect();
            let scales: Vec<f32> = samples(n, 5).iter().map(|s| s.to_f32() / 61.0).collect();
            let wide = |(i, q): (usize, &i8)| f64::from(scales[i / k]) * f64::from(*q);
            let wide = values.iter().enumerate().map(wide).collect();
            let row = |i: usize| (&values[i * k..][..k], scales[i]);
            return (repack_int8::pack_rows((n, k), row), wide);
        }
        let Format::Int4 { group, zero_points } = self.format else {
            let weight = samples(n * k, 1);
            let wide = weight.iter().map(|x| x.to_f64()).collect();
            return (bytemuck::cast_slice(&weight).to_vec(), wide);
        };
        let nibbles = |count, salt| -> Vec<u8> {
            samples(count, salt).iter().map(|x| ((x.to_f32() + 2.0) * 3.99) as u8).collect()
        };
        let matrix = Int4Matrix {
            quants: nibbles(n * k, 4),
            scales: samples(n * k / group, 5)
                .iter()
                .map(|s| (*s * bf16::from_f32(0.25)).to_f32())
                .collect(),
            order: None,
            zero_points: zero_points.then(|| nibbles(n * k / group, 6)),
        };
        let zero_point = |at| matrix.zero_points.as_ref().map_or(8, |z| z[at]);
        let wide = |(i, q): (usize, &u8)| {
            let at = i / group;
            f64::from(matrix.scales[at]) * (f64::from(*q) - f64::from(zero_point(at)))
        };
        let wide = matrix.quants.iter().enumerate().map(wide).collect();
        (pack(&Int4Shape { n, k, group, zero_points }, &matrix), wide)
    }

    fn bias(&self) -> Vec<bf16> {
        samples(self.n, 2)
    }

    fn gamma(&self) -> Vec<bf16> {
        samples(self.n, 3)
    }

    fn stream(&self, rows: &[usize]) -> Vec<bf16> {
        of_rows(rows, self.n, 2_000)
    }

    /// Such that normed results are of the order of 1.
    fn squares(&self, rows: &[usize]) -> Vec<f32> {
        let scale = 4.0 * self.k as f32;
        of_rows(rows, self.k / 16, 3_000).iter().map(|x| (x.to_f32() + 2.0) * scale).collect()
    }

    /// Puts the operands on a device. Behind the rows of x stands one more of NaN.
    pub fn ready<'a>(&self, rig: &'a Rig, rows: &[usize]) -> Ready<'a> {
        self.ready_in(rig, rows, Way::Chosen)
    }

    /// The same for a launch in a given way.
    pub fn ready_in<'a>(&self, rig: &'a Rig, rows: &[usize], way: Way) -> Ready<'a> {
        let (m, n, k) = (rows.len(), self.n, self.k);
        let mut x = self.x(rows);
        x.extend(vec![bf16::NAN; k]);
        let x = rig.upload(&x);
        let weight = rig.upload(&self.weight().0);
        let squares = rig.upload(&self.squares(rows));
        let bias = rig.upload(&self.bias());
        let gamma = rig.upload(&self.gamma());
        let stream = rig.room::<bf16>(m * n);
        let next_squares = rig.room::<f32>(m * n.div_ceil(16));
        let element = if self.kind == Kind::F32 { 4 } else { 2 };
        let out = rig.room::<u8>(m * self.width() * element);
        let (partials, arrivals) = match way {
            Way::Ranges(ranges) => {
                (range_partials_bytes(n, m, ranges), range_arrivals_count(n, m, ranges))
            }
            _ => (partials_bytes(n, k, m), arrivals_count(n, k, m)),
        };
        let partials = rig.room::<u8>(partials as usize);
        let arrivals = rig.upload(&vec![0u32; arrivals]);
        let output = match self.kind {
            Kind::Bf16 => Output::Bf16,
            Kind::F32 => Output::F32,
            Kind::SwiGlu => Output::SwiGlu,
            Kind::Residual => Output::Residual {
                stream: stream.ptr(),
                gamma: gamma.ptr(),
                squares: next_squares.ptr(),
            },
        };
        let op = Gemm {
            phase: self.phase,
            x: x.ptr(),
            norm: self.norm.then_some(InputNorm { squares: squares.ptr(), epsilon: EPSILON }),
            weight: self.format.weight(weight.ptr()),
            bias: if self.bias { bias.ptr() } else { 0 },
            output,
            out: out.ptr(),
            partials: partials.ptr(),
            arrivals: arrivals.ptr(),
            rows: m,
            n,
            k,
        };
        let operands = vec![x, weight, squares, bias, gamma, partials];
        let (case, rows) = (*self, rows.to_vec());
        Ready { rig, case, rows, op, way, stream, next_squares, out, arrivals, _operands: operands }
    }

    /// Runs it under one schedule.
    pub fn run(&self, rig: &Rig, rows: &[usize]) -> Written {
        self.ready(rig, rows).run(0)
    }

    /// The same in tiles of a given width.
    pub fn run_in_tiles(&self, rig: &Rig, rows: &[usize], tile: u32) -> Written {
        self.ready_in(rig, rows, Way::Tiles(tile)).run(0)
    }

    /// The same in a given number of ranges of K.
    pub fn run_in_ranges(&self, rig: &Rig, rows: &[usize], ranges: u32) -> Written {
        self.ready_in(rig, rows, Way::Ranges(ranges)).run(0)
    }

    /// Holds a result against the product in f64. What the kernel rounds to bf16 may be at most a
    /// tenth further off than a correctly rounded result.
    pub fn check(&self, rows: &[usize], got: &Written) {
        let acc = self.accumulators(rows);
        let what = format!("{self:?}, {} rows", rows.len());
        match self.kind {
            Kind::F32 => {
                let error = squared_error(&got.out, &acc) / acc.iter().map(|x| x * x).sum::<f64>();
                assert!(error < 1e-11, "{what}: a normalised square error of {error:e}");
            }
            Kind::Bf16 => assert_rounded(&got.out, &acc, &what),
            Kind::SwiGlu => {
                let turns = acc.chunks_exact(16);
                let pairs = turns.flat_map(|turn| (0..8).map(|i| (turn[i], turn[8 + i])));
                let silu: Vec<f64> = pairs.map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
                assert_rounded(&got.out, &silu, &what);
            }
            Kind::Residual => {
                let old = self.stream(rows);
                let sum: Vec<f64> = old.iter().zip(&acc).map(|(h, x)| h.to_f64() + x).collect();
                let stream: Vec<f32> = got.stream.iter().map(|h| h.to_f32()).collect();
                assert_rounded(&stream, &sum, &what);
                self.check_next_norm(&stream, got, &what);
            }
        }
    }

    /// The norm to come follows from the stream as it was stored.
    fn check_next_norm(&self, stream: &[f32], got: &Written, what: &str) {
        let gamma: Vec<f32> = self.gamma().iter().map(|g| g.to_f32()).collect();
        for (i, h) in stream.iter().enumerate() {
            let scaled = bf16::from_f32(h * gamma[i % self.n]).to_f32();
            assert_eq!(got.out[i].to_bits(), scaled.to_bits(), "{what}: element {i}");
        }
        assert_eq!(got.squares.len(), stream.len() / 16);
        for (group, sum) in stream.chunks_exact(16).zip(&got.squares) {
            let want: f64 = group.iter().map(|h| f64::from(*h) * f64::from(*h)).sum();
            assert!((f64::from(*sum) - want).abs() <= 1e-6 * want, "{what}: {sum}, not {want}");
        }
    }

    /// `x W^T / rms + bias` in f64, `[rows, n]`.
    fn accumulators(&self, rows: &[usize]) -> Vec<f64> {
        let wide = |v: Vec<bf16>| v.iter().map(|x| x.to_f64()).collect::<Vec<f64>>();
        let (x, (_, weight), bias) = (wide(self.x(rows)), self.weight(), wide(self.bias()));
        let squares = self.squares(rows);
        let mut acc = Vec::with_capacity(rows.len() * self.n);
        for (row, squares) in x.chunks_exact(self.k).zip(squares.chunks_exact(self.k / 16)) {
            let mean = squares.iter().map(|s| f64::from(*s)).sum::<f64>() / self.k as f64;
            let scale = if self.norm { 1.0 / (mean + f64::from(EPSILON)).sqrt() } else { 1.0 };
            acc.extend(weight.chunks_exact(self.k).zip(&bias).map(|(w, bias)| {
                let dot: f64 = row.iter().zip(w).map(|(x, w)| x * w).sum();
                dot * scale + if self.bias { *bias } else { 0.0 }
            }));
        }
        acc
    }
}

impl Ready<'_> {
    /// Runs it under the schedule of a seed, on a fresh residual stream and onto poison.
    pub fn run(&self, seed: u64) -> Written {
        let (case, m) = (&self.case, self.rows.len());
        self.rig.set_seed(seed);
        self.stream.write(&case.stream(&self.rows)).unwrap();
        for buffer in [&self.out, &self.next_squares] {
            self.rig.driver().fill(buffer.ptr(), 0xff, buffer.bytes()).unwrap();
        }
        let launched = match self.way {
            Way::Chosen => gemm(&self.rig.kernels, &self.op),
            Way::Tiles(tile) => gemm_in_tiles(&self.rig.kernels, &self.op, tile),
            Way::Ranges(ranges) => gemm_in_ranges(&self.rig.kernels, &self.op, ranges),
        };
        launched.unwrap_or_else(|e| panic!("{case:?}, {m} rows: {e}"));
        let arrivals = self.arrivals.read::<u32>((self.arrivals.bytes() / 4) as usize).unwrap();
        assert!(arrivals.iter().all(|n| *n == 0), "counters are not 0 again: {arrivals:?}");
        let count = m * case.width();
        let residual = case.kind == Kind::Residual;
        let kept = |count: usize| if residual { count } else { 0 };
        Written {
            out: match case.kind {
                Kind::F32 => self.out.read::<f32>(count).unwrap(),
                _ => self.out.read::<bf16>(count).unwrap().iter().map(|x| x.to_f32()).collect(),
            },
            stream: self.stream.read(kept(count)).unwrap(),
            squares: self.next_squares.read(kept(m * case.n / 16)).unwrap(),
        }
    }
}

fn squared_error(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(got, want)| (f64::from(*got) - want).powi(2)).sum()
}

fn assert_rounded(got: &[f32], want: &[f64], what: &str) {
    let rounded: Vec<f32> = want.iter().map(|x| bf16::from_f64(*x).to_f32()).collect();
    let (error, least) = (squared_error(got, want), squared_error(&rounded, want));
    assert!(error <= 1.1 * least, "{what}: a square error of {error:e}, the least is {least:e}");
}

/// Row `at` of a result of `rows` rows.
pub fn row(written: &Written, rows: usize, at: usize) -> Written {
    fn part<T: Clone>(all: &[T], rows: usize, at: usize) -> Vec<T> {
        let width = all.len() / rows;
        all[at * width..][..width].to_vec()
    }
    Written {
        out: part(&written.out, rows, at),
        stream: part(&written.stream, rows, at),
        squares: part(&written.squares, rows, at),
    }
}
