//! `attention_prefill`: numbers, bits and what it reads.

use super::attention::{Ready, Sequence, Unseen, World, assert_near, first_seen};
use super::traffic::Budget;
use super::{Rig, rigs};
use half::bf16;
use ridgepoint::backend::Heads;
use ridgepoint::backend::cuda::kernels::KernelSet;
use ridgepoint::backend::cuda::ops::attention::SequenceRows;
use ridgepoint::backend::cuda::ops::attention_prefill::{
    AttentionPrefill, attention_prefill, hopper_tile_rows, plan_prefill, portable_tile_rows,
    prefill_tiles_max,
};
use ridgepoint::backend::cuda::params::AttentionTile;
use std::rc::Rc;

const ALL: Option<u32> = None;

/// A batch by the prefill family, in tiles of so many rows.
pub fn ready<'a>(rig: &'a Rig, world: &'a World, tile_rows: u32) -> Ready<'a> {
    let heads = world.heads;
    let mut tiles: Vec<AttentionTile> = Vec::new();
    plan_prefill(&world.sequences, tile_rows, &mut tiles);
    let most = prefill_tiles_max(world.rows as u32, world.sequences.len() as u32);
    assert!(tiles.len() as u32 <= most, "{} tiles, room for {most}", tiles.len());
    let plan = rig.upload(&tiles);
    let out = Rc::new(rig.poisoned::<bf16>(world.rows * heads.query * heads.dim));
    let op = AttentionPrefill {
        q: world.q.ptr(),
        k_pages: world.k_pages.ptr(),
        v_pages: world.v_pages.ptr(),
        block_tables: world.tables.ptr(),
        tiles: plan.ptr(),
        tile_count: tiles.len() as u32,
        tile_rows,
        out: out.ptr(),
        heads,
        table_stride: world.table_stride,
        window: world.window,
    };
    let launch = move || {
        let op = AttentionPrefill { tiles: plan.ptr(), ..op };
        attention_prefill(&rig.kernels, &op).unwrap();
    };
    Ready { launch: Box::new(launch), out }
}

/// Runs a batch and gives the rows of each sequence.
pub fn run(rig: &Rig, world: &World, tile_rows: u32) -> Vec<Vec<Vec<u16>>> {
    let ready = ready(rig, world, tile_rows);
    (ready.launch)();
    world.read(&ready.out)
}

pub fn heads(group: usize, kv: usize, dim: usize) -> Heads {
    Heads { query: group * kv, kv, dim }
}

/// Prompts and pieces of prompts around tiles and pages.
pub fn hurtful_pieces() -> Vec<Sequence> {
    let pieces =
        [(0, 1), (0, 63), (0, 64), (0, 65), (0, 129), (37, 100), (64, 64), (200, 57), (255, 2)];
    let sequence = |(name, &(start, rows))| Sequence::new(name as u64, start, rows);
    pieces.iter().enumerate().map(sequence).collect()
}

