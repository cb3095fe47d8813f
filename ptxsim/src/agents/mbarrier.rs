//! Barriers in shared memory: arrivals and bytes are counted, phases pass, waiters learn what all
//! who arrived knew.

use crate::isa::Inst;
use crate::machine::state::{Team, Wait};
use crate::machine::{Ctx, Flow};
use crate::memory::clock::Clock;
use crate::memory::shadow::Access;
use crate::report::{FaultKind, Space};
use std::rc::Rc;

/// The most that a barrier counts (PTX ISA, "Contents of the mbarrier object").
const COUNT_MAX: u32 = (1 << 20) - 1;
/// Waits in a row that saw nothing new, after which a warp is taken to poll.
const POLLS: u32 = 64;

/// A barrier object.
pub struct Mbarrier {
    /// Arrivals that complete a phase.
    expected: u32,
    /// Arrivals still missing in this phase.
    pending: i64,
    /// Bytes still missing in this phase.
    bytes: i64,
    /// Phases that have completed.
    phase: u64,
    /// What those who have arrived so far knew.
    clock: Clock,
    /// The same at the end of the last phase.
    done: Rc<Clock>,
    /// The agent that copies completing on this barrier write as.
    pub agent: u16,
}

/// What an instruction does, in the low bits of `inst.target`.
pub mod op {
    /// `init`, with the count in row `s[1]`.
    pub const INIT: u32 = 0;
    /// `inval`.
    pub const INVAL: u32 = 1;
    /// `arrive` and its forms.
    pub const ARRIVE: u32 = 2;
    /// `expect_tx` without an arrival, bytes in row `s[2]`.
    pub const EXPECT: u32 = 3;
    /// `complete_tx`.
    pub const COMPLETE: u32 = 4;
    /// Bytes in row `s[2]` are expected first.
    pub const WITH_BYTES: u32 = 8;
    /// Row `s[1]` counts the arrivals.
    pub const WITH_COUNT: u32 = 16;
    /// The arrival count of later phases drops as well.
    pub const DROP: u32 = 32;
    /// Row `d[0]` of 64 bits takes the state.
    pub const STATE: u32 = 64;
    /// The wait is for a parity, not a state.
    pub const PARITY: u32 = 128;
    /// The wait may suspend.
    pub const TRY: u32 = 256;
    /// The address has 64 bits.
    pub const ADDRESS64: u32 = 512;
    /// `.relaxed`: orders nothing.
    pub const RELAXED: u32 = 1024;
}

fn address(ctx: &Ctx<'_, '_>, inst: &Inst, lane: usize) -> u64 {
    let base = if inst.target & op::ADDRESS64 != 0 {
        ctx.registers.r64[inst.s[0] as usize][lane]
    } else {
        ctx.registers.r32[inst.s[0] as usize][lane] as u64
    };
    base.wrapping_add_signed(inst.imm)
}

fn count(ctx: &Ctx<'_, '_>, inst: &Inst, lane: usize) -> u32 {
    match inst.target & op::WITH_COUNT {
        0 => 1,
        _ => ctx.registers.r32[inst.s[1] as usize][lane],
    }
}

fn wrong(ctx: &mut Ctx<'_, '_>, lane: usize, address: u64, text: impl Into<String>) {
    let (_, offset) = ctx.locate_shared(address);
    let space = Some(Space::Shared(address, offset));
    ctx.fault_at(FaultKind::Mbarrier, lane as u8, space, None, text.into());
}

/// Everything but waits.
pub fn update(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let what = inst.target & 7;
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        let at = address(ctx, inst, lane);
        match what {
            op::INIT => init(ctx, inst, lane, at),
            op::INVAL => inval(ctx, lane, at),
            op::ARRIVE => arrive(ctx, inst, lane, at),
            _ => {
                let bytes = ctx.registers.r32[inst.s[2] as usize][lane] as i64;
                let bytes = if what == op::EXPECT { bytes } else { -bytes };
                if find(ctx, lane, at).is_some() {
                    let (rank, offset) = ctx.locate_shared(at);
                    add_bytes(ctx.team, rank, offset, bytes);
                }
            }
        }
    }
    ctx.world.events += 1;
    Flow::Next
}

