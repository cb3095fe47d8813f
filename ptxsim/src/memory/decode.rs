//! Decoders of `ld`, `st`, `atom`, `red` and of fences: modifiers to [`Fields`].

use super::access;
use super::atomic::{self, Kind, Type};
use super::fields::{Fields, Where};
use crate::decode::{Address, Base, Decoder, Family, ParamRef, Problem};
use crate::isa::{Class, Exec, Inst};
use crate::machine::order::{self, Scope, Strength};
use crate::syntax::tree::{Instruction, Operand};

/// The families that this module decodes.
pub const FAMILIES: &[Family] = &[
    Family {
        base: "ld",
        decode: load,
        syntax: &[
            "ld{.weak|.relaxed.scope|.acquire.scope|.volatile}{.param|.const|.global|.local|\
             .shared{::cta|::cluster}}{.nc}{.cache}{.v2|.v4}.type",
        ],
    },
    Family { base: "ldu", decode: load, syntax: &["ldu{.global}{.v2|.v4}.type"] },
    Family {
        base: "st",
        decode: store,
        syntax: &["st{.weak|.relaxed.scope|.release.scope|.volatile}{.param|.global|.local|\
             .shared{::cta|::cluster}}{.cache}{.v2|.v4}.type"],
    },
    Family {
        base: "atom",
        decode: atom,
        syntax: &[
            "atom{.sem}{.scope}{.global|.shared{::cta|::cluster}}.op.type",
            "ops: add inc dec min max and or xor exch cas; add.noftz.{f16,f16x2,bf16,bf16x2}",
        ],
    },
    Family {
        base: "red",
        decode: red,
        syntax: &["red{.sem}{.scope}{.global|.shared{::cta|::cluster}}.op.type"],
    },
    Family {
        base: "fence",
        decode: fence,
        syntax: &[
            "fence{.acq_rel|.sc}.scope",
            "fence.proxy.async{.global|.shared::{cta,cluster}}",
            "fence.mbarrier_init.release.cluster",
        ],
    },
    Family { base: "membar", decode: membar, syntax: &["membar.{cta,gl,sys}"] },
];

/// What a load or store says about how it is to be cached: no concern of a simulator without
/// caches.
fn is_cache_hint(part: &str) -> bool {
    matches!(part, "ca" | "cg" | "cs" | "lu" | "cv" | "wb" | "wt")
        || ["L1::", "L2::"].iter().any(|level| part.starts_with(level))
}

/// Bytes of a type and the bits of a signed one.
fn type_of(part: &str) -> Option<(u32, bool)> {
    let (letter, bits) = part.split_at(part.find(|c: char| c.is_ascii_digit())?);
    let size = match bits {
        "8" => 1,
        "16" => 2,
        "32" => 4,
        "64" => 8,
        "16x2" => 4,
        _ => return None,
    };
    match letter {
        "b" | "u" | "f" | "bf" => Some((size, false)),
        "s" => Some((size, true)),
        _ => None,
    }
}

/// The scope that a part names.
fn scope_of(part: &str) -> Option<Scope> {
    match part {
        "cta" => Some(Scope::Cta),
        "cluster" => Some(Scope::Cluster),
        "gpu" | "sys" | "gl" => Some(Scope::Gpu),
        _ => None,
    }
}

fn space_of(part: &str) -> Option<Where> {
    match part {
        "global" | "const" => Some(Where::Global),
        "shared" | "shared::cta" | "shared::cluster" => Some(Where::Shared),
        "local" => Some(Where::Local),
        "param" | "param::entry" | "param::func" => Some(Where::Param),
        _ => None,
    }
}

fn strength_of(part: &str, strength: &mut Strength) -> bool {
    match part {
        "weak" => {}
        "volatile" => *strength = Strength::VOLATILE,
        "relaxed" => strength.strong = true,
        "mmio" => strength.strong = true,
        "acquire" => (strength.strong, strength.acquire) = (true, true),
        "release" => (strength.strong, strength.release) = (true, true),
        "acq_rel" => {
            *strength = Strength { strong: true, acquire: true, release: true, ..*strength }
        }
        _ => return false,
    }
    true
}

/// The parts of an opcode after its base.
fn parts(i: &Instruction) -> impl Iterator<Item = &str> {
    i.opcode.split('.').skip(1)
}

