//! The thin binary: one module a subcommand, and what they share.

pub mod args;
pub mod bench;
mod chat;
mod draft;
mod eval;
mod generate;
pub mod kernels;
#[cfg(feature = "cuda")]
mod launches;
mod output;
mod plan;
mod prompts;
pub mod quantize;
mod session;

#[cfg(not(feature = "cuda"))]
use crate::error::Error;
use crate::error::Result;
use crate::service::Device;
use args::{Cli, Command, KernelsArgs};
use output::Output;
use std::process::ExitCode;

/// How a command ended that did not fail as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// All results are good.
    Well,
    /// Some results are errors that the user can mend.
    WithMistakes,
    /// Some results are errors that the user cannot mend.
    WithFaults,
    /// An interrupt ended it early.
    Interrupted,
}

/// Runs a parsed command line; the message of a failure goes to stderr.
pub fn run(cli: Cli) -> ExitCode {
    let mut out = Output::stdout();
    let result: Result<Done> = match &cli.command {
        Command::Generate(args) => generate::run(args, &mut out),
        Command::Eval(args) => eval::run(args, &mut out),
        Command::Bench(args) => bench::run(args, &mut out),
        Command::Quantize(args) => quantize::run(args, &mut out),
        Command::Kernels(args) => show_kernels(args, &mut out),
        Command::Plan(args) => plan::run(args, &mut out).map(|()| Done::Well),
    };
    match result.and_then(|done| out.finish().map(|()| done)) {
        Ok(Done::Well) => ExitCode::SUCCESS,
        Ok(Done::WithMistakes) => ExitCode::from(2),
        Ok(Done::WithFaults) => ExitCode::from(1),
        Ok(Done::Interrupted) => ExitCode::from(130),
        // The reader went away (`| head`): nobody is left to be told.
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if error.is_mistake() { 2 } else { 1 })
        }
    }
}

fn show_kernels(args: &KernelsArgs, out: &mut Output) -> Result<Done> {
    match &args.plan {
        None => match args.device {
            None => kernels::run(args.json, out).map_err(output::unwritable)?,
            Some(device) => {
                let device = Device::open(device.into())?;
                kernels::run_of(&device, args.json, out).map_err(output::unwritable)?;
            }
        },
        #[cfg(feature = "cuda")]
        Some(model) => launches::run(model, args, out)?,
        #[cfg(not(feature = "cuda"))]
        Some(_) => return Err(Error::Usage("--plan: this build has no kernels".to_string())),
    }
    Ok(Done::Well)
}
