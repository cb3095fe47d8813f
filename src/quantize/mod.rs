//! From 16 bits a weight to 4: when a model is loaded ([`Quantizing`]), or once and for all into a
//! directory of its own.
//!
//! A weight becomes a number `q` of 0 to 15; with the scale and the zero point of its group, which
//! is a run of 64 or 128 columns of its row, it stands for `scale * (q - zero)`. Scales are bf16
//! numbers from the start, so that what is measured here is what every device computes with.
//!
//! - [`rtn`]: the grid from the range of a group, each weight to the nearest point.
//! - [`search`]: the grid with the least squared error.

pub mod matrix;
pub mod rtn;
pub mod scheme;
pub mod search;
mod source;

pub use scheme::{Grid, Head, Method, Scheme};
pub use source::{Dequantized, Quantizing};
