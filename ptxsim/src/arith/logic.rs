//! Bits: logic, shifts, fields and permutations (PTX ISA, "Logic and Shift Instructions" and the
//! bit operations among the "Integer Arithmetic Instructions").

use super::rows::row;
use crate::isa::TableRow;

/// Any function of three inputs: bit `4a + 2b + c` of the table is the result for these bits.
#[inline(always)]
fn lop3(table: i64, a: u32, b: u32, c: u32) -> u32 {
    let term = |k: u32| if table >> k & 1 != 0 { u32::MAX } else { 0 };
    // The second where the selector's bit is set, else the first.
    let choose = |selector: u32, first: u32, second: u32| first ^ ((first ^ second) & selector);
    let by_c = |k: u32| choose(c, term(k), term(k + 1));
    choose(a, choose(b, by_c(0), by_c(2)), choose(b, by_c(4), by_c(6)))
}

/// Bytes of the pair b:a, chosen by the four numbers that `byte` gives.
#[inline(always)]
fn permute(a: u32, b: u32, byte: impl Fn(u32) -> u32) -> u32 {
    let choice = |k: u32| {
        let n = byte(k);
        let word = if n & 4 != 0 { b } else { a };
        (word >> (8 * (n & 3)) & 0xff) << (8 * k)
    };
    choice(0) | choice(1) | choice(2) | choice(3)
}

/// `prmt` without a mode: four bits a byte, of which the highest asks for copies of its sign.
#[inline(always)]
fn permute_any(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = permute(a, b, |k| selector >> (4 * k));
    // The bytes whose selectors have the highest bit set, and in each of these the sign alone.
    let wanted = |k: u32| if selector >> (4 * k + 3) & 1 != 0 { 0xff << (8 * k) } else { 0 };
    let copies = wanted(0) | wanted(1) | wanted(2) | wanted(3);
    let signs = bytes >> 7 & 0x0101_0101;
    (bytes & !copies) | ((signs << 8).wrapping_sub(signs) & copies)
}

/// The funnel b:a, moved left, and its upper word.
#[inline(always)]
fn funnel_left(a: u32, b: u32, amount: u32) -> u32 {
    ((u64::from(b) << 32 | u64::from(a)) << amount >> 32) as u32
}

/// The funnel b:a, moved right, and its lower word.
#[inline(always)]
fn funnel_right(a: u32, b: u32, amount: u32) -> u32 {
    ((u64::from(b) << 32 | u64::from(a)) >> amount) as u32
}

/// `bfe`: `len` bits of `a` from `pos`; what would come from beyond the top is the sign, which is
/// the field's highest bit, or that of `a` where the field reaches beyond.
#[inline(always)]
fn extract<const SIGNED: bool>(a: u64, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    if len == 0 {
        return 0;
    }
    let top = (pos + len - 1).min(63);
    let sign = SIGNED && a >> top & 1 != 0;
    let field = if pos < 64 { a >> pos } else { 0 };
    // Bits of the field that `a` has.
    let known = 64u32.saturating_sub(pos).min(len);
    let mask = low_bits(known);
    (field & mask) | if sign { !mask } else { 0 }
}

/// `bfi`: puts `len` bits of `a` into `b` at `pos`.
#[inline(always)]
fn insert(a: u64, b: u64, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    if pos >= 64 {
        return b;
    }
    let mask = low_bits(len) << pos;
    (b & !mask) | (a << pos & mask)
}

/// [`extract`] in 32 bits, which has no branch and so fits vectors.
#[inline(always)]
fn extract32<const SIGNED: bool>(a: u32, pos: u32, len: u32) -> u32 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let cut = 32 - len.clamp(1, 32);
    let field = if SIGNED {
        // Beyond the top there is nothing but the sign of `a`.
        ((a as i32 >> pos.min(31) << cut) >> cut) as u32
    } else {
        (if pos < 32 { a >> (pos & 31) } else { 0 }) << cut >> cut
    };
    if len == 0 { 0 } else { field }
}

/// [`insert`] in 32 bits.
#[inline(always)]
fn insert32(a: u32, b: u32, pos: u32, len: u32) -> u32 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let low = if len == 0 { 0 } else { u32::MAX >> (32 - len.clamp(1, 32)) };
    let mask = if pos < 32 { low << (pos & 31) } else { 0 };
    (b & !mask) | (a << (pos & 31) & mask)
}

/// The lowest `n` bits.
#[inline(always)]
fn low_bits(n: u32) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

/// `fns`: where the n-th set bit of `word` stands, from `base` on; n below 0 looks downwards.
fn find_nth(word: u32, base: u32, n: i32) -> u32 {
    if base > 31 {
        return u32::MAX;
    }
    if n == 0 {
        return if word >> base & 1 != 0 { base } else { u32::MAX };
    }
    let nth = n.unsigned_abs() as usize - 1;
    let set = |k: &u32| word >> k & 1 != 0;
    let found =
        if n > 0 { (base..32).filter(set).nth(nth) } else { (0..=base).rev().filter(set).nth(nth) };
    found.unwrap_or(u32::MAX)
}

