//! `--draft`: what drafts for an engine, checked before anything large is loaded.

use crate::backend::{Backend, pages_for};
use crate::cli::args::{DraftArg, EngineArgs};
use crate::engine::speculate::{DEPTH_MAX, Depths, DraftCounts, DraftModel, Drafter, Ngrams};
use crate::engine::{Engine, EngineOptions};
use crate::error::{Error, Result};
use crate::load::Checkpoint;
use crate::model::budget::{Budget, Formats, page_bytes, parameters, size};
use crate::model::{Decoder, Limits, ModelConfig};
use serde::Serialize;
use std::path::Path;

/// What drafts, and how deep.
pub struct Draft {
    who: Who,
    depth: Option<usize>,
}

enum Who {
    Ngrams(usize),
    Model(Box<(ModelConfig, Checkpoint)>),
}

impl Draft {
    /// What the options ask for, for the model in `dir`. Makes `options` ready for it.
    ///
    /// # Errors
    /// A draft model that cannot stand beside this one, or a depth out of range.
    pub fn open(
        args: &EngineArgs,
        dir: &Path,
        config: &ModelConfig,
        options: &mut EngineOptions,
    ) -> Result<Option<Draft>> {
        if let Some(depth) = args.depth
            && depth > DEPTH_MAX
        {
            return Err(Error::Usage(format!("--depth is {depth}, expected 0 to {DEPTH_MAX}")));
        }
        let Some(draft) = &args.draft else {
            return match args.depth {
                Some(_) => Err(Error::Usage("--depth needs --draft".to_string())),
                None => Ok(None),
            };
        };
        let (who, depth) = match draft {
            DraftArg::Ngrams { max, depth } => (Who::Ngrams(*max), *depth),
            DraftArg::Model(path) => {
                let model = open_model(path, dir, config, options.context)?;
                (Who::Model(Box::new(model)), None)
            }
        };
        let depth = args.depth.or(depth);
        options.depth = depth.unwrap_or(DEPTH_MAX);
        Ok(Some(Draft { who, depth }))
    }

    /// Says whether a model and its draft fit beside each other, before either is loaded. `needs`
    /// is the budget of the model of `config` alone.
    ///
    /// # Errors
    /// [`Error::Device`] with the draft's table, and with what would fit, if they do not.
    pub fn check<B: Backend>(
        &self,
        backend: &B,
        config: &ModelConfig,
        needs: &Budget,
        options: &EngineOptions,
    ) -> Result<()> {
        let (Who::Model(model), Some(free)) = (&self.who, backend.free_bytes()?) else {
            return Ok(());
        };
        let (limits, pages) = (limits(options), options.pages);
        let own = Budget::of(backend, &model.0, Formats::default(), limits, pages)?;
        let over = (needs.bytes() + own.bytes()).saturating_sub(free);
        if over == 0 {
            return Ok(());
        }
        // Both have as many pages, of sizes of their own.
        let each = page_bytes(config) + page_bytes(&model.0);
        let fitting = (pages as u64).saturating_sub(over.div_ceil(each));
        let remedy = match fitting >= pages_for(options.context) as u64 {
            true => format!("Both fit with --kv-pages {fitting}."),
            false => "Not even one request fits: a smaller --context or --running takes less, or \
                      leave out --draft."
                .to_string(),
        };
        Err(Error::Device(format!(
            "{} of device memory are free, too little for the model, {}, and its draft:\n{own}\n\
             {remedy}",
            size(free),
            size(needs.bytes())
        )))
    }

    /// Gives the engine its drafter, on `backend`.
    ///
    /// # Errors
    /// What the draft's weights or the device make impossible.
    pub fn attach<B: Backend + 'static, T: Backend>(
        self,
        engine: &mut Engine<T>,
        backend: B,
        options: &EngineOptions,
    ) -> Result<()> {
        let drafter: Box<dyn Drafter> = match self.who {
            Who::Ngrams(max) => Box::new(Ngrams::new(max)),
            Who::Model(model) => {
                let (config, checkpoint) = *model;
                let decoder = Decoder::load(backend, config, &checkpoint, limits(options))?;
                Box::new(DraftModel::new(decoder, options.pages)?)
            }
        };
        engine.speculate(drafter, Depths::new(self.depth));
        Ok(())
    }
}

fn limits(options: &EngineOptions) -> Limits {
    // A draft model has one decode row a round and the same prompts to read.
    DraftModel::<crate::backend::cpu::CpuBackend>::limits(options.limits())
}

fn open_model(
    path: &Path,
    dir: &Path,
    target: &ModelConfig,
    context: usize,
) -> Result<(ModelConfig, Checkpoint)> {
    let config = ModelConfig::load(path)?;
    let refuse = |what: &str, found: String, expected: String| {
        Err(Error::invalid(&path.join("config.json"), what, found, expected))
    };
    if config.vocab_size != target.vocab_size {
        let (found, expected) = (config.vocab_size, target.vocab_size);
        return refuse("vocab_size", found.to_string(), format!("{expected}, as the model has"));
    }
    let tokenizer = |dir: &Path| std::fs::read(dir.join("tokenizer.json")).ok();
    if tokenizer(path) != tokenizer(dir) {
        let expected = format!("that of {}", dir.display());
        return Err(Error::invalid(
            &path.join("tokenizer.json"),
            "content",
            "another tokenizer",
            expected,
        ));
    }
    if config.context < context {
        let expected = format!("at least {context}, or a smaller --context");
        return refuse("max_position_embeddings", config.context.to_string(), expected);
    }
    let (own, other) = (parameters(&config), parameters(target));
    if own > other {
        eprintln!(
            "warning: {}: a draft of {own} parameters for a model of {other}: it will hardly pay",
            path.display()
        );
    }
    Ok((config, Checkpoint::open(path)?))
}

/// What drafts did, as results show it.
#[derive(Debug, Serialize)]
pub struct DraftFigures {
    /// Decode steps of the model, one for each sequence of a step.
    pub steps: u64,
    /// Mean tokens that such a step gave; `None` without steps.
    pub tokens_per_step: Option<f64>,
    /// Drafted tokens that the model computed.
    pub drafted_tokens: u64,
    /// Of these, those that were drawn.
    pub accepted_tokens: u64,
    /// Of these, those that came to nothing.
    pub wasted_tokens: u64,
    /// By place in the draft, the share of the drafted tokens that were drawn.
    pub acceptance_by_position: Vec<f64>,
}

impl DraftFigures {
    /// Of what was counted.
    pub fn of(counts: &DraftCounts) -> DraftFigures {
        DraftFigures {
            steps: counts.steps,
            tokens_per_step: counts.tokens_per_step(),
            drafted_tokens: counts.drafted.iter().sum(),
            accepted_tokens: counts.accepted.iter().sum(),
            wasted_tokens: counts.wasted(),
            acceptance_by_position: counts.acceptance(),
        }
    }

    /// The acceptance of each place in percent, for a reader; a dash where nothing was drafted.
    pub fn acceptance(&self) -> String {
        match self.acceptance_by_position.is_empty() {
            true => "-".to_string(),
            false => {
                let percent = |share: &f64| format!("{:.0}", 100.0 * share);
                self.acceptance_by_position.iter().map(percent).collect::<Vec<_>>().join(" ")
            }
        }
    }
}
