//! Weights that are quantised as they are asked for, and quantised weights as plain ones.

use super::matrix;
use super::{Grid, Head, Scheme};
use crate::error::Result;
use crate::load::Source;
use crate::model::ModelConfig;
use crate::model::parts::{EMBEDDING, HEAD};
use crate::tensor::{HostMatrix, HostTensor, MatrixFormat};
use std::path::Path;

/// The weights of another source, quantised one by one as they are asked for: what is in memory is
/// what the caller keeps, and one matrix. Embedding, norms and biases pass as they are.
pub struct Quantizing<'a> {
    source: &'a dyn Source,
    scheme: Scheme,
    tied: bool,
}

impl<'a> Quantizing<'a> {
    /// For a model that `source` holds as `config` says. The decoder over it is to be made with
    /// [`Scheme::apply`] of that configuration.
    pub fn new(source: &'a dyn Source, scheme: Scheme, config: &ModelConfig) -> Quantizing<'a> {
        Quantizing { source, scheme, tied: config.tied }
    }

    fn plain(&self, name: &str, shape: [usize; 2]) -> Result<HostTensor> {
        matrix::plain(self.dir(), &self.source.matrix(name, shape)?).cloned()
    }

    fn head(&self, shape: [usize; 2]) -> Result<HostMatrix> {
        let mut tensor = self.plain(if self.tied { EMBEDDING } else { HEAD }, shape)?;
        tensor.name = HEAD.to_string();
        Ok(match self.scheme.head {
            Head::Stored => HostMatrix::Plain(tensor),
            Head::Int8 => HostMatrix::Int8(matrix::int8(self.dir(), &tensor)?),
            Head::Int4 => HostMatrix::Int4(self.int4(&tensor)?),
        })
    }

    fn int4(&self, tensor: &HostTensor) -> Result<crate::tensor::int4::Int4Tensor> {
        matrix::int4(self.dir(), tensor, self.scheme.grid, self.scheme.method.into())
    }
}

impl Source for Quantizing<'_> {
    fn dir(&self) -> &Path {
        self.source.dir()
    }

    fn names(&self) -> Vec<String> {
        self.source.names()
    }

    fn vector(&self, name: &str, len: usize) -> Result<HostTensor> {
        self.source.vector(name, len)
    }

    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<HostMatrix> {
        match name {
            EMBEDDING => self.source.matrix(name, shape),
            HEAD => self.head(shape),
            _ => self.plain(name, shape).and_then(|t| self.int4(&t)).map(HostMatrix::Int4),
        }
    }

    fn format(&self, name: &str, shape: [usize; 2]) -> Result<MatrixFormat> {
        let Grid { zero_points, .. } = self.scheme.grid;
        let group = self.scheme.grid.columns();
        let int4 = MatrixFormat::Int4 { group, zero_points, ordered: false };
        match (name, self.scheme.head) {
            (EMBEDDING, _) => self.source.format(name, shape),
            (HEAD, Head::Stored) => {
                self.source.format(if self.tied { EMBEDDING } else { HEAD }, shape)
            }
            (HEAD, Head::Int8) => Ok(MatrixFormat::Int8),
            _ => Ok(int4),
        }
    }
}

/// The weights of another source as the numbers they stand for, in f32. What a device computes
/// with quantised weights can be compared with what it computes with these.
pub struct Dequantized<'a>(pub &'a dyn Source);

impl Source for Dequantized<'_> {
    fn dir(&self) -> &Path {
        self.0.dir()
    }

    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    fn vector(&self, name: &str, len: usize) -> Result<HostTensor> {
        self.0.vector(name, len)
    }

    fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<HostMatrix> {
        match self.0.matrix(name, shape)? {
            HostMatrix::Plain(tensor) => Ok(HostMatrix::Plain(tensor)),
            quantised => Ok(HostMatrix::Plain(matrix::dequantize(&quantised))),
        }
    }
}
