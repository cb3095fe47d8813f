//! `cvt` between scalar types (PTX ISA, "cvt"): integers among each other, and to and from f16,
//! bf16, f32 and f64. The packed and small formats are in [`super::convert_packed`].
//!
//! Eight-bit types lie in registers of 16 or 32 bits; a signed result is extended through all of
//! the row, which nobody can see in a 16-bit register.

use super::exact::{self, narrow};
use super::float32;
use super::formats::{self, Number};
use super::rows::{Brain, Dest, Float, Half, Lane, row};
use crate::isa::{Inst, Registers, TableRow};

/// An integer type.
trait Int: Copy + Lane + Dest {
    const MIN: i128;
    const MAX: i128;
    const BITS: u32;
    fn to_i64(self) -> i64;
    /// As wide as needed: the bits of a u64 above the range of an i64 too.
    fn exact(self) -> i128;
    fn wrap(bits: i64) -> Self;
    fn from_f64(x: f64) -> Self;
    fn to_f32(self) -> f32;
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

/// Integer to integer: the low bits, or with `SAT` the nearest that fits.
fn int_to_int<S: Int, D: Int, const SAT: bool>(r: &mut Registers, i: &Inst, mask: u32) {
    super::rows::unary(r, i, mask, |x: S| {
        if SAT { D::wrap(x.exact().clamp(D::MIN, D::MAX) as i64) } else { D::wrap(x.to_i64()) }
    });
}

/// Float to integer, in the integer roundings `.rni`, `.rzi`, `.rmi` and `.rpi` by `R`. What is
/// out of range becomes the nearest that is not. A NaN becomes zero, but where the source is f64
/// or the result has 64 bits, the number with only the highest bit set (PTX ISA, "cvt", and the
/// CUDA Math API: `__half2ll_rz(NaN)` is 0x8000000000000000, `__half2int_rz(NaN)` is 0).
fn float_to_int<S: Float + Lane, D: Int, const R: u8, const FTZ: bool>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
) {
    super::rows::unary(r, i, mask, |x: S| {
        let x = flushed::<S, FTZ>(x).wide();
        let high_bit = S::FORMAT.exponent == 11 || D::BITS == 64;
        if high_bit && x.is_nan() {
            D::wrap(1 << (D::BITS - 1))
        } else {
            D::from_f64(whole::<R>(x))
        }
    });
}

/// The whole number that `R` asks for.
#[inline(always)]
fn whole<const R: u8>(x: f64) -> f64 {
    match R {
        0 => x.round_ties_even(),
        1 => x.trunc(),
        2 => x.floor(),
        _ => x.ceil(),
    }
}

/// The operand; a subnormal f32 becomes a zero if `FTZ`. Other types have no such modifier.
#[inline(always)]
fn flushed<S: Float, const FTZ: bool>(x: S) -> S {
    if FTZ && S::FORMAT == formats::F32 {
        let x = f32::from_bits(x.raw() as u32);
        S::from_raw(u64::from(float32::flush::<true>(x).to_bits()))
    } else {
        x
    }
}

/// `.sat` and `.relu` of a result, and the one NaN.
#[inline(always)]
fn finish<D: Float, const SAT: bool, const RELU: bool>(bits: u64) -> D {
    let magnitude = bits & (D::FORMAT.sign() - 1);
    let negative = bits & D::FORMAT.sign() != 0;
    let nan = magnitude > D::FORMAT.infinity();
    let one = (D::FORMAT.bias() as u64) << D::FORMAT.fraction;
    D::from_raw(if nan {
        if SAT { 0 } else { D::FORMAT.nan() }
    } else if (SAT || RELU) && negative {
        0
    } else if SAT {
        bits.min(one)
    } else {
        bits
    })
}

