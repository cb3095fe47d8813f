//! Bulk and tensor copies: engines that move boxes between device and shared memory, beside the
//! warps and at times of their own (PTX ISA, "Asynchronous copy").
//!
//! A copy that completes on an mbarrier writes as the agent of that barrier, so that only those
//! are ordered after it who have waited there. One that completes in a bulk group reads shared
//! memory as the *bulk_read* agent of its warp and writes device memory as the *bulk_write* agent;
//! `wait_group.read` makes the thread's warp know the first, `wait_group` both.
//!
//! What a copy may touch is settled when it is issued, by what the issuing warp knew then; later
//! accesses find the destination in flight.

use super::bulk_complete;
use super::copy::Taken;
use crate::isa::Inst;
use crate::machine::ctx::World;
use crate::machine::state::{Team, Wait};
use crate::machine::{Ctx, Flow};
use crate::memory::atomic::{Kind, Type};
use crate::memory::clock::Clock;
use crate::tensor::tma::{Piece, TensorMap};
use std::rc::Rc;

/// A barrier, or another place in shared memory: block rank and offset.
pub type Spot = (usize, u32);

/// Who issued a copy, and what that warp knew.
#[derive(Clone)]
pub struct Issuer {
    /// Block rank.
    pub block: usize,
    /// Warp.
    pub warp: usize,
    /// Lane.
    pub lane: u8,
    /// The instruction.
    pub pc: u32,
    /// Number of the copy among its warp's, from 1.
    pub number: u32,
    /// What the warp knew.
    pub clock: Rc<Clock>,
}

/// A copy in flight.
pub struct Job {
    /// Who.
    pub by: Issuer,
    /// What.
    pub work: Work,
}

/// What a copy does.
pub enum Work {
    /// Device to shared memory.
    Load(Load),
    /// Shared to device memory.
    Store(Store),
    /// Shared to shared memory.
    Share(Share),
    /// Copies by `cp.async` whose arrival an mbarrier is told of.
    Arrive {
        /// The copies, into the memory of the issuer's block.
        copies: Vec<Taken>,
        /// The barrier.
        barrier: Spot,
    },
}

/// A load.
pub struct Load {
    /// Sixteen bytes each; `shared` is an offset in the block.
    pub pieces: Vec<Piece>,
    /// What is written outside the tensor.
    pub fill: [u8; 16],
    /// For conversion on the way.
    pub map: Option<TensorMap>,
    /// Bytes that the barriers count.
    pub bytes: u32,
    /// Ranks of the blocks written to, and their barriers.
    pub targets: Vec<(usize, Spot)>,
}

/// A store.
pub struct Store {
    /// As in a load.
    pub pieces: Vec<Piece>,
    /// What is done instead of a write.
    pub reduce: Option<(Kind, Type)>,
    /// What was read of each piece, once it has been.
    pub data: Option<Vec<[u8; 16]>>,
}

/// A copy within the cluster.
pub struct Share {
    /// Offset in the issuer's block.
    pub from: u32,
    /// Bytes.
    pub bytes: u32,
    /// Destination.
    pub to: Spot,
    /// Barrier.
    pub barrier: Spot,
    /// What is done instead of a write.
    pub reduce: Option<(Kind, Type)>,
}

/// Copies in flight of a team.
#[derive(Default)]
pub struct BulkQueue {
    jobs: Vec<Job>,
}

impl BulkQueue {
    /// Nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Puts a copy in flight.
    pub fn push(&mut self, job: Job) {
        self.jobs.push(job);
    }
}

/// Goes on with one copy, chosen by chance: a store reads and then, at another time, writes;
/// everything else completes at once.
pub fn complete_one(world: &mut World<'_>, team: &mut Team) {
    let count = team.bulk.jobs.len();
    if count == 0 {
        return;
    }
    let mut job = team.bulk.jobs.swap_remove(world.rng.below(count));
    if bulk_complete::step(world, team, &mut job) {
        team.events += 1;
    } else {
        team.bulk.jobs.push(job);
        team.events += 1;
    }
}

