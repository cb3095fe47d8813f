//! shfl, vote, match, redux, activemask and elect, with whole and partial member masks.

use super::Probe;
use super::write::{Kernel, random};
use crate::model::inputs::Random;

/// Warps of a probe.
const WARPS: usize = 16;
const THREADS: usize = 32 * WARPS;

pub fn probes() -> Vec<Probe> {
    let mut out = Vec::new();
    for mode in ["up", "down", "bfly", "idx"] {
        out.extend([shfl(mode, false), shfl(mode, true)]);
    }
    out.extend(votes());
    for (kind, bits, pair) in
        [("any", 32, false), ("any", 64, false), ("all", 32, false), ("all", 64, false)]
            .into_iter()
            .chain([("all", 32, true), ("all", 64, true)])
    {
        out.push(matches(kind, bits, pair));
    }
    out.extend(reductions());
    out.push(active_mask());
    out.push(elect());
    out
}

/// A member mask for every warp: whole ones, single lanes, and any.
fn masks(random: &mut Random) -> Vec<u32> {
    (0..WARPS)
        .map(|warp| match warp % 4 {
            0 => u32::MAX,
            1 => 1 << random.below(32),
            _ => (random.next() >> 13) as u32 | 1 << random.below(32),
        })
        .collect()
}

/// A kernel with the masks in buffer 0, in which only members get to what follows. Whoever is no
/// member stores zeros.
fn members(kernel: Kernel, masks: &[u32], registers: &[&str]) -> Kernel {
    let mut text = String::from(
        "shr.u32 %r80, %i, 5;\nmad.wide.u32 %x, %r80, 4, %a0;\nld.global.u32 %r81, [%x];\n\
         shl.b32 %r82, 1, %lane;\nand.b32 %r82, %r82, %r81;\nsetp.eq.u32 %p15, %r82, 0;\n",
    );
    for register in registers {
        text += &format!("mov.b32 {register}, 0;\n");
    }
    kernel.threads(THREADS as u32).input32(masks).body(&(text + "@%p15 bra DONE;"))
}

fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |lane| mask >> lane & 1 == 1)
}

/// The lane that is read and whether it is in range (PTX ISA, "shfl.sync", the pseudo-code).
fn source(mode: &str, lane: i32, b: u32, c: u32) -> (i32, bool) {
    let (b, clamp, segment) = ((b & 31) as i32, (c & 31) as i32, (c >> 8 & 31) as i32);
    let most = (lane & segment) | (clamp & !segment);
    let (from, inside) = match mode {
        "up" => (lane - b, lane - b >= most),
        "down" => (lane + b, lane + b <= most),
        "bfly" => (lane ^ b, (lane ^ b) <= most),
        _ => {
            let from = (lane & segment) | (b & !segment);
            (from, from <= most)
        }
    };
    (if inside { from } else { lane }, inside)
}

/// Every lane has its own distance and clamp. A lane that is read must be a member.
fn shfl(mode: &str, pair: bool) -> Probe {
    let opcode = format!("shfl.sync.{mode}.b32");
    let mut random = random(&opcode);
    let masks = masks(&mut random);
    let mut inputs = Vec::new();
    let mut wanted = vec![0u32; 2 * THREADS];
    let values: Vec<u32> = (0..THREADS).map(|_| random.next() as u32).collect();
    for thread in 0..THREADS {
        let (mask, lane) = (masks[thread / 32], thread % 32);
        let (b, c, from, inside) = loop {
            let b = random.below(40) as u32;
            let width = 1u32 << random.below(6);
            let c = match random.below(3) {
                0 => (random.next() & 0x1f1f) as u32,
                _ => (32 - width) << 8 | if mode == "up" { 0 } else { 31 },
            };
            let (from, inside) = source(mode, lane as i32, b, c);
            if mask >> lane & 1 == 0 || ((0..32).contains(&from) && mask >> from & 1 == 1) {
                break (b, c, from, inside);
            }
        };
        inputs.extend([values[thread], b, c]);
        if mask >> lane & 1 == 1 {
            wanted[2 * thread] = values[thread / 32 * 32 + from as usize];
            wanted[2 * thread + 1] = u32::from(pair && inside);
        }
    }
    let to = if pair { "%r13|%p1" } else { "%r13" };
    let get = "mad.wide.u32 %x, %i, 12, %a1;\nld.global.u32 %r10, [%x];\n\
               ld.global.u32 %r11, [%x+4];\nld.global.u32 %r12, [%x+8];";
    let kernel = Kernel::new(&opcode, if pair { "with a predicate" } else { "" });
    members(kernel.operands(if pair { "r|p=rrrr" } else { "r=rrrr" }), &masks, &["%r13", "%r14"])
        .input32(&inputs)
        .out(8 * THREADS, 8)
        .body(get)
        .body(&format!("{opcode} {to}, %r10, %r11, %r12, %r81;"))
        .body(if pair { "selp.u32 %r14, 1, 0, %p1;" } else { "" })
        .body("DONE:")
        .put(2, 4, &["%r13", "%r14"])
        .wants32(wanted)
}

