#![no_main]

#[path = "../bodies.rs"]
#[allow(dead_code)] // each target is one of them
mod bodies;

// Panics of the tokenizers library are caught by the engine, so the hook that ends the process at
// any panic is taken out; one that is not caught still ends it.
libfuzzer_sys::fuzz_target!(
    init: std::panic::set_hook(Box::new(|_| {})),
    |data: &[u8]| bodies::tokenizer_json(data)
);