fn unknown(i: &Instruction, part: &str) -> Problem {
    format!("{}: unknown modifier .{part}", i.opcode)
}

fn fields_of(i: &Instruction) -> Result<(Fields, bool), Problem> {
    let mut fields = Fields::PLAIN;
    let mut signed = false;
    for part in parts(i) {
        if let Some(space) = space_of(part) {
            fields.space = space;
        } else if let Some(scope) = scope_of(part) {
            fields.strength.scope = scope;
        } else if strength_of(part, &mut fields.strength) || is_cache_hint(part) {
        } else if part == "nc" {
            fields.non_coherent = true;
        } else if part == "v2" {
            fields.elements = 2;
        } else if part == "v4" {
            fields.elements = 4;
        } else if let Some((size, sign)) = type_of(part) {
            (fields.size, signed) = (size, sign);
        } else {
            return Err(unknown(i, part));
        }
    }
    if fields.size == 0 {
        return Err(format!("{}: no type", i.opcode));
    }
    if fields.bytes() > 16 {
        return Err(format!("{}: more than 16 bytes", i.opcode));
    }
    Ok((fields, signed))
}

fn class_of(space: Where, atomic: bool) -> Class {
    match space {
        _ if atomic => Class::Atomic,
        Where::Shared => Class::Shared,
        Where::Local => Class::Local,
        Where::Global | Where::Generic => Class::Global,
        Where::Param | Where::EntryParam | Where::FrameParam => Class::Constant,
    }
}

/// Resolves the address operand into `s[0]` and `imm`.
pub fn set_address(
    d: &mut Decoder,
    operand: &Operand,
    fields: &mut Fields,
    inst: &mut Inst,
) -> Result<(), Problem> {
    let address = if fields.space == Where::Param {
        match d.param(operand)? {
            ParamRef::Entry(offset) => {
                fields.space = Where::EntryParam;
                inst.imm = offset as i64;
                return Ok(());
            }
            ParamRef::Frame(offset) => {
                fields.space = Where::FrameParam;
                inst.imm = offset as i64;
                return Ok(());
            }
            ParamRef::Register(address) => address,
        }
    } else {
        d.address(operand)?
    };
    let Address { base, offset } = address;
    inst.imm = offset;
    match base {
        Base::R32(row) => inst.s[0] = row,
        Base::R64(row) => (inst.s[0], fields.address64) = (row, true),
    }
    if !fields.address64 && !matches!(fields.space, Where::Shared | Where::Local) {
        return Err("a 32-bit register cannot hold an address of this space".into());
    }
    Ok(())
}

fn load(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let (mut fields, signed) = fields_of(i)?;
    let [to, from, ..] = i.operands.as_slice() else {
        return Err(format!("{}: expected a destination and an address", i.opcode));
    };
    let constant = parts(i).any(|p| p == "const");
    let mut inst = Inst::new(Exec::Act(access::load), Class::Constant);
    set_address(d, from, &mut fields, &mut inst)?;
    let elements = d.elements(to);
    if elements.len() != fields.elements as usize {
        return Err(format!("{}: {} destinations", i.opcode, elements.len()));
    }
    for (k, element) in elements.into_iter().enumerate() {
        let (row, bits) = d.dest_any(element)?;
        if bits < 8 * fields.size {
            return Err(format!("{}: a register of {bits} bits is too narrow", i.opcode));
        }
        inst.d[k] = row;
        fields.wide = bits == 64;
        fields.signed = if signed && bits > 8 * fields.size { bits.max(16) } else { 0 };
    }
    inst.class = if constant { Class::Constant } else { class_of(fields.space, false) };
    inst.target = fields.pack();
    Ok(inst)
}

fn store(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let (mut fields, _) = fields_of(i)?;
    let [to, from, ..] = i.operands.as_slice() else {
        return Err(format!("{}: expected an address and a source", i.opcode));
    };
    let mut inst = Inst::new(Exec::Act(access::store), Class::Global);
    set_address(d, to, &mut fields, &mut inst)?;
    let elements = d.elements(from);
    if elements.len() != fields.elements as usize {
        return Err(format!("{}: {} sources", i.opcode, elements.len()));
    }
    for (k, element) in elements.into_iter().enumerate() {
        let (row, bits) = d.source_any(element, 8 * fields.size)?;
        inst.s[1 + k] = row;
        fields.wide = bits == 64;
    }
    inst.class = class_of(fields.space, false);
    inst.target = fields.pack();
    Ok(inst)
}

