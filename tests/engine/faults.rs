//! What goes wrong ends in one event each, gives every page back, and leaves the engine usable.

use super::faulty::{Fault, Faulty, Trigger};
use super::together::{CONTEXT, decoder};
use crate::common::fixture;
use ridgepoint::backend::cpu::CpuBackend;
use ridgepoint::engine::{
    Client, Engine, EngineOptions, EngineThread, Event, Stream, SubmitOptions,
};
use ridgepoint::error::Error;
use ridgepoint::request::{FinishReason, Request, SamplingParams, TokenId};
use ridgepoint::text::Tokenizer;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

const MODEL: &str = "mistral_window";

fn request(len: usize, output: usize) -> Request {
    Request {
        prompt: (0..len as u32).map(|i| TokenId(i * 3 % 200)).collect(),
        max_tokens: output,
        sampling: SamplingParams::default(),
        stop: Vec::new(),
        stop_tokens: Vec::new(),
    }
}

fn options() -> EngineOptions {
    EngineOptions { prefill_tokens: 32, ..EngineOptions::new(CONTEXT, 4) }
}

fn engine(trigger: &Trigger, options: &EngineOptions) -> Engine<Faulty> {
    let backend = Faulty { inner: CpuBackend::new(), trigger: trigger.clone() };
    Engine::new(decoder(MODEL, backend, options.limits()), None, options).unwrap()
}

fn submit(client: &Client, request: Request) -> Stream {
    client.submit(request, SubmitOptions::default()).unwrap()
}

/// All events that are there.
fn events(stream: &mut Stream) -> Vec<Event> {
    std::iter::from_fn(|| stream.next_within(Duration::ZERO)).collect()
}

fn run(engine: &mut Engine<Faulty>) {
    let mut steps = 0;
    while engine.step() {
        engine.scheduler().check();
        steps += 1;
        assert!(steps < 1000, "it does not end");
    }
}

fn is_clean(engine: &Engine<Faulty>) {
    let kv = engine.scheduler().kv();
    assert_eq!(kv.available(), kv.pages(), "a page was not given back");
    assert_eq!(engine.scheduler().running() + engine.scheduler().waiting(), 0);
}

