//! Device memory for callers that have no allocator of their own: tests, examples, the simulator.

use super::super::memory as c;
use super::super::status::{Fault, rp_status};
use super::{rp_kernels, with};

/// No address plus a size is above it.
fn check(at: u64, bytes: usize) -> Result<(), Fault> {
    let inside = at != 0 && at.checked_add(bytes as u64).is_some();
    match inside {
        true => Ok(()),
        false => Err(Fault::invalid(format!("{bytes} bytes at {at:#x} of the device"))),
    }
}

/// Takes device memory, aligned to 256 bytes, its content undefined.
///
/// # Safety
/// `at` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_memory_alloc(
    kernels: *mut rp_kernels,
    bytes: usize,
    at: *mut u64,
) -> rp_status {
    with(kernels, |held| {
        c::check_put("at", at)?;
        let taken = held.driver().alloc(bytes.max(1) as u64)?;
        // SAFETY: as the caller promises.
        unsafe { c::put("at", at, taken) }
    })
}

/// Gives back what `rp_memory_alloc` gave, after what has been launched before.
///
/// # Safety
/// It was not given back before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_memory_free(kernels: *mut rp_kernels, at: u64) -> rp_status {
    with(kernels, |held| {
        check(at, 0)?;
        held.driver().free(at);
        Ok(())
    })
}

/// Copies to the device, after what has been launched before; `from` may be reused at once.
///
/// # Safety
/// `from` has `bytes` readable bytes, and `at` as many of device memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_memory_write(
    kernels: *mut rp_kernels,
    at: u64,
    from: *const u8,
    bytes: usize,
) -> rp_status {
    with(kernels, |held| {
        check(at, bytes)?;
        // SAFETY: as the caller promises.
        let from = unsafe { c::slice("from", from, bytes) }?;
        Ok(held.driver().write(at, from)?)
    })
}

/// Copies from the device, and waits for all that was launched before.
///
/// # Safety
/// `to` has `bytes` writable bytes, and `at` as many of device memory.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_memory_read(
    kernels: *mut rp_kernels,
    at: u64,
    to: *mut u8,
    bytes: usize,
) -> rp_status {
    with(kernels, |held| {
        check(at, bytes)?;
        // SAFETY: as the caller promises.
        let to = unsafe { c::slice_mut("to", to, bytes) }?;
        Ok(held.driver().read(at, to)?)
    })
}
