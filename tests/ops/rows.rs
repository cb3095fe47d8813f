//! embed, rmsnorm, gather, sample, upload and download; rotation tables through rope_append.

use super::{
    DTYPES, NormOut, Rng, assert_close, batch, bits, on_all, poisoned, sequence, stored, tensor,
};
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::backend::{Backend, Batch, Heads, KvShape, Norm, PageId, Phase};
use ridgepoint::error::Error;
use ridgepoint::request::{SamplingParams, TokenId};
use ridgepoint::sample::SampleRow;
use ridgepoint::tensor::{Dtype, HostMatrix, HostTensor};

#[test]
fn embed_gives_the_rows_of_the_table() {
    for dtype in DTYPES {
        for width in [1, 7, 16, 100, 129] {
            let vocab = 37;
            let values = Rng(width as u64).floats(vocab * width);
            let cut = 10 * width;
            let (first, mut rounded) = stored(dtype, &[10, width], &values[..cut]);
            let (second, rest) = stored(dtype, &[vocab - 10, width], &values[cut..]);
            rounded.extend(rest);
            let tokens: Vec<TokenId> = [36, 0, 9, 10, 10, 36].map(TokenId).to_vec();
            let found = on_all(|backend| {
                let table =
                    backend.matrix(HostMatrix::plain([first.clone(), second.clone()])).unwrap();
                let mut out = poisoned(backend, tokens.len(), width);
                let mut normed = NormOut::new(backend, tokens.len(), width);
                let batch = tokens_only(&tokens);
                backend.embed(&batch, &table, normed.norm(), &mut out).unwrap();
                backend.download(&out).unwrap()
            });
            for (row, token) in tokens.iter().enumerate() {
                let expected = &rounded[token.index() * width..][..width];
                assert_eq!(bits(&found[row * width..][..width]), bits(expected));
            }
        }
    }
}

#[test]
#[should_panic(expected = "token 4 of 4")]
fn embed_panics_past_the_vocabulary() {
    let backend = CpuBackend::new();
    let table = backend.matrix(vec![stored(Dtype::F32, &[4, 2], &[0.0; 8]).0.into()]).unwrap();
    let mut out = poisoned(&backend, 1, 2);
    let mut normed = NormOut::new(&backend, 1, 2);
    let _ = backend.embed(&tokens_only(&[TokenId(4)]), &table, normed.norm(), &mut out);
}

fn tokens_only(tokens: &[TokenId]) -> Batch {
    let mut batch = Batch::new(Phase::Prefill);
    batch.push(0, tokens, &[PageId(0)]);
    batch
}

fn rmsnorm(backend: &CpuBackend, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let width = weight.len();
    let (parts, _) = stored(Dtype::F32, &[width], weight);
    let weight = backend.vector(&[parts]).unwrap();
    let x = tensor(backend, width, x);
    let mut out = poisoned(backend, x_rows(&backend.download(&x).unwrap(), width), width);
    let norm = Norm { weight: &weight, eps: 1e-5, out: &mut out };
    backend.rmsnorm(&x, norm);
    backend.download(&out).unwrap()
}

fn x_rows(values: &[f32], width: usize) -> usize {
    values.len() / width
}

#[test]
fn rmsnorm_equals_the_reference_and_each_row_alone() {
    for width in [1, 7, 16, 100, 129, 256, 1024] {
        for rows in [1, 3, 17, 129] {
            let mut rng = Rng((width * rows) as u64);
            let (x, weight) = (rng.floats(rows * width), rng.floats(width));
            let found = on_all(|backend| rmsnorm(backend, &x, &weight));
            let mut expected = Vec::new();
            for row in x.chunks(width) {
                let sum: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum();
                let scale = 1.0 / (sum / width as f64 + 1e-5).sqrt();
                let one = |(x, w): (&f32, &f32)| f64::from(*x) * scale * f64::from(*w);
                expected.extend(row.iter().zip(&weight).map(one));
            }
            let sizes: Vec<f64> = expected.iter().map(|x| x.abs()).collect();
            assert_close(&found, &expected, &sizes, 40.0 * 2f64.powi(-24), "rmsnorm");
            let last = rmsnorm(&CpuBackend::new(), &x[(rows - 1) * width..], &weight);
            assert_eq!(bits(&last), bits(&found[(rows - 1) * width..]));
        }
    }
}

