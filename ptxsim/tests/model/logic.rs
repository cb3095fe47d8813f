//! Models of logic, shifts, fields and permutations, bit by bit; and of selections and addresses.

use super::harness::{Case, In, Want};
use super::inputs::Kind;

/// Bits, lowest first.
fn bits(x: u64, n: usize) -> Vec<bool> {
    (0..n).map(|k| x >> k & 1 == 1).collect()
}

fn number(bits: impl IntoIterator<Item = bool>) -> u64 {
    bits.into_iter().enumerate().map(|(k, bit)| u64::from(bit) << k).sum()
}

pub fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for (width, letter) in [(16, "h"), (32, "r"), (64, "l")] {
        every_width(&mut out, width, letter);
    }
    predicates(&mut out);
    tables(&mut out);
    funnels(&mut out);
    permutations(&mut out);
    for (width, letter) in [(32, "r"), (64, "l")] {
        fields(&mut out, width, letter);
        counts(&mut out, width, letter);
    }
    masks(&mut out);
    selections(&mut out);
    addresses(&mut out);
    out
}

fn every_width(out: &mut Vec<Case>, width: u32, l: &str) {
    let kind = Kind::Int(width);
    let n = width as usize;
    let mut two = |name: &str, f: fn(bool, bool) -> bool| {
        out.push(Case::new(
            format!("{name}.b{width}"),
            format!("{l}={l}{l}"),
            &[kind; 2],
            move |x| {
                let pairs = bits(x.s[0], n).into_iter().zip(bits(x.s[1], n));
                Want::Bits(number(pairs.map(|(a, b)| f(a, b))))
            },
        ));
    };
    two("and", |a, b| a && b);
    two("or", |a, b| a || b);
    two("xor", |a, b| a != b);
    out.push(Case::new(format!("not.b{width}"), format!("{l}={l}"), &[kind], move |x| {
        Want::Bits(number(bits(x.s[0], n).into_iter().map(|a| !a)))
    }));
    out.push(Case::new(format!("cnot.b{width}"), format!("{l}={l}"), &[kind], move |x| {
        Want::Bits(u64::from(!bits(x.s[0], n).contains(&true)))
    }));
    // Shifts, one place at a time.
    let shifts: [(&str, bool, bool); 4] = [
        ("shl.b", true, false),
        ("shr.b", false, false),
        ("shr.u", false, false),
        ("shr.s", false, true),
    ];
    for (name, left, signed) in shifts {
        out.push(Case::new(
            format!("{name}{width}"),
            format!("{l}={l}r"),
            &[kind, Kind::Amount],
            move |x| {
                let mut a = bits(x.s[0], n);
                for _ in 0..x.s[1].min(200) {
                    if left {
                        a.insert(0, false);
                        a.pop();
                    } else {
                        a.push(signed && a[n - 1]);
                        a.remove(0);
                    }
                }
                Want::Bits(number(a))
            },
        ));
    }
}

fn predicates(out: &mut Vec<Case>) {
    let p = Kind::Predicate;
    out.push(Case::new("and.pred", "p=pp", &[p; 2], |x| Want::Bits(x.s[0] * x.s[1])));
    out.push(Case::new("or.pred", "p=pp", &[p; 2], |x| Want::Bits((x.s[0] + x.s[1]).min(1))));
    out.push(Case::new("xor.pred", "p=pp", &[p; 2], |x| Want::Bits((x.s[0] + x.s[1]) % 2)));
    out.push(Case::new("not.pred", "p=p", &[p], |x| Want::Bits(1 - x.s[0])));
}

fn lookup(x: &In) -> u64 {
    let [a, b, c] = [0, 1, 2].map(|k| bits(x.s[k], 32));
    number((0..32).map(|k| {
        let index = 4 * u32::from(a[k]) + 2 * u32::from(b[k]) + u32::from(c[k]);
        x.imm >> index & 1 == 1
    }))
}

fn tables(out: &mut Vec<Case>) {
    let words = [Kind::Int(32); 3];
    let with_predicate = [words[0], words[1], words[2], Kind::Predicate];
    out.push(Case::new("lop3.b32", "r=rrri", &words, |x| Want::Bits(lookup(x))));
    out.push(Case::new("lop3.and.b32", "r|p=rrrip", &with_predicate, |x| {
        let d = lookup(x);
        Want::Two(d, u64::from(d != 0 && x.s[3] == 1))
    }));
    out.push(Case::new("lop3.or.b32", "r|p=rrrip", &with_predicate, |x| {
        let d = lookup(x);
        Want::Two(d, u64::from(d != 0 || x.s[3] == 1))
    }));
}

