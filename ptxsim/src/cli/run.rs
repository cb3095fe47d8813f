//! `ptxsim run`.

use super::arguments::{Contents, Parameters, parameters};
use super::device::{Gpu, Outcome, Request};
use super::options::Run;
use super::{Failure, Verdict, read_text};
use crate::decode::{Function, decode};
use crate::syntax::parse;
use std::io::Write;

/// Runs a kernel with one seed or several. Everything that can be wrong with the command line is
/// found before anything runs.
pub(super) fn run(output: &mut dyn Write, options: &Run) -> Result<Verdict, Failure> {
    let text = read_text(&options.file)?;
    let module = parse(&options.file, &text)?;
    let program = decode(&module, &options.file)?;
    let entry = choose(options, &program.functions)?;
    let mut heads = module.functions.iter();
    let params = heads.find(|f| f.name == entry.name).map_or(&[][..], |f| f.params.as_slice());
    let parameters = parameters(&options.arguments, params, &entry.params, &entry.name)?;
    let mut verdict = Verdict::Clean;
    let mut first: Option<Vec<Vec<u8>>> = None;
    let runs = options.seeds.max(1);
    for seed in (0..runs).map(|run| options.seed.wrapping_add(run)) {
        let (outcome, results) = once(options, &text, entry, &parameters, seed)?;
        if runs > 1 {
            writeln!(output, "seed {seed}:")?;
        }
        writeln!(output, "{}", outcome.text.trim_end())?;
        if outcome.faults > 0 {
            verdict = Verdict::Faults;
        }
        match &first {
            None => {
                write_results(&parameters, &results)?;
                first = Some(results);
            }
            Some(first) if *first != results => {
                writeln!(output, "the results are not those of seed {}", options.seed)?;
                verdict = Verdict::Faults;
            }
            Some(_) => {}
        }
    }
    Ok(verdict)
}

/// The entry that is asked for, or the only one.
fn choose<'a>(options: &Run, functions: &'a [Function]) -> Result<&'a Function, Failure> {
    let file = &options.file;
    let entries: Vec<&Function> = functions.iter().filter(|f| f.entry).collect();
    let names: Vec<&str> = entries.iter().map(|f| f.name.as_str()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    match &options.entry {
        Some(name) => {
            let found = entries.into_iter().find(|f| f.name == *name);
            let problem = || format!("{file}: no entry `{name}`; there are: {names}");
            Ok(found.ok_or_else(problem)?)
        }
        None => match entries.as_slice() {
            [only] => Ok(only),
            _ => Err(format!("{file}: say which by --entry; there are: {names}").into()),
        },
    }
}

/// Runs the kernel on a fresh GPU, and returns what the buffers with an output hold then.
fn once(
    options: &Run,
    text: &str,
    entry: &Function,
    parameters: &Parameters,
    seed: u64,
) -> Result<(Outcome, Vec<Vec<u8>>), Failure> {
    let mut gpu = Gpu::new(&options.file, text)?;
    let mut params = parameters.block.clone();
    let mut addresses = Vec::new();
    for buffer in &parameters.buffers {
        let address = gpu.alloc(buffer.contents.len())?;
        if let Contents::Bytes(bytes) = &buffer.contents {
            gpu.copy_in(address, bytes)?;
        }
        params[buffer.offset..buffer.offset + 8].copy_from_slice(&address.to_le_bytes());
        addresses.push(address);
    }
    let required = entry.threads.filter(|(_, exact)| *exact).map(|(threads, _)| threads);
    let outcome = gpu.launch(Request {
        entry: entry.name.clone(),
        grid: options.grid.unwrap_or([1; 3]),
        block: options.block.or(required).unwrap_or([1; 3]),
        cluster: options.cluster.or(entry.cluster).unwrap_or([1; 3]),
        shared_bytes: options.shared,
        seed,
        checks: !options.no_checks,
        params,
    })?;
    let mut results = Vec::new();
    for (buffer, address) in parameters.buffers.iter().zip(addresses) {
        if buffer.output.is_some() {
            let mut bytes = vec![0; buffer.contents.len() as usize];
            gpu.copy_out(address, &mut bytes)?;
            results.push(bytes);
        }
    }
    Ok((outcome, results))
}

fn write_results(parameters: &Parameters, results: &[Vec<u8>]) -> Result<(), Failure> {
    let paths = parameters.buffers.iter().filter_map(|buffer| buffer.output.as_ref());
    for (path, bytes) in paths.zip(results) {
        std::fs::write(path, bytes).map_err(|e| format!("{path}: cannot be written: {e}"))?;
    }
    Ok(())
}
