//! What is known of a warp's registers while products use them.
//!
//! Between a product and its `wgmma.wait_group`, its registers of D, and of A if it has any, may
//! be touched by nothing but a further product of the same shape (PTX ISA, "wgmma.mma_async").
//! In PTX a register is only a name: the compiler copies accumulators from name to name, which
//! becomes nothing on the hardware. So a plain `mov` carries the mark of its source along, and a
//! name that keeps an old value nobody needs may be reused.

use crate::decode::Program;
use crate::isa::{Class, Inst};
use crate::machine::Ctx;
use crate::report::FaultKind;
use crate::tensor::wgmma::Form;

/// Position of a register of A, which is only read.
const OF_A: u16 = u16::MAX;

/// The product that last used a register.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Mark {
    /// 0 for none.
    product: u32,
    /// Position in D.
    index: u16,
    /// N, and the number of registers of D.
    shape: (u16, u16),
}

/// By 32-bit register row of the activation that issues products.
#[derive(Default)]
pub struct Marks {
    rows: Vec<Mark>,
    /// Instruction after the last `wgmma.fence` that wrote the row, plus one.
    written: Vec<u32>,
    frame: u16,
    fenced: bool,
    waited: u32,
}

impl Marks {
    /// A product or a fence was seen, so that all instructions matter.
    pub fn watching(&self) -> bool {
        !self.rows.is_empty()
    }

    /// `wgmma.fence`: whatever has been written to registers so far comes before later products.
    pub fn fence(&mut self, frame: u16, rows: usize) {
        self.enter(frame, rows);
        self.fenced = true;
        self.written.fill(0);
    }

    /// Products up to a number have been waited for.
    pub fn settle(&mut self, product: u32) {
        self.waited = product;
    }

    fn enter(&mut self, frame: u16, rows: usize) {
        if self.rows.len() != rows || self.frame != frame {
            self.rows = vec![Mark::default(); rows];
            self.written = vec![0; rows];
            self.frame = frame;
        }
    }

    #[inline(always)]
    fn live(&self, row: u16) -> bool {
        self.rows[row as usize].product > self.waited
    }

    /// Whether nobody else holds what is in a row: neither a copy nor what a later product made
    /// of it.
    fn only_holder(&self, row: u16) -> bool {
        let mark = self.rows[row as usize];
        let other = |(index, m): (usize, &Mark)| {
            index != row as usize && m.index == mark.index && m.product >= mark.product
        };
        mark.index == OF_A || !self.rows.iter().enumerate().any(other)
    }

    fn write(&mut self, row: u16, pc: u32) {
        self.rows[row as usize] = Mark::default();
        self.written[row as usize] = pc + 1;
    }
}

fn is_move(program: &Program, pc: u32) -> bool {
    let opcode = program.opcode.get(pc as usize).and_then(|o| program.opcodes.get(*o as usize));
    opcode.is_some_and(|opcode| opcode.starts_with("mov."))
}

/// Looks at an instruction before it runs.
pub fn watch(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) {
    if mask == 0 || inst.class == Class::Wgmma {
        return;
    }
    let marks = &mut ctx.warp.wgmma.marks;
    if ctx.warp.frame[mask.trailing_zeros() as usize] != marks.frame {
        return;
    }
    let (sources, written) = &ctx.program.uses[ctx.pc as usize];
    if let (Class::Move, [from], [to]) = (inst.class, &**sources, &**written)
        && is_move(ctx.program, ctx.pc)
    {
        let (from, to) = (*from as usize, *to);
        let lost = marks.live(to)
            && marks.rows[from].index != marks.rows[to as usize].index
            && marks.only_holder(to);
        marks.rows[to as usize] = marks.rows[from];
        marks.written[to as usize] = marks.written[from];
        if lost {
            fault(ctx, "overwrites", None);
        }
        return;
    }
    let read = sources.iter().copied().find(|row| marks.live(*row));
    let lost = written.iter().copied().find(|row| marks.live(*row) && marks.only_holder(*row));
    let (read, lost) =
        (read.map(|row| marks.rows[row as usize]), lost.map(|row| marks.rows[row as usize]));
    for row in written {
        marks.write(*row, ctx.pc);
    }
    if let Some(mark) = read {
        fault(ctx, "reads", Some(mark));
    } else if let Some(mark) = lost {
        fault(ctx, "writes", Some(mark));
    }
}

#[cold]
fn fault(ctx: &mut Ctx<'_, '_>, verb: &str, mark: Option<Mark>) {
    let what = match mark {
        Some(mark) if mark.index == OF_A => "A".to_string(),
        Some(mark) => format!("register {} of D", mark.index),
        None => "a register of D".to_string(),
    };
    let text = format!("{verb} {what} of a product that goes on");
    ctx.fault(FaultKind::AccumulatorInFlight, 254, text);
}

/// A product is about to use the rows `d` and `a`: checks that it may, and marks them.
pub fn product(ctx: &mut Ctx<'_, '_>, number: u32, form: &Form, d: &[u16], a: &[u16]) {
    let frame = ctx.warp.frame[0];
    let marks = &mut ctx.warp.wgmma.marks;
    marks.enter(frame, ctx.registers.r32.len());
    let shape = (form.n as u16, d.len() as u16);
    let chained = |index: usize, row: u16| {
        let mark = marks.rows[row as usize];
        !marks.live(row) || (mark.index == index as u16 && mark.shape == shape)
    };
    let clash = d.iter().enumerate().find(|(index, row)| !chained(*index, **row)).map(|(_, r)| *r);
    let clash = clash
        .or(a.iter().copied().find(|r| marks.live(*r) && marks.rows[*r as usize].index != OF_A));
    let clash = clash.map(|row| marks.rows[row as usize]);
    let late = d.iter().chain(a).map(|row| marks.written[*row as usize]).find(|pc| *pc != 0);
    let first = !marks.fenced;
    for (index, row) in d.iter().enumerate() {
        marks.rows[*row as usize] = Mark { product: number, index: index as u16, shape };
    }
    for row in a {
        marks.rows[*row as usize] = Mark { product: number, index: OF_A, shape };
    }
    if let Some(mark) = clash {
        fault(ctx, "a product of another shape, or with other registers, uses", Some(mark));
    }
    if first {
        ctx.fault(FaultKind::WgmmaFence, 255, "no wgmma.fence before the warp's first product");
        ctx.warp.wgmma.marks.fenced = true;
    } else if let Some(pc) = late {
        let text = format!("a register of it was written since, at {}", ctx.site_of(pc - 1));
        ctx.fault(FaultKind::WgmmaFence, 255, text);
        ctx.warp.wgmma.marks.written.fill(0);
    }
}
