//! Decoders of `cp.async`, `mbarrier`, `ldmatrix` and `stmatrix`.

use super::{copy, matrix, mbarrier, mbarrier::op};
use crate::decode::{Base, Decoder, Family, Problem};
use crate::isa::{Class, Exec, Inst, Members};
use crate::machine::decode::any_address;
use crate::syntax::tree::{Instruction, Operand};

/// The families that this module decodes.
pub const FAMILIES: &[Family] = &[
    Family {
        base: "cp.async",
        decode: copy_async,
        syntax: &[
            "cp.async.{ca,cg}.shared{::cta}.global{.L2::hint} [dst], [src], bytes{, src-bytes}",
            "cp.async.commit_group",
            "cp.async.wait_group N",
            "cp.async.wait_all",
        ],
    },
    Family {
        base: "mbarrier",
        decode: barrier,
        syntax: &[
            "mbarrier.init|inval{.shared{::cta}}.b64",
            "mbarrier.arrive|arrive_drop{.expect_tx}{.noComplete}{.sem}{.scope}{.space}.b64",
            "mbarrier.expect_tx|complete_tx{.sem}{.scope}{.space}.b64",
            "mbarrier.test_wait|try_wait{.parity}{.sem}{.scope}{.space}.b64",
            "mbarrier.pending_count.b64",
        ],
    },
    Family {
        base: "ldmatrix",
        decode: load_matrix,
        syntax: &["ldmatrix.sync.aligned.m8n8.x1|x2|x4{.trans}{.shared{::cta}}.b16"],
    },
    Family {
        base: "stmatrix",
        decode: store_matrix,
        syntax: &["stmatrix.sync.aligned.m8n8.x1|x2|x4{.trans}{.shared{::cta}}.b16"],
    },
];

fn missing(i: &Instruction) -> Problem {
    format!("{}: too few operands", i.opcode)
}

fn copy_async(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let parts: Vec<&str> = i.opcode.split('.').skip(2).collect();
    match parts.as_slice() {
        ["commit_group"] => return Ok(Inst::new(Exec::Act(copy::commit), Class::AsyncCopy)),
        ["wait_all"] => return waits(-1),
        ["wait_group"] => {
            let count = d.immediate(i.operands.first().ok_or_else(|| missing(i))?)?;
            return waits(count);
        }
        _ => {}
    }
    let known = |part: &&str| {
        matches!(*part, "ca" | "cg" | "shared" | "shared::cta" | "global")
            || part.starts_with("L2::")
    };
    if let Some(part) = parts.iter().find(|p| !known(p)) {
        return Err(format!("{}: unknown modifier .{part}", i.opcode));
    }
    let [to, from, bytes, rest @ ..] = i.operands.as_slice() else { return Err(missing(i)) };
    let mut inst = Inst::new(Exec::Act(copy::issue), Class::AsyncCopy);
    let (to, to_offset) = shared_address(d, to)?;
    let from = d.address(from)?;
    let Base::R64(from_row) = from.base else {
        return Err(format!("{}: the source needs a 64-bit address", i.opcode));
    };
    (inst.s[0], inst.s[1]) = (to, from_row);
    if i32::try_from(from.offset).is_err() {
        return Err(format!("{}: offset {} is too large", i.opcode, from.offset));
    }
    inst.imm = (to_offset as u32 as i64) | from.offset << 32;
    let size = d.immediate(bytes)?;
    let whole = if parts.contains(&"cg") { size == 16 } else { matches!(size, 4 | 8 | 16) };
    if !whole {
        return Err(format!("{}: {size} bytes", i.opcode));
    }
    inst.target = size as u32;
    // A 64-bit third operand is a cache policy; a predicate says to ignore the source.
    for operand in rest {
        match d.width(operand) {
            Some(64) => {}
            Some(1) => (inst.s[3], inst.target) = (d.source_predicate(operand)?, inst.target | 64),
            _ => (inst.s[2], inst.target) = (d.source32(operand)?, inst.target | 32),
        }
    }
    Ok(inst)
}

fn waits(count: i64) -> Result<Inst, Problem> {
    let mut inst = Inst::new(Exec::Act(copy::wait), Class::AsyncCopy);
    inst.imm = count;
    Ok(inst)
}

/// A shared address as a 32-bit row and an offset.
fn shared_address(d: &mut Decoder, operand: &Operand) -> Result<(u16, i64), Problem> {
    match any_address(d, operand)? {
        (row, offset, false) => Ok((row, offset)),
        _ => Err("a shared address in a 64-bit register is not supported here".into()),
    }
}

