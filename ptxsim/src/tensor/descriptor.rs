//! Matrix descriptors of `wgmma`: where each core matrix of an operand lies in shared memory (PTX
//! ISA, "Asynchronous warpgroup level matrix shared memory layout").
//!
//! An operand is a grid of core matrices: *groups* of eight along M or N, *blocks* of 16 bytes
//! (K-major) or of eight rows (MN-major) along K. With `T` elements in 16 bytes and a swizzle
//! span of `S` bytes, row `r` of the core matrix (group, block) starts, before the swizzle, at
//! the descriptor's start address plus
//!
//! - K-major, no swizzle: `group * stride + block * leading + r * 16`
//! - K-major, swizzled: `group * stride + block * 16 + r * S`; `leading` is not used
//! - MN-major, no swizzle: `group * stride + block * leading + r * 16`
//! - MN-major, swizzled: `group / (S/16) * leading + block * stride + group % (S/16) * 16 + r * S`
//!
//! where a row of a K-major core matrix is `T` elements along K of one m or n, and a row of an
//! MN-major one is `T` elements along M or N of one k.

use super::swizzle::Swizzle;

/// Which dimension is contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Major {
    /// K: the transpose bit is 0.
    K,
    /// M of A, N of B: the transpose bit is 1. Only 16-bit types have it.
    Mn,
}

impl Major {
    /// Of the transpose bit.
    pub const fn of(transposed: bool) -> Major {
        if transposed { Major::Mn } else { Major::K }
    }
}

/// A decoded descriptor. All in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Shared address of the first element, swizzle not applied.
    pub start: u32,
    /// Leading dimension byte offset.
    pub leading: u32,
    /// Stride dimension byte offset.
    pub stride: u32,
    /// Base offset: where the swizzle's pattern starts.
    pub base_offset: u32,
    /// Swizzle.
    pub swizzle: Swizzle,
}

/// One row of a core matrix: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreRow {
    /// Shared address before the swizzle.
    pub plain: u32,
    /// Shared address at which the bytes are.
    pub address: u32,
}

impl Descriptor {
    /// Decodes a descriptor; what is wrong with it, if something is.
    pub fn decode(bits: u64) -> Result<Descriptor, String> {
        let field = |shift: u32| ((bits >> shift & 0x3fff) as u32) << 4;
        let descriptor = Descriptor {
            start: field(0),
            leading: field(16),
            stride: field(32),
            base_offset: (bits >> 49 & 7) as u32,
            swizzle: Swizzle::from_descriptor(bits >> 62),
        };
        // Bits 14-15, 30-31, 46-48 and 52-61 are in no field.
        let stray = bits & 0x3ff1_c000_c000_c000;
        if stray != 0 {
            return Err(format!(
                "matrix descriptor {bits:#018x} sets bits {stray:#018x}, which are in no field"
            ));
        }
        if descriptor.base_offset != 0 {
            return Err(format!(
                "matrix descriptor {bits:#018x} has base offset {}, which is not modelled: tiles \
                 must lie at a multiple of the swizzle's period",
                descriptor.base_offset
            ));
        }
        Ok(descriptor)
    }

    /// The bits of a descriptor.
    pub fn encode(&self) -> u64 {
        let field = |bytes: u32| u64::from(bytes >> 4 & 0x3fff);
        field(self.start)
            | field(self.leading) << 16
            | field(self.stride) << 32
            | u64::from(self.base_offset & 7) << 49
            | self.swizzle.to_descriptor() << 62
    }

    /// What makes it wrong for an operand with `mn` rows or columns: a row of a swizzled tile
    /// that does not hold the bytes which the layout takes from it.
    pub fn check(&self, major: Major, mn: usize) -> Result<(), String> {
        let span = self.swizzle.span();
        let at = self.start % span;
        let (taken, of) = match major {
            Major::K => (32, "K"),
            Major::Mn => ((2 * mn as u32).min(span), "M or N"),
        };
        if self.swizzle == Swizzle::None || at + taken <= span {
            return Ok(());
        }
        Err(format!(
            "the {taken} bytes of {of} that start {at} bytes into a row leave the {span}-byte \
             swizzle"
        ))
    }

    /// Shared address, before the swizzle, of row `row` of core matrix (`group`, `block`).
    #[inline]
    pub fn plain_address(&self, major: Major, group: u32, block: u32, row: u32) -> u32 {
        let span = self.swizzle.span();
        let offset = match (major, self.swizzle) {
            (_, Swizzle::None) => group * self.stride + block * self.leading + row * 16,
            (Major::K, _) => group * self.stride + block * 16 + row * span,
            (Major::Mn, _) => {
                let pieces = span / 16;
                let along = group / pieces * self.leading + group % pieces * 16;
                along + block * self.stride + row * span
            }
        };
        self.start + offset
    }

    /// The eight rows of core matrix (`group`, `block`).
    #[inline]
    pub fn core_rows(&self, major: Major, group: u32, block: u32) -> [CoreRow; 8] {
        std::array::from_fn(|row| {
            let plain = self.plain_address(major, group, block, row as u32);
            CoreRow { plain, address: self.swizzle.apply(plain) }
        })
    }
}
