//! Fused multiply-adds over rows. Without the processor's instruction each is a call of a library
//! function, several times slower, and a portable build may not assume it; so it is asked for at
//! run time. Both ways are exactly rounded, so that the results are the same on every machine.
//!
//! This is the only file of the crate's arithmetic with `unsafe`.
#![allow(unsafe_code)]

use crate::isa::LANES;

/// `a * b + c` in every lane, rounded once.
#[inline]
pub fn fma_f32(a: &[f32; LANES], b: &[f32; LANES], c: &[f32; LANES]) -> [f32; LANES] {
    #[cfg(target_arch = "x86_64")]
    if has_fma() {
        // SAFETY: the processor has the instructions that the function is compiled for.
        return unsafe { fma_f32_x86(a, b, c) };
    }
    std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
}

/// `a * b + c` in every lane, rounded once.
#[inline]
pub fn fma_f64(a: &[f64; LANES], b: &[f64; LANES], c: &[f64; LANES]) -> [f64; LANES] {
    #[cfg(target_arch = "x86_64")]
    if has_fma() {
        // SAFETY: the processor has the instructions that the function is compiled for.
        return unsafe { fma_f64_x86(a, b, c) };
    }
    std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
}

/// Whether the processor has AVX2 and FMA; the standard library remembers the answer.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn has_fma() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn fma_f32_x86(a: &[f32; LANES], b: &[f32; LANES], c: &[f32; LANES]) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    for lane in 0..LANES {
        out[lane] = a[lane].mul_add(b[lane], c[lane]);
    }
    out
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn fma_f64_x86(a: &[f64; LANES], b: &[f64; LANES], c: &[f64; LANES]) -> [f64; LANES] {
    let mut out = [0.0; LANES];
    for lane in 0..LANES {
        out[lane] = a[lane].mul_add(b[lane], c[lane]);
    }
    out
}
