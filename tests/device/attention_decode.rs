//! `attention_decode`: numbers, bits, what it reads and what it leaves behind.

use super::attention::{Ready, Sequence, Unseen, World, assert_near, first_seen};
use super::traffic::Budget;
use super::{Rig, rigs};
use half::bf16;
use ridgepoint::backend::Heads;
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::backend::cuda::ops::attention::{
    AttentionDecode, DecodeCapacity, SequenceRows, attention_decode, plan_decode,
};
use ridgepoint::backend::cuda::params::KV_NO_SLOT;
use std::rc::Rc;

const ALL: Option<u32> = None;

/// Buffers of a launch beside those of the batch.
struct Scratch {
    plan: Buffer,
    out: Rc<Buffer>,
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
            out: Rc::new(rig.poisoned::<bf16>(capacity.rows as usize * width)),
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

/// A batch by the decode family.
pub fn ready<'a>(rig: &'a Rig, world: &'a World) -> Ready<'a> {
    let scratch = Scratch::of(rig, world);
    scratch.plan(world);
    let out = scratch.out.clone();
    let launch = move || attention_decode(&rig.kernels, &scratch.op(world, 6)).unwrap();
    Ready { launch: Box::new(launch), out }
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

/// Each row of `sequences` alone in its batch, without others and as a single position.
fn rows_alone(
    rig: &Rig,
    model: (Heads, Option<u32>),
    sequences: &[Sequence],
) -> Vec<Vec<Vec<u16>>> {
    let alone = |sequence: Sequence| {
        let world = World::new(rig, model, &[sequence], 5, Unseen::Poison);
        run(rig, &world, 3).remove(0).remove(0)
    };
    sequences.iter().map(|s| (0..s.rows).map(|row| alone(s.only(row))).collect()).collect()
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_the_rows_of_its_sequence() {
    // Rows on both sides of the end of a page and of a chunk; with 7 query heads in four blocks of
    // columns, some of which see a chunk less than others.
    let sequences = [Sequence::new(1, 508, 8), Sequence::new(2, 61, 7), Sequence::new(3, 0, 2)];
    for rig in rigs() {
        for (group, dim, window) in [(16, 64, ALL), (7, 64, Some(100)), (5, 128, ALL)] {
            let model = (heads(group, 1, dim), window);
            let world = World::new(&rig, model, &sequences, 1, Unseen::Poison);
            let got = run(&rig, &world, 5);
            assert!(got == rows_alone(&rig, model, &sequences), "{model:?}");
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_batch_place_grid_and_schedule() {
    let model = (heads(4, 2, 64), Some(300));
    let first = [Sequence::new(1, 700, 3)];
    for rig in rigs() {
        let want = rows_alone(&rig, model, &first).remove(0);
        for (others, blocks) in [(0, 1), (1, 264), (7, 3), (64, 40)] {
            let other = |i: u64| Sequence::new(100 + i, i as usize * 37 % 400, 1 + i as usize % 4);
            let mut sequences: Vec<Sequence> = (0..others).map(other).collect();
            sequences.insert(others as usize / 2, first[0]);
            let world = World::new(&rig, model, &sequences, others, Unseen::Poison);
            for seed in rig.seeds(3) {
                rig.set_seed(seed);
                let got = run(&rig, &world, blocks);
                assert!(got[others as usize / 2] == want, "{others} others, seed {seed}");
            }
        }
    }
}

#[test]
fn nothing_is_read_that_no_row_sees() {
    for rig in rigs() {
        for window in [ALL, Some(70)] {
            let model = (heads(2, 2, 128), window);
            let sequences = hurtful_lengths();
            let world = World::new(&rig, model, &sequences, 9, Unseen::Unwritten);
            run(&rig, &world, 20);
        }
    }
}

#[test]
fn rows_that_pad_become_zero_and_disturb_nobody() {
    let model = (heads(5, 2, 64), Some(400));
    let sequences = [Sequence::new(1, 511, 2), Sequence::new(2, 90, 2)];
    let pads = [Sequence { name: 3, position: None, rows: 8 }; 2];
    for rig in rigs() {
        let want = rows_alone(&rig, model, &sequences);
        let [first, second] = sequences;
        let all = [first, pads[0], second, pads[1]];
        let world = World::new(&rig, model, &all, 1, Unseen::Poison);
        let got = run(&rig, &world, 6);
        assert!([&got[0], &got[2]] == [&want[0], &want[1]]);
        assert!(got[1].iter().chain(&got[3]).flatten().all(|x| *x == 0));
    }
}

#[test]
fn one_recorded_graph_serves_steps_of_any_lengths() {
    let model = (heads(4, 2, 64), ALL);
    let steps: [&[(usize, usize)]; 3] =
        [&[(10, 1), (700, 2)], &[(511, 2)], &[(0, 3), (3, 3), (256, 3)]];
    for rig in rigs() {
        let capacity = DecodeCapacity { rows: 16, sequences: 4, sequence_rows: 4, context: 1024 };
        let scratch = Scratch::new(&rig, model.0, capacity);
        let blocks = capacity.blocks(model.0, rig.driver().properties().multiprocessors);
        // The record names addresses: what changes from step to step is what lies there.
        let longest: Vec<Sequence> = (0..4).map(|name| Sequence::new(name, 700, 4)).collect();
        let mut world = World::new(&rig, model, &longest, 0, Unseen::Poison);
        let op = scratch.op(&world, blocks);
        let launch = || attention_decode(&rig.kernels, &op);
        let graph = rig.kernels.record(launch).unwrap();
        for step in steps {
            let rows = |(name, (at, rows)): (usize, &(usize, usize))| {
                Sequence::new(name as u64, *at, *rows)
            };
            let sequences: Vec<Sequence> = step.iter().enumerate().map(rows).collect();
            world.fill(&rig, &sequences, 3);
            scratch.plan(&world);
            assert!(rig.kernels.replay(&graph, launch).unwrap());
            let fresh = World::new(&rig, model, &sequences, 8, Unseen::Poison);
            assert!(world.read(&scratch.out) == run(&rig, &fresh, 11), "{step:?}");
        }
    }
}

/// Four sequences of full and partial chunks; 4 query heads share a key/value head.
#[test]
fn traffic_is_what_the_head_says() {
    for rig in rigs() {
        for (dim, window) in [(64, ALL), (128, ALL), (128, Some(600))] {
            let heads = heads(4, 2, dim);
            let ends = [1024, 2000, 100, 1300];
            let sequence = |name: usize| Sequence::new(name as u64, ends[name] - 1, 1);
            let sequences: Vec<Sequence> = (0..4).map(sequence).collect();
            let world = World::new(&rig, (heads, window), &sequences, 4, Unseen::Unwritten);
            rig.counters();
            run(&rig, &world, 64);
            let chunks = |end: usize| end.div_ceil(256) - first_seen(end - 1, window) / 256;
            let chunks = ends.map(|end| chunks(end) as u64);
            let (q_heads, row) = (heads.query as u64, 2 * dim as u64);
            let seen = world.seen() * heads.kv as u64 * 2 * row;
            let rows = chunks.len() as u64 * q_heads * row;
            let queries = chunks.iter().sum::<u64>() * q_heads * row;
            // Of the chunks that do not stand alone.
            let sums = chunks.iter().filter(|n| **n > 1).sum::<u64>() * q_heads;
            let lanes = dim as u64 / 4;
            let units = chunks.iter().sum::<u64>() * heads.kv as u64;
            let requested = seen + queries + rows + units * 544 + sums * (4 * row + 12 + 8 * lanes);
            let sectors = seen + queries + rows + sums * 4 * row;
            // Queries once; the items of the plan and their number, pages, counters.
            let items = 32 * (chunks.iter().sum::<u64>() + 1);
            let pages = chunks.iter().sum::<u64>() * 4 * 4;
            let counters = 2 * 4 * chunks.len() as u64 * heads.kv as u64;
            let compulsory = seen + 2 * rows + items + pages + counters + sums * (4 * row + 2 * 8);
            Budget { requested, sectors, compulsory }.check(&rig, "attention_decode");
        }
    }
}

#[test]
fn a_plan_names_each_chunk_and_each_block_of_columns_once() {
    let sequence = |row, rows, position| SequenceRows { row, rows, position, table: row + 7 };
    // Columns 28, 28 and 49: one block, one, and two of 32 and 17.
    let sequences = [sequence(0, 4, Some(254)), sequence(4, 4, None), sequence(8, 7, Some(0))];
    let (heads, mut words) = (heads(7, 3, 64), Vec::new());
    plan_decode(&sequences, heads, &mut words);
    assert_eq!(words[0], 5);
    assert!(words[1..8].iter().all(|word| *word == 0));
    let want = [
        [0, 254, 7, 0, 0, 28, 0, 0],
        [0, 254, 7, 1, 0, 28, 0, 0],
        [4, KV_NO_SLOT, 11, 0, 0, 28, 0, 0],
        [8, 0, 15, 0, 0, 32, 0, 0],
        [8, 0, 15, 0, 32, 17, 0, 0],
    ];
    assert_eq!(words[8..], *want.as_flattened());
}

#[test]
fn capacities_hold_the_plans_of_any_batch_within_them() {
    for group in [1, 4, 7, 16] {
        for (sequences, sequence_rows) in [(1, 8), (5, 3), (16, 1)] {
            let heads = heads(group, 2, 128);
            let (rows, context) = (sequences * sequence_rows, 1000);
            let capacity = DecodeCapacity { rows, sequences, sequence_rows, context };
            let position = Some(context - sequence_rows);
            let rows = |table| SequenceRows { row: 0, rows: sequence_rows, position, table };
            let mut words = Vec::new();
            plan_decode(&(0..sequences).map(rows).collect::<Vec<_>>(), heads, &mut words);
            assert!(4 * words.len() as u64 <= capacity.plan_bytes(heads), "{capacity:?}");
            assert!(u64::from(words[0]) <= capacity.items(heads), "{capacity:?}");
        }
    }
}

#[test]
fn a_grid_has_no_more_blocks_than_fit_or_work() {
    let capacity = |context| DecodeCapacity { rows: 8, sequences: 8, sequence_rows: 1, context };
    assert_eq!(capacity(256).blocks(heads(4, 2, 128), 132), 16);
    assert_eq!(capacity(1 << 20).blocks(heads(4, 2, 128), 132), 264);
    assert_eq!(capacity(1 << 20).blocks(heads(4, 2, 64), 132), 528);
}
