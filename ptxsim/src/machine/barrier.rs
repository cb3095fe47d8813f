//! `bar`, `barrier`, `bar.warp.sync` and `barrier.cluster`.

use super::ctx::{Ctx, Flow};
use crate::isa::Inst;
use crate::memory::clock::Clock;
use crate::report::FaultKind;

/// One barrier of a block, or the one of a cluster.
#[derive(Default)]
pub struct Barrier {
    /// Threads that complete it; `None` for all of the block.
    expected: Option<u32>,
    /// Threads that have arrived.
    arrived: u32,
    /// What those who arrived knew.
    clock: Clock,
    /// Warps that wait: block rank, index, lanes.
    waiting: Vec<(usize, usize, u32)>,
    /// Threads whose predicate held, and whether all or any did.
    count: u32,
    /// Whether all did.
    all: bool,
    /// Where the first arrival stood.
    pc: u32,
}

/// What an arrival does, in `inst.imm`.
pub mod mode {
    /// Arrives and waits.
    pub const SYNC: i64 = 0;
    /// Arrives and goes on.
    pub const ARRIVE: i64 = 1;
    /// As sync, and counts predicates.
    pub const POPC: i64 = 2;
    /// As sync, and tells whether all predicates hold.
    pub const AND: i64 = 3;
    /// As sync, and tells whether any does.
    pub const OR: i64 = 4;
    /// Added for the form that all lanes of a warp execute together.
    pub const ALIGNED: i64 = 8;
}

/// `bar` and `barrier`. `s[0]` is the barrier, `s[1]` the thread count if `target` is 1, `s[2]` the
/// predicate and `d[0]` the destination of a reduction.
pub fn bar(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let what = inst.imm & 7;
    let free = ctx.warp.let_go & mask;
    if free != 0 {
        return pass(ctx, inst, mask, free);
    }
    // Lanes that have arrived before wait on; others of the warp may only come now.
    let all = mask;
    let mask = all & !ctx.warp.arrived;
    if mask == 0 {
        return Flow::Wait;
    }
    let lane = mask.trailing_zeros() as usize;
    let id = ctx.registers.r32[inst.s[0] as usize][lane];
    let count = (inst.target == 1).then(|| ctx.registers.r32[inst.s[1] as usize][lane]);
    if id > 15 {
        ctx.fault(FaultKind::Barrier, lane as u8, format!("barrier {id}: there are 0 to 15"));
        return Flow::Next;
    }
    if let Some(n) = count.filter(|n| n % 32 != 0 || *n == 0) {
        let text = format!("barrier {id}: {n} threads is not a multiple of 32 above 0");
        ctx.fault(FaultKind::Barrier, lane as u8, text);
        return Flow::Next;
    }
    let aligned = inst.imm & mode::ALIGNED != 0;
    // With a count, an aligned barrier counts whole warps (PTX ISA, "bar, barrier"). Without one,
    // every thread that has not exited is waited for.
    let threads = if aligned && count.is_some() { 32 } else { mask.count_ones() };
    let votes = if what >= mode::POPC { ctx.registers.p[inst.s[2] as usize] & mask } else { mask };
    arrive(ctx, id as usize, count, threads, (mask, votes));
    if what == mode::ARRIVE {
        complete(ctx, id as usize);
        return Flow::Next;
    }
    let (block, index) = (ctx.warp.block, ctx.warp.index);
    ctx.team.blocks[block].barriers[id as usize].waiting.push((block, index, mask));
    ctx.warp.arrived |= mask;
    complete(ctx, id as usize);
    match ctx.warp.let_go & all {
        0 => Flow::Wait,
        free => pass(ctx, inst, all, free),
    }
}

/// Lanes that the barrier has let go, of those that stand at it, go on.
fn pass(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32, free: u32) -> Flow {
    ctx.warp.let_go &= !free;
    finish_reduction(ctx, inst, free, inst.imm & 7);
    if free == mask {
        return Flow::Next;
    }
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        ctx.warp.pc[lane] = ctx.pc + (free >> lane & 1);
    }
    Flow::Regroup
}

fn finish_reduction(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32, what: i64) {
    let value = ctx.warp.reduced;
    let d = inst.d[0] as usize;
    if what == mode::POPC {
        for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
            ctx.registers.r32[d][lane] = value >> 2;
        }
    } else if what == mode::AND || what == mode::OR {
        let held = if what == mode::AND { value & 1 != 0 } else { value & 2 != 0 };
        let p = &mut ctx.registers.p[d];
        *p = if held { *p | mask } else { *p & !mask };
    }
}

