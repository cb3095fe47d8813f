//! Bulk and tensor copies as they are issued: operands, and everything that can be said of them
//! before they run.

use super::bulk::{Issuer, Job, Load, Share, Spot, Store, Work};
use super::bulk_decode::{Form, Way};
use super::mbarrier;
use crate::isa::{Inst, WINDOW_MASK};
use crate::machine::{Ctx, Flow};
use crate::memory::access::window;
use crate::memory::atomic::{Kind, Type};
use crate::memory::fields::Where;
use crate::memory::shadow::{Access, Actor, ENGINE};
use crate::report::{FaultKind, Space};
use crate::tensor::tma::{DataType, Piece, TensorMap};
use std::rc::Rc;

/// An engine has no lanes to order.
pub const NO_LANES: [u32; 32] = [u32::MAX; 32];

/// What one lane asks for.
struct Request {
    lane: usize,
    form: Form,
    addresses: [u64; 3],
    bytes: u32,
    blocks: u32,
    coordinates: [i32; 5],
}

impl Request {
    fn of(ctx: &Ctx<'_, '_>, inst: &Inst, lane: usize) -> Request {
        let registers = &*ctx.registers;
        let form = Form::unpack(inst.imm);
        let word = |k: usize| registers.r32[inst.s[k] as usize][lane];
        Request {
            lane,
            form,
            addresses: std::array::from_fn(|k| address(ctx, inst, k, lane)),
            bytes: if form.rank == 0 { word(5) } else { 0 },
            blocks: if form.multicast { word(6) } else { 0 },
            coordinates: std::array::from_fn(|k| if k < form.rank { word(k) as i32 } else { 0 }),
        }
    }
}

/// The `k`th address in `inst.list`; 0 if there are fewer.
fn address(ctx: &Ctx<'_, '_>, inst: &Inst, k: usize, lane: usize) -> u64 {
    let list = &ctx.program.lists[inst.list as usize];
    let Some([row, wide, low, high]) = list.get(4 * k..4 * k + 4) else { return 0 };
    let offset = (*low as u32 | (*high as u32) << 16) as i32 as i64;
    match wide {
        1 => ctx.registers.r64[*row as usize][lane].wrapping_add_signed(offset),
        _ => ctx.registers.r32[*row as usize][lane].wrapping_add_signed(offset as i32) as u64,
    }
}

/// Issues a copy for each lane of `mask`.
pub fn issue(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        let request = Request::of(ctx, inst, lane);
        match request.form.way {
            Way::Load => load(ctx, &request),
            Way::Store => store(ctx, &request),
            Way::Share => share(ctx, &request),
            Way::Prefetch => prefetch(ctx, &request),
        };
    }
    Flow::Next
}

/// Says what is wrong with the lane's copy, which is then not made.
fn refuse<T>(ctx: &mut Ctx<'_, '_>, kind: FaultKind, lane: usize, text: String) -> Option<T> {
    ctx.fault(kind, lane as u8, text);
    None
}

fn aligned(ctx: &mut Ctx<'_, '_>, lane: usize, what: &str, value: u64, to: u64) -> Option<()> {
    if value.is_multiple_of(to) {
        return Some(());
    }
    refuse(ctx, FaultKind::Misaligned, lane, format!("{what} {value:#x} is no multiple of {to}"))
}

/// A range of shared memory as block rank and offset, if it lies in the block's memory.
fn inside(ctx: &mut Ctx<'_, '_>, lane: usize, address: u64, bytes: u32) -> Option<Spot> {
    let (rank, offset) = ctx.locate_shared(address);
    let size = ctx.team.blocks[rank].shared.data.len();
    if offset as usize + bytes as usize <= size {
        return Some((rank, offset));
    }
    let space = Some(Space::Shared(address & WINDOW_MASK, offset));
    let text = format!("a copy of {bytes} bytes at byte {} of {size}", offset as i32);
    ctx.fault_at(FaultKind::OutOfBounds, lane as u8, space, None, text);
    None
}

/// The barrier at an address.
fn barrier(ctx: &mut Ctx<'_, '_>, lane: usize, (rank, offset): Spot) -> Option<Spot> {
    if ctx.team.blocks[rank].shared.mbarriers.contains_key(&offset) {
        return Some((rank, offset));
    }
    let space = Some(Space::Shared(ctx.shared_address(rank, offset), offset));
    let text = "no mbarrier was initialised here".to_string();
    ctx.fault_at(FaultKind::Mbarrier, lane as u8, space, None, text);
    None
}

