//! The formats of weights on a device, and their bytes.

use super::{BF16, layer_matrices};
use crate::error::{Error, Result};
use crate::model::ModelConfig;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Formats {
    /// Of the matrices of the layers.
    pub weights: WeightFormat,
    /// Of the output head.
    pub head: HeadFormat,
}

impl WeightFormat {
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
    /// Whether the matrices of a model can have these formats: a row holds whole groups
    /// only.
    ///
    /// # Errors
    /// [`Error::Usage`] naming the matrix.
    pub fn check(self, config: &ModelConfig) -> Result<()> {
        let WeightFormat::Int4 { group, .. } = self.weights else { return Ok(()) };
        let group = group.elements();
        match layer_matrices(config).iter().find(|(_, _, k)| !k.is_multiple_of(group)) {
            None => Ok(()),
            Some((name, _, k)) => Err(Error::Usage(format!(
                "int4 in groups of {group}: the {k} columns of {name} are not a multiple of that"
            ))),
        }
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
        match *self == Formats::default() {
            true => f.write_str("bf16"),
            false => write!(f, "{}, head {}", self.weights, self.head),
        }
    }
}