/// Integer to float.
fn int_to_float<S: Int, D: Float + Dest, const R: u8, const SAT: bool>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
) {
    super::rows::unary(r, i, mask, |x: S| -> D {
        let bits = match (R, D::FORMAT) {
            (0, formats::F32) => u64::from(x.to_f32().to_bits()),
            (0, formats::F64) => x.to_f64().to_bits(),
            _ => {
                let exact = x.exact();
                let negative = exact < 0;
                let number = Number { negative, significand: exact.unsigned_abs(), exponent: 0 };
                formats::round_to(D::FORMAT, number, exact::rounding(R))
            }
        };
        finish::<D, SAT, false>(bits)
    });
}

/// Float to float of another format. `FTZ` holds for f32 on either side.
fn float_to_float<
    S: Float + Lane,
    D: Float + Dest,
    const R: u8,
    const FTZ: bool,
    const SAT: bool,
    const RELU: bool,
>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
) {
    super::rows::unary(r, i, mask, |x: S| -> D {
        let x = flushed::<S, FTZ>(x);
        let single = f32::from_bits(x.raw() as u32);
        let bits = match (S::FORMAT, D::FORMAT) {
            (formats::F32, formats::F16) => {
                u64::from(formats::f32_to_f16(single, exact::rounding(R)))
            }
            (formats::F32, formats::BF16) => {
                u64::from(formats::f32_to_bf16(single, exact::rounding(R)))
            }
            (_, formats::F64) => x.wide().to_bits(),
            (formats::F16 | formats::BF16, formats::F32) => u64::from((x.wide() as f32).to_bits()),
            _ => narrow(D::FORMAT, x.wide(), exact::rounding(R)),
        };
        flushed::<D, FTZ>(finish::<D, SAT, RELU>(bits))
    });
}

/// Float to a whole number of the same format, in the integer roundings.
fn float_to_whole<S: Float + Lane + Dest, const R: u8, const FTZ: bool, const SAT: bool>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
) {
    super::rows::unary(r, i, mask, |x: S| -> S {
        let x = whole::<R>(flushed::<S, FTZ>(x).wide());
        finish::<S, SAT, false>(formats::convert(
            formats::F64,
            x.to_bits(),
            S::FORMAT,
            formats::Rounding::NearestEven,
        ))
    });
}

/// Float to the same format with nothing to round: only the modifiers.
fn float_to_same<S: Float + Lane + Dest, const FTZ: bool, const SAT: bool>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
) {
    super::rows::unary(r, i, mask, |x: S| -> S {
        finish::<S, SAT, false>(flushed::<S, FTZ>(x).raw())
    });
}

/// The rows from one integer type to all integers. `.sat` is PTX only where it can make a
/// difference: those types stand in the second list.
macro_rules! to_ints {
    ($S:ident, $s:literal, $letter:literal, [$($D:ident $d:literal)*]) => {
        &[
            row!(concat!("cvt.u8", $s), concat!("h=", $letter), Convert,
                function int_to_int::<$S, u8, false>),
            row!(concat!("cvt.s8", $s), concat!("h=", $letter), Convert,
                function int_to_int::<$S, i8, false>),
            row!(concat!("cvt.u16", $s), concat!("h=", $letter), Convert,
                function int_to_int::<$S, u16, false>),
            row!(concat!("cvt.s16", $s), concat!("h=", $letter), Convert,
                function int_to_int::<$S, i16, false>),
            row!(concat!("cvt.u32", $s), concat!("r=", $letter), Convert,
                function int_to_int::<$S, u32, false>),
            row!(concat!("cvt.s32", $s), concat!("r=", $letter), Convert,
                function int_to_int::<$S, i32, false>),
            row!(concat!("cvt.u64", $s), concat!("l=", $letter), Convert,
                function int_to_int::<$S, u64, false>),
            row!(concat!("cvt.s64", $s), concat!("l=", $letter), Convert,
                function int_to_int::<$S, i64, false>),
            $(row!(concat!("cvt.sat.", $d, $s), concat!(letter!($D), "=", $letter), Convert,
                function int_to_int::<$S, $D, true>),)*
        ]
    };
}

/// The letter of an integer's register.
macro_rules! letter {
    (u8) => {
        "h"
    };
    (i8) => {
        "h"
    };
    (u16) => {
        "h"
    };
    (i16) => {
        "h"
    };
    (u32) => {
        "r"
    };
    (i32) => {
        "r"
    };
    (u64) => {
        "l"
    };
    (i64) => {
        "l"
    };
}

