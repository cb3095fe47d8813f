//! The engine layer: a model directory in, text and tokens out.
//!
//! An engine may be used by any number of threads at the same time. A request is polled by one
//! thread at a time, and may be cancelled from any. Requests and engines may be destroyed in any
//! order: a request whose engine has gone has failed.

pub mod callback;
pub mod event;
pub mod options;
pub mod request;
pub mod stats;

use super::handle;
use super::memory as c;
use super::status::{Fault, Outcome, guard, rp_status};
use crate::engine::EngineThread;
use crate::model::ModelConfig;
use crate::request::TokenId;
use crate::service::Session;
use crate::text::Tokenizer;
use callback::Dispatcher;
use options::rp_engine_options;
use std::ffi::c_char;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(super) use request::RequestState;

/// A model and the engine that serves it. Any thread, at any time.
pub struct rp_engine {
    _private: [u8; 0],
}

/// What stands behind an engine's handle.
pub(super) struct EngineState {
    thread: EngineThread,
    tokenizer: Option<Tokenizer>,
    config: ModelConfig,
    /// The most tokens of a request.
    context: usize,
    /// What the engine runs on, and what was remarked of it.
    remarks: String,
    dispatcher: Dispatcher,
}

impl EngineState {
    fn tokenizer(&self) -> Outcome<&Tokenizer> {
        let none = || Fault::invalid("the model directory has no tokenizer.json: use token ids");
        self.tokenizer.as_ref().ok_or_else(none)
    }
}

/// Opens a model and starts its engine, which has a thread of its own. Takes as long as loading
/// takes.
///
/// # Safety
/// `dir` is a text that ends with a zero; `options` is null, for defaults, or a struct as large as
/// it says; `engine` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_engine_create(
    dir: *const c_char,
    options: *const rp_engine_options,
    engine: *mut *mut rp_engine,
) -> rp_status {
    guard(|| {
        // SAFETY: as the caller promises.
        let dir = unsafe { c::text("dir", dir) }?;
        let dir = dir.ok_or_else(|| Fault::invalid("dir is null"))?;
        // SAFETY: as the caller promises.
        let options = unsafe { options::read(options) }?;
        c::check_put("engine", engine)?;
        let remarks = Arc::new(Mutex::new(String::new()));
        let sink = remarks.clone();
        let mut session = options.session(dir)?;
        session.notice = Arc::new(move |text| {
            let mut remarks = sink.lock().unwrap_or_else(PoisonError::into_inner);
            remarks.push_str(text);
            remarks.push('\n');
        });
        let session = Session::open(session)?;
        let asked = options.context();
        let context = session
            .context(asked)
            .map_err(|why| Fault::invalid(format!("rp_engine_options.context is {why}")))?;
        let serve = options.serve().engine(context, usize::MAX).map_err(|(field, why)| {
            Fault::invalid(format!("rp_engine_options.{field} is {why}"))
        })?;
        let started = session.engine(options.patient(serve), &options.draft()?)?;
        let remarks = remarks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let client = started.engine.client().clone();
        let state = EngineState {
            thread: started.engine,
            tokenizer: session.tokenizer,
            config: session.config,
            context,
            remarks,
            dispatcher: Dispatcher::new(client),
        };
        let handle = handle::keep(Arc::new(state));
        // SAFETY: as the caller promises.
        unsafe { c::put("engine", engine, handle) }
    })
}

/// Ends an engine. Requests that have not ended fail; whoever polls them hears of it, and callbacks
/// have before this returns. May not be called from a callback.
#[unsafe(no_mangle)]
pub extern "C" fn rp_engine_destroy(engine: *mut rp_engine) -> rp_status {
    guard(|| {
        let state = handle::get::<EngineState, _>(engine)?;
        if state.dispatcher.is_this_thread() {
            return Err(Fault::invalid("an engine cannot be destroyed by one of its callbacks"));
        }
        let state = handle::end::<EngineState, _>(engine)?;
        state.thread.close();
        // Requests with callbacks hear of their failure.
        state.dispatcher.end();
        Ok(())
    })
}

/// Takes no more requests and waits until those that there are have ended; they are served to
/// their ends. May not be called from a callback.
#[unsafe(no_mangle)]
pub extern "C" fn rp_engine_drain(engine: *mut rp_engine) -> rp_status {
    guard(|| {
        let state = handle::get::<EngineState, _>(engine)?;
        if state.dispatcher.is_this_thread() {
            return Err(Fault::invalid("an engine cannot be drained by one of its callbacks"));
        }
        state.thread.client().drain()?;
        state.dispatcher.drain();
        Ok(())
    })
}

