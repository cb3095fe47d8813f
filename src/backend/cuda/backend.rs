//! The ops of [`Backend`] on a GPU: each checks its operands and hands addresses to its launch code
//! in `ops`.

use super::driver::{DevicePtr, Driver};
use super::kernels::{KernelSet, Kernels};
use super::matrix::Matrix;
use super::memory::Buffer;
use super::ops;
use super::ops::gemm::{Gemm, InputNorm, Output, WeightKind, check_product};
use super::ops::rope::{HeadNorm, RopeAppend};
use super::sampler::Sampler;
use super::step::Step;
use super::store::{KvCache, RopeTable, Rows, Tensor, Vector, padded_rows};
use crate::backend::{
    Backend, Batch, Epilogue, KvShape, Norm, Phase, QkNorm, Role, SampleRow, Sampled, StepShape,
};
use crate::error::Result;
use crate::request::TokenId;
use crate::tensor::{Dtype, HostMatrix, HostTensor};
use std::cell::RefCell;
use std::sync::Arc;

/// A GPU, or the simulator.
pub struct CudaBackend {
    kernels: Kernels,
    scratch: RefCell<Scratch>,
    /// Names of the int4 matrices whose columns are in an order of their own.
    dequantised: RefCell<Vec<String>>,
}

/// Where the blocks of a product that share a tile leave their sums. It grows while a model is
/// loaded, when matrices and tensors are made, and never after.
#[derive(Default)]
struct Scratch {
    /// The most rows of any tensor.
    rows: usize,
    /// `(n, k)` of the matrices.
    shapes: Vec<(usize, usize)>,
    partials: Option<Buffer>,
    arrivals: Option<Buffer>,
}

impl Scratch {
    /// Bytes of sums and of counters.
    fn bytes(shapes: &[(usize, usize)], rows: usize) -> (u64, u64) {
        let shapes = shapes.iter();
        let partials = shapes.clone().map(|&(n, k)| ops::gemm::partials_bytes(n, k, rows)).max();
        let arrivals = shapes.map(|&(n, k)| 4 * ops::gemm::arrivals_count(n, k, rows) as u64).max();
        (partials.unwrap_or(0), arrivals.unwrap_or(0))
    }

    fn fit(&mut self, driver: &Arc<dyn Driver>) -> Result<()> {
        let (partials, arrivals) = Scratch::bytes(&self.shapes, self.rows);
        let lacks =
            |buffer: &Option<Buffer>, bytes| bytes > buffer.as_ref().map_or(0, Buffer::bytes);
        if lacks(&self.partials, partials) {
            self.partials = None; // the old one goes first
            self.partials = Some(Buffer::new(driver, partials)?);
        }
        if lacks(&self.arrivals, arrivals) {
            self.arrivals = None;
            self.arrivals = Some(Buffer::zeroed(driver, arrivals)?);
        }
        Ok(())
    }
}

impl CudaBackend {
    /// The backend on a device, with all kernels loaded.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] if the device cannot run them.
    pub fn new(driver: Arc<dyn Driver>) -> Result<CudaBackend> {
        Kernels::new(driver).map(CudaBackend::of)
    }

    /// The backend on the kernels of a set, for comparisons.
    ///
    /// # Errors
    /// As [`CudaBackend::new`].
    pub fn of_set(driver: Arc<dyn Driver>, set: KernelSet) -> Result<CudaBackend> {
        Kernels::of_set(driver, set).map(CudaBackend::of)
    }

    /// The backend on kernels that are loaded.
    pub fn of(kernels: Kernels) -> CudaBackend {
        CudaBackend { kernels, scratch: RefCell::default(), dequantised: RefCell::default() }
    }

    /// Another backend on the same device, for a second model.
    ///
    /// # Errors
    /// As [`CudaBackend::new`].
    pub fn another(&self) -> Result<CudaBackend> {
        self.kernels.again().map(CudaBackend::of)
    }

    /// The kernels that its ops launch.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    fn driver(&self) -> &Arc<dyn Driver> {
        self.kernels.driver()
    }

    fn prepared(&self, parts: Vec<HostMatrix>, gated: bool) -> Result<Matrix> {
        let ordered = parts.iter().filter(|part| match part {
            HostMatrix::Int4(tensor) => tensor.matrix.order.is_some(),
            _ => false,
        });
        self.dequantised.borrow_mut().extend(ordered.map(|part| part.name().to_owned()));
        let matrix = Matrix::new(self.driver(), parts, gated)?;
        let (kind, shape) = (matrix.weight().kind(), (matrix.n, matrix.k));
        check_product(&self.kernels, Phase::Decode, kind, shape, matrix.gated)?;
        // A head of int8 needs no prefill; any other matrix of int8 is refused where it is used.
        if kind != WeightKind::Int8 {
            check_product(&self.kernels, Phase::Prefill, kind, shape, matrix.gated)?;
        }
        let mut scratch = self.scratch.borrow_mut();
        if !scratch.shapes.contains(&shape) {
            scratch.shapes.push(shape);
            scratch.fit(self.driver())?;
        }
        Ok(matrix)
    }
}

