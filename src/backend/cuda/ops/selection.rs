//! What the ops that pick from a vocabulary have in common: their workspace and their grid.

use super::check::{self, Checked};
use crate::backend::cuda::driver::DevicePtr;
use crate::backend::cuda::kernels::{Kernels, Shape};
use crate::backend::cuda::params::{SAMPLE_BINS, SAMPLE_THREADS, SAMPLE_TILE, SelectionState};
use crate::sample::math::VOCAB_MAX;

/// Blocks of [`SAMPLE_THREADS`] that a multiprocessor holds at once, in the launch that has to wait
/// for device memory: as many as it has threads for.
const RESIDENT_BLOCKS: u64 = 8;

/// The most rows and the vocabulary that a workspace is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelectionSizes {
    /// Rows of logits.
    pub rows: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
}

impl SelectionSizes {
    /// Bytes of [`SelectionWorkspace::states`].
    pub fn state_bytes(&self) -> u64 {
        (self.rows * size_of::<SelectionState>()) as u64
    }

    /// Bytes of [`SelectionWorkspace::bins`].
    pub fn bin_bytes(&self) -> u64 {
        self.rows as u64 * u64::from(SAMPLE_BINS) * 4
    }

    /// Bytes of [`SelectionWorkspace::candidates`].
    pub fn candidate_bytes(&self) -> u64 {
        self.rows as u64 * self.vocab as u64 * 8
    }
}

/// Device memory that the blocks of a row share. Ops that follow one another in the stream may use
/// the same.
#[derive(Debug, Clone, Copy)]
pub struct SelectionWorkspace {
    /// [`SelectionState`] of each row. All bytes 0 before the first use; ops leave it so.
    pub states: DevicePtr,
    /// Counts of each row. All bytes 0 before the first use; ops leave it so.
    pub bins: DevicePtr,
    /// Keys of each row, of undefined content.
    pub candidates: DevicePtr,
}

impl SelectionWorkspace {
    pub(super) fn check(&self) -> Checked {
        check::vectors("states", self.states)?;
        check::vectors("bins", self.bins)?;
        check::vectors("candidates", self.candidates)
    }
}

/// Whether a vocabulary has a size that the kernels are made for.
pub(super) fn check_vocab(vocab: usize) -> Checked {
    let ok = (1..=VOCAB_MAX).contains(&vocab);
    check::ensure(ok, || format!("{vocab} tokens, not 1..{VOCAB_MAX}"))
}

/// Tiles of a row.
pub(super) fn tiles(vocab: usize) -> usize {
    check::demand(check_vocab(vocab));
    vocab.div_ceil(SAMPLE_TILE as usize)
}

/// The grid, and the tiles of a block: enough blocks to fill the device, and no more, because a
/// block that takes many tiles leaves out more of the noise.
pub(super) fn grid(kernels: &Kernels, rows: u32, vocab: u32) -> (Shape, u32) {
    let tiles = tiles(vocab as usize) as u64;
    let at_once = u64::from(kernels.driver().properties().multiprocessors) * RESIDENT_BLOCKS;
    let each = (tiles * u64::from(rows)).div_ceil(at_once).clamp(1, tiles);
    let grid = [tiles.div_ceil(each) as u32, rows, 1];
    (Shape { grid, block: SAMPLE_THREADS, shared_bytes: 0 }, each as u32)
}
