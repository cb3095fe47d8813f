//! Standard output whose failures are errors with a message instead of panics.

use crate::error::{Error, Result};
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

/// Where results go.
pub struct Output {
    writer: Box<dyn Write>,
}

impl Output {
    /// Standard output, buffered until [`flush`](Output::flush).
    pub fn stdout() -> Output {
        Output { writer: Box::new(io::BufWriter::new(io::stdout())) }
    }

    /// Writes text as it is.
    pub fn text(&mut self, text: &str) -> Result<()> {
        self.writer.write_all(text.as_bytes()).map_err(unwritable)
    }

    /// Writes one JSON object on a line of its own, at once.
    pub fn json(&mut self, object: &impl Serialize) -> Result<()> {
        let line = serde_json::to_string(object).map_err(|e| unwritable(e.into()))?;
        self.text(&line)?;
        self.text("\n")?;
        self.show()
    }

    /// Hands everything to the reader.
    pub fn show(&mut self) -> Result<()> {
        self.writer.flush().map_err(unwritable)
    }

    /// The last flush, whose failure must not be lost.
    pub fn finish(mut self) -> Result<()> {
        self.show()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The error of an output that cannot be written.
pub fn unwritable(source: io::Error) -> Error {
    Error::io(Path::new("standard output"), "cannot write")(source)
}

/// Whether the reader of our output has gone away.
pub fn is_broken_pipe(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::BrokenPipe)
}
