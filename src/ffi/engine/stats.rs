//! An engine's counters, as C sees them.

use super::super::handle;
use super::super::memory::{self as c, sized};
use super::super::status::{guard, rp_status};
use super::{EngineState, rp_engine};
use crate::engine::PhaseStats;

/// The work of one family of kernels since the engine's start.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_phase_stats {
    /// Forward passes.
    pub passes: u64,
    /// Tokens that were computed.
    pub rows: u64,
    /// Seconds in passes and draws.
    pub seconds: f64,
}

/// A snapshot of an engine's counters. Counts grow from its start.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_stats {
    /// sizeof(rp_stats).
    pub size: usize,
    /// Requests that run now.
    pub requests_running: u64,
    /// Requests that wait now.
    pub requests_waiting: u64,
    /// Pages in use now that no eviction could free.
    pub kv_pages_used: u64,
    /// Pages of the cache.
    pub kv_pages: u64,
    /// Prompt tokens of finished requests.
    pub prompt_tokens: u64,
    /// Drawn tokens.
    pub generation_tokens: u64,
    /// Prompt tokens that were looked for in the prefix cache.
    pub prefix_cache_queries: u64,
    /// Of these, found.
    pub prefix_cache_hits: u64,
    /// Tokens whose pages the prefix cache gave up.
    pub prefix_cache_evictions: u64,
    /// Requests that lost their pages.
    pub preemptions: u64,
    /// Tokens computed again after that.
    pub recomputed_tokens: u64,
    /// Requests that ended by an end-of-sequence token.
    pub finished_eos: u64,
    /// Requests that ended by a stop string.
    pub finished_stop: u64,
    /// Requests that ended by their length.
    pub finished_length: u64,
    /// Requests that were cancelled.
    pub finished_cancelled: u64,
    /// Requests that failed.
    pub finished_error: u64,
    /// Steps.
    pub steps: u64,
    /// Seconds in steps.
    pub step_seconds: f64,
    /// By the prefill family.
    pub prefill: rp_phase_stats,
    /// By the decode family.
    pub decode: rp_phase_stats,
    /// Seconds since a step last ended.
    pub since_progress_s: f64,
    /// 1: there are requests, and no step has ended for longer than callers wait.
    pub is_stalled: u32,
    /// Zero.
    pub reserved: u32,
}

sized!(rp_stats);

fn phase(stats: &PhaseStats) -> rp_phase_stats {
    let PhaseStats { passes, rows, time, .. } = *stats;
    rp_phase_stats { passes, rows, seconds: time.as_secs_f64() }
}

/// The engine's counters as of its last step.
///
/// # Safety
/// `stats` is a struct as large as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_engine_stats(
    engine: *const rp_engine,
    stats: *mut rp_stats,
) -> rp_status {
    guard(|| {
        let state = handle::get::<EngineState, _>(engine)?;
        let client = state.thread.client();
        let (now, health) = (client.stats(), client.health());
        let [eos, stop, length, cancelled, error] = now.finished;
        let told = rp_stats {
            size: 0,
            requests_running: now.requests_running as u64,
            requests_waiting: now.requests_waiting as u64,
            kv_pages_used: now.kv_pages_used as u64,
            kv_pages: now.kv_pages as u64,
            prompt_tokens: now.prompt_tokens,
            generation_tokens: now.generation_tokens,
            prefix_cache_queries: now.prefix_cache_queries,
            prefix_cache_hits: now.prefix_cache_hits,
            prefix_cache_evictions: now.prefix_cache_evictions,
            preemptions: now.preemptions,
            recomputed_tokens: now.recomputed_tokens,
            finished_eos: eos,
            finished_stop: stop,
            finished_length: length,
            finished_cancelled: cancelled,
            finished_error: error,
            steps: now.steps,
            step_seconds: now.step_time.as_secs_f64(),
            prefill: phase(&now.prefill),
            decode: phase(&now.decode),
            since_progress_s: health.since_progress.as_secs_f64(),
            is_stalled: u32::from(health.is_stalled),
            reserved: 0,
        };
        // SAFETY: as the caller promises.
        unsafe { c::write(stats, told) }
    })
}
