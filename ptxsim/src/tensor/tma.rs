//! Tensor maps and the pieces of memory that a tensor copy moves (PTX ISA, "Tensors"; CUDA Driver
//! API, `cuTensorMapEncodeTiled`).
//!
//! NVIDIA's 128-byte format is not public. [`TensorMap::encode`] has one of its own, which the
//! kernel only passes on.

use super::swizzle::Swizzle;
use crate::error::Error;

/// Dimensions at most.
pub const MAX_RANK: usize = 5;
const MAGIC: u64 = u64::from_le_bytes(*b"PTXSIMTM");

/// Element types, numbered as `CUtensorMapDataType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum DataType {
    U8,
    U16,
    U32,
    S32,
    U64,
    S64,
    F16,
    F32,
    F64,
    Bf16,
    F32Ftz,
    Tf32,
    Tf32Ftz,
}

impl DataType {
    const ALL: [DataType; 13] = {
        use DataType::*;
        [U8, U16, U32, S32, U64, S64, F16, F32, F64, Bf16, F32Ftz, Tf32, Tf32Ftz]
    };

    /// The type that `CUtensorMapDataType` numbers `code`.
    pub fn from_code(code: u32) -> Option<DataType> {
        DataType::ALL.get(code as usize).copied()
    }

    /// Bytes of one element.
    pub const fn bytes(self) -> u32 {
        match self {
            DataType::U8 => 1,
            DataType::U16 | DataType::F16 | DataType::Bf16 => 2,
            DataType::U64 | DataType::S64 | DataType::F64 => 8,
            _ => 4,
        }
    }

    /// A floating-point type.
    pub const fn is_float(self) -> bool {
        use DataType::*;
        matches!(self, F16 | F32 | F64 | Bf16 | F32Ftz | Tf32 | Tf32Ftz)
    }
}

/// What a load writes for elements outside the tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fill {
    /// Zeros.
    #[default]
    Zero,
    /// NaNs; floating-point types only.
    Nan,
}

/// What a [`TensorMap`] is made from. Dimension 0 is the contiguous one.
#[derive(Clone, Debug)]
pub struct Tiled<'a> {
    /// Element type.
    pub element: DataType,
    /// Global address.
    pub address: u64,
    /// Elements in each dimension, of 1 to 5.
    pub dims: &'a [u64],
    /// Bytes from one element to the next in dimensions 1 and up.
    pub strides: &'a [u64],
    /// Elements of the box in each dimension.
    pub box_dims: &'a [u32],
    /// Every how many elements one is taken, in each dimension. That of dimension 0 is not used.
    pub element_strides: &'a [u32],
    /// How rows of the box are permuted in shared memory.
    pub swizzle: Swizzle,
    /// What is read outside the tensor.
    pub fill: Fill,
}

/// A checked tensor map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorMap {
    element: DataType,
    rank: usize,
    address: u64,
    dims: [u64; MAX_RANK],
    strides: [u64; MAX_RANK],
    box_dims: [u32; MAX_RANK],
    element_strides: [u32; MAX_RANK],
    swizzle: Swizzle,
    fill: Fill,
}

/// Sixteen bytes of a box in shared memory, and what they correspond to in global memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Shared address, swizzled.
    pub shared: u32,
    /// Bytes before the first that the tensor has: filled by a load, left out by a store.
    pub skip: u32,
    /// Bytes that the tensor has. The rest is filled or left out too.
    pub bytes: u32,
    /// Global address of the first of these; 0 where there are none.
    pub global: u64,
}

fn refuse<T>(message: String) -> Result<T, Error> {
    Err(Error::Argument(format!("tensor map: {message}")))
}

impl TensorMap {
    /// Checks what `cuTensorMapEncodeTiled` checks. Refused beyond that: what NVIDIA does not
    /// document (the rounding of tf32 copies, rows shorter than the span of their swizzle).
    pub fn new(tiled: &Tiled<'_>) -> Result<TensorMap, Error> {
        let rank = tiled.dims.len();
        if !(1..=MAX_RANK).contains(&rank) {
            return refuse(format!("rank {rank} is not 1 to {MAX_RANK}"));
        }
        let lengths = [tiled.strides.len() + 1, tiled.box_dims.len(), tiled.element_strides.len()];
        if lengths != [rank; 3] {
            return refuse(format!("strides, box and element strides must fit rank {rank}"));
        }
        let mut map = TensorMap {
            element: tiled.element,
            rank,
            address: tiled.address,
            dims: [1; MAX_RANK],
            strides: [0; MAX_RANK],
            box_dims: [1; MAX_RANK],
            element_strides: [1; MAX_RANK],
            swizzle: tiled.swizzle,
            fill: tiled.fill,
        };
        map.dims[..rank].copy_from_slice(tiled.dims);
        map.strides[0] = u64::from(tiled.element.bytes());
        map.strides[1..rank].copy_from_slice(tiled.strides);
        map.box_dims[..rank].copy_from_slice(tiled.box_dims);
        map.element_strides[..rank].copy_from_slice(tiled.element_strides);
        map.element_strides[0] = 1;
        map.check_tensor()?;
        map.check_box(tiled.element_strides)?;
        Ok(map)
    }

