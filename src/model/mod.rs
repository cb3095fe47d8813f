//! The model: its configuration, its weights, and the forward pass over the backend's ops.

pub mod budget;
pub mod config;
pub mod decoder;
pub mod gpu;
pub mod parts;
pub mod predict;
pub mod rope;
mod weights;

pub use config::{Architecture, ModelConfig};
pub use decoder::{Decoder, Limits};
pub use weights::refuse_strangers;
