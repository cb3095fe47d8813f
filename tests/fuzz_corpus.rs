//! Replays the corpora of the fuzz targets: inputs worth keeping, and those that once did harm.

#[path = "../fuzz/bodies.rs"]
mod bodies;

use crate::common::root;
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn the_corpora_do_no_harm() {
    for (target, body) in bodies::TARGETS {
        let folder = root().join("fuzz/corpus").join(target);
        let mut files = 0;
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let started = Instant::now();
            body(&fs::read(&path).unwrap());
            // A machine with much else to do may need longer than the second it takes.
            let limit = Duration::from_secs(10);
            assert!(started.elapsed() < limit, "{}: {:?}", path.display(), started.elapsed());
            files += 1;
        }
        assert!(files > 2, "no corpus in {}", folder.display());
    }
}
