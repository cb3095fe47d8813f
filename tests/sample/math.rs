//! Known answers of the generator, and the accuracy of the polynomials against f64.

use ridgepoint::sample::math::{self, WEIGHT_ONE};
use ridgepoint::sample::philox::philox4x32_10;

/// The known-answer vectors that Salmon et al. publish with Random123.
#[test]
fn philox_known_answers() {
    let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
    for (counter, key, expected) in [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([!0; 4], [!0; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
    ] {
        assert_eq!(philox4x32_10(counter, key), expected);
    }
}

/// The error in units of the last place of the f32 nearest to `exact`.
fn ulps(found: f32, exact: f64) -> f64 {
    let nearest = (exact as f32).abs().max(f32::MIN_POSITIVE);
    let unit = f64::from(f32::from_bits(nearest.to_bits() + 1)) - f64::from(nearest);
    (f64::from(found) - exact).abs() / unit
}

#[test]
fn exp_is_accurate() {
    let mut worst = 0f64;
    for i in 0..=2_000_000 {
        let d = -80.0 * (i as f32 / 2_000_000.0);
        worst = worst.max(ulps(math::exp(d), f64::from(d).exp()));
    }
    for exponent in 1..100 {
        let d = -(0.5f32.powi(exponent));
        worst = worst.max(ulps(math::exp(d), f64::from(d).exp()));
    }
    assert!(worst < 1.0, "exp is off by {worst} ulp");
    assert_eq!(math::exp(0.0), 1.0);
    assert_eq!(math::exp(-0.0), 1.0);
    assert_eq!(math::exp(-80.1), 0.0);
    assert_eq!(math::exp(f32::NEG_INFINITY), 0.0);
}

#[test]
fn exp_does_not_exceed_one_and_falls() {
    let mut last = 1.0;
    for i in 0..3_000_000u32 {
        // All f32 in steps of 256 from the smallest normal to -80.
        let d = -f32::from_bits(0x0080_0000 + i * 380);
        if d < -80.0 {
            break;
        }
        let now = math::exp(d);
        assert!(now <= last, "exp({d}) = {now}, above {last}");
        last = now;
    }
}

#[test]
fn weights_round_to_nearest() {
    assert_eq!(math::weight(0.0), WEIGHT_ONE);
    assert_eq!(math::weight(f32::NEG_INFINITY), 0);
    assert_eq!(math::weight(-29.0), 0);
    assert_eq!(math::weight(-28.0), 1);
    for i in 0..100_000 {
        let d = -30.0 * (i as f32 / 100_000.0);
        let exact = f64::from(math::exp(d)) * WEIGHT_ONE as f64;
        assert_eq!(math::weight(d), exact.round_ties_even() as u64, "at {d}");
    }
}

#[test]
fn ln_is_accurate() {
    let mut worst = 0f64;
    for i in 0..2_000_000u32 {
        let x = f32::from_bits(0x3000_0000 + i * 300); // from 4.7e-10 to 20.5
        worst = worst.max(ulps(math::ln(x), f64::from(x).ln()));
    }
    assert!(worst < 1.0, "ln is off by {worst} ulp");
    assert_eq!(math::ln(1.0), 0.0);
}

/// Every u at both ends, where precision is easily lost, and a sample of those between.
#[test]
fn ln_unit_is_accurate_at_both_ends() {
    let end = 1u32 << 25;
    let between = (0..1_000_000).map(|i| i * 33 + 1);
    let mut worst = 0f64;
    for n in (1..200_000).chain(end - 200_000..end).chain(between).filter(|&n| n < end) {
        let missing = f64::from(end - n) / f64::from(end);
        let exact =
            if missing < 0.5 { (-missing).ln_1p() } else { (f64::from(n) / f64::from(end)).ln() };
        worst = worst.max(ulps(math::ln_unit(n), exact));
    }
    assert!(worst < 1.0, "ln of a unit fraction is off by {worst} ulp");
}

#[test]
fn gumbel_is_accurate_and_bounded() {
    let mut worst = 0f64;
    let mut range = (f32::INFINITY, f32::NEG_INFINITY);
    let ends = (0..100_000).chain((1 << 24) - 100_000..1 << 24);
    for k in ends.chain((0..500_000).map(|i| i * 33)) {
        let found = math::gumbel(k << 8);
        assert_eq!(found, math::gumbel(k << 8 | 0xff), "the low bits are not used");
        let missing = (f64::from((1 << 24) - k) - 0.5) / f64::from(1 << 24);
        let exact = -(-(-missing).ln_1p()).ln();
        worst = worst.max((f64::from(found) - exact).abs() / exact.abs().max(1.0));
        range = (range.0.min(found), range.1.max(found));
    }
    assert!(worst < 1.5e-7, "the noise is off by {worst}");
    assert!(range.0 > -2.86 && range.1 < math::GUMBEL_MAX && range.1 > 17.3, "{range:?}");
}

#[test]
fn ln_weight_is_accurate() {
    let mut worst = 0f64;
    for i in 0..1_000_000u64 {
        // A little above 1 at first, in the end 2^22 tokens of equal weight.
        let sum = WEIGHT_ONE + (i * i * i * 4);
        let excess = (i * i * i * 4) as f64 / WEIGHT_ONE as f64;
        worst = worst.max(ulps(math::ln_weight(sum), excess.ln_1p()));
    }
    assert!(worst < 1.5, "ln of a sum is off by {worst} ulp");
    assert_eq!(math::ln_weight(WEIGHT_ONE), 0.0);
    let top = (1 << 63) - 1;
    assert!(ulps(math::ln_weight(top), 23.0 * std::f64::consts::LN_2) < 1.0);
}
