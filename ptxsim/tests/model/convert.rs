//! Models of `cvt`.

use super::exact::{self, BF16, E4M3, E5M2, F16, F32, F64, Format, MODES, Mode, TF32};
use super::float::{flush, limit};
use super::harness::{Case, Want};
use super::inputs::Kind;
use super::integer::{INTS, Int};
use std::cmp::Ordering;

/// Floating-point types: name, format, letter.
const FLOATS: [(&str, Format, &str); 4] =
    [("f16", F16, "h"), ("bf16", BF16, "h"), ("f32", F32, "r"), ("f64", F64, "l")];

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for from in INTS {
        for to in INTS {
            integers(&mut out, from, to);
        }
        for (name, f, letter) in FLOATS {
            for source in letters_32(from) {
                if f != BF16 || (from.bits > 8 && *source == from.letter()) {
                    int_to_float(&mut out, from, source, name, f, letter);
                }
            }
        }
    }
    for (name, f, letter) in FLOATS {
        for to in INTS {
            for destination in letters_32(to) {
                if f != BF16 || (to.bits > 8 && *destination == to.letter()) {
                    float_to_int(&mut out, name, f, letter, to, destination);
                }
            }
        }
        wholes(&mut out, name, f, letter);
        for to in FLOATS {
            if to.1 != f {
                floats(&mut out, (name, f, letter), to);
            }
        }
    }
    pairs(&mut out);
    small(&mut out);
    tf32(&mut out);
    packs(&mut out);
    out
}

fn register(letter: &str) -> u32 {
    match letter {
        "h" => 16,
        "r" => 32,
        _ => 64,
    }
}

/// The registers that hold a type: its own and wider ones.
fn letters(t: Int) -> &'static [&'static str] {
    match t.bits {
        8 | 16 => &["h", "r", "l"],
        32 => &["r", "l"],
        _ => &["l"],
    }
}

/// As [`letters`], for conversions to and from floats.
fn letters_32(t: Int) -> &'static [&'static str] {
    &letters(t)[..if t.bits < 32 { 2 } else { 1 }]
}

fn integers(out: &mut Vec<Case>, from: Int, to: Int) {
    for source in letters(from) {
        for destination in letters(to) {
            registers(out, from, to, source, destination);
        }
    }
}

fn registers(out: &mut Vec<Case>, from: Int, to: Int, source: &str, destination: &str) {
    let operands = format!("{destination}={source}");
    let width = register(destination);
    let kind = [Kind::Int(register(source))];
    out.push(Case::new(format!("cvt.{}.{}", to.name, from.name), &operands, &kind, move |x| {
        Want::Bits(to.register(from.value(x.s[0]), width))
    }));
    if from.min() < to.min() || from.max() > to.max() {
        let opcode = format!("cvt.sat.{}.{}", to.name, from.name);
        out.push(Case::new(opcode, &operands, &kind, move |x| {
            let value = from.value(x.s[0]).max(to.min()).min(to.max());
            Want::Bits(to.register(value, width))
        }));
    }
}

fn int_to_float(out: &mut Vec<Case>, from: Int, source: &str, name: &str, f: Format, letter: &str) {
    let kind = [Kind::Int(register(source))];
    let operands = format!("{letter}={source}");
    for (dot_mode, mode) in MODES {
        let opcode = format!("cvt{dot_mode}.{name}.{}", from.name);
        out.push(Case::new(opcode, &operands, &kind, move |x| {
            Want::Bits(exact::from_int(from.value(x.s[0]), f, mode))
        }));
    }
    if f == F32 {
        let opcode = format!("cvt.rn.sat.f32.{}", from.name);
        out.push(Case::new(opcode, &operands, &kind, move |x| {
            Want::Bits(if from.value(x.s[0]) > 0 { f.one() } else { 0 })
        }));
    }
}

/// The whole number that a mode asks for, of a finite value.
fn whole(f: Format, mode: Mode, x: u64) -> i128 {
    let (floor, half, exact) = exact::floor(f, x);
    let up = !exact
        && match mode {
            Mode::Rm => false,
            Mode::Rp => true,
            Mode::Rz => f.is_negative(x),
            _ => half == Ordering::Greater || (half == Ordering::Equal && floor % 2 != 0),
        };
    floor + i128::from(up)
}

