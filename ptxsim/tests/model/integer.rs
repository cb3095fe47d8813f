//! Models of integer arithmetic: whole numbers without a limit, cut to size at the end.

use super::harness::{Case, In, Want};
use super::inputs::Kind;

/// An integer type.
#[derive(Clone, Copy)]
pub struct Int {
    pub name: &'static str,
    pub bits: u32,
    pub signed: bool,
}

pub const INTS: [Int; 8] = [
    Int { name: "u8", bits: 8, signed: false },
    Int { name: "s8", bits: 8, signed: true },
    Int { name: "u16", bits: 16, signed: false },
    Int { name: "s16", bits: 16, signed: true },
    Int { name: "u32", bits: 32, signed: false },
    Int { name: "s32", bits: 32, signed: true },
    Int { name: "u64", bits: 64, signed: false },
    Int { name: "s64", bits: 64, signed: true },
];

impl Int {
    pub fn letter(self) -> &'static str {
        match self.bits {
            8 | 16 => "h",
            32 => "r",
            _ => "l",
        }
    }
    /// The number that bits stand for.
    pub fn value(self, x: u64) -> i128 {
        let x = i128::from(x) & ((1 << self.bits) - 1);
        if self.signed && x >= 1 << (self.bits - 1) { x - (1 << self.bits) } else { x }
    }
    /// The bits of a number, as wide as a register of `width` bits.
    pub fn register(self, x: i128, width: u32) -> u64 {
        (self.value((x & ((1 << self.bits) - 1)) as u64) & ((1i128 << width) - 1)) as u64
    }
    pub fn min(self) -> i128 {
        if self.signed { -(1 << (self.bits - 1)) } else { 0 }
    }
    pub fn max(self) -> i128 {
        (1 << (self.bits - u32::from(self.signed))) - 1
    }
}

fn cut(x: i128, bits: u32) -> u64 {
    (x & ((1i128 << bits) - 1)) as u64
}

/// The product's upper and lower parts of `bits` each, added up from shifted copies.
fn product(t: Int, a: u64, b: u64) -> (u64, u64) {
    let (a, b) = (t.value(a), t.value(b));
    let negative = (a < 0) != (b < 0);
    let (a, b) = (a.unsigned_abs(), b.unsigned_abs());
    let (mut high, mut low) = (0u128, 0u128);
    let limit = 1u128 << t.bits;
    for k in 0..t.bits {
        if b >> k & 1 == 1 {
            let shifted = a << k;
            low += shifted % limit;
            high += shifted / limit + low / limit;
            low %= limit;
        }
    }
    if negative {
        // Minus the pair: not it, plus one.
        high = limit - 1 - high;
        low = limit - low;
        if low == limit {
            low = 0;
            high = (high + 1) % limit;
        }
    }
    (high as u64, low as u64)
}

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for t in &INTS[2..] {
        arithmetic(&mut out, *t);
        if t.bits > 16 {
            chains(&mut out, *t);
        }
        if t.bits < 64 {
            wide(&mut out, *t);
        }
    }
    only_32(&mut out);
    pairs(&mut out);
    dot_products(&mut out);
    out
}

/// What every width has.
fn arithmetic(out: &mut Vec<Case>, t: Int) {
    let l = t.letter();
    let kind = Kind::Int(t.bits);
    let mut two = |name: &str, f: fn(Int, u64, u64) -> u64| {
        out.push(Case::new(
            format!("{name}.{}", t.name),
            format!("{l}={l}{l}"),
            &[kind; 2],
            move |x| Want::Bits(f(t, x.s[0], x.s[1])),
        ));
    };
    two("add", |t, a, b| cut(t.value(a) + t.value(b), t.bits));
    two("sub", |t, a, b| cut(t.value(a) - t.value(b), t.bits));
    two("mul.lo", |t, a, b| product(t, a, b).1);
    two("mul.hi", |t, a, b| product(t, a, b).0);
    two("min", |t, a, b| if t.value(a) < t.value(b) { a } else { b });
    two("max", |t, a, b| if t.value(a) < t.value(b) { b } else { a });
    let mut three = |name: &str, f: fn(Int, u64, u64, u64) -> u64| {
        out.push(Case::new(
            format!("{name}.{}", t.name),
            format!("{l}={l}{l}{l}"),
            &[kind; 3],
            move |x| Want::Bits(f(t, x.s[0], x.s[1], x.s[2])),
        ));
    };
    three("mad.lo", |t, a, b, c| cut(t.value(product(t, a, b).1) + t.value(c), t.bits));
    three("mad.hi", |t, a, b, c| cut(t.value(product(t, a, b).0) + t.value(c), t.bits));
    three("sad", |t, a, b, c| cut((t.value(a) - t.value(b)).abs() + t.value(c), t.bits));
    for remainder in [false, true] {
        let name = if remainder { "rem" } else { "div" };
        out.push(Case::new(
            format!("{name}.{}", t.name),
            format!("{l}={l}{l}"),
            &[kind; 2],
            move |x| {
                let (a, b) = (t.value(x.s[0]), t.value(x.s[1]));
                if b == 0 {
                    return Want::Trouble;
                }
                // By the definition: the quotient is cut off, the remainder has a's sign.
                let quotient = a.abs() / b.abs() * a.signum() * b.signum();
                Want::Bits(cut(if remainder { a - quotient * b } else { quotient }, t.bits))
            },
        ));
    }
    if t.signed {
        let mut one = |name: &str, f: fn(i128) -> i128| {
            out.push(Case::new(
                format!("{name}.{}", t.name),
                format!("{l}={l}"),
                &[kind],
                move |x| Want::Bits(cut(f(t.value(x.s[0])), t.bits)),
            ));
        };
        one("abs", |a| if a < 0 { -a } else { a });
        one("neg", |a| -a);
    }
}

