//! `attention_prefill` as Hopper has it, beyond what it shares with the portable kernels
//! (attention_prefill.rs, which runs on both): every group of heads, several pieces of work a
//! block, many schedules, the products it does.

use super::attention::{Sequence, Unseen, World, assert_near};
use super::attention_prefill::{heads, hurtful_pieces, run};
use super::{Rig, portable_twin, rigs};
use ridgepoint::backend::cuda::kernels::KernelSet;

const ALL: Option<u32> = None;

/// The devices that have these kernels.
fn hoppers() -> impl Iterator<Item = Rig> {
    rigs().into_iter().filter(|rig| rig.kernels.set() == KernelSet::Hopper)
}

/// Short prompts and pieces, one for each length around pages and tiles of tokens.
fn short_pieces() -> Vec<Sequence> {
    let pieces = [(0, 1), (63, 1), (64, 1), (65, 2), (126, 1), (127, 2), (128, 1), (120, 70)];
    let sequence = |(name, &(start, rows))| Sequence::new(name as u64, start, rows);
    pieces.iter().enumerate().map(sequence).collect()
}

#[test]
fn every_group_of_heads_is_right_in_both_head_sizes() {
    for rig in hoppers() {
        for (index, group) in [1, 2, 4, 5, 7, 8].into_iter().enumerate() {
            let dim = if index % 2 == 0 { 128 } else { 64 };
            let window = [ALL, Some(65), Some(128), ALL, Some(3), ALL][index];
            let model = (heads(group, 2, dim), window);
            let sequences = short_pieces();
            let world = World::new(&rig, model, &sequences, index as u64, Unseen::Poison);
            let got = run(&rig, &world, 64);
            assert_near(&world, &sequences, &got);
            assert!(run(&rig, &world, 128) == got, "{model:?}: another tile, other bits");
        }
    }
}

/// More pieces of work than two rounds of the largest grid have blocks, of very different lengths.
#[test]
fn blocks_share_out_more_work_than_there_are_of_them() {
    for rig in hoppers() {
        for (dim, rows) in [(64, 64), (128, 128)] {
            let model = (heads(8, 2, dim), ALL);
            let most = 2 * rig.driver().properties().multiprocessors as usize;
            let count = (if rows == 64 { 2 } else { 1 }) * most / model.0.query + 2;
            let long = Sequence::new(1000, 150, 70);
            let short = (1..count as u64).map(|name| Sequence::new(name, name as usize % 5, 2));
            let sequences: Vec<Sequence> = std::iter::once(long).chain(short).collect();
            let world = World::new(&rig, model, &sequences, 3, Unseen::Poison);
            assert_near(&world, &sequences, &run(&rig, &world, rows));
        }
    }
}

/// The pieces lie anywhere else, and blocks, warps and copies go on in another order each time.
#[test]
fn no_schedule_makes_a_fault_or_changes_a_bit() {
    for rig in hoppers() {
        for (dim, rows, window) in [(64, 128, ALL), (128, 64, Some(100))] {
            let model = (heads(2, 1, dim), window);
            let sequences = [Sequence::new(3, 0, 65), Sequence::new(4, 255, 2)];
            let world = World::new(&rig, model, &sequences, 1, Unseen::Unwritten);
            let want = run(&rig, &world, rows);
            for seed in rig.seeds(20) {
                rig.set_seed(seed);
                assert!(run(&rig, &world, rows) == want, "{model:?}, schedule {seed}");
            }
        }
    }
}

#[test]
fn products_are_what_the_head_says() {
    for rig in hoppers() {
        for (dim, tile, window) in [(64, 64, ALL), (128, 128, Some(100))] {
            let heads = heads(2, 1, dim);
            let sequences = [Sequence::new(1, 0, 200), Sequence::new(2, 150, 70)];
            let world = World::new(&rig, (heads, window), &sequences, 4, Unseen::Poison);
            rig.counters();
            run(&rig, &world, tile);
            let Some(launches) = rig.counters() else { return };
            let macs: u64 = launches.iter().map(|counters| counters.matrix_macs).sum();
            let tile = tile as usize;
            let mut tiles = 0;
            for s in &sequences {
                let at = s.position.unwrap();
                for first in (at..s.end()).step_by(tile) {
                    let from = super::attention::first_seen(first, window) / 128;
                    tiles += s.end().min(first + tile).div_ceil(128) - from;
                }
            }
            // Scores, and weights with values.
            let want = heads.query * tiles * tile * 128 * dim * 2;
            assert_eq!(macs, want as u64, "head_dim {dim}, tiles of {tile} rows");
        }
    }
}

/// What `RIDGEPOINT_KERNELS=portable` asks for.
#[test]
fn the_portable_kernels_run_on_hopper_too() {
    let Some(rig) = portable_twin() else { return };
    assert_eq!(rig.kernels.set(), KernelSet::Portable);
    for (dim, rows) in [(64, 128), (128, 64)] {
        let model = (heads(4, 1, dim), Some(100));
        let sequences = hurtful_pieces();
        let world = World::new(&rig, model, &sequences, 2, Unseen::Poison);
        assert_near(&world, &sequences, &run(&rig, &world, rows));
    }
}
