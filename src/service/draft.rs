//! What drafts for an engine, checked before anything large is loaded.

use crate::backend::{Backend, pages_for};
use crate::engine::speculate::{DEPTH_MAX, Depths, DraftModel, Drafter, LENGTH_MAX, Ngrams};
use crate::engine::{Engine, EngineOptions};
use crate::error::{Error, Result};
use crate::load::{Checkpoint, Source};
use crate::model::budget::{Budget, page_bytes, parameters, size};
use crate::model::{Decoder, Limits, ModelConfig};
use crate::service::session::{Notice, stored_formats};
use std::path::{Path, PathBuf};

/// Tokens of the longest run that prompt lookup looks for, where nothing is said.
pub const NGRAM_DEFAULT: usize = 4;

/// Something that can draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftChoice {
    /// Prompt lookup.
    Ngrams {
        /// The longest run of tokens that is looked for, at most [`LENGTH_MAX`].
        max: usize,
    },
    /// The model of a directory.
    Model(PathBuf),
}

/// What is to draft, if anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DraftOptions {
    /// Who.
    pub choice: Option<DraftChoice>,
    /// Tokens of every draft; `None` is as many as pay.
    pub depth: Option<usize>,
}

impl DraftOptions {
    /// Whether the numbers are in their ranges.
    ///
    /// # Errors
    /// What is wrong, beginning with the field's name.
    pub fn check(&self) -> std::result::Result<(), String> {
        match (self.depth, &self.choice) {
            (Some(depth), _) if depth > DEPTH_MAX => {
                Err(format!("depth is {depth}, expected 0 to {DEPTH_MAX}"))
            }
            (Some(_), None) => Err("depth needs something that drafts".to_string()),
            (_, Some(DraftChoice::Ngrams { max })) if !(1..=LENGTH_MAX).contains(max) => {
                Err(format!("draft looks for runs of {max} tokens, expected 1 to {LENGTH_MAX}"))
            }
            _ => Ok(()),
        }
    }
}

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
    /// What the options ask for, for the model in `dir`. Makes `engine` ready for it.
    ///
    /// # Errors
    /// A draft model that cannot stand beside this one.
    ///
    /// # Panics
    /// If [`DraftOptions::check`] refuses the options.
    pub fn open(
        options: &DraftOptions,
        dir: &Path,
        config: &ModelConfig,
        engine: &mut EngineOptions,
        notice: &Notice,
    ) -> Result<Option<Draft>> {
        options.check().unwrap_or_else(|why| panic!("{why}"));
        let who = match &options.choice {
            None => return Ok(None),
            Some(DraftChoice::Ngrams { max }) => Who::Ngrams(*max),
            Some(DraftChoice::Model(path)) => {
                let model = open_model(path, dir, config, engine.context, notice)?;
                Who::Model(Box::new(model))
            }
        };
        engine.depth = options.depth.unwrap_or(DEPTH_MAX);
        Ok(Some(Draft { who, depth: options.depth }))
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
        let (draft, checkpoint) = &**model;
        let formats = stored_formats(draft, checkpoint, &|stored| stored)?;
        let own = Budget::of(backend, draft, &formats, limits, pages)?;
        let over = (needs.bytes() + own.bytes()).saturating_sub(free);
        if over == 0 {
            return Ok(());
        }
        // Both have as many pages, of sizes of their own.
        let each = page_bytes(config) + page_bytes(draft);
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
        notice: &Notice,
    ) -> Result<()> {
        let drafter: Box<dyn Drafter> = match self.who {
            Who::Ngrams(max) => Box::new(Ngrams::new(max)),
            Who::Model(model) => {
                let (config, checkpoint) = *model;
                let decoder = Decoder::load(backend, config, &checkpoint, limits(options))?;
                for remark in decoder.backend().remarks() {
                    notice(&format!("{}: {remark}", checkpoint.dir().display()));
                }
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
    notice: &Notice,
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
        notice(&format!(
            "warning: {}: a draft of {own} parameters for a model of {other}: it will hardly pay",
            path.display()
        ));
    }
    Ok((config, Checkpoint::open(path)?))
}
