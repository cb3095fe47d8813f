//! The kernel layer on contexts and streams of the caller's, with a driver library that runs
//! nothing and watches what it is asked for (`driver.c`).

use super::calls::{ends, ok, sized};
use super::examples::{compiler, run};
use crate::common::root;
use ridgepoint::ffi::kernels::rows::{rp_silu_mul, rp_silu_mul_run};
use ridgepoint::ffi::kernels::{
    RP_DEVICE_CURRENT, rp_kernels_create, rp_kernels_destroy, rp_kernels_options,
    rp_kernels_set_stream,
};
use ridgepoint::ffi::status::rp_status::*;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute;
use std::process::Command;
use std::ptr::{null_mut, without_provenance_mut};

/// Set in the process that has that library in the place of the driver's.
const WATCHED: &str = "RIDGEPOINT_TEST_WATCHED";

unsafe extern "C" {
    fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// The calls of the driver that a caller of the library makes.
struct Caller {
    set_current: Taking,
    get_current: Giving,
    create: Creating,
    destroy: Taking,
}

type Found = *mut c_void;
type Taking = unsafe extern "C" fn(*mut c_void) -> c_int;
type Giving = unsafe extern "C" fn(*mut *mut c_void) -> c_int;
type Creating = unsafe extern "C" fn(*mut *mut c_void, u32) -> c_int;

impl Caller {
    fn new() -> Caller {
        const RTLD_NOW: c_int = 2;
        // SAFETY: the library and its functions are those of `driver.c`, with these types.
        unsafe {
            let library = dlopen(c"libcuda.so".as_ptr(), RTLD_NOW);
            let find = |name: &CStr| {
                let at = dlsym(library, name.as_ptr());
                assert!(!at.is_null(), "{name:?}");
                at
            };
            Caller {
                set_current: transmute::<Found, Taking>(find(c"cuCtxSetCurrent")),
                get_current: transmute::<Found, Giving>(find(c"cuCtxGetCurrent")),
                create: transmute::<Found, Creating>(find(c"cuStreamCreate")),
                destroy: transmute::<Found, Taking>(find(c"cuStreamDestroy_v2")),
            }
        }
    }

    fn enter(&self, context: usize) {
        // SAFETY: contexts are numbers.
        assert_eq!(unsafe { (self.set_current)(without_provenance_mut(context)) }, 0);
    }

    #[track_caller]
    fn is_in(&self, context: usize) {
        let mut found = null_mut();
        // SAFETY: writes one handle.
        assert_eq!(unsafe { (self.get_current)(&mut found) }, 0);
        assert_eq!(found.addr(), context, "the context that is current on this thread");
    }

    /// A new stream of that context.
    fn stream(&self, context: usize) -> *mut c_void {
        self.enter(context);
        let mut stream = null_mut();
        // SAFETY: writes one handle.
        assert_eq!(unsafe { (self.create)(&mut stream, 0) }, 0);
        stream
    }
}

#[test]
fn contexts_and_streams_stay_the_callers() {
    if std::env::var_os(WATCHED).is_some() {
        return watched();
    }
    let folder = tempfile::tempdir().unwrap();
    let mut build = compiler().to_command();
    build.args(["-Werror", "-shared", "-fPIC"]).arg(root().join("tests/ffi/driver.c"));
    run(build.arg("-o").arg(folder.path().join("libcuda.so")));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "--nocapture",
        "ffi::contexts::contexts_and_streams_stay_the_callers",
    ]);
    command.env(WATCHED, "1").env("LD_LIBRARY_PATH", folder.path());
    let said = String::from_utf8(run(&mut command).stdout).unwrap();
    assert!(said.contains("1 passed"), "{said}");
}

fn watched() {
    const OURS: usize = 0x10;
    const OTHER: usize = 0x20;
    let caller = Caller::new();
    let (foreign, second) = (caller.stream(OTHER), caller.stream(OURS));
    let mut options: rp_kernels_options = sized();
    (options.device, options.stream) = (RP_DEVICE_CURRENT, caller.stream(OURS));
    let mut kernels = null_mut();
    // SAFETY: as the header asks, here and below.
    ok(unsafe { rp_kernels_create(&options, &mut kernels) });
    caller.is_in(OURS);
    let mut silu: rp_silu_mul = sized();
    (silu.gate_up, silu.out, silu.rows, silu.intermediate) = (0x100, 0x200, 1, 64);
    for context in [OTHER, 0, OURS] {
        caller.enter(context);
        ok(unsafe { rp_silu_mul_run(kernels, &silu) });
        caller.is_in(context);
    }
    caller.enter(OTHER);
    ends(unsafe { rp_kernels_set_stream(kernels, foreign) }, RP_INVALID, &["another context"]);
    caller.is_in(OTHER);
    // Work is under way on both streams, and the one that was set last is gone.
    ok(unsafe { rp_kernels_set_stream(kernels, second) });
    ok(unsafe { rp_silu_mul_run(kernels, &silu) });
    assert_eq!(unsafe { (caller.destroy)(second) }, 0);
    ok(rp_kernels_destroy(kernels));
    caller.is_in(OTHER);
}
