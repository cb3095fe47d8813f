//! What the build script reads and decides, as pure functions: target lists, the text that ptxas
//! and nvcc write, content hashes. The tests include this file by path, so that a malformed list
//! or a spill is tried without a compiler.

/// The PTX that a machine-code target is made from, which is also what a simulator runs for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// `compute_80`: every device but Hopper, and by just-in-time compilation every newer one.
    Portable,
    /// `compute_90a`: Hopper, whose wgmma and setmaxnreg exist in no other pass.
    Hopper,
}

/// One machine-code target: `80` is made from the portable pass, `90a` from Hopper's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As nvcc spells it after `sm_`.
    pub arch: String,
    pub pass: Pass,
}

/// Reads a list such as `80,90a`. The error is one line that says which word is wrong.
pub fn parse_archs(list: &str) -> Result<Vec<Target>, String> {
    let mut targets: Vec<Target> = Vec::new();
    for word in list.split(',').map(str::trim) {
        let pass = match word {
            "90a" => Pass::Hopper,
            "90" => {
                return Err(format!("`{list}`: write 90a for Hopper, there is no plain 90"));
            }
            _ if is_plain_arch(word) => Pass::Portable,
            _ => {
                return Err(format!("`{list}`: `{word}` is no target; a list is like 80,89,90a"));
            }
        };
        if targets.iter().any(|t| t.arch == word) {
            return Err(format!("`{list}`: `{word}` stands there twice"));
        }
        targets.push(Target { arch: word.to_owned(), pass });
    }
    Ok(targets)
}

/// Two or three digits, 80 or more: what can be made from `compute_80`. Whether the device exists
/// is for nvcc to say, which knows more of them every year.
fn is_plain_arch(word: &str) -> bool {
    let digits = word.bytes().all(|b| b.is_ascii_digit());
    digits && (2..=3).contains(&word.len()) && word.parse::<u32>().is_ok_and(|n| n >= 80)
}

/// Whether a file is for Hopper alone, by its name: `gemm_prefill_sm90`.
pub fn is_hopper_only(stem: &str) -> bool {
    stem.ends_with("_sm90")
}

/// The targets of one file among those asked for. A file with none would be missing at run time,
/// on the user's machine; it is an error here instead.
pub fn targets_of<'a>(stem: &str, all: &'a [Target]) -> Result<Vec<&'a Target>, String> {
    let hopper_only = is_hopper_only(stem);
    let targets: Vec<&Target> =
        all.iter().filter(|t| !hopper_only || t.pass == Pass::Hopper).collect();
    if targets.is_empty() {
        let list: Vec<&str> = all.iter().map(|t| t.arch.as_str()).collect();
        let list = list.join(",");
        return Err(format!("`{list}` leaves kernels/{stem}.cu without a target: add 90a"));
    }
    Ok(targets)
}

/// The `-gencode` arguments for one file: both passes always, since both are embedded, and machine
/// code for the targets. PTX of `compute_80` goes into the fat binary for devices yet to come;
/// that of `compute_90a` only where there is no machine code for Hopper.
pub fn gencode(stem: &str, targets: &[&Target]) -> Vec<String> {
    let codes = |pass: Pass| -> Vec<String> {
        targets.iter().filter(|t| t.pass == pass).map(|t| format!("sm_{}", t.arch)).collect()
    };
    let mut args = Vec::new();
    if !is_hopper_only(stem) {
        let mut portable = codes(Pass::Portable);
        portable.push("compute_80".to_owned());
        args.push(format!("-gencode=arch=compute_80,code=[{}]", portable.join(",")));
    }
    let mut hopper = codes(Pass::Hopper);
    if hopper.is_empty() {
        hopper.push("compute_90a".to_owned());
    }
    args.push(format!("-gencode=arch=compute_90a,code=[{}]", hopper.join(",")));
    args
}

/// What ptxas says of one kernel on one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub symbol: String,
    /// As ptxas spells it: `sm_90a`.
    pub target: String,
    pub registers: u32,
    /// Static shared memory. What a launch asks for on top is not in the binary.
    pub shared_bytes: u32,
    pub stack_bytes: u32,
    /// Stores and loads added up.
    pub spill_bytes: u32,
}

