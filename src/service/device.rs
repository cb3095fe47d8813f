//! Which device runs a model, and why not another.

use crate::backend::cpu::CpuBackend;
use crate::backend::cuda::module::KernelTarget;
#[cfg(feature = "cuda")]
use crate::backend::cuda::{
    CudaBackend,
    driver::{CudaDriver, SimDriver},
};
use crate::backend::{Backend, pages_for};
use crate::engine::{Engine, EngineOptions, Generator, Scorer, Server};
#[cfg(not(feature = "cuda"))]
use crate::error::Error;
use crate::error::Result;
use crate::load::Source;
use crate::model::budget::{Budget, Formats};
use crate::model::{Decoder, Limits, ModelConfig};
use crate::service::draft::Draft;
use crate::service::session::Notice;
use crate::tensor::{Dtype, MatrixFormat};
use crate::text::Tokenizer;
#[cfg(feature = "cuda")]
use std::sync::Arc;

/// The device that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A GPU where there is one that works, else the processor, which is said.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A GPU.
    Cuda,
    /// The PTX simulator.
    Sim,
}

/// The weights of a model and what is made of them.
pub struct Weights<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// Where its weights come from.
    pub source: &'a dyn Source,
    /// Their formats on a device.
    pub formats: &'a Formats,
}

/// A device that is there.
pub enum Device {
    /// The processor.
    Cpu {
        /// Why it is not a GPU, if one was looked for.
        instead: Option<String>,
    },
    /// A GPU or the simulator.
    #[cfg(feature = "cuda")]
    Cuda(Box<CudaBackend>),
}

impl Device {
    /// Opens what was asked for. `auto` takes a GPU where there is one that works.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] if the device is missing or unfit,
    /// [`crate::error::Error::Usage`] if this build cannot drive one.
    pub fn open(device: DeviceChoice) -> Result<Device> {
        match device {
            DeviceChoice::Cpu => Ok(Device::Cpu { instead: None }),
            DeviceChoice::Auto => {
                Ok(open_gpu()
                    .unwrap_or_else(|error| Device::Cpu { instead: Some(error.to_string()) }))
            }
            DeviceChoice::Cuda => open_gpu(),
            DeviceChoice::Sim => open_sim(),
        }
    }

