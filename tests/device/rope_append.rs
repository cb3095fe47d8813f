//! `rope_append`: queries and keys against f64, places in the cache, bits and traffic.

use super::traffic::Budget;
use super::{Rig, rigs, samples};
use half::bf16;
use ridgepoint::backend::Heads;
use ridgepoint::backend::cuda::ops::rope::{HeadNorm, RopeAppend, rope_append};
use ridgepoint::backend::cuda::params::KV_NO_SLOT;

const EPSILON: f32 = 1e-6;
/// Rows of the table of angles.
const POSITIONS: usize = 10;
const PAGES: usize = 2;

/// What a launch is made of besides its tokens.
#[derive(Debug, Clone, Copy)]
struct Model {
    heads: Heads,
    bias: bool,
    norm: bool,
}

impl Model {
    fn count(&self) -> usize {
        self.heads.query + 2 * self.heads.kv
    }

    fn width(&self) -> usize {
        self.count() * self.heads.dim
    }

    fn bias(&self) -> Vec<bf16> {
        samples(self.width(), 4)
    }

    fn gamma(&self, is_query: bool) -> Vec<bf16> {
        samples(self.heads.dim, if is_query { 5 } else { 6 })
    }
}

/// A token: its number decides its row of the projection.
#[derive(Debug, Clone, Copy)]
struct Token {
    name: u64,
    position: u32,
    slot: u32,
}

fn tokens() -> Vec<Token> {
    let slots = [70, KV_NO_SLOT, 5, 127, 64];
    let token = |(i, slot): (usize, u32)| Token {
        name: 20 + i as u64,
        position: (3 * i as u32 + 1) % POSITIONS as u32,
        slot,
    };
    slots.into_iter().enumerate().map(token).collect()
}

fn angle(position: usize, i: usize) -> f64 {
    position as f64 / 10f64.powf(i as f64 / 8.0)
}

/// Bits of the queries of all tokens, and of the pools of keys and values.
#[derive(PartialEq)]
struct Results {
    q: Vec<u16>,
    keys: Vec<u16>,
    values: Vec<u16>,
}

/// What lies where nothing has been written.
const UNTOUCHED: u16 = 0xffff;

fn run(rig: &Rig, model: &Model, tokens: &[Token]) -> Results {
    let Heads { query, kv, dim } = model.heads;
    let qkv: Vec<bf16> = tokens.iter().flat_map(|t| samples(model.width(), t.name)).collect();
    let table: Vec<f32> = (0..POSITIONS * dim / 2)
        .map(|k| angle(k / (dim / 2), k % (dim / 2)))
        .flat_map(|a| [a.cos() as f32, a.sin() as f32])
        .collect();
    let words = |of: fn(&Token) -> u32| rig.upload(&tokens.iter().map(of).collect::<Vec<u32>>());
    let (positions, slots) = (words(|t| t.position), words(|t| t.slot));
    let (qkv, table, bias) = (rig.upload(&qkv), rig.upload(&table), rig.upload(&model.bias()));
    let gammas = [true, false].map(|is_query| rig.upload(&model.gamma(is_query)));
    let (q_values, pool_values) = (tokens.len() * query * dim, PAGES * kv * 64 * dim);
    let q_out = rig.room::<bf16>(q_values);
    let pools = [0; 2].map(|_| rig.poisoned::<bf16>(pool_values));
    let [q_gamma, k_gamma] = [gammas[0].ptr(), gammas[1].ptr()];
    let op = RopeAppend {
        qkv: qkv.ptr(),
        bias: model.bias.then(|| bias.ptr()),
        norm: model.norm.then_some(HeadNorm { q_gamma, k_gamma, epsilon: EPSILON }),
        cos_sin: table.ptr(),
        positions: positions.ptr(),
        slots: slots.ptr(),
        q_out: q_out.ptr(),
        k_pages: pools[0].ptr(),
        v_pages: pools[1].ptr(),
        heads: model.heads,
        tokens: tokens.len() as u32,
    };
    rope_append(&rig.kernels, &op).unwrap();
    let [keys, values] = pools.map(|pool| pool.read(pool_values).unwrap());
    Results { q: q_out.read(q_values).unwrap(), keys, values }
}

/// Where an element of a (page, head) block is stored: the design's formula, written out again.
fn swizzled(slot: usize, dim: usize) -> usize {
    dim / 64 * 4096 + slot * 64 + ((dim % 64 / 8) ^ (slot & 7)) * 8 + dim % 8
}

/// A head of a token in f64. `gamma` is there where a norm is, `turn` gives the angle of a
/// dimension; values have neither.
fn finished(x: &[f64], gamma: Option<Vec<bf16>>, turn: Option<impl Fn(usize) -> f64>) -> Vec<f64> {
    let (dim, half) = (x.len(), x.len() / 2);
    let Some(turn) = turn else { return x.to_vec() };
    let mean = x.iter().map(|v| v * v).sum::<f64>() / dim as f64;
    let scale = 1.0 / (mean + f64::from(EPSILON)).sqrt();
    let normed = |d: usize| gamma.as_ref().map_or(x[d], |gamma| x[d] * scale * gamma[d].to_f64());
    let y: Vec<f64> = (0..dim).map(normed).collect();
    let rotated = |d: usize| {
        let (sine, cosine) = turn(d % half).sin_cos();
        let partner = if d < half { -y[d + half] } else { y[d - half] };
        y[d] * cosine + partner * sine
    };
    (0..dim).map(rotated).collect()
}

