//! shfl, vote, match, redux and elect against a slow model of one lane at a time.

use super::Random;
use ptxsim::isa::{Alu, Class, Exec, Inst, Members, Registers};
use ptxsim::report::FaultKind;
use ptxsim::warp::ROWS;

fn find(pattern: &str, operands: &str) -> (Alu, Inst) {
    let found = ROWS.iter().find(|row| row.pattern == pattern && row.operands == operands);
    let exec = found.unwrap_or_else(|| panic!("{pattern} {operands}")).exec;
    match exec {
        Exec::Collective(Members::Source(_), run) | Exec::Alu(run) => {
            (run, Inst::new(exec, Class::Warp))
        }
        _ => panic!("not an Alu"),
    }
}

/// Rows 0-3 and predicate 0 are read, row 4 and predicate 1 written.
fn registers(random: &mut Random) -> Registers {
    Registers {
        r32: (0..5).map(|_| random.row()).collect(),
        r64: vec![std::array::from_fn(|_| random.next() & 3)],
        p: vec![random.word(), random.word()],
        ..Registers::default()
    }
}

fn mask(random: &mut Random) -> u32 {
    match random.below(4) {
        0 => u32::MAX,
        1 => 1 << random.below(32),
        2 => random.word() | 1,
        _ => random.word() & random.word() | 1 << 31,
    }
}

/// The PTX ISA's pseudo-code, with its signed comparisons.
fn model(mode: &str, lane: i32, b: u32, c: u32) -> (i32, bool) {
    let (bval, cval, segment) = ((b & 31) as i32, (c & 31) as i32, (c >> 8 & 31) as i32);
    let max_lane = (lane & segment) | (cval & !segment);
    let min_lane = lane & segment;
    let (j, p) = match mode {
        "up" => (lane - bval, lane - bval >= max_lane),
        "down" => (lane + bval, lane + bval <= max_lane),
        "bfly" => (lane ^ bval, lane ^ bval <= max_lane),
        _ => {
            let j = min_lane | (bval & !segment);
            (j, j <= max_lane)
        }
    };
    (if p { j } else { lane }, p)
}

#[test]
fn shuffles_follow_the_pseudo_code() {
    let mut random = Random::new(5);
    for round in 0..4000 {
        let mode = ["up", "down", "bfly", "idx"][round % 4];
        let pair = random.below(2) == 1;
        let operands = if pair { "r|p=rrrr" } else { "r=rrrr" };
        let (run, mut inst) = find(&format!("shfl.sync.{mode}.b32"), operands);
        let mut registers = registers(&mut random);
        if random.below(2) == 0 {
            // What CUDA's intrinsics emit: one operand for all lanes.
            let width = 1 << random.below(6);
            let c = (32 - width) << 8 | if mode == "up" { 0 } else { 31 };
            registers.r32[1] = [random.below(32) as u32; 32];
            registers.r32[2] = [c; 32];
        }
        let mask = mask(&mut random);
        inst.s[..4].copy_from_slice(&[0, 1, 2, 3]);
        inst.d[..2].copy_from_slice(&[4, 1]);
        let before = registers.clone();
        run(&mut registers, &inst, mask);
        let mut lost = 0;
        for lane in 0..32 {
            let (b, c) = (before.r32[1][lane], before.r32[2][lane]);
            let (j, p) = model(mode, lane as i32, b, c);
            let runs = mask >> lane & 1 != 0;
            let value = before.r32[0][j as usize];
            let wanted = if runs { value } else { before.r32[4][lane] };
            assert_eq!(registers.r32[4][lane], wanted, "{mode} lane {lane}");
            let old = before.p[1] >> lane & 1;
            let wanted = if runs && pair { u32::from(p) } else { old };
            assert_eq!(registers.p[1] >> lane & 1, wanted, "{mode} lane {lane}");
            if runs && mask >> j & 1 == 0 {
                lost |= 1 << lane;
            }
        }
        let trouble = (lost != 0).then_some((FaultKind::Divergence, lost));
        assert_eq!(registers.trouble, trouble);
    }
}

#[test]
fn a_shuffle_may_overwrite_its_source() {
    let (run, mut inst) = find("shfl.sync.bfly.b32", "r=rrrr");
    let mut registers = Registers {
        r32: vec![std::array::from_fn(|lane| lane as u32), [1; 32], [0x1f; 32]],
        ..Registers::default()
    };
    inst.s[..4].copy_from_slice(&[0, 1, 2, 2]);
    run(&mut registers, &inst, u32::MAX);
    assert_eq!(registers.r32[0], std::array::from_fn(|lane| lane as u32 ^ 1));
}

