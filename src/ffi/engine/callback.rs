//! Callbacks: a thread of each engine that takes the events of requests which are not polled. It is
//! started with the first of them.

use super::super::status::{Fault, Outcome, rp_status};
use super::event::{RP_EVENT_FAILED, Teller, rp_event};
use crate::engine::{Client, Stream};
use std::ffi::c_void;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

/// Called with each event of a request and the data that was submitted with it, on a thread of the
/// engine. It delays the callbacks of other requests for as long as it takes. It may call any
/// function but `rp_engine_destroy` and `rp_engine_drain` of its own engine.
pub type rp_callback = Option<unsafe extern "C" fn(event: *const rp_event, user_data: *mut c_void)>;

/// A request whose events go to a callback.
pub(super) struct Followed {
    pub stream: Stream,
    pub teller: Teller,
    pub callback: unsafe extern "C" fn(*const rp_event, *mut c_void),
    /// The caller's data, as an address.
    pub data: usize,
}

// SAFETY: the teller points only at its own memory; that callback and data may be used on another
// thread is what `rp_engine_submit` asks of its caller.
unsafe impl Send for Followed {}

/// How often the thread looks whether it is to stop while nothing happens.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Default)]
struct State {
    /// Requests that the thread has not taken over yet.
    new: Vec<Followed>,
    /// Requests that have not ended.
    open: usize,
    stop: bool,
    thread: Option<(JoinHandle<()>, ThreadId)>,
}

/// The thread and what is handed to it.
pub(super) struct Dispatcher {
    client: Client,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Something was handed over, or has ended.
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dispatcher {
    pub(super) fn new(client: Client) -> Dispatcher {
        let shared = Shared { state: Mutex::default(), changed: Condvar::new() };
        Dispatcher { client, shared: Arc::new(shared) }
    }

    /// Takes over a request. After [`Dispatcher::end`] it is refused, and with that cancelled:
    /// nobody would take its events.
    pub(super) fn follow(&self, request: Followed) -> Outcome {
        let mut state = self.shared.state();
        if state.stop {
            return Err(Fault::new(rp_status::RP_DEVICE, "the engine was ended"));
        }
        if state.thread.is_none() {
            let (shared, client) = (self.shared.clone(), self.client.clone());
            let thread = std::thread::Builder::new().name("callbacks".to_string());
            let thread = thread.spawn(move || run(&shared, &client)).map_err(|e| {
                Fault::new(rp_status::RP_DEVICE, format!("cannot start a thread: {e}"))
            })?;
            let id = thread.thread().id();
            state.thread = Some((thread, id));
        }
        state.open += 1;
        state.new.push(request);
        self.shared.changed.notify_all();
        Ok(())
    }

    /// Whether the calling thread is the one of the callbacks.
    pub(super) fn is_this_thread(&self) -> bool {
        let id = std::thread::current().id();
        self.shared.state().thread.as_ref().is_some_and(|(_, thread)| *thread == id)
    }

    /// Waits until every request has had its last event.
    pub(super) fn drain(&self) {
        drop(self.drained());
    }

    fn drained(&self) -> MutexGuard<'_, State> {
        let mut state = self.shared.state();
        while state.open > 0 && !state.stop {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Waits as [`Dispatcher::drain`] does, and ends the thread before another request can be
    /// taken over.
    pub(super) fn end(&self) {
        Self::stop(&self.shared, self.drained());
    }

    fn stop(shared: &Shared, mut state: MutexGuard<'_, State>) {
        state.stop = true;
        let thread = state.thread.take();
        drop(state);
        shared.changed.notify_all();
        if let Some((thread, _)) = thread {
            // What panicked there has been reported as the end of its request.
            let _ = thread.join();
        }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        Self::stop(&self.shared, self.shared.state());
    }
}

fn run(shared: &Shared, client: &Client) {
    let (mut requests, mut seen) = (Vec::new(), 0);
    loop {
        {
            let mut state = shared.state();
            while requests.is_empty() && state.new.is_empty() && !state.stop {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stop {
                return;
            }
            requests.append(&mut state.new);
        }
        let before = requests.len();
        requests.retain_mut(serve);
        if requests.len() < before {
            shared.state().open -= before - requests.len();
            shared.changed.notify_all();
        }
        if !requests.is_empty() {
            seen = client.wait_for_news(seen, PATIENCE);
        }
    }
}

/// Hands over what there is. False after the last event.
fn serve(request: &mut Followed) -> bool {
    while let Some(event) = request.stream.next_within(Duration::ZERO) {
        let told = request.teller.tell(event);
        if told.kind == RP_EVENT_FAILED {
            request.stream.give_up();
        }
        let data = std::ptr::with_exposed_provenance_mut(request.data);
        // SAFETY: the caller's own function and data, as it promised at submission.
        unsafe { (request.callback)(&told, data) };
    }
    !request.stream.has_ended()
}
