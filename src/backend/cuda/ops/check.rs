//! What the ops ask of their operands.

use crate::backend::cuda::driver::DevicePtr;

/// Bytes that a thread loads or stores at once.
const VECTOR_BYTES: u64 = 16;

/// The most static shared memory that a kernel with dynamic shared memory has beside it.
const STATIC_SHARED_BYTES: u32 = 1 << 10;

/// Whether a block that asks for so much dynamic shared memory fits where one can have `limit`.
pub(super) fn fits_block(dynamic: u32, limit: u32) -> bool {
    dynamic + STATIC_SHARED_BYTES <= limit
}

/// Whether an op can be launched: if not, which operand is not what it must be. An engine asks for
/// nothing else and takes a refusal for a fault of its own ([`demand`]); a caller across the C
/// boundary is told.
pub type Checked = std::result::Result<(), String>;

/// Panics on a refusal.
#[track_caller]
pub(super) fn demand(checked: Checked) {
    if let Err(why) = checked {
        panic!("{why}");
    }
}

/// `ok`, or what is wrong.
pub(super) fn ensure(ok: bool, why: impl FnOnce() -> String) -> Checked {
    if ok { Ok(()) } else { Err(why()) }
}

/// The address is there and aligned for vectors of 16 bytes.
pub(super) fn vectors(what: &str, at: DevicePtr) -> Checked {
    aligned(what, at, VECTOR_BYTES)
}

/// The address is there and aligned for words of 4 bytes.
pub(super) fn words(what: &str, at: DevicePtr) -> Checked {
    aligned(what, at, 4)
}

fn aligned(what: &str, at: DevicePtr, bytes: u64) -> Checked {
    ensure(at != 0, || format!("{what} is null"))?;
    ensure(at.is_multiple_of(bytes), || {
        format!("{what} at {at:#x} is not aligned to {bytes} bytes")
    })
}

/// The size is a multiple, and not 0.
pub(super) fn multiple(what: &str, size: u32, of: u32) -> Checked {
    let ok = size > 0 && size.is_multiple_of(of);
    ensure(ok, || format!("{what} is {size}, not a multiple of {of}"))
}
