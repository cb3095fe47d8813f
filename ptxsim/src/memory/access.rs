//! `ld` and `st` in every space: addresses from registers, data through the watch of [`super`],
//! values to registers.

use super::fields::{Fields, Where};
use super::shadow::NON_COHERENT;
use super::warpwide::copy;
use crate::isa::{Inst, LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_MASK};
use crate::machine::state::Wait;
use crate::machine::{Ctx, Flow};
use crate::report::{FaultKind, Space};

/// What each lane reads or writes, at most sixteen bytes.
pub type Data = [[u8; 16]; 32];

/// Strong reads in a row that saw nothing new, after which a warp is taken to poll.
const POLLS: u32 = 64;

/// `ld`.
pub fn load(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let fields = Fields::unpack(inst.target);
    if fields.space == Where::EntryParam {
        return load_entry_param(ctx, inst, mask, fields);
    }
    let mut data: Data = [[0xff; 16]; 32];
    if fields.space == Where::FrameParam {
        frame_param(ctx, inst, mask, fields, &mut data, false);
    } else {
        let addresses = addresses(ctx, inst, fields);
        each_space(ctx, &addresses, mask, fields, &mut data, false);
        if fields.strength.strong && ctx.polls(digest(mask, &addresses, &data)) {
            ctx.warp.wait = Wait::Memory;
            return Flow::Wait;
        }
    }
    scatter(ctx, inst, mask, fields, &data);
    Flow::Next
}

/// What was read, to the registers.
fn scatter(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32, fields: Fields, data: &Data) {
    let size = fields.size as usize;
    for element in 0..fields.elements as usize {
        let d = inst.d[element] as usize;
        if size == 4 && !fields.wide {
            let to = &mut ctx.registers.r32[d];
            for lane in 0..32 {
                let word = data[lane].as_chunks::<4>().0[element];
                to[lane] = if mask >> lane & 1 == 1 { u32::from_le_bytes(word) } else { to[lane] };
            }
            continue;
        }
        for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
            let bytes = &data[lane][element * size..(element + 1) * size];
            let mut word = [0u8; 8];
            copy(bytes, &mut word[..size]);
            let value = fields.extend(u64::from_le_bytes(word));
            if fields.wide {
                ctx.registers.r64[d][lane] = value;
            } else {
                ctx.registers.r32[d][lane] = value as u32;
            }
        }
    }
}

/// `st`.
pub fn store(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let fields = Fields::unpack(inst.target);
    let size = fields.size as usize;
    let mut data: Data = [[0; 16]; 32];
    for element in 0..fields.elements as usize {
        let s = inst.s[1 + element] as usize;
        if size == 4 && !fields.wide {
            for (lane, value) in ctx.registers.r32[s].iter().enumerate() {
                data[lane].as_chunks_mut::<4>().0[element] = value.to_le_bytes();
            }
            continue;
        }
        for lane in 0..32 {
            let value = match fields.wide {
                true => ctx.registers.r64[s][lane],
                false => ctx.registers.r32[s][lane] as u64,
            };
            let bytes = &mut data[lane][element * size..(element + 1) * size];
            bytes.copy_from_slice(&value.to_le_bytes()[..size]);
        }
    }
    if fields.space == Where::FrameParam {
        frame_param(ctx, inst, mask, fields, &mut data, true);
        return Flow::Next;
    }
    let addresses = addresses(ctx, inst, fields);
    each_space(ctx, &addresses, mask, fields, &mut data, true);
    ctx.world.events += 1;
    ctx.warp.poll.2 = 0;
    Flow::Next
}

/// The lanes' addresses.
pub fn addresses(ctx: &Ctx<'_, '_>, inst: &Inst, fields: Fields) -> [u64; 32] {
    let offset = inst.imm as u64;
    let s = inst.s[0] as usize;
    if fields.address64 {
        let row = &ctx.registers.r64[s];
        std::array::from_fn(|l| row[l].wrapping_add(offset))
    } else {
        let row = &ctx.registers.r32[s];
        std::array::from_fn(|l| row[l].wrapping_add(offset as u32) as u64)
    }
}

