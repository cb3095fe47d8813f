//! Decoders of what concerns warps themselves: barriers, sleeping, dependent grids, registers.

use super::{barrier, barrier::mode, control, grid};
use crate::decode::{Base, Decoder, Family, Problem};
use crate::isa::{Act, Class, Exec, Inst, Members};
use crate::syntax::tree::Instruction;

/// The families that this module decodes.
pub const FAMILIES: &[Family] = &[
    Family {
        base: "bar",
        decode: bar,
        syntax: &[
            "bar{.cta}.sync|arrive a{, b}",
            "bar{.cta}.red.popc.u32|and.pred|or.pred d, a{, b}, {!}p",
            "bar.warp.sync mask",
        ],
    },
    Family {
        base: "barrier",
        decode: bar,
        syntax: &[
            "barrier{.cta}.sync|arrive{.aligned} a{, b}",
            "barrier{.cta}.red.popc.u32|and.pred|or.pred{.aligned}",
            "barrier.cluster.arrive{.release|.relaxed}{.aligned}",
            "barrier.cluster.wait{.acquire}{.aligned}",
        ],
    },
    Family { base: "nanosleep", decode: other, syntax: &["nanosleep.u32"] },
    Family { base: "prefetch", decode: other, syntax: &["prefetch{.space}.level"] },
    Family { base: "prefetchu", decode: other, syntax: &["prefetchu.L1"] },
    Family { base: "applypriority", decode: other, syntax: &["applypriority"] },
    Family { base: "discard", decode: other, syntax: &["discard"] },
    Family { base: "pmevent", decode: other, syntax: &["pmevent"] },
    Family {
        base: "griddepcontrol",
        decode: dependent,
        syntax: &["griddepcontrol.wait|launch_dependents"],
    },
    Family {
        base: "setmaxnreg",
        decode: registers,
        syntax: &["setmaxnreg.inc|dec.sync.aligned.u32"],
    },
    Family {
        base: "mapa",
        decode: mapa,
        syntax: &["mapa{.shared::cluster}.u32|u64", "getctarank{.shared::cluster}.u32|u64"],
    },
    Family { base: "getctarank", decode: mapa, syntax: &[] },
];

fn bar(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let parts: Vec<&str> = i.opcode.split('.').collect();
    let mut rest: Vec<&str> = parts[1..].iter().copied().filter(|p| *p != "cta").collect();
    let aligned = parts[0] == "bar" || rest.contains(&"aligned");
    rest.retain(|p| *p != "aligned");
    let what = match rest.as_slice() {
        ["warp", "sync"] => return warp_sync(d, i),
        ["cluster", kind, order @ ..] => return cluster(i, kind, order, aligned),
        ["sync"] => mode::SYNC,
        ["arrive"] => mode::ARRIVE,
        ["red", "popc", "u32"] => mode::POPC,
        ["red", "and", "pred"] => mode::AND,
        ["red", "or", "pred"] => mode::OR,
        _ => return Err(format!("{}: unknown form", i.opcode)),
    };
    let reduces = what >= mode::POPC;
    let mut inst = collective(barrier::bar, aligned);
    let mut operands = i.operands.iter();
    let missing = || format!("{}: too few operands", i.opcode);
    if reduces {
        let to = operands.next().ok_or_else(missing)?;
        inst.d[0] = if what == mode::POPC { d.dest32(to)? } else { d.dest_predicate(to)? };
    }
    inst.s[0] = d.source32(operands.next().ok_or_else(missing)?)?;
    let rest: Vec<_> = operands.collect();
    let (count, predicate) = match (reduces, rest.as_slice()) {
        (false, []) => (None, None),
        (false, [count]) => (Some(count), None),
        (true, [predicate]) => (None, Some(predicate)),
        (true, [count, predicate]) => (Some(count), Some(predicate)),
        _ => return Err(format!("{}: too many operands", i.opcode)),
    };
    if let Some(count) = count {
        (inst.s[1], inst.target) = (d.source32(count)?, 1);
    } else if what == mode::ARRIVE {
        return Err(format!("{}: arriving needs a thread count", i.opcode));
    }
    if let Some(predicate) = predicate {
        inst.s[2] = d.source_predicate(predicate)?;
    }
    inst.imm = what | if aligned { mode::ALIGNED } else { 0 };
    Ok(inst)
}

