//! What a GPU gave for the probes (ptxsim/golden, written by tools/golden.py).

use super::{Param, Probe, run};
use crate::common::root;
use std::collections::HashMap;
use std::fs;

/// Differences that are listed of one probe.
const LISTED: usize = 3;

/// Results of a GPU by probe.
#[derive(Default)]
pub struct Golden {
    /// Device, driver and date, as the index says.
    pub made: String,
    /// The kept bytes of the results, and the hash of what was run.
    results: HashMap<String, (u64, Vec<u8>)>,
}

impl Golden {
    /// Reads ptxsim/golden; empty if there is no index. A line of the index is `family offset
    /// bytes hash name`, lines that start with `#` say where the results come from.
    pub fn read() -> Golden {
        let folder = root().join("ptxsim/golden");
        let Ok(index) = fs::read_to_string(folder.join("index.txt")) else {
            return Golden::default();
        };
        let mut golden = Golden::default();
        let mut files: HashMap<String, Vec<u8>> = HashMap::new();
        for line in index.lines() {
            if let Some(text) = line.strip_prefix("# ") {
                golden.made += &format!("{text}; ");
                continue;
            }
            let parts: Vec<&str> = line.splitn(5, ' ').collect();
            let &[family, offset, bytes, hash, name] = parts.as_slice() else {
                panic!("golden/index.txt: {line:?} has not five parts");
            };
            let file = files.entry(family.to_owned()).or_insert_with(|| {
                fs::read(folder.join(format!("{family}.bin"))).expect("a golden file is missing")
            });
            let (at, bytes): (usize, usize) = (offset.parse().unwrap(), bytes.parse().unwrap());
            let hash = u64::from_str_radix(hash, 16).unwrap();
            let data = file.get(at..at + bytes).expect("a golden file is too short").to_vec();
            golden.results.insert(name.to_owned(), (hash, data));
        }
        golden
    }

    /// What a GPU gave for a probe as it is now.
    pub fn of(&self, probe: &Probe) -> Option<&[u8]> {
        let (hash, data) = self.results.get(&probe.name)?;
        (*hash == probe.hash()).then_some(data)
    }
}

/// Simulated results are those of the GPU: to the bit, or, where the PTX ISA allows an error, the
/// GPU's are within it of the exact value, as the simulator's are.
#[test]
fn results_are_those_of_a_gpu() {
    let golden = Golden::read();
    let probes = super::all();
    let mut problems = Vec::new();
    for group in probes.chunks(128) {
        if group.iter().all(|probe| golden.of(probe).is_none()) {
            continue;
        }
        run::results(group, &mut |probe, outcome| {
            let Some(hardware) = golden.of(probe) else { return };
            let mut wrong = match outcome {
                Ok(results) if probe.exact => differences(probe, &results.concat(), hardware),
                Ok(_) => (probe.check)(&expand(probe, hardware)),
                Err(problem) => vec![problem],
            };
            wrong.truncate(LISTED);
            problems.extend(wrong.into_iter().map(|text| format!("{}: {text}", probe.name)));
        });
    }
    let (count, made) = (problems.len(), &golden.made);
    problems.truncate(super::LISTED);
    assert!(problems.is_empty(), "{count} differ from {made}:\n{}", problems.join("\n"));
}

/// The kept bytes at their places, by buffer.
fn expand(probe: &Probe, kept: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![0; probe.results()];
    let (stride, ranges) = &probe.keep;
    let mut from = kept;
    for group in all.chunks_mut(*stride) {
        for &(at, bytes) in ranges {
            let (now, rest) = from.split_at(bytes);
            group[at..at + bytes].copy_from_slice(now);
            from = rest;
        }
    }
    let mut rest = all.as_slice();
    let mut out = Vec::new();
    for param in &probe.params {
        let bytes = match param {
            Param::InOut(data) => data.len(),
            Param::Out(bytes) => *bytes,
            _ => continue,
        };
        let (now, after) = rest.split_at(bytes);
        out.push(now.to_vec());
        rest = after;
    }
    out
}

fn differences(probe: &Probe, results: &[u8], hardware: &[u8]) -> Vec<String> {
    let hardware = expand(probe, hardware).concat();
    let stride = probe.keep.0;
    let mut wrong = Vec::new();
    for element in 0..results.len().div_ceil(stride) {
        let end = results.len().min((element + 1) * stride);
        let range = element * stride..end;
        let kept = probe.kept(&results[range.clone()]);
        let want = probe.kept(&hardware[range]);
        if kept != want {
            let inputs = inputs(probe, element, results.len() / stride);
            wrong.push(format!("element {element} of {inputs} is {kept:x?}, on a GPU {want:x?}"));
        }
    }
    wrong
}

/// The inputs of an element, where every buffer has one a result.
fn inputs(probe: &Probe, element: usize, elements: usize) -> String {
    let each = probe.params.iter().filter_map(|param| match param {
        Param::In(data) if data.len() == 8 * elements => {
            let at = 8 * element;
            Some(u64::from_le_bytes(data[at..at + 8].try_into().unwrap()))
        }
        _ => None,
    });
    format!("{:x?}", each.collect::<Vec<_>>())
}
