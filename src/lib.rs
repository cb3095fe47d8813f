//! Ridgepoint: an LLM inference engine with hand-written CUDA kernels.
//!
//! The promise it is built around: **the tokens and log-probabilities of a request depend on
//! nothing but the request**, that is on model, prompt, sampling parameters and seed.
//!
//! The modules in reading order:
//!
//! - [`request`]: what a caller asks for; [`error`]: what can go wrong.
//! - [`engine`]: takes a request from its prompt to its last token.
//! - [`model`]: configuration, weights, and the forward pass over the ops of a
//! - [`backend`]: the ops a device offers; [`backend::cpu`] is the reference.
//! - [`sample`]: the definition of how a token is drawn.
//! - [`kv`]: bookkeeping of the paged KV cache.
//! - [`load`]: checkpoint files; [`tensor`]: the weights in them; [`quantize`]: fewer bits of them.
//! - [`text`]: tokenizer, incremental detokenisation, stop strings, chat templates.
//! - [`service`]: a model directory, a device and an engine together.
//! - [`cli`]: the thin binary; [`ffi`]: the C ABI.

pub mod backend;
pub mod cli;
pub mod engine;
pub mod error;
pub mod ffi;
pub mod kv;
pub mod load;
pub mod model;
pub mod quantize;
pub mod request;
pub mod sample;
pub mod service;
pub mod tensor;
pub mod text;
