//! What an instruction costs in a warp, without the machine around it: the functions of the table
//! on registers made for the purpose.

// A benchmark that cannot be set up has nothing to measure.
#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use ptxsim::arith::TABLE;
use ptxsim::isa::{ALL, Alu, Class, Exec, Inst, LANES, Registers};
use std::hint::black_box;
use std::time::Duration;

#[path = "../tests/model/pattern.rs"]
#[allow(dead_code)]
mod pattern;

/// What the sources hold.
#[derive(Clone, Copy)]
enum Data {
    /// Integers of any size.
    Any,
    /// Integers below 32.
    Small,
    /// f32 around one.
    Single,
    /// Pairs of f16 around one.
    Half,
    /// Pairs of bf16 around one.
    Brain,
}
use Data::{Any, Brain, Half, Single, Small};

/// The instructions that kernels of language models consist of.
const INSTRUCTIONS: &[(&str, &str, Data)] = &[
    ("add.s32", "r=rr", Any),
    ("add.u64", "l=ll", Any),
    ("mul.lo.u32", "r=rr", Any),
    ("mad.lo.s32", "r=rrr", Any),
    ("mul.wide.u32", "l=rr", Any),
    ("mul.wide.s32", "l=rr", Any),
    ("mad.wide.s32", "l=rrl", Any),
    ("shl.b32", "r=rr", Small),
    ("shr.u32", "r=rr", Small),
    ("shr.s32", "r=rr", Small),
    ("shl.b64", "l=lr", Small),
    ("bfe.u32", "r=rrr", Small),
    ("bfe.s32", "r=rrr", Small),
    ("bfi.b32", "r=rrrr", Small),
    ("shf.l.wrap.b32", "r=rrr", Small),
    ("lop3.b32", "r=rrri", Any),
    ("prmt.b32", "r=rrr", Any),
    ("setp.lt.s32", "p=rr", Any),
    ("setp.lt.u64", "p=ll", Any),
    ("setp.gt.f32", "p=rr", Single),
    ("selp.b32", "r=rrp", Any),
    ("selp.b64", "l=llp", Any),
    ("add.f32", "r=rr", Single),
    ("mul.ftz.f32", "r=rr", Single),
    ("fma.rn.f32", "r=rrr", Single),
    ("max.f32", "r=rr", Single),
    ("div.rn.f32", "r=rr", Single),
    ("rcp.rn.f32", "r=r", Single),
    ("sqrt.rn.f32", "r=r", Single),
    ("div.full.f32", "r=rr", Single),
    ("rcp.approx.ftz.f32", "r=r", Single),
    ("rsqrt.approx.ftz.f32", "r=r", Single),
    ("sqrt.approx.ftz.f32", "r=r", Single),
    ("ex2.approx.ftz.f32", "r=r", Single),
    ("lg2.approx.ftz.f32", "r=r", Single),
    ("tanh.approx.f32", "r=r", Single),
    ("add.f16x2", "r=rr", Half),
    ("mul.f16x2", "r=rr", Half),
    ("fma.rn.f16x2", "r=rrr", Half),
    ("max.f16x2", "r=rr", Half),
    ("add.bf16x2", "r=rr", Brain),
    ("mul.bf16x2", "r=rr", Brain),
    ("fma.rn.bf16x2", "r=rrr", Brain),
    ("max.bf16x2", "r=rr", Brain),
    ("cvt.rn.f32.s32", "r=r", Any),
    ("cvt.rn.f32.u32", "r=r", Any),
    ("cvt.rzi.s32.f32", "r=r", Single),
    ("cvt.rni.s32.f32", "r=r", Single),
    ("cvt.rzi.u32.f32", "r=r", Single),
    ("cvt.u64.u32", "l=r", Any),
    ("cvt.s64.s32", "l=r", Any),
    ("cvt.f32.f16", "r=h", Half),
    ("cvt.rn.f16.f32", "h=r", Single),
    ("cvt.f32.bf16", "r=h", Brain),
    ("cvt.rn.bf16.f32", "h=r", Single),
    ("cvt.rn.f16x2.f32", "r=rr", Single),
    ("cvt.rn.bf16x2.f32", "r=rr", Single),
    ("cvt.rn.satfinite.e4m3x2.f32", "h=rr", Single),
    ("cvt.rn.satfinite.e5m2x2.f32", "h=rr", Single),
    ("cvt.rn.f16x2.e4m3x2", "r=h", Any),
    ("cvt.rna.tf32.f32", "r=r", Single),
];

fn function(opcode: &str, operands: &str) -> Alu {
    let mut rows = TABLE.iter().copied().flatten();
    let row = rows
        .find(|row| {
            row.operands == operands && pattern::expand(row.pattern).iter().any(|x| x == opcode)
        })
        .unwrap_or_else(|| panic!("no {opcode} {operands}"));
    let Exec::Alu(alu) = row.exec else { panic!("{opcode} is not register-only") };
    alu
}

/// Eight rows of every kind, the lanes all different.
fn registers(data: Data) -> Registers {
    let word = |row: usize, lane: usize| {
        let mixed = ((row * LANES + lane) as u32 + 1).wrapping_mul(0x9e37_79b9);
        let x = (mixed >> 8) as f32 / (1 << 23) as f32 + 0.25;
        let brain = x.to_bits() >> 16;
        let half = 0x3800 + (mixed >> 20);
        match data {
            Any => mixed,
            Small => mixed >> 27,
            Single => x.to_bits(),
            Half => half << 16 | (half ^ 0x8005),
            Brain => brain << 16 | (brain ^ 0x8005),
        }
    };
    let row = |k: usize| std::array::from_fn(|lane| word(k, lane));
    Registers {
        r32: (0..8).map(row).collect(),
        r64: (0..8).map(|k| row(k).map(|x: u32| u64::from(x) << 20)).collect(),
        p: vec![0xc3a5_5a3c; 8],
        ..Registers::default()
    }
}

fn instructions(c: &mut Criterion) {
    let mut group = c.benchmark_group("32 lanes");
    group.sample_size(20).warm_up_time(Duration::from_millis(50));
    group.measurement_time(Duration::from_millis(200));
    let part = [("add.s32 in some lanes", "add.s32", "r=rr", Any, 0xc3a5_5a3c)];
    let all = INSTRUCTIONS.iter().map(|&(name, operands, data)| (name, name, operands, data, ALL));
    for (name, opcode, operands, data, mask) in all.chain(part) {
        let alu = function(opcode, operands);
        let mut r = registers(data);
        let mut inst = Inst::new(Exec::Alu(alu), Class::Integer);
        inst.imm = 0x6a;
        inst.s[..4].copy_from_slice(&[1, 2, 3, 4]);
        inst.d[0] = 5;
        group.bench_function(name, |bench| {
            bench.iter(|| black_box(alu)(black_box(&mut r), black_box(&inst), black_box(mask)));
        });
    }
    group.finish();
}

criterion_group!(benches, instructions);
criterion_main!(benches);
