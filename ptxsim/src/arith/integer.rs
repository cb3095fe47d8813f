//! Integer arithmetic (PTX ISA, "Integer Arithmetic Instructions" and "Extended-Precision Integer
//! Arithmetic Instructions").

use super::rows::{Dest, Lane, carrying, halves, row};
use crate::isa::{Inst, LANES, Registers, TableRow};
use crate::report::FaultKind;

/// Divides, and reports the lanes that divide by zero: PTX leaves their result unspecified, so a
/// kernel that uses it is wrong.
#[inline(always)]
fn divide<T: Lane + Dest + PartialEq>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
    f: impl Fn(T, T) -> T,
) {
    let divisor = T::row(r, i.s[1]);
    let zero =
        (0..LANES).fold(0, |bits, lane| bits | u32::from(T::get(divisor, lane) == T::ZERO) << lane);
    if zero & mask != 0 {
        r.trouble = Some((FaultKind::DivisionByZero, zero & mask));
    }
    super::rows::binary(r, i, mask, |a, b| if b == T::ZERO { b } else { f(a, b) });
}

/// The upper half of a product of 24-bit numbers' 48 bits: bits 16 to 47.
#[inline(always)]
fn mul24_hi(a: i64, b: i64) -> u32 {
    ((a * b) >> 16) as u32
}

/// The lower 24 bits, signed.
#[inline(always)]
fn s24(x: u32) -> i64 {
    i64::from((x << 8) as i32 >> 8)
}

/// The lower 24 bits.
#[inline(always)]
fn u24(x: u32) -> i64 {
    i64::from(x & 0xff_ffff)
}

