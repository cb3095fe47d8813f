//! `setp`, `set` and `slct` (PTX ISA, "Comparison and Selection Instructions" and the half
//! precision ones).
//!
//! A comparison gives one bit a lane; what is done with the bits is the same for all types.

use super::float32::flush;
use super::formats;
use super::rows::{BIT, Brain, Dest, Half, Lane, gather, row, store_bits};
use super::simd;
use crate::isa::{Inst, Registers, Row32, TableRow};

const EQ: u8 = 0;
const NE: u8 = 1;
const LT: u8 = 2;
const LE: u8 = 3;
const GT: u8 = 4;
const GE: u8 = 5;
const EQU: u8 = 6;
const NEU: u8 = 7;
const LTU: u8 = 8;
const LEU: u8 = 9;
const GTU: u8 = 10;
const GEU: u8 = 11;
const NUM: u8 = 12;
const NAN: u8 = 13;

/// A comparison; those that end in U are true where an operand is a NaN.
#[inline(always)]
#[allow(clippy::neg_cmp_op_on_partial_ord, clippy::eq_op, clippy::double_comparisons)]
fn holds<T: PartialOrd + Copy, const C: u8>(a: T, b: T) -> bool {
    match C {
        EQ => a == b,
        NE => a < b || a > b,
        LT => a < b,
        LE => a <= b,
        GT => a > b,
        GE => a >= b,
        EQU => !(a < b || a > b),
        NEU => a != b,
        LTU => !(a >= b),
        LEU => !(a > b),
        GTU => !(a <= b),
        GEU => !(a < b),
        NUM => a == a && b == b,
        _ => a != a || b != b,
    }
}

/// A type that can be compared, and as what.
trait Key: Lane {
    type Key: PartialOrd + Copy;
    fn key<const FTZ: bool>(self) -> Self::Key;
}

macro_rules! key {
    ($($type:ty, $key:ty, |$x:ident, $ftz:ident| $value:expr;)*) => {$(
        impl Key for $type {
            type Key = $key;
            #[inline(always)]
            fn key<const FTZ: bool>(self) -> $key {
                let ($x, $ftz) = (self, FTZ);
                let _ = $ftz;
                $value
            }
        }
    )*};
}

key! {
    u16, u16, |x, ftz| x;
    i16, i16, |x, ftz| x;
    u32, u32, |x, ftz| x;
    i32, i32, |x, ftz| x;
    u64, u64, |x, ftz| x;
    i64, i64, |x, ftz| x;
    f32, f32, |x, ftz| if ftz { flush::<true>(x) } else { x };
    f64, f64, |x, ftz| x;
    Half, f32, |x, ftz| half_key(x.0, ftz);
    Brain, f32, |x, ftz| formats::bf16_to_f32(x.0);
}

/// A binary16, whose own subnormals are what `.ftz` makes zeros of.
#[inline(always)]
fn half_key(bits: u16, ftz: bool) -> f32 {
    formats::f16_to_f32(if ftz && bits & 0x7c00 == 0 { 0 } else { bits })
}

/// The comparison in every lane.
#[inline(never)]
fn compare<T: Key, const C: u8, const FTZ: bool>(r: &Registers, i: &Inst) -> u32 {
    let rows = (T::row(r, i.s[0]), T::row(r, i.s[1]));
    simd::twice(rows, bits::<T, C, FTZ>, bits::<T, C, FTZ>)
}

/// The bits of a comparison of rows.
#[inline(always)]
fn bits<T: Key, const C: u8, const FTZ: bool>((a, b): (&T::Row, &T::Row)) -> u32 {
    gather(|lane| holds::<T::Key, C>(T::get(a, lane).key::<FTZ>(), T::get(b, lane).key::<FTZ>()))
}

/// The comparison of the lower halves and that of the upper ones.
#[inline(never)]
fn compare2<T: Key<Row = Row32>, const C: u8, const FTZ: bool>(
    r: &Registers,
    i: &Inst,
) -> [u32; 2] {
    let rows = (T::row(r, i.s[0]), T::row(r, i.s[1]));
    simd::twice(rows, bits2::<T, C, FTZ>, bits2::<T, C, FTZ>)
}

