//! Rows picked from a table and the norm prepared of them, bit for bit: every step is rounded once
//! in an order that the head of the kernel names, so that the host computes the same.

use super::traffic::Budget;
use super::{Rig, rigs, samples};
use half::bf16;
use ridgepoint::backend::cuda::memory::Buffer;
use ridgepoint::backend::cuda::ops::embed::{
    Embed, PrepareNorm, PreparedNorm, embed, prepare_norm,
};
use ridgepoint::backend::cuda::ops::gather::{Gather, gather};
use ridgepoint::backend::cuda::params::NORM_GROUP;
use ridgepoint::error::Error;

const GROUP: usize = NORM_GROUP as usize;

/// Where a prepared norm goes, and its weight.
struct NormOut {
    weight: Vec<bf16>,
    gamma: Buffer,
    scaled: Buffer,
    squares: Buffer,
}

impl NormOut {
    fn new(rig: &Rig, rows: usize, hidden: usize) -> NormOut {
        let weight = samples(hidden, 7);
        NormOut {
            gamma: rig.upload(&weight),
            weight,
            scaled: rig.room::<bf16>(rows * hidden),
            squares: rig.room::<f32>(rows * hidden / GROUP),
        }
    }

    fn operands(&self) -> PreparedNorm {
        let (gamma, scaled) = (self.gamma.ptr(), self.scaled.ptr());
        PreparedNorm { gamma, scaled, squares: self.squares.ptr() }
    }

    /// Holds what was written against `rows`, one after the other.
    fn check(&self, rows: &[bf16], what: &str) {
        let hidden = self.weight.len();
        let times =
            |(i, h): (usize, &bf16)| bf16::from_f32(h.to_f32() * self.weight[i % hidden].to_f32());
        let scaled: Vec<bf16> = rows.iter().enumerate().map(times).collect();
        assert_eq!(self.scaled.read::<bf16>(rows.len()).unwrap(), scaled, "{what}");
        let squares: Vec<u32> = rows.chunks(GROUP).map(|g| sum_of_squares(g).to_bits()).collect();
        assert_eq!(self.squares.read::<u32>(squares.len()).unwrap(), squares, "{what}");
    }
}

/// Two halves of eight, each ascending by fused multiply-add.
fn sum_of_squares(group: &[bf16]) -> f32 {
    let half = |h: &[bf16]| h.iter().fold(0.0f32, |sum, x| x.to_f32().mul_add(x.to_f32(), sum));
    half(&group[..GROUP / 2]) + half(&group[GROUP / 2..])
}

fn pick(table: &[bf16], indices: &[u32], width: usize) -> Vec<bf16> {
    indices.iter().flat_map(|&i| &table[i as usize * width..][..width]).copied().collect()
}

/// `n` rows of a table of `vocab`, with repetitions.
fn indices(n: usize, vocab: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * i * 7 + 3) % vocab) as u32).collect()
}

#[test]
fn rows_are_copied_and_their_norm_prepared() {
    for rig in rigs() {
        for (tokens, hidden) in
            [(1, 16), (2, 64), (3, 80), (17, 96), (33, 112), (5, 1040), (2, 3072)]
        {
            let vocab = 11;
            let table = samples(vocab * hidden, 1);
            let ids = indices(tokens, vocab);
            let (on_device, on_device_ids) = (rig.upload(&table), rig.upload(&ids));
            for seed in rig.seeds(3) {
                rig.set_seed(seed);
                let out = rig.room::<bf16>(tokens * hidden);
                let norm = NormOut::new(&rig, tokens, hidden);
                let op = Embed {
                    table: on_device.ptr(),
                    token_ids: on_device_ids.ptr(),
                    out: out.ptr(),
                    norm: Some(norm.operands()),
                    tokens: tokens as u32,
                    hidden: hidden as u32,
                    vocab: vocab as u32,
                };
                embed(&rig.kernels, &op).unwrap();
                let what = format!("{tokens} rows of {hidden}, seed {seed}");
                let rows = pick(&table, &ids, hidden);
                assert_eq!(out.read::<bf16>(rows.len()).unwrap(), rows, "{what}");
                norm.check(&rows, &what);
            }
        }
    }
}

