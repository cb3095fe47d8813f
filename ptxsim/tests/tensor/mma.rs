//! `mma` against the PTX ISA's fragment formulas and plain sums.

use super::Random;
use ptxsim::arith::formats;
use ptxsim::isa::Row32;
use ptxsim::tensor::mma::{Form, product, product_portable};
use ptxsim::tensor::{Accumulator, Arithmetic, Element};

/// Row and column of element `i` of lane `lane`'s fragment of A ("Matrix Fragments for
/// mma.m16n8k4/k8/k16/k32").
fn place_a(form: &Form, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    match (form.a.bytes(), form.k()) {
        (2, 8) => (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1)),
        (2, 16) => {
            let row = if i < 2 || (4..6).contains(&i) { group } else { group + 8 };
            let column = thread * 2 + (i & 1);
            (row, if i < 4 { column } else { column + 8 })
        }
        (4, 4) => (if i == 0 { group } else { group + 8 }, thread),
        (4, 8) => {
            let row = if i == 0 || i == 2 { group } else { group + 8 };
            (row, if i < 2 { thread } else { thread + 4 })
        }
        (1, 16) => (if i < 4 { group } else { group + 8 }, thread * 4 + (i & 3)),
        (1, 32) => {
            let row = if i < 4 || (8..12).contains(&i) { group } else { group + 8 };
            let column = thread * 4 + (i & 3);
            (row, if i < 8 { column } else { column + 16 })
        }
        other => panic!("no such shape: {other:?}"),
    }
}

/// The same of B: row is k.
fn place_b(form: &Form, lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = (lane >> 2, lane % 4);
    let row = match (form.a.bytes(), form.k()) {
        (2, 8) => thread * 2 + (i & 1),
        (2, 16) => thread * 2 + (i & 1) + if i < 2 { 0 } else { 8 },
        (4, 4) => thread,
        (4, 8) => thread + if i == 0 { 0 } else { 4 },
        (1, 16) => thread * 4 + (i & 3),
        (1, 32) => thread * 4 + (i & 3) + if i < 4 { 0 } else { 16 },
        other => panic!("no such shape: {other:?}"),
    };
    (row, group)
}

/// The same of C and D.
pub fn place_c(lane: usize, i: usize) -> (usize, usize) {
    (if i < 2 { lane >> 2 } else { (lane >> 2) + 8 }, lane % 4 * 2 + (i & 1))
}

fn value(kind: Element, bits: u32) -> f32 {
    match kind {
        Element::F16 => formats::f16_to_f32(bits as u16),
        Element::Bf16 => formats::bf16_to_f32(bits as u16),
        Element::Tf32 => f32::from_bits(bits >> 13 << 13),
        Element::E4m3 => formats::e4m3_to_f32(bits as u8),
        Element::E5m2 => formats::e5m2_to_f32(bits as u8),
        Element::S8 => f32::from(bits as u8 as i8),
        Element::U8 => f32::from(bits as u8),
    }
}

/// Bits of element `i` of a lane's registers.
fn bits(kind: Element, registers: &[Row32], lane: usize, i: usize) -> u32 {
    let per_register = 4 / kind.bytes();
    let word = registers[i / per_register][lane];
    let shifted = word >> (i % per_register * 8 * kind.bytes());
    if kind.bytes() == 4 { shifted } else { shifted & ((1 << (8 * kind.bytes())) - 1) }
}

/// A (16 rows) and B (by k) as the formulas have them.
pub fn matrices(form: &Form, a: &[Row32; 4], b: &[Row32; 2]) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let k = form.k();
    let (mut rows, mut columns) = (vec![vec![0.0; k]; 16], vec![vec![0.0; 8]; k]);
    for lane in 0..32 {
        for i in 0..16 * k / 32 {
            let (row, column) = place_a(form, lane, i);
            rows[row][column] = value(form.a, bits(form.a, a, lane, i));
        }
        for i in 0..8 * k / 32 {
            let (row, column) = place_b(form, lane, i);
            columns[row][column] = value(form.b, bits(form.b, b, lane, i));
        }
    }
    (rows, columns)
}

