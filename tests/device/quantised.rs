//! Whole models with quantised weights: the device against the CPU with the same weights, and the
//! same bits whatever the chunk. The weights are rounded to nearest on their way from a checkpoint.

use super::gemm_hopper::executions;
use super::model::{MARGIN, MEAN_TOLERANCE, NLL_TOLERANCE, TRAINED_TOLERANCE, distance, held_out};
use super::{Rig, in_turns, rigs};
use crate::common::{fixture, root};
use crate::reference::{bits, continuation, expected};
use half::bf16;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::backend::cuda::kernels::{KernelSet, Kernels};
use ridgepoint::backend::cuda::{CudaBackend, KvCache};
use ridgepoint::backend::{Backend, Batch, PAGE_SIZE, PageId, Phase};
use ridgepoint::engine::Generator;
use ridgepoint::error::Result;
use ridgepoint::load::{Checkpoint, Source};
use ridgepoint::model::{Decoder, Limits, ModelConfig};
use ridgepoint::request::TokenId;
use ridgepoint::tensor::int4::{Int4Matrix, Int4Shape, Int4Tensor};
use ridgepoint::tensor::{HostMatrix, HostTensor, Int8Tensor};
use std::path::{Path, PathBuf};

/// How the matrices of layers are rounded.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Style {
    /// Groups as wide as there are kernels for; those of the feed-forward part with zero points.
    Groups,
    /// One scale a row.
    Rows,
    /// Groups of columns that lie apart.
    Ordered,
}

/// A checkpoint whose layers are rounded to 4 bits where their rows are whole groups, and whose
/// head to 8.
struct Rounded {
    checkpoint: Checkpoint,
    style: Style,
}

impl Source for Rounded {
    fn dir(&self) -> &Path {
        self.checkpoint.dir()
    }

    fn names(&self) -> Vec<String> {
        self.checkpoint.names()
    }

    fn vector(&self, name: &str, len: usize) -> Result<HostTensor> {
        self.checkpoint.vector(name, len)
    }

    fn matrix(&self, name: &str, [n, k]: [usize; 2]) -> Result<HostMatrix> {
        let plain = self.checkpoint.tensor(name, &[n, k])?;
        if name.contains("embed") || !name.contains("head") && !k.is_multiple_of(64) {
            return Ok(plain.into());
        }
        let values = plain.to_f32();
        if name.contains("head") {
            return Ok(HostMatrix::Int8(to_int8(name, &values, n, k)));
        }
        let order: Vec<u32> = match self.style {
            Style::Ordered => (0..k as u32).map(|c| (c * 29 + 3) % k as u32).collect(),
            _ => (0..k as u32).collect(),
        };
        let rows = values.chunks_exact(k);
        let sorted: Vec<f32> =
            rows.flat_map(|row| order.iter().map(|&c| row[c as usize])).collect();
        let group = match self.style {
            Style::Rows => k,
            _ if k.is_multiple_of(128) => 128,
            _ => 64,
        };
        let zero_points = name.contains("mlp");
        let shape = Int4Shape { n, k, group, zero_points };
        let mut matrix = to_int4(&sorted, shape);
        matrix.order = (self.style == Style::Ordered).then_some(order);
        Ok(HostMatrix::Int4(Int4Tensor { name: name.to_string(), shape, matrix }))
    }
}

/// Scales are those that a device keeps: bf16.
fn to_int4(values: &[f32], shape: Int4Shape) -> Int4Matrix {
    let mut matrix = Int4Matrix { quants: vec![], scales: vec![], zero_points: None, order: None };
    let mut zero_points = Vec::new();
    for group in values.chunks_exact(shape.group) {
        let most = group.iter().copied().fold(0.0, f32::max);
        let least = group.iter().copied().fold(0.0, f32::min);
        let (range, zero) = match shape.zero_points {
            true => ((most - least) / 15.0, 15.0 * -least / (most - least)),
            false => (most.max(-least) / 7.0, 8.0),
        };
        let (scale, zero) = (bf16::from_f32(range).to_f32(), zero.round());
        let round = |x: &f32| (x / scale + zero).round().clamp(0.0, 15.0) as u8;
        matrix.quants.extend(group.iter().map(round));
        matrix.scales.push(scale);
        zero_points.push(zero as u8);
    }
    matrix.zero_points = shape.zero_points.then_some(zero_points);
    matrix
}

fn to_int8(name: &str, values: &[f32], n: usize, k: usize) -> Int8Tensor {
    let rows = values.chunks_exact(k);
    let most = rows.map(|row| row.iter().fold(0.0, |most: f32, x| most.max(x.abs())));
    let scales: Vec<f32> = most.map(|most| most / 127.0).collect();
    let quants = values.iter().enumerate().map(|(i, x)| (x / scales[i / k]).round() as i8);
    Int8Tensor { name: name.to_string(), n, k, values: quants.collect(), scales }
}

