//! Requests: submit, poll, cancel, destroy.

use super::super::handle;
use super::super::memory::{self as c, sized};
use super::super::sampling::{self, rp_sampling};
use super::super::status::{Fault, Outcome, guard, rp_status};
use super::callback::{Followed, rp_callback};
use super::event::{self, RP_EVENT_FAILED, Teller, rp_event};
use super::{EngineState, rp_engine};
use crate::engine::{Canceller, Stream, SubmitOptions};
use crate::request::{Request, TokenId};
use crate::text::TextStream;
use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request. Polled by one thread at a time, cancelled from any.
pub struct rp_request {
    _private: [u8; 0],
}

/// What a request asks for. Exactly one of `tokens` and `text` is the prompt.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_request_options {
    /// sizeof(rp_request_options).
    pub size: usize,
    /// The prompt as token ids, used as they are; or null.
    pub tokens: *const u32,
    /// How many.
    pub token_count: usize,
    /// The prompt as UTF-8 that ends with a zero, to which the tokenizer adds the special tokens a
    /// prompt begins with; or null.
    pub text: *const c_char,
    /// How tokens are drawn; null is the most probable one.
    pub sampling: *const rp_sampling,
    /// Most tokens of the output; 0: until the context is full.
    pub max_tokens: usize,
    /// Texts that end the output; they are not part of it.
    pub stop: *const *const c_char,
    /// How many.
    pub stop_count: usize,
    /// Tokens that end the output, in place of the model's end-of-sequence tokens.
    pub stop_tokens: *const u32,
    /// How many; 0 with `ignore_eos` 0: the model's own.
    pub stop_token_count: usize,
    /// Not 0: the output goes on past end-of-sequence tokens. Not together with `stop_tokens`.
    pub ignore_eos: u32,
    /// Higher is served sooner; equal ones in the order of submission.
    pub priority: i32,
    /// Requests share pages of equal beginnings if their salts are equal: one for each tenant.
    pub salt: u64,
    /// If not null, called with every event on a thread of the engine, in order. Such a request is
    /// not polled.
    pub callback: rp_callback,
    /// What the callback is given.
    pub user_data: *mut c_void,
}

sized!(rp_request_options);

/// What stands behind a request's handle.
pub(in super::super) struct RequestState {
    polled: Mutex<Option<Polled>>,
    /// Kept beside it so that a request can be cancelled while another thread waits for its events.
    canceller: Canceller,
    cancelled: AtomicBool,
}

/// A request whose events the caller takes.
struct Polled {
    stream: Stream,
    teller: Teller,
}

// SAFETY: the teller holds pointers only to its own memory, and only one thread at a time has it.
unsafe impl Send for Polled {}

/// Submits a request. With a callback, `request` may be null: the request then runs to its end by
/// itself.
///
/// # Safety
/// `options` is a struct as large as it says, whose pointers hold what they say; `request` is
/// writable, or null with a callback; the callback may be called from another thread, with its
/// data, until the last event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_engine_submit(
    engine: *mut rp_engine,
    options: *const rp_request_options,
    request: *mut *mut rp_request,
) -> rp_status {
    guard(|| {
        let state = handle::get::<EngineState, _>(engine)?;
        // SAFETY: as the caller promises.
        let options = unsafe { c::read(options) }?;
        if options.callback.is_none() || !request.is_null() {
            c::check_put("request", request)?;
        }
        // SAFETY: as the caller promises.
        let asked = unsafe { read(&state, &options) }?;
        let text = |tokenizer| TextStream::new(tokenizer, &asked.prompt, asked.stop.clone());
        let text = state.tokenizer.as_ref().map(text).transpose()?;
        let teller = Teller::new(text, asked.stop_tokens.clone());
        let submit = SubmitOptions {
            priority: options.priority,
            salt: (options.salt != 0).then_some(options.salt),
        };
        let stream = state.thread.client().submit(asked, submit)?;
        let canceller = stream.canceller();
        let polled = match options.callback {
            None => Some(Polled { stream, teller }),
            Some(callback) => {
                let data = options.user_data.expose_provenance();
                state.dispatcher.follow(Followed { stream, teller, callback, data })?;
                None
            }
        };
        if request.is_null() {
            return Ok(());
        }
        let (polled, cancelled) = (Mutex::new(polled), AtomicBool::new(false));
        let made = RequestState { polled, canceller, cancelled };
        let handle = handle::keep(Arc::new(made));
        // SAFETY: as the caller promises.
        unsafe { c::put("request", request, handle) }
    })
}