/// The tensor map at a generic address.
fn tensor_map(ctx: &mut Ctx<'_, '_>, request: &Request, address: u64) -> Option<TensorMap> {
    let lane = request.lane;
    aligned(ctx, lane, "the address of the tensor map,", address & WINDOW_MASK, 64)?;
    let mut bytes = [0u8; 128];
    match window(address) {
        Where::Param => {
            let at = (address & WINDOW_MASK) as usize;
            let Some(from) = ctx.grid().launch.params.get(at..at.saturating_add(128)) else {
                let space = Some(Space::Param(at as u64));
                let text = "a tensor map of 128 bytes".to_string();
                ctx.fault_at(FaultKind::OutOfBounds, lane as u8, space, None, text);
                return None;
            };
            bytes.copy_from_slice(from);
        }
        Where::Global => {
            let place = ctx.global_place(lane as u8, address, 128)?;
            ctx.world.global.read(place, &mut bytes);
        }
        _ => {
            let text = "a tensor map lies in .param, .const or .global".to_string();
            return refuse(ctx, FaultKind::TensorMap, lane, text);
        }
    }
    let map = match TensorMap::decode(&bytes) {
        Ok(map) => map,
        Err(error) => return refuse(ctx, FaultKind::TensorMap, lane, error.to_string()),
    };
    if map.rank() != request.form.rank {
        let text = format!("a {}d copy by a {}d tensor map", request.form.rank, map.rank());
        return refuse(ctx, FaultKind::TensorMap, lane, text);
    }
    Some(map)
}

/// A box or range: the pieces with `shared` as an offset in its block, how many bytes they take
/// there, and the tensor map if there is one.
struct Box {
    spot: Spot,
    bytes: u32,
    pieces: Vec<Piece>,
    map: Option<TensorMap>,
}

fn lay_out(ctx: &mut Ctx<'_, '_>, request: &Request, shared: u64, global: u64) -> Option<Box> {
    let lane = request.lane;
    let low = shared & 0xff_ffff;
    if request.form.rank == 0 {
        aligned(ctx, lane, "the shared address", low, 16)?;
        aligned(ctx, lane, "the device address", global, 16)?;
        aligned(ctx, lane, "the size", request.bytes as u64, 16)?;
        let spot = inside(ctx, lane, shared, request.bytes)?;
        ctx.global_place(lane as u8, global, request.bytes as usize)?;
        ctx.count_range(global, request.bytes as u64);
        let pieces = (0..request.bytes).step_by(16);
        let piece =
            |at| Piece { shared: spot.1 + at, skip: 0, bytes: 16, global: global + at as u64 };
        return Some(Box {
            spot,
            bytes: request.bytes,
            pieces: pieces.map(piece).collect(),
            map: None,
        });
    }
    let map = tensor_map(ctx, request, global)?;
    aligned(ctx, lane, "the shared address", low, map.shared_alignment() as u64)?;
    let bytes = map.box_bytes();
    let spot = inside(ctx, lane, shared, bytes)?;
    let base = ctx.team.blocks[spot.0].shared.base;
    let mut pieces = Vec::with_capacity(bytes as usize / 16);
    let coordinates = &request.coordinates[..request.form.rank];
    map.box_pieces(coordinates, low as u32, |piece| {
        pieces.push(Piece { shared: piece.shared.wrapping_sub(base), ..piece });
    });
    for (first, length) in spans(&pieces) {
        let start = pieces[first.start].global;
        if ctx.global_place(lane as u8, start, length).is_none() {
            pieces[first].iter_mut().for_each(|piece| piece.bytes = 0);
            continue;
        }
        ctx.count_range(start, length as u64);
    }
    Some(Box { spot, bytes, pieces, map: Some(map) })
}

/// Runs of pieces that are contiguous in device memory, with their bytes.
pub fn spans(pieces: &[Piece]) -> Vec<(std::ops::Range<usize>, usize)> {
    let mut spans: Vec<(std::ops::Range<usize>, usize)> = Vec::new();
    let mut next = 0;
    for (index, piece) in pieces.iter().enumerate().filter(|(_, piece)| piece.bytes > 0) {
        match spans.last_mut() {
            Some((range, length)) if piece.global == next && range.end == index => {
                range.end = index + 1;
                *length += piece.bytes as usize;
            }
            _ => spans.push((index..index + 1, piece.bytes as usize)),
        }
        next = piece.global + piece.bytes as u64;
    }
    spans
}

