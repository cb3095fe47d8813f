//! Bulk and tensor copies as they complete: the data moves, and whoever waits is told.

use super::bulk::{Issuer, Job, Load, Share, Spot, Store, Work};
use super::bulk_issue::{NO_LANES, spans};
use super::copy::Taken;
use super::mbarrier;
use crate::machine::ctx::World;
use crate::machine::state::Team;
use crate::memory::atomic::{Kind, Type, apply};
use crate::memory::clock::Clock;
use crate::memory::global::{PAGE, Place};
use crate::memory::global_shadow::{GlobalAccess, GlobalActor};
use crate::memory::shadow::{ASYNC, Access, Actor, ENGINE, STRONG};
use crate::report::{Accessor, FaultKind, FaultSite, Site, Space};

/// Goes on with a copy; true once it is over.
pub fn step(world: &mut World<'_>, team: &mut Team, job: &mut Job) -> bool {
    let Job { by, work } = job;
    match work {
        Work::Load(work) => load(world, team, by, work),
        Work::Store(work) => match work.data.take() {
            None => {
                work.data = Some(read_pieces(team, by, work));
                if let Some(warp) = team.blocks[by.block].warps[by.warp].as_mut() {
                    warp.bulk.has_read(by.number);
                }
                return false;
            }
            Some(data) => store(world, team, by, work, &data),
        },
        Work::Share(work) => share(world, team, by, work),
        Work::Arrive { copies, barrier } => arrive(world, team, by, copies, *barrier),
    }
    true
}

/// Reports a fault of a copy.
fn report(
    world: &mut World<'_>,
    team: &Team,
    by: &Issuer,
    kind: FaultKind,
    (space, previous): (Option<Space>, Option<Accessor>),
    detail: &str,
) {
    let grid = &world.grids[team.grid];
    let (kernel, site) = (grid.launch.entry.clone(), Site::of(&grid.program, by.pc));
    world.faults.add(FaultSite {
        kind,
        kernel,
        site,
        block: team.blocks[by.block].ctaid,
        warp: by.warp,
        lane: by.lane,
        space,
        previous,
        detail: detail.to_string(),
    });
}

/// Tells a barrier that bytes have arrived, and looks whether it had been told to expect them.
fn tell(
    world: &mut World<'_>,
    team: &mut Team,
    by: &Issuer,
    barrier: Spot,
    (arrivals, bytes): (i64, i64),
    clock: &Clock,
) {
    mbarrier::engine_arrives(team, barrier, arrivals, bytes, clock);
    if let Some(text) = mbarrier::trouble(team, barrier) {
        let address = team.blocks[barrier.0].shared.base + barrier.1;
        let space = Some(Space::Shared(address as u64, barrier.1));
        report(world, team, by, FaultKind::Mbarrier, (space, None), &text);
    }
}

/// The record of a write that completes on a barrier, and the clock of who waits there.
fn barrier_access(
    world: &mut World<'_>,
    team: &Team,
    by: &Issuer,
    barrier: Spot,
) -> Option<(Access, Clock)> {
    let found = mbarrier::copy_access(team, barrier, by.pc);
    if found.is_none() {
        let text = "the mbarrier is gone when the copy completes";
        report(world, team, by, FaultKind::Mbarrier, (None, None), text);
    }
    found
}

