//! rope_append and attention, together, over pages in no order among pages of NaN.

use super::{
    Rng, Sequence, assert_close, backends, batch, bits, on_all, poisoned, sequence, tensor,
};
use ridgepoint::backend::cpu::{CpuBackend, KvCache};
use ridgepoint::backend::{Backend, Heads, KvShape, PAGE_SIZE, PageId, Phase, QkNorm, Role, Span};
use ridgepoint::tensor::{Dtype, HostTensor};

const LAYERS: usize = 2;
const LAYER: usize = 1;

/// The queries, keys and values of a sequence by position, as they stand before the rotation.
struct Tokens {
    heads: Heads,
    qkv: Vec<f32>,
}

impl Tokens {
    fn new(seed: u64, heads: Heads, len: usize) -> Tokens {
        let qkv = Rng(seed).floats(len * heads.qkv_width());
        Tokens { heads, qkv: qkv.iter().map(|x| 2.0 * x).collect() }
    }

    fn rows(&self, from: usize, to: usize) -> &[f32] {
        let width = self.heads.qkv_width();
        &self.qkv[from * width..to * width]
    }
}

/// How a test case is computed beyond its shape.
#[derive(Clone, Copy)]
struct Options {
    dtype: Dtype,
    window: Option<usize>,
    norm: bool,
}

const PLAIN: Options = Options { dtype: Dtype::F32, window: None, norm: false };

fn inv_freq(dim: usize) -> Vec<f32> {
    (0..dim / 2).map(|i| 1e4f32.powf(-2.0 * i as f32 / dim as f32)).collect()
}

fn norm_weight(dim: usize, seed: u64) -> Vec<f32> {
    Rng(seed).floats(dim).iter().map(|x| 1.0 + 0.5 * x).collect()
}

/// A pool whose every slot holds NaN.
fn poisoned_pool(backend: &CpuBackend, heads: Heads, pages: usize, dtype: Dtype) -> KvCache {
    let shape = KvShape { layers: LAYERS, pages, heads, dtype };
    let mut kv = backend.kv_cache(shape).unwrap();
    let rope = backend.rope_table(&vec![0.0; heads.dim / 2], pages * PAGE_SIZE).unwrap();
    let mut poison = batch(Phase::Prefill, &[]);
    poison.positions = (0..(pages * PAGE_SIZE) as u32).collect();
    poison.tokens = vec![Default::default(); pages * PAGE_SIZE];
    poison.tables = (0..pages as u32).map(PageId).collect();
    poison.spans = vec![Span { rows: 0..pages * PAGE_SIZE, start: 0, table: 0..pages }];
    let qkv = poisoned(backend, pages * PAGE_SIZE, heads.qkv_width());
    let mut query = poisoned(backend, pages * PAGE_SIZE, heads.query * heads.dim);
    for layer in 0..LAYERS {
        backend.rope_append(&poison, layer, &qkv, None, &rope, &mut query, &mut kv).unwrap();
    }
    kv
}

/// One step: appends the rows of all sequences and attends; `tokens[i]` is of `sequences[i]`.
fn step(
    backend: &CpuBackend,
    phase: Phase,
    sequences: &[Sequence],
    tokens: &[&Tokens],
    options: Options,
    kv: &mut KvCache,
) -> Vec<f32> {
    let heads = tokens[0].heads;
    let batch = batch(phase, sequences);
    let mut rows = Vec::new();
    for (s, tokens) in sequences.iter().zip(tokens) {
        rows.extend_from_slice(tokens.rows(s.start, s.end()));
    }
    let qkv = tensor(backend, heads.qkv_width(), &rows);
    let rope = backend.rope_table(&inv_freq(heads.dim), 1024).unwrap();
    let weight = |seed| {
        let values = norm_weight(heads.dim, seed);
        backend.vector(&[HostTensor::from_f32("norm", vec![heads.dim], &values)]).unwrap()
    };
    let (query_norm, key_norm) = (weight(1), weight(2));
    let norm = QkNorm { query: &query_norm, key: &key_norm, eps: 1e-6 };
    let norm = options.norm.then_some(norm);
    let width = heads.query * heads.dim;
    let mut query = poisoned(backend, batch.rows(), width);
    let mut out = poisoned(backend, batch.rows(), width);
    backend.rope_append(&batch, LAYER, &qkv, norm, &rope, &mut query, kv).unwrap();
    backend.attention(&batch, LAYER, options.window, &query, kv, &mut out).unwrap();
    backend.download(&out).unwrap()
}