/// Into the range of an i32.
#[inline(always)]
fn clamp(x: i64) -> i32 {
    x.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

/// Byte `k`, signed or not.
#[inline(always)]
fn byte<const SIGNED: bool>(x: u32, k: u32) -> i32 {
    let byte = (x >> (8 * k)) as u8;
    if SIGNED { i32::from(byte as i8) } else { i32::from(byte) }
}

/// Half `k`, signed or not.
#[inline(always)]
fn half<const SIGNED: bool>(x: u32, k: u32) -> i32 {
    let half = (x >> (16 * k)) as u16;
    if SIGNED { i32::from(half as i16) } else { i32::from(half) }
}

#[inline(always)]
fn dp4a<const A: bool, const B: bool>(a: u32, b: u32, c: u32) -> u32 {
    (0..4).fold(c, |sum, k| sum.wrapping_add((byte::<A>(a, k) * byte::<B>(b, k)) as u32))
}

#[inline(always)]
fn dp2a<const A: bool, const B: bool>(a: u32, b: u32, c: u32) -> u32 {
    (0..2).fold(c, |sum, k| sum.wrapping_add(half::<A>(a, k).wrapping_mul(byte::<B>(b, k)) as u32))
}

/// The rows of what exists for 16, 32 and 64 bits alike.
macro_rules! widths {
    ($u:ident, $s:ident, $wide_u:ident, $wide_s:ident, $bits:literal, $unsigned:literal,
     $signed:literal, $both:literal, $unary:literal, $binary:literal, $ternary:literal) => {
        &[
            row!(concat!("add", $both), $binary, Integer, wide |a: $u, b: $u| a.wrapping_add(b)),
            row!(concat!("sub", $both), $binary, Integer, wide |a: $u, b: $u| a.wrapping_sub(b)),
            row!(concat!("mul.lo", $both), $binary, Integer, wide |a: $u, b: $u| a.wrapping_mul(b)),
            row!(concat!("mul.hi", $unsigned), $binary, Integer, wide |a: $u, b: $u| {
                (($wide_u::from(a) * $wide_u::from(b)) >> $bits) as $u
            }),
            row!(concat!("mul.hi", $signed), $binary, Integer, wide |a: $s, b: $s| {
                (($wide_s::from(a) * $wide_s::from(b)) >> $bits) as $s
            }),
            row!(concat!("mad.lo", $both), $ternary, Integer, wide |a: $u, b: $u, c: $u| {
                a.wrapping_mul(b).wrapping_add(c)
            }),
            row!(concat!("mad.hi", $unsigned), $ternary, Integer, wide |a: $u, b: $u, c: $u| {
                ((($wide_u::from(a) * $wide_u::from(b)) >> $bits) as $u).wrapping_add(c)
            }),
            row!(concat!("mad.hi", $signed), $ternary, Integer, wide |a: $s, b: $s, c: $s| {
                ((($wide_s::from(a) * $wide_s::from(b)) >> $bits) as $s).wrapping_add(c)
            }),
            row!(concat!("sad", $unsigned), $ternary, Integer, wide |a: $u, b: $u, c: $u| {
                a.abs_diff(b).wrapping_add(c)
            }),
            row!(concat!("sad", $signed), $ternary, Integer, wide |a: $s, b: $s, c: $u| {
                a.abs_diff(b).wrapping_add(c)
            }),
            row!(
                concat!("div", $unsigned),
                $binary,
                Integer,
                function | r,
                i,
                m | { divide(r, i, m, |a: $u, b| a / b) }
            ),
            row!(
                concat!("div", $signed),
                $binary,
                Integer,
                function | r,
                i,
                m | { divide(r, i, m, |a: $s, b| a.wrapping_div(b)) }
            ),
            row!(
                concat!("rem", $unsigned),
                $binary,
                Integer,
                function | r,
                i,
                m | { divide(r, i, m, |a: $u, b| a % b) }
            ),
            row!(
                concat!("rem", $signed),
                $binary,
                Integer,
                function | r,
                i,
                m | { divide(r, i, m, |a: $s, b| a.wrapping_rem(b)) }
            ),
            row!(concat!("abs", $signed), $unary, Integer, wide |a: $s| a.wrapping_abs()),
            row!(concat!("neg", $signed), $unary, Integer, wide |a: $s| a.wrapping_neg()),
            row!(concat!("min", $unsigned), $binary, Integer, wide |a: $u, b: $u| a.min(b)),
            row!(concat!("max", $unsigned), $binary, Integer, wide |a: $u, b: $u| a.max(b)),
            row!(concat!("min", $signed), $binary, Integer, wide |a: $s, b: $s| a.min(b)),
            row!(concat!("max", $signed), $binary, Integer, wide |a: $s, b: $s| a.max(b)),
        ]
    };
}

/// The rows for 16 bits.
const WIDTH_16: &[TableRow] =
    widths!(u16, i16, u32, i32, 16, ".u16", ".s16", "(.u16|.s16)", "h=h", "h=hh", "h=hhh");
/// The rows for 32 bits.
const WIDTH_32: &[TableRow] =
    widths!(u32, i32, u64, i64, 32, ".u32", ".s32", "(.u32|.s32)", "r=r", "r=rr", "r=rrr");
/// The rows for 64 bits.
const WIDTH_64: &[TableRow] =
    widths!(u64, i64, u128, i128, 64, ".u64", ".s64", "(.u64|.s64)", "l=l", "l=ll", "l=lll");

/// What is not alike for all widths.
const OTHERS: &[TableRow] = &[
    row!("add.sat.s32", "r=rr", Integer, wide |a: i32, b: i32| a.saturating_add(b)),
    row!("sub.sat.s32", "r=rr", Integer, wide |a: i32, b: i32| a.saturating_sub(b)),
    row!("mul.wide.u16", "r=hh", Integer, wide |a: u16, b: u16| u32::from(a) * u32::from(b)),
    row!("mul.wide.s16", "r=hh", Integer, wide |a: i16, b: i16| i32::from(a) * i32::from(b)),
    row!("mul.wide.u32", "l=rr", Integer, wide |a: u32, b: u32| u64::from(a) * u64::from(b)),
    row!("mul.wide.s32", "l=rr", Integer, wide |a: i32, b: i32| i64::from(a) * i64::from(b)),
    row!("mad.wide.u16", "r=hhr", Integer, wide |a: u16, b: u16, c: u32| {
        (u32::from(a) * u32::from(b)).wrapping_add(c)
    }),
    row!("mad.wide.s16", "r=hhr", Integer, wide |a: i16, b: i16, c: i32| {
        (i32::from(a) * i32::from(b)).wrapping_add(c)
    }),
    row!("mad.wide.u32", "l=rrl", Integer, wide |a: u32, b: u32, c: u64| {
        (u64::from(a) * u64::from(b)).wrapping_add(c)
    }),
    row!("mad.wide.s32", "l=rrl", Integer, wide |a: i32, b: i32, c: i64| {
        (i64::from(a) * i64::from(b)).wrapping_add(c)
    }),
    row!("mad.hi.sat.s32", "r=rrr", Integer, wide |a: i32, b: i32, c: i32| {
        clamp(((i64::from(a) * i64::from(b)) >> 32) + i64::from(c))
    }),
    row!("mul24.lo.u32", "r=rr", Integer, wide |a: u32, b: u32| (u24(a) * u24(b)) as u32),
    row!("mul24.lo.s32", "r=rr", Integer, wide |a: u32, b: u32| (s24(a) * s24(b)) as u32),
    row!("mul24.hi.u32", "r=rr", Integer, wide |a: u32, b: u32| mul24_hi(u24(a), u24(b))),
    row!("mul24.hi.s32", "r=rr", Integer, wide |a: u32, b: u32| mul24_hi(s24(a), s24(b))),
    row!("mad24.lo.u32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        ((u24(a) * u24(b)) as u32).wrapping_add(c)
    }),
    row!("mad24.lo.s32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        ((s24(a) * s24(b)) as u32).wrapping_add(c)
    }),
    row!("mad24.hi.u32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        mul24_hi(u24(a), u24(b)).wrapping_add(c)
    }),
    row!("mad24.hi.s32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        mul24_hi(s24(a), s24(b)).wrapping_add(c)
    }),
    row!("mad24.hi.sat.s32", "r=rrr", Integer, wide |a: u32, b: u32, c: i32| {
        clamp(i64::from(mul24_hi(s24(a), s24(b)) as i32) + i64::from(c))
    }),
    row!("min.relu.s32", "r=rr", Integer, wide |a: i32, b: i32| a.min(b).max(0)),
    row!("max.relu.s32", "r=rr", Integer, wide |a: i32, b: i32| a.max(b).max(0)),
    row!("add(.u16x2|.s16x2)", "r=rr", Integer, wide |a: u32, b: u32| {
        halves([a, b], |[a, b]| a.wrapping_add(b))
    }),
    row!("min.u16x2", "r=rr", Integer, wide |a: u32, b: u32| halves([a, b], |[a, b]| a.min(b))),
    row!("max.u16x2", "r=rr", Integer, wide |a: u32, b: u32| halves([a, b], |[a, b]| a.max(b))),
    row!("min.s16x2", "r=rr", Integer, wide |a: u32, b: u32| {
        halves([a, b], |[a, b]| (a as i16).min(b as i16) as u16)
    }),
    row!("max.s16x2", "r=rr", Integer, wide |a: u32, b: u32| {
        halves([a, b], |[a, b]| (a as i16).max(b as i16) as u16)
    }),
    row!("min.relu.s16x2", "r=rr", Integer, wide |a: u32, b: u32| {
        halves([a, b], |[a, b]| (a as i16).min(b as i16).max(0) as u16)
    }),
    row!("max.relu.s16x2", "r=rr", Integer, wide |a: u32, b: u32| {
        halves([a, b], |[a, b]| (a as i16).max(b as i16).max(0) as u16)
    }),
    row!("dp4a.u32.u32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        dp4a::<false, false>(a, b, c)
    }),
    row!("dp4a.u32.s32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        dp4a::<false, true>(a, b, c)
    }),
    row!("dp4a.s32.u32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        dp4a::<true, false>(a, b, c)
    }),
    row!("dp4a.s32.s32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        dp4a::<true, true>(a, b, c)
    }),
    row!("dp2a.lo.u32.u32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        dp2a::<false, false>(a, b, c)
    }),
    row!("dp2a.lo.u32.s32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        dp2a::<false, true>(a, b, c)
    }),
    row!("dp2a.lo.s32.u32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        dp2a::<true, false>(a, b, c)
    }),
    row!("dp2a.lo.s32.s32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        dp2a::<true, true>(a, b, c)
    }),
    row!("dp2a.hi.u32.u32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        dp2a::<false, false>(a, b >> 16, c)
    }),
    row!("dp2a.hi.u32.s32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        dp2a::<false, true>(a, b >> 16, c)
    }),
    row!("dp2a.hi.s32.u32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        dp2a::<true, false>(a, b >> 16, c)
    }),
    row!("dp2a.hi.s32.s32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        dp2a::<true, true>(a, b >> 16, c)
    }),
];

