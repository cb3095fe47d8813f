//! Compiles kernels/*.cu with nvcc and writes OUT_DIR/kernels.rs, the table of what came out,
//! which `src/backend/cuda/module.rs` includes.
//!
//! Every file becomes PTX of compute_80 and of compute_90a (`*_sm90.cu` of the latter alone), both
//! embedded as text for the simulator, and one fat binary: machine code for the targets in
//! RIDGEPOINT_CUDA_ARCHS and PTX for every device after them. No GPU is asked. Without the
//! feature `cuda` the table is empty and cargo is all that is needed; with it, no nvcc is an error.
//!
//! A kernel that spills, needs a stack, or whose wgmma is serialised fails the build.

#[path = "build/compile.rs"]
mod compile;
#[path = "build/facts.rs"]
mod facts;

use compile::{Compiler, Module};
use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const ARCHS: &str = "RIDGEPOINT_CUDA_ARCHS";
const ARCHS_DEFAULT: &str = "80,90a";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    if let Err(message) = build() {
        // Cargo ends the build on its own account after `cargo::error`; a non-zero exit would
        // bury the message under a copy of all that this script has printed.
        for line in message.lines().filter(|l| !l.trim().is_empty()) {
            println!("cargo::error={line}");
        }
    }
}

fn build() -> Result<(), String> {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets no OUT_DIR")?);
    let modules = match env::var_os("CARGO_FEATURE_CUDA") {
        Some(_) => compile_all(&out_dir)?,
        None => Vec::new(),
    };
    for module in &modules {
        // Copies, not paths into the cache: clearing that must not break a finished build.
        let file = |extension: &str| out_dir.join(format!("{}.{extension}", module.name));
        compile::write(&file("fatbin"), &module.fatbin)?;
        compile::write(&file("sm_90a.ptx"), module.ptx_90a.as_bytes())?;
        if let Some(ptx) = &module.ptx_80 {
            compile::write(&file("sm_80.ptx"), ptx.as_bytes())?;
        }
    }
    compile::write(&out_dir.join("kernels.rs"), table(&modules)?.as_bytes())
}

