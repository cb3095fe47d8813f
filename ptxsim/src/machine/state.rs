//! What a running launch consists of: grids, the clusters of them that are resident (*teams*),
//! their blocks, warps and function activations.

use crate::agents::bulk::BulkQueue;
use crate::agents::copy::CopyQueue;
use crate::agents::mbarrier::Mbarrier;
use crate::agents::wgmma::{Warpgroup, WgmmaState};
use crate::counters::Traffic;
use crate::decode::Program;
use crate::isa::Registers;
use crate::machine::barrier::Barrier;
use crate::machine::device::Launch;
use crate::machine::order::{Published, SyncVar};
use crate::memory::clock::{Agents, Clock};
use crate::memory::shadow::Shadow;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

/// One kernel of a launch.
pub struct Grid {
    /// How it was asked for.
    pub launch: Launch,
    /// Its module.
    pub program: Arc<Program>,
    /// Addresses of the module's variables.
    pub variables: Arc<Vec<u64>>,
    /// Index of the entry.
    pub entry: usize,
    /// Number of the grid in the life of the device.
    pub id: u64,
    /// Clusters in all, and how many of them have been started, have ended, and have let
    /// dependents go ahead.
    pub clusters: u64,
    /// Started.
    pub started: u64,
    /// Ended.
    pub ended: u64,
    /// Teams all of whose blocks have issued `griddepcontrol.launch_dependents` or ended.
    pub released: u64,
    /// Number of the first team: teams of this grid are `first_team + cluster index`.
    pub first_team: u32,
    /// Executions of each instruction, by program counter.
    pub hits: Vec<u64>,
    /// What each instruction did to memory.
    pub traffic: Vec<Traffic>,
    /// Bytes of shared memory of a block, and the offset of the dynamic part.
    pub shared_bytes: u32,
    /// Where the dynamic part starts.
    pub dynamic_offset: u32,
    /// Clusters that a GPU of the configured size holds at a time.
    pub capacity: u64,
}

/// A resident cluster.
pub struct Team {
    /// Index of its grid in the launch.
    pub grid: usize,
    /// Number in the life of the device.
    pub id: u32,
    /// Index in the grid.
    pub index: u64,
    /// Its blocks, by rank.
    pub blocks: Vec<Block>,
    /// Numbering of its agents.
    pub agents: Agents,
    /// Agents that have been numbered so far; barriers in memory are added at the end.
    pub agent_count: usize,
    /// What the bulk copies in flight have to do.
    pub bulk: BulkQueue,
    /// Counts what may wake a waiting warp.
    pub events: u64,
    /// The cluster barrier.
    pub barrier: Barrier,
    /// Blocks that have let dependents go ahead, or ended.
    pub released: u64,
    /// Registers that warps have given back by setmaxnreg, by block: (pool, per-thread count).
    pub done: bool,
}

/// A block.
pub struct Block {
    /// Position in the grid.
    pub ctaid: [u32; 3],
    /// Shared memory.
    pub shared: Shared,
    /// Its warps; the one that runs is taken out.
    pub warps: Vec<Option<Box<Warp>>>,
    /// Products of its warpgroups; as many as have started one.
    pub warpgroups: Vec<Warpgroup>,
    /// The sixteen barriers.
    pub barriers: Vec<Barrier>,
    /// Threads that have not exited.
    pub alive: u32,
    /// Has executed `griddepcontrol.launch_dependents`.
    pub released: bool,
    /// Registers free in the block's share after setmaxnreg.dec.
    pub register_pool: i64,
}

/// A block's shared memory.
pub struct Shared {
    /// Address of offset 0 in the shared window.
    pub base: u32,
    /// Contents.
    pub data: Vec<u8>,
    /// Who wrote and read what; empty without checks.
    pub shadow: Shadow,
    /// Barrier objects, by offset.
    pub mbarriers: BTreeMap<u32, Mbarrier>,
    /// Words that threads synchronise by, by offset.
    pub sync: HashMap<u32, SyncVar>,
}

