//! A checkpoint directory in the Hugging Face layout: one `model.safetensors`, or shards that
//! `model.safetensors.index.json` names. Its matrices may be quantised ([`Quantization`]).

use crate::error::{Error, Result};
use crate::load::quantization::Quantization;
use crate::load::safetensors::SafetensorsFile;
use crate::load::{made_up, safetensors::HeaderEntry};
use crate::tensor::{Dtype, HostMatrix, HostTensor, MatrixFormat, SharedBytes};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The single file of a checkpoint that is not sharded.
pub const SINGLE_FILE: &str = "model.safetensors";
/// The file that says which shard holds which tensor.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// JSON files of a model directory are small; a larger one is not what it says it is.
const JSON_BYTES_MAX: u64 = 256 << 20;
/// More shards than any published checkpoint has.
const SHARDS_MAX: usize = 4096;

/// An open checkpoint: every file mapped, every header checked.
pub struct Checkpoint {
    dir: PathBuf,
    files: Vec<SafetensorsFile>,
    file_of: HashMap<String, usize>,
    quantization: Option<Quantization>,
    /// Set if every tensor that is asked for exists: there are no files.
    without_files: Option<Content>,
}

/// What tensors without files hold.
#[derive(Clone, Copy)]
enum Content {
    Zeros,
    /// Random numbers of this seed.
    MadeUp(u64),
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Where the weights of a model come from: names are those of the architecture, whatever a file
/// calls the parts of a quantised matrix.
pub trait Source {
    /// The directory, for messages.
    fn dir(&self) -> &Path;

    /// The names of all weights, in no order.
    fn names(&self) -> Vec<String>;

    /// The vector `name` of `len` elements.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is missing or misshapen, [`Error::Unsupported`] for its dtype.
    fn vector(&self, name: &str, len: usize) -> Result<HostTensor>;

    /// The matrix `name`, `[n, k]`.
    ///
    /// # Errors
    /// As [`Source::vector`].
    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<HostMatrix>;

    /// The format of the matrix `name`, `[n, k]`, which is not read if that can be helped.
    ///
    /// # Errors
    /// As [`Source::vector`].
    fn format(&self, name: &str, shape: [usize; 2]) -> Result<MatrixFormat> {
        self.matrix(name, shape).map(|matrix| matrix.format())
    }
}

impl Source for Checkpoint {
    fn dir(&self) -> &Path {
        &self.dir
    }

    fn names(&self) -> Vec<String> {
        match &self.quantization {
            None => self.file_of.keys().cloned().collect(),
            Some(quantization) => quantization.names(self),
        }
    }

    fn vector(&self, name: &str, len: usize) -> Result<HostTensor> {
        self.tensor(name, &[len])
    }

    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<HostMatrix> {
        let quantised = self.quantization.as_ref().map(|q| q.matrix(self, name, shape));
        match quantised.transpose()?.flatten() {
            Some(matrix) => Ok(matrix),
            None => self.tensor(name, &shape).map(HostMatrix::Plain),
        }
    }

    fn format(&self, name: &str, shape: [usize; 2]) -> Result<MatrixFormat> {
        let quantised = self.quantization.as_ref().map(|q| q.format(self, name, shape));
        match quantised.transpose()?.flatten() {
            Some(format) => Ok(format),
            None => self.dtype(name, &shape).map(MatrixFormat::Plain),
        }
    }
}

impl Checkpoint {
    /// Opens all weight files of `dir`. Nothing but headers is read, and what the small files
    /// beside them say of a quantisation.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Invalid`] naming the file: neither layout present, a shard that is
    /// missing or does not hold what the index promises, or a broken header. As
    /// [`Quantization::find`].
    pub fn open(dir: &Path) -> Result<Checkpoint> {
        let quantization = Quantization::find(dir)?;
        Ok(Checkpoint { quantization, ..Checkpoint::open_files(dir)? })
    }

