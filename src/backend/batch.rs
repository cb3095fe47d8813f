//! The rows of one forward pass. A batch carries everything a forward needs; there is no global
//! context beside it.

use crate::kv::{PAGE_SIZE, PageId};
use crate::request::TokenId;
use std::ops::Range;

/// The most rows of one sequence in a batch of the decode family.
pub const DECODE_ROWS_MAX: usize = 8;

/// The two kernel families. A row's result depends on its family and on the row, on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Prompt tokens: many rows of a sequence at once, bound by arithmetic.
    Prefill,
    /// Generated tokens: few rows of each sequence, bound by memory bandwidth.
    Decode,
}

/// The rows of one sequence: consecutive positions, all of whose keys and values up to the last
/// row are in the pages of `table` once the rows have been appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The batch rows of this sequence.
    pub rows: Range<usize>,
    /// The position of the first row; row `i` has position `start + i`.
    pub start: usize,
    /// Where its block table lies in [`Batch::tables`].
    pub table: Range<usize>,
}

/// The input of one forward pass: rows of one family, of any number of sequences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The family that computes all rows.
    pub phase: Phase,
    /// One token a row.
    pub tokens: Vec<TokenId>,
    /// One absolute position a row.
    pub positions: Vec<u32>,
    /// The sequences, in row order; together they cover all rows.
    pub spans: Vec<Span>,
    /// The block tables of the sequences, one after the other.
    pub tables: Vec<PageId>,
    /// The rows whose logits are wanted, ascending.
    pub logit_rows: Vec<usize>,
}

impl Batch {
    /// An empty batch.
    pub fn new(phase: Phase) -> Batch {
        Batch {
            phase,
            tokens: Vec::new(),
            positions: Vec::new(),
            spans: Vec::new(),
            tables: Vec::new(),
            logit_rows: Vec::new(),
        }
    }

    /// Adds `tokens` of one sequence at positions `start..`, with its block table; gives their
    /// rows.
    ///
    /// # Panics
    /// If there are no tokens, if the pages do not reach the last position, or if a decode batch
    /// gets more than [`DECODE_ROWS_MAX`] rows of one sequence.
    pub fn push(&mut self, start: usize, tokens: &[TokenId], pages: &[PageId]) -> Range<usize> {
        let end = start + tokens.len();
        assert!(!tokens.is_empty(), "a sequence without rows");
        assert!(pages.len() * PAGE_SIZE >= end, "{} pages for {end} positions", pages.len());
        assert!(
            self.phase == Phase::Prefill || tokens.len() <= DECODE_ROWS_MAX,
            "{} rows of one sequence in a decode batch",
            tokens.len()
        );
        let rows = self.tokens.len()..self.tokens.len() + tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.positions.extend((start..end).map(|p| p as u32));
        let table = self.tables.len()..self.tables.len() + pages.len();
        self.tables.extend_from_slice(pages);
        self.spans.push(Span { rows: rows.clone(), start, table });
        rows
    }

    /// The block table of a sequence: page `i` holds positions `64 i .. 64 (i + 1)`. It may be
    /// longer than needed.
    pub fn table(&self, span: &Span) -> &[PageId] {
        &self.tables[span.table.clone()]
    }

    /// Empties it and keeps its memory, for the next step.
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.spans.clear();
        self.tables.clear();
        self.logit_rows.clear();
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }
}
