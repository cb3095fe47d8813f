//! Results as tables, JSON and CSV.

use super::cost::{self, Cost};
use super::metrics::{Metrics, Spread, Summary};
use crate::backend::Phase;
use crate::cli::draft::DraftFigures;
use crate::engine::{PhaseStats, Stats};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// The version of the JSON, which `ridgepoint plan --audit` reads.
pub const SCHEMA: u32 = 1;

/// What is written of a benchmark.
#[derive(Debug, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Of this program.
    pub version: &'static str,
    /// What the model ran on.
    pub device: String,
    /// When the benchmark ended, in UTC.
    pub date: String,
    /// How the engine was set up.
    pub config: Settings,
    /// One a test or rate.
    pub results: Vec<Measurement>,
}

/// How the engine was set up, and what it was asked.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // each is named as the flag that sets it
pub struct Settings {
    pub command: &'static str,
    pub workload: String,
    pub model: String,
    pub weights: String,
    pub head: String,
    #[serde(skip_serializing_if = "is_none")]
    pub matrices_in_other_formats: usize,
    pub dummy_weights: bool,
    pub context: usize,
    pub running: usize,
    pub prefill_tokens: usize,
    pub kv_pages: usize,
    pub reserve_percent: usize,
    pub prefix_cache: bool,
    pub seed: u64,
    pub slo_ttft_ms: Option<f64>,
    pub slo_tpot_ms: Option<f64>,
    pub gpu: Option<String>,
    pub price_per_hour: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draft: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

/// One result.
#[derive(Debug, Serialize)]
pub struct Measurement {
    /// What was measured.
    pub name: String,
    /// Requests a second that arrived, where they did by a rate.
    pub rate: Option<f64>,
    /// Of `bench latency`: tokens a second of the phase that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_s: Option<Spread>,
    /// Of `bench latency`: milliseconds of a prefill, or for each token of decode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ms: Option<Spread>,
    /// What clients saw.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// What the engine counted.
    #[serde(flatten)]
    pub engine: EngineFigures,
    /// What tokens cost.
    pub dollars: Cost,
}

/// What the engine counted during a measurement.
#[derive(Debug, Serialize)]
pub struct EngineFigures {
    /// Prompt tokens that prefill passes computed in a second of their time.
    pub prefill_tokens_per_s: Option<f64>,
    /// Tokens that decode passes drew in a second of their time and that of their drafts.
    pub decode_tokens_per_s: Option<f64>,
    /// Prompt tokens that were looked for in the prefix cache.
    pub prefix_query_tokens: u64,
    /// Of these, found.
    pub prefix_hit_tokens: u64,
    /// Tokens that were computed again after preemptions.
    pub recomputed_tokens: u64,
    /// How often a request lost its pages.
    pub preemptions: u64,
    /// Steps.
    pub steps: u64,
    /// Time of a step outside of passes and draws.
    pub host_us_per_step: Option<f64>,
    /// Of prefill passes.
    pub prefill: PhaseFigures,
    /// Of decode passes.
    pub decode: PhaseFigures,
    /// What drafts did, if something drafts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speculation: Option<SpeculationFigures>,
}

/// What drafts did, and what they took.
#[derive(Debug, Serialize)]
pub struct SpeculationFigures {
    /// Steps and tokens.
    #[serde(flatten)]
    pub drafts: DraftFigures,
    /// Time spent on drafts.
    pub seconds: f64,
    /// Steps whose drafts failed.
    pub faults: u64,
}

/// The passes of a phase.
#[derive(Debug, Serialize)]
pub struct PhaseFigures {
    /// How many.
    pub passes: u64,
    /// Rows of all.
    pub rows: u64,
    /// Time in them and in the draws after them.
    pub seconds: f64,
    /// The time in which a device of the given ceilings could have done them, over this time.
    pub roofline_share: Option<f64>,
}

impl EngineFigures {
    /// Of what was counted; `share` gives shares of the roofline.
    pub fn of(stats: &Stats, share: impl Fn(Phase, &PhaseStats) -> Option<f64>) -> EngineFigures {
        let per_s = |count: u64, time: Duration| {
            let seconds = time.as_secs_f64();
            (seconds > 0.0).then(|| count as f64 / seconds)
        };
        let figures = |phase: Phase, of: &PhaseStats| PhaseFigures {
            passes: of.passes,
            rows: of.rows,
            seconds: of.time.as_secs_f64(),
            roofline_share: share(phase, of),
        };
        let host_us = stats.host_time().as_secs_f64() * 1e6;
        EngineFigures {
            prefill_tokens_per_s: per_s(stats.prefill.rows, stats.prefill.time),
            decode_tokens_per_s: per_s(stats.decoded_tokens(), stats.decode_time()),
            prefix_query_tokens: stats.prefix_cache_queries,
            prefix_hit_tokens: stats.prefix_cache_hits,
            recomputed_tokens: stats.recomputed_tokens,
            preemptions: stats.preemptions,
            steps: stats.steps,
            host_us_per_step: (stats.steps > 0).then(|| host_us / stats.steps as f64),
            prefill: figures(Phase::Prefill, &stats.prefill),
            decode: figures(Phase::Decode, &stats.decode),
            speculation: stats.speculation.is_on.then(|| SpeculationFigures {
                drafts: DraftFigures::of(&stats.speculation.counts),
                seconds: stats.speculation.time.as_secs_f64(),
                faults: stats.speculation.faults,
            }),
        }
    }
}

impl Report {
    /// The object, on a line of its own.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("the report has no map with other keys") + "\n"
    }

