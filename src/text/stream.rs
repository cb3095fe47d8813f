//! Tokens in, text out: incremental detokenisation with stop strings held back.

use crate::error::Result;
use crate::request::TokenId;
use crate::text::detokenize::Detokenizer;
use crate::text::stop::{StopMatcher, StopStep};
use crate::text::tokenizer::Tokenizer;

/// The text of one output. Joined, what [`push`](TextStream::push) and
/// [`finish`](TextStream::finish) give is the decoded output up to the first stop string.
pub struct TextStream {
    detokenizer: Detokenizer,
    stops: StopMatcher,
}

impl TextStream {
    /// A stream for the output that follows `prompt`.
    ///
    /// # Errors
    /// [`crate::error::Error`] if the tokenizer cannot decode the prompt.
    pub fn new(tokenizer: &Tokenizer, prompt: &[TokenId], stop: Vec<String>) -> Result<TextStream> {
        let detokenizer = Detokenizer::new(tokenizer, prompt)?;
        Ok(TextStream { detokenizer, stops: StopMatcher::new(stop) })
    }

    /// The text that became certain with `token`, and whether a stop string ended it.
    ///
    /// # Errors
    /// As [`TextStream::new`].
    pub fn push(&mut self, token: TokenId) -> Result<StopStep> {
        let text = self.detokenizer.push(token)?;
        Ok(self.stops.push(&text))
    }

    /// The text that was held back; nothing if a stop string has ended the output.
    pub fn finish(&mut self) -> String {
        let rest = self.detokenizer.finish();
        let mut text = self.stops.push(&rest).text;
        text.push_str(&self.stops.finish());
        text
    }
}
