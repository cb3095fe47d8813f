//! Matrix arithmetic and warp instructions against the PTX ISA written out a second time.

mod decode;
mod hopper;
mod matrix;
pub mod mma;
mod tma;
mod warp;
mod wgmma;

/// A small generator of repeatable random numbers (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn word(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn row(&mut self) -> [u32; 32] {
        std::array::from_fn(|_| self.word())
    }
}