    /// A header and a row a result. The name of a column is the path to it in the JSON, with
    /// underscores; places in a list are numbered from 1.
    pub fn csv(&self) -> String {
        let mut columns: Vec<String> = Vec::new();
        let rows: Vec<BTreeMap<String, String>> = self
            .results
            .iter()
            .map(|result| {
                let value = serde_json::to_value(result).expect("as in the JSON");
                let mut row = BTreeMap::new();
                flatten("", &value, &mut columns, &mut row);
                row
            })
            .collect();
        let mut text = columns.join(",") + "\n";
        for row in &rows {
            let cells = columns.iter().map(|name| row.get(name).map_or("", String::as_str));
            text += &(cells.collect::<Vec<&str>>().join(",") + "\n");
        }
        text
    }

    /// All results for a reader.
    pub fn tables(&self) -> String {
        let mut text = String::new();
        let some = |has: fn(&Measurement) -> bool| self.results.iter().any(has);
        if self.results.is_empty() {
            return "nothing was measured to its end\n".to_string();
        }
        if some(|result| result.tokens_per_s.is_some()) {
            text += &table(&PHASE_HEAD, self.results.iter().filter_map(phase_row));
        } else {
            text += &table(&LOAD_HEAD, self.results.iter().map(load_row));
            text += "\n";
            text += &table(&LATENCY_HEAD, self.results.iter().flat_map(latency_rows));
        }
        text += "\n";
        text += &table(&ENGINE_HEAD, self.results.iter().map(engine_row));
        if some(|result| result.engine.speculation.is_some()) {
            text += "\n";
            text += &table(&DRAFT_HEAD, self.results.iter().filter_map(draft_row));
        }
        if self.config.price_per_hour.is_some() {
            text += "\n";
            text += &table(&COST_HEAD, self.results.iter().map(cost_row));
            let _ = writeln!(text, "({})", cost::SPLIT);
        }
        text
    }
}

