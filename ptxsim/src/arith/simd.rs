//! Rows with wider vectors than a portable build may assume: a function is compiled twice, once
//! for AVX2 and FMA, and which of the two runs is decided by the processor. It is the same Rust
//! both times, and Rust neither contracts nor reorders floating-point operations, so that the
//! results are the same on every machine.
//!
//! This is the only file of the crate's arithmetic with `unsafe`.
#![allow(unsafe_code)]

use crate::isa::{Inst, Registers};

/// `wide` or `plain`, which must do the same: `wide` is compiled for the wider vectors. Both must
/// be small or `#[inline(always)]`, since only what is inlined here is compiled anew.
#[inline(always)]
pub fn twice<A, R>(given: A, wide: impl FnOnce(A) -> R, plain: impl FnOnce(A) -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has the instructions that the function is compiled for.
        return unsafe { avx2(given, wide) };
    }
    let _ = wide;
    plain(given)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<A, R>(given: A, f: impl FnOnce(A) -> R) -> R {
    f(given)
}

/// [`twice`] for functions of the table.
#[inline(always)]
pub fn rows(
    r: &mut Registers,
    i: &Inst,
    mask: u32,
    wide: impl FnOnce(&mut Registers, &Inst, u32),
    plain: impl FnOnce(&mut Registers, &Inst, u32),
) {
    twice((r, i, mask), |(r, i, mask)| wide(r, i, mask), |(r, i, mask)| plain(r, i, mask));
}
