//! The C ABI, called as C calls it.
#![allow(unsafe_code)] // that is how

mod calls;
mod engines;
mod examples;

mod header;
mod kernel_calls;
mod orders;
mod peers;
