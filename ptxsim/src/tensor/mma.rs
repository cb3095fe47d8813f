//! `mma.sync`: products of a warp's registers (PTX ISA, "Warp Level Matrix Multiply-Accumulate
//! Instructions").
//!
//! A form is a triple of types and the number of core matrices along k (one or two), so that
//! every shape runs through the same few lines: m16n8k16 of 16-bit types is two core matrices of
//! eight elements, m16n8k32 of s8 is two of sixteen, m16n8k4 of tf32 is one of four.

use super::hopper;
use super::kernels::{Fragment, Kernels, PORTABLE, kernels};
use super::{Accumulator, Arithmetic, Element};
use crate::isa::{ALL, Inst, LANES, Registers, Row32};

/// What an `mma` multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Type of A.
    pub a: Element,
    /// Type of B.
    pub b: Element,
    /// Type of C and D.
    pub accumulator: Accumulator,
    /// Core matrices along k: 1 or 2.
    pub cores: usize,
    /// `.satfinite`, of s32.
    pub saturate: bool,
}

impl Form {
    /// K of the shape.
    pub fn k(&self) -> usize {
        self.cores * self.a.per_row()
    }

    /// Registers a lane holds of A, B, and each of C and D.
    pub fn registers(&self) -> [usize; 3] {
        let accumulators = if self.accumulator == Accumulator::F16 { 2 } else { 4 };
        [2 * self.cores, self.cores, accumulators]
    }

    /// As a number for [`Inst::imm`].
    pub fn pack(&self) -> i64 {
        self.a as i64
            | (self.b as i64) << 4
            | (self.accumulator as i64) << 8
            | (self.cores as i64) << 12
            | i64::from(self.saturate) << 16
    }

    /// The reverse of [`Form::pack`].
    pub fn unpack(bits: i64) -> Form {
        let field = |shift: u32| (bits >> shift & 15) as usize;
        Form {
            a: Element::from_index(field(0)),
            b: Element::from_index(field(4)),
            accumulator: Accumulator::from_index(field(8)),
            cores: field(12).clamp(1, 2),
            saturate: field(16) != 0,
        }
    }
}

/// D of A, B and C, each as its registers; those that the form lacks are not looked at.
pub fn product(
    form: Form,
    arithmetic: Arithmetic,
    a: [&Row32; 4],
    b: [&Row32; 2],
    c: [&Row32; 4],
) -> Fragment {
    let mut d = c.map(|row| *row);
    product_by(kernels(), form, arithmetic, a, b, &mut d);
    d
}

/// As [`product`], by the portable routines: what tests compare with.
pub fn product_portable(
    form: Form,
    arithmetic: Arithmetic,
    a: [&Row32; 4],
    b: [&Row32; 2],
    c: [&Row32; 4],
) -> Fragment {
    let mut d = c.map(|row| *row);
    product_by(&PORTABLE, form, arithmetic, a, b, &mut d);
    d
}

/// `d` comes as the registers of C and leaves as those of D.
#[inline]
fn product_by(
    by: &Kernels,
    form: Form,
    arithmetic: Arithmetic,
    a: [&Row32; 4],
    b: [&Row32; 2],
    d: &mut Fragment,
) {
    let (a, b) = (&a[..2 * form.cores], &b[..form.cores]);
    match form.accumulator {
        Accumulator::F32 => multiply(by, form, arithmetic, a, b, d),
        Accumulator::F16 => {
            let mut wide = [[0; LANES]; 4];
            let [low, high, low8, high8] = &mut wide;
            (by.unpack_halves)(&d[0], low, high);
            (by.unpack_halves)(&d[1], low8, high8);
            multiply(by, form, arithmetic, a, b, &mut wide);
            d[0] = (by.pack_halves)(&wide[0], &wide[1]);
            d[1] = (by.pack_halves)(&wide[2], &wide[3]);
        }
        Accumulator::S32 => integers(by, form, a, b, d),
    }
}