fn barrier(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let parts: Vec<&str> = i.opcode.split('.').skip(1).collect();
    let (mut flags, mut what) = (0, None);
    for part in &parts {
        match *part {
            "init" => (what, flags) = (Some("init"), flags | op::INIT | op::WITH_COUNT),
            "inval" => (what, flags) = (Some("inval"), flags | op::INVAL),
            "arrive" => (what, flags) = (Some("arrive"), flags | op::ARRIVE),
            "arrive_drop" => (what, flags) = (Some("arrive"), flags | op::ARRIVE | op::DROP),
            "expect_tx" if what.is_some() => flags |= op::WITH_BYTES,
            "expect_tx" => (what, flags) = (Some("bytes"), flags | op::EXPECT),
            "complete_tx" => (what, flags) = (Some("bytes"), flags | op::COMPLETE),
            "test_wait" => what = Some("wait"),
            "try_wait" => (what, flags) = (Some("wait"), flags | op::TRY),
            "parity" => flags |= op::PARITY,
            "pending_count" => what = Some("pending"),
            "relaxed" => flags |= op::RELAXED,
            "noComplete" | "release" | "acquire" | "cta" | "cluster" | "b64" => {}
            "shared" | "shared::cta" | "shared::cluster" => {}
            part => return Err(format!("{}: unknown modifier .{part}", i.opcode)),
        }
    }
    match what {
        Some("wait") => barrier_wait(d, i, flags),
        Some("pending") => {
            let [to, from] = i.operands.as_slice() else { return Err(missing(i)) };
            let mut inst = Inst::new(Exec::Alu(mbarrier::pending_count), Class::Mbarrier);
            (inst.d[0], inst.s[0]) = (d.dest32(to)?, d.source64(from)?);
            Ok(inst)
        }
        Some(what) => barrier_update(d, i, flags, what),
        None => Err(format!("{}: unknown form", i.opcode)),
    }
}

fn barrier_update(
    d: &mut Decoder,
    i: &Instruction,
    mut flags: u32,
    what: &str,
) -> Result<Inst, Problem> {
    let mut inst = Inst::new(Exec::Act(mbarrier::update), Class::Mbarrier);
    let mut operands = i.operands.as_slice();
    // A remote arrival has no state, so its first operand is the address.
    if what == "arrive" && !matches!(operands.first(), Some(Operand::Address { .. })) {
        let state = operands.first().ok_or_else(|| missing(i))?;
        if *state != Operand::Name("_".into()) {
            (inst.d[0], flags) = (d.dest64(state)?, flags | op::STATE);
        }
        operands = &operands[1..];
    }
    let (at, rest) = operands.split_first().ok_or_else(|| missing(i))?;
    let (row, offset, wide) = any_address(d, at)?;
    (inst.s[0], inst.imm) = (row, offset);
    flags |= if wide { op::ADDRESS64 } else { 0 };
    let bytes = what == "bytes" || flags & op::WITH_BYTES != 0;
    match (rest.first(), bytes) {
        (Some(count), true) => inst.s[2] = d.source32(count)?,
        (Some(count), false) => (inst.s[1], flags) = (d.source32(count)?, flags | op::WITH_COUNT),
        (None, _) if bytes || what == "init" => return Err(missing(i)),
        (None, _) => {}
    }
    inst.target = flags;
    Ok(inst)
}

fn barrier_wait(d: &mut Decoder, i: &Instruction, mut flags: u32) -> Result<Inst, Problem> {
    let [over, at, phase, ..] = i.operands.as_slice() else { return Err(missing(i)) };
    let mut inst = Inst::new(Exec::Act(mbarrier::wait), Class::Mbarrier);
    inst.d[0] = d.dest_predicate(over)?;
    let (row, offset, wide) = any_address(d, at)?;
    (inst.s[0], inst.imm) = (row, offset);
    flags |= if wide { op::ADDRESS64 } else { 0 };
    inst.s[1] = if flags & op::PARITY != 0 { d.source32(phase)? } else { d.source64(phase)? };
    inst.target = flags;
    Ok(inst)
}

/// The shape of a matrix load or store: matrices, and whether they are transposed.
fn matrix_shape(i: &Instruction) -> Result<(u32, bool), Problem> {
    let (mut count, mut trans) = (0, false);
    for part in i.opcode.split('.').skip(1) {
        match part {
            "sync" | "aligned" | "m8n8" | "shared" | "shared::cta" | "b16" => {}
            "x1" => count = 1,
            "x2" => count = 2,
            "x4" => count = 4,
            "trans" => trans = true,
            part => return Err(format!("{}: unknown modifier .{part}", i.opcode)),
        }
    }
    if count == 0 { Err(format!("{}: no count", i.opcode)) } else { Ok((count, trans)) }
}

fn load_matrix(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let (count, trans) = matrix_shape(i)?;
    let [to, from] = i.operands.as_slice() else { return Err(missing(i)) };
    let exec = Exec::CollectiveAct(Members::Warp, matrix::load);
    let mut inst = Inst::new(exec, Class::Matrix);
    let (row, offset, wide) = any_address(d, from)?;
    (inst.s[0], inst.imm) = (row, offset);
    let elements = d.elements(to);
    if elements.len() != count as usize {
        return Err(format!("{}: {} destinations", i.opcode, elements.len()));
    }
    for (k, element) in elements.into_iter().enumerate() {
        inst.d[k] = d.dest32(element)?;
    }
    inst.target = count | (trans as u32) << 8 | (wide as u32) << 9;
    Ok(inst)
}

fn store_matrix(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let (count, trans) = matrix_shape(i)?;
    let [to, from] = i.operands.as_slice() else { return Err(missing(i)) };
    let exec = Exec::CollectiveAct(Members::Warp, matrix::store);
    let mut inst = Inst::new(exec, Class::Matrix);
    let (row, offset, wide) = any_address(d, to)?;
    (inst.s[0], inst.imm) = (row, offset);
    let elements = d.elements(from);
    if elements.len() != count as usize {
        return Err(format!("{}: {} sources", i.opcode, elements.len()));
    }
    for (k, element) in elements.into_iter().enumerate() {
        inst.s[1 + k] = d.source32(element)?;
    }
    inst.target = count | (trans as u32) << 8 | (wide as u32) << 9;
    Ok(inst)
}