/// Sums and differences with a carry, for one type.
macro_rules! carry {
    ($sum:ident, $difference:ident, $type:ident) => {
        /// `a + b + carry`, and the carry out.
        #[inline(always)]
        fn $sum(a: $type, b: $type, carry: bool) -> ($type, bool) {
            let (sum, first) = a.overflowing_add(b);
            let (sum, second) = sum.overflowing_add($type::from(carry));
            (sum, first | second)
        }
        /// `a - b - borrow`, and the borrow out.
        #[inline(always)]
        fn $difference(a: $type, b: $type, borrow: bool) -> ($type, bool) {
            let (rest, first) = a.overflowing_sub(b);
            let (rest, second) = rest.overflowing_sub($type::from(borrow));
            (rest, first | second)
        }
    };
}
carry!(sum_32, difference_32, u32);
carry!(sum_64, difference_64, u64);

/// Carry chains of one width. The flag of a subtraction is its borrow: `subc` subtracts it.
macro_rules! carries {
    ($u:ident, $s:ident, $wide_u:ident, $wide_s:ident, $bits:literal, $sum:ident,
     $difference:ident, $unsigned:literal, $signed:literal, $both:literal, $two:literal,
     $three:literal) => {{
        #[inline(always)]
        fn upper(a: $u, b: $u) -> $u {
            (($wide_u::from(a) * $wide_u::from(b)) >> $bits) as $u
        }
        #[inline(always)]
        fn upper_signed(a: $u, b: $u) -> $u {
            (($wide_s::from(a as $s) * $wide_s::from(b as $s)) >> $bits) as $u
        }
        &[
            row!(
                concat!("add.cc", $both),
                $two,
                Integer,
                function | r,
                i,
                m | { carrying::<$u, true>(r, i, m, |[a, b, _], _| $sum(a, b, false)) }
            ),
            row!(
                concat!("addc", $both),
                $two,
                Integer,
                function | r,
                i,
                m | { carrying::<$u, false>(r, i, m, |[a, b, _], carry| $sum(a, b, carry)) }
            ),
            row!(
                concat!("addc.cc", $both),
                $two,
                Integer,
                function | r,
                i,
                m | { carrying::<$u, true>(r, i, m, |[a, b, _], carry| $sum(a, b, carry)) }
            ),
            row!(
                concat!("sub.cc", $both),
                $two,
                Integer,
                function | r,
                i,
                m | { carrying::<$u, true>(r, i, m, |[a, b, _], _| $difference(a, b, false)) }
            ),
            row!(
                concat!("subc", $both),
                $two,
                Integer,
                function | r,
                i,
                m | {
                    carrying::<$u, false>(r, i, m, |[a, b, _], borrow| $difference(a, b, borrow))
                }
            ),
            row!(
                concat!("subc.cc", $both),
                $two,
                Integer,
                function | r,
                i,
                m | {
                    carrying::<$u, true>(r, i, m, |[a, b, _], borrow| $difference(a, b, borrow))
                }
            ),
            row!(
                concat!("mad.lo.cc", $both),
                $three,
                Integer,
                function | r,
                i,
                m | {
                    carrying::<$u, true>(r, i, m, |[a, b, c], _| $sum(a.wrapping_mul(b), c, false))
                }
            ),
            row!(
                concat!("mad.hi.cc", $unsigned),
                $three,
                Integer,
                function | r,
                i,
                m | { carrying::<$u, true>(r, i, m, |[a, b, c], _| $sum(upper(a, b), c, false)) }
            ),
            row!(
                concat!("mad.hi.cc", $signed),
                $three,
                Integer,
                function | r,
                i,
                m | {
                    carrying::<$u, true>(r, i, m, |[a, b, c], _| $sum(upper_signed(a, b), c, false))
                }
            ),
            row!(
                concat!("madc.lo", $both),
                $three,
                Integer,
                function | r,
                i,
                m | {
                    carrying::<$u, false>(r, i, m, |[a, b, c], cf| $sum(a.wrapping_mul(b), c, cf))
                }
            ),
            row!(
                concat!("madc.lo.cc", $both),
                $three,
                Integer,
                function | r,
                i,
                m | {
                    carrying::<$u, true>(r, i, m, |[a, b, c], cf| $sum(a.wrapping_mul(b), c, cf))
                }
            ),
            row!(
                concat!("madc.hi", $unsigned),
                $three,
                Integer,
                function | r,
                i,
                m | {
                    carrying::<$u, false>(r, i, m, |[a, b, c], carry| $sum(upper(a, b), c, carry))
                }
            ),
            row!(
                concat!("madc.hi.cc", $unsigned),
                $three,
                Integer,
                function | r,
                i,
                m | {
                    carrying::<$u, true>(r, i, m, |[a, b, c], carry| $sum(upper(a, b), c, carry))
                }
            ),
            row!(
                concat!("madc.hi", $signed),
                $three,
                Integer,
                function | r,
                i,
                m | {
                    carrying::<$u, false>(r, i, m, |[a, b, c], cf| $sum(upper_signed(a, b), c, cf))
                }
            ),
            row!(
                concat!("madc.hi.cc", $signed),
                $three,
                Integer,
                function | r,
                i,
                m | {
                    carrying::<$u, true>(r, i, m, |[a, b, c], cf| $sum(upper_signed(a, b), c, cf))
                }
            ),
        ]
    }};
}

/// Carry chains of 32 bits.
const CARRY_32: &[TableRow] = carries!(
    u32,
    i32,
    u64,
    i64,
    32,
    sum_32,
    difference_32,
    ".u32",
    ".s32",
    "(.u32|.s32)",
    "r=rr",
    "r=rrr"
);
/// Carry chains of 64 bits.
const CARRY_64: &[TableRow] = carries!(
    u64,
    i64,
    u128,
    i128,
    64,
    sum_64,
    difference_64,
    ".u64",
    ".s64",
    "(.u64|.s64)",
    "l=ll",
    "l=lll"
);

/// Integer arithmetic.
pub const ROWS: &[&[TableRow]] = &[OTHERS, WIDTH_16, WIDTH_32, WIDTH_64, CARRY_32, CARRY_64];
