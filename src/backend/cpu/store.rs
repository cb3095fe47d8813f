//! What the CPU keeps beside matrices: activations, parameters, KV pools.

use super::simd::{LANES, Simd};
use crate::backend::{KvShape, PAGE_SIZE, PageId};
use crate::error::{Error, Result};
use crate::tensor::{Dtype, HostTensor};

/// Memory whose first element lies at the start of a cache line: a vector of sixteen f32 then never
/// straddles two lines.
pub(super) struct Aligned<T> {
    values: Vec<T>,
    start: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// `len` zeros. Pages of memory that are never touched cost nothing: a zeroed `Vec` comes
    /// untouched from the operating system.
    pub(super) fn zeros(what: &str, len: Option<usize>) -> Result<Aligned<T>>
    where
        Vec<T>: Zeros,
    {
        const LINE: usize = 64;
        let total = len.and_then(|n| n.checked_add(LINE / size_of::<T>())).unwrap_or(usize::MAX);
        // A `Vec` that cannot be had ends the process; ask first, in a way that can be refused.
        if Vec::<T>::new().try_reserve_exact(total).is_err() {
            let bytes = len.and_then(|n| n.checked_mul(size_of::<T>()));
            let bytes = bytes.map_or("more than 2^64".to_string(), |n| n.to_string());
            return Err(Error::Device(format!("CPU: no memory for {bytes} bytes of {what}")));
        }
        let values = Vec::zeros(total);
        let start = values.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
        Ok(Aligned { values, start })
    }

    /// All elements and at most a line more.
    pub(super) fn as_slice(&self) -> &[T] {
        &self.values[self.start..]
    }

    /// As [`Aligned::as_slice`].
    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.values[self.start..]
    }
}

/// Vectors that the allocator zeroes. Generic code would write the zeros itself.
pub(super) trait Zeros {
    /// `len` zeros.
    fn zeros(len: usize) -> Self;
}

impl Zeros for Vec<f32> {
    fn zeros(len: usize) -> Vec<f32> {
        vec![0.0; len]
    }
}

impl Zeros for Vec<u8> {
    fn zeros(len: usize) -> Vec<u8> {
        vec![0; len]
    }
}

/// A stored number format, read sixteen elements at a time.
pub(super) trait Element {
    /// The bytes of sixteen elements.
    type Block: Copy;
    /// Whole blocks and the bytes of the elements that are left.
    fn split(bytes: &[u8]) -> (&[Self::Block], &[u8]);
    /// A block of what is left, continued with zeros.
    fn pad(rest: &[u8]) -> Self::Block;
    /// Sixteen elements as f32: exact.
    fn load<S: Simd>(s: S, block: &Self::Block) -> S::V;
}

macro_rules! element {
    ($name:ident, $size:literal, $load:ident, $doc:literal) => {
        #[doc = $doc]
        pub(super) struct $name;
        impl Element for $name {
            type Block = [u8; $size * LANES];
            #[inline(always)]
            fn split(bytes: &[u8]) -> (&[Self::Block], &[u8]) {
                bytes.as_chunks()
            }
            #[inline(always)]
            fn pad(rest: &[u8]) -> Self::Block {
                let mut block = [0; $size * LANES];
                block[..rest.len()].copy_from_slice(rest);
                block
            }
            #[inline(always)]
            fn load<S: Simd>(s: S, block: &Self::Block) -> S::V {
                s.$load(block)
            }
        }
    };
}

element!(F32, 4, load_f32, "Little-endian binary32.");
element!(F16, 2, load_f16, "Little-endian binary16.");
element!(Bf16, 2, load_bf16, "Little-endian bfloat16.");

/// A vector of parameters as f32, continued with zeros to whole blocks.
pub struct Vector {
    values: Vec<f32>,
    pub(super) len: usize,
}

impl Vector {
    pub(super) fn new(parts: &[HostTensor]) -> Vector {
        let mut values: Vec<f32> = parts.iter().flat_map(HostTensor::to_f32).collect();
        let len = values.len();
        values.resize(len.next_multiple_of(LANES), 0.0);
        Vector { values, len }
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        &self.values[..self.len]
    }

    pub(super) fn blocks(&self) -> &[[f32; LANES]] {
        self.values.as_chunks().0
    }
}

/// Activations `[rows, width]` in f32. A row is continued with zeros to whole blocks of sixteen,
/// which no op overwrites.
pub struct Tensor {
    data: Aligned<f32>,
    capacity: usize,
    stride: usize,
    pub(super) rows: usize,
    pub(super) width: usize,
}

impl Tensor {
    pub(super) fn new(capacity: usize, width: usize) -> Result<Tensor> {
        let mut stride = width.next_multiple_of(LANES).max(LANES);
        if stride.is_multiple_of(1024) {
            stride += LANES; // rows 4 KiB apart would fall on the same cache sets
        }
        let data = Aligned::zeros("activations", capacity.checked_mul(stride))?;
        Ok(Tensor { data, capacity, stride, rows: 0, width })
    }

