//! The routines of [`super::kernels`] for AVX2, FMA and F16C: the only unsafe code of the matrix
//! arithmetic.
//!
//! Fused multiply-adds round each product and sum once, as `f32::mul_add` does, and every output
//! has its own chain of them in ascending k; so the bits are those of the portable routines.

#![allow(unsafe_code)]

use super::Element;
use super::kernels::{Fragment, Kernels, PairsA};
use crate::isa::Row32;
use std::arch::x86_64::*;
use std::sync::atomic::{AtomicU8, Ordering};

/// Whether this CPU can run these routines. Asked at every product, hence remembered.
#[inline]
pub(super) fn available() -> bool {
    static STATE: AtomicU8 = AtomicU8::new(0);
    match STATE.load(Ordering::Relaxed) {
        0 => {
            let yes = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            STATE.store(if yes { 2 } else { 1 }, Ordering::Relaxed);
            yes
        }
        state => state == 2,
    }
}

/// The routines. Whoever takes them has asked [`available`].
pub(super) static KERNELS: Kernels = Kernels {
    // SAFETY: `kernels()` hands this table out only where the features exist.
    widen_rows: |kind, core, out, at| unsafe { widen_rows(kind, core, out, at) },
    // SAFETY: as above.
    widen_columns: |kind, core, out| unsafe { widen_columns(kind, core, out) },
    // SAFETY: as above.
    pair_rows: |kind, core, out, at| unsafe { pair_rows(kind, core, out, at) },
    // SAFETY: as above.
    pair_columns: |kind, core, out| unsafe { pair_columns(kind, core, out) },
    // SAFETY: as above.
    multiply: |c, a, b| unsafe { multiply(c, a, b) },
    // SAFETY: as above.
    multiply_pairs: |c, a, b| unsafe { multiply_pairs(c, a, b) },
    // SAFETY: as above.
    mma: |kinds, a, b, c| unsafe { mma(kinds, a, b, c) },
    // SAFETY: as above.
    unpack_halves: |packed, low, high| unsafe { unpack_halves(packed, low, high) },
    // SAFETY: as above.
    pack_halves: |low, high| unsafe { pack_halves(low, high) },
};

#[target_feature(enable = "avx2")]
#[inline]
fn load(row: &Row32, index: usize) -> __m256i {
    let lanes: &[u32; 8] = &row.as_chunks().0[index];
    // SAFETY: `lanes` is 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store(row: &mut Row32, index: usize, value: __m256i) {
    let lanes: &mut [u32; 8] = &mut row.as_chunks_mut().0[index];
    // SAFETY: `lanes` is 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), value) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load_floats(from: &[f32; 8]) -> __m256 {
    // SAFETY: `from` is 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_ps(from.as_ptr()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store_floats(to: &mut [f32; 8], value: __m256) {
    // SAFETY: `to` is 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_ps(to.as_mut_ptr(), value) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store_words(to: &mut [i32; 8], value: __m256i) {
    // SAFETY: `to` is 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), value) }
}

/// One row of a core matrix: 16 bytes.
#[target_feature(enable = "avx2")]
#[inline]
fn core_row(core: &Row32, row: usize) -> __m128i {
    let lanes: &[u32; 4] = &core.as_chunks().0[row];
    // SAFETY: `lanes` is 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(lanes.as_ptr().cast()) }
}

/// Sixteen 8-bit floats as f32.
#[target_feature(enable = "avx2,f16c")]
#[inline]
fn widen_bytes(kind: Element, row: __m128i) -> [__m256; 2] {
    let bytes = _mm256_cvtepu8_epi16(row);
    let split = |halves: __m256i| {
        [
            _mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
            _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves)),
        ]
    };
    if kind == Element::E5m2 {
        return split(_mm256_slli_epi16::<8>(bytes));
    }
    // An e4m3 put where a binary16 has its exponent and upper fraction is too small by the
    // difference of the biases, 2^8, subnormal or not. All ones is its only NaN.
    let magnitude = _mm256_and_si256(bytes, _mm256_set1_epi16(0x7f));
    let nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7f));
    let sign = _mm256_slli_epi16::<8>(_mm256_and_si256(bytes, _mm256_set1_epi16(0x80)));
    let number = _mm256_or_si256(_mm256_slli_epi16::<7>(magnitude), sign);
    let halves = _mm256_or_si256(number, _mm256_and_si256(nan, _mm256_set1_epi16(0x7fff)));
    split(halves).map(|floats| _mm256_mul_ps(floats, _mm256_set1_ps(256.0)))
}

