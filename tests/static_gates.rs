//! The machine code in this binary, read back by cuobjdump: what ptxas made of the kernels is what
//! they were written for. PTX cannot show it, because ptxas moves, widens and splits accesses.
//!
//! `make toolkit` installs the disassembler. Without one there is what ptxas itself reported, which
//! tests/kernels.rs holds. Occupancy needs no test: a kernel's row in the table of instances says
//! how many blocks a multiprocessor must hold, and code that then spills fails the build.

use super::build_script::facts;
use super::common::root;
use super::hopper_gates;
use rayon::prelude::*;
use ridgepoint::backend::cuda::module::{MODULES, Module};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One kernel's machine code for one target.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Code {
    pub symbol: String,
    /// Such as `sm_90a`.
    pub target: String,
    pub instructions: Vec<Instruction>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instruction {
    pub address: u64,
    /// Only executed where a predicate holds.
    pub guarded: bool,
    /// Such as `LDG.E.128`.
    pub opcode: String,
    pub operands: String,
}

impl Instruction {
    pub fn is(&self, family: &str) -> bool {
        let rest = self.opcode.strip_prefix(family);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    pub fn is_any(&self, families: &[&str]) -> bool {
        families.iter().any(|family| self.is(family))
    }
}

/// Kernels that multiply tiles of matrices.
const TILED: [&str; 2] = ["gemm_", "attention_"];
/// The instructions of tensor cores.
const MMA: [&str; 5] = ["HMMA", "IMMA", "QMMA", "HGMMA", "IGMMA"];
/// What writes memory that another kernel may look at.
const WRITES: [&str; 8] = ["STG", "ST", "RED", "REDG", "ATOM", "ATOMG", "UBLKRED", "UTMASTG"];
/// What reads it.
const READS: [&str; 5] = ["LDG", "LD", "LDGSTS", "UBLKCP", "UTMALDG"];
/// What may be read before the kernel before has ended: weights, which no kernel writes.
/// By the beginning and the end of a symbol; the first that fits.
const WEIGHTS_AHEAD: [(&str, &str, &str, &str); 7] = [
    ("embed_", "", "LDG", "the norm's weight"),
    ("gemm_decode_bf16_bf16_", "_sm90", "UTMALDG", "the first stages of W"),
    ("gemm_decode_", "_sm90", "UBLKCP", "the first stages of W"),
    ("gemm_decode_", "", "LDGSTS", "the first stages of W"),
    ("gemm_prefill_bf16_bf16_", "_sm90", "UTMALDG", "the first stages of W"),
    ("gemm_prefill_bf16_int4", "_sm90", "UBLKCP", "the first stages of W"),
    ("gemm_prefill_", "", "LDGSTS", "the first stages of W"),
];

/// Reads what `cuobjdump -sass` writes.
pub(super) fn parse(text: &str) -> Vec<Code> {
    let mut found: Vec<Code> = Vec::new();
    let mut target = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("code for ") {
            target = name.to_owned();
        } else if let Some(symbol) = line.strip_prefix("Function : ") {
            let (symbol, target) = (symbol.to_owned(), target.clone());
            found.push(Code { symbol, target, ..Code::default() });
        } else if let (Some(code), Some(instruction)) = (found.last_mut(), instruction(line)) {
            code.instructions.push(instruction);
        }
    }
    found
}

/// `/*0540*/ @P0 LDG.E R2, desc[UR8][R10.64] ; /* its bits */`. Other lines have bits alone.
fn instruction(line: &str) -> Option<Instruction> {
    let (address, rest) = line.strip_prefix("/*")?.split_once("*/")?;
    let (text, _) = rest.split_once(';')?;
    let text = text.trim();
    let guard = text.strip_prefix('@');
    let text = guard.map_or(Some(text), |guarded| Some(guarded.split_once(' ')?.1.trim()))?;
    let (opcode, operands) = text.split_once(' ').unwrap_or((text, ""));
    Some(Instruction {
        address: u64::from_str_radix(address, 16).ok()?,
        guarded: guard.is_some(),
        opcode: opcode.to_owned(),
        operands: operands.trim().to_owned(),
    })
}