/// u8 to integers
const U8_INT: &[TableRow] = to_ints!(u8, ".u8", "h", [i8 "s8"]);
/// s8 to integers
const S8_INT: &[TableRow] = to_ints!(i8, ".s8", "h", [u8 "u8" u16 "u16" u32 "u32" u64 "u64"]);
/// u16 to integers
const U16_INT: &[TableRow] = to_ints!(u16, ".u16", "h", [u8 "u8" i8 "s8" i16 "s16"]);
/// s16 to integers
const S16_INT: &[TableRow] =
    to_ints!(i16, ".s16", "h", [u8 "u8" i8 "s8" u16 "u16" u32 "u32" u64 "u64"]);
/// u32 to integers
const U32_INT: &[TableRow] =
    to_ints!(u32, ".u32", "r", [u8 "u8" i8 "s8" u16 "u16" i16 "s16" i32 "s32"]);
/// s32 to integers
const S32_INT: &[TableRow] =
    to_ints!(i32, ".s32", "r", [u8 "u8" i8 "s8" u16 "u16" i16 "s16" u32 "u32" u64 "u64"]);
/// u64 to integers
const U64_INT: &[TableRow] = to_ints!(u64, ".u64", "l",
    [u8 "u8" i8 "s8" u16 "u16" i16 "s16" u32 "u32" i32 "s32" i64 "s64"]);
/// s64 to integers
const S64_INT: &[TableRow] = to_ints!(i64, ".s64", "l",
    [u8 "u8" i8 "s8" u16 "u16" i16 "s16" u32 "u32" i32 "s32" u64 "u64"]);

/// The rows from one integer type to floats.
macro_rules! to_floats {
    ($S:ident, $s:literal, $letter:literal, [$($D:ident $d:literal $to:literal)*]) => {
        &[$(
            row!(concat!("cvt.rn", $d, $s), concat!($to, $letter), Convert,
                function int_to_float::<$S, $D, 0, false>),
            row!(concat!("cvt.rz", $d, $s), concat!($to, $letter), Convert,
                function int_to_float::<$S, $D, 1, false>),
            row!(concat!("cvt.rm", $d, $s), concat!($to, $letter), Convert,
                function int_to_float::<$S, $D, 2, false>),
            row!(concat!("cvt.rp", $d, $s), concat!($to, $letter), Convert,
                function int_to_float::<$S, $D, 3, false>),
        )*
            row!(concat!("cvt.rn.sat.f32", $s), concat!("r=", $letter), Convert,
                function int_to_float::<$S, f32, 0, true>),
        ]
    };
    (narrow $S:ident, $s:literal) => {
        to_floats!($S, $s, "h", [Half ".f16" "h=" f32 ".f32" "r=" f64 ".f64" "l="])
    };
    ($S:ident, $s:literal, $letter:literal) => {
        to_floats!($S, $s, $letter,
            [Half ".f16" "h=" Brain ".bf16" "h=" f32 ".f32" "r=" f64 ".f64" "l="])
    };
}

/// u8 to floats
const U8_FLOAT: &[TableRow] = to_floats!(narrow u8, ".u8");
/// s8 to floats
const S8_FLOAT: &[TableRow] = to_floats!(narrow i8, ".s8");
/// u16 to floats
const U16_FLOAT: &[TableRow] = to_floats!(u16, ".u16", "h");
/// s16 to floats
const S16_FLOAT: &[TableRow] = to_floats!(i16, ".s16", "h");
/// u32 to floats
const U32_FLOAT: &[TableRow] = to_floats!(u32, ".u32", "r");
/// s32 to floats
const S32_FLOAT: &[TableRow] = to_floats!(i32, ".s32", "r");
/// u64 to floats
const U64_FLOAT: &[TableRow] = to_floats!(u64, ".u64", "l");
/// s64 to floats
const S64_FLOAT: &[TableRow] = to_floats!(i64, ".s64", "l");

