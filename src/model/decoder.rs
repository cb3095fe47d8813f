//! The forward pass: Llama and its kin (Touvron et al. 2023), written over the backend's ops.

use crate::backend::{Backend, Batch, Epilogue, KvShape, Norm, Phase, QkNorm, Role, StepShape};
use crate::error::Result;
use crate::load::Source;
use crate::model::config::ModelConfig;
use crate::model::weights::Weights;

/// The sizes a decoder is made for; everything it needs in a step is allocated from them at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most rows of a batch.
    pub rows: usize,
    /// The most rows of a batch whose logits are wanted.
    pub logit_rows: usize,
    /// The most sequences of a batch.
    pub sequences: usize,
    /// The most positions of a sequence; at most the model's context.
    pub context: usize,
}

impl Limits {
    /// The least there can be.
    pub const ONE: Limits = Limits { rows: 1, logit_rows: 1, sequences: 1, context: 1 };
}

/// A model on a device.
pub struct Decoder<B: Backend> {
    backend: B,
    config: ModelConfig,
    limits: Limits,
    weights: Weights<B>,
    rope: B::RopeTable,
    step: B::Step,
    work: Workspace<B>,
}

/// Activations of a step, `[rows, width]` each.
struct Workspace<B: Backend> {
    /// The residual stream, `[rows, hidden]`.
    residual: B::Tensor,
    /// A normalised residual stream, `[rows, hidden]`.
    normed: B::Tensor,
    /// `[rows, (query + 2 kv) * head_dim]`.
    qkv: B::Tensor,
    /// Rotated queries, `[rows, query * head_dim]`.
    query: B::Tensor,
    /// Attention's result, `[rows, query * head_dim]`.
    attended: B::Tensor,
    /// `silu(gate) * up`, `[rows, intermediate]`.
    activated: B::Tensor,
    /// The normalised rows whose logits are wanted, `[logit_rows, hidden]`.
    last: B::Tensor,
    /// `[logit_rows, vocab]`.
    logits: B::Tensor,
}

impl<B: Backend> Workspace<B> {
    fn new(backend: &B, config: &ModelConfig, limits: Limits) -> Result<Workspace<B>> {
        let rows = |width| backend.tensor(limits.rows, width, Role::Plain);
        let normed = |rows| backend.tensor(rows, config.hidden_size, Role::Normed);
        let heads = config.heads;
        Ok(Workspace {
            residual: rows(config.hidden_size)?,
            normed: normed(limits.rows)?,
            qkv: rows(heads.qkv_width())?,
            query: rows(heads.query * heads.dim)?,
            attended: rows(heads.query * heads.dim)?,
            activated: rows(config.intermediate_size)?,
            last: normed(limits.logit_rows)?,
            logits: backend.tensor(
                limits.logit_rows,
                config.vocab_size,
                Role::Logits { context: limits.context },
            )?,
        })
    }
}

impl<B: Backend> Decoder<B> {
    /// Puts the weights of `source` on the device.
    ///
    /// # Errors
    /// A tensor that does not fit the configuration, or [`crate::error::Error::Device`].
    ///
    /// # Panics
    /// If a limit is zero or the context is longer than the model's.
    pub fn load(
        backend: B,
        config: ModelConfig,
        source: &dyn Source,
        limits: Limits,
    ) -> Result<Decoder<B>> {
        let Limits { rows, logit_rows, sequences, context } = limits;
        assert!(rows > 0 && logit_rows > 0 && sequences > 0 && context > 0, "{limits:?}");
        assert!(context <= config.context, "context {context} of {}", config.context);
        let weights = Weights::load(&backend, &config, source)?;
        let rope = backend.rope_table(&config.rope.inv_freq(config.heads.dim), context)?;
        let shape = StepShape { rows, logit_rows, sequences, context, heads: config.heads };
        let step = backend.step(shape)?;
        let work = Workspace::new(&backend, &config, limits)?;
        Ok(Decoder { backend, config, limits, weights, rope, step, work })
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The sizes it was made for.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The device.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// KV pools of `pages` pages for this model.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] if there is no room for them.
    pub fn kv_cache(&self, pages: usize) -> Result<B::KvCache> {
        let config = &self.config;
        let dtype = self.backend.kv_dtype();
        let shape = KvShape { layers: config.layers, pages, heads: config.heads, dtype };
        self.backend.kv_cache(shape)
    }

    /// The logits of the last [`forward`](Decoder::forward) that asked for any:
    /// `[logit_rows, vocab]`, one row for each of its `logit_rows`.
    pub fn logits(&self) -> &B::Tensor {
        &self.work.logits
    }

    /// Runs the batch: appends its keys and values to `kv` and computes the logits of
    /// `batch.logit_rows`, always by the decode family.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] if the device fails.
    pub fn forward(&mut self, batch: &Batch, kv: &mut B::KvCache) -> Result<()> {
        self.backend.begin(batch, &mut self.step)?;
        let (b, c, w, step) = (&self.backend, &self.config, &mut self.work, &self.step);
        let eps = c.rms_norm_eps;
        let layers = &self.weights.layers;
        // The norm before layer i, or the one before the head.
        let norm_of = |i: usize| layers.get(i).map_or(&self.weights.norm, |l| &l.attention_norm);
        b.pass(step, &mut || {
            let norm = Norm { weight: norm_of(0), eps, out: &mut w.normed };
            b.embed(step, &self.weights.embedding, norm, &mut w.residual)?;
            for (i, layer) in layers.iter().enumerate() {
                let bias = layer.qkv_bias.as_ref().map_or(Epilogue::Store, Epilogue::Bias);
                b.gemm(batch.phase, &w.normed, &layer.qkv, bias, &mut w.qkv)?;
                let norm = layer.qk_norm.as_ref().map(|(query, key)| QkNorm { query, key, eps });
                b.rope_append(step, i, &w.qkv, norm, &self.rope, &mut w.query, kv)?;
                b.attention(step, i, c.windows[i], &w.query, kv, &mut w.attended)?;
                let norm = Norm { weight: &layer.mlp_norm, eps, out: &mut w.normed };
                let add = Epilogue::Residual(norm);
                b.gemm(batch.phase, &w.attended, &layer.output, add, &mut w.residual)?;
                let gated = Epilogue::SwiGlu;
                b.gemm(batch.phase, &w.normed, &layer.gate_up, gated, &mut w.activated)?;
                let norm = Norm { weight: norm_of(i + 1), eps, out: &mut w.normed };
                let add = Epilogue::Residual(norm);
                b.gemm(batch.phase, &w.activated, &layer.down, add, &mut w.residual)?;
            }
            if batch.logit_rows.is_empty() {
                return Ok(());
            }
            let head = self.weights.head.as_ref().unwrap_or(&self.weights.embedding);
            b.gather(step, &w.normed, &mut w.last)?;
            b.gemm(Phase::Decode, &w.last, head, Epilogue::Store, &mut w.logits)
        })
    }
}
