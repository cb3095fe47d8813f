//! What is asked of an offline quantisation.

use super::{Grid, Head};
use crate::error::{Error, Result};
use crate::model::ModelConfig;
use crate::model::parts::{Input, Part};
use std::fmt;
use std::str::FromStr;

/// How the matrices of the layers are quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// To the nearest point of a grid from the range of each group.
    Rtn,
    /// To the nearest point of the grid with the least squared error.
    Search,
    /// With columns scaled by their inputs (Lin et al. 2023).
    Awq,
    /// With errors made up for by later columns (Frantar et al. 2022).
    Gptq,
}

impl Algorithm {
    /// Whether it looks at the inputs of matrices.
    pub fn calibrates(self) -> bool {
        matches!(self, Algorithm::Awq | Algorithm::Gptq)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Rtn => "rtn",
            Algorithm::Search => "search",
            Algorithm::Awq => "awq",
            Algorithm::Gptq => "gptq",
        })
    }
}

impl FromStr for Algorithm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Algorithm> {
        let all = [Algorithm::Rtn, Algorithm::Search, Algorithm::Awq, Algorithm::Gptq];
        let found = all.into_iter().find(|algorithm| algorithm.to_string() == text);
        found.ok_or_else(|| {
            Error::Usage(format!("the method is {text:?}, expected rtn, search, awq or gptq"))
        })
    }
}

/// Matrices that are left as they are: `PATTERN=16`, where a `*` in the pattern stands for any
/// characters and the rest for itself. It must fit the whole name of a module, such as
/// `model.layers.0.mlp.down_proj`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    pattern: String,
}

impl Keep {
    /// Whether it names this module.
    pub fn fits(&self, module: &str) -> bool {
        let mut pieces = self.pattern.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = module.strip_prefix(first) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        // Each piece as early as it occurs leaves the most for those that follow.
        for piece in pieces {
            let Some(at) = rest.find(piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last)
    }
}

impl FromStr for Keep {
    type Err = Error;

    fn from_str(text: &str) -> Result<Keep> {
        match text.rsplit_once('=') {
            Some((pattern, "16")) if !pattern.is_empty() => {
                Ok(Keep { pattern: pattern.to_string() })
            }
            _ => Err(Error::Usage(format!(
                "what is kept is {text:?}, expected PATTERN=16, as in *.down_proj=16"
            ))),
        }
    }
}

/// What is made of a model.
#[derive(Debug, Clone)]
pub struct Options {
    /// How the matrices of the layers are quantised.
    pub algorithm: Algorithm,
    /// To which grid.
    pub grid: Grid,
    /// The format of the head.
    pub head: Head,
    /// What is left as it is.
    pub keep: Vec<Keep>,
    /// Whether gptq goes through columns by the size of their inputs.
    pub ordered: bool,
}

impl Options {
    /// Whether a matrix of a layer is left as it is.
    pub fn keeps(&self, layer: usize, part: Part) -> bool {
        let module = part.module(layer);
        self.keep.iter().any(|keep| keep.fits(&module))
    }

    /// Holds the patterns against the model: each must name something, and matrices that are
    /// computed as one must have one format.
    ///
    /// # Errors
    /// [`Error::Usage`] with the pattern or the matrices.
    pub fn check(&self, config: &ModelConfig) -> Result<()> {
        let modules = || {
            (0..config.layers).flat_map(|i| Part::ALL.into_iter().map(move |part| part.module(i)))
        };
        for keep in &self.keep {
            if !modules().any(|module| keep.fits(&module)) {
                let pattern = &keep.pattern;
                let example = Part::Down.module(0);
                return Err(Error::Usage(format!(
                    "--keep {pattern}=16 fits no matrix of a layer; {example} is one"
                )));
            }
        }
        for layer in 0..config.layers {
            for input in Input::ALL {
                let kept = input.parts().iter().filter(|part| self.keeps(layer, **part)).count();
                if kept != 0 && kept != input.parts().len() {
                    let names: Vec<String> =
                        input.parts().iter().map(|part| part.module(layer)).collect();
                    return Err(Error::Usage(format!(
                        "--keep leaves some of {} and not all: they are computed as one matrix \
                         and must have one format",
                        names.join(", ")
                    )));
                }
            }
        }
        Ok(())
    }
}
