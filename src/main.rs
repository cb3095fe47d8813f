//! The command line: parse, dispatch, exit code.

use clap::Parser;
use ridgepoint::cli::{args::Cli, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(Cli::parse())
}
