//! What the tests of both attentions share: sequences whose numbers hang on their name and the
//! position alone, pools in which they lie anywhere, and the references.

use super::{Rig, samples};
use half::bf16;
use ridgepoint::backend::Heads;
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::backend::cuda::ops::attention::SequenceRows;
use std::rc::Rc;

const PAGE: usize = 64;

/// Rows of a sequence, whose keys and values up to the last row are in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    /// Decides its numbers. With an odd name a few tokens have nearly all of the weight.
    pub name: u64,
    /// Position of its first row in the batch; `None` for rows that pad.
    pub position: Option<usize>,
    pub rows: usize,
}

impl Sequence {
    pub fn new(name: u64, position: usize, rows: usize) -> Sequence {
        Sequence { name, position: Some(position), rows }
    }

    /// Positions after the last row.
    pub fn end(&self) -> usize {
        self.position.map_or(0, |position| position + self.rows)
    }

    /// Its row `row`, alone.
    pub fn only(&self, row: usize) -> Sequence {
        Sequence::new(self.name, self.position.unwrap() + row, 1)
    }

    fn query(&self, row: usize, heads: Heads) -> Vec<bf16> {
        let numbers = self.numbers(0, self.position.unwrap_or(0) + row, heads.query * heads.dim);
        let scale = bf16::from_f32(if self.name % 2 == 1 { 8.0 } else { 1.0 });
        numbers.into_iter().map(|x| x * scale).collect()
    }

    fn key(&self, position: usize, heads: Heads) -> Vec<bf16> {
        self.numbers(1, position, heads.kv * heads.dim)
    }

    fn value(&self, position: usize, heads: Heads) -> Vec<bf16> {
        self.numbers(2, position, heads.kv * heads.dim)
    }

    fn numbers(&self, kind: u64, position: usize, n: usize) -> Vec<bf16> {
        samples(n, (self.name << 20) + (kind << 16) + position as u64)
    }
}

/// The first position that the row at `position` sees.
pub fn first_seen(position: usize, window: Option<u32>) -> usize {
    window.map_or(0, |window| (position + 1).saturating_sub(window as usize))
}

/// What a pool holds where no row may look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unseen {
    /// NaN.
    Poison,
    /// Nothing was ever written, so that reading it is a finding of the simulator.
    Unwritten,
}

/// A batch on the device: queries, pools and block tables.
pub struct World {
    pub heads: Heads,
    pub window: Option<u32>,
    pub sequences: Vec<SequenceRows>,
    pub rows: usize,
    pub q: Buffer,
    pub k_pages: Buffer,
    pub v_pages: Buffer,
    pub tables: Buffer,
    pub table_stride: u32,
}

impl World {
    /// `placement` decides where pages lie and which row of the tables is whose.
    pub fn new(
        rig: &Rig,
        (heads, window): (Heads, Option<u32>),
        sequences: &[Sequence],
        placement: u64,
        unseen: Unseen,
    ) -> World {
        let stride = sequences.iter().map(|s| s.end().div_ceil(PAGE)).max().unwrap() + 1;
        let pages = sequences.iter().map(|s| s.end().div_ceil(PAGE)).sum::<usize>() + 1;
        let rows: usize = sequences.iter().map(|s| s.rows).sum();
        let elements = pages * heads.kv * PAGE * heads.dim;
        let pool = || match unseen {
            Unseen::Poison => rig.poisoned::<bf16>(elements),
            Unseen::Unwritten => rig.room::<bf16>(elements),
        };
        let mut world = World {
            heads,
            window,
            sequences: Vec::new(),
            rows,
            q: rig.room::<bf16>(rows * heads.query * heads.dim),
            k_pages: pool(),
            v_pages: pool(),
            tables: rig.room::<u32>(sequences.len() * stride),
            table_stride: stride as u32,
        };
        world.fill(rig, sequences, placement);
        world
    }

