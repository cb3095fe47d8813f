//! What several test modules share: where files are, and how to run the binary.

use std::path::PathBuf;
use std::process::{Command, Output};

/// The project's root. A bundle on another machine names its own by `RIDGEPOINT_ROOT`.
pub fn root() -> PathBuf {
    match std::env::var_os("RIDGEPOINT_ROOT") {
        Some(root) => root.into(),
        None => env!("CARGO_MANIFEST_DIR").into(),
    }
}

/// A directory under `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// The binary: where a bundle says it is, or where cargo put it.
pub fn binary() -> PathBuf {
    match std::env::var_os("RIDGEPOINT_BIN") {
        Some(path) => path.into(),
        None => env!("CARGO_BIN_EXE_ridgepoint").into(),
    }
}

/// Runs the binary to its end.
pub fn ridgepoint(args: &[&str]) -> Output {
    Command::new(binary()).args(args).output().expect("the binary starts")
}

/// Standard output as text.
pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("stdout is UTF-8")
}

/// Standard error as text.
pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("stderr is UTF-8")
}
