//! Sixteen f32 lanes on three instruction sets, with the same bits on each.
//!
//! Kernels are written once over [`Simd`] and run by [`InstructionSet::run`], which picks the
//! instruction set at run time. Every operation here is exactly rounded (IEEE 754 binary32, fused
//! multiply-add included) and works lane by lane, so a kernel cannot tell the sets apart; the one
//! reduction, [`Simd::sum`], is defined by its tree.
//!
//! This is the only file of the CPU backend with `unsafe`. A value of [`Avx2`] or [`Avx512`] is
//! proof that the processor has the instructions: it is only made by [`InstructionSet::available`].
//! What runs on them must be inlined into [`Simd::call`], hence `#[inline(always)]` on kernels.
#![allow(unsafe_code)]

use std::fmt;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Lanes of a vector; the period of the order in which everything here is summed.
pub const LANES: usize = 16;

/// Work that is written once and compiled for each instruction set.
pub trait Kernel {
    /// What the work gives.
    type Out;
    /// Does the work; implementations are `#[inline(always)]`, as is all they call with `simd`.
    fn run<S: Simd>(self, simd: S) -> Self::Out;
}

/// Operations on sixteen f32 lanes.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Sixteen lanes.
    type V: Copy;
    /// Sixteen words of eight weights of 4 bits each.
    type Words: Copy;
    /// What a weight of 4 bits stands for in one group of one row.
    type Table: Copy;
    /// The tile of products that fits into the registers: rows of x and rows of weights. 1 x 1,
    /// 2 x 2 or 4 x 4.
    const TILE: (usize, usize);

    /// Runs a kernel in a function compiled for this instruction set.
    fn call<K: Kernel>(self, kernel: K) -> K::Out;
    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::V;
    /// Lanes from memory.
    fn load(self, x: &[f32; LANES]) -> Self::V;
    /// Lanes from little-endian binary32.
    fn load_f32(self, x: &[u8; 4 * LANES]) -> Self::V;
    /// Lanes from little-endian bfloat16.
    fn load_bf16(self, x: &[u8; 2 * LANES]) -> Self::V;
    /// Lanes from little-endian binary16.
    fn load_f16(self, x: &[u8; 2 * LANES]) -> Self::V;
    /// Lanes from signed bytes.
    fn load_i8(self, x: &[i8; LANES]) -> Self::V;
    /// Words from memory, little-endian.
    fn load_words(self, x: &[u8; 4 * LANES]) -> Self::Words;
    /// The words without their lowest weight: the next one is then the lowest.
    fn next_weight(self, words: Self::Words) -> Self::Words;
    /// Weight q stands for `scale * (q - zero_point)`, the product rounded once; the difference of
    /// two small whole numbers is exact.
    fn table(self, scale: f32, zero_point: f32) -> Self::Table;
    /// What the lowest weight of each word stands for.
    fn lowest_weight(self, words: Self::Words, table: Self::Table) -> Self::V;
    /// Lanes to memory.
    fn store(self, v: Self::V, out: &mut [f32; LANES]);
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a - b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `if a > b { a } else { b }`: b where either is not a number.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `if a < b { a } else { b }`: b where either is not a number.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `2^n` for whole n in -126..=127.
    fn pow2(self, n: Self::V) -> Self::V;
    /// Asks for the cache line at `at` to be brought into the second-level cache; `at` need not be
    /// memory of ours. Into the first level it gains nothing: too few misses can wait there. The
    /// hardware's own prefetch stops at each page and starts anew with each row.
    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE is part of x86-64, and a prefetch of any address neither reads nor faults.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(at.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }
    /// The lanes' sum: lane i + lane i + 8 for i below 8, then + 4, + 2, + 1 likewise.
    fn sum(self, v: Self::V) -> f32;
    /// [`Simd::sum`] of each of N vectors.
    #[inline(always)]
    fn sums<const N: usize>(self, v: &[Self::V; N]) -> [f32; N] {
        let mut out = [0.0; N];
        for (out, &v) in out.iter_mut().zip(v) {
            *out = self.sum(v);
        }
        out
    }
}