/// Carry chains.
fn chains(out: &mut Vec<Case>, t: Int) {
    let l = t.letter();
    let kind = Kind::Int(t.bits);
    for (name, takes, keeps) in
        [("add.cc", false, true), ("addc", true, false), ("addc.cc", true, true)]
    {
        out.push(Case::new(
            format!("{name}.{}", t.name),
            format!("{l}={l}{l}"),
            &[kind; 2],
            move |x| {
                let sum = i128::from(x.s[0]) + i128::from(x.s[1]) + i128::from(takes && x.carry);
                chained(x, t, sum, keeps)
            },
        ));
    }
    for (name, takes, keeps) in
        [("sub.cc", false, true), ("subc", true, false), ("subc.cc", true, true)]
    {
        out.push(Case::new(
            format!("{name}.{}", t.name),
            format!("{l}={l}{l}"),
            &[kind; 2],
            move |x| {
                let rest = i128::from(x.s[0]) - i128::from(x.s[1]) - i128::from(takes && x.carry);
                chained(x, t, rest, keeps)
            },
        ));
    }
    for (name, high, takes, keeps) in [
        ("mad.lo.cc", false, false, true),
        ("mad.hi.cc", true, false, true),
        ("madc.lo", false, true, false),
        ("madc.lo.cc", false, true, true),
        ("madc.hi", true, true, false),
        ("madc.hi.cc", true, true, true),
    ] {
        out.push(Case::new(
            format!("{name}.{}", t.name),
            format!("{l}={l}{l}{l}"),
            &[kind; 3],
            move |x| {
                let (upper, lower) = product(t, x.s[0], x.s[1]);
                let part = i128::from(if high { upper } else { lower });
                chained(x, t, part + i128::from(x.s[2]) + i128::from(takes && x.carry), keeps)
            },
        ));
    }
}

/// A result of a chain: what is beyond the width is the carry, or the borrow.
fn chained(x: &In, t: Int, result: i128, keeps: bool) -> Want {
    let beyond = result < 0 || result >> t.bits != 0;
    Want::Carry(cut(result, t.bits), if keeps { beyond } else { x.carry })
}

/// Products of full width.
fn wide(out: &mut Vec<Case>, t: Int) {
    let (l, w) = if t.bits == 16 { ("h", "r") } else { ("r", "l") };
    let kind = Kind::Int(t.bits);
    out.push(Case::new(
        format!("mul.wide.{}", t.name),
        format!("{w}={l}{l}"),
        &[kind; 2],
        move |x| Want::Bits(cut(t.value(x.s[0]) * t.value(x.s[1]), 2 * t.bits)),
    ));
    out.push(Case::new(
        format!("mad.wide.{}", t.name),
        format!("{w}={l}{l}{w}"),
        &[kind, kind, Kind::Int(2 * t.bits)],
        move |x| {
            let sum = t.value(x.s[0]) * t.value(x.s[1]) + i128::from(x.s[2]);
            Want::Bits(cut(sum, 2 * t.bits))
        },
    ));
}