fn canonical(x: f32) -> u32 {
    if x.is_nan() { 0x7fff_ffff } else { x.to_bits() }
}

/// D by the formulas, in plain arithmetic.
pub fn expected(form: &Form, a: &[Row32; 4], b: &[Row32; 2], c: &[Row32; 4]) -> [Row32; 4] {
    let (rows, columns) = matrices(form, a, b);
    let mut d = [[0; 32]; 4];
    for lane in 0..32 {
        for i in 0..4 {
            let (row, column) = place_c(lane, i);
            let products = (0..form.k()).map(|k| (rows[row][k], columns[k][column]));
            let chain = |c: f32| products.clone().fold(c, |sum, (a, b)| a.mul_add(b, sum));
            match form.accumulator {
                Accumulator::F32 => d[i][lane] = canonical(chain(f32::from_bits(c[i][lane]))),
                Accumulator::F16 => {
                    let half = (c[i / 2][lane] >> (16 * (i % 2))) as u16;
                    let sum = chain(formats::f16_to_f32(half));
                    let half = formats::f32_to_f16(sum, formats::Rounding::NearestEven);
                    d[i / 2][lane] |= u32::from(half) << (16 * (i % 2));
                }
                Accumulator::S32 => {
                    let sum: i64 = products.map(|(a, b)| a as i64 * b as i64).sum();
                    let sum = sum + i64::from(c[i][lane] as i32);
                    let clamped = sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX));
                    d[i][lane] = if form.saturate { clamped as u32 } else { sum as u32 };
                }
            }
        }
    }
    d
}

/// Every form there is.
pub fn forms() -> Vec<Form> {
    use Element::*;
    let mut forms = Vec::new();
    for cores in [1, 2] {
        let mut push = |a, b, accumulator, saturate| {
            forms.push(Form { a, b, accumulator, cores, saturate });
        };
        push(F16, F16, Accumulator::F32, false);
        push(F16, F16, Accumulator::F16, false);
        push(Bf16, Bf16, Accumulator::F32, false);
        push(Tf32, Tf32, Accumulator::F32, false);
        for (a, b) in [(E4m3, E4m3), (E4m3, E5m2), (E5m2, E4m3), (E5m2, E5m2)] {
            push(a, b, Accumulator::F32, false);
            push(a, b, Accumulator::F16, false);
        }
        for (a, b) in [(S8, S8), (S8, U8), (U8, S8), (U8, U8)] {
            push(a, b, Accumulator::S32, false);
            push(a, b, Accumulator::S32, true);
        }
    }
    forms
}

fn used(form: &Form, d: [Row32; 4]) -> Vec<Row32> {
    d[..form.registers()[2]].to_vec()
}

/// Any bits at all, infinities and NaNs among them.
#[test]
fn every_form_follows_the_formulas_to_the_bit() {
    let mut random = Random::new(2);
    for form in forms() {
        for round in 0..40 {
            let mut a: [Row32; 4] = std::array::from_fn(|_| random.row());
            let b: [Row32; 2] = std::array::from_fn(|_| random.row());
            let mut c: [Row32; 4] = std::array::from_fn(|_| random.row());
            if round % 2 == 0 {
                // Mostly finite results.
                a = a.map(|row| row.map(|x| x & 0x3fff_3fff));
                c = c.map(|row| row.map(|x| x & 0xbfff_bfff));
            }
            if form.saturate {
                c = c.map(|row| row.map(|x| if x & 1 == 0 { x | 0x7fff_ff00 } else { x }));
            }
            let wanted = used(&form, expected(&form, &a, &b, &c));
            let (a, b, c) = (a.each_ref(), b.each_ref(), c.each_ref());
            let fast = used(&form, product(form, Arithmetic::Plain, a, b, c));
            let slow = used(&form, product_portable(form, Arithmetic::Plain, a, b, c));
            assert_eq!(fast, wanted, "{form:?}");
            assert_eq!(slow, wanted, "{form:?} portable");
        }
    }
}

