//! Matrices: ldmatrix, stmatrix, movmatrix, and mma of every shape and type.

use super::Probe;
use super::write::{Kernel, random, random_bytes, words};
use crate::tensor::mma as formulas;
use ptxsim::isa::Row32;
use ptxsim::tensor::mma::Form;
use ptxsim::tensor::{Accumulator, Element};

/// Warps of an mma probe, each with numbers of its own.
const WARPS: usize = 4;

pub fn probes() -> Vec<Probe> {
    let mut out = Vec::new();
    for count in [1, 2, 4] {
        for trans in [false, true] {
            out.extend([load(count, trans), store(count, trans)]);
        }
    }
    out.push(transpose());
    out.extend(formulas::forms().into_iter().map(product));
    out.push(product_f64());
    out
}

/// Where the rows of the matrices lie: any order, so that addresses count.
fn rows(name: &str) -> Vec<usize> {
    let mut random = random(name);
    let mut rows: Vec<usize> = (0..32).collect();
    for k in (1..32).rev() {
        rows.swap(k, random.below(k as u64 + 1) as usize);
    }
    rows
}

/// Row and column of the two elements in a lane's register (PTX ISA, "ldmatrix", figure of an
/// 8x8 matrix of b16).
fn element(lane: usize, half: usize, trans: bool) -> (usize, usize) {
    let (row, column) = (lane / 4, lane % 4 * 2 + half);
    if trans { (column, row) } else { (row, column) }
}

fn opcode(base: &str, count: usize, trans: bool) -> String {
    let trans = if trans { ".trans" } else { "" };
    format!("{base}.sync.aligned.m8n8.x{count}{trans}.shared.b16")
}

fn vector(first: usize, count: usize) -> String {
    let names: Vec<String> = (first..first + count).map(|k| format!("%r{k}")).collect();
    format!("{{{}}}", names.join(", "))
}

/// The address of the row that each lane gives, from buffer 0, in `%r90`; `%r91` is the lane's own
/// sixteen bytes.
const ROW: &str = ".shared .align 128 .b8 @ENTRY@_s[512];\nmov.u32 %r91, @ENTRY@_s;\n\
    mad.wide.u32 %x, %i, 4, %a0;\nld.global.u32 %r90, [%x];\nadd.u32 %r90, %r90, %r91;\n\
    mad.lo.u32 %r91, %i, 16, %r91;";

fn offsets(rows: &[usize]) -> Vec<u32> {
    rows.iter().map(|row| 16 * *row as u32).collect()
}