/// `bmsk`: `width` ones from bit `from`.
#[inline(always)]
fn mask<const CLAMP: bool>(from: u32, width: u32) -> u32 {
    let (from, width) = if CLAMP { (from.min(32), width.min(32)) } else { (from & 31, width & 31) };
    ((low_bits(width) << from) & 0xffff_ffff) as u32
}

/// `szext`: the lowest `bits` of `a`, extended.
#[inline(always)]
fn extend<const CLAMP: bool, const SIGNED: bool>(a: u32, bits: u32) -> u32 {
    let bits = if CLAMP { bits.min(32) } else { bits & 31 };
    match bits {
        0 => 0,
        32 => a,
        _ if SIGNED => ((a << (32 - bits)) as i32 >> (32 - bits)) as u32,
        _ => a & low_bits(bits) as u32,
    }
}

/// `bfind`: the highest bit that differs from the sign (of an unsigned number: that is set), or
/// all ones.
#[inline(always)]
fn find(bits: u64) -> u32 {
    63u32.wrapping_sub(bits.leading_zeros())
}

/// `bfind.shiftamt`: how far to shift left to bring that bit to the top.
#[inline(always)]
fn find_shift<const BITS: u32>(bits: u64) -> u32 {
    if bits == 0 { u32::MAX } else { BITS - 1 - find(bits) }
}

/// Of a signed number: the bits that differ from its sign.
#[inline(always)]
fn unsigned(x: i64) -> u64 {
    (x ^ (x >> 63)) as u64
}

/// Logic and shifts of one width.
macro_rules! widths {
    ($u:ident, $s:ident, $bits:literal, $b:literal, $unsigned:literal, $signed:literal,
     $unary:literal, $binary:literal, $shift:literal) => {
        &[
            row!(concat!("and", $b), $binary, Integer, |a: $u, b: $u| a & b),
            row!(concat!("or", $b), $binary, Integer, |a: $u, b: $u| a | b),
            row!(concat!("xor", $b), $binary, Integer, |a: $u, b: $u| a ^ b),
            row!(concat!("not", $b), $unary, Integer, |a: $u| !a),
            row!(concat!("cnot", $b), $unary, Integer, |a: $u| $u::from(a == 0)),
            // Amounts beyond the width count as the width.
            row!(concat!("shl", $b), $shift, Integer, wide |a: $u, n: u32| {
                if n < $bits { a << n } else { 0 }
            }),
            row!(concat!("shr(", $b, "|", $unsigned, ")"), $shift, Integer, wide |a: $u, n: u32| {
                if n < $bits { a >> n } else { 0 }
            }),
            row!(concat!("shr", $signed), $shift, Integer, wide |a: $s, n: u32| {
                a >> n.min($bits - 1)
            }),
        ]
    };
}

/// The rows for 16 bits.
const WIDTH_16: &[TableRow] = widths!(u16, i16, 16, ".b16", ".u16", ".s16", "h=h", "h=hh", "h=hr");
/// The rows for 32 bits.
const WIDTH_32: &[TableRow] = widths!(u32, i32, 32, ".b32", ".u32", ".s32", "r=r", "r=rr", "r=rr");
/// The rows for 64 bits.
const WIDTH_64: &[TableRow] = widths!(u64, i64, 64, ".b64", ".u64", ".s64", "l=l", "l=ll", "l=lr");

