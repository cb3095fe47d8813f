//! Checkpoints that others quantised: what their packed matrices stand for, whole models, what is
//! refused, and that no input does harm.

mod bad_configs;
mod bad_tensors;
mod edited;
mod inputs;
mod models;
mod widths;
mod written;

use crate::common::fixture;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// The checkpoints of `tests/fixtures/quantised`.
pub const CASES: &[&str] = &[
    "awq_128",
    "awq_64",
    "compressed_128_zeros",
    "compressed_64",
    "compressed_act_order",
    "compressed_head_8",
    "compressed_rows",
    "compressed_rows_zeros",
    "gptq_v1",
    "gptq_v1_act_order",
    "gptq_v1_zeros",
    "gptq_v2_act_order",
    "gptq_v2_rows",
];

fn case(name: &str) -> PathBuf {
    fixture("quantised").join(name)
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}
