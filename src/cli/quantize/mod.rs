//! `ridgepoint quantize`: a 16-bit model directory in, one with 4 bits a weight out, and a receipt.

pub mod args;
mod report;

use crate::cli::Done;
use crate::cli::output::Output;
use crate::cli::session::{Interrupt, set_threads, shipped_model};
use crate::error::{Error, Result};
use crate::load::{Checkpoint, Quantization};
use crate::model::{ModelConfig, refuse_strangers};
use crate::quantize::offline::{self, Job, Nowhere, Outcome, Sink};
use crate::quantize::output::{self, Output as Directory};
use crate::quantize::{Algorithm, Grid, Options};
use crate::request::TokenId;
use crate::text::Tokenizer;
use args::QuantizeArgs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Windows of a calibration text that are used: as many as the papers use.
const WINDOWS: usize = 128;
/// The largest window taken without being asked.
const WINDOW_DEFAULT: usize = 2048;
/// The share of a calibration text that is kept back for a receipt: one window in so many.
const KEPT_BACK: usize = 5;

/// A model that can be quantised, and the texts.
struct Input {
    dir: PathBuf,
    config: ModelConfig,
    checkpoint: Checkpoint,
    calibration: Vec<Vec<TokenId>>,
    rated: Vec<Vec<TokenId>>,
}

/// Runs the command.
pub(super) fn run(args: &QuantizeArgs, out: &mut Output) -> Result<Done> {
    if let Some(path) = &args.out {
        output::check_free(path)?;
    }
    if let Some(path) = &args.receipt {
        report::check_place(path)?;
    }
    if let Some(threads) = args.threads {
        set_threads(threads)?;
    }
    let methods = match args.compare.is_empty() {
        true => vec![args.method],
        false => args.compare.clone(),
    };
    let input = open(args, &methods)?;
    let options = |algorithm| Options {
        algorithm,
        grid: Grid { group: args.group, zero_points: args.zero_point },
        head: args.head,
        keep: args.keep.clone(),
        ordered: args.activation_order,
    };
    options(args.method).check(&input.config)?;
    let interrupt = Interrupt::watch()?;
    interrupt.during(|stop| match &args.out {
        Some(path) => write(args, &input, &options(args.method), path, stop, out),
        None => compare(args, &input, &methods, &options, stop, out),
    })
}

/// Reads everything but the weights, and refuses what cannot be done.
fn open(args: &QuantizeArgs, methods: &[Algorithm]) -> Result<Input> {
    let dir = match &args.model {
        Some(dir) => dir.clone(),
        None => shipped_model()?,
    };
    let config = ModelConfig::load(&dir)?;
    if let Some(how) = Quantization::find(&dir)? {
        return Err(how.refusal("16- or 32-bit weights"));
    }
    if methods.iter().any(|method| method.calibrates()) && args.calibration.is_none() {
        let message = "awq and gptq need --calibration FILE, a text like those the model reads";
        return Err(Error::Usage(message.to_string()));
    }
    if args.activation_order && !methods.contains(&Algorithm::Gptq) {
        return Err(Error::Usage("--activation-order is an option of gptq".to_string()));
    }
    let wants_rating = args.receipt.is_some() || !args.compare.is_empty();
    if wants_rating && args.calibration.is_none() && args.eval_text.is_none() {
        let message = "a receipt needs a text: --eval-text FILE or --calibration FILE";
        return Err(Error::Usage(message.to_string()));
    }
    let texts = Texts::new(args, &dir, &config)?;
    let mut calibration = match &args.calibration {
        Some(path) => texts.whole_windows(path)?,
        None => Vec::new(),
    };
    let rated = match &args.eval_text {
        Some(path) => texts.windows(path)?,
        None if wants_rating => {
            let kept_back = calibration.len().div_ceil(KEPT_BACK);
            if kept_back == calibration.len() {
                return Err(Error::Usage(format!(
                    "the calibration text is one window of {} tokens, expected two or more for a \
                     receipt, or --eval-text FILE",
                    texts.window
                )));
            }
            calibration.split_off(calibration.len() - kept_back)
        }
        None => Vec::new(),
    };
    let checkpoint = Checkpoint::open(&dir)?;
    refuse_strangers(&config, &checkpoint)?;
    // A layout can be made of what is sound: whole groups, every tensor there.
    Ok(Input { dir, config, checkpoint, calibration, rated })
}

/// Files of text, cut into windows of tokens.
struct Texts {
    tokenizer: Option<Tokenizer>,
    dir: PathBuf,
    window: usize,
}

