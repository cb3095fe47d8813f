//! The memory bandwidth that the benchmarks compare themselves with.

use std::hint::black_box;
use std::time::Instant;

/// More memory than the caches hold, to be read.
pub struct Memory(Vec<u64>);

impl Memory {
    /// 512 MB.
    pub fn new() -> Memory {
        Memory(vec![1; 64 << 20])
    }

    /// Bytes a second that as many threads as the backend uses read: the best of four passes. To
    /// be taken right before and after what it is compared with, as other programs' use of the
    /// memory changes.
    pub fn bandwidth(&self) -> f64 {
        let part = self.0.len() / rayon::current_num_threads();
        let pass = || {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for part in self.0.chunks(part) {
                    scope.spawn(move || {
                        let mut sums = [0u64; 16];
                        for line in part.as_chunks::<16>().0 {
                            for (sum, x) in sums.iter_mut().zip(line) {
                                *sum ^= x;
                            }
                        }
                        black_box(sums);
                    });
                }
            });
            (self.0.len() * 8) as f64 / start.elapsed().as_secs_f64()
        };
        (0..4).map(|_| pass()).fold(0.0, f64::max)
    }
}
