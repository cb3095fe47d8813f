//! Decoders of bulk and tensor copies, and what their instructions look like once decoded.

use super::{bulk, bulk_issue};
use crate::decode::{Base, Decoder, Family, Problem};
use crate::isa::{Class, Exec, Inst};
use crate::memory::atomic::{Kind, Type};
use crate::syntax::tree::{Instruction, Operand};

/// The families that this module decodes.
pub const FAMILIES: &[Family] = &[
    Family {
        base: "cp.async.bulk",
        decode: copy,
        syntax: &[
            "cp.async.bulk.shared::{cta,cluster}.global.mbarrier::complete_tx::bytes\
             {.multicast::cluster}{.L2::cache_hint} [dst], [src], size, [mbar]{, mask}{, policy}",
            "cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes",
            "cp.async.bulk.global.shared::cta.bulk_group{.L2::cache_hint} [dst], [src], size",
            "cp.async.bulk.tensor.1d..5d.shared::{cta,cluster}.global{.tile}\
             .mbarrier::complete_tx::bytes{.multicast::cluster}{.L2::cache_hint} \
             [dst], [map, {c, ..}], [mbar]{, mask}{, policy}",
            "cp.async.bulk.tensor.1d..5d.global.shared::cta{.tile}.bulk_group{.L2::cache_hint}",
            "cp.async.bulk.prefetch.L2.global{.L2::cache_hint}",
            "cp.async.bulk.prefetch.tensor.1d..5d.L2.global{.tile}{.L2::cache_hint}",
            "cp.async.bulk.commit_group",
            "cp.async.bulk.wait_group{.read} N",
        ],
    },
    Family {
        base: "cp.reduce.async.bulk",
        decode: copy,
        syntax: &[
            "cp.reduce.async.bulk.global.shared::cta.bulk_group{.L2::cache_hint}\
             .add|min|max|inc|dec|and|or|xor{.noftz}.type",
            "cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.op.type",
            "cp.reduce.async.bulk.tensor.1d..5d.global.shared::cta.op{.tile}.bulk_group",
        ],
    },
    Family {
        base: "cp.async.mbarrier",
        decode: arrive,
        syntax: &["cp.async.mbarrier.arrive{.noinc}{.shared{::cta}}.b64 [mbar]"],
    },
];

/// Which way a copy goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Way {
    /// Device to shared memory.
    Load,
    /// Shared to device memory.
    Store,
    /// Shared memory to that of a block of the cluster.
    Share,
    /// Device memory to the cache.
    Prefetch,
}

/// A form of the instructions. Its operands' rows: `inst.s[0..5]` coordinates, `s[5]` the size,
/// `s[6]` the mask of blocks; addresses in `inst.list`, four numbers each: row, whether it has 64
/// bits, and the offset's halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Which way.
    pub way: Way,
    /// Dimensions of a tensor copy; 0 of a plain one.
    pub rank: usize,
    /// To several blocks of the cluster.
    pub multicast: bool,
    /// What is done at the destination instead of a write; the type, if it is not the tensor's.
    pub reduce: Option<(Kind, Option<Type>)>,
}

const WAYS: [Way; 4] = [Way::Load, Way::Store, Way::Share, Way::Prefetch];
const REDUCTIONS: [&str; 8] = ["add", "min", "max", "inc", "dec", "and", "or", "xor"];
const TYPES: [&str; 10] = ["f16", "bf16", "b32", "u32", "s32", "b64", "u64", "s64", "f32", "f64"];

impl Form {
    fn pack(way: Way, rank: usize, multicast: bool, op: Option<usize>, ty: Option<usize>) -> i64 {
        way as i64
            | (rank as i64) << 4
            | (multicast as i64) << 8
            | (op.map_or(0, |op| op + 1) as i64) << 12
            | (ty.map_or(0, |ty| ty + 1) as i64) << 16
    }

    /// From `inst.imm`.
    pub fn unpack(bits: i64) -> Form {
        let field = |shift: u32| (bits >> shift & 15) as usize;
        let op = field(12).checked_sub(1).and_then(|op| Kind::of(REDUCTIONS[op]));
        let ty = field(16).checked_sub(1).and_then(|ty| Type::of(TYPES[ty]));
        Form {
            way: WAYS[field(0)],
            rank: field(4),
            multicast: bits >> 8 & 1 != 0,
            reduce: op.map(|op| (op, ty)),
        }
    }
}

/// The modifiers of an opcode, sorted out.
#[derive(Default)]
struct Parts {
    spaces: Vec<&'static str>,
    tensor: bool,
    prefetch: bool,
    multicast: bool,
    barrier: bool,
    group: bool,
    rank: usize,
    op: Option<usize>,
    ty: Option<usize>,
}

fn parts(opcode: &str) -> Result<Parts, Problem> {
    let refuse = |why: &str| Err(format!("{opcode}: {why}"));
    let reduce = opcode.starts_with("cp.reduce");
    let mut p = Parts::default();
    for part in opcode.split('.').skip(if reduce { 4 } else { 3 }) {
        match part {
            "global" => p.spaces.push("global"),
            "shared::cta" => p.spaces.push("shared::cta"),
            "shared::cluster" => p.spaces.push("shared::cluster"),
            "tensor" => p.tensor = true,
            "prefetch" => p.prefetch = true,
            "multicast::cluster" => p.multicast = true,
            "mbarrier::complete_tx::bytes" => p.barrier = true,
            "bulk_group" => p.group = true,
            "1d" | "2d" | "3d" | "4d" | "5d" => p.rank = (part.as_bytes()[0] - b'0') as usize,
            "L2" | "L2::cache_hint" | "tile" | "noftz" => {}
            "cp_mask" => return refuse(".cp_mask is not supported"),
            part if part.starts_with("im2col") => return refuse("im2col is not supported"),
            part if part.starts_with("tile::") => return refuse(".tile::gather/scatter: sm_100"),
            part if reduce && REDUCTIONS.contains(&part) => {
                p.op = REDUCTIONS.iter().position(|r| *r == part);
            }
            part if reduce && TYPES.contains(&part) => {
                p.ty = TYPES.iter().position(|t| *t == part);
            }
            part => return Err(format!("{opcode}: unknown modifier .{part}")),
        }
    }
    if p.tensor != (p.rank > 0) {
        return refuse("a tensor copy, and only that, has dimensions");
    }
    if reduce && (p.op.is_none() || p.tensor == p.ty.is_some()) {
        return refuse("the operation, or the type, is missing");
    }
    Ok(p)
}