/// The bits of two comparisons of rows.
#[inline(always)]
fn bits2<T: Key<Row = Row32>, const C: u8, const FTZ: bool>((a, b): (&Row32, &Row32)) -> [u32; 2] {
    let (a_high, b_high) = (a.map(|x| x >> 16), b.map(|x| x >> 16));
    [bits::<T, C, FTZ>((a, b)), bits::<T, C, FTZ>((&a_high, &b_high))]
}

const PLAIN: u8 = 0;
const AND: u8 = 1;
const OR: u8 = 2;
const XOR: u8 = 3;

/// The result and the third operand, if there is one.
#[inline(always)]
fn combine<const B: u8>(r: &Registers, i: &Inst, bits: u32) -> u32 {
    match B {
        PLAIN => bits,
        AND => bits & r.p[usize::from(i.s[2])],
        OR => bits | r.p[usize::from(i.s[2])],
        _ => bits ^ r.p[usize::from(i.s[2])],
    }
}

/// Stores one predicate, or with `PAIR` two.
#[inline(always)]
fn store_pair<const PAIR: bool>(r: &mut Registers, i: &Inst, mask: u32, bits: [u32; 2]) {
    store_bits(&mut r.p[usize::from(i.d[0])], bits[0], mask);
    if PAIR {
        store_bits(&mut r.p[usize::from(i.d[1])], bits[1], mask);
    }
}

/// `setp`: of a pair, the second gets the opposite of the comparison.
fn setp<T: Key, const C: u8, const FTZ: bool, const B: u8, const PAIR: bool>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
) {
    let bits = compare::<T, C, FTZ>(r, i);
    let bits = [combine::<B>(r, i, bits), combine::<B>(r, i, !bits)];
    store_pair::<PAIR>(r, i, mask, bits);
}

/// `setp` of two halves: the lower one's result and the upper one's.
fn setp2<T: Key<Row = Row32>, const C: u8, const FTZ: bool, const B: u8>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
) {
    let bits = compare2::<T, C, FTZ>(r, i).map(|bits| combine::<B>(r, i, bits));
    store_pair::<true>(r, i, mask, bits);
}

/// `set`: `TRUE` where the comparison holds.
fn set<T: Key, const C: u8, const FTZ: bool, const B: u8, const TRUE: u32>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
) {
    let bits = combine::<B>(r, i, compare::<T, C, FTZ>(r, i));
    let out = std::array::from_fn(|lane| if bits & BIT[lane] != 0 { TRUE } else { 0 });
    u32::store(r, i, &out, mask);
}

/// `set` of two halves: `TRUE` in each half where the comparison holds.
fn set2<T: Key<Row = Row32>, const C: u8, const FTZ: bool, const B: u8, const TRUE: u32>(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
) {
    let [low, high] = compare2::<T, C, FTZ>(r, i).map(|bits| combine::<B>(r, i, bits));
    let out = std::array::from_fn(|lane| {
        (if low & BIT[lane] != 0 { TRUE } else { 0 })
            | (if high & BIT[lane] != 0 { TRUE << 16 } else { 0 })
    });
    u32::store(r, i, &out, mask);
}

const ONES: u32 = u32::MAX;
const ONES_16: u32 = 0xffff;
const ONE_F32: u32 = 0x3f80_0000;
const ONE_F16: u32 = 0x3c00;
const ONE_BF16: u32 = 0x3f80;

