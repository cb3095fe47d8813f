//! The CUDA backend: kernels compiled at build time, and what launches them.

mod backend;
pub mod driver;
pub mod kernels;
pub mod memory;
pub mod module;
pub mod ops;
pub mod params;
mod sampler;
mod step;
mod store;

pub use backend::CudaBackend;
pub use step::Step;
pub use store::{KvCache, Matrix, RopeTable, Tensor, Vector};