fn compile_all(out_dir: &Path) -> Result<Vec<Module>, String> {
    println!("cargo::rerun-if-changed=kernels");
    for variable in [ARCHS].iter().chain(&compile::NVCC_VARIABLES) {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let archs = env::var(ARCHS).unwrap_or_else(|_| ARCHS_DEFAULT.to_owned());
    let targets = facts::parse_archs(&archs).map_err(|e| format!("{ARCHS}={e}"))?;
    let sources = kernel_files(&["cu"])?;
    for source in &sources {
        facts::targets_of(&compile::stem(source), &targets).map_err(|e| format!("{ARCHS}={e}"))?;
    }
    let headers = kernel_files(&["h", "cuh"])?;
    let compiler = Compiler::new(find_nvcc()?, targets, &headers, cache_folder(out_dir))?;

    let jobs = env::var("NUM_JOBS").ok().and_then(|v| v.parse().ok()).unwrap_or(1);
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..sources.len().min(jobs) {
            scope.spawn(|| {
                while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = compiler.module(source);
                    results.lock().unwrap_or_else(|e| e.into_inner()).push(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(|e| e.into_inner());
    let (modules, errors): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let errors: Vec<String> = errors.into_iter().filter_map(Result::err).collect();
    if !errors.is_empty() {
        return Err(errors.join("\n"));
    }
    let mut modules: Vec<Module> = modules.into_iter().filter_map(Result::ok).collect();
    modules.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(modules)
}

/// Files of kernels/ with one of these extensions, by name.
fn kernel_files(extensions: &[&str]) -> Result<Vec<PathBuf>, String> {
    let listing = std::fs::read_dir("kernels").map_err(|e| format!("kernels: {e}"))?;
    let mut files: Vec<PathBuf> = listing
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e)))
        .collect();
    files.sort();
    Ok(files)
}

/// `kernels` in cargo's target folder, which cargo marks with a tag: every profile shares it. A
/// build folder without the tag keeps its cache to itself.
fn cache_folder(out_dir: &Path) -> PathBuf {
    let target = out_dir.ancestors().find(|d| d.join("CACHEDIR.TAG").is_file());
    target.unwrap_or(out_dir).join("kernels")
}

/// The first nvcc there is: named outright, in a toolkit named outright, on PATH, in the usual
/// place, and last in the toolkit that `make toolkit` puts into the checkout.
fn find_nvcc() -> Result<PathBuf, String> {
    for variable in ["NVCC", "CUDA_HOME", "CUDA_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    if let Some(nvcc) = env::var_os("NVCC").filter(|v| !v.is_empty()) {
        return Ok(watched(nvcc.into()));
    }
    let named = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os);
    let in_home = named.map(|home| PathBuf::from(home).join("bin")).find(|d| has_nvcc(d));
    let on_path = || {
        let path = env::var_os("PATH").unwrap_or_default();
        let found = env::split_paths(&path).find(|d| has_nvcc(d));
        // Only then: an editor and a shell with different PATHs would otherwise undo each other's
        // builds, though both end at the same compiler.
        if found.is_some() {
            println!("cargo::rerun-if-env-changed=PATH");
        }
        found
    };
    let checkout = env::current_dir().map_err(|e| format!("current folder: {e}"))?;
    let known = || {
        let places = [PathBuf::from("/usr/local/cuda/bin"), checkout.join(".toolkit/cuda/bin")];
        places.into_iter().find(|d| has_nvcc(d))
    };
    let folder = in_home.or_else(on_path).or_else(known).ok_or(
        "the feature `cuda` needs nvcc and none was found: run `make toolkit`, or set CUDA_HOME, \
         or build for the CPU alone with --no-default-features",
    )?;
    Ok(watched(folder.join("nvcc")))
}

/// Asks for another build when this compiler is replaced. A bare name, which the system looks up
/// on PATH, cannot be watched: cargo would miss the file and build every time.
fn watched(nvcc: PathBuf) -> PathBuf {
    if nvcc.is_file() {
        println!("cargo::rerun-if-changed={}", nvcc.display());
    }
    nvcc
}

fn has_nvcc(folder: &Path) -> bool {
    folder.join("nvcc").is_file()
}

/// The text of OUT_DIR/kernels.rs: one expression, of the types in `backend::cuda::module`.
fn table(modules: &[Module]) -> Result<String, String> {
    let mut text = String::from("&[\n");
    for module in modules {
        module_row(&mut text, module).map_err(|e| format!("{}: {e}", module.name))?;
    }
    text.push_str("]\n");
    Ok(text)
}

fn module_row(text: &mut String, module: &Module) -> Result<(), std::fmt::Error> {
    let name = &module.name;
    writeln!(text, "    Module {{\n        name: {name:?},")?;
    writeln!(text, "        fatbin: &Aligned(*include_bytes!(\"{name}.fatbin\")).0,")?;
    match &module.ptx_80 {
        Some(_) => writeln!(text, "        ptx_80: Some(include_str!(\"{name}.sm_80.ptx\")),")?,
        None => writeln!(text, "        ptx_80: None,")?,
    }
    writeln!(text, "        ptx_90a: include_str!(\"{name}.sm_90a.ptx\"),")?;
    writeln!(text, "        entries: &[")?;
    for entry in facts::ptx_entries(&module.ptx_90a) {
        writeln!(text, "            Entry {{ symbol: {:?}, targets: &[", entry.symbol)?;
        for usage in module.usages.iter().filter(|u| u.symbol == entry.symbol) {
            target_row(text, module, usage)?;
        }
        writeln!(text, "            ] }},")?;
    }
    writeln!(text, "        ],\n    }},")
}

fn target_row(
    text: &mut String,
    module: &Module,
    usage: &facts::Usage,
) -> Result<(), std::fmt::Error> {
    let pass = match (usage.target.as_str(), &module.ptx_80) {
        ("sm_90a", _) | (_, None) => &module.ptx_90a,
        (_, Some(portable)) => portable,
    };
    let ptx = facts::ptx_entries(pass).into_iter().find(|e| e.symbol == usage.symbol);
    let ptx = ptx.map_or("", |e| e.text);
    let waits = ptx.contains("griddepcontrol.wait");
    let cluster = facts::cluster_blocks(ptx);
    writeln!(
        text,
        "                KernelTarget {{ target: {:?}, registers: {}, shared_bytes: {}, \
         stack_bytes: {}, spill_bytes: {}, ptx_bytes: {}, waits_for_grid: {waits}, \
         cluster: {cluster} }},",
        usage.target,
        usage.registers,
        usage.shared_bytes,
        usage.stack_bytes,
        usage.spill_bytes,
        ptx.len(),
    )
}
