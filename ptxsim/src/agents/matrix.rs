//! `ldmatrix` and `stmatrix`: rows of 16 bytes between shared memory and fragments.

use crate::isa::Inst;
use crate::machine::order::Strength;
use crate::machine::{Ctx, Flow};
use crate::memory::access::{Data, aligned};
use crate::memory::fields::Where;
use crate::tensor::matrix::{ldmatrix_distribute, stmatrix_collect};

/// The row addresses of the matrices; lanes beyond them give none.
fn addresses(ctx: &Ctx<'_, '_>, inst: &Inst) -> [u64; 32] {
    let s = inst.s[0] as usize;
    match inst.target >> 9 & 1 {
        0 => ctx.registers.r32[s].map(|a| a.wrapping_add(inst.imm as u32) as u64),
        _ => ctx.registers.r64[s].map(|a| a.wrapping_add_signed(inst.imm)),
    }
}

/// The lanes that give addresses, less those whose address is not aligned; counted.
fn prepare(ctx: &mut Ctx<'_, '_>, inst: &Inst) -> ([u64; 32], u32) {
    let count = inst.target & 0xff;
    let lanes = if count == 4 { u32::MAX } else { (1 << (8 * count)) - 1 };
    let mut addresses = addresses(ctx, inst);
    for lane in 8 * count as usize..32 {
        addresses[lane] = addresses[0];
    }
    let lanes = aligned(ctx, &addresses, lanes, 16, Where::Shared);
    let offsets = addresses.map(|a| a as u32 & 0xff_ffff);
    ctx.count_shared(&offsets, lanes, 16);
    (addresses, lanes)
}

/// `ldmatrix`. `target` is the count of matrices, with 256 if they are transposed.
pub fn load(ctx: &mut Ctx<'_, '_>, inst: &Inst, mask: u32) -> Flow {
    let (addresses, lanes) = prepare(ctx, inst);
    let trans = inst.target >> 8 & 1 == 1;
    let mut data: Data = [[0xff; 16]; 32];
    if !ctx.shared_warp(&addresses, lanes, 16, &mut data, false) {
        for lane in (0..32).filter(|l| lanes >> l & 1 == 1) {
            ctx.shared_read(lane as u8, addresses[lane], &mut data[lane], Strength::WEAK);
        }
    }
    for (matrix, rows) in
        data.as_chunks::<8>().0[..(inst.target & 0xff) as usize].iter().enumerate()
    {
        let fragment = ldmatrix_distribute(rows, trans);
        let to = &mut ctx.registers.r32[inst.d[matrix] as usize];
        if mask == u32::MAX {
            *to = fragment;
            continue;
        }
        for lane in (0..32).filter(|l| mask >> l & 1 == 1) {
            to[lane] = fragment[lane];
        }
    }
    Flow::Next
}

/// `stmatrix`.
pub fn store(ctx: &mut Ctx<'_, '_>, inst: &Inst, _: u32) -> Flow {
    let (addresses, lanes) = prepare(ctx, inst);
    let trans = inst.target >> 8 & 1 == 1;
    for matrix in 0..(inst.target & 0xff) as usize {
        let from = ctx.registers.r32[inst.s[1 + matrix] as usize];
        for (r, row) in stmatrix_collect(&from, trans).iter().enumerate() {
            let lane = 8 * matrix + r;
            if lanes >> lane & 1 == 1 {
                ctx.shared_write(lane as u8, addresses[lane], row, Strength::WEAK);
            }
        }
    }
    ctx.world.events += 1;
    Flow::Next
}
