//! The C ABI: what `include/ridgepoint.h` declares.
//!
//! Two layers. [`engine`]: a model directory in, text and tokens out. [`kernels`]: single ops on
//! memory and a stream of the caller's. The rules are the same in both, and the header repeats
//! them:
//!
//! - Every function but the message's gives a [`status::rp_status`]; the text of the last call
//!   that failed on a thread is [`status::rp_error_message`].
//! - After a call that failed everything is as before it: nothing was created, submitted, written
//!   to out-parameters, or launched (unless the device itself failed, which is said).
//! - Handles are tickets, not addresses: a handle that was destroyed, or never was one, is told
//!   apart from a live one, and never followed.
//! - Structs begin with their size. Fields are only ever added at the end, and zero means what it
//!   meant before the field existed; a struct of a newer header whose further bytes are not zero
//!   is refused (the protocol of Linux's `copy_struct_from_user`).
//! - Panics stop here. No function exits, installs signal handlers, or writes to the standard
//!   streams, but for what Rust prints of a panic.
//!
//! Names are C's, so that one search finds both sides.
#![allow(unsafe_code, non_camel_case_types)]

pub mod engine;
mod handle;
pub mod kernels;
mod memory;
pub mod sampling;
pub mod status;
