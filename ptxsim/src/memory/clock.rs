//! Vector clocks: who knows what of whom.
//!
//! An *agent* is anything whose accesses are ordered among themselves: a warp, the products of a
//! warpgroup, the bulk copies of a warp, or a barrier in memory on whose phase copies complete.
//! The agents of one cluster (a *team*) are numbered densely; what a warp knows of other teams, by
//! an atomic operation at gpu scope and a fence, is kept apart, since few kernels have any of it.
//! An access at clock c of agent a happened before what a warp does now if the warp's clock for a
//! has reached c (Lamport 1978; Flanagan and Freund 2009, "FastTrack").

use std::collections::BTreeMap;
use std::rc::Rc;

/// What one warp knows of everybody.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Of the agents of its own team.
    pub own: Vec<u32>,
    /// The part of `own` whose writes a proxy fence has made visible to the asynchronous proxy.
    pub fenced: Vec<u32>,
    /// The part of `own` that has passed a fence of gpu scope, so that a strong write publishes it.
    pub wide: Vec<u32>,
    /// Of other teams.
    pub foreign: BTreeMap<u32, Rc<[u32]>>,
    /// Has waited for the grid before (`griddepcontrol.wait`).
    pub waited: bool,
}

impl Clock {
    /// A clock of `agents` agents that knows nothing.
    pub fn new(agents: usize) -> Clock {
        Clock { own: vec![0; agents], ..Clock::default() }
    }

    /// Learns all that `other`, of the same team, knows.
    pub fn join(&mut self, other: &Clock) {
        join(&mut self.own, &other.own);
        join(&mut self.fenced, &other.fenced);
        join(&mut self.wide, &other.wide);
        self.waited |= other.waited;
        for (team, clocks) in &other.foreign {
            self.learn(*team, clocks);
        }
    }

    /// Learns what is known of another team.
    pub fn learn(&mut self, team: u32, clocks: &Rc<[u32]>) {
        match self.foreign.get_mut(&team) {
            None => {
                self.foreign.insert(team, clocks.clone());
            }
            Some(known) if Rc::ptr_eq(known, clocks) => {}
            Some(known) => {
                let mut merged = known.to_vec();
                join(&mut merged, clocks);
                *known = merged.into();
            }
        }
    }

    /// Everything this warp has done or knows of is now visible to the asynchronous proxy.
    pub fn fence_proxy(&mut self) {
        let Clock { own, fenced, .. } = self;
        join(fenced, own);
    }

    /// Everything this warp has done or knows of has passed a fence of gpu scope.
    pub fn fence_wide(&mut self) {
        let Clock { own, wide, .. } = self;
        join(wide, own);
    }

    /// The clock of an agent of the own team.
    #[inline(always)]
    pub fn of(&self, agent: u16) -> u32 {
        self.own.get(agent as usize).copied().unwrap_or(0)
    }

    /// As `of`, as far as a proxy fence has made it visible to the asynchronous proxy.
    #[inline(always)]
    pub fn fenced_of(&self, agent: u16) -> u32 {
        self.fenced.get(agent as usize).copied().unwrap_or(0)
    }

    /// Learns of an agent of the own team.
    pub fn reach(&mut self, agent: u16, clock: u32) {
        let agent = agent as usize;
        if self.own.len() <= agent {
            self.own.resize(agent + 1, 0);
        }
        self.own[agent] = self.own[agent].max(clock);
    }

    /// The clock of an agent of any team.
    pub fn of_team(&self, own_team: u32, team: u32, agent: u16) -> u32 {
        if team == own_team {
            return self.of(agent);
        }
        self.foreign.get(&team).and_then(|c| c.get(agent as usize)).copied().unwrap_or(0)
    }
}

/// The elementwise maximum, into `into`, which grows if it is the shorter.
pub fn join(into: &mut Vec<u32>, from: &[u32]) {
    if into.len() < from.len() {
        into.resize(from.len(), 0);
    }
    for (a, b) in into.iter_mut().zip(from) {
        *a = (*a).max(*b);
    }
}

/// The numbers of a team's agents. `blocks` blocks of `warps` warps each.
#[derive(Clone, Copy, Debug)]
pub struct Agents {
    warps: usize,
    groups: usize,
    blocks: usize,
}

impl Agents {
    /// The numbering of a cluster of `blocks` blocks of `warps` warps.
    pub fn new(blocks: usize, warps: usize) -> Agents {
        Agents { warps, groups: warps.div_ceil(4), blocks }
    }

    /// A warp of a block.
    pub fn warp(&self, block: usize, warp: usize) -> u16 {
        (block * self.warps + warp) as u16
    }

    /// The reads of a warpgroup's products.
    pub fn warpgroup(&self, block: usize, group: usize) -> u16 {
        (self.blocks * self.warps + block * self.groups + group) as u16
    }

    /// The reads of shared memory by a warp's bulk copies; `lane` copies share it.
    pub fn bulk_read(&self, block: usize, warp: usize) -> u16 {
        (self.blocks * (self.warps + self.groups) + block * self.warps + warp) as u16
    }

    /// The writes of a warp's bulk copies.
    pub fn bulk_write(&self, block: usize, warp: usize) -> u16 {
        (self.blocks * (2 * self.warps + self.groups) + block * self.warps + warp) as u16
    }

    /// Agents before the first barrier in memory, which are numbered as they are initialised.
    pub fn count(&self) -> usize {
        self.blocks * (3 * self.warps + self.groups)
    }

    /// What an agent is, for a report: its kind, block rank and index in the block.
    pub fn describe(&self, agent: u16) -> (&'static str, usize, usize) {
        let mut a = agent as usize;
        let kinds = [
            ("warp", self.warps),
            ("wgmma of warpgroup", self.groups),
            ("bulk copy of warp", self.warps),
            ("bulk copy of warp", self.warps),
        ];
        for (name, each) in kinds {
            if a < self.blocks * each {
                return (name, a / each, a % each);
            }
            a -= self.blocks * each;
        }
        ("bulk copy that completes on mbarrier", 0, a)
    }
}
