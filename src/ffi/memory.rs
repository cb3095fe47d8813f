//! Reading what callers point at, and writing where they point.
//!
//! What can be known of a pointer is checked: that it is there, aligned, and that a struct has a
//! size this version knows. That it points at memory at all is the caller's word.

use super::status::{Fault, Outcome, rp_status};
use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

/// A struct that begins with its size in bytes, as a `size_t`.
///
/// # Safety
/// The type is `repr(C)`, its first field is a `usize`, and it may hold any bytes, zeros included:
/// integers, floats, raw pointers and optional functions.
pub(super) unsafe trait Sized_: Copy {
    /// Its name in C.
    const NAME: &'static str;
    /// The bytes that it had in the first version of this header.
    const FIRST: usize;

    /// The field that fills a hole and has no meaning yet.
    fn reserved(&self) -> u32 {
        0
    }
}

/// Declares [`Sized_`] for structs whose first version is the present one.
macro_rules! sized {
    ($($name:ident $(with $reserved:ident)?),* $(,)?) => {$(
        // SAFETY: defined in this folder as the trait demands.
        unsafe impl $crate::ffi::memory::Sized_ for $name {
            const NAME: &'static str = stringify!($name);
            const FIRST: usize = size_of::<$name>();
            $(fn reserved(&self) -> u32 {
                self.$reserved
            })?
        }
    )*};
}
pub(super) use sized;

/// No struct has so many bytes: a size above it is no size.
const SIZE_MAX: usize = 4096;

fn check<T>(name: &str, at: *const T) -> Outcome {
    if at.is_null() {
        return Err(Fault::invalid(format!("{name} is null")));
    }
    if !at.is_aligned() {
        let (at, bytes) = (at.addr(), align_of::<T>());
        return Err(Fault::invalid(format!("{name} at {at:#x} is not aligned to {bytes} bytes")));
    }
    Ok(())
}

/// The size that a struct says it has.
///
/// # Safety
/// `at` is null, misaligned, or points at a struct of the caller's whose first field is readable.
unsafe fn size<T: Sized_>(at: *const T) -> Outcome<usize> {
    check(T::NAME, at)?;
    // SAFETY: the first field of the struct is its size, and is there.
    let size = unsafe { at.cast::<usize>().read() };
    if (T::FIRST..=SIZE_MAX).contains(&size) {
        return Ok(size);
    }
    let (name, least) = (T::NAME, T::FIRST);
    let text =
        format!("{name}.size is {size}, at least {least} expected: set it to sizeof({name})");
    Err(Fault::invalid(text))
}

/// Reads a struct of any version. What an older one lacks is zero.
///
/// # Safety
/// `at` is null, misaligned, or points at a struct as large as it says.
pub(super) unsafe fn read<T: Sized_>(at: *const T) -> Outcome<T> {
    // SAFETY: as the caller promises.
    let size = unsafe { size(at) }?;
    let known = size.min(size_of::<T>());
    // SAFETY: the struct has `size` bytes; bytes have no alignment.
    let all = unsafe { std::slice::from_raw_parts(at.cast::<u8>(), size) };
    if all[known..].iter().any(|byte| *byte != 0) {
        let (name, ours) = (T::NAME, size_of::<T>());
        let text = format!(
            "{name} has {size} bytes and sets a field past byte {ours}, where this library's ends: \
             it is of a newer header"
        );
        return Err(Fault::new(rp_status::RP_UNSUPPORTED, text));
    }
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: both sides have `known` bytes, and any bytes are a value of T.
    let value = unsafe {
        std::ptr::copy_nonoverlapping(at.cast::<u8>(), value.as_mut_ptr().cast::<u8>(), known);
        value.assume_init()
    };
    match value.reserved() {
        0 => Ok(value),
        other => {
            let text = format!("{}.reserved is {other}: that is of a newer header", T::NAME);
            Err(Fault::new(rp_status::RP_UNSUPPORTED, text))
        }
    }
}

/// Whether a struct can be written with [`write`].
///
/// # Safety
/// As [`read`].
pub(super) unsafe fn check_out<T: Sized_>(at: *mut T) -> Outcome {
    // SAFETY: as the caller promises.
    unsafe { size(at.cast_const()) }.map(drop)
}