/// The space that a generic address lies in.
pub fn window(address: u64) -> Where {
    match address & !WINDOW_MASK {
        SHARED_WINDOW => Where::Shared,
        LOCAL_WINDOW => Where::Local,
        PARAM_WINDOW => Where::Param,
        _ => Where::Global,
    }
}

fn each_space(
    ctx: &mut Ctx<'_, '_>,
    addresses: &[u64; 32],
    mask: u32,
    fields: Fields,
    data: &mut Data,
    write: bool,
) {
    if fields.space != Where::Generic {
        return one_space(ctx, addresses, mask, fields, data, write);
    }
    for space in [Where::Global, Where::Shared, Where::Local, Where::Param] {
        let lanes = (0..32).filter(|&l| mask >> l & 1 == 1 && window(addresses[l]) == space);
        let part = lanes.fold(0, |m, l| m | 1 << l);
        if part != 0 {
            one_space(ctx, addresses, part, Fields { space, ..fields }, data, write);
        }
    }
}

fn one_space(
    ctx: &mut Ctx<'_, '_>,
    addresses: &[u64; 32],
    mask: u32,
    fields: Fields,
    data: &mut Data,
    write: bool,
) {
    let bytes = fields.bytes();
    let mask = aligned(ctx, addresses, mask, bytes, fields.space);
    match fields.space {
        Where::Shared => {
            let offsets = addresses.map(|a| a as u32 & 0xff_ffff);
            ctx.count_shared(&offsets, mask, bytes);
        }
        Where::Global => ctx.count_global(addresses, mask, bytes, write),
        _ => {}
    }
    let flags = if fields.non_coherent { NON_COHERENT } else { 0 };
    let size = bytes as usize;
    let done = match fields.space {
        _ if fields.strength.strong => false,
        Where::Shared => ctx.shared_warp(addresses, mask, size, data, write),
        Where::Global => ctx.global_warp(addresses, mask, size, data, flags, write),
        _ => false,
    };
    if done {
        return;
    }
    for lane in 0..32 {
        if mask >> lane & 1 == 0 {
            continue;
        }
        let (address, bytes) = (addresses[lane], &mut data[lane][..bytes as usize]);
        let lane = lane as u8;
        match (fields.space, write) {
            (Where::Shared, false) => {
                ctx.shared_read(lane, address, bytes, fields.strength);
            }
            (Where::Shared, true) => {
                ctx.shared_write(lane, address, bytes, fields.strength);
            }
            (Where::Local, _) => local(ctx, lane, address, bytes, write),
            (Where::Param, false) => param(ctx, lane, address, bytes),
            (Where::Param, true) => {
                let at = Some(Space::Param(address & WINDOW_MASK));
                ctx.fault_at(FaultKind::ReadOnly, lane, at, None, String::new());
            }
            (_, false) => {
                ctx.global_read(lane, address, bytes, fields.strength, flags);
            }
            (_, true) => {
                ctx.global_write(lane, address, bytes, fields.strength);
            }
        }
    }
}

/// Reports the lanes whose address is no multiple of the access's size, and leaves the others.
pub fn aligned(
    ctx: &mut Ctx<'_, '_>,
    addresses: &[u64; 32],
    mask: u32,
    bytes: u32,
    space: Where,
) -> u32 {
    let any = addresses.iter().fold(0, |any, a| any | a) & (bytes as u64 - 1);
    if any == 0 {
        return mask;
    }
    let mut kept = mask;
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        let address = addresses[lane];
        if address & (bytes as u64 - 1) != 0 {
            kept &= !(1 << lane);
            let at = match space {
                Where::Shared => Space::Shared(address, ctx.locate_shared(address).1),
                Where::Local => Space::Local(address),
                Where::Param => Space::Param(address & WINDOW_MASK),
                _ => Space::Global(address),
            };
            let text = format!("{bytes} bytes");
            ctx.fault_at(FaultKind::Misaligned, lane as u8, Some(at), None, text);
        }
    }
    kept
}

