#![no_main]

#[path = "../ptx.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::ptx(data));
