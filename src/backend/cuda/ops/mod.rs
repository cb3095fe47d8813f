//! Launch code: one function an op. It takes addresses, checks shapes and alignment, chooses the
//! variant and fills in the kernel's argument. It never allocates, waits or reads back, so that
//! any of it may be captured in a graph.

pub mod gather;
pub mod gemm;