fn init(ctx: &mut Ctx<'_, '_>, inst: &Inst, lane: usize, at: u64) {
    let (rank, offset) = ctx.locate_shared(at);
    let n = ctx.registers.r32[inst.s[1] as usize][lane];
    if at & 7 != 0 {
        ctx.fault(FaultKind::Misaligned, lane as u8, format!("mbarrier at {at:#x}"));
        return;
    }
    if n == 0 || n > COUNT_MAX {
        return wrong(ctx, lane, at, format!("count {n}: from 1 to {COUNT_MAX}"));
    }
    if ctx.team.blocks[rank].shared.mbarriers.contains_key(&offset) {
        wrong(ctx, lane, at, "initialised again without mbarrier.inval");
    }
    let access = ctx.access(lane as u8, 0);
    if !ctx.shared_checked(rank, offset, 8, access, true, None) {
        return;
    }
    let agent = ctx.team.new_agent();
    let barrier = Mbarrier {
        expected: n,
        pending: n as i64,
        bytes: 0,
        phase: 0,
        clock: Clock::default(),
        done: Rc::default(),
        agent,
    };
    if ctx.world.checks {
        ctx.shared().shadow.set_mbarrier(offset as usize, true);
    }
    ctx.team.blocks[rank].shared.mbarriers.insert(offset, barrier);
}

fn inval(ctx: &mut Ctx<'_, '_>, lane: usize, at: u64) {
    let (rank, offset) = ctx.locate_shared(at);
    if ctx.team.blocks[rank].shared.mbarriers.remove(&offset).is_none() {
        return wrong(ctx, lane, at, "mbarrier.inval of what is no barrier");
    }
    if ctx.world.checks {
        ctx.team.blocks[rank].shared.shadow.set_mbarrier(offset as usize, false);
    }
}

/// The barrier at an address, or a report that there is none.
fn find<'t>(ctx: &'t mut Ctx<'_, '_>, lane: usize, at: u64) -> Option<&'t mut Mbarrier> {
    let (rank, offset) = ctx.locate_shared(at);
    if !ctx.team.blocks[rank].shared.mbarriers.contains_key(&offset) {
        wrong(ctx, lane, at, "no mbarrier was initialised here");
        return None;
    }
    ctx.team.blocks[rank].shared.mbarriers.get_mut(&offset)
}

fn arrive(ctx: &mut Ctx<'_, '_>, inst: &Inst, lane: usize, at: u64) {
    let n = count(ctx, inst, lane);
    let bytes = match inst.target & op::WITH_BYTES {
        0 => 0,
        _ => ctx.registers.r32[inst.s[2] as usize][lane] as i64,
    };
    ctx.warp.synchronise(1 << lane);
    let known = ctx.warp.clock.clone();
    let Some(barrier) = find(ctx, lane, at) else { return };
    let phase = barrier.phase;
    barrier.bytes += bytes;
    if inst.target & op::RELAXED == 0 {
        barrier.clock.join(&known);
    }
    if inst.target & op::DROP != 0 {
        barrier.expected = barrier.expected.saturating_sub(n);
    }
    barrier.pending -= n as i64;
    let pending = barrier.pending;
    ctx.warp.tick();
    ctx.team_changed();
    if pending < 0 {
        wrong(ctx, lane, at, "more arrivals than the barrier expects in a phase");
    }
    let (rank, offset) = ctx.locate_shared(at);
    pass(ctx.team, rank, offset);
    if inst.target & op::STATE != 0 {
        // The state is that from before the arrival, the count with it.
        ctx.registers.r64[inst.d[0] as usize][lane] = state(phase, pending + n as i64);
    }
}

/// A state token: the phase, and the arrivals that were missing.
fn state(phase: u64, pending: i64) -> u64 {
    phase << 20 | (pending.max(0) as u64 & COUNT_MAX as u64)
}

/// `mbarrier.pending_count`.
pub fn pending_count(registers: &mut crate::isa::Registers, inst: &Inst, mask: u32) {
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        let state = registers.r64[inst.s[0] as usize][lane];
        registers.r32[inst.d[0] as usize][lane] = state as u32 & COUNT_MAX;
    }
}

/// Begins the next phase if nothing is missing in this one.
fn pass(team: &mut Team, rank: usize, offset: u32) {
    let Some(barrier) = team.blocks[rank].shared.mbarriers.get_mut(&offset) else { return };
    if barrier.pending <= 0 && barrier.bytes == 0 {
        barrier.phase += 1;
        barrier.pending = barrier.expected as i64;
        barrier.done = Rc::new(barrier.clock.clone());
        team.events += 1;
        team.blocks[rank].shared.shadow.stamp += 1;
    }
}

/// Expects more bytes, or, if negative, has received some.
pub fn add_bytes(team: &mut Team, rank: usize, offset: u32, bytes: i64) {
    if let Some(barrier) = team.blocks[rank].shared.mbarriers.get_mut(&offset) {
        barrier.bytes += bytes;
    }
    pass(team, rank, offset);
}

