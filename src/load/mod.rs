//! From files to tensors: safetensors files, the checkpoints made of them, and what the packed
//! weights of quantised ones are.

pub mod checkpoint;
pub mod fields;
pub(crate) mod made_up;
mod quantization;
pub mod safetensors;

pub use checkpoint::{Checkpoint, Source};
pub use quantization::{Layout, PackedParts, Part, Quantization, Unfit, order_of};