/// A number that two accesses share if they touched the same places and saw the same there.
pub fn digest(mask: u32, addresses: &[u64; 32], data: &Data) -> u64 {
    let mut digest = mask as u64;
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        for half in data[lane].as_chunks::<8>().0 {
            let word = u64::from_le_bytes(*half) ^ addresses[lane].rotate_left(32);
            digest = (digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
    digest
}

impl Ctx<'_, '_> {
    /// Whether this is one of many accesses in a row, by one instruction, that all saw the same and
    /// changed nothing: then the warp may as well wait until something has been written.
    pub fn polls(&mut self, digest: u64) -> bool {
        let (pc, seen, count) = self.warp.poll;
        let same = pc == self.pc && seen == digest;
        self.warp.poll = (self.pc, digest, if same { count + 1 } else { 0 });
        same && count >= POLLS
    }
}

fn load_entry_param(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32, fields: Fields) -> Flow {
    let size = fields.size as usize;
    for element in 0..fields.elements as usize {
        let at = inst.imm as usize + element * size;
        let params = &ctx.grid().launch.params;
        let Some(bytes) = params.get(at..at + size) else {
            let text = format!("{size} bytes at {at} of {} bytes of parameters", params.len());
            ctx.fault(FaultKind::OutOfBounds, mask.trailing_zeros() as u8, text);
            return Flow::Next;
        };
        let mut word = [0u8; 8];
        word[..size].copy_from_slice(bytes);
        let value = fields.extend(u64::from_le_bytes(word));
        let d = inst.d[element] as usize;
        for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
            if fields.wide {
                ctx.registers.r64[d][lane] = value;
            } else {
                ctx.registers.r32[d][lane] = value as u32;
            }
        }
    }
    Flow::Next
}

/// `.param` variables of a call sequence, and the parameters and results of a function.
fn frame_param(
    ctx: &mut Ctx<'_, '_>,
    inst: &Inst,
    mask: u32,
    fields: Fields,
    data: &mut Data,
    write: bool,
) {
    let frame = ctx.warp.frame[mask.trailing_zeros() as usize] as usize;
    let bytes = fields.bytes() as usize;
    let frame = ctx.warp.frames[frame].as_mut().expect("the frame that runs exists");
    let stride = frame.params.len() / 32;
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        let at = lane * stride + inst.imm as usize;
        let place = &mut frame.params[at..at + bytes];
        if write {
            place.copy_from_slice(&data[lane][..bytes]);
        } else {
            data[lane][..bytes].copy_from_slice(place);
        }
    }
}

fn local(ctx: &mut Ctx<'_, '_>, lane: u8, address: u64, bytes: &mut [u8], write: bool) {
    let offset = address & WINDOW_MASK;
    let frame = ctx.warp.frame_of(lane as usize);
    let top = frame.local_base + ctx.program.functions[frame.function].local_bytes;
    let fault = |ctx: &mut Ctx<'_, '_>, kind| {
        ctx.fault_at(kind, lane, Some(Space::Local(address)), None, String::new());
    };
    if offset + bytes.len() as u64 > top as u64 {
        return fault(ctx, FaultKind::OutOfBounds);
    }
    let at = lane as usize * ctx.warp.local_stride as usize + offset as usize;
    let range = at..at + bytes.len();
    if write {
        ctx.warp.local[range.clone()].copy_from_slice(bytes);
        ctx.warp.local_set[range].fill(true);
        return;
    }
    bytes.copy_from_slice(&ctx.warp.local[range.clone()]);
    if ctx.world.checks && !ctx.warp.local_set[range].iter().all(|&set| set) {
        fault(ctx, FaultKind::Uninitialised);
    }
}

fn param(ctx: &mut Ctx<'_, '_>, lane: u8, address: u64, bytes: &mut [u8]) {
    let at = (address & WINDOW_MASK) as usize;
    match ctx.grid().launch.params.get(at..at.saturating_add(bytes.len())) {
        Some(from) => bytes.copy_from_slice(from),
        None => {
            let space = Some(Space::Param(at as u64));
            ctx.fault_at(FaultKind::OutOfBounds, lane, space, None, String::new());
        }
    }
}
