//! Running requests on a model. So far one at a time: [`Generator`] takes a request from its prompt
//! to its last token, and [`score`](Generator::score) rates tokens that are already there.

mod generator;
mod score;
mod serial;

pub use generator::{Generation, Generator};
pub use serial::Serial;