type Vote = fn(u32, u32) -> u32;

fn votes() -> Vec<Probe> {
    let list: [(&str, Vote); 4] = [
        ("all.pred", |votes, mask| u32::from(votes == mask)),
        ("any.pred", |votes, _| u32::from(votes != 0)),
        ("uni.pred", |votes, mask| u32::from(votes == mask || votes == 0)),
        ("ballot.b32", |votes, _| votes),
    ];
    let probe = |(name, result): (&str, Vote)| {
        let opcode = format!("vote.sync.{name}");
        let mut random = random(&opcode);
        let masks = masks(&mut random);
        // Warps in which all agree must be among them.
        let votes: Vec<u32> = (0..WARPS)
            .map(|_| [0, u32::MAX, random.next() as u32][random.below(3) as usize])
            .collect();
        let inputs: Vec<u32> = (0..THREADS).map(|t| votes[t / 32] >> (t % 32) & 1).collect();
        let wanted = (0..THREADS).map(|t| {
            let mask = masks[t / 32];
            if mask >> (t % 32) & 1 == 1 { result(votes[t / 32] & mask, mask) } else { 0 }
        });
        let ballot = name == "ballot.b32";
        let to = if ballot { "%r13" } else { "%p1" };
        members(
            Kernel::new(&opcode, "").operands(if ballot { "r=pr" } else { "p=pr" }),
            &masks,
            &["%r13"],
        )
        .input32(&inputs)
        .out(4 * THREADS, 4)
        .get("%r10", 1, 4)
        .body("setp.ne.u32 %p0, %r10, 0;")
        .body(&format!("{opcode} {to}, %p0, %r81;"))
        .body(if ballot { "" } else { "selp.u32 %r13, 1, 0, %p1;" })
        .body("DONE:")
        .put(2, 4, &["%r13"])
        .wants32(wanted.collect())
    };
    list.into_iter().map(probe).collect()
}

fn matches(kind: &str, bits: usize, pair: bool) -> Probe {
    let opcode = format!("match.{kind}.sync.b{bits}");
    let mut random = random(&opcode);
    let masks = masks(&mut random);
    let choices: Vec<u64> = (0..4).map(|_| random.next() >> (64 - bits)).collect();
    let values: Vec<u64> = (0..THREADS)
        .map(|t| if t / 32 % 3 == 0 { choices[0] } else { choices[random.below(4) as usize] })
        .collect();
    let mut wanted = vec![0u32; 2 * THREADS];
    for (warp, &mask) in masks.iter().enumerate() {
        for lane in lanes(mask) {
            let value = values[32 * warp + lane];
            let same = lanes(mask).filter(|&other| values[32 * warp + other] == value);
            let same = same.fold(0u32, |set, other| set | 1 << other);
            let all = kind == "all";
            let result = if all && same != mask { 0 } else { same };
            wanted[2 * (32 * warp + lane)] = result;
            wanted[2 * (32 * warp + lane) + 1] = u32::from(pair && same == mask);
        }
    }
    let (from, letter) = if bits == 64 { ("%l10", 'l') } else { ("%r10", 'r') };
    let bar = if pair { "|p" } else { "" };
    let to = if pair { "%r13|%p1" } else { "%r13" };
    let kernel = Kernel::new(&opcode, if pair { "with a predicate" } else { "" });
    let data = values.iter().flat_map(|x| x.to_le_bytes()[..bits / 8].to_vec()).collect();
    members(kernel.operands(&format!("r{bar}={letter}r")), &masks, &["%r13", "%r14"])
        .input(data)
        .out(8 * THREADS, 8)
        .get(from, 1, bits / 8)
        .body(&format!("{opcode} {to}, {from}, %r81;"))
        .body(if pair { "selp.u32 %r14, 1, 0, %p1;" } else { "" })
        .body("DONE:")
        .put(2, 4, &["%r13", "%r14"])
        .wants32(wanted)
}

