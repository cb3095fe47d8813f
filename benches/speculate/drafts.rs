//! Models, and what drafts for them.

use super::dummy;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::engine::speculate::{Ask, DraftModel, DraftWork, Drafter, Ngrams};
use ridgepoint::engine::{EngineOptions, RequestId};
use ridgepoint::error::Result;
use ridgepoint::load::Checkpoint;
use ridgepoint::model::{Decoder, ModelConfig};
use ridgepoint::request::TokenId;
use std::path::PathBuf;
use std::time::Duration;

/// A model to serve or to draft with.
#[derive(Clone)]
pub enum Model {
    /// A directory.
    Stored(PathBuf),
    /// 317 M made-up parameters.
    Dummy,
}

impl Model {
    pub fn open(&self) -> Result<(ModelConfig, Checkpoint)> {
        match self {
            Model::Stored(dir) => Ok((ModelConfig::load(dir)?, Checkpoint::open(dir)?)),
            Model::Dummy => Ok((dummy::config()?, Checkpoint::made_up(0))),
        }
    }
}

/// What drafts.
#[derive(Clone)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// A model.
    Model(Model),
    /// Prompt lookup.
    Ngrams,
    /// A model, each of whose tokens is replaced by its neighbour: as dear as the model, and right
    /// only by chance.
    Wrong(Model),
    /// Something that costs nothing and has each token right with this chance.
    Oracle {
        /// The outputs, by the order of the requests.
        truth: Vec<Vec<TokenId>>,
        /// The chance.
        percent: u64,
    },
}

impl Kind {
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Plain => "plain",
            Kind::Model(_) => "draft model",
            Kind::Ngrams => "ngram",
            Kind::Wrong(_) => "draft model, always wrong",
            Kind::Oracle { percent: 0, .. } => "free draft, always wrong",
            Kind::Oracle { .. } => "free draft, right in 80 %",
        }
    }

    /// Makes it for an engine of these options.
    pub fn drafter(&self, options: &EngineOptions) -> Result<Option<Box<dyn Drafter>>> {
        let model = |model: &Model| {
            let (config, source) = model.open()?;
            let limits = DraftModel::<CpuBackend>::limits(options.limits());
            let decoder = Decoder::load(CpuBackend::new(), config, &source, limits)?;
            DraftModel::new(decoder, options.pages)
        };
        Ok(match self {
            Kind::Plain => None,
            Kind::Model(draft) => Some(Box::new(model(draft)?)),
            Kind::Ngrams => Some(Box::new(Ngrams::new(3))),
            Kind::Wrong(draft) => Some(Box::new(Wrong(model(draft)?))),
            Kind::Oracle { truth, percent } => {
                Some(Box::new(Oracle { truth: truth.clone(), percent: *percent }))
            }
        })
    }
}

struct Wrong(DraftModel<CpuBackend>);

impl Drafter for Wrong {
    fn draft(
        &mut self,
        asks: &[Ask<'_>],
        drafts: &mut [Vec<TokenId>],
        timed: &mut dyn FnMut(DraftWork, Duration),
    ) -> Result<()> {
        self.0.draft(asks, drafts, timed)?;
        drafts.iter_mut().flatten().for_each(|token| token.0 ^= 1);
        Ok(())
    }

    fn lag(&self, ask: &Ask<'_>) -> usize {
        self.0.lag(ask)
    }

    fn forget(&mut self, id: RequestId) {
        self.0.forget(id);
    }
}

struct Oracle {
    truth: Vec<Vec<TokenId>>,
    percent: u64,
}

impl Drafter for Oracle {
    fn draft(
        &mut self,
        asks: &[Ask<'_>],
        drafts: &mut [Vec<TokenId>],
        _timed: &mut dyn FnMut(DraftWork, Duration),
    ) -> Result<()> {
        for (ask, draft) in asks.iter().zip(drafts) {
            let output = &ask.tokens[ask.prompt_len..];
            let Some(truth) = self.truth.iter().find(|truth| truth.starts_with(output)) else {
                continue;
            };
            let coming = truth[output.len()..].iter().take(ask.depth).enumerate();
            draft.extend(coming.map(|(i, token)| {
                // Wrong at the same places every time.
                let place = (output.len() + i) as u64;
                let draw = place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                TokenId(token.0 ^ u32::from(draw % 100 >= self.percent))
            }));
        }
        Ok(())
    }
}
