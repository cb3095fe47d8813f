//! The forward pass one layer at a time: activations of a text go through a layer, what its
//! matrices read can be had, and the next layer's weights need not be there yet.
//!
//! The same ops in the same order as the decoder, on the CPU; results have its bits.

use super::layer::HostLayer;
use super::matrix::dequantize;
use crate::backend::cpu::{self, CpuBackend};
use crate::backend::{
    Backend, Batch, Epilogue, KvShape, Norm, PageId, Phase, QkNorm, Role, StepShape, pages_for,
};
use crate::error::Result;
use crate::model::ModelConfig;
use crate::model::parts::{Input, Part};
use crate::request::TokenId;
use crate::tensor::{Dtype, HostMatrix, HostTensor};
use std::ops::ControlFlow;

/// The most rows whose logits are computed at a time: those of a long window would take more memory
/// than a layer.
pub const LOGIT_ROWS: usize = 64;

/// Room for one window of text.
pub struct Forward {
    backend: CpuBackend,
    config: ModelConfig,
    pages: Vec<PageId>,
    rope: cpu::RopeTable,
    kv: cpu::KvCache,
    step: Batch,
    residual: cpu::Tensor,
    normed: cpu::Tensor,
    qkv: cpu::Tensor,
    query: cpu::Tensor,
    attended: cpu::Tensor,
    activated: cpu::Tensor,
}

/// Is shown each input of a layer, and tells whether to go on.
type Look<'a> = dyn FnMut(Input, &cpu::Tensor) -> Result<ControlFlow<()>> + 'a;

/// A layer that is ready to compute with.
pub struct Prepared {
    index: usize,
    norms: [cpu::Vector; 2],
    bias: Option<cpu::Vector>,
    head_norms: Option<(cpu::Vector, cpu::Vector)>,
    qkv: cpu::Matrix,
    output: cpu::Matrix,
    gate_up: cpu::Matrix,
    down: cpu::Matrix,
}

/// The head and the norm before it.
pub struct PreparedHead {
    norm: cpu::Vector,
    head: cpu::Matrix,
    /// `[LOGIT_ROWS, vocab]`.
    logits: cpu::Tensor,
}

impl Forward {
    /// For windows of at most `window` tokens.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] without memory.
    pub fn new(config: &ModelConfig, window: usize) -> Result<Forward> {
        let backend = CpuBackend::new();
        let heads = config.heads;
        let pages = pages_for(window);
        let tensor = |width| backend.tensor(window, width, Role::Plain);
        let sequences = 1;
        let logit_rows = LOGIT_ROWS.min(window);
        let shape = StepShape { rows: window, logit_rows, sequences, context: window, heads };
        Ok(Forward {
            backend,
            config: config.clone(),
            pages: (0..pages as u32).map(PageId).collect(),
            rope: backend.rope_table(&config.rope.inv_freq(heads.dim), window)?,
            // A layer's keys and values are of no use to the next one: one pool serves all.
            kv: backend.kv_cache(KvShape { layers: 1, pages, heads, dtype: Dtype::F32 })?,
            step: backend.step(shape)?,
            residual: tensor(config.hidden_size)?,
            normed: backend.tensor(window, config.hidden_size, Role::Normed)?,
            qkv: tensor(heads.qkv_width())?,
            query: tensor(heads.query * heads.dim)?,
            attended: tensor(heads.query * heads.dim)?,
            activated: tensor(config.intermediate_size)?,
        })
    }

    /// The device.
    pub fn backend(&self) -> &CpuBackend {
        &self.backend
    }

    /// Makes a layer ready; quantised matrices are computed with as the numbers they stand for.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] without memory.
    pub fn prepare(&self, layer: &HostLayer, index: usize) -> Result<Prepared> {
        let b = &self.backend;
        let plain = |part: Part| plain(layer.matrix(part));
        let vector = |tensor: &HostTensor| b.vector(std::slice::from_ref(tensor));
        let [attention, mlp] = &layer.norms;
        Ok(Prepared {
            index,
            norms: [vector(attention)?, vector(mlp)?],
            bias: layer.biases.as_ref().map(|biases| b.vector(biases)).transpose()?,
            head_norms: match &layer.head_norms {
                Some([query, key]) => Some((vector(query)?, vector(key)?)),
                None => None,
            },
            qkv: b.matrix(vec![plain(Part::Query), plain(Part::Key), plain(Part::Value)])?,
            output: b.matrix(vec![plain(Part::Output)])?,
            gate_up: b.gated(plain(Part::Gate), plain(Part::Up))?,
            down: b.matrix(vec![plain(Part::Down)])?,
        })
    }

    /// Makes the head ready.
    ///
    /// # Errors
    /// As [`Forward::prepare`].
    pub fn prepare_head(&self, norm: &HostTensor, head: &HostMatrix) -> Result<PreparedHead> {
        Ok(PreparedHead {
            norm: self.backend.vector(std::slice::from_ref(norm))?,
            head: self.backend.matrix(vec![plain(head)])?,
            logits: self.backend.tensor(LOGIT_ROWS, self.config.vocab_size, Role::Plain)?,
        })
    }

