//! Ridgepoint: an LLM inference engine with hand-written CUDA kernels.

/// What runs the model's operations.
pub mod backend {
    pub mod cuda;
}
/// The subcommands of the binary.
pub mod cli {
    pub mod kernels;
}