/// One after the other without a look from the host, as a step has them: on Hopper each may start
/// before the one before it has ended.
#[test]
fn ops_follow_one_another_without_waiting_for_the_host() {
    for rig in rigs() {
        let (vocab, tokens, hidden) = (6, 5, 1040);
        let (table, ids) = (samples(vocab * hidden, 5), [3u32, 0, 5, 5, 1]);
        let (t, i) = (rig.upload(&table), rig.upload(&ids));
        let last = rig.upload(&[4u32, 1]);
        for seed in rig.seeds(8) {
            rig.set_seed(seed);
            let h = rig.room::<bf16>(tokens * hidden);
            let norm = NormOut::new(&rig, tokens, hidden);
            let (picked, squares) =
                (rig.room::<bf16>(2 * hidden), rig.room::<f32>(2 * hidden / 16));
            let (n, width) = (tokens as u32, hidden as u32);
            let op = Embed {
                table: t.ptr(),
                token_ids: i.ptr(),
                out: h.ptr(),
                norm: None,
                tokens: n,
                hidden: width,
                vocab: vocab as u32,
            };
            embed(&rig.kernels, &op).unwrap();
            let op = PrepareNorm { input: h.ptr(), norm: norm.operands(), rows: n, hidden: width };
            prepare_norm(&rig.kernels, &op).unwrap();
            let op = Gather {
                x: norm.scaled.ptr(),
                squares: norm.squares.ptr(),
                row_ids: last.ptr(),
                out: picked.ptr(),
                out_squares: squares.ptr(),
                rows: 2,
                x_rows: tokens,
                width: hidden,
            };
            gather(&rig.kernels, &op).unwrap();
            let rows = pick(&table, &ids, hidden);
            let two = NormOut { scaled: picked, squares, ..NormOut::new(&rig, 0, hidden) };
            two.check(&pick(&rows, &[4, 1], hidden), "picked");
            norm.check(&rows, "all rows");
        }
    }
}

#[test]
fn traffic_is_what_the_head_says() {
    for rig in rigs() {
        let (vocab, tokens, hidden) = (40, 32, 4096);
        let (table, ids) =
            (rig.upload(&samples(vocab * hidden, 1)), rig.upload(&indices(tokens, vocab)));
        let out = rig.room::<bf16>(tokens * hidden);
        for prepares in [false, true] {
            let norm = NormOut::new(&rig, tokens, hidden);
            let op = Embed {
                table: table.ptr(),
                token_ids: ids.ptr(),
                out: out.ptr(),
                norm: prepares.then(|| norm.operands()),
                tokens: tokens as u32,
                hidden: hidden as u32,
                vocab: vocab as u32,
            };
            rig.counters();
            embed(&rig.kernels, &op).unwrap();
            // Of a row: table and out; then gamma, scaled and squares.
            let row = 4 * hidden + if prepares { 4 * hidden + hidden / 4 } else { 0 };
            let ids_requested = hidden / 8 * 4;
            let ids_sectors = hidden / 256 * 32;
            // Each row of the table once, however often it is picked, and gamma.
            let mut picked = indices(tokens, vocab);
            picked.sort_unstable();
            picked.dedup();
            let read = 2 * hidden * (picked.len() + usize::from(prepares)) + 4 * tokens;
            let written = 2 * hidden + if prepares { 2 * hidden + hidden / 4 } else { 0 };
            let budget = Budget {
                requested: (tokens * (row + ids_requested)) as u64,
                sectors: (tokens * (row + ids_sectors)) as u64,
                compulsory: (read + tokens * written) as u64,
            };
            budget.check(&rig, if prepares { "with a norm" } else { "a copy" });
        }
    }
}

#[test]
fn a_token_beyond_the_table_stops_the_kernel() {
    for rig in rigs() {
        let (table, ids) = (rig.upload(&samples(4 * 8, 1)), rig.upload(&[4u32]));
        let out = rig.room::<bf16>(8);
        let op = Embed {
            table: table.ptr(),
            token_ids: ids.ptr(),
            out: out.ptr(),
            norm: None,
            tokens: 1,
            hidden: 8,
            vocab: 4,
        };
        let launched = embed(&rig.kernels, &op);
        let error = launched.and_then(|()| rig.driver().synchronize()).unwrap_err();
        assert!(matches!(error, Error::Device(_)), "{error}");
    }
}

#[test]
#[should_panic(expected = "hidden is 24, not a multiple of 16")]
fn a_norm_over_half_a_group_is_refused() {
    let rig = rigs().pop().unwrap();
    let buffer = rig.room::<bf16>(64);
    let at = buffer.ptr();
    let norm = PreparedNorm { gamma: at, scaled: at, squares: at };
    let op = PrepareNorm { input: at, norm, rows: 1, hidden: 24 };
    let _ = prepare_norm(&rig.kernels, &op);
}