/// Puts the leaves of an object into a row, and names new ones in `columns`.
fn flatten(
    path: &str,
    value: &Value,
    columns: &mut Vec<String>,
    row: &mut BTreeMap<String, String>,
) {
    let under = |name: &str| match path.is_empty() {
        true => name.to_string(),
        false => format!("{path}_{name}"),
    };
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| flatten(&under(name), value, columns, row));
            return;
        }
        Value::Array(values) => {
            for (i, value) in values.iter().enumerate() {
                flatten(&under(&(i + 1).to_string()), value, columns, row);
            }
            return;
        }
        _ => {}
    }
    let cell = match value {
        Value::Null => String::new(),
        Value::String(text) if text.contains([',', '"', '\n']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if !columns.iter().any(|column| column == path) {
        columns.push(path.to_string());
    }
    row.insert(path.to_string(), cell);
}

const PHASE_HEAD: [&str; 5] = ["test", "tok/s", "+-", "ms", "+-"];
const LOAD_HEAD: [&str; 7] =
    ["run", "done", "seconds", "req/s", "in tok/s", "out tok/s", "good req/s"];
const LATENCY_HEAD: [&str; 6] = ["run", "ms", "mean", "p50", "p90", "p99"];
const ENGINE_HEAD: [&str; 10] = [
    "run",
    "prefill tok/s",
    "roofline",
    "decode tok/s",
    "roofline",
    "hit tokens",
    "recomputed",
    "preempted",
    "steps",
    "host us/step",
];
const DRAFT_HEAD: [&str; 8] = [
    "run",
    "tokens/step",
    "steps",
    "drafted",
    "accepted",
    "wasted",
    "% accepted by position",
    "draft s",
];
const COST_HEAD: [&str; 4] = ["run", "$/M input", "$/M cached", "$/M output"];

fn phase_row(result: &Measurement) -> Option<Vec<String>> {
    let (rate, ms) = (result.tokens_per_s?, result.ms?);
    let figures = [rate.mean, rate.spread, ms.mean, ms.spread].map(number);
    Some([vec![result.name.clone()], figures.to_vec()].concat())
}

fn load_row(result: &Measurement) -> Vec<String> {
    let metrics = &result.metrics;
    let all = metrics.finished + metrics.cancelled + metrics.failed;
    vec![
        result.name.clone(),
        if all == metrics.finished {
            all.to_string()
        } else {
            format!("{} of {all}", metrics.finished)
        },
        number(metrics.duration_s),
        number(metrics.requests_per_s),
        number(metrics.input_tokens_per_s),
        number(metrics.output_tokens_per_s),
        optional(metrics.goodput_per_s),
    ]
}

fn latency_rows(result: &Measurement) -> Vec<Vec<String>> {
    let metrics = &result.metrics;
    let row = |(name, summary): (&str, Summary)| {
        let figures = [summary.mean, summary.p50, summary.p90, summary.p99].map(optional);
        [vec![result.name.clone(), name.to_string()], figures.to_vec()].concat()
    };
    let rows = [
        ("TTFT", metrics.ttft_ms),
        ("TPOT", metrics.tpot_ms),
        ("ITL", metrics.itl_ms),
        ("end to end", metrics.e2e_ms),
    ];
    rows.map(row).to_vec()
}

fn engine_row(result: &Measurement) -> Vec<String> {
    let engine = &result.engine;
    let share =
        |share: Option<f64>| share.map_or("-".to_string(), |x| format!("{:.1} %", 100.0 * x));
    vec![
        result.name.clone(),
        optional(engine.prefill_tokens_per_s),
        share(engine.prefill.roofline_share),
        optional(engine.decode_tokens_per_s),
        share(engine.decode.roofline_share),
        engine.prefix_hit_tokens.to_string(),
        engine.recomputed_tokens.to_string(),
        engine.preemptions.to_string(),
        engine.steps.to_string(),
        optional(engine.host_us_per_step),
    ]
}

fn draft_row(result: &Measurement) -> Option<Vec<String>> {
    let figures = result.engine.speculation.as_ref()?;
    let drafts = &figures.drafts;
    let counts =
        [drafts.steps, drafts.drafted_tokens, drafts.accepted_tokens, drafts.wasted_tokens];
    let mut row = vec![result.name.clone(), optional(drafts.tokens_per_step)];
    row.extend(counts.map(|count| count.to_string()));
    row.extend([drafts.acceptance(), number(figures.seconds)]);
    Some(row)
}

fn cost_row(result: &Measurement) -> Vec<String> {
    let dollars = &result.dollars;
    let figures =
        [dollars.input_per_million, dollars.cached_per_million, dollars.output_per_million];
    [vec![result.name.clone()], figures.map(optional).to_vec()].concat()
}

fn optional(value: Option<f64>) -> String {
    value.map_or("-".to_string(), number)
}

/// Four digits that count, at most.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        x if x >= 1000.0 => 0,
        x if x >= 100.0 => 1,
        x if x >= 1.0 => 2,
        0.0 => 0,
        _ => 4,
    };
    format!("{value:.digits$}")
}

/// Lines of columns; the first is text, the others end at one edge.
fn table<const N: usize>(head: &[&str; N], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut all = vec![head.iter().map(|name| name.to_string()).collect::<Vec<String>>()];
    all.extend(rows);
    let width = |column: usize| all.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in &all {
        let cell = |(column, cell): (usize, &String)| match column {
            0 => format!("{cell:<width$}", width = widths[0]),
            _ => format!("{cell:>width$}", width = widths[column]),
        };
        let cells: Vec<String> = row.iter().enumerate().map(cell).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}