impl Texts {
    fn new(args: &QuantizeArgs, dir: &Path, config: &ModelConfig) -> Result<Texts> {
        let most = config.context;
        let window = args.window.unwrap_or(most.min(WINDOW_DEFAULT));
        if !(2..=most).contains(&window) {
            let message = format!("--window is {window}, expected 2 to {most}, the context");
            return Err(Error::Usage(message));
        }
        let tokenizer = match dir.join("tokenizer.json").exists() {
            true => Some(Tokenizer::load(dir, config.vocab_size)?),
            false => None,
        };
        Ok(Texts { tokenizer, dir: dir.to_path_buf(), window })
    }

    fn tokens(&self, path: &Path) -> Result<Vec<TokenId>> {
        let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read the text"))?;
        let text = String::from_utf8(bytes)
            .map_err(|e| Error::invalid(path, "content", e, "UTF-8 text"))?;
        let Some(tokenizer) = &self.tokenizer else {
            let path = self.dir.join("tokenizer.json");
            return Err(Error::invalid(&path, "tokenizer", "no such file", "one, to read a text"));
        };
        tokenizer.encode(&text, true)
    }

    /// The last window may be shorter; one token predicts nothing.
    fn windows(&self, path: &Path) -> Result<Vec<Vec<TokenId>>> {
        let tokens = self.tokens(path)?;
        if tokens.len() < 2 {
            let found = format!("{} tokens", tokens.len());
            return Err(Error::invalid(path, "content", found, "two or more"));
        }
        let windows = tokens.chunks(self.window).filter(|window| window.len() > 1);
        Ok(windows.map(<[TokenId]>::to_vec).collect())
    }

    fn whole_windows(&self, path: &Path) -> Result<Vec<Vec<TokenId>>> {
        let tokens = self.tokens(path)?;
        if tokens.len() < self.window {
            let found = format!("{} tokens", tokens.len());
            let expected = format!("at least a window of {}, or a smaller --window", self.window);
            return Err(Error::invalid(path, "content", found, expected));
        }
        let windows = tokens.chunks_exact(self.window).take(WINDOWS);
        Ok(windows.map(<[TokenId]>::to_vec).collect())
    }
}

/// Does one quantisation and says on stderr how far it is; `None` after an interrupt.
fn quantise(
    input: &Input,
    options: &Options,
    stop: &AtomicBool,
    sink: &mut dyn Sink,
) -> Result<Option<Outcome>> {
    let layers = input.config.layers;
    let go_on = |done: usize| {
        eprintln!("{}: {done} of {layers} layers", options.algorithm);
        !stop.load(Ordering::Relaxed)
    };
    let job = Job {
        source: &input.checkpoint,
        config: &input.config,
        options,
        calibration: &input.calibration,
        rated: &input.rated,
        go_on: &go_on,
    };
    offline::run(&job, sink)
}

fn write(
    args: &QuantizeArgs,
    input: &Input,
    options: &Options,
    path: &Path,
    stop: &AtomicBool,
    out: &mut Output,
) -> Result<Done> {
    let mut directory = Directory::create(path, &input.checkpoint, &input.config, options)?;
    let Some(outcome) = quantise(input, options, stop, &mut directory)? else {
        eprintln!("interrupted; nothing was written to {}", path.display());
        return Ok(Done::Interrupted);
    };
    directory.finish()?;
    let receipt = &outcome.receipt;
    if let Some(path) = &args.receipt {
        report::save(receipt, path)?;
    }
    match args.json {
        true => out.json(receipt)?,
        false => report::print(receipt, out)?,
    }
    eprintln!("{} -> {}", input.dir.display(), path.display());
    Ok(Done::Well)
}

fn compare(
    args: &QuantizeArgs,
    input: &Input,
    methods: &[Algorithm],
    options: &dyn Fn(Algorithm) -> Options,
    stop: &AtomicBool,
    out: &mut Output,
) -> Result<Done> {
    // What cannot be written is not measured either.
    output::layout(&input.checkpoint, &input.config, &options(methods[0]))?;
    let mut outcomes = Vec::new();
    for &method in methods {
        match quantise(input, &options(method), stop, &mut Nowhere)? {
            Some(outcome) => outcomes.push(outcome),
            None => return Ok(Done::Interrupted),
        }
    }
    let rows = report::side_by_side(&outcomes);
    if let Some(path) = &args.receipt {
        report::save(&rows, path)?;
    }
    match args.json {
        true => rows.iter().try_for_each(|row| out.json(row))?,
        false => report::print_side_by_side(&rows, out)?,
    }
    Ok(Done::Well)
}
