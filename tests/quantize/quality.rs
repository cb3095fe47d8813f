//! Figures of predictions, and what is kept.

use super::numbers;
use ridgepoint::quantize::quality::{Quality, bootstrap, paired};
use ridgepoint::quantize::{Algorithm, Keep};

#[test]
fn divergence_is_that_of_the_distributions() {
    let mut quality = Quality::default();
    let ln = |p: f64| p.ln() as f32;
    quality.add(&[ln(0.5), ln(0.25), ln(0.25)], &[ln(0.25), ln(0.5), ln(0.25)], 1);
    // 0.5 ln 2 - 0.25 ln 2
    assert!((quality.divergence[0] - 0.25 * 2f64.ln()).abs() < 1e-6);
    assert!((quality.nll_before[0] - 4f64.ln()).abs() < 1e-6);
    assert!((quality.nll_after[0] - 2f64.ln()).abs() < 1e-6);
    assert_eq!(quality.changed, [1.0]);
    // The same distribution by other logits.
    quality.add(&[1.0, 2.0, 2.0], &[101.0, 102.0, 102.0], 0);
    assert!(quality.divergence[1].abs() < 1e-9 && quality.changed[1] == 0.0);
    let summary = quality.summary();
    assert_eq!((summary.tokens, summary.changed.mean), (2, 0.5));
}

#[test]
fn intervals_hold_the_mean_and_shrink_with_tokens() {
    let of = |count: usize| {
        let values: Vec<f64> = numbers(count, 3).iter().map(|x| 2.0 + f64::from(*x)).collect();
        bootstrap(&values)
    };
    let (few, many) = (of(640), of(64_000));
    for interval in [few, many] {
        assert!(interval.low < 2.0 && 2.0 < interval.high, "{interval:?}");
        assert!(interval.low < interval.mean && interval.mean < interval.high);
    }
    // The standard error of a uniform number in -1..1 is 0.577 / sqrt(n).
    let width = many.high - many.low;
    assert!((0.6..1.6).contains(&(width / (2.0 * 1.96 * 0.577 / 64_000f64.sqrt()))), "{width}");
    assert!((few.high - few.low) > 4.0 * width);
    assert_eq!(of(640), few);
}

#[test]
fn neighbours_are_drawn_together() {
    // As many different numbers as blocks, not as tokens: the interval must not pretend otherwise.
    let values: Vec<f64> = numbers(40, 5).iter().flat_map(|x| vec![f64::from(*x); 64]).collect();
    let interval = bootstrap(&values);
    assert!(interval.high - interval.low > 0.25, "{interval:?}");
}

#[test]
fn pairs_differ_by_less_than_they_vary() {
    let a: Vec<f64> = numbers(6400, 1).iter().map(|x| f64::from(*x)).collect();
    let b: Vec<f64> = a.iter().map(|x| x + 0.01).collect();
    let over = paired(&b, &a);
    assert!((over.mean - 0.01).abs() < 1e-9 && over.high - over.low < 1e-9, "{over:?}");
}

#[test]
fn patterns_fit_whole_names() {
    let fits =
        |pattern: &str, module: &str| format!("{pattern}=16").parse::<Keep>().unwrap().fits(module);
    let name = "model.layers.10.mlp.down_proj";
    for good in [name, "*", "*.down_proj", "model.layers.10.*", "*layers*mlp*", "*1*0*", "**"] {
        assert!(fits(good, name), "{good}");
    }
    for bad in ["down_proj", "*.down", "model", "model.layers.1.*", "*mlp*layers*", "*down_proj*x"]
    {
        assert!(!fits(bad, name), "{bad}");
    }
    // Neither end may be used twice.
    assert!(!fits("ab*ba", "aba") && fits("ab*ba", "abba"));
    for bad in ["", "=16", "x", "x=8", "x=", "x=16 "] {
        assert!(bad.parse::<Keep>().unwrap_err().to_string().contains("PATTERN=16"), "{bad:?}");
    }
    assert!("GPTQ".parse::<Algorithm>().unwrap_err().to_string().contains("rtn, search, awq"));
}
