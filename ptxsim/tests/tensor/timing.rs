//! How long the hot routines take. Run with `cargo test --release -- --ignored --nocapture timing`.

#![allow(clippy::print_stdout)]

use super::Random;
use ptxsim::isa::{ALL, Class, Exec, Inst, Members, Registers};
use ptxsim::tensor::descriptor::{Descriptor, Major};
use ptxsim::tensor::matrix::ldmatrix_distribute;
use ptxsim::tensor::mma::{self, Form};
use ptxsim::tensor::swizzle::Swizzle;
use ptxsim::tensor::wgmma::{Form as Form64, TileA, TileB, multiply};
use ptxsim::tensor::{Accumulator, Arithmetic, Element};
use std::hint::black_box;
use std::time::Instant;

/// The least time of several runs, in nanoseconds a call.
pub fn best(calls: u32, mut run: impl FnMut()) -> f64 {
    (0..20)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| run());
            start.elapsed().as_nanos() as f64 / f64::from(calls)
        })
        .fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "measures time"]
fn timing_of_mma() {
    let mut random = Random::new(1);
    for (name, a, accumulator, cores, saturate) in [
        ("m16n8k16 bf16 f32", Element::Bf16, Accumulator::F32, 2, false),
        ("m16n8k16 f16 f32", Element::F16, Accumulator::F32, 2, false),
        ("m16n8k16 f16 f16", Element::F16, Accumulator::F16, 2, false),
        ("m16n8k8 tf32 f32", Element::Tf32, Accumulator::F32, 2, false),
        ("m16n8k32 e4m3 f32", Element::E4m3, Accumulator::F32, 2, false),
        ("m16n8k32 s8 s32", Element::S8, Accumulator::S32, 2, false),
    ] {
        let form = Form { a, b: a, accumulator, cores, saturate };
        let mut registers = Registers::default();
        for _ in 0..14 {
            // Small numbers: neither infinities nor subnormal sums.
            registers.r32.push(random.row().map(|x| x & 0x3f00_3f00 | 0x2000_2000));
        }
        let mut inst = Inst::new(Exec::Collective(Members::Warp, mma::run), Class::Mma);
        inst.s = std::array::from_fn(|i| i as u16);
        inst.d = std::array::from_fn(|i| 10 + i as u16);
        inst.imm = form.pack();
        let time = best(10_000, || mma::run(black_box(&mut registers), black_box(&inst), ALL));
        println!("{name}: {time:.0} ns");
    }
}

#[test]
#[ignore = "measures time"]
fn timing_of_wgmma() {
    let mut random = Random::new(1);
    let memory: Vec<u8> = (0..65536).map(|_| random.word() as u8 & 0x3f).collect();
    let read = |at: u32| -> [u8; 16] {
        let at = at as usize;
        memory[at..at + 16].try_into().expect("16 bytes")
    };
    let descriptor = Descriptor {
        start: 1024,
        leading: 16,
        stride: 1024,
        base_offset: 0,
        swizzle: Swizzle::B128,
    };
    for (name, kind, accumulator) in [
        ("bf16 f32", Element::Bf16, Accumulator::F32),
        ("e4m3 f32", Element::E4m3, Accumulator::F32),
        ("s8 s32", Element::S8, Accumulator::S32),
        ("f16 f16", Element::F16, Accumulator::F16),
    ] {
        let form = Form64 {
            n: 128,
            a: kind,
            b: kind,
            accumulator,
            a_in_registers: false,
            saturate: false,
            negate_a: false,
            negate_b: false,
            major_a: Major::K,
            major_b: Major::K,
        };
        let (mut a, mut b) = (TileA::default(), TileB::default());
        let mut file = vec![[0; 32]; 64];
        let rows: Vec<u16> = (0..form.registers_d() as u16).collect();
        let load_b = best(1000, || b.from_shared(black_box(&form), &descriptor, None, read));
        let load_a = best(1000, || a.from_shared(black_box(&form), &descriptor, 1, read));
        let times = best(1000, || {
            let plain = Arithmetic::Plain;
            multiply(black_box(&form), plain, &a, &b, true, &mut file, &rows);
        });
        println!(
            "m64n128 {name}: B {load_b:.0} ns, A {load_a:.0} ns, product {times:.0} ns a warp"
        );
    }
}

#[test]
#[ignore = "measures time"]
fn timing_of_warp_instructions() {
    let mut random = Random::new(1);
    let rows: [[u8; 16]; 8] = std::array::from_fn(|_| std::array::from_fn(|_| random.word() as u8));
    for trans in [false, true] {
        let time = best(100_000, || {
            black_box(ldmatrix_distribute(black_box(&rows), trans));
        });
        println!("ldmatrix, one matrix, trans {trans}: {time:.1} ns");
    }
    for row in ptxsim::warp::ROWS {
        let (Exec::Collective(_, run) | Exec::Alu(run)) = row.exec else { continue };
        let predicate = row.operands.starts_with('p');
        let mut registers = Registers {
            r32: vec![random.row(), [3; 32], [0x1f; 32], [ALL; 32], [0; 32]],
            r64: vec![[0; 32]],
            p: vec![0, 0],
            ..Registers::default()
        };
        let mut inst = Inst::new(row.exec, Class::Warp);
        inst.s[..4].copy_from_slice(&[0, 1, 2, 3]);
        inst.d[..2].copy_from_slice(&[if predicate { 1 } else { 4 }, 1]);
        let time = best(10_000, || run(black_box(&mut registers), black_box(&inst), ALL));
        println!("{} {}: {time:.0} ns", row.pattern, row.operands);
    }
}
