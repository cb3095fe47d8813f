//! The operations a device offers: one method per op, its contract in the doc comment.
//!
//! The model is written over this trait and knows no kernel; a backend knows no model. Activations
//! are tensors `[rows, width]` in the backend's own format (f32 on the CPU). An op takes its number
//! of rows from its input and sets that of its output, whose capacity was fixed when it was made:
//! a step allocates nothing.
//!
//! Every op is row-independent within a family: a row of the output depends on that row of the
//! input, on the weights and, for attention, on the cached keys and values of the row's own
//! sequence. It has the same bits whatever the other rows are, however many there are, and wherever
//! its pages lie.
//!
//! Shapes that disagree are programmer faults and panic with the values; a device that fails gives
//! [`crate::error::Error::Device`].

pub mod batch;
pub mod cpu;
pub mod cuda;

pub use crate::kv::{PAGE_SIZE, PageId, pages_for};
pub use crate::sample::{SampleRow, Sampled};
pub use batch::{Batch, DECODE_ROWS_MAX, Phase, Span};

use crate::error::Result;
use crate::request::TokenId;
use crate::tensor::{Dtype, HostMatrix, HostTensor};

/// Head counts of attention. Query head `h` reads key/value head `h / (query_heads / kv_heads)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads; a multiple of `kv_heads`.
    pub query: usize,
    /// Key/value heads.
    pub kv: usize,
    /// Elements of one head.
    pub dim: usize,
}

impl Heads {
    /// The width of a row of concatenated queries, keys and values.
    pub fn qkv_width(&self) -> usize {
        (self.query + 2 * self.kv) * self.dim
    }
}

/// The size of a KV pool: per layer, keys and values apart, `[pages][kv_heads][64][head_dim]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Layers, each with a pool of its own.
    pub layers: usize,
    /// Pages of each pool.
    pub pages: usize,
    /// The heads of the model.
    pub heads: Heads,
    /// The stored format: F32 or Bf16.
    pub dtype: Dtype,
}

/// The most that a device is made ready for: every size of a step follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepShape {
    /// Rows of a batch.
    pub rows: usize,
    /// Rows whose logits are wanted.
    pub logit_rows: usize,
    /// Sequences of a batch.
    pub sequences: usize,
    /// Positions of a sequence.
    pub context: usize,
    /// The heads of the model.
    pub heads: Heads,
}

/// What a tensor is for. A device may keep each kind in a format of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Activations between two ops.
    Plain,
    /// What a [`Norm`] writes, for a product to read.
    Normed,
    /// What the head writes, kept as f32 and drawn from.
    Logits {
        /// The most tokens of prompt and output before a draw.
        context: usize,
    },
}

/// RMSNorm of the residual stream (Zhang and Sennrich 2019), by the op that writes the stream, for
/// the product that reads the norm: `out = h * rsqrt(mean(h^2) + eps) * weight`, row by row.
///
/// `out` is of [`Role::Normed`]. A device may leave the factor of the row to the product, which
/// then has its result without a pass of its own over the rows.
pub struct Norm<'a, B: Backend + ?Sized> {
    /// `[width]`.
    pub weight: &'a B::Vector,
    /// Added to the mean square.
    pub eps: f32,
    /// `[rows, width]`.
    pub out: &'a mut B::Tensor,
}

/// What a matrix product does with its accumulators before it stores them.
pub enum Epilogue<'a, B: Backend + ?Sized> {
    /// `out = acc`.
    Store,
    /// `out = acc + bias[n]`, bias `[n]`.
    Bias(&'a B::Vector),
    /// `out = out + acc`, and the norm of the new out.
    Residual(Norm<'a, B>),
    /// The matrix is one of [`Backend::gated`]: `out[n] = silu(acc_gate[n]) * acc_up[n]` with
    /// `silu(x) = x / (1 + exp(-x))`; out is `[rows, n]`.
    SwiGlu,
}

/// What [`Backend::rope_append`] does to queries and keys before it rotates them.
#[derive(Debug)]
pub struct QkNorm<'a, V> {
    /// RMSNorm weight of each query head, `[head_dim]`.
    pub query: &'a V,
    /// RMSNorm weight of each key head, `[head_dim]`.
    pub key: &'a V,
    /// Added to the mean square.
    pub eps: f32,
}

