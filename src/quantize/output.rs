//! A quantised model as a directory that other programs load too.
//!
//! The directory is written beside its final place under another name, and renamed when all of it
//! is on the disk: under the final name there is a whole model or nothing.

use super::Head;
use super::layer::HostLayer;
use super::matrix::{int4_shape, plain};
use super::offline::Sink;
use super::options::Options;
use super::pack::{self, Packed};
use crate::error::{Error, Result};
use crate::load::Source;
use crate::load::checkpoint::{INDEX_FILE, SINGLE_FILE, read_json_text};
use crate::model::ModelConfig;
use crate::model::parts::{EMBEDDING, HEAD, Part, module_of};
use crate::tensor::{HostMatrix, HostTensor};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// What weights are called in formats that are not copied: they would not be the model's any more.
const WEIGHTS: [&str; 8] = ["safetensors", "bin", "pt", "pth", "gguf", "h5", "msgpack", "onnx"];

/// A tensor that will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As safetensors names it.
    pub dtype: &'static str,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
}

impl Entry {
    fn bytes(&self) -> u64 {
        let size = match self.dtype {
            "I64" => 8,
            "I32" | "F32" => 4,
            _ => 2,
        };
        self.shape.iter().map(|n| *n as u64).product::<u64>() * size
    }
}

/// All tensors of the result, by name; nothing but the headers of the source is read.
///
/// # Errors
/// Those of the source, and [`Error::Invalid`] for a matrix whose rows do not hold whole groups.
pub fn layout(
    source: &dyn Source,
    config: &ModelConfig,
    options: &Options,
) -> Result<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::new();
    let vector = |tensor: &HostTensor, entries: &mut BTreeMap<String, Entry>| {
        let dtype = pack::dtype_name(tensor.dtype);
        entries.insert(tensor.name.clone(), Entry { dtype, shape: tensor.shape.clone() });
    };
    let shape = [config.vocab_size, config.hidden_size];
    let embedding = source.matrix(EMBEDDING, shape)?;
    vector(plain(source.dir(), &embedding)?, &mut entries);
    vector(&source.vector("model.norm.weight", config.hidden_size)?, &mut entries);
    let quantised = |module: &str, tensor: &HostTensor, entries: &mut BTreeMap<String, Entry>| {
        let shape = int4_shape(source.dir(), tensor, options.grid)?;
        let (n, k, groups) = (shape.n, shape.k, shape.groups());
        packed(entries, module, [n, k], [n, k / 8], [n, groups]);
        if shape.zero_points {
            let entry = Entry { dtype: "I32", shape: vec![n.div_ceil(8), groups] };
            entries.insert(format!("{module}.weight_zero_point"), entry);
        }
        Ok::<(), Error>(())
    };
    for index in 0..config.layers {
        let layer = HostLayer::load(source, config, index)?;
        layer.vectors().for_each(|tensor| vector(tensor, &mut entries));
        for part in Part::ALL {
            let tensor = plain(source.dir(), layer.matrix(part))?;
            match options.keeps(index, part) {
                true => vector(tensor, &mut entries),
                false => quantised(&part.module(index), tensor, &mut entries)?,
            }
        }
    }
    let module = module_of(HEAD);
    let stored = source.matrix(if config.tied { EMBEDDING } else { HEAD }, shape)?;
    let mut head = plain(source.dir(), &stored)?.clone();
    head.name = HEAD.to_string();
    match options.head {
        Head::Stored if config.tied => {}
        Head::Stored => vector(&head, &mut entries),
        Head::Int4 => quantised(module, &head, &mut entries)?,
        Head::Int8 => {
            let [n, k] = shape;
            packed(&mut entries, module, [n, k], [n, k.div_ceil(4)], [n, 1]);
        }
    }
    Ok(entries)
}

fn packed(
    entries: &mut BTreeMap<String, Entry>,
    module: &str,
    shape: [usize; 2],
    words: [usize; 2],
    scales: [usize; 2],
) {
    assert!(shape[0] > 0, "{module} has no rows");
    let mut add = |suffix: &str, dtype, shape: &[usize]| {
        entries.insert(format!("{module}{suffix}"), Entry { dtype, shape: shape.to_vec() });
    };
    add(".weight_packed", "I32", &words);
    add(".weight_scale", "BF16", &scales);
    add(".weight_shape", "I64", &[2]);
}

/// A safetensors file whose tensors come in any order, each written where it belongs.
struct TensorFile {
    path: PathBuf,
    file: File,
    /// Those that have not come, with their places in the file.
    missing: BTreeMap<String, (Entry, u64)>,
}

