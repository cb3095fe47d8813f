//! `atom` and `red`: every operation on every type, in device and shared memory; and many threads
//! on one word.

use super::Probe;
use super::write::{Kernel, random};
use crate::model::exact::{self, BF16, F16, F32, F64, Format, Mode};
use crate::model::inputs::{self, Kind};

const THREADS: usize = 64;
const FORMS: [(&str, &[&str]); 10] = [
    (
        "add",
        &[
            "u32",
            "s32",
            "u64",
            "f32",
            "f64",
            "noftz.f16",
            "noftz.f16x2",
            "noftz.bf16",
            "noftz.bf16x2",
        ],
    ),
    ("inc", &["u32"]),
    ("dec", &["u32"]),
    ("min", &["u32", "s32", "u64", "s64"]),
    ("max", &["u32", "s32", "u64", "s64"]),
    ("and", &["b32", "b64"]),
    ("or", &["b32", "b64"]),
    ("xor", &["b32", "b64"]),
    ("exch", &["b32", "b64"]),
    ("cas", &["b16", "b32", "b64"]),
];

pub fn probes() -> Vec<Probe> {
    let mut out = Vec::new();
    for (op, types) in FORMS {
        for ty in types {
            for space in [".global", ".shared", ""] {
                out.push(probe("atom", space, "", op, ty));
                if !matches!(op, "exch" | "cas") {
                    out.push(probe("red", space, "", op, ty));
                }
            }
        }
    }
    for order in [".relaxed.cta", ".acquire.gpu", ".release.sys", ".acq_rel.cluster"] {
        out.push(probe("atom", ".global", order, "add", "u32"));
    }
    out.extend(["add", "min", "max", "xor", "inc"].map(crowd));
    out
}

fn size(ty: &str) -> usize {
    match ty.rsplit('.').next().unwrap_or_default() {
        "b16" | "f16" | "bf16" => 2,
        ty if ty.ends_with("64") => 8,
        _ => 4,
    }
}

fn kind(ty: &str) -> Kind {
    match ty {
        "f32" => Kind::Float(F32),
        "f64" => Kind::Float(F64),
        "noftz.f16" => Kind::Float(F16),
        "noftz.bf16" => Kind::Float(BF16),
        "noftz.f16x2" => Kind::Pair(F16),
        "noftz.bf16x2" => Kind::Pair(BF16),
        _ => Kind::Int(8 * size(ty) as u32),
    }
}

/// A sum of floats. In device memory, additions of f32 take subnormal numbers for zeros and give
/// none (PTX ISA, "atom").
fn sum(format: Format, shared: bool, a: u64, b: u64) -> u64 {
    let flush = |x: u64| {
        let small = format == F32 && !shared && x & !format.sign() < 1 << format.fraction;
        if small { x & format.sign() } else { x }
    };
    flush(exact::fma(format, Mode::Rn, flush(a), None, Some(flush(b))))
}

fn signed(ty: &str, x: u64) -> i128 {
    match ty {
        "s32" => i128::from(x as u32 as i32),
        "s64" => i128::from(x as i64),
        _ => i128::from(x),
    }
}

/// The new value (PTX ISA, "atom").
fn model(op: &str, ty: &str, shared: bool, old: u64, b: u64, c: u64) -> u64 {
    let all = u64::MAX >> (64 - 8 * size(ty));
    let extreme = |larger: bool| {
        if (signed(ty, b) > signed(ty, old)) == larger { b } else { old }
    };
    match (op, kind(ty)) {
        ("add", Kind::Float(format)) => sum(format, shared, old, b),
        ("add", Kind::Pair(format)) => {
            let half = |s: u32| sum(format, shared, old >> s & 0xffff, b >> s & 0xffff) << s;
            half(0) | half(16)
        }
        ("add", _) => old.wrapping_add(b) & all,
        ("inc", _) => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        ("dec", _) => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        ("min", _) => extreme(false),
        ("max", _) => extreme(true),
        ("and", _) => old & b,
        ("or", _) => old | b,
        ("xor", _) => old ^ b,
        ("exch", _) => b,
        _ => {
            if old == b {
                c
            } else {
                old
            }
        }
    }
}

