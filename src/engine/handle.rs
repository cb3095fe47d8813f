//! What callers hold: a client that submits, a stream of a request's events, and the thread that an
//! engine may run on.

use crate::backend::Backend;
use crate::engine::core::{Completion, Engine};
use crate::engine::events::{Event, RequestId};
use crate::engine::mail::{Mail, SubmitOptions};
use crate::engine::stats::Stats;
use crate::error::{Error, Result};
use crate::request::Request;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// Sends requests to an engine. Clones are alike; any thread may use one.
#[derive(Clone)]
pub struct Client {
    mail: Arc<Mail>,
    vocab_size: usize,
    context: usize,
    has_tokenizer: bool,
}

/// How an engine is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    /// Requests that have not ended.
    pub open: usize,
    /// Since the last step ended.
    pub since_progress: Duration,
    /// There are requests, and no step has ended for longer than callers wait.
    pub is_stalled: bool,
}

impl Client {
    pub(super) fn new(
        mail: Arc<Mail>,
        vocab_size: usize,
        context: usize,
        has_tokenizer: bool,
    ) -> Client {
        Client { mail, vocab_size, context, has_tokenizer }
    }

    /// Hands over a request. Its events come by the stream; dropping the stream cancels it.
    ///
    /// # Errors
    /// [`Error::Request`] for one that cannot be served, [`Error::Busy`] if too many wait,
    /// [`Error::Device`] if the engine has been closed.
    pub fn submit(&self, request: Request, options: SubmitOptions) -> Result<Stream> {
        request.validate(self.vocab_size, self.context)?;
        if !request.stop.is_empty() && !self.has_tokenizer {
            return Err(Error::Request("stop strings need a tokenizer".to_string()));
        }
        let id = self.mail.submit(request, options)?;
        Ok(Stream { id, mail: self.mail.clone(), ended: false })
    }

    /// Submits a request and waits for its end.
    ///
    /// # Errors
    /// As [`Client::submit`], and the request's own failure.
    pub fn run(&self, request: Request) -> Result<Completion> {
        let stream = self.submit(request, SubmitOptions::default())?;
        stream.collect_all()
    }

    /// The engine's counters as of its last step.
    pub fn stats(&self) -> Stats {
        self.mail.stats()
    }

    /// Waits until any request has news, for a caller that follows many streams: it then takes what
    /// there is of each, with [`Stream::next_within`] and no time. `seen` is what the call before
    /// gave, 0 at first: news that came in between is not waited for. Gives the count of now, the
    /// same as `seen` if there was no news within `timeout`.
    pub fn wait_for_news(&self, seen: u64, timeout: Duration) -> u64 {
        self.mail.wait_for_news(seen, timeout)
    }

    /// Whether it makes progress; one that has nothing to do is well.
    pub fn health(&self) -> Health {
        let (open, since_progress) = self.mail.progress();
        let is_stalled = open > 0 && since_progress >= self.mail.patience;
        Health { open, since_progress, is_stalled }
    }

    /// Takes no more requests, from anybody, and waits until those that there are have ended.
    ///
    /// # Errors
    /// [`Error::Device`] if the engine makes no progress.
    pub fn drain(&self) -> Result<()> {
        self.mail.close(false);
        match self.mail.wait_for_end() {
            true => Ok(()),
            false => Err(Error::Device("the engine makes no progress".to_string())),
        }
    }
}

/// The events of one request.
pub struct Stream {
    id: RequestId,
    mail: Arc<Mail>,
    ended: bool,
}

impl Stream {
    /// The request.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// The next event; `None` if there is none within `timeout`, and after the end.
    pub fn next_within(&mut self, timeout: Duration) -> Option<Event> {
        if self.ended {
            return None;
        }
        let event = self.mail.next(self.id, timeout);
        self.ended = event.as_ref().is_some_and(Event::is_end);
        if matches!(event, Some(Event::Failed(_))) {
            // One that waited too long for a step has not failed where the engine is concerned,
            // which would serve it on when it goes on.
            self.cancel();
        }
        event
    }