/// What is not alike for all widths.
const OTHERS: &[TableRow] = &[
    row!("and.pred", "p=pp", Compare, |a: bool, b: bool| a & b),
    row!("or.pred", "p=pp", Compare, |a: bool, b: bool| a | b),
    row!("xor.pred", "p=pp", Compare, |a: bool, b: bool| a ^ b),
    row!("not.pred", "p=p", Compare, |a: bool| !a),
    row!("lop3.b32", "r=rrri", Integer, wide imm k |a: u32, b: u32, c: u32| lop3(k, a, b, c)),
    row!("lop3.and.b32", "r|p=rrrip", Integer, imm k |a: u32, b: u32, c: u32, q: bool| {
        let d = lop3(k, a, b, c);
        (d, (d != 0) & q)
    }),
    row!("lop3.or.b32", "r|p=rrrip", Integer, imm k |a: u32, b: u32, c: u32, q: bool| {
        let d = lop3(k, a, b, c);
        (d, (d != 0) | q)
    }),
    row!("shf.l.clamp.b32", "r=rrr", Integer, wide |a: u32, b: u32, n: u32| {
        funnel_left(a, b, n.min(32))
    }),
    row!("shf.l.wrap.b32", "r=rrr", Integer, wide |a: u32, b: u32, n: u32| {
        funnel_left(a, b, n & 31)
    }),
    row!("shf.r.clamp.b32", "r=rrr", Integer, wide |a: u32, b: u32, n: u32| {
        funnel_right(a, b, n.min(32))
    }),
    row!("shf.r.wrap.b32", "r=rrr", Integer, wide |a: u32, b: u32, n: u32| {
        funnel_right(a, b, n & 31)
    }),
    row!("prmt.b32", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| permute_any(a, b, c)),
    row!("prmt.b32.f4e", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        permute(a, b, |k| k + (c & 3))
    }),
    row!("prmt.b32.b4e", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        permute(a, b, |k| (c & 3).wrapping_sub(k))
    }),
    row!("prmt.b32.rc8", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| permute(a, b, |_| c & 3)),
    row!("prmt.b32.ecl", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        permute(a, b, |k| k.max(c & 3))
    }),
    row!("prmt.b32.ecr", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        permute(a, b, |k| k.min(c & 3))
    }),
    row!("prmt.b32.rc16", "r=rrr", Integer, wide |a: u32, b: u32, c: u32| {
        permute(a, b, |k| (k & 1) + 2 * (c & 1))
    }),
    row!("bfe.u32", "r=rrr", Integer, wide |a: u32, pos: u32, len: u32| {
        extract32::<false>(a, pos, len)
    }),
    row!("bfe.s32", "r=rrr", Integer, wide |a: u32, pos: u32, len: u32| {
        extract32::<true>(a, pos, len)
    }),
    row!("bfe.u64", "l=lrr", Integer, wide |a: u64, pos: u32, len: u32| {
        extract::<false>(a, pos, len)
    }),
    row!("bfe.s64", "l=lrr", Integer, wide |a: u64, pos: u32, len: u32| {
        extract::<true>(a, pos, len)
    }),
    row!("bfi.b32", "r=rrrr", Integer, wide |a: u32, b: u32, pos: u32, len: u32| {
        insert32(a, b, pos, len)
    }),
    row!("bfi.b64", "l=llrr", Integer, wide |a: u64, b: u64, pos: u32, len: u32| {
        insert(a, b, pos, len)
    }),
    row!("brev.b32", "r=r", Integer, |a: u32| a.reverse_bits()),
    row!("brev.b64", "l=l", Integer, |a: u64| a.reverse_bits()),
    row!("clz.b32", "r=r", Integer, wide |a: u32| a.leading_zeros()),
    row!("clz.b64", "r=l", Integer, wide |a: u64| a.leading_zeros()),
    row!("popc.b32", "r=r", Integer, wide |a: u32| a.count_ones()),
    row!("popc.b64", "r=l", Integer, wide |a: u64| a.count_ones()),
    row!("bfind.u32", "r=r", Integer, wide |a: u32| find(u64::from(a))),
    row!("bfind.s32", "r=r", Integer, wide |a: i32| find(unsigned(i64::from(a)))),
    row!("bfind.u64", "r=l", Integer, wide |a: u64| find(a)),
    row!("bfind.s64", "r=l", Integer, wide |a: i64| find(unsigned(a))),
    row!("bfind.shiftamt.u32", "r=r", Integer, wide |a: u32| find_shift::<32>(u64::from(a))),
    row!("bfind.shiftamt.s32", "r=r", Integer, wide |a: i32| {
        find_shift::<32>(unsigned(i64::from(a)))
    }),
    row!("bfind.shiftamt.u64", "r=l", Integer, wide |a: u64| find_shift::<64>(a)),
    row!("bfind.shiftamt.s64", "r=l", Integer, wide |a: i64| find_shift::<64>(unsigned(a))),
    row!("fns.b32", "r=rrr", Integer, |a: u32, base: u32, n: i32| find_nth(a, base, n)),
    row!("bmsk.clamp.b32", "r=rr", Integer, wide |a: u32, b: u32| mask::<true>(a, b)),
    row!("bmsk.wrap.b32", "r=rr", Integer, wide |a: u32, b: u32| mask::<false>(a, b)),
    row!("szext.clamp.u32", "r=rr", Integer, wide |a: u32, b: u32| extend::<true, false>(a, b)),
    row!("szext.clamp.s32", "r=rr", Integer, wide |a: u32, b: u32| extend::<true, true>(a, b)),
    row!("szext.wrap.u32", "r=rr", Integer, wide |a: u32, b: u32| extend::<false, false>(a, b)),
    row!("szext.wrap.s32", "r=rr", Integer, wide |a: u32, b: u32| extend::<false, true>(a, b)),
];

/// Logic, shifts, fields.
pub const ROWS: &[&[TableRow]] = &[OTHERS, WIDTH_16, WIDTH_32, WIDTH_64];
