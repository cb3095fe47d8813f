//! Matrix arithmetic: `mma`, the pure parts of `wgmma`, of matrix loads and of tensor copies.
//!
//! One picture serves all of it. A *core matrix* is eight rows of 16 bytes; laid over a warp,
//! lane `4 * row + quarter` holds four bytes of it, so a [`crate::isa::Row32`] *is* a core matrix
//! in memory order. The A and B fragments of every `mma` and `wgmma` shape are made of core
//! matrices, whatever the element type (PTX ISA, "Matrix Fragments for mma.m16n8k16" and its
//! siblings), and so are the tiles in shared memory.

pub mod core_matrix;
pub mod decode_mma;
pub mod decode_wgmma;
pub mod descriptor;
pub mod hopper;
pub mod kernels;
pub mod matrix;
pub mod mma;
#[cfg(target_arch = "x86_64")]
mod simd;
pub mod swizzle;
pub mod tma;
pub mod wgmma;

/// How products of matrices are added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// f32 fused multiply-adds in ascending k, rounded to nearest: easy to reproduce elsewhere.
    #[default]
    Plain,
    /// The published model of Hopper's tensor cores; see [`hopper`].
    Hopper,
}

/// Element types of A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Element {
    F16,
    Bf16,
    Tf32,
    E4m3,
    E5m2,
    S8,
    U8,
}

impl Element {
    const ALL: [Element; 7] = {
        use Element::*;
        [F16, Bf16, Tf32, E4m3, E5m2, S8, U8]
    };

    /// The type that PTX calls `name`.
    pub fn parse(name: &str) -> Option<Element> {
        Element::ALL.into_iter().find(|element| element.name() == name)
    }

    /// PTX's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Element::F16 => "f16",
            Element::Bf16 => "bf16",
            Element::Tf32 => "tf32",
            Element::E4m3 => "e4m3",
            Element::E5m2 => "e5m2",
            Element::S8 => "s8",
            Element::U8 => "u8",
        }
    }

    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Element::F16 | Element::Bf16 => 2,
            Element::Tf32 => 4,
            _ => 1,
        }
    }

    /// Elements in a row of a core matrix.
    pub const fn per_row(self) -> usize {
        16 / self.bytes()
    }

    /// s8 or u8.
    pub const fn is_integer(self) -> bool {
        matches!(self, Element::S8 | Element::U8)
    }

    /// The element numbered `index`, for forms packed into an immediate.
    pub(crate) fn from_index(index: usize) -> Element {
        Element::ALL[index % Element::ALL.len()]
    }
}

/// Types of C and D.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Accumulator {
    F32,
    F16,
    S32,
}

impl Accumulator {
    /// The type that PTX calls `name`.
    pub fn parse(name: &str) -> Option<Accumulator> {
        match name {
            "f32" => Some(Accumulator::F32),
            "f16" => Some(Accumulator::F16),
            "s32" => Some(Accumulator::S32),
            _ => None,
        }
    }

    /// The type numbered `index`, for forms packed into an immediate.
    pub(crate) fn from_index(index: usize) -> Accumulator {
        [Accumulator::F32, Accumulator::F16, Accumulator::S32][index % 3]
    }
}
