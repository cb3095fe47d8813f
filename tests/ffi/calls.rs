//! What the tests of the C ABI share: an engine, kernels on the simulator, and what a call said.

use crate::common::{fixture, root};
use ridgepoint::ffi::engine::event::rp_event;
use ridgepoint::ffi::engine::options::rp_engine_options;
use ridgepoint::ffi::engine::request::{rp_engine_submit, rp_request, rp_request_options};
use ridgepoint::ffi::engine::{rp_engine, rp_engine_create};
use ridgepoint::ffi::kernels::{RP_DEVICE_SIM, rp_kernels, rp_kernels_create, rp_kernels_options};
use ridgepoint::ffi::status::{rp_error_message, rp_status};
use std::ffi::{CStr, CString};

/// A struct with its size and nothing else.
pub fn sized<T>() -> T {
    // SAFETY: every struct of the ABI may be all zeros, and begins with its size.
    unsafe {
        let mut value = std::mem::zeroed::<T>();
        (&raw mut value).cast::<usize>().write(size_of::<T>());
        value
    }
}

/// The text of the last call that failed.
pub fn message() -> String {
    // SAFETY: a text that ends with a zero, as the header says.
    unsafe { CStr::from_ptr(rp_error_message()) }.to_str().unwrap().to_string()
}

/// Asserts how a call ended and what it said.
#[track_caller]
pub fn ends(status: rp_status, expected: rp_status, parts: &[&str]) {
    assert_eq!(status, expected, "{}", message());
    if expected != rp_status::RP_OK {
        let said = message();
        parts.iter().for_each(|part| assert!(said.contains(part), "{part}: {said}"));
    }
}

#[track_caller]
pub fn ok(status: rp_status) {
    ends(status, rp_status::RP_OK, &[]);
}

/// An engine of a small fixture, which has no tokenizer, or of the model that ships.
pub fn engine(shipped: bool, change: impl FnOnce(&mut rp_engine_options)) -> *mut rp_engine {
    let dir = if shipped { root().join("models/target") } else { fixture("llama3_gqa4") };
    let dir = CString::new(dir.to_str().unwrap()).unwrap();
    let mut options: rp_engine_options = sized();
    options.device = c"cpu".as_ptr();
    options.context = 64;
    change(&mut options);
    let mut engine = std::ptr::null_mut();
    // SAFETY: the texts and structs outlive the call.
    ok(unsafe { rp_engine_create(dir.as_ptr(), &options, &mut engine) });
    assert!(!engine.is_null());
    engine
}

/// A request for tokens after a prompt of token ids.
pub fn asks(tokens: &[u32], max_tokens: usize) -> rp_request_options {
    let mut options: rp_request_options = sized();
    (options.tokens, options.token_count) = (tokens.as_ptr(), tokens.len());
    options.max_tokens = max_tokens;
    options.ignore_eos = 1;
    options
}

pub fn submit(engine: *mut rp_engine, options: &rp_request_options) -> *mut rp_request {
    let mut request = std::ptr::null_mut();
    // SAFETY: as the header asks.
    ok(unsafe { rp_engine_submit(engine, options, &mut request) });
    request
}

pub fn event() -> rp_event {
    sized()
}

pub fn kernels() -> *mut rp_kernels {
    let mut options: rp_kernels_options = sized();
    options.device = RP_DEVICE_SIM;
    let mut kernels = std::ptr::null_mut();
    // SAFETY: as the header asks.
    ok(unsafe { rp_kernels_create(&options, &mut kernels) });
    kernels
}
