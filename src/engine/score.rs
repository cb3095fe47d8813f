//! Rating given tokens: the negative log-likelihood of each, given those before it.

use crate::backend::{Backend, Batch, DECODE_ROWS_MAX, PageId, Phase};
use crate::engine::Generator;
use crate::error::{Error, Result};
use crate::request::TokenId;

/// Rates tokens on a device that is chosen when the program runs.
pub trait Scorer {
    /// See [`Generator::score`].
    ///
    /// # Errors
    /// As there.
    fn score(&mut self, tokens: &[TokenId], phase: Phase) -> Result<Vec<f32>>;
}

impl<B: Backend> Scorer for Generator<B> {
    fn score(&mut self, tokens: &[TokenId], phase: Phase) -> Result<Vec<f32>> {
        Generator::score(self, tokens, phase)
    }
}

impl<B: Backend> Generator<B> {
    /// Natural-log NLL of `tokens[1..]`, each given all tokens before it: `tokens.len() - 1`
    /// numbers. `phase` names the family that computes the hidden states; logits are always
    /// computed by the decode family.
    ///
    /// # Errors
    /// [`Error::Request`] if there are no tokens, more than the context holds, or one outside the
    /// vocabulary; [`Error::Device`] if the device fails.
    pub fn score(&mut self, tokens: &[TokenId], phase: Phase) -> Result<Vec<f32>> {
        let (vocab, context) = (self.config().vocab_size, self.limits().context);
        if tokens.is_empty() || tokens.len() > context {
            let found = tokens.len();
            let message = format!("a sequence of {found} tokens, expected 1 to {context}");
            return Err(Error::Request(message));
        }
        if let Some((place, id)) = tokens.iter().enumerate().find(|(_, id)| id.index() >= vocab) {
            return Err(Error::Request(format!(
                "token {} at place {place}, but the vocabulary has {vocab} tokens",
                id.0
            )));
        }
        let pages = self.pages(tokens.len());
        let result = self.score_in(&pages, tokens, phase);
        self.give_back(pages);
        result
    }

    fn score_in(&mut self, pages: &[PageId], tokens: &[TokenId], phase: Phase) -> Result<Vec<f32>> {
        let limits = self.limits();
        let rows = match phase {
            Phase::Prefill => limits.rows.min(limits.logit_rows),
            Phase::Decode => DECODE_ROWS_MAX.min(limits.rows).min(limits.logit_rows),
        };
        let mut nll = Vec::with_capacity(tokens.len() - 1);
        // The last token is only predicted, never fed.
        for (i, chunk) in tokens[..tokens.len() - 1].chunks(rows).enumerate() {
            let start = i * rows;
            let mut batch = Batch::new(phase);
            batch.push(start, chunk, pages);
            batch.logit_rows.extend(0..chunk.len());
            self.decoder.forward(&batch, &mut self.kv)?;
            let targets = &tokens[start + 1..][..chunk.len()];
            let log_probs = self.decoder.backend().log_probs(self.decoder.logits(), targets)?;
            nll.extend(log_probs.into_iter().map(|x| -x));
        }
        Ok(nll)
    }
}
