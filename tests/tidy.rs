//! Holds what ARCHITECTURE.md promises about the source: sizes, import directions, where unsafe
//! code, cudarc and inline assembly may stand, and that nothing is left over.

use crate::common::root;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const COLUMNS: usize = 100;
const FILE_LINES: usize = 600;
const KERNEL_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;
const MAIN_LINES: usize = 60;
/// The one file that may be longer, since it is generated.
const HEADER: &str = "include/ridgepoint.h";

/// Which modules a module may name by `crate::`, besides itself. What is absent is forbidden.
const IMPORTS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("tensor", &[]),
    ("request", &["error"]),
    ("kv", &["error", "request"]),
    ("sample", &["error", "request"]),
    ("text", &["error", "request"]),
    ("load", &["error", "request", "tensor"]),
    ("backend", &["error", "kv", "request", "sample", "tensor"]),
    ("model", &["backend", "error", "load", "request", "tensor"]),
    ("quantize", &["backend", "error", "load", "model", "request", "tensor"]),
    ("engine", &["backend", "error", "kv", "model", "request", "sample", "text"]),
    ("service", &["backend", "engine", "error", "load", "model", "quantize", "tensor", "text"]),
    (
        "ffi",
        &[
            "backend", "engine", "error", "load", "model", "quantize", "request", "sample",
            "service", "tensor", "text",
        ],
    ),
    (
        "cli",
        &[
            "backend", "engine", "error", "load", "model", "quantize", "request", "service",
            "tensor", "text",
        ],
    ),
];

/// The same inside ptxsim, whose decoder, machine and agents refer to each other.
const SIMULATOR_IMPORTS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("syntax", &["error"]),
    ("isa", &["decode", "machine", "report", "tensor"]),
    ("arith", &["decode", "isa", "report", "syntax"]),
    ("tensor", &["agents", "arith", "decode", "error", "isa", "report", "syntax"]),
    ("warp", &["isa", "report", "tensor"]),
    (
        "decode",
        &["agents", "arith", "error", "isa", "machine", "memory", "syntax", "tensor", "warp"],
    ),
    ("memory", &["arith", "decode", "error", "isa", "machine", "report", "syntax"]),
    (
        "machine",
        &["agents", "counters", "decode", "error", "isa", "memory", "report", "syntax", "tensor"],
    ),
    ("agents", &["decode", "isa", "machine", "memory", "report", "syntax", "tensor"]),
    ("counters", &["isa", "machine", "report"]),
    ("report", &["counters", "decode", "machine"]),
    ("cli", &["arith", "decode", "error", "machine", "report", "syntax"]),
];

/// The only files, or folders, that may hold unsafe code.
const UNSAFE: &[&str] = &[
    "ptxsim/src/arith/simd.rs",
    "ptxsim/src/tensor/simd.rs",
    "src/backend/cpu/simd.rs",
    "src/backend/cuda/driver/cudarc.rs",
    "src/ffi/",
    "src/load/safetensors.rs",
    "src/sample/simd.rs",
];

fn source_files(folders: &[&str], extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in folders {
        let path = root().join(folder);
        if path.is_file() {
            found.push(path);
        } else {
            walk(&path, extensions, &mut found);
        }
    }
    assert!(!found.is_empty(), "no files under {folders:?}");
    found.sort();
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn walk(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        let generated = ["target", "corpus", "artifacts"];
        if path.is_dir() {
            if !generated.iter().any(|name| path.ends_with(name)) {
                walk(&path, extensions, found);
            }
        } else if path.extension().is_some_and(|e| extensions.contains(&e.to_str().unwrap())) {
            found.push(path);
        }
    }
}

fn all_code() -> Vec<(String, String)> {
    let folders = [
        "src", "tests", "benches", "examples", "fuzz", "include", "kernels", "models", "ptxsim",
        "tools", "build", "build.rs",
    ];
    source_files(&folders, &["rs", "c", "cu", "cuh", "h", "py"])
}

fn all_rust() -> impl Iterator<Item = (String, String)> {
    all_code().into_iter().filter(|(name, _)| name.ends_with(".rs"))
}

