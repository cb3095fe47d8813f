//! Handles: tickets under which the library keeps what a caller created. A ticket is used once, so
//! one that was destroyed is known for what it is, on any thread and at any time.

use super::engine::{EngineState, RequestState};
use super::kernels::KernelState;
use super::status::{Fault, Outcome, rp_status};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

/// What a ticket stands for.
#[derive(Clone)]
pub(super) enum Kept {
    Engine(Arc<EngineState>),
    Request(Arc<RequestState>),
    Kernels(Arc<KernelState>),
}

/// A kind of handle.
pub(super) trait Kind: Sized {
    const NAME: &'static str;
    fn keep(this: Arc<Self>) -> Kept;
    fn of(kept: Kept) -> Option<Arc<Self>>;
}

macro_rules! kind {
    ($state:ty, $variant:ident, $name:literal) => {
        impl Kind for $state {
            const NAME: &'static str = $name;
            fn keep(this: Arc<Self>) -> Kept {
                Kept::$variant(this)
            }
            fn of(kept: Kept) -> Option<Arc<Self>> {
                match kept {
                    Kept::$variant(state) => Some(state),
                    _ => None,
                }
            }
        }
    };
}

kind!(EngineState, Engine, "engine");
kind!(RequestState, Request, "request");
kind!(KernelState, Kernels, "kernels");

#[derive(Default)]
struct Tickets {
    last: usize,
    kept: HashMap<usize, Kept>,
}

fn tickets() -> MutexGuard<'static, Tickets> {
    static TICKETS: OnceLock<Mutex<Tickets>> = OnceLock::new();
    let tickets = TICKETS.get_or_init(Mutex::default);
    tickets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps something and gives its ticket: odd, so that it is no address of anything that C aligns.
pub(super) fn keep<K: Kind, H>(state: Arc<K>) -> *mut H {
    let mut tickets = tickets();
    tickets.last += 1;
    let ticket = 2 * tickets.last + 1;
    tickets.kept.insert(ticket, K::keep(state));
    std::ptr::without_provenance_mut(ticket)
}

/// What a ticket stands for.
pub(super) fn get<K: Kind, H>(handle: *const H) -> Outcome<Arc<K>> {
    let kept = tickets().kept.get(&handle.addr()).cloned();
    kept.and_then(K::of).ok_or_else(|| unknown::<K>(handle.addr()))
}

/// Ends a ticket. What it stood for goes when the last call that uses it has returned.
pub(super) fn end<K: Kind, H>(handle: *const H) -> Outcome<Arc<K>> {
    let state = get::<K, H>(handle)?;
    // Two threads may both have come here: one of them finds nothing to remove.
    match tickets().kept.remove(&handle.addr()) {
        Some(_) => Ok(state),
        None => Err(unknown::<K>(handle.addr())),
    }
}

fn unknown<K: Kind>(ticket: usize) -> Fault {
    let name = K::NAME;
    let text = match ticket {
        0 => format!("the handle of {name} is null"),
        _ => format!("{ticket:#x} is no handle of {name}: destroyed, of another kind, or none"),
    };
    Fault::new(rp_status::RP_HANDLE, text)
}

/// What one thread at a time may use.
pub(super) fn alone<'a, T>(state: &'a Mutex<T>, name: &str) -> Outcome<MutexGuard<'a, T>> {
    match state.try_lock() {
        Ok(guard) => Ok(guard),
        Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => {
            let text = format!("another thread is using this handle of {name}");
            Err(Fault::new(rp_status::RP_IN_USE, text))
        }
    }
}
