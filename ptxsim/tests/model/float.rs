//! Models of floating-point arithmetic: exact results rounded by search (see `exact`), and for
//! approximations the host's binary64 with the errors that the PTX ISA allows.

use super::exact::{self, BF16, F16, F32, F64, Format, MODES, Mode};
use super::harness::{Case, Want};
use super::inputs::Kind;

/// A zero of a subnormal's sign.
pub fn flush(f: Format, ftz: bool, x: u64) -> u64 {
    if ftz && f.is_subnormal(x) { x & f.sign() } else { x }
}

/// `.sat` and `.relu`.
pub fn limit(f: Format, sat: bool, relu: bool, x: u64) -> u64 {
    if f.is_nan(x) {
        return if sat { 0 } else { x };
    }
    if (sat || relu) && f.is_negative(x) {
        return 0;
    }
    if sat && x > f.one() { f.one() } else { x }
}

type Operation = fn(Format, Mode, [u64; 3]) -> u64;

fn add(f: Format, mode: Mode, x: [u64; 3]) -> u64 {
    exact::fma(f, mode, x[0], None, Some(x[1]))
}

fn sub(f: Format, mode: Mode, x: [u64; 3]) -> u64 {
    let minus = if f.is_nan(x[1]) { x[1] } else { x[1] ^ f.sign() };
    exact::fma(f, mode, x[0], None, Some(minus))
}

fn mul(f: Format, mode: Mode, x: [u64; 3]) -> u64 {
    exact::fma(f, mode, x[0], Some(x[1]), None)
}

fn fma(f: Format, mode: Mode, x: [u64; 3]) -> u64 {
    exact::fma(f, mode, x[0], Some(x[1]), Some(x[2]))
}

const OPERATIONS: [(&str, usize, Operation); 8] = [
    ("add", 2, add),
    ("sub", 2, sub),
    ("mul", 2, mul),
    ("fma", 3, fma),
    ("mad", 3, fma),
    ("div", 2, |f, mode, x| exact::div(f, mode, x[0], x[1])),
    ("rcp", 1, |f, mode, x| exact::div(f, mode, f.one(), x[0])),
    ("sqrt", 1, |f, mode, x| exact::sqrt(f, mode, x[0])),
];

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for (name, count, operation) in OPERATIONS {
        let may_omit = matches!(name, "add" | "sub" | "mul");
        let saturates = may_omit || count == 3;
        for (dot_mode, mode) in MODES {
            let mut names = vec![dot_mode];
            if may_omit && mode == Mode::Rn {
                names.push("");
            }
            for dot_mode in names {
                let opcode = format!("{name}{dot_mode}");
                arithmetic(&mut out, F64, format!("{opcode}.f64"), "l", count, mode, operation);
                let mods: &[&str] =
                    if saturates { &["", ".ftz", ".sat", ".ftz.sat"] } else { &["", ".ftz"] };
                for mods in mods {
                    let opcode = format!("{opcode}{mods}.f32");
                    arithmetic(&mut out, F32, opcode, "r", count, mode, operation);
                }
                if mode == Mode::Rn && saturates && name != "mad" {
                    half_arithmetic(&mut out, &opcode, count, operation);
                }
            }
        }
    }
    extrema(&mut out);
    signs(&mut out);
    approximations(&mut out);
    half_approximations(&mut out);
    out
}

/// One operation of one format; its modifiers are read off the opcode.
fn arithmetic(
    out: &mut Vec<Case>,
    f: Format,
    opcode: String,
    letter: &str,
    count: usize,
    mode: Mode,
    operation: Operation,
) {
    let model = scalar(f, &opcode, mode, operation);
    let operands = format!("{letter}={}", letter.repeat(count));
    out.push(Case::new(opcode, operands, &vec![Kind::Float(f); count], move |x| {
        Want::Bits(model([x.s[0], x.s[1], x.s[2]]))
    }));
}

fn scalar(
    f: Format,
    opcode: &str,
    mode: Mode,
    operation: Operation,
) -> impl Fn([u64; 3]) -> u64 + Send + Sync + 'static {
    let has = |modifier: &str| opcode.split('.').any(|part| part == modifier);
    let (ftz, sat, relu) = (has("ftz"), has("sat"), has("relu"));
    move |x| {
        let result = operation(f, mode, x.map(|x| flush(f, ftz, x)));
        limit(f, sat, relu, flush(f, ftz, result))
    }
}

/// An operation on halves, alone and in pairs.
fn half_arithmetic(out: &mut Vec<Case>, opcode: &str, count: usize, operation: Operation) {
    let mut mods = vec![("", F16), (".ftz", F16), (".sat", F16), (".ftz.sat", F16), ("", BF16)];
    if count == 3 {
        mods.extend([(".relu", F16), (".ftz.relu", F16), (".relu", BF16)]);
    }
    for (mods, f) in mods {
        let t = if f == F16 { "f16" } else { "bf16" };
        let name = format!("{opcode}{mods}.{t}");
        let model = scalar(f, &name, Mode::Rn, operation);
        arithmetic(out, f, name.clone(), "h", count, Mode::Rn, operation);
        let operands = format!("r={}", "r".repeat(count));
        out.push(Case::new(format!("{name}x2"), operands, &vec![Kind::Pair(f); count], move |x| {
            let half = |k: u32| model([0, 1, 2].map(|n| x.s[n] >> k & 0xffff));
            Want::Bits(half(16) << 16 | half(0))
        }));
    }
}