fn collective(run: Act, aligned: bool) -> Inst {
    let exec = if aligned { Exec::CollectiveAct(Members::Warp, run) } else { Exec::Act(run) };
    Inst::new(exec, Class::Barrier)
}

fn warp_sync(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let exec = Exec::CollectiveAct(Members::Source(0), barrier::warp_sync);
    let mut inst = Inst::new(exec, Class::Warp);
    let [mask] = i.operands.as_slice() else {
        return Err(format!("{}: expected a member mask", i.opcode));
    };
    inst.s[0] = d.source32(mask)?;
    Ok(inst)
}

fn cluster(i: &Instruction, kind: &str, order: &[&str], aligned: bool) -> Result<Inst, Problem> {
    let (run, relaxed): (Act, bool) = match (kind, order) {
        ("arrive", [] | ["release"]) => (barrier::cluster_arrive, false),
        ("arrive", ["relaxed"]) => (barrier::cluster_arrive, true),
        ("wait", [] | ["acquire"]) => (barrier::cluster_wait, false),
        _ => return Err(format!("{}: unknown form", i.opcode)),
    };
    let mut inst = collective(run, aligned);
    inst.imm = relaxed as i64;
    Ok(inst)
}

fn other(_: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let sleeps = i.opcode.starts_with("nanosleep");
    let run: Act = if sleeps { control::sleep } else { control::nothing };
    Ok(Inst::new(Exec::Act(run), Class::Other))
}

fn dependent(_: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let run: Act = match i.opcode.as_str() {
        "griddepcontrol.wait" => grid::wait,
        "griddepcontrol.launch_dependents" => grid::launch_dependents,
        _ => return Err(format!("{}: unknown form", i.opcode)),
    };
    Ok(Inst::new(Exec::Act(run), Class::Other))
}

fn registers(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let increase = match i.opcode.as_str() {
        "setmaxnreg.inc.sync.aligned.u32" => 1,
        "setmaxnreg.dec.sync.aligned.u32" => 0,
        _ => return Err(format!("{}: unknown form", i.opcode)),
    };
    let [count] = i.operands.as_slice() else {
        return Err(format!("{}: expected a register count", i.opcode));
    };
    let exec = Exec::CollectiveAct(Members::Warp, grid::set_registers);
    let mut inst = Inst::new(exec, Class::Other);
    inst.imm = d.immediate(count)?;
    if inst.imm % 8 != 0 || !(24..=256).contains(&inst.imm) {
        return Err(format!("{}: {} is no multiple of 8 from 24 to 256", i.opcode, inst.imm));
    }
    inst.target = increase;
    Ok(inst)
}

/// `mapa d, a, rank` and `getctarank d, a`. `target`: 1 for 64-bit addresses that are generic, 2
/// for getctarank.
fn mapa(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let wide = i.opcode.ends_with("u64");
    let shared = i.opcode.contains("shared::cluster");
    let rank = i.opcode.starts_with("getctarank");
    let known = ["mapa", "getctarank", "shared::cluster", "u32", "u64"];
    if let Some(part) = i.opcode.split('.').find(|p| !known.contains(p)) {
        return Err(format!("{}: unknown modifier .{part}", i.opcode));
    }
    let [to, from, ..] = i.operands.as_slice() else {
        return Err(format!("{}: too few operands", i.opcode));
    };
    let mut inst = Inst::new(Exec::Act(grid::mapa), Class::Integer);
    inst.target = wide as u32 | (rank as u32) << 1 | (!shared as u32) << 2;
    inst.s[0] = if wide { d.source64(from)? } else { d.source32(from)? };
    if rank {
        inst.d[0] = d.dest32(to)?;
        return Ok(inst);
    }
    inst.d[0] = if wide { d.dest64(to)? } else { d.dest32(to)? };
    let target = i.operands.get(2).ok_or_else(|| format!("{}: no rank", i.opcode))?;
    inst.s[1] = d.source32(target)?;
    Ok(inst)
}

/// An address operand as a row for `s[0]`, its offset, and whether it has 64 bits.
pub fn any_address(
    d: &mut Decoder,
    operand: &crate::syntax::tree::Operand,
) -> Result<(u16, i64, bool), Problem> {
    let address = d.address(operand)?;
    Ok(match address.base {
        Base::R32(row) => (row, address.offset, false),
        Base::R64(row) => (row, address.offset, true),
    })
}
