//! `vote.sync`, `match.sync`, `redux.sync`, `activemask` and `elect.sync` (PTX ISA, "Parallel
//! Synchronization and Communication Instructions").

use super::{broadcast, lanes, predicate};
use crate::isa::{Inst, Registers};

fn decide(registers: &mut Registers, inst: &Inst, mask: u32, holds: fn(u32, u32) -> bool) {
    let votes = registers.p[inst.s[0] as usize] & mask;
    let result = if holds(votes, mask) { u32::MAX } else { 0 };
    predicate(registers, inst.d[0], result, mask);
}

pub(super) fn all(registers: &mut Registers, inst: &Inst, mask: u32) {
    decide(registers, inst, mask, |votes, mask| votes == mask);
}

pub(super) fn any(registers: &mut Registers, inst: &Inst, mask: u32) {
    decide(registers, inst, mask, |votes, _| votes != 0);
}

pub(super) fn uniform(registers: &mut Registers, inst: &Inst, mask: u32) {
    decide(registers, inst, mask, |votes, mask| votes == mask || votes == 0);
}

pub(super) fn ballot(registers: &mut Registers, inst: &Inst, mask: u32) {
    let votes = registers.p[inst.s[0] as usize] & mask;
    broadcast(registers, inst.d[0], votes, mask);
}

/// The lanes of `mask` that hold what `lane` holds.
fn equal<T: Copy + PartialEq>(values: &[T; 32], lane: usize, mask: u32) -> u32 {
    let same = |other: &usize| values[*other] == values[lane];
    lanes(mask).filter(same).fold(0, |set, other| set | 1 << other)
}

fn match_any<T: Copy + PartialEq>(
    registers: &mut Registers,
    inst: &Inst,
    mask: u32,
    values: &[T; 32],
) {
    let to = &mut registers.r32[inst.d[0] as usize];
    for lane in lanes(mask) {
        to[lane] = equal(values, lane, mask);
    }
}

pub(super) fn match_any_32(registers: &mut Registers, inst: &Inst, mask: u32) {
    let values = registers.r32[inst.s[0] as usize];
    match_any(registers, inst, mask, &values);
}

pub(super) fn match_any_64(registers: &mut Registers, inst: &Inst, mask: u32) {
    let values = registers.r64[inst.s[0] as usize];
    match_any(registers, inst, mask, &values);
}

/// `mask` if all its lanes hold one value, else 0; that is written, and returned.
fn match_all<T: Copy + PartialEq>(
    registers: &mut Registers,
    inst: &Inst,
    mask: u32,
    values: &[T; 32],
) -> u32 {
    let first = mask.trailing_zeros() as usize % 32;
    let result = if equal(values, first, mask) == mask { mask } else { 0 };
    broadcast(registers, inst.d[0], result, mask);
    result
}

pub(super) fn match_all_32(registers: &mut Registers, inst: &Inst, mask: u32) {
    let values = registers.r32[inst.s[0] as usize];
    match_all(registers, inst, mask, &values);
}

pub(super) fn match_all_32_predicate(registers: &mut Registers, inst: &Inst, mask: u32) {
    let values = registers.r32[inst.s[0] as usize];
    let result = match_all(registers, inst, mask, &values);
    predicate(registers, inst.d[1], result, mask);
}

pub(super) fn match_all_64(registers: &mut Registers, inst: &Inst, mask: u32) {
    let values = registers.r64[inst.s[0] as usize];
    match_all(registers, inst, mask, &values);
}

pub(super) fn match_all_64_predicate(registers: &mut Registers, inst: &Inst, mask: u32) {
    let values = registers.r64[inst.s[0] as usize];
    let result = match_all(registers, inst, mask, &values);
    predicate(registers, inst.d[1], result, mask);
}

#[inline(always)]
fn reduce(registers: &mut Registers, inst: &Inst, mask: u32, join: impl Fn(u32, u32) -> u32) {
    let values = &registers.r32[inst.s[0] as usize];
    let result = lanes(mask).map(|lane| values[lane]).reduce(join).unwrap_or(0);
    broadcast(registers, inst.d[0], result, mask);
}

pub(super) fn redux_add(registers: &mut Registers, inst: &Inst, mask: u32) {
    reduce(registers, inst, mask, u32::wrapping_add);
}

pub(super) fn redux_min_u32(registers: &mut Registers, inst: &Inst, mask: u32) {
    reduce(registers, inst, mask, u32::min);
}

pub(super) fn redux_max_u32(registers: &mut Registers, inst: &Inst, mask: u32) {
    reduce(registers, inst, mask, u32::max);
}

pub(super) fn redux_min_s32(registers: &mut Registers, inst: &Inst, mask: u32) {
    reduce(registers, inst, mask, |a, b| (a as i32).min(b as i32) as u32);
}

pub(super) fn redux_max_s32(registers: &mut Registers, inst: &Inst, mask: u32) {
    reduce(registers, inst, mask, |a, b| (a as i32).max(b as i32) as u32);
}

pub(super) fn redux_and(registers: &mut Registers, inst: &Inst, mask: u32) {
    reduce(registers, inst, mask, |a, b| a & b);
}

pub(super) fn redux_or(registers: &mut Registers, inst: &Inst, mask: u32) {
    reduce(registers, inst, mask, |a, b| a | b);
}

pub(super) fn redux_xor(registers: &mut Registers, inst: &Inst, mask: u32) {
    reduce(registers, inst, mask, |a, b| a ^ b);
}

pub(super) fn active_mask(registers: &mut Registers, inst: &Inst, mask: u32) {
    broadcast(registers, inst.d[0], mask, mask);
}

/// The leader is the lowest lane; PTX only says that it is the same one every time.
pub(super) fn elect(registers: &mut Registers, inst: &Inst, mask: u32) {
    let leader = mask.trailing_zeros();
    broadcast(registers, inst.d[0], leader, mask);
    predicate(registers, inst.d[1], 1u32.checked_shl(leader).unwrap_or(0), mask);
}
