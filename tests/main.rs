//! The one integration binary. Modules mirror `src` and `kernels`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod build_script;
mod kernels;
mod params;
