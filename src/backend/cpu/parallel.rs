//! Tasks on all threads, in no particular order. No result depends on who does what.

use rayon::{ThreadPool, ThreadPoolBuilder};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Below this much work, in multiply-adds, waking another thread costs more than it saves.
const WORK_MIN: usize = 1 << 20;

/// How many threads take tasks.
pub(super) fn threads() -> usize {
    rayon::current_num_threads()
}

/// One thread fewer than [`threads`]: the calling thread works too. With as many workers as cores
/// beside a caller that works, one thread too many waits for a core in every op.
fn workers() -> &'static ThreadPool {
    static WORKERS: OnceLock<ThreadPool> = OnceLock::new();
    WORKERS.get_or_init(|| {
        ThreadPoolBuilder::new()
            .num_threads(threads().saturating_sub(1).max(1))
            .thread_name(|i| format!("ridgepoint-cpu-{i}"))
            .build()
            .expect("the system starts as many threads as the processor has cores")
    })
}

/// Into how many tasks `work` multiply-adds should be cut: one if that is quickest, else enough
/// that threads of unequal speed end together.
pub(super) fn tasks(work: usize) -> usize {
    if work < WORK_MIN || threads() == 1 { 1 } else { (8 * threads()).min(work / (WORK_MIN / 8)) }
}

/// Does all tasks, together `work` multiply-adds. The calling thread takes its share, so it never
/// only waits.
pub(super) fn for_each<T: Send>(work: usize, tasks: Vec<T>, task: impl Fn(T) + Sync) {
    let helpers = threads().min(tasks.len()).saturating_sub(1);
    if work < WORK_MIN || helpers == 0 {
        return tasks.into_iter().for_each(task);
    }
    let queue = Mutex::new(tasks.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let drain = || {
        while let Some(item) = next() {
            task(item);
        }
    };
    workers().in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| drain());
        }
        drain();
    });
}

/// A rectangle of an output: some rows, some columns.
pub(super) struct Tile<'a> {
    /// The first row.
    pub row: usize,
    /// The first column.
    pub col: usize,
    /// The rows' columns.
    pub rows: Vec<&'a mut [f32]>,
}

/// Cuts rows into tiles of at most `rows` rows and `cols` columns, the columns of a row block
/// one after the other.
pub(super) fn tiles<'a>(
    out: impl Iterator<Item = &'a mut [f32]>,
    rows: usize,
    cols: usize,
) -> Vec<Tile<'a>> {
    let mut tiles: Vec<Tile<'a>> = Vec::new();
    let mut block = 0; // the first tile of the row block
    for (row, out) in out.enumerate() {
        if row % rows == 0 {
            block = tiles.len();
        }
        for (i, part) in out.chunks_mut(cols).enumerate() {
            if row % rows == 0 {
                tiles.push(Tile { row, col: i * cols, rows: Vec::with_capacity(rows) });
            }
            tiles[block + i].rows.push(part);
        }
    }
    tiles
}
