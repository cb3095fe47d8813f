//! The command `ptxsim`: runs a kernel from the command line, and tells what a module holds.

mod arguments;
mod device;
mod list;
pub mod numbers;
mod options;
mod run;

use options::Command;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

/// What `--help` prints.
const HELP: &str = include_str!("help.txt");

/// How a command ended, if nothing was wrong with the way it was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing to complain of.
    Clean,
    /// The kernel did something wrong.
    Faults,
}

/// Why a command could not be carried out.
enum Failure {
    /// What is wrong, and what to do about it.
    Message(String),
    /// Standard output is gone or full.
    Output(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Output(error)
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Failure {
        Failure::Message(message)
    }
}

impl From<crate::error::Error> for Failure {
    fn from(error: crate::error::Error) -> Failure {
        Failure::Message(error.to_string())
    }
}

/// Runs the program with the arguments of this process: 0 if all is well, 1 if the kernel has
/// faults, 2 if the command line or a file is not as it should be.
pub fn main() -> ExitCode {
    let mut output = BufWriter::new(io::stdout().lock());
    let result = command(&mut output).and_then(|verdict| {
        output.flush()?;
        Ok(verdict)
    });
    match result {
        Ok(Verdict::Clean) => ExitCode::SUCCESS,
        Ok(Verdict::Faults) => ExitCode::from(1),
        // Whoever reads has seen enough, as `head` does.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(Failure::Output(error)) => fail(&format!("cannot write to standard output: {error}")),
        Err(Failure::Message(message)) => fail(&message),
    }
}

fn fail(message: &str) -> ExitCode {
    // Nobody is left to tell if this fails too.
    let _ = writeln!(io::stderr(), "ptxsim: {message}");
    ExitCode::from(2)
}

fn command(output: &mut dyn Write) -> Result<Verdict, Failure> {
    let mut arguments = Vec::new();
    for argument in std::env::args_os().skip(1) {
        let text = argument.into_string();
        arguments.push(text.map_err(|text| format!("`{}` is not UTF-8", text.to_string_lossy()))?);
    }
    match options::parse(&arguments)? {
        Command::Help => output.write_all(HELP.as_bytes())?,
        Command::Version => writeln!(output, "ptxsim {}", env!("CARGO_PKG_VERSION"))?,
        Command::Instructions => list::instructions(output)?,
        Command::List(file) => list::module(output, &file)?,
        Command::Run(options) => return run::run(output, &options),
    }
    Ok(Verdict::Clean)
}

/// The text of a PTX file.
fn read_text(path: &str) -> Result<String, Failure> {
    let bytes = read(path)?;
    let text = String::from_utf8(bytes);
    Ok(text.map_err(|_| format!("{path}: not text; give the PTX that `nvcc -ptx` writes"))?)
}

/// The bytes of a file.
fn read(path: &str) -> Result<Vec<u8>, Failure> {
    Ok(std::fs::read(path).map_err(|error| format!("{path}: cannot be read: {error}"))?)
}
