//! The engine layer: what it gives, and what it says to calls that cannot be.

use super::calls::{asks, ends, engine, event, message, ok, sized, submit};
use crate::common::root;
use ridgepoint::ffi::engine::event::{
    RP_EVENT_FAILED, RP_EVENT_FINISHED, RP_EVENT_TOKEN, RP_FINISH_CANCELLED, RP_FINISH_LENGTH,
    RP_FINISH_STOP, rp_event,
};
use ridgepoint::ffi::engine::options::rp_engine_options;
use ridgepoint::ffi::engine::request::{
    rp_engine_submit, rp_request_cancel, rp_request_destroy, rp_request_options, rp_request_poll,
};
use ridgepoint::ffi::engine::stats::{rp_engine_stats, rp_stats};
use ridgepoint::ffi::engine::{
    rp_engine, rp_engine_create, rp_engine_describe, rp_engine_destroy, rp_engine_detokenize,
    rp_engine_limits, rp_engine_tokenize, rp_engine_wait,
};
use ridgepoint::ffi::sampling::rp_sampling;
use ridgepoint::ffi::status::rp_status::*;
use std::ffi::{CStr, CString, c_char};
use std::ptr::{null, null_mut};

pub(super) const PROMPT: [u32; 5] = [1, 5, 9, 13, 17];

/// Tokens, text and the reason of a request's end, from the next event on.
pub(super) fn take(
    request: *mut ridgepoint::ffi::engine::request::rp_request,
) -> (Vec<u32>, String, u32) {
    let (mut tokens, mut text) = (Vec::new(), String::new());
    loop {
        let mut event = event();
        // SAFETY: as the header asks.
        ok(unsafe { rp_request_poll(request, 60_000, &mut event) });
        // SAFETY: the event's text, until the next poll.
        text.push_str(unsafe { CStr::from_ptr(event.text) }.to_str().unwrap());
        assert_ne!(event.kind, RP_EVENT_FAILED, "{text}");
        match event.kind {
            RP_EVENT_TOKEN => tokens.push(event.token),
            _ => {
                assert!(event.output_tokens >= tokens.len(), "more than were drawn");
                return (tokens, text, event.reason);
            }
        }
    }
}

#[test]
fn polled_requests_of_two_engines_give_the_same_tokens() {
    let engines = [engine(false, |_| ()), engine(false, |options| options.running = 1)];
    let outputs = engines.map(|engine| {
        let requests = [submit(engine, &asks(&PROMPT, 9)), submit(engine, &asks(&PROMPT[..2], 4))];
        let outputs = requests.map(|request| {
            let output = take(request);
            let mut event = event();
            // SAFETY: as the header asks.
            ends(unsafe { rp_request_poll(request, 0, &mut event) }, RP_ENDED, &["has ended"]);
            ok(rp_request_destroy(request));
            output
        });
        let mut stats: rp_stats = sized();
        // SAFETY: as the header asks.
        ok(unsafe { rp_engine_stats(engine, &mut stats) });
        assert_eq!((stats.generation_tokens, stats.finished_length), (13, 2));
        outputs
    });
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!((outputs[0][0].0.len(), outputs[0][0].2), (9, RP_FINISH_LENGTH));
    engines.iter().for_each(|engine| ok(rp_engine_destroy(*engine)));
}

