//! Text to tokens and back: tokenizer, incremental decoding, stop strings, chat templates.
//!
//! Everything here reads files of a model directory, which come from strangers: sizes are bounded
//! before anything is read, and a chat template, which is a program, runs on a budget.

mod chat;
mod detokenize;
mod file;
mod stop;
mod stream;
mod syntax;
mod tokenizer;

pub use chat::{ChatTemplate, Message, RenderOptions, utc_now};
pub use detokenize::Detokenizer;
pub use stop::{StopMatcher, StopStep};
pub use stream::TextStream;
pub use tokenizer::Tokenizer;
