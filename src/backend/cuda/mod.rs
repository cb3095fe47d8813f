//! The CUDA backend: kernels compiled at build time, and what launches them.

pub mod driver;
pub mod kernels;
pub mod memory;
pub mod module;
pub mod ops;
pub mod params;
mod store;
