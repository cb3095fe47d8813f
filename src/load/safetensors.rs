//! One safetensors file: mapped, its header checked, its tensors given out as ranges of the map.
//!
//! The header is parsed and checked by the `safetensors` crate; what it found is told here in terms
//! of the file.
#![allow(unsafe_code)]

use crate::error::{Error, Result};
use crate::tensor::{Dtype, HostTensor, SharedBytes};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::SafeTensorError;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A tensor as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderEntry {
    /// The element type, if it is one that weights may have.
    pub dtype: Option<Dtype>,
    /// The element type as the file names it.
    pub dtype_name: String,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    /// Bytes from the start of the file.
    pub range: Range<usize>,
}

/// The header of a file: its tensors by name.
pub type Header = HashMap<String, HeaderEntry>;

/// A mapped file.
pub struct SafetensorsFile {
    path: PathBuf,
    map: Arc<Mmap>,
    header: Header,
}

impl SafetensorsFile {
    /// Maps `path` and checks its header. The file must not be changed while it is mapped.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be opened, [`Error::Invalid`] if it is not a safetensors file.
    pub fn open(path: &Path) -> Result<SafetensorsFile> {
        let file = File::open(path).map_err(Error::io(path, "cannot open the weights"))?;
        let metadata = file.metadata().map_err(Error::io(path, "cannot read its size"))?;
        if !metadata.is_file() || metadata.len() == 0 {
            let found = if metadata.is_file() { "an empty file" } else { "no regular file" };
            return Err(Error::invalid(path, "weights", found, "a safetensors file"));
        }
        // SAFETY: the map is read-only and private to this value. That nobody truncates the file
        // meanwhile is the documented duty of the caller, as with every program that maps weights.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io(path, "cannot map"))?;
        let header = parse_header(&map, path)?;
        Ok(SafetensorsFile { path: path.to_path_buf(), map: Arc::new(map), header })
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bytes of the whole file.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Whether the file holds a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.header.contains_key(name)
    }

    /// The names of all tensors, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.keys().map(String::as_str)
    }

    /// The tensor `name`, still in the map, or `None` if the file does not have it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if its dtype is not one of a weight.
    pub fn tensor(&self, name: &str) -> Result<Option<HostTensor>> {
        let Some(entry) = self.header.get(name) else { return Ok(None) };
        let Some(dtype) = entry.dtype else {
            return Err(Error::Unsupported {
                path: self.path.clone(),
                what: format!("dtype {} of tensor {name}", entry.dtype_name),
                supported: "BF16, F16, F32".to_string(),
            });
        };
        let bytes = SharedBytes::new(self.map.clone(), entry.range.clone());
        Ok(Some(HostTensor::new(name, dtype, entry.shape.clone(), bytes)))
    }

    /// What the header says of the tensor `name`, and its bytes, whatever they mean.
    pub fn raw(&self, name: &str) -> Option<(&HeaderEntry, SharedBytes)> {
        let entry = self.header.get(name)?;
        Some((entry, SharedBytes::new(self.map.clone(), entry.range.clone())))
    }
}

/// Checks the header of the file whose whole content is `bytes`; `path` is for messages.
///
/// # Errors
/// [`Error::Invalid`] naming the place, what was found and what was expected.
pub fn parse_header(bytes: &[u8], path: &Path) -> Result<Header> {
    let (header_len, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|e| explain(e, bytes, path))?;
    // read_metadata has checked that the tensors follow one another from here to the file's end, so
    // no sum below can overflow and no range can reach past the map.
    let data_start = 8 + header_len;
    let mut header = Header::new();
    for (name, info) in metadata.tensors() {
        let (start, end) = info.data_offsets;
        let range = data_start + start..data_start + end;
        let dtype = match info.dtype {
            safetensors::Dtype::F32 => Some(Dtype::F32),
            safetensors::Dtype::F16 => Some(Dtype::F16),
            safetensors::Dtype::BF16 => Some(Dtype::Bf16),
            _ => None,
        };
        let dtype_name = format!("{:?}", info.dtype);
        let shape = info.shape.clone();
        header.insert(name, HeaderEntry { dtype, dtype_name, shape, range });
    }
    Ok(header)
}

/// Says in terms of the file what the crate's error means.
fn explain(error: SafeTensorError, bytes: &[u8], path: &Path) -> Error {
    let header_len = bytes.get(..8).map(|b| {
        let mut raw = [0; 8];
        raw.copy_from_slice(b);
        u64::from_le_bytes(raw)
    });
    let file_len = bytes.len();
    let (what, found, expected) = match error {
        SafeTensorError::HeaderTooSmall => {
            ("file length", format!("{file_len} bytes"), "at least the 8 bytes of a header length")
        }
        SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength => (
            "header length",
            format!("{} in a file of {file_len} bytes", header_len.unwrap_or(0)),
            "a header that ends within the file (is the file whole, and of this format?)",
        ),
        SafeTensorError::InvalidHeader(e) => ("header", e.to_string(), "UTF-8 text"),
        SafeTensorError::InvalidHeaderDeserialization(e) | SafeTensorError::JsonError(e) => {
            ("header", e.to_string(), "a JSON object of tensors")
        }
        SafeTensorError::InvalidOffset(name) => {
            let found = format!("a gap, an overlap or a negative length at tensor {name}");
            ("data_offsets", found, "tensors that follow one another without gap or overlap")
        }
        SafeTensorError::TensorInvalidInfo => (
            "data_offsets",
            "a tensor whose bytes do not follow from its shape and dtype".to_string(),
            "end - start = elements x bytes of an element",
        ),
        SafeTensorError::MetadataIncompleteBuffer => (
            "file length",
            format!("{file_len} bytes"),
            "the end of the last tensor (a truncated download?)",
        ),
        SafeTensorError::ValidationOverflow => {
            ("shape", "a tensor of more than 2^64 bytes".to_string(), "a size that can exist")
        }
        other => ("header", format!("{other}"), "a safetensors header"),
    };
    Error::invalid(path, what, found, expected)
}
