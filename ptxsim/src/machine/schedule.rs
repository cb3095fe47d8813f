//! Which warp goes on: a few clusters at a time, their warps in an order and for turns that the
//! seed decides, and copies that complete when chance wants. More clusters become resident when
//! all of them wait, as far as registers and shared memory of the GPU allow.

use super::ctx::World;
use super::run::{Stop, run_warp};
use super::state::{Team, Wait};
use crate::report::{FaultKind, FaultSite, Site};
use std::sync::Arc;

/// Warp instructions after which another cluster is started beside those that still run, so that
/// one that polls for what a later one writes is not alone for ever.
const PATIENCE: u64 = 200_000;

/// Times that warps which poll are given another chance while nothing is written.
const ROUNDS: u32 = 50;
/// One turn in so many goes to any cluster, the others to the one that ran last.
const STAY: usize = 24;

/// Runs every grid of the launch to its end, or to a fault that ends it.
pub fn run(world: &mut World<'_>, step_limit: u64) {
    let mut teams: Vec<Team> = Vec::new();
    let mut waited = world.steps;
    let mut patience = (0, 0);
    let width = 2 + world.rng.below(3);
    let mut target = width;
    loop {
        while teams.len() < target && admit(world, &mut teams) {
            waited = world.steps;
        }
        if teams.is_empty() || world.stopped {
            break;
        }
        if world.steps >= step_limit {
            report(world, &teams, FaultKind::StepLimit, &format!("{step_limit} warp instructions"));
            break;
        }
        if !turn(world, &mut teams) {
            if admit(world, &mut teams) {
                target = teams.len();
                continue;
            }
            if patient(world, &mut teams, &mut patience) {
                continue;
            }
            let waiting: u64 = world.grids.iter().map(|g| g.clusters - g.started).sum();
            let text = match waiting {
                0 => "every warp waits, and nothing is on its way".to_string(),
                n => format!("every resident warp waits; {n} clusters cannot become resident"),
            };
            report(world, &teams, FaultKind::Deadlock, &text);
            break;
        }
        let before = teams.len();
        retire(world, &mut teams);
        if teams.len() < before {
            target = width;
            waited = world.steps;
        } else if world.steps - waited > PATIENCE {
            target = teams.len() + 1;
            waited = world.steps;
        }
    }
}

/// Lets warps go on that seem to poll, though nothing has been written: they may be in a loop that
/// ends by itself. False if they have had their chance, or if there are none.
fn patient(world: &World<'_>, teams: &mut [Team], (seen, rounds): &mut (u64, u32)) -> bool {
    if *seen != world.events {
        (*seen, *rounds) = (world.events, 0);
    }
    *rounds += 1;
    let mut any = false;
    for warp in teams.iter_mut().flat_map(|t| &mut t.blocks).flat_map(|b| &mut b.warps).flatten() {
        if warp.live != 0 && warp.wait == Wait::Memory {
            (warp.wait, warp.poll.2) = (Wait::None, 0);
            any = true;
        }
    }
    any && *rounds <= ROUNDS
}

/// Makes one more cluster resident, if there is one that may be.
fn admit(world: &mut World<'_>, teams: &mut Vec<Team>) -> bool {
    for index in 0..world.grids.len() {
        let grid = &world.grids[index];
        if grid.started < grid.clusters {
            let resident = teams.iter().filter(|t| t.grid == index).count() as u64;
            if resident >= grid.capacity || !may_start(world, index) {
                return false;
            }
            let team = super::start::team(world, index);
            teams.push(team);
            return true;
        }
    }
    false
}

/// A grid starts when the one before is over or, if it was launched as its programmatic dependent,
/// when all blocks of that one have let it go ahead.
fn may_start(world: &World<'_>, index: usize) -> bool {
    let Some(before) = index.checked_sub(1) else { return true };
    let previous = &world.grids[before];
    if previous.ended == previous.clusters {
        return true;
    }
    world.grids[index].launch.programmatic && previous.released == previous.clusters
}

