//! The forward pass one layer at a time: activations of a text go through a layer, what its
//! matrices read can be had, and the next layer's weights need not be there yet.
//!
//! The same ops in the same order as the decoder, on the CPU; results have its bits.

use super::layer::{HostLayer, Input, Part};
use super::matrix::dequantize;
use crate::backend::cpu::{self, CpuBackend};
use crate::backend::{
    Backend, Batch, Epilogue, KvShape, Norm, PageId, Phase, QkNorm, Role, StepShape, pages_for,
};
use crate::error::Result;
use crate::model::ModelConfig;
use crate::request::TokenId;
use crate::tensor::{Dtype, HostMatrix, HostTensor};

/// Rows whose logits are computed at a time.
const LOGIT_ROWS: usize = 64;

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
        *hidden = self.run(layer, hidden, None)?;
        Ok(())
    }

    /// What the matrices that read `input` are multiplied with, `[rows, k]`.
    ///
    /// # Errors
    /// As [`Forward::embed`].
    pub fn input(&mut self, layer: &Prepared, hidden: &[f32], input: Input) -> Result<Vec<f32>> {
        self.run(layer, hidden, Some(input))
    }

    fn run(&mut self, l: &Prepared, hidden: &[f32], until: Option<Input>) -> Result<Vec<f32>> {
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
        if until == Some(Input::Attention) {
            return b.download(&self.normed);
        }
        let bias = l.bias.as_ref().map_or(Epilogue::Store, Epilogue::Bias);
        b.gemm(phase, &self.normed, &l.qkv, bias, &mut self.qkv)?;
        let norm = l.head_norms.as_ref().map(|(query, key)| QkNorm { query, key, eps });
        let kv = &mut self.kv;
        b.rope_append(&self.step, 0, &self.qkv, norm, &self.rope, &mut self.query, kv)?;
        let window = self.config.windows[l.index];
        b.attention(&self.step, 0, window, &self.query, kv, &mut self.attended)?;
        if until == Some(Input::Attended) {
            return b.download(&self.attended);
        }
        let norm = Norm { weight: mlp, eps, out: &mut self.normed };
        let add = Epilogue::Residual(norm);
        b.gemm(phase, &self.attended, &l.output, add, &mut self.residual)?;
        if until == Some(Input::Mlp) {
            return b.download(&self.normed);
        }
        b.gemm(phase, &self.normed, &l.gate_up, Epilogue::SwiGlu, &mut self.activated)?;
        if until == Some(Input::Activated) {
            return b.download(&self.activated);
        }
        // The norm that an op leaves behind is not read: which one it is belongs to the next layer.
        let norm = Norm { weight: attention, eps, out: &mut self.normed };
        let add = Epilogue::Residual(norm);
        b.gemm(phase, &self.activated, &l.down, add, &mut self.residual)?;
        b.download(&self.residual)
    }

    /// The logits of the residual stream `[rows, hidden]`: some rows at a time to `each`, with the
    /// number of the first.
    ///
    /// # Errors
    /// As [`Forward::embed`], and those of `each`.
    pub fn logits(
        &mut self,
        head: &PreparedHead,
        hidden: &[f32],
        each: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        let (b, eps) = (self.backend, self.config.rms_norm_eps);
        let (width, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let mut logits = b.tensor(LOGIT_ROWS, vocab, Role::Plain)?;
        for (i, rows) in hidden.chunks(LOGIT_ROWS * width).enumerate() {
            b.upload(rows, &mut self.residual)?;
            b.rmsnorm(&self.residual, Norm { weight: &head.norm, eps, out: &mut self.normed });
            b.gemm(Phase::Decode, &self.normed, &head.head, Epilogue::Store, &mut logits)?;
            each(i * LOGIT_ROWS, &b.download(&logits)?);
        }
        Ok(())
    }
}

/// Plain elements stay where they are.
fn plain(matrix: &HostMatrix) -> HostMatrix {
    match matrix {
        HostMatrix::Plain(_) => matrix.clone(),
        quantised => HostMatrix::Plain(dequantize(quantised)),
    }
}
