//! From 16 bits a weight to 4: when a model is loaded ([`Quantizing`]), or once and for all into a
//! directory of its own ([`offline`], [`output`]).
//!
//! A weight becomes a number `q` of 0 to 15; with the scale and the zero point of its group, which
//! is a run of 64 or 128 columns of its row, it stands for `scale * (q - zero)`. Scales are bf16
//! numbers from the start, so that what is measured here is what every device computes with.
//!
//! From the weights alone:
//! - [`rtn`]: the grid from the range of a group, each weight to the nearest point.
//! - [`search`]: the grid with the least squared error.
//!
//! With the inputs that a text gives the matrices ([`forward`], [`inputs`]):
//! - [`awq`]: columns with large inputs are scaled up.
//! - [`gptq`]: errors are made up for by the columns that follow.
//!
//! What it cost is in the [`receipt`], and the loss of [`quality`] is told token by token.

pub mod awq;
pub mod forward;
pub mod gptq;
pub mod inputs;
pub mod layer;
pub mod linalg;
pub mod matrix;
pub mod offline;
pub mod options;
pub mod output;
pub mod pack;
pub mod quality;
pub mod receipt;
pub mod rtn;
pub mod scheme;
pub mod search;
mod source;

pub use options::{Algorithm, Keep, Options};
pub use scheme::{Grid, Head, Method, Scheme};
pub use source::{Dequantized, Quantizing};
