//! Loads and stores of every type and vector, in every space; generic addresses; `mov` of vectors.

use super::Probe;
use super::write::{Kernel, random_bytes};

const THREADS: usize = 32;
/// Type, bytes, whether it is signed.
const TYPES: [(&str, usize, bool); 14] = [
    ("b8", 1, false),
    ("u8", 1, false),
    ("s8", 1, true),
    ("b16", 2, false),
    ("u16", 2, false),
    ("s16", 2, true),
    ("b32", 4, false),
    ("u32", 4, false),
    ("s32", 4, true),
    ("f32", 4, false),
    ("b64", 8, false),
    ("u64", 8, false),
    ("s64", 8, true),
    ("f64", 8, false),
];
const SPACES: [&str; 6] = ["global", "generic", "shared", "local", "const", "param"];

pub fn probes() -> Vec<Probe> {
    let mut out = Vec::new();
    for space in SPACES {
        for (ty, size, signed) in TYPES {
            for elements in [1, 2, 4] {
                if size * elements > 16 {
                    continue;
                }
                for letter in registers(ty, size) {
                    out.push(load((space, ""), (ty, size, signed), elements, letter));
                    if !matches!(space, "const" | "param") {
                        out.push(store(space, (ty, size), elements, letter));
                    }
                }
            }
        }
    }
    // What the ways to ask for a load have in common is what they load.
    for how in [".nc", ".relaxed.gpu", ".acquire.gpu", ".volatile", ".ca", ".cg", ".cs", ".cv"] {
        out.push(load(("global", how), ("u32", 4, false), 1, 'r'));
    }
    out.push(load(("global", ".nc"), ("u32", 4, false), 4, 'r'));
    out.extend(windows());
    out.extend([2, 4].into_iter().flat_map(vectors));
    out
}

/// Kinds of registers that take a type: its own width, and wider ones for integers.
fn registers(ty: &str, size: usize) -> Vec<char> {
    match (size, ty.starts_with('f')) {
        (1 | 2, _) => vec!['h', 'r', 'l'],
        (4, false) => vec!['r', 'l'],
        (4, true) => vec!['r'],
        _ => vec!['l'],
    }
}

fn width(letter: char) -> usize {
    match letter {
        'h' => 2,
        'r' => 4,
        _ => 8,
    }
}

/// The parts of an opcode that say a space and a vector.
fn modifiers(space: &str, how: &str, elements: usize) -> String {
    let space = if space == "generic" { String::new() } else { format!(".{space}") };
    let vector = if elements > 1 { format!(".v{elements}") } else { String::new() };
    // The way comes before the space, but for caches and `.nc`.
    match how {
        ".nc" | ".ca" | ".cg" | ".cs" | ".cv" => format!("{space}{how}{vector}"),
        _ => format!("{how}{space}{vector}"),
    }
}

/// `{%r10, %r11}`, or one register.
fn list(letter: char, elements: usize) -> String {
    let names: Vec<String> = (10..10 + elements).map(|k| format!("%{letter}{k}")).collect();
    if elements == 1 { names[0].clone() } else { format!("{{{}}}", names.join(", ")) }
}

/// The address of a thread's own sixteen bytes in a space, in `%x` or by name, and what declares
/// it.
fn place(space: &str) -> (&'static str, &'static str) {
    match space {
        "shared" => (
            ".shared .align 16 .b8 @ENTRY@_s[512];\n",
            "mov.u32 %r90, @ENTRY@_s;\nmad.lo.u32 %r90, %i, 16, %r90;\n",
        ),
        "local" => (".local .align 16 .b8 @ENTRY@_l[16];\n", "mov.u64 %l30, @ENTRY@_l;\n"),
        "const" => ("", "mov.u64 %l30, @ENTRY@_c;\nmad.wide.u32 %l30, %i, 16, %l30;\n"),
        _ => ("", "mad.wide.u32 %l30, %i, 16, %a0;\n"),
    }
}

fn base(space: &str) -> &'static str {
    match space {
        "shared" => "%r90",
        "param" => "w1",
        _ => "%l30",
    }
}

