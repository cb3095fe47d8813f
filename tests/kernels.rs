//! The kernels in this binary against their sources: names, launch arguments, passes, and the
//! promises of the build (no local memory, no assembly outside of ptx*.cuh).

use super::build_script::facts;
use super::common::root;
use ridgepoint::backend::cuda::module::best_target;
use ridgepoint::cli;
use std::fs;

/// One row of the table of instances at the foot of a kernel file.
struct Instance {
    stem: String,
    symbol: String,
    params: String,
}

/// Name and text of each file of kernels/, by name.
fn kernel_files() -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = fs::read_dir(root().join("kernels"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|e| (e.file_name().into_string().unwrap(), fs::read_to_string(e.path()).unwrap()))
        .collect();
    files.sort();
    files
}

fn instances() -> Vec<Instance> {
    let mut found = Vec::new();
    for (name, text) in kernel_files() {
        let Some(stem) = name.strip_suffix(".cu") else {
            continue;
        };
        let before = found.len();
        let row = |l: &'_ str| {
            let row = l.strip_prefix("KERNEL(").or_else(|| l.strip_prefix("CLUSTER_KERNEL("));
            row.map(str::to_owned)
        };
        for row in text.lines().filter_map(row) {
            let mut words = row.split([',', ')']).map(|w| w.trim().to_owned());
            let (symbol, params) = (words.next().unwrap(), words.next().unwrap());
            found.push(Instance { stem: stem.to_owned(), symbol, params });
        }
        assert!(found.len() > before, "{name} has no table of instances");
        assert!(!text.contains("__global__"), "{name}: a kernel is declared with KERNEL(...)");
    }
    found
}

#[test]
fn symbols_begin_with_their_file() {
    for instance in instances() {
        let op = instance.stem.trim_end_matches("_sm90");
        let hopper = facts::is_hopper_only(&instance.stem);
        assert!(instance.symbol.starts_with(&format!("{op}_")), "{}", instance.symbol);
        assert_eq!(instance.symbol.ends_with("_sm90"), hopper, "{}", instance.symbol);
    }
}

#[test]
fn assembly_stands_in_the_wrappers_alone() {
    for (name, text) in kernel_files() {
        let code = text.lines().map(|l| l.split("//").next().unwrap());
        let words = code.flat_map(|l| l.split(|c: char| !c.is_alphanumeric() && c != '_'));
        let asm = words.filter(|w| ["asm", "__asm", "__asm__"].contains(w)).count();
        let wrappers = ["ptx.cuh", "ptx_sm90.cuh"].contains(&name.as_str());
        assert_eq!(asm > 0, wrappers, "{name}: {asm} asm statements");
    }
}