/// Looks at a range of device memory that a copy reads or, with `write`, writes.
fn check_global(
    world: &mut World<'_>,
    team: &Team,
    by: &Issuer,
    (place, address, bytes): (Place, u64, usize),
    access: Access,
    write: bool,
) {
    let access = GlobalAccess {
        team: team.id,
        clock: access.clock,
        pc: by.pc,
        sync: 0,
        agent: access.agent,
        lane: ENGINE,
        flags: access.flags,
    };
    let actor = GlobalActor {
        access,
        clock: &by.clock,
        lane_sync: &NO_LANES,
        grid_first: world.grids[team.grid].first_team,
        live_first: world.live_first,
        asynchronous: true,
    };
    let (mut done, mut found) = (0, None);
    while done < bytes {
        let (shadow, offset) = world.global.shadow(place.plus(done));
        let n = (PAGE - offset).min(bytes - done);
        let conflict =
            if write { shadow.write(offset, n, &actor) } else { shadow.read(offset, n, &actor) };
        found = found.or(conflict);
        done += n;
    }
    if let Some((kind, previous)) = found {
        let previous = (previous.team != 0).then(|| world.describe(team, &previous));
        report(world, team, by, kind, (Some(Space::Global(address)), previous), "");
    }
}

fn load(world: &mut World<'_>, team: &mut Team, by: &Issuer, work: &Load) {
    let mut records = Vec::new();
    for (rank, barrier) in &work.targets {
        let Some((access, clock)) = barrier_access(world, team, by, *barrier) else { continue };
        records.push((*rank, *barrier, access, clock));
        if team.blocks[*rank].alive == 0 {
            let text = "a bulk copy into the memory of a block that has exited";
            report(world, team, by, FaultKind::Unwaited, (None, None), text);
        }
    }
    let Some(reader) = records.first().map(|record| record.2) else { return };
    let mut rows = vec![work.fill; work.pieces.len()];
    let mut buffer = Vec::new();
    for (range, bytes) in spans(&work.pieces) {
        let address = work.pieces[range.start].global;
        let Ok(place) = world.global.find(address, bytes as u64) else { continue };
        buffer.resize(bytes, 0);
        world.global.touch(place, bytes, false);
        let whole = world.global.read(place, &mut buffer);
        if world.checks {
            if !whole {
                let space = Some(Space::Global(address));
                report(world, team, by, FaultKind::Uninitialised, (space, None), "");
            }
            check_global(world, team, by, (place, address, bytes), reader, false);
        }
        let mut from = buffer.as_slice();
        for (row, piece) in rows[range.clone()].iter_mut().zip(&work.pieces[range]) {
            let (mine, rest) = from.split_at(piece.bytes as usize);
            row[piece.skip as usize..][..mine.len()].copy_from_slice(mine);
            from = rest;
        }
    }
    if let Some(map) = &work.map {
        rows.iter_mut().for_each(|row| map.convert(row));
    }
    for (rank, barrier, access, clock) in records {
        let shared = &mut team.blocks[rank].shared;
        for (piece, row) in work.pieces.iter().zip(&rows) {
            let at = piece.shared as usize;
            shared.data[at..at + 16].copy_from_slice(row);
            if world.checks {
                shared.shadow.arrive(at, 16, access);
            }
        }
        tell(world, team, by, barrier, (0, work.bytes as i64), &clock);
    }
}

fn read_pieces(team: &Team, by: &Issuer, work: &Store) -> Vec<[u8; 16]> {
    let data = &team.blocks[by.block].shared.data;
    let row = |at: usize| data[at..at + 16].try_into().unwrap_or([0xff; 16]);
    work.pieces.iter().map(|piece| row(piece.shared as usize)).collect()
}