    /// Puts another batch in place of this one, no larger than what there was room for at first.
    /// Keys and values that no row sees are not written, and a table's entries without them name
    /// no page.
    pub fn fill(&mut self, rig: &Rig, sequences: &[Sequence], placement: u64) {
        let (heads, stride) = (self.heads, self.table_stride as usize);
        let page_bytes = heads.kv * PAGE * heads.dim * 2;
        let mut free = shuffled(self.k_pages.bytes() as usize / page_bytes, placement);
        let table_rows = shuffled(self.tables.bytes() as usize / 4 / stride, placement + 1);
        let mut tables = vec![u32::MAX; table_rows.len() * stride];
        self.sequences.clear();
        self.rows = 0;
        let mut q = Vec::new();
        for (sequence, table) in sequences.iter().zip(&table_rows) {
            self.sequences.push(SequenceRows {
                row: self.rows as u32,
                rows: sequence.rows as u32,
                position: sequence.position.map(|p| p as u32),
                table: *table as u32,
            });
            self.rows += sequence.rows;
            q.extend((0..sequence.rows).flat_map(|row| sequence.query(row, heads)));
            let first = sequence.position.map_or(0, |p| first_seen(p, self.window));
            for page in first / PAGE..sequence.end().div_ceil(PAGE) {
                let id = free.pop().unwrap();
                tables[table * stride + page] = id as u32;
                for position in first.max(page * PAGE)..sequence.end().min((page + 1) * PAGE) {
                    let place = (id, position % PAGE);
                    store(rig, &self.k_pages, &sequence.key(position, heads), place, heads);
                    store(rig, &self.v_pages, &sequence.value(position, heads), place, heads);
                }
            }
        }
        self.q.write(&q).unwrap();
        self.tables.write(&tables).unwrap();
    }

    /// What a launch has written to `out`, sequence by sequence and row by row.
    pub fn read(&self, out: &Buffer) -> Vec<Vec<Vec<u16>>> {
        let width = self.heads.query * self.heads.dim;
        let all = out.read::<u16>(self.rows * width).unwrap();
        let row = |row: u32| all[row as usize * width..][..width].to_vec();
        self.sequences.iter().map(|s| (s.row..s.row + s.rows).map(row).collect()).collect()
    }

    /// Positions that some row of their sequence sees, of all sequences.
    pub fn seen(&self) -> u64 {
        let of = |s: &SequenceRows| {
            s.position.map_or(0, |at| (at + s.rows) as usize - first_seen(at as usize, self.window))
        };
        self.sequences.iter().map(|s| of(s) as u64).sum()
    }
}

/// A batch that can be launched again and again, and where its result will be.
pub struct Ready<'a> {
    pub launch: Box<dyn Fn() + 'a>,
    pub out: Rc<Buffer>,
}

/// Writes a token's keys or values of all heads to page and slot, by the formula of the design.
fn store(rig: &Rig, pool: &Buffer, heads_of_token: &[bf16], place: (usize, usize), heads: Heads) {
    let (page, slot) = place;
    for (head, x) in heads_of_token.chunks(heads.dim).enumerate() {
        for (half, x) in x.chunks(64).enumerate() {
            let parts = (0..8).flat_map(|part| &x[(part ^ (slot & 7)) * 8..][..8]);
            let line: Vec<bf16> = parts.copied().collect();
            let block = (page * heads.kv + head) * PAGE * heads.dim;
            let at = (block + half * 4096 + slot * 64) as u64 * 2;
            rig.driver().write(pool.ptr() + at, bytemuck::cast_slice(&line)).unwrap();
        }
    }
}

/// 0..n in an order that `seed` decides.
fn shuffled(n: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mix = |i: usize| (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ seed << 17) >> 20;
    order.sort_by_key(|i| mix(*i));
    order
}

/// A row's attention in f64, and as the textbook has it in the precision of the kernels: f32 sums
/// one term after the other, weights rounded to bf16 before they meet the values, bf16 out.
pub struct Reference {
    pub exact: Vec<f64>,
    pub textbook: Vec<bf16>,
}

