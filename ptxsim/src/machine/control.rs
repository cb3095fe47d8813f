//! Branches, calls, exits, clocks.

use super::ctx::{Ctx, Flow};
use super::state::Frame;
use crate::isa::Inst;
use crate::report::FaultKind;

/// Calls above which a lane's stack is taken to have overflowed: what a GPU's default stack of one
/// kilobyte holds is less.
const CALL_DEPTH: u32 = 1024;

/// `bra`.
pub fn bra(_: &mut Ctx<'_, '_>, _: &Inst, mask: u32) -> Flow {
    Flow::Branch(mask)
}

/// `brx.idx`: row `s[0]` is an index into the list of targets.
pub fn brx(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let targets = &ctx.program.targets[inst.list as usize];
    let row = ctx.registers.r32[inst.s[0] as usize];
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        match targets.get(row[lane] as usize) {
            Some(&target) => ctx.warp.pc[lane] = target,
            None => {
                let text = format!("index {} into {} targets", row[lane], targets.len());
                ctx.fault(FaultKind::BadOperand, lane as u8, text);
                ctx.warp.pc[lane] = ctx.pc + 1;
            }
        }
    }
    Flow::Regroup
}

/// `exit`: the lanes are gone.
pub fn exit(ctx: &mut Ctx<'_, '_>, _: &Inst, mask: u32) -> Flow {
    leave(ctx, mask);
    Flow::Regroup
}

/// Takes lanes out of the warp and tells everybody who may wait for them.
fn leave(ctx: &mut Ctx<'_, '_>, mask: u32) {
    ctx.warp.live &= !mask;
    ctx.warp.parked = 0;
    let lost = mask.count_ones();
    ctx.team.blocks[ctx.warp.block].alive -= lost;
    ctx.team.events += 1;
    crate::agents::check_exit(ctx, mask);
    super::barrier::after_exit(ctx);
}

/// `ret`: back to the caller, or, from the entry, out.
pub fn ret(ctx: &mut Ctx<'_, '_>, _: &Inst, mask: u32) -> Flow {
    let lane = mask.trailing_zeros() as usize;
    let index = ctx.warp.frame[lane] as usize;
    let Some((parent, back, site)) = ctx.warp.frames[index].as_ref().and_then(|f| f.caller) else {
        leave(ctx, mask);
        return Flow::Regroup;
    };
    let callee = ctx.warp.frames[index].take().expect("lanes return from a frame they are in");
    let call = &ctx.program.calls[site as usize];
    let function = &ctx.program.functions[callee.function];
    let caller = ctx.warp.frames[parent as usize].as_mut().expect("a caller outlives its callee");
    let size = ctx.program.functions[caller.function].param_bytes as usize;
    for (&to, &(from, bytes)) in call.results.iter().zip(&function.returns) {
        for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
            let from = lane * function.param_bytes as usize + from as usize;
            let to = lane * size + to as usize;
            caller.params[to..to + bytes as usize]
                .copy_from_slice(&callee.params[from..from + bytes as usize]);
        }
    }
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        ctx.warp.frame[lane] = parent;
        ctx.warp.pc[lane] = back;
    }
    ctx.warp.parked &= !mask;
    let lanes = callee.lanes & !mask;
    if lanes != 0 {
        // Others are still in the function: it keeps its frame, whose registers are taken out now
        // and come back when this group has been left.
        ctx.warp.frames[index] = Some(Box::new(Frame { lanes, ..*callee }));
    } else {
        while ctx.warp.frames.last().is_some_and(Option::is_none) {
            ctx.warp.frames.pop();
        }
    }
    Flow::Regroup
}

/// `call`: `inst.target` is the call site.
pub fn call(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let site = &ctx.program.calls[inst.target as usize];
    let function = &ctx.program.functions[site.function as usize];
    if function.code.0 == function.code.1 {
        return super::builtin::call(ctx, site, function, mask);
    }
    let lane = mask.trailing_zeros() as usize;
    let parent = ctx.warp.frame[lane];
    let caller = ctx.warp.frames[parent as usize].as_ref().expect("lanes are in a frame");
    let (depth, caller_local) = (caller.depth + 1, caller.local_base);
    let size = ctx.program.functions[caller.function].param_bytes as usize;
    let local_base = caller_local + ctx.program.functions[caller.function].local_bytes;
    let mut params = vec![0; 32 * function.param_bytes as usize];
    for (&from, &(to, bytes)) in site.arguments.iter().zip(&function.params) {
        for lane in 0..32 {
            let from = lane * size + from as usize;
            let to = lane * function.param_bytes as usize + to as usize;
            params[to..to + bytes as usize]
                .copy_from_slice(&caller.params[from..from + bytes as usize]);
        }
    }
    let local_base = local_base.next_multiple_of(16);
    if depth > CALL_DEPTH || !ctx.warp.grow_local(local_base + function.local_bytes) {
        let text = format!("{depth} calls deep in {}", function.name);
        ctx.fault(FaultKind::StackOverflow, lane as u8, text);
        ctx.world.stopped = true;
        return Flow::Regroup;
    }
    let registers = super::start::registers(ctx, site.function as usize, local_base);
    let frame = Frame {
        registers,
        function: site.function as usize,
        params,
        local_base,
        lanes: mask,
        depth,
        caller: Some((parent, ctx.pc + 1, inst.target)),
    };
    let free = ctx.warp.frames.iter().position(Option::is_none).unwrap_or(ctx.warp.frames.len());
    if free == ctx.warp.frames.len() {
        ctx.warp.frames.push(None);
    }
    ctx.warp.frames[free] = Some(Box::new(frame));
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        ctx.warp.frame[lane] = free as u16;
        ctx.warp.pc[lane] = function.code.0;
    }
    Flow::Regroup
}

/// `trap`: the launch ends.
pub fn trap(ctx: &mut Ctx<'_, '_>, _: &Inst, mask: u32) -> Flow {
    ctx.fault(FaultKind::Trap, mask.trailing_zeros() as u8, "");
    ctx.world.stopped = true;
    Flow::Regroup
}

/// `mov` from `%clock`, `%clock64`, `%globaltimer`: the count of warp instructions, which is no
/// time but does go up. Row `d[0]` has 64 bits if `imm` is 1; `imm` 2 is the upper half.
pub fn clock(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let now = ctx.world.steps + ctx.world.rng.below(16) as u64;
    let d = inst.d[0] as usize;
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        match inst.imm {
            1 => ctx.registers.r64[d][lane] = now,
            2 => ctx.registers.r32[d][lane] = (now >> 32) as u32,
            _ => ctx.registers.r32[d][lane] = now as u32,
        }
    }
    Flow::Next
}

/// `nanosleep`: others go first.
pub fn sleep(_: &mut Ctx<'_, '_>, _: &Inst, _: u32) -> Flow {
    Flow::Yield
}

/// Instructions that are hints.
pub fn nothing(_: &mut Ctx<'_, '_>, _: &Inst, _: u32) -> Flow {
    Flow::Next
}