fn load(
    (space, how): (&str, &str),
    (ty, size, signed): (&str, usize, bool),
    elements: usize,
    letter: char,
) -> Probe {
    let opcode = format!("ld{}.{ty}", modifiers(space, how, elements));
    let name = format!("into {}-bit registers", 8 * width(letter));
    let data = random_bytes(&format!("{opcode}{letter}"), 16 * THREADS);
    let from = |thread: usize| if space == "param" { 0 } else { 16 * thread };
    let mut wanted = Vec::new();
    for thread in 0..THREADS {
        for element in 0..elements {
            let at = from(thread) + element * size;
            let negative = signed && data[at + size - 1] >= 0x80;
            let mut bytes = data[at..at + size].to_vec();
            bytes.resize(width(letter), if negative { 0xff } else { 0 });
            wanted.extend(bytes);
        }
    }
    let (declares, address) = place(space);
    let copies = match space {
        "shared" | "local" => {
            let base = base(space);
            let mut text = String::from("mad.wide.u32 %l31, %i, 16, %a0;\n");
            for at in [0, 8] {
                text += &format!("ld.global.u64 %l32, [%l31+{at}];\n");
                text += &format!("st.{space}.u64 [{base}+{at}], %l32;\n");
            }
            text
        }
        _ => String::new(),
    };
    let constants = match space {
        "const" => {
            let bytes: Vec<String> = data.iter().map(u8::to_string).collect();
            format!(".const .align 16 .b8 @ENTRY@_c[512] = {{{}}};\n", bytes.join(", "))
        }
        _ => String::new(),
    };
    let names: Vec<String> = (10..10 + elements).map(|k| format!("%{letter}{k}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let out = if space == "param" { 2 } else { 1 };
    let mut kernel = Kernel::new(&opcode, &name).outer(&constants).input(data.clone());
    if space == "param" {
        kernel = kernel.bytes(data[..16].try_into().unwrap());
    }
    kernel
        .out(wanted.len(), elements * width(letter))
        .body(&format!("{declares}{address}{copies}"))
        .body(&format!("{opcode} {}, [{}];", list(letter, elements), base(space)))
        .put(out, width(letter), &names)
        .wants(vec![wanted])
}

/// Bytes that are not stored must stay.
fn store(space: &str, (ty, size): (&str, usize), elements: usize, letter: char) -> Probe {
    let opcode = format!("st{}.{ty}", modifiers(space, "", elements));
    let name = format!("of {}-bit registers", 8 * width(letter));
    let before = random_bytes("before", 16 * THREADS);
    let bytes = width(letter) * elements;
    let data = random_bytes(&format!("{opcode}{letter}"), bytes * THREADS);
    let mut wanted = before.clone();
    for thread in 0..THREADS {
        for element in 0..elements {
            let from = thread * bytes + element * width(letter);
            let to = 16 * thread + element * size;
            wanted[to..to + size].copy_from_slice(&data[from..from + size]);
        }
    }
    let (declares, address) = place(space);
    let global = matches!(space, "global" | "generic");
    let mut load = format!("mad.wide.u32 %x, %i, {bytes}, %a1;\n");
    for k in 0..elements {
        let at = k * width(letter);
        load += &format!("ld.global.u{} %{letter}{}, [%x+{at}];\n", 8 * width(letter), 10 + k);
    }
    let (mut fill, mut back) = (String::new(), String::new());
    for at in [0, 8].into_iter().filter(|_| !global) {
        let slot = format!("[{}+{at}]", base(space));
        fill += &format!("ld.global.u64 %l32, [%l31+{at}];\nst.{space}.u64 {slot}, %l32;\n");
        back += &format!("ld.{space}.u64 %l32, {slot};\nst.global.u64 [%l31+{at}], %l32;\n");
    }
    Kernel::new(&opcode, &name)
        .inout(before)
        .input(data)
        .element(16)
        .body(&format!("{declares}{address}mad.wide.u32 %l31, %i, 16, %a0;\n{fill}{load}"))
        .body(&format!("{opcode} [{}], {};\n{back}", base(space), list(letter, elements)))
        .wants(vec![wanted])
}

/// Generic addresses of shared, local, constant and global memory lead there and back.
fn windows() -> Vec<Probe> {
    let spaces = [("shared", "%r90"), ("local", "%l30"), ("global", "%l30")];
    let probe = |(space, base): (&str, &str)| {
        let (declares, address) = place(space);
        let data = random_bytes(space, 8 * THREADS);
        let (copy, wide) = match base {
            "%r90" => (format!("st.{space}.u64 [%r90], %l10;\ncvt.u64.u32 %l33, %r90;\n"), "%l33"),
            _ => (format!("st.{space}.u64 [%l30], %l10;\n"), "%l30"),
        };
        let others = ["shared", "local", "global"].into_iter().enumerate();
        let mut asks = String::from("mov.u32 %r11, 0;\n");
        for (k, other) in others {
            asks += &format!(
                "isspacep.{other} %p0, %l34;\nselp.u32 %r12, {}, 0, %p0;\n\
                 or.b32 %r11, %r11, %r12;\n",
                1 << k
            );
        }
        let which = 1 << ["shared", "local", "global"].iter().position(|s| *s == space).unwrap();
        let mut wanted = Vec::new();
        for bytes in data.as_chunks::<8>().0 {
            let value = u64::from_le_bytes(*bytes);
            wanted.extend([value, !value, which, 1]);
        }
        let kernel = Kernel::new(&format!("cvta.{space}.u64"), "there and back");
        let kernel = kernel.operands("l=l").inout(vec![0; 16 * THREADS]).input(data);
        kernel
            .out(32 * THREADS, 32)
            .body(&format!("{declares}{address}"))
            .get("%l10", 1, 8)
            .body(&format!("{copy}cvta.{space}.u64 %l34, {wide};\nld.u64 %l11, [%l34];"))
            .body("not.b64 %l12, %l11;\nst.u64 [%l34], %l12;")
            .body(&format!("ld.{space}.u64 %l13, [{base}];\n{asks}cvt.u64.u32 %l14, %r11;"))
            .body(&format!("cvta.to.{space}.u64 %l15, %l34;\nsetp.eq.u64 %p1, %l15, {wide};"))
            .body("selp.u64 %l15, 1, 0, %p1;")
            .put(2, 8, &["%l11", "%l13", "%l14", "%l15"])
            .check(move |results| {
                let got = results[1].as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b));
                let pairs = got.zip(&wanted).enumerate();
                let wrong = pairs.filter(|(_, (got, want))| got != *want);
                wrong
                    .map(|(k, (got, want))| format!("{k}: {got:x}, not {want:x}"))
                    .take(3)
                    .collect()
            })
    };
    spaces.into_iter().map(probe).collect()
}

