//! What there are kernels for, asked before anything is allocated.

use super::super::memory::{self as c, sized};
use super::super::status::{Fault, Outcome, rp_status};
use super::gemm::{RP_OUTPUT_RESIDUAL, RP_OUTPUT_SWIGLU, kind, phase};
use super::rows::heads;
use super::{Held, rp_heads, rp_kernels, with};
use crate::backend::cuda::ops::attention::check_heads;
use crate::backend::cuda::ops::gemm::check_product;
use std::ffi::c_char;

/// `rp_query.op`: attention, with `heads` and `page_tokens`.
pub const RP_OP_ATTENTION: u32 = 0;
/// `rp_query.op`: the product, with `phase`, `format`, `group`, `zero_points`, `output`, n and k.
pub const RP_OP_GEMM: u32 = 1;

/// A question: are there kernels for this?
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_query {
    /// sizeof(rp_query).
    pub size: usize,
    /// RP_OP_...
    pub op: u32,
    /// RP_PHASE_...
    pub phase: u32,
    /// Of attention.
    pub heads: rp_heads,
    /// Of attention: tokens of a page.
    pub page_tokens: u32,
    /// Of a product: RP_WEIGHT_...
    pub format: u32,
    /// Of a product with RP_WEIGHT_INT4.
    pub group: u32,
    /// Of a product with RP_WEIGHT_INT4.
    pub zero_points: u32,
    /// Of a product: RP_OUTPUT_...
    pub output: u32,
    /// Of a product.
    pub n: u32,
    /// Of a product.
    pub k: u32,
}

sized!(rp_query);

/// Answers RP_OK and 1 or 0; with 0 the reason, and what there is instead, is written to `reason`,
/// which may be null with a capacity of 0; a text that is too long is cut.
///
/// # Safety
/// `query` is a struct as large as it says, `supported` is writable, `reason` has `capacity`
/// writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_kernels_supports(
    kernels: *const rp_kernels,
    query: *const rp_query,
    supported: *mut u32,
    reason: *mut c_char,
    capacity: usize,
) -> rp_status {
    with(kernels, |held| {
        // SAFETY: as the caller promises.
        let query = unsafe { c::read(query) }?;
        c::check_put("supported", supported)?;
        let answer = match answer(held, &query) {
            Err(fault) if fault.status != rp_status::RP_UNSUPPORTED => return Err(fault),
            answer => answer,
        };
        let text = answer.as_ref().err().map(|fault| fault.text.as_str()).unwrap_or_default();
        if capacity > 0 {
            // Index 0 is a boundary of any text.
            let most = text.len().min(capacity - 1);
            let bytes = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            // SAFETY: as the caller promises.
            unsafe { c::give_text(&text[..bytes], reason, capacity, std::ptr::null_mut()) }?;
        }
        // SAFETY: as the caller promises.
        unsafe { c::put("supported", supported, u32::from(answer.is_ok())) }
    })
}

fn answer(held: &Held, query: &rp_query) -> Outcome {
    let no = |text: String| Err(Fault::new(rp_status::RP_UNSUPPORTED, text));
    match query.op {
        RP_OP_ATTENTION => {
            phase(query.phase)?;
            let heads = heads(query.heads);
            if query.page_tokens != super::attention::RP_PAGE_TOKENS {
                return no(format!("pages of {} tokens; supported: 64", query.page_tokens));
            }
            Ok(check_heads(heads, held.driver().properties().shared_bytes)?)
        }
        RP_OP_GEMM => {
            let (phase, kind) =
                (phase(query.phase)?, kind(query.format, query.group, query.zero_points)?);
            let fused = matches!(query.output, RP_OUTPUT_SWIGLU | RP_OUTPUT_RESIDUAL);
            let shape = (query.n as usize, query.k as usize);
            Ok(check_product(&held.kernels, phase, kind, shape, fused)?)
        }
        other => Err(Fault::invalid(format!("op is {other}, expected RP_OP_..."))),
    }
}