#[test]
fn files_and_lines_are_short() {
    let mut faults = Vec::new();
    for (name, text) in all_code() {
        let lines = text.lines().count();
        let limit = match name.as_str() {
            "src/main.rs" | "ptxsim/src/main.rs" => MAIN_LINES,
            // As long as the ABI: nobody writes it by hand.
            HEADER => usize::MAX,
            _ if name.starts_with("kernels/") => KERNEL_LINES,
            _ => FILE_LINES,
        };
        if lines > limit {
            faults.push(format!("{name}: {lines} lines, at most {limit}"));
        }
        if name.starts_with("src/backend/cuda/params/") {
            continue; // as wide as bindgen makes it
        }
        for (number, line) in text.lines().enumerate() {
            if line.chars().count() > COLUMNS {
                faults.push(format!("{name}:{}: over {COLUMNS} columns", number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let header = fs::read_to_string(root().join(HEADER)).unwrap();
    let notice = header.lines().next().unwrap();
    assert!(notice.contains("Written by cbindgen") && notice.contains("not to be edited"));
}

/// Whether a function begins in this line, whatever words of Rust stand before its `fn`.
fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace().skip_while(|word| {
        let is_restriction = word.starts_with("pub(") || word.ends_with(')');
        is_restriction || ["pub", "const", "unsafe", "extern", "\"C\""].contains(word)
    });
    words.next() == Some("fn")
}

/// Relies on rustfmt: a function ends at the first line that is its indentation and a brace.
#[test]
fn functions_are_short() {
    let mut faults = Vec::new();
    for (name, text) in all_rust() {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            if !is_function(line) || line.ends_with(';') {
                continue;
            }
            let end = format!("{}}}", " ".repeat(indent));
            let length = lines[start..].iter().position(|l| **l == end).unwrap_or(0) + 1;
            if length > FUNCTION_LINES {
                faults.push(format!("{name}:{}: a function of {length} lines", start + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn imports_go_downwards() {
    let mut faults = imports("src/", IMPORTS);
    faults.extend(imports("ptxsim/src/", SIMULATOR_IMPORTS));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn imports(folder: &str, table: &[(&str, &[&str])]) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = table.iter().copied().collect();
    let mut faults = Vec::new();
    for (name, text) in source_files(&[folder], &["rs"]) {
        let inner = name.strip_prefix(folder).unwrap();
        let module = inner.split('/').next().unwrap().trim_end_matches(".rs");
        if ["lib", "main"].contains(&module) {
            continue;
        }
        let Some(below) = allowed.get(module) else {
            faults.push(format!("{name}: module {module} is not in the table of imports"));
            continue;
        };
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for part in line.split("crate::").skip(1) {
                let used: String =
                    part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if used != module && !below.contains(&used.as_str()) {
                    faults.push(format!("{name}: {module} must not import {used}: {line}"));
                }
            }
        }
    }
    faults
}

/// What the simulator says must rest on nothing but its own folder and the manual.
#[test]
fn the_simulator_has_no_dependencies() {
    let manifest = fs::read_to_string(root().join("ptxsim/Cargo.toml")).unwrap();
    let after = manifest.split("\n[dependencies]\n").nth(1).unwrap();
    assert!(after.split("\n[").next().unwrap().trim().is_empty(), "{manifest}");
}

#[test]
fn unsafe_stands_only_where_it_may() {
    let mut faults = Vec::new();
    for (name, text) in source_files(&["src", "ptxsim/src"], &["rs"]) {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let uses = code.filter(|l| l.contains("unsafe ") || l.contains("allow(unsafe_code)"));
        let may = |at: &str| name == at || at.ends_with('/') && name.starts_with(at);
        if uses.count() > 0 && !UNSAFE.iter().any(|at| may(at)) {
            faults.push(name);
        }
    }
    assert!(faults.is_empty(), "unsafe code in {faults:?}");
}

#[test]
fn devices_are_named_in_one_place() {
    for (name, text) in source_files(&["src"], &["rs"]) {
        let is_driver = name.starts_with("src/backend/cuda/driver/cudarc");
        // The driver's own module is called so too, and the one above it gives out its types.
        let text = text.replace("self::cudarc::", "");
        assert!(is_driver || !text.contains("cudarc::"), "{name} names cudarc");
    }
    for (name, text) in source_files(&["kernels"], &["cu", "cuh", "h"]) {
        let is_wrapper = ["kernels/ptx.cuh", "kernels/ptx_sm90.cuh"].contains(&name.as_str());
        assert!(is_wrapper || !text.contains("asm volatile"), "{name} holds inline PTX");
        assert!(is_wrapper || !text.contains("asm("), "{name} holds inline PTX");
    }
}

#[test]
fn nothing_is_left_over() {
    // Written in halves, so that this file does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimpl", "emented!("),
        concat!("#[ig", "nore"),
        concat!("dbg", "!("),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
    ];
    let mut faults = Vec::new();
    let mut files = all_code();
    files.extend(source_files(
        &[
            "README.md",
            "ARCHITECTURE.md",
            "CHANGELOG.md",
            "EMBEDDING.md",
            "models/README.md",
            "benches/peers/README.md",
            "Makefile",
            ".ci/run",
        ],
        &[],
    ));
    for (name, text) in files {
        for (number, line) in text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(**word)) {
                faults.push(format!("{name}:{}: {word}", number + 1));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn modules_say_what_they_are_for() {
    // Not those of the fuzz targets, which are three lines around a body that says it.
    for (name, text) in all_rust().filter(|(name, _)| !name.starts_with("fuzz/targets/")) {
        assert!(text.starts_with("//!"), "{name} does not begin with its job");
    }
}
