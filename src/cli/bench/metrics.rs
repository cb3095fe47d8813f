//! From time stamps to figures.

use serde::Serialize;
use std::time::Duration;

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// With all its tokens.
    Finished,
    /// By an interrupt.
    Cancelled,
    /// With an error.
    Failed(String),
}

/// What became of one request. Times are from the start of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// When it was to be sent; it may have been held back since.
    pub due: Duration,
    /// When each token came.
    pub tokens: Vec<Duration>,
    /// When it ended.
    pub end: Duration,
    /// How.
    pub ending: Ending,
    /// Tokens of its prompt.
    pub prompt_tokens: usize,
    /// Of these, found in the prefix cache.
    pub cached_tokens: usize,
    /// How long it ran, once it had been admitted.
    pub ran: Duration,
}

impl Timeline {
    /// Time to the first token.
    pub fn ttft(&self) -> Option<Duration> {
        self.tokens.first().map(|first| first.saturating_sub(self.due))
    }

    /// From when it was due to its end.
    pub fn e2e(&self) -> Duration {
        self.end.saturating_sub(self.due)
    }

    /// Time per output token after the first; `None` if there is only one.
    pub fn tpot(&self) -> Option<Duration> {
        let later = self.tokens.len().checked_sub(1).filter(|later| *later > 0)?;
        Some((self.e2e().saturating_sub(self.ttft()?)).div_f64(later as f64))
    }

    /// Times between tokens.
    pub fn gaps(&self) -> impl Iterator<Item = Duration> + '_ {
        self.tokens.windows(2).map(|pair| pair[1].saturating_sub(pair[0]))
    }
}

/// A distribution, in milliseconds; all `None` if it is of nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The mean.
    pub mean: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// What nine in ten are below.
    pub p90: Option<f64>,
    /// What 99 in a hundred are below.
    pub p99: Option<f64>,
}

impl Summary {
    /// Of these times.
    pub fn of(times: impl Iterator<Item = Duration>) -> Summary {
        let mut times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
        times.sort_unstable_by(f64::total_cmp);
        Summary {
            mean: (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64),
            p50: percentile(&times, 50.0),
            p90: percentile(&times, 90.0),
            p99: percentile(&times, 99.0),
        }
    }
}

/// The value below which `percent` of `sorted` lie, linear between the two nearest ranks; `None` of
/// nothing.
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    let rank = percent / 100.0 * sorted.len().checked_sub(1)? as f64;
    let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    Some(low + (high - low) * rank.fract())
}

/// Mean and sample standard deviation of what was measured several times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation; 0 of a single value.
    pub spread: f64,
}

impl Spread {
    /// Of these values, at least one.
    pub fn of(values: &[f64]) -> Spread {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Spread { mean, spread: (squares / (count - 1.0).max(1.0)).sqrt() }
    }
}

/// What a request must keep to count as good.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Slo {
    /// The longest time to the first token, in milliseconds.
    pub ttft_ms: Option<f64>,
    /// The longest time per token after the first, in milliseconds.
    pub tpot_ms: Option<f64>,
}

impl Slo {
    /// Whether anything is asked for.
    pub fn is_set(&self) -> bool {
        self.ttft_ms.is_some() || self.tpot_ms.is_some()
    }

    /// Whether a request that finished keeps it. One of a single token has no TPOT to keep.
    pub fn holds(&self, timeline: &Timeline) -> bool {
        let within = |time: Option<Duration>, most: Option<f64>| match (time, most) {
            (Some(time), Some(most)) => time.as_secs_f64() * 1e3 <= most,
            _ => true,
        };
        within(timeline.ttft(), self.ttft_ms) && within(timeline.tpot(), self.tpot_ms)
    }
}

/// What a run's requests say together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metrics {
    /// Requests that ended with all their tokens; only these count below.
    pub finished: usize,
    /// Requests that an interrupt ended.
    pub cancelled: usize,
    /// Requests that failed.
    pub failed: usize,
    /// From the start to the last end.
    pub duration_s: f64,
    /// Mean tokens of a prompt.
    pub prompt_tokens: f64,
    /// Mean tokens of an output.
    pub output_tokens: f64,
    /// Mean number of requests that ran at a time.
    pub concurrency: f64,
    /// From when it was due to the first token.
    pub ttft_ms: Summary,
    /// Per token after the first.
    pub tpot_ms: Summary,
    /// Between two tokens, over all of all requests.
    pub itl_ms: Summary,
    /// From when it was due to its end.
    pub e2e_ms: Summary,
    /// Requests a second.
    pub requests_per_s: f64,
    /// Prompt tokens a second, those from the prefix cache included.
    pub input_tokens_per_s: f64,
    /// Output tokens a second.
    pub output_tokens_per_s: f64,
    /// Requests a second that kept the targets; `None` without targets.
    pub goodput_per_s: Option<f64>,
}

impl Metrics {
    /// Of these requests, which took `duration` together.
    pub fn of(timelines: &[Timeline], duration: Duration, slo: Slo) -> Metrics {
        let finished = || timelines.iter().filter(|t| t.ending == Ending::Finished);
        let count = finished().count();
        let prompt: usize = finished().map(|t| t.prompt_tokens).sum();
        let output: usize = finished().map(|t| t.tokens.len()).sum();
        let good = finished().filter(|t| slo.holds(t)).count();
        let ran: Duration = timelines.iter().map(|t| t.ran).sum();
        let seconds = duration.as_secs_f64();
        let per_s = |count: usize| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let each = |total: usize| total as f64 / count.max(1) as f64;
        Metrics {
            finished: count,
            cancelled: timelines.iter().filter(|t| t.ending == Ending::Cancelled).count(),
            failed: timelines.iter().filter(|t| matches!(t.ending, Ending::Failed(_))).count(),
            duration_s: seconds,
            prompt_tokens: each(prompt),
            output_tokens: each(output),
            concurrency: if seconds > 0.0 { ran.as_secs_f64() / seconds } else { 0.0 },
            ttft_ms: Summary::of(finished().filter_map(Timeline::ttft)),
            tpot_ms: Summary::of(finished().filter_map(Timeline::tpot)),
            itl_ms: Summary::of(finished().flat_map(Timeline::gaps)),
            e2e_ms: Summary::of(finished().map(Timeline::e2e)),
            requests_per_s: per_s(count),
            input_tokens_per_s: per_s(prompt),
            output_tokens_per_s: per_s(output),
            goodput_per_s: slo.is_set().then(|| per_s(good)),
        }
    }
}