/// Eight 16-bit floats as f32.
#[target_feature(enable = "avx2,f16c")]
#[inline]
fn widen_halves(kind: Element, row: __m128i) -> __m256 {
    if kind == Element::F16 {
        _mm256_cvtph_ps(row)
    } else {
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(row)))
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn tf32_mask() -> __m256 {
    _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_e000_u32 as i32))
}

#[target_feature(enable = "avx2,f16c")]
#[inline]
fn widen_rows<const S: usize>(kind: Element, core: &Row32, out: &mut [[f32; S]], at: usize) {
    let out = &mut out[..8];
    match kind {
        Element::F16 | Element::Bf16 => {
            for (row, out) in out.iter_mut().enumerate() {
                let floats = widen_halves(kind, core_row(core, row));
                store_floats(&mut out[at..].as_chunks_mut().0[0], floats);
            }
        }
        Element::E4m3 | Element::E5m2 => {
            for (row, out) in out.iter_mut().enumerate() {
                let floats = widen_bytes(kind, core_row(core, row));
                let out = out[at..].as_chunks_mut().0;
                store_floats(&mut out[0], floats[0]);
                store_floats(&mut out[1], floats[1]);
            }
        }
        _ => {
            let mask = _mm256_castps256_ps128(tf32_mask());
            for (row, out) in out.iter_mut().enumerate() {
                let floats = _mm_and_ps(_mm_castsi128_ps(core_row(core, row)), mask);
                let out: &mut [f32; 4] = &mut out[at..].as_chunks_mut().0[0];
                // SAFETY: `out` is 16 writable bytes; the store needs no alignment.
                unsafe { _mm_storeu_ps(out.as_mut_ptr(), floats) }
            }
        }
    }
}

/// Transposes eight rows of eight.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(rows: [__m256; 8]) -> [__m256; 8] {
    let mut pairs = rows;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = pairs;
    for i in 0..2 {
        let p = &pairs[4 * i..4 * i + 4];
        fours[4 * i] = _mm256_shuffle_ps::<0x44>(p[0], p[2]);
        fours[4 * i + 1] = _mm256_shuffle_ps::<0xee>(p[0], p[2]);
        fours[4 * i + 2] = _mm256_shuffle_ps::<0x44>(p[1], p[3]);
        fours[4 * i + 3] = _mm256_shuffle_ps::<0xee>(p[1], p[3]);
    }
    let mut out = fours;
    for i in 0..4 {
        out[i] = _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]);
        out[i + 4] = _mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]);
    }
    out
}