/// The greater or lesser of two, by the order of whole numbers.
fn extremum(f: Format, opcode: &str, a: u64, b: u64) -> u64 {
    let has = |modifier: &str| opcode.split('.').any(|part| part == modifier);
    let (a, b) = (flush(f, has("ftz"), a), flush(f, has("ftz"), b));
    let nans = u32::from(f.is_nan(a)) + u32::from(f.is_nan(b));
    if nans == 2 || (nans == 1 && has("NaN")) {
        return f.nan();
    }
    let sign = (a ^ b) & f.sign();
    let size = |x: u64| x & (f.sign() - 1);
    let (a, b) = if has("xorsign") { (size(a), size(b)) } else { (a, b) };
    // Minus zero is just below zero.
    let key = |x: u64| {
        let n = i128::from(size(x));
        if f.is_negative(x) { -n - 1 } else { n }
    };
    let result = match (f.is_nan(a), f.is_nan(b)) {
        (true, _) => b,
        (_, true) => a,
        _ if has("max") == (key(a) > key(b)) => a,
        _ => b,
    };
    if has("xorsign") { size(result) | sign } else { result }
}

fn extrema(out: &mut Vec<Case>) {
    for name in ["min", "max"] {
        for ftz in ["", ".ftz"] {
            for mods in ["", ".NaN", ".xorsign.abs", ".NaN.xorsign.abs"] {
                for (f, t, letter) in [(F16, "f16", "h"), (BF16, "bf16", "h"), (F32, "f32", "r")] {
                    if f == BF16 && !ftz.is_empty() {
                        continue;
                    }
                    let opcode = format!("{name}{ftz}{mods}.{t}");
                    let text = opcode.clone();
                    let operands = format!("{letter}={letter}{letter}");
                    out.push(Case::new(&opcode, operands, &[Kind::Float(f); 2], move |x| {
                        Want::Bits(extremum(f, &text, x.s[0], x.s[1]))
                    }));
                    if letter == "h" {
                        let text = opcode.clone();
                        out.push(Case::new(
                            format!("{opcode}x2"),
                            "r=rr",
                            &[Kind::Pair(f); 2],
                            move |x| {
                                let half = |k: u32| {
                                    let [a, b] = [0, 1].map(|n| x.s[n] >> k & 0xffff);
                                    extremum(f, &text, a, b)
                                };
                                Want::Bits(half(16) << 16 | half(0))
                            },
                        ));
                    }
                }
            }
        }
        out.push(Case::new(format!("{name}.f64"), "l=ll", &[Kind::Float(F64); 2], move |x| {
            Want::Bits(extremum(F64, name, x.s[0], x.s[1]))
        }));
    }
}

/// `abs`, `neg`, `copysign` and `testp`.
fn signs(out: &mut Vec<Case>) {
    for name in ["abs", "neg"] {
        for (f, t, l) in
            [(F16, "f16", "h"), (BF16, "bf16", "h"), (F32, "f32", "r"), (F64, "f64", "l")]
        {
            for ftz in ["", ".ftz"] {
                if !ftz.is_empty() && (f == F64 || f == BF16) {
                    continue;
                }
                let one = move |x: u64| {
                    let x = flush(f, !ftz.is_empty(), x);
                    let negative = f.is_negative(x);
                    let size = if negative { x - f.sign() } else { x };
                    if name == "neg" && !negative { size + f.sign() } else { size }
                };
                let opcode = format!("{name}{ftz}.{t}");
                out.push(Case::new(&opcode, format!("{l}={l}"), &[Kind::Float(f)], move |x| {
                    Want::Bits(one(x.s[0]))
                }));
                if l == "h" {
                    out.push(Case::new(format!("{opcode}x2"), "r=r", &[Kind::Pair(f)], move |x| {
                        Want::Bits(one(x.s[0] >> 16) << 16 | one(x.s[0] & 0xffff))
                    }));
                }
            }
        }
    }
    for (f, t, l) in [(F32, "f32", "r"), (F64, "f64", "l")] {
        let operands = format!("{l}={l}{l}");
        out.push(Case::new(format!("copysign.{t}"), operands, &[Kind::Float(f); 2], move |x| {
            Want::Bits(x.s[1] % f.sign() + x.s[0] / f.sign() * f.sign())
        }));
        let mut test = |name: &str, holds: fn(Format, u64) -> bool| {
            let opcode = format!("testp.{name}.{t}");
            out.push(Case::new(opcode, format!("p={l}"), &[Kind::Float(f)], move |x| {
                Want::Bits(u64::from(holds(f, x.s[0])))
            }));
        };
        test("finite", |f, x| !f.is_nan(x) && !f.is_infinite(x));
        test("infinite", Format::is_infinite);
        test("number", |f, x| !f.is_nan(x));
        test("notanumber", Format::is_nan);
        test("normal", |f, x| !f.is_nan(x) && !f.is_infinite(x) && !f.is_subnormal(x));
        test("subnormal", Format::is_subnormal);
    }
}