fn arrive(
    ctx: &mut Ctx<'_, '_>,
    id: usize,
    count: Option<u32>,
    threads: u32,
    (mask, votes): (u32, u32),
) {
    let pc = ctx.pc;
    let barrier = &mut ctx.team.blocks[ctx.warp.block].barriers[id];
    let first = barrier.arrived == 0;
    if first {
        barrier.expected = count;
        barrier.pc = pc;
        barrier.all = true;
        barrier.count = 0;
    }
    let mismatch = barrier.expected != count;
    barrier.arrived += threads;
    barrier.count += votes.count_ones();
    barrier.all &= votes == mask;
    barrier.clock.join(&ctx.warp.clock);
    let (expected, before) = (barrier.expected, barrier.pc);
    ctx.warp.tick();
    ctx.warp.synchronise(mask);
    ctx.team_changed();
    if mismatch {
        let who = |n: Option<u32>| n.map_or("all threads".to_string(), |n| format!("{n} threads"));
        let site = ctx.site_of(before);
        let text = format!(
            "barrier {id} is waited for by {} here and by {} at {site}",
            who(count),
            who(expected)
        );
        ctx.fault(FaultKind::Barrier, mask.trailing_zeros() as u8, text);
    }
}

/// Lets everybody go if all have come.
fn complete(ctx: &mut Ctx<'_, '_>, id: usize) {
    let block = ctx.warp.block;
    let alive = ctx.team.blocks[block].alive;
    let barrier = &mut ctx.team.blocks[block].barriers[id];
    let needed = barrier.expected.unwrap_or(alive.max(1));
    if barrier.arrived < needed {
        return;
    }
    let over = barrier.arrived > needed && barrier.expected.is_some();
    let barrier = std::mem::take(barrier);
    if over {
        let text = format!("barrier {id}: {} threads for {needed}", barrier.arrived);
        ctx.fault(FaultKind::Barrier, 0, text);
    }
    release(ctx, barrier, false);
}

/// Wakes those who wait at a barrier that is complete; each then knows what all others knew.
fn release(ctx: &mut Ctx<'_, '_>, barrier: Barrier, cluster: bool) {
    let any = barrier.count > 0;
    let reduced = barrier.all as u32 | (any as u32) << 1 | barrier.count << 2;
    for (block, index, lanes) in barrier.waiting {
        let own = block == ctx.warp.block && index == ctx.warp.index;
        let warp = if own {
            &mut *ctx.warp
        } else {
            ctx.team.blocks[block].warps[index].as_mut().expect("only one warp runs at a time")
        };
        warp.clock.join(&barrier.clock);
        warp.synchronise(lanes);
        if cluster {
            warp.cluster_let_go |= lanes;
            warp.cluster_arrived &= !lanes;
            continue;
        }
        warp.let_go |= lanes;
        warp.arrived &= !lanes;
        warp.reduced = reduced;
    }
    for block in &mut ctx.team.blocks {
        block.shared.shadow.stamp += 1;
    }
    ctx.team.events += 1;
}

/// A thread has exited: barriers for all threads of its block may be complete without it.
pub fn after_exit(ctx: &mut Ctx<'_, '_>) {
    for id in 0..16 {
        let barrier = &ctx.team.blocks[ctx.warp.block].barriers[id];
        if barrier.arrived > 0 && barrier.expected.is_none() {
            complete(ctx, id);
        }
    }
    if ctx.team.barrier.arrived > 0 {
        complete_cluster(ctx);
    }
}

/// `bar.warp.sync`.
pub fn warp_sync(ctx: &mut Ctx<'_, '_>, _: &Inst, mask: u32) -> Flow {
    ctx.warp.synchronise(mask);
    ctx.team_changed();
    Flow::Next
}

/// `barrier.cluster.arrive`. What was done before is published unless it is `.relaxed`, which
/// `inst.imm` tells.
pub fn cluster_arrive(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    ctx.team.barrier.arrived += mask.count_ones();
    if inst.imm == 0 {
        ctx.team.barrier.clock.join(&ctx.warp.clock);
        ctx.warp.tick();
    }
    ctx.warp.synchronise(mask);
    ctx.warp.cluster_arrived |= mask;
    let (block, index) = (ctx.warp.block, ctx.warp.index);
    ctx.team.barrier.waiting.push((block, index, mask));
    ctx.team_changed();
    complete_cluster(ctx);
    Flow::Next
}

/// `barrier.cluster.wait`.
pub fn cluster_wait(ctx: &mut Ctx<'_, '_>, _: &Inst, mask: u32) -> Flow {
    if ctx.warp.cluster_let_go & mask == mask {
        ctx.warp.cluster_let_go &= !mask;
        return Flow::Next;
    }
    if ctx.warp.cluster_arrived & mask == 0 {
        let text = "barrier.cluster.wait without barrier.cluster.arrive before it";
        ctx.fault(FaultKind::Barrier, mask.trailing_zeros() as u8, text);
        return Flow::Next;
    }
    Flow::Wait
}

fn complete_cluster(ctx: &mut Ctx<'_, '_>) {
    let alive: u32 = ctx.team.blocks.iter().map(|b| b.alive).sum();
    if ctx.team.barrier.arrived >= alive.max(1) {
        let barrier = std::mem::take(&mut ctx.team.barrier);
        release(ctx, barrier, true);
    }
}