/// One activation of a function by some lanes of a warp.
pub struct Frame {
    /// Its registers; taken out while it runs.
    pub registers: Registers,
    /// Index of the function.
    pub function: usize,
    /// `.param` bytes, lane by lane.
    pub params: Vec<u8>,
    /// Where its local memory starts in the lane's stack.
    pub local_base: u32,
    /// Lanes that are in it.
    pub lanes: u32,
    /// Calls above it.
    pub depth: u32,
    /// The frame to return to, the instruction after the call, and the call site.
    pub caller: Option<(u16, u32, u32)>,
}

/// Why lanes of a warp wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Wait {
    /// Not at all.
    #[default]
    None,
    /// For something of their team: a barrier, a copy, a product.
    Team,
    /// For a value in memory that another grid or team may write.
    Memory,
}

/// A warp.
pub struct Warp {
    /// Rank of its block.
    pub block: usize,
    /// Index in the block.
    pub index: usize,
    /// Its activations; the first is the entry's.
    pub frames: Vec<Option<Box<Frame>>>,
    /// Next instruction of each lane.
    pub pc: [u32; 32],
    /// Activation of each lane.
    pub frame: [u16; 32],
    /// Lanes that have not exited.
    pub live: u32,
    /// Lanes at a `.sync` instruction whose other members are missing.
    pub parked: u32,
    /// Lanes that wait, to be tried again when something has happened.
    pub blocked: u32,
    /// What for.
    pub wait: Wait,
    /// The events seen when it was last tried: of the team, of memory.
    pub seen: (u64, u64),
    /// Lanes that have arrived at a barrier.
    pub arrived: u32,
    /// Lanes that a barrier has let go but that have not noticed.
    pub let_go: u32,
    /// As `arrived`, at the cluster's barrier.
    pub cluster_arrived: u32,
    /// As `let_go`, by the cluster's barrier.
    pub cluster_let_go: u32,
    /// Result of a barrier reduction.
    pub reduced: u32,
    /// What it knows.
    pub clock: Clock,
    /// Its own agent.
    pub agent: u16,
    /// Warp-level synchronisations so far, and each lane's last.
    pub sync: u32,
    /// Each lane's last.
    pub lane_sync: [u32; 32],
    /// What a fence of block scope has published.
    pub fence: Option<Rc<Clock>>,
    /// What strong reads have seen and no fence has acquired yet, by address.
    pub observed: HashMap<u64, Vec<Published>>,
    /// Polls in a row that saw nothing new: instruction, digest of what was seen, count.
    pub poll: (u32, u64, u32),
    /// `cp.async` copies in flight.
    pub copies: CopyQueue,
    /// Products in flight.
    pub wgmma: WgmmaState,
    /// Bulk copies by this warp: committed groups.
    pub bulk: crate::agents::bulk::BulkGroups,
    /// Registers a thread, as `setmaxnreg` left them.
    pub registers_per_thread: u32,
    /// Local memory, lane by lane, `local_stride` bytes each, and which bytes hold values.
    pub local: Vec<u8>,
    /// One a byte.
    pub local_set: Vec<bool>,
    /// Bytes of local memory a lane has.
    pub local_stride: u32,
}

impl Warp {
    /// Its own clock.
    pub fn now(&self) -> u32 {
        self.clock.own[self.agent as usize]
    }

    /// What it does from now on is later than what it has published.
    pub fn tick(&mut self) {
        self.clock.own[self.agent as usize] += 1;
    }

    /// The lanes of `mask` have taken part in a synchronisation.
    pub fn synchronise(&mut self, mask: u32) {
        self.sync += 1;
        for lane in 0..32 {
            if mask >> lane & 1 == 1 {
                self.lane_sync[lane] = self.sync;
            }
        }
    }

    /// The activation that a lane is in.
    pub fn frame_of(&self, lane: usize) -> &Frame {
        self.frames[self.frame[lane] as usize].as_ref().expect("a live lane is in a frame")
    }
}

impl Team {
    /// Takes a number for a new agent.
    pub fn new_agent(&mut self) -> u16 {
        self.agent_count += 1;
        (self.agent_count - 1) as u16
    }
}
