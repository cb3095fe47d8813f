//! Operations on rows of logits: draws, greedy, plain and with filters, and log-probabilities.

use super::models::Model;
use super::{Device, Floor, Launch, Op, Random, keeping};
use ridgepoint::backend::SampleRow;
use ridgepoint::backend::cuda::ops::logprobs::{Logprobs, LogprobsOut, encode_tops, logprobs};
use ridgepoint::backend::cuda::ops::sample::{Sample, SampleInputs, sample};
use ridgepoint::backend::cuda::ops::selection::{SelectionSizes, SelectionWorkspace};
use ridgepoint::backend::cuda::params::{LOGPROBS_TOP_MAX, SAMPLE_TILE};
use ridgepoint::error::Result;
use ridgepoint::request::{SamplingParams, TokenId};

/// Log-probabilities that a row asks for besides its own.
const TOP: u32 = 20;
/// Tokens that the distribution below has as candidates, at most.
const CANDIDATES: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Greedy,
    Draw,
    Nucleus,
    Logprobs,
}

struct Vocabulary {
    model: Model,
    kind: Kind,
    rows: usize,
}

/// All of them, of so many rows.
pub fn of(model: &Model, rows: usize) -> Vec<Box<dyn Op>> {
    let kinds = [Kind::Greedy, Kind::Draw, Kind::Nucleus, Kind::Logprobs];
    let op = |kind| Box::new(Vocabulary { model: model.clone(), kind, rows }) as Box<dyn Op>;
    kinds.into_iter().map(op).collect()
}

impl Vocabulary {
    fn vocab(&self) -> usize {
        self.model.config.vocab_size
    }

    fn params(&self, row: usize) -> SamplingParams {
        let seed = row as u64;
        let drawn = SamplingParams { temperature: 0.8, seed, ..SamplingParams::default() };
        match self.kind {
            Kind::Nucleus => SamplingParams { top_p: 0.95, ..drawn },
            Kind::Draw => drawn,
            Kind::Greedy | Kind::Logprobs => SamplingParams { temperature: 0.0, ..drawn },
        }
    }

    /// Rows as a language model has them: some forty tokens far above the rest.
    fn logits(&self) -> Vec<f32> {
        let mut random = Random(7);
        let mut logits = Vec::with_capacity(self.rows * self.vocab());
        for _ in 0..self.rows {
            let start = logits.len();
            let bell = |random: &mut Random| (0..6).map(|_| random.unit() * 2.0 - 1.0).sum::<f32>();
            logits.extend((0..self.vocab()).map(|_| bell(&mut random) * 1.8 - 2.0));
            for rank in 0..40 {
                logits[start + random.below(self.vocab())] = 14.0 - 0.25 * rank as f32;
            }
        }
        logits
    }

    fn sample(&self, device: &Device) -> Result<Launch> {
        let (rows, vocab) = (self.rows, self.vocab());
        let history = vec![TokenId(1); 512];
        let params: Vec<SamplingParams> = (0..rows).map(|row| self.params(row)).collect();
        let row = |params| SampleRow { params, history: &history, prompt_len: 400 };
        let encoded = SampleInputs::new(&params.iter().map(row).collect::<Vec<_>>(), rows, vocab);
        let (logits, inputs) = (device.upload(&self.logits())?, device.upload(&encoded.bytes)?);
        let (workspace, memory) = workspace(device, rows, vocab)?;
        let drawn = device.room(2 * 4 * rows)?;
        let op = Sample {
            logits: logits.ptr(),
            inputs: inputs.ptr(),
            workspace,
            tokens: drawn.ptr(),
            status: drawn.ptr() + 4 * rows as u64,
            rows: rows as u32,
            vocab: vocab as u32,
            stride: vocab as u32,
            filters: encoded.filters,
        };
        let held = ([logits, inputs, drawn], memory);
        Ok(keeping(held, move |kernels| sample(kernels, &op)))
    }

    fn logprobs(&self, device: &Device) -> Result<Launch> {
        let (rows, vocab) = (self.rows, self.vocab());
        let logits = device.upload(&self.logits())?;
        let tokens = device.upload(&vec![1u32; rows])?;
        let tops = device.upload(&encode_tops(&vec![Some(TOP); rows]))?;
        let (workspace, memory) = workspace(device, rows, vocab)?;
        let own = device.room(4 * rows)?;
        let counts = device.room(4 * rows)?;
        let top_tokens = device.room(4 * rows * LOGPROBS_TOP_MAX as usize)?;
        let top_logprobs = device.room(4 * rows * LOGPROBS_TOP_MAX as usize)?;
        let op = Logprobs {
            logits: logits.ptr(),
            tokens: tokens.ptr(),
            tops: tops.ptr(),
            workspace,
            out: LogprobsOut {
                logprobs: own.ptr(),
                top_counts: counts.ptr(),
                top_tokens: top_tokens.ptr(),
                top_logprobs: top_logprobs.ptr(),
            },
            rows: rows as u32,
            vocab: vocab as u32,
            stride: vocab as u32,
        };
        let held = ([logits, tokens, tops, own, counts, top_tokens, top_logprobs], memory);
        Ok(keeping(held, move |kernels| logprobs(kernels, &op)))
    }
}

type Memory = [ridgepoint::backend::cuda::memory::Buffer; 3];

fn workspace(device: &Device, rows: usize, vocab: usize) -> Result<(SelectionWorkspace, Memory)> {
    let sizes = SelectionSizes { rows, vocab };
    let states = device.zeros(sizes.state_bytes() as usize)?;
    let bins = device.zeros(sizes.bin_bytes() as usize)?;
    let candidates = device.room(sizes.candidate_bytes() as usize)?;
    let workspace =
        SelectionWorkspace { states: states.ptr(), bins: bins.ptr(), candidates: candidates.ptr() };
    Ok((workspace, [states, bins, candidates]))
}

impl Op for Vocabulary {
    fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Greedy => "sample greedy",
            Kind::Draw => "sample t0.8",
            Kind::Nucleus => "sample t0.8 top-p 0.95",
            Kind::Logprobs => "logprobs top 20",
        };
        format!("{kind} {} m{}", self.model.name, self.rows)
    }

    fn floor(&self) -> Floor {
        Floor { bytes: (self.rows * (4 * self.vocab() + 8)) as u64, flops: 0 }
    }

    fn requested(&self, _: &Device) -> u64 {
        let tiles = self.vocab().div_ceil(SAMPLE_TILE as usize);
        let pass = |block: usize| 4 * self.vocab() + block * tiles;
        let row = match self.kind {
            Kind::Greedy | Kind::Draw => pass(88) + 2048,
            Kind::Nucleus => 2 * pass(88) + 6144 + 80 * CANDIDATES,
            Kind::Logprobs => 2 * pass(28) + 8192 + 40 * CANDIDATES,
        };
        (self.rows * row) as u64
    }

    fn prepare(&self, device: &Device) -> Result<Launch> {
        match self.kind {
            Kind::Logprobs => self.logprobs(device),
            _ => self.sample(device),
        }
    }
}
