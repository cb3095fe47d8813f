//! `atom` and `red`: lane after lane, each reads, works out and writes at once.

use super::access::{Data, addresses, aligned, digest, window};
use super::fields::{Fields, Where};
use super::shadow::STRONG;
use crate::arith::formats::{Rounding, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::isa::Inst;
use crate::machine::state::Wait;
use crate::machine::{Ctx, Flow};
use crate::report::{FaultKind, Space};

/// The NaN that every operation on f32 gives.
const F32_NAN: u32 = 0x7fff_ffff;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Kind {
    Add,
    Inc,
    Dec,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exch,
    Cas,
}

/// To what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Type {
    B16,
    B32,
    B64,
    U32,
    S32,
    U64,
    S64,
    F32,
    F64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
}

const KINDS: [(&str, Kind); 10] = [
    ("add", Kind::Add),
    ("inc", Kind::Inc),
    ("dec", Kind::Dec),
    ("min", Kind::Min),
    ("max", Kind::Max),
    ("and", Kind::And),
    ("or", Kind::Or),
    ("xor", Kind::Xor),
    ("exch", Kind::Exch),
    ("cas", Kind::Cas),
];

const TYPES: [(&str, Type); 13] = [
    ("b16", Type::B16),
    ("b32", Type::B32),
    ("b64", Type::B64),
    ("u32", Type::U32),
    ("s32", Type::S32),
    ("u64", Type::U64),
    ("s64", Type::S64),
    ("f32", Type::F32),
    ("f64", Type::F64),
    ("f16", Type::F16),
    ("f16x2", Type::F16x2),
    ("bf16", Type::Bf16),
    ("bf16x2", Type::Bf16x2),
];

impl Kind {
    /// By its name.
    pub fn of(part: &str) -> Option<Kind> {
        KINDS.iter().find(|(name, _)| *name == part).map(|(_, kind)| *kind)
    }
}

impl Type {
    /// By its name.
    pub fn of(part: &str) -> Option<Type> {
        TYPES.iter().find(|(name, _)| *name == part).map(|(_, ty)| *ty)
    }

    /// Bytes.
    pub fn bytes(self) -> u32 {
        match self {
            Type::B16 | Type::F16 | Type::Bf16 => 2,
            Type::B64 | Type::U64 | Type::S64 | Type::F64 => 8,
            _ => 4,
        }
    }
}

/// The operations that PTX has (PTX ISA, "atom").
pub fn supports(kind: Kind, ty: Type) -> bool {
    use Type::*;
    match kind {
        Kind::Add => !matches!(ty, B16 | B32 | B64 | S64),
        Kind::Inc | Kind::Dec => ty == U32,
        Kind::Min | Kind::Max => matches!(ty, U32 | S32 | U64 | S64),
        Kind::And | Kind::Or | Kind::Xor | Kind::Exch => matches!(ty, B32 | B64),
        Kind::Cas => matches!(ty, B16 | B32 | B64),
    }
}

/// Into `Inst::list`.
pub fn pack(kind: Kind, ty: Type) -> u32 {
    kind as u32 | (ty as u32) << 8
}

/// Runs `atom` or `red`; the latter has `s[4]` at `u16::MAX`.
pub fn run(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let fields = Fields::unpack(inst.target);
    let addresses = addresses(ctx, inst, fields);
    let bytes = fields.size as usize;
    let mask = aligned(ctx, &addresses, mask, fields.size, fields.space);
    ctx.world.grids[ctx.team.grid].traffic[ctx.pc as usize].lanes += mask.count_ones() as u64;
    let (kind, ty) = (KINDS[(inst.list & 0xff) as usize].1, TYPES[(inst.list >> 8) as usize].1);
    let mut changed = false;
    let mut seen: Data = [[0; 16]; 32];
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        let operand = |ctx: &Ctx<'_, '_>, k: usize| match fields.wide {
            true => ctx.registers.r64[inst.s[k] as usize][lane],
            false => ctx.registers.r32[inst.s[k] as usize][lane] as u64,
        };
        let (a, b) = (operand(ctx, 1), if kind == Kind::Cas { operand(ctx, 2) } else { 0 });
        let space = match fields.space {
            Where::Generic => window(addresses[lane]),
            space => space,
        };
        let mut word = [0u8; 8];
        let update = |old: u64| match (kind, ty, space) {
            (Kind::Add, Type::F32, Where::Global) => add_f32_flushed(old as u32, a as u32) as u64,
            _ => apply(kind, ty, old, a, b),
        };
        let known = match space {
            Where::Shared => shared(ctx, lane, addresses[lane], &mut word[..bytes], fields, update),
            Where::Global => global(ctx, lane, addresses[lane], &mut word[..bytes], fields, update),
            _ => {
                let text = "an atomic operation needs global or shared memory";
                let at = Some(Space::Local(addresses[lane]));
                ctx.fault_at(FaultKind::BadOperand, lane as u8, at, None, text.into());
                None
            }
        };
        changed |= known.unwrap_or(false);
        seen[lane][..8].copy_from_slice(&word);
        seen[lane][8..].copy_from_slice(&(a ^ b.rotate_left(17)).to_le_bytes());
        if inst.s[4] != u16::MAX {
            let old = u64::from_le_bytes(word);
            if fields.wide {
                ctx.registers.r64[inst.d[0] as usize][lane] = old;
            } else {
                ctx.registers.r32[inst.d[0] as usize][lane] = old as u32;
            }
        }
    }
    if changed {
        ctx.world.events += 1;
        ctx.warp.poll.2 = 0;
    } else if mask != 0 && ctx.polls(digest(mask, &addresses, &seen)) {
        // Nothing changed, as often before: whoever tries for a lock waits for its release.
        ctx.warp.wait = Wait::Memory;
        return Flow::Wait;
    }
    Flow::Next
}

