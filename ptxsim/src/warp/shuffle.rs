//! `shfl.sync` (PTX ISA, "shfl.sync"). Sources: the value, the lane or distance, the packed clamp
//! and segment mask, and the member mask. The variants `_in_range` also write the predicate.

use super::predicate;
use crate::isa::{ALL, Inst, LANES, Registers};
use crate::report::FaultKind;

/// How the source lane follows from a lane, its operand `b` and the bounds of its segment.
trait Mode {
    /// The source lane, and whether it is in range; it is below 32 where it is.
    fn source(lane: u32, b: u32, first: u32, last: u32, segment: u32) -> (u32, bool);
}

struct Up;
struct Down;
struct Butterfly;
struct Index;

impl Mode for Up {
    /// The bound is the lower end here: the clamp value of c is 0 for whole segments.
    #[inline(always)]
    fn source(lane: u32, b: u32, _: u32, last: u32, _: u32) -> (u32, bool) {
        (lane.wrapping_sub(b), lane as i32 - b as i32 >= last as i32)
    }
}

impl Mode for Down {
    #[inline(always)]
    fn source(lane: u32, b: u32, _: u32, last: u32, _: u32) -> (u32, bool) {
        (lane + b, lane + b <= last)
    }
}

impl Mode for Butterfly {
    #[inline(always)]
    fn source(lane: u32, b: u32, _: u32, last: u32, _: u32) -> (u32, bool) {
        (lane ^ b, lane ^ b <= last)
    }
}

impl Mode for Index {
    #[inline(always)]
    fn source(_: u32, b: u32, first: u32, last: u32, segment: u32) -> (u32, bool) {
        let source = first | b & !segment;
        (source, source <= last)
    }
}

#[inline(always)]
fn shuffle<M: Mode>(registers: &mut Registers, inst: &Inst, mask: u32) -> u32 {
    let row = |index: usize| &registers.r32[inst.s[index] as usize];
    let (value, b, c) = (row(0), row(1), row(2));
    let (mut out, mut in_range, mut sources) = ([0; LANES], 0, [0; LANES]);
    for lane in 0..LANES as u32 {
        let at = lane as usize;
        let (clamp, segment) = (c[at] & 31, c[at] >> 8 & 31);
        let first = lane & segment;
        let last = first | clamp & !segment;
        let (source, ok) = M::source(lane, b[at] & 31, first, last, segment);
        let source = if ok { source & 31 } else { lane };
        in_range |= u32::from(ok) << lane;
        sources[at] = source;
        out[at] = value[source as usize];
    }
    if mask != ALL {
        let absent = |lane: &usize| mask >> sources[*lane] & 1 == 0;
        let lost = super::lanes(mask).filter(absent).fold(0, |lost, lane| lost | 1 << lane);
        if lost != 0 {
            // The value of a lane that does not take part is unpredictable.
            registers.trouble = Some((FaultKind::Divergence, lost));
        }
    }
    crate::tensor::mma::write(&mut registers.r32[inst.d[0] as usize], &out, mask);
    in_range
}

fn both<M: Mode>(registers: &mut Registers, inst: &Inst, mask: u32) {
    let in_range = shuffle::<M>(registers, inst, mask);
    predicate(registers, inst.d[1], in_range, mask);
}

pub(super) fn up(registers: &mut Registers, inst: &Inst, mask: u32) {
    shuffle::<Up>(registers, inst, mask);
}

pub(super) fn up_in_range(registers: &mut Registers, inst: &Inst, mask: u32) {
    both::<Up>(registers, inst, mask);
}

pub(super) fn down(registers: &mut Registers, inst: &Inst, mask: u32) {
    shuffle::<Down>(registers, inst, mask);
}

pub(super) fn down_in_range(registers: &mut Registers, inst: &Inst, mask: u32) {
    both::<Down>(registers, inst, mask);
}

pub(super) fn butterfly(registers: &mut Registers, inst: &Inst, mask: u32) {
    shuffle::<Butterfly>(registers, inst, mask);
}

pub(super) fn butterfly_in_range(registers: &mut Registers, inst: &Inst, mask: u32) {
    both::<Butterfly>(registers, inst, mask);
}

pub(super) fn index(registers: &mut Registers, inst: &Inst, mask: u32) {
    shuffle::<Index>(registers, inst, mask);
}

pub(super) fn index_in_range(registers: &mut Registers, inst: &Inst, mask: u32) {
    both::<Index>(registers, inst, mask);
}
