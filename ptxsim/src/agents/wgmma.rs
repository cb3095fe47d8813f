//! `wgmma` at run time: products of a warpgroup that go on beside its warps. (Skeleton.)

use crate::isa::Inst;
use crate::machine::{Ctx, Flow};

/// Starts a product: operands as [`crate::tensor::decode_wgmma`] leaves them.
pub fn mma_async(_: &mut Ctx<'_, '_>, _: &Inst, _: u32) -> Flow {
    Flow::Next
}

/// `wgmma.fence`: orders the registers of products to come after what wrote them.
pub fn fence(_: &mut Ctx<'_, '_>, _: &Inst, _: u32) -> Flow {
    Flow::Next
}

/// `wgmma.commit_group`: the products since the last one are a group.
pub fn commit_group(_: &mut Ctx<'_, '_>, _: &Inst, _: u32) -> Flow {
    Flow::Next
}

/// `wgmma.wait_group`: waits until no more than `imm` groups are under way.
pub fn wait_group(_: &mut Ctx<'_, '_>, _: &Inst, _: u32) -> Flow {
    Flow::Next
}

/// Products of a warp that have not been waited for.
#[derive(Default)]
pub struct WgmmaState {}

impl WgmmaState {
    /// Products are under way.
    pub fn in_flight(&self) -> bool {
        false
    }
}

/// Reports the use of registers that a product still reads or writes.
pub fn watch(_: &mut Ctx<'_, '_>, _: &Inst, _: u32) {}