/// The references of all rows of a sequence.
pub fn references(heads: Heads, window: Option<u32>, sequence: &Sequence) -> Vec<Reference> {
    let tokens = |of: &dyn Fn(usize) -> Vec<bf16>| (0..sequence.end()).map(of).collect::<Vec<_>>();
    let keys = tokens(&|at| sequence.key(at, heads));
    let values = tokens(&|at| sequence.value(at, heads));
    let row = |row: usize| {
        let at = sequence.position.unwrap() + row;
        let q = sequence.query(row, heads);
        let mut reference = Reference { exact: Vec::new(), textbook: Vec::new() };
        for (head, q) in q.chunks(heads.dim).enumerate() {
            let kv = head / (heads.query / heads.kv) * heads.dim;
            let part = |x: &'_ [Vec<bf16>], token: usize| x[token][kv..kv + heads.dim].to_vec();
            let seen: Vec<(Vec<bf16>, Vec<bf16>)> = (first_seen(at, window)..=at)
                .map(|token| (part(&keys, token), part(&values, token)))
                .collect();
            reference.exact.extend(exact_head(q, &seen));
            reference.textbook.extend(textbook_head(q, &seen));
        }
        reference
    };
    (0..sequence.rows).map(row).collect()
}

fn exact_head(q: &[bf16], seen: &[(Vec<bf16>, Vec<bf16>)]) -> Vec<f64> {
    let dot = |k: &[bf16]| q.iter().zip(k).map(|(q, k)| q.to_f64() * k.to_f64()).sum::<f64>();
    let scale = 1.0 / (q.len() as f64).sqrt();
    let scores: Vec<f64> = seen.iter().map(|(k, _)| dot(k) * scale).collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let weighted = |d: usize| seen.iter().zip(&weights).map(move |((_, v), w)| w * v[d].to_f64());
    (0..q.len()).map(|d| weighted(d).sum::<f64>() / sum).collect()
}

fn textbook_head(q: &[bf16], seen: &[(Vec<bf16>, Vec<bf16>)]) -> Vec<bf16> {
    let dot = |k: &[bf16]| q.iter().zip(k).fold(0.0f32, |s, (q, k)| s + q.to_f32() * k.to_f32());
    let scale = 1.0 / (q.len() as f32).sqrt();
    let scores: Vec<f32> = seen.iter().map(|(k, _)| dot(k) * scale).collect();
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weights: Vec<f32> = scores.iter().map(|s| (s - max).exp()).collect();
    let sum: f32 = weights.iter().sum();
    let mut out = vec![0.0f32; q.len()];
    for ((_, v), w) in seen.iter().zip(&weights) {
        let w = bf16::from_f32(*w).to_f32();
        out.iter_mut().zip(v).for_each(|(out, v)| *out += w * v.to_f32());
    }
    out.into_iter().map(|x| bf16::from_f32(x / sum)).collect()
}

/// Errors of many numbers: root mean square, and the largest.
#[derive(Debug, Default, Clone, Copy)]
struct Errors {
    squares: f64,
    max: f64,
}

impl Errors {
    fn add(&mut self, got: bf16, want: f64) {
        let error = (got.to_f64() - want).abs();
        assert!(error.is_finite(), "{got} for {want}");
        self.squares += error * error;
        self.max = self.max.max(error);
    }
}

/// Holds the rows of a batch against the references: no more than twice the textbook's error in
/// the mean, and at worst one bf16 more.
pub fn assert_near(world: &World, sequences: &[Sequence], got: &[Vec<Vec<u16>>]) {
    let (mut ours, mut theirs) = (Errors::default(), Errors::default());
    for (sequence, rows) in sequences.iter().zip(got).filter(|(s, _)| s.position.is_some()) {
        let references = references(world.heads, world.window, sequence);
        for (row, reference) in rows.iter().zip(&references) {
            for ((got, want), textbook) in row.iter().zip(&reference.exact).zip(&reference.textbook)
            {
                ours.add(bf16::from_bits(*got), *want);
                theirs.add(*textbook, *want);
            }
        }
    }
    let what = format!("{:?} {:?}: {ours:?}, textbook {theirs:?}", world.heads, world.window);
    assert!(ours.squares.sqrt() <= 2.0 * theirs.squares.sqrt(), "{what}");
    assert!(ours.max <= 2.0 * theirs.max, "{what}");
}
