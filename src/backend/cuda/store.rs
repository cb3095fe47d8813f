//! What a GPU keeps beside matrices: parameters, activations, rotary angles, KV pools.

use super::driver::{DevicePtr, Driver};
use super::memory::Buffer;
use super::sampler::Sampler;
use crate::backend::{KvShape, PAGE_SIZE, Role};
use crate::error::{Error, Result};
use crate::tensor::{Dtype, HostTensor};
use half::bf16;
use rayon::prelude::*;
use std::sync::Arc;

/// Elements whose squares are summed together.
pub(super) const NORM_GROUP: usize = super::params::NORM_GROUP as usize;

/// A vector of parameters in bf16.
pub struct Vector {
    data: Buffer,
    pub(super) len: usize,
}

impl Vector {
    pub(super) fn new(driver: &Arc<dyn Driver>, parts: &[HostTensor]) -> Result<Vector> {
        let values = parts.iter().flat_map(HostTensor::to_f32);
        let values: Vec<bf16> = values.map(bf16::from_f32).collect();
        Ok(Vector { data: Buffer::of(driver, &values)?, len: values.len() })
    }

    pub(super) fn ptr(&self) -> DevicePtr {
        self.data.ptr()
    }
}

/// How many rows of a tensor hold something, and how many the kernels compute. Decode batches are
/// padded to a few sizes, each of which has a captured graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Rows {
    pub(super) valid: usize,
    pub(super) padded: usize,
}

impl Rows {
    /// All rows hold something.
    pub(super) fn exactly(rows: usize) -> Rows {
        Rows { valid: rows, padded: rows }
    }

    /// Padded for a graph: powers of two up to 8, then multiples of 8.
    pub(super) fn for_graph(rows: usize) -> Rows {
        Rows { valid: rows, padded: padded_rows(rows) }
    }
}

/// The rows that a batch of `rows` is padded to.
pub(super) fn padded_rows(rows: usize) -> usize {
    if rows <= 8 { rows.next_power_of_two() } else { rows.next_multiple_of(8) }
}

/// Activations `[rows, width]`: bf16, or f32 for logits.
pub struct Tensor {
    data: Buffer,
    /// Sums of squares `[rows, width / NORM_GROUP]` of the rows that were normed; a tensor of
    /// [`Role::Normed`] holds rows times the norm's weight, and the product that reads it
    /// multiplies by the reciprocal root mean square.
    squares: Option<Buffer>,
    sampler: Option<Sampler>,
    pub(super) role: Role,
    pub(super) eps: f32,
    pub(super) rows: Rows,
    pub(super) width: usize,
    capacity: usize,
}

impl Tensor {
    pub(super) fn new(
        driver: &Arc<dyn Driver>,
        rows: usize,
        width: usize,
        role: Role,
    ) -> Result<Tensor> {
        let too_large = || Error::Device(format!("activations [{rows}, {width}] are too large"));
        let capacity = rows.checked_add(8).map(|_| padded_rows(rows)).ok_or_else(too_large)?;
        let bytes = |element: usize| capacity.checked_mul(width)?.checked_mul(element);
        let element = if matches!(role, Role::Logits { .. }) { 4 } else { 2 };
        let data = Buffer::new(driver, bytes(element).ok_or_else(too_large)? as u64)?;
        let squares = match role {
            Role::Normed if !width.is_multiple_of(NORM_GROUP) => {
                return Err(Error::NoKernel {
                    what: format!("a norm over rows of {width}"),
                    supported: format!("multiples of {NORM_GROUP}"),
                });
            }
            Role::Normed => {
                let bytes = capacity * (width / NORM_GROUP) * 4;
                Some(Buffer::new(driver, bytes as u64)?)
            }
            _ => None,
        };
        let sampler = match role {
            Role::Logits { context } => Some(Sampler::new(driver, capacity, width, context)?),
            _ => None,
        };
        Ok(Tensor {
            data,
            squares,
            sampler,
            role,
            eps: 0.0,
            rows: Rows::default(),
            width,
            capacity,
        })
    }

    /// Sets the number of rows, as an op does that writes this tensor.
    pub(super) fn set_rows(&mut self, rows: Rows) {
        let capacity = self.capacity;
        assert!(rows.padded <= capacity, "{} rows in a tensor of at most {capacity}", rows.padded);
        self.rows = rows;
    }

