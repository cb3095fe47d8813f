//! What several tests need: PTX from nvcc, and small modules from a body.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// PTX of a CUDA source, given as a path from the root of the checkout or as text. `defines` are
/// `NAME` or `NAME=VALUE`, `arch` is such as `compute_90a`.
///
/// What was compiled before, from the same files by the same compiler, is read from target/.
pub fn compile(source: &str, defines: &[&str], arch: &str) -> String {
    let is_path = source.ends_with(".cu") && !source.contains('\n');
    let path = root().join(source);
    let text = if is_path { read(&path) } else { source.to_owned() };
    let nvcc = nvcc();
    let mut hasher = DefaultHasher::new();
    (&text, defines, arch, &nvcc, modified(&nvcc)).hash(&mut hasher);
    let kernels = root().join("kernels");
    for folder in [path.parent().filter(|_| is_path), Some(&kernels)].into_iter().flatten() {
        headers(folder).hash(&mut hasher);
    }
    let cache = target().join("ptxsim-tests");
    let stem = cache.join(format!("{:016x}", hasher.finish()));
    let output = stem.with_extension("ptx");
    if let Ok(ptx) = fs::read_to_string(&output) {
        return ptx;
    }
    fs::create_dir_all(&cache).unwrap();
    // Tests run at the same time, in several processes too: each writes to a place of its own,
    // and the last step puts a whole file where the others look.
    let thread = format!("{:?}", std::thread::current().id()).replace(['(', ')'], "");
    let own = cache.join(format!("{}-{thread}", std::process::id()));
    let (input, own) = (own.with_extension("cu"), own.with_extension("ptx"));
    if !is_path {
        fs::write(&input, &text).unwrap();
    }
    let mut command = Command::new(&nvcc);
    command.args(["-std=c++17", "-O3", "-lineinfo", "-ptx"]).arg(format!("-arch={arch}"));
    command.args(defines.iter().map(|define| format!("-D{define}")));
    command.arg(format!("-I{}", kernels.display()));
    let result = command.arg(if is_path { &path } else { &input }).arg("-o").arg(&own).output();
    let result = result.unwrap_or_else(|e| panic!("{}: {e}", nvcc.display()));
    let message = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "nvcc cannot compile {}: {message}", path.display());
    fs::rename(&own, &output).unwrap();
    let _ = fs::remove_file(&input);
    read(&output)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Names and contents of the headers in a folder, since a source may include any of them.
fn headers(folder: &Path) -> Vec<(PathBuf, String)> {
    let Ok(listing) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = listing
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "h" || e == "cuh"))
        .collect();
    found.sort();
    found.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn modified(nvcc: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(nvcc).and_then(|data| data.modified()).ok()
}

/// The first nvcc there is, searched as build.rs does.
pub fn nvcc() -> PathBuf {
    if let Some(nvcc) = env::var_os("NVCC").filter(|value| !value.is_empty()) {
        return nvcc.into();
    }
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(env::var_os);
    let mut folders: Vec<PathBuf> = homes.map(|home| PathBuf::from(home).join("bin")).collect();
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    folders.push("/usr/local/cuda/bin".into());
    // A git worktree has no toolkit of its own and uses that of its main checkout.
    folders.extend(checkouts().into_iter().map(|root| root.join(".toolkit/cuda/bin")));
    let found = folders.into_iter().map(|folder| folder.join("nvcc")).find(|path| path.is_file());
    found.expect("these tests need nvcc and none was found: run `make toolkit`, or set CUDA_HOME")
}

/// This checkout and, if it is a worktree, the one it was made from.
fn checkouts() -> Vec<PathBuf> {
    let mut found = vec![root()];
    if let Ok(link) = fs::read_to_string(root().join(".git")) {
        // `gitdir: /main/.git/worktrees/name`
        let folder = PathBuf::from(link.trim_start_matches("gitdir:").trim());
        found.extend(folder.ancestors().nth(3).map(Path::to_path_buf));
    }
    found
}

/// A module with one entry `k` of this body. The body starts on line 6.
pub fn module(body: &str) -> String {
    format!(
        ".version 9.0\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 k_param_0)\n\
         {{\n{body}\n}}\n"
    )
}
