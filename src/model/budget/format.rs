//! The formats of weights on a device, and their bytes.

use super::{BF16, layer_matrices};
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::model::parts::{HEAD, Input};
use crate::tensor::MatrixFormat;
use std::fmt;
use std::str::FromStr;

/// Rows of a matrix that are packed together.
const UNIT_ROWS: u64 = 64;

/// The format of the matrices of the layers. The embedding, norms and biases are bf16 in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightFormat {
    /// 16 bits an element.
    #[default]
    Bf16,
    /// 4 bits an element, and a bf16 scale for each group of elements of a row.
    Int4 {
        /// Elements of a group.
        group: Int4Group,
        /// Whether each group has a zero point too, 16 bits of it.
        zero_points: bool,
    },
}

/// Elements of a row that share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Int4Group {
    /// 64.
    G64,
    /// 128.
    #[default]
    G128,
}

impl Int4Group {
    /// The number.
    pub fn elements(self) -> u64 {
        match self {
            Int4Group::G64 => 64,
            Int4Group::G128 => 128,
        }
    }
}

/// The format of the output head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeadFormat {
    /// 16 bits an element; a tied head is the embedding itself.
    #[default]
    Bf16,
    /// 8 bits an element and a bf16 scale for each row. A tied head is stored apart from the
    /// embedding then.
    Int8,
    /// As [`WeightFormat::Int4`]; apart from the embedding in any case.
    Int4 {
        /// Elements of a group.
        group: Int4Group,
        /// Whether each group has a zero point too.
        zero_points: bool,
    },
}

/// The formats of a model's weights.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Formats {
    /// Of the matrices of the layers.
    pub weights: WeightFormat,
    /// Of the output head.
    pub head: HeadFormat,
    /// Matrices of layers that have another one.
    pub others: Vec<Other>,
}

/// A matrix of a layer that has a format of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Other {
    /// The layer.
    pub layer: usize,
    /// The name of the product.
    pub matrix: &'static str,
    /// Its format.
    pub format: WeightFormat,
}

impl WeightFormat {
    /// What a matrix `[n, k]` that is stored as `stored` is on a GPU. Wide groups become several of
    /// the same scale; what has no kernel, columns in an order of their own, becomes bf16.
    pub fn on_device(stored: MatrixFormat) -> WeightFormat {
        match stored {
            MatrixFormat::Int4 { group, zero_points, ordered: false } if group % 64 == 0 => {
                let group = if group % 128 == 0 { Int4Group::G128 } else { Int4Group::G64 };
                WeightFormat::Int4 { group, zero_points }
            }
            _ => WeightFormat::Bf16,
        }
    }

    /// Bytes of a matrix `[n, k]`. int4 lies in units of 64 rows and one group, each with its
    /// scales; rows that do not fill a unit take a whole one.
    pub fn bytes(self, n: u64, k: u64) -> u64 {
        match self {
            WeightFormat::Bf16 => n * k * BF16,
            WeightFormat::Int4 { group, zero_points } => {
                let group = group.elements();
                let for_rows = UNIT_ROWS * BF16;
                let zeros = if zero_points { for_rows } else { 0 };
                let unit = UNIT_ROWS * group / 2 + for_rows + zeros;
                n.div_ceil(UNIT_ROWS) * k.div_ceil(group) * unit
            }
        }
    }
}

impl Formats {
    /// All matrices of the layers in one format.
    pub fn of(weights: WeightFormat, head: HeadFormat) -> Formats {
        Formats { weights, head, others: Vec::new() }
    }