fn load<B: Backend>(dir: &Path, style: Style, backend: B, rows: usize) -> Generator<B> {
    let config = ModelConfig::load(dir).unwrap();
    let source = Rounded { checkpoint: Checkpoint::open(dir).unwrap(), style };
    let limits = Limits { rows, logit_rows: rows, sequences: 1, context: config.context };
    Generator::new(Decoder::load(backend, config, &source, limits).unwrap()).unwrap()
}

fn cuda(rig: &Rig) -> CudaBackend {
    CudaBackend::new(rig.driver().clone()).unwrap()
}

/// Tied and not, a window, biases, odd groups of heads, rows of 64 and of 128.
const NAMES: &[&str] = &["llama2_mha", "llama3_gqa4", "mistral_window", "qwen3_gqa2", "qwen2_gqa7"];
const STYLES: [Style; 3] = [Style::Groups, Style::Rows, Style::Ordered];

fn tokens(name: &str, most: usize) -> Vec<TokenId> {
    let mut tokens = expected(name).sequences.pop().unwrap().tokens;
    tokens.truncate(most);
    tokens
}

/// The rounding is one: no model has the bits that it has without.
#[test]
fn nll_is_that_of_the_cpu_with_the_same_weights() {
    for (i, (name, rig)) in in_turns(NAMES).enumerate() {
        let (dir, tokens) = (fixture(name), tokens(name, 100));
        for style in [STYLES[i % 3], STYLES[(i + 1) % 3]] {
            let mut cpu = load(&dir, style, CpuBackend::new(), 128);
            let mut device = load(&dir, style, cuda(&rig), 64);
            let wanted = cpu.score(&tokens, Phase::Prefill).unwrap();
            let plain = crate::reference::load(&dir, CpuBackend::new(), 128)
                .score(&tokens, Phase::Prefill)
                .unwrap();
            assert_ne!(bits(&wanted), bits(&plain), "{name} {style:?}");
            for (phase, count) in [(Phase::Prefill, 100), (Phase::Decode, 17)] {
                let count = count.min(tokens.len());
                let found = device.score(&tokens[..count], phase).unwrap();
                let far = distance(&found, &wanted[..count - 1]);
                assert!(far <= NLL_TOLERANCE, "{name} {style:?} {phase:?}: {far}");
            }
        }
    }
}

/// Where the two differ, the CPU's logits of both tokens must be close, and what follows may differ
/// rightly.
#[test]
fn greedy_tokens_are_those_of_the_cpu_as_far_as_margins_allow() {
    let mut compared = 0;
    for (i, (name, rig)) in in_turns(NAMES).enumerate() {
        let (dir, prompt, style) = (fixture(name), tokens(name, 12), STYLES[i % 3]);
        let mut cpu = load(&dir, style, CpuBackend::new(), 64);
        let wanted = continuation(&mut cpu, &prompt, 8);
        let found = continuation(&mut load(&dir, style, cuda(&rig), 64), &prompt, 8);
        let same = wanted.iter().zip(&found).take_while(|(a, b)| a == b).count();
        compared += same;
        if same < wanted.len() {
            let mut nll = |token: TokenId| {
                let all = [&prompt[..], &wanted[..same], &[token]].concat();
                *cpu.score(&all, Phase::Prefill).unwrap().last().unwrap()
            };
            let margin = nll(found[same]) - nll(wanted[same]);
            assert!(margin <= MARGIN, "{name} {style:?} token {same}: {margin}");
        }
    }
    assert!(compared >= 20, "only {compared} tokens of 40 were equal");
}

#[test]
fn chunks_do_not_change_bits() {
    for (i, (name, rig)) in in_turns(NAMES).enumerate() {
        let (dir, tokens, style) = (fixture(name), tokens(name, 100), STYLES[i % 3]);
        let device = |rows| load(&dir, style, cuda(&rig), rows).score(&tokens, Phase::Prefill);
        let whole = bits(&device(128).unwrap());
        for rows in [33, 64] {
            assert_eq!(bits(&device(rows).unwrap()), whole, "{name} in chunks of {rows}");
        }
        let cpu = |rows, phase| load(&dir, style, CpuBackend::new(), rows).score(&tokens, phase);
        let whole = bits(&cpu(128, Phase::Prefill).unwrap());
        for (rows, phase) in [(1, Phase::Decode), (7, Phase::Prefill), (64, Phase::Decode)] {
            assert_eq!(bits(&cpu(rows, phase).unwrap()), whole, "{name} in chunks of {rows}");
        }
    }
}

