//! The pure part of `wgmma.mma_async`: its forms, its operands' elements, and the product of one
//! warp's 16 rows (PTX ISA, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate").
//!
//! D's registers are N/8 fragments of `mma`, one after another; A in registers is the A fragment
//! of `mma`; warp `w` of the warpgroup has rows `16 * w` to `16 * w + 15`.

use super::descriptor::{Descriptor, Major};
use super::hopper::{self, Model};
use super::kernels::{Fragment, Kernels, PORTABLE, PairsA, RowsA, kernels};
use super::matrix::{ldmatrix_distribute, transpose};
use super::{Accumulator, Arithmetic, Element};
use crate::isa::{LANES, Row32};

/// What a `wgmma` multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// N of the shape: 8 to 256.
    pub n: usize,
    /// Type of A.
    pub a: Element,
    /// Type of B.
    pub b: Element,
    /// Type of D.
    pub accumulator: Accumulator,
    /// A comes from registers instead of shared memory.
    pub a_in_registers: bool,
    /// `.satfinite`, of s32.
    pub saturate: bool,
    /// A's elements are multiplied by -1.
    pub negate_a: bool,
    /// B's elements are multiplied by -1.
    pub negate_b: bool,
    /// Which dimension of A is contiguous.
    pub major_a: Major,
    /// Which dimension of B is contiguous.
    pub major_b: Major,
}

impl Form {
    /// K of the shape: 32 bytes.
    pub fn k(&self) -> usize {
        2 * self.a.per_row()
    }

    /// Registers of D a lane holds.
    pub fn registers_d(&self) -> usize {
        if self.accumulator == Accumulator::F16 { self.n / 4 } else { self.n / 2 }
    }

    /// Multiply-adds of the warpgroup.
    pub fn operations(&self) -> u64 {
        (64 * self.n * self.k()) as u64
    }

    /// As a number for [`crate::isa::Inst::imm`].
    pub fn pack(&self) -> i64 {
        let flags = [
            self.a_in_registers,
            self.saturate,
            self.negate_a,
            self.negate_b,
            self.major_a == Major::Mn,
            self.major_b == Major::Mn,
        ];
        let flags = flags.iter().rev().fold(0, |bits, flag| bits << 1 | i64::from(*flag));
        self.n as i64
            | (self.a as i64) << 12
            | (self.b as i64) << 16
            | (self.accumulator as i64) << 20
            | flags << 24
    }

    /// The reverse of [`Form::pack`].
    pub fn unpack(bits: i64) -> Form {
        let field = |shift: u32| (bits >> shift & 15) as usize;
        let flag = |index: u32| bits >> (24 + index) & 1 != 0;
        Form {
            n: (bits & 0xfff) as usize,
            a: Element::from_index(field(12)),
            b: Element::from_index(field(16)),
            accumulator: Accumulator::from_index(field(20)),
            a_in_registers: flag(0),
            saturate: flag(1),
            negate_a: flag(2),
            negate_b: flag(3),
            major_a: Major::of(flag(4)),
            major_b: Major::of(flag(5)),
        }
    }
}

/// A of one warp, ready to multiply.
pub struct TileA {
    floats: RowsA,
    pairs: PairsA,
}

impl Default for TileA {
    fn default() -> TileA {
        TileA { floats: [[0.0; 32]; 16], pairs: [[0; 16]; 16] }
    }
}

impl TileA {
    fn put(&mut self, by: &Kernels, form: &Form, core: &Row32, group: usize, block: usize) {
        if form.a.is_integer() {
            (by.pair_rows)(form.a, core, &mut self.pairs[8 * group..][..8], 8 * block);
            return;
        }
        let (rows, step) = (&mut self.floats[8 * group..][..8], form.a.per_row());
        (by.widen_rows)(form.a, core, rows, block * step);
        // Negating either factor of every product is negating A.
        if form.negate_a != form.negate_b {
            for value in rows.iter_mut().flat_map(|row| &mut row[block * step..][..step]) {
                *value = -*value;
            }
        }
    }

    /// Fills it from the four registers of A.
    pub fn from_registers(&mut self, form: &Form, registers: [&Row32; 4]) {
        let by = kernels();
        for (index, core) in registers.into_iter().enumerate() {
            self.put(by, form, core, index % 2, index / 2);
        }
    }

    /// Fills it for warp `warp` of the warpgroup from shared memory; `read` gives the 16 bytes at
    /// a shared address.
    pub fn from_shared(
        &mut self,
        form: &Form,
        descriptor: &Descriptor,
        warp: usize,
        mut read: impl FnMut(u32) -> [u8; 16],
    ) {
        let by = kernels();
        for index in 0..4 {
            let (group, block) = (index % 2, index / 2);
            let at = (2 * warp + group) as u32;
            let rows = descriptor.core_rows(form.major_a, at, block as u32);
            let core = ldmatrix_distribute(&rows.map(|row| read(row.address)), false);
            let core = if form.major_a == Major::Mn { transpose(&core) } else { core };
            self.put(by, form, &core, group, block);
        }
    }
}

/// What a [`TileB`] was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileKey {
    /// The descriptor's bits.
    pub descriptor: u64,
    /// The packed form.
    pub form: i64,
    /// A number of the caller's that changes whenever the shared memory may have.
    pub version: u64,
}

