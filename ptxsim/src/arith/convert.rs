//! `cvt` between scalar types (PTX ISA, "cvt"): integers among each other, and to and from f16,
//! bf16, f32 and f64. The packed and small formats are in [`super::convert_packed`].
//!
//! A register may be wider than the integer type that is read from or written to it: the lower
//! bits are read, and a result is extended, by its sign if the type has one (PTX ISA, "Operand Size
//! Exceeding Instruction-Type Size"). So a type and a letter are two things here.

use super::exact::{self, narrow};
use super::float32;
use super::formats::{self, Number};
use super::rows::{Brain, Dest, Float, Half, Int, Lane, row};
use super::simd;
use crate::isa::{Inst, Registers, TableRow};

/// `d = f(a)`, with wider vectors where the processor has them if `WIDE`.
#[inline(always)]
fn unary<A: Lane, D: Dest, const WIDE: bool>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
    f: impl Fn(A) -> D + Copy,
) {
    if WIDE {
        let row = |r: &mut Registers, i: &Inst, mask| super::rows::unary(r, i, mask, f);
        simd::rows(r, i, mask, row, row);
    } else {
        super::rows::unary(r, i, mask, f);
    }
}

/// Integer to integer: the low bits, or with `SAT` the nearest that fits. `SR` and `DR` are the
/// registers' types.
fn int_to_int<S: Int, SR: Int, D: Int, DR: Int, const SAT: bool>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
) {
    super::rows::unary(r, i, mask, |x: SR| {
        let x = S::wrap(x.to_i64());
        let cut = if SAT { x.exact().clamp(D::MIN, D::MAX) as i64 } else { x.to_i64() };
        DR::wrap(D::wrap(cut).to_i64())
    });
}

