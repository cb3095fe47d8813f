//! `ridgepoint kernels`: what is compiled into this binary, kernel by kernel and target by target.

use crate::backend::cuda::module::{KernelTarget, MODULES};
use crate::service::Device;
use std::io::{self, Write};

/// What a build without kernels says of itself.
const NO_KERNELS: &str = "this build has no kernels: it was made without the feature `cuda`";

/// The columns, in the order they are printed; the names are also the keys of the JSON objects.
const COLUMNS: [&str; 7] =
    ["symbol", "target", "registers", "shared_bytes", "stack_bytes", "spill_bytes", "ptx_bytes"];

/// Columns of text, at the left of the table; the others are numbers and stand to the right.
const TEXT_COLUMNS: usize = 2;

/// Writes one row for each kernel and target: a table, or one JSON object a line.
///
/// # Errors
///
/// Only those of `out`.
pub fn run(json: bool, out: &mut dyn Write) -> io::Result<()> {
    let rows: Vec<(&str, &KernelTarget)> = MODULES
        .iter()
        .flat_map(|module| module.entries)
        .flat_map(|entry| entry.targets.iter().map(|target| (entry.symbol, target)))
        .collect();
    match (json, rows.is_empty()) {
        (false, true) => writeln!(out, "{NO_KERNELS}"),
        (true, true) => writeln!(out, "{}", serde_json::json!({ "error": NO_KERNELS })),
        (false, false) => write_table(&rows, out),
        (true, false) => write_objects(&rows, out),
    }
}

/// The same of the kernels that a device takes, after lines or an object about the device.
///
/// # Errors
///
/// Only those of `out`.
pub fn run_of(device: &Device, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let decode = device.decode_wgmma();
    if json {
        let set = device.kernel_set();
        let about = serde_json::json!({
            "device": device.describe(), "set": set, "decode_wgmma": decode,
        });
        writeln!(out, "{about}")?;
    } else {
        writeln!(out, "{}", device.describe())?;
        decode.map_or(Ok(()), |decode| writeln!(out, "{decode}"))?;
    }
    match device.kernels() {
        rows if rows.is_empty() => Ok(()),
        rows if json => write_objects(&rows, out),
        rows => write_table(&rows, out),
    }
}

fn numbers(target: &KernelTarget) -> [u32; COLUMNS.len() - TEXT_COLUMNS] {
    [
        target.registers,
        target.shared_bytes,
        target.stack_bytes,
        target.spill_bytes,
        target.ptx_bytes,
    ]
}

fn write_objects(rows: &[(&str, &KernelTarget)], out: &mut dyn Write) -> io::Result<()> {
    for (symbol, target) in rows {
        let mut object = serde_json::Map::new();
        object.insert(COLUMNS[0].to_owned(), (*symbol).into());
        object.insert(COLUMNS[1].to_owned(), target.target.into());
        for (name, value) in COLUMNS[TEXT_COLUMNS..].iter().zip(numbers(target)) {
            object.insert((*name).to_owned(), value.into());
        }
        writeln!(out, "{}", serde_json::Value::Object(object))?;
    }
    Ok(())
}

fn write_table(rows: &[(&str, &KernelTarget)], out: &mut dyn Write) -> io::Result<()> {
    let mut lines: Vec<Vec<String>> = vec![COLUMNS.map(str::to_owned).to_vec()];
    for (symbol, target) in rows {
        let mut line = vec![(*symbol).to_owned(), target.target.to_owned()];
        line.extend(numbers(target).map(|n| n.to_string()));
        lines.push(line);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    for line in &lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, &width))| match column < TEXT_COLUMNS {
                true => format!("{cell:<width$}"),
                false => format!("{cell:>width$}"),
            })
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