/// The rows from one float type to integers. Saturation is how it is done anyway, so `.sat`
/// changes nothing.
macro_rules! from_float {
    ($S:ident, $s:literal, $letter:literal, $mods:literal, $ftz:literal,
     [$($D:ident $d:literal)*]) => {
        &[$(
            row!(concat!("cvt.rni", $mods, ".", $d, $s), concat!(letter!($D), "=", $letter),
                Convert, function float_to_int::<$S, $D, 0, $ftz>),
            row!(concat!("cvt.rzi", $mods, ".", $d, $s), concat!(letter!($D), "=", $letter),
                Convert, function float_to_int::<$S, $D, 1, $ftz>),
            row!(concat!("cvt.rmi", $mods, ".", $d, $s), concat!(letter!($D), "=", $letter),
                Convert, function float_to_int::<$S, $D, 2, $ftz>),
            row!(concat!("cvt.rpi", $mods, ".", $d, $s), concat!(letter!($D), "=", $letter),
                Convert, function float_to_int::<$S, $D, 3, $ftz>),
        )*]
    };
    ($S:ident, $s:literal, $letter:literal, $mods:literal, $ftz:literal) => {
        from_float!($S, $s, $letter, $mods, $ftz,
            [u8 "u8" i8 "s8" u16 "u16" i16 "s16" u32 "u32" i32 "s32" u64 "u64" i64 "s64"])
    };
}

/// f16 to integers
const F16_INT: &[TableRow] = from_float!(Half, ".f16", "h", "{.sat}", false);
/// bf16 to integers, of which PTX has fewer forms
const BF16_INT: &[TableRow] = from_float!(Brain, ".bf16", "h", "", false,
    [u16 "u16" i16 "s16" u32 "u32" i32 "s32" u64 "u64" i64 "s64"]);
/// f32 to integers
const F32_INT: &[TableRow] = from_float!(f32, ".f32", "r", "{.sat}", false);
/// f32 to integers with `.ftz`
const F32_INT_FTZ: &[TableRow] = from_float!(f32, ".f32", "r", ".ftz{.sat}", true);
/// f64 to integers
const F64_INT: &[TableRow] = from_float!(f64, ".f64", "l", "{.sat}", false);

/// From one float format to another that holds all its numbers.
macro_rules! widening {
    ($S:ident $s:literal, $D:ident $d:literal, $letters:literal) => {
        &[
            row!(concat!("cvt", $d, $s), $letters, Convert,
                function float_to_float::<$S, $D, 0, false, false, false>),
            row!(concat!("cvt.sat", $d, $s), $letters, Convert,
                function float_to_float::<$S, $D, 0, false, true, false>),
            row!(concat!("cvt.ftz", $d, $s), $letters, Convert,
                function float_to_float::<$S, $D, 0, true, false, false>),
            row!(concat!("cvt.ftz.sat", $d, $s), $letters, Convert,
                function float_to_float::<$S, $D, 0, true, true, false>),
        ]
    };
}

/// f16 to f32.
const F16_F32: &[TableRow] = widening!(Half ".f16", f32 ".f32", "r=h");
/// f32 to f64.
const F32_F64: &[TableRow] = widening!(f32 ".f32", f64 ".f64", "l=r");