    fn open_files(dir: &Path) -> Result<Checkpoint> {
        let index_path = dir.join(INDEX_FILE);
        let single_path = dir.join(SINGLE_FILE);
        if single_path.exists() {
            let file = SafetensorsFile::open(&single_path)?;
            let file_of = file.names().map(|name| (name.to_string(), 0)).collect();
            let dir = dir.to_path_buf();
            return Ok(Checkpoint::of_files(dir, vec![file], file_of));
        }
        if index_path.exists() {
            return Checkpoint::open_shards(dir, &index_path);
        }
        Err(missing_weights(dir))
    }

    /// A checkpoint without files: it has every tensor that is asked for, in bf16, all zero. For
    /// questions that depend on shapes alone. Memory that nobody writes takes no room.
    pub fn of_zeros() -> Checkpoint {
        Checkpoint::of(Content::Zeros)
    }

    /// A checkpoint without files: it has every tensor that is asked for, in bf16, random and the
    /// same for the same seed. A model of it writes nonsense at the speed of a trained one.
    pub fn made_up(seed: u64) -> Checkpoint {
        Checkpoint::of(Content::MadeUp(seed))
    }

    fn of(content: Content) -> Checkpoint {
        let empty = Checkpoint::of_files(PathBuf::new(), Vec::new(), HashMap::new());
        Checkpoint { without_files: Some(content), ..empty }
    }

    fn of_files(
        dir: PathBuf,
        files: Vec<SafetensorsFile>,
        file_of: HashMap<String, usize>,
    ) -> Checkpoint {
        Checkpoint { dir, files, file_of, quantization: None, without_files: None }
    }

    /// What its files say of its quantisation; `None` if it is not quantised.
    pub fn quantization(&self) -> Option<&Quantization> {
        self.quantization.as_ref()
    }

    /// Whether it has no files.
    pub fn is_made_up(&self) -> bool {
        self.without_files.is_some()
    }

    fn open_shards(dir: &Path, index_path: &Path) -> Result<Checkpoint> {
        let text = read_json_text(index_path)?;
        let index: Index = serde_json::from_str(&text)
            .map_err(|e| Error::invalid(index_path, "content", e, "an object with weight_map"))?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        if names.is_empty() || names.len() > SHARDS_MAX {
            let expected = format!("1 to {SHARDS_MAX} shards");
            return Err(Error::invalid(index_path, "weight_map", names.len(), expected));
        }
        let mut files = Vec::new();
        let mut number_of = HashMap::new();
        for name in names {
            // A shard is a file beside the index: a path that leads elsewhere is refused.
            if Path::new(name).file_name().is_none_or(|n| n != name.as_str()) {
                let found = format!("shard {name:?}");
                return Err(Error::invalid(index_path, "weight_map", found, "a plain file name"));
            }
            let path = dir.join(name);
            if !path.exists() {
                let found = format!("shard {name}, which does not exist");
                return Err(Error::invalid(index_path, "weight_map", found, "files beside it"));
            }
            number_of.insert(name.clone(), files.len());
            files.push(SafetensorsFile::open(&path)?);
        }
        let mut file_of = HashMap::new();
        for (tensor, shard) in &index.weight_map {
            let number = number_of[shard];
            if !files[number].contains(tensor) {
                let found = format!("tensor {tensor} in {shard}, which does not hold it");
                return Err(Error::invalid(
                    index_path,
                    "weight_map",
                    found,
                    "tensors of the shard",
                ));
            }
            file_of.insert(tensor.clone(), number);
        }
        Ok(Checkpoint::of_files(dir.to_path_buf(), files, file_of))
    }

    /// The names of all tensors of the files, in no order.
    pub(super) fn stored_names(&self) -> impl Iterator<Item = &String> {
        self.file_of.keys()
    }

    /// Whether there is a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.file_of.contains_key(name)
    }

