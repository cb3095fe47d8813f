//! Tables and numbers as text.

use crate::cli::output::Output;
use crate::error::Result;

/// Prints rows in columns, the first `texts` of them to the left and the others to the right, and
/// a column after them, if there is one with the name "limited by", to the left again.
pub fn print(rows: &[Vec<String>], texts: usize, out: &mut Output) -> Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &Vec<String>, column: usize| row.get(column).map_or(0, |c| c.chars().count());
    let width = |column| rows.iter().map(|row| cell(row, column)).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let is_text = |column: usize| {
        column < texts || rows.first().and_then(|row| row.get(column)).is_some_and(|c| c == LIMIT)
    };
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, text)| match is_text(column) {
            true => format!("{text:<width$}", width = widths[column]),
            false => format!("{text:>width$}", width = widths[column]),
        });
        let cells: Vec<String> = cells.collect();
        out.text(&format!("  {}\n", cells.join("  ").trim_end()))?;
    }
    Ok(())
}

/// The head of a column of resources.
pub const LIMIT: &str = "limited by";

/// A row of cells.
pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Three digits of a positive number.
pub fn digits(value: f64) -> String {
    match value {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v if v >= 0.9995 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// A time in the unit that fits it.
pub fn seconds(value: f64) -> String {
    match value {
        v if v >= 0.9995 => format!("{} s", digits(v)),
        v if v >= 0.9995e-3 => format!("{} ms", digits(v * 1e3)),
        v => format!("{} us", digits(v * 1e6)),
    }
}
