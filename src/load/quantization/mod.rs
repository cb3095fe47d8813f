//! Checkpoints that others quantised to 4 bits: what `quantization_config` says of them, which of
//! their tensors are one matrix, and what that matrix is.
//!
//! Three families of files are read:
//! - GPTQ, with zero points as v1 and v2 of the format store them, columns in their own order or
//!   sorted by activation (`g_idx`);
//! - AWQ in its GEMM packing;
//! - compressed-tensors `pack-quantized`, which `ridgepoint quantize` writes too.
//!
//! Whatever else a configuration asks for is refused by the name the file gives it.

mod compressed;
mod declared;
mod packed;
mod parts;

use crate::error::{Error, Result};
use crate::load::Checkpoint;
use crate::load::checkpoint::read_json_text;
use crate::load::fields::Fields;
use crate::tensor::{HostMatrix, MatrixFormat};
use compressed::Targets;
use packed::Packed;
pub use parts::{PackedParts, Part, Unfit, order_of};
use std::fmt;
use std::path::{Path, PathBuf};

/// The output head, the only matrix that may have 8 bits.
const HEAD: &str = "lm_head";
/// What a configuration calls its object.
const FIELD: &str = "quantization_config";

/// What a checkpoint's files say of its quantisation.
#[derive(Debug)]
pub struct Quantization {
    /// The file that says it.
    path: PathBuf,
    layout: Layout,
    rule: Rule,
}

/// Where the parts of a matrix `[n, k]` with `g` groups a row are, for a module `m`. Eight weights
/// of 4 bits lie in a 32-bit word, the first in the lowest bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `m.qweight` `[k/8, n]`, packed along k; `m.qzeros` `[g, n/8]`, packed along n; `m.scales`
    /// `[g, n]`; `m.g_idx` `[k]`, the group of each column.
    Gptq {
        /// What is to be added to a stored zero point: 1 in the first version of the format, which
        /// is read as `stored + 1` up to 16, and 0 in the second.
        zero_offset: u8,
    },
    /// `m.qweight` `[k, n/8]` and `m.qzeros` `[g, n/8]`, packed along n in the order 0, 2, 4, 6, 1,
    /// 3, 5, 7; `m.scales` `[g, n]`.
    Awq,
    /// `m.weight_packed` `[n, k/8]`, packed along k; `m.weight_zero_point` `[n/8, g]`, packed along
    /// n; `m.weight_scale` `[n, g]`; `m.weight_shape`, which is n and k; `m.weight_g_idx` `[k]`.
    PackQuantized,
}

/// Which modules are quantised, and how.
#[derive(Debug)]
enum Rule {
    /// Those that have packed weights, all alike.
    Uniform {
        scheme: Scheme,
        /// Whether the head is said to be one of them.
        head: bool,
    },
    /// Those that a pattern names.
    Targets(Targets),
}

/// How the matrix of a module is quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Scheme {
    bits: Bits,
    /// Columns that share a scale; `None` is a whole row.
    group: Option<usize>,
    /// Whether each group has a zero point of its own.
    zero_points: bool,
    order: Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bits {
    Four,
    Eight,
}

/// Whether a file says to which group each column belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Groups are runs of columns.
    None,
    /// It may say so, and name the groups of runs.
    Optional,
    /// It must.
    Required,
}

impl Layout {
    /// What the tensor of packed weights is called.
    fn weights(self) -> &'static str {
        match self {
            Layout::Gptq { .. } | Layout::Awq => "qweight",
            Layout::PackQuantized => "weight_packed",
        }
    }

    fn scales(self) -> &'static str {
        match self {
            Layout::Gptq { .. } | Layout::Awq => "scales",
            Layout::PackQuantized => "weight_scale",
        }
    }

    fn zeros(self) -> &'static str {
        match self {
            Layout::Gptq { .. } | Layout::Awq => "qzeros",
            Layout::PackQuantized => "weight_zero_point",
        }
    }

    fn group_index(self) -> &'static str {
        match self {
            Layout::Gptq { .. } | Layout::Awq => "g_idx",
            Layout::PackQuantized => "weight_g_idx",
        }
    }

    /// Whether a matrix `[n, k]` of 4 bits, and its zero points, fill their words: n is what AWQ
    /// packs, and GPTQ too for zero points.
    fn packs_whole_words(self, [n, k]: [usize; 2]) -> bool {
        let along_n = self == Layout::PackQuantized || n.is_multiple_of(parts::NIBBLES);
        along_n && (self == Layout::Awq || k.is_multiple_of(parts::NIBBLES))
    }

    /// Whether zero points are stored even where they are all 8.
    fn stores_all_zeros(self) -> bool {
        self != Layout::PackQuantized
    }
}