    /// The tensor `name`, which must have this shape.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is missing or misshapen, [`Error::Unsupported`] for its dtype.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        match self.without_files {
            Some(Content::Zeros) => {
                let bytes = vec![0; shape.iter().product::<usize>() * Dtype::Bf16.size()];
                return Ok(HostTensor::new(name, Dtype::Bf16, shape.to_vec(), bytes.into()));
            }
            Some(Content::MadeUp(seed)) => return Ok(made_up::tensor(seed, name, shape)),
            None => {}
        }
        let found = match self.file_of.get(name) {
            Some(&number) => self.files[number].tensor(name)?,
            None => None,
        };
        let Some(tensor) = found else { return Err(self.missing(name, shape)) };
        match tensor.shape == shape {
            true => Ok(tensor),
            false => Err(self.misshapen(name, &tensor.shape, shape)),
        }
    }

    /// The bytes of the tensor `name`, which must have this dtype, as safetensors calls it, and
    /// this shape.
    pub(super) fn raw(&self, name: &str, dtype: &str, shape: &[usize]) -> Result<SharedBytes> {
        let found = self.file_of.get(name).and_then(|&number| self.files[number].raw(name));
        let Some((HeaderEntry { dtype_name, shape: stored, .. }, bytes)) = found else {
            return Err(self.missing(name, shape));
        };
        if dtype_name != dtype {
            let (file, what) = (self.file_for(name), format!("tensor {name}"));
            return Err(Error::invalid(&file, what, format!("dtype {dtype_name}"), dtype));
        }
        match stored == shape {
            true => Ok(bytes),
            false => Err(self.misshapen(name, stored, shape)),
        }
    }

    /// Whether the tensor `name` is one of plain elements, each zero.
    pub(super) fn is_zero(&self, name: &str) -> bool {
        let tensor = self.file_of.get(name).map(|&number| self.files[number].tensor(name));
        let Some(Ok(Some(tensor))) = tensor else { return false };
        tensor.to_f32().iter().all(|x| *x == 0.0)
    }

    fn missing(&self, name: &str, shape: &[usize]) -> Error {
        let (file, what) = (self.file_for(name), format!("tensor {name}"));
        Error::invalid(&file, what, "no such tensor", format!("shape {shape:?}"))
    }

    fn misshapen(&self, name: &str, found: &[usize], expected: &[usize]) -> Error {
        let (file, what) = (self.file_for(name), format!("tensor {name}"));
        let expected = format!("shape {expected:?} (from config.json)");
        Error::invalid(&file, what, format!("shape {found:?}"), expected)
    }

    /// The format of the tensor `name`, which must have this shape.
    ///
    /// # Errors
    /// As [`Checkpoint::tensor`].
    pub fn dtype(&self, name: &str, shape: &[usize]) -> Result<Dtype> {
        match self.without_files {
            Some(_) => Ok(Dtype::Bf16),
            None => self.tensor(name, shape).map(|tensor| tensor.dtype),
        }
    }

    /// The file to name in a message about `name`: its own, or the directory's only or index file.
    pub(super) fn file_for(&self, name: &str) -> PathBuf {
        match self.file_of.get(name) {
            Some(&number) => self.files[number].path().to_path_buf(),
            None if self.files.len() == 1 => self.files[0].path().to_path_buf(),
            None => self.dir.join(INDEX_FILE),
        }
    }

    /// Bytes of all mapped files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(SafetensorsFile::bytes).sum()
    }
}

/// Says what is there instead of weights: users often point at the wrong folder or format.
fn missing_weights(dir: &Path) -> Error {
    if !dir.is_dir() {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Error::Io { path: dir.to_path_buf(), action: "no such model directory", source };
    }
    let other = ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"];
    let found = match other.iter().find(|name| dir.join(name).exists()) {
        Some(name) => format!("only {name} (pickled weights can run code and are not read)"),
        None => "neither".to_string(),
    };
    Error::invalid(dir, "weights", found, format!("{SINGLE_FILE} or {INDEX_FILE}"))
}

/// Reads a JSON file of a model directory as text, refusing absurd sizes before allocating.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::Invalid`] if it is too large or not UTF-8.
pub fn read_json_text(path: &Path) -> Result<String> {
    let metadata = std::fs::metadata(path).map_err(Error::io(path, "cannot open"))?;
    if metadata.len() > JSON_BYTES_MAX {
        let expected = format!("at most {JSON_BYTES_MAX} bytes");
        return Err(Error::invalid(path, "file size", metadata.len(), expected));
    }
    let bytes = std::fs::read(path).map_err(Error::io(path, "cannot read"))?;
    String::from_utf8(bytes).map_err(|e| Error::invalid(path, "content", e, "UTF-8 text"))
}