fn store(world: &mut World<'_>, team: &mut Team, by: &Issuer, work: &Store, data: &[[u8; 16]]) {
    let agent = team.agents.bulk_write(by.block, by.warp);
    // Reductions are relaxed atomic operations at gpu scope.
    let flags = if work.reduce.is_some() { ASYNC | STRONG } else { ASYNC };
    let access = Access { clock: by.number, pc: by.pc, sync: 0, agent, lane: ENGINE, flags };
    for (range, bytes) in spans(&work.pieces) {
        let address = work.pieces[range.start].global;
        let Ok(place) = world.global.find(address, bytes as u64) else { continue };
        if world.global.is_constant(place) {
            let space = Some(Space::Global(address));
            report(world, team, by, FaultKind::ReadOnly, (space, None), "");
            continue;
        }
        let mut new = Vec::with_capacity(bytes);
        for (row, piece) in data[range.clone()].iter().zip(&work.pieces[range]) {
            new.extend_from_slice(&row[piece.skip as usize..][..piece.bytes as usize]);
        }
        if let Some(operation) = work.reduce {
            let mut old = vec![0; bytes];
            world.global.touch(place, bytes, false);
            if !world.global.read(place, &mut old) && world.checks {
                let space = Some(Space::Global(address));
                report(world, team, by, FaultKind::Uninitialised, (space, None), "");
            }
            reduce(operation, &mut old, &new);
            new = old;
        }
        if world.checks {
            check_global(world, team, by, (place, address, bytes), access, true);
        }
        world.global.touch(place, bytes, true);
        world.global.write(place, &new);
    }
    world.events += 1;
    if let Some(warp) = team.blocks[by.block].warps[by.warp].as_mut() {
        warp.bulk.has_written(by.number);
    }
}

/// Element by element, what is there and what comes.
fn reduce((kind, ty): (Kind, Type), into: &mut [u8], from: &[u8]) {
    let size = ty.bytes() as usize;
    let number = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..size].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    for (into, from) in into.chunks_exact_mut(size).zip(from.chunks_exact(size)) {
        let value = apply(kind, ty, number(into), number(from), 0);
        into.copy_from_slice(&value.to_le_bytes()[..size]);
    }
}

fn share(world: &mut World<'_>, team: &mut Team, by: &Issuer, work: &Share) {
    let Some((mut access, mut clock)) = barrier_access(world, team, by, work.barrier) else {
        return;
    };
    // Who waits at the barrier knows that the source has been read, too.
    clock.reach(team.agents.bulk_read(by.block, by.warp), by.number);
    let (from, bytes) = (work.from as usize, work.bytes as usize);
    let mut data = team.blocks[by.block].shared.data[from..from + bytes].to_vec();
    let (rank, to) = (work.to.0, work.to.1 as usize);
    let shared = &mut team.blocks[rank].shared;
    let mut found = None;
    if let Some(operation) = work.reduce {
        let mut old = shared.data[to..to + bytes].to_vec();
        reduce(operation, &mut old, &data);
        data = old;
        access.flags |= STRONG;
        if world.checks {
            let actor =
                Actor { access, clock: &by.clock, lane_sync: &NO_LANES, asynchronous: true };
            for at in (to..to + bytes).step_by(16) {
                let conflict = shared.shadow.read(at, 16, &actor);
                let conflict = conflict.or(shared.shadow.write(at, 16, &actor));
                found = found.or(conflict.map(|(kind, _)| (kind, at as u32)));
            }
        }
    } else if world.checks {
        (to..to + bytes).step_by(16).for_each(|at| shared.shadow.arrive(at, 16, access));
    }
    shared.data[to..to + bytes].copy_from_slice(&data);
    if let Some((kind, at)) = found {
        let space = Some(Space::Shared((team.blocks[rank].shared.base + at) as u64, at));
        report(world, team, by, kind, (space, None), "the destination of a reduction");
    }
    tell(world, team, by, work.barrier, (0, work.bytes as i64), &clock);
}

fn arrive(world: &mut World<'_>, team: &mut Team, by: &Issuer, copies: &[Taken], barrier: Spot) {
    let Some((access, clock)) = barrier_access(world, team, by, barrier) else { return };
    // The copies are cp.async's: not of the asynchronous proxy.
    let access = Access { flags: 0, ..access };
    let shared = &mut team.blocks[by.block].shared;
    for copy in copies {
        let at = copy.offset as usize;
        shared.data[at..at + copy.data.len()].copy_from_slice(&copy.data);
        if world.checks {
            shared.shadow.arrive(at, copy.data.len(), access);
        }
    }
    tell(world, team, by, barrier, (1, 0), &clock);
}
