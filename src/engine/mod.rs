//! Running requests on a model, many at once.
//!
//! [`Engine`] is the loop: `admit -> schedule -> forward -> sample -> publish`, once a step for all
//! requests. [`EngineThread`] runs one on a thread, a [`Client`] submits requests from anywhere,
//! and a [`Stream`] brings the events of each. What decides who is served when is the
//! [`scheduler`], which knows nothing else.
//!
//! Beside it stands [`Generator`], which runs one request from its prompt to its last token without
//! any of that: what the engine gives for a request is by definition what the generator gives. It
//! also rates given tokens ([`score`](Generator::score)).

mod core;
mod events;
mod generator;
mod handle;
mod mail;
pub mod scheduler;
mod score;
pub mod speculate;
mod stats;

pub use self::core::{Completion, Engine, EngineOptions};
pub use events::{Event, Finish, RequestId};
pub use generator::{Generation, Generator};
pub use handle::{Canceller, Client, EngineThread, Health, Server, Stream};
pub use mail::SubmitOptions;
pub use score::Scorer;
pub use stats::{PhaseStats, Stats};
