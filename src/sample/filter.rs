//! Top-k, top-p and min-p: which tokens may be drawn. See [`super`] for their definition.
//!
//! The first two keep the beginning of one order (value descending, id ascending), so each gives a
//! place to cut it, and the vocabulary is never sorted.

use super::math::{WEIGHT_ONE, weight};
use super::simd::{Pass, Path};
use crate::request::SamplingParams;

/// Fixed-point fraction of `top_p`.
const TOP_P_BITS: u32 = 32;
/// Width of the groups whose largest values bound the k-th largest from below.
const GROUP: usize = 64;
/// Width of an unrolled loop.
pub(super) const LANES: usize = 16;

/// A token's place in the order: larger is earlier. Value in the upper half, with its bits mapped
/// to an unsigned order and both zeros made equal; the id below it, complemented.
pub(super) fn key(value: f32, id: usize) -> u64 {
    let bits = (value + 0.0).to_bits();
    let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    u64::from(ordered) << 32 | u64::from(!(id as u32))
}

/// The value of a [`key`].
#[inline(always)]
pub(super) fn key_value(key: u64) -> f32 {
    let ordered = (key >> 32) as u32;
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

/// The id of a [`key`].
pub(super) fn key_id(key: u64) -> usize {
    !(key as u32) as usize
}

/// Whether any filter is set. Without one every token may be drawn.
pub(super) fn is_set(params: &SamplingParams, vocab: usize) -> bool {
    let top_k = params.top_k > 0 && (params.top_k as usize) < vocab;
    top_k || params.top_p < 1.0 || params.min_p > 0.0
}

/// Sets the values of all tokens that may not be drawn to -inf. `max` is the largest value; its
/// token with the lowest id always stays.
pub(super) fn apply(path: Path, values: &mut [f32], max: f32, params: &SamplingParams) {
    let top_k = params.top_k as usize;
    let kept = (top_k > 0 && top_k < values.len()).then(|| largest(values, top_k));
    let everything = key(f32::NEG_INFINITY, u32::MAX as usize);
    let mut cut = kept.iter().flatten().copied().min().unwrap_or(everything);
    if params.top_p < 1.0 {
        cut = match kept {
            Some(keys) => {
                let total = path.run(KeyMass { keys: &keys, max });
                nucleus_end(path, keys, max, mass_wanted(params.top_p, total))
            }
            None => nucleus(path, values, max, params.top_p),
        };
    }
    // Exact: a product with a power of two, and at most 2^40.
    let floor = (params.min_p * WEIGHT_ONE as f32).ceil() as u64;
    path.run(Mask { values, cut_value: key_value(cut), cut_id: key_id(cut), max, floor });
}

/// The keys of the `count` first tokens of the order, in no order; fewer if fewer are above -inf.
pub(super) fn largest(values: &[f32], count: usize) -> Vec<u64> {
    let groups = values.len().div_ceil(GROUP);
    let mut bound = f32::NEG_INFINITY;
    if count <= groups / 2 {
        // At least `count` groups reach the count-th largest of their maxima, so as many tokens do.
        let mut maxima: Vec<f32> = values.chunks(GROUP).map(max).collect();
        bound = *maxima.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1;
    }
    let mut keys = keys_from(values, bound);
    if keys.len() > count {
        keys.select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
        keys.truncate(count);
    }
    keys
}

/// The keys of all tokens of at least `bound` and above -inf, by id.
fn keys_from(values: &[f32], bound: f32) -> Vec<u64> {
    let keep = |&(_, &value): &(usize, &f32)| value >= bound && value > f32::NEG_INFINITY;
    values.iter().enumerate().filter(keep).map(|(id, &value)| key(value, id)).collect()
}

/// The largest value, passing over NaN; -inf for none.
#[inline(always)]
pub(super) fn max(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(lanes[lane], chunk[lane]);
        }
    }
    lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, larger)
}