    /// What it is, for the start-up line.
    pub fn describe(&self) -> String {
        match self {
            Device::Cpu { instead: None } => CpuBackend::new().describe(),
            Device::Cpu { instead: Some(why) } => {
                format!("{} ({why})", CpuBackend::new().describe())
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(backend) => backend.describe(),
        }
    }

    /// The set of its kernels; `None` for the processor, which has none.
    pub fn kernel_set(&self) -> Option<String> {
        match self {
            Device::Cpu { .. } => None,
            #[cfg(feature = "cuda")]
            Device::Cuda(backend) => Some(backend.kernels().set().to_string()),
        }
    }

    /// Which instructions products of decode use for many rows, and why; `None` for the processor.
    pub fn decode_wgmma(&self) -> Option<String> {
        match self {
            Device::Cpu { .. } => None,
            #[cfg(feature = "cuda")]
            Device::Cuda(backend) => Some(backend.kernels().decode_wgmma().to_string()),
        }
    }

    /// The kernels that it takes, by symbol.
    pub fn kernels(&self) -> Vec<(&'static str, &'static KernelTarget)> {
        match self {
            Device::Cpu { .. } => Vec::new(),
            #[cfg(feature = "cuda")]
            Device::Cuda(backend) => backend.kernels().taken(),
        }
    }

    /// What it is, for a report.
    pub fn name(&self) -> String {
        match self {
            Device::Cpu { .. } => CpuBackend::new().describe(),
            #[cfg(feature = "cuda")]
            Device::Cuda(backend) => backend.describe(),
        }
    }

    /// The format that a matrix has on it which is stored as `stored`, as far as that changes how
    /// many bytes it takes: the processor keeps columns in an order of their own.
    pub fn format_of(&self, stored: MatrixFormat) -> MatrixFormat {
        match (self, stored) {
            (Device::Cpu { .. }, MatrixFormat::Int4 { group, zero_points, .. }) => {
                MatrixFormat::Int4 { group, zero_points, ordered: false }
            }
            _ => stored,
        }
    }

    /// The format that plain weights have on it which are stored as `stored`.
    pub fn dtype_of(&self, stored: Dtype) -> Dtype {
        match self {
            Device::Cpu { .. } => stored,
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => Dtype::Bf16,
        }
    }

    /// Puts a model on it that rates tokens.
    ///
    /// # Errors
    /// What the weights or the device make impossible.
    pub fn scorer(
        self,
        weights: &Weights<'_>,
        limits: Limits,
        notice: &Notice,
    ) -> Result<Box<dyn Scorer>> {
        let pages = pages_for(limits.context);
        Ok(match self {
            Device::Cpu { .. } => {
                let decoder = load(CpuBackend::new(), weights, limits, pages, notice)?;
                Box::new(Generator::new(decoder)?)
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(backend) => {
                let decoder = load(*backend, weights, limits, pages, notice)?;
                Box::new(Generator::new(decoder)?)
            }
        })
    }

    /// Puts a model on it and serves requests until nobody wants it any more.
    ///
    /// # Errors
    /// What the weights or the device make impossible.
    pub fn serve(
        self,
        server: Server,
        weights: &Weights<'_>,
        tokenizer: Option<Tokenizer>,
        options: &EngineOptions,
        draft: Option<Draft>,
        notice: &Notice,
    ) -> Result<()> {
        match self {
            Device::Cpu { .. } => {
                let backends = (CpuBackend::new(), CpuBackend::new());
                serve(server, backends, weights, tokenizer, options, draft, notice)
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(backend) => {
                let second = backend.another()?;
                serve(server, (*backend, second), weights, tokenizer, options, draft, notice)
            }
        }
    }
}

/// Serves on the first of two backends of a device, and drafts on the second.
fn serve<B: Backend + 'static>(
    server: Server,
    (backend, second): (B, B),
    weights: &Weights<'_>,
    tokenizer: Option<Tokenizer>,
    options: &EngineOptions,
    draft: Option<Draft>,
    notice: &Notice,
) -> Result<()> {
    let (limits, pages) = (options.limits(), options.pages);
    if let Some(draft) = &draft {
        let needs = Budget::of(&backend, weights.config, weights.formats, limits, pages)?;
        draft.check(&backend, weights.config, &needs, options)?;
    }
    let decoder = load(backend, weights, limits, pages, notice)?;
    let mut engine = Engine::new(decoder, tokenizer, options)?;
    if let Some(draft) = draft {
        draft.attach(&mut engine, second, options, notice)?;
    }
    server.serve(engine)
}

fn load<B: Backend>(
    backend: B,
    weights: &Weights<'_>,
    limits: Limits,
    pages: usize,
    notice: &Notice,
) -> Result<Decoder<B>> {
    Budget::check(&backend, weights.config, weights.formats, limits, pages)?;
    let decoder = Decoder::load(backend, weights.config.clone(), weights.source, limits)?;
    for remark in decoder.backend().remarks() {
        notice(&format!("{}: {remark}", weights.source.dir().display()));
    }
    Ok(decoder)
}

#[cfg(feature = "cuda")]
fn open_gpu() -> Result<Device> {
    let driver = CudaDriver::open(0)?;
    Ok(Device::Cuda(Box::new(CudaBackend::new(Arc::new(driver))?)))
}

#[cfg(feature = "cuda")]
fn open_sim() -> Result<Device> {
    let driver = SimDriver::new(false);
    Ok(Device::Cuda(Box::new(CudaBackend::new(Arc::new(driver))?)))
}

#[cfg(not(feature = "cuda"))]
fn open_gpu() -> Result<Device> {
    without_kernels("cuda")
}

#[cfg(not(feature = "cuda"))]
fn open_sim() -> Result<Device> {
    without_kernels("sim")
}

#[cfg(not(feature = "cuda"))]
fn without_kernels(name: &str) -> Result<Device> {
    Err(Error::Usage(format!(
        "--device {name}: this build has no kernels, it was made without the feature `cuda`"
    )))
}