fn near(got: u16, want: f64, what: &str) {
    let got = bf16::from_bits(got);
    // Half a unit of the last place of bf16, and the errors of f32 before it.
    let error = (got.to_f64() - want).abs();
    assert!(error <= want.abs() / 256.0 + 1e-6, "{what}: {got}, not {want}");
}

/// Holds a launch against f64, and the cache also where nothing may have been written.
fn check(rig: &Rig, model: &Model, tokens: &[Token]) -> Results {
    let found = run(rig, model, tokens);
    let Heads { query, kv, dim } = model.heads;
    let bias = model.bias();
    let (mut keys, mut values) = (found.keys.clone(), found.values.clone());
    for (t, token) in tokens.iter().enumerate() {
        let qkv = samples(model.width(), token.name);
        for head in 0..model.count() {
            let input = |d: usize| {
                let at = head * dim + d;
                qkv[at].to_f64() + if model.bias { bias[at].to_f64() } else { 0.0 }
            };
            let x: Vec<f64> = (0..dim).map(input).collect();
            let gamma = model.norm.then(|| model.gamma(head < query));
            let turn = |i: usize| angle(token.position as usize, i);
            let want = finished(&x, gamma, (head < query + kv).then_some(turn));
            let Some(of_kv) = head.checked_sub(query) else {
                let got = &found.q[(t * query + head) * dim..][..dim];
                got.iter().zip(want).for_each(|(got, want)| near(*got, want, "query"));
                continue;
            };
            if token.slot == KV_NO_SLOT {
                continue;
            }
            let pool = if of_kv < kv { &mut keys } else { &mut values };
            let (page, slot) = (token.slot as usize / 64, token.slot as usize % 64);
            for (d, want) in want.into_iter().enumerate() {
                let place = (page * kv + of_kv % kv) * 64 * dim + swizzled(slot, d);
                near(pool[place], want, "cache");
                pool[place] = UNTOUCHED;
            }
        }
    }
    let rest = keys.iter().chain(&values);
    assert!(rest.into_iter().all(|x| *x == UNTOUCHED), "more was written");
    found
}

fn models() -> Vec<Model> {
    let model =
        |(query, kv, dim, bias, norm)| Model { heads: Heads { query, kv, dim }, bias, norm };
    let all = [(6, 3, 64, true, true), (5, 1, 128, false, true), (7, 1, 64, true, false)];
    all.into_iter().chain([(1, 1, 128, false, false)]).map(model).collect()
}

#[test]
fn queries_and_keys_are_rotated_and_stored_in_their_places() {
    for model in models() {
        let mut passes = Vec::new();
        for rig in rigs() {
            let first = check(&rig, &model, &tokens());
            for seed in rig.seeds(4) {
                rig.set_seed(seed);
                assert!(run(&rig, &model, &tokens()) == first, "{model:?}, seed {seed}");
            }
            passes.push(first);
        }
        assert!(passes.windows(2).all(|p| p[0] == p[1]), "{model:?}: the two passes differ");
    }
}

#[test]
fn a_token_has_the_same_bits_alone_and_among_others() {
    for rig in rigs() {
        for model in models() {
            let Heads { query, dim, .. } = model.heads;
            let all = run(&rig, &model, &tokens());
            for (t, token) in tokens().into_iter().enumerate() {
                let alone = run(&rig, &model, &[token]);
                assert!(alone.q == all.q[t * query * dim..][..query * dim], "{model:?} {token:?}");
                let pools = [(&alone.keys, &all.keys), (&alone.values, &all.values)];
                for (alone, all) in pools {
                    let written = alone.iter().zip(all).filter(|(x, _)| **x != UNTOUCHED);
                    assert!(written.into_iter().all(|(x, y)| x == y), "{model:?} {token:?}");
                }
            }
        }
    }
}

#[test]
fn traffic_is_what_the_head_says() {
    for rig in rigs() {
        for (dim, bias, norm) in [(64, true, true), (128, true, true), (128, false, false)] {
            // Heads that fill the blocks: lanes without a head would ask for the last once more.
            let model = Model { heads: Heads { query: 8, kv: 4, dim }, bias, norm };
            rig.counters();
            run(&rig, &model, &tokens());
            let n = tokens().len() as u64;
            let (heads, row) = (model.count() as u64, 2 * dim as u64);
            let kept = tokens().iter().filter(|t| t.slot != KV_NO_SLOT).count() as u64;
            let weights = u64::from(bias) * heads + u64::from(norm) * 12;
            let written = n * 8 * row + kept * 8 * row;
            // A word for position and slot by each of a head's lanes.
            let lanes = dim as u64 / 4;
            let words = n * (12 + 8) * lanes * 4;
            let requested = n * (heads + 12 * 2 + weights) * row + written + words;
            // The same in sectors, but for the words: one a warp.
            let warps = n * (12 + 8) * lanes.div_ceil(32);
            let sectors = requested - words + warps * 32;
            // Weights once, angles once for each position, and two words a token.
            let mut positions: Vec<u32> = tokens().iter().map(|t| t.position).collect();
            positions.sort_unstable();
            positions.dedup();
            let weights = u64::from(bias) * heads + u64::from(norm) * 2;
            let read = n * heads + 2 * positions.len() as u64 + weights;
            let compulsory = read * row + written + 8 * n;
            Budget { requested, sectors, compulsory }.check(&rig, "rope_append");
        }
    }
}
