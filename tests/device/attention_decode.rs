//! `attention_decode`: numbers, bits, what it reads and what it leaves behind.

use super::attention::{Sequence, Unseen, World, assert_near};
use super::{Rig, rigs};
use half::bf16;
use ridgepoint::backend::Heads;
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::backend::cuda::ops::attention::{
    AttentionDecode, DecodeCapacity, attention_decode, plan_decode,
};

const ALL: Option<u32> = None;

/// Buffers of a launch beside those of the batch.
struct Scratch {
    plan: Buffer,
    out: Buffer,
    partials: Buffer,
    arrivals: Buffer,
    capacity: DecodeCapacity,
}

impl Scratch {
    fn new(rig: &Rig, heads: Heads, capacity: DecodeCapacity) -> Scratch {
        let width = heads.query * heads.dim;
        let arrivals = capacity.arrivals_bytes(heads);
        Scratch {
            plan: rig.room::<u8>(capacity.plan_bytes(heads) as usize),
            out: rig.poisoned::<bf16>(capacity.rows as usize * width),
            partials: rig.room::<u8>(capacity.partials_bytes(heads) as usize),
            arrivals: Buffer::zeroed(rig.driver(), arrivals).unwrap(),
            capacity,
        }
    }

    /// Room for a batch and no more.
    fn of(rig: &Rig, world: &World) -> Scratch {
        let most = |of: &dyn Fn(usize) -> u32| (0..world.sequences.len()).map(of).max().unwrap();
        let sequence_rows = most(&|i| world.sequences[i].rows);
        let end = |i: usize| world.sequences[i].position.map_or(0, |p| p + sequence_rows);
        let (rows, sequences) = (world.rows as u32, world.sequences.len() as u32);
        let capacity = DecodeCapacity { rows, sequences, sequence_rows, context: most(&end) };
        Scratch::new(rig, world.heads, capacity)
    }

    fn plan(&self, world: &World) {
        let mut words = Vec::new();
        plan_decode(&world.sequences, world.heads, &mut words);
        self.plan.write(&words).unwrap();
    }

    fn op(&self, world: &World, blocks: u32) -> AttentionDecode {
        AttentionDecode {
            q: world.q.ptr(),
            k_pages: world.k_pages.ptr(),
            v_pages: world.v_pages.ptr(),
            block_tables: world.tables.ptr(),
            plan: self.plan.ptr(),
            out: self.out.ptr(),
            partials: self.partials.ptr(),
            arrivals: self.arrivals.ptr(),
            heads: world.heads,
            table_stride: world.table_stride,
            window: world.window,
            capacity: self.capacity,
            blocks,
        }
    }
}

/// Runs a batch and gives the rows of each sequence. Whatever it is, the counters are zero after.
fn run(rig: &Rig, world: &World, blocks: u32) -> Vec<Vec<Vec<u16>>> {
    let scratch = Scratch::of(rig, world);
    scratch.plan(world);
    attention_decode(&rig.kernels, &scratch.op(world, blocks)).unwrap();
    let counters = world.rows * world.heads.kv;
    assert_eq!(scratch.arrivals.read::<u32>(counters).unwrap(), vec![0; counters]);
    world.read(&scratch.out)
}

fn heads(group: usize, kv: usize, dim: usize) -> Heads {
    Heads { query: group * kv, kv, dim }
}

/// Lengths around pages and chunks, with one to eight rows each.
fn hurtful_lengths() -> Vec<Sequence> {
    let ends = [1, 2, 63, 64, 65, 255, 256, 257, 258, 513];
    let rows = |index: usize, end: usize| [1, 2, 3, 8, 5, 1, 4, 2, 7, 6][index].min(end);
    let sequence = |(index, end): (usize, &usize)| {
        let rows = rows(index, *end);
        Sequence::new(index as u64, end - rows, rows)
    };
    ends.iter().enumerate().map(sequence).collect()
}

#[test]
fn all_groups_lengths_and_windows_are_right() {
    let shapes = [(1, 2, 64), (2, 1, 128), (4, 2, 64), (5, 1, 64), (7, 1, 128), (8, 1, 64)];
    for rig in rigs() {
        for (index, (group, kv, dim)) in shapes.into_iter().chain([(16, 1, 128)]).enumerate() {
            let window = [ALL, Some(100), ALL, Some(24), Some(64), Some(1), ALL][index];
            let model = (heads(group, kv, dim), window);
            let sequences = hurtful_lengths();
            let world = World::new(&rig, model, &sequences, index as u64, Unseen::Poison);
            let got = run(&rig, &world, 7);
            assert_near(&world, &sequences, &got);
        }
    }
}