/// B of a product, ready to multiply: the four warps of a warpgroup use the same one.
#[derive(Default)]
pub struct TileB {
    /// By group of eight columns, then by k.
    floats: Vec<[f32; 8]>,
    pairs: Vec<[i32; 8]>,
    key: Option<TileKey>,
}

impl TileB {
    /// Whether it was made from that.
    pub fn holds(&self, key: TileKey) -> bool {
        self.key == Some(key)
    }

    /// Fills it from shared memory; `read` gives the 16 bytes at a shared address. With a key, a
    /// later call may be spared by asking [`TileB::holds`].
    pub fn from_shared(
        &mut self,
        form: &Form,
        descriptor: &Descriptor,
        key: Option<TileKey>,
        mut read: impl FnMut(u32) -> [u8; 16],
    ) {
        let by = kernels();
        let (groups, step) = (form.n / 8, form.b.per_row());
        self.key = key;
        if form.b.is_integer() {
            self.pairs.resize(groups * 16, [0; 8]);
        } else {
            self.floats.resize(groups * 2 * step, [0.0; 8]);
        }
        for index in 0..2 * groups {
            let rows = descriptor.core_rows(form.major_b, index as u32 / 2, index as u32 % 2);
            let core = ldmatrix_distribute(&rows.map(|row| read(row.address)), false);
            if form.b.is_integer() {
                (by.pair_columns)(form.b, &core, &mut self.pairs[index * 8..][..8]);
            } else if form.major_b == Major::K {
                (by.widen_columns)(form.b, &core, &mut self.floats[index * step..][..step]);
            } else {
                // A row of the core matrix is already one k of eight columns.
                let mut wide = [[0.0; 32]; 8];
                (by.widen_rows)(form.b, &core, &mut wide, 0);
                for (to, from) in self.floats[index * 8..].iter_mut().zip(&wide) {
                    to.copy_from_slice(&from[..8]);
                }
            }
        }
    }
}

/// Adds one warp's 16 rows of A times B to its registers of D: those of `file` that `rows`
/// lists. Without `accumulate` (scale-d false) D starts from zero.
pub fn multiply(
    form: &Form,
    arithmetic: Arithmetic,
    a: &TileA,
    b: &TileB,
    accumulate: bool,
    file: &mut [Row32],
    rows: &[u16],
) {
    multiply_by(kernels(), form, arithmetic, (a, b), accumulate, file, rows);
}

/// As [`multiply`], by the portable routines: what tests compare with.
pub fn multiply_portable(
    form: &Form,
    arithmetic: Arithmetic,
    a: &TileA,
    b: &TileB,
    accumulate: bool,
    file: &mut [Row32],
    rows: &[u16],
) {
    multiply_by(&PORTABLE, form, arithmetic, (a, b), accumulate, file, rows);
}

fn multiply_by(
    by: &Kernels,
    form: &Form,
    arithmetic: Arithmetic,
    (a, b): (&TileA, &TileB),
    accumulate: bool,
    file: &mut [Row32],
    rows: &[u16],
) {
    let per_group = form.registers_d() / (form.n / 8);
    for (group, rows) in rows.chunks_exact(per_group).enumerate() {
        let mut d = [[0; LANES]; 4];
        if accumulate {
            for (d, row) in d.iter_mut().zip(rows) {
                *d = file[*row as usize];
            }
        }
        match form.accumulator {
            Accumulator::S32 => integers(by, form, a, &b.pairs[16 * group..][..16], &mut d),
            Accumulator::F32 => floats(by, form, arithmetic, a, b, group, &mut d),
            Accumulator::F16 => {
                let mut wide = [[0; LANES]; 4];
                let [low, high, low8, high8] = &mut wide;
                (by.unpack_halves)(&d[0], low, high);
                (by.unpack_halves)(&d[1], low8, high8);
                floats(by, form, arithmetic, a, b, group, &mut wide);
                d[0] = (by.pack_halves)(&wide[0], &wide[1]);
                d[1] = (by.pack_halves)(&wide[2], &wide[3]);
            }
        }
        for (d, row) in d.iter().zip(rows) {
            file[*row as usize] = *d;
        }
    }
}

#[inline]
fn floats(
    by: &Kernels,
    form: &Form,
    arithmetic: Arithmetic,
    a: &TileA,
    b: &TileB,
    group: usize,
    d: &mut Fragment,
) {
    let columns = &b.floats[form.k() * group..][..form.k()];
    match arithmetic {
        Arithmetic::Plain => (by.multiply)(d, &a.floats, columns),
        Arithmetic::Hopper => {
            let model = Model::wgmma([form.a, form.b], form.accumulator);
            hopper::multiply(&model, d, &a.floats, columns);
        }
    }
}

fn integers(by: &Kernels, form: &Form, a: &TileA, columns: &[[i32; 8]], d: &mut Fragment) {
    if !form.saturate {
        (by.multiply_pairs)(d, &a.pairs, columns);
        return;
    }
    // The products alone cannot leave s32; only the sum with D can.
    let mut products = [[0; LANES]; 4];
    (by.multiply_pairs)(&mut products, &a.pairs, columns);
    for (d, products) in d.as_flattened_mut().iter_mut().zip(products.as_flattened()) {
        *d = (*d as i32).saturating_add(*products as i32) as u32;
    }
}
