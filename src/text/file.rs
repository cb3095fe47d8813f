//! Reading small files of a model directory, up to a limit.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The content of `path`, or `None` if there is no such file. The limit holds for what is read, not
/// for what the file system says: a pipe or a growing file meets it too.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path, "cannot open")(error)),
    };
    let mut bytes = Vec::new();
    let mut limited = file.take(bytes_max + 1);
    limited.read_to_end(&mut bytes).map_err(Error::io(path, "cannot read"))?;
    if bytes.len() as u64 > bytes_max {
        let found = format!("more than {bytes_max} bytes");
        return Err(Error::invalid(path, "file size", found, format!("at most {bytes_max} bytes")));
    }
    Ok(Some(bytes))
}

/// As [`read`], for UTF-8.
pub(super) fn read_text(path: &Path, bytes_max: u64) -> Result<Option<String>> {
    let Some(bytes) = read(path, bytes_max)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::invalid(path, "encoding", format!("a byte that is not UTF-8 at {at}"), "UTF-8")
    })?;
    Ok(Some(text))
}
