//! The CUDA backend: kernels compiled at build time, and what launches them.

pub mod module;
pub mod params;
