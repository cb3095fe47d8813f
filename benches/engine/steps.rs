//! A decode step of many sequences, and the way of a request into its first step.

use crate::null::{Null, decoder};
use crate::timed;
use criterion::Criterion;
use ridgepoint::engine::{Engine, EngineOptions, EngineThread, Event, Stream, SubmitOptions};
use ridgepoint::request::{Request, SamplingParams, TokenId};
use std::time::{Duration, Instant};

/// Sequences of the step that has a bound, and the bound.
const RUNNING: usize = 256;
const STEP: Duration = Duration::from_micros(50);
/// From submission to admission, while the engine steps.
const SUBMIT: Duration = Duration::from_micros(20);
const PROMPT: usize = 1000;
const OUTPUT: usize = 7000;
const CONTEXT: usize = 8192;

fn request(number: usize, prompt: usize, output: usize) -> Request {
    Request {
        prompt: (0..prompt).map(|i| TokenId((number * 8191 + i) as u32 % (1 << 22))).collect(),
        max_tokens: output,
        sampling: SamplingParams::default(),
        stop: Vec::new(),
        stop_tokens: vec![TokenId(0), TokenId(2)],
    }
}

/// Sequences that decode, on pages that other prompts have left in the cache.
struct Crowd {
    engine: Engine<Null>,
    streams: Vec<Stream>,
    running: usize,
    submitted: usize,
}

impl Crowd {
    fn new(running: usize, cached_pages: usize) -> Crowd {
        let mut options = EngineOptions::new(CONTEXT, running);
        options.pages += cached_pages;
        options.prefill_tokens = 1 << 20; // all prompts in one step, so that all end in one
        let decoder = decoder(options.limits());
        let engine = Engine::new(decoder, None, &options).expect("nothing can fail");
        let mut crowd = Crowd { engine, streams: Vec::new(), running, submitted: 0 };
        // Prompts of 127 pages that nobody reads any more.
        for _ in 0..cached_pages / 127 {
            crowd.submit(127 * 64 + 1, 1);
            while crowd.engine.step() {}
            crowd.take();
        }
        crowd
    }

    fn submit(&mut self, prompt: usize, output: usize) {
        self.submitted += 1;
        let request = request(self.submitted, prompt, output);
        let stream = self.engine.client().submit(request, SubmitOptions::default());
        self.streams.push(stream.expect("there is room"));
    }

    /// What callers do: take their tokens.
    fn take(&mut self) {
        for stream in &mut self.streams {
            while stream.next_within(Duration::ZERO).is_some() {}
        }
        self.streams.retain(|stream| !stream.has_ended());
    }

    /// The time of a step in which all decode.
    fn step(&mut self) -> Duration {
        if self.streams.is_empty() {
            (0..self.running).for_each(|_| self.submit(PROMPT, OUTPUT));
            self.engine.step();
            self.take();
        }
        let before = self.engine.client().stats().generation_tokens;
        let started = Instant::now();
        self.engine.step();
        let time = started.elapsed();
        let drawn = self.engine.client().stats().generation_tokens - before;
        let stats = self.engine.client().stats();
        assert_eq!(drawn, self.running as u64, "all decode: {stats:?}");
        self.take();
        time
    }
}

/// Runs the benchmarks.
pub fn run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    for (running, cached_pages) in [(64, 0), (128, 0), (RUNNING, 0), (512, 0), (RUNNING, 1 << 16)] {
        let mut crowd = None;
        let name = format!("decode_{running}_with_{cached_pages}_cached_pages");
        let times = timed(&mut group, &name, || {
            crowd.get_or_insert_with(|| Crowd::new(running, cached_pages)).step()
        });
        if let Some((best, median)) = times {
            let verdict = match running == RUNNING {
                true if median <= STEP => format!(", within {STEP:?}"),
                true => format!(", OVER {STEP:?}"),
                false => String::new(),
            };
            let each = median / running as u32;
            println!("{name}: best {best:?}, median {median:?}, {each:?} a sequence{verdict}");
        }
    }
    if let Some((best, median)) = timed(&mut group, "submit_to_step", submissions()) {
        let verdict = if median <= SUBMIT { "within" } else { "OVER" };
        println!("submit to step: best {best:?}, median {median:?}, {verdict} {SUBMIT:?}");
    }
    group.finish();
    println!("{} bytes for each of {WAITING} waiting requests of one token", waiting_bytes());
}

/// From submission to admission, while others decode.
fn submissions() -> impl FnMut() -> Duration {
    let options = EngineOptions::new(CONTEXT, 64);
    let engine = EngineThread::start(move |server| {
        server.serve(Engine::new(decoder(options.limits()), None, &options)?)
    });
    let engine = engine.expect("a thread");
    let mut others: Vec<Stream> = Vec::new();
    let mut number = 0;
    let mut submit = move |prompt, output| {
        number += 1;
        let request = request(number, prompt, output);
        engine.client().submit(request, SubmitOptions::default()).expect("there is room")
    };
    move || {
        for stream in &mut others {
            while stream.next_within(Duration::ZERO).is_some() {}
        }
        others.retain(|stream| !stream.has_ended());
        while others.len() < 8 {
            others.push(submit(64, OUTPUT));
        }
        let mut stream = submit(64, 1);
        loop {
            match stream.next() {
                Some(Event::Finished(finish)) => return finish.queued,
                Some(Event::Token(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

const WAITING: usize = 50_000;

/// What the process grows by for each request that waits.
fn waiting_bytes() -> usize {
    let options = EngineOptions { waiting: WAITING, ..EngineOptions::new(CONTEXT, 1) };
    let decoder = decoder(options.limits());
    let mut engine = Engine::new(decoder, None, &options).expect("nothing can fail");
    let client = engine.client();
    let submit = |i| client.submit(request(i, 1, 1000), SubmitOptions::default());
    let before = resident_bytes();
    let streams: Vec<Stream> = (0..WAITING).map(|i| submit(i).expect("there is room")).collect();
    engine.step();
    let bytes = (resident_bytes() - before) / streams.len();
    drop(streams);
    bytes
}

/// Resident memory of this process; 0 where the system does not tell.
fn resident_bytes() -> usize {
    const PAGE: usize = 4096;
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * PAGE
}