fn issuer(ctx: &mut Ctx<'_, '_>, lane: usize) -> Issuer {
    Issuer {
        block: ctx.warp.block,
        warp: ctx.warp.index,
        lane: lane as u8,
        pc: ctx.pc,
        number: ctx.warp.bulk.number(),
        clock: Rc::new(ctx.warp.clock.clone()),
    }
}

/// Puts a range of shared memory in flight, after checking that the warp may have it written.
fn put_in_flight(ctx: &mut Ctx<'_, '_>, lane: usize, (rank, offset): Spot, bytes: u32) {
    let range = offset as usize..(offset + bytes) as usize;
    ctx.team.blocks[rank].shared.data[range.clone()].fill(0xff);
    if !ctx.world.checks {
        return;
    }
    let actor = Ctx::actor(ctx.warp, ctx.access(lane as u8, 0), true);
    let shadow = &mut ctx.team.blocks[rank].shared.shadow;
    let mut found = None;
    for at in range.step_by(16) {
        let conflict = shadow.write(at, 16, &actor);
        shadow.set_pending(at, 16);
        found = found.or(conflict.map(|conflict| (conflict, at)));
    }
    if let Some(((kind, by), at)) = found {
        ctx.shared_fault(kind, lane as u8, rank, at as u32, by);
    }
}

fn load(ctx: &mut Ctx<'_, '_>, request: &Request) -> Option<()> {
    let lane = request.lane;
    let [to, from, at] = request.addresses;
    let parts = lay_out(ctx, request, to, from)?;
    let (rank, offset) = parts.spot;
    let barrier_spot = ctx.locate_shared(at);
    let mut targets = Vec::new();
    if request.form.multicast {
        let blocks = ctx.team.blocks.len();
        if request.blocks == 0 || request.blocks >> blocks != 0 {
            let text = format!("blocks {:#x} of a cluster of {blocks}", request.blocks);
            return refuse(ctx, FaultKind::BadOperand, lane, text);
        }
        for block in (0..blocks).filter(|b| request.blocks >> b & 1 == 1) {
            targets.push((block, barrier(ctx, lane, (block, barrier_spot.1))?));
        }
    } else {
        targets.push((rank, barrier(ctx, lane, barrier_spot)?));
    }
    for (block, _) in &targets {
        put_in_flight(ctx, lane, (*block, offset), parts.bytes);
    }
    let fill = parts.map.map_or([0; 16], |map| map.fill_bytes());
    let work = Work::Load(Load {
        pieces: parts.pieces,
        fill,
        map: parts.map.filter(|map| map.element() == DataType::F32Ftz),
        bytes: parts.bytes,
        targets,
    });
    let by = issuer(ctx, lane);
    ctx.team.bulk.push(Job { by, work });
    Some(())
}

/// Checks and records the reads of a copy's source: as the issuing lane, whose stores it must
/// see, and then as the engine, which goes on reading after the instruction.
fn read_source(
    ctx: &mut Ctx<'_, '_>,
    lane: usize,
    number: u32,
    ranges: impl Iterator<Item = (u32, u32)>,
) {
    if !ctx.world.checks {
        return;
    }
    let block = ctx.warp.block;
    let agent = ctx.team.agents.bulk_read(block, ctx.warp.index);
    let engine = Access { clock: number, pc: ctx.pc, sync: 0, agent, lane: ENGINE, flags: 0 };
    let mine = Ctx::actor(ctx.warp, ctx.access(lane as u8, 0), true);
    let clock = &ctx.warp.clock;
    let engine = Actor { access: engine, clock, lane_sync: &NO_LANES, asynchronous: true };
    let shadow = &mut ctx.team.blocks[block].shared.shadow;
    let mut found = None;
    for (offset, bytes) in ranges {
        let conflict = shadow.read(offset as usize, bytes as usize, &mine);
        found = found.or(conflict.map(|conflict| (conflict, offset)));
        shadow.read(offset as usize, bytes as usize, &engine);
    }
    if let Some(((kind, by), offset)) = found {
        ctx.shared_fault(kind, lane as u8, block, offset, by);
    }
}

