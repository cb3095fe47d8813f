//! Launch code of the ops: checks shapes and addresses, chooses the kernel, fills its arguments and
//! starts it. Nothing here allocates, waits or reads from the device, so that all of it can be
//! recorded in a graph. What disagrees is a programmer's fault and panics with the values.

pub mod activation;
pub mod attention;
pub mod attention_prefill;
mod check;
pub mod embed;
pub mod gather;
pub mod gemm;
mod gemm_kernels;
mod gemm_ranges;
pub mod logprobs;
pub mod norm;
pub mod rope;
pub mod sample;
pub mod selection;