#[test]
fn text_stop_strings_and_logprobs_come_through() {
    let engine = engine(true, |_| ());
    let mut options: rp_request_options = sized();
    let mut sampling: rp_sampling = sized();
    (sampling.logprobs, sampling.top_logprobs) = (1, 2);
    options.text = c"Once upon a time".as_ptr();
    options.sampling = &sampling;
    options.max_tokens = 12;
    let (tokens, text, _) = take(submit(engine, &options));
    let word = text.split_whitespace().nth(2).unwrap();
    let stop = CString::new(word).unwrap();
    let stops: [*const c_char; 1] = [stop.as_ptr()];
    (options.stop, options.stop_count) = (stops.as_ptr(), 1);
    let request = submit(engine, &options);
    let mut event = event();
    // SAFETY: as the header asks, here and below.
    ok(unsafe { rp_request_poll(request, 60_000, &mut event) });
    assert!(event.logprob < 0.0 && event.top_count == 2);
    let top = unsafe { std::slice::from_raw_parts(event.top, 2) };
    assert!(top[0].token == event.token && top[0].logprob == event.logprob);
    let (_, stopped, reason) = take(request);
    assert_eq!(reason, RP_FINISH_STOP);
    assert!(text.contains(&stopped) && !stopped.contains(word), "{stopped} of {text}");
    // Text to tokens and back.
    let (mut room, mut count) = ([0u32; 64], 0);
    let phrase = c"the dog ran";
    let encode = |room: &mut [u32], count: &mut usize| unsafe {
        rp_engine_tokenize(engine, phrase.as_ptr(), 0, room.as_mut_ptr(), room.len(), count)
    };
    ends(encode(&mut [], &mut count), RP_TOO_SMALL, &["room for 0"]);
    let words = count;
    count = 99;
    // SAFETY: as the header asks, but for the null, which is told.
    let nowhere =
        unsafe { rp_engine_tokenize(engine, phrase.as_ptr(), 0, null_mut(), 64, &mut count) };
    ends(nowhere, RP_INVALID, &["tokens is null"]);
    assert_eq!(count, 99, "an out-parameter of a call that failed");
    ok(encode(&mut room, &mut count));
    assert_eq!(count, words);
    let (mut buffer, mut needed) = ([0 as c_char; 64], 0usize);
    let decode = |capacity: usize, buffer: &mut [c_char], needed: &mut usize| unsafe {
        let at = buffer.as_mut_ptr();
        rp_engine_detokenize(engine, room.as_ptr(), count, at, capacity, needed)
    };
    ends(decode(3, &mut buffer, &mut needed), RP_TOO_SMALL, &["3 bytes"]);
    assert_eq!(needed, 12);
    ok(decode(64, &mut buffer, &mut needed));
    assert_eq!(unsafe { CStr::from_ptr(buffer.as_ptr()) }, phrase);
    assert!(!tokens.is_empty());
    ok(rp_engine_destroy(engine));
}

#[test]
fn cancelled_and_destroyed_in_any_order() {
    // So long that the cancellation comes before the end, however busy the machine is.
    let engine = engine(true, |options| options.context = 1024);
    let request = submit(engine, &asks(&PROMPT, 1000));
    ok(rp_request_cancel(request));
    ok(rp_request_cancel(request));
    let (_, _, reason) = take(request);
    assert_eq!(reason, RP_FINISH_CANCELLED);
    ok(rp_request_cancel(request));
    ok(rp_request_destroy(request));
    ends(rp_request_destroy(request), RP_HANDLE, &["no handle of request", "destroyed"]);
    // A request outlives its engine: it has failed.
    let orphan = submit(engine, &asks(&PROMPT, 55));
    ok(rp_engine_destroy(engine));
    ends(rp_engine_destroy(engine), RP_HANDLE, &["no handle of engine"]);
    let mut event = event();
    loop {
        // SAFETY: as the header asks.
        ok(unsafe { rp_request_poll(orphan, 60_000, &mut event) });
        if event.kind != RP_EVENT_TOKEN {
            break;
        }
    }
    // Whether it was faster than the end of its engine is not ours to say.
    assert!(event.kind == RP_EVENT_FINISHED || event.status == RP_DEVICE as u32);
    ok(rp_request_cancel(orphan));
    ok(rp_request_destroy(orphan));
}

#[test]
fn another_thread_is_told_that_a_request_is_in_use() {
    let engine = engine(true, |options| options.context = 1024);
    let request = submit(engine, &asks(&PROMPT, 1));
    take(request);
    // A request that waits for news holds its handle; this one never comes.
    let second = submit(engine, &asks(&PROMPT, 1000)).expose_provenance();
    let busy = std::thread::scope(|scope| {
        let poll = move || {
            let request = std::ptr::with_exposed_provenance_mut(second);
            let (mut busy, mut event) = (0, event());
            loop {
                // SAFETY: as the header asks.
                match unsafe { rp_request_poll(request, 60_000, &mut event) } {
                    RP_OK if event.kind != RP_EVENT_TOKEN => return busy,
                    RP_OK => {}
                    RP_IN_USE => busy += 1,
                    RP_ENDED => return busy,
                    other => panic!("{other:?}: {}", message()),
                }
            }
        };
        let threads = [scope.spawn(poll), scope.spawn(poll)];
        threads.map(|thread| thread.join().unwrap()).iter().sum::<u32>()
    });
    assert!(busy > 0, "two threads polled a request and neither was refused");
    ok(rp_engine_destroy(engine));
}