/// Reads the log of `-Xptxas=-v`: one `Usage` for each kernel and target, in the log's order.
pub fn parse_ptxas(log: &str) -> Result<Vec<Usage>, String> {
    let mut found: Vec<Usage> = Vec::new();
    let mut in_entry = false;
    for line in log.lines() {
        if let Some(rest) = after(line, "Compiling entry function '") {
            let mut quoted = rest.split('\'');
            let symbol = quoted.next().unwrap_or_default().to_owned();
            let target = quoted.nth(1).unwrap_or_default().to_owned();
            found.push(Usage { symbol, target, ..Usage::default() });
        } else if let Some(name) = after(line, "Function properties for ") {
            in_entry = found.last().is_some_and(|u| u.symbol == name.trim());
        } else if let Some(usage) = found.last_mut() {
            if line.contains("bytes stack frame") && in_entry {
                usage.stack_bytes = number_before(line, " bytes stack frame")?;
                usage.spill_bytes = number_before(line, " bytes spill stores")?
                    + number_before(line, " bytes spill loads")?;
            } else if line.contains(" registers") {
                usage.registers = number_before(line, " registers")?;
                if line.contains(" bytes smem") {
                    usage.shared_bytes = number_before(line, " bytes smem")?;
                }
            }
        }
    }
    match found.iter().find(|u| u.registers == 0) {
        Some(u) => Err(format!("ptxas gives no registers for {} on {}", u.symbol, u.target)),
        None => Ok(found),
    }
}

/// Why a log that nvcc counts as a success fails the build, one line each. Local memory in any
/// form (a spill, or an array indexed at run time) costs more than the loads it stands beside,
/// and C75xx is how ptxas says that it serialised wgmma.
pub fn complaints(log: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut function = "";
    for line in log.lines() {
        if let Some(name) = after(line, "Function properties for ") {
            function = name.trim();
        } else if line.contains("bytes stack frame") && has_nonzero_number(line) {
            found.push(format!("{function} uses local memory: {}", line.trim()));
        } else if line.contains("(C75") {
            found.push(line.trim().to_owned());
        }
    }
    found
}

/// A kernel as it stands in PTX: from `.entry` to its closing brace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PtxEntry<'a> {
    pub symbol: &'a str,
    pub text: &'a str,
}

/// The kernels of a PTX file. nvcc closes a function with a brace in the first column.
pub fn ptx_entries(ptx: &str) -> Vec<PtxEntry<'_>> {
    const MARK: &str = "\n.visible .entry ";
    ptx.split(MARK)
        .skip(1)
        .map(|rest| PtxEntry {
            symbol: rest.split('(').next().unwrap_or_default().trim(),
            text: rest.find("\n}").map_or(rest, |end| &rest[..end + 2]),
        })
        .collect()
}

/// Blocks of a cluster that a kernel is compiled for; 1 where it names none.
pub fn cluster_blocks(entry: &str) -> u32 {
    let sizes = entry.split(".reqnctapercluster ").nth(1).and_then(|rest| rest.lines().next());
    let sizes =
        sizes.map(|sizes| sizes.split(',').filter_map(|size| size.trim().parse::<u32>().ok()));
    sizes.map_or(1, Iterator::product)
}

/// The word after `.target`: `sm_80` or `sm_90a`.
pub fn ptx_target(ptx: &str) -> Option<&str> {
    let line = ptx.lines().find_map(|l| l.strip_prefix(".target "))?;
    line.split([',', ' ']).next()
}

/// FNV-1a of 128 bits: the same on every machine and in every version of Rust, unlike the standard
/// library's hasher. It names cache entries; nobody attacks them.
#[derive(Clone)]
pub struct Fnv(u128);

impl Fnv {
    pub fn new() -> Self {
        Fnv(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    /// Adds one field. Its length goes first, so that two fields never read like one.
    pub fn field(mut self, bytes: &[u8]) -> Self {
        let length = (bytes.len() as u64).to_le_bytes();
        for &byte in length.iter().chain(bytes) {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
        }
        self
    }

    pub fn hex(&self) -> String {
        format!("{:032x}", self.0)
    }
}

fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark).map(|(_, rest)| rest)
}

fn number_before(line: &str, mark: &str) -> Result<u32, String> {
    let before = line.split(mark).next().unwrap_or_default();
    let word = before.rsplit([' ', ',']).next().unwrap_or_default();
    word.parse().map_err(|_| format!("no number before `{}` in ptxas' line: {line}", mark.trim()))
}

fn has_nonzero_number(line: &str) -> bool {
    line.split(|c: char| !c.is_ascii_digit()).any(|n| n.bytes().any(|b| b != b'0'))
}
