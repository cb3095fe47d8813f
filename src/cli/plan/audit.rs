//! `plan --audit`: what was predicted beside what `ridgepoint bench` measured.

use super::formats;
use super::table::{self, digits, row};
use crate::cli::args::PlanArgs;
use crate::cli::output::Output;
use crate::error::{Error, Result};
use crate::load::checkpoint::read_json_text;
use crate::model::ModelConfig;
use crate::model::budget::{BATCH_MAX, Formats, HeadFormat, WeightFormat};
use crate::model::gpu::Gpu;
use crate::model::predict::{Figures, Predictor, Workload};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The schema of result files that is read here.
const SCHEMA: u64 = 1;

/// A result file; what it holds beside is not looked at.
#[derive(Deserialize)]
struct Measured {
    #[serde(default)]
    device: Option<String>,
    #[serde(default)]
    config: Settings,
    #[serde(default)]
    results: Vec<Run>,
}

/// How the engine was set up.
#[derive(Deserialize, Default)]
struct Settings {
    model: Option<PathBuf>,
    weights: Option<String>,
    head: Option<String>,
    #[serde(default)]
    matrices_in_other_formats: usize,
    draft: Option<String>,
}

impl Settings {
    /// What was measured that is not what is predicted.
    fn differences(&self) -> Vec<String> {
        let others = self.matrices_in_other_formats;
        let others = (others > 0).then(|| {
            format!("{others} matrices are in formats other than those that are predicted for")
        });
        let draft = self.draft.as_ref().map(|draft| {
            format!("measured with drafts ({draft}), predicted without: tpot_ms is not comparable")
        });
        others.into_iter().chain(draft).collect()
    }
}

/// A measured workload. What is missing is left out of the table.
#[derive(Deserialize)]
struct Run {
    #[serde(default)]
    name: Option<String>,
    /// Means over the requests.
    prompt_tokens: Option<f64>,
    output_tokens: Option<f64>,
    /// Mean number of requests that ran at a time.
    concurrency: Option<f64>,
    ttft_ms: Option<Summary>,
    tpot_ms: Option<Summary>,
    output_tokens_per_s: Option<f64>,
    input_tokens_per_s: Option<f64>,
}

#[derive(Deserialize)]
struct Summary {
    mean: Option<f64>,
}

/// A figure of a run.
struct Line {
    run: String,
    figure: &'static str,
    floor: f64,
    expected: f64,
    measured: f64,
}

/// Prints predicted against measured.
pub fn run(path: &Path, args: &PlanArgs, out: &mut Output) -> Result<()> {
    let measured = read(path)?;
    let named = args.model.as_deref().or(measured.config.model.as_deref());
    let model = named.ok_or_else(|| {
        Error::invalid(
            path,
            "config.model",
            "no such field",
            "a model, or MODEL on the command line",
        )
    })?;
    let config = ModelConfig::find(model)?;
    let gpu = gpu(path, args, measured.device.as_deref())?;
    let formats = formats(args, measured_formats(path, &measured.config)?)?;
    formats.check(&config)?;
    let prefill_tokens = args.prefill_tokens;
    let predictor =
        Predictor { config: &config, formats: formats.clone(), gpu: &gpu, prefill_tokens };
    let mut lines = Vec::new();
    for (i, run) in measured.results.iter().enumerate() {
        lines.extend(compare(path, i, run, &predictor)?);
    }
    if lines.is_empty() {
        let expected = "ttft_ms, tpot_ms or tokens_per_s beside prompt_tokens and output_tokens";
        return Err(Error::invalid(path, "results", "nothing to compare", expected));
    }
    if args.json {
        let differences = measured.config.differences();
        return lines.iter().try_for_each(|line| out.json(&line.json(&differences)));
    }
    let device = measured.device.as_deref().unwrap_or("a device that is not named");
    out.text(&format!(
        "{} in {formats}, measured on {device}, predicted for {}\n",
        model.display(),
        gpu.name
    ))?;
    for difference in measured.config.differences() {
        out.text(&format!("note: {difference}\n"))?;
    }
    print(&lines, out)
}

/// The formats that the file names.
fn measured_formats(path: &Path, config: &Settings) -> Result<Formats> {
    let weights = match &config.weights {
        Some(text) => text
            .parse()
            .map_err(|_| Error::invalid(path, "config.weights", text, "bf16 or int4"))?,
        None => WeightFormat::Bf16,
    };
    let head = match config.head.as_deref() {
        None | Some("bf16") => HeadFormat::Bf16,
        Some("int8") => HeadFormat::Int8,
        Some("int4") if weights != WeightFormat::Bf16 => weights.into(),
        Some(other) => {
            return Err(Error::invalid(path, "config.head", other, "bf16, int8 or int4"));
        }
    };
    Ok(Formats::of(weights, head))
}

