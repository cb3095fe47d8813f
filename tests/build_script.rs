//! What the build script decides from text: target lists, ptxas' log, PTX, cache names.

#[path = "../build/facts.rs"]
pub mod facts;

use facts::{Fnv, Pass, Target, Usage};

const LOG: &str = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'one_bf16' for 'sm_80'
ptxas info    : Function properties for one_bf16
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 16 registers, used 1 barriers, 392 bytes cmem[0]
ptxas info    : Compile time = 14.874 ms
ptxas info    : Compiling entry function 'two_bf16' for 'sm_90a'
ptxas info    : Function properties for two_bf16
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Function properties for a_helper
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 128 registers, used 0 barriers, 4096 bytes smem
";

fn usage(symbol: &str, target: &str, registers: u32, shared_bytes: u32) -> Usage {
    let (symbol, target) = (symbol.to_owned(), target.to_owned());
    Usage { symbol, target, registers, shared_bytes, ..Usage::default() }
}

fn archs(list: &str) -> Vec<String> {
    facts::parse_archs(list).unwrap().into_iter().map(|t| t.arch).collect()
}

#[test]
fn target_lists_are_read() {
    assert_eq!(archs("80,90a"), ["80", "90a"]);
    assert_eq!(archs(" 86 , 120 "), ["86", "120"]);
    let passes: Vec<Pass> =
        facts::parse_archs("89,90a").unwrap().into_iter().map(|t| t.pass).collect();
    assert_eq!(passes, [Pass::Portable, Pass::Hopper]);
}

#[test]
fn malformed_target_lists_are_refused_in_one_line() {
    for (list, reason) in [
        ("", "no target"),
        ("80,", "no target"),
        ("80;90a", "no target"),
        ("sm_80", "no target"),
        ("75", "no target"),
        ("80.0", "no target"),
        ("100a", "no target"),
        ("1000", "no target"),
        ("90", "write 90a"),
        ("80,90a,80", "twice"),
    ] {
        let error = facts::parse_archs(list).unwrap_err();
        assert!(error.contains(reason) && error.contains(list), "{list}: {error}");
        assert_eq!(error.lines().count(), 1);
    }
}

#[test]
fn no_file_is_left_without_a_target() {
    let ampere = facts::parse_archs("80").unwrap();
    let hopper = facts::parse_archs("90a").unwrap();
    assert_eq!(facts::targets_of("embed", &ampere).unwrap().len(), 1);
    assert_eq!(facts::targets_of("embed", &hopper).unwrap().len(), 1);
    assert_eq!(facts::targets_of("gemm_prefill_sm90", &hopper).unwrap().len(), 1);
    let error = facts::targets_of("gemm_prefill_sm90", &ampere).unwrap_err();
    assert_eq!(error, "`80` leaves kernels/gemm_prefill_sm90.cu without a target: add 90a");
}

#[test]
fn both_passes_are_always_asked_of_nvcc() {
    let gencode = |stem: &str, list: &str| {
        let all: Vec<Target> = facts::parse_archs(list).unwrap();
        let targets = facts::targets_of(stem, &all).unwrap();
        facts::gencode(stem, &targets).join(" ")
    };
    assert_eq!(
        gencode("embed", "80,89,90a"),
        "-gencode=arch=compute_80,code=[sm_80,sm_89,compute_80] \
         -gencode=arch=compute_90a,code=[sm_90a]"
    );
    assert_eq!(
        gencode("embed", "90a"),
        "-gencode=arch=compute_80,code=[compute_80] -gencode=arch=compute_90a,code=[sm_90a]"
    );
    assert_eq!(
        gencode("embed", "80"),
        "-gencode=arch=compute_80,code=[sm_80,compute_80] \
         -gencode=arch=compute_90a,code=[compute_90a]"
    );
    assert_eq!(gencode("gemm_prefill_sm90", "80,90a"), "-gencode=arch=compute_90a,code=[sm_90a]");
}

#[test]
fn the_log_of_ptxas_is_read() {
    assert_eq!(
        facts::parse_ptxas(LOG).unwrap(),
        [usage("one_bf16", "sm_80", 16, 0), usage("two_bf16", "sm_90a", 128, 4096)]
    );
    assert_eq!(facts::complaints(LOG), [""; 0]);
    assert_eq!(facts::parse_ptxas("").unwrap(), []);
}

