//! Launch arguments and constants that host and kernels share. Made by `make params` from
//! kernels/params.h and what it includes, where to change them.
//!
//! Headers: ea37072d7cb281b999caa5089a9152a6

mod attention;
mod common;
mod gemm;
mod rows;
mod sampling;

pub use attention::*;
pub use common::*;
pub use gemm::*;
pub use rows::*;
pub use sampling::*;