    pub(super) fn ptr(&self) -> DevicePtr {
        self.data.ptr()
    }

    /// The sums of squares, or null.
    pub(super) fn squares_ptr(&self) -> DevicePtr {
        self.squares.as_ref().map_or(0, Buffer::ptr)
    }

    /// What draws from logits.
    pub(super) fn sampler(&self) -> &Sampler {
        self.sampler.as_ref().expect("a tensor of logits")
    }

    /// Rows there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The rows that hold something as f32, normed ones with their factor.
    pub(super) fn to_host(&self) -> Result<Vec<f32>> {
        let (rows, width) = (self.rows.valid, self.width);
        if self.sampler.is_some() {
            return self.data.read(rows * width);
        }
        let mut values: Vec<f32> =
            self.data.read::<bf16>(rows * width)?.into_iter().map(bf16::to_f32).collect();
        if let Some(squares) = &self.squares {
            let groups = width / NORM_GROUP;
            let squares = squares.read::<f32>(rows * groups)?;
            for (row, squares) in values.chunks_exact_mut(width).zip(squares.chunks_exact(groups)) {
                let mean = squares.iter().sum::<f32>() / width as f32;
                let scale = 1.0 / (mean + self.eps).sqrt();
                row.iter_mut().for_each(|x| *x *= scale);
            }
        }
        Ok(values)
    }

    /// Overwrites with rows from the host, rounded to the tensor's format.
    pub(super) fn take(&mut self, values: &[f32]) -> Result<()> {
        let width = self.width;
        assert!(values.len().is_multiple_of(width), "{} values in rows of {width}", values.len());
        assert!(self.squares.is_none(), "rows that are already normed cannot be brought");
        self.set_rows(Rows::exactly(values.len() / width));
        match self.role {
            Role::Logits { .. } => self.data.write(values),
            _ => {
                let rounded: Vec<bf16> = values.iter().map(|&x| bf16::from_f32(x)).collect();
                self.data.write(&rounded)
            }
        }
    }
}

/// Cosines and sines side by side, f32 `[positions, half, 2]`.
pub struct RopeTable {
    data: Buffer,
    pub(super) positions: usize,
    pub(super) half: usize,
}

impl RopeTable {
    pub(super) fn new(
        driver: &Arc<dyn Driver>,
        inv_freq: &[f32],
        positions: usize,
    ) -> Result<RopeTable> {
        let half = inv_freq.len();
        let mut table = vec![0.0f32; positions * half * 2];
        table.par_chunks_exact_mut(2 * half.max(1)).enumerate().for_each(|(position, row)| {
            for (pair, f) in row.chunks_exact_mut(2).zip(inv_freq) {
                let angle = f64::from(position as f32 * f);
                (pair[0], pair[1]) = (angle.cos() as f32, angle.sin() as f32);
            }
        });
        Ok(RopeTable { data: Buffer::of(driver, &table)?, positions, half })
    }

    pub(super) fn ptr(&self) -> DevicePtr {
        self.data.ptr()
    }
}

/// The KV pools of all layers, bf16, swizzled as `kernels/common.cuh` says.
pub struct KvCache {
    pub(super) shape: KvShape,
    /// Keys and values of each layer.
    layers: Vec<(Buffer, Buffer)>,
}

impl KvCache {
    pub(super) fn new(driver: &Arc<dyn Driver>, shape: KvShape) -> Result<KvCache> {
        assert!(shape.dtype == Dtype::Bf16, "a KV pool of {}; only BF16 is possible", shape.dtype);
        let block = shape.heads.kv * PAGE_SIZE * shape.heads.dim * shape.dtype.size();
        let too_large = || Error::Device(format!("a KV pool of {} pages", shape.pages));
        let bytes = shape.pages.checked_mul(block).ok_or_else(too_large)? as u64;
        let pool = || Buffer::new(driver, bytes);
        let layers = (0..shape.layers).map(|_| Ok((pool()?, pool()?))).collect::<Result<_>>()?;
        Ok(KvCache { shape, layers })
    }

    /// Where the keys and the values of a layer are.
    pub(super) fn layer(&self, layer: usize) -> (DevicePtr, DevicePtr) {
        let layers = self.shape.layers;
        assert!(layer < layers, "layer {layer} of {layers}");
        let (keys, values) = &self.layers[layer];
        (keys.ptr(), values.ptr())
    }
}