fn funnels(out: &mut Vec<Case>) {
    let kinds = [Kind::Int(32), Kind::Int(32), Kind::Amount];
    for (mode, clamp) in [("clamp", true), ("wrap", false)] {
        let amount = move |n: u64| if clamp { n.min(32) } else { n % 32 } as u32;
        out.push(Case::new(format!("shf.l.{mode}.b32"), "r=rrr", &kinds, move |x| {
            // The upper half of the pair, moved by n: as many bits of a come in below b's.
            let (a, b) = (bits(x.s[0], 32), bits(x.s[1], 32));
            let n = amount(x.s[2]) as usize;
            Want::Bits(number(a[32 - n..].iter().chain(&b[..32 - n]).copied()))
        }));
        out.push(Case::new(format!("shf.r.{mode}.b32"), "r=rrr", &kinds, move |x| {
            let (a, b) = (bits(x.s[0], 32), bits(x.s[1], 32));
            let n = amount(x.s[2]) as usize;
            Want::Bits(number(a[n..].iter().chain(&b[..n]).copied()))
        }));
    }
}

fn permutations(out: &mut Vec<Case>) {
    // From the tables of the PTX ISA: for each value of c the bytes of d, the highest first.
    type Table = [[usize; 4]; 4];
    let modes: [(&str, Table); 6] = [
        ("f4e", [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]),
        ("b4e", [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]]),
        ("rc8", [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]),
        ("ecl", [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]]),
        ("ecr", [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]]),
        ("rc16", [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]]),
    ];
    let bytes = |x: &In| -> Vec<u8> {
        let words = [x.s[0] as u32, x.s[1] as u32];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    };
    let kinds = [Kind::Int(32); 3];
    for (mode, table) in modes {
        out.push(Case::new(format!("prmt.b32.{mode}"), "r=rrr", &kinds, move |x| {
            let from = bytes(x);
            let d = table[(x.s[2] % 4) as usize].map(|k| from[k]);
            Want::Bits(u64::from(u32::from_be_bytes(d)))
        }));
    }
    out.push(Case::new("prmt.b32", "r=rrr", &kinds, move |x| {
        let from = bytes(x);
        let d = [0, 1, 2, 3].map(|k| {
            let selector = x.s[2] >> (4 * k) & 15;
            let byte = from[(selector % 8) as usize];
            match (selector >= 8, byte >= 128) {
                (false, _) => byte,
                (true, sign) => {
                    if sign {
                        255
                    } else {
                        0
                    }
                }
            }
        });
        Want::Bits(u64::from(u32::from_le_bytes(d)))
    }));
}

/// `bfe` and `bfi`, as the loops of the PTX ISA.
fn fields(out: &mut Vec<Case>, width: u32, l: &str) {
    let n = width as usize;
    let kinds = [Kind::Int(width), Kind::Amount, Kind::Amount];
    for (t, signed) in [("u", false), ("s", true)] {
        out.push(Case::new(format!("bfe.{t}{width}"), format!("{l}={l}rr"), &kinds, move |x| {
            let a = bits(x.s[0], n);
            let (pos, len) = ((x.s[1] & 255) as usize, (x.s[2] & 255) as usize);
            let sign = signed && len > 0 && a[(pos + len - 1).min(n - 1)];
            Want::Bits(number(
                (0..n).map(|k| if k < len && pos + k < n { a[pos + k] } else { sign }),
            ))
        }));
    }
    let kinds = [Kind::Int(width), Kind::Int(width), Kind::Amount, Kind::Amount];
    out.push(Case::new(format!("bfi.b{width}"), format!("{l}={l}{l}rr"), &kinds, move |x| {
        let (a, mut f) = (bits(x.s[0], n), bits(x.s[1], n));
        let (pos, len) = ((x.s[2] & 255) as usize, (x.s[3] & 255) as usize);
        for k in 0..len.min(n) {
            if pos + k < n {
                f[pos + k] = a[k];
            }
        }
        Want::Bits(number(f))
    }));
}

fn counts(out: &mut Vec<Case>, width: u32, l: &str) {
    let n = width as usize;
    let kind = [Kind::Int(width)];
    out.push(Case::new(format!("brev.b{width}"), format!("{l}={l}"), &kind, move |x| {
        Want::Bits(number(bits(x.s[0], n).into_iter().rev()))
    }));
    out.push(Case::new(format!("popc.b{width}"), format!("r={l}"), &kind, move |x| {
        Want::Bits(bits(x.s[0], n).into_iter().filter(|&bit| bit).count() as u64)
    }));
    out.push(Case::new(format!("clz.b{width}"), format!("r={l}"), &kind, move |x| {
        Want::Bits(bits(x.s[0], n).into_iter().rev().take_while(|&bit| !bit).count() as u64)
    }));
    for (t, signed) in [("u", false), ("s", true)] {
        for (name, shift) in [("", false), (".shiftamt", true)] {
            let opcode = format!("bfind{name}.{t}{width}");
            out.push(Case::new(opcode, format!("r={l}"), &kind, move |x| {
                let a = bits(x.s[0], n);
                let dull = signed && a[n - 1];
                Want::Bits(match a.iter().rposition(|&bit| bit != dull) {
                    None => 0xffff_ffff,
                    Some(k) if shift => (n - 1 - k) as u64,
                    Some(k) => k as u64,
                })
            }));
        }
    }
}