/// What is wrong with a kernel, one line each. `waits`: whether its PTX waits for the grid before.
fn faults(code: &Code, waits: bool) -> Vec<String> {
    let mut faults = [local_memory(code), uniform_descriptors(code)].concat();
    if TILED.iter().any(|op| code.symbol.starts_with(op)) {
        faults.extend(tiles(code));
    }
    if facts::is_hopper_only(&code.symbol) {
        faults.extend(hopper_gates::faults(code));
    }
    faults.extend(wait(code, waits));
    faults.iter().map(|fault| format!("{} on {}: {fault}", code.symbol, code.target)).collect()
}

/// Neither spills nor arrays that are indexed at run time.
fn local_memory(code: &Code) -> Vec<String> {
    let local = code.instructions.iter().filter(|i| i.is_any(&["LDL", "STL"]));
    local.map(|i| format!("local memory, {} {}", i.opcode, i.operands)).collect()
}

/// A descriptor that an access names is written before: ptxas has lost one where the access was
/// written with a cache policy.
fn uniform_descriptors(code: &Code) -> Vec<String> {
    let mut written = Vec::new();
    let mut faults = Vec::new();
    for i in &code.instructions {
        // Of memory: what wgmma calls gdesc is four registers, not all of which it looks at.
        for rest in i.operands.replace("gdesc[", "").split("desc[").skip(1) {
            let register = rest.split(']').next().unwrap_or_default();
            if !written.contains(&register) {
                faults.push(format!("{} {} before {register} is written", i.opcode, i.operands));
            }
        }
        // Some instructions have a predicate as their first result.
        let words = i.operands.split([',', ' ']).filter(|word| !word.is_empty());
        written.extend(words.take(2).filter(|word| word.starts_with("UR")));
    }
    faults
}

/// Tiles come by asynchronous copies of 16 bytes and go to tensor cores.
fn tiles(code: &Code) -> Vec<String> {
    let all = |families: &[&str]| -> Vec<&str> {
        let found = code.instructions.iter().filter(|i| i.is_any(families));
        found.map(|i| i.opcode.as_str()).collect()
    };
    let mut faults = Vec::new();
    let copies = all(&["LDGSTS"]);
    if copies.is_empty() && all(&["UBLKCP", "UTMALDG"]).is_empty() {
        faults.push("no asynchronous copies".to_owned());
    }
    let narrow = copies.iter().filter(|copy| !copy.ends_with(".128"));
    faults.extend(narrow.map(|copy| format!("an asynchronous copy of less than 16 bytes, {copy}")));
    if all(&MMA).is_empty() {
        faults.push("no tensor cores".to_owned());
    }
    faults
}

/// The wait for the grid before (ACQBULK; PREEXIT lets the grid after start): once, ahead of all
/// that the other grid may see, and of every end of a thread. Weights alone are asked for earlier,
/// and of products they are, since the time until the wait is what their bytes are fetched in.
///
/// Instructions are compared by address. A loop whose body lay ahead of the wait and ran after it
/// would be reported too.
fn wait(code: &Code, waits: bool) -> Vec<String> {
    let at = |family: &str| {
        let found = code.instructions.iter().enumerate().filter(|(_, i)| i.is(family));
        found.map(|(at, _)| at).collect::<Vec<usize>>()
    };
    let (acquires, releases) = (at("ACQBULK"), at("PREEXIT"));
    let times = usize::from(waits);
    if (acquires.len(), releases.len()) != (times, times) {
        return vec![format!(
            "waits {} times and lets go {} times, expected {times}",
            acquires.len(),
            releases.len()
        )];
    }
    let Some(&acquire) = acquires.first() else { return Vec::new() };
    let early = &code.instructions[..acquire];
    let fits =
        |start: &str, end: &str| code.symbol.starts_with(start) && code.symbol.ends_with(end);
    let allowed = WEIGHTS_AHEAD.iter().find(|(start, end, _, _)| fits(start, end));
    let is_weight = |i: &Instruction| allowed.is_some_and(|(_, _, family, _)| i.is(family));
    let is_fault =
        |i: &&Instruction| i.is("EXIT") || i.is_any(&WRITES) || (i.is_any(&READS) && !is_weight(i));
    let mut faults: Vec<String> = early
        .iter()
        .filter(is_fault)
        .map(|i| format!("{} {} ahead of the wait", i.opcode, i.operands))
        .collect();
    if let Some((_, _, family, what)) = allowed
        && !early.iter().any(is_weight)
    {
        faults.push(format!("{what} is not asked for ahead of the wait ({family})"));
    }
    // A load by the path of constant data could still be moved ahead of the wait by a later ptxas.
    let constant = code.instructions.iter().filter(|i| i.opcode.contains(".CONSTANT"));
    faults.extend(constant.map(|i| format!("{} {}", i.opcode, i.operands)));
    faults
}

