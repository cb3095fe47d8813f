//! Benchmarks of single operations.
fn main() {}