/// Makes `norm.out` ready to be written beside rows of `width`; gives weight, rows and squares.
fn norm_operands(
    norm: Norm<'_, CudaBackend>,
    rows: Rows,
    width: usize,
) -> (DevicePtr, DevicePtr, DevicePtr) {
    let Norm { weight, eps, out } = norm;
    assert_eq!(weight.len, width, "norm weight of rows of {width}");
    assert_eq!((out.width, out.role), (width, Role::Normed), "out of a norm");
    out.set_rows(rows);
    out.eps = eps;
    (weight.ptr(), out.ptr(), out.squares_ptr())
}

impl Backend for CudaBackend {
    type Matrix = Matrix;
    type Vector = Vector;
    type Tensor = Tensor;
    type RopeTable = RopeTable;
    type KvCache = KvCache;
    type Step = Step;

    fn describe(&self) -> String {
        let properties = self.driver().properties();
        let (major, minor) = properties.compute;
        let memory = properties.memory_bytes as f64 / 1e9;
        let (set, target) = (self.kernels.set(), self.driver().target());
        format!("{} ({major}.{minor}, {memory:.0} GB), {set} kernels for {target}", properties.name)
    }

    fn remarks(&self) -> Vec<String> {
        let names = self.dequantised.borrow();
        let first = names.first().map(|first| {
            format!(
                "{} int4 matrices, {first} the first, have columns in an order of their own \
                 (desc_act), which no kernel reads: they are kept in bf16, four times as large",
                names.len()
            )
        });
        first.into_iter().collect()
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        self.driver().free_bytes().map(Some)
    }

    fn scratch_bytes(
        &self,
        shape: StepShape,
        vocab: usize,
        matrices: &[(usize, usize)],
    ) -> Result<u64> {
        let rows = padded_rows(shape.rows.max(shape.logit_rows));
        let (partials, arrivals) = Scratch::bytes(matrices, rows);
        let sampler = Sampler::bytes(padded_rows(shape.logit_rows), vocab, shape.context);
        let step = Step::bytes(self.driver().properties(), shape)?;
        Ok(step + partials + arrivals + sampler)
    }

    fn matrix(&self, parts: Vec<HostMatrix>) -> Result<Matrix> {
        self.prepared(parts, false)
    }

    fn gated(&self, gate: HostMatrix, up: HostMatrix) -> Result<Matrix> {
        self.prepared(vec![gate, up], true)
    }

    fn vector(&self, parts: &[HostTensor]) -> Result<Vector> {
        Vector::new(self.driver(), parts)
    }

    fn tensor(&self, rows: usize, width: usize, role: Role) -> Result<Tensor> {
        let tensor = Tensor::new(self.driver(), rows, width, role)?;
        let mut scratch = self.scratch.borrow_mut();
        if tensor.capacity() > scratch.rows {
            scratch.rows = tensor.capacity();
            scratch.fit(self.driver())?;
        }
        Ok(tensor)
    }

    fn rope_table(&self, inv_freq: &[f32], positions: usize) -> Result<RopeTable> {
        RopeTable::new(self.driver(), inv_freq, positions)
    }

    fn kv_dtype(&self) -> Dtype {
        Dtype::Bf16
    }

    fn kv_cache(&self, shape: KvShape) -> Result<KvCache> {
        KvCache::new(self.driver(), shape)
    }

    fn step(&self, shape: StepShape) -> Result<Step> {
        Step::new(self.driver(), shape)
    }

    fn begin(&self, batch: &Batch, step: &mut Step) -> Result<()> {
        step.take(batch, &self.kernels)
    }

    fn pass(&self, step: &Step, body: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        step.pass(&self.kernels, body)
    }

    fn embed(
        &self,
        step: &Step,
        table: &Matrix,
        norm: Norm<'_, Self>,
        out: &mut Tensor,
    ) -> Result<()> {
        assert_eq!(out.width, table.k, "width of an embedding [{}, {}]", table.n, table.k);
        out.set_rows(step.rows);
        let (gamma, scaled, squares) = norm_operands(norm, step.rows, table.k);
        ops::embed::embed(
            &self.kernels,
            &ops::embed::Embed {
                table: table.rows_ptr(),
                token_ids: step.tokens(),
                out: out.ptr(),
                norm: Some(ops::embed::PreparedNorm { gamma, scaled, squares }),
                tokens: step.rows.padded as u32,
                hidden: table.k as u32,
                vocab: table.n as u32,
            },
        )
    }

