//! src/backend/cuda/params.rs is what bindgen makes of kernels/params.h. `make params` writes it
//! by running this test with RIDGEPOINT_BLESS=1; do so after an edit of the header and before that
//! of the Rust which uses it, since the test links the library.
//!
//! Sizes and offsets of every struct are asserted twice: bindgen writes the figures of the C
//! compiler into params.rs, where they are checked on each build, and `tests/kernels.rs` holds the
//! sizes against the parameters in the PTX.

use super::{build_script::facts, kernels::root};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const HEADER: &str = "kernels/params.h";
const GENERATED: &str = "src/backend/cuda/params.rs";
const LIBCLANG_PATH: &str = "LIBCLANG_PATH";

#[test]
fn params_are_what_bindgen_makes_of_the_header() {
    let bless = env::var_os("RIDGEPOINT_BLESS").is_some_and(|v| v == "1");
    let Some(folder) = libclang_folder() else {
        assert!(
            !bless,
            "{GENERATED} cannot be written without libclang: run `make toolkit`"
        );
        let text = fs::read_to_string(root().join(GENERATED)).unwrap();
        let line = head(&header_hash());
        assert!(
            text.contains(&line),
            "{HEADER} is not the one that {GENERATED} was made from: run `make toolkit params`"
        );
        return;
    };
    // bindgen finds libclang by this variable alone where it is in no system folder, and a process
    // with many tests must not change its own environment: so this test runs itself again.
    if env::var_os(LIBCLANG_PATH).map(PathBuf::from) != Some(folder.clone()) {
        let output = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "params::params_are_what_bindgen_makes_of_the_header",
            ])
            .env(LIBCLANG_PATH, folder)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
        return;
    }
    let generated = generate();
    if bless {
        fs::write(root().join(GENERATED), &generated).unwrap();
    }
    let text = fs::read_to_string(root().join(GENERATED)).unwrap();
    assert!(
        significant(&text) == significant(&generated),
        "{GENERATED} is not what bindgen makes of {HEADER}: run `make params`"
    );
}

#[test]
fn a_changed_header_is_noticed_without_libclang() {
    let text = fs::read(root().join(HEADER)).unwrap();
    let changed = [&text[..], b" "].concat();
    assert_ne!(
        facts::Fnv::new().field(&text).hex(),
        facts::Fnv::new().field(&changed).hex()
    );
}

#[test]
fn the_header_is_c_of_stdint_alone() {
    let text = fs::read_to_string(root().join(HEADER)).unwrap();
    let includes: Vec<&str> = text.lines().filter(|l| l.starts_with("#include")).collect();
    assert_eq!(includes, ["#include <stdint.h>"]);
}

fn generate() -> String {
    bindgen::Builder::default()
        .header(root().join(HEADER).to_str().unwrap())
        .clang_arg("-std=c11")
        .allowlist_file(".*/kernels/params\\.h")
        .disable_header_comment()
        .raw_line(head(&header_hash()))
        .merge_extern_blocks(true)
        .generate()
        .unwrap()
        .to_string()
}

fn head(hash: &str) -> String {
    format!(
        "//! Launch arguments and constants that host and kernels share. Made by `make params` \
         from\n//! kernels/params.h, where to change them.\n//!\n//! Header: {hash}"
    )
}

fn header_hash() -> String {
    facts::Fnv::new()
        .field(&fs::read(root().join(HEADER)).unwrap())
        .hex()
}

/// The text without what rustfmt may change: where there is no rustfmt, bindgen gives bare lines.
fn significant(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && *c != ',')
        .collect()
}

/// The folder of a libclang that can be loaded. bindgen panics where there is none, so it is
/// looked for before bindgen is called.
fn libclang_folder() -> Option<PathBuf> {
    let mut folders = Vec::new();
    if let Some(path) = env::var_os(LIBCLANG_PATH).map(PathBuf::from) {
        folders.push(path);
    }
    folders.push(root().join(".toolkit/libclang"));
    for pattern in ["/usr/lib", "/usr/lib64", "/usr/local/lib"] {
        folders.push(pattern.into());
        for child in fs::read_dir(pattern).into_iter().flatten().flatten() {
            let name = child.file_name().into_string().unwrap_or_default();
            match name.as_str() {
                _ if name.starts_with("llvm-") => folders.push(child.path().join("lib")),
                _ if name.ends_with("-linux-gnu") => folders.push(child.path()),
                _ => {}
            }
        }
    }
    folders
        .into_iter()
        .find(|folder| folder.is_file() || holds_libclang(folder))
}

fn holds_libclang(folder: &Path) -> bool {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .any(|file| {
            let name = file.file_name().into_string().unwrap_or_default();
            // Not libclang-cpp.so, which is another library.
            let tail = name.strip_prefix("libclang").unwrap_or_default();
            let numbered = tail
                .strip_prefix('-')
                .is_some_and(|t| t.starts_with(char::is_numeric));
            tail.starts_with(".so") || (numbered && tail.contains(".so"))
        })
}