#[test]
fn news_of_any_request_can_be_waited_for() {
    let engine = engine(false, |_| ());
    let mut seen = 0;
    // SAFETY: as the header asks, here and below.
    ends(unsafe { rp_engine_wait(engine, &mut seen, 1) }, RP_TIMEOUT, &["no request has news"]);
    let request = submit(engine, &asks(&PROMPT, 3));
    ok(unsafe { rp_engine_wait(engine, &mut seen, 60_000) });
    assert!(seen > 0);
    let mut event = event();
    ok(unsafe { rp_request_poll(request, 0, &mut event) });
    ok(rp_engine_destroy(engine));
    ok(rp_request_destroy(request));
}

#[test]
fn an_engine_describes_itself() {
    let engine = engine(false, |_| ());
    let (mut vocab, mut context, mut needed) = (0, 0, 0);
    // SAFETY: as the header asks, here and below.
    ok(unsafe { rp_engine_limits(engine, &mut vocab, &mut context) });
    ok(unsafe { rp_engine_limits(engine, null_mut(), null_mut()) });
    assert_eq!((vocab, context), (257, 64));
    let small = unsafe { rp_engine_describe(engine, null_mut(), 0, &mut needed) };
    ends(small, RP_TOO_SMALL, &["are needed"]);
    let mut text = vec![0 as c_char; needed];
    ok(unsafe { rp_engine_describe(engine, text.as_mut_ptr(), needed, null_mut()) });
    let text = unsafe { CStr::from_ptr(text.as_ptr()) }.to_str().unwrap();
    assert!(text.contains("on CPU") && text.ends_with('\n'), "{text}");
    ok(rp_engine_destroy(engine));
}

#[test]
fn what_cannot_be_an_engine_is_refused() {
    let shipped = CString::new(root().join("models/target").to_str().unwrap()).unwrap();
    let mut engine: *mut rp_engine = null_mut();
    let mut create = |dir: *const c_char, change: &dyn Fn(&mut rp_engine_options)| {
        let mut options: rp_engine_options = sized();
        options.device = c"cpu".as_ptr();
        change(&mut options);
        // SAFETY: as the header asks.
        let status = unsafe { rp_engine_create(dir, &options, &mut engine) };
        assert!(engine.is_null(), "an out-parameter of a call that failed");
        status
    };
    let dir = shipped.as_ptr();
    ends(create(null(), &|_| ()), RP_INVALID, &["dir is null"]);
    ends(create(c"/nowhere".as_ptr(), &|_| ()), RP_IO, &["/nowhere: no such model directory"]);
    ends(create(c"\xff".as_ptr(), &|_| ()), RP_INVALID, &["UTF-8"]);
    ends(create(dir, &|o| o.device = c"tpu".as_ptr()), RP_INVALID, &["tpu", "cuda"]);
    if !cfg!(feature = "cuda") {
        let status = create(dir, &|o| o.device = c"sim".as_ptr());
        ends(status, RP_UNSUPPORTED, &["device is sim", "without the feature `cuda`"]);
    }
    ends(create(dir, &|o| o.quantize = c"int3".as_ptr()), RP_INVALID, &["int3"]);
    ends(create(dir, &|o| o.context = 1 << 30), RP_INVALID, &["context is 1073741824"]);
    ends(create(dir, &|o| o.running = 1 << 30), RP_INVALID, &["running is"]);
    ends(create(dir, &|o| o.reserve_percent = 101), RP_INVALID, &["reserve_percent is 101"]);
    ends(create(dir, &|o| o.depth = 4), RP_INVALID, &["depth needs"]);
    ends(create(dir, &|o| o.draft = c"/nowhere".as_ptr()), RP_IO, &["/nowhere"]);
    ends(create(dir, &|o| o.size = 3), RP_INVALID, &["rp_engine_options.size is 3"]);
    ends(create(dir, &|o| o.size = usize::MAX), RP_INVALID, &["sizeof"]);
    let no_place = unsafe { rp_engine_create(dir, null(), null_mut()) };
    ends(no_place, RP_INVALID, &["engine is null"]);
}