/// One row of each of some sequences, whose page has the sequence's number; the logits of each.
fn decode(
    decoder: &mut Decoder<CudaBackend>,
    kv: &mut KvCache,
    sequences: &[usize],
    position: usize,
) -> Vec<Vec<u32>> {
    let mut batch = Batch::new(Phase::Decode);
    for &s in sequences {
        let token = TokenId(((s * 31 + position * 17 + 5) % 190) as u32);
        batch.push(position, &[token], &[PageId(s as u32)]);
    }
    batch.logit_rows = (0..sequences.len()).collect();
    decoder.forward(&batch, kv).unwrap();
    let logits = decoder.backend().download(decoder.logits()).unwrap();
    logits.chunks_exact(decoder.config().vocab_size).map(bits).collect()
}

/// More than 32 rows by wgmma, where a request alone has its products by mma.sync; both in records
/// of padded batches.
#[test]
fn a_decode_row_has_the_same_bits_among_many_by_wgmma() {
    let all: Vec<usize> = (0..37).collect();
    for rig in rigs().into_iter().filter(|rig| rig.kernels.set() == KernelSet::Hopper) {
        if rig.sim.is_none() && !rig.kernels.decode_wgmma().is_taken() {
            continue; // a GPU whose bits may differ
        }
        let dir = fixture("mistral_window");
        let config = ModelConfig::load(&dir).unwrap();
        let source = Rounded { checkpoint: Checkpoint::open(&dir).unwrap(), style: Style::Groups };
        let limits = Limits { rows: 64, logit_rows: 64, sequences: 64, context: PAGE_SIZE };
        let kernels = Kernels::new(rig.driver().clone()).unwrap().assume_equal_bits();
        let mut decoder = Decoder::load(CudaBackend::of(kernels), config, &source, limits).unwrap();
        let [mut among, mut alone] = [(); 2].map(|()| decoder.kv_cache(all.len()).unwrap());
        let mut products = [0; 2];
        let mut count = |by: usize| {
            let launches = rig.counters().unwrap_or_default();
            products[by] += executions(&launches, "wgmma.mma_async");
        };
        for position in 0..3 {
            count(1);
            let wanted = decode(&mut decoder, &mut among, &all, position);
            count(0);
            for s in [0, 20, 36] {
                let found = decode(&mut decoder, &mut alone, &[s], position);
                assert_eq!(found[0], wanted[s], "sequence {s}, position {position}");
            }
        }
        count(1);
        let [many, single] = products;
        assert!(rig.sim.is_none() || many > 0 && single == 0, "{many} and {single}");
    }
}

/// Trained weights spread wider than those of the fixtures.
#[test]
fn the_shipped_draft_agrees_with_the_cpu() {
    let dir: PathBuf = root().join("models/draft");
    let tokens = held_out(120);
    for (rig, style) in rigs().into_iter().zip([Style::Groups, Style::Rows]) {
        let wanted = load(&dir, style, CpuBackend::new(), 120).score(&tokens, Phase::Prefill);
        let wanted = wanted.unwrap();
        let found = load(&dir, style, cuda(&rig), 120).score(&tokens, Phase::Prefill).unwrap();
        let mean = |nll: &[f32]| nll.iter().sum::<f32>() / nll.len() as f32;
        let apart = (mean(&found) - mean(&wanted)).abs();
        assert!(apart <= MEAN_TOLERANCE, "{style:?}: mean NLL apart by {apart}");
        let far = distance(&found, &wanted);
        assert!(far <= TRAINED_TOLERANCE, "{style:?}: {far}");
    }
}

#[test]
fn a_layer_of_int8_is_refused_by_name_where_it_is_prefilled() {
    let rig = Rig::simulated(false);
    let backend = cuda(&rig);
    let int8 = to_int8("w", &[0.5; 64 * 64], 64, 64);
    let weight = backend.matrix(vec![HostMatrix::Int8(int8)]).unwrap();
    let run = |phase| {
        let role = ridgepoint::backend::Role::Plain;
        let mut x = backend.tensor(2, 64, role).unwrap();
        backend.upload(&[1.0; 128], &mut x).unwrap();
        let mut out = backend.tensor(2, 64, role).unwrap();
        let store = ridgepoint::backend::Epilogue::Store;
        backend.gemm(phase, &x, &weight, store, &mut out)?;
        backend.download(&out)
    };
    assert_eq!(run(Phase::Decode).unwrap(), [32.0; 128]);
    let message = run(Phase::Prefill).unwrap_err().to_string();
    assert!(message.contains("prefill family with int8 weights [64, 64]"), "{message}");
}
