//! The files of src/backend/cuda/params are what bindgen makes of the headers that
//! kernels/params.h includes, one of each. `make params` writes them by running this test with
//! RIDGEPOINT_BLESS=1; do so after an edit of a header and before that of the Rust which uses it,
//! since the test links the library.
//!
//! Sizes and offsets of every struct are asserted twice: bindgen writes the figures of the C
//! compiler into its files, where they are checked on each build, and `tests/kernels.rs` holds the
//! sizes against the parameters in the PTX.

use super::build_script::facts;
use super::common::root;
use bindgen::callbacks::{DeriveInfo, DeriveTrait, ImplementsTrait, ParseCallbacks};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

const HEADER: &str = "kernels/params.h";
const GENERATED: &str = "src/backend/cuda/params";
const LIBCLANG_PATH: &str = "LIBCLANG_PATH";

#[test]
fn params_are_what_bindgen_makes_of_the_header() {
    let bless = env::var_os("RIDGEPOINT_BLESS").is_some_and(|v| v == "1");
    match libclang_folder().filter(|_| has_rustfmt()) {
        None if bless => {
            panic!("{GENERATED} cannot be written without libclang and rustfmt: `make toolkit`")
        }
        None => files().iter().for_each(|(name, _)| {
            let text = fs::read_to_string(root().join(GENERATED).join(name)).unwrap();
            let what = "was made from other headers: run `make params`";
            assert!(text.starts_with(&head()), "{GENERATED}/{name} {what}");
        }),
        // bindgen finds libclang by this variable alone where it is in no system folder, and a
        // process with many tests must not change its own environment.
        Some(folder) if env::var_os(LIBCLANG_PATH) != Some(folder.clone().into()) => {
            run_this_test_with(&folder);
        }
        Some(_) => regenerate_and_compare(bless),
    }
}

fn run_this_test_with(libclang: &Path) {
    let name = "params::params_are_what_bindgen_makes_of_the_header";
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name])
        .env(LIBCLANG_PATH, libclang)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

fn regenerate_and_compare(bless: bool) {
    let folder = root().join(GENERATED);
    let mut expected = Vec::new();
    for (name, header) in files() {
        let generated = header.map_or_else(parent, |header| generate(&header));
        if bless {
            fs::write(folder.join(&name), &generated).unwrap();
        }
        let text = fs::read_to_string(folder.join(&name)).unwrap();
        let what = "is not what bindgen makes of the headers: run `make params`";
        assert!(text == generated, "{GENERATED}/{name} {what}");
        expected.push(name);
    }
    let found = fs::read_dir(&folder).unwrap().map(|f| f.unwrap().file_name());
    let mut found: Vec<String> = found.map(|name| name.into_string().unwrap()).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "files of {GENERATED}");
}

/// The generated files, each with the header that it is made from. The first names the others.
fn files() -> Vec<(String, Option<String>)> {
    let own = |(header, _): (String, String)| {
        let name = header.strip_prefix("params_")?.strip_suffix(".h")?;
        Some((format!("{name}.rs"), Some(header.clone())))
    };
    let all = headers().into_iter().filter_map(own);
    std::iter::once(("mod.rs".to_owned(), None)).chain(all).collect()
}

/// The file that names the others.
fn parent() -> String {
    let names: Vec<String> =
        files()[1..].iter().map(|(file, _)| file.trim_end_matches(".rs").to_owned()).collect();
    let mods: String = names.iter().map(|name| format!("mod {name};\n")).collect();
    let uses: String = names.iter().map(|name| format!("pub use {name}::*;\n")).collect();
    format!("{}\n{mods}\n{uses}", head())
}

/// Without it bindgen gives its text on one line.
fn has_rustfmt() -> bool {
    let output = Command::new("rustfmt").arg("--version").output();
    output.is_ok_and(|o| o.status.success())
}

#[test]
fn a_change_of_any_header_is_noticed_without_libclang() {
    let texts: Vec<String> = headers().into_iter().map(|(_, text)| text).collect();
    for changed in 0..texts.len() {
        let mut other = texts.clone();
        other[changed].push(' ');
        assert_ne!(hash(&texts), hash(&other), "{}", headers()[changed].0);
    }
}

