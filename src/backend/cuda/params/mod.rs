//! Launch arguments and constants that host and kernels share. Made by `make params` from
//! kernels/params.h and what it includes, where to change them.
//!
//! Headers: e6933850e74d89469aa8a0e30c58fa12

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
