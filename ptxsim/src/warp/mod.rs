//! Instructions by which the lanes of a warp talk to each other through registers: shfl, vote,
//! match, redux, activemask and elect.
//!
//! The machine runs a `.sync` one when every lane of its member mask that has not exited stands
//! there, and hands over those lanes as the mask.

mod shuffle;
mod vote;

use crate::isa::{Alu, Class, Exec, Members, Registers, TableRow};

/// A row of the table: an instruction of `Class::Warp` with its member mask in source `members`.
const fn row(pattern: &'static str, operands: &'static str, members: u8, run: Alu) -> TableRow {
    let exec = Exec::Collective(Members::Source(members), run);
    TableRow { pattern, operands, exec, class: Class::Warp }
}

/// The instructions.
pub const ROWS: &[TableRow] = &[
    row("shfl.sync.up.b32", "r=rrrr", 3, shuffle::up),
    row("shfl.sync.up.b32", "r|p=rrrr", 3, shuffle::up_in_range),
    row("shfl.sync.down.b32", "r=rrrr", 3, shuffle::down),
    row("shfl.sync.down.b32", "r|p=rrrr", 3, shuffle::down_in_range),
    row("shfl.sync.bfly.b32", "r=rrrr", 3, shuffle::butterfly),
    row("shfl.sync.bfly.b32", "r|p=rrrr", 3, shuffle::butterfly_in_range),
    row("shfl.sync.idx.b32", "r=rrrr", 3, shuffle::index),
    row("shfl.sync.idx.b32", "r|p=rrrr", 3, shuffle::index_in_range),
    row("vote.sync.all.pred", "p=pr", 1, vote::all),
    row("vote.sync.any.pred", "p=pr", 1, vote::any),
    row("vote.sync.uni.pred", "p=pr", 1, vote::uniform),
    row("vote.sync.ballot.b32", "r=pr", 1, vote::ballot),
    row("match.any.sync.b32", "r=rr", 1, vote::match_any_32),
    row("match.any.sync.b64", "r=lr", 1, vote::match_any_64),
    row("match.all.sync.b32", "r=rr", 1, vote::match_all_32),
    row("match.all.sync.b32", "r|p=rr", 1, vote::match_all_32_predicate),
    row("match.all.sync.b64", "r=lr", 1, vote::match_all_64),
    row("match.all.sync.b64", "r|p=lr", 1, vote::match_all_64_predicate),
    row("redux.sync.add(.u32|.s32)", "r=rr", 1, vote::redux_add),
    row("redux.sync.min.u32", "r=rr", 1, vote::redux_min_u32),
    row("redux.sync.max.u32", "r=rr", 1, vote::redux_max_u32),
    row("redux.sync.min.s32", "r=rr", 1, vote::redux_min_s32),
    row("redux.sync.max.s32", "r=rr", 1, vote::redux_max_s32),
    row("redux.sync.and.b32", "r=rr", 1, vote::redux_and),
    row("redux.sync.or.b32", "r=rr", 1, vote::redux_or),
    row("redux.sync.xor.b32", "r=rr", 1, vote::redux_xor),
    row("elect.sync", "r|p=r", 0, vote::elect),
    TableRow {
        pattern: "activemask.b32",
        operands: "r=",
        exec: Exec::Alu(vote::active_mask),
        class: Class::Warp,
    },
];

/// Writes `value` to a 32-bit register in the lanes of `mask`.
fn broadcast(registers: &mut Registers, row: u16, value: u32, mask: u32) {
    let to = &mut registers.r32[row as usize];
    for lane in lanes(mask) {
        to[lane] = value;
    }
}

/// Writes the bits of `value` to a predicate in the lanes of `mask`.
fn predicate(registers: &mut Registers, row: u16, value: u32, mask: u32) {
    let to = &mut registers.p[row as usize];
    *to = *to & !mask | value & mask;
}

/// The lanes of `mask`, in ascending order.
fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        let lane = left.trailing_zeros() as usize;
        left &= left.wrapping_sub(1);
        (lane < 32).then_some(lane)
    })
}
