//! The command line, by hand: the crate has no dependencies.

use super::numbers;

/// What to do.
#[derive(Debug, PartialEq)]
pub(super) enum Command {
    Help,
    Version,
    Instructions,
    List(String),
    Run(Run),
}

/// The options of `run`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Run {
    pub file: String,
    pub entry: Option<String>,
    pub grid: Option<[u32; 3]>,
    pub block: Option<[u32; 3]>,
    pub cluster: Option<[u32; 3]>,
    pub shared: u32,
    pub seed: u64,
    /// Runs; 0 stands for one.
    pub seeds: u64,
    pub no_checks: bool,
    pub arguments: Vec<String>,
}

/// Where to look when lost.
const SEE: &str = "`ptxsim --help` tells of them all";

/// Reads the arguments after the program's name.
pub(super) fn parse(arguments: &[String]) -> Result<Command, String> {
    let asks = |names: [&str; 2]| arguments.iter().any(|a| names.contains(&a.as_str()));
    if asks(["-h", "--help"]) || arguments.is_empty() {
        return Ok(Command::Help);
    }
    if asks(["-V", "--version"]) {
        return Ok(Command::Version);
    }
    match (arguments[0].as_str(), &arguments[1..]) {
        ("run", rest) => run(rest).map(Command::Run),
        ("list", [file]) if !file.starts_with('-') => Ok(Command::List(file.clone())),
        ("list", _) => Err("list: takes one file, as in `ptxsim list kernel.ptx`".to_owned()),
        ("instructions", []) => Ok(Command::Instructions),
        ("instructions", _) => Err("instructions: takes no arguments".to_owned()),
        (word, _) => {
            Err(format!("`{word}` is no command; there are `run`, `list` and `instructions`"))
        }
    }
}

fn run(arguments: &[String]) -> Result<Run, String> {
    let mut run = Run::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if !argument.starts_with('-') {
            if !run.file.is_empty() {
                return Err(format!("run: one file, not both `{}` and `{argument}`", run.file));
            }
            run.file.clone_from(argument);
            continue;
        }
        let (name, given) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        if name == "--no-checks" {
            if given.is_some() {
                return Err("--no-checks: takes no value".to_owned());
            }
            run.no_checks = true;
            continue;
        }
        if !OPTIONS.contains(&name) {
            return Err(format!("run: `{name}` is no option; {SEE}"));
        }
        let value = given.or_else(|| rest.next().cloned());
        let value = value.ok_or_else(|| format!("{name}: a value is missing"))?;
        set(&mut run, name, value).map_err(|problem| format!("{name}: {problem}"))?;
    }
    if run.file.is_empty() {
        return Err("run: a file is missing, as in `ptxsim run kernel.ptx`".to_owned());
    }
    Ok(run)
}

const OPTIONS: [&str; 8] =
    ["--entry", "--grid", "--block", "--cluster", "--shared", "--seed", "--seeds", "--arg"];

fn set(run: &mut Run, name: &str, value: String) -> Result<(), String> {
    match name {
        "--entry" => run.entry = Some(value),
        "--grid" => run.grid = Some(dimensions(&value)?),
        "--block" => run.block = Some(dimensions(&value)?),
        "--cluster" => run.cluster = Some(dimensions(&value)?),
        "--shared" => {
            run.shared = u32::try_from(numbers::bytes(&value)?)
                .map_err(|_| format!("`{value}` is more than any GPU has"))?;
        }
        "--seed" => run.seed = whole(&value)?,
        "--seeds" => {
            run.seeds = whole(&value)?;
            if run.seeds == 0 {
                return Err("0 seeds run nothing".to_owned());
            }
        }
        _ => run.arguments.push(value),
    }
    Ok(())
}

fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no whole number"))
}

/// `X`, `X,Y` or `X,Y,Z`.
fn dimensions(text: &str) -> Result<[u32; 3], String> {
    let wrong = || format!("`{text}` is not one to three numbers above 0, as in `4,2,1`");
    let mut sizes = [1; 3];
    let mut parts = text.split(',');
    for (size, part) in sizes.iter_mut().zip(&mut parts) {
        *size = part.parse().ok().filter(|size| *size > 0).ok_or_else(wrong)?;
    }
    if parts.next().is_some() { Err(wrong()) } else { Ok(sizes) }
}
