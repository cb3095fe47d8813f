//! Branches, calls, exits, clocks. (Stubs: nothing runs yet.)

use super::{Ctx, Flow};
use crate::isa::Inst;

/// `bra`.
pub fn bra(_: &mut Ctx<'_>, _: &Inst, _: u32) -> Flow {
    Flow::Next
}

/// `brx.idx`.
pub fn brx(_: &mut Ctx<'_>, _: &Inst, _: u32) -> Flow {
    Flow::Next
}

/// `call`.
pub fn call(_: &mut Ctx<'_>, _: &Inst, _: u32) -> Flow {
    Flow::Next
}

/// `ret`.
pub fn ret(_: &mut Ctx<'_>, _: &Inst, _: u32) -> Flow {
    Flow::Next
}

/// `exit`.
pub fn exit(_: &mut Ctx<'_>, _: &Inst, _: u32) -> Flow {
    Flow::Next
}

/// `trap`.
pub fn trap(_: &mut Ctx<'_>, _: &Inst, _: u32) -> Flow {
    Flow::Next
}

/// `mov` from a clock.
pub fn clock(_: &mut Ctx<'_>, _: &Inst, _: u32) -> Flow {
    Flow::Next
}