/// The rows that every type has: `setp` with one result, and `set` to integers, each with the
/// four ways to combine the comparison with a predicate.
macro_rules! basic {
    ($T:ty, $ftz:literal, $dot_ftz:literal, $types:literal, $letters:literal,
     [$($cmp:literal $c:ident),*]) => {
        &[$(
            row!(concat!("setp", $cmp, $dot_ftz, $types), concat!("p=", $letters), Compare,
                function setp::<$T, $c, $ftz, PLAIN, false>),
            row!(concat!("setp", $cmp, ".and", $dot_ftz, $types), concat!("p=", $letters, "p"),
                Compare, function setp::<$T, $c, $ftz, AND, false>),
            row!(concat!("setp", $cmp, ".or", $dot_ftz, $types), concat!("p=", $letters, "p"),
                Compare, function setp::<$T, $c, $ftz, OR, false>),
            row!(concat!("setp", $cmp, ".xor", $dot_ftz, $types), concat!("p=", $letters, "p"),
                Compare, function setp::<$T, $c, $ftz, XOR, false>),
            row!(concat!("set", $cmp, $dot_ftz, "(.u32|.s32)", $types), concat!("r=", $letters),
                Compare, function set::<$T, $c, $ftz, PLAIN, ONES>),
            row!(concat!("set", $cmp, ".and", $dot_ftz, "(.u32|.s32)", $types),
                concat!("r=", $letters, "p"), Compare, function set::<$T, $c, $ftz, AND, ONES>),
            row!(concat!("set", $cmp, ".or", $dot_ftz, "(.u32|.s32)", $types),
                concat!("r=", $letters, "p"), Compare, function set::<$T, $c, $ftz, OR, ONES>),
            row!(concat!("set", $cmp, ".xor", $dot_ftz, "(.u32|.s32)", $types),
                concat!("r=", $letters, "p"), Compare, function set::<$T, $c, $ftz, XOR, ONES>),
        )*]
    };
}

/// The rows that types of more than 16 bits, and 16-bit integers, have beside them: `setp` with
/// two results, and `set` to f32.
macro_rules! further {
    ($T:ty, $ftz:literal, $dot_ftz:literal, $types:literal, $letters:literal,
     [$($cmp:literal $c:ident),*]) => {
        &[$(
            row!(concat!("setp", $cmp, $dot_ftz, $types), concat!("p|p=", $letters), Compare,
                function setp::<$T, $c, $ftz, PLAIN, true>),
            row!(concat!("setp", $cmp, ".and", $dot_ftz, $types), concat!("p|p=", $letters, "p"),
                Compare, function setp::<$T, $c, $ftz, AND, true>),
            row!(concat!("setp", $cmp, ".or", $dot_ftz, $types), concat!("p|p=", $letters, "p"),
                Compare, function setp::<$T, $c, $ftz, OR, true>),
            row!(concat!("setp", $cmp, ".xor", $dot_ftz, $types), concat!("p|p=", $letters, "p"),
                Compare, function setp::<$T, $c, $ftz, XOR, true>),
            row!(concat!("set", $cmp, $dot_ftz, ".f32", $types), concat!("r=", $letters),
                Compare, function set::<$T, $c, $ftz, PLAIN, ONE_F32>),
            row!(concat!("set", $cmp, ".and", $dot_ftz, ".f32", $types),
                concat!("r=", $letters, "p"), Compare, function set::<$T, $c, $ftz, AND, ONE_F32>),
            row!(concat!("set", $cmp, ".or", $dot_ftz, ".f32", $types),
                concat!("r=", $letters, "p"), Compare, function set::<$T, $c, $ftz, OR, ONE_F32>),
            row!(concat!("set", $cmp, ".xor", $dot_ftz, ".f32", $types),
                concat!("r=", $letters, "p"), Compare, function set::<$T, $c, $ftz, XOR, ONE_F32>),
        )*]
    };
}

/// Whether the bits are the same.
macro_rules! equalities {
    ($rows:ident, $T:ty, $types:literal, $letters:literal) => {
        $rows!($T, false, "", $types, $letters, [".eq" EQ, ".ne" NE])
    };
}

/// The order of signed integers.
macro_rules! signed {
    ($rows:ident, $T:ty, $types:literal, $letters:literal) => {
        $rows!($T, false, "", $types, $letters, [".lt" LT, ".le" LE, ".gt" GT, ".ge" GE])
    };
}