    fn check_tensor(&self) -> Result<(), Error> {
        if !self.address.is_multiple_of(16) {
            return refuse(format!("global address {:#x} is not 16-byte aligned", self.address));
        }
        for (d, dim) in self.dims[..self.rank].iter().enumerate() {
            if !(1..=1 << 32).contains(dim) {
                return refuse(format!("dimension {d} is {dim}, not 1 to 2^32"));
            }
        }
        for (d, stride) in self.strides[..self.rank].iter().enumerate().skip(1) {
            if !stride.is_multiple_of(16) || *stride >= 1 << 40 {
                return refuse(format!(
                    "stride {stride} of dimension {d} is not a multiple of 16 below 2^40"
                ));
            }
        }
        if matches!(self.element, DataType::Tf32 | DataType::Tf32Ftz) {
            return refuse("how tf32 is rounded on the way is not documented; use f32".into());
        }
        if self.fill == Fill::Nan && !self.element.is_float() {
            return refuse("only floating-point types can be filled with NaN".into());
        }
        Ok(())
    }

    fn check_box(&self, element_strides: &[u32]) -> Result<(), Error> {
        for (d, size) in self.box_dims[..self.rank].iter().enumerate() {
            if !(1..=256).contains(size) {
                return refuse(format!("box dimension {d} is {size}, not 1 to 256"));
            }
        }
        for (d, stride) in element_strides.iter().enumerate() {
            if !(1..=8).contains(stride) {
                return refuse(format!("element stride {d} is {stride}, not 1 to 8"));
            }
        }
        let sizes = (0..self.rank).map(|d| u64::from(self.taken(d)));
        let bytes = sizes.product::<u64>() * u64::from(self.element.bytes());
        if bytes > 256 << 10 {
            return refuse(format!("a box of {bytes} bytes is more than shared memory holds"));
        }
        let row = self.row_bytes();
        if !row.is_multiple_of(16) {
            return refuse(format!("a row of the box is {row} bytes, not a multiple of 16"));
        }
        if self.swizzle != Swizzle::None {
            let span = self.swizzle.span();
            if row > span {
                return refuse(format!("a row of the box is {row} bytes, the swizzle's {span}"));
            }
            if row < span {
                return refuse(format!(
                    "a row of the box is {row} bytes, less than the swizzle's {span}: where its \
                     pieces go then is not documented"
                ));
            }
        }
        Ok(())
    }

    /// Bytes of one row of the box.
    pub fn row_bytes(&self) -> u32 {
        self.box_dims[0] * self.element.bytes()
    }

    /// Dimensions.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Element type.
    pub fn element(&self) -> DataType {
        self.element
    }

    /// Swizzle.
    pub fn swizzle(&self) -> Swizzle {
        self.swizzle
    }

    /// Elements that the box takes along a dimension.
    fn taken(&self, dimension: usize) -> u32 {
        self.box_dims[dimension].div_ceil(self.element_strides[dimension])
    }

    /// Bytes of the box in shared memory: what an mbarrier is told, clipped or not.
    pub fn box_bytes(&self) -> u32 {
        (1..self.rank).map(|d| self.taken(d)).product::<u32>() * self.row_bytes()
    }

    /// What the shared address of a box must be a multiple of.
    pub fn shared_alignment(&self) -> u32 {
        128
    }

