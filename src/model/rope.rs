//! Frequencies of the rotary embedding (Su et al. 2021, "RoFormer") and their scalings.

use std::f64::consts::PI;

/// The base and how it is stretched for long contexts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeConfig {
    /// The base of the frequencies.
    pub theta: f64,
    /// The scaling.
    pub scaling: RopeScaling,
}

/// Supported values of `rope_type`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// `default`: frequencies as they are.
    None,
    /// `linear`: all frequencies divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// `llama3` (Llama 3.1): low frequencies divided by `factor`, high ones kept, those between
    /// blended linearly in the number of turns over the original context.
    Llama3 {
        /// The divisor.
        factor: f64,
        /// Turns over the original context below which a frequency is low.
        low_freq_factor: f64,
        /// Turns above which it is high.
        high_freq_factor: f64,
        /// The context the model was first trained with, in tokens.
        original_context: f64,
    },
}

impl RopeConfig {
    /// The inverse frequencies `theta^(-2 i / head_dim)`, scaled: `[head_dim / 2]`, radians per
    /// position. Rounded to f32 where the reference implementation works in f32.
    pub fn inv_freq(&self, head_dim: usize) -> Vec<f32> {
        (0..head_dim / 2)
            .map(|i| {
                let exponent = (2 * i) as f32 / head_dim as f32;
                let frequency = 1.0 / self.theta.powf(f64::from(exponent)) as f32;
                self.scaling.apply(f64::from(frequency)) as f32
            })
            .collect()
    }
}

impl RopeScaling {
    fn apply(&self, frequency: f64) -> f64 {
        match *self {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let turns = original_context * frequency / (2.0 * PI);
                let blend = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
                let kept = blend.clamp(0.0, 1.0);
                (1.0 - kept) * frequency / factor + kept * frequency
            }
        }
    }
}
