//! `cvt` to and from packed formats: two halves, two fp8 numbers, tf32, and `cvt.pack` (PTX ISA,
//! "cvt" and "cvt.pack").
//!
//! Of two sources the first becomes the upper half of the result.

use super::exact;
use super::formats::{self, BF16, E4M3, E5M2, F16, F32, Format, Rounding};
use super::rows::row;
use crate::isa::TableRow;

/// One element of a packed result: `RELU` makes zeros of negative numbers, `FINITE` is
/// `.satfinite`.
#[inline(always)]
fn element<const RELU: bool, const FINITE: bool>(
    from: Format,
    bits: u64,
    to: Format,
    rounding: Rounding,
) -> u32 {
    let result = match (from, to) {
        (F32, F16) if !FINITE => {
            u64::from(formats::f32_to_f16(f32::from_bits(bits as u32), rounding))
        }
        (F32, BF16) if !FINITE => {
            u64::from(formats::f32_to_bf16(f32::from_bits(bits as u32), rounding))
        }
        _ if FINITE => formats::convert_finite(from, bits, to, rounding),
        _ => formats::convert(from, bits, to, rounding),
    };
    // NaN results are positive, so what is negative is a number.
    if RELU && result & to.sign() != 0 { 0 } else { result as u32 }
}

/// Two f32 to two halves.
#[inline(always)]
fn pair<const RELU: bool, const FINITE: bool>(a: u32, b: u32, to: Format, rounding: u8) -> u32 {
    let rounding = exact::rounding(rounding);
    let half = |x: u32| element::<RELU, FINITE>(F32, u64::from(x), to, rounding);
    // Not `map` over an array, which the compiler makes no vectors of; so too below.
    let (high, low) = (half(a), half(b));
    high << 16 | low
}

/// The rows of one packed type.
macro_rules! pairs {
    ($type:literal, $format:ident) => {
        &[
            row!(concat!("cvt.rn", $type, ".f32"), "r=rr", Convert, wide |a: u32, b: u32| {
                pair::<false, false>(a, b, $format, 0)
            }),
            row!(concat!("cvt.rz", $type, ".f32"), "r=rr", Convert, |a: u32, b: u32| {
                pair::<false, false>(a, b, $format, 1)
            }),
            row!(concat!("cvt.rn.relu", $type, ".f32"), "r=rr", Convert, wide |a: u32, b: u32| {
                pair::<true, false>(a, b, $format, 0)
            }),
            row!(concat!("cvt.rz.relu", $type, ".f32"), "r=rr", Convert, |a: u32, b: u32| {
                pair::<true, false>(a, b, $format, 1)
            }),
            row!(concat!("cvt.rn.satfinite", $type, ".f32"), "r=rr", Convert, |a: u32, b: u32| {
                pair::<false, true>(a, b, $format, 0)
            }),
            row!(concat!("cvt.rz.satfinite", $type, ".f32"), "r=rr", Convert, |a: u32, b: u32| {
                pair::<false, true>(a, b, $format, 1)
            }),
            row!(
                concat!("cvt.rn.relu.satfinite", $type, ".f32"),
                "r=rr",
                Convert,
                |a: u32, b: u32| pair::<true, true>(a, b, $format, 0)
            ),
            row!(
                concat!("cvt.rz.relu.satfinite", $type, ".f32"),
                "r=rr",
                Convert,
                |a: u32, b: u32| pair::<true, true>(a, b, $format, 1)
            ),
        ]
    };
}

/// f16x2
const F16X2: &[TableRow] = pairs!(".f16x2", F16);
/// bf16x2
const BF16X2: &[TableRow] = pairs!(".bf16x2", BF16);

/// `.relu`: NaN results are positive, so what is negative is a number.
#[inline(always)]
fn relu8<const RELU: bool>(x: u8) -> u16 {
    u16::from(if RELU && x & 0x80 != 0 { 0 } else { x })
}

