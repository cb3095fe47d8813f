//! Brings clusters, blocks, warps and activations to life.

use super::barrier::Barrier;
use super::ctx::{Ctx, World};
use super::run::empty_registers;
use super::state::{Block, Frame, Shared, Team, Wait, Warp};
use crate::decode::{Constant, Special};
use crate::isa::{PARAM_WINDOW, Registers};
use crate::memory::clock::{Agents, Clock};
use crate::memory::shadow::Shadow;
use std::collections::{BTreeMap, HashMap};

/// Shared memory below this address belongs to the system (1 KiB a block on Hopper).
const SHARED_FIRST: u32 = 1024;
/// Local memory a lane may have.
const LOCAL_LIMIT: u32 = 512 << 10;

/// The position of the `index`th cell of a box, x fastest.
pub fn unrank(index: u64, size: [u32; 3]) -> [u32; 3] {
    let (x, y) = (size[0] as u64, size[1] as u64);
    [(index % x) as u32, (index / x % y) as u32, (index / x / y) as u32]
}

/// Makes the next cluster of a grid resident.
pub fn team(world: &mut World<'_>, grid_index: usize) -> Team {
    let grid = &mut world.grids[grid_index];
    let index = grid.started;
    grid.started += 1;
    let launch = &grid.launch;
    let threads: u32 = launch.block.iter().product();
    let warps = threads.div_ceil(32) as usize;
    let blocks: u32 = launch.cluster.iter().product();
    let agents = Agents::new(blocks as usize, warps);
    let id = grid.first_team + index as u32;
    let mut team = Team {
        grid: grid_index,
        id,
        index,
        blocks: Vec::new(),
        agents,
        agent_count: agents.count(),
        bulk: Default::default(),
        events: 0,
        barrier: Barrier::default(),
        released: 0,
        done: false,
    };
    // Copies to several blocks rely on the same address meaning the same offset in each.
    let chance = 16 * world.rng.below(256) as u32;
    for rank in 0..blocks {
        team.blocks.push(block(world, (grid_index, index), rank as u64, threads, chance));
    }
    for rank in 0..blocks as usize {
        for w in 0..warps {
            let warp = warp(world, &team, rank, w, threads);
            team.blocks[rank].warps.push(Some(Box::new(warp)));
        }
    }
    team
}

fn block(
    world: &World<'_>,
    (grid, cluster): (usize, u64),
    rank: u64,
    threads: u32,
    chance: u32,
) -> Block {
    let checks = world.checks;
    let grid = &world.grids[grid];
    let (first, offset) = (grid.launch.cluster_origin(cluster), unrank(rank, grid.launch.cluster));
    let bytes = grid.shared_bytes as usize;
    let function = &grid.program.functions[grid.entry];
    // A kernel may rely on the alignment that its variables ask for and on no more.
    let align = function.shared_align.max(grid.program.dynamic_align).max(16);
    let base = (SHARED_FIRST + chance).next_multiple_of(align);
    Block {
        ctaid: [0, 1, 2].map(|i| first[i] + offset[i]),
        shared: Shared {
            base,
            data: vec![0xff; bytes],
            shadow: Shadow::new(if checks { bytes } else { 0 }),
            mbarriers: BTreeMap::new(),
            sync: HashMap::new(),
        },
        warps: Vec::new(),
        warpgroups: Vec::new(),
        barriers: (0..16).map(|_| Barrier::default()).collect(),
        alive: threads,
        released: false,
        register_pool: 0,
    }
}

fn warp(world: &World<'_>, team: &Team, rank: usize, index: usize, threads: u32) -> Warp {
    let grid = &world.grids[team.grid];
    let function = &grid.program.functions[grid.entry];
    let mut registers = empty_registers(function.rows32, function.rows64, function.predicates);
    fill(&mut registers, world, team, (rank, index), grid.entry, 0);
    let frame = Frame {
        registers,
        function: grid.entry,
        params: vec![0; 32 * function.param_bytes as usize],
        local_base: 0,
        lanes: u32::MAX,
        depth: 0,
        caller: None,
    };
    let lanes = (threads - 32 * index as u32).min(32);
    let agent = team.agents.warp(rank, index);
    let mut clock = Clock::new(team.agent_count);
    clock.own[agent as usize] = 1;
    let mut warp = Warp {
        block: rank,
        index,
        frames: vec![Some(Box::new(frame))],
        pc: [function.code.0; 32],
        frame: [0; 32],
        live: u32::MAX >> (32 - lanes),
        parked: 0,
        blocked: 0,
        wait: Wait::None,
        seen: (u64::MAX, u64::MAX),
        arrived: 0,
        let_go: 0,
        cluster_arrived: 0,
        cluster_let_go: 0,
        reduced: 0,
        clock,
        agent,
        sync: 0,
        lane_sync: [0; 32],
        fence: None,
        observed: HashMap::new(),
        poll: (0, 0, 0),
        copies: Default::default(),
        wgmma: Default::default(),
        bulk: Default::default(),
        registers_per_thread: grid.launch.registers_per_thread(function),
        local: Vec::new(),
        local_set: Vec::new(),
        local_stride: 0,
    };
    warp.grow_local(function.local_bytes);
    warp
}

