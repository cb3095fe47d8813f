//! Statuses, their texts, and where panics stop.

use crate::error::Error;
use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a call ended.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum rp_status {
    /// It did what was asked.
    RP_OK = 0,
    /// An argument cannot be what it is: null, misaligned, out of range, or in disagreement with
    /// another one.
    RP_INVALID = 1,
    /// A handle that was destroyed, or of another kind, or none.
    RP_HANDLE = 2,
    /// Another thread is using this handle, which takes one at a time.
    RP_IN_USE = 3,
    /// A file of the model directory says something that cannot be used.
    RP_MODEL = 4,
    /// The operating system refused to read a file.
    RP_IO = 5,
    /// It is sound, but this library, build or device does not do it.
    RP_UNSUPPORTED = 6,
    /// Too many requests wait. The message says when to try again.
    RP_BUSY = 7,
    /// The device is missing, too small, or failed.
    RP_DEVICE = 8,
    /// Nothing happened in the time given.
    RP_TIMEOUT = 9,
    /// The request has ended and its last event was taken.
    RP_ENDED = 10,
    /// A buffer is too small. The size it needs was written.
    RP_TOO_SMALL = 11,
    /// A fault of this library.
    RP_PANIC = 12,
}

/// What a call tells instead of doing its work.
#[derive(Debug)]
pub(super) struct Fault {
    pub status: rp_status,
    pub text: String,
}

/// Why a build refuses every device but the processor.
pub(super) const WITHOUT_KERNELS: &str =
    "this build has no kernels: it was made without the feature `cuda`";

/// The result of what stands behind a call.
pub(super) type Outcome<T = ()> = std::result::Result<T, Fault>;

impl Fault {
    pub(super) fn new(status: rp_status, text: impl Into<String>) -> Fault {
        Fault { status, text: text.into() }
    }

    pub(super) fn invalid(text: impl Into<String>) -> Fault {
        Fault::new(rp_status::RP_INVALID, text)
    }

    /// Leaves the text for [`rp_error_message`].
    pub(super) fn tell(self) -> rp_status {
        let text = CString::new(self.text.replace('\0', "\u{fffd}")).unwrap_or_default();
        MESSAGE.with_borrow_mut(|message| *message = text);
        self.status
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        let status = match &error {
            Error::Request(_) | Error::Usage(_) => rp_status::RP_INVALID,
            Error::Io { .. } => rp_status::RP_IO,
            Error::Invalid { .. } | Error::Template { .. } => rp_status::RP_MODEL,
            Error::Unsupported { .. } | Error::NoKernel { .. } => rp_status::RP_UNSUPPORTED,
            Error::Busy { .. } => rp_status::RP_BUSY,
            Error::Device(_) => rp_status::RP_DEVICE,
        };
        Fault { status, text: error.to_string() }
    }
}

thread_local! {
    static MESSAGE: RefCell<CString> = RefCell::default();
}

/// The text of the last call on this thread that did not return RP_OK, "" if there was none. It
/// stays where it is until the next such call on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn rp_error_message() -> *const c_char {
    MESSAGE.with_borrow(|message| message.as_ptr())
}

/// The version of the library, such as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn rp_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => panic!("a version holds no zeros"),
        };
    VERSION.as_ptr()
}

/// Runs what stands behind a call. Nothing passes this but a status.
pub(super) fn guard(body: impl FnOnce() -> Outcome) -> rp_status {
    match caught(body) {
        Ok(()) => rp_status::RP_OK,
        Err(fault) => fault.tell(),
    }
}

/// Turns a panic into a fault like any other.
pub(super) fn caught<T>(body: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = format!("a fault of the library: {}", panic_text(&*panic));
        Err(Fault::new(rp_status::RP_PANIC, text))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