#[inline]
fn multiply(
    by: &Kernels,
    form: Form,
    arithmetic: Arithmetic,
    a: &[&Row32],
    b: &[&Row32],
    d: &mut Fragment,
) {
    let kinds = [form.a, form.b];
    match arithmetic {
        Arithmetic::Plain => (by.mma)(kinds, a, b, d),
        Arithmetic::Hopper => {
            let (mut rows, mut columns) = ([[0.0; 32]; 16], [[0.0; 8]; 32]);
            let step = form.a.per_row();
            for (index, core) in a.iter().enumerate() {
                let rows = &mut rows[index % 2 * 8..][..8];
                (by.widen_rows)(form.a, core, rows, index / 2 * step);
            }
            for (index, core) in b.iter().enumerate() {
                (by.widen_columns)(form.b, core, &mut columns[index * step..]);
            }
            let model = hopper::Model::mma(kinds, form.accumulator);
            hopper::multiply(&model, d, &rows, &columns[..form.k()]);
        }
    }
}

fn integers(by: &Kernels, form: Form, a: &[&Row32], b: &[&Row32], d: &mut Fragment) {
    let (mut rows, mut columns) = ([[0; 16]; 16], [[0; 8]; 16]);
    for (index, core) in a.iter().enumerate() {
        (by.pair_rows)(form.a, core, &mut rows[index % 2 * 8..][..8], index / 2 * 8);
    }
    for (index, core) in b.iter().enumerate() {
        (by.pair_columns)(form.b, core, &mut columns[index * 8..]);
    }
    let columns = &columns[..form.cores * 8];
    if !form.saturate {
        (by.multiply_pairs)(d, &rows, columns);
        return;
    }
    // The products alone cannot leave s32; only the sum with C can.
    let mut products = [[0; LANES]; 4];
    (by.multiply_pairs)(&mut products, &rows, columns);
    for (d, products) in d.as_flattened_mut().iter_mut().zip(products.as_flattened()) {
        *d = (*d as i32).saturating_add(*products as i32) as u32;
    }
}

/// Runs an `mma` whose `imm` is a packed [`Form`]; sources are A, then B, then C.
pub fn run(registers: &mut Registers, inst: &Inst, mask: u32) {
    let form = Form::unpack(inst.imm);
    let [count_a, count_b, count_c] = form.registers();
    let row = |index: usize| &registers.r32[inst.s[index] as usize];
    let a: [&Row32; 4] = std::array::from_fn(|i| row(i.min(count_a - 1)));
    let b: [&Row32; 2] = std::array::from_fn(|i| row(count_a + i.min(count_b - 1)));
    let c: [&Row32; 4] = std::array::from_fn(|i| row(count_a + count_b + i.min(count_c - 1)));
    let d = product(form, registers.arithmetic, a, b, c);
    for (d, to) in d.iter().zip(inst.d).take(count_c) {
        write(&mut registers.r32[to as usize], d, mask);
    }
}

/// Writes the lanes of `mask`.
#[inline]
pub(crate) fn write(to: &mut Row32, from: &Row32, mask: u32) {
    if mask == ALL {
        *to = *from;
        return;
    }
    for lane in 0..LANES {
        if mask >> lane & 1 != 0 {
            to[lane] = from[lane];
        }
    }
}

/// `mma.m8n8k4` of f64: lane `4 * g + q` holds A's `(g, q)`, B's `(q, g)`, and C's and D's
/// `(g, 2 * q)` and `(g, 2 * q + 1)`.
pub fn run_f64(registers: &mut Registers, inst: &Inst, mask: u32) {
    let row = |index: usize| &registers.r64[inst.s[index] as usize];
    let (a, b, c) = (row(0), row(1), [row(2), row(3)]);
    let mut d = [[0u64; LANES]; 2];
    for (half, d) in d.iter_mut().enumerate() {
        for (lane, d) in d.iter_mut().enumerate() {
            let (g, column) = (lane / 4, lane % 4 * 2 + half);
            let mut sum = f64::from_bits(c[half][lane]);
            for k in 0..4 {
                let (a, b) = (f64::from_bits(a[4 * g + k]), f64::from_bits(b[4 * column + k]));
                sum = a.mul_add(b, sum);
            }
            *d = sum.to_bits();
        }
    }
    for (d, to) in d.iter().zip(inst.d) {
        let to = &mut registers.r64[to as usize];
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            to[lane] = d[lane];
        }
    }
}
