//! Requests whose events go to a callback: what it hears, what it may not call, and that it hears
//! an end whatever becomes of its engine.

use super::calls::{asks, ends, engine, event, message, ok, sized, submit};
use super::engines::{PROMPT, take};
use crate::common::root;
use ridgepoint::ffi::engine::event::{
    RP_EVENT_FAILED, RP_EVENT_FINISHED, RP_EVENT_TOKEN, rp_event,
};
use ridgepoint::ffi::engine::options::rp_engine_options;
use ridgepoint::ffi::engine::request::{rp_engine_submit, rp_request_options, rp_request_poll};
use ridgepoint::ffi::engine::{rp_engine, rp_engine_create, rp_engine_destroy, rp_engine_drain};
use ridgepoint::ffi::sampling::{rp_logit_bias, rp_sampling};
use ridgepoint::ffi::status::rp_status;
use ridgepoint::ffi::status::rp_status::*;
use std::ffi::{CStr, CString, c_void};
use std::ptr::null_mut;
use std::sync::{Barrier, Mutex, mpsc};
use std::time::Duration;

/// An event, as a callback keeps it.
#[derive(Debug, Clone, PartialEq)]
struct Heard {
    kind: u32,
    status: u32,
    text: String,
}

fn heard(event: &rp_event) -> Heard {
    // SAFETY: the event's text, while the event is there.
    let text = unsafe { CStr::from_ptr(event.text) }.to_str().unwrap().to_string();
    Heard { kind: event.kind, status: event.status, text }
}

/// What one request's callback has heard.
type Log = Mutex<Vec<Heard>>;

unsafe extern "C" fn hear(event: *const rp_event, data: *mut c_void) {
    // SAFETY: the event until this returns, and the log that was submitted with the request.
    let (event, log) = unsafe { (&*event, &*data.cast::<Log>()) };
    log.lock().unwrap().push(heard(event));
}

/// Submits a request whose events go to `log`, which outlives the engine.
fn follow(engine: *mut rp_engine, options: &rp_request_options, log: &Log) -> rp_status {
    let mut options = *options;
    options.callback = Some(hear);
    options.user_data = (&raw const *log).cast_mut().cast();
    // SAFETY: as the header asks.
    unsafe { rp_engine_submit(engine, &options, null_mut()) }
}

/// What was heard, of which the last and no other is an end of that kind.
#[track_caller]
fn told(log: &Log, end: u32) -> Vec<Heard> {
    let told = log.lock().unwrap().clone();
    let (last, before) = told.split_last().expect("an end");
    assert_eq!(last.kind, end, "{last:?}");
    assert!(before.iter().all(|event| event.kind == RP_EVENT_TOKEN), "{before:?}");
    told
}

#[test]
fn callbacks_hear_all_of_every_request_once() {
    let engine = engine(true, |_| ());
    let mut options: rp_request_options = sized();
    options.text = c"Once upon a time".as_ptr();
    options.max_tokens = 12;
    let logs: [Log; 3] = Default::default();
    logs.iter().for_each(|log| ok(follow(engine, &options, log)));
    let (_, polled, _) = take(submit(engine, &options));
    ok(rp_engine_drain(engine));
    // SAFETY: as the header asks.
    ends(unsafe { rp_engine_submit(engine, &options, &mut null_mut()) }, RP_DEVICE, &["no more"]);
    for log in &logs {
        let text: String = told(log, RP_EVENT_FINISHED).into_iter().map(|h| h.text).collect();
        assert_eq!(text, polled);
    }
    ok(rp_engine_destroy(engine));
}

/// What a callback was told by the calls that it made.
type Answers = mpsc::Sender<(rp_status, String)>;

unsafe extern "C" fn end_own_engine(_: *const rp_event, data: *mut c_void) {
    // SAFETY: what was submitted with the request.
    let (engine, answers) = unsafe { &*data.cast::<(usize, Answers)>() };
    let engine = std::ptr::with_exposed_provenance_mut(*engine);
    for call in [rp_engine_destroy, rp_engine_drain] {
        let status = call(engine);
        answers.send((status, message())).unwrap();
    }
}

#[test]
fn a_callback_cannot_end_its_own_engine() {
    let engine = engine(false, |_| ());
    let (sender, answers) = mpsc::channel::<(rp_status, String)>();
    let data = (engine.expose_provenance(), sender);
    let mut options = asks(&PROMPT, 1);
    options.callback = Some(end_own_engine);
    options.user_data = (&raw const data).cast_mut().cast();
    // SAFETY: as the header asks; the data outlives the engine.
    ok(unsafe { rp_engine_submit(engine, &options, null_mut()) });
    // One token and the end.
    for _ in 0..2 {
        for expected in ["cannot be destroyed", "cannot be drained"] {
            let answer = answers.recv_timeout(Duration::from_secs(60));
            let (status, text) = answer.expect("an answer: the thread waits for itself");
            assert_eq!(status, RP_INVALID);
            assert!(text.contains(expected), "{text}");
        }
    }
    ok(rp_engine_drain(engine));
    ok(rp_engine_destroy(engine));
}

