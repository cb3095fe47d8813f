//! How long the hot routines take. Run with `cargo test --release -- --ignored --nocapture timing`.

#![allow(clippy::print_stdout)]

use super::Random;
use ptxsim::isa::{ALL, Class, Exec, Inst, Members, Registers};
use ptxsim::tensor::mma::{self, Form};
use ptxsim::tensor::{Accumulator, Element};
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
