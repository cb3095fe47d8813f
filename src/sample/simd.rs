//! Which instruction set the sampler's loops are compiled for. Not part of the definition.
//!
//! `f32::mul_add` is exact: it rounds once, whether one instruction computes it or a library
//! routine. A target without fused multiply-add in its baseline calls the routine, some thirty
//! times slower, so every loop is compiled twice and the choice is made when the program runs. Both
//! give the same bits; a test compares them.
#![allow(unsafe_code)]

/// A loop over logits. `run` is marked `#[inline(always)]` in every implementation, with all it
/// calls, so that it takes on the instruction set of its caller.
pub(super) trait Pass {
    /// What the loop computes.
    type Out;
    /// Runs it.
    fn run(self) -> Self::Out;
}

/// The instruction set that [`super::draw_on`] uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    // Private: a value that says `true` proves that the processor was asked.
    fma: bool,
}

impl Path {
    /// What every processor of the target has.
    pub const PORTABLE: Path = Path { fma: false };

    /// The best that this processor has.
    pub fn best() -> Path {
        #[cfg(target_arch = "x86_64")]
        let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        #[cfg(not(target_arch = "x86_64"))]
        let fma = false;
        Path { fma }
    }

    /// Runs a loop with this instruction set.
    pub(super) fn run<P: Pass>(self, pass: P) -> P::Out {
        #[cfg(target_arch = "x86_64")]
        if self.fma {
            // SAFETY: `fma` is set only by `best`, after the processor reported AVX2 and FMA.
            return unsafe { run_fma(pass) };
        }
        pass.run()
    }
}

/// [`Pass::run`], compiled with AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_fma<P: Pass>(pass: P) -> P::Out {
    pass.run()
}
