//! How an operation on one lane becomes one on a row: [`Lane`] says how a type lies in the
//! registers, and the macro `row` turns a closure into a line of the table.
//!
//! All lanes are computed into an array before any is stored. The sources may therefore be the
//! destination, and the compiler can use vector instructions, since no lane depends on the mask.

use super::formats::{self, Format};
use crate::isa::{ALL, Inst, LANES, Registers, Row32, Row64};

/// A type that a lane of a source row can be read as.
pub trait Lane: Copy {
    /// The row it lies in.
    type Row;
    /// The row with this number.
    fn row(registers: &Registers, index: u16) -> &Self::Row;
    /// One lane of it.
    fn get(row: &Self::Row, lane: usize) -> Self;
}

/// What an operation gives in a lane: a register, or two.
pub trait Dest: Copy {
    /// Any value, to fill an array with.
    const ZERO: Self;
    /// Stores the lanes of `mask`.
    fn store(registers: &mut Registers, inst: &Inst, values: &[Self; LANES], mask: u32);
}

macro_rules! lane {
    ($($type:ty, $file:ident, $row:ty, $zero:expr, $from:expr, $to:expr;)*) => {$(
        impl Lane for $type {
            type Row = $row;
            #[inline(always)]
            fn row(registers: &Registers, index: u16) -> &$row {
                &registers.$file[usize::from(index)]
            }
            #[inline(always)]
            fn get(row: &$row, lane: usize) -> $type {
                $from(row[lane])
            }
        }
        impl Dest for $type {
            const ZERO: $type = $zero;
            #[inline(always)]
            fn store(registers: &mut Registers, inst: &Inst, values: &[$type; LANES], mask: u32) {
                let row = &mut registers.$file[usize::from(inst.d[0])];
                let mut bits: $row = [0; LANES];
                for lane in 0..LANES {
                    bits[lane] = $to(values[lane]);
                }
                if mask == ALL {
                    *row = bits;
                } else {
                    merge(row, &bits, mask);
                }
            }
        }
    )*};
}

/// Stores some lanes. Not part of every instruction's function, to keep those small.
#[inline(never)]
fn merge<T: Copy>(row: &mut [T; LANES], values: &[T; LANES], mask: u32) {
    for lane in 0..LANES {
        row[lane] = if mask & BIT[lane] != 0 { values[lane] } else { row[lane] };
    }
}

lane! {
    u32, r32, Row32, 0, |x| x, |x| x;
    i32, r32, Row32, 0, |x| x as i32, |x| x as u32;
    f32, r32, Row32, 0.0, f32::from_bits, f32::to_bits;
    u16, r32, Row32, 0, |x| x as u16, u32::from;
    i16, r32, Row32, 0, |x| x as i16, |x| u32::from(x as u16);
    u8, r32, Row32, 0, |x| x as u8, u32::from;
    i8, r32, Row32, 0, |x| x as i8, |x| u32::from(x as u8);
    u64, r64, Row64, 0, |x| x, |x| x;
    i64, r64, Row64, 0, |x| x as i64, |x| x as u64;
    f64, r64, Row64, 0.0, f64::from_bits, f64::to_bits;
    Half, r32, Row32, Half(0), |x| Half(x as u16), |x: Half| u32::from(x.0);
    Brain, r32, Row32, Brain(0), |x| Brain(x as u16), |x: Brain| u32::from(x.0);
}

/// A binary16, by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Half(pub u16);
/// A bfloat16, by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Brain(pub u16);

/// What the floating-point types have in common.
pub trait Float: Copy {
    /// Its format.
    const FORMAT: Format;
    /// The same number in binary64, exactly; a NaN stays one.
    fn wide(self) -> f64;
    /// From its bits.
    fn from_raw(bits: u64) -> Self;
    /// To its bits.
    fn raw(self) -> u64;
}

macro_rules! float {
    ($($type:ty, $format:ident, $wide:expr, $from:expr, $raw:expr;)*) => {$(
        impl Float for $type {
            const FORMAT: Format = formats::$format;
            #[inline(always)]
            fn wide(self) -> f64 {
                $wide(self)
            }
            #[inline(always)]
            fn from_raw(bits: u64) -> $type {
                $from(bits)
            }
            #[inline(always)]
            fn raw(self) -> u64 {
                $raw(self)
            }
        }
    )*};
}

float! {
    Half, F16, |x: Half| f64::from(formats::f16_to_f32(x.0)), |x| Half(x as u16),
        |x: Half| u64::from(x.0);
    Brain, BF16, |x: Brain| f64::from(formats::bf16_to_f32(x.0)), |x| Brain(x as u16),
        |x: Brain| u64::from(x.0);
    f32, F32, f64::from, |x| f32::from_bits(x as u32), |x: f32| u64::from(x.to_bits());
    f64, F64, |x| x, f64::from_bits, f64::to_bits;
}