/// Float to integer, in the integer roundings `.rni`, `.rzi`, `.rmi` and `.rpi` by `R`. What is
/// out of range becomes the nearest that is not. A NaN becomes zero, but where the source is f64
/// or the result has 64 bits, the number with only the highest bit set (PTX ISA, "cvt", and the
/// CUDA Math API: `__half2ll_rz(NaN)` is 0x8000000000000000, `__half2int_rz(NaN)` is 0).
fn float_to_int<S: Float + Lane, D: Int, DR: Int, const R: u8, const FTZ: bool>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
) {
    // Every number of 32 bits or fewer is whole in f32 as in binary64, or too large for the result.
    let narrow = S::FORMAT.exponent < 11 && D::BITS <= 32;
    let single = |x: S| {
        let x = whole32::<R>(flushed::<S, FTZ>(x).wide() as f32);
        DR::wrap(D::from_f32(x).to_i64())
    };
    if narrow {
        return unary::<_, _, true>(r, i, mask, single);
    }
    unary::<_, _, false>(r, i, mask, |x: S| {
        let x = flushed::<S, FTZ>(x).wide();
        let high_bit = S::FORMAT.exponent == 11 || D::BITS == 64;
        let result = if high_bit && x.is_nan() {
            D::wrap(1 << (D::BITS - 1))
        } else {
            D::from_f64(whole::<R>(x))
        };
        DR::wrap(result.to_i64())
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

/// [`whole`] in f32.
#[inline(always)]
fn whole32<const R: u8>(x: f32) -> f32 {
    match R {
        0 => x.round_ties_even(),
        // Conversion to an integer cuts off.
        1 => x,
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
    if R == 0 && D::FORMAT == formats::F32 {
        return unary::<_, _, true>(r, i, mask, |x: S| -> D {
            finish::<D, SAT, false>(u64::from(x.to_f32().to_bits()))
        });
    }
    unary::<_, _, false>(r, i, mask, |x: S| -> D {
        let bits = match (R, D::FORMAT) {
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
    let convert = |x: S| -> D {
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
            (formats::F16, formats::BF16) => {
                u64::from(formats::f32_to_bf16(x.wide() as f32, exact::rounding(R)))
            }
            (formats::BF16, formats::F16) => {
                u64::from(formats::f32_to_f16(x.wide() as f32, exact::rounding(R)))
            }
            (formats::F16 | formats::BF16, formats::F32) => u64::from((x.wide() as f32).to_bits()),
            _ => narrow(D::FORMAT, x.wide(), exact::rounding(R)),
        };
        flushed::<D, FTZ>(finish::<D, SAT, RELU>(bits))
    };
    let single = S::FORMAT.exponent < 11 && D::FORMAT.exponent < 11;
    if R == 0 && single {
        return unary::<_, _, true>(r, i, mask, convert);
    }
    unary::<_, _, false>(r, i, mask, convert);
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

/// The name of an integer type.
macro_rules! name {
    (u8) => {
        ".u8"
    };
    (i8) => {
        ".s8"
    };
    (u16) => {
        ".u16"
    };
    (i16) => {
        ".s16"
    };
    (u32) => {
        ".u32"
    };
    (i32) => {
        ".s32"
    };
    (u64) => {
        ".u64"
    };
    (i64) => {
        ".s64"
    };
}

/// How the register with a letter is stored.
macro_rules! register {
    (h) => {
        u16
    };
    (r) => {
        u32
    };
    (l) => {
        u64
    };
}

/// The rows from one integer type, in a register of one letter, to those in the list.
macro_rules! to_ints {
    ($S:ident $letter:ident, $sat:literal $is_sat:literal, [$($D:ident $to:ident),*]) => {
        &[$(row!(concat!("cvt", $sat, name!($D), name!($S)),
            concat!(stringify!($to), "=", stringify!($letter)), Convert,
            function int_to_int::<$S, register!($letter), $D, register!($to), $is_sat>)),*]
    };
    (all $S:ident $letter:ident) => {
        to_ints!($S $letter, "" false,
            [u8 h, u8 r, u8 l, i8 h, i8 r, i8 l, u16 h, u16 r, u16 l, i16 h, i16 r, i16 l,
             u32 r, u32 l, i32 r, i32 l, u64 l, i64 l])
    };
    // `.sat` is PTX only where it can make a difference.
    (sat u8 $letter:ident) => { to_ints!(u8 $letter, ".sat" true, [i8 h, i8 r, i8 l]) };
    (sat i8 $letter:ident) => {
        to_ints!(i8 $letter, ".sat" true,
            [u8 h, u8 r, u8 l, u16 h, u16 r, u16 l, u32 r, u32 l, u64 l])
    };
    (sat u16 $letter:ident) => {
        to_ints!(u16 $letter, ".sat" true,
            [u8 h, u8 r, u8 l, i8 h, i8 r, i8 l, i16 h, i16 r, i16 l])
    };
    (sat i16 $letter:ident) => {
        to_ints!(i16 $letter, ".sat" true,
            [u8 h, u8 r, u8 l, i8 h, i8 r, i8 l, u16 h, u16 r, u16 l, u32 r, u32 l, u64 l])
    };
    (sat u32 $letter:ident) => {
        to_ints!(u32 $letter, ".sat" true,
            [u8 h, u8 r, u8 l, i8 h, i8 r, i8 l, u16 h, u16 r, u16 l, i16 h, i16 r, i16 l,
             i32 r, i32 l])
    };
    (sat i32 $letter:ident) => {
        to_ints!(i32 $letter, ".sat" true,
            [u8 h, u8 r, u8 l, i8 h, i8 r, i8 l, u16 h, u16 r, u16 l, i16 h, i16 r, i16 l,
             u32 r, u32 l, u64 l])
    };
    (sat u64 $letter:ident) => {
        to_ints!(u64 $letter, ".sat" true,
            [u8 h, u8 r, u8 l, i8 h, i8 r, i8 l, u16 h, u16 r, u16 l, i16 h, i16 r, i16 l,
             u32 r, u32 l, i32 r, i32 l, i64 l])
    };
    (sat i64 $letter:ident) => {
        to_ints!(i64 $letter, ".sat" true,
            [u8 h, u8 r, u8 l, i8 h, i8 r, i8 l, u16 h, u16 r, u16 l, i16 h, i16 r, i16 l,
             u32 r, u32 l, i32 r, i32 l, u64 l])
    };
}

/// Integers among each other.
const INTEGERS: &[&[TableRow]] = &[
    to_ints!(all u8 h),
    to_ints!(all u8 r),
    to_ints!(all u8 l),
    to_ints!(all i8 h),
    to_ints!(all i8 r),
    to_ints!(all i8 l),
    to_ints!(all u16 h),
    to_ints!(all u16 r),
    to_ints!(all u16 l),
    to_ints!(all i16 h),
    to_ints!(all i16 r),
    to_ints!(all i16 l),
    to_ints!(all u32 r),
    to_ints!(all u32 l),
    to_ints!(all i32 r),
    to_ints!(all i32 l),
    to_ints!(all u64 l),
    to_ints!(all i64 l),
    to_ints!(sat u8 h),
    to_ints!(sat u8 r),
    to_ints!(sat u8 l),
    to_ints!(sat i8 h),
    to_ints!(sat i8 r),
    to_ints!(sat i8 l),
    to_ints!(sat u16 h),
    to_ints!(sat u16 r),
    to_ints!(sat u16 l),
    to_ints!(sat i16 h),
    to_ints!(sat i16 r),
    to_ints!(sat i16 l),
    to_ints!(sat u32 r),
    to_ints!(sat u32 l),
    to_ints!(sat i32 r),
    to_ints!(sat i32 l),
    to_ints!(sat u64 l),
    to_ints!(sat i64 l),
];

/// The rows from one integer type to floats. bf16 is the one that PTX does not have for wider
/// registers nor for eight bits.
macro_rules! to_floats {
    ($S:ident $letter:ident, [$($D:ident $d:literal $to:literal),*]) => {
        &[$(
            row!(concat!("cvt.rn", $d, name!($S)), concat!($to, stringify!($letter)), Convert,
                function int_to_float::<$S, $D, 0, false>),
            row!(concat!("cvt.rz", $d, name!($S)), concat!($to, stringify!($letter)), Convert,
                function int_to_float::<$S, $D, 1, false>),
            row!(concat!("cvt.rm", $d, name!($S)), concat!($to, stringify!($letter)), Convert,
                function int_to_float::<$S, $D, 2, false>),
            row!(concat!("cvt.rp", $d, name!($S)), concat!($to, stringify!($letter)), Convert,
                function int_to_float::<$S, $D, 3, false>),
        )*
            row!(concat!("cvt.rn.sat.f32", name!($S)), concat!("r=", stringify!($letter)), Convert,
                function int_to_float::<$S, f32, 0, true>),
        ]
    };
    (some $S:ident $letter:ident) => {
        to_floats!($S $letter, [Half ".f16" "h=", f32 ".f32" "r=", f64 ".f64" "l="])
    };
    (all $S:ident $letter:ident) => {
        to_floats!($S $letter,
            [Half ".f16" "h=", Brain ".bf16" "h=", f32 ".f32" "r=", f64 ".f64" "l="])
    };
}

/// Integers to floats.
const INTEGERS_FLOATS: &[&[TableRow]] = &[
    to_floats!(some u8 h),
    to_floats!(some u8 r),
    to_floats!(some i8 h),
    to_floats!(some i8 r),
    to_floats!(all u16 h),
    to_floats!(some u16 r),
    to_floats!(all i16 h),
    to_floats!(some i16 r),
    to_floats!(all u32 r),
    to_floats!(all i32 r),
    to_floats!(all u64 l),
    to_floats!(all i64 l),
];

/// The rows from one float type to integers. Saturation is how it is done anyway, so `.sat`
/// changes nothing.
macro_rules! from_float {
    ($S:ident, $s:literal, $letter:literal, $mods:literal, $ftz:literal,
     [$($D:ident $to:ident),*]) => {
        &[$(
            row!(concat!("cvt.rni", $mods, name!($D), $s), concat!(stringify!($to), "=", $letter),
                Convert, function float_to_int::<$S, $D, register!($to), 0, $ftz>),
            row!(concat!("cvt.rzi", $mods, name!($D), $s), concat!(stringify!($to), "=", $letter),
                Convert, function float_to_int::<$S, $D, register!($to), 1, $ftz>),
            row!(concat!("cvt.rmi", $mods, name!($D), $s), concat!(stringify!($to), "=", $letter),
                Convert, function float_to_int::<$S, $D, register!($to), 2, $ftz>),
            row!(concat!("cvt.rpi", $mods, name!($D), $s), concat!(stringify!($to), "=", $letter),
                Convert, function float_to_int::<$S, $D, register!($to), 3, $ftz>),
        )*]
    };
    ($S:ident, $s:literal, $letter:literal, $mods:literal, $ftz:literal) => {
        from_float!($S, $s, $letter, $mods, $ftz,
            [u8 h, u8 r, i8 h, i8 r, u16 h, u16 r, i16 h, i16 r, u32 r, i32 r, u64 l, i64 l])
    };
}

/// Floats to integers.
const FLOATS_INTEGERS: &[&[TableRow]] = &[
    from_float!(Half, ".f16", "h", "{.sat}", false),
    from_float!(Brain, ".bf16", "h", "", false, [u16 h, i16 h, u32 r, i32 r, u64 l, i64 l]),
    from_float!(f32, ".f32", "r", "{.sat}", false),
    from_float!(f32, ".f32", "r", ".ftz{.sat}", true),
    from_float!(f64, ".f64", "l", "{.sat}", false),
];

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
    row!("cvt{.ftz}.f32.bf16", "r=h", Convert, wide |a: u16| u32::from(a) << 16),
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

/// Floats among each other.
const FLOATS: &[&[TableRow]] = &[
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

/// Conversions between scalar types.
pub const ROWS: &[&[&[TableRow]]] = &[INTEGERS, INTEGERS_FLOATS, FLOATS_INTEGERS, FLOATS];