/// Name, function, relative and absolute error: the figures of the PTX ISA's descriptions of the
/// instructions. Where it gives one for a part of the range only, the other is that part's too.
type Approximation = (&'static str, fn(f64) -> f64, f64, f64);
const APPROXIMATE: [Approximation; 8] = [
    ("rcp", |x| 1.0 / x, 1.2e-7, 0.0),
    ("sqrt", f64::sqrt, 1.2e-7, 0.0),
    ("rsqrt", |x| 1.0 / x.sqrt(), 1.3e-7, 0.0),
    ("ex2", f64::exp2, 2.4e-7, 0.0),
    ("lg2", f64::log2, 2.4e-7, 2.4e-7),
    ("sin", f64::sin, 0.0, 6.8e-7),
    ("cos", f64::cos, 0.0, 6.8e-7),
    ("tanh", f64::tanh, 4.9e-4, 0.0),
];

fn approximations(out: &mut Vec<Case>) {
    let least = F32.value(1);
    let normal = F32.value(1 << 23);
    for ftz in ["", ".ftz"] {
        let flushes = !ftz.is_empty();
        let near = move |value: f64, relative: f64, absolute: f64| Want::Near {
            format: F32,
            value,
            relative,
            // The last bit of a subnormal, or all of it.
            absolute: absolute.max(if flushes { normal } else { least }),
        };
        for (name, f, relative, absolute) in APPROXIMATE {
            if name == "tanh" && flushes {
                continue;
            }
            let opcode = format!("{name}.approx{ftz}.f32");
            out.push(Case::new(opcode, "r=r", &[Kind::Float(F32)], move |x| {
                near(f(F32.value(flush(F32, flushes, x.s[0]))), relative, absolute)
            }));
        }
        for name in ["approx", "full"] {
            let kinds = [Kind::Float(F32); 2];
            out.push(Case::new(format!("div.{name}{ftz}.f32"), "r=rr", &kinds, move |x| {
                let [a, b] = [0, 1].map(|k| F32.value(flush(F32, flushes, x.s[k])));
                let huge = b.abs() > 2f64.powi(126) && b.is_finite() && name == "approx";
                near(if huge { a * 0.0 } else { a / b }, 2.4e-7, 0.0)
            }));
        }
    }
    // Twenty bits are what the instructions on upper words can give; PTX states 2^-23 and less.
    let wide = |name: &'static str, relative: f64| {
        move |x: &super::harness::In| {
            let ftz = name.contains("ftz");
            let upper = if ftz { x.s[0] >> 32 << 32 } else { x.s[0] };
            let bits = if F64.is_nan(x.s[0]) { x.s[0] } else { flush(F64, ftz, upper) };
            let x = F64.value(bits);
            let value = if name.starts_with("rcp") { 1.0 / x } else { 1.0 / x.sqrt() };
            let absolute = if ftz { f64::MIN_POSITIVE } else { 0.0 };
            Want::Near { format: F64, value, relative, absolute }
        }
    };
    for (name, relative) in
        [("rcp.approx.ftz.f64", 1e-6), ("rsqrt.approx.f64", 1e-8), ("rsqrt.approx.ftz.f64", 1e-6)]
    {
        out.push(Case::new(name, "l=l", &[Kind::Float(F64)], wide(name, relative)));
    }
}

/// `ex2` and `tanh` of halves; PTX gives relative errors of 2^-9.9 and 2^-7 for `ex2`, 2^-10.987
/// and 2^-8 for `tanh`.
fn half_approximations(out: &mut Vec<Case>) {
    for (name, f, t, function, relative) in [
        ("ex2.approx", F16, "f16", f64::exp2 as fn(f64) -> f64, 1.05e-3),
        ("ex2.approx.ftz", BF16, "bf16", f64::exp2, 7.9e-3),
        ("tanh.approx", F16, "f16", f64::tanh, 5e-4),
        ("tanh.approx", BF16, "bf16", f64::tanh, 4e-3),
    ] {
        let ftz = name.ends_with("ftz");
        let value = move |x: u64| function(f.value(flush(f, ftz, x & 0xffff)));
        let absolute = f.value(if ftz { 1 << f.fraction } else { 1 });
        out.push(Case::new(format!("{name}.{t}"), "h=h", &[Kind::Float(f)], move |x| Want::Near {
            format: f,
            value: value(x.s[0]),
            relative,
            absolute,
        }));
        out.push(Case::new(format!("{name}.{t}x2"), "r=r", &[Kind::Pair(f)], move |x| {
            let values = [value(x.s[0]), value(x.s[0] >> 16)];
            Want::NearPair { format: f, values, relative, absolute }
        }));
    }
}