/// Every op of a few steps fails once, by an error and by a panic. Those concerned fail; whoever
/// was not in the pass, and the next request, get what they would have got.
#[test]
fn a_fault_anywhere_in_a_step_fails_those_concerned_and_nobody_else() {
    let trigger = Trigger::new();
    let mut engine = engine(&trigger, &options());
    let client = engine.client();
    let expected = {
        let stream = submit(&client, request(40, 3));
        run(&mut engine);
        stream.collect_all().unwrap().ids()
    };
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {})); // fifty planned panics would fill the log
    let mut failures = 0;
    for fault in [Fault::Error, Fault::Panic] {
        for ops in 0..60 {
            let mut streams: Vec<Stream> =
                (0..3).map(|i| submit(&client, request(30 + 20 * i, 3))).collect();
            trigger.arm(fault, ops);
            run(&mut engine);
            let mut failed = 0;
            for stream in &mut streams {
                let events = events(stream);
                let (end, tokens) = events.split_last().unwrap();
                assert!(tokens.iter().all(|event| !event.is_end()), "an end in the middle");
                match end {
                    Event::Failed(Error::Device(why)) => {
                        assert!(why.contains("a planned"), "{why}");
                        failed += 1;
                    }
                    Event::Finished(finish) => assert_eq!(finish.reason, FinishReason::Length),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(failed > 0, trigger.has_fired(), "{fault:?} after {ops}");
            failures += failed;
            is_clean(&engine);
            let stream = submit(&client, request(40, 3));
            run(&mut engine);
            assert_eq!(stream.collect_all().unwrap().ids(), expected, "{fault:?} after {ops}");
        }
    }
    std::panic::set_hook(hook);
    assert!(failures >= 100, "{failures}");
    let stats = client.stats();
    assert_eq!(stats.finished[FinishReason::Error as usize], failures);
    assert_eq!((stats.requests_running, stats.requests_waiting), (0, 0));
}

#[test]
fn a_cancelled_request_ends_at_every_stage() {
    let mut engine = engine(&Trigger::new(), &options());
    let client = engine.client();
    for stage in 0..12 {
        // Four run, so the fifth waits; of 100 tokens three steps are prefill.
        let mut streams: Vec<Stream> = (0..5).map(|_| submit(&client, request(100, 30))).collect();
        (0..stage).for_each(|_| assert!(engine.step()));
        streams[4].cancel();
        streams[1].cancel();
        streams[1].cancel();
        drop(streams.remove(0));
        run(&mut engine);
        for (i, stream) in streams.iter_mut().enumerate() {
            let events = events(stream);
            let ends = events.iter().filter(|event| event.is_end()).count();
            let Some(Event::Finished(finish)) = events.last() else { panic!("{events:?}") };
            assert_eq!(ends, 1);
            let cancelled = finish.reason == FinishReason::Cancelled;
            assert_eq!(cancelled, i == 0 || i == 3, "request {i} at stage {stage}");
            assert_eq!(finish.output_tokens, events.len() - 1);
            assert!(stream.next_within(Duration::ZERO).is_none() && stream.has_ended());
        }
        is_clean(&engine);
    }
}

#[test]
fn what_cannot_be_served_is_refused_and_says_why() {
    let options = EngineOptions { pages: 3, waiting: 2, ..options() };
    let mut engine = engine(&Trigger::new(), &options);
    let client = engine.client();
    let refused = |request: Request, part: &str| {
        let error = client.submit(request, SubmitOptions::default()).err().expect(part);
        assert!(error.to_string().contains(part), "{error}");
        error
    };
    refused(request(0, 1), "the prompt is empty");
    refused(request(CONTEXT, 1), "the context holds 256");
    refused(request(10, 0), "max_tokens is 0");
    refused(Request { stop: vec!["x".to_string()], ..request(1, 1) }, "need a tokenizer");
    // Only the scheduler knows how many pages there are.
    let mut large = submit(&client, request(100, usize::MAX));
    engine.step();
    let Some(Event::Failed(error @ Error::Request(_))) = large.next() else { panic!("no refusal") };
    assert!(error.to_string().contains("4 pages of the KV cache, which has 3"), "{error}");
    let mut some: Vec<Stream> = (0..2).map(|_| submit(&client, request(10, 5))).collect();
    let error = refused(request(10, 1), "2 requests wait already; try again in");
    assert!(matches!(error, Error::Busy { waiting: 2, .. }) && !error.is_mistake());
    run(&mut engine);
    assert!(some.iter_mut().all(|stream| events(stream).len() == 6));
    submit(&client, request(10, 1));
}

fn thread(trigger: &Trigger, options: EngineOptions) -> EngineThread {
    let trigger = trigger.clone();
    EngineThread::start(move |server| server.serve(engine(&trigger, &options))).unwrap()
}

#[test]
fn an_engine_that_is_dropped_ends_its_requests() {
    let engine = thread(&Trigger::new(), options());
    let client = engine.client().clone();
    let mut streams: Vec<Stream> = (0..9).map(|_| submit(&client, request(50, 200))).collect();
    assert!(matches!(streams[0].next(), Some(Event::Token(_))));
    drop(engine);
    for stream in &mut streams {
        let all: Vec<Event> = stream.collect();
        match all.last() {
            Some(Event::Failed(error)) => assert!(error.to_string().contains("was ended")),
            Some(Event::Finished(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    let error = client.submit(request(1, 1), SubmitOptions::default()).err().unwrap();
    assert!(error.to_string().contains("takes no more requests"), "{error}");
}

#[test]
fn a_drain_serves_what_is_there_and_takes_no_more() {
    let engine = thread(&Trigger::new(), options());
    let client = engine.client().clone();
    let streams: Vec<Stream> = (0..9).map(|_| submit(&client, request(50, 20))).collect();
    client.drain().unwrap();
    assert!(client.submit(request(1, 1), SubmitOptions::default()).is_err());
    for stream in streams {
        assert_eq!(stream.collect_all().unwrap().tokens.len(), 20);
    }
    assert_eq!(client.health().open, 0);
}

#[test]
fn a_step_that_does_not_end_is_noticed() {
    let trigger = Trigger::new();
    let patience = Duration::from_millis(150);
    let engine = thread(&trigger, EngineOptions { patience, ..options() });
    let client = engine.client();
    assert_eq!(client.run(request(10, 2)).unwrap().tokens.len(), 2);
    sleep(2 * patience);
    assert!(!client.health().is_stalled, "an idle engine is well");
    trigger.arm(Fault::Slow(4 * patience), 5);
    let began = Instant::now();
    let error = client.run(request(10, 2)).unwrap_err();
    assert!(error.to_string().contains("no step has ended for"), "{error}");
    assert!(began.elapsed() < 3 * patience, "{:?}", began.elapsed());
    sleep(4 * patience);
    assert_eq!(client.run(request(10, 2)).unwrap().tokens.len(), 2, "it goes on afterwards");
}

/// Callers that never wait, such as those who follow many streams, hear of it as well.
#[test]
fn a_step_that_does_not_end_is_told_without_waiting() {
    let trigger = Trigger::new();
    let patience = Duration::from_millis(150);
    let engine = thread(&trigger, EngineOptions { patience, ..options() });
    trigger.arm(Fault::Slow(6 * patience), 5);
    let began = Instant::now();
    let client = engine.client();
    let mut stream = submit(client, request(10, 200));
    let event = loop {
        if let Some(event) = stream.next_within(Duration::ZERO) {
            break event;
        }
        assert!(began.elapsed() < 4 * patience, "no word of it");
        sleep(patience / 10);
    };
    let Event::Failed(error) = event else { panic!("{event:?}") };
    assert!(error.to_string().contains("no step has ended for"), "{error}");
    assert!(began.elapsed() >= patience && stream.has_ended());
    sleep(6 * patience);
    assert_eq!(client.run(request(10, 2)).unwrap().tokens.len(), 2, "it goes on afterwards");
    let finished = client.stats().finished;
    assert_eq!(finished[FinishReason::Cancelled as usize], 1, "without the one that was given up");
}

#[test]
fn a_thread_that_cannot_make_its_engine_says_why() {
    let error = EngineThread::start(|_| Err(Error::Usage("no such device".to_string())));
    assert!(matches!(error.err(), Some(Error::Usage(why)) if why == "no such device"));
    let error = EngineThread::start(|_| panic!("while it is made")).err().unwrap();
    assert!(error.to_string().contains("panicked"), "{error}");
}

/// Many threads submit at once; some do not wait for the end.
#[test]
fn callers_on_many_threads_get_their_own_tokens() {
    let engine = thread(&Trigger::new(), options());
    let expected: Vec<Vec<TokenId>> =
        (0..6).map(|i| engine.client().run(request(20 + 9 * i, 12)).unwrap().ids()).collect();
    std::thread::scope(|scope| {
        for caller in 0..8 {
            let (client, expected) = (engine.client(), &expected);
            scope.spawn(move || {
                for round in 0..6 {
                    let i = (caller + round) % 6;
                    let mut stream = submit(client, request(20 + 9 * i, 12));
                    if (caller + round) % 4 == 0 {
                        drop(stream.next());
                        continue;
                    }
                    assert_eq!(stream.collect_all().unwrap().ids(), expected[i]);
                }
            });
        }
    });
    engine.client().drain().unwrap();
    assert_eq!(engine.client().stats().requests_running, 0);
}

#[test]
fn stop_strings_end_a_request() {
    let dir = crate::common::root().join("models/target");
    let tokenizer = Tokenizer::load(Path::new(&dir), 1 << 20).unwrap();
    let checkpoint = ridgepoint::load::Checkpoint::open(Path::new(&dir)).unwrap();
    let config = ridgepoint::model::ModelConfig::load(Path::new(&dir)).unwrap();
    let options = options();
    let decoder =
        ridgepoint::model::Decoder::load(CpuBackend::new(), config, &checkpoint, options.limits());
    let mut engine = Engine::new(decoder.unwrap(), Some(tokenizer.clone()), &options).unwrap();
    let client = engine.client();
    let prompt = tokenizer.encode("The fox", true).unwrap();
    let request = Request { prompt, stop: vec![".".to_string()], ..request(1, 60) };
    let stream = submit(&client, request);
    while engine.step() {}
    let completion = stream.collect_all().unwrap();
    assert_eq!(completion.finish.reason, FinishReason::Stop);
    let text = tokenizer.decode(&completion.ids()).unwrap();
    assert_eq!(text.matches('.').count(), 1, "{text}");
    assert!(fixture(MODEL).exists());
}
