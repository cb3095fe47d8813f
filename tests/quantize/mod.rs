//! `quantize`: grids, sources, calibrated methods, the directories that are written, receipts.

mod grids;
mod source;

use ridgepoint::model::budget::Int4Group;
use ridgepoint::quantize::Grid;
use ridgepoint::tensor::HostTensor;

/// Groups of `columns` columns.
fn grid(columns: usize, zero_points: bool) -> Grid {
    let group = match columns {
        64 => Int4Group::G64,
        128 => Int4Group::G128,
        _ => panic!("no group of {columns}"),
    };
    Grid { group, zero_points }
}

/// Numbers in -1..1 that look random and are the same each time.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        ((state >> 40) as f32) / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Roughly normal with this standard deviation: weights are.
fn normal(count: usize, seed: u64, deviation: f32) -> Vec<f32> {
    let parts: Vec<Vec<f32>> = (0..6).map(|i| numbers(count, seed * 6 + i)).collect();
    // Six uniform numbers in -1..1 have the variance 2.
    let scale = deviation / 2f32.sqrt();
    (0..count).map(|i| parts.iter().map(|p| p[i]).sum::<f32>() * scale).collect()
}

/// A matrix of f32.
fn matrix(name: &str, n: usize, k: usize, values: &[f32]) -> HostTensor {
    HostTensor::from_f32(name, vec![n, k], values)
}
