//! The permutation of 16-byte pieces by which rows of a tile in shared memory avoid each other's
//! banks (PTX ISA, "Shared memory matrix layout" and "Swizzling modes" of tensor copies).
//!
//! It acts on bits of the *address*, so that it does not matter where in a tile a product starts,
//! only where the tile lies: both `wgmma` and tensor copies apply it to the sum of base and
//! offset. Hence tiles that repeat it lie at multiples of [`Swizzle::period`].

/// How wide the permutation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Swizzle {
    /// None.
    #[default]
    None,
    /// Within 32 bytes.
    B32,
    /// Within 64 bytes.
    B64,
    /// Within 128 bytes.
    B128,
}

impl Swizzle {
    /// Bytes of a row that it permutes; 16 where it does nothing.
    pub const fn span(self) -> u32 {
        match self {
            Swizzle::None => 16,
            Swizzle::B32 => 32,
            Swizzle::B64 => 64,
            Swizzle::B128 => 128,
        }
    }

    /// Bytes after which the pattern repeats: eight rows.
    pub const fn period(self) -> u32 {
        8 * self.span()
    }

    /// Where the byte of address `address` lies: bits 4 to 6 of it, as many as there are pieces
    /// in a span, are combined with bits 7 to 9 by exclusive or.
    #[inline]
    pub const fn apply(self, address: u32) -> u32 {
        address ^ (address >> 7 & (self.span() / 16 - 1)) << 4
    }

    /// The mode of bits 62-63 of a matrix descriptor.
    pub const fn from_descriptor(code: u64) -> Swizzle {
        match code & 3 {
            0 => Swizzle::None,
            1 => Swizzle::B128,
            2 => Swizzle::B64,
            _ => Swizzle::B32,
        }
    }

    /// The reverse of [`Swizzle::from_descriptor`].
    pub const fn to_descriptor(self) -> u64 {
        match self {
            Swizzle::None => 0,
            Swizzle::B128 => 1,
            Swizzle::B64 => 2,
            Swizzle::B32 => 3,
        }
    }

    /// The mode that `CUtensorMapSwizzle` numbers `code`: the other way round than descriptors.
    pub const fn from_tensor_map(code: u32) -> Option<Swizzle> {
        match code {
            0 => Some(Swizzle::None),
            1 => Some(Swizzle::B32),
            2 => Some(Swizzle::B64),
            3 => Some(Swizzle::B128),
            _ => None,
        }
    }

    /// The reverse of [`Swizzle::from_tensor_map`].
    pub const fn to_tensor_map(self) -> u32 {
        match self {
            Swizzle::None => 0,
            Swizzle::B32 => 1,
            Swizzle::B64 => 2,
            Swizzle::B128 => 3,
        }
    }
}