/// One turn of one warp, or the completion of one copy. False if nobody can go on.
fn turn(world: &mut World<'_>, teams: &mut [Team]) -> bool {
    let in_flight = teams.iter().filter(|t| !t.bulk.is_empty()).count();
    if in_flight > 0 && world.rng.once_in(3) {
        complete_copy(world, teams);
    }
    // Staying with one cluster for a while keeps its registers and shadow in the host's cache.
    let stay = !world.rng.once_in(STAY);
    let favourite = teams.iter().position(|team| stay && team.id == world.favourite);
    let mut ready = ready_warps(world, teams, favourite);
    if ready.is_empty() && favourite.is_some() {
        ready = ready_warps(world, teams, None);
    }
    if ready.is_empty() {
        return in_flight > 0 && complete_copy(world, teams);
    }
    let (t, b, w) = ready[world.rng.below(ready.len())];
    world.favourite = teams[t as usize].id;
    let length = 16 + world.rng.below(2000) as u32;
    let team = &mut teams[t as usize];
    let program = Arc::clone(&world.grids[team.grid].program);
    let mut warp = team.blocks[b as usize].warps[w as usize].take().expect("it was there");
    warp.wait = Wait::None;
    let stop = run_warp(world, team, &mut warp, &program, length);
    if stop == Stop::Blocked {
        if warp.wait == Wait::None {
            warp.wait = Wait::Team;
        }
        warp.seen = (team.events, world.events);
    }
    team.blocks[b as usize].warps[w as usize] = Some(warp);
    true
}

/// Warps that can go on: of one team, or of all.
fn ready_warps(world: &World<'_>, teams: &[Team], only: Option<usize>) -> Vec<(u32, u32, u32)> {
    let mut ready = Vec::with_capacity(32);
    let chosen = only.map_or(0..teams.len(), |t| t..t + 1);
    for (t, team) in teams.iter().enumerate().take(chosen.end).skip(chosen.start) {
        for (b, block) in team.blocks.iter().enumerate() {
            for (w, warp) in block.warps.iter().enumerate() {
                let warp = warp.as_ref().expect("no warp runs between turns");
                let idle = match warp.wait {
                    Wait::None => false,
                    Wait::Team => warp.seen.0 == team.events,
                    Wait::Memory => warp.seen == (team.events, world.events),
                };
                if warp.live != 0 && !idle {
                    ready.push((t as u32, b as u32, w as u32));
                }
            }
        }
    }
    ready
}

fn complete_copy(world: &mut World<'_>, teams: &mut [Team]) -> bool {
    let flying: Vec<usize> = (0..teams.len()).filter(|&t| !teams[t].bulk.is_empty()).collect();
    if flying.is_empty() {
        return false;
    }
    let team = flying[world.rng.below(flying.len())];
    crate::agents::bulk::complete_one(world, &mut teams[team]);
    true
}

/// Takes clusters off whose threads have all exited and whose copies have all arrived.
fn retire(world: &mut World<'_>, teams: &mut Vec<Team>) {
    for t in (0..teams.len()).rev() {
        if !teams[t].blocks.iter().all(|b| b.alive == 0) {
            continue;
        }
        while !teams[t].bulk.is_empty() {
            crate::agents::bulk::complete_one(world, &mut teams[t]);
        }
        let team = teams.swap_remove(t);
        let blocks = team.blocks.len() as u64;
        let grid = &mut world.grids[team.grid];
        grid.ended += 1;
        if team.released < blocks {
            grid.released += 1;
        }
        if grid.ended == grid.clusters {
            let over = grid.first_team + grid.clusters as u32;
            let first =
                team.grid == 0 || world.grids[..team.grid].iter().all(|g| g.ended == g.clusters);
            let dependent = world.grids.get(team.grid + 1).is_some_and(|g| g.launch.programmatic);
            // What a grid wrote is visible to the next one at its start, unless that one was
            // launched to overlap with it: then only to those who wait.
            if first && !dependent {
                world.live_first = over;
            }
            world.events += 1;
            for team in teams.iter_mut() {
                team.events += 1;
            }
        }
    }
}

/// One fault for each place where warps stand.
fn report(world: &mut World<'_>, teams: &[Team], kind: FaultKind, detail: &str) {
    for team in teams {
        let grid = &world.grids[team.grid];
        for block in &team.blocks {
            for warp in block.warps.iter().flatten().filter(|w| w.live != 0) {
                let lane = warp.live.trailing_zeros() as usize;
                world.faults.add(FaultSite {
                    kind,
                    kernel: grid.launch.entry.clone(),
                    site: Site::of(&grid.program, warp.pc[lane]),
                    block: block.ctaid,
                    warp: warp.index,
                    lane: lane as u8,
                    space: None,
                    previous: None,
                    detail: detail.to_string(),
                });
            }
        }
    }
}
