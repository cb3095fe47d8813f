//! A backend that fails when it is told to, around the CPU's.

use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::backend::{
    Backend, Batch, Epilogue, KvShape, Norm, Phase, QkNorm, Role, SampleRow, Sampled, StepShape,
};
use ridgepoint::error::{Error, Result};
use ridgepoint::request::TokenId;
use ridgepoint::tensor::{Dtype, HostMatrix, HostTensor};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An op gives an error.
    Error,
    /// An op panics.
    Panic,
    /// An op takes this long, once.
    Slow(Duration),
}

/// When it fails: shared with the test.
#[derive(Clone)]
pub struct Trigger(Arc<State>);

struct State {
    /// Ops before the fault; below 0 there is none.
    left: AtomicI64,
    fault: Mutex<Fault>,
    fired: AtomicBool,
}

impl Trigger {
    pub fn new() -> Trigger {
        let fault = Mutex::new(Fault::Error);
        Trigger(Arc::new(State { left: AtomicI64::new(-1), fault, fired: AtomicBool::new(false) }))
    }

    /// The op after `ops` more will fail.
    pub fn arm(&self, fault: Fault, ops: i64) {
        *self.0.fault.lock().unwrap() = fault;
        self.0.fired.store(false, Ordering::SeqCst);
        self.0.left.store(ops, Ordering::SeqCst);
    }

    pub fn has_fired(&self) -> bool {
        self.0.fired.load(Ordering::SeqCst)
    }

    fn op(&self) -> Result<()> {
        let left = self.0.left.load(Ordering::SeqCst);
        if left < 0 {
            return Ok(());
        }
        self.0.left.store(left - 1, Ordering::SeqCst);
        if left > 0 {
            return Ok(());
        }
        self.0.fired.store(true, Ordering::SeqCst);
        let fault = *self.0.fault.lock().unwrap();
        match fault {
            Fault::Error => Err(Error::Device("a planned fault".to_string())),
            Fault::Panic => panic!("a planned panic"),
            Fault::Slow(time) => {
                std::thread::sleep(time);
                Ok(())
            }
        }
    }
}

/// The backend.
pub struct Faulty {
    pub inner: CpuBackend,
    pub trigger: Trigger,
}

type Cpu = CpuBackend;

fn norm(norm: Norm<'_, Faulty>) -> Norm<'_, Cpu> {
    Norm { weight: norm.weight, eps: norm.eps, out: norm.out }
}

impl Backend for Faulty {
    type Matrix = <Cpu as Backend>::Matrix;
    type Vector = <Cpu as Backend>::Vector;
    type Tensor = <Cpu as Backend>::Tensor;
    type RopeTable = <Cpu as Backend>::RopeTable;
    type KvCache = <Cpu as Backend>::KvCache;
    type Step = <Cpu as Backend>::Step;

    fn describe(&self) -> String {
        "a backend that fails".to_string()
    }

    fn free_bytes(&self) -> Result<Option<u64>> {
        self.inner.free_bytes()
    }

    fn scratch_bytes(&self, shape: StepShape, vocab: usize, m: &[(usize, usize)]) -> Result<u64> {
        self.inner.scratch_bytes(shape, vocab, m)
    }

    fn matrix(&self, parts: Vec<HostMatrix>) -> Result<Self::Matrix> {
        self.inner.matrix(parts)
    }

    fn gated(&self, gate: HostMatrix, up: HostMatrix) -> Result<Self::Matrix> {
        self.inner.gated(gate, up)
    }

    fn vector(&self, parts: &[HostTensor]) -> Result<Self::Vector> {
        self.inner.vector(parts)
    }

    fn tensor(&self, rows: usize, width: usize, role: Role) -> Result<Self::Tensor> {
        self.inner.tensor(rows, width, role)
    }

    fn rope_table(&self, inv_freq: &[f32], positions: usize) -> Result<Self::RopeTable> {
        self.inner.rope_table(inv_freq, positions)
    }

    fn kv_dtype(&self) -> Dtype {
        self.inner.kv_dtype()
    }

    fn kv_cache(&self, shape: KvShape) -> Result<Self::KvCache> {
        self.inner.kv_cache(shape)
    }

    fn step(&self, shape: StepShape) -> Result<Self::Step> {
        self.inner.step(shape)
    }

    fn begin(&self, batch: &Batch, step: &mut Self::Step) -> Result<()> {
        self.trigger.op()?;
        self.inner.begin(batch, step)
    }

    fn pass(&self, step: &Self::Step, body: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.inner.pass(step, body)
    }

    fn embed(
        &self,
        step: &Self::Step,
        table: &Self::Matrix,
        n: Norm<'_, Self>,
        out: &mut Self::Tensor,
    ) -> Result<()> {
        self.trigger.op()?;
        self.inner.embed(step, table, norm(n), out)
    }

    fn gemm(
        &self,
        phase: Phase,
        x: &Self::Tensor,
        weight: &Self::Matrix,
        epilogue: Epilogue<'_, Self>,
        out: &mut Self::Tensor,
    ) -> Result<()> {
        self.trigger.op()?;
        let epilogue = match epilogue {
            Epilogue::Store => Epilogue::Store,
            Epilogue::Bias(bias) => Epilogue::Bias(bias),
            Epilogue::Residual(n) => Epilogue::Residual(norm(n)),
            Epilogue::SwiGlu => Epilogue::SwiGlu,
        };
        self.inner.gemm(phase, x, weight, epilogue, out)
    }

    fn rope_append(
        &self,
        step: &Self::Step,
        layer: usize,
        qkv: &Self::Tensor,
        norm: Option<QkNorm<'_, Self::Vector>>,
        rope: &Self::RopeTable,
        query: &mut Self::Tensor,
        kv: &mut Self::KvCache,
    ) -> Result<()> {
        self.trigger.op()?;
        self.inner.rope_append(step, layer, qkv, norm, rope, query, kv)
    }

    fn attention(
        &self,
        step: &Self::Step,
        layer: usize,
        window: Option<usize>,
        query: &Self::Tensor,
        kv: &Self::KvCache,
        out: &mut Self::Tensor,
    ) -> Result<()> {
        self.trigger.op()?;
        self.inner.attention(step, layer, window, query, kv, out)
    }

    fn gather(&self, step: &Self::Step, x: &Self::Tensor, out: &mut Self::Tensor) -> Result<()> {
        self.trigger.op()?;
        self.inner.gather(step, x, out)
    }

    fn sample(&self, logits: &Self::Tensor, rows: &[SampleRow<'_>]) -> Result<Vec<Sampled>> {
        self.trigger.op()?;
        self.inner.sample(logits, rows)
    }

    fn log_probs(&self, logits: &Self::Tensor, targets: &[TokenId]) -> Result<Vec<f32>> {
        self.trigger.op()?;
        self.inner.log_probs(logits, targets)
    }

    fn download(&self, x: &Self::Tensor) -> Result<Vec<f32>> {
        self.inner.download(x)
    }

    fn upload(&self, values: &[f32], out: &mut Self::Tensor) -> Result<()> {
        self.inner.upload(values, out)
    }
}
