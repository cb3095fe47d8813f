//! `attention_prefill`: numbers, bits and what it reads.

use super::attention::{Sequence, Unseen, World, assert_near};
use super::{Rig, rigs};
use half::bf16;
use ridgepoint::backend::Heads;
use ridgepoint::backend::cuda::ops::attention::{
    AttentionPrefill, attention_prefill, plan_prefill, prefill_tile_rows, prefill_tiles_max,
};
use ridgepoint::backend::cuda::params::AttentionTile;

const ALL: Option<u32> = None;

/// Runs a batch in tiles of so many rows and gives the rows of each sequence.
fn run(rig: &Rig, world: &World, tile_rows: u32) -> Vec<Vec<Vec<u16>>> {
    let heads = world.heads;
    let mut tiles: Vec<AttentionTile> = Vec::new();
    plan_prefill(&world.sequences, tile_rows, &mut tiles);
    let most = prefill_tiles_max(world.rows as u32, world.sequences.len() as u32);
    assert!(tiles.len() as u32 <= most, "{} tiles, room for {most}", tiles.len());
    let plan = rig.upload(&tiles);
    let out = rig.poisoned::<bf16>(world.rows * heads.query * heads.dim);
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
    attention_prefill(&rig.kernels, &op).unwrap();
    world.read(&out)
}

fn heads(group: usize, kv: usize, dim: usize) -> Heads {
    Heads { query: group * kv, kv, dim }
}

/// Prompts and pieces of prompts around tiles and pages.
fn hurtful_pieces() -> Vec<Sequence> {
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