#[test]
fn structs_of_other_headers_are_told_apart() {
    #[repr(C)]
    struct Newer {
        known: rp_request_options,
        more: [u64; 2],
    }
    let engine = engine(false, |_| ());
    let mut newer = Newer { known: asks(&PROMPT, 2), more: [0; 2] };
    newer.known.size = size_of::<Newer>();
    let mut request = null_mut();
    let mut submit = |newer: &Newer| unsafe {
        // SAFETY: as large as it says.
        rp_engine_submit(engine, (&raw const *newer).cast(), &mut request)
    };
    ok(submit(&newer));
    newer.more[1] = 7;
    ends(submit(&newer), RP_UNSUPPORTED, &["newer header", "rp_request_options"]);
    #[repr(C)]
    struct Event {
        known: rp_event,
        more: u64,
    }
    let mut event = Event { known: event(), more: 7 };
    event.known.size = size_of::<Event>();
    // SAFETY: as large as it says.
    ok(unsafe { rp_request_poll(request, 60_000, (&raw mut event).cast()) });
    assert_eq!((event.more, event.known.size), (0, size_of::<Event>()));
    ok(rp_request_destroy(request));
    ok(rp_engine_destroy(engine));
}

#[test]
fn what_cannot_be_a_request_is_refused() {
    let engine = engine(false, |options| (options.waiting, options.running) = (1, 1));
    let submit = |change: &dyn Fn(&mut rp_request_options)| {
        let mut options = asks(&PROMPT, 2);
        change(&mut options);
        let mut request = null_mut();
        // SAFETY: as the header asks.
        let status = unsafe { rp_engine_submit(engine, &options, &mut request) };
        assert!(request.is_null(), "an out-parameter of a call that failed");
        status
    };
    ends(submit(&|o| o.token_count = 0), RP_INVALID, &["prompt is empty"]);
    ends(submit(&|o| o.tokens = null()), RP_INVALID, &["exactly one"]);
    ends(submit(&|o| o.text = c"both".as_ptr()), RP_INVALID, &["exactly one"]);
    let text = |o: &mut rp_request_options| (o.tokens, o.text) = (null(), c"text".as_ptr());
    ends(submit(&|o| text(o)), RP_INVALID, &["tokenizer.json"]);
    ends(submit(&|o| o.tokens = o.tokens.wrapping_byte_add(1)), RP_INVALID, &["not aligned"]);
    ends(submit(&|o| o.token_count = usize::MAX / 2), RP_INVALID, &["more than memory"]);
    let far = [257u32];
    let out = |o: &mut rp_request_options| (o.tokens, o.token_count) = (far.as_ptr(), 1);
    ends(submit(&out), RP_INVALID, &["token 257", "257 tokens"]);
    ends(submit(&|o| o.stop_count = 1), RP_INVALID, &["stop is null"]);
    let both = |o: &mut rp_request_options| (o.stop_tokens, o.stop_token_count) = (far.as_ptr(), 1);
    ends(submit(&both), RP_INVALID, &["exclude each other"]);
    let mut hot: rp_sampling = sized();
    hot.temperature = -1.0;
    ends(submit(&|o| o.sampling = &hot), RP_INVALID, &["temperature is -1"]);
    let unplaced = unsafe { rp_engine_submit(engine, &asks(&PROMPT, 1), null_mut()) };
    ends(unplaced, RP_INVALID, &["request is null"]);
    ends(unsafe { rp_engine_submit(engine, null(), null_mut()) }, RP_INVALID, &["is null"]);
    // A handle of another kind is none.
    ends(rp_request_cancel(engine.cast()), RP_HANDLE, &["no handle of request"]);
    ends(rp_engine_destroy(null_mut()), RP_HANDLE, &["null"]);
    ok(rp_engine_destroy(engine));
}
