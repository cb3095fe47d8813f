//! What a model is quantised to, as it is written on the command line.

use crate::error::Error;
use crate::model::ModelConfig;
use crate::model::budget::{Formats, HeadFormat, Int4Group, WeightFormat};
use std::fmt;
use std::str::FromStr;

/// Which numbers 4 bits can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Columns of a row that share a scale.
    pub group: Int4Group,
    /// Whether each group has a zero point of its own. Without, the grid is the same on both sides
    /// of zero but for its lowest point.
    pub zero_points: bool,
}

impl Grid {
    /// Columns of a row that share a scale.
    pub fn columns(&self) -> usize {
        self.group.elements() as usize
    }
}

/// How the grid of a group is found from its weights alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// From their range.
    #[default]
    Rtn,
    /// By the least squared error.
    Search,
}

/// The format of the output head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Head {
    /// On the grid of the layers.
    Int4,
    /// 8 bits, a scale for each row.
    Int8,
    /// As it is stored.
    #[default]
    Stored,
}

/// What the matrices of a model become. Embedding, norms and biases stay as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// The grid of the matrices of the layers.
    pub grid: Grid,
    /// How it is found.
    pub method: Method,
    /// The head.
    pub head: Head,
}

impl Scheme {
    /// The model's configuration afterwards: a head that is quantised is no longer the embedding.
    pub fn apply(&self, config: &ModelConfig) -> ModelConfig {
        let mut config = config.clone();
        config.tied &= self.head == Head::Stored;
        config
    }

    /// The formats on a device.
    pub fn formats(&self) -> Formats {
        let Grid { group, zero_points } = self.grid;
        let head = match self.head {
            Head::Int4 => HeadFormat::Int4 { group, zero_points },
            Head::Int8 => HeadFormat::Int8,
            Head::Stored => HeadFormat::Bf16,
        };
        Formats::of(WeightFormat::Int4 { group, zero_points }, head)
    }
}

impl FromStr for Head {
    type Err = Error;

    /// The number of bits: 4, 8 or 16.
    fn from_str(text: &str) -> Result<Head, Error> {
        match text {
            "4" => Ok(Head::Int4),
            "8" => Ok(Head::Int8),
            "16" => Ok(Head::Stored),
            _ => Err(Error::Usage(format!("the head has {text:?} bits, expected 4, 8 or 16"))),
        }
    }
}

impl FromStr for Scheme {
    type Err = Error;

    /// `int4`, or `int4:` with any of `group=64|128`, `zero-point`, `method=rtn|search` and
    /// `head=4|8|16`, each at most once.
    fn from_str(text: &str) -> Result<Scheme, Error> {
        const EXPECTED: &str = "int4[:group=128|64][,zero-point][,method=rtn|search][,head=16|8|4]";
        let bad = |found: &str| Error::Usage(format!("{found}, expected {EXPECTED}"));
        let (name, options) = match text.split_once(':') {
            Some((name, options)) => (name, Some(options)),
            None => (text, None),
        };
        if name != "int4" {
            return Err(bad(&format!("the scheme is {text:?}")));
        }
        let grid = Grid { group: Int4Group::default(), zero_points: false };
        let mut scheme = Scheme { grid, method: Method::Rtn, head: Head::Stored };
        let mut seen = Vec::new();
        for option in options.into_iter().flat_map(|options| options.split(',')) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            if seen.contains(&key) {
                return Err(bad(&format!("{key:?} is there twice")));
            }
            seen.push(key);
            match (key, value) {
                ("group", "64") => scheme.grid.group = Int4Group::G64,
                ("group", "128") => scheme.grid.group = Int4Group::G128,
                ("zero-point", _) if option == key => scheme.grid.zero_points = true,
                ("method", "rtn") => scheme.method = Method::Rtn,
                ("method", "search") => scheme.method = Method::Search,
                ("head", bits) => {
                    scheme.head = bits.parse().map_err(|_| bad(&format!("head is {bits:?}")))?;
                }
                _ => return Err(bad(&format!("{option:?} is no option of a scheme"))),
            }
        }
        Ok(scheme)
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zeros = if self.zero_points { ",zero-point" } else { "" };
        write!(f, "int4:group={}{zeros}", self.columns())
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Head::Int4 => "4",
            Head::Int8 => "8",
            Head::Stored => "16",
        })
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match self.method {
            Method::Rtn => "rtn",
            Method::Search => "search",
        };
        write!(f, "{},method={method},head={}", self.grid, self.head)
    }
}
