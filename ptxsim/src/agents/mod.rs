//! What works beside the warps: asynchronous copies of 4 to 16 bytes, bulk and tensor copies,
//! barriers in shared memory, and the products of warpgroups.

mod accumulators;
pub mod bulk;
mod bulk_complete;
pub mod bulk_decode;
mod bulk_issue;
pub mod copy;
pub mod decode;
pub mod matrix;
pub mod mbarrier;
pub mod wgmma;

use crate::machine::Ctx;
use crate::report::FaultKind;

/// A thread may not leave while copies that it has started still write to its block's memory:
/// nobody could know that they have arrived.
pub fn check_exit(ctx: &mut Ctx<'_, '_>, mask: u32) {
    if let Some(lane) = ctx.warp.copies.unfinished(mask) {
        ctx.fault(FaultKind::Unwaited, lane, "cp.async");
    }
    if let Some(lane) = ctx.warp.bulk.unfinished(mask) {
        let text = "a bulk copy may still read this block's shared memory";
        ctx.fault(FaultKind::Unwaited, lane, text);
    }
    if ctx.warp.live == 0 && ctx.warp.wgmma.unfinished() {
        ctx.fault(FaultKind::Unwaited, 255, "wgmma");
    }
}
