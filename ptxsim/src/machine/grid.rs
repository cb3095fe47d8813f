//! Instructions about the launch itself: dependent grids, clusters, the share of registers.

use super::ctx::{Ctx, Flow};
use super::state::Wait;
use crate::isa::{Inst, SHARED_WINDOW};
use crate::report::FaultKind;

/// 32-bit registers of an SM.
const REGISTERS_SM: i64 = 64 << 10;

/// `griddepcontrol.wait`: until the grid before is over and what it wrote is visible.
pub fn wait(ctx: &mut Ctx<'_, '_>, _: &Inst, mask: u32) -> Flow {
    let over = match ctx.team.grid.checked_sub(1) {
        Some(before) => {
            let grid = &ctx.world.grids[before];
            grid.ended == grid.clusters
        }
        None => true,
    };
    if !over {
        ctx.warp.wait = Wait::Memory;
        return Flow::Wait;
    }
    ctx.warp.clock.waited = true;
    ctx.warp.synchronise(mask);
    Flow::Next
}

/// `griddepcontrol.launch_dependents`: as far as this block is concerned, the next grid may start.
pub fn launch_dependents(ctx: &mut Ctx<'_, '_>, _: &Inst, _: u32) -> Flow {
    let block = &mut ctx.team.blocks[ctx.warp.block];
    if !block.released {
        block.released = true;
        ctx.team.released += 1;
        if ctx.team.released == ctx.team.blocks.len() as u64 {
            ctx.world.grids[ctx.team.grid].released += 1;
        }
    }
    Flow::Next
}

/// `setmaxnreg`: what one warpgroup gives back another may take; who asks for more than is there
/// waits. Counted a warp at a time.
pub fn set_registers(ctx: &mut Ctx<'_, '_>, inst: &Inst, _: u32) -> Flow {
    let (now, wanted) = (ctx.warp.registers_per_thread as i64, inst.imm);
    let block = ctx.warp.block;
    let change = (wanted - now) * 32;
    let fault = |ctx: &mut Ctx<'_, '_>, text: String| ctx.fault(FaultKind::Registers, 0, text);
    if inst.target == 0 {
        if wanted > now {
            fault(ctx, format!("dec to {wanted} from {now} registers a thread"));
        }
        ctx.team.blocks[block].register_pool -= change;
        ctx.warp.registers_per_thread = wanted as u32;
        ctx.team.events += 1;
        return Flow::Next;
    }
    if wanted < now {
        fault(ctx, format!("inc to {wanted} from {now} registers a thread"));
    }
    let warps = ctx.team.blocks[block].warps.len() as i64;
    let start = ctx.grid().launch.registers_per_thread(&ctx.program.functions[ctx.grid().entry]);
    if change > REGISTERS_SM || (wanted - start as i64) * 32 > warps * start as i64 * 32 {
        fault(ctx, format!("{wanted} registers a thread are more than the block has"));
        return Flow::Next;
    }
    if change > ctx.team.blocks[block].register_pool {
        ctx.warp.wait = Wait::Team;
        return Flow::Wait;
    }
    ctx.team.blocks[block].register_pool -= change;
    ctx.warp.registers_per_thread = wanted as u32;
    Flow::Next
}

/// `mapa` and `getctarank`, see the decoder for `inst.target`.
pub fn mapa(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let (wide, rank) = (inst.target & 1 != 0, inst.target & 2 != 0);
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        let from = match wide {
            true => ctx.registers.r64[inst.s[0] as usize][lane],
            false => ctx.registers.r32[inst.s[0] as usize][lane] as u64,
        };
        if rank {
            let (owner, _) = ctx.locate_shared(from);
            ctx.registers.r32[inst.d[0] as usize][lane] = owner as u32;
            continue;
        }
        let target = ctx.registers.r32[inst.s[1] as usize][lane];
        let blocks = ctx.team.blocks.len() as u32;
        if target >= blocks {
            let text = format!("mapa to rank {target} of a cluster of {blocks}");
            ctx.fault(FaultKind::BadOperand, lane as u8, text);
            continue;
        }
        // The offset in the other block's memory is the same, though its memory starts elsewhere.
        let (_, offset) = ctx.locate_shared(from);
        let base = ctx.team.blocks[target as usize].shared.base;
        let address = (offset.wrapping_add(base) & 0xff_ffff) | (target + 1) << 24;
        if wide {
            let window = if inst.target & 4 != 0 { SHARED_WINDOW } else { 0 };
            ctx.registers.r64[inst.d[0] as usize][lane] = window | address as u64;
        } else {
            ctx.registers.r32[inst.d[0] as usize][lane] = address;
        }
    }
    Flow::Next
}