    fn gemm(
        &self,
        phase: Phase,
        x: &Tensor,
        weight: &Matrix,
        epilogue: Epilogue<'_, Self>,
        out: &mut Tensor,
    ) -> Result<()> {
        let (n, k) = (weight.n, weight.k);
        let gated = matches!(epilogue, Epilogue::SwiGlu);
        let width = if gated { n / 2 } else { n };
        assert_eq!(x.width, k, "x [{}, {}], W [{n}, {k}]", x.rows.padded, x.width);
        assert_eq!(out.width, width, "out of a product with W [{n}, {k}]");
        assert_eq!(weight.gated, gated, "a gated matrix wants SwiGLU, and no other does");
        if weight.weight().kind() == WeightKind::Int8 {
            check_product(&self.kernels, phase, WeightKind::Int8, (n, k), gated)?;
        }
        let norm = match x.squares_ptr() {
            0 => None,
            squares => Some(InputNorm { squares, epsilon: x.eps }),
        };
        let (mut bias, mut target) = (0, out.ptr());
        let output = match epilogue {
            Epilogue::SwiGlu => Output::SwiGlu,
            Epilogue::Residual(norm) => {
                assert_eq!(out.rows, x.rows, "rows of a residual");
                let (gamma, scaled, squares) = norm_operands(norm, x.rows, n);
                target = scaled;
                Output::Residual { stream: out.ptr(), gamma, squares }
            }
            Epilogue::Store | Epilogue::Bias(_) => {
                if let Epilogue::Bias(given) = epilogue {
                    assert_eq!(given.len, n, "bias of {n} columns");
                    bias = given.ptr();
                }
                match out.role {
                    Role::Logits { .. } => Output::F32,
                    _ => Output::Bf16,
                }
            }
        };
        out.set_rows(x.rows);
        let scratch = self.scratch.borrow();
        let at = |buffer: &Option<Buffer>| buffer.as_ref().map_or(0, Buffer::ptr);
        ops::gemm::gemm(
            &self.kernels,
            &Gemm {
                phase,
                x: x.ptr(),
                norm,
                weight: weight.weight(),
                bias,
                output,
                out: target,
                partials: at(&scratch.partials),
                arrivals: at(&scratch.arrivals),
                rows: x.rows.padded,
                n,
                k,
            },
        )
    }

    fn rope_append(
        &self,
        step: &Step,
        layer: usize,
        qkv: &Tensor,
        norm: Option<QkNorm<'_, Vector>>,
        rope: &RopeTable,
        query: &mut Tensor,
        kv: &mut KvCache,
    ) -> Result<()> {
        let heads = kv.shape.heads;
        assert_eq!(qkv.rows, step.rows, "qkv rows of the batch");
        assert_eq!(qkv.width, heads.qkv_width(), "qkv width of {heads:?}");
        assert_eq!(query.width, heads.query * heads.dim, "query width of {heads:?}");
        assert_eq!(2 * rope.half, heads.dim, "the rope table's head_dim");
        assert!(step.last_position() < rope.positions, "positions of the rope table");
        query.set_rows(step.rows);
        let (k_pages, v_pages) = kv.layer(layer);
        let norm = norm.map(|norm| {
            let dims = (norm.query.len, norm.key.len);
            assert_eq!(dims, (heads.dim, heads.dim), "norm weights of heads");
            let (q_gamma, k_gamma) = (norm.query.ptr(), norm.key.ptr());
            HeadNorm { q_gamma, k_gamma, epsilon: norm.eps }
        });
        ops::rope::rope_append(
            &self.kernels,
            &RopeAppend {
                qkv: qkv.ptr(),
                bias: None,
                norm,
                cos_sin: rope.ptr(),
                positions: step.positions(),
                slots: step.slots(),
                q_out: query.ptr(),
                k_pages,
                v_pages,
                heads,
                tokens: step.rows.padded as u32,
            },
        )
    }

    fn attention(
        &self,
        step: &Step,
        layer: usize,
        window: Option<usize>,
        query: &Tensor,
        kv: &KvCache,
        out: &mut Tensor,
    ) -> Result<()> {
        let heads = kv.shape.heads;
        assert_eq!(query.rows, step.rows, "query rows of the batch");
        assert_eq!(query.width, heads.query * heads.dim, "query width of {heads:?}");
        assert_eq!(out.width, query.width, "width of attention's out");
        out.set_rows(step.rows);
        step.attention(&self.kernels, kv.layer(layer), heads, window, (query.ptr(), out.ptr()))
    }

    fn gather(&self, step: &Step, x: &Tensor, out: &mut Tensor) -> Result<()> {
        assert_eq!((x.width, x.role), (out.width, out.role), "gather's tensors");
        out.set_rows(step.logit_rows);
        out.eps = x.eps;
        ops::gather::gather(
            &self.kernels,
            &ops::gather::Gather {
                x: x.ptr(),
                squares: x.squares_ptr(),
                row_ids: step.wanted_rows(),
                out: out.ptr(),
                out_squares: out.squares_ptr(),
                rows: step.logit_rows.padded,
                x_rows: x.rows.padded,
                width: x.width,
            },
        )
    }

    fn sample(&self, logits: &Tensor, rows: &[SampleRow<'_>]) -> Result<Vec<Sampled>> {
        logits.sampler().sample(&self.kernels, logits.ptr(), logits.rows, rows)
    }

    fn log_probs(&self, logits: &Tensor, targets: &[TokenId]) -> Result<Vec<f32>> {
        logits.sampler().log_probs(&self.kernels, logits.ptr(), logits.rows, targets)
    }

    fn download(&self, x: &Tensor) -> Result<Vec<f32>> {
        x.to_host()
    }

    fn upload(&self, values: &[f32], out: &mut Tensor) -> Result<()> {
        out.take(values)
    }
}