/// One f32 to fp8.
#[inline(always)]
fn fp8_element<const RELU: bool>(x: f32, to: Format) -> u16 {
    relu8::<RELU>(if to == E4M3 {
        formats::f32_to_e4m3_satfinite(x)
    } else {
        formats::f32_to_e5m2_satfinite(x)
    })
}

/// Two f32 to two fp8 numbers in 16 bits.
#[inline(always)]
fn fp8<const RELU: bool>(a: u32, b: u32, to: Format) -> u16 {
    let byte = |x: u32| fp8_element::<RELU>(f32::from_bits(x), to);
    let (high, low) = (byte(a), byte(b));
    high << 8 | low
}

/// Two halves to two fp8 numbers.
#[inline(always)]
fn fp8_of_halves<const RELU: bool>(a: u32, to: Format) -> u16 {
    let byte = |x: u32| fp8_element::<RELU>(formats::f16_to_f32(x as u16), to);
    let (high, low) = (byte(a >> 16), byte(a));
    high << 8 | low
}

/// Two fp8 numbers to two halves, exactly: an f32 holds both.
#[inline(always)]
fn halves_of_fp8<const RELU: bool>(a: u16, from: Format) -> u32 {
    let half = |x: u16| {
        let x = x as u8;
        let wide = if from == E4M3 { formats::e4m3_to_f32(x) } else { formats::e5m2_to_f32(x) };
        let half = formats::f32_to_f16(wide, Rounding::NearestEven);
        u32::from(if RELU && half & 0x8000 != 0 { 0 } else { half })
    };
    let (high, low) = (half(a >> 8), half(a));
    high << 16 | low
}

/// An f32 to tf32: all is in place, and there is nothing to do but to round.
#[inline(always)]
fn tf32<const RELU: bool, const FINITE: bool>(a: u32, rounding: Rounding) -> u32 {
    const CUT: u32 = 0x1fff;
    let magnitude = a & 0x7fff_ffff;
    let growth = match rounding {
        Rounding::NearestAway => 0x1000,
        Rounding::NearestEven => 0xfff + (magnitude >> 13 & 1),
        _ => 0,
    };
    let rounded = (magnitude + growth) & !CUT;
    let size = if FINITE { rounded.min(0x7f7f_ffff & !CUT) } else { rounded };
    let number = if RELU && a >> 31 != 0 { 0 } else { size | (a & 0x8000_0000) };
    if magnitude > 0x7f80_0000 { 0x7fff_ffff } else { number }
}