fn masks(out: &mut Vec<Case>) {
    let amounts = [Kind::Amount; 2];
    for (mode, clamp) in [("clamp", true), ("wrap", false)] {
        let limit = move |n: u64| if clamp { n.min(32) } else { n % 32 };
        out.push(Case::new(format!("bmsk.{mode}.b32"), "r=rr", &amounts, move |x| {
            let (from, width) = (limit(x.s[0]), limit(x.s[1]));
            Want::Bits(number((0..32).map(|k| k >= from && k < from + width)))
        }));
        for (t, signed) in [("u32", false), ("s32", true)] {
            let kinds = [Kind::Int(32), Kind::Amount];
            out.push(Case::new(format!("szext.{mode}.{t}"), "r=rr", &kinds, move |x| {
                let a = bits(x.s[0], 32);
                let n = limit(x.s[1]) as usize;
                let sign = signed && n > 0 && a[n - 1];
                Want::Bits(number((0..32).map(|k| if k < n { a[k] } else { sign })))
            }));
        }
    }
    let kinds = [Kind::Int(32), Kind::Amount, Kind::Int(32)];
    out.push(Case::new("fns.b32", "r=rrr", &kinds, |x| {
        let offset = i64::from(x.s[2] as u32 as i32);
        if x.s[1] > 31 {
            return Want::Bits(0xffff_ffff);
        }
        let set = |k: i64| x.s[0] >> k & 1 == 1;
        let mut at = x.s[1] as i64;
        if offset == 0 {
            return Want::Bits(if set(at) { x.s[1] } else { 0xffff_ffff });
        }
        let mut left = offset.abs() - 1;
        while (0..32).contains(&at) {
            if set(at) {
                if left == 0 {
                    return Want::Bits(at as u64);
                }
                left -= 1;
            }
            at += offset.signum();
        }
        Want::Bits(0xffff_ffff)
    }));
}

/// The types of one width, for instructions that only move bits.
fn types(width: u32) -> &'static [&'static str] {
    match width {
        16 => &["b16", "u16", "s16"],
        32 => &["b32", "u32", "s32", "f32"],
        _ => &["b64", "u64", "s64", "f64"],
    }
}

fn selections(out: &mut Vec<Case>) {
    for (width, l) in [(16, "h"), (32, "r"), (64, "l")] {
        let kind = Kind::Int(width);
        for t in types(width) {
            let operands = format!("{l}={l}{l}p");
            out.push(Case::new(
                format!("selp.{t}"),
                operands,
                &[kind, kind, Kind::Predicate],
                |x| Want::Bits(x.s[usize::from(x.s[2] == 0)]),
            ));
            let operands = format!("{l}={l}{l}r");
            out.push(Case::new(
                format!("slct.{t}.s32"),
                operands.clone(),
                &[kind, kind, Kind::Int(32)],
                |x| Want::Bits(x.s[usize::from(x.s[2] >= 0x8000_0000)]),
            ));
            for ftz in ["", ".ftz"] {
                out.push(Case::new(
                    format!("slct{ftz}.{t}.f32"),
                    operands.clone(),
                    &[kind, kind, Kind::Float(super::exact::F32)],
                    move |x| {
                        let c = x.s[2];
                        let nan = c & 0x7fff_ffff > 0x7f80_0000;
                        // Below zero: above -0 as a pattern, and with .ftz above the subnormals.
                        let least = if ftz.is_empty() { 0x8000_0000 } else { 0x807f_ffff };
                        Want::Bits(x.s[usize::from(nan || c > least)])
                    },
                ));
            }
        }
    }
}

fn addresses(out: &mut Vec<Case>) {
    let spaces = [
        ("global", 0),
        ("const", 0),
        ("shared", 1),
        ("shared::cta", 1),
        ("shared::cluster", 1),
        ("local", 2),
        ("param", 3),
        ("param::entry", 3),
    ];
    let offset = [Kind::Int(32)];
    for (space, window) in spaces {
        // Offsets into the lower word of the pool: an address of a space is no generic one.
        out.push(Case::new(format!("cvta.{space}.u64"), "l=l", &offset, move |x| {
            Want::Bits(x.s[0] + (window << 56))
        }));
        out.push(Case::new(format!("cvta.to.{space}.u64"), "l=l", &[Kind::Address], move |x| {
            Want::Bits(if window == 0 { x.s[0] } else { x.s[0] % (1 << 56) })
        }));
        out.push(Case::new(format!("isspacep.{space}"), "p=l", &[Kind::Address], move |x| {
            let [top, .., rank, _, _, _] = x.s[0].to_be_bytes();
            let own = rank == 0;
            Want::Bits(u64::from(match space {
                "const" => false,
                "shared" | "shared::cta" => top == 1 && own,
                _ => u64::from(top) == window,
            }))
        }));
    }
}