#[test]
fn a_log_without_registers_is_an_error() {
    let cut: String = LOG.lines().take(4).map(|l| format!("{l}\n")).collect();
    let error = facts::parse_ptxas(&cut).unwrap_err();
    assert!(error.contains("one_bf16 on sm_80"), "{error}");
}

#[test]
fn spills_and_stacks_are_complaints() {
    let none = "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads";
    for some in [
        "8 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads",
        "16 bytes stack frame, 8 bytes spill stores, 20 bytes spill loads",
    ] {
        let log = LOG.replacen(none, some, 1);
        assert_eq!(facts::complaints(&log), [format!("one_bf16 uses local memory: {some}")]);
        let read = facts::parse_ptxas(&log).unwrap();
        assert_eq!((read[0].stack_bytes > 0, read[1].stack_bytes), (true, 0));
        assert_eq!(read[0].spill_bytes, if some.contains("20") { 28 } else { 0 });
    }
    // A helper that was not inlined counts as well: the kernel pays for it.
    let at = LOG.rfind("0 bytes stack").unwrap();
    let log = format!("{}4{}", &LOG[..at], &LOG[at + 1..]);
    let complaints = facts::complaints(&log);
    assert_eq!(complaints.len(), 1);
    assert!(complaints[0].starts_with("a_helper uses local memory"), "{complaints:?}");
}

#[test]
fn serialised_wgmma_is_a_complaint() {
    for line in [
        "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are \
         serialized due to insufficient register resources for the wgmma pipeline",
        "ptxas info    : (C7517) warpgroup.wait is injected in around line 271 by compiler to \
         allow use of registers defined by GMMA in function 'gemm_bf16_sm90'",
    ] {
        assert_eq!(facts::complaints(&format!("{LOG}{line}\n")), [line]);
    }
}

#[test]
fn ptx_is_cut_into_its_kernels() {
    let ptx = "//\n.version 9.0\n.target sm_90a\n.address_size 64\n\n\
               .visible .entry a_bf16(\n\t.param .align 8 .b8 a_bf16_param_0[8]\n)\n{\n\tret;\n}\n\
               .visible .entry b_bf16(\n)\n{\n\t{ nop; }\n\tret;\n\n}\n\t.file 1 \"x\"\n";
    let entries = facts::ptx_entries(ptx);
    let symbols: Vec<&str> = entries.iter().map(|e| e.symbol).collect();
    assert_eq!(symbols, ["a_bf16", "b_bf16"]);
    assert!(entries[0].text.starts_with("a_bf16(") && entries[0].text.ends_with("ret;\n}"));
    assert!(entries[1].text.contains("nop") && !entries[1].text.contains(".file"));
    assert_eq!(facts::ptx_target(ptx), Some("sm_90a"));
    assert_eq!(facts::ptx_target(".target sm_80, debug\n"), Some("sm_80"));
    assert_eq!(facts::ptx_target("nothing"), None);
}

#[test]
fn a_cluster_is_read_from_the_ptx() {
    let entry = |line: &str| format!("a_sm90(\n)\n.maxntid 384, 1, 1\n{line}{{\n\tret;\n}}");
    assert_eq!(facts::cluster_blocks(&entry(".explicitcluster\n.reqnctapercluster 2, 1, 1\n")), 2);
    assert_eq!(facts::cluster_blocks(&entry("")), 1);
}

#[test]
fn cache_names_are_stable_and_keep_fields_apart() {
    let name =
        |fields: &[&str]| fields.iter().fold(Fnv::new(), |hash, f| hash.field(f.as_bytes())).hex();
    // FNV-1a of eight zero bytes and no text, worked out apart from this code.
    assert_eq!(name(&[""]), "9d30c1f78465995be47dda5e4e4e77ed");
    assert_ne!(name(&["ab", "c"]), name(&["a", "bc"]));
    assert_ne!(name(&["a"]), name(&["a", ""]));
    assert_ne!(name(&["a", "b"]), name(&["b", "a"]));
}
