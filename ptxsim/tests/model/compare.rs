//! Models of comparisons: operands are mapped to whole numbers in the order of their values.

use super::exact::{BF16, F16, F32, F64, Format};
use super::harness::{Case, In, Want};
use super::inputs::Kind;
use super::integer::Int;
use std::cmp::Ordering;

/// What is compared.
#[derive(Clone, Copy)]
enum Type {
    Int(Int),
    Float(Format, bool),
}

impl Type {
    fn order(self, a: u64, b: u64) -> Option<Ordering> {
        match self {
            Type::Int(t) => Some(t.value(a).cmp(&t.value(b))),
            Type::Float(f, ftz) => {
                let key = |x: u64| {
                    let zero = f.is_zero(x) || (ftz && f.is_subnormal(x));
                    let size = if zero { 0 } else { i128::from(x & (f.sign() - 1)) };
                    if f.is_negative(x) { -size } else { size }
                };
                (!f.is_nan(a) && !f.is_nan(b)).then(|| key(a).cmp(&key(b)))
            }
        }
    }
    fn kind(self) -> Kind {
        match self {
            Type::Int(t) => Kind::Int(t.bits),
            Type::Float(f, _) => Kind::Float(f),
        }
    }
}

/// The comparison by the letters of its name.
fn holds(name: &str, order: Option<Ordering>) -> bool {
    let Some(order) = order else {
        return name == "nan" || (name.len() == 3 && name.ends_with('u') && name != "num");
    };
    match &name[..2] {
        "eq" => order.is_eq(),
        "ne" => order.is_ne(),
        "lt" | "lo" => order.is_lt(),
        "le" | "ls" => order.is_le(),
        "gt" | "hi" => order.is_gt(),
        "ge" | "hs" => order.is_ge(),
        _ => name == "num",
    }
}

fn join(operator: &str, a: bool, c: u64) -> bool {
    let c = c == 1;
    match operator {
        ".and" => a && c,
        ".or" => a || c,
        ".xor" => a != c,
        _ => a,
    }
}

const OPERATORS: [&str; 4] = ["", ".and", ".or", ".xor"];
const FLOAT: [&str; 14] =
    ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for (bits, l) in [(16, "hh"), (32, "rr"), (64, "ll")] {
        for (letter, signed) in [("b", false), ("u", false), ("s", true)] {
            let t = Type::Int(Int { name: "", bits, signed });
            let names: &[&str] = match letter {
                "b" => &["eq", "ne"],
                "u" => &["eq", "ne", "lt", "lo", "le", "ls", "gt", "hi", "ge", "hs"],
                _ => &["eq", "ne", "lt", "le", "gt", "ge"],
            };
            for name in names {
                all(&mut out, t, name, "", &format!(".{letter}{bits}"), l, true);
            }
        }
    }
    for name in FLOAT {
        all(&mut out, Type::Float(F32, false), name, "", ".f32", "rr", true);
        all(&mut out, Type::Float(F32, true), name, ".ftz", ".f32", "rr", true);
        all(&mut out, Type::Float(F64, false), name, "", ".f64", "ll", true);
        for (format, ftz, t) in [(F16, "", ".f16"), (F16, ".ftz", ".f16"), (BF16, "", ".bf16")] {
            all(&mut out, Type::Float(format, !ftz.is_empty()), name, ftz, t, "hh", false);
            halves(&mut out, format, name, ftz, t);
        }
    }
    out
}

/// `setp` and `set` of one type.
fn all(
    out: &mut Vec<Case>,
    t: Type,
    name: &'static str,
    ftz: &str,
    dot_type: &str,
    l: &str,
    further: bool,
) {
    for operator in OPERATORS {
        let mut kinds = vec![t.kind(); 2];
        let mut sources = l.to_string();
        if !operator.is_empty() {
            kinds.push(Kind::Predicate);
            sources.push('p');
        }
        let result = move |x: &In| holds(name, t.order(x.s[0], x.s[1]));
        let setp = format!("setp.{name}{operator}{ftz}{dot_type}");
        out.push(Case::new(&setp, format!("p={sources}"), &kinds, move |x| {
            Want::Bits(u64::from(join(operator, result(x), x.s[2])))
        }));
        let mut set = |to: &str, ones: u64| {
            let opcode = format!("set.{name}{operator}{ftz}{to}{dot_type}");
            out.push(Case::new(opcode, format!("r={sources}"), &kinds, move |x| {
                Want::Bits(if join(operator, result(x), x.s[2]) { ones } else { 0 })
            }));
        };
        set(".u32", 0xffff_ffff);
        set(".s32", 0xffff_ffff);
        if further {
            set(".f32", u64::from(1f32.to_bits()));
            out.push(Case::new(&setp, format!("p|p={sources}"), &kinds, move |x| {
                let [p, q] = [result(x), !result(x)].map(|a| join(operator, a, x.s[2]));
                Want::Two(u64::from(p), u64::from(q))
            }));
        }
    }
}

/// What halves have beside that.
fn halves(out: &mut Vec<Case>, f: Format, name: &'static str, ftz: &'static str, dot_type: &str) {
    let t = Type::Float(f, !ftz.is_empty());
    let one = f.one();
    let single = [Kind::Float(f); 2];
    for (to, ones) in [(".u16", 0xffff), (".s16", 0xffff), (dot_type, one)] {
        out.push(Case::new(format!("set.{name}{ftz}{to}{dot_type}"), "h=hh", &single, move |x| {
            Want::Bits(if holds(name, t.order(x.s[0], x.s[1])) { ones } else { 0 })
        }));
    }
    let both = move |x: &In| {
        [0, 16].map(|k| holds(name, t.order(x.s[0] >> k & 0xffff, x.s[1] >> k & 0xffff)))
    };
    let pair = [Kind::Pair(f); 2];
    let x2 = format!("{dot_type}x2");
    for (to, ones) in [(".u32", 0xffff), (".s32", 0xffff), (x2.as_str(), one)] {
        out.push(Case::new(format!("set.{name}{ftz}{to}{x2}"), "r=rr", &pair, move |x| {
            let [low, high] = both(x).map(|bit| if bit { ones } else { 0 });
            Want::Bits(high << 16 | low)
        }));
    }
    let with_predicate = [pair[0], pair[1], Kind::Predicate];
    out.push(Case::new(
        format!("set.{name}.and{ftz}{x2}{x2}"),
        "r=rrp",
        &with_predicate,
        move |x| {
            let [low, high] = both(x).map(|bit| if bit && x.s[2] == 1 { one } else { 0 });
            Want::Bits(high << 16 | low)
        },
    ));
    for operator in OPERATORS {
        let opcode = format!("setp.{name}{operator}{ftz}{x2}");
        let model = move |x: &In| {
            let [p, q] = both(x).map(|bit| join(operator, bit, x.s[2]));
            Want::Two(u64::from(p), u64::from(q))
        };
        if operator.is_empty() {
            out.push(Case::new(opcode, "p|p=rr", &pair, model));
        } else {
            out.push(Case::new(opcode, "p|p=rrp", &with_predicate, model));
        }
    }
}
