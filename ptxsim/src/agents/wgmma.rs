//! `wgmma` at run time: products of a warpgroup that go on beside its warps (PTX ISA,
//! "Asynchronous warpgroup level matrix instructions").
//!
//! A product is one operation of four warps. Each warp works out its own 16 rows as soon as it
//! comes to the instruction; until it has waited, its registers are marked
//! ([`super::accumulators`]) and what the product reads in shared memory counts as being read by
//! the *warpgroup's* agent, at a clock that is the product's number. Who has not learnt that
//! number, by waiting or from somebody who has, may not overwrite the operands.
//!
//! B is the same for all four warps: the first to come reads it, records the reads and converts
//! it, and the product keeps the result for the others. No other cache is needed, and nothing has
//! to notice writes to shared memory: the reads of one product are one moment for all its warps.

use super::accumulators::Marks;
use crate::isa::{ALL, Inst};
use crate::machine::state::{Shared, Wait};
use crate::machine::{Ctx, Flow};
use crate::memory::shadow::{ASYNC, Access, Actor, Conflict, ENGINE, Shadow};
use crate::report::{FaultKind, Space};
use crate::tensor::descriptor::{Descriptor, Major};
use crate::tensor::wgmma::{Form, TileA, TileB, multiply};
use std::collections::VecDeque;

/// An engine has no lanes to order.
const NO_LANES: [u32; 32] = [u32::MAX; 32];
/// Tiles kept for products to come.
const SPARE_MAX: usize = 8;

/// The products of four warps.
#[derive(Default)]
pub struct Warpgroup {
    /// Products that all four warps have issued.
    complete: u32,
    /// Those that some have, from number `complete + 1` up.
    open: VecDeque<Product>,
    spare: Vec<TileB>,
}

struct Product {
    pc: u32,
    /// Of A, or 0, and of B.
    descriptors: [u64; 2],
    /// Warps that have issued it, one bit each.
    issued: u32,
    b: TileB,
    /// Who wrote B, with one place each: every warp must know of them.
    writers: Vec<(Access, u32)>,
}

/// Products of a warp that have not been waited for.
#[derive(Default)]
pub struct WgmmaState {
    issued: u32,
    waited: u32,
    /// Last product of each group that has been committed and not waited for.
    groups: VecDeque<u32>,
    /// What is known of its registers.
    pub marks: Marks,
}

impl WgmmaState {
    /// Its registers have to be watched.
    pub fn in_flight(&self) -> bool {
        self.marks.watching()
    }

    /// Products have not been waited for.
    pub fn unfinished(&self) -> bool {
        self.issued > self.waited
    }
}

/// Reports the use of registers that a product still reads or writes.
pub fn watch(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) {
    super::accumulators::watch(ctx, inst, mask);
}

/// `wgmma.fence`: orders the registers of products to come after what wrote them.
pub fn fence(ctx: &mut Ctx<'_, '_>, _: &Inst, mask: u32) -> Flow {
    let frame = ctx.warp.frame[mask.trailing_zeros() as usize];
    ctx.warp.wgmma.marks.fence(frame, ctx.registers.r32.len());
    Flow::Next
}

/// `wgmma.commit_group`: the products since the last one are a group.
pub fn commit_group(ctx: &mut Ctx<'_, '_>, _: &Inst, _: u32) -> Flow {
    let state = &mut ctx.warp.wgmma;
    state.groups.push_back(state.issued);
    Flow::Next
}

/// `wgmma.wait_group`: waits until no more than `imm` groups are under way. The warp then knows
/// that the products have read their operands.
pub fn wait_group(ctx: &mut Ctx<'_, '_>, inst: &Inst, _: u32) -> Flow {
    let left = inst.imm.max(0) as usize;
    let state = &ctx.warp.wgmma;
    let Some(over) = state.groups.len().checked_sub(left).filter(|n| *n > 0) else {
        return Flow::Next;
    };
    let until = state.groups[over - 1];
    let groups = &ctx.team.blocks[ctx.warp.block].warpgroups;
    if groups.get(ctx.warp.index / 4).is_some_and(|group| group.complete < until) {
        ctx.warp.wait = Wait::Team;
        return Flow::Wait;
    }
    ctx.warp.wgmma.groups.drain(..over);
    ctx.warp.wgmma.waited = until;
    ctx.warp.wgmma.marks.settle(until);
    let agent = ctx.team.agents.warpgroup(ctx.warp.block, ctx.warp.index / 4);
    ctx.warp.clock.reach(agent, until);
    ctx.team_changed_quietly();
    Flow::Next
}