/// An integer type.
pub trait Int: Copy + Lane + Dest {
    /// The least.
    const MIN: i128;
    /// The largest.
    const MAX: i128;
    /// How wide it is.
    const BITS: u32;
    /// Extended, or the bits of a u64.
    fn to_i64(self) -> i64;
    /// As wide as needed: the bits of a u64 above the range of an i64 too.
    fn exact(self) -> i128;
    /// The low bits.
    fn wrap(bits: i64) -> Self;
    /// Cut off to the nearest that fits; 0 of a NaN.
    fn from_f64(x: f64) -> Self;
    /// As `from_f64`.
    fn from_f32(x: f32) -> Self;
    /// The nearest.
    fn to_f32(self) -> f32;
    /// The nearest.
    fn to_f64(self) -> f64;
}

macro_rules! int {
    ($($type:ident)*) => {$(
        impl Int for $type {
            const MIN: i128 = $type::MIN as i128;
            const MAX: i128 = $type::MAX as i128;
            const BITS: u32 = $type::BITS;
            #[inline(always)]
            fn to_i64(self) -> i64 {
                self as i64
            }
            #[inline(always)]
            fn exact(self) -> i128 {
                self as i128
            }
            #[inline(always)]
            fn wrap(bits: i64) -> $type {
                bits as $type
            }
            #[inline(always)]
            fn from_f64(x: f64) -> $type {
                x as $type
            }
            #[inline(always)]
            fn from_f32(x: f32) -> $type {
                x as $type
            }
            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}
int!(u8 i8 u16 i16 u32 i32 u64 i64);

impl Lane for bool {
    type Row = u32;
    #[inline(always)]
    fn row(registers: &Registers, index: u16) -> &u32 {
        &registers.p[usize::from(index)]
    }
    #[inline(always)]
    fn get(row: &u32, lane: usize) -> bool {
        row & BIT[lane] != 0
    }
}

impl Dest for bool {
    const ZERO: bool = false;
    #[inline(always)]
    fn store(registers: &mut Registers, inst: &Inst, values: &[bool; LANES], mask: u32) {
        store_bits(&mut registers.p[usize::from(inst.d[0])], pack(values), mask);
    }
}

/// A 32-bit result and a predicate, as `lop3` with `d|p` has them.
impl Dest for (u32, bool) {
    const ZERO: (u32, bool) = (0, false);
    #[inline(always)]
    fn store(registers: &mut Registers, inst: &Inst, values: &[(u32, bool); LANES], mask: u32) {
        u32::store(registers, inst, &values.map(|v| v.0), mask);
        store_bits(&mut registers.p[usize::from(inst.d[1])], pack(&values.map(|v| v.1)), mask);
    }
}

/// Puts the bits of `mask` into a predicate.
#[inline(always)]
pub fn store_bits(predicate: &mut u32, bits: u32, mask: u32) {
    *predicate = (*predicate & !mask) | (bits & mask);
}

/// The bit of every lane, as a table: the compiler makes vectors of what uses it, but not of shifts
/// by the lane's number.
pub const BIT: [u32; LANES] = {
    let mut bits = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        bits[lane] = 1 << lane;
        lane += 1;
    }
    bits
};

/// One bit a lane.
#[inline(always)]
pub fn pack(values: &[bool; LANES]) -> u32 {
    gather(|lane| values[lane])
}

/// One bit a lane, where `f` holds.
#[inline(always)]
pub fn gather(f: impl Fn(usize) -> bool) -> u32 {
    let mut bits = [0; LANES];
    for (lane, bit) in bits.iter_mut().enumerate() {
        *bit = if f(lane) { BIT[lane] } else { 0 };
    }
    bits.iter().fold(0, |all, bit| all | bit)
}

/// `d = f(a)`.
#[inline(always)]
pub fn unary<A: Lane, D: Dest>(r: &mut Registers, i: &Inst, mask: u32, f: impl Fn(A) -> D) {
    let a = A::row(r, i.s[0]);
    let mut out = [D::ZERO; LANES];
    for (lane, out) in out.iter_mut().enumerate() {
        *out = f(A::get(a, lane));
    }
    D::store(r, i, &out, mask);
}

/// `d = f(a, b)`.
#[inline(always)]
pub fn binary<A: Lane, B: Lane, D: Dest>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
    f: impl Fn(A, B) -> D,
) {
    let (a, b) = (A::row(r, i.s[0]), B::row(r, i.s[1]));
    let mut out = [D::ZERO; LANES];
    for (lane, out) in out.iter_mut().enumerate() {
        *out = f(A::get(a, lane), B::get(b, lane));
    }
    D::store(r, i, &out, mask);
}

/// `d = f(a, b, c)`.
#[inline(always)]
pub fn ternary<A: Lane, B: Lane, C: Lane, D: Dest>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
    f: impl Fn(A, B, C) -> D,
) {
    let (a, b, c) = (A::row(r, i.s[0]), B::row(r, i.s[1]), C::row(r, i.s[2]));
    let mut out = [D::ZERO; LANES];
    for (lane, out) in out.iter_mut().enumerate() {
        *out = f(A::get(a, lane), B::get(b, lane), C::get(c, lane));
    }
    D::store(r, i, &out, mask);
}

