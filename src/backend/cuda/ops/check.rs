//! What the ops ask of their operands.

use crate::backend::cuda::driver::DevicePtr;

/// Bytes that a thread loads or stores at once.
const VECTOR_BYTES: u64 = 16;

/// More than any kernel with dynamic shared memory has of static shared memory beside it.
const STATIC_SHARED_BYTES: u32 = 1 << 10;

/// Whether a block that asks for so much dynamic shared memory fits where one can have `limit`.
pub(super) fn fits_block(dynamic: u32, limit: u32) -> bool {
    dynamic + STATIC_SHARED_BYTES <= limit
}

/// The address is there and aligned for vectors of 16 bytes.
pub(super) fn vectors(what: &str, at: DevicePtr) {
    assert!(at != 0, "{what} is null");
    assert!(at.is_multiple_of(VECTOR_BYTES), "{what} at {at:#x} is not aligned to 16 bytes");
}

/// The address is there and aligned for words of 4 bytes.
pub(super) fn words(what: &str, at: DevicePtr) {
    assert!(at != 0, "{what} is null");
    assert!(at.is_multiple_of(4), "{what} at {at:#x} is not aligned to 4 bytes");
}

/// The size is a multiple, and not 0.
pub(super) fn multiple(what: &str, size: u32, of: u32) {
    assert!(size > 0 && size.is_multiple_of(of), "{what} is {size}, not a multiple of {of}");
}