fn shared(
    ctx: &mut Ctx<'_, '_>,
    lane: usize,
    address: u64,
    word: &mut [u8],
    fields: Fields,
    update: impl Fn(u64) -> u64,
) -> Option<bool> {
    let (rank, offset) = ctx.locate_shared(address);
    let s = fields.strength;
    ctx.release_shared(rank, offset, s, true);
    let access = ctx.access(lane as u8, STRONG);
    if !ctx.shared_checked(rank, offset, word.len(), access, false, None) {
        return None;
    }
    ctx.shared_checked(rank, offset, word.len(), access, true, None);
    let shared = &mut ctx.team.blocks[rank].shared;
    let place = &mut shared.data[offset as usize..offset as usize + word.len()];
    let seen = shared.sync.get(&offset).map(|v| v.list().to_vec()).unwrap_or_default();
    word.copy_from_slice(place);
    let new = update(number(word)).to_le_bytes();
    let changed = place != &new[..word.len()];
    place.copy_from_slice(&new[..word.len()]);
    ctx.observe(1 << 63 | (rank as u64) << 32 | offset as u64, &seen, s);
    ctx.warp.synchronise(1 << lane);
    Some(changed)
}

fn global(
    ctx: &mut Ctx<'_, '_>,
    lane: usize,
    address: u64,
    word: &mut [u8],
    fields: Fields,
    update: impl Fn(u64) -> u64,
) -> Option<bool> {
    let s = fields.strength;
    let place = ctx.global_place(lane as u8, address, word.len())?;
    for write in [false, true] {
        ctx.world.global.touch(place, word.len(), write);
    }
    let seen = ctx.world.sync.get(&address).map(|v| v.list().to_vec()).unwrap_or_default();
    ctx.release_global(address, s, true);
    let whole = ctx.world.global.read(place, word);
    let new = update(number(word)).to_le_bytes();
    if ctx.world.checks {
        if !whole {
            let space = Some(Space::Global(address));
            ctx.fault_at(FaultKind::Uninitialised, lane as u8, space, None, String::new());
        }
        let access = ctx.global_access(lane as u8, STRONG);
        ctx.global_checked(place, address, word.len(), access, Some(&new[..word.len()]));
    }
    let changed = new[..word.len()] != *word;
    ctx.world.global.write(place, &new[..word.len()]);
    ctx.observe(address, &seen, s);
    ctx.warp.synchronise(1 << lane);
    Some(changed)
}

fn number(word: &[u8]) -> u64 {
    let mut bytes = [0u8; 8];
    bytes[..word.len()].copy_from_slice(word);
    u64::from_le_bytes(bytes)
}

/// The new value of a word that holds `old`.
pub fn apply(kind: Kind, ty: Type, old: u64, a: u64, b: u64) -> u64 {
    match kind {
        Kind::Add => add(ty, old, a),
        Kind::Inc => {
            if old as u32 >= a as u32 {
                0
            } else {
                old + 1
            }
        }
        Kind::Dec => {
            if old == 0 || old as u32 > a as u32 {
                a
            } else {
                old - 1
            }
        }
        Kind::Min | Kind::Max => extreme(kind == Kind::Max, ty, old, a),
        Kind::And => old & a,
        Kind::Or => old | a,
        Kind::Xor => old ^ a,
        Kind::Exch => a,
        Kind::Cas => {
            if old == a {
                b
            } else {
                old
            }
        }
    }
}

fn add(ty: Type, old: u64, a: u64) -> u64 {
    match ty {
        Type::F32 => add_f32(old as u32, a as u32) as u64,
        Type::F64 => (f64::from_bits(old) + f64::from_bits(a)).to_bits(),
        Type::F16 => add_half(old as u16, a as u16, false) as u64,
        Type::Bf16 => add_half(old as u16, a as u16, true) as u64,
        Type::F16x2 | Type::Bf16x2 => {
            let bf16 = ty == Type::Bf16x2;
            let half = |shift: u32| {
                (add_half((old >> shift) as u16, (a >> shift) as u16, bf16) as u64) << shift
            };
            half(0) | half(16)
        }
        Type::U32 | Type::S32 => (old as u32).wrapping_add(a as u32) as u64,
        _ => old.wrapping_add(a),
    }
}

fn add_f32(old: u32, a: u32) -> u32 {
    let sum = f32::from_bits(old) + f32::from_bits(a);
    if sum.is_nan() { F32_NAN } else { sum.to_bits() }
}

/// In device memory, subnormal inputs and results are zeros of the same sign (PTX ISA, "atom").
fn add_f32_flushed(old: u32, a: u32) -> u32 {
    let flush = |x: u32| if f32::from_bits(x).is_subnormal() { x & 1 << 31 } else { x };
    flush(add_f32(flush(old), flush(a)))
}

/// A sum of two halves rounds in f32 first, which does no harm: 24 bits are more than twice the 11
/// or 8 of a half plus two (Figueroa 1995, "When is double rounding innocuous?").
fn add_half(old: u16, a: u16, bf16: bool) -> u16 {
    if bf16 {
        f32_to_bf16(bf16_to_f32(old) + bf16_to_f32(a), Rounding::NearestEven)
    } else {
        f32_to_f16(f16_to_f32(old) + f16_to_f32(a), Rounding::NearestEven)
    }
}

fn extreme(max: bool, ty: Type, old: u64, a: u64) -> u64 {
    let pick = |first: bool| if first == max { a } else { old };
    match ty {
        Type::S32 => pick(a as i32 > old as i32),
        Type::S64 => pick(a as i64 > old as i64),
        _ => pick(a > old),
    }
}
