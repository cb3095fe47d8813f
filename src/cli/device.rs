//! `--device`: which device runs a model, and why not another.

use crate::backend::cpu::CpuBackend;
use crate::backend::cuda::module::KernelTarget;
#[cfg(feature = "cuda")]
use crate::backend::cuda::{
    CudaBackend,
    driver::{CudaDriver, SimDriver},
};
use crate::backend::{Backend, pages_for};
use crate::cli::args::DeviceArg;
use crate::cli::draft::Draft;
use crate::engine::{Engine, EngineOptions, Generator, Scorer, Server};
#[cfg(not(feature = "cuda"))]
use crate::error::Error;
use crate::error::Result;
use crate::load::Source;
use crate::model::budget::{Budget, Formats};
use crate::model::{Decoder, Limits, ModelConfig};
use crate::tensor::Dtype;
use crate::text::Tokenizer;
#[cfg(feature = "cuda")]
use std::sync::Arc;

/// The weights of a model and what is made of them.
pub struct Weights<'a> {
    /// The model.
    pub config: &'a ModelConfig,
    /// Where its weights come from.
    pub source: &'a dyn Source,
    /// Their formats on a device.
    pub formats: Formats,
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
    /// [`Error::Device`] if the device is missing or unfit, [`Error::Usage`] if this build cannot
    /// drive one.
    pub fn open(device: DeviceArg) -> Result<Device> {
        match device {
            DeviceArg::Cpu => Ok(Device::Cpu { instead: None }),
            DeviceArg::Auto => {
                Ok(open_gpu()
                    .unwrap_or_else(|error| Device::Cpu { instead: Some(error.to_string()) }))
            }
            DeviceArg::Cuda => open_gpu(),
            DeviceArg::Sim => open_sim(),
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

    /// The format that weights have on it which are stored as `stored`.
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
    pub fn scorer(self, weights: &Weights<'_>, limits: Limits) -> Result<Box<dyn Scorer>> {
        let pages = pages_for(limits.context);
        Ok(match self {
            Device::Cpu { .. } => {
                let decoder = load(CpuBackend::new(), weights, limits, pages)?;
                Box::new(Generator::new(decoder)?)
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(backend) => {
                let decoder = load(*backend, weights, limits, pages)?;
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
    ) -> Result<()> {
        match self {
            Device::Cpu { .. } => {
                let backends = (CpuBackend::new(), CpuBackend::new());
                serve(server, backends, weights, tokenizer, options, draft)
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(backend) => {
                let second = backend.another()?;
                serve(server, (*backend, second), weights, tokenizer, options, draft)
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
) -> Result<()> {
    let (limits, pages) = (options.limits(), options.pages);
    if let Some(draft) = &draft {
        let needs = Budget::of(&backend, weights.config, weights.formats, limits, pages)?;
        draft.check(&backend, &needs, options)?;
    }
    let decoder = load(backend, weights, limits, pages)?;
    let mut engine = Engine::new(decoder, tokenizer, options)?;
    if let Some(draft) = draft {
        draft.attach(&mut engine, second, options)?;
    }
    server.serve(engine)
}

fn load<B: Backend>(
    backend: B,
    weights: &Weights<'_>,
    limits: Limits,
    pages: usize,
) -> Result<Decoder<B>> {
    Budget::check(&backend, weights.config, weights.formats, limits, pages)?;
    let decoder = Decoder::load(backend, weights.config.clone(), weights.source, limits)?;
    for remark in decoder.backend().remarks() {
        eprintln!("{}: {remark}", weights.source.dir().display());
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