/// The registers of a new activation of a function.
pub fn registers(ctx: &Ctx<'_, '_>, function: usize, local_base: u32) -> Registers {
    let f = &ctx.program.functions[function];
    let mut registers = empty_registers(f.rows32, f.rows64, f.predicates);
    registers.arithmetic = ctx.registers.arithmetic;
    let who = (ctx.warp.block, ctx.warp.index);
    fill(&mut registers, ctx.world, ctx.team, who, function, local_base);
    registers
}

/// Fills the rows of immediates, special registers and addresses.
fn fill(
    registers: &mut Registers,
    world: &World<'_>,
    team: &Team,
    (rank, warp): (usize, usize),
    function: usize,
    local_base: u32,
) {
    let grid = &world.grids[team.grid];
    registers.arithmetic = grid.launch.arithmetic;
    let f = &grid.program.functions[function];
    let value = |constant: &Constant, lane: u32| match *constant {
        Constant::Bits(bits) => bits,
        Constant::Special(s) => special(s, world, team, rank, warp as u32, lane) as u64,
        Constant::Shared(offset) => team.blocks[rank].shared.base as u64 + offset,
        // An address within the space; `cvta` makes a generic one of it.
        Constant::Local(offset) => local_base as u64 + offset,
        Constant::Variable(index, offset) => {
            grid.variables[index as usize].wrapping_add_signed(offset)
        }
        Constant::Param(offset) => PARAM_WINDOW + offset,
        Constant::Function(index) => index as u64,
    };
    for (row, constant) in &f.constants32 {
        registers.r32[*row as usize] = match constant {
            Constant::Special(_) => std::array::from_fn(|l| value(constant, l as u32) as u32),
            _ => [value(constant, 0) as u32; 32],
        };
    }
    for (row, constant) in &f.constants_p {
        registers.p[*row as usize] = if value(constant, 0) != 0 { u32::MAX } else { 0 };
    }
    for (row, constant) in &f.constants64 {
        registers.r64[*row as usize] = match constant {
            Constant::Special(_) => std::array::from_fn(|l| value(constant, l as u32)),
            _ => [value(constant, 0); 32],
        };
    }
}

fn special(s: Special, world: &World<'_>, team: &Team, rank: usize, warp: u32, lane: u32) -> u32 {
    use Special::*;
    let grid = &world.grids[team.grid];
    let launch = &grid.launch;
    let tid = unrank((warp * 32 + lane) as u64, launch.block);
    let ctaid = team.blocks[rank].ctaid;
    let clusters = [0, 1, 2].map(|i| launch.grid[i] / launch.cluster[i]);
    let cluster = unrank(team.index, clusters);
    let inside = unrank(rank as u64, launch.cluster);
    let below = (1u32 << lane) - 1;
    match s {
        TidX | TidY | TidZ => tid[s as usize - TidX as usize],
        NtidX | NtidY | NtidZ => launch.block[s as usize - NtidX as usize],
        CtaidX | CtaidY | CtaidZ => ctaid[s as usize - CtaidX as usize],
        NctaidX | NctaidY | NctaidZ => launch.grid[s as usize - NctaidX as usize],
        LaneId => lane,
        WarpId => warp,
        NwarpId => launch.block.iter().product::<u32>().div_ceil(32),
        SmId => (team.index % launch.sms as u64) as u32,
        NsmId => launch.sms,
        GridId => grid.id as u32,
        LanemaskEq => 1 << lane,
        LanemaskLt => below,
        LanemaskLe => below | 1 << lane,
        LanemaskGt => !(below | 1 << lane),
        LanemaskGe => !below,
        ClusterIdX | ClusterIdY | ClusterIdZ => cluster[s as usize - ClusterIdX as usize],
        NclusterIdX | NclusterIdY | NclusterIdZ => clusters[s as usize - NclusterIdX as usize],
        ClusterCtaidX | ClusterCtaidY | ClusterCtaidZ => {
            inside[s as usize - ClusterCtaidX as usize]
        }
        ClusterNctaidX | ClusterNctaidY | ClusterNctaidZ => {
            launch.cluster[s as usize - ClusterNctaidX as usize]
        }
        ClusterCtarank => rank as u32,
        ClusterNctarank => launch.cluster.iter().product(),
        IsExplicitCluster => (launch.cluster != [1; 3]) as u32,
        DynamicSmemSize => launch.shared_bytes,
        TotalSmemSize => grid.shared_bytes,
    }
}

impl Warp {
    /// Makes room for `bytes` of local memory a lane; false if that is more than there is.
    pub fn grow_local(&mut self, bytes: u32) -> bool {
        if bytes > LOCAL_LIMIT {
            return false;
        }
        if bytes > self.local_stride {
            let stride = bytes.next_power_of_two().max(64);
            let mut local = vec![0xff; 32 * stride as usize];
            let mut set = vec![false; 32 * stride as usize];
            let old = self.local_stride as usize;
            for lane in 0..32 {
                let (from, to) = (lane * old, lane * stride as usize);
                local[to..to + old].copy_from_slice(&self.local[from..from + old]);
                set[to..to + old].copy_from_slice(&self.local_set[from..from + old]);
            }
            (self.local, self.local_set, self.local_stride) = (local, set, stride);
        }
        true
    }
}
