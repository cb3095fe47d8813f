//! What passes between an engine's thread and its callers: requests one way, events the other.
//!
//! Events of a step are put down under one lock, with one wake-up for all who wait. A request's
//! events lie in a queue of its own until its stream takes them. The end of a request is decided
//! under that lock too, so there is exactly one, whoever brings it: the engine, a caller who has
//! waited too long for any progress, or the end of the engine.

use crate::engine::events::{Event, RequestId};
use crate::engine::stats::Stats;
use crate::error::{Error, Result};
use crate::request::Request;
use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a caller may say beside the request itself. None of it changes the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubmitOptions {
    /// Higher is served sooner; equal ones in the order of submission.
    pub priority: i32,
    /// Prompts are shared among requests with an equal salt, such as those of one tenant.
    pub salt: Option<u64>,
}

/// A request on its way to the engine.
pub(super) struct Job {
    pub(super) id: RequestId,
    pub(super) request: Request,
    pub(super) options: SubmitOptions,
    pub(super) submitted: Instant,
}

/// From callers.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) jobs: VecDeque<Job>,
    pub(super) cancelled: Vec<RequestId>,
    /// No more requests are taken.
    pub(super) closed: bool,
    /// The engine's thread is to end.
    pub(super) stop: bool,
    last_id: u64,
}

/// To callers.
struct Outbox {
    queues: HashMap<RequestId, VecDeque<Event>, BuildIds>,
    /// Requests that have not ended.
    open: usize,
    /// When the engine last completed a step or found nothing to do.
    progress: Instant,
    /// Callers who wait.
    waiters: usize,
    stats: Stats,
    /// Counted up whenever events are put down.
    posts: u64,
    /// What a full queue answers.
    retry_after: Duration,
}

/// Ids are counted up, so they need no more hashing than a multiplication.
#[derive(Clone, Copy, Default)]
struct BuildIds;

struct IdHasher(u64);

impl std::hash::BuildHasher for BuildIds {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher(0)
    }
}

impl std::hash::Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, id: u64) {
        // Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4).
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// The two boxes of an engine.
pub(super) struct Mail {
    inbox: Mutex<Inbox>,
    bell: Condvar,
    outbox: Mutex<Outbox>,
    news: Condvar,
    /// After so long without a step a caller gives up.
    pub(super) patience: Duration,
    /// Requests that may wait.
    pub(super) waiting_max: usize,
}

/// A panic elsewhere leaves queues whole: every change under the locks is a single call.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mail {
    pub(super) fn new(patience: Duration, waiting_max: usize) -> Mail {
        Mail {
            inbox: Mutex::default(),
            bell: Condvar::new(),
            outbox: Mutex::new(Outbox {
                queues: HashMap::default(),
                open: 0,
                progress: Instant::now(),
                waiters: 0,
                stats: Stats::default(),
                posts: 0,
                retry_after: Duration::from_millis(10),
            }),
            news: Condvar::new(),
            patience,
            waiting_max,
        }
    }

    /// Puts a request into the inbox.
    pub(super) fn submit(&self, request: Request, options: SubmitOptions) -> Result<RequestId> {
        let mut inbox = hold(&self.inbox);
        if inbox.closed || inbox.stop {
            return Err(Error::Device("the engine takes no more requests".to_string()));
        }
        let mut outbox = hold(&self.outbox);
        let waiting = outbox.stats.requests_waiting + inbox.jobs.len();
        if waiting >= self.waiting_max {
            return Err(Error::Busy { waiting, retry_after: outbox.retry_after });
        }
        if outbox.open == 0 {
            outbox.progress = Instant::now(); // an idle engine has not been slow
        }
        outbox.open += 1;
        inbox.last_id += 1;
        let id = RequestId(inbox.last_id);
        outbox.queues.insert(id, VecDeque::new());
        drop(outbox);
        inbox.jobs.push_back(Job { id, request, options, submitted: Instant::now() });
        self.bell.notify_one();
        Ok(id)
    }

    pub(super) fn cancel(&self, id: RequestId) {
        hold(&self.inbox).cancelled.push(id);
        self.bell.notify_one();
    }

    /// Refuses requests from now on; with `stop` the engine's thread ends too.
    pub(super) fn close(&self, stop: bool) {
        let mut inbox = hold(&self.inbox);
        inbox.closed = true;
        inbox.stop |= stop;
        self.bell.notify_one();
    }