impl TensorFile {
    fn create(path: PathBuf, entries: BTreeMap<String, Entry>) -> Result<TensorFile> {
        // Wide elements first: then every tensor begins at a multiple of its element's size.
        let mut order: Vec<(&String, &Entry)> = entries.iter().collect();
        order.sort_by_key(|(_, entry)| match entry.dtype {
            "I64" => 0,
            "I32" | "F32" => 1,
            _ => 2,
        });
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".to_string(), json!({ "format": "pt" }));
        let (mut at, mut places) = (0, BTreeMap::new());
        for (name, entry) in order {
            let end = at + entry.bytes();
            let Entry { dtype, shape } = entry;
            let info = json!({ "dtype": dtype, "shape": shape, "data_offsets": [at, end] });
            header.insert(name.clone(), info);
            places.insert(name.clone(), (entry.clone(), at));
            at = end;
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        // The data begin at a multiple of eight.
        header.resize(header.len().next_multiple_of(8), b' ');
        let start = 8 + header.len() as u64;
        places.values_mut().for_each(|(_, place)| *place += start);
        let mut file = File::create_new(&path).map_err(Error::io(&path, "cannot create"))?;
        let write = |file: &mut File| {
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)
        };
        write(&mut file).map_err(Error::io(&path, "cannot write"))?;
        Ok(TensorFile { path, file, missing: places })
    }

    fn write(&mut self, name: &str, tensor: &Packed) -> Result<()> {
        let Some((entry, place)) = self.missing.remove(name) else {
            panic!("tensor {name} is not expected, or came twice");
        };
        assert_eq!((entry.dtype, &entry.shape), (tensor.dtype, &tensor.shape), "tensor {name}");
        assert_eq!(entry.bytes(), tensor.bytes.len() as u64, "bytes of tensor {name}");
        self.file
            .seek(SeekFrom::Start(place))
            .and_then(|_| self.file.write_all(&tensor.bytes))
            .map_err(Error::io(&self.path, "cannot write"))
    }

    fn finish(self) {
        assert!(self.missing.is_empty(), "tensors that never came: {:?}", self.missing.keys());
    }
}

/// A model directory that is being written.
pub struct Output {
    /// Where it will be.
    out: PathBuf,
    /// Where it is meanwhile; removed if the output is dropped.
    partial: Partial,
    file: TensorFile,
}

struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // After the rename there is nothing left to remove; a failure leaves only what was there.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Refuses a place where something is, or where nothing can be put.
///
/// # Errors
/// [`Error::Usage`] if there is something, [`Error::Io`] if there is no directory to put it in.
pub fn check_free(out: &Path) -> Result<()> {
    if fs::symlink_metadata(out).is_ok() {
        return Err(Error::Usage(format!(
            "--out {} exists already; nothing was written",
            out.display()
        )));
    }
    if out.file_name().is_none() {
        return Err(Error::Usage(format!("--out {} is no name", out.display())));
    }
    let parent = parent(out);
    let metadata = fs::metadata(parent).map_err(Error::io(parent, "cannot put a model there"))?;
    match metadata.is_dir() {
        true => Ok(()),
        false => Err(Error::Usage(format!("--out: {} is no directory", parent.display()))),
    }
}

fn parent(out: &Path) -> &Path {
    match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

impl Output {
    /// Begins the directory `out`: everything but the weights is there when this returns.
    ///
    /// # Errors
    /// As [`check_free`] and [`layout`]; [`Error::Io`] if it cannot be written.
    pub fn create(
        out: &Path,
        source: &dyn Source,
        config: &ModelConfig,
        options: &Options,
    ) -> Result<Output> {
        check_free(out)?;
        let entries = layout(source, config, options)?;
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let partial = parent(out).join(format!(".{name}.partial-{}", std::process::id()));
        fs::create_dir(&partial).map_err(Error::io(&partial, "cannot create"))?;
        let partial = Partial(partial);
        copy_small_files(source.dir(), &partial.0)?;
        let text = config_text(source.dir(), config, options)?;
        let path = partial.0.join("config.json");
        fs::write(&path, text).map_err(Error::io(&path, "cannot write"))?;
        let file = TensorFile::create(partial.0.join(SINGLE_FILE), entries)?;
        Ok(Output { out: out.to_path_buf(), partial, file })
    }

    /// Gives the directory its name.
    ///
    /// # Errors
    /// [`Error::Usage`] if something took the name meanwhile, [`Error::Io`] if it cannot be
    /// written.
    pub fn finish(self) -> Result<()> {
        self.file.finish();
        sync_files(&self.partial.0)?;
        // A rename would replace an empty directory.
        check_free(&self.out)?;
        fs::rename(&self.partial.0, &self.out)
            .map_err(Error::io(&self.out, "cannot rename to it"))?;
        sync_directory(parent(&self.out))
    }
}

impl Sink for Output {
    fn vector(&mut self, tensor: &HostTensor) -> Result<()> {
        let packed = Packed {
            suffix: "",
            dtype: pack::dtype_name(tensor.dtype),
            shape: tensor.shape.clone(),
            bytes: tensor.bytes.as_slice().to_vec(),
        };
        self.file.write(&tensor.name, &packed)
    }

    fn matrix(&mut self, module: &str, matrix: &HostMatrix) -> Result<()> {
        let tensors = pack::pack(matrix);
        tensors.iter().try_for_each(|t| self.file.write(&format!("{module}{}", t.suffix), t))
    }
}

/// Waits until the files of a directory and their names are on the disk.
fn sync_files(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).map_err(Error::io(dir, "cannot read"))? {
        let path = entry.map_err(Error::io(dir, "cannot read"))?.path();
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(Error::io(&path, "cannot write"))?;
    }
    sync_directory(dir)
}