/// Writes a struct of any version. The caller's size stays; what this version does not know
/// becomes zero.
///
/// # Safety
/// `at` has passed [`check_out`] and is writable.
pub(super) unsafe fn write<T: Sized_>(at: *mut T, value: T) -> Outcome {
    // SAFETY: as the caller promises.
    let size = unsafe { size(at.cast_const()) }?;
    let known = size.min(size_of::<T>());
    let head = size_of::<usize>();
    // SAFETY: the struct has `size` bytes, of which the first are its size.
    unsafe {
        let (from, to) = (std::ptr::from_ref(&value).cast::<u8>(), at.cast::<u8>());
        std::ptr::copy_nonoverlapping(from.add(head), to.add(head), known - head);
        std::ptr::write_bytes(to.add(known), 0, size - known);
    }
    Ok(())
}

/// Writes one value.
///
/// # Safety
/// `at` is null, misaligned, or points at writable memory.
pub(super) unsafe fn put<T>(name: &str, at: *mut T, value: T) -> Outcome {
    check(name, at.cast_const())?;
    // SAFETY: checked as far as can be, and the caller's word.
    unsafe { at.write(value) };
    Ok(())
}

/// Whether [`put`] can write there.
pub(super) fn check_put<T>(name: &str, at: *mut T) -> Outcome {
    check(name, at.cast_const())
}

/// `count` elements. None may be at null.
///
/// # Safety
/// `at` is null, misaligned, or points at `count` elements that stay as they are during the call.
pub(super) unsafe fn slice<'a, T>(name: &str, at: *const T, count: usize) -> Outcome<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    check(name, at)?;
    fits::<T>(name, count)?;
    // SAFETY: checked as far as can be, and the caller's word.
    Ok(unsafe { std::slice::from_raw_parts(at, count) })
}

/// The same to write to.
///
/// # Safety
/// As [`slice`], and nobody else uses them.
pub(super) unsafe fn slice_mut<'a, T>(
    name: &str,
    at: *mut T,
    count: usize,
) -> Outcome<&'a mut [T]> {
    if count == 0 {
        return Ok(&mut []);
    }
    check(name, at.cast_const())?;
    fits::<T>(name, count)?;
    // SAFETY: checked as far as can be, and the caller's word.
    Ok(unsafe { std::slice::from_raw_parts_mut(at, count) })
}

fn fits<T>(name: &str, count: usize) -> Outcome {
    match count.checked_mul(size_of::<T>()) {
        Some(bytes) if isize::try_from(bytes).is_ok() => Ok(()),
        _ => Err(Fault::invalid(format!("{name} has {count} elements: more than memory"))),
    }
}

/// A text of UTF-8 that ends with a zero; `None` if it is null.
///
/// # Safety
/// `at` is null or points at a text that ends with a zero and stays as it is during the call.
pub(super) unsafe fn text<'a>(name: &str, at: *const c_char) -> Outcome<Option<&'a str>> {
    if at.is_null() {
        return Ok(None);
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(at) };
    match text.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(e) => Err(Fault::invalid(format!("{name} is not UTF-8: {e}"))),
    }
}

/// Copies a text to a buffer, with a zero at its end. `needed`, if there is one, becomes the size
/// that a buffer must have, also when this one is too small.
///
/// # Safety
/// `to` has `capacity` writable bytes; `needed` is null or writable.
pub(super) unsafe fn give_text(
    text: &str,
    to: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> Outcome {
    let bytes = text.len() + 1;
    // Before the size is told, which is for calls that go well or lack nothing but room.
    let room = match capacity >= bytes {
        // SAFETY: as the caller promises, and `capacity` is large enough.
        true => Some(unsafe { slice_mut("the buffer", to.cast::<u8>(), bytes) }?),
        false => None,
    };
    if !needed.is_null() {
        // SAFETY: as the caller promises.
        unsafe { put("the size that is needed", needed, bytes) }?;
    }
    let Some(to) = room else {
        let text = format!("the buffer has {capacity} bytes, {bytes} are needed");
        return Err(Fault::new(rp_status::RP_TOO_SMALL, text));
    };
    to[..text.len()].copy_from_slice(text.as_bytes());
    to[text.len()] = 0;
    Ok(())
}