/// `mov` of a vector into a register and back.
fn vectors(parts: usize) -> Vec<Probe> {
    let forms: &[(&str, usize)] =
        if parts == 2 { &[("b32", 4), ("b64", 8)] } else { &[("b64", 8)] };
    let mut out = Vec::new();
    for &(ty, bytes) in forms {
        let data = random_bytes(&format!("mov.{ty}{parts}"), bytes * THREADS);
        let (whole, other) = if bytes == 8 { ("%l10", "%l11") } else { ("%r10", "%r11") };
        let letter = if bytes / parts == 4 { 'r' } else { 'h' };
        let each: Vec<String> = (20..20 + parts).map(|k| format!("%{letter}{k}")).collect();
        let rest: Vec<String> = each.iter().rev().cloned().collect();
        let names: Vec<&str> = each.iter().map(String::as_str).collect();
        let small = bytes / parts;
        // Apart as it is; and together again in reverse.
        let mut reversed = Vec::new();
        for word in data.chunks(bytes) {
            word.chunks(small).rev().for_each(|part| reversed.extend(part));
        }
        let wanted = vec![data.clone(), reversed];
        out.push(
            Kernel::new(&format!("mov.{ty}"), &format!("of {parts} registers"))
                .input(data.clone())
                .out(data.len(), bytes)
                .out(data.len(), bytes)
                .get(whole, 0, bytes)
                .body(&format!("mov.{ty} {{{}}}, {whole};", each.join(", ")))
                .body(&format!("mov.{ty} {other}, {{{}}};", rest.join(", ")))
                .put(1, small, &names)
                .put(2, bytes, &[other])
                .wants(wanted),
        );
    }
    out
}
