//! From files to tensors: safetensors files and the checkpoints made of them.

pub mod checkpoint;
mod made_up;
pub mod safetensors;

pub use checkpoint::{Checkpoint, Source};