/// 1.5 * 2^23: adding it to a small whole number leaves that number in the lowest bits.
const WHOLE: f32 = 12_582_912.0;

/// The instructions that kernels run on.
#[derive(Clone, Copy)]
pub enum InstructionSet {
    /// Plain Rust.
    Portable(Portable),
    /// AVX2, FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl InstructionSet {
    /// The sets that this processor has, slowest first; never empty.
    pub fn available() -> Vec<InstructionSet> {
        let mut sets = vec![InstructionSet::Portable(Portable)];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            sets.push(InstructionSet::Avx2(Avx2(())));
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                sets.push(InstructionSet::Avx512(Avx512(())));
            }
        }
        sets
    }

    /// Runs a kernel on this set.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Out {
        match self {
            InstructionSet::Portable(s) => s.call(kernel),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2(s) => s.call(kernel),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512(s) => s.call(kernel),
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InstructionSet::Portable(_) => "portable",
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2(_) => "AVX2",
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512(_) => "AVX-512",
        })
    }
}

/// Plain Rust: sixteen numbers, one at a time or as the compiler likes.
#[derive(Clone, Copy)]
pub struct Portable;

/// Sixteen results of `$f` on the lanes of the arguments.
macro_rules! each_lane {
    ($i:ident, $f:expr) => {{
        let mut out = [0.0f32; LANES];
        for $i in 0..LANES {
            out[$i] = $f;
        }
        out
    }};
}

