//! The plan of a load: memory, what else would fit, times by phase, cost.

use super::Plan;
use super::table::{self, LIMIT, digits, row, seconds};
use crate::cli::output::Output;
use crate::error::Result;
use crate::model::ModelConfig;
use crate::model::budget::{Budget, Fit, size};
use crate::model::predict::{Figures, PhaseTime, Prediction, Share, dollars_per_million};
use serde_json::{Value, json};

/// The first context of the table of largest batches.
const FIRST_CONTEXT: usize = 1024;

/// What the report shows.
struct Report<'a> {
    plan: &'a Plan<'a>,
    ledger: Budget,
    usable_bytes: u64,
    /// Context and the largest batch for it.
    largest: Vec<(usize, usize)>,
    prediction: Prediction,
    shares: Vec<Share>,
    launch_s: f64,
}

/// Prints it.
pub fn run(plan: &Plan<'_>, out: &mut Output) -> Result<()> {
    let report = plan.with_fit(&plan.formats, |fit| Report::new(plan, fit))?;
    if plan.args.json {
        return out.json(&report.json());
    }
    report.print_memory(out)?;
    report.print_times(out)?;
    report.print_ops(out)?;
    report.print_cost(out)?;
    report.print_shares(out)
}

impl<'a> Report<'a> {
    fn new(plan: &'a Plan<'a>, fit: &Fit<'_>) -> Result<Report<'a>> {
        let ledger = fit.ledger(plan.load())?;
        if ledger.bytes() > fit.memory_bytes {
            return Err(plan.refusal(fit, plan.load())?);
        }
        let largest = contexts(&plan.config).into_iter();
        let largest = largest.map(|context| Ok((context, fit.largest_batch(context)?)));
        let predictor = plan.predictor(&plan.formats);
        Ok(Report {
            plan,
            ledger,
            usable_bytes: fit.memory_bytes,
            largest: largest.collect::<Result<_>>()?,
            prediction: predictor.workload(plan.work),
            shares: predictor.shares().used(),
            launch_s: predictor.shares().launch_s(),
        })
    }

    fn print_memory(&self, out: &mut Output) -> Result<()> {
        let (plan, gpu) = (self.plan, &self.plan.gpu);
        let memory = gpu.memory_bytes.unwrap_or(0);
        out.text(&format!(
            "{}: {} in {}\n{}: {}, {} TB/s, {} TFLOP/s, ridge at {:.0} operations a byte\n\
             batch {}, context {}: prompts of {} tokens, outputs of {}\n\nMemory\n{}\n",
            plan.model.display(),
            plan.config.architecture,
            plan.formats,
            gpu.name,
            size(memory),
            digits(gpu.bytes_per_s / 1e12),
            digits(gpu.flops_per_s / 1e12),
            gpu.ridge(),
            plan.work.batch,
            plan.context,
            plan.work.prompt,
            plan.work.output,
            self.ledger
        ))?;
        let free = self.usable_bytes - self.ledger.bytes();
        let taken = memory - self.usable_bytes;
        if taken > 0 {
            out.text(&format!("  {:<14} {:>10}  an estimate\n", "driver", size(taken)))?;
        }
        out.text(&format!("  {:<14} {:>10}\n", "free", size(free)))?;
        if plan.backend.is_none() {
            out.text("  (this build has no kernels: what they need as scratch is not counted)\n")?;
        }
        out.text("\nLargest batch\n")?;
        let mut rows = vec![row(["context", "batch"])];
        rows.extend(self.largest.iter().map(|(c, b)| vec![c.to_string(), b.to_string()]));
        table::print(&rows, 0, out)
    }

    fn print_times(&self, out: &mut Output) -> Result<()> {
        let Prediction { prefill, decode, floor, expected } = &self.prediction;
        let work = self.plan.work;
        let time = |name: &str, of: fn(&Figures) -> f64, phase: Option<&PhaseTime>| {
            let mut cells = vec![name.to_string(), seconds(of(floor)), seconds(of(expected))];
            cells.extend(phase.map(|p| p.expected().limiting().to_string()));
            cells
        };
        let rate = |name: &str, of: &dyn Fn(&Figures) -> f64, phase: Option<&PhaseTime>| {
            let mut cells = vec![name.to_string(), digits(of(floor)), digits(of(expected))];
            cells.extend(phase.map(|p| p.expected().limiting().to_string()));
            cells
        };
        let (input, output) = (work.prompt as f64, work.output as f64);
        let rows = [
            row(["", "floor", "expected", LIMIT]),
            time("TTFT, a prompt alone", |f| f.ttft_s, Some(prefill)),
            time("TPOT, decode steps alone", |f| f.tpot_s, Some(decode)),
            time("TPOT, others' prompts between", |f| f.loaded_tpot_s, None),
            rate("prefill tokens/s", &|f| f.prefill_tokens_per_s, Some(prefill)),
            rate("decode tokens/s", &|f| f.decode_tokens_per_s, Some(decode)),
            rate("input tokens/s, both phases", &|f| f.requests_per_s * input, None),
            rate("output tokens/s, both phases", &|f| f.requests_per_s * output, None),
        ];
        out.text("\nPrediction\n")?;
        table::print(&rows, 1, out)
    }

    fn print_ops(&self, out: &mut Output) -> Result<()> {
        let phases =
            [("A prompt", &self.prediction.prefill), ("A decode step", &self.prediction.decode)];
        for (name, phase) in phases {
            let mut rows = vec![row([
                "op", "launches", "bytes", "flops", "floor", "expected", "share", LIMIT,
            ])];
            let whole = phase.expected().seconds();
            rows.extend(phase.ops.iter().map(|op| {
                vec![
                    op.op.to_string(),
                    op.launches.to_string(),
                    size(op.bytes),
                    format!("{:.2e}", op.flops as f64),
                    seconds(op.floor.seconds()),
                    seconds(op.expected.seconds()),
                    format!("{:.1} %", op.expected.seconds() / whole * 100.0),
                    op.expected.limiting().to_string(),
                ]
            }));
            out.text(&format!("\n{name}, op by op\n"))?;
            table::print(&rows, 1, out)?;
        }
        Ok(())
    }

    fn print_cost(&self, out: &mut Output) -> Result<()> {
        let Some(price) = self.plan.args.price_per_hour else { return Ok(()) };
        let utilisation = self.plan.args.utilisation;
        let (floor, expected) =
            (self.cost(&self.prediction.floor), self.cost(&self.prediction.expected));
        let names = ["input", "output", "all, by the time they take"];
        let mut rows = vec![row(["$ per million tokens", "floor", "expected"])];
        for (i, name) in names.iter().enumerate() {
            rows.push(vec![name.to_string(), digits(floor[i]), digits(expected[i])]);
        }
        out.text(&format!("\nCost at $ {price} an hour, utilisation {utilisation}\n"))?;
        table::print(&rows, 1, out)
    }

    /// Dollars for a million tokens: of input, of output, and of both in the workload's mixture.
    fn cost(&self, figures: &Figures) -> [f64; 3] {
        let (price, utilisation) =
            (self.plan.args.price_per_hour.unwrap_or(0.0), self.plan.args.utilisation);
        let both = (self.plan.work.prompt + self.plan.work.output) as f64;
        let rates = [
            figures.prefill_tokens_per_s,
            figures.decode_tokens_per_s,
            figures.requests_per_s * both,
        ];
        rates.map(|rate| dollars_per_million(price, rate, utilisation))
    }

    fn print_shares(&self, out: &mut Output) -> Result<()> {
        out.text(
            "\nNo kernel is as fast as the floor. What is expected is the floor over these shares, \
             which are\nestimates that no run on this device stands behind yet:\n",
        )?;
        let cells =
            |s: &Share| vec![s.of.to_string(), format!("{:.2}", s.value), s.reason.to_string()];
        let mut rows: Vec<Vec<String>> = self.shares.iter().map(cells).collect();
        let launch = seconds(self.launch_s);
        rows.push(row(["each launch", &launch, "a node of a graph"]));
        table::print(&rows, 3, out)
    }

    fn json(&self) -> Value {
        let plan = self.plan;
        let lines = self.ledger.lines().iter();
        let memory: serde_json::Map<String, Value> =
            lines.map(|line| (line.what.replace(' ', "_"), line.bytes.into())).collect();
        let largest: Vec<Value> = self
            .largest
            .iter()
            .map(|(context, batch)| json!({"context": context, "batch": batch}))
            .collect();
        let shares: Vec<Value> =
            self.shares.iter().map(|s| json!({"of": s.of, "value": s.value})).collect();
        let mut object = json!({
            "model": plan.model.display().to_string(),
            "gpu": plan.gpu.name,
            "weights": plan.formats.weights.to_string(),
            "head": plan.formats.head.to_string(),
            "batch": plan.work.batch,
            "context": plan.context,
            "prompt": plan.work.prompt,
            "output": plan.work.output,
            "memory_bytes": memory,
            "usable_bytes": self.usable_bytes,
            "free_bytes": self.usable_bytes - self.ledger.bytes(),
            "largest": largest,
            "floor": self.figures_json(&self.prediction.floor),
            "expected": self.figures_json(&self.prediction.expected),
            "expected_is": "an estimate",
            "prefill": phase_json(&self.prediction.prefill),
            "decode": phase_json(&self.prediction.decode),
            "shares": shares,
            "launch_us": self.launch_s * 1e6,
        });
        if let Some(price) = plan.args.price_per_hour {
            object["price_per_hour"] = price.into();
            object["utilisation"] = plan.args.utilisation.into();
        }
        object
    }

    fn figures_json(&self, figures: &Figures) -> Value {
        let mut object = json!({
            "ttft_ms": figures.ttft_s * 1e3,
            "tpot_ms": figures.tpot_s * 1e3,
            "loaded_tpot_ms": figures.loaded_tpot_s * 1e3,
            "prefill_tokens_per_s": figures.prefill_tokens_per_s,
            "decode_tokens_per_s": figures.decode_tokens_per_s,
            "requests_per_s": figures.requests_per_s,
        });
        if self.plan.args.price_per_hour.is_some() {
            let [input, output, all] = self.cost(figures);
            object["dollars_per_million"] = json!({"input": input, "output": output, "all": all});
        }
        object
    }
}

/// Powers of two from [`FIRST_CONTEXT`] on, and the model's own context at the end.
fn contexts(config: &ModelConfig) -> Vec<usize> {
    let doubled = std::iter::successors(Some(FIRST_CONTEXT), |context| Some(context * 2));
    let mut contexts: Vec<usize> =
        doubled.take_while(|context| *context < config.context).collect();
    contexts.push(config.context);
    contexts
}

fn phase_json(phase: &PhaseTime) -> Value {
    let ops: Vec<Value> = phase
        .ops
        .iter()
        .map(|op| {
            json!({
                "op": op.op,
                "launches": op.launches,
                "bytes": op.bytes,
                "flops": op.flops,
                "floor_us": op.floor.seconds() * 1e6,
                "expected_us": op.expected.seconds() * 1e6,
                "limited_by": op.expected.limiting().to_string(),
            })
        })
        .collect();
    json!({
        "floor_limited_by": phase.floor().limiting().to_string(),
        "limited_by": phase.expected().limiting().to_string(),
        "ops": ops,
    })
}