#[test]
fn votes() {
    let mut random = Random::new(6);
    for _ in 0..500 {
        let before = registers(&mut random);
        let mask = mask(&mut random);
        let mut before = before;
        match random.below(3) {
            0 => before.p[0] |= mask,
            1 => before.p[0] &= !mask,
            _ => {}
        }
        let lanes: Vec<bool> =
            (0..32).filter(|l| mask >> l & 1 != 0).map(|l| before.p[0] >> l & 1 != 0).collect();
        for (name, wanted) in [
            ("all", lanes.iter().all(|x| *x)),
            ("any", lanes.iter().any(|x| *x)),
            ("uni", lanes.iter().all(|x| *x == lanes[0])),
        ] {
            let (run, mut inst) = find(&format!("vote.sync.{name}.pred"), "p=pr");
            inst.d[0] = 1;
            let mut after = before.clone();
            run(&mut after, &inst, mask);
            let written = if wanted { mask } else { 0 };
            assert_eq!(after.p[1], before.p[1] & !mask | written, "{name}");
        }
        let (run, mut inst) = find("vote.sync.ballot.b32", "r=pr");
        inst.d[0] = 4;
        let mut after = before.clone();
        run(&mut after, &inst, mask);
        check(&before, &after, mask, |_| before.p[0] & mask);
    }
}

/// Row 4 holds `wanted(lane)` in the lanes of `mask` and what it held in the others.
fn check(before: &Registers, after: &Registers, mask: u32, wanted: impl Fn(usize) -> u32) {
    for lane in 0..32 {
        let value = if mask >> lane & 1 != 0 { wanted(lane) } else { before.r32[4][lane] };
        assert_eq!(after.r32[4][lane], value, "lane {lane}");
    }
}

#[test]
fn matches() {
    let mut random = Random::new(7);
    for _ in 0..500 {
        let mut before = registers(&mut random);
        before.r32[0] = before.r32[0].map(|x| x & 3);
        let mask = mask(&mut random);
        if random.below(2) == 0 {
            for lane in (0..32).filter(|lane| mask >> lane & 1 != 0) {
                before.r32[0][lane] = 9;
                before.r64[0][lane] = 1 << 40;
            }
        }
        for (bits, letter) in [("b32", "r"), ("b64", "l")] {
            let value = |lane: usize| match bits {
                "b32" => u64::from(before.r32[0][lane]),
                _ => before.r64[0][lane],
            };
            let same = |lane: usize| {
                (0..32).fold(0u32, |set, other| {
                    let equal = mask >> other & 1 != 0 && value(other) == value(lane);
                    set | u32::from(equal) << other
                })
            };
            let (run, mut inst) = find(&format!("match.any.sync.{bits}"), &format!("r={letter}r"));
            inst.d[0] = 4;
            let mut after = before.clone();
            run(&mut after, &inst, mask);
            check(&before, &after, mask, same);
            for pair in ["r", "r|p"] {
                let (run, mut inst) =
                    find(&format!("match.all.sync.{bits}"), &format!("{pair}={letter}r"));
                inst.d[..2].copy_from_slice(&[4, 1]);
                let mut after = before.clone();
                run(&mut after, &inst, mask);
                let all = same(mask.trailing_zeros() as usize) == mask;
                check(&before, &after, mask, |_| if all { mask } else { 0 });
                let written = if all { mask } else { 0 };
                let wanted = before.p[1] & !mask | written;
                assert_eq!(after.p[1], if pair == "r" { before.p[1] } else { wanted });
            }
        }
    }
}

#[test]
fn reductions_and_elections() {
    let mut random = Random::new(8);
    for _ in 0..300 {
        let before = registers(&mut random);
        let mask = mask(&mut random);
        let values: Vec<u32> =
            (0..32).filter(|l| mask >> l & 1 != 0).map(|l| before.r32[0][l]).collect();
        let signed = || values.iter().map(|x| *x as i32);
        let sum = values.iter().fold(0u64, |sum, x| sum + u64::from(*x)) as u32;
        let cases = [
            ("add(.u32|.s32)", Some(sum)),
            ("min.u32", values.iter().copied().min()),
            ("max.u32", values.iter().copied().max()),
            ("min.s32", signed().min().map(|x| x as u32)),
            ("max.s32", signed().max().map(|x| x as u32)),
            ("and.b32", values.iter().copied().reduce(|a, b| a & b)),
            ("or.b32", values.iter().copied().reduce(|a, b| a | b)),
            ("xor.b32", values.iter().copied().reduce(|a, b| a ^ b)),
        ];
        for (name, wanted) in cases {
            let (run, mut inst) = find(&format!("redux.sync.{name}"), "r=rr");
            inst.d[0] = 4;
            let mut after = before.clone();
            run(&mut after, &inst, mask);
            check(&before, &after, mask, |_| wanted.expect("a lane"));
        }
        let (run, mut inst) = find("elect.sync", "r|p=r");
        inst.d[..2].copy_from_slice(&[4, 1]);
        let mut after = before.clone();
        run(&mut after, &inst, mask);
        let leader = mask.trailing_zeros();
        check(&before, &after, mask, |_| leader);
        assert_eq!(after.p[1], before.p[1] & !mask | 1 << leader);
        let (run, mut inst) = find("activemask.b32", "r=");
        inst.d[0] = 4;
        let mut after = before.clone();
        run(&mut after, &inst, mask);
        check(&before, &after, mask, |_| mask);
    }
}