#[test]
fn all_groups_pieces_and_windows_are_right_in_both_tiles() {
    let shapes = [(1, 2, 64), (2, 1, 128), (5, 1, 64), (4, 1, 128), (3, 1, 64)];
    for rig in rigs() {
        for (index, (group, kv, dim)) in shapes.into_iter().enumerate() {
            let window = [ALL, Some(100), Some(24), Some(64), Some(1)][index];
            let model = (heads(group, kv, dim), window);
            let sequences = hurtful_pieces();
            let world = World::new(&rig, model, &sequences, index as u64, Unseen::Poison);
            let got = run(&rig, &world, 64);
            assert_near(&world, &sequences, &got);
            assert!(run(&rig, &world, 128) == got, "{model:?}: another tile, other bits");
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_piece_batch_place_and_schedule() {
    for rig in rigs() {
        for (dim, window) in [(64, ALL), (128, Some(100))] {
            let model = (heads(2, 1, dim), window);
            let whole = Sequence::new(4, 0, 300);
            let world = World::new(&rig, model, &[whole], 1, Unseen::Poison);
            let want = run(&rig, &world, 64).remove(0);
            for (index, first) in [1, 16, 64, 77, 128, 299].into_iter().enumerate() {
                // The prompt in two pieces, the second beside strangers.
                let before = Sequence::new(4, 0, first);
                let after = Sequence::new(4, first, 300 - first);
                let other = Sequence::new(9, 30 * index, 20 + index);
                rig.set_seed(index as u64);
                let tile = if index % 2 == 0 { 64 } else { 128 };
                let place = 10 + index as u64;
                let world = World::new(&rig, model, &[before], place, Unseen::Poison);
                assert!(run(&rig, &world, tile)[0] == want[..first], "{model:?}, {first} rows");
                let world = World::new(&rig, model, &[other, after], place, Unseen::Poison);
                assert!(run(&rig, &world, tile)[1] == want[first..], "{model:?} from {first}");
            }
        }
    }
}

#[test]
fn nothing_is_read_that_no_row_sees() {
    for rig in rigs() {
        for (window, tile) in [(ALL, 64), (Some(70), 128)] {
            let model = (heads(2, 2, 64), window);
            let world = World::new(&rig, model, &hurtful_pieces(), 9, Unseen::Unwritten);
            for seed in rig.seeds(3) {
                rig.set_seed(seed);
                run(&rig, &world, tile);
            }
        }
    }
}

#[test]
fn large_tiles_are_for_grids_that_fill_the_device() {
    let heads = heads(4, 8, 128);
    let prompt = |rows: u32| SequenceRows { row: 0, rows, position: Some(0), table: 0 };
    assert_eq!(portable_tile_rows(&[prompt(1024)], heads, 132), 64);
    assert_eq!(portable_tile_rows(&[prompt(1024), prompt(1)], heads, 132), 128);
    assert_eq!(hopper_tile_rows(&[prompt(128)], heads, 132), 64);
    assert_eq!(hopper_tile_rows(&[prompt(512)], heads, 132), 64);
    assert_eq!(hopper_tile_rows(&[prompt(1024)], heads, 132), 128);
}

#[test]
fn tiles_cover_all_rows_and_those_that_see_most_come_first() {
    let rows =
        |(row, rows, position)| SequenceRows { row, rows, position: Some(position), table: 3 };
    let sequences = [(0, 130, 0), (130, 64, 500), (194, 1, 7)].map(rows);
    let mut tiles = Vec::new();
    plan_prefill(&sequences, 64, &mut tiles);
    let plan: Vec<_> = tiles.iter().map(|t| (t.row, t.rows, t.position, t.table)).collect();
    let want =
        [(130, 64, 500, 3), (128, 2, 128, 3), (64, 64, 64, 3), (0, 64, 0, 3), (194, 1, 7, 3)];
    assert_eq!(plan, want);
}

#[test]
fn traffic_is_what_the_head_says() {
    for rig in rigs() {
        for (dim, tile, window) in [(64, 64, ALL), (128, 128, ALL), (128, 64, Some(100))] {
            let heads = heads(3, 1, dim);
            let sequences = [Sequence::new(1, 0, 200), Sequence::new(2, 150, 70)];
            let world = World::new(&rig, (heads, window), &sequences, 4, Unseen::Unwritten);
            rig.counters();
            run(&rig, &world, tile as u32);
            let (q_heads, row) = (heads.query as u64, 2 * dim as u64);
            let (mut tokens, mut pages, mut seen, mut tiles) = (0, 0, 0, 0);
            for s in &sequences {
                seen += (s.end() - first_seen(s.position.unwrap(), window)) as u64;
                for first in (0..s.rows).step_by(tile) {
                    let at = s.position.unwrap() + first;
                    let (from, to) = (first_seen(at, window), s.end().min(at + tile));
                    tiles += 1;
                    tokens += (to - from) as u64;
                    pages += (to.div_ceil(64) - from / 64) as u64;
                }
            }
            let bytes = q_heads * row * (2 * tokens + 2 * world.rows as u64);
            let plan = match rig.kernels.set() {
                KernelSet::Hopper => {
                    pages * (dim as u64 / 16) + tiles * 512 * (1 + tile as u64 / 64)
                }
                KernelSet::Portable => pages * 512,
            };
            let requested = bytes + q_heads * plan;
            // The one key/value head once, for all query heads and tiles.
            let compulsory = 2 * row * (seen + q_heads * world.rows as u64) + pages * 4;
            Budget { requested, sectors: bytes, compulsory }.check(&rig, "attention_prefill");
        }
    }
}
