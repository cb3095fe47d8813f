//! Round to nearest: the grid of a group follows from the range of its weights.
//!
//! The grids are those of the format that is written, compressed-tensors. Without zero points the
//! points are -8 to 7 times the scale and the scale is `max|w| / 7.5`: both ends are then half a
//! step off at most, where 7 would waste the lowest point and 8 clip the highest. With zero points
//! the range from `min(w, 0)` to `max(w, 0)` is cut into 15 steps; zero itself is a point.
//!
//! The loops run over whole slices without a branch, which is what the compiler needs to
//! vectorise them.

use half::bf16;

/// The scale and the zero point of a group: `q` stands for `scale * (q - zero)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupGrid {
    /// Above zero, finite, and a bf16 number.
    pub scale: f32,
    /// From 0 to 15; 8 without zero points.
    pub zero: u8,
}

/// The zero point of a grid without zero points.
pub const MIDDLE: u8 = 8;
/// The highest of the 16 points.
pub const HIGHEST: u8 = 15;
/// Steps between the ends of a grid without zero points, on one side of zero.
const HALF_STEPS: f32 = 7.5;

/// Adding it to a number below 2^22 rounds that number to an integer, ties to even, which then
/// stands in the lowest bits.
const ROUNDER: f32 = 12_582_912.0; // 1.5 * 2^23
/// Independent minima, maxima and sums: as many as fill the registers of any instruction set.
const LANES: usize = 16;

/// The least and the greatest weight, both at least as far out as zero; `None` if one of them is
/// not finite.
pub fn range(weights: &[f32]) -> Option<(f32, f32)> {
    let (mut low, mut high, mut spoilt) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
    let (blocks, rest) = weights.as_chunks::<LANES>();
    let mut last = [0.0; LANES];
    last[..rest.len()].copy_from_slice(rest);
    for block in blocks.iter().chain([&last]) {
        for i in 0..LANES {
            let w = block[i];
            low[i] = if w < low[i] { w } else { low[i] };
            high[i] = if w > high[i] { w } else { high[i] };
            // NaN times zero is NaN, and so is infinity times zero.
            spoilt[i] += w * 0.0;
        }
    }
    let finite = spoilt.iter().all(|x| *x == 0.0);
    finite.then(|| (low.into_iter().fold(0.0, f32::min), high.into_iter().fold(0.0, f32::max)))
}

/// The grid of weights in `low..=high`, as [`range`] gives them.
pub fn grid((low, high): (f32, f32), zero_points: bool) -> GroupGrid {
    match zero_points {
        false => GroupGrid { scale: scale(high.max(-low) / HALF_STEPS), zero: MIDDLE },
        true => {
            let steps = f32::from(HIGHEST);
            let scale = scale(high / steps - low / steps);
            GroupGrid { scale, zero: (-low / scale).round().clamp(0.0, steps) as u8 }
        }
    }
}

/// The nearest scale that can be stored. A group of zeros gets 1: loaders refuse a scale of zero,
/// and numbers too small for a normal scale are zeros to every device.
pub fn scale(wanted: f32) -> f32 {
    let stored = bf16::from_f32(wanted).to_f32();
    if stored < f32::MIN_POSITIVE { 1.0 } else { stored }
}

/// The nearest points of `grid`, one for each weight.
pub fn quantize(weights: &[f32], grid: GroupGrid, quants: &mut [u8]) {
    assert_eq!(weights.len(), quants.len(), "one point a weight");
    let inverse = 1.0 / grid.scale;
    let zero = f32::from(grid.zero);
    let (low, high) = (-zero, f32::from(HIGHEST) - zero);
    for (w, q) in weights.iter().zip(quants) {
        let steps = w * inverse;
        let steps = if steps < low { low } else { steps };
        let steps = if steps > high { high } else { steps };
        *q = (steps + (ROUNDER + zero)).to_bits() as u8;
    }
}

/// The nearest point of `grid` to one weight.
pub fn nearest(weight: f32, grid: GroupGrid) -> u8 {
    let mut q = [0];
    quantize(&[weight], grid, &mut q);
    q[0]
}

/// What a point stands for.
pub fn value(q: u8, grid: GroupGrid) -> f32 {
    grid.scale * f32::from(i16::from(q) - i16::from(grid.zero))
}