    /// Sixteen bytes of what a load writes outside the tensor.
    pub fn fill_bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        if self.fill == Fill::Nan {
            // The canonical NaN, all ones but the sign, little endian.
            for element in bytes.chunks_mut(self.element.bytes() as usize) {
                element.fill(0xff);
                if let Some(last) = element.last_mut() {
                    *last = 0x7f;
                }
            }
        }
        bytes
    }

    /// What a load does to the elements on their way: f32 with `_FTZ` loses subnormal numbers.
    pub fn convert(&self, bytes: &mut [u8; 16]) {
        if self.element != DataType::F32Ftz {
            return;
        }
        for element in bytes.as_chunks_mut::<4>().0 {
            let bits = u32::from_le_bytes(*element);
            if bits & 0x7f80_0000 == 0 {
                *element = (bits & 0x8000_0000).to_le_bytes();
            }
        }
    }

    /// Lists the pieces of the box whose first element is at `coordinates` (as many as the rank,
    /// dimension 0 first, negative or beyond the end if need be) and whose place in shared memory
    /// starts at address `shared`. Dimension 0 of the box is contiguous, then dimension 1, and so
    /// on; the swizzle then moves each piece by the bits of its address.
    pub fn box_pieces(&self, coordinates: &[i32], shared: u32, mut emit: impl FnMut(Piece)) {
        let first = |d: usize| i64::from(coordinates.get(d).copied().unwrap_or(0));
        let bytes = i64::from(self.element.bytes());
        let row_bytes = self.row_bytes();
        // The part of a row that the tensor has, in bytes from the start of the row.
        let width = i64::try_from(self.dims[0]).unwrap_or(i64::MAX);
        let begin = (-first(0)).clamp(0, i64::from(self.box_dims[0])) * bytes;
        let end = (width - first(0)).clamp(0, i64::from(self.box_dims[0])) * bytes;
        let rows: u32 = (1..self.rank).map(|d| self.taken(d)).product();
        for row in 0..rows {
            let (mut rest, mut inside) = (row, begin < end);
            let mut global = self.address as i64 + first(0) * bytes;
            for d in 1..self.rank {
                let step = rest % self.taken(d);
                rest /= self.taken(d);
                let at = first(d) + i64::from(step * self.element_strides[d]);
                inside &= at >= 0 && (at as u64) < self.dims[d];
                global = global.wrapping_add(at.wrapping_mul(self.strides[d] as i64));
            }
            for piece in (0..row_bytes).step_by(16) {
                let from = begin.max(i64::from(piece));
                let to = end.min(i64::from(piece) + 16);
                let has = inside && from < to;
                emit(Piece {
                    shared: self.swizzle.apply(shared + row * row_bytes + piece),
                    skip: if has { (from - i64::from(piece)) as u32 } else { 0 },
                    bytes: if has { (to - from) as u32 } else { 0 },
                    global: if has { (global + from) as u64 } else { 0 },
                });
            }
        }
    }

    /// The 128 bytes that a kernel gets.
    pub fn encode(&self) -> [u8; 128] {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend([self.element as u8, self.rank as u8]);
        bytes.extend([self.swizzle.to_tensor_map() as u8, u8::from(self.fill == Fill::Nan)]);
        bytes.extend(self.address.to_le_bytes());
        bytes.extend(self.dims.iter().flat_map(|dim| dim.to_le_bytes()));
        bytes.extend(self.strides[1..].iter().flat_map(|stride| stride.to_le_bytes()));
        bytes.extend(self.box_dims.iter().flat_map(|size| (*size as u16).to_le_bytes()));
        bytes.extend(self.element_strides.iter().map(|stride| *stride as u8));
        let mut out = [0; 128];
        out[..bytes.len()].copy_from_slice(&bytes);
        out
    }

    /// The reverse of [`TensorMap::encode`]: refuses whatever is not such a map.
    pub fn decode(bytes: &[u8; 128]) -> Result<TensorMap, Error> {
        let mut reader = Reader { bytes };
        if reader.number(8) != MAGIC {
            return refuse("these 128 bytes are not a tensor map of this simulator".into());
        }
        let element = DataType::from_code(reader.number(1) as u32);
        let rank = (reader.number(1) as usize).min(MAX_RANK);
        let swizzle = Swizzle::from_tensor_map(reader.number(1) as u32);
        let (Some(element), Some(swizzle)) = (element, swizzle) else {
            return refuse("its type or swizzle does not exist".into());
        };
        let fill = if reader.number(1) == 0 { Fill::Zero } else { Fill::Nan };
        let address = reader.number(8);
        let dims: [u64; MAX_RANK] = std::array::from_fn(|_| reader.number(8));
        let strides: [u64; MAX_RANK - 1] = std::array::from_fn(|_| reader.number(8));
        let box_dims: [u32; MAX_RANK] = std::array::from_fn(|_| reader.number(2) as u32);
        let element_strides: [u32; MAX_RANK] = std::array::from_fn(|_| reader.number(1) as u32);
        TensorMap::new(&Tiled {
            element,
            address,
            dims: &dims[..rank],
            strides: &strides[..rank.saturating_sub(1)],
            box_dims: &box_dims[..rank],
            element_strides: &element_strides[..rank],
            swizzle,
            fill,
        })
    }
}

/// Takes little-endian numbers off the front.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn number(&mut self, bytes: usize) -> u64 {
        let (front, rest) = self.bytes.split_at(bytes.min(self.bytes.len()));
        self.bytes = rest;
        front.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}
