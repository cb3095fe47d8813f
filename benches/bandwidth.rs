//! The memory bandwidth that the other benchmarks compare themselves with.

use std::hint::black_box;
use std::time::Instant;

/// Bytes a second read from memory by as many threads as the backend uses: the best of eight passes
/// over 512 MB.
pub fn read_bandwidth() -> f64 {
    let data = vec![1u64; 64 << 20];
    let part = data.len() / rayon::current_num_threads();
    let pass = || {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in data.chunks(part) {
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
        (data.len() * 8) as f64 / start.elapsed().as_secs_f64()
    };
    (0..8).map(|_| pass()).fold(0.0, f64::max)
}