/// `d = f(a, b, c, e)`.
#[inline(always)]
pub fn quaternary<A: Lane, B: Lane, C: Lane, E: Lane, D: Dest>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
    f: impl Fn(A, B, C, E) -> D,
) {
    let (a, b) = (A::row(r, i.s[0]), B::row(r, i.s[1]));
    let (c, e) = (C::row(r, i.s[2]), E::row(r, i.s[3]));
    let mut out = [D::ZERO; LANES];
    for (lane, out) in out.iter_mut().enumerate() {
        *out = f(A::get(a, lane), B::get(b, lane), C::get(c, lane), E::get(e, lane));
    }
    D::store(r, i, &out, mask);
}

/// `d = f(a, b, carry)`, where `f` gives the carry out too; that is kept if `KEEP`.
#[inline(always)]
pub fn carrying<T: Lane + Dest, const KEEP: bool>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
    f: impl Fn([T; 3], bool) -> (T, bool),
) {
    let rows = [T::row(r, i.s[0]), T::row(r, i.s[1]), T::row(r, i.s[2])];
    let mut out = [T::ZERO; LANES];
    let mut carry = [false; LANES];
    for lane in 0..LANES {
        (out[lane], carry[lane]) = f(rows.map(|x| T::get(x, lane)), r.carry >> lane & 1 != 0);
    }
    T::store(r, i, &out, mask);
    if KEEP {
        store_bits(&mut r.carry, pack(&carry), mask);
    }
}

/// Applies `f` to the two halves of words, `.x2` types.
#[inline(always)]
pub fn halves<const N: usize>(words: [u32; N], f: impl Fn([u16; N]) -> u16) -> u32 {
    let low = f(words.map(|word| word as u16));
    let high = f(words.map(|word| (word >> 16) as u16));
    u32::from(low) | u32::from(high) << 16
}

/// One line of the table: pattern, operands, class, and what happens in a lane, as a closure whose
/// parameters' types say how the sources are read and whose result's type says what is stored.
/// `imm` before the closure names the instruction's immediate; `wide` before that has it compiled
/// for wider vectors too, where that pays.
macro_rules! row {
    ($pattern:expr, $operands:expr, $class:ident, $($what:tt)*) => {
        $crate::isa::TableRow {
            pattern: $pattern,
            operands: $operands,
            exec: $crate::isa::Exec::Alu($crate::arith::rows::row_function!($($what)*)),
            class: $crate::isa::Class::$class,
        }
    };
}

/// The function of a `row`.
macro_rules! row_function {
    (function $function:expr) => {
        $function
    };
    (wide $($what:tt)*) => {
        |r, i, mask| {
            $crate::arith::simd::rows(
                r,
                i,
                mask,
                $crate::arith::rows::row_function!($($what)*),
                $crate::arith::rows::row_function!($($what)*),
            )
        }
    };
    (|$a:ident: $A:ty| $f:expr) => {
        |r, i, mask| $crate::arith::rows::unary(r, i, mask, |$a: $A| $f)
    };
    (|$a:ident: $A:ty, $b:ident: $B:ty| $f:expr) => {
        |r, i, mask| $crate::arith::rows::binary(r, i, mask, |$a: $A, $b: $B| $f)
    };
    (|$a:ident: $A:ty, $b:ident: $B:ty, $c:ident: $C:ty| $f:expr) => {
        |r, i, mask| {
            let f = |$a: $A, $b: $B, $c: $C| $f;
            $crate::arith::rows::ternary(r, i, mask, f)
        }
    };
    (|$a:ident: $A:ty, $b:ident: $B:ty, $c:ident: $C:ty, $e:ident: $E:ty| $f:expr) => {
        |r, i, mask| {
            let f = |$a: $A, $b: $B, $c: $C, $e: $E| $f;
            $crate::arith::rows::quaternary(r, i, mask, f)
        }
    };
    (imm $k:ident |$a:ident: $A:ty, $b:ident: $B:ty, $c:ident: $C:ty| $f:expr) => {
        |r, i, mask| {
            let $k = i.imm;
            let f = |$a: $A, $b: $B, $c: $C| $f;
            $crate::arith::rows::ternary(r, i, mask, f)
        }
    };
    (imm $k:ident |$a:ident: $A:ty, $b:ident: $B:ty, $c:ident: $C:ty, $e:ident: $E:ty| $f:expr) => {
        |r, i, mask| {
            let $k = i.imm;
            let f = |$a: $A, $b: $B, $c: $C, $e: $E| $f;
            $crate::arith::rows::quaternary(r, i, mask, f)
        }
    };
}

pub(crate) use {row, row_function};
