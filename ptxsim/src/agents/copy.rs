//! `cp.async`: copies of 4, 8 or 16 bytes a lane from device to shared memory. The destination is
//! in flight from the instruction until the lane waits for its group; the source is read at one
//! end of that time or the other, as the seed wants.

use crate::isa::Inst;
use crate::machine::order::Strength;
use crate::machine::{Ctx, Flow};
use crate::memory::access::Data;
use crate::memory::shadow::Access;

/// One instruction's copies.
struct Copies {
    mask: u32,
    bytes: u32,
    /// Bytes that come from the source; the rest is zero.
    from_source: [u8; 32],
    offsets: [u32; 32],
    sources: [u64; 32],
    groups: [u32; 32],
    data: Box<Data>,
    /// The source is read again when the copy is waited for.
    late: bool,
}

/// The copies of a warp that have not been waited for.
#[derive(Default)]
pub struct CopyQueue {
    list: Vec<Copies>,
    /// Groups that each lane has committed.
    committed: [u32; 32],
}

/// A copy that was taken out of the queue of its warp, to complete on a barrier in memory.
pub struct Taken {
    /// Offset in the shared memory of the warp's block.
    pub offset: u32,
    /// What arrives there.
    pub data: Vec<u8>,
}

impl CopyQueue {
    /// A lane of `mask` that still has copies in flight.
    pub fn unfinished(&self, mask: u32) -> Option<u8> {
        let lanes = self.list.iter().fold(0, |lanes, copies| lanes | copies.mask) & mask;
        (lanes != 0).then(|| lanes.trailing_zeros() as u8)
    }

    /// Takes out all copies of a lane.
    pub fn take(&mut self, lane: usize) -> Vec<Taken> {
        let mut taken = Vec::new();
        for copies in self.list.iter_mut().filter(|c| c.mask >> lane & 1 == 1) {
            copies.mask &= !(1 << lane);
            let data = copies.data[lane][..copies.bytes as usize].to_vec();
            taken.push(Taken { offset: copies.offsets[lane], data });
        }
        self.list.retain(|copies| copies.mask != 0);
        taken
    }
}

/// `cp.async.{ca,cg}.shared.global [s[0]], [s[1]], bytes{, source bytes s[2]}`. `target` is the
/// size, with 32 added if `s[2]` counts, 64 if predicate `s[3]` says to ignore the source; `imm`
/// holds the two address offsets.
pub fn issue(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let bytes = inst.target & 31;
    let to = ctx.registers.r32[inst.s[0] as usize];
    let from = ctx.registers.r64[inst.s[1] as usize];
    let (to_offset, from_offset) = (inst.imm as i32 as u32, inst.imm >> 32);
    let mut copies = Copies {
        mask: 0,
        bytes,
        from_source: [bytes as u8; 32],
        offsets: [0; 32],
        sources: from.map(|a| a.wrapping_add_signed(from_offset)),
        groups: ctx.warp.copies.committed,
        data: Box::new([[0; 16]; 32]),
        late: ctx.world.rng.bits() & 1 == 1,
    };
    if inst.target & 32 != 0 {
        let row = &ctx.registers.r32[inst.s[2] as usize];
        copies.from_source = row.map(|n| n.min(bytes) as u8);
    }
    if inst.target & 64 != 0 {
        let ignored = ctx.registers.p[inst.s[3] as usize];
        for lane in (0..32).filter(|l| ignored >> l & 1 == 1) {
            copies.from_source[lane] = 0;
        }
    }
    let early = ctx.world.rng.bits() & 1 == 1;
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        let to = to[lane].wrapping_add(to_offset) as u64;
        start(ctx, &mut copies, lane, to, early);
    }
    let reading = (0..32).filter(|&l| copies.from_source[l] != 0 && copies.mask >> l & 1 == 1);
    let reading = reading.fold(0, |m, l| m | 1 << l);
    ctx.count_global(&copies.sources, reading, bytes, false);
    if copies.mask != 0 {
        ctx.warp.copies.list.push(copies);
    }
    Flow::Next
}

fn start(ctx: &mut Ctx<'_, '_>, copies: &mut Copies, lane: usize, to: u64, early: bool) {
    let bytes = copies.bytes as usize;
    let (rank, offset) = ctx.locate_shared(to);
    let aligned = |address: u64| address & (bytes as u64 - 1) == 0;
    if !aligned(to) || !aligned(copies.sources[lane]) {
        let text = format!("{bytes} bytes from {:#x} to {to:#x}", copies.sources[lane]);
        ctx.fault(crate::report::FaultKind::Misaligned, lane as u8, text);
        return;
    }
    let n = copies.from_source[lane] as usize;
    if n > 0 {
        let into = &mut copies.data[lane][..n];
        if !ctx.global_read(lane as u8, copies.sources[lane], into, Strength::WEAK, 0) {
            return;
        }
    }
    let access = ctx.access(lane as u8, 0);
    if !ctx.shared_checked(rank, offset, bytes, access, true, None) {
        return;
    }
    copies.mask |= 1 << lane;
    copies.offsets[lane] = offset;
    let checks = ctx.world.checks;
    let shared = ctx.shared();
    if checks {
        shared.shadow.set_pending(offset as usize, bytes);
    }
    let place = &mut shared.data[offset as usize..offset as usize + bytes];
    if early {
        place.copy_from_slice(&copies.data[lane][..bytes]);
    } else {
        place.fill(0xff);
    }
}

/// `cp.async.commit_group`.
pub fn commit(ctx: &mut Ctx<'_, '_>, _: &Inst, mask: u32) -> Flow {
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        ctx.warp.copies.committed[lane] += 1;
    }
    Flow::Next
}

/// `cp.async.wait_group imm`, and `cp.async.wait_all` with `imm` -1.
pub fn wait(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let committed = ctx.warp.copies.committed;
    let mut list = std::mem::take(&mut ctx.warp.copies.list);
    for copies in &mut list {
        for lane in 0..32 {
            let waits = copies.mask & mask & (1 << lane) != 0;
            let over = copies.groups[lane] as i64 + inst.imm < committed[lane] as i64;
            if waits && (over || inst.imm < 0) {
                copies.mask &= !(1 << lane);
                finish(ctx, copies, lane);
            }
        }
    }
    list.retain(|copies| copies.mask != 0);
    ctx.warp.copies.list = list;
    Flow::Next
}

fn finish(ctx: &mut Ctx<'_, '_>, copies: &mut Copies, lane: usize) {
    let n = copies.from_source[lane] as usize;
    if copies.late && n > 0 {
        let place = ctx.world.global.find(copies.sources[lane], n as u64);
        if let Ok(place) = place {
            ctx.world.global.read(place, &mut copies.data[lane][..n]);
        }
    }
    let (bytes, offset) = (copies.bytes as usize, copies.offsets[lane] as usize);
    let access: Access = ctx.access(lane as u8, 0);
    let checks = ctx.world.checks;
    let shared = ctx.shared();
    shared.data[offset..offset + bytes].copy_from_slice(&copies.data[lane][..bytes]);
    if checks {
        shared.shadow.arrive(offset, bytes, access);
    }
}