/// fp8 and tf32.
const SMALL: &[TableRow] = &[
    row!("cvt.rn.satfinite.e4m3x2.f32", "h=rr", Convert, wide |a: u32, b: u32| {
        fp8::<false>(a, b, E4M3)
    }),
    row!("cvt.rn.satfinite.relu.e4m3x2.f32", "h=rr", Convert, wide |a: u32, b: u32| {
        fp8::<true>(a, b, E4M3)
    }),
    row!("cvt.rn.satfinite.e5m2x2.f32", "h=rr", Convert, wide |a: u32, b: u32| {
        fp8::<false>(a, b, E5M2)
    }),
    row!("cvt.rn.satfinite.relu.e5m2x2.f32", "h=rr", Convert, wide |a: u32, b: u32| {
        fp8::<true>(a, b, E5M2)
    }),
    row!("cvt.rn.satfinite.e4m3x2.f16x2", "h=r", Convert, wide |a: u32| {
        fp8_of_halves::<false>(a, E4M3)
    }),
    row!("cvt.rn.satfinite.relu.e4m3x2.f16x2", "h=r", Convert, wide |a: u32| {
        fp8_of_halves::<true>(a, E4M3)
    }),
    row!("cvt.rn.satfinite.e5m2x2.f16x2", "h=r", Convert, wide |a: u32| {
        fp8_of_halves::<false>(a, E5M2)
    }),
    row!("cvt.rn.satfinite.relu.e5m2x2.f16x2", "h=r", Convert, wide |a: u32| {
        fp8_of_halves::<true>(a, E5M2)
    }),
    row!("cvt.rn.f16x2.e4m3x2", "r=h", Convert, wide |a: u16| halves_of_fp8::<false>(a, E4M3)),
    row!("cvt.rn.relu.f16x2.e4m3x2", "r=h", Convert, wide |a: u16| halves_of_fp8::<true>(a, E4M3)),
    row!("cvt.rn.f16x2.e5m2x2", "r=h", Convert, wide |a: u16| halves_of_fp8::<false>(a, E5M2)),
    row!("cvt.rn.relu.f16x2.e5m2x2", "r=h", Convert, wide |a: u16| halves_of_fp8::<true>(a, E5M2)),
    row!("cvt.rna.tf32.f32", "r=r", Convert, wide |a: u32| {
        tf32::<false, false>(a, Rounding::NearestAway)
    }),
    row!("cvt.rna.satfinite.tf32.f32", "r=r", Convert, wide |a: u32| {
        tf32::<false, true>(a, Rounding::NearestAway)
    }),
    row!("cvt.rn.tf32.f32", "r=r", Convert, wide |a: u32| {
        tf32::<false, false>(a, Rounding::NearestEven)
    }),
    row!("cvt.rn.relu.tf32.f32", "r=r", Convert, wide |a: u32| {
        tf32::<true, false>(a, Rounding::NearestEven)
    }),
    row!("cvt.rz.tf32.f32", "r=r", Convert, wide |a: u32| tf32::<false, false>(a, Rounding::Zero)),
    row!("cvt.rz.relu.tf32.f32", "r=r", Convert, wide |a: u32| {
        tf32::<true, false>(a, Rounding::Zero)
    }),
];

/// Two numbers of `BITS` bits below the low bits of `c`; `a` is the upper one.
#[inline(always)]
fn pack<const BITS: u32, const MIN: i32, const MAX: i32>(a: i32, b: i32, c: u32) -> u32 {
    let [a, b] = [a, b].map(|x| x.clamp(MIN, MAX) as u32 & ((1 << BITS) - 1));
    let above = if BITS == 16 { 0 } else { c << (2 * BITS) };
    above | a << BITS | b
}

/// `cvt.pack`
const PACK: &[TableRow] = &[
    row!("cvt.pack.sat.u16.s32", "r=rr", Convert, |a: i32, b: i32| pack::<16, 0, 0xffff>(a, b, 0)),
    row!("cvt.pack.sat.s16.s32", "r=rr", Convert, |a: i32, b: i32| {
        pack::<16, -0x8000, 0x7fff>(a, b, 0)
    }),
    row!("cvt.pack.sat.u8.s32.b32", "r=rrr", Convert, |a: i32, b: i32, c: u32| {
        pack::<8, 0, 0xff>(a, b, c)
    }),
    row!("cvt.pack.sat.s8.s32.b32", "r=rrr", Convert, |a: i32, b: i32, c: u32| {
        pack::<8, -0x80, 0x7f>(a, b, c)
    }),
    row!("cvt.pack.sat.u4.s32.b32", "r=rrr", Convert, |a: i32, b: i32, c: u32| {
        pack::<4, 0, 0xf>(a, b, c)
    }),
    row!("cvt.pack.sat.s4.s32.b32", "r=rrr", Convert, |a: i32, b: i32, c: u32| {
        pack::<4, -8, 7>(a, b, c)
    }),
    row!("cvt.pack.sat.u2.s32.b32", "r=rrr", Convert, |a: i32, b: i32, c: u32| {
        pack::<2, 0, 3>(a, b, c)
    }),
    row!("cvt.pack.sat.s2.s32.b32", "r=rrr", Convert, |a: i32, b: i32, c: u32| {
        pack::<2, -2, 1>(a, b, c)
    }),
];

/// Conversions of packed and small formats.
pub const ROWS: &[&[TableRow]] = &[F16X2, BF16X2, SMALL, PACK];
