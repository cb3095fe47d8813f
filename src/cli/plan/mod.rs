//! `ridgepoint plan`: what fits, how fast it is, what limits it and what it costs, from config.json
//! alone. No weights are read and no GPU is asked.

mod audit;
mod compare;
mod report;
mod table;

use crate::backend::cuda::CudaBackend;
use crate::backend::cuda::driver::{DryDriver, Properties, shared_bytes_of};
use crate::backend::cuda::module;
use crate::cli::args::{FitArg, HeadArg, PlanArgs};
use crate::cli::output::Output;
use crate::error::{Error, Result};
use crate::load::Quantization;
use crate::model::budget::{self, BATCH_MAX, Fit, Formats, HeadFormat, Load, size};
use crate::model::gpu::Gpu;
use crate::model::predict::{Predictor, Workload};
use crate::model::{Limits, ModelConfig};
use crate::tensor::{Dtype, MatrixFormat};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// More prompt tokens than any step computes.
const PREFILL_MAX: usize = 1 << 16;
/// The GPU of a plan that names none.
const USUAL_GPU: &str = "h200";
/// Tokens of a sequence, and of its output, where nothing else is said.
const USUAL_CONTEXT: usize = 4096;
const USUAL_OUTPUT: usize = 256;

/// A question with all that it rests on.
struct Plan<'a> {
    args: &'a PlanArgs,
    model: &'a Path,
    config: ModelConfig,
    gpu: Gpu,
    formats: Formats,
    work: Workload,
    context: usize,
    /// For the launch plans and partial sums; a build without kernels has none.
    backend: Option<CudaBackend>,
}

/// Answers the question.
pub fn run(args: &PlanArgs, out: &mut Output) -> Result<()> {
    check_numbers(args)?;
    if let Some(result) = &args.question.audit {
        return audit::run(result, args, out);
    }
    // The grammar asks for a model wherever there is no --audit.
    let missing = || Error::Usage("plan: no MODEL was given".to_string());
    let plan = Plan::new(args, args.model.as_deref().ok_or_else(missing)?)?;
    match args.question.fit {
        Some(FitArg::Batch) => plan.print_largest_batch(out),
        Some(FitArg::Context) => plan.print_largest_context(out),
        None if args.question.compare => compare::run(&plan, out),
        None => report::run(&plan, out),
    }
}

fn check_numbers(args: &PlanArgs) -> Result<()> {
    let counts = [
        ("--batch", args.batch, BATCH_MAX),
        ("--prefill-tokens", args.prefill_tokens, PREFILL_MAX),
    ];
    for (name, value, most) in counts {
        if !(1..=most).contains(&value) {
            return Err(Error::Usage(format!("{name} is {value}, expected 1 to {most}")));
        }
    }
    if let Some(price) = args.price_per_hour
        && !(price > 0.0 && price.is_finite())
    {
        let message = format!("--price-per-hour is {price}, expected a number above 0");
        return Err(Error::Usage(message));
    }
    let utilisation = args.utilisation;
    if !(utilisation > 0.0 && utilisation <= 1.0) {
        let message = format!("--utilisation is {utilisation}, expected above 0, at most 1");
        return Err(Error::Usage(message));
    }
    Ok(())
}

/// The formats that the options ask for; `stored` where they ask for none.
fn formats(args: &PlanArgs, stored: Formats) -> Result<Formats> {
    let mut formats = match &args.weights {
        Some(text) => {
            let bad = |e| Error::Usage(format!("--weights: {e}"));
            Formats::of(text.parse().map_err(bad)?, HeadFormat::Bf16)
        }
        None => stored,
    };
    match args.head {
        None => {}
        Some(HeadArg::Bf16) => formats.head = HeadFormat::Bf16,
        Some(HeadArg::Int8) => formats.head = HeadFormat::Int8,
    }
    Ok(formats)
}

/// The formats that a model's configuration names.
fn stored_formats(model: &Path, config: &ModelConfig) -> Result<Formats> {
    let Some(quantization) = Quantization::find(model)? else { return Ok(Formats::default()) };
    Formats::stored(config, &|name, shape| {
        let declared = quantization.declared(name, shape)?;
        Ok(declared.unwrap_or(MatrixFormat::Plain(Dtype::Bf16)))
    })
}

/// Tokens of prompt and output, and of both.
fn lengths(args: &PlanArgs, config: &ModelConfig) -> Result<(usize, usize, usize)> {
    let most = config.context;
    let given = args.prompt.zip(args.output).map(|(prompt, output)| prompt.saturating_add(output));
    let (context, name) = match (args.context, given) {
        (Some(context), _) => (context, "--context"),
        (None, Some(both)) => (both, "--prompt and --output together"),
        (None, None) => (USUAL_CONTEXT.min(most), "the context"),
    };
    let usage = |message| Err(Error::Usage(message));
    if !(2..=most).contains(&context) {
        return usage(format!("{name} is {context}, expected 2 to {most}, the model's own"));
    }
    let (prompt, output) = match (args.prompt, args.output) {
        (Some(prompt), Some(output)) => (prompt, output),
        (Some(prompt), None) => (prompt, USUAL_OUTPUT.min(context.saturating_sub(prompt))),
        (None, Some(output)) => (context.saturating_sub(output), output),
        (None, None) => {
            let output = USUAL_OUTPUT.min(context / 2);
            (context - output, output)
        }
    };
    match prompt.checked_add(output) {
        Some(both) if prompt > 0 && output > 0 && both <= context => Ok((prompt, output, context)),
        _ => usage(format!(
            "--prompt {prompt} and --output {output}: expected at least one token of each, \
             together at most the context of {context}"
        )),
    }
}

