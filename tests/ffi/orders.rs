//! Calls in any order on any handles, live, destroyed, of another kind or made up: each gives a
//! status, and a text if it is not RP_OK; nothing crashes or hangs, and a later request works.

use super::calls::{asks, engine, event, kernels, message, ok, sized, submit};
use proptest::prelude::*;
use ridgepoint::ffi::engine::request::{
    rp_engine_submit, rp_request_cancel, rp_request_destroy, rp_request_poll,
};
use ridgepoint::ffi::engine::stats::{rp_engine_stats, rp_stats};
use ridgepoint::ffi::engine::{rp_engine_destroy, rp_engine_drain};
use ridgepoint::ffi::kernels::memory::{rp_memory_alloc, rp_memory_free};
use ridgepoint::ffi::kernels::{rp_kernels_destroy, rp_kernels_synchronize};
use ridgepoint::ffi::status::rp_status;
use ridgepoint::ffi::status::rp_status::*;

#[derive(Debug, Clone, Copy)]
enum Call {
    Engine,
    Kernels,
    Submit(usize, usize),
    Poll(usize, bool),
    Cancel(usize),
    DestroyRequest(usize),
    DestroyEngine(usize),
    Drain(usize),
    Stats(usize),
    Alloc(usize),
    DestroyKernels(usize),
    Synchronize(usize),
}

fn call() -> impl Strategy<Value = Call> {
    let at = 0..12usize;
    prop_oneof![
        1 => Just(Call::Engine),
        1 => Just(Call::Kernels),
        6 => (at.clone(), 1..20usize).prop_map(|(at, n)| Call::Submit(at, n)),
        8 => (at.clone(), any::<bool>()).prop_map(|(at, waits)| Call::Poll(at, waits)),
        3 => at.clone().prop_map(Call::Cancel),
        3 => at.clone().prop_map(Call::DestroyRequest),
        1 => at.clone().prop_map(Call::DestroyEngine),
        1 => at.clone().prop_map(Call::Drain),
        1 => at.clone().prop_map(Call::Stats),
        1 => at.clone().prop_map(Call::Alloc),
        1 => at.clone().prop_map(Call::DestroyKernels),
        1 => at.prop_map(Call::Synchronize),
    ]
}

/// All handles there ever were, as addresses, and some that never were.
struct Handles(Vec<usize>);

impl Handles {
    fn at<T>(&self, at: usize) -> *mut T {
        let made_up = [0, 1, 2, 0xdead_beef];
        let of = |i: usize| self.0.get(i).or_else(|| made_up.get(i - self.0.len())).copied();
        std::ptr::without_provenance_mut(of(at % (self.0.len() + made_up.len())).unwrap())
    }
}

fn make(handles: &mut Handles, call: Call) -> rp_status {
    let prompt = [1u32, 2, 3];
    // SAFETY: structs as large as they say, and handles of any kind are allowed.
    unsafe {
        match call {
            Call::Engine if handles.0.len() < 8 => {
                handles.0.push(engine(false, |o| (o.waiting, o.running) = (3, 2)).addr());
                RP_OK
            }
            Call::Kernels if handles.0.len() < 8 => {
                handles.0.push(kernels().addr());
                RP_OK
            }
            Call::Engine | Call::Kernels => RP_OK,
            Call::Submit(at, count) => {
                let mut request = std::ptr::null_mut();
                let status = rp_engine_submit(handles.at(at), &asks(&prompt, count), &mut request);
                assert_eq!(request.is_null(), status != RP_OK);
                if status == RP_OK {
                    handles.0.push(request.addr());
                }
                status
            }
            Call::Poll(at, waits) => {
                rp_request_poll(handles.at(at), if waits { 10_000 } else { 0 }, &mut event())
            }
            Call::Cancel(at) => rp_request_cancel(handles.at(at)),
            Call::DestroyRequest(at) => rp_request_destroy(handles.at(at)),
            Call::DestroyEngine(at) => rp_engine_destroy(handles.at(at)),
            Call::Drain(at) => rp_engine_drain(handles.at(at)),
            Call::Stats(at) => rp_engine_stats(handles.at(at), &mut sized::<rp_stats>()),
            Call::Alloc(at) => {
                let mut memory = 0;
                match rp_memory_alloc(handles.at(at), 100, &mut memory) {
                    RP_OK => rp_memory_free(handles.at(at), memory),
                    refused => refused,
                }
            }
            Call::DestroyKernels(at) => rp_kernels_destroy(handles.at(at)),
            Call::Synchronize(at) => rp_kernels_synchronize(handles.at(at)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn every_order_of_calls_has_an_answer(calls in prop::collection::vec(call(), 1..40)) {
        let mut handles = Handles(vec![engine(false, |_| ()).addr()]);
        for call in calls {
            let status = make(&mut handles, call);
            prop_assert_ne!(status, RP_PANIC, "{:?}: {}", call, message());
            prop_assert!(status == RP_OK || !message().is_empty(), "{:?}", call);
        }
        let fresh = engine(false, |_| ());
        let request = submit(fresh, &asks(&[4, 5], 2));
        // SAFETY: as the header asks.
        ok(unsafe { rp_request_poll(request, 60_000, &mut event()) });
        for handle in handles.0.iter().chain(&[fresh.addr(), request.addr()]) {
            // Of any kind, or gone already.
            rp_request_destroy(std::ptr::without_provenance_mut(*handle));
            rp_engine_destroy(std::ptr::without_provenance_mut(*handle));
            rp_kernels_destroy(std::ptr::without_provenance_mut(*handle));
        }
    }
}
