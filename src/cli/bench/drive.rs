//! Sends requests when they are due and notes when their tokens come. One thread follows all of
//! them.

use super::metrics::{Ending, Timeline};
use super::workload::Script;
use crate::engine::{Client, Event, Finish, Stats, Stream, SubmitOptions};
use crate::error::{Error, Result};
use crate::request::{Request, TokenId};
use indicatif::ProgressBar;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a wait looks whether there was an interrupt.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(50);

/// Sends requests to an engine.
pub struct Driver<'a> {
    /// The engine.
    pub client: &'a Client,
    /// Requests that are in the engine at a time, at most; the others are held back.
    pub limit: usize,
    /// Ends the run early when it becomes true.
    pub cancel: &'a AtomicBool,
    /// Counts requests that have ended.
    pub bar: &'a ProgressBar,
}

/// What a run left.
pub struct Run {
    /// The requests in the order in which they ended.
    pub timelines: Vec<Timeline>,
    /// From the start to the last end.
    pub duration: Duration,
    /// What the engine counted meanwhile.
    pub stats: Stats,
}

/// The next turn of a script.
struct Waiting {
    due: Duration,
    /// The turns before, with their outputs.
    history: Vec<TokenId>,
    turns: std::vec::IntoIter<Request>,
}

/// A turn in the engine.
struct Open {
    stream: Stream,
    timeline: Timeline,
    /// What the next turn begins with.
    history: Vec<TokenId>,
    turns: std::vec::IntoIter<Request>,
}

impl Driver<'_> {
    /// Runs scripts, which are in the order in which they are due, to their end. Runs with another
    /// `salt` share no prompts with this one.
    ///
    /// # Errors
    /// A request that the engine does not take, or an engine that makes no progress.
    pub fn run(&self, scripts: Vec<Script>, salt: u64) -> Result<Run> {
        let before = self.client.stats();
        let waiting = scripts.into_iter().map(|script| Waiting {
            due: script.due,
            history: Vec::new(),
            turns: script.turns.into_iter(),
        });
        let mut requests = Requests {
            started: Instant::now(),
            options: SubmitOptions { priority: 0, salt: Some(salt) },
            waiting: waiting.collect(),
            open: Vec::new(),
            timelines: Vec::new(),
        };
        let (mut seen, mut cancelled) = (0, false);
        loop {
            if !cancelled && self.cancel.load(Ordering::Relaxed) {
                cancelled = true;
                requests.open.iter().for_each(|open| open.stream.cancel());
            }
            if cancelled {
                requests.waiting.clear();
            }
            let pause = requests.submit(self.client, self.limit)?;
            if requests.open.is_empty() && requests.waiting.is_empty() {
                break;
            }
            let news = self.client.wait_for_news(seen, pause.min(INTERRUPT_INTERVAL));
            if news == seen && self.client.health().is_stalled {
                return Err(Error::Device("the engine makes no progress".to_string()));
            }
            seen = news;
            requests.collect(self.bar);
        }
        let duration = requests.timelines.iter().map(|t| t.end).max().unwrap_or_default();
        let stats = self.client.stats().since(&before);
        Ok(Run { timelines: requests.timelines, duration, stats })
    }
}

struct Requests {
    started: Instant,
    options: SubmitOptions,
    /// By the time at which they are due.
    waiting: VecDeque<Waiting>,
    open: Vec<Open>,
    timelines: Vec<Timeline>,
}

impl Requests {
    /// Sends what is due and allowed; gives the time until there is more to send.
    fn submit(&mut self, client: &Client, limit: usize) -> Result<Duration> {
        while self.open.len() < limit {
            let now = self.started.elapsed();
            match self.waiting.front() {
                None => break,
                Some(next) if next.due > now => return Ok(next.due - now),
                Some(_) => {}
            }
            let mut next = self.waiting.pop_front().expect("it has a front");
            let turn = next.turns.as_slice().first().expect("a script that waits has a turn");
            let mut request = turn.clone();
            request.prompt = [&next.history[..], &turn.prompt].concat();
            let prompt = request.prompt.clone();
            let stream = match client.submit(request, self.options) {
                Ok(stream) => stream,
                Err(Error::Busy { retry_after, .. }) => {
                    self.waiting.push_front(next);
                    return Ok(retry_after);
                }
                Err(error) => return Err(error),
            };
            next.turns.next();
            let timeline = Timeline {
                due: next.due,
                tokens: Vec::new(),
                end: Duration::ZERO,
                ending: Ending::Finished,
                prompt_tokens: prompt.len(),
                cached_tokens: 0,
                ran: Duration::ZERO,
            };
            self.open.push(Open { stream, timeline, history: prompt, turns: next.turns });
        }
        Ok(Duration::MAX)
    }

    /// Takes all news there is.
    fn collect(&mut self, bar: &ProgressBar) {
        let mut i = 0;
        while i < self.open.len() {
            let open = &mut self.open[i];
            while let Some(event) = open.stream.next_within(Duration::ZERO) {
                open.take(event, self.started.elapsed());
            }
            match open.stream.has_ended() {
                false => i += 1,
                true => {
                    bar.inc(1);
                    let open = self.open.swap_remove(i);
                    self.close(open);
                }
            }
        }
    }

    /// The next turn is due when the one before has ended.
    fn close(&mut self, open: Open) {
        let Open { timeline, history, turns, .. } = open;
        if timeline.ending == Ending::Finished && !turns.as_slice().is_empty() {
            let due = timeline.end;
            let at = self.waiting.partition_point(|waiting| waiting.due <= due);
            self.waiting.insert(at, Waiting { due, history, turns });
        }
        self.timelines.push(timeline);
    }
}

impl Open {
    fn take(&mut self, event: Event, now: Duration) {
        let timeline = &mut self.timeline;
        match event {
            Event::Token(sampled) => {
                timeline.tokens.push(now);
                self.history.push(sampled.token);
                return;
            }
            Event::Finished(Finish { reason, cached_tokens, prefill, decode, .. }) => {
                timeline.cached_tokens = cached_tokens;
                timeline.ran = prefill + decode;
                if reason == crate::request::FinishReason::Cancelled {
                    timeline.ending = Ending::Cancelled;
                }
            }
            Event::Failed(error) => timeline.ending = Ending::Failed(error.to_string()),
        }
        // The last token and the end come at once.
        timeline.end = match timeline.tokens.last() {
            Some(&last) if timeline.ending == Ending::Finished => last,
            _ => now,
        };
    }
}