    /// The rows of the embedding, `[tokens, hidden]`.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] if the device fails, here and below.
    pub fn embed(&mut self, tokens: &[TokenId], table: &HostMatrix) -> Result<Vec<f32>> {
        let hidden = self.config.hidden_size;
        let mut rows = vec![0.0; tokens.len() * hidden];
        let table = table.as_plain().expect("an embedding is not quantised");
        for (row, token) in rows.chunks_mut(hidden).zip(tokens) {
            super::matrix::read_row(table, token.index(), 0, row);
        }
        Ok(rows)
    }

    /// What `layer` makes of the residual stream `[rows, hidden]` of one window.
    ///
    /// # Errors
    /// As [`Forward::embed`].
    pub fn advance(&mut self, layer: &Prepared, hidden: &mut Vec<f32>) -> Result<()> {
        self.run(layer, hidden, &mut |_, _| Ok(ControlFlow::Continue(())))?;
        *hidden = self.backend.download(&self.residual)?;
        Ok(())
    }

    /// What the matrices of a layer are multiplied with: each of `inputs`, which are in the order
    /// of [`Input::ALL`], as `[rows, k]` to `each`. The layer runs once, as far as the last.
    ///
    /// # Errors
    /// As [`Forward::embed`], and those of `each`.
    pub fn inputs(
        &mut self,
        layer: &Prepared,
        hidden: &[f32],
        inputs: &[Input],
        each: &mut dyn FnMut(Input, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let b = self.backend;
        self.run(layer, hidden, &mut |input, x| {
            if inputs.contains(&input) {
                each(input, &b.download(x)?)?;
            }
            Ok(match inputs.last() == Some(&input) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        })
    }

    /// Leaves in `residual` what the layer makes of `hidden`, unless `look` ends it before: it is
    /// shown the input of each matrix.
    fn run(&mut self, l: &Prepared, hidden: &[f32], look: &mut Look<'_>) -> Result<()> {
        let (b, eps) = (self.backend, self.config.rms_norm_eps);
        let phase = Phase::Prefill;
        let mut batch = Batch::new(phase);
        // The tokens themselves are not looked at after the embedding.
        let tokens = vec![TokenId(0); hidden.len() / self.config.hidden_size];
        batch.push(0, &tokens, &self.pages);
        b.begin(&batch, &mut self.step)?;
        b.upload(hidden, &mut self.residual)?;
        let [attention, mlp] = &l.norms;
        b.rmsnorm(&self.residual, Norm { weight: attention, eps, out: &mut self.normed });
        if look(Input::Attention, &self.normed)?.is_break() {
            return Ok(());
        }
        let bias = l.bias.as_ref().map_or(Epilogue::Store, Epilogue::Bias);
        b.gemm(phase, &self.normed, &l.qkv, bias, &mut self.qkv)?;
        let norm = l.head_norms.as_ref().map(|(query, key)| QkNorm { query, key, eps });
        let kv = &mut self.kv;
        b.rope_append(&self.step, 0, &self.qkv, norm, &self.rope, &mut self.query, kv)?;
        let window = self.config.windows[l.index];
        b.attention(&self.step, 0, window, &self.query, kv, &mut self.attended)?;
        if look(Input::Attended, &self.attended)?.is_break() {
            return Ok(());
        }
        let norm = Norm { weight: mlp, eps, out: &mut self.normed };
        let add = Epilogue::Residual(norm);
        b.gemm(phase, &self.attended, &l.output, add, &mut self.residual)?;
        if look(Input::Mlp, &self.normed)?.is_break() {
            return Ok(());
        }
        b.gemm(phase, &self.normed, &l.gate_up, Epilogue::SwiGlu, &mut self.activated)?;
        if look(Input::Activated, &self.activated)?.is_break() {
            return Ok(());
        }
        // The norm that an op leaves behind is not read: which one it is belongs to the next layer.
        let norm = Norm { weight: attention, eps, out: &mut self.normed };
        let add = Epilogue::Residual(norm);
        b.gemm(phase, &self.activated, &l.down, add, &mut self.residual)
    }

    /// The logits `[rows, vocab]` of the residual stream `[rows, hidden]`, at most [`LOGIT_ROWS`]
    /// rows.
    ///
    /// # Errors
    /// As [`Forward::embed`].
    pub fn logits(&mut self, head: &mut PreparedHead, hidden: &[f32]) -> Result<Vec<f32>> {
        let rows = hidden.len() / self.config.hidden_size;
        assert!(rows <= LOGIT_ROWS, "the logits of {rows} rows at once");
        let (b, eps) = (self.backend, self.config.rms_norm_eps);
        b.upload(hidden, &mut self.residual)?;
        b.rmsnorm(&self.residual, Norm { weight: &head.norm, eps, out: &mut self.normed });
        b.gemm(Phase::Decode, &self.normed, &head.head, Epilogue::Store, &mut head.logits)?;
        b.download(&head.logits)
    }
}

/// Plain elements stay where they are.
fn plain(matrix: &HostMatrix) -> HostMatrix {
    match matrix {
        HostMatrix::Plain(_) => matrix.clone(),
        quantised => HostMatrix::Plain(dequantize(quantised)),
    }
}
