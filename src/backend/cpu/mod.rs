//! The reference backend, and the default where there is no GPU.