impl Quantization {
    /// Reads what the files of a model directory say: `config.json`, or the
    /// `quantize_config.json` (GPTQ) or `quant_config.json` (AWQ) of older exports. `path` may be a
    /// `config.json` by itself. `None` for a checkpoint that is not quantised.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Invalid`] or [`Error::Unsupported`] naming file and field.
    pub fn find(path: &Path) -> Result<Option<Quantization>> {
        let dir = if path.is_file() { path.parent().unwrap_or(path) } else { path };
        let path = if path.is_file() { path.to_path_buf() } else { dir.join("config.json") };
        if path.exists() {
            let text = read_json_text(&path)?;
            let found = Quantization::parse(&Fields::parse(&text, &path)?)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        type Parse = fn(&Fields<'_>) -> Result<Quantization>;
        let older: [(&str, Parse); 2] =
            [("quantize_config.json", declared::gptq), ("quant_config.json", declared::awq)];
        for (name, parse) in older {
            let path = dir.join(name);
            if path.exists() {
                let text = read_json_text(&path)?;
                return parse(&Fields::parse(&text, &path)?).map(Some);
            }
        }
        Ok(None)
    }

    /// Reads the `quantization_config` of a `config.json`, if it has one.
    ///
    /// # Errors
    /// As [`Quantization::find`].
    pub fn parse(config: &Fields<'_>) -> Result<Option<Quantization>> {
        let Some(fields) = config.object(FIELD)? else { return Ok(None) };
        let method = match fields.string("quant_method")? {
            Some(method) => method,
            None if fields.has("load_in_4bit") || fields.has("load_in_8bit") => {
                "bitsandbytes".to_string()
            }
            None => return Err(fields.invalid("quant_method", "no such field", declared::METHODS)),
        };
        match method.as_str() {
            "gptq" => declared::gptq(&fields).map(Some),
            "awq" => declared::awq(&fields).map(Some),
            "compressed-tensors" => compressed::parse(&fields).map(Some),
            other => Err(fields.refusal("quant_method", other, declared::METHODS)),
        }
    }

    /// The family of the files.
    pub fn method(&self) -> &'static str {
        match self.layout {
            Layout::Gptq { .. } => "gptq",
            Layout::Awq => "awq",
            Layout::PackQuantized => "compressed-tensors",
        }
    }

    /// An error for a checkpoint that should not be quantised, since `expected`.
    pub fn refusal(&self, expected: &str) -> Error {
        let found = format!("a model that is quantised already ({})", self.method());
        Error::invalid(&self.path, FIELD, found, expected)
    }

    /// The format that the matrix `name`, `[n, k]`, should have by the configuration alone; `None`
    /// if it is not quantised. Columns may still prove to be in no order of their own.
    ///
    /// # Errors
    /// [`Error::Unsupported`] naming the module, if it has 8 bits and is not the head.
    pub fn declared(&self, name: &str, [_, k]: [usize; 2]) -> Result<Option<MatrixFormat>> {
        let Some(module) = name.strip_suffix(".weight") else { return Ok(None) };
        let scheme = match &self.rule {
            Rule::Uniform { scheme, head } => {
                (module != HEAD && is_linear(module) || module == HEAD && *head).then_some(*scheme)
            }
            Rule::Targets(_) => self.scheme(module)?,
        };
        Ok(scheme.map(|scheme| match scheme.bits {
            Bits::Eight => MatrixFormat::Int8,
            Bits::Four => MatrixFormat::Int4 {
                group: scheme.group.unwrap_or(k),
                zero_points: scheme.zero_points,
                ordered: scheme.order == Order::Required,
            },
        }))
    }

    /// How a module is quantised, if it is.
    fn scheme(&self, module: &str) -> Result<Option<Scheme>> {
        let scheme = match &self.rule {
            Rule::Uniform { scheme, .. } => Some(*scheme),
            Rule::Targets(targets) => targets.scheme(module, &self.path)?,
        };
        match scheme {
            Some(Scheme { bits: Bits::Eight, .. }) if module != HEAD => Err(Error::Unsupported {
                path: self.path.clone(),
                what: format!("{FIELD} with 8 bits for {module}"),
                supported: format!("4 bits, and 8 for {HEAD}"),
            }),
            scheme => Ok(scheme),
        }
    }

    /// How a module of a checkpoint is quantised, if it is.
    fn scheme_in(&self, files: &Checkpoint, module: &str) -> Result<Option<Scheme>> {
        match &self.rule {
            Rule::Uniform { .. } if !files.contains(&self.part(module, self.layout.weights())) => {
                Ok(None)
            }
            _ => self.scheme(module),
        }
    }

    fn part(&self, module: &str, part: &str) -> String {
        format!("{module}.{part}")
    }

    /// The weights of a checkpoint by the names that an architecture has for them: the parts of a
    /// quantised matrix are one, and biases of zeros, which old GPTQ exports give every matrix, are
    /// none.
    pub(super) fn names(&self, files: &Checkpoint) -> Vec<String> {
        let name = |stored: &String| {
            let Some((module, part)) = stored.rsplit_once('.') else { return Some(stored.clone()) };
            let Ok(Some(scheme)) = self.scheme_in(files, module) else {
                return Some(stored.clone());
            };
            if !files.contains(&self.part(module, self.layout.weights())) {
                return Some(stored.clone());
            }
            let (layout, has_zeros) = (self.layout, scheme.zero_points);
            let is_part = part == layout.scales()
                || part == layout.zeros() && (has_zeros || layout.stores_all_zeros())
                || part == layout.group_index() && scheme.order != Order::None
                || part == "weight_shape" && layout == Layout::PackQuantized
                || part == "bias" && files.is_zero(stored);
            match part == layout.weights() {
                true => Some(format!("{module}.weight")),
                false => (!is_part).then(|| stored.clone()),
            }
        };
        files.stored_names().filter_map(name).collect()
    }

    /// The format of the matrix `name`, `[n, k]`, of a checkpoint; `None` if it is not quantised.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Unsupported`] naming the part that is missing or unfit.
    pub(super) fn format(
        &self,
        files: &Checkpoint,
        name: &str,
        shape: [usize; 2],
    ) -> Result<Option<MatrixFormat>> {
        Ok(self.packed(files, name, shape)?.map(|packed| packed.format()))
    }

    /// The matrix `name`, `[n, k]`, of a checkpoint; `None` if it is not quantised.
    ///
    /// # Errors
    /// As [`Quantization::format`].
    pub(super) fn matrix(
        &self,
        files: &Checkpoint,
        name: &str,
        shape: [usize; 2],
    ) -> Result<Option<HostMatrix>> {
        self.packed(files, name, shape)?.map(|packed| packed.unpack(files)).transpose()
    }

    fn packed(&self, files: &Checkpoint, name: &str, shape: [usize; 2]) -> Result<Option<Packed>> {
        let Some(module) = name.strip_suffix(".weight") else { return Ok(None) };
        let Some(scheme) = self.scheme_in(files, module)? else { return Ok(None) };
        Packed::find(files, self.layout, scheme, module, shape).map(Some)
    }
}

/// Whether a module of a decoder is a matrix that inputs are multiplied with.
fn is_linear(module: &str) -> bool {
    module == HEAD || module.ends_with("_proj")
}

impl fmt::Display for Quantization {
    /// As in `gptq, int4 in groups of 128 with zero points`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method())?;
        match &self.rule {
            Rule::Uniform { scheme, .. } => write!(f, ", {scheme}"),
            Rule::Targets(targets) => {
                targets.schemes().try_for_each(|scheme| write!(f, ", {scheme}"))
            }
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bits, self.group) {
            (Bits::Eight, _) => return f.write_str("int8 in rows"),
            (Bits::Four, Some(group)) => write!(f, "int4 in groups of {group}")?,
            (Bits::Four, None) => f.write_str("int4 in rows")?,
        }
        if self.zero_points {
            f.write_str(" with zero points")?;
        }
        if self.order == Order::Required {
            f.write_str(" sorted by activation")?;
        }
        Ok(())
    }
}