/// A backend that plans launches for a device that is not there.
fn dry_backend() -> Result<Option<CudaBackend>> {
    const COMPUTE: (u32, u32) = (9, 0);
    let Some(target) = module::target_for(COMPUTE) else { return Ok(None) };
    let properties = Properties {
        name: "plan".to_string(),
        compute: COMPUTE,
        multiprocessors: 132,
        memory_bytes: u64::MAX,
        shared_bytes: shared_bytes_of(COMPUTE),
    };
    CudaBackend::new(Arc::new(DryDriver::new(properties, target))).map(Some)
}

impl<'a> Plan<'a> {
    fn new(args: &'a PlanArgs, model: &'a Path) -> Result<Plan<'a>> {
        let gpu = Gpu::parse(args.gpu.as_deref().unwrap_or(USUAL_GPU))?;
        if gpu.memory_bytes.is_none() {
            let message = format!(
                "--gpu {} says nothing of memory: give a name, or a file of ceilings",
                gpu.name
            );
            return Err(Error::Usage(message));
        }
        let config = ModelConfig::find(model)?;
        let formats = formats(args, stored_formats(model, &config)?)?;
        formats.check(&config)?;
        let (prompt, output, context) = lengths(args, &config)?;
        let work = Workload { batch: args.batch, prompt, output };
        let backend = dry_backend()?;
        Ok(Plan { args, model, config, gpu, formats, work, context, backend })
    }

    /// Runs `ask` with what fits in weights of `formats`.
    fn with_fit<T>(&self, formats: &Formats, ask: impl FnOnce(&Fit<'_>) -> Result<T>) -> Result<T> {
        let scratch = |limits: Limits| match &self.backend {
            Some(backend) => budget::scratch_bytes(backend, &self.config, limits),
            None => Ok(0),
        };
        ask(&Fit {
            config: &self.config,
            formats,
            prefill_tokens: self.args.prefill_tokens,
            memory_bytes: self.gpu.usable_bytes().unwrap_or(0),
            scratch: &scratch,
        })
    }

    fn predictor(&self, formats: &Formats) -> Predictor<'_> {
        let prefill_tokens = self.args.prefill_tokens;
        Predictor { config: &self.config, formats: formats.clone(), gpu: &self.gpu, prefill_tokens }
    }

    /// The load that was asked for.
    fn load(&self) -> Load {
        Load { batch: self.work.batch, context: self.context }
    }

    /// What to say of a load that does not fit: what would.
    fn refusal(&self, fit: &Fit<'_>, load: Load) -> Result<Error> {
        let Load { batch, context } = load;
        let (room, gpu) = (size(fit.memory_bytes), &self.gpu.name);
        let weights = budget::weight_bytes(&self.config, fit.formats);
        if weights >= fit.memory_bytes {
            let packed = Formats::of("int4".parse()?, fit.formats.head);
            return Ok(Error::Usage(format!(
                "the weights alone take {} in {}, and {} in int4, of {room} on {gpu}",
                size(weights),
                fit.formats,
                size(budget::weight_bytes(&self.config, &packed))
            )));
        }
        let needed = size(fit.ledger(load)?.bytes());
        let contexts = match fit.largest_context(batch)? {
            0 => format!("for a batch of {batch} there is no room at any context"),
            most => format!("a batch of {batch} fits up to a context of {most}"),
        };
        let batches = match fit.largest_batch(context)? {
            0 => format!("a context of {context} is too long for one sequence"),
            most => format!("a context of {context} fits up to a batch of {most}"),
        };
        Ok(Error::Usage(format!(
            "a batch of {batch} with a context of {context} takes {needed}, of {room} on {gpu}: \
             {contexts}; {batches}"
        )))
    }

    fn print_largest_batch(&self, out: &mut Output) -> Result<()> {
        let context = self.context;
        self.with_fit(&self.formats, |fit| {
            let batch = fit.largest_batch(context)?;
            if batch == 0 {
                return Err(self.refusal(fit, Load { batch: 1, context })?);
            }
            self.print_fit("batch", Load { batch, context }, fit, out)
        })
    }

    fn print_largest_context(&self, out: &mut Output) -> Result<()> {
        let batch = self.work.batch;
        self.with_fit(&self.formats, |fit| {
            let context = fit.largest_context(batch)?;
            if context == 0 {
                return Err(self.refusal(fit, Load { batch, context: 1 })?);
            }
            self.print_fit("context", Load { batch, context }, fit, out)
        })
    }

    fn print_fit(&self, what: &str, load: Load, fit: &Fit<'_>, out: &mut Output) -> Result<()> {
        let Load { batch, context } = load;
        let bytes = fit.ledger(load)?.bytes();
        if self.args.json {
            return out.json(&json!({
                "fit": what,
                "gpu": self.gpu.name,
                "weights": self.formats.weights.to_string(),
                "batch": batch,
                "context": context,
                "bytes": bytes,
                "usable_bytes": fit.memory_bytes,
            }));
        }
        let bound = match what {
            "batch" if batch == BATCH_MAX => ", the most that is looked for",
            "context" if context == self.config.context => ", the model's own",
            _ => "",
        };
        let answer = match what {
            "batch" => format!("largest batch for a context of {context}: {batch}"),
            _ => format!("largest context for a batch of {batch}: {context}"),
        };
        out.text(&format!(
            "{answer}{bound} ({} of {} on {} in {})\n",
            size(bytes),
            size(fit.memory_bytes),
            self.gpu.name,
            self.formats
        ))
    }
}