/// All rows of a fresh sequence in one step, on permuted pages of a poisoned pool.
fn whole(backend: &CpuBackend, tokens: &Tokens, len: usize, options: Options) -> Vec<f32> {
    let pages = len.div_ceil(PAGE_SIZE) + 2;
    let mut kv = poisoned_pool(backend, tokens.heads, pages, options.dtype);
    let mut free = Rng(len as u64).pick(pages, pages);
    let sequences = [sequence(0, len, &mut free)];
    step(backend, Phase::Prefill, &sequences, &[tokens], options, &mut kv)
}

fn stored_as(dtype: Dtype, x: f64) -> f64 {
    match dtype {
        Dtype::Bf16 => half::bf16::from_f32(x as f32).to_f64(),
        _ => x,
    }
}

/// A head at a position, normalised and rotated, in f64.
fn rotated(head: &[f32], position: usize, weight: Option<Vec<f32>>) -> Vec<f64> {
    let mut x: Vec<f64> = head.iter().map(|&x| f64::from(x)).collect();
    if let Some(weight) = weight {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (mean + 1e-6).sqrt();
        x = x.iter().zip(weight).map(|(x, w)| x * scale * f64::from(w)).collect();
    }
    let half = x.len() / 2;
    let mut out = x.clone();
    for (i, f) in inv_freq(x.len()).into_iter().enumerate() {
        let (sin, cos) = f64::from(position as f32 * f).sin_cos();
        out[i] = x[i] * cos - x[i + half] * sin;
        out[i + half] = x[i + half] * cos + x[i] * sin;
    }
    out
}

/// Attention of positions `0..len` in f64.
fn reference(tokens: &Tokens, len: usize, options: Options) -> Vec<f64> {
    let Heads { query, kv, dim } = tokens.heads;
    let head = |position, head| &tokens.rows(position, position + 1)[head * dim..][..dim];
    let weight = |seed| options.norm.then(|| norm_weight(dim, seed));
    let keys: Vec<Vec<Vec<f64>>> = (0..len)
        .map(|p| {
            (0..kv)
                .map(|h| {
                    let key = rotated(head(p, query + h), p, weight(2));
                    key.into_iter().map(|x| stored_as(options.dtype, x)).collect()
                })
                .collect()
        })
        .collect();
    let mut out = Vec::new();
    for p in 0..len {
        let first = options.window.map_or(0, |w| (p + 1).saturating_sub(w));
        for h in 0..query {
            let g = h / (query / kv);
            let q = rotated(head(p, h), p, weight(1));
            let dot = |k: &Vec<f64>| q.iter().zip(k).map(|(a, b)| a * b).sum::<f64>();
            let scores: Vec<f64> =
                (first..=p).map(|j| dot(&keys[j][g]) / (dim as f64).sqrt()).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|s| (s - max).exp()).sum();
            for d in 0..dim {
                let value = |j| stored_as(options.dtype, f64::from(head(j, query + kv + g)[d]));
                let terms = (first..=p).zip(&scores).map(|(j, s)| (s - max).exp() * value(j));
                out.push(terms.sum::<f64>() / total);
            }
        }
    }
    out
}

fn check(heads: Heads, len: usize, options: Options) {
    let tokens = Tokens::new(len as u64, heads, len);
    let found = on_all(|backend| whole(backend, &tokens, len, options));
    let expected = reference(&tokens, len, options);
    // Values are below 2; scores of up to 20 carry an absolute error of some 1e-6, and a key that
    // lies at a rounding boundary may be rounded to the other neighbour.
    let bound = if options.dtype == Dtype::F32 { 4e-6 } else { 2e-3 };
    let case = format!("{heads:?} len {len} window {:?}", options.window);
    assert_close(&found, &expected, &vec![2.0; expected.len()], bound, &case);
}

#[test]
fn equals_the_reference_for_every_group_and_head_dim() {
    for (query, kv) in [(1, 1), (2, 1), (8, 2), (5, 1), (7, 1), (8, 1), (4, 2)] {
        for dim in [64, 128, 6, 40] {
            for dtype in [Dtype::F32, Dtype::Bf16] {
                check(Heads { query, kv, dim }, 67, Options { dtype, ..PLAIN });
            }
        }
    }
}

#[test]
fn equals_the_reference_at_page_boundaries() {
    for len in [1, 2, 63, 64, 65, 127, 128, 129] {
        for window in [None, Some(1), Some(5), Some(64), Some(65), Some(200)] {
            let options = Options { window, norm: len % 2 == 0, ..PLAIN };
            check(Heads { query: 4, kv: 2, dim: 64 }, len, options);
        }
    }
}

