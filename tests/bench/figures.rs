//! Figures against what a reader works out on paper.

use ridgepoint::backend::Phase;
use ridgepoint::cli::bench::cost::{Cost, Spent};
use ridgepoint::cli::bench::metrics::{
    Ending, Metrics, Slo, Spread, Summary, Timeline, percentile,
};
use ridgepoint::cli::bench::roofline::{self, Model, Work};
use ridgepoint::engine::PhaseStats;
use ridgepoint::model::ModelConfig;
use ridgepoint::model::budget::{self, Formats, StepLoad};
use ridgepoint::model::gpu::Gpu;
use std::path::Path;
use std::time::Duration;

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

fn close(found: Option<f64>, expected: f64) {
    let found = found.expect("a figure");
    assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{found}, expected {expected}");
}

fn timeline(due: u64, tokens: &[u64], ending: Ending) -> Timeline {
    let tokens: Vec<Duration> = tokens.iter().map(|&at| ms(at)).collect();
    let end = tokens.last().copied().unwrap_or(ms(due));
    let ran = ms(20);
    Timeline { due: ms(due), tokens, end, ending, prompt_tokens: 8, cached_tokens: 3, ran }
}

#[test]
fn percentiles_are_linear_between_ranks() {
    let sorted = [10.0, 20.0, 30.0, 40.0];
    close(percentile(&sorted, 50.0), 25.0);
    close(percentile(&sorted, 90.0), 37.0);
    close(percentile(&sorted, 99.0), 39.7);
    close(percentile(&sorted, 0.0), 10.0);
    close(percentile(&sorted, 100.0), 40.0);
    close(percentile(&[7.0], 99.0), 7.0);
    assert_eq!(percentile(&[], 50.0), None);
    let summary = Summary::of([40, 10, 30, 20].map(ms).into_iter());
    close(summary.mean, 25.0);
    close(summary.p90, 37.0);
    assert_eq!(Summary::of(std::iter::empty()), Summary::default());
}

#[test]
fn a_spread_is_the_sample_deviation() {
    let spread = Spread::of(&[2.0, 4.0, 6.0]);
    assert_eq!((spread.mean, spread.spread), (4.0, 2.0));
    assert_eq!(Spread::of(&[5.0]), Spread { mean: 5.0, spread: 0.0 });
}

#[test]
fn a_timeline_counts_from_when_it_was_due() {
    let timeline = timeline(10, &[30, 40, 60], Ending::Finished);
    assert_eq!(timeline.ttft(), Some(ms(20)));
    assert_eq!(timeline.e2e(), ms(50));
    assert_eq!(timeline.tpot(), Some(ms(15)));
    assert_eq!(timeline.gaps().collect::<Vec<_>>(), [ms(10), ms(20)]);
}

#[test]
fn one_token_has_no_time_per_token() {
    assert_eq!(timeline(10, &[30], Ending::Finished).tpot(), None);
    assert_eq!(timeline(10, &[], Ending::Cancelled).tpot(), None);
    assert_eq!(timeline(10, &[], Ending::Cancelled).ttft(), None);
}

/// TTFT 20, 30, 10 and TPOT 10, 20, none.
fn three_and_others() -> Vec<Timeline> {
    vec![
        timeline(0, &[20, 30, 40], Ending::Finished),
        timeline(10, &[40, 60], Ending::Finished),
        timeline(90, &[100], Ending::Finished),
        timeline(0, &[50], Ending::Cancelled),
        timeline(0, &[], Ending::Failed("the device".to_string())),
    ]
}

