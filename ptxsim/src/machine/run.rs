//! Executes one warp: chooses the lanes that go on together, and runs them until they wait, part,
//! or their turn is over. The lowest program counter of the deepest activation goes first, which
//! brings lanes that have parted together again where their paths meet.

use super::ctx::{Ctx, Flow, World};
use super::state::{Team, Warp};
use crate::decode::Program;
use crate::isa::{ALL, Act, Alu, Exec, Inst, Members, Registers, UNGUARDED};
use crate::report::FaultKind;

/// Why a warp's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// All its lanes have exited.
    Done,
    /// No lane can go on now.
    Blocked,
    /// It had its share.
    Turn,
}

/// Lanes that stand at one instruction of one activation.
#[derive(Clone, Copy)]
struct Group {
    frame: u16,
    pc: u32,
    mask: u32,
    /// The lowest program counter above at which other lanes wait to be joined.
    next: u32,
}

/// Gives the warp a turn of `turn` instructions.
pub fn run_warp(
    world: &mut World<'_>,
    team: &mut Team,
    warp: &mut Warp,
    program: &Program,
    turn: u32,
) -> Stop {
    warp.blocked = 0;
    let mut left = turn;
    let mut hits = std::mem::take(&mut world.grids[team.grid].hits);
    let stop = loop {
        if warp.live == 0 {
            break Stop::Done;
        }
        if left == 0 || world.stopped {
            break Stop::Turn;
        }
        let unfair = world.rng.bits() & 7 != 0;
        let (group, force) = match choose(warp, warp.live & !warp.blocked & !warp.parked, unfair) {
            Some(group) => (group, false),
            None if warp.blocked != 0 => break Stop::Blocked,
            // Only lanes that wait for each other are left: run them all the same, which reports
            // the divergence, so that the rest of the kernel is seen too.
            None => match choose(warp, warp.live, true) {
                Some(group) => (group, true),
                None => break Stop::Done,
            },
        };
        let frame = group.frame as usize;
        let taken = |warp: &mut Warp| {
            let frame = warp.frames[frame].as_mut().expect("a chosen frame exists");
            std::mem::take(&mut frame.registers)
        };
        let mut registers = taken(warp);
        let mut ctx = Ctx {
            world,
            team,
            warp,
            registers: &mut registers,
            program,
            pc: group.pc,
            postponed: false,
        };
        run_group(&mut ctx, group, &mut left, &mut hits, force);
        if let Some(Some(frame)) = warp.frames.get_mut(frame) {
            frame.registers = registers;
        }
    };
    world.steps += (turn - left) as u64;
    world.grids[team.grid].hits = hits;
    stop
}

fn choose(warp: &Warp, lanes: u32, lowest: bool) -> Option<Group> {
    if lanes == 0 {
        return None;
    }
    let first = lanes.trailing_zeros() as usize;
    let frame = if warp.frames.len() == 1 { 0 } else { deepest(warp, lanes) };
    let mut pc = u32::MAX;
    for lane in first..32 {
        if lanes >> lane & 1 == 1 && warp.frame[lane] == frame {
            pc = pc.min(warp.pc[lane]);
        }
    }
    if !lowest {
        // Now and then somebody else goes first, or lanes that spin could keep out for ever those
        // that they wait for.
        let highest = (first..32).filter(|&l| lanes >> l & 1 == 1 && warp.frame[l] == frame);
        pc = highest.map(|l| warp.pc[l]).max().unwrap_or(pc);
    }
    let (mut mask, mut next) = (0, u32::MAX);
    for lane in first..32 {
        if lanes >> lane & 1 == 1 && warp.frame[lane] == frame {
            let at = warp.pc[lane];
            mask |= ((at == pc) as u32) << lane;
            if at > pc {
                next = next.min(at);
            }
        }
    }
    Some(Group { frame, pc, mask, next })
}

fn deepest(warp: &Warp, lanes: u32) -> u16 {
    let lanes = (0..32).filter(|l| lanes >> l & 1 == 1);
    let best = lanes.max_by_key(|&lane| (warp.frame_of(lane).depth, std::cmp::Reverse(lane)));
    best.map_or(0, |lane| warp.frame[lane])
}

fn run_group(ctx: &mut Ctx<'_, '_>, group: Group, left: &mut u32, hits: &mut [u64], force: bool) {
    let program = ctx.program;
    let Group { mut pc, mask, next, .. } = group;
    loop {
        if pc >= next || *left == 0 {
            set_pc(ctx.warp, mask, pc);
            return;
        }
        let inst = &program.code[pc as usize];
        *left -= 1;
        hits[pc as usize] += 1;
        ctx.pc = pc;
        let mut m = mask;
        if inst.guard != UNGUARDED {
            let p = ctx.registers.p[inst.guard as usize];
            m &= if inst.guard_negated { !p } else { p };
        }
        if ctx.warp.wgmma.in_flight() {
            watch_accumulators(ctx, inst, m);
        }
        let flow = match inst.exec {
            _ if m == 0 => Flow::Next,
            Exec::Alu(f) => alu(ctx, f, inst, m),
            Exec::Act(f) => f(ctx, inst, m),
            Exec::Collective(..) | Exec::CollectiveAct(..) => {
                match collective(ctx, inst, m, force) {
                    Some(flow) => flow,
                    None => {
                        hits[pc as usize] -= ctx.postponed as u64;
                        return part(ctx, mask & !m, pc);
                    }
                }
            }
        };
        match flow {
            Flow::Next => pc += 1,
            Flow::Branch(taken) if taken == mask && next == u32::MAX => pc = inst.target,
            Flow::Branch(taken) => {
                set_pc(ctx.warp, taken, inst.target);
                return set_pc(ctx.warp, mask & !taken, pc + 1);
            }
            Flow::Regroup => return part(ctx, mask & !m, pc),
            Flow::Wait => {
                // It will be run again, and counts once.
                hits[pc as usize] -= 1;
                set_pc(ctx.warp, m, pc);
                ctx.warp.blocked |= m;
                return part(ctx, mask & !m, pc);
            }
            Flow::Yield => {
                set_pc(ctx.warp, mask, pc + 1);
                *left = 0;
                return;
            }
        }
        if ctx.world.stopped {
            set_pc(ctx.warp, mask, pc);
            *left = 0;
            return;
        }
    }
}

