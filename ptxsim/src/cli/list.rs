//! `ptxsim list` and `ptxsim instructions`.

use super::{Failure, arguments, read_text};
use crate::decode::{Program, decode, table};
use crate::syntax::parse;
use crate::syntax::tree::{Function, Statement};
use std::collections::BTreeMap;
use std::io::Write;

/// The entries of a module with their parameters, and the instructions of every function. What
/// cannot be run is the error of the end.
pub(super) fn module(output: &mut dyn Write, file: &str) -> Result<(), Failure> {
    let module = parse(file, &read_text(file)?)?;
    let decoded = decode(&module, file);
    let (major, minor) = module.version;
    writeln!(output, "{file}: PTX {major}.{minor} for {}", module.target)?;
    for function in &module.functions {
        if function.body.is_some() {
            list(output, function, decoded.as_ref().ok())?;
        }
    }
    // What was found is shown first, whatever the error says.
    output.flush()?;
    Ok(decoded.map(drop)?)
}

fn list(
    output: &mut dyn Write,
    function: &Function,
    program: Option<&Program>,
) -> Result<(), Failure> {
    let word = if function.entry { "entry" } else { "function" };
    writeln!(output, "\n{word} {}", function.name)?;
    for param in &function.params {
        writeln!(output, "  parameter {}: {}", param.name, arguments::kind(param))?;
    }
    if let Some(threads) = function.required_threads {
        writeln!(output, "  requires {} threads", shape(threads))?;
    } else if let Some(threads) = function.max_threads {
        writeln!(output, "  at most {} threads", shape(threads))?;
    }
    if let Some(cluster) = function.cluster {
        writeln!(output, "  requires clusters of {}", shape(cluster))?;
    }
    let mut functions = program.iter().flat_map(|program| &program.functions);
    if let Some(decoded) = functions.find(|f| f.name == function.name) {
        if function.entry && decoded.shared_bytes > 0 {
            writeln!(output, "  static shared memory: {} bytes", decoded.shared_bytes)?;
        }
        if decoded.local_bytes > 0 {
            writeln!(output, "  local memory: {} bytes", decoded.local_bytes)?;
        }
    }
    let mut counts = BTreeMap::new();
    count(function.body.as_deref().unwrap_or_default(), &mut counts);
    for (opcode, count) in counts {
        writeln!(output, "  {count:6} {opcode}")?;
    }
    Ok(())
}

fn shape([x, y, z]: [u32; 3]) -> String {
    format!("{x} x {y} x {z}")
}

fn count<'a>(body: &'a [Statement], counts: &mut BTreeMap<&'a str, u64>) {
    for statement in body {
        match statement {
            Statement::Block(inner) => count(inner, counts),
            Statement::Instruction(instruction) => {
                *counts.entry(&instruction.opcode).or_default() += 1;
            }
            _ => {}
        }
    }
}

/// Every form of instruction that can be run.
pub(super) fn instructions(output: &mut dyn Write) -> Result<(), Failure> {
    for (form, operands) in table::forms() {
        let line = format!("{form:60} {operands}");
        writeln!(output, "{}", line.trim_end())?;
    }
    writeln!(
        output,
        "\n{{}} may be left out, () is one of these. Operands: destinations, `=`, sources;\n\
         r, h and l are registers of 32, 16 and 64 bits, p predicates, i numbers written out."
    )?;
    Ok(())
}