fn copy(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let opcode = i.opcode.as_str();
    match opcode.strip_prefix("cp.async.bulk.") {
        Some("commit_group") => return Ok(Inst::new(Exec::Act(bulk::commit), Class::Bulk)),
        Some(wait @ ("wait_group" | "wait_group.read")) => {
            let [count] = i.operands.as_slice() else {
                return Err(format!("{opcode}: expected a number of groups"));
            };
            let mut inst = Inst::new(Exec::Act(bulk::wait), Class::Bulk);
            inst.imm = d.immediate(count)?;
            inst.target = wait.ends_with("read") as u32;
            return Ok(inst);
        }
        _ => {}
    }
    let p = parts(opcode)?;
    let way = match (p.spaces.as_slice(), p.prefetch) {
        (["shared::cta" | "shared::cluster", "global"], false) if p.op.is_none() => Way::Load,
        (["global", "shared::cta"], false) => Way::Store,
        (["shared::cluster", "shared::cta"], false) if !p.tensor => Way::Share,
        (["global"], true) => Way::Prefetch,
        _ => return Err(format!("{opcode}: these state spaces do not go together")),
    };
    let completes = match way {
        Way::Load | Way::Share => p.barrier && !p.group,
        Way::Store => p.group && !p.barrier,
        Way::Prefetch => !p.group && !p.barrier,
    };
    if !completes || p.multicast && way != Way::Load {
        return Err(format!("{opcode}: wrong completion for this way"));
    }
    let mut inst = Inst::new(Exec::Act(bulk_issue::issue), Class::Bulk);
    inst.imm = Form::pack(way, p.rank, p.multicast, p.op, p.ty);
    operands(d, i, &mut inst, way, &p)?;
    Ok(inst)
}

/// The addresses in the order of the text, then what follows them.
fn operands(
    d: &mut Decoder,
    i: &Instruction,
    inst: &mut Inst,
    way: Way,
    p: &Parts,
) -> Result<(), Problem> {
    let missing = || format!("{}: too few operands", i.opcode);
    let mut rest = i.operands.iter();
    let mut list = Vec::new();
    for _ in 0..if way == Way::Prefetch { 1 } else { 2 } {
        match rest.next().ok_or_else(missing)? {
            Operand::Tensor(parts) if p.tensor => {
                let (map, coordinates) = parts.split_first().ok_or_else(missing)?;
                address(d, map, &mut list)?;
                let coordinates = coordinates.first().ok_or_else(missing)?;
                let coordinates = d.elements(coordinates);
                if coordinates.len() != p.rank {
                    let found = coordinates.len();
                    return Err(format!("{}: {found} coordinates", i.opcode));
                }
                for (k, coordinate) in coordinates.into_iter().enumerate() {
                    inst.s[k] = d.source32(coordinate)?;
                }
            }
            operand => address(d, operand, &mut list)?,
        }
    }
    if !p.tensor {
        inst.s[5] = d.source32(rest.next().ok_or_else(missing)?)?;
    }
    if p.barrier {
        address(d, rest.next().ok_or_else(missing)?, &mut list)?;
    }
    if p.multicast {
        inst.s[6] = d.source16(rest.next().ok_or_else(missing)?)?;
    }
    // What may be left is the cache policy.
    if i.opcode.contains("cache_hint") {
        d.source64(rest.next().ok_or_else(missing)?)?;
    }
    if rest.next().is_some() {
        return Err(format!("{}: too many operands", i.opcode));
    }
    inst.list = d.list(list);
    Ok(())
}

/// An address as four numbers: row, whether it has 64 bits, the offset's halves.
fn address(d: &mut Decoder, operand: &Operand, list: &mut Vec<u16>) -> Result<(), Problem> {
    let whole = match operand {
        Operand::Name(name) => Operand::Address { base: Some(name.clone()), offset: 0 },
        Operand::Offset(name, offset) => {
            Operand::Address { base: Some(name.clone()), offset: *offset }
        }
        other => other.clone(),
    };
    let address = d.address(&whole)?;
    let Ok(offset) = i32::try_from(address.offset) else {
        return Err(format!("offset {} is too large", address.offset));
    };
    let (row, wide) = match address.base {
        Base::R32(row) => (row, 0),
        Base::R64(row) => (row, 1),
    };
    list.extend([row, wide, offset as u16, (offset >> 16) as u16]);
    Ok(())
}

fn arrive(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let mut inst = Inst::new(Exec::Act(bulk_issue::arrive), Class::AsyncCopy);
    for part in i.opcode.split('.').skip(3) {
        match part {
            "arrive" | "shared" | "shared::cta" | "b64" => {}
            "noinc" => inst.target = 1,
            part => return Err(format!("{}: unknown modifier .{part}", i.opcode)),
        }
    }
    let [at] = i.operands.as_slice() else {
        return Err(format!("{}: expected an mbarrier", i.opcode));
    };
    let mut list = Vec::new();
    address(d, at, &mut list)?;
    inst.list = d.list(list);
    Ok(inst)
}