#[test]
fn callbacks_hear_that_their_engine_was_destroyed() {
    let engine = engine(true, |options| options.context = 1024);
    let log = Log::default();
    // So long that the engine ends before it does.
    ok(follow(engine, &asks(&PROMPT, 1000), &log));
    ok(rp_engine_destroy(engine));
    let told = told(&log, RP_EVENT_FAILED);
    let last = told.last().unwrap();
    assert_eq!(last.status, RP_DEVICE as u32);
    assert!(last.text.contains("was ended"), "{last:?}");
}

/// A submission that comes at the same time as the end of the engine is refused, or its callback
/// hears an end.
#[test]
fn a_submission_beside_the_end_of_its_engine_is_not_lost() {
    for round in 0..64 {
        let engine = engine(false, |_| ()).expose_provenance();
        let (log, start) = (Log::default(), Barrier::new(2));
        let submitted = std::thread::scope(|scope| {
            let submission = scope.spawn(|| {
                let engine = std::ptr::with_exposed_provenance_mut(engine);
                start.wait();
                follow(engine, &asks(&PROMPT, 1), &log)
            });
            start.wait();
            (0..round * 100).for_each(|_| std::hint::spin_loop());
            ok(rp_engine_destroy(std::ptr::with_exposed_provenance_mut(engine)));
            submission.join().unwrap()
        });
        let ends = log.lock().unwrap().iter().filter(|h| h.kind != RP_EVENT_TOKEN).count();
        assert_eq!(ends, usize::from(submitted == RP_OK), "{submitted:?} in round {round}");
    }
}

/// The shipped model with a tokenizer whose decoder gives up at the token "x".
fn engine_without_x() -> *mut rp_engine {
    let (from, to) = (root().join("models/target"), tempfile::tempdir().unwrap());
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        std::fs::copy(from.join(name), to.path().join(name)).unwrap();
    }
    let path = to.path().join("tokenizer.json");
    let mut tokenizer: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    // Of a token that is "x" alone it cuts off the beginning and the end: more than there is.
    let strip = serde_json::json!({"type": "Strip", "content": "x", "start": 1, "stop": 1});
    let before = tokenizer["decoder"].take();
    tokenizer["decoder"] = serde_json::json!({"type": "Sequence", "decoders": [strip, before]});
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    let dir = CString::new(to.path().to_str().unwrap()).unwrap();
    let mut options: rp_engine_options = sized();
    (options.device, options.context) = (c"cpu".as_ptr(), 1024);
    let mut engine = null_mut();
    // SAFETY: as the header asks.
    ok(unsafe { rp_engine_create(dir.as_ptr(), &options, &mut engine) });
    engine
}

#[test]
fn a_token_without_text_fails_its_request() {
    let engine = engine_without_x();
    let tokenizer = std::fs::read(root().join("models/target/tokenizer.json")).unwrap();
    let tokenizer: serde_json::Value = serde_json::from_slice(&tokenizer).unwrap();
    let x = tokenizer["model"]["vocab"]["x"].as_u64().unwrap() as u32;
    let bias = [rp_logit_bias { token: x, bias: 10_000.0 }];
    let mut sampling: rp_sampling = sized();
    (sampling.logit_bias, sampling.logit_bias_count) = (bias.as_ptr(), 1);
    let mut options = asks(&PROMPT, 1000);
    options.sampling = &sampling;
    let failed = |event: &Heard| {
        assert_eq!((event.kind, event.status), (RP_EVENT_FAILED, RP_INVALID as u32), "{event:?}");
        assert!(event.text.contains("cannot be decoded"), "{event:?}");
    };
    let (request, mut event) = (submit(engine, &options), event());
    // SAFETY: as the header asks, here and below.
    ok(unsafe { rp_request_poll(request, 60_000, &mut event) });
    failed(&heard(&event));
    ends(unsafe { rp_request_poll(request, 0, &mut event) }, RP_ENDED, &["has ended"]);
    let log = Log::default();
    ok(follow(engine, &options, &log));
    ok(rp_engine_drain(engine));
    let told = told(&log, RP_EVENT_FAILED);
    assert_eq!(told.len(), 1, "{told:?}");
    failed(&told[0]);
    ok(rp_engine_destroy(engine));
}
