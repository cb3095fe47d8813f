//! The C ABI, called as C calls it.
// That is how; and what is sound or not about each call is what the tests are about.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]

mod callbacks;
mod calls;
#[cfg(feature = "cuda")]
mod contexts;
mod engines;
mod examples;
mod header;
mod kernel_calls;
mod orders;
mod peers;
mod workspaces;