fn load(count: usize, trans: bool) -> Probe {
    let opcode = opcode("ldmatrix", count, trans);
    let rows = rows(&opcode);
    let data = random_bytes(&opcode, 512);
    let mut wanted = Vec::new();
    for lane in 0..32 {
        for matrix in 0..count {
            for half in 0..2 {
                let (row, column) = element(lane, half, trans);
                let at = 16 * rows[8 * matrix + row] + 2 * column;
                wanted.extend(&data[at..at + 2]);
            }
        }
    }
    let names: Vec<String> = (10..10 + count).map(|k| format!("%r{k}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Kernel::new(&opcode, "")
        .input32(&offsets(&rows))
        .input(data)
        .out(wanted.len(), 4 * count)
        .body(ROW)
        .body(
            "mad.wide.u32 %x, %i, 16, %a1;\nld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%x];\n\
             st.shared.v4.u32 [%r91], {%r1, %r2, %r3, %r4};\nbar.sync 0;",
        )
        .body(&format!("{opcode} {}, [%r90];", vector(10, count)))
        .put(2, 4, &names)
        .wants(vec![wanted])
}

/// What is not written stays.
fn store(count: usize, trans: bool) -> Probe {
    let opcode = opcode("stmatrix", count, trans);
    let rows = rows(&opcode);
    let data = random_bytes(&opcode, 16 * 32);
    let mut wanted = vec![0xee; 512];
    for lane in 0..32 {
        for matrix in 0..count {
            for half in 0..2 {
                let (row, column) = element(lane, half, trans);
                let at = 16 * rows[8 * matrix + row] + 2 * column;
                let from = 16 * lane + 4 * matrix + 2 * half;
                wanted[at..at + 2].copy_from_slice(&data[from..from + 2]);
            }
        }
    }
    Kernel::new(&opcode, "")
        .input32(&offsets(&rows))
        .input(data)
        .out(512, 16)
        .body(ROW)
        .body(
            "mov.u32 %r1, 0xeeeeeeee;\nst.shared.v4.u32 [%r91], {%r1, %r1, %r1, %r1};\n\
             bar.sync 0;\nmad.wide.u32 %x, %i, 16, %a1;\n\
             ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%x];",
        )
        .body(&format!("{opcode} [%r90], {};\nbar.sync 0;", vector(10, count)))
        .body("ld.shared.v4.u32 {%r10, %r11, %r12, %r13}, [%r91];")
        .put(2, 4, &["%r10", "%r11", "%r12", "%r13"])
        .wants(vec![wanted])
}

fn transpose() -> Probe {
    let opcode = "movmatrix.sync.aligned.m8n8.trans.b16";
    let data = words(&random_bytes(opcode, 128));
    let half =
        |row: usize, column: usize| data[4 * row + column / 2] >> (16 * (column % 2)) & 0xffff;
    let wanted = (0..32).map(|lane| {
        let (row, column) = (lane / 4, lane % 4 * 2);
        half(column, row) | half(column + 1, row) << 16
    });
    let wanted = wanted.collect();
    Kernel::new(opcode, "")
        .input32(&data)
        .out(128, 4)
        .get("%r10", 0, 4)
        .body(&format!("{opcode} %r11, %r10;"))
        .put(1, 4, &["%r11"])
        .wants32(wanted)
}

/// The opcode of a form.
fn spelled(form: &Form) -> String {
    let d = match form.accumulator {
        Accumulator::F32 => "f32",
        Accumulator::F16 => "f16",
        Accumulator::S32 => "s32",
    };
    let saturate = if form.saturate { ".satfinite" } else { "" };
    let (a, b, k) = (form.a.name(), form.b.name(), form.k());
    format!("mma.sync.aligned.m16n8k{k}.row.col{saturate}.{d}.{a}.{b}.{d}")
}

/// Bits of finite numbers of moderate size, so that no sum overflows.
fn moderate(kind: Element, word: u32) -> u32 {
    match kind {
        Element::F16 => word & 0x83ff_83ff | 0x3800_3800,
        Element::Bf16 => word & 0x80ff_80ff | 0x3f00_3f00,
        Element::Tf32 => word & 0x80ff_ffff | 0x3f00_0000,
        Element::E4m3 => word & 0x8f8f_8f8f | 0x3030_3030,
        Element::E5m2 => word & 0x8787_8787 | 0x3838_3838,
        Element::S8 | Element::U8 => word,
    }
}

/// Registers A, B and C of a warp, from twelve words a lane.
type Operands = ([Row32; 4], [Row32; 2], [Row32; 4]);

fn operands(words: &[u32]) -> Operands {
    let row = |k: usize| std::array::from_fn(|lane| words[12 * lane + k]);
    ([0, 1, 2, 3].map(row), [4, 5].map(row), [6, 7, 8, 9].map(row))
}

fn product(form: Form) -> Probe {
    let opcode = spelled(&form);
    let [of_a, of_b, of_c] = form.registers();
    let mut random = random(&opcode);
    let mut data = Vec::new();
    for _ in 0..32 * WARPS {
        for k in 0..12 {
            let word = random.next() as u32;
            data.push(match (k, form.accumulator) {
                (0..4, _) => moderate(form.a, word),
                (4..6, _) => moderate(form.b, word),
                (_, Accumulator::F32) => moderate(Element::Tf32, word),
                (_, Accumulator::F16) => moderate(Element::F16, word),
                // Every other sum is near the end of its range.
                _ if word & 1 == 1 => word | 0x7fff_f000,
                _ => word,
            });
        }
    }
    let kernel = Kernel::new(&opcode, "").threads(32 * WARPS as u32).input32(&data);
    let mut load = String::from("mad.wide.u32 %x, %i, 48, %a0;\n");
    for k in 0..12 {
        load += &format!("ld.global.u32 %r{}, [%x+{}];\n", 10 + k, 4 * k);
    }
    let list = format!(
        "{}, {}, {}, {}",
        vector(30, of_c),
        vector(10, of_a),
        vector(14, of_b),
        vector(16, of_c)
    );
    let names: Vec<String> = (30..30 + of_c).map(|k| format!("%r{k}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let kernel = kernel
        .out(4 * of_c * 32 * WARPS, 4 * of_c)
        .body(&load)
        .body(&format!("{opcode} {list};"))
        .put(1, 4, &names);
    if form.accumulator == Accumulator::S32 {
        let mut wanted = Vec::new();
        for words in data.chunks(12 * 32) {
            let (a, b, c) = operands(words);
            let d = formulas::expected(&form, &a, &b, &c);
            wanted.extend((0..32).flat_map(|lane| (0..of_c).map(move |k| d[k][lane])));
        }
        return kernel.wants32(wanted);
    }
    kernel.inexact().check(move |results| {
        let got = words(&results[0]);
        let warps = data.chunks(12 * 32).zip(got.chunks(of_c * 32));
        warps.flat_map(|(given, got)| compare(&form, &operands(given), got)).take(3).collect()
    })
}

/// Compares the results of a warp with sums in f64. A tensor core's sum of f32 may lose all below
/// the last bit of its largest term at every step (the PTX ISA leaves the order and the rounding
/// open): 2^-22 of the sum of the terms' sizes a step covers that. fp8 products are added with
/// fewer bits on Hopper, and an f16 result is rounded to eleven.
fn compare(form: &Form, (a, b, c): &Operands, got: &[u32]) -> Vec<String> {
    let (rows, columns) = formulas::matrices(form, a, b);
    let f16 = form.accumulator == Accumulator::F16;
    let step = match (f16, form.a.bytes()) {
        (true, _) => 2f64.powi(-10),
        (_, 1) => 2f64.powi(-12),
        _ => 2f64.powi(-22) * form.k() as f64,
    };
    let half = |word: u32, i: usize| {
        f64::from(ptxsim::arith::formats::f16_to_f32((word >> (16 * (i % 2))) as u16))
    };
    let mut wrong = Vec::new();
    for lane in 0..32 {
        for i in 0..4 {
            let (row, column) = formulas::place_c(lane, i);
            let of_c = form.registers()[2];
            let (start, result) = if f16 {
                (half(c[i / 2][lane], i), half(got[of_c * lane + i / 2], i))
            } else {
                let float = |word: u32| f64::from(f32::from_bits(word));
                (float(c[i][lane]), float(got[of_c * lane + i]))
            };
            let terms =
                (0..form.k()).map(|k| f64::from(rows[row][k]) * f64::from(columns[k][column]));
            let (sum, size) =
                terms.fold((start, start.abs()), |(sum, size), x| (sum + x, size + x.abs()));
            // A NaN is no result of finite numbers, and fails too.
            let error = (result - sum).abs();
            if error.is_nan() || error > size * step {
                wrong.push(format!("row {row} column {column}: {result}, the sum is {sum}"));
            }
        }
    }
    wrong
}

/// Small whole numbers and halves, whose sums are exact.
fn product_f64() -> Probe {
    let opcode = "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64";
    let mut random = random(opcode);
    let data: Vec<f64> = (0..128).map(|_| (random.below(2001) as f64 - 1000.0) / 8.0).collect();
    let at = |lane: usize, k: usize| data[4 * lane + k];
    let mut wanted = Vec::new();
    for lane in 0..32 {
        for i in 0..2 {
            let (row, column) = (lane / 4, lane % 4 * 2 + i);
            let sum: f64 = (0..4).map(|k| at(4 * row + k, 0) * at(4 * column + k, 1)).sum();
            wanted.push((sum + at(lane, 2 + i)).to_bits());
        }
    }
    Kernel::new(opcode, "")
        .input(data.iter().flat_map(|x| x.to_le_bytes()).collect())
        .out(16 * 32, 16)
        .body(
            "mad.wide.u32 %x, %i, 32, %a0;\nld.global.f64 %l10, [%x];\n\
             ld.global.f64 %l11, [%x+8];\nld.global.f64 %l12, [%x+16];\n\
             ld.global.f64 %l13, [%x+24];",
        )
        .body(&format!("{opcode} {{%l14, %l15}}, {{%l10}}, {{%l11}}, {{%l12, %l13}};"))
        .put(1, 8, &["%l14", "%l15"])
        .wants64(wanted)
}