/// From one float format to another that does not, with `.sat` or without.
macro_rules! narrowing {
    ($S:ident $s:literal, $D:ident $d:literal, $letters:literal, $ftz:literal $is_ftz:literal) => {
        &[
            row!(concat!("cvt.rn", $ftz, $d, $s), $letters, Convert,
                function float_to_float::<$S, $D, 0, $is_ftz, false, false>),
            row!(concat!("cvt.rz", $ftz, $d, $s), $letters, Convert,
                function float_to_float::<$S, $D, 1, $is_ftz, false, false>),
            row!(concat!("cvt.rm", $ftz, $d, $s), $letters, Convert,
                function float_to_float::<$S, $D, 2, $is_ftz, false, false>),
            row!(concat!("cvt.rp", $ftz, $d, $s), $letters, Convert,
                function float_to_float::<$S, $D, 3, $is_ftz, false, false>),
            row!(concat!("cvt.rn", $ftz, ".sat", $d, $s), $letters, Convert,
                function float_to_float::<$S, $D, 0, $is_ftz, true, false>),
            row!(concat!("cvt.rz", $ftz, ".sat", $d, $s), $letters, Convert,
                function float_to_float::<$S, $D, 1, $is_ftz, true, false>),
            row!(concat!("cvt.rm", $ftz, ".sat", $d, $s), $letters, Convert,
                function float_to_float::<$S, $D, 2, $is_ftz, true, false>),
            row!(concat!("cvt.rp", $ftz, ".sat", $d, $s), $letters, Convert,
                function float_to_float::<$S, $D, 3, $is_ftz, true, false>),
        ]
    };
}

/// f32 to f16.
const F32_F16: &[TableRow] = narrowing!(f32 ".f32", Half ".f16", "h=r", "" false);
/// f32 to f16 with `.ftz`.
const F32_F16_FTZ: &[TableRow] = narrowing!(f32 ".f32", Half ".f16", "h=r", ".ftz" true);
/// f64 to f16.
const F64_F16: &[TableRow] = narrowing!(f64 ".f64", Half ".f16", "h=l", "" false);
/// f64 to f32.
const F64_F32: &[TableRow] = narrowing!(f64 ".f64", f32 ".f32", "r=l", "" false);
/// f64 to f32 with `.ftz`.
const F64_F32_FTZ: &[TableRow] = narrowing!(f64 ".f64", f32 ".f32", "r=l", ".ftz" true);

/// To whole numbers of the same format.
macro_rules! wholes {
    ($S:ident, $s:literal, $letters:literal, $ftz:literal, $is_ftz:literal) => {
        &[
            row!(concat!("cvt.rni", $ftz, $s, $s), $letters, Convert,
                function float_to_whole::<$S, 0, $is_ftz, false>),
            row!(concat!("cvt.rzi", $ftz, $s, $s), $letters, Convert,
                function float_to_whole::<$S, 1, $is_ftz, false>),
            row!(concat!("cvt.rmi", $ftz, $s, $s), $letters, Convert,
                function float_to_whole::<$S, 2, $is_ftz, false>),
            row!(concat!("cvt.rpi", $ftz, $s, $s), $letters, Convert,
                function float_to_whole::<$S, 3, $is_ftz, false>),
            row!(concat!("cvt.rni", $ftz, ".sat", $s, $s), $letters, Convert,
                function float_to_whole::<$S, 0, $is_ftz, true>),
            row!(concat!("cvt.rzi", $ftz, ".sat", $s, $s), $letters, Convert,
                function float_to_whole::<$S, 1, $is_ftz, true>),
            row!(concat!("cvt.rmi", $ftz, ".sat", $s, $s), $letters, Convert,
                function float_to_whole::<$S, 2, $is_ftz, true>),
            row!(concat!("cvt.rpi", $ftz, ".sat", $s, $s), $letters, Convert,
                function float_to_whole::<$S, 3, $is_ftz, true>),
            row!(concat!("cvt", $ftz, $s, $s), $letters, Convert,
                function float_to_same::<$S, $is_ftz, false>),
            row!(concat!("cvt", $ftz, ".sat", $s, $s), $letters, Convert,
                function float_to_same::<$S, $is_ftz, true>),
        ]
    };
}