/// Waits until the names in a directory are on the disk. Some file systems of networks cannot be
/// asked that of a directory; what they hold is written as they see fit.
fn sync_directory(dir: &Path) -> Result<()> {
    match File::open(dir).and_then(|file| file.sync_all()) {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        synced => synced.map_err(Error::io(dir, "cannot write")),
    }
}

/// Tokenizer, templates, licence and whatever else lies beside the weights.
fn copy_small_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).map_err(Error::io(from, "cannot read"))? {
        let path = entry.map_err(Error::io(from, "cannot read"))?.path();
        let name = path.file_name().unwrap_or_default();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let is_weights = WEIGHTS.contains(&extension)
            || name == INDEX_FILE
            || name.to_string_lossy().ends_with(".index.json");
        if !path.is_file() || is_weights || name == "config.json" {
            continue;
        }
        fs::copy(&path, to.join(name)).map_err(Error::io(&path, "cannot copy"))?;
    }
    Ok(())
}

/// `config.json` as it was, with the formats of the weights.
fn config_text(dir: &Path, config: &ModelConfig, options: &Options) -> Result<String> {
    let path = dir.join("config.json");
    let mut value: Value = serde_json::from_str(&read_json_text(&path)?)
        .map_err(|e| Error::invalid(&path, "content", e, "an object"))?;
    let Some(fields) = value.as_object_mut() else {
        return Err(Error::invalid(&path, "content", "no object", "an object"));
    };
    if options.head != Head::Stored {
        fields.insert("tie_word_embeddings".to_string(), json!(false));
    }
    fields.insert("quantization_config".to_string(), quantization_config(config, options));
    Ok(format!("{value:#}\n"))
}

/// What compressed-tensors reads.
fn quantization_config(config: &ModelConfig, options: &Options) -> Value {
    let grid = options.grid;
    let group = |targets: Value, weights: Value| {
        json!({
            "targets": targets,
            "weights": weights,
            "input_activations": null,
            "output_activations": null,
        })
    };
    let layers = json!({
        "num_bits": 4,
        "type": "int",
        "symmetric": !grid.zero_points,
        "strategy": "group",
        "group_size": grid.columns(),
        "dynamic": false,
    });
    let rows = json!({
        "num_bits": 8,
        "type": "int",
        "symmetric": true,
        "strategy": "channel",
        "group_size": null,
        "dynamic": false,
    });
    let mut ignore: Vec<String> = (0..config.layers)
        .flat_map(|i| Part::ALL.into_iter().map(move |part| (i, part)))
        .filter(|(i, part)| options.keeps(*i, *part))
        .map(|(i, part)| part.module(i))
        .collect();
    let groups = match options.head {
        // A class stands for every module of it, so the head, which has a group of its own, must
        // not be reached by it.
        Head::Int8 => json!({
            "group_0": group(json!(["re:.*_proj$"]), layers),
            "group_1": group(json!(["re:.*lm_head$"]), rows),
        }),
        Head::Int4 => json!({ "group_0": group(json!(["Linear"]), layers) }),
        Head::Stored => {
            ignore.push(module_of(HEAD).to_string());
            json!({ "group_0": group(json!(["Linear"]), layers) })
        }
    };
    json!({
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": ignore,
        "kv_cache_scheme": null,
    })
}