#[target_feature(enable = "avx2,f16c")]
#[inline]
fn widen_columns(kind: Element, core: &Row32, out: &mut [[f32; 8]]) {
    let out = &mut out[..kind.per_row()];
    match kind {
        Element::F16 | Element::Bf16 => {
            let mut rows = [_mm256_setzero_ps(); 8];
            for (row, floats) in rows.iter_mut().enumerate() {
                *floats = widen_halves(kind, core_row(core, row));
            }
            for (out, column) in out.iter_mut().zip(transpose(rows)) {
                store_floats(out, column);
            }
        }
        Element::E4m3 | Element::E5m2 => {
            let mut rows = [[_mm256_setzero_ps(); 8]; 2];
            let [first, second] = &mut rows;
            for (row, (first, second)) in first.iter_mut().zip(second).enumerate() {
                [*first, *second] = widen_bytes(kind, core_row(core, row));
            }
            for (out, rows) in out.chunks_mut(8).zip(rows) {
                for (out, column) in out.iter_mut().zip(transpose(rows)) {
                    store_floats(out, column);
                }
            }
        }
        _ => {
            // Rows r and r + 4 side by side: the transpose leaves four columns of eight.
            let mut rows = [_mm256_setzero_ps(); 8];
            for (row, floats) in rows[..4].iter_mut().enumerate() {
                let pair = _mm256_set_m128i(core_row(core, row + 4), core_row(core, row));
                *floats = _mm256_and_ps(_mm256_castsi256_ps(pair), tf32_mask());
            }
            let low = transpose(rows);
            for (index, out) in out.iter_mut().enumerate() {
                let column = _mm256_permute2f128_ps::<0x20>(low[index], low[index + 4]);
                store_floats(out, column);
            }
        }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn pairs_of_row(kind: Element, row: __m128i) -> __m256i {
    if kind == Element::S8 { _mm256_cvtepi8_epi16(row) } else { _mm256_cvtepu8_epi16(row) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn pair_rows(kind: Element, core: &Row32, out: &mut [[i32; 16]], at: usize) {
    for (row, out) in out[..8].iter_mut().enumerate() {
        let pairs = pairs_of_row(kind, core_row(core, row));
        store_words(&mut out[at..].as_chunks_mut().0[0], pairs);
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn pair_columns(kind: Element, core: &Row32, out: &mut [[i32; 8]]) {
    let mut rows = [_mm256_setzero_ps(); 8];
    for (row, pairs) in rows.iter_mut().enumerate() {
        *pairs = _mm256_castsi256_ps(pairs_of_row(kind, core_row(core, row)));
    }
    for (out, column) in out[..8].iter_mut().zip(transpose(rows)) {
        store_words(out, _mm256_castps_si256(column));
    }
}

/// Two fragment rows as eight matrix rows of eight.
#[target_feature(enable = "avx2")]
#[inline]
fn rows_of_fragment(even: &Row32, odd: &Row32) -> [__m256; 8] {
    let mut rows = [_mm256_setzero_ps(); 8];
    for index in 0..4 {
        let x = _mm256_castsi256_ps(load(even, index));
        let y = _mm256_castsi256_ps(load(odd, index));
        let (low, high) = (_mm256_unpacklo_ps(x, y), _mm256_unpackhi_ps(x, y));
        rows[2 * index] = _mm256_permute2f128_ps::<0x20>(low, high);
        rows[2 * index + 1] = _mm256_permute2f128_ps::<0x31>(low, high);
    }
    rows
}

/// The reverse of [`rows_of_fragment`].
#[target_feature(enable = "avx2")]
#[inline]
fn fragment_of_rows(rows: [__m256; 8], even: &mut Row32, odd: &mut Row32) {
    for index in 0..4 {
        let (x, y) = (rows[2 * index], rows[2 * index + 1]);
        let low = _mm256_permute2f128_ps::<0x20>(x, y);
        let high = _mm256_permute2f128_ps::<0x31>(x, y);
        store(even, index, _mm256_castps_si256(_mm256_shuffle_ps::<0x88>(low, high)));
        store(odd, index, _mm256_castps_si256(_mm256_shuffle_ps::<0xdd>(low, high)));
    }
}

#[target_feature(enable = "avx2,fma")]
#[inline]
fn multiply<const S: usize>(c: &mut Fragment, a: &[[f32; S]; 16], b: &[[f32; 8]]) {
    let b = &b[..b.len().min(S)];
    let (top, bottom) = a.split_at(8);
    let [c0, c1, c2, c3] = c;
    for (even, odd, a) in [(c0, c1, top), (c2, c3, bottom)] {
        let mut sums = rows_of_fragment(even, odd);
        let Some(a) = a.first_chunk::<8>() else { return };
        for (k, b) in b.iter().enumerate() {
            let b = load_floats(b);
            for (sum, a) in sums.iter_mut().zip(a) {
                *sum = _mm256_fmadd_ps(_mm256_set1_ps(a[k]), b, *sum);
            }
        }
        let nan = _mm256_castsi256_ps(_mm256_set1_epi32(super::core_matrix::NAN as i32));
        for sum in &mut sums {
            let unordered = _mm256_cmp_ps::<_CMP_UNORD_Q>(*sum, *sum);
            *sum = _mm256_blendv_ps(*sum, nan, unordered);
        }
        fragment_of_rows(sums, even, odd);
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn multiply_pairs(c: &mut Fragment, a: &PairsA, b: &[[i32; 8]]) {
    let b = &b[..b.len().min(16)];
    let (top, bottom) = a.split_at(8);
    let [c0, c1, c2, c3] = c;
    for (even, odd, a) in [(c0, c1, top), (c2, c3, bottom)] {
        let mut sums = rows_of_fragment(even, odd);
        let Some(a) = a.first_chunk::<8>() else { return };
        for (k, b) in b.iter().enumerate() {
            // SAFETY: `b` is 32 readable bytes; the load needs no alignment.
            let b = unsafe { _mm256_loadu_si256(b.as_ptr().cast()) };
            for (sum, a) in sums.iter_mut().zip(a) {
                let products = _mm256_madd_epi16(_mm256_set1_epi32(a[k]), b);
                let total = _mm256_add_epi32(_mm256_castps_si256(*sum), products);
                *sum = _mm256_castsi256_ps(total);
            }
        }
        fragment_of_rows(sums, even, odd);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn mma(kinds: [Element; 2], a: &[&Row32], b: &[&Row32], c: &mut Fragment) {
    // Half the room is half the zeroes to write, which shows.
    if kinds[0].per_row() <= 8 {
        mma_of::<16>(kinds, a, b, c);
    } else {
        mma_of::<32>(kinds, a, b, c);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn mma_of<const S: usize>(kinds: [Element; 2], a: &[&Row32], b: &[&Row32], c: &mut Fragment) {
    let (mut rows, mut columns) = ([[0.0; S]; 16], [[0.0; 8]; S]);
    let step = kinds[0].per_row();
    for (index, core) in a.iter().enumerate() {
        widen_rows(kinds[0], core, &mut rows[index % 2 * 8..][..8], index / 2 * step);
    }
    for (index, core) in b.iter().enumerate() {
        widen_columns(kinds[1], core, &mut columns[index * step..]);
    }
    multiply(c, &rows, &columns[..b.len() * step]);
}

#[target_feature(enable = "avx2,f16c")]
#[inline]
fn unpack_halves(packed: &Row32, low: &mut Row32, high: &mut Row32) {
    for index in 0..4 {
        let both = load(packed, index);
        let lower = _mm256_and_si256(both, _mm256_set1_epi32(0xffff));
        // In each half of the vector: four low ones, then four high ones.
        let halves = _mm256_packus_epi32(lower, _mm256_srli_epi32::<16>(both));
        let x = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
        let y = _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves));
        let nan = _mm256_set1_epi32(super::core_matrix::NAN as i32);
        for (to, floats) in [
            (&mut *low, _mm256_permute2f128_ps::<0x20>(x, y)),
            (&mut *high, _mm256_permute2f128_ps::<0x31>(x, y)),
        ] {
            let unordered = _mm256_cmp_ps::<_CMP_UNORD_Q>(floats, floats);
            let bits = _mm256_castps_si256(floats);
            let bits = _mm256_blendv_epi8(bits, nan, _mm256_castps_si256(unordered));
            store(to, index, bits);
        }
    }
}

#[target_feature(enable = "avx2,f16c")]
#[inline]
fn pack_halves(low: &Row32, high: &Row32) -> Row32 {
    let mut out = [0; 32];
    let nan = _mm256_castsi256_ps(_mm256_set1_epi32(super::core_matrix::NAN as i32));
    for index in 0..4 {
        let narrow = |row: &Row32| {
            let floats = _mm256_castsi256_ps(load(row, index));
            let unordered = _mm256_cmp_ps::<_CMP_UNORD_Q>(floats, floats);
            let floats = _mm256_blendv_ps(floats, nan, unordered);
            _mm256_cvtepu16_epi32(_mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(floats))
        };
        let packed = _mm256_or_si256(narrow(low), _mm256_slli_epi32::<16>(narrow(high)));
        store(&mut out, index, packed);
    }
    out
}
