//! `make install`, and the examples that are built against what it puts in place: C under valgrind,
//! Python, and Rust from outside the workspace.

use crate::common::root;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Where the library was installed for these tests.
pub(super) fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = target().join("installed");
        let setting = format!("PREFIX={}", prefix.display());
        run(Command::new("make").args(["--no-print-directory", "install", &setting]));
        prefix
    })
}

/// The folder that this test was built in, which nested builds share.
fn target() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let release = exe.ancestors().find(|folder| folder.ends_with("release"));
    release.and_then(Path::parent).unwrap_or(&root().join("target")).to_path_buf()
}

#[track_caller]
pub(super) fn run(command: &mut Command) -> Output {
    let command = command.current_dir(root()).env("CARGO_TARGET_DIR", target());
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let says = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{says}", output.status);
    output
}

pub(super) fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The C compiler, with warnings, for C11.
pub(super) fn compiler() -> cc::Tool {
    let arch = std::env::consts::ARCH;
    let triple = format!("{arch}-unknown-linux-gnu");
    let mut build = cc::Build::new();
    build
        .cargo_metadata(false)
        .target(&triple)
        .host(&triple)
        .opt_level(1)
        .debug(true)
        .warnings(true);
    build.extra_warnings(true).std("c11").get_compiler()
}

/// Compiles a C example against the installed header and library. `flags` are pkg-config's.
fn compile(name: &str, linked: &str, flags: &[&str]) -> PathBuf {
    let out = target().join(format!("example-{name}-{linked}"));
    let asked = Command::new("pkg-config")
        .env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"))
        .args(["--cflags", "--libs"])
        .args(flags)
        .arg("ridgepoint")
        .output();
    let found = text(&asked.expect("pkg-config, a prerequisite of these tests"));
    let source = root().join(format!("examples/c/{name}.c"));
    // The archive by its path: beside the shared library, -l would take that one.
    let archive = prefix().join("lib/libridgepoint.a").display().to_string();
    let flags = found.split_whitespace().map(|flag| match (linked, flag) {
        ("static", "-lridgepoint") => archive.as_str(),
        _ => flag,
    });
    let mut command = compiler().to_command();
    run(command.arg("-Werror").arg(source).arg("-o").arg(&out).args(flags).arg("-lm"));
    out
}

/// Runs a program under valgrind: any error, or any byte that nothing points at any more, fails.
/// The installed shared library is found if the program is linked to it, and only then.
fn valgrind(program: &Path, linked: &str, args: &[&Path]) -> String {
    let kinds = "definite,indirect";
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--fair-sched=yes"]);
    command
        .arg(format!("--show-leak-kinds={kinds}"))
        .arg(format!("--errors-for-leak-kinds={kinds}"));
    match linked {
        "shared" => command.env("LD_LIBRARY_PATH", prefix().join("lib")),
        _ => command.env_remove("LD_LIBRARY_PATH"),
    };
    // Valgrind runs one thread at a time: more of them only wait for each other.
    command.env("RAYON_NUM_THREADS", "1");
    text(&run(command.arg(program).args(args)))
}

#[test]
fn a_c_program_generates_text_without_a_leak() {
    let program = compile("generate", "shared", &[]);
    let said = valgrind(&program, "shared", &[&root().join("models/target")]);
    let lines: Vec<&str> = said.lines().collect();
    assert!(said.contains("output tokens]") && said.contains("[reason 3]"), "{said}");
    assert!(lines[0].len() > 20, "a story: {said}");
    // The same prompt from the command line gives the same text.
    let args =
        ["generate", "--prompt", "Once upon a time", "--max-tokens", "24", "--device", "cpu"];
    let own = crate::common::ridgepoint(&args);
    assert_eq!(lines[0], crate::common::stdout(&own).trim_end());
}

#[test]
fn a_c_program_calls_kernels_without_a_leak() {
    let program = compile("kernels", "static", &["--static"]);
    let said = valgrind(&program, "static", &[]);
    assert!(said.contains("rmsnorm: largest relative error 0.00"), "{said}");
    assert!(said.contains("attention: 2.000") && said.contains("head_dim 96"), "{said}");
}

#[test]
fn a_python_program_uses_both_layers() {
    let mut command = Command::new("python3");
    command.arg("examples/python/ridgepoint_ctypes.py").env("PYTHONPATH", ".toolkit/numpy");
    let output = run(command.arg(prefix().join("lib/libridgepoint.so")).arg("models/target"));
    assert!(text(&output).contains("silu_mul: largest error 0.0"), "{}", text(&output));
}

#[test]
fn a_rust_program_outside_the_workspace_uses_the_crate() {
    // The versions that this workspace was tested with.
    let lock = root().join("examples/rust/Cargo.lock");
    std::fs::copy(root().join("Cargo.lock"), &lock).unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--release", "--quiet", "--manifest-path", "examples/rust/Cargo.toml"]);
    let said = text(&run(command.args(["--", "models/target"])));
    assert!(
        said.contains("Once upon a time") && said.contains("rmsnorm on PTX simulator"),
        "{said}"
    );
}
