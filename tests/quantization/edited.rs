//! Copies of checkpoints with something in them changed.

use super::{case, json};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A tensor of a file.
#[derive(Debug, Clone)]
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

impl Stored {
    /// 32-bit words.
    pub fn words(shape: &[usize], words: impl IntoIterator<Item = i32>) -> Stored {
        let data = words.into_iter().flat_map(i32::to_le_bytes).collect();
        Stored { dtype: Dtype::I32, shape: shape.to_vec(), data }
    }

    /// Changes the 16-bit element at `at`.
    pub fn set_bits(&mut self, at: usize, bits: u16) {
        self.data[2 * at..][..2].copy_from_slice(&bits.to_le_bytes());
    }
}

pub type Tensors = BTreeMap<String, Stored>;

/// The tensors of a checkpoint.
pub fn tensors(dir: &Path) -> Tensors {
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let stored = |view: safetensors::tensor::TensorView<'_>| Stored {
        dtype: view.dtype(),
        shape: view.shape().to_vec(),
        data: view.data().to_vec(),
    };
    file.tensors().into_iter().map(|(name, view)| (name, stored(view))).collect()
}

/// The case `name` with its configuration and its tensors changed.
pub fn edited(
    name: &str,
    change: impl FnOnce(&mut Value),
    change_tensors: impl FnOnce(&mut Tensors),
) -> TempDir {
    let dir = case(name);
    let mut config = json(dir.join("config.json"));
    change(&mut config);
    let mut tensors = tensors(&dir);
    change_tensors(&mut tensors);
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("config.json"), config.to_string()).unwrap();
    for other in ["quantize_config.json", "quant_config.json"] {
        if dir.join(other).exists() {
            fs::copy(dir.join(other), out.path().join(other)).unwrap();
        }
    }
    let views = tensors.iter().map(|(name, Stored { dtype, shape, data })| {
        (name.clone(), safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let path = out.path().join("model.safetensors");
    safetensors::serialize_to_file(views, None, &path).unwrap();
    out
}
