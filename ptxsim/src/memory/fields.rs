//! What the modifiers of a load, store or atomic say, packed into `Inst::target`.

use crate::machine::order::Strength;

/// Where an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Where {
    /// Device memory, `.const` included.
    Global,
    /// Shared memory of the block or the cluster.
    Shared,
    /// Local memory.
    Local,
    /// The address tells.
    Generic,
    /// The entry's parameters, at an address in a register.
    Param,
    /// The entry's parameters, at the offset `inst.imm`.
    EntryParam,
    /// `.param` bytes of the activation, at the offset `inst.imm`.
    FrameParam,
}

/// What the modifiers say.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// Where.
    pub space: Where,
    /// Bytes of an element.
    pub size: u32,
    /// Elements.
    pub elements: u32,
    /// Sign-extend to this many bits; 0 to zero-extend.
    pub signed: u32,
    /// The data registers have 64 bits.
    pub wide: bool,
    /// The address register has 64 bits.
    pub address64: bool,
    /// `.nc`.
    pub non_coherent: bool,
    /// What it orders.
    pub strength: Strength,
}

impl Fields {
    /// What an opcode without modifiers says; the size is still missing.
    pub const PLAIN: Fields = Fields {
        space: Where::Generic,
        size: 0,
        elements: 1,
        signed: 0,
        wide: false,
        address64: false,
        non_coherent: false,
        strength: Strength::WEAK,
    };

    /// Bytes of the whole access.
    pub fn bytes(&self) -> u32 {
        self.size * self.elements
    }

    /// Into `Inst::target`.
    pub fn pack(&self) -> u32 {
        let signed = match self.signed {
            0 => 0,
            16 => 1,
            32 => 2,
            _ => 3,
        };
        self.strength.pack()
            | (self.space as u32) << 6
            | self.size.trailing_zeros() << 9
            | self.elements.trailing_zeros() << 11
            | signed << 13
            | (self.wide as u32) << 15
            | (self.address64 as u32) << 16
            | (self.non_coherent as u32) << 17
    }

    /// The reverse of `pack`.
    #[inline]
    pub fn unpack(bits: u32) -> Fields {
        let space = match bits >> 6 & 7 {
            0 => Where::Global,
            1 => Where::Shared,
            2 => Where::Local,
            3 => Where::Generic,
            4 => Where::Param,
            5 => Where::EntryParam,
            _ => Where::FrameParam,
        };
        Fields {
            space,
            size: 1 << (bits >> 9 & 3),
            elements: 1 << (bits >> 11 & 3),
            signed: [0, 16, 32, 64][(bits >> 13 & 3) as usize],
            wide: bits >> 15 & 1 != 0,
            address64: bits >> 16 & 1 != 0,
            non_coherent: bits >> 17 & 1 != 0,
            strength: Strength::unpack(bits),
        }
    }

    /// Extends what was read to the width of the register.
    #[inline(always)]
    pub fn extend(&self, value: u64) -> u64 {
        if self.signed == 0 {
            return value;
        }
        let shift = 64 - 8 * self.size;
        let extended = ((value << shift) as i64 >> shift) as u64;
        extended & (u64::MAX >> (64 - self.signed))
    }
}