/// One more arrival is expected in this phase (`cp.async.mbarrier.arrive` without `.noinc`).
pub fn expect_one_more(team: &mut Team, rank: usize, offset: u32) {
    if let Some(barrier) = team.blocks[rank].shared.mbarriers.get_mut(&offset) {
        barrier.pending += 1;
    }
}

/// An engine arrives, `arrivals` times, with `bytes` bytes, and knows `clock`.
pub fn engine_arrives(
    team: &mut Team,
    (rank, offset): (usize, u32),
    arrivals: i64,
    bytes: i64,
    clock: &Clock,
) {
    if let Some(barrier) = team.blocks[rank].shared.mbarriers.get_mut(&offset) {
        barrier.clock.join(clock);
        barrier.pending -= arrivals;
        barrier.bytes -= bytes;
    }
    pass(team, rank, offset);
}

/// What cannot be right about a barrier after bytes have arrived.
pub fn trouble(team: &Team, (rank, offset): (usize, u32)) -> Option<String> {
    let barrier = team.blocks[rank].shared.mbarriers.get(&offset)?;
    let bytes = barrier.bytes;
    if bytes < 0 && barrier.pending <= 0 {
        return Some(format!("{} bytes more than the barrier was told to expect", -bytes));
    }
    let range = -(COUNT_MAX as i64)..=COUNT_MAX as i64;
    (!range.contains(&bytes)).then(|| format!("a transaction count of {bytes} is out of range"))
}

/// The record of a write by a copy that completes on the barrier at `offset`, and a clock that
/// knows it; `None` if there is no barrier.
pub fn copy_access(team: &Team, (rank, offset): (usize, u32), pc: u32) -> Option<(Access, Clock)> {
    let barrier = team.blocks.get(rank)?.shared.mbarriers.get(&offset)?;
    let agent = barrier.agent;
    let time = barrier.phase as u32 + 1;
    let mut clock = Clock::new(agent as usize + 1);
    clock.own[agent as usize] = time;
    let flags = crate::memory::shadow::ASYNC;
    let lane = crate::memory::shadow::ENGINE;
    Some((Access { clock: time, pc, sync: 0, agent, lane, flags }, clock))
}

/// `test_wait` and `try_wait`: predicate `d[0]` tells whether the phase is over. The phase is that
/// of the state in 64-bit row `s[1]`, or that of the parity in 32-bit row `s[1]`.
pub fn wait(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let mut over = 0;
    let mut learnt: Vec<Rc<Clock>> = Vec::new();
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        let at = address(ctx, inst, lane);
        let parity = inst.target & op::PARITY != 0;
        let wanted = match parity {
            true => ctx.registers.r32[inst.s[1] as usize][lane] as u64,
            false => ctx.registers.r64[inst.s[1] as usize][lane] >> 20,
        };
        let Some(barrier) = find(ctx, lane, at) else {
            over |= 1 << lane;
            continue;
        };
        let done = if parity { barrier.phase & 1 != wanted & 1 } else { barrier.phase > wanted };
        if done {
            over |= 1 << lane;
            if !learnt.last().is_some_and(|last| Rc::ptr_eq(last, &barrier.done)) {
                learnt.push(barrier.done.clone());
            }
        }
    }
    if over == 0 && !gives_up(ctx, inst) {
        ctx.warp.wait = Wait::Team;
        return Flow::Wait;
    }
    if inst.target & op::RELAXED == 0 {
        for clock in &learnt {
            ctx.warp.clock.join(clock);
        }
    }
    ctx.warp.synchronise(over);
    ctx.team_changed_quietly();
    let p = &mut ctx.registers.p[inst.d[0] as usize];
    *p = *p & !mask | over;
    if over == mask { Flow::Next } else { Flow::Yield }
}

/// Whether a wait that has nothing to tell returns all the same. `try_wait` may return at any
/// time, and now and then does, so that a kernel that does not look at the answer is found;
/// `test_wait` always returns, until it is clear that nothing else goes on.
fn gives_up(ctx: &mut Ctx<'_, '_>, inst: &Inst) -> bool {
    if inst.target & op::TRY != 0 {
        return ctx.world.rng.once_in(4);
    }
    let seen = ctx.team.events;
    let (pc, before, count) = ctx.warp.poll;
    let same = pc == ctx.pc && before == seen;
    ctx.warp.poll = (ctx.pc, seen, if same { count + 1 } else { 0 });
    !(same && count >= POLLS)
}
