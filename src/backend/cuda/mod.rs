//! The CUDA backend: kernels compiled at build time, and what launches them.

pub(crate) mod adapt;
mod backend;
pub mod driver;
pub mod kernels;
mod matrix;
pub mod memory;
pub mod module;
pub mod ops;
pub mod params;
pub mod repack;
pub mod repack_int8;
mod sampler;
mod step;
mod store;
pub mod wgmma;

pub use backend::CudaBackend;
pub use matrix::Matrix;
pub use step::Step;
pub use store::{KvCache, RopeTable, Tensor, Vector};
