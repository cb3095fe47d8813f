//! Matrices quantised to 4 bits in groups of a row, as checkpoints mean them, in no particular
//! format: what a loader makes of its files and a device puts into an order of its own.

/// Shape and groups of a quantised matrix `[n, k]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int4Shape {
    /// Rows.
    pub n: usize,
    /// Columns, a multiple of `group`.
    pub k: usize,
    /// Columns of a row that share a scale.
    pub group: usize,
    /// Whether each group has a zero point. Without, it is 8.
    pub zero_points: bool,
}

/// A quantised matrix: weight `[r, c]` is
/// `scales[r, c / group] * (quants[r, c] - zero_points[r, c / group])`.
#[derive(Debug, Clone, PartialEq)]
pub struct Int4Matrix {
    /// From 0 to 15, `[n, k]`.
    pub quants: Vec<u8>,
    /// `[n, k / group]`, finite. Exact for every stored format; a GPU keeps them in bf16.
    pub scales: Vec<f32>,
    /// From 0 to 127, `[n, k / group]`; `None` is 8 everywhere.
    pub zero_points: Option<Vec<u8>>,
    /// Which column of the input each column belongs to, a permutation of `0..k`; `None` is its
    /// own. Quantisers that sort columns by their weight in the loss leave them so (act-order).
    pub order: Option<Vec<u32>>,
}

/// A quantised matrix of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Int4Tensor {
    /// Its name in the checkpoint, for messages.
    pub name: String,
    /// Its shape and its groups.
    pub shape: Int4Shape,
    /// What it holds.
    pub matrix: Int4Matrix,
}

/// One row of quantised weights, wherever it lies.
#[derive(Debug, Clone, Copy)]
pub struct Int4Row<'a> {
    /// From 0 to 15, `[k]`.
    pub quants: &'a [u8],
    /// `[k / group]`.
    pub scales: &'a [f32],
    /// From 0 to 127, `[k / group]`; `None` is 8 everywhere.
    pub zero_points: Option<&'a [u8]>,
}

impl Int4Shape {
    /// Groups of a row.
    pub fn groups(&self) -> usize {
        self.k / self.group
    }
}

impl Int4Matrix {
    /// Row `row` of a matrix of this shape.
    ///
    /// # Panics
    /// If the matrix has no such row.
    pub fn row(&self, shape: &Int4Shape, row: usize) -> Int4Row<'_> {
        let groups = shape.groups();
        Int4Row {
            quants: &self.quants[row * shape.k..][..shape.k],
            scales: &self.scales[row * groups..][..groups],
            zero_points: self.zero_points.as_ref().map(|z| &z[row * groups..][..groups]),
        }
    }
}
