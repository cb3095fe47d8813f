//! `benches/peers`: its own tests, and a run on the simulator through the shared library.

use super::examples::{prefix, run, text};
use crate::common::root;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// The shared library: where a bundle says it is, or as installed.
fn library() -> PathBuf {
    match std::env::var_os("RIDGEPOINT_LIB") {
        Some(path) => path.into(),
        None => prefix().join("lib/libridgepoint.so"),
    }
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", ".toolkit/numpy").env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

#[test]
fn the_logic_of_the_program_is_tested() {
    let output = run(python().args(["-m", "unittest", "discover", "-s", "benches/peers"]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("OK") && !said.contains("Ran 0 tests"), "{said}");
}

/// Runs the program on the simulator; what it printed and the file it wrote.
fn simulate(layout: &str) -> (String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    let mut command = python();
    command.arg("benches/peers/run.py").args(["--device", "sim", "--layout", layout]);
    command.arg("--lib").arg(library()).arg("--json").arg(&file);
    if layout != "gptq" {
        command.args(["--op", "gemm-int4"]);
    }
    let said = text(&run(&mut command));
    let written = std::fs::read_to_string(&file).unwrap();
    (said, serde_json::from_str(&written).unwrap())
}

#[test]
fn kernels_are_right_on_the_simulator_and_no_time_is_invented() {
    let (said, result) = simulate("gptq");
    assert_eq!(result["schema"], "ridgepoint-peers/1");
    assert!(result["finished"].is_string() && result["ceilings"].is_null(), "{result}");
    assert!(said.contains("without cuBLAS: needs PyTorch and a GPU"), "{said}");
    let rows = result["rows"].as_array().unwrap();
    let of = |op: &str| rows.iter().filter(|row| row["op"] == op).count();
    // Two sizes in decode and one in prefill of four matrices, and the head in decode.
    assert_eq!((of("gemm-bf16"), of("gemm-int4")), (14, 14), "{said}");
    assert_eq!((of("attention-decode"), of("attention-prefill")), (1, 1), "{said}");
    for row in rows {
        let cells = row["cells"].as_object().unwrap();
        let own = &cells["ridgepoint"];
        assert!(own["status"] == "ok" && cells.len() == 1, "{row}");
        let error = own["error"].as_f64().unwrap();
        assert!(error > 1e-4 && error < 1e-2, "{row}");
        assert!(own.get("time_s").is_none() && row["floor"]["time_s"].is_null(), "{row}");
    }
}

#[test]
fn matrices_of_compressed_tensors_are_repacked_alike() {
    let (_, result) = simulate("compressed-tensors");
    let rows = result["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 14);
    assert!(rows.iter().all(|row| row["cells"]["ridgepoint"]["status"] == "ok"), "{result}");
}

#[test]
fn what_it_cannot_do_is_told_in_a_line() {
    let cases: [(&[&str], &str); 2] =
        [(&["--device", "sim", "--json", "absent/r.json"], "--json"), (&["--m", "x"], "--m")];
    for (args, names) in cases {
        let mut command = python();
        command
            .current_dir(root())
            .arg("benches/peers/run.py")
            .args(args)
            .arg("--lib")
            .arg(library());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.lines().count() == 1, "{said}");
        assert!(said.starts_with("run.py: ") && said.contains(names), "{said}");
    }
}