/// A copy of a bulk group.
struct Member {
    lane: u8,
    group: u32,
    number: u32,
    read: bool,
    written: bool,
    /// The thread has waited until it was read.
    released: bool,
}

/// The groups of bulk copies that each lane of a warp has committed.
#[derive(Default)]
pub struct BulkGroups {
    /// Copies issued by the warp.
    issued: u32,
    committed: [u32; 32],
    members: Vec<Member>,
    /// The latest copy of each lane that has been written and dropped from the list.
    settled: [u32; 32],
}

impl BulkGroups {
    /// Takes the number of the next copy.
    pub fn number(&mut self) -> u32 {
        self.issued += 1;
        self.issued
    }

    /// A copy joins the lane's open group.
    pub fn add(&mut self, lane: u8, number: u32) {
        let group = self.committed[lane as usize];
        self.members.push(Member {
            lane,
            group,
            number,
            read: false,
            written: false,
            released: false,
        });
    }

    /// A copy has read its source.
    pub fn has_read(&mut self, number: u32) {
        if let Some(member) = self.members.iter_mut().find(|m| m.number == number) {
            member.read = true;
        }
    }

    /// A copy has written its destination.
    pub fn has_written(&mut self, number: u32) {
        if let Some(member) = self.members.iter_mut().find(|m| m.number == number) {
            (member.read, member.written) = (true, true);
        }
    }

    /// A lane of `mask` that has not waited for its copies to read shared memory.
    pub fn unfinished(&self, mask: u32) -> Option<u8> {
        self.members.iter().find(|m| !m.released && mask >> m.lane & 1 == 1).map(|m| m.lane)
    }

    /// Whether every copy of the lanes' groups but the last `left` is over, and the last of them.
    fn over(&mut self, mask: u32, left: i64, read: bool) -> Option<u32> {
        let Self { committed, members, settled, .. } = self;
        let concerned = |m: &Member| {
            let lane = m.lane as usize;
            mask >> lane & 1 == 1
                && m.group < committed[lane]
                && m.group as i64 + left < committed[lane] as i64
        };
        let mut last = 0;
        for member in members.iter().filter(|m| concerned(m)) {
            if !(member.written || read && member.read) {
                return None;
            }
            last = last.max(member.number);
        }
        for member in members.iter_mut() {
            member.released |= concerned(member);
        }
        members.retain(|m| {
            let drop = m.released && m.written;
            if drop {
                let settled = &mut settled[m.lane as usize];
                *settled = (*settled).max(m.number);
            }
            !drop
        });
        let earlier = (0..32).filter(|l| mask >> l & 1 == 1).map(|l| settled[l]).max();
        Some(last.max(earlier.unwrap_or(0)))
    }
}

/// `cp.async.bulk.commit_group`.
pub fn commit(ctx: &mut Ctx<'_, '_>, _: &Inst, mask: u32) -> Flow {
    for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
        ctx.warp.bulk.committed[lane] += 1;
    }
    Flow::Next
}

/// `cp.async.bulk.wait_group{.read}`: `imm` groups may remain; `target` is 1 for `.read`.
pub fn wait(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let read = inst.target == 1;
    let Some(last) = ctx.warp.bulk.over(mask, inst.imm, read) else {
        ctx.warp.wait = Wait::Team;
        return Flow::Wait;
    };
    let (block, warp) = (ctx.warp.block, ctx.warp.index);
    ctx.warp.clock.reach(ctx.team.agents.bulk_read(block, warp), last);
    if !read {
        ctx.warp.clock.reach(ctx.team.agents.bulk_write(block, warp), last);
    }
    ctx.warp.synchronise(mask);
    ctx.team_changed_quietly();
    Flow::Next
}