fn read(path: &Path) -> Result<Measured> {
    let text = read_json_text(path)?;
    let bad = |e: serde_json::Error| Error::invalid(path, "content", e, "a result of bench");
    let value: Value = serde_json::from_str(&text).map_err(bad)?;
    let schema = value.get("schema").unwrap_or(&Value::Null);
    if schema.as_u64() != Some(SCHEMA) {
        return Err(Error::invalid(path, "schema", schema, SCHEMA));
    }
    serde_json::from_value(value).map_err(bad)
}

fn gpu(path: &Path, args: &PlanArgs, device: Option<&str>) -> Result<Gpu> {
    match (&args.gpu, device) {
        (Some(text), _) => Gpu::parse(text),
        (None, device) => device.and_then(Gpu::of_device).ok_or_else(|| {
            let found = device.unwrap_or("no such field");
            let expected = "a GPU whose data sheet is known, or --gpu with a file of ceilings";
            Error::invalid(path, "device", found, expected)
        }),
    }
}

fn compare(path: &Path, index: usize, run: &Run, predictor: &Predictor<'_>) -> Result<Vec<Line>> {
    let Some(workload) = workload(path, index, run, predictor.config)? else {
        return Ok(Vec::new());
    };
    let prediction = predictor.workload(workload);
    let mean = |summary: &Option<Summary>| summary.as_ref().and_then(|s| s.mean);
    let (prompt, output) = (workload.prompt as f64, workload.output as f64);
    type Of = Box<dyn Fn(&Figures) -> f64>;
    let figures: [(&'static str, Option<f64>, Of); 4] = [
        ("ttft_ms", mean(&run.ttft_ms), Box::new(|f| f.ttft_s * 1e3)),
        ("tpot_ms", mean(&run.tpot_ms), Box::new(|f| f.loaded_tpot_s * 1e3)),
        (
            "output_tokens_per_s",
            run.output_tokens_per_s,
            Box::new(move |f| f.requests_per_s * output),
        ),
        (
            "input_tokens_per_s",
            run.input_tokens_per_s,
            Box::new(move |f| f.requests_per_s * prompt),
        ),
    ];
    let name = run.name.clone().unwrap_or_else(|| index.to_string());
    let line = |(figure, measured, of): (&'static str, Option<f64>, Of)| {
        let (floor, expected) = (of(&prediction.floor), of(&prediction.expected));
        Some(Line { run: name.clone(), figure, floor, expected, measured: measured? })
    };
    Ok(figures.into_iter().filter_map(line).collect())
}

/// The workload of a run, if the file says what it was.
fn workload(
    path: &Path,
    index: usize,
    run: &Run,
    config: &ModelConfig,
) -> Result<Option<Workload>> {
    let whole = |name: &str, value: f64, most: usize| match value.round() {
        n if n >= 1.0 && n <= most as f64 => Ok(n as usize),
        _ => {
            let expected = format!("a number from 1 to {most}");
            Err(Error::invalid(path, format!("results[{index}].{name}"), value, expected))
        }
    };
    let (Some(prompt), Some(output)) = (run.prompt_tokens, run.output_tokens) else {
        return Ok(None);
    };
    // A mean below one request is one request while there is any.
    let concurrency = run.concurrency.unwrap_or(1.0).max(1.0);
    Ok(Some(Workload {
        batch: whole("concurrency", concurrency, BATCH_MAX)?,
        prompt: whole("prompt_tokens", prompt, config.context)?,
        output: whole("output_tokens", output, config.context)?,
    }))
}

impl Line {
    fn ratio(&self) -> f64 {
        self.measured / self.expected
    }

    fn json(&self, differences: &[String]) -> Value {
        json!({
            "run": self.run,
            "figure": self.figure,
            "floor": self.floor,
            "expected": self.expected,
            "measured": self.measured,
            "measured_over_expected": self.ratio(),
            "differences": differences,
        })
    }
}

fn print(lines: &[Line], out: &mut Output) -> Result<()> {
    let mut rows =
        vec![row(["run", "figure", "floor", "expected", "measured", "measured/expected"])];
    rows.extend(lines.iter().map(|line| {
        vec![
            line.run.clone(),
            line.figure.to_string(),
            digits(line.floor),
            digits(line.expected),
            digits(line.measured),
            format!("{:.2}", line.ratio()),
        ]
    }));
    table::print(&rows, 2, out)?;
    out.text(
        "A measured ttft_ms includes waiting for other prompts, the predicted one does not; \
         tpot_ms and\ntokens per second are those of a full house: whoever leaves is replaced at \
         once.\n",
    )
}
