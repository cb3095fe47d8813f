//! The header is what cbindgen makes of the source, and C and C++ take it.

use crate::common::root;
use std::fs;
use std::process::Command;

const BLESS: &str = "RIDGEPOINT_BLESS";

#[test]
fn the_header_is_what_the_source_says() {
    let path = root().join("include/ridgepoint.h");
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    // Its submodules are found from there.
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = builder.with_src(root().join("src/ffi/mod.rs"));
    let mut made = Vec::new();
    builder.generate().unwrap().write(&mut made);
    let made = String::from_utf8(made).unwrap();
    for line in made.lines().filter(|line| line.contains("rp_status rp_")) {
        let name = line.split('(').next().unwrap();
        assert_eq!(made.matches(&format!("{name}(")).count(), 1, "{name} is declared twice");
    }
    if std::env::var_os(BLESS).is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &made).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == made, "include/ridgepoint.h is out of date: make header");
}

#[test]
fn c_and_cpp_take_the_header() {
    for (language, standard) in [("c", "-std=c99"), ("c", "-std=c17"), ("c++", "-std=c++17")] {
        let output = Command::new(if language == "c" { "cc" } else { "c++" })
            .args(["-x", language, standard, "-Wall", "-Wextra", "-Werror", "-pedantic"])
            .arg("-fsyntax-only")
            .arg(root().join("include/ridgepoint.h"))
            .output()
            .unwrap();
        let says = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{language} {standard}: {says}");
    }
}
