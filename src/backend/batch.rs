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
/// row are in `pages` once the rows have been appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The batch rows of this sequence.
    pub rows: Range<usize>,
    /// The position of the first row; row `i` has position `start + i`.
    pub start: usize,
    /// The block table: page `i` holds positions `64 i .. 64 (i + 1)`. It may be longer than
    /// needed.
    pub pages: Vec<PageId>,
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
        self.spans.push(Span { rows: rows.clone(), start, pages: pages.to_vec() });
        rows
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }
}