/// Waits until any request of the engine has news, for a caller that polls many: it then polls
/// each with a timeout of 0. `seen` is 0 at first and is updated: news that came between two calls
/// is not waited for. RP_TIMEOUT if there is none.
///
/// # Safety
/// `seen` is readable and writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_engine_wait(
    engine: *mut rp_engine,
    seen: *mut u64,
    timeout_ms: u64,
) -> rp_status {
    guard(|| {
        let state = handle::get::<EngineState, _>(engine)?;
        c::check_put("seen", seen)?;
        // SAFETY: as the caller promises.
        let before = unsafe { seen.read() };
        let timeout = Duration::from_millis(timeout_ms);
        let now = state.thread.client().wait_for_news(before, timeout);
        if now == before {
            return Err(Fault::new(rp_status::RP_TIMEOUT, "no request has news"));
        }
        // SAFETY: as the caller promises.
        unsafe { c::put("seen", seen, now) }
    })
}

/// What the engine runs on, and every remark that was made while it was loaded, a line each.
/// `needed` may be null.
///
/// # Safety
/// `text` has `capacity` writable bytes; `needed` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_engine_describe(
    engine: *const rp_engine,
    text: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rp_status {
    guard(|| {
        let state = handle::get::<EngineState, _>(engine)?;
        // SAFETY: as the caller promises.
        unsafe { c::give_text(&state.remarks, text, capacity, needed) }
    })
}

/// The size of the vocabulary and the most tokens of a request, prompt and output together. Either
/// may be null.
///
/// # Safety
/// Both are null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_engine_limits(
    engine: *const rp_engine,
    vocab: *mut usize,
    context: *mut usize,
) -> rp_status {
    guard(|| {
        let state = handle::get::<EngineState, _>(engine)?;
        let values =
            [(vocab, "vocab", state.config.vocab_size), (context, "context", state.context)];
        let wanted = || values.iter().filter(|(at, ..)| !at.is_null());
        wanted().try_for_each(|(at, name, _)| c::check_put(name, *at))?;
        // SAFETY: as the caller promises.
        wanted().try_for_each(|(at, name, value)| unsafe { c::put(name, *at, *value) })
    })
}

/// Text to token ids. `count` becomes how many there are, also when `capacity` is too small
/// (RP_TOO_SMALL). With `add_special` not 0, the special tokens that a prompt begins with are
/// added.
///
/// # Safety
/// `text` ends with a zero; `tokens` has `capacity` writable elements; `count` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_engine_tokenize(
    engine: *const rp_engine,
    text: *const c_char,
    add_special: u32,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> rp_status {
    guard(|| {
        let state = handle::get::<EngineState, _>(engine)?;
        // SAFETY: as the caller promises.
        let text = unsafe { c::text("text", text) }?;
        let text = text.ok_or_else(|| Fault::invalid("text is null"))?;
        c::check_put("count", count)?;
        let found = state.tokenizer()?.encode(text, add_special != 0)?;
        let room = match capacity >= found.len() {
            // SAFETY: as the caller promises.
            true => Some(unsafe { c::slice_mut("tokens", tokens, found.len()) }?),
            false => None,
        };
        // SAFETY: as the caller promises.
        unsafe { c::put("count", count, found.len()) }?;
        let Some(room) = room else {
            let text = format!("{} tokens, room for {capacity}", found.len());
            return Err(Fault::new(rp_status::RP_TOO_SMALL, text));
        };
        room.iter_mut().zip(&found).for_each(|(to, token)| *to = token.0);
        Ok(())
    })
}

/// Token ids to text. `needed` becomes the size that the buffer must have, also when this one is
/// too small (RP_TOO_SMALL); it may be null.
///
/// # Safety
/// `tokens` has `count` elements; `text` has `capacity` writable bytes; `needed` is null or
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_engine_detokenize(
    engine: *const rp_engine,
    tokens: *const u32,
    count: usize,
    text: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> rp_status {
    guard(|| {
        let state = handle::get::<EngineState, _>(engine)?;
        // SAFETY: as the caller promises.
        let tokens = unsafe { c::slice("tokens", tokens, count) }?;
        let tokens: Vec<TokenId> = tokens.iter().map(|id| TokenId(*id)).collect();
        let decoded = state.tokenizer()?.decode(&tokens)?;
        // SAFETY: as the caller promises.
        unsafe { c::give_text(&decoded, text, capacity, needed) }
    })
}