fn float_to_int(
    out: &mut Vec<Case>,
    name: &str,
    f: Format,
    letter: &str,
    to: Int,
    destination: &str,
) {
    let operands = format!("{destination}={letter}");
    let width = register(destination);
    let ftzs: &[&str] = if f == F32 { &["", ".ftz"] } else { &[""] };
    let sats: &[&str] = if f == BF16 { &[""] } else { &["", ".sat"] };
    for (dot_mode, mode) in MODES {
        for ftz in ftzs {
            for sat in sats {
                let opcode = format!("cvt{dot_mode}i{ftz}{sat}.{}.{name}", to.name);
                let flushes = !ftz.is_empty();
                out.push(Case::new(opcode, &operands, &[Kind::Float(f)], move |x| {
                    let x = flush(f, flushes, x.s[0]);
                    let value = if f.is_nan(x) {
                        let high = f == F64 || to.bits == 64;
                        if high { 1 << (to.bits - 1) } else { 0 }
                    } else if f.is_infinite(x) {
                        if f.is_negative(x) { to.min() } else { to.max() }
                    } else {
                        whole(f, mode, x).max(to.min()).min(to.max())
                    };
                    Want::Bits(to.register(value, width))
                }));
            }
        }
    }
}

/// Whole numbers of the same format, and modifiers alone.
fn wholes(out: &mut Vec<Case>, name: &str, f: Format, letter: &str) {
    let operands = format!("{letter}={letter}");
    let ftzs: &[&str] = if f == F32 { &["", ".ftz"] } else { &[""] };
    let sats: &[&str] = if f == BF16 { &[""] } else { &["", ".sat"] };
    for ftz in ftzs {
        for sat in sats {
            let (flushes, saturates) = (!ftz.is_empty(), !sat.is_empty());
            for (dot_mode, mode) in MODES {
                let opcode = format!("cvt{dot_mode}i{ftz}{sat}.{name}.{name}");
                out.push(Case::new(opcode, &operands, &[Kind::Float(f)], move |x| {
                    let x = flush(f, flushes, x.s[0]);
                    // From where on every number is whole.
                    let large = (f.one() >> f.fraction) + u64::from(f.fraction);
                    let result = if f.is_nan(x) {
                        f.nan()
                    } else if (x % f.sign()) >> f.fraction >= large {
                        x
                    } else {
                        // A zero keeps its sign.
                        exact::from_int(whole(f, mode, x), f, Mode::Rn) | (x & f.sign())
                    };
                    Want::Bits(limit(f, saturates, false, result))
                }));
            }
            let opcode = format!("cvt{ftz}{sat}.{name}.{name}");
            out.push(Case::new(opcode, &operands, &[Kind::Float(f)], move |x| {
                let x = if f.is_nan(x.s[0]) { f.nan() } else { flush(f, flushes, x.s[0]) };
                Want::Bits(limit(f, saturates, false, x))
            }));
        }
    }
}

/// The forms that PTX has from one format to another: modes, and modifiers after them.
fn forms(from: &str, to: &str) -> (&'static [&'static str], &'static [&'static str]) {
    const ALL: &[&str] = &[".rn", ".rz", ".rm", ".rp"];
    match (from, to) {
        ("f16", "f32") | ("f32", "f64") => (&[""], &["", ".ftz", ".sat", ".ftz.sat"]),
        ("bf16", "f32") => (&[""], &["", ".ftz"]),
        ("f16" | "bf16", "f64") => (&[""], &[""]),
        ("f32", "f16") | ("f64", "f32") => (ALL, &["", ".ftz", ".sat", ".ftz.sat"]),
        ("f64", "f16") => (ALL, &["", ".sat"]),
        ("f32", "bf16") => (ALL, &[""]),
        _ => (&[".rn", ".rz"], &[""]),
    }
}

fn mode(name: &str) -> Mode {
    MODES.into_iter().find(|(dot_mode, _)| *dot_mode == name).map_or(Mode::Rn, |(_, mode)| mode)
}

fn floats(out: &mut Vec<Case>, from: (&str, Format, &str), to: (&str, Format, &str)) {
    let (modes, mods) = forms(from.0, to.0);
    let mut add = |dot_mode: &str, mods: &str| {
        let opcode = format!("cvt{dot_mode}{mods}.{}.{}", to.0, from.0);
        let (f, t, mode) = (from.1, to.1, mode(dot_mode));
        let [ftz, sat, relu] = ["ftz", "sat", "relu"].map(|m| mods.split('.').any(|x| x == m));
        let operands = format!("{}={}", to.2, from.2);
        out.push(Case::new(opcode, operands, &[Kind::Float(f)], move |x| {
            // `.ftz` is about f32, on either side.
            let x = flush(f, ftz && f == F32, x.s[0]);
            if (f, t) == (BF16, F32) {
                return Want::Bits(x << 16);
            }
            let result = flush(t, ftz && t == F32, exact::convert(f, x, t, mode));
            Want::Bits(limit(t, sat, relu, result))
        }));
    };
    for dot_mode in modes {
        for mods in mods {
            add(dot_mode, mods);
        }
        if from.0 == "f32" && to.2 == "h" && matches!(*dot_mode, ".rn" | ".rz") {
            add(dot_mode, ".relu");
        }
    }
}