/// The order of unsigned integers, which has names of its own too.
macro_rules! unsigned {
    ($rows:ident, $T:ty, $types:literal, $letters:literal) => {
        $rows!($T, false, "", $types, $letters,
            ["(.lt|.lo)" LT, "(.le|.ls)" LE, "(.gt|.hi)" GT, "(.ge|.hs)" GE])
    };
}

/// All comparisons of a floating-point type.
macro_rules! floats {
    ($rows:ident, $T:ty, $ftz:literal, $dot_ftz:literal, $types:literal, $letters:literal) => {
        $rows!($T, $ftz, $dot_ftz, $types, $letters,
            [".eq" EQ, ".ne" NE, ".lt" LT, ".le" LE, ".gt" GT, ".ge" GE, ".equ" EQU, ".neu" NEU,
             ".ltu" LTU, ".leu" LEU, ".gtu" GTU, ".geu" GEU, ".num" NUM, ".nan" NAN])
    };
}

/// All comparisons, but for those of pairs.
pub const ROWS: &[&[TableRow]] = &[
    equalities!(basic, u16, "(.b16|.u16|.s16)", "hh"),
    equalities!(further, u16, "(.b16|.u16|.s16)", "hh"),
    equalities!(basic, u32, "(.b32|.u32|.s32)", "rr"),
    equalities!(further, u32, "(.b32|.u32|.s32)", "rr"),
    equalities!(basic, u64, "(.b64|.u64|.s64)", "ll"),
    equalities!(further, u64, "(.b64|.u64|.s64)", "ll"),
    unsigned!(basic, u16, ".u16", "hh"),
    unsigned!(further, u16, ".u16", "hh"),
    signed!(basic, i16, ".s16", "hh"),
    signed!(further, i16, ".s16", "hh"),
    unsigned!(basic, u32, ".u32", "rr"),
    unsigned!(further, u32, ".u32", "rr"),
    signed!(basic, i32, ".s32", "rr"),
    signed!(further, i32, ".s32", "rr"),
    unsigned!(basic, u64, ".u64", "ll"),
    unsigned!(further, u64, ".u64", "ll"),
    signed!(basic, i64, ".s64", "ll"),
    signed!(further, i64, ".s64", "ll"),
    floats!(basic, f32, false, "", ".f32", "rr"),
    floats!(further, f32, false, "", ".f32", "rr"),
    floats!(basic, f32, true, ".ftz", ".f32", "rr"),
    floats!(further, f32, true, ".ftz", ".f32", "rr"),
    floats!(basic, f64, false, "", ".f64", "ll"),
    floats!(further, f64, false, "", ".f64", "ll"),
    floats!(basic, Half, false, "", ".f16", "hh"),
    floats!(basic, Half, true, ".ftz", ".f16", "hh"),
    floats!(basic, Brain, false, "", ".bf16", "hh"),
];