    /// The inbox, for the engine to empty.
    pub(super) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        hold(&self.inbox)
    }

    /// Waits until there is something in the inbox. False if the thread is to end.
    pub(super) fn wait_for_work(&self) -> bool {
        let mut inbox = hold(&self.inbox);
        while inbox.jobs.is_empty() && inbox.cancelled.is_empty() && !inbox.stop {
            inbox = self.bell.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        !inbox.stop
    }

    /// Puts down the events of a step, and what the engine has counted.
    pub(super) fn post(
        &self,
        events: &mut Vec<(RequestId, Event)>,
        retry_after: Option<Duration>,
        update: impl FnOnce(&mut Stats),
    ) {
        let mut outbox = hold(&self.outbox);
        outbox.progress = Instant::now();
        outbox.retry_after = retry_after.unwrap_or(outbox.retry_after);
        update(&mut outbox.stats);
        let any = !events.is_empty();
        outbox.posts += u64::from(any);
        for (id, event) in events.drain(..) {
            outbox.put(id, event);
        }
        if any && outbox.waiters > 0 {
            self.news.notify_all();
        }
    }

    /// Ends all requests that are still open: the engine is gone.
    pub(super) fn fail_all(&self, why: &str) {
        let mut outbox = hold(&self.outbox);
        let open: Vec<RequestId> = outbox.queues.keys().copied().collect();
        for id in open {
            outbox.put(id, Event::Failed(Error::Device(why.to_string())));
        }
        outbox.posts += 1;
        outbox.stats.requests_running = 0;
        outbox.stats.requests_waiting = 0;
        self.news.notify_all();
    }

    /// The next event of a request. `None` if there is none within `timeout`, which may be none: a
    /// stalled engine fails the request all the same.
    pub(super) fn next(&self, id: RequestId, timeout: Duration) -> Option<Event> {
        let deadline = Instant::now().checked_add(timeout);
        let mut outbox = hold(&self.outbox);
        loop {
            if let Some(event) = outbox.take(id) {
                return Some(event);
            }
            let now = Instant::now();
            // Before the deadline: who asks without waiting must hear of a stall, too.
            let since = now.saturating_duration_since(outbox.progress);
            if since >= self.patience {
                let message = format!("no step has ended for {:.1} s", since.as_secs_f64());
                outbox.put(id, Event::Failed(Error::Device(message)));
                return outbox.take(id);
            }
            let left = match deadline {
                Some(deadline) if deadline <= now => return None,
                Some(deadline) => deadline - now,
                None => Duration::MAX,
            };
            let wait = left.min(self.patience - since);
            outbox.waiters += 1;
            let woken = self.news.wait_timeout(outbox, wait);
            outbox = woken.unwrap_or_else(PoisonError::into_inner).0;
            outbox.waiters -= 1;
        }
    }

    /// Waits until events have been put down after the `seen`th time. Gives how often they have
    /// been by now.
    pub(super) fn wait_for_news(&self, seen: u64, timeout: Duration) -> u64 {
        let deadline = Instant::now().checked_add(timeout);
        let mut outbox = hold(&self.outbox);
        while outbox.posts == seen {
            let left =
                deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            outbox.waiters += 1;
            let woken = self.news.wait_timeout(outbox, left);
            outbox = woken.unwrap_or_else(PoisonError::into_inner).0;
            outbox.waiters -= 1;
        }
        outbox.posts
    }

    /// Forgets a request whose stream is gone. True if it had not ended.
    pub(super) fn forget(&self, id: RequestId) -> bool {
        let mut outbox = hold(&self.outbox);
        let Some(queue) = outbox.queues.remove(&id) else { return false };
        let is_open = !queue.back().is_some_and(Event::is_end);
        outbox.open -= usize::from(is_open);
        is_open
    }

    /// Waits until every request has ended. False if the engine makes no progress.
    pub(super) fn wait_for_end(&self) -> bool {
        let mut outbox = hold(&self.outbox);
        while outbox.open > 0 {
            let since = outbox.progress.elapsed();
            if since >= self.patience {
                return false;
            }
            outbox.waiters += 1;
            let woken = self.news.wait_timeout(outbox, self.patience - since);
            outbox = woken.unwrap_or_else(PoisonError::into_inner).0;
            outbox.waiters -= 1;
        }
        true
    }

    pub(super) fn stats(&self) -> Stats {
        hold(&self.outbox).stats.clone()
    }

    /// Requests that have not ended, and the time since the last step.
    pub(super) fn progress(&self) -> (usize, Duration) {
        let outbox = hold(&self.outbox);
        (outbox.open, outbox.progress.elapsed())
    }
}

impl Outbox {
    /// Nothing follows an end, and nothing is kept for a stream that is gone.
    fn put(&mut self, id: RequestId, event: Event) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        if queue.back().is_some_and(Event::is_end) {
            return;
        }
        self.open -= usize::from(event.is_end());
        queue.push_back(event);
    }

    fn take(&mut self, id: RequestId) -> Option<Event> {
        let event = self.queues.get_mut(&id)?.pop_front()?;
        if event.is_end() {
            self.queues.remove(&id);
        }
        Some(event)
    }
}
