//! `ridgepoint eval`: how probable given tokens are.

use crate::backend::Phase;
use crate::cli::Done;
use crate::cli::args::{EvalArgs, PhaseArg};
use crate::cli::output::Output;
use crate::cli::session::{self, Session};
use crate::error::{Error, Result};
use crate::load::checkpoint::read_json_text;
use crate::request::TokenId;
use serde::Serialize;
use std::path::Path;

/// Rows of a chunk, each with a row of logits.
const ROWS: usize = 128;
/// The largest window taken without being asked.
const WINDOW_DEFAULT: usize = 2048;

#[derive(Serialize)]
struct Rating<'a> {
    index: usize,
    nll: &'a [f32],
    /// exp of the mean NLL; null if nothing was rated.
    perplexity: Option<f64>,
}

/// Runs the command.
pub fn run(args: &EvalArgs, out: &mut Output) -> Result<Done> {
    let session = session::open(&args.model)?;
    let most = args.model.context.unwrap_or(session.config.context);
    let (source, sequences) = match (&args.source.text, &args.source.tokens) {
        (Some(path), _) => (path, windows(path, args.window, most, &session)?),
        (None, Some(path)) => (path, read_tokens(path)?),
        (None, None) => unreachable!("the argument group demands one source"),
    };
    check(source, &sequences, session.config.vocab_size, most)?;
    let context = sequences.iter().map(Vec::len).max().unwrap_or(1).max(2.min(most));
    let rows = ROWS.min(context);
    let mut scorer = session.scorer(context, rows)?;
    let phase = match args.phase {
        PhaseArg::Prefill => Phase::Prefill,
        PhaseArg::Decode => Phase::Decode,
    };
    let (mut sum, mut count) = (0.0f64, 0usize);
    for (index, sequence) in sequences.iter().enumerate() {
        let nll = scorer.score(sequence, phase)?;
        let total: f64 = nll.iter().map(|&n| f64::from(n)).sum();
        let rating = Rating { index, nll: &nll, perplexity: perplexity(total, nll.len()) };
        sum += total;
        count += nll.len();
        if args.json {
            out.json(&rating)?;
        } else if sequences.len() > 1 {
            let shown = rating.perplexity.map_or("none".to_string(), |p| format!("{p:.4}"));
            out.text(&format!("sequence {index}: {} tokens, {shown}\n", sequence.len()))?;
        }
    }
    let shown = perplexity(sum, count).map_or("none".to_string(), |p| format!("{p:.4}"));
    let mean = if count == 0 { 0.0 } else { sum / count as f64 };
    let summary = format!("perplexity {shown} (mean NLL {mean:.5} over {count} tokens)");
    match args.json {
        true => eprintln!("{summary}"),
        false => out.text(&format!("{summary}\n"))?,
    }
    Ok(Done::Well)
}

fn perplexity(total: f64, count: usize) -> Option<f64> {
    (count > 0).then(|| (total / count as f64).exp())
}

/// The tokens of a text file, cut into windows that do not overlap.
fn windows(
    path: &Path,
    window: Option<usize>,
    most: usize,
    session: &Session,
) -> Result<Vec<Vec<TokenId>>> {
    let window = window.unwrap_or(most.min(WINDOW_DEFAULT));
    if !(2..=most).contains(&window) {
        let message = format!("--window is {window}, expected 2 to {most}, the context");
        return Err(Error::Usage(message));
    }
    let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read the text"))?;
    let text =
        String::from_utf8(bytes).map_err(|e| Error::invalid(path, "content", e, "UTF-8 text"))?;
    if text.is_empty() {
        return Err(Error::invalid(path, "content", "an empty file", "text to rate"));
    }
    let tokens = session.tokenizer()?.encode(&text, true)?;
    Ok(tokens.chunks(window).map(<[TokenId]>::to_vec).collect())
}

fn read_tokens(path: &Path) -> Result<Vec<Vec<TokenId>>> {
    serde_json::from_str(&read_json_text(path)?)
        .map_err(|e| Error::invalid(path, "content", e, "an array of arrays of token ids"))
}

/// Every sequence is checked before the weights are loaded.
fn check(path: &Path, sequences: &[Vec<TokenId>], vocab: usize, context: usize) -> Result<()> {
    if sequences.is_empty() {
        return Err(Error::invalid(path, "content", "no sequence", "at least one"));
    }
    for (index, sequence) in sequences.iter().enumerate() {
        let what = || format!("sequence {index}");
        if sequence.is_empty() || sequence.len() > context {
            let found = format!("{} tokens", sequence.len());
            return Err(Error::invalid(path, what(), found, format!("1 to {context}")));
        }
        if let Some(id) = sequence.iter().find(|id| id.index() >= vocab) {
            let expected = format!("tokens below {vocab}, the size of the vocabulary");
            return Err(Error::invalid(path, what(), format!("token {}", id.0), expected));
        }
    }
    Ok(())
}