#[test]
fn the_zeros_beside_a_row_survive_rows_that_are_not_finite() {
    let backend = CpuBackend::new();
    let one = backend.vector(&[HostTensor::from_f32("w", vec![3], &[1.0; 3])]).unwrap();
    let bad = tensor(&backend, 3, &[f32::NAN, 1.0, f32::INFINITY]);
    let good = tensor(&backend, 3, &[1.0, 1.0, 1.0]);
    let mut x = poisoned(&backend, 1, 3);
    for rows in [&bad, &good] {
        backend.rmsnorm(rows, Norm { weight: &one, eps: 0.0, out: &mut x });
    }
    assert_eq!(backend.download(&x).unwrap(), [1.0; 3]);
    let weight = backend.matrix(vec![stored(Dtype::F32, &[1, 3], &[2.0; 3]).0.into()]).unwrap();
    let mut out = poisoned(&backend, 1, 1);
    let store = ridgepoint::backend::Epilogue::Store;
    backend.gemm(Phase::Decode, &x, &weight, store, &mut out).unwrap();
    assert_eq!(backend.download(&out).unwrap(), [6.0]);
}

#[test]
fn gather_takes_rows_in_any_order() {
    let backend = CpuBackend::new();
    let values = Rng(5).floats(9 * 33);
    let x = tensor(&backend, 33, &values);
    let mut out = poisoned(&backend, 9, 33);
    let mut batch = Batch::new(Phase::Prefill);
    batch.logit_rows = vec![8, 0, 3, 3];
    backend.gather(&batch, &x, &mut out).unwrap();
    let expected: Vec<f32> =
        [8, 0, 3, 3].iter().flat_map(|row| &values[row * 33..][..33]).copied().collect();
    assert_eq!(backend.download(&out).unwrap(), expected);
    batch.logit_rows.clear();
    backend.gather(&batch, &x, &mut out).unwrap();
    assert!(backend.download(&out).unwrap().is_empty());
}

/// Queries come back rotated by angles of large positions; the product with the frequency is
/// rounded to f32 first.
#[test]
fn rotation_uses_the_rounded_angle() {
    let heads = Heads { query: 3, kv: 1, dim: 10 };
    let inv_freq = [1.0, 0.31, 0.07, 1e-3, 1e-5];
    let position = 4_321;
    let qkv = Rng(3).floats(heads.qkv_width());
    let found = on_all(|backend| {
        let rope = backend.rope_table(&inv_freq, position + 1).unwrap();
        let shape = KvShape { layers: 1, pages: 80, heads, dtype: Dtype::F32 };
        let mut kv = backend.kv_cache(shape).unwrap();
        let mut free: Vec<usize> = (0..80).collect();
        let batch = batch(Phase::Decode, &[sequence(position, 1, &mut free)]);
        let qkv = tensor(backend, heads.qkv_width(), &qkv);
        let mut query = poisoned(backend, 1, 30);
        backend.rope_append(&batch, 0, &qkv, None, &rope, &mut query, &mut kv).unwrap();
        backend.download(&query).unwrap()
    });
    let mut expected = Vec::new();
    for head in qkv[..30].chunks(10) {
        let turn = |i: usize| f64::from(position as f32 * inv_freq[i % 5]).sin_cos();
        for i in 0..10 {
            let ((sin, cos), pair) = (turn(i), f64::from(head[(i + 5) % 10]));
            let pair = if i < 5 { -pair } else { pair };
            expected.push(f64::from(head[i]) * cos + pair * sin);
        }
    }
    assert_close(&found, &expected, &[2.0; 30], 2.0 * 2f64.powi(-24), "rope");
}

#[test]
fn sample_draws_from_each_row_and_refuses_what_is_not_finite() {
    let backend = CpuBackend::new();
    let vocab = 101;
    let mut values = Rng(1).floats(3 * vocab);
    for (row, best) in [7, 100, 0].into_iter().enumerate() {
        values[row * vocab + best] = 2.0;
    }
    let params = SamplingParams::default();
    let history = [TokenId(1)];
    let row = SampleRow { params: &params, history: &history, prompt_len: 1 };
    let draws = backend.sample(&tensor(&backend, vocab, &values), &[row; 3]).unwrap();
    let tokens: Vec<u32> = draws.iter().map(|draw| draw.token.0).collect();
    assert_eq!(tokens, [7, 100, 0]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        values[vocab + 3] = bad;
        let error = backend.sample(&tensor(&backend, vocab, &values), &[row; 3]).unwrap_err();
        assert!(matches!(&error, Error::Device(m) if m.contains("logit 3 of row 1")), "{error}");
    }
}