/// A device: what it stores and the ops it runs. See the [module](self) for what holds for all ops.
pub trait Backend {
    /// A weight matrix `[n, k]`, prepared for the device.
    type Matrix;
    /// A vector of parameters (norm weight or bias), kept as f32.
    type Vector;
    /// Activations `[rows, width]`.
    type Tensor;
    /// Cosines and sines of the rotary embedding.
    type RopeTable;
    /// The KV pools of all layers.
    type KvCache;
    /// The batch of a step where the device can read it.
    type Step;

    /// The device in words, for start-up messages.
    fn describe(&self) -> String;

    /// What became of the weights that this backend has prepared, where it is not what their format
    /// promises: sentences for whoever loads a model to pass on to the user.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }

    /// Bytes of device memory that are free; `None` where weights and activations do not go to
    /// memory of a device's own.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] if the device cannot be asked.
    fn free_bytes(&self) -> Result<Option<u64>>;

    /// Bytes that steps of this shape need beside tensors, weights and KV pools, for a model of
    /// `vocab` tokens with matrices `(n, k)`.
    ///
    /// # Errors
    /// [`crate::error::Error::NoKernel`] if it cannot compute with such heads.
    fn scratch_bytes(
        &self,
        shape: StepShape,
        vocab: usize,
        matrices: &[(usize, usize)],
    ) -> Result<u64>;