#[test]
fn only_what_finished_counts() {
    let metrics = Metrics::of(&three_and_others(), ms(500), Slo::default());
    assert_eq!((metrics.finished, metrics.cancelled, metrics.failed), (3, 1, 1));
    assert_eq!((metrics.prompt_tokens, metrics.output_tokens), (8.0, 2.0));
    close(metrics.ttft_ms.mean, 20.0);
    close(metrics.ttft_ms.p50, 20.0);
    close(metrics.tpot_ms.mean, 15.0);
    // Gaps 10, 10 and 20.
    close(metrics.itl_ms.mean, 40.0 / 3.0);
    // 40, 50 and 10.
    close(metrics.e2e_ms.mean, 100.0 / 3.0);
    assert_eq!(metrics.requests_per_s, 6.0);
    assert_eq!(metrics.input_tokens_per_s, 48.0);
    assert_eq!(metrics.output_tokens_per_s, 12.0);
    // Five that ran 20 ms each.
    close(Some(metrics.concurrency), 0.2);
    assert_eq!(metrics.goodput_per_s, None);
}

#[test]
fn goodput_counts_what_keeps_both_targets() {
    let goodput = |ttft_ms, tpot_ms| {
        let slo = Slo { ttft_ms, tpot_ms };
        Metrics::of(&three_and_others(), ms(500), slo).goodput_per_s
    };
    assert_eq!(goodput(Some(20.0), None), Some(4.0));
    assert_eq!(goodput(None, Some(10.0)), Some(4.0));
    assert_eq!(goodput(Some(9.0), Some(100.0)), Some(0.0));
    assert_eq!(goodput(Some(30.0), Some(20.0)), Some(6.0));
    assert_eq!(goodput(Some(15.0), Some(15.0)), Some(2.0));
}

#[test]
fn nothing_at_all_gives_no_rates() {
    let metrics = Metrics::of(&[], Duration::ZERO, Slo { ttft_ms: Some(1.0), tpot_ms: None });
    assert_eq!((metrics.requests_per_s, metrics.goodput_per_s), (0.0, Some(0.0)));
    assert_eq!(metrics.ttft_ms.mean, None);
}

#[test]
fn the_price_is_split_by_time_and_operations() {
    // Ten seconds at 3.6 dollars an hour are a cent: a quarter for prefill, the rest for decode.
    let spent = Spent {
        duration_s: 10.0,
        prefill_s: 1.0,
        decode_s: 3.0,
        input_tokens: 100,
        cached_tokens: 300,
        output_tokens: 50,
        cached_share: 0.2,
    };
    let cost = Cost::of(3.6, &spent);
    close(cost.input_per_million, 0.002 / 100.0 * 1e6);
    close(cost.cached_per_million, 0.0005 / 300.0 * 1e6);
    close(cost.output_per_million, 0.0075 / 50.0 * 1e6);
    // Without hits all of the prefill is borne by what was computed.
    let cost = Cost::of(3.6, &Spent { cached_tokens: 0, ..spent });
    close(cost.input_per_million, 0.0025 / 100.0 * 1e6);
    assert_eq!(cost.cached_per_million, None);
    let idle = Spent { prefill_s: 0.0, decode_s: 0.0, ..spent };
    assert_eq!(Cost::of(3.6, &idle), Cost::default());
}

fn config() -> ModelConfig {
    let text = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 256,
        "intermediate_size": 640, "num_attention_heads": 4, "num_key_value_heads": 2,
        "num_hidden_layers": 3, "vocab_size": 1000, "max_position_embeddings": 4096}"#;
    ModelConfig::parse(text, Path::new("config.json")).unwrap()
}

fn in_formats<'a>(config: &'a ModelConfig, formats: &'a Formats) -> Model<'a> {
    Model { config, formats }
}

