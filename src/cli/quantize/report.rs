//! Receipts as tables and as files.

use crate::cli::output::Output;
use crate::error::{Error, Result};
use crate::model::parts::Part;
use crate::quantize::offline::Outcome;
use crate::quantize::quality::{Mean, Summary, paired};
use crate::quantize::receipt::{MatrixReceipt, Receipt};
use serde::Serialize;
use std::path::Path;

/// A method beside the first one.
#[derive(Serialize)]
pub struct Row<'a> {
    method: &'a str,
    bits: f64,
    /// Mean over the matrices, of the weights and of the products.
    error: f64,
    output_error: Option<f64>,
    quality: &'a Summary,
    /// What this method's divergence has over the first one's, token by token.
    divergence_over_first: Option<Mean>,
    /// And its share of changed tokens.
    changed_over_first: Option<Mean>,
}

/// Refuses a place where no file can be: hours of work must not end with that.
pub fn check_place(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let is_directory = |path: &Path| std::fs::metadata(path).is_ok_and(|found| found.is_dir());
    match is_directory(parent) && !is_directory(path) {
        true => Ok(()),
        false => Err(Error::Usage(format!(
            "--receipt {}: no file can be there; nothing was written",
            path.display()
        ))),
    }
}

/// Writes JSON to a file.
pub fn save(value: &impl Serialize, path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::io(path, "cannot write")(e.into()))?;
    std::fs::write(path, text + "\n").map_err(Error::io(path, "cannot write"))
}

/// The receipt of one quantisation.
pub fn print(receipt: &Receipt, out: &mut Output) -> Result<()> {
    let mut lines = vec![vec!["layer".to_string()]];
    lines[0].extend(Part::ALL.map(|part| part.name().rsplit('.').next().unwrap_or("").to_string()));
    let layers = receipt.matrices.iter().filter_map(|m| m.layer).max().map_or(0, |last| last + 1);
    for layer in 0..layers {
        let mut line = vec![layer.to_string()];
        for part in Part::ALL {
            let module = part.module(layer);
            let found = receipt.matrices.iter().find(|m| m.module == module);
            line.push(found.map_or("kept".to_string(), errors));
        }
        lines.push(line);
    }
    let calibrated = receipt.matrices.iter().any(|m| m.output_error.is_some());
    out.text(match calibrated {
        true => "relative error of weights / of their products with the calibration inputs, %\n",
        false => "relative error of weights, %\n",
    })?;
    table(&lines, out)?;
    if let Some(head) = receipt.matrices.iter().find(|m| m.layer.is_none()) {
        out.text(&format!("head: {} in {:.3} bits\n", errors(head), head.bits))?;
    }
    out.text(&format!(
        "{} by {}: {:.3} bits a weight\n",
        receipt.grid, receipt.method, receipt.bits
    ))?;
    let Some(quality) = &receipt.quality else { return Ok(()) };
    out.text(&format!(
        "over {} tokens: perplexity {:.4} before, {:.4} after; KL {} nats a token; greedy token \
         changed at {} %\n",
        quality.tokens,
        quality.perplexity_before,
        quality.perplexity_after,
        interval(&quality.divergence, 1.0),
        interval(&quality.changed, 100.0),
    ))
}

fn errors(matrix: &MatrixReceipt) -> String {
    match matrix.output_error {
        None => format!("{:.2}", 100.0 * matrix.error),
        Some(output) => format!("{:.2} / {:.2}", 100.0 * matrix.error, 100.0 * output),
    }
}

fn interval(mean: &Mean, scale: f64) -> String {
    let [mean, low, high] = [mean.mean, mean.low, mean.high].map(|x| x * scale);
    let digits = if scale == 1.0 { 5 } else { 2 };
    format!("{mean:.digits$} ({low:.digits$} to {high:.digits$})")
}

/// Several methods on one text.
pub fn side_by_side<'a>(outcomes: &'a [Outcome]) -> Vec<Row<'a>> {
    let first = &outcomes[0].quality;
    let mean = |receipt: &Receipt, of: &dyn Fn(&MatrixReceipt) -> Option<f64>| {
        let values: Option<Vec<f64>> =
            receipt.matrices.iter().filter(|m| m.layer.is_some()).map(of).collect();
        values.filter(|v| !v.is_empty()).map(|v| v.iter().sum::<f64>() / v.len() as f64)
    };
    let over = |i: usize, a: &[f64], b: &[f64]| (i > 0).then(|| paired(a, b));
    let row = |(i, outcome): (usize, &'a Outcome)| {
        let Outcome { receipt, quality } = outcome;
        Row {
            method: &receipt.method,
            bits: receipt.bits,
            error: mean(receipt, &|m| Some(m.error)).unwrap_or(0.0),
            output_error: mean(receipt, &|m| m.output_error),
            quality: receipt.quality.as_ref().expect("a comparison has a text"),
            divergence_over_first: over(i, &quality.divergence, &first.divergence),
            changed_over_first: over(i, &quality.changed, &first.changed),
        }
    };
    outcomes.iter().enumerate().map(row).collect()
}

/// As a table.
pub fn print_side_by_side(rows: &[Row<'_>], out: &mut Output) -> Result<()> {
    let Some(first) = rows.first() else { return Ok(()) };
    let over = format!("over {}", first.method);
    let head =
        ["method", "bits", "weights %", "outputs %", "perplexity", "KL", &over, "changed %", &over];
    let mut lines = vec![head.map(str::to_string).to_vec()];
    for row in rows {
        let quality = row.quality;
        let or_none = |text: Option<String>| text.unwrap_or_default();
        lines.push(vec![
            row.method.to_string(),
            format!("{:.3}", row.bits),
            format!("{:.2}", 100.0 * row.error),
            or_none(row.output_error.map(|e| format!("{:.2}", 100.0 * e))),
            format!("{:.4}", quality.perplexity_after),
            interval(&quality.divergence, 1.0),
            or_none(row.divergence_over_first.map(|mean| interval(&mean, 1.0))),
            interval(&quality.changed, 100.0),
            or_none(row.changed_over_first.map(|mean| interval(&mean, 100.0))),
        ]);
    }
    table(&lines, out)?;
    let quality = first.quality;
    out.text(&format!(
        "{} tokens, perplexity {:.4} before; intervals hold 95 %\n",
        quality.tokens, quality.perplexity_before
    ))
}

/// Columns as wide as they must be; the first is text, the others stand to the right.
fn table(lines: &[Vec<String>], out: &mut Output) -> Result<()> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|l| l.get(column)).map(String::len).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for line in lines {
        let cells = line.iter().zip(&widths).enumerate();
        let cells: Vec<String> = cells
            .map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        out.text(&format!("{}\n", cells.join("  ").trim_end()))?;
    }
    Ok(())
}