fn atom(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    atomic_inst(d, i, true)
}

fn red(d: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    atomic_inst(d, i, false)
}

/// `atom d, [a], b{, c}` and `red [a], b`. `imm` is the address offset, `list` the operation.
fn atomic_inst(d: &mut Decoder, i: &Instruction, returns: bool) -> Result<Inst, Problem> {
    let strength = Strength { strong: true, scope: Scope::Gpu, ..Strength::WEAK };
    let mut fields = Fields { strength, ..Fields::PLAIN };
    let (mut kind, mut ty) = (None, None);
    for part in parts(i) {
        if let Some(space) = space_of(part) {
            fields.space = space;
        } else if let Some(scope) = scope_of(part) {
            fields.strength.scope = scope;
        } else if strength_of(part, &mut fields.strength) || is_cache_hint(part) || part == "noftz"
        {
        } else if let Some(found) = Kind::of(part) {
            kind = Some(found);
        } else if let Some(found) = Type::of(part) {
            ty = Some(found);
        } else {
            return Err(unknown(i, part));
        }
    }
    let (Some(kind), Some(ty)) = (kind, ty) else {
        return Err(format!("{}: no operation or no type", i.opcode));
    };
    let half = matches!(ty, Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2);
    if !atomic::supports(kind, ty) || half != parts(i).any(|part| part == "noftz") {
        return Err(format!("{}: no such operation on this type", i.opcode));
    }
    fields.size = ty.bytes();
    fields.wide = fields.size == 8;
    let expected = returns as usize + 2 + (kind == Kind::Cas) as usize;
    if i.operands.len() < expected {
        return Err(format!("{}: expected {expected} operands", i.opcode));
    }
    let mut inst = Inst::new(Exec::Act(atomic::run), Class::Atomic);
    let at = returns as usize;
    set_address(d, &i.operands[at], &mut fields, &mut inst)?;
    let sources = &i.operands[at + 1..expected];
    for (k, operand) in sources.iter().enumerate() {
        inst.s[1 + k] = d.source_any(operand, 8 * fields.size)?.0;
    }
    inst.s[4] = u16::MAX;
    if returns {
        (inst.d[0], inst.s[4]) = (d.dest_any(&i.operands[0])?.0, 0);
    }
    inst.list = atomic::pack(kind, ty);
    inst.target = fields.pack();
    Ok(inst)
}

fn fence(_: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    let list: Vec<&str> = parts(i).collect();
    let run = match list.as_slice() {
        ["proxy", "async"] | ["proxy", "async", "global"] => order::fence_proxy,
        ["proxy", "async", space] if space.starts_with("shared::") => order::fence_proxy,
        ["proxy", "async::generic", ..] => order::fence_proxy,
        ["proxy", "alias"] | ["proxy", "tensormap::generic", ..] => order::fence_nothing,
        ["mbarrier_init", "release", "cluster"] => order::fence_nothing,
        ["sc" | "acq_rel" | "acquire" | "release", scope] => return scoped_fence(i, scope),
        [scope] => return scoped_fence(i, scope),
        _ => return Err(unknown(i, list.first().copied().unwrap_or("?"))),
    };
    Ok(Inst::new(Exec::Act(run), Class::Fence))
}

fn membar(_: &mut Decoder, i: &Instruction) -> Result<Inst, Problem> {
    match parts(i).next() {
        Some("proxy") => Ok(Inst::new(Exec::Act(order::fence_nothing), Class::Fence)),
        Some(scope) => scoped_fence(i, scope),
        None => Err(format!("{}: no scope", i.opcode)),
    }
}

fn scoped_fence(i: &Instruction, scope: &str) -> Result<Inst, Problem> {
    let scope = scope_of(scope).ok_or_else(|| unknown(i, scope))?;
    let mut inst = Inst::new(Exec::Act(order::fence), Class::Fence);
    inst.target = scope as u32;
    Ok(inst)
}