/// `ceil(total * ceil(top_p * 2^32) / 2^32)`: from 1 to `total`.
fn mass_wanted(top_p: f32, total: u64) -> u64 {
    let fraction = (f64::from(top_p) * (1u64 << TOP_P_BITS) as f64).ceil() as u128;
    (u128::from(total) * fraction).div_ceil(1 << TOP_P_BITS) as u64
}

/// The key of the last token of the nucleus of all tokens.
fn nucleus(path: Path, values: &[f32], max: f32, top_p: f32) -> u64 {
    let total = path.run(Mass { values, max });
    let wanted = mass_wanted(top_p, total);
    // Tokens below this weight hold less than `total - wanted` together: those from the smallest
    // value up that has the weight reach the mass without them. (Or all that have any weight.)
    let light = ((total - wanted) / values.len() as u64).max(1);
    let bound = path.run(Lowest { values, max, floor: light });
    nucleus_end(path, keys_from(values, bound), max, wanted)
}

/// The key at which the mass of `keys`, added in descending order, first reaches `wanted`. Halves
/// the range that holds it, so it costs about as much as two passes.
fn nucleus_end(path: Path, mut keys: Vec<u64>, max: f32, wanted: u64) -> u64 {
    let mut range = &mut keys[..];
    let mut before = 0;
    while range.len() > 1 {
        let middle = range.len() / 2;
        range.select_nth_unstable_by(middle, |a, b| b.cmp(a));
        let (upper, lower) = range.split_at_mut(middle);
        let mass = path.run(KeyMass { keys: upper, max });
        if before + mass >= wanted {
            range = upper;
        } else {
            before += mass;
            range = lower;
        }
    }
    range[0]
}

/// The sum of the weights of all values.
pub(super) struct Mass<'a> {
    pub(super) values: &'a [f32],
    pub(super) max: f32,
}

impl Pass for Mass<'_> {
    type Out = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        let mut sums = [0u64; LANES];
        let (chunks, rest) = self.values.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                sums[lane] += weight(chunk[lane] - self.max);
            }
        }
        let rest: u64 = rest.iter().map(|&value| weight(value - self.max)).sum();
        rest + sums.iter().sum::<u64>()
    }
}

/// The sum of the weights of the values of keys.
struct KeyMass<'a> {
    keys: &'a [u64],
    max: f32,
}

impl Pass for KeyMass<'_> {
    type Out = u64;

    #[inline(always)]
    fn run(self) -> u64 {
        self.keys.iter().map(|&key| weight(key_value(key) - self.max)).sum()
    }
}

/// The smallest value whose weight is at least `floor`.
struct Lowest<'a> {
    values: &'a [f32],
    max: f32,
    floor: u64,
}

impl Pass for Lowest<'_> {
    type Out = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let one = |lowest: f32, value: f32| {
            let heavy = weight(value - self.max) >= self.floor;
            if heavy & (value < lowest) { value } else { lowest }
        };
        let mut lowest = [f32::INFINITY; LANES];
        let (chunks, rest) = self.values.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                lowest[lane] = one(lowest[lane], chunk[lane]);
            }
        }
        let rest = rest.iter().fold(f32::INFINITY, |low, &value| one(low, value));
        lowest.iter().fold(rest, |low, &value| if value < low { value } else { low })
    }
}

/// Sets what lies after the cut, or weighs less than `floor`, to -inf.
struct Mask<'a> {
    values: &'a mut [f32],
    cut_value: f32,
    cut_id: usize,
    max: f32,
    floor: u64,
}

impl Pass for Mask<'_> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let (cut_value, cut_id) = (self.cut_value, self.cut_id);
        for (id, value) in self.values.iter_mut().enumerate() {
            let keep = (*value > cut_value) | ((*value == cut_value) & (id <= cut_id));
            *value = if keep { *value } else { f32::NEG_INFINITY };
        }
        if self.floor > 0 {
            for value in self.values.iter_mut() {
                let keep = weight(*value - self.max) >= self.floor;
                *value = if keep { *value } else { f32::NEG_INFINITY };
            }
        }
    }
}
