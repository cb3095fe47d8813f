//! One error type for the whole crate.
//!
//! A message names the file (or flag, or request field), what was found, what was expected and,
//! where there is something to do, what to do. [`Error::is_mistake`] tells the user's mistakes from
//! faults: the command line exits with 2 for the first and 1 for the second.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The result of everything in this crate that can fail for a reason outside the program.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong outside the program. Programmer faults are assertions instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused to read or write a file.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, for example "cannot open".
        action: &'static str,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file of a model directory, or another input file, says something that cannot be used.
    #[error("{}: {what}: found {found}, expected {expected}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field, tensor or place in the file.
        what: String,
        /// What stands there.
        found: String,
        /// What could be used instead.
        expected: String,
    },
    /// The file is sound, but asks for something that this engine does not do.
    #[error("{}: {what} is not supported; supported: {supported}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The feature, by the name the file gives it.
        what: String,
        /// What is supported in its place.
        supported: String,
    },
    /// A request (prompt, sampling parameters, limits) that cannot be served.
    #[error("{0}")]
    Request(String),
    /// A command-line option that cannot be followed.
    #[error("{0}")]
    Usage(String),
    /// A chat template that does not compile, fails, or exceeds its limits.
    #[error("{}: chat template: {message}", path.display())]
    Template {
        /// The file that holds the template.
        path: PathBuf,
        /// The template engine's message, with a line number where there is one.
        message: String,
    },
    /// A model that is sound, but has a shape or format for which a device has no kernel.
    #[error("{what} has no kernel on this device; supported: {supported}; or use --device cpu")]
    NoKernel {
        /// What was asked for.
        what: String,
        /// What there is.
        supported: String,
    },
    /// So many requests wait that another is not taken.
    #[error("{waiting} requests wait already; try again in {} ms", retry_after.as_millis())]
    Busy {
        /// Requests that wait.
        waiting: usize,
        /// When one of them should have been served.
        retry_after: Duration,
    },
    /// A device that is missing, too small, or failed.
    #[error("{0}")]
    Device(String),
}

impl Error {
    /// An [`Error::Io`] with its path, for `map_err`.
    pub fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { path, action, source }
    }

    /// An [`Error::Invalid`]: `what` in the file is `found`, but should be `expected`.
    pub fn invalid(
        path: &Path,
        what: impl Into<String>,
        found: impl std::fmt::Display,
        expected: impl std::fmt::Display,
    ) -> Error {
        Error::Invalid {
            path: path.to_path_buf(),
            what: what.into(),
            found: found.to_string(),
            expected: expected.to_string(),
        }
    }

    /// Whether the user can mend this by giving other input. A failing disk or device is a fault.
    pub fn is_mistake(&self) -> bool {
        match self {
            Error::Io { source, .. } => matches!(
                source.kind(),
                std::io::ErrorKind::NotFound
                    | std::io::ErrorKind::PermissionDenied
                    | std::io::ErrorKind::IsADirectory
                    | std::io::ErrorKind::NotADirectory
                    | std::io::ErrorKind::InvalidData
            ),
            Error::Device(_) | Error::Busy { .. } => false,
            _ => true,
        }
    }
}
