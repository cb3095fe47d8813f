//! The grid of a group that leaves the least squared error.
//!
//! A narrower range clips the outermost weights and serves all others better, a wider one moves the
//! ends onto points. Ranges of 1.08 to 0.4 times that of the weights are tried; the best is
//! then refined: for the points that were chosen, the scale with the least squared error is
//! `sum(w (q - zero)) / sum((q - zero)^2)`, and with another scale other points may be nearest.

use super::rtn::{self, GroupGrid};

/// Ranges that are tried, in fiftieths of that of the weights: 1 first, so that a group on which
/// all fail alike keeps it.
const FIFTIETHS: std::ops::RangeInclusive<u32> = 20..=54;
/// Rounds of refinement; the error falls in each, and hardly any more after these.
const REFINEMENTS: usize = 3;
/// Sums that are kept apart, as in [`rtn`].
const LANES: usize = 16;

/// The grid for weights in `range`, as [`rtn::range`] gives it. With `importance`, one number for
/// each weight, squared errors count so many times. Never worse than [`rtn::grid`].
pub fn grid(
    weights: &[f32],
    range: (f32, f32),
    importance: Option<&[f32]>,
    zero_points: bool,
) -> GroupGrid {
    let mut quants = vec![0; weights.len()];
    let mut best = rtn::grid(range, zero_points);
    let mut least = error(weights, best, importance, &mut quants);
    for fiftieths in FIFTIETHS.rev() {
        let share = fiftieths as f32 / 50.0;
        let narrower = rtn::grid((range.0 * share, range.1 * share), zero_points);
        let error = error(weights, narrower, importance, &mut quants);
        if error < least {
            (best, least) = (narrower, error);
        }
    }
    for _ in 0..REFINEMENTS {
        rtn::quantize(weights, best, &mut quants);
        let Some(scale) = best_scale(weights, &quants, best.zero, importance) else { break };
        let refined = GroupGrid { scale, ..best };
        let error = error(weights, refined, importance, &mut quants);
        if error >= least {
            break;
        }
        (best, least) = (refined, error);
    }
    best
}

/// The sum of squared errors; leaves the nearest points in `quants`.
fn error(weights: &[f32], grid: GroupGrid, importance: Option<&[f32]>, quants: &mut [u8]) -> f32 {
    rtn::quantize(weights, grid, quants);
    let zero = f32::from(grid.zero);
    let off = |w: f32, q: u8| w - grid.scale * (f32::from(q) - zero);
    match importance {
        None => sum(weights, quants, |_, w, q| off(w, q) * off(w, q)),
        Some(counts) => sum(weights, quants, |i, w, q| counts[i] * off(w, q) * off(w, q)),
    }
}

/// The scale with the least squared error for these points; `None` if all of them stand for zero.
fn best_scale(weights: &[f32], quants: &[u8], zero: u8, importance: Option<&[f32]>) -> Option<f32> {
    let zero = f32::from(zero);
    let count = |i: usize| importance.map_or(1.0, |counts| counts[i]);
    let steps = |q: u8| f32::from(q) - zero;
    let product = sum(weights, quants, |i, w, q| count(i) * w * steps(q));
    let square = sum(weights, quants, |i, _, q| count(i) * steps(q) * steps(q));
    let scale = product / square;
    (scale.is_finite() && scale >= f32::MIN_POSITIVE).then(|| rtn::scale(scale))
}

/// The sum of `term(index, weight, point)`, in an order that vectorises.
#[inline(always)]
fn sum(weights: &[f32], quants: &[u8], term: impl Fn(usize, f32, u8) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (blocks, rest) = weights.as_chunks::<LANES>();
    let (points, last) = quants.as_chunks::<LANES>();
    for (b, (w, q)) in blocks.iter().zip(points).enumerate() {
        for i in 0..LANES {
            lanes[i] += term(b * LANES + i, w[i], q[i]);
        }
    }
    for (i, (w, q)) in rest.iter().zip(last).enumerate() {
        lanes[i] += term(blocks.len() * LANES + i, *w, *q);
    }
    lanes.iter().sum()
}