/// The same positions by one step, by chunks, by single rows of the decode family, alone and beside
/// others, on other pages.
#[test]
fn a_row_has_the_same_bits_however_it_is_reached() {
    let heads = Heads { query: 6, kv: 2, dim: 64 };
    let width = heads.query * heads.dim;
    let len = 150;
    for window in [None, Some(70)] {
        let options = Options { window, norm: true, dtype: Dtype::Bf16 };
        let tokens = Tokens::new(9, heads, len);
        let other = Tokens::new(10, heads, len);
        let backend = CpuBackend::new();
        let expected = bits(&whole(&backend, &tokens, len, options));
        for cuts in [vec![0, 64, 128, 150], vec![0, 1, 63, 65, 100, 150], vec![0, 143, 149, 150]] {
            let mut kv = poisoned_pool(&backend, heads, 8, options.dtype);
            let mut free = Rng(cuts.len() as u64).pick(8, 8);
            let mine = sequence(0, len, &mut free).pages;
            let theirs = sequence(0, len, &mut free).pages;
            for cut in cuts.windows(2) {
                let rows = cut[1] - cut[0];
                let phase = if rows <= 8 { Phase::Decode } else { Phase::Prefill };
                let at =
                    |pages: &Vec<PageId>| Sequence { start: cut[0], rows, pages: pages.clone() };
                let both = [at(&theirs), at(&mine)];
                let found = step(&backend, phase, &both, &[&other, &tokens], options, &mut kv);
                let found = bits(&found[rows * width..]);
                assert!(found == expected[cut[0] * width..cut[1] * width], "{cut:?} {window:?}");
            }
        }
    }
}

/// e^-t through a softmax of two: scores 0 and -t, values 0 and 1.
#[test]
fn weights_are_within_a_few_ulp() {
    let heads = Heads { query: 1, kv: 1, dim: 4 };
    let inputs: Vec<f32> = (0..1040).map(|i| i as f32 * 0.1).chain([88.0, 103.9, 2e3]).collect();
    for backend in backends() {
        let shape = KvShape { layers: 1, pages: 1, heads, dtype: Dtype::F32 };
        let mut kv = backend.kv_cache(shape).unwrap();
        let rope = backend.rope_table(&[0.0; 2], 2).unwrap();
        let mut free = vec![0];
        let rows = batch(Phase::Decode, &[sequence(0, 2, &mut free)]);
        for &t in &inputs {
            let first = [[1.0; 4], [0.0; 4], [0.0; 4]].concat();
            let second = [[1.0, 0., 0., 0.], [-2.0 * t, 0., 0., 0.], [1.0; 4]].concat();
            let qkv = tensor(&backend, 12, &[first, second].concat());
            let mut query = poisoned(&backend, 2, 4);
            let mut out = poisoned(&backend, 2, 4);
            backend.rope_append(&rows, 0, &qkv, None, &rope, &mut query, &mut kv).unwrap();
            backend.attention(&rows, 0, None, &query, &kv, &mut out).unwrap();
            let found = f64::from(backend.download(&out).unwrap()[4]);
            let exp = (-f64::from(t)).exp();
            let expected = exp / (1.0 + exp);
            let bound = expected * 4.0 * 2f64.powi(-24) + 2f64.powi(-149);
            assert!((found - expected).abs() <= bound, "t {t}: {found:e}, expected {expected:e}");
        }
    }
}

#[test]
#[should_panic(expected = "page 4 of 4")]
fn panics_where_a_page_is_not_in_the_pool() {
    let backend = CpuBackend::new();
    let heads = Heads { query: 1, kv: 1, dim: 16 };
    let mut kv = poisoned_pool(&backend, heads, 4, Dtype::F32);
    let sequences = [Sequence { start: 0, rows: 1, pages: vec![PageId(4)] }];
    let tokens = Tokens::new(0, heads, 1);
    step(&backend, Phase::Decode, &sequences, &[&tokens], PLAIN, &mut kv);
}

#[test]
fn a_pool_that_is_too_large_is_an_error_with_its_bytes() {
    let backend = CpuBackend::new();
    let heads = Heads { query: 8, kv: 8, dim: 128 };
    let shape = KvShape { layers: 1, pages: 1 << 40, heads, dtype: Dtype::Bf16 };
    let error = backend.kv_cache(shape).err().unwrap().to_string();
    let bytes = (1u64 << 40) * 8 * 64 * 128 * 2;
    assert!(error.contains(&bytes.to_string()), "{error}");
    assert!(backend.tensor(usize::MAX, 16, Role::Plain).is_err());
}