/// Folders that hold cuobjdump and the nvdisasm it calls.
fn disassemblers() -> Vec<PathBuf> {
    let home = |name| std::env::var_os(name).map(|home| PathBuf::from(home).join("bin"));
    let mut folders: Vec<PathBuf> = ["CUDA_HOME", "CUDA_PATH"].iter().filter_map(home).collect();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    folders.push("/usr/local/cuda/bin".into());
    folders.push(root().join(".toolkit/disassembler/bin"));
    let whole = |f: &PathBuf| ["cuobjdump", "nvdisasm"].iter().all(|tool| f.join(tool).is_file());
    folders.retain(whole);
    folders
}

/// Writes the module's fat binary to `scratch` and reads it back.
fn disassemble(tools: &Path, module: &Module, scratch: &Path) -> Result<Vec<Code>, String> {
    let file = scratch.join(format!("{}.fatbin", module.name));
    fs::write(&file, module.fatbin).unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(tools.to_owned()).chain(std::env::split_paths(&path));
    let out = Command::new(tools.join("cuobjdump"))
        .arg("-sass")
        .arg(&file)
        .env("PATH", std::env::join_paths(path).unwrap())
        .output()
        .map_err(|e| e.to_string())?;
    if out.status.success() {
        return Ok(parse(&String::from_utf8_lossy(&out.stdout)));
    }
    Err(String::from_utf8_lossy(&out.stderr).into_owned())
}

#[test]
fn machine_code_keeps_the_promises_of_the_sources() {
    let scratch = tempfile::tempdir().unwrap();
    let found = disassemblers();
    let Some(smallest) = MODULES.iter().min_by_key(|module| module.fatbin.len()) else {
        return; // a build without kernels
    };
    // The first that can read this code: what is on PATH may be older than the compiler.
    let tries = found.iter().map(|tools| disassemble(tools, smallest, scratch.path()));
    let Some(at) = tries.clone().position(|codes| codes.is_ok()) else {
        let reasons: Vec<String> = tries.filter_map(Result::err).collect();
        assert!(reasons.is_empty(), "{found:?} cannot read the kernels: {reasons:?}");
        // Not through the macros, whose output is kept back where a test passes.
        let note = "static gates: no cuobjdump and nvdisasm (`make toolkit`), machine code unseen";
        writeln!(std::io::stderr(), "{note}").unwrap();
        return;
    };
    let codes: Vec<(&Module, Code)> = MODULES
        .par_iter()
        .flat_map_iter(|module| {
            let codes = disassemble(&found[at], module, scratch.path()).unwrap();
            codes.into_iter().map(move |code| (module, code))
        })
        .collect();
    let mut in_code: Vec<(&str, &str)> =
        codes.iter().map(|(_, c)| (c.symbol.as_str(), c.target.as_str())).collect();
    let entries = MODULES.iter().flat_map(|module| module.entries);
    let mut in_table: Vec<(&str, &str)> =
        entries.flat_map(|e| e.targets.iter().map(move |t| (e.symbol, t.target))).collect();
    in_code.sort_unstable();
    in_table.sort_unstable();
    assert_eq!(in_code, in_table, "the kernels of the table and those that were read");

    let waits = |module: &Module, code: &Code| {
        let entry = module.entries.iter().find(|e| e.symbol == code.symbol).unwrap();
        entry.targets.iter().any(|t| t.target == code.target && t.waits_for_grid)
    };
    let all: Vec<String> = codes.iter().flat_map(|(m, c)| faults(c, waits(m, c))).collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
    report(&codes);
}