fn store(ctx: &mut Ctx<'_, '_>, request: &Request) -> Option<()> {
    let lane = request.lane;
    let [to, from, _] = request.addresses;
    let parts = lay_out(ctx, request, from, to)?;
    let reduce = match (request.form.reduce, &parts.map) {
        (None, _) => None,
        (Some((kind, Some(ty))), _) => Some((kind, ty)),
        (Some((kind, None)), Some(map)) => {
            let Some(ty) = element_type(map.element()) else {
                let text = format!("a reduction of {:?}", map.element());
                return refuse(ctx, FaultKind::TensorMap, lane, text);
            };
            Some((kind, ty))
        }
        (Some((kind, None)), None) => Some((kind, Type::B32)),
    };
    let by = issuer(ctx, lane);
    let ranges = parts.pieces.iter().filter(|piece| piece.bytes > 0);
    let ranges = ranges.map(|piece| (piece.shared + piece.skip, piece.bytes));
    read_source(ctx, lane, by.number, ranges);
    ctx.warp.bulk.add(lane as u8, by.number);
    let work = Work::Store(Store { pieces: parts.pieces, reduce, data: None });
    ctx.team.bulk.push(Job { by, work });
    Some(())
}

fn element_type(element: DataType) -> Option<Type> {
    Some(match element {
        DataType::U32 => Type::U32,
        DataType::S32 => Type::S32,
        DataType::U64 => Type::U64,
        DataType::S64 => Type::S64,
        DataType::F16 => Type::F16,
        DataType::Bf16 => Type::Bf16,
        DataType::F32 | DataType::F32Ftz => Type::F32,
        _ => return None,
    })
}

fn share(ctx: &mut Ctx<'_, '_>, request: &Request) -> Option<()> {
    let (lane, bytes) = (request.lane, request.bytes);
    let [to, from, at] = request.addresses;
    aligned(ctx, lane, "the destination", to & 0xff_ffff, 16)?;
    aligned(ctx, lane, "the source", from & 0xff_ffff, 16)?;
    aligned(ctx, lane, "the size", bytes as u64, 16)?;
    let target = inside(ctx, lane, to, bytes)?;
    let (_, source) = inside(ctx, lane, from, bytes)?;
    let spot = ctx.locate_shared(at);
    let barrier = barrier(ctx, lane, spot)?;
    let by = issuer(ctx, lane);
    let ranges = (source..source + bytes).step_by(16).map(|offset| (offset, 16));
    read_source(ctx, lane, by.number, ranges);
    let reduce: Option<(Kind, Type)> =
        request.form.reduce.map(|(kind, ty)| (kind, ty.unwrap_or(Type::U32)));
    if reduce.is_none() {
        put_in_flight(ctx, lane, target, bytes);
    }
    let work = Work::Share(Share { from: source, bytes, to: target, barrier, reduce });
    ctx.team.bulk.push(Job { by, work });
    Some(())
}

/// A prefetch moves nothing that could be seen; its operands must be good all the same.
fn prefetch(ctx: &mut Ctx<'_, '_>, request: &Request) -> Option<()> {
    let (lane, from) = (request.lane, request.addresses[0]);
    if request.form.rank > 0 {
        tensor_map(ctx, request, from)?;
        return Some(());
    }
    aligned(ctx, lane, "the device address", from, 16)?;
    aligned(ctx, lane, "the size", request.bytes as u64, 16)?;
    ctx.global_place(lane as u8, from, request.bytes as usize)?;
    Some(())
}

/// `cp.async.mbarrier.arrive`: the barrier hears of the lane when its copies have arrived.
/// `target` is 1 with `.noinc`, by which the arrival is one of those that were expected anyway.
pub fn arrive(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        let spot = ctx.locate_shared(address(ctx, inst, 0, lane));
        let Some(spot) = barrier(ctx, lane, spot) else { continue };
        if inst.target == 0 {
            mbarrier::expect_one_more(ctx.team, spot.0, spot.1);
        }
        let copies = ctx.warp.copies.take(lane);
        let by = issuer(ctx, lane);
        ctx.team.bulk.push(Job { by, work: Work::Arrive { copies, barrier: spot } });
    }
    Flow::Next
}