/// What 16-bit floating-point types have beside the rest: `set` to 16 bits, and all of two halves.
macro_rules! halves {
    ($T:ty, $ftz:literal, $dot_ftz:literal, $type:literal, $one:ident,
     [$($cmp:literal $c:ident),*]) => {
        &[$(
            row!(concat!("set", $cmp, $dot_ftz, "(.u16|.s16)", $type), "h=hh", Compare,
                function set::<$T, $c, $ftz, PLAIN, ONES_16>),
            row!(concat!("set", $cmp, $dot_ftz, $type, $type), "h=hh", Compare,
                function set::<$T, $c, $ftz, PLAIN, $one>),
            row!(concat!("set", $cmp, $dot_ftz, "(.u32|.s32)", $type, "x2"), "r=rr", Compare,
                function set2::<$T, $c, $ftz, PLAIN, ONES_16>),
            row!(concat!("set", $cmp, $dot_ftz, $type, "x2", $type, "x2"), "r=rr", Compare,
                function set2::<$T, $c, $ftz, PLAIN, $one>),
            row!(concat!("set", $cmp, ".and", $dot_ftz, $type, "x2", $type, "x2"), "r=rrp",
                Compare, function set2::<$T, $c, $ftz, AND, $one>),
            row!(concat!("setp", $cmp, $dot_ftz, $type, "x2"), "p|p=rr", Compare,
                function setp2::<$T, $c, $ftz, PLAIN>),
            row!(concat!("setp", $cmp, ".and", $dot_ftz, $type, "x2"), "p|p=rrp", Compare,
                function setp2::<$T, $c, $ftz, AND>),
            row!(concat!("setp", $cmp, ".or", $dot_ftz, $type, "x2"), "p|p=rrp", Compare,
                function setp2::<$T, $c, $ftz, OR>),
            row!(concat!("setp", $cmp, ".xor", $dot_ftz, $type, "x2"), "p|p=rrp", Compare,
                function setp2::<$T, $c, $ftz, XOR>),
        )*]
    };
    ($T:ty, $ftz:literal, $dot_ftz:literal, $type:literal, $one:ident) => {
        halves!($T, $ftz, $dot_ftz, $type, $one,
            [".eq" EQ, ".ne" NE, ".lt" LT, ".le" LE, ".gt" GT, ".ge" GE, ".equ" EQU, ".neu" NEU,
             ".ltu" LTU, ".leu" LEU, ".gtu" GTU, ".geu" GEU, ".num" NUM, ".nan" NAN])
    };
}

/// f16 and f16x2
const HALVES: &[TableRow] = halves!(Half, false, "", ".f16", ONE_F16);
/// f16 and f16x2 with `.ftz`
const HALVES_FTZ: &[TableRow] = halves!(Half, true, ".ftz", ".f16", ONE_F16);
/// bf16 and bf16x2
const BRAINS: &[TableRow] = halves!(Brain, false, "", ".bf16", ONE_BF16);

/// `slct`: by the sign of the third operand. A zero of either sign selects the first, a NaN the
/// second.
const SELECT: &[TableRow] = &[
    row!("slct(.b16|.u16|.s16).s32", "h=hhr", Move, |a: u16, b: u16, c: i32| {
        if c >= 0 { a } else { b }
    }),
    row!("slct(.b32|.u32|.s32|.f32).s32", "r=rrr", Move, |a: u32, b: u32, c: i32| {
        if c >= 0 { a } else { b }
    }),
    row!("slct(.b64|.u64|.s64|.f64).s32", "l=llr", Move, |a: u64, b: u64, c: i32| {
        if c >= 0 { a } else { b }
    }),
    row!("slct(.b16|.u16|.s16).f32", "h=hhr", Move, |a: u16, b: u16, c: f32| {
        if c >= 0.0 { a } else { b }
    }),
    row!("slct(.b32|.u32|.s32|.f32).f32", "r=rrr", Move, |a: u32, b: u32, c: f32| {
        if c >= 0.0 { a } else { b }
    }),
    row!("slct(.b64|.u64|.s64|.f64).f32", "l=llr", Move, |a: u64, b: u64, c: f32| {
        if c >= 0.0 { a } else { b }
    }),
    row!("slct.ftz(.b16|.u16|.s16).f32", "h=hhr", Move, |a: u16, b: u16, c: f32| {
        if flush::<true>(c) >= 0.0 { a } else { b }
    }),
    row!("slct.ftz(.b32|.u32|.s32|.f32).f32", "r=rrr", Move, |a: u32, b: u32, c: f32| {
        if flush::<true>(c) >= 0.0 { a } else { b }
    }),
    row!("slct.ftz(.b64|.u64|.s64|.f64).f32", "l=llr", Move, |a: u64, b: u64, c: f32| {
        if flush::<true>(c) >= 0.0 { a } else { b }
    }),
];

/// Comparisons of pairs of halves, and `slct`.
pub const PAIRS: &[&[TableRow]] = &[HALVES, HALVES_FTZ, BRAINS, SELECT];