impl Simd for Portable {
    type V = [f32; LANES];
    type Words = [u32; LANES];
    type Table = (f32, f32);
    const TILE: (usize, usize) = (1, 1);

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Out {
        kernel.run(self)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; LANES]
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::V {
        *x
    }
    #[inline(always)]
    fn load_f32(self, x: &[u8; 4 * LANES]) -> Self::V {
        each_lane!(i, f32::from_le_bytes([x[4 * i], x[4 * i + 1], x[4 * i + 2], x[4 * i + 3]]))
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u8; 2 * LANES]) -> Self::V {
        each_lane!(i, f32::from_bits(u32::from_le_bytes([0, 0, x[2 * i], x[2 * i + 1]])))
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 2 * LANES]) -> Self::V {
        each_lane!(i, half::f16::from_le_bytes([x[2 * i], x[2 * i + 1]]).to_f32())
    }
    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> Self::V {
        each_lane!(i, f32::from(x[i]))
    }
    #[inline(always)]
    fn load_words(self, x: &[u8; 4 * LANES]) -> Self::Words {
        let mut words = [0; LANES];
        for (word, bytes) in words.iter_mut().zip(x.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        words
    }
    #[inline(always)]
    fn next_weight(self, words: Self::Words) -> Self::Words {
        words.map(|word| word >> 4)
    }
    #[inline(always)]
    fn table(self, scale: f32, zero_point: f32) -> Self::Table {
        (scale, zero_point)
    }
    #[inline(always)]
    fn lowest_weight(self, words: Self::Words, (scale, zero_point): Self::Table) -> Self::V {
        each_lane!(i, scale * ((words[i] & 15) as f32 - zero_point))
    }
    #[inline(always)]
    fn store(self, v: Self::V, out: &mut [f32; LANES]) {
        *out = v;
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        each_lane!(i, a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        each_lane!(i, a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        each_lane!(i, a[i] * b[i])
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        each_lane!(i, a[i] / b[i])
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        each_lane!(i, a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        each_lane!(i, if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        each_lane!(i, if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn pow2(self, n: Self::V) -> Self::V {
        each_lane!(i, f32::from_bits((n[i] + (WHOLE + 127.0)).to_bits() << 23))
    }
    #[inline(always)]
    fn sum(self, mut v: Self::V) -> f32 {
        for half in [8, 4, 2, 1] {
            for i in 0..half {
                v[i] += v[i + half];
            }
        }
        v[0]
    }
}

/// Proof that the processor has AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx2(());

/// Proof that the processor has AVX-512 F, BW, DQ and VL, and what [`Avx2`] proves.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx512(());

/// An expression of intrinsics, in a method of a type that proves that the processor has them.
#[cfg(target_arch = "x86_64")]
macro_rules! proven {
    ($e:expr) => {
        // SAFETY: `self` exists, so the instructions do; pointers come from references to arrays
        // of the size that is loaded or stored, and no access here needs alignment.
        unsafe { $e }
    };
}

#[cfg(target_arch = "x86_64")]
impl Simd for Avx2 {
    type V = [__m256; 2];
    type Words = [__m256i; 2];
    /// Scale and zero point.
    type Table = [__m256; 2];
    const TILE: (usize, usize) = (2, 2);

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Out {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn compiled<K: Kernel>(simd: Avx2, kernel: K) -> K::Out {
            kernel.run(simd)
        }
        proven!(compiled(self, kernel))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        proven!([_mm256_set1_ps(x); 2])
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::V {
        let p = x.as_ptr();
        proven!([_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))])
    }
    #[inline(always)]
    fn load_f32(self, x: &[u8; 4 * LANES]) -> Self::V {
        let p = x.as_ptr().cast::<f32>();
        proven!([_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))])
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u8; 2 * LANES]) -> Self::V {
        let p = x.as_ptr().cast::<__m128i>();
        proven!({
            let (low, high) = (_mm_loadu_si128(p), _mm_loadu_si128(p.add(1)));
            let (low, high) = (_mm256_cvtepu16_epi32(low), _mm256_cvtepu16_epi32(high));
            let (low, high) = (_mm256_slli_epi32::<16>(low), _mm256_slli_epi32::<16>(high));
            [_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)]
        })
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 2 * LANES]) -> Self::V {
        let p = x.as_ptr().cast::<__m128i>();
        proven!([_mm256_cvtph_ps(_mm_loadu_si128(p)), _mm256_cvtph_ps(_mm_loadu_si128(p.add(1))),])
    }
    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> Self::V {
        proven!({
            let bytes = _mm_loadu_si128(x.as_ptr().cast());
            let low = _mm256_cvtepi8_epi32(bytes);
            let high = _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes));
            [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)]
        })
    }
    #[inline(always)]
    fn load_words(self, x: &[u8; 4 * LANES]) -> Self::Words {
        let p = x.as_ptr().cast::<__m256i>();
        proven!([_mm256_loadu_si256(p), _mm256_loadu_si256(p.add(1))])
    }
    #[inline(always)]
    fn next_weight(self, words: Self::Words) -> Self::Words {
        proven!([_mm256_srli_epi32::<4>(words[0]), _mm256_srli_epi32::<4>(words[1])])
    }
    #[inline(always)]
    fn table(self, scale: f32, zero_point: f32) -> Self::Table {
        proven!([_mm256_set1_ps(scale), _mm256_set1_ps(zero_point)])
    }
    #[inline(always)]
    fn lowest_weight(self, words: Self::Words, [scale, zero_point]: Self::Table) -> Self::V {
        proven!({
            let mask = _mm256_set1_epi32(15);
            let low = _mm256_cvtepi32_ps(_mm256_and_si256(words[0], mask));
            let high = _mm256_cvtepi32_ps(_mm256_and_si256(words[1], mask));
            let (low, high) = (_mm256_sub_ps(low, zero_point), _mm256_sub_ps(high, zero_point));
            [_mm256_mul_ps(scale, low), _mm256_mul_ps(scale, high)]
        })
    }
    #[inline(always)]
    fn store(self, v: Self::V, out: &mut [f32; LANES]) {
        let p = out.as_mut_ptr();
        proven!({
            _mm256_storeu_ps(p, v[0]);
            _mm256_storeu_ps(p.add(8), v[1]);
        })
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        proven!([_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        proven!([_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        proven!([_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        proven!([_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        proven!([_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])])
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        proven!([_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        proven!([_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])])
    }
    #[inline(always)]
    fn pow2(self, n: Self::V) -> Self::V {
        let biased = self.add(n, self.splat(WHOLE + 127.0));
        proven!({
            let (low, high) = (_mm256_castps_si256(biased[0]), _mm256_castps_si256(biased[1]));
            let (low, high) = (_mm256_slli_epi32::<23>(low), _mm256_slli_epi32::<23>(high));
            [_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)]
        })
    }
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        proven!({
            let eight = _mm256_add_ps(v[0], v[1]);
            let (low, high) = (_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let four = _mm_add_ps(low, high);
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        })
    }
}

#[cfg(target_arch = "x86_64")]
impl Simd for Avx512 {
    type V = __m512;
    type Words = __m512i;
    /// All sixteen values: one instruction looks sixteen of them up.
    type Table = __m512;
    const TILE: (usize, usize) = (4, 4);

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Out {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
        fn compiled<K: Kernel>(simd: Avx512, kernel: K) -> K::Out {
            kernel.run(simd)
        }
        proven!(compiled(self, kernel))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        proven!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::V {
        proven!(_mm512_loadu_ps(x.as_ptr()))
    }
    #[inline(always)]
    fn load_f32(self, x: &[u8; 4 * LANES]) -> Self::V {
        proven!(_mm512_loadu_ps(x.as_ptr().cast()))
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u8; 2 * LANES]) -> Self::V {
        proven!({
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        })
    }
    #[inline(always)]
    fn load_f16(self, x: &[u8; 2 * LANES]) -> Self::V {
        proven!(_mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast())))
    }
    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> Self::V {
        proven!(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(x.as_ptr().cast()))))
    }
    #[inline(always)]
    fn load_words(self, x: &[u8; 4 * LANES]) -> Self::Words {
        proven!(_mm512_loadu_si512(x.as_ptr().cast()))
    }
    #[inline(always)]
    fn next_weight(self, words: Self::Words) -> Self::Words {
        proven!(_mm512_srli_epi32::<4>(words))
    }
    #[inline(always)]
    fn table(self, scale: f32, zero_point: f32) -> Self::Table {
        const WEIGHTS: [f32; 16] =
            [0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.];
        self.mul(self.splat(scale), self.sub(self.load(&WEIGHTS), self.splat(zero_point)))
    }
    #[inline(always)]
    fn lowest_weight(self, words: Self::Words, table: Self::Table) -> Self::V {
        proven!(_mm512_permutexvar_ps(words, table)) // which reads four bits of an index
    }
    #[inline(always)]
    fn store(self, v: Self::V, out: &mut [f32; LANES]) {
        proven!(_mm512_storeu_ps(out.as_mut_ptr(), v))
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        proven!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        proven!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        proven!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        proven!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        proven!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        proven!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        proven!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn pow2(self, n: Self::V) -> Self::V {
        let biased = self.add(n, self.splat(WHOLE + 127.0));
        proven!(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(biased))))
    }
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        let (low, high) = proven!((_mm512_castps512_ps256(v), _mm512_extractf32x8_ps::<1>(v)));
        Avx2(()).sum([low, high])
    }
    #[inline(always)]
    fn sums<const N: usize>(self, v: &[Self::V; N]) -> [f32; N] {
        let mut out = [0.0; N];
        let (fours, rest) = v.as_chunks();
        let (out_fours, out_rest) = out.as_chunks_mut();
        for (out, v) in out_fours.iter_mut().zip(fours) {
            *out = self.sum_of_four(v);
        }
        for (out, &v) in out_rest.iter_mut().zip(rest) {
            *out = self.sum(v);
        }
        out
    }
}

#[cfg(target_arch = "x86_64")]
impl Avx512 {
    /// The tree of [`Simd::sum`] for four vectors at once: each addition serves all four.
    #[inline(always)]
    fn sum_of_four(self, v: &[__m512; 4]) -> [f32; 4] {
        let mut out = [0.0; 4];
        proven!({
            let halves = |a, b| {
                let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
                _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b))
            };
            let (a, b) = (halves(v[0], v[1]), halves(v[2], v[3]));
            let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
            let four = _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b));
            // Each quarter now belongs to one vector.
            let two = _mm512_add_ps(four, _mm512_permute_ps::<0b01_00_11_10>(four));
            let one = _mm512_add_ps(two, _mm512_permute_ps::<0b10_11_00_01>(two));
            let firsts = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            let packed = _mm512_castps512_ps128(_mm512_permutexvar_ps(firsts, one));
            _mm_storeu_ps(out.as_mut_ptr(), packed);
        });
        out
    }
}