    /// What the matrices of a model are on a GPU whose stored formats `format` tells, by name and
    /// shape. It is asked for every matrix of every layer, and for the head if it is not the
    /// embedding.
    ///
    /// # Errors
    /// Those of `format`.
    pub fn stored(
        config: &ModelConfig,
        format: &dyn Fn(&str, [usize; 2]) -> Result<MatrixFormat>,
    ) -> Result<Formats> {
        let mut matrices = Vec::new();
        for layer in 0..config.layers {
            for input in Input::ALL {
                let mut formats = Vec::new();
                for part in input.parts() {
                    formats.push(format(&part.weight(layer), part.shape(config))?);
                }
                // Parts of different formats are refused when they are stacked.
                matrices.push((layer, input.product(), WeightFormat::on_device(formats[0])));
            }
        }
        let head = match config.tied {
            true => HeadFormat::Bf16,
            false => {
                let shape = [config.vocab_size, config.hidden_size];
                match format(HEAD, shape)? {
                    MatrixFormat::Int8 => HeadFormat::Int8,
                    stored => WeightFormat::on_device(stored).into(),
                }
            }
        };
        let packed = matrices.iter().map(|(.., format)| *format);
        let packed = packed.filter(|format| *format != WeightFormat::Bf16).collect::<Vec<_>>();
        let weights = packed.first().copied().unwrap_or_default();
        let others = matrices.into_iter().filter(|(.., format)| *format != weights);
        let others = others.map(|(layer, matrix, format)| Other { layer, matrix, format });
        Ok(Formats { weights, head, others: others.collect() })
    }

    /// The format of a matrix of a layer, by the name of the product.
    pub fn of_matrix(&self, layer: usize, matrix: &str) -> WeightFormat {
        let mut others = self.others.iter();
        let other = others.find(|other| other.layer == layer && other.matrix == matrix);
        other.map_or(self.weights, |other| other.format)
    }

    /// Whether the matrices of a model can have these formats: a row holds whole groups
    /// only.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the matrix.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        for layer in 0..config.layers {
            for (name, _, k) in layer_matrices(config) {
                let WeightFormat::Int4 { group, .. } = self.of_matrix(layer, name) else {
                    continue;
                };
                let group = group.elements();
                if !k.is_multiple_of(group) {
                    return Err(Error::Usage(format!(
                        "int4 in groups of {group}: the {k} columns of {name} are not a multiple \
                         of that"
                    )));
                }
            }
        }
        Ok(())
    }
}

impl HeadFormat {
    /// Bytes of a head `[vocab, hidden]`.
    pub fn bytes(self, vocab: u64, hidden: u64) -> u64 {
        match self {
            HeadFormat::Bf16 => vocab * hidden * BF16,
            HeadFormat::Int8 => vocab * (hidden + BF16),
            HeadFormat::Int4 { group, zero_points } => {
                WeightFormat::Int4 { group, zero_points }.bytes(vocab, hidden)
            }
        }
    }
}

impl From<WeightFormat> for HeadFormat {
    fn from(format: WeightFormat) -> HeadFormat {
        match format {
            WeightFormat::Bf16 => HeadFormat::Bf16,
            WeightFormat::Int4 { group, zero_points } => HeadFormat::Int4 { group, zero_points },
        }
    }
}

impl FromStr for WeightFormat {
    type Err = Error;

    /// `bf16`, `int4`, or `int4:` with any of `group=64`, `group=128` and `zero-point`.
    fn from_str(text: &str) -> Result<WeightFormat> {
        let bad = || {
            Error::Usage(format!(
                "weights are {text}, expected bf16, int4, or int4:group=64,zero-point (groups of \
                 64 or 128)"
            ))
        };
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        match name {
            "bf16" if name == text => return Ok(WeightFormat::Bf16),
            "int4" => (),
            _ => return Err(bad()),
        }
        let (mut group, mut zero_points) = (Int4Group::default(), false);
        for option in options.split(',').filter(|_| name != text) {
            match option.trim() {
                "group=64" => group = Int4Group::G64,
                "group=128" => group = Int4Group::G128,
                "zero-point" => zero_points = true,
                _ => return Err(bad()),
            }
        }
        Ok(WeightFormat::Int4 { group, zero_points })
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WeightFormat::Bf16 => f.write_str("bf16"),
            WeightFormat::Int4 { group, zero_points } => {
                let zeros = if *zero_points { ",zero-point" } else { "" };
                write!(f, "int4:group={}{zeros}", group.elements())
            }
        }
    }
}

impl fmt::Display for HeadFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HeadFormat::Bf16 => "bf16",
            HeadFormat::Int8 => "int8",
            HeadFormat::Int4 { .. } => "int4",
        })
    }
}

impl fmt::Display for Formats {
    /// `bf16` if all is; else the formats of layers and head.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Formats::default() {
            return f.write_str("bf16");
        }
        write!(f, "{}, head {}", self.weights, self.head)?;
        match self.others.len() {
            0 => Ok(()),
            others => write!(f, ", {others} matrices in other formats"),
        }
    }
}
