//! Runs PTX on a CPU. A kernel compiled by `nvcc -ptx -lineinfo` is executed warp by warp, every
//! memory access is checked against a shadow of who wrote and read what, and the work that
//! decides its speed on a GPU is counted. See the README for a ten-line example.
//!
//! In reading order: [`syntax`] turns text into a tree, [`decode`] the tree into [`isa::Inst`]s,
//! `machine` runs them, `memory` holds and watches what they touch, `agents` are the engines that
//! work beside the warps (asynchronous copies, barriers in memory, warpgroup products), `arith`
//! and `tensor` are the arithmetic, and [`report`] is what a launch leaves behind.

// Lanes index several rows at once, which iterators would only hide.
#![allow(clippy::needless_range_loop)]

mod agents;
pub mod arith;
pub mod cli;
mod counters;
pub mod decode;
pub mod error;
pub mod isa;
mod machine;
mod memory;
pub mod report;
pub mod syntax;
pub mod tensor;
pub mod warp;

pub use error::Error;
pub use machine::device::{Device, Launch, ModuleId};
pub use report::{Counters, Fault, FaultKind, Report};
pub use tensor::Arithmetic;