/// Starts a product: operands as [`crate::tensor::decode_wgmma`] leaves them.
pub fn mma_async(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let form = Form::unpack(inst.imm);
    if !whole_group(ctx, mask) {
        return Flow::Next;
    }
    let list = &ctx.program.lists[inst.list as usize];
    let (d, a) = list.split_at(inst.target as usize);
    let scale = ctx.registers.p[inst.s[2] as usize];
    if scale != 0 && scale != ALL {
        ctx.fault(FaultKind::BadOperand, 255, format!("scale-d differs between lanes: {scale:#x}"));
    }
    let mut descriptors = [0; 2];
    if !form.a_in_registers {
        descriptors[0] = uniform(ctx, inst.s[0], "A");
    }
    descriptors[1] = uniform(ctx, inst.s[1], "B");
    let number = ctx.warp.wgmma.issued + 1;
    super::accumulators::product(ctx, number, &form, d, a);
    let Some(index) = open(ctx, &form, number, descriptors) else { return Flow::Next };
    let mut tile = TileA::default();
    if form.a_in_registers {
        let file = &ctx.registers.r32;
        let rows: [&[u32; 32]; 4] = std::array::from_fn(|k| &file[a[k] as usize]);
        tile.from_registers(&form, rows);
    } else if let Some(descriptor) = decode(ctx, descriptors[0], form.major_a, 64, "A") {
        let quarter = ctx.warp.index % 4;
        read(ctx, number, None, |reader| {
            tile.from_shared(&form, &descriptor, quarter, |at| reader.row(at));
        });
    }
    let group = &ctx.team.blocks[ctx.warp.block].warpgroups[ctx.warp.index / 4];
    let (file, arithmetic) = (&mut ctx.registers.r32, ctx.registers.arithmetic);
    multiply(&form, arithmetic, &tile, &group.open[index].b, scale != 0, file, d);
    issued(ctx, index);
    Flow::Next
}

/// Whether the warp is complete and belongs to a complete warpgroup.
fn whole_group(ctx: &mut Ctx<'_, '_>, mask: u32) -> bool {
    let warps = ctx.team.blocks[ctx.warp.block].warps.len();
    let first = ctx.warp.index / 4 * 4;
    if mask == ALL && first + 4 <= warps {
        return true;
    }
    let text = match mask {
        ALL => format!("warps {first} to {} are no whole warpgroup", warps - 1),
        _ => format!("wgmma by lanes {mask:#010x} only"),
    };
    ctx.fault(FaultKind::Divergence, mask.trailing_zeros() as u8, text);
    false
}

/// A descriptor, which must be the same in all lanes.
fn uniform(ctx: &mut Ctx<'_, '_>, row: u16, name: &str) -> u64 {
    let row = &ctx.registers.r64[row as usize];
    let first = row[0];
    if let Some(lane) = row.iter().position(|bits| *bits != first) {
        let text = format!("of {name} is {first:#018x} in lane 0 and {:#018x} here", row[lane]);
        ctx.fault(FaultKind::Descriptor, lane as u8, text);
    }
    first
}

fn decode(
    ctx: &mut Ctx<'_, '_>,
    bits: u64,
    major: Major,
    mn: usize,
    name: &str,
) -> Option<Descriptor> {
    let checked = Descriptor::decode(bits).and_then(|d| d.check(major, mn).map(|()| d));
    match checked {
        Ok(descriptor) => Some(descriptor),
        Err(text) => {
            ctx.fault(FaultKind::Descriptor, 255, format!("of {name}: {text}"));
            None
        }
    }
}

/// The product's place among the open ones. The first warp to come makes it and reads B; the
/// others must have come to the same product, and must know of the writes that B depends on.
fn open(ctx: &mut Ctx<'_, '_>, form: &Form, number: u32, descriptors: [u64; 2]) -> Option<usize> {
    let (block, group) = (ctx.warp.block, ctx.warp.index / 4);
    let groups = &mut ctx.team.blocks[block].warpgroups;
    if groups.len() <= group {
        groups.resize_with(group + 1, Warpgroup::default);
    }
    let group = &mut groups[group];
    let index = (number - group.complete - 1) as usize;
    if index < group.open.len() {
        join(ctx, index, descriptors);
        return Some(index);
    }
    let mut b = group.spare.pop().unwrap_or_default();
    let descriptor = decode(ctx, descriptors[1], form.major_b, form.n, "B");
    let mut writers = Vec::new();
    match descriptor {
        Some(descriptor) => read(ctx, number, Some(&mut writers), |reader| {
            b.from_shared(form, &descriptor, None, |at| reader.row(at));
        }),
        None => b.from_shared(form, &NOWHERE, None, |_| [0xff; 16]),
    }
    let product = Product { pc: ctx.pc, descriptors, issued: 0, b, writers };
    let group = &mut ctx.team.blocks[block].warpgroups[ctx.warp.index / 4];
    group.open.push_back(product);
    Some(index)
}

/// Stands for a descriptor that could not be understood.
const NOWHERE: Descriptor = Descriptor {
    start: 0,
    leading: 0,
    stride: 0,
    base_offset: 0,
    swizzle: crate::tensor::swizzle::Swizzle::None,
};

