//! `--draft`: what drafts for an engine, checked before anything large is loaded.

use crate::backend::Backend;
use crate::cli::args::{DraftArg, EngineArgs};
use crate::cli::session::stored_formats;
use crate::engine::speculate::{DEPTH_MAX, Depths, DraftModel, Drafter, Ngrams};
use crate::engine::{Engine, EngineOptions};
use crate::error::{Error, Result};
use crate::load::{Checkpoint, Source};
use crate::model::budget::{Budget, size};
use crate::model::{Decoder, Limits, ModelConfig};
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

    /// Says whether model and draft fit beside each other, before either is loaded. `needs` is the
    /// model's own budget.
    ///
    /// # Errors
    /// [`Error::Device`] with the draft's table if they do not.
    pub fn check<B: Backend>(
        &self,
        backend: &B,
        needs: &Budget,
        options: &EngineOptions,
    ) -> Result<()> {
        let (Who::Model(model), Some(free)) = (&self.who, backend.free_bytes()?) else {
            return Ok(());
        };
        let (limits, pages) = (limits(options), options.pages);
        let (config, checkpoint) = &**model;
        let formats = stored_formats(config, checkpoint, &|stored| stored)?;
        let own = Budget::of(backend, config, &formats, limits, pages)?;
        match needs.bytes() + own.bytes() <= free {
            true => Ok(()),
            false => Err(Error::Device(format!(
                "{} of device memory are free, too little for the model, {}, and its draft:\n\
                 {own}\nA smaller --context or --running takes less.",
                size(free),
                size(needs.bytes())
            ))),
        }
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
                for remark in decoder.backend().remarks() {
                    eprintln!("{}: {remark}", checkpoint.dir().display());
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
    let weights = |config: &ModelConfig| Budget::new(config, Limits::ONE, 0, 0).bytes();
    if weights(&config) > weights(target) {
        eprintln!("{}: a draft larger than the model it drafts for", path.display());
    }
    Ok((config, Checkpoint::open(path)?))
}