fn sum(config: &ModelConfig, steps: &[StepLoad]) -> Vec<(&'static str, f64, f64)> {
    let mut sums: Vec<(&'static str, f64, f64)> = Vec::new();
    for cost in steps.iter().flat_map(|load| budget::step(config, *load)) {
        let (bytes, flops) = (cost.bytes as f64, cost.flops as f64);
        match sums.iter_mut().find(|sum| sum.0 == cost.op) {
            Some(sum) => (sum.1, sum.2) = (sum.1 + bytes, sum.2 + flops),
            None => sums.push((cost.op, bytes, flops)),
        }
    }
    sums
}

/// What the counters give is what the steps that they count cost, with sliding windows and without.
#[test]
fn work_from_counters_is_that_of_the_steps() {
    let windows = [vec![None; 3], vec![Some(5); 3], vec![None, Some(70), Some(5)]];
    for windows in windows {
        let config = ModelConfig { windows, ..config() };
        let seen = |context: usize, rows: usize| {
            let of = |window: &Option<usize>| budget::seen(*window, context as u64, rows as u64);
            let layers = config.windows.iter().map(of);
            layers.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
        };
        let decode =
            |rows, context| StepLoad { phase: Phase::Decode, rows, context, logit_rows: rows };
        let steps = [decode(1, 10), decode(4, 100), decode(9, 7)];
        let stats = steps.iter().fold(PhaseStats::default(), |mut stats, step| {
            let (pairs, read) = seen(step.context, 1);
            stats.passes += 1;
            stats.rows += step.rows as u64;
            stats.logit_rows += step.rows as u64;
            stats.pairs += step.rows as u64 * pairs;
            stats.context_tokens += step.rows as u64 * read;
            stats
        });
        let formats = Formats::default();
        check(
            &config,
            &steps,
            &roofline::work(in_formats(&config, &formats), Phase::Decode, &stats, 9),
        );
        let prompt = |rows, context, logit_rows| StepLoad {
            phase: Phase::Prefill,
            rows,
            context,
            logit_rows,
        };
        // Two chunks of one prompt, of which the second draws.
        let steps = [prompt(64, 0, 0), prompt(30, 64, 1)];
        let (first, second) = (seen(0, 64), seen(64, 30));
        let stats = PhaseStats {
            passes: 2,
            rows: 94,
            pairs: first.0 + second.0,
            context_tokens: first.1 + second.1,
            logit_rows: 1,
            time: Duration::from_secs(1),
        };
        check(
            &config,
            &steps,
            &roofline::work(in_formats(&config, &formats), Phase::Prefill, &stats, 9),
        );
    }
}

#[test]
fn what_rows_see_is_counted_as_one_would_by_hand() {
    for window in [None, Some(1), Some(3), Some(7), Some(100)] {
        for (context, rows) in [(0, 1), (0, 9), (4, 3), (5, 6), (20, 4)] {
            let first = |row: u64| match window {
                None => 0,
                Some(window) => (row + 1).saturating_sub(window as u64),
            };
            let pairs: u64 = (context..context + rows).map(|row| row + 1 - first(row)).sum();
            let read = context + rows - first(context);
            assert_eq!(budget::seen(window, context, rows), (pairs, read), "{window:?}");
        }
    }
}

fn check(config: &ModelConfig, steps: &[StepLoad], work: &[Work]) {
    let sums = sum(config, steps);
    assert_eq!(sums.len(), work.len());
    for (op, bytes, flops) in sums {
        let work = work.iter().find(|work| work.op == op).unwrap();
        // The counters of all layers are divided by their number.
        let close = |found: f64, right: f64| (found - right).abs() <= 1e-12 * right;
        let found = (work.bytes, work.flops);
        assert!(close(found.0, bytes) && close(found.1, flops), "{op}: {found:?}, {bytes} {flops}");
    }
}

#[test]
fn a_floor_is_the_longer_of_moving_and_computing() {
    let work =
        [Work { op: "a", bytes: 2e12, flops: 1e12 }, Work { op: "b", bytes: 1e12, flops: 30e12 }];
    let gpu = Gpu::parse("2,10").unwrap();
    assert_eq!(roofline::floor_s(&work, &gpu), 1.0 + 3.0);
    // Four operations for each of the 4 heads of 64 elements in 3 layers.
    assert_eq!(
        roofline::flops_of_pair(in_formats(&config(), &Formats::default())),
        4.0 * 256.0 * 3.0
    );
}