/// What was looked at, for `--nocapture`: instructions of each kernel by kind.
#[allow(clippy::print_stdout)]
fn report(codes: &[(&Module, Code)]) {
    for (_, code) in codes {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        let of_note = ["LDGSTS", "LDG", "STG", "ATOMG", "RED", "HMMA", "HGMMA", "ACQBULK"];
        for i in code.instructions.iter().filter(|i| i.is_any(&of_note)) {
            *kinds.entry(&i.opcode).or_default() += 1;
        }
        let kinds: Vec<String> = kinds.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
        let (symbol, target, count) = (&code.symbol, &code.target, code.instructions.len());
        println!("{symbol} {target}: {count} instructions; {}", kinds.join(", "));
    }
}

/// A product as it should be.
const GOOD: &str = "
    code for sm_90a
        Function : gemm_decode_x
        /*0000*/    ULDC.64 UR4, c[0x0][0x208] ;    /* 0x00000a00ff017624 */
                                                    /* 0x000fe400078e00ff */
        /*0010*/    @P0 PREEXIT ;                   /* 0x000000000000782d */
        /*0020*/    LDGSTS.E.BYPASS.128 [R23], desc[UR4][R10.64], P3 ;
        /*0030*/    ACQBULK ;
        /*0040*/    @!P0 EXIT ;
        /*0050*/    HMMA.16816.F32.BF16 R4, R8, R2, R4 ;
        /*0060*/    STG.E.128 desc[UR4][R2.64], R4 ;
        /*0070*/    EXIT ;
";

#[test]
fn sound_machine_code_is_read_and_let_pass() {
    let codes = parse(GOOD);
    assert_eq!(codes.len(), 1);
    let [code] = &codes[..] else { unreachable!() };
    assert_eq!((code.symbol.as_str(), code.target.as_str()), ("gemm_decode_x", "sm_90a"));
    assert_eq!(code.instructions.len(), 8);
    let (opcode, operands) = ("EXIT".to_owned(), String::new());
    let exit = Instruction { address: 0x40, guarded: true, opcode, operands };
    assert_eq!(code.instructions[4], exit);
    assert_eq!(faults(code, true), [""; 0]);
}

#[test]
fn each_fault_of_machine_code_is_found() {
    let changes = [
        ("HMMA.16816.F32.BF16 R4, R8, R2, R4", "FFMA R4, R8, R2, R4", "no tensor cores"),
        ("STG.E.128 desc[UR4][R2.64], R4", "STL.64 [R1+0x8], R4", "local memory, STL.64"),
        ("STG.E.128 desc[UR4]", "STG.E.128 desc[UR6]", "before UR6 is written"),
        ("BYPASS.128", "64", "less than 16 bytes, LDGSTS.E.64"),
        (
            "LDGSTS.E.BYPASS.128 [R23],",
            "LDG.E.128 R4,",
            "LDG.E.128 R4, desc[UR4][R10.64], P3 ahead",
        ),
        ("LDGSTS.E.BYPASS.128 [R23],", "LDG.E.128 R4,", "no asynchronous copies"),
        ("LDGSTS.E.BYPASS.128 [R23],", "LDG.E.128 R4,", "W is not asked for ahead of the wait"),
        ("@P0 PREEXIT", "STG.E desc[UR4][R2.64], R4", "waits 1 times and lets go 0 times"),
        ("ACQBULK", "NOP", "waits 0 times"),
        ("EXIT ;\n        /*0050*/", "ACQBULK ;\n        /*0050*/", "waits 2 times"),
        ("ULDC.64 UR4, c[0x0][0x208]", "EXIT", "EXIT  ahead of the wait"),
        ("STG.E.128", "LDG.E.CONSTANT R9,", "LDG.E.CONSTANT R9"),
        (
            "@P0 PREEXIT ;",
            "@P0 PREEXIT ;\n/*0018*/ ATOMG.E.INC PT, R4, desc[UR4][R2.64], R5 ;",
            "ATOMG.E.INC PT, R4, desc[UR4][R2.64], R5 ahead of the wait",
        ),
    ];
    for (from, to, message) in changes {
        assert!(GOOD.contains(from), "{from}");
        let codes = parse(&GOOD.replace(from, to));
        let found = faults(&codes[0], true);
        assert!(found.iter().any(|fault| fault.contains(message)), "{to}: {found:?}");
    }
    assert_eq!(faults(&parse(GOOD)[0], false).len(), 1, "waits though its PTX does not");
}
