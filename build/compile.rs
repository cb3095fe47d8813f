//! Runs nvcc over one kernel file, or takes what an earlier build made of the same content.
//!
//! An entry of the cache is a folder named after the file and the hash of all that decides the
//! result: source, headers, flags, targets and the compiler's version. Modification times would
//! miss an edited header and would not survive a checkout. A folder is filled beside its place and
//! renamed into it, so a build that was interrupted leaves nothing that looks finished.

use crate::facts::{self, Fnv, Target, Usage};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// `-fmad=false`: a multiply and an add fuse only where the source says `fmaf`. Left to ptxas, two
/// variants of one op would fuse at different places and give a row different bits.
const FLAGS: [&str; 8] = [
    "--fatbin",
    "-std=c++17",
    "-O3",
    "-lineinfo",
    "-fmad=false",
    "-Xptxas=-v",
    "-Xptxas=--warning-as-error",
    "-Werror=all-warnings",
];

/// Entries kept for each kernel file: enough to go back and forth between two branches.
const ENTRIES_KEPT: usize = 8;

/// All that the files of one build have in common.
pub struct Compiler {
    nvcc: PathBuf,
    targets: Vec<Target>,
    cache: PathBuf,
    /// Hash of flags, headers, version and the variables that nvcc itself obeys.
    shared: Fnv,
}

/// One compiled file.
pub struct Module {
    /// The file's stem, `embed`.
    pub name: String,
    pub fatbin: Vec<u8>,
    /// Absent for a file of Hopper alone.
    pub ptx_80: Option<String>,
    pub ptx_90a: String,
    pub usages: Vec<Usage>,
}

/// Variables by which nvcc takes further flags and another host compiler.
pub const NVCC_VARIABLES: [&str; 3] = ["NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS", "NVCC_CCBIN"];

impl Compiler {
    pub fn new(
        nvcc: PathBuf,
        targets: Vec<Target>,
        headers: &[PathBuf],
        cache: PathBuf,
    ) -> Result<Self, String> {
        let version = Command::new(&nvcc).arg("--version").output();
        let version = version.map_err(|e| format!("cannot run nvcc at {}: {e}", nvcc.display()))?;
        if !version.status.success() {
            return Err(format!("{} --version ends with {}", nvcc.display(), version.status));
        }
        let mut shared = Fnv::new().field(&version.stdout);
        for flag in FLAGS {
            shared = shared.field(flag.as_bytes());
        }
        for variable in NVCC_VARIABLES {
            let value = std::env::var_os(variable).unwrap_or_default();
            shared = shared.field(value.as_encoded_bytes());
        }
        for header in headers {
            shared = shared.field(&read(header)?);
        }
        fs::create_dir_all(&cache).map_err(|e| format!("{}: {e}", cache.display()))?;
        Ok(Compiler { nvcc, targets, cache, shared })
    }

    /// Compiles `source`, or reads it from the cache.
    pub fn module(&self, source: &Path) -> Result<Module, String> {
        let name = stem(source);
        let targets = facts::targets_of(&name, &self.targets)?;
        let gencode = facts::gencode(&name, &targets);
        let mut hash = self.shared.clone().field(&read(source)?);
        for arg in &gencode {
            hash = hash.field(arg.as_bytes());
        }
        let entry = self.cache.join(format!("{name}-{}", hash.hex()));
        if !entry.is_dir() {
            let beside = self.cache.join(format!("{name}.partial-{}", std::process::id()));
            let made = self.fill(&beside, source, &gencode).and_then(|()| publish(&beside, &entry));
            // Nothing is left to remove after a rename; after a failure the reason is in `made`.
            let _ = fs::remove_dir_all(&beside);
            made?;
            self.forget_old(&name, &entry);
        }
        load(&entry, name)
    }

