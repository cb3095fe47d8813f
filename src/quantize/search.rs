//! The grid of a group that leaves the least squared error.
//!
//! A narrower range clips the outermost weights and serves all others better, a wider one moves the
//! ends onto points. Ranges of 1.06 to 0.4 times that of the weights are tried; the best is
//! then refined: for the points that were chosen, the scale with the least squared error is
//! `sum(w (q - zero)) / sum((q - zero)^2)`, and with another scale other points may be nearest.

use super::rtn::{self, GroupGrid};

/// Ranges that are tried, in thirty-seconds of that of the weights.
const SHARES: std::ops::RangeInclusive<u32> = 13..=34;
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
    let mut best = rtn::grid(range, zero_points);
    let mut least = error(weights, best, importance);
    for share in SHARES.rev() {
        let share = share as f32 / 32.0;
        let narrower = rtn::grid((range.0 * share, range.1 * share), zero_points);
        let error = error(weights, narrower, importance);
        if error < least {
            (best, least) = (narrower, error);
        }
    }
    for _ in 0..REFINEMENTS {
        let Some(scale) = best_scale(weights, best, importance) else { break };
        let refined = GroupGrid { scale, ..best };
        let error = error(weights, refined, importance);
        if error >= least {
            break;
        }
        (best, least) = (refined, error);
    }
    best
}

/// The sum of squared errors of the nearest points. The points themselves are not needed, and
/// without a detour by bytes this takes a third of the time.
fn error(weights: &[f32], grid: GroupGrid, importance: Option<&[f32]>) -> f32 {
    let nearest = rtn::Nearest::of(grid);
    let off = |w: f32| {
        let off = w - grid.scale * nearest.steps(w);
        off * off
    };
    match importance {
        None => sum(weights, |_, w| off(w)),
        Some(counts) => sum(weights, |i, w| counts[i] * off(w)),
    }
}

/// The scale with the least squared error for the points nearest on `grid`; `None` if all of them
/// stand for zero.
fn best_scale(weights: &[f32], grid: GroupGrid, importance: Option<&[f32]>) -> Option<f32> {
    let nearest = rtn::Nearest::of(grid);
    let count = |i: usize| importance.map_or(1.0, |counts| counts[i]);
    let product = sum(weights, |i, w| count(i) * w * nearest.steps(w));
    let square = sum(weights, |i, w| count(i) * nearest.steps(w) * nearest.steps(w));
    let scale = product / square;
    (scale.is_finite() && scale >= f32::MIN_POSITIVE).then(|| rtn::scale(scale))
}

/// The sum of `term(index, weight)`, in an order that vectorises.
#[inline(always)]
fn sum(weights: &[f32], term: impl Fn(usize, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (blocks, rest) = weights.as_chunks::<LANES>();
    for (b, w) in blocks.iter().enumerate() {
        for i in 0..LANES {
            lanes[i] += term(b * LANES + i, w[i]);
        }
    }
    for (i, w) in rest.iter().enumerate() {
        lanes[i] += term(blocks.len() * LANES + i, *w);
    }
    lanes.iter().sum()
}