    /// Prepares a weight. `parts` are matrices `[n_i, k]` of one format that are stacked along n;
    /// on the CPU those that are not quantised stay where they are (a mapped file).
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] if the device has no memory left,
    /// [`crate::error::Error::NoKernel`] if it cannot compute with such a matrix.
    fn matrix(&self, parts: Vec<HostMatrix>) -> Result<Self::Matrix>;

    /// Prepares gate and up, `[n, k]` each and of one format, for [`Epilogue::SwiGlu`].
    ///
    /// # Errors
    /// As [`Backend::matrix`].
    fn gated(&self, gate: HostMatrix, up: HostMatrix) -> Result<Self::Matrix>;

    /// Prepares a vector: `parts` `[n_i]` one after the other, converted to f32.
    ///
    /// # Errors
    /// As [`Backend::matrix`].
    fn vector(&self, parts: &[HostTensor]) -> Result<Self::Vector>;

    /// Room for activations of at most `rows` rows of `width` elements; starts with no rows.
    ///
    /// # Errors
    /// As [`Backend::matrix`].
    fn tensor(&self, rows: usize, width: usize, role: Role) -> Result<Self::Tensor>;

    /// A table of `cos` and `sin` of `position * inv_freq[i]` (the product rounded to f32) for
    /// positions `0..positions`; `inv_freq` is `[head_dim / 2]`.
    ///
    /// # Errors
    /// As [`Backend::matrix`].
    fn rope_table(&self, inv_freq: &[f32], positions: usize) -> Result<Self::RopeTable>;

    /// The format in which keys and values are kept.
    fn kv_dtype(&self) -> Dtype;

    /// KV pools. Their content is undefined until it is appended.
    ///
    /// # Errors
    /// As [`Backend::matrix`].
    fn kv_cache(&self, shape: KvShape) -> Result<Self::KvCache>;

    /// Room for the batches of all steps.
    ///
    /// # Errors
    /// As [`Backend::matrix`].
    fn step(&self, shape: StepShape) -> Result<Self::Step>;

    /// Puts a batch where the device can read it. The ops of the pass follow.
    ///
    /// # Errors
    /// As [`Backend::embed`].
    ///
    /// # Panics
    /// If the batch is larger than the step was made for.
    fn begin(&self, batch: &Batch, step: &mut Self::Step) -> Result<()>;

    /// Runs `body`, which issues the ops of one forward pass and nothing else. A device may record
    /// the ops and run the record the next time: it then calls `body` to learn what is asked for,
    /// without running its ops, or a second time to record them.
    ///
    /// # Errors
    /// That of `body`, or of the device.
    fn pass(&self, step: &Self::Step, body: &mut dyn FnMut() -> Result<()>) -> Result<()>;

    /// `out[row] = table[tokens[row]]`: table `[vocab, hidden]`, out `[rows, hidden]`; and the norm
    /// of out. Every token must be below vocab.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] if the device fails, here and in every op below.
    fn embed(
        &self,
        step: &Self::Step,
        table: &Self::Matrix,
        norm: Norm<'_, Self>,
        out: &mut Self::Tensor,
    ) -> Result<()>;

    /// `acc = x W^T` with x `[rows, k]`, W `[n, k]`, accumulated in f32 in an order that the shape
    /// of W alone fixes; then the epilogue. out is `[rows, n]`; with [`Epilogue::SwiGlu`] n counts
    /// the rows of the gate.
    ///
    /// # Errors
    /// As [`Backend::embed`].
    fn gemm(
        &self,
        phase: Phase,
        x: &Self::Tensor,
        weight: &Self::Matrix,
        epilogue: Epilogue<'_, Self>,
        out: &mut Self::Tensor,
    ) -> Result<()>;

    /// Splits qkv `[rows, (query + 2 kv) * head_dim]` (queries, then keys, then values), normalises
    /// queries and keys per head if `norm` is given, rotates both at each row's position, stores
    /// the queries in `query` `[rows, query * head_dim]` and appends keys and values to the pages
    /// of `layer`. The rotation pairs element i with i + head_dim / 2 (Su et al. 2021, in the
    /// half-split form of the supported checkpoints).
    ///
    /// # Errors
    /// As [`Backend::embed`].
    #[allow(clippy::too_many_arguments)] // an op's operands; a struct would only rename them
    fn rope_append(
        &self,
        step: &Self::Step,
        layer: usize,
        qkv: &Self::Tensor,
        norm: Option<QkNorm<'_, Self::Vector>>,
        rope: &Self::RopeTable,
        query: &mut Self::Tensor,
        kv: &mut Self::KvCache,
    ) -> Result<()>;

    /// Causal attention of the batch's rows over the pages of their own sequences:
    /// `out = softmax(q k^T / sqrt(head_dim)) v`. The row at position p sees positions 0..=p, or
    /// with `window` w only those above p - w (w positions, itself included). query and out are
    /// `[rows, query * head_dim]`. Slots past a sequence's last row are never read.
    ///
    /// # Errors
    /// As [`Backend::embed`].
    fn attention(
        &self,
        step: &Self::Step,
        layer: usize,
        window: Option<usize>,
        query: &Self::Tensor,
        kv: &Self::KvCache,
        out: &mut Self::Tensor,
    ) -> Result<()>;

    /// The rows of x `[rows, width]` whose logits the batch wants: `out[i] = x[logit_rows[i]]`.
    /// Both tensors are of one role.
    ///
    /// # Errors
    /// As [`Backend::embed`].
    fn gather(&self, step: &Self::Step, x: &Self::Tensor, out: &mut Self::Tensor) -> Result<()>;

    /// Draws one token from each row of logits `[rows, vocab]`, a tensor of [`Role::Logits`], as
    /// [`crate::sample`] defines it.
    ///
    /// # Errors
    /// As [`Backend::embed`]; logits that are not finite give [`crate::error::Error::Device`].
    fn sample(&self, logits: &Self::Tensor, rows: &[SampleRow<'_>]) -> Result<Vec<Sampled>>;

    /// The log-probability of `targets[i]` in row i of logits `[rows, vocab]`, as
    /// [`crate::sample::log_prob`] defines it.
    ///
    /// # Errors
    /// As [`Backend::embed`].
    fn log_probs(&self, logits: &Self::Tensor, targets: &[TokenId]) -> Result<Vec<f32>>;

    /// Copies a tensor's rows to the host as f32, `[rows, width]`.
    ///
    /// # Errors
    /// As [`Backend::embed`].
    fn download(&self, x: &Self::Tensor) -> Result<Vec<f32>>;

    /// Overwrites a tensor with rows from the host, `values` `[rows, width]`. For tests and for
    /// callers that bring their own activations.
    ///
    /// # Errors
    /// As [`Backend::embed`].
    fn upload(&self, values: &[f32], out: &mut Self::Tensor) -> Result<()>;
}