    /// Makes the four files of an entry in `folder`: fat binary, both PTX passes, ptxas' log.
    fn fill(&self, folder: &Path, source: &Path, gencode: &[String]) -> Result<(), String> {
        let intermediate = folder.join("intermediate");
        fs::create_dir_all(&intermediate).map_err(|e| format!("{}: {e}", folder.display()))?;
        // One call with `--keep`, not one a pass: the PTX that is kept is then the very text that
        // the machine code was made from.
        let out = Command::new(&self.nvcc)
            .args(FLAGS)
            .args(gencode)
            .arg("--keep")
            .arg("--keep-dir")
            .arg(&intermediate)
            .arg("-o")
            .arg(folder.join("fatbin"))
            .arg(source)
            .output()
            .map_err(|e| format!("cannot run nvcc at {}: {e}", self.nvcc.display()))?;
        let log = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        if !out.status.success() {
            return Err(format!("{}: nvcc ends with {}\n{log}", source.display(), out.status));
        }
        let complaints = facts::complaints(&log);
        if !complaints.is_empty() {
            return Err(format!("{}: {}", source.display(), complaints.join("\n")));
        }
        write(&folder.join("log"), log.as_bytes())?;
        keep_ptx(&intermediate, folder, source)?;
        fs::remove_dir_all(&intermediate).map_err(|e| format!("{}: {e}", intermediate.display()))
    }

    /// Removes all but the newest entries of one file, finished or cut off. Failing to tidy is no
    /// reason to fail a build, and what a build beside this one is filling is among the newest.
    fn forget_old(&self, name: &str, newest: &Path) {
        let Ok(listing) = fs::read_dir(&self.cache) else {
            return;
        };
        let finished = format!("{name}-");
        let cut_off = format!("{name}.partial-");
        let mut entries: Vec<_> = listing
            .flatten()
            .filter(|e| {
                let entry = e.file_name();
                let entry = entry.to_string_lossy();
                entry.starts_with(&finished) || entry.starts_with(&cut_off)
            })
            .filter(|e| e.path() != newest)
            .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
            .collect();
        entries.sort();
        let surplus = (entries.len() + 1).saturating_sub(ENTRIES_KEPT);
        for (_, path) in entries.iter().take(surplus) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Puts a finished folder in its place. Another build may have been first with the same content.
fn publish(beside: &Path, entry: &Path) -> Result<(), String> {
    match fs::rename(beside, entry) {
        Err(e) if !entry.is_dir() => Err(format!("{}: {e}", entry.display())),
        _ => Ok(()),
    }
}

/// Moves the PTX of each pass out of nvcc's intermediate files, told apart by the `.target` in
/// them, since the names of those files are nvcc's own affair. Paths of the checkout become
/// relative: the text is embedded, and a fault in it should name `kernels/embed.cu`.
fn keep_ptx(intermediate: &Path, folder: &Path, source: &Path) -> Result<(), String> {
    let checkout = std::env::current_dir().map_err(|e| format!("current folder: {e}"))?;
    let checkout = format!("\"{}/", checkout.display());
    let listing = fs::read_dir(intermediate).map_err(|e| format!("intermediate files: {e}"))?;
    for path in listing.flatten().map(|e| e.path()) {
        if path.extension().is_some_and(|e| e == "ptx") {
            let text = read_text(&path)?.replace(&checkout, "\"");
            let target = facts::ptx_target(&text)
                .ok_or_else(|| format!("{}: nvcc's PTX names no target", source.display()))?;
            write(&folder.join(format!("{target}.ptx")), text.as_bytes())?;
        }
    }
    Ok(())
}

fn load(entry: &Path, name: String) -> Result<Module, String> {
    let ptx_80 = match facts::is_hopper_only(&name) {
        true => None,
        false => Some(read_text(&entry.join("sm_80.ptx"))?),
    };
    Ok(Module {
        ptx_80,
        ptx_90a: read_text(&entry.join("sm_90a.ptx"))?,
        fatbin: read(&entry.join("fatbin"))?,
        usages: facts::parse_ptxas(&read_text(&entry.join("log"))?)?,
        name,
    })
}

pub fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn read_text(path: &Path) -> Result<String, String> {
    String::from_utf8(read(path)?).map_err(|e| format!("{}: {e}", path.display()))
}

/// Writes a file unless it holds these bytes already, so that an unchanged file keeps its time.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let same = fs::read(path).is_ok_and(|old| old == bytes);
    let written: io::Result<()> = if same { Ok(()) } else { fs::write(path, bytes) };
    written.map_err(|e| format!("{}: {e}", path.display()))
}