/// Checks that this warp has come to the product that others of its warpgroup have started.
fn join(ctx: &mut Ctx<'_, '_>, index: usize, descriptors: [u64; 2]) {
    let group = &ctx.team.blocks[ctx.warp.block].warpgroups[ctx.warp.index / 4];
    let product = &group.open[index];
    if product.pc != ctx.pc {
        let text = format!("other warps of the warpgroup are at {}", ctx.site_of(product.pc));
        ctx.fault(FaultKind::Divergence, 255, text);
        return;
    }
    for (name, (mine, theirs)) in ["A", "B"].iter().zip(descriptors.iter().zip(product.descriptors))
    {
        if *mine != theirs {
            let text = format!("of {name} is {mine:#018x} here, {theirs:#018x} in another warp");
            ctx.fault(FaultKind::Descriptor, 255, text);
            return;
        }
    }
    let clock = &ctx.warp.clock;
    let unknown = product.writers.iter().find_map(|(write, offset)| {
        let kind = if clock.of(write.agent) < write.clock {
            FaultKind::ReadRace
        } else if write.flags & ASYNC == 0 && clock.fenced_of(write.agent) < write.clock {
            FaultKind::MissingProxyFence
        } else {
            return None;
        };
        Some((kind, *write, *offset))
    });
    if let Some((kind, write, offset)) = unknown {
        ctx.shared_fault(kind, ENGINE, ctx.warp.block, offset, write);
    }
}

/// Enters this warp's part of a product; the fourth ends it.
fn issued(ctx: &mut Ctx<'_, '_>, index: usize) {
    ctx.warp.wgmma.issued += 1;
    let group = &mut ctx.team.blocks[ctx.warp.block].warpgroups[ctx.warp.index / 4];
    group.open[index].issued |= 1 << (ctx.warp.index % 4);
    let mut ended = false;
    while group.open.front().is_some_and(|product| product.issued == 15) {
        if let Some(product) = group.open.pop_front()
            && group.spare.len() < SPARE_MAX
        {
            group.spare.push(product.b);
        }
        group.complete += 1;
        ended = true;
    }
    if ended {
        ctx.team.events += 1;
    }
}

/// Reads operands in rows of 16 bytes, and keeps the first thing that is wrong.
struct Reader<'a> {
    data: &'a [u8],
    base: u32,
    shadow: Option<&'a mut Shadow>,
    actor: Actor<'a>,
    conflict: Option<(Conflict, u32)>,
    outside: Option<u32>,
    writers: Option<&'a mut Vec<(Access, u32)>>,
}

impl Reader<'_> {
    #[inline]
    fn row(&mut self, address: u32) -> [u8; 16] {
        let offset = address.wrapping_sub(self.base);
        let at = offset as usize;
        let Some(row) = self.data.get(at..at.saturating_add(16)) else {
            self.outside = self.outside.or(Some(address));
            return [0xff; 16];
        };
        let bytes = row.try_into().unwrap_or([0xff; 16]);
        if let Some(shadow) = &mut self.shadow {
            if let Some(conflict) = shadow.read(at, 16, &self.actor) {
                self.conflict = self.conflict.or(Some((conflict, offset)));
            } else if let Some(writers) = &mut self.writers {
                note_writer(writers, shadow.writer(at), offset);
            }
        }
        bytes
    }
}

#[inline(always)]
fn note_writer(writers: &mut Vec<(Access, u32)>, write: Access, offset: u32) {
    let same = |(w, _): &(Access, u32)| w.agent == write.agent && w.clock >= write.clock;
    if write.clock != 0 && !writers.iter().any(same) {
        writers.push((write, offset));
    }
}

/// Lets `body` read operands of product `number`, and reports what was wrong.
fn read(
    ctx: &mut Ctx<'_, '_>,
    number: u32,
    writers: Option<&mut Vec<(Access, u32)>>,
    body: impl FnOnce(&mut Reader<'_>),
) {
    let (block, checks) = (ctx.warp.block, ctx.world.checks);
    let agent = ctx.team.agents.warpgroup(block, ctx.warp.index / 4);
    let access = Access { clock: number, pc: ctx.pc, sync: 0, agent, lane: ENGINE, flags: 0 };
    let clock = &ctx.warp.clock;
    let actor = Actor { access, clock, lane_sync: &NO_LANES, asynchronous: true };
    let Shared { data, shadow, base, .. } = &mut ctx.team.blocks[block].shared;
    let shadow = checks.then_some(shadow);
    let mut reader =
        Reader { data, base: *base, shadow, actor, conflict: None, outside: None, writers };
    body(&mut reader);
    let (conflict, outside) = (reader.conflict, reader.outside);
    if let Some(((kind, by), offset)) = conflict {
        ctx.shared_fault(kind, ENGINE, block, offset, by);
    }
    if let Some(address) = outside {
        let (base, size) =
            (ctx.team.blocks[block].shared.base, ctx.team.blocks[block].shared.data.len());
        let offset = address.wrapping_sub(base);
        let text = format!("an operand at byte {} of {size}", offset as i32);
        let space = Some(Space::Shared(address as u64, offset));
        ctx.fault_at(FaultKind::OutOfBounds, ENGINE, space, None, text);
    }
}
