//! ptxas takes every probe: what it refuses is no instruction of the GPU.

use super::{HEADER, Probe};
use crate::common::{nvcc, target};
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::process::Command;

/// Refusals that are listed.
const LISTED: usize = 20;

/// One module of all of them, as fast as ptxas goes. What it took once is not asked again.
#[test]
fn ptxas_takes_every_probe() {
    let probes = super::all();
    let mut text = HEADER.to_owned();
    let mut starts = Vec::new();
    for probe in probes {
        starts.push(text.lines().count());
        text += &probe.text;
    }
    let ptxas = nvcc().with_file_name("ptxas");
    let stamp = fs::metadata(&ptxas).and_then(|data| data.modified()).ok();
    let mut hasher = DefaultHasher::new();
    (&text, stamp).hash(&mut hasher);
    let stem = target().join("ptxsim-tests").join(format!("probes-{:016x}", hasher.finish()));
    let taken = stem.with_extension("taken");
    if taken.is_file() {
        return;
    }
    fs::create_dir_all(stem.parent().unwrap()).unwrap();
    let (input, output) = (stem.with_extension("ptx"), stem.with_extension("cubin"));
    fs::write(&input, text).unwrap();
    let mut command = Command::new(&ptxas);
    command.args(["-arch=sm_90a", "-O0", "-o"]).arg(&output).arg(&input);
    let result = command.output().unwrap_or_else(|e| panic!("{}: {e}", ptxas.display()));
    let message = String::from_utf8_lossy(&result.stderr);
    let mut refusals: Vec<String> =
        message.lines().map(|line| describe(probes, &starts, line)).collect();
    // A fatal error may say no more than its warnings do.
    refusals.sort_by_key(|line| line.contains("warning"));
    refusals.truncate(LISTED);
    assert!(result.status.success(), "ptxas refuses:\n{}", refusals.join("\n"));
    fs::write(taken, "").unwrap();
    let _ = (fs::remove_file(input), fs::remove_file(output));
}

/// The probe that a message of ptxas is about, and the message.
fn describe(probes: &[Probe], starts: &[usize], message: &str) -> String {
    let number = message.split("line ").nth(1).and_then(|rest| {
        rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse::<usize>().ok())
    });
    let at = number.map(|line| starts.partition_point(|&start| start < line));
    match at.and_then(|at| probes.get(at.wrapping_sub(1))) {
        Some(probe) => format!("{}: {message}", probe.name),
        None => message.to_owned(),
    }
}