/// f16
const WHOLE_F16: &[TableRow] = wholes!(Half, ".f16", "h=h", "", false);
/// bf16, of which PTX has fewer forms
const WHOLE_BF16: &[TableRow] = &[
    row!("cvt.rni.bf16.bf16", "h=h", Convert, function float_to_whole::<Brain, 0, false, false>),
    row!("cvt.rzi.bf16.bf16", "h=h", Convert, function float_to_whole::<Brain, 1, false, false>),
    row!("cvt.rmi.bf16.bf16", "h=h", Convert, function float_to_whole::<Brain, 2, false, false>),
    row!("cvt.rpi.bf16.bf16", "h=h", Convert, function float_to_whole::<Brain, 3, false, false>),
    row!("cvt.bf16.bf16", "h=h", Convert, function float_to_same::<Brain, false, false>),
];
/// f32
const WHOLE_F32: &[TableRow] = wholes!(f32, ".f32", "r=r", "", false);
/// f32 with `.ftz`
const WHOLE_F32_FTZ: &[TableRow] = wholes!(f32, ".f32", "r=r", ".ftz", true);
/// f64
const WHOLE_F64: &[TableRow] = wholes!(f64, ".f64", "l=l", "", false);

/// bf16 to and from the others, and `.relu`.
const BRAINS: &[TableRow] = &[
    row!("cvt{.ftz}.f32.bf16", "r=h", Convert, |a: u16| u32::from(a) << 16),
    row!("cvt.f64.bf16", "l=h", Convert,
        function float_to_float::<Brain, f64, 0, false, false, false>),
    row!("cvt.f64.f16", "l=h", Convert,
        function float_to_float::<Half, f64, 0, false, false, false>),
    row!("cvt.rn.bf16.f32", "h=r", Convert,
        function float_to_float::<f32, Brain, 0, false, false, false>),
    row!("cvt.rz.bf16.f32", "h=r", Convert,
        function float_to_float::<f32, Brain, 1, false, false, false>),
    row!("cvt.rm.bf16.f32", "h=r", Convert,
        function float_to_float::<f32, Brain, 2, false, false, false>),
    row!("cvt.rp.bf16.f32", "h=r", Convert,
        function float_to_float::<f32, Brain, 3, false, false, false>),
    row!("cvt.rn.relu.bf16.f32", "h=r", Convert,
        function float_to_float::<f32, Brain, 0, false, false, true>),
    row!("cvt.rz.relu.bf16.f32", "h=r", Convert,
        function float_to_float::<f32, Brain, 1, false, false, true>),
    row!("cvt.rn.relu.f16.f32", "h=r", Convert,
        function float_to_float::<f32, Half, 0, false, false, true>),
    row!("cvt.rz.relu.f16.f32", "h=r", Convert,
        function float_to_float::<f32, Half, 1, false, false, true>),
    row!("cvt.rn.bf16.f64", "h=l", Convert,
        function float_to_float::<f64, Brain, 0, false, false, false>),
    row!("cvt.rz.bf16.f64", "h=l", Convert,
        function float_to_float::<f64, Brain, 1, false, false, false>),
    row!("cvt.rn.bf16.f16", "h=h", Convert,
        function float_to_float::<Half, Brain, 0, false, false, false>),
    row!("cvt.rz.bf16.f16", "h=h", Convert,
        function float_to_float::<Half, Brain, 1, false, false, false>),
    row!("cvt.rn.f16.bf16", "h=h", Convert,
        function float_to_float::<Brain, Half, 0, false, false, false>),
    row!("cvt.rz.f16.bf16", "h=h", Convert,
        function float_to_float::<Brain, Half, 1, false, false, false>),
];

/// Conversions between scalar types.
pub const ROWS: &[&[TableRow]] = &[
    U8_INT,
    S8_INT,
    U16_INT,
    S16_INT,
    U32_INT,
    S32_INT,
    U64_INT,
    S64_INT,
    U8_FLOAT,
    S8_FLOAT,
    U16_FLOAT,
    S16_FLOAT,
    U32_FLOAT,
    S32_FLOAT,
    U64_FLOAT,
    S64_FLOAT,
    F16_INT,
    BF16_INT,
    F32_INT,
    F32_INT_FTZ,
    F64_INT,
    F16_F32,
    F32_F64,
    F32_F16,
    F32_F16_FTZ,
    F64_F16,
    F64_F32,
    F64_F32_FTZ,
    WHOLE_F16,
    WHOLE_BF16,
    WHOLE_F32,
    WHOLE_F32_FTZ,
    WHOLE_F64,
    BRAINS,
];