    /// Whether the last event has been taken.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Asks for the request's end. It may draw one more token; the end is an event like any other.
    pub fn cancel(&self) {
        self.mail.cancel(self.id);
    }

    /// Ends the stream before the request has ended, which is cancelled.
    pub fn give_up(&mut self) {
        self.ended = true;
        if self.mail.forget(self.id) {
            self.cancel();
        }
    }

    /// What cancels the request from elsewhere, while this waits for events.
    pub fn canceller(&self) -> Canceller {
        Canceller { id: self.id, mail: self.mail.clone() }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// That of the request.
    pub fn collect_all(mut self) -> Result<Completion> {
        let mut tokens = Vec::new();
        loop {
            match self.next() {
                Some(Event::Token(sampled)) => tokens.push(sampled),
                Some(Event::Finished(finish)) => return Ok(Completion { tokens, finish }),
                Some(Event::Failed(error)) => return Err(error),
                None => unreachable!("an end came before"),
            }
        }
    }
}

/// Cancels a request from any thread.
pub struct Canceller {
    id: RequestId,
    mail: Arc<Mail>,
}

impl Canceller {
    /// As [`Stream::cancel`]; after the end it does nothing.
    pub fn cancel(&self) {
        self.mail.cancel(self.id);
    }
}

impl Iterator for Stream {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.next_within(Duration::MAX)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// An engine on a thread of its own. Dropping it ends the thread; requests that are still open
/// fail.
pub struct EngineThread {
    client: Client,
    mail: Arc<Mail>,
    thread: Option<JoinHandle<()>>,
}

impl EngineThread {
    /// Starts a thread and runs `work` on it, which makes an engine and gives it to
    /// [`Server::serve`]. The engine is made there because a device may belong to the thread that
    /// opened it.
    ///
    /// # Errors
    /// What `work` gives before it serves, or [`Error::Device`] if there can be no thread.
    pub fn start(work: impl FnOnce(Server) -> Result<()> + Send + 'static) -> Result<EngineThread> {
        let (to_caller, made) = mpsc::channel();
        let thread = std::thread::Builder::new().name("engine".to_string());
        let thread = thread.spawn(move || {
            if let Err(error) = work(Server { to_caller: to_caller.clone() }) {
                // Nobody listens for it any more if the caller has gone.
                let _ = to_caller.send(Err(error));
            }
        });
        let thread = thread.map_err(|e| Error::Device(format!("cannot start a thread: {e}")))?;
        match made.recv() {
            Ok(Ok((client, mail))) => Ok(EngineThread { client, mail, thread: Some(thread) }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Device("the engine panicked while it was made".to_string())),
        }
    }

    /// A way to send it requests.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends the engine's work after the present step; requests that are still open fail. The
    /// thread is waited for when this is dropped.
    pub fn close(&self) {
        self.mail.close(true);
    }
}

impl Drop for EngineThread {
    fn drop(&mut self) {
        self.mail.close(true);
        if let Some(thread) = self.thread.take() {
            // A panic there has been told to everybody who waited.
            let _ = thread.join();
        }
    }
}

/// The place on an engine's thread where the engine goes.
pub struct Server {
    to_caller: mpsc::Sender<Result<(Client, Arc<Mail>)>>,
}

impl Server {
    /// Runs the engine until its [`EngineThread`] is dropped.
    ///
    /// # Errors
    /// None: what fails here fails requests.
    pub fn serve<B: Backend>(self, mut engine: Engine<B>) -> Result<()> {
        let mail = engine.mail().clone();
        // Whoever waits must hear of it, however this thread ends.
        let _end = FailAll(mail.clone());
        if self.to_caller.send(Ok((engine.client(), mail.clone()))).is_ok() {
            while !mail.inbox().stop && (engine.step() || mail.wait_for_work()) {}
        }
        Ok(())
    }
}

struct FailAll(Arc<Mail>);

impl Drop for FailAll {
    fn drop(&mut self) {
        self.0.close(true);
        self.0.fail_all("the engine was ended");
    }
}