/// Not finite, or a pair with a NaN.
fn is_special(kind: Kind, x: u64) -> bool {
    match kind {
        Kind::Float(f) => f.is_nan(x) || f.is_infinite(x),
        Kind::Pair(f) => f.is_nan(x & 0xffff) || f.is_nan(x >> 16 & 0xffff),
        _ => false,
    }
}

/// Every thread has a word of its own. What NaN comes of f64 is not stated, so there are none.
fn numbers(name: &str, op: &str, ty: &str) -> Vec<[u64; 3]> {
    let mut random = random(name);
    let kind = kind(ty);
    let mut list = Vec::new();
    while list.len() < THREADS {
        let mut x = [0; 3].map(|_: u64| inputs::random(kind, &mut random));
        if x.iter().any(|&x| is_special(kind, x)) {
            continue;
        }
        if op == "cas" && list.len() % 2 == 0 || op == "inc" && list.len() % 5 == 0 {
            x[1] = x[0];
        }
        list.push(x);
    }
    list
}

fn probe(base: &str, space: &str, order: &str, op: &str, ty: &str) -> Probe {
    let opcode = format!("{base}{order}{space}.{op}.{ty}");
    let (bytes, shared) = (size(ty), space == ".shared");
    let given = numbers(&opcode, op, ty);
    let column = |k: usize| given.iter().flat_map(move |x| x[k].to_le_bytes()[..bytes].to_vec());
    let (mut after, mut old) = (Vec::new(), Vec::new());
    for &[word, b, c] in &given {
        after.extend(&model(op, ty, shared, word, b, c).to_le_bytes()[..bytes]);
        old.extend(&(if base == "atom" { word } else { 0 }).to_le_bytes()[..bytes]);
    }
    let letter = match bytes {
        2 => 'h',
        4 => 'r',
        _ => 'l',
    };
    let [d, b, c, w] = [10, 11, 12, 13].map(|k| format!("%{letter}{k}"));
    let bits = 8 * bytes;
    let (declares, at) = if shared {
        let text = format!(
            ".shared .align 16 .b8 @ENTRY@_s[512];\nmov.u32 %r90, @ENTRY@_s;\n\
             mad.lo.u32 %r90, %i, {bytes}, %r90;\nld.global.u{bits} {w}, [%l30];\n\
             st.shared.u{bits} [%r90], {w};"
        );
        (text, "%r90")
    } else {
        (String::new(), "%l30")
    };
    let third = if op == "cas" { format!(", {c}") } else { String::new() };
    let to = if base == "atom" { format!("{d}, ") } else { String::new() };
    let back = if shared {
        format!("ld.shared.u{bits} {w}, [%r90];\nst.global.u{bits} [%l30], {w};")
    } else {
        String::new()
    };
    Kernel::new(&opcode, "")
        .threads(THREADS as u32)
        .inout(column(0).collect())
        .input(column(1).collect())
        .input(column(2).collect())
        .out(bytes * THREADS, bytes)
        .body(&format!("mad.wide.u32 %l30, %i, {bytes}, %a0;\n{declares}\nmov.b{bits} {d}, 0;"))
        .get(&b, 1, bytes)
        .get(&c, 2, bytes)
        .body(&format!("{opcode} {to}[{at}], {b}{third};\n{back}"))
        .put(3, bytes, &[&d])
        .wants(vec![after, old])
}

/// All threads of four blocks on one word; the order decides what each gets back, and the sum of
/// that is what the order cannot change.
fn crowd(op: &str) -> Probe {
    let ty = if op == "xor" { "b32" } else { "u32" };
    let opcode = format!("atom.global.{op}.{ty}");
    let mut random = random(&format!("crowd {op}"));
    let count = 4 * THREADS;
    let values: Vec<u32> =
        (0..count).map(|_| if op == "inc" { 100 } else { random.next() as u32 }).collect();
    let start = if op == "min" { u32::MAX } else { 0 };
    let result = values
        .iter()
        .fold(u64::from(start), |word, &value| model(op, ty, false, word, u64::from(value), 0));
    Kernel::new(&opcode, "by many")
        .shape([4, 1, 1], [THREADS as u32, 1, 1])
        .inout(start.to_le_bytes().to_vec())
        .input32(&values)
        .element(4)
        .get("%r10", 1, 4)
        .body(&format!("{opcode} %r11, [%a0], %r10;"))
        .wants32(vec![result as u32])
}
