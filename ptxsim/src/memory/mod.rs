//! What kernels touch, and the watch over it: device memory, shared memory, local memory, and for
//! the first two a shadow that knows who wrote and read each word.

pub mod access;
pub mod atomic;
pub mod clock;
pub mod decode;
pub mod fields;
pub mod global;
pub mod global_shadow;
pub mod shadow;
pub mod warpwide;
pub mod watched;
