//! Launch arguments and constants that host and kernels share. Made by `make params` from
//! kernels/params.h and what it includes, where to change them.
//!
//! Headers: df4b403344dcaac622a730af92e1c12c

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