#[test]
fn the_headers_are_c_of_stdint_alone_and_all_are_included() {
    let headers = headers();
    let includes = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|l| l.strip_prefix("#include "));
        lines.map(|name| name.trim_matches('"').to_owned()).collect()
    };
    for (name, text) in &headers {
        let expected: Vec<&str> = match name.as_str() {
            "params.h" => headers[1..].iter().map(|(name, _)| name.as_str()).collect(),
            "params_common.h" => vec!["<stdint.h>"],
            _ => vec!["params_common.h"],
        };
        assert_eq!(includes(text), expected, "{name}");
    }
}

fn generate(header: &str) -> String {
    // What several headers use stands in the file of the common one alone.
    let uses = fs::read_to_string(root().join("kernels").join(header)).unwrap();
    let uses = uses.lines().any(|line| line.trim_start().starts_with("TensorMap "));
    let shared = if uses { "\nuse super::common::TensorMap;" } else { "" };
    let text = bindgen::Builder::default()
        .header(root().join(HEADER).to_str().unwrap())
        .clang_arg("-std=c11")
        .allowlist_file(format!(".*/kernels/{}", header.replace('.', "\\.")))
        .allowlist_recursively(false)
        .disable_header_comment()
        .parse_callbacks(Box::new(PlainData))
        .raw_line(format!("{}{shared}", head().trim_end()))
        .generate()
        .unwrap()
        .to_string();
    let text = text.replace("bytemuck :: ", "bytemuck::");
    text.lines().map(|line| format!("{}\n", doc_comment(line))).collect()
}

/// Launch arguments go to the device as bytes. The derived traits are refused by the compiler for a
/// struct with padding, whose bytes would be undefined.
#[derive(Debug)]
struct PlainData;

impl ParseCallbacks for PlainData {
    fn add_derives(&self, _: &DeriveInfo<'_>) -> Vec<String> {
        ["bytemuck::Pod", "bytemuck::Zeroable"].map(str::to_owned).to_vec()
    }

    // A struct of another header is plain data too.
    fn blocklisted_type_implements_trait(
        &self,
        _: &str,
        _: DeriveTrait,
    ) -> Option<ImplementsTrait> {
        Some(ImplementsTrait::Yes)
    }
}

/// bindgen writes documentation as one attribute, however long; a reader wants comment lines.
fn doc_comment(line: &str) -> String {
    let (indent, rest) = line.split_at(line.len() - line.trim_start().len());
    let attribute = rest.strip_prefix("#[doc = \"").and_then(|r| r.strip_suffix("\"]"));
    attribute.map_or_else(
        || line.to_owned(),
        |text| {
            let lines: Vec<String> = text
                .split("\\n")
                .map(|l| format!("{indent}///{}", l.replace("\\\"", "\"")))
                .collect();
            lines.join("\n")
        },
    )
}

/// The first lines of the generated file. They name the headers' hash, which is all that can be
/// compared where there is no libclang.
fn head() -> String {
    format!(
        "//! Launch arguments and constants that host and kernels share. Made by `make params` \
         from\n//! kernels/params.h and what it includes, where to change \
         them.\n//!\n//! Headers: {}\n",
        hash(&headers().into_iter().map(|(_, text)| text).collect::<Vec<_>>())
    )
}

/// params.h and the headers beside it that it includes, by name, with their texts.
fn headers() -> Vec<(String, String)> {
    let folder = root().join(HEADER).parent().unwrap().to_owned();
    let names = fs::read_dir(&folder).unwrap().map(|f| f.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with("params") && name.ends_with(".h")).collect();
    names.sort();
    let text = |name: &String| fs::read_to_string(folder.join(name)).unwrap();
    names.iter().map(|name| (name.clone(), text(name))).collect()
}

fn hash(texts: &[String]) -> String {
    texts.iter().fold(facts::Fnv::new(), |hash, text| hash.field(text.as_bytes())).hex()
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
    folders.into_iter().find(|folder| folder.is_file() || holds_libclang(folder))
}

fn holds_libclang(folder: &Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|file| {
        let name = file.file_name().into_string().unwrap_or_default();
        // Not libclang-cpp.so, which is another library.
        let tail = name.strip_prefix("libclang").unwrap_or_default();
        let numbered = tail.strip_prefix('-').is_some_and(|t| t.starts_with(char::is_numeric));
        tail.starts_with(".so") || (numbered && tail.contains(".so"))
    })
}