/// A one in A and numbers 1 to 8K in B: the product is a row of B, in a row of D.
#[test]
fn one_hot_recovers_the_fragments() {
    let form = Form {
        a: Element::Bf16,
        b: Element::Bf16,
        accumulator: Accumulator::F32,
        cores: 2,
        saturate: false,
    };
    let bf16 = |x: usize| (x as f32).to_bits() >> 16;
    let mut b = [[0; 32]; 2];
    for (register, row) in b.iter_mut().enumerate() {
        for (lane, word) in row.iter_mut().enumerate() {
            for half in 0..2 {
                let (k, n) = place_b(&form, lane, 2 * register + half);
                *word |= bf16(k * 8 + n + 1) << (16 * half);
            }
        }
    }
    for lane in 0..32 {
        for i in 0..8 {
            let mut a = [[0; 32]; 4];
            a[i / 2][lane] = bf16(1) << (16 * (i % 2));
            let (m, k) = place_a(&form, lane, i);
            let c = [[0; 32]; 4];
            let d = product(form, Arithmetic::Plain, a.each_ref(), b.each_ref(), c.each_ref());
            for other in 0..32 {
                for (j, d) in d.iter().enumerate() {
                    let (row, column) = place_c(other, j);
                    let wanted = if row == m { (k * 8 + column + 1) as f32 } else { 0.0 };
                    assert_eq!(f32::from_bits(d[other]), wanted);
                }
            }
        }
    }
}

/// f32 sums stay within the error that their additions may make.
#[test]
fn values_agree_with_f64() {
    let mut random = Random::new(3);
    for form in forms().into_iter().filter(|form| form.accumulator == Accumulator::F32) {
        // Finite bits of every type: the exponent's top bit is cleared.
        let keep = if form.a.bytes() == 1 { 0xbfbf_bfbf } else { 0xbfff_bfff };
        let a: [Row32; 4] = std::array::from_fn(|_| random.row().map(|x| x & keep));
        let b: [Row32; 2] = std::array::from_fn(|_| random.row().map(|x| x & keep));
        let c = [[0; 32]; 4];
        let (rows, columns) = matrices(&form, &a, &b);
        for arithmetic in [Arithmetic::Plain, Arithmetic::Hopper] {
            let d = product(form, arithmetic, a.each_ref(), b.each_ref(), c.each_ref());
            for lane in 0..32 {
                for (i, d) in d.iter().enumerate() {
                    let (row, column) = place_c(lane, i);
                    let terms = (0..form.k())
                        .map(|k| f64::from(rows[row][k]) * f64::from(columns[k][column]));
                    let (sum, size) =
                        terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                    let error = (f64::from(f32::from_bits(d[lane])) - sum).abs();
                    assert!(error <= size * 32.0 * 2f64.powi(-24) + 1e-40, "{form:?} {error}");
                }
            }
        }
    }
}

#[test]
fn f64_products() {
    use ptxsim::isa::{ALL, Class, Exec, Inst, Members, Registers};
    let mut random = Random::new(4);
    let mut number = || (random.below(2001) as f64 - 1000.0) / 8.0;
    let mut registers = Registers::default();
    for _ in 0..6 {
        registers.r64.push(std::array::from_fn(|_| number().to_bits()));
    }
    let at = |row: usize, lane: usize| f64::from_bits(registers.r64[row][lane]);
    let mut wanted = [[0.0; 32]; 2];
    for (i, wanted) in wanted.iter_mut().enumerate() {
        for (lane, wanted) in wanted.iter_mut().enumerate() {
            let (row, column) = (lane >> 2, lane % 4 * 2 + i);
            // A: row = lane / 4, column = lane % 4; B: row = lane % 4, column = lane / 4.
            let sum: f64 = (0..4).map(|k| at(0, row * 4 + k) * at(1, column * 4 + k)).sum();
            *wanted = sum + at(2 + i, lane);
        }
    }
    let run = ptxsim::tensor::mma::run_f64;
    let mut inst = Inst::new(Exec::Collective(Members::Warp, run), Class::Mma);
    inst.s[..4].copy_from_slice(&[0, 1, 2, 3]);
    inst.d[..2].copy_from_slice(&[4, 5]);
    run(&mut registers, &inst, ALL);
    let written = [4, 5].map(|row: usize| registers.r64[row].map(f64::from_bits));
    assert_eq!(written, wanted);
}