/// What bindgen made of all headers.
fn generated_params() -> String {
    let files = fs::read_dir(root().join("src/backend/cuda/params")).unwrap();
    files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

/// Size and alignment of a struct by the assertions that bindgen wrote and the compiler has
/// checked.
fn layout(generated: &str, name: &str) -> (usize, usize) {
    let figure = |of: &str| {
        let rest = generated.split(&format!("{of}::<{name}>() - ")).nth(1);
        let rest = rest.unwrap_or_else(|| panic!("no {of} of {name} is asserted"));
        rest.split("usize").next().unwrap().parse().unwrap()
    };
    (figure("size_of"), figure("align_of"))
}

#[test]
fn each_kernel_names_a_struct_of_the_shared_header() {
    let generated = generated_params();
    for instance in instances() {
        let (bytes, _) = layout(&generated, &instance.params);
        // A launch before CUDA 12.1's drivers carries 4 KiB of arguments at most.
        assert!((8..=4096).contains(&bytes) && bytes.is_multiple_of(8), "{}", instance.params);
    }
}

#[test]
fn each_device_gets_the_code_it_can_run() {
    let best = |compute| best_target(compute, ["sm_80", "sm_89", "sm_90a"].into_iter());
    assert_eq!(best((9, 0)), Some("sm_90a"));
    assert_eq!(best((8, 0)), Some("sm_80"));
    assert_eq!(best((8, 6)), Some("sm_80"));
    assert_eq!(best((8, 9)), Some("sm_89"));
    assert_eq!(best((12, 0)), Some("sm_89"));
    assert_eq!(best_target((8, 0), ["sm_90a"].into_iter()), None);
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_build_without_cuda_has_no_kernels_and_says_so() {
    assert!(ridgepoint::backend::cuda::module::MODULES.is_empty());
    for json in [false, true] {
        let mut out = Vec::new();
        cli::kernels::run(json, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("without the feature `cuda`"), "{text}");
        assert_eq!(text.lines().count(), 1);
        assert!(!json || serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}

#[cfg(feature = "cuda")]
mod compiled {
    use super::*;
    use ridgepoint::backend::cuda::module::{Entry, MODULES, Module};

    fn entries() -> impl Iterator<Item = (&'static Module, &'static Entry)> {
        MODULES.iter().flat_map(|m| m.entries.iter().map(move |e| (m, e)))
    }

    fn passes(module: &Module) -> Vec<(&'static str, &'static str)> {
        let portable = module.ptx_80.map(|ptx| ("sm_80", ptx));
        portable.into_iter().chain([("sm_90a", module.ptx_90a)]).collect()
    }

    #[test]
    fn table_and_sources_name_the_same_kernels() {
        let mut in_sources: Vec<(String, String)> =
            instances().into_iter().map(|i| (i.stem, i.symbol)).collect();
        let mut in_table: Vec<(String, String)> =
            entries().map(|(m, e)| (m.name.to_owned(), e.symbol.to_owned())).collect();
        in_sources.sort();
        in_table.sort();
        assert!(!in_table.is_empty());
        assert_eq!(in_table, in_sources);
    }

    #[test]
    fn each_pass_is_embedded_and_holds_each_kernel() {
        for module in MODULES {
            assert_eq!(module.ptx_80.is_none(), facts::is_hopper_only(module.name));
            let symbols: Vec<&str> = module.entries.iter().map(|e| e.symbol).collect();
            for (target, ptx) in passes(module) {
                let name = module.name;
                assert_eq!(facts::ptx_target(ptx), Some(target), "{name}");
                let found: Vec<&str> = facts::ptx_entries(ptx).iter().map(|e| e.symbol).collect();
                assert_eq!(found, symbols, "{name} {target}");
                let files: Vec<&str> =
                    ptx.lines().filter(|l| l.trim_start().starts_with(".file")).collect();
                let own = format!("\"kernels/{name}.cu\"");
                assert!(files.iter().any(|l| l.contains(&own)), "{name}: {files:?}");
            }
        }
    }

    #[test]
    fn each_kernel_takes_its_params_struct_by_value() {
        let instances = instances();
        let generated = generated_params();
        for (module, entry) in entries() {
            let instance = instances.iter().find(|i| i.symbol == entry.symbol).unwrap();
            let (bytes, align) = layout(&generated, &instance.params);
            for (target, ptx) in passes(module) {
                let ptx = facts::ptx_entries(ptx);
                let ptx = ptx.iter().find(|e| e.symbol == entry.symbol).unwrap();
                let signature = ptx.text.split("\n)").next().unwrap();
                let wanted =
                    format!("{0}(\n\t.param .align {align} .b8 {0}_param_0[{bytes}]", entry.symbol);
                assert_eq!(signature, wanted, "{target}");
            }
        }
    }

    #[test]
    fn machine_code_is_free_of_local_memory() {
        for (module, entry) in entries() {
            assert!(!entry.targets.is_empty(), "{} has no machine code", entry.symbol);
            for code in entry.targets {
                let what = format!("{} on {}: {code:?}", entry.symbol, code.target);
                assert_eq!((code.stack_bytes, code.spill_bytes), (0, 0), "{what}");
                assert!((1..=255).contains(&code.registers), "{what}");
                assert!(code.shared_bytes <= 48 << 10, "{what}");
                assert!(code.ptx_bytes > 0, "{what}");
                let pass = match (code.target, module.ptx_80) {
                    ("sm_90a", _) | (_, None) => module.ptx_90a,
                    (_, Some(portable)) => portable,
                };
                let ptx = facts::ptx_entries(pass);
                let ptx = ptx.iter().find(|e| e.symbol == entry.symbol).unwrap();
                let waits = ptx.text.contains("griddepcontrol.wait");
                assert_eq!(code.waits_for_grid, waits, "{what}");
            }
        }
    }

    #[test]
    fn fat_binaries_are_what_the_driver_loads() {
        for module in MODULES {
            // The magic number that opens every fat binary, and the alignment its header is read
            // with.
            assert_eq!(module.fatbin[..4], 0xBA55_ED50_u32.to_le_bytes(), "{}", module.name);
            assert_eq!(module.fatbin.as_ptr().addr() % 16, 0, "{}", module.name);
        }
    }

    #[test]
    fn the_listing_has_one_object_for_each_kernel_and_target() {
        let mut out = Vec::new();
        cli::kernels::run(true, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let objects: Vec<serde_json::Value> =
            text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let expected: Vec<_> =
            entries().flat_map(|(_, e)| e.targets.iter().map(move |t| (e.symbol, t))).collect();
        assert_eq!(objects.len(), expected.len());
        for (object, (symbol, code)) in objects.iter().zip(expected) {
            assert_eq!(object["symbol"], symbol);
            assert_eq!(object["target"], code.target);
            assert_eq!(object["registers"], code.registers);
            assert_eq!(object["shared_bytes"], code.shared_bytes);
            assert_eq!(object["stack_bytes"], 0);
            assert_eq!(object["spill_bytes"], 0);
            assert_eq!(object["ptx_bytes"], code.ptx_bytes);
            assert_eq!(object.as_object().unwrap().len(), 7);
        }
    }

    #[test]
    fn the_table_is_aligned() {
        let mut out = Vec::new();
        cli::kernels::run(false, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let mut lines = text.lines();
        let header = lines.next().unwrap();
        assert!(header.starts_with("symbol ") && header.ends_with(" ptx_bytes"), "{header}");
        let rows: Vec<&str> = lines.collect();
        assert_eq!(rows.len(), entries().map(|(_, e)| e.targets.len()).sum::<usize>());
        assert!(rows.iter().all(|row| row.len() == header.len()), "{text}");
    }
}