    /// Sets the number of rows, as an op does that writes this tensor.
    pub(super) fn set_rows(&mut self, rows: usize) {
        assert!(rows <= self.capacity, "{rows} rows in a tensor of at most {}", self.capacity);
        self.rows = rows;
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        &self.data.as_slice()[row * self.stride..][..self.width]
    }

    /// A row with the zeros that continue it.
    #[inline(always)]
    pub(super) fn blocks(&self, row: usize) -> &[[f32; LANES]] {
        let padded = self.width.next_multiple_of(LANES);
        self.data.as_slice()[row * self.stride..][..padded].as_chunks().0
    }

    /// All rows, each `width` long, in order.
    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let (stride, width) = (self.stride, self.width);
        let used = &mut self.data.as_mut_slice()[..self.rows * stride];
        used.chunks_exact_mut(stride).map(move |row| &mut row[..width])
    }
}

/// `cos` and `sin` of every position: `[positions][cos of half the head, sin of half the head]`.
pub struct RopeTable {
    values: Aligned<f32>,
    positions: usize,
    pub(super) half: usize,
}

impl RopeTable {
    /// Room for `positions` times `2 * half` numbers.
    pub(super) fn new(half: usize, positions: usize) -> Result<RopeTable> {
        let len = half.checked_mul(2).and_then(|n| n.checked_mul(positions));
        Ok(RopeTable { values: Aligned::zeros("rotary angles", len)?, positions, half })
    }

    /// All positions, one after the other.
    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.values.as_mut_slice()[..self.positions * 2 * self.half]
    }

    /// Cosines and sines at `position`.
    pub(super) fn at(&self, position: u32) -> (&[f32], &[f32]) {
        let position = position as usize;
        assert!(position < self.positions, "position {position} of {}", self.positions);
        let at = position * 2 * self.half;
        self.values.as_slice()[at..at + 2 * self.half].split_at(self.half)
    }
}

/// The KV pools of all layers: keys and values apart, `[page][kv_head][64][head_dim]`.
pub struct KvCache {
    pub(super) shape: KvShape,
    keys: Vec<Aligned<u8>>,
    values: Vec<Aligned<u8>>,
}

impl KvCache {
    pub(super) fn new(shape: KvShape) -> Result<KvCache> {
        assert!(shape.dtype != Dtype::F16, "a KV pool of F16; F32 or BF16 are possible");
        let block = shape.heads.kv * PAGE_SIZE * shape.heads.dim * shape.dtype.size();
        let pool = |_| Aligned::zeros("a layer's KV pool", shape.pages.checked_mul(block));
        let keys = (0..shape.layers).map(pool).collect::<Result<_>>()?;
        let values = (0..shape.layers).map(pool).collect::<Result<_>>()?;
        Ok(KvCache { shape, keys, values })
    }

    fn head_bytes(&self) -> usize {
        self.shape.heads.dim * self.shape.dtype.size()
    }

    fn block_start(&self, page: PageId, head: usize) -> usize {
        let page = page.0 as usize;
        assert!(page < self.shape.pages, "page {page} of {}", self.shape.pages);
        (page * self.shape.heads.kv + head) * PAGE_SIZE * self.head_bytes()
    }

    /// The keys and the values of one head in one page, 64 rows of head_dim each.
    pub(super) fn block(&self, layer: usize, page: PageId, head: usize) -> (&[u8], &[u8]) {
        let start = self.block_start(page, head);
        let range = start..start + PAGE_SIZE * self.head_bytes();
        (&self.keys[layer].as_slice()[range.clone()], &self.values[layer].as_slice()[range])
    }

    /// Stores a key and a value, `[head_dim]` each, in a slot.
    pub(super) fn put(
        &mut self,
        layer: usize,
        (page, slot): (PageId, usize),
        head: usize,
        key: &[f32],
        value: &[f32],
    ) {
        let bytes = self.head_bytes();
        let at = self.block_start(page, head) + slot * bytes;
        for (pool, source) in [(&mut self.keys[layer], key), (&mut self.values[layer], value)] {
            let to = &mut pool.as_mut_slice()[at..at + bytes];
            match self.shape.dtype {
                Dtype::F32 => {
                    for (to, x) in to.as_chunks_mut::<4>().0.iter_mut().zip(source) {
                        *to = x.to_le_bytes();
                    }
                }
                _ => {
                    for (to, x) in to.as_chunks_mut::<2>().0.iter_mut().zip(source) {
                        *to = half::bf16::from_f32(*x).to_le_bytes();
                    }
                }
            }
        }
    }
}