unsafe fn read(state: &EngineState, options: &rp_request_options) -> Outcome<Request> {
    // SAFETY: as the caller of `rp_engine_submit` promises.
    let text = unsafe { c::text("text", options.text) }?;
    let prompt = match (text, options.tokens.is_null()) {
        (Some(text), true) => state.tokenizer()?.encode(text, true)?,
        (None, false) => {
            // SAFETY: as the caller promises.
            let tokens = unsafe { c::slice("tokens", options.tokens, options.token_count) }?;
            tokens.iter().map(|id| TokenId(*id)).collect()
        }
        _ => return Err(Fault::invalid("exactly one of tokens and text is the prompt")),
    };
    // SAFETY: as the caller promises.
    let stops = unsafe { c::slice("stop", options.stop, options.stop_count) }?;
    let stops = stops.iter().map(|stop| {
        // SAFETY: as the caller promises.
        let text = unsafe { c::text("stop", *stop) }?;
        text.map(str::to_string).ok_or_else(|| Fault::invalid("a stop string is null"))
    });
    let stop_tokens =
        // SAFETY: as the caller promises.
        unsafe { c::slice("stop_tokens", options.stop_tokens, options.stop_token_count) }?;
    if options.ignore_eos != 0 && !stop_tokens.is_empty() {
        return Err(Fault::invalid("ignore_eos and stop_tokens exclude each other"));
    }
    let stop_tokens = match (stop_tokens.is_empty(), options.ignore_eos) {
        (true, 0) => state.config.eos.clone(),
        _ => stop_tokens.iter().map(|id| TokenId(*id)).collect(),
    };
    let max_tokens = match options.max_tokens {
        0 => state.context.saturating_sub(prompt.len()).max(1),
        most => most,
    };
    Ok(Request {
        prompt,
        max_tokens,
        // SAFETY: as the caller promises.
        sampling: unsafe { sampling::params(options.sampling) }?,
        stop: stops.collect::<Outcome<_>>()?,
        stop_tokens,
    })
}

/// Takes the next event of a request, waiting for at most `timeout_ms`: RP_TIMEOUT if there is
/// none by then, RP_ENDED after the last one.
///
/// # Safety
/// `event` is a struct as large as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_request_poll(
    request: *mut rp_request,
    timeout_ms: u64,
    event: *mut rp_event,
) -> rp_status {
    guard(|| {
        let state = handle::get::<RequestState, _>(request)?;
        // SAFETY: as the caller promises.
        unsafe { c::check_out(event) }?;
        let mut polled = handle::alone(&state.polled, "request")?;
        let Some(Polled { stream, teller }) = polled.as_mut() else {
            return Err(Fault::invalid("this request has a callback, which takes its events"));
        };
        if stream.has_ended() {
            return Err(event::ended());
        }
        let Some(news) = stream.next_within(Duration::from_millis(timeout_ms)) else {
            return Err(Fault::new(rp_status::RP_TIMEOUT, "the request has no news"));
        };
        let told = teller.tell(news);
        if told.kind == RP_EVENT_FAILED {
            stream.give_up();
        }
        // SAFETY: as the caller promises.
        unsafe { c::write(event, told) }
    })
}

/// Asks for a request's end. It may draw one more token; the end is an event like any other. Again,
/// or after the end, it does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn rp_request_cancel(request: *mut rp_request) -> rp_status {
    guard(|| {
        let state = handle::get::<RequestState, _>(request)?;
        if !state.cancelled.swap(true, Ordering::Relaxed) {
            state.canceller.cancel();
        }
        Ok(())
    })
}

/// Ends a handle. A request that is polled is cancelled, if it has not ended; one with a callback
/// goes on.
#[unsafe(no_mangle)]
pub extern "C" fn rp_request_destroy(request: *mut rp_request) -> rp_status {
    guard(|| handle::end::<RequestState, _>(request).map(drop))
}
