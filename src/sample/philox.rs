//! Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random
//! numbers: as easy as 1, 2, 3" (SC 2011).
//!
//! It is a keyed bijection of 128-bit counters: a number depends on its counter and key alone, so
//! the noise of any token at any position can be computed by any thread, in any order, twice.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// Added to the key after every round: the golden ratio and sqrt(3) - 1, as 32-bit fractions.
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// The four random words of one counter.
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    blocks::<1>(counter.map(|word| [word]), key).map(|word| word[0])
}

/// `N` counters at once, word by word: `counters[w][i]` is word `w` of counter `i`.
#[inline(always)]
pub(super) fn blocks<const N: usize>(counters: [[u32; N]; 4], mut key: [u32; 2]) -> [[u32; N]; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counters;
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
        }
        for i in 0..N {
            let even = u64::from(c0[i]) * u64::from(MULTIPLIERS[0]);
            let odd = u64::from(c2[i]) * u64::from(MULTIPLIERS[1]);
            c0[i] = (odd >> 32) as u32 ^ c1[i] ^ key[0];
            c2[i] = (even >> 32) as u32 ^ c3[i] ^ key[1];
            c1[i] = odd as u32;
            c3[i] = even as u32;
        }
    }
    [c0, c1, c2, c3]
}