/// To nothing larger than the largest number.
fn finite(f: Format, x: u64) -> u64 {
    if f.is_infinite(x) { x - 1 } else { x }
}

fn pairs(out: &mut Vec<Case>) {
    for (name, f) in [("f16x2", F16), ("bf16x2", BF16)] {
        for dot_mode in [".rn", ".rz"] {
            for mods in ["", ".relu", ".satfinite", ".relu.satfinite"] {
                let opcode = format!("cvt{dot_mode}{mods}.{name}.f32");
                let (relu, saturates) = (mods.contains("relu"), mods.contains("satfinite"));
                let mode = mode(dot_mode);
                out.push(Case::new(opcode, "r=rr", &[Kind::Float(F32); 2], move |x| {
                    let [high, low] = [0, 1].map(|k| {
                        let y = exact::convert(F32, x.s[k], f, mode);
                        limit(f, false, relu, if saturates { finite(f, y) } else { y })
                    });
                    Want::Bits(high << 16 | low)
                }));
            }
        }
    }
}

/// Eight-bit formats.
fn small(out: &mut Vec<Case>) {
    for (name, f) in [("e4m3x2", E4M3), ("e5m2x2", E5M2)] {
        for dot_relu in ["", ".relu"] {
            let relu = !dot_relu.is_empty();
            let one = move |from: Format, x: u64| {
                limit(f, false, relu, finite(f, exact::convert(from, x, f, Mode::Rn)))
            };
            let opcode = format!("cvt.rn.satfinite{dot_relu}.{name}");
            out.push(Case::new(
                format!("{opcode}.f32"),
                "h=rr",
                &[Kind::Float(F32); 2],
                move |x| Want::Bits(one(F32, x.s[0]) << 8 | one(F32, x.s[1])),
            ));
            out.push(Case::new(format!("{opcode}.f16x2"), "h=r", &[Kind::Pair(F16)], move |x| {
                Want::Bits(one(F16, x.s[0] >> 16) << 8 | one(F16, x.s[0] & 0xffff))
            }));
            let opcode = format!("cvt.rn{dot_relu}.f16x2.{name}");
            out.push(Case::new(opcode, "r=h", &[Kind::Bytes], move |x| {
                let [high, low] = [x.s[0] >> 8, x.s[0] & 0xff]
                    .map(|x| limit(F16, false, relu, exact::convert(f, x, F16, Mode::Rn)));
                Want::Bits(high << 16 | low)
            }));
        }
    }
}

fn tf32(out: &mut Vec<Case>) {
    for (name, mode) in [
        ("rna", Mode::Rna),
        ("rna.satfinite", Mode::Rna),
        ("rn", Mode::Rn),
        ("rn.relu", Mode::Rn),
        ("rz", Mode::Rz),
        ("rz.relu", Mode::Rz),
    ] {
        let opcode = format!("cvt.{name}.tf32.f32");
        out.push(Case::new(opcode, "r=r", &[Kind::Float(F32)], move |x| {
            if F32.is_nan(x.s[0]) {
                return Want::Bits(F32.nan());
            }
            let y = exact::convert(F32, x.s[0], TF32, mode);
            let y = if name.ends_with("finite") { finite(TF32, y) } else { y };
            Want::Bits(limit(TF32, false, name.ends_with("relu"), y) << 13)
        }));
    }
}

fn packs(out: &mut Vec<Case>) {
    let word = Kind::Int(32);
    for bits in [2, 4, 8, 16] {
        for (letter, signed) in [("u", false), ("s", true)] {
            let t = Int { name: "", bits, signed };
            let fit = move |x: u64| {
                let x = INTS[5].value(x).max(t.min()).min(t.max());
                t.register(x, 32) & ((1 << bits) - 1)
            };
            let opcode = format!("cvt.pack.sat.{letter}{bits}.s32");
            if bits == 16 {
                out.push(Case::new(opcode, "r=rr", &[word; 2], move |x| {
                    Want::Bits(fit(x.s[0]) << 16 | fit(x.s[1]))
                }));
            } else {
                out.push(Case::new(format!("{opcode}.b32"), "r=rrr", &[word; 3], move |x| {
                    let above = x.s[2] << (2 * bits) & 0xffff_ffff;
                    Want::Bits(above | fit(x.s[0]) << bits | fit(x.s[1]))
                }));
            }
        }
    }
}
