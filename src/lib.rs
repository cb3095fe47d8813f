//! Ridgepoint: an LLM inference engine with hand-written CUDA kernels.
