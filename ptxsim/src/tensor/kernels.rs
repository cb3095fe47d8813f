//! The routines that decide how fast matrix products run, in a portable form, and the choice
//! between it and the one for AVX2. Both give the same bits.

use super::Element;
use super::core_matrix as portable;
use crate::isa::Row32;

/// C or D of a 16x8 product, as the fragment has it: lane `4 * g + q` of row `r` is element
/// `(g + 8 * (r / 2), 2 * q + r % 2)`. f32 by their bits, or s32.
pub type Fragment = [Row32; 4];
/// A of a product: 16 rows of up to 32 elements.
pub type RowsA = [[f32; 32]; 16];
/// A of an integer product: 16 rows of up to 16 pairs of i16, the lower one first.
pub type PairsA = [[i32; 16]; 16];

/// The routines. Those that widen take floating-point types, those that pair s8 and u8.
pub struct Kernels {
    /// Elements of a core matrix as f32: row `r` goes to `out[r][at..]`.
    pub widen_rows: fn(Element, &Row32, out: &mut [[f32; 32]], at: usize),
    /// Elements of a core matrix as f32, transposed: `out[element][row]`.
    pub widen_columns: fn(Element, &Row32, out: &mut [[f32; 8]]),
    /// Bytes of a core matrix as pairs of i16: row `r` goes to `out[r][at..at + 8]`.
    pub pair_rows: fn(Element, &Row32, out: &mut [[i32; 16]], at: usize),
    /// Bytes of a core matrix as pairs of i16, transposed: `out[pair][row]`.
    pub pair_columns: fn(Element, &Row32, out: &mut [[i32; 8]]),
    /// Adds the products of A (16 rows) and B (`b[k][column]`, at most 32 of k) to f32s, by fused
    /// multiply-adds in ascending k. A NaN becomes 0x7fffffff.
    pub multiply: fn(&mut Fragment, &RowsA, b: &[[f32; 8]]),
    /// The same for s32, wrapping; at most 16 pairs.
    pub multiply_pairs: fn(&mut Fragment, &PairsA, b: &[[i32; 8]]),
    /// A whole `mma` of floating-point types: A's core matrices (rows 0-7, rows 8-15, then the
    /// same further along k), B's core matrices along k, and f32 accumulators.
    pub mma: fn([Element; 2], a: &[&Row32], b: &[&Row32], &mut Fragment),
    /// Two f16 a lane to two rows of f32.
    pub unpack_halves: fn(&Row32, low: &mut Row32, high: &mut Row32),
    /// Two rows of f32 to two f16 a lane, to nearest.
    pub pack_halves: fn(low: &Row32, high: &Row32) -> Row32,
}

/// The routines in plain Rust.
pub static PORTABLE: Kernels = Kernels {
    widen_rows: portable::widen_rows,
    widen_columns: portable::widen_columns,
    pair_rows: portable::pair_rows,
    pair_columns: portable::pair_columns,
    multiply: portable::multiply,
    multiply_pairs: portable::multiply_pairs,
    mma: portable::mma,
    unpack_halves: portable::unpack_halves,
    pack_halves: portable::pack_halves,
};

/// The fastest routines that this CPU can run.
#[inline]
pub fn kernels() -> &'static Kernels {
    #[cfg(target_arch = "x86_64")]
    if super::simd::available() {
        return &super::simd::KERNELS;
    }
    &PORTABLE
}