type Join = fn(i128, i128) -> i128;

fn reductions() -> Vec<Probe> {
    let list: [(&str, Join); 9] = [
        ("add.u32", |a, b| a + b),
        ("add.s32", |a, b| a + b),
        ("min.u32", i128::min),
        ("max.u32", i128::max),
        ("min.s32", i128::min),
        ("max.s32", i128::max),
        ("and.b32", |a, b| a & b),
        ("or.b32", |a, b| a | b),
        ("xor.b32", |a, b| a ^ b),
    ];
    let probe = |(name, join): (&str, Join)| {
        let opcode = format!("redux.sync.{name}");
        let mut random = random(&opcode);
        let masks = masks(&mut random);
        let values: Vec<u32> = (0..THREADS).map(|_| random.next() as u32).collect();
        let number = |x: u32| match name.ends_with("s32") {
            true => i128::from(x as i32),
            false => i128::from(x),
        };
        let mut wanted = vec![0u32; THREADS];
        for (warp, &mask) in masks.iter().enumerate() {
            let members = lanes(mask).map(|lane| number(values[32 * warp + lane]));
            let result = members.reduce(join).unwrap() as u32;
            lanes(mask).for_each(|lane| wanted[32 * warp + lane] = result);
        }
        members(Kernel::new(&opcode, "").operands("r=rr"), &masks, &["%r13"])
            .input32(&values)
            .out(4 * THREADS, 4)
            .get("%r10", 1, 4)
            .body(&format!("{opcode} %r13, %r10, %r81;"))
            .body("DONE:")
            .put(2, 4, &["%r13"])
            .wants32(wanted)
    };
    list.into_iter().map(probe).collect()
}

/// Whoever is no member is elsewhere. A GPU may have split the members too, so each lane must find
/// itself, and none but members.
fn active_mask() -> Probe {
    let mut random = random("activemask");
    let masks = masks(&mut random);
    let model = masks.clone();
    members(Kernel::new("activemask.b32", "").operands("r="), &masks, &["%r13"])
        .out(4 * THREADS, 4)
        .body("activemask.b32 %r13;\nDONE:")
        .put(1, 4, &["%r13"])
        .inexact()
        .check(move |results| {
            let got = super::write::words(&results[0]);
            let wrong = (0..THREADS).filter(|&thread| {
                let (mask, lane) = (model[thread / 32], thread % 32);
                let member = mask >> lane & 1 == 1;
                if member {
                    got[thread] & !mask != 0 || got[thread] >> lane & 1 == 0
                } else {
                    got[thread] != 0
                }
            });
            let text = |t: usize| format!("thread {t} of {:x}: {:x}", model[t / 32], got[t]);
            wrong.map(text).take(3).collect()
        })
}

/// PTX does not say who leads, but one member does, and all know who.
fn elect() -> Probe {
    let mut random = random("elect");
    let masks = masks(&mut random);
    let model = masks.clone();
    members(Kernel::new("elect.sync", "").operands("r|p=r"), &masks, &["%r13", "%r14"])
        .out(8 * THREADS, 8)
        .body("elect.sync %r13|%p1, %r81;\nselp.u32 %r14, 1, 0, %p1;\nDONE:")
        .put(1, 4, &["%r13", "%r14"])
        .inexact()
        .check(move |results| {
            let got = super::write::words(&results[0]);
            let fair = |warp: usize| {
                let mask = model[warp];
                let leader = got[2 * (32 * warp + mask.trailing_zeros() as usize)];
                let told = |lane: usize| {
                    let at = 2 * (32 * warp + lane);
                    got[at] == leader && got[at + 1] == u32::from(lane == leader as usize)
                };
                leader < 32 && mask >> leader & 1 == 1 && lanes(mask).all(told)
            };
            let wrong = (0..WARPS).filter(|&warp| !fair(warp));
            wrong.map(|warp| format!("warp {warp} of members {:x}", model[warp])).collect()
        })
}
