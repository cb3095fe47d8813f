//! Ridgepoint: an LLM inference engine with hand-written CUDA kernels.
pub mod backend;
pub mod error;
pub mod kv;
pub mod load;
pub mod model;
pub mod request;
pub mod sample;
pub mod tensor;
pub mod text;