/// What exists for 32 bits alone.
fn only_32(out: &mut Vec<Case>) {
    let kind = Kind::Int(32);
    let (u, s) = (INTS[4], INTS[5]);
    let fit = move |x: i128| cut(x.max(s.min()).min(s.max()), 32);
    out.push(Case::new("add.sat.s32", "r=rr", &[kind; 2], move |x| {
        Want::Bits(fit(s.value(x.s[0]) + s.value(x.s[1])))
    }));
    out.push(Case::new("sub.sat.s32", "r=rr", &[kind; 2], move |x| {
        Want::Bits(fit(s.value(x.s[0]) - s.value(x.s[1])))
    }));
    out.push(Case::new("mad.hi.sat.s32", "r=rrr", &[kind; 3], move |x| {
        Want::Bits(fit(s.value(product(s, x.s[0], x.s[1]).0) + s.value(x.s[2])))
    }));
    out.push(Case::new("min.relu.s32", "r=rr", &[kind; 2], move |x| {
        let (a, b) = (s.value(x.s[0]), s.value(x.s[1]));
        Want::Bits(if a > 0 && b > 0 { a.min(b) as u64 } else { 0 })
    }));
    out.push(Case::new("max.relu.s32", "r=rr", &[kind; 2], move |x| {
        let (a, b) = (s.value(x.s[0]), s.value(x.s[1]));
        Want::Bits(if a > 0 || b > 0 { a.max(b) as u64 } else { 0 })
    }));
    for t in [u, s] {
        let narrow = Int { bits: 24, ..t };
        for high in [false, true] {
            let part = if high { "hi" } else { "lo" };
            let product = move |x: &In| {
                let all = narrow.value(x.s[0]) * narrow.value(x.s[1]);
                cut(if high { all.div_euclid(1 << 16) } else { all }, 32)
            };
            out.push(Case::new(format!("mul24.{part}.{}", t.name), "r=rr", &[kind; 2], move |x| {
                Want::Bits(product(x))
            }));
            out.push(Case::new(
                format!("mad24.{part}.{}", t.name),
                "r=rrr",
                &[kind; 3],
                move |x| Want::Bits(cut(i128::from(product(x)) + i128::from(x.s[2]), 32)),
            ));
            if high && t.signed {
                out.push(Case::new("mad24.hi.sat.s32", "r=rrr", &[kind; 3], move |x| {
                    Want::Bits(fit(s.value(product(x)) + s.value(x.s[2])))
                }));
            }
        }
    }
}

/// Two numbers of 16 bits in a word.
fn pairs(out: &mut Vec<Case>) {
    for t in [INTS[2], INTS[3]] {
        let mut two = |name: &str, f: fn(i128, i128) -> i128| {
            out.push(Case::new(
                format!("{name}.{}x2", t.name),
                "r=rr",
                &[Kind::Int(32); 2],
                move |x| {
                    let half = |k: u32| {
                        let (a, b) = (t.value(x.s[0] >> k), t.value(x.s[1] >> k));
                        cut(f(a, b), 16) << k
                    };
                    Want::Bits(half(16) | half(0))
                },
            ));
        };
        two("add", |a, b| a + b);
        two("min", |a, b| if a < b { a } else { b });
        two("max", |a, b| if a < b { b } else { a });
        if t.signed {
            two("min.relu", |a, b| if a < 0 || b < 0 { 0 } else { a.min(b) });
            two("max.relu", |a, b| if a < 0 && b < 0 { 0 } else { a.max(b) });
        }
    }
}

fn dot_products(out: &mut Vec<Case>) {
    for (a, b) in [(4, 4), (4, 5), (5, 4), (5, 5)] {
        let (a, b): (Int, Int) = (INTS[a], INTS[b]);
        let names = format!("{}.{}", a.name, b.name);
        let part = |t: Int, bits: u32, x: u64, k: u32| Int { bits, ..t }.value(x >> (bits * k));
        out.push(Case::new(format!("dp4a.{names}"), "r=rrr", &[Kind::Int(32); 3], move |x| {
            let dot: i128 = (0..4).map(|k| part(a, 8, x.s[0], k) * part(b, 8, x.s[1], k)).sum();
            Want::Bits(cut(dot + i128::from(x.s[2]), 32))
        }));
        for (name, first) in [("lo", 0), ("hi", 2)] {
            let opcode = format!("dp2a.{name}.{names}");
            out.push(Case::new(opcode, "r=rrr", &[Kind::Int(32); 3], move |x| {
                let dot: i128 =
                    (0..2).map(|k| part(a, 16, x.s[0], k) * part(b, 8, x.s[1], k + first)).sum();
                Want::Bits(cut(dot + i128::from(x.s[2]), 32))
            }));
        }
    }
}
