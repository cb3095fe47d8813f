//! Launch arguments and constants that host and kernels share. Made by `make params` from
//! kernels/params.h and what it includes, where to change them.
//!
//! Headers: 888f40bd32f86585dd15d98a6ac9ac7b

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
