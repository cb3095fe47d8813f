//! A model of a directory on a device, served by an engine: what the command line and the C ABI
//! have in common. Nothing here writes to the standard streams, watches signals or ends the
//! process; remarks go to the caller's [`Notice`].
//!
//! ```no_run
//! use ridgepoint::engine::SubmitOptions;
//! use ridgepoint::request::{Request, SamplingParams};
//! use ridgepoint::service::{DraftOptions, ServeOptions, Session, SessionOptions};
//!
//! fn main() -> ridgepoint::error::Result<()> {
//!     let session = Session::open(SessionOptions::new("models/target"))?;
//!     let options = ServeOptions::default().engine(session.config.context, 32);
//!     let options = options.map_err(|(field, why)| {
//!         ridgepoint::error::Error::Usage(format!("{field} is {why}"))
//!     })?;
//!     let started = session.engine(options, &DraftOptions::default())?;
//!     let tokenizer = session.tokenizer()?;
//!     let request = Request {
//!         prompt: tokenizer.encode("Once upon a time", true)?,
//!         max_tokens: 64,
//!         sampling: SamplingParams::default(),
//!         stop: Vec::new(),
//!         stop_tokens: session.config.eos.clone(),
//!     };
//!     let stream = started.engine.client().submit(request, SubmitOptions::default())?;
//!     let tokens: Vec<_> = stream.collect_all()?.tokens.iter().map(|t| t.token).collect();
//!     println!("{}", tokenizer.decode(&tokens)?);
//!     Ok(())
//! }
//! ```

mod device;
mod draft;
mod serve;
mod session;

pub use device::{Device, DeviceChoice, Weights};
pub use draft::{Draft, DraftChoice, DraftOptions, NGRAM_DEFAULT};
pub use serve::ServeOptions;
pub use session::{Notice, Session, SessionOptions, Started};
