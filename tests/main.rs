//! The one integration binary. Modules mirror `src` and `kernels`.
#![allow(clippy::unwrap_used)] // in a test, a panic is the report

mod bench;
mod budget;
mod build_script;
mod checkpoint;
mod cli;
mod common;
mod config;
#[cfg(feature = "cuda")]
mod device;
mod drafts;
mod engine;
mod ffi;
mod fuzz_corpus;
mod hopper_gates;
mod kernels;
mod kv;
mod ops;
mod params;
mod plan;
mod quantization;
mod quantize;
mod reference;
mod repack;
mod sample;
mod static_gates;
mod text;
mod tidy;
