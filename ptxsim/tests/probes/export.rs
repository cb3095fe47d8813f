//! Writes probes for `tools/golden.py`.

use super::{HEADER, Param, Probe};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Writes `manifest.json`, `probes.ptx` and `inputs.bin` to a folder. The manifest gives places in
/// the two others as an offset and a number of bytes.
pub fn write(probes: &[Probe], folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let (mut ptx, mut inputs) = (String::new(), Vec::new());
    let mut manifest = format!("{{\"header\": {:?},\n\"probes\": [", HEADER);
    for (number, probe) in probes.iter().filter(|probe| probe.comparable).enumerate() {
        manifest += if number == 0 { "\n" } else { ",\n" };
        let params: Vec<String> = probe.params.iter().map(|p| param(p, &mut inputs)).collect();
        let ranges: Vec<String> =
            probe.keep.1.iter().map(|(at, bytes)| format!("[{at}, {bytes}]")).collect();
        write!(
            manifest,
            "{{\"name\": {:?}, \"family\": {:?}, \"entry\": {:?}, \"hash\": \"{:016x}\", \
             \"ptx\": [{}, {}], \"grid\": {:?}, \"block\": {:?}, \"params\": [{}], \
             \"keep\": [{}, [{}]]}}",
            probe.name,
            probe.base(),
            probe.entry,
            probe.hash(),
            ptx.len(),
            probe.text.len(),
            probe.grid,
            probe.block,
            params.join(", "),
            probe.keep.0,
            ranges.join(", "),
        )
        .unwrap();
        ptx += &probe.text;
    }
    manifest += "\n]}\n";
    fs::write(folder.join("manifest.json"), manifest).unwrap();
    fs::write(folder.join("probes.ptx"), ptx).unwrap();
    fs::write(folder.join("inputs.bin"), inputs).unwrap();
}

fn param(param: &Param, inputs: &mut Vec<u8>) -> String {
    match param {
        Param::In(data) | Param::InOut(data) => {
            let word = if matches!(param, Param::In(_)) { "in" } else { "inout" };
            let at = inputs.len();
            inputs.extend(data);
            format!("{{\"{word}\": [{at}, {}]}}", data.len())
        }
        Param::Out(bytes) => format!("{{\"out\": {bytes}}}"),
        Param::Word(word) => format!("{{\"u32\": {word}}}"),
        Param::Bytes(data) => {
            let at = inputs.len();
            inputs.extend(data);
            format!("{{\"bytes\": [{at}, {}]}}", data.len())
        }
    }
}