/// The lanes that a guard kept out go on.
fn part(ctx: &mut Ctx<'_, '_>, others: u32, pc: u32) {
    set_pc(ctx.warp, others, pc + 1);
}

fn set_pc(warp: &mut Warp, mask: u32, pc: u32) {
    for lane in 0..32 {
        if mask >> lane & 1 == 1 {
            warp.pc[lane] = pc;
        }
    }
}

#[inline(always)]
fn alu(ctx: &mut Ctx<'_, '_>, f: Alu, inst: &Inst, mask: u32) -> Flow {
    f(ctx.registers, inst, mask);
    if ctx.registers.trouble.is_some() {
        trouble(ctx);
    }
    Flow::Next
}

#[cold]
fn trouble(ctx: &mut Ctx<'_, '_>) {
    if let Some((kind, lanes)) = ctx.registers.trouble.take() {
        let detail =
            if lanes.count_ones() > 1 { format!("lanes {lanes:#010x}") } else { "".into() };
        ctx.fault(kind, lanes.trailing_zeros() as u8, detail);
    }
}

/// What a collective instruction calls.
#[derive(Clone, Copy)]
enum Run {
    Alu(Alu),
    Act(Act),
}

/// Runs a `.sync` instruction for those of its lanes whose fellow members all stand at it, and
/// parks the others. `None` if the lanes have to be grouped anew.
fn collective(ctx: &mut Ctx<'_, '_>, inst: &Inst, m: u32, force: bool) -> Option<Flow> {
    let (members, run) = match inst.exec {
        Exec::Collective(members, f) => (members, Run::Alu(f)),
        Exec::CollectiveAct(members, f) => (members, Run::Act(f)),
        Exec::Alu(f) => (Members::Warp, Run::Alu(f)),
        Exec::Act(f) => (Members::Warp, Run::Act(f)),
    };
    let whole = match members {
        Members::Warp => true,
        Members::Source(k) => ctx.registers.r32[inst.s[k as usize] as usize] == [ALL; 32],
    };
    if m == ALL && whole {
        return Some(call(ctx, run, inst, m));
    }
    let pc = ctx.pc;
    let lane = m.trailing_zeros() as usize;
    let frame = ctx.warp.frame[lane];
    let waiting = (0..32).filter(|&l| {
        ctx.warp.parked >> l & 1 == 1 && ctx.warp.pc[l] == pc && ctx.warp.frame[l] == frame
    });
    let have = waiting.fold(m, |mask, l| mask | 1 << l);
    let mut rest = have;
    let mut done = 0;
    let mut flow = Flow::Next;
    while rest != 0 {
        let lane = rest.trailing_zeros() as usize;
        let (need, same) = match members {
            Members::Warp => (ctx.warp.live, rest),
            Members::Source(k) => {
                let row = &ctx.registers.r32[inst.s[k as usize] as usize];
                let alike = (0..32).filter(|&l| rest >> l & 1 == 1 && row[l] == row[lane]);
                (row[lane], alike.fold(0, |mask, l| mask | 1 << l))
            }
        };
        rest &= !same;
        let missing = need & ctx.warp.live & !same;
        if missing != 0 && !force {
            ctx.warp.parked |= same;
            set_pc(ctx.warp, same, pc);
            continue;
        }
        if missing != 0 {
            let text = format!(
                "lanes {same:#010x} are here, lanes {missing:#010x} are members and elsewhere"
            );
            ctx.fault(FaultKind::Divergence, lane as u8, text);
        } else if need & same != same {
            let text = format!("lanes {:#010x} are not in their own member mask", same & !need);
            ctx.fault(FaultKind::Divergence, lane as u8, text);
        }
        ctx.warp.parked &= !same;
        flow = call(ctx, run, inst, same);
        done |= same;
    }
    if done == m && have == m {
        return Some(flow);
    }
    ctx.postponed = done == 0 || flow == Flow::Wait;
    if flow == Flow::Wait {
        ctx.warp.blocked |= done;
        set_pc(ctx.warp, done, pc);
    } else {
        set_pc(ctx.warp, done, pc + 1);
    }
    None
}

fn call(ctx: &mut Ctx<'_, '_>, run: Run, inst: &Inst, mask: u32) -> Flow {
    match run {
        Run::Alu(f) => alu(ctx, f, inst, mask),
        Run::Act(f) => f(ctx, inst, mask),
    }
}

/// While products are in flight, nothing but another product may touch their registers; a plain
/// `mov` carries the mark along, since nvcc renames accumulators between products.
#[cold]
fn watch_accumulators(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) {
    crate::agents::wgmma::watch(ctx, inst, mask);
}

/// The rows of a warp's registers are as many as its function needs.
pub fn empty_registers(rows32: usize, rows64: usize, predicates: usize) -> Registers {
    Registers {
        r32: vec![[0xdead_beef; 32]; rows32],
        r64: vec![[0xdead_beef_dead_beef; 32]; rows64],
        p: vec![0; predicates],
        ..Registers::default()
    }
}
