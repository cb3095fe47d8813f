//! The matrix product with what comes before and after it.

use super::super::memory::{self as c, sized};
use super::super::status::{Fault, Outcome, rp_status};
use super::{RP_PHASE_DECODE, RP_PHASE_PREFILL, refuse, rp_kernels, with};
use crate::backend::Phase;
use crate::backend::cuda::kernels::Kernels;
use crate::backend::cuda::ops::gemm::{
    self, Gemm, InputNorm, Output, Weight, WeightKind, check_product,
};

/// `rp_gemm.format`: bf16, row-major.
pub const RP_WEIGHT_BF16: u32 = 0;
/// `rp_gemm.format`: 4 bits, packed by `rp_repack_int4`.
pub const RP_WEIGHT_INT4: u32 = 1;
/// `rp_gemm.format`: 8 bits with a scale a row, packed by `rp_repack_int8`; decode only.
pub const RP_WEIGHT_INT8: u32 = 2;

/// `rp_gemm.output`: `out = bf16(acc)`, `[rows, n]`.
pub const RP_OUTPUT_BF16: u32 = 0;
/// `rp_gemm.output`: `out = acc` in f32, `[rows, n]`.
pub const RP_OUTPUT_F32: u32 = 1;
/// `rp_gemm.output`: `out = bf16(silu(gate) * up)`, `[rows, n / 2]`. Of each sixteen rows of W
/// eight are gate and then eight up.
pub const RP_OUTPUT_SWIGLU: u32 = 2;
/// `rp_gemm.output`: `stream = bf16(stream + acc)`, `out = bf16(stream * gamma)`, and the sums of
/// squares of the new stream; n is a multiple of 16.
pub const RP_OUTPUT_RESIDUAL: u32 = 3;

/// `acc = x W^T`, divided by the root mean square of x's row if there are `norm_squares`, plus the
/// bias; then what `output` says. Addresses are multiples of 16.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_gemm {
    /// sizeof(rp_gemm).
    pub size: usize,
    /// RP_PHASE_PREFILL or RP_PHASE_DECODE. A row has the same bits in any batch of one phase.
    pub phase: u32,
    /// RP_WEIGHT_...
    pub format: u32,
    /// Of RP_WEIGHT_INT4: columns that share a scale, 64 or 128.
    pub group: u32,
    /// Of RP_WEIGHT_INT4: not 0, there are zero points.
    pub zero_points: u32,
    /// Rows of the input.
    pub rows: u32,
    /// Rows of W.
    pub n: u32,
    /// Columns of W: a multiple of 16, and of the group.
    pub k: u32,
    /// RP_OUTPUT_...
    pub output: u32,
    /// Device, bf16 `[rows, k]`.
    pub x: u64,
    /// Device, W `[n, k]` in its format.
    pub weight: u64,
    /// Device, bf16 `[n]`; 0 for none.
    pub bias: u64,
    /// Device, f32 `[rows, k / 16]`: sums of squares of the rows before they were multiplied by
    /// the weight of their norm; 0 for no norm.
    pub norm_squares: u64,
    /// Device, written whole.
    pub out: u64,
    /// Of RP_OUTPUT_RESIDUAL: device, bf16 `[rows, n]`, updated in place.
    pub stream: u64,
    /// Of RP_OUTPUT_RESIDUAL: device, bf16 `[n]`, the weight of the norm to come.
    pub gamma: u64,
    /// Of RP_OUTPUT_RESIDUAL: device, f32 `[rows, n / 16]`, written whole.
    pub squares: u64,
    /// Device, `rp_gemm_workspace_size` bytes: all zero before the first use, and left so that the
    /// next launch, of this product or another, can use it. 0 where that is none.
    pub workspace: u64,
    /// Added to the mean of squares before the root.
    pub epsilon: f32,
    /// Zero.
    pub reserved: u32,
}

sized!(rp_gemm with reserved);

pub(super) fn phase(phase: u32) -> Outcome<Phase> {
    match phase {
        RP_PHASE_PREFILL => Ok(Phase::Prefill),
        RP_PHASE_DECODE => Ok(Phase::Decode),
        other => {
            let text = format!("phase is {other}, expected RP_PHASE_PREFILL or _DECODE");
            Err(Fault::invalid(text))
        }
    }
}

pub(super) fn kind(format: u32, group: u32, zero_points: u32) -> Outcome<WeightKind> {
    match format {
        RP_WEIGHT_BF16 => Ok(WeightKind::Bf16),
        RP_WEIGHT_INT4 => Ok(WeightKind::Int4 { group, zero_points: zero_points != 0 }),
        RP_WEIGHT_INT8 => Ok(WeightKind::Int8),
        other => {
            let text = format!("format is {other}, expected RP_WEIGHT_BF16, _INT4 or _INT8");
            Err(Fault::invalid(text))
        }
    }
}

/// The part of a workspace that holds counters, which comes first and is as large for one product
/// as for any other: a product never finds partial sums of another where it expects counters.
const COUNTER_BYTES: u64 = 256 << 10;

/// Bytes of workspace, 0 for a product whose tiles are each the work of one block.
fn workspace(op: &rp_gemm, phase: Phase) -> Outcome<u64> {
    let (n, k, rows) = (op.n as usize, op.k as usize, op.rows as usize);
    if phase == Phase::Prefill || n == 0 || k == 0 {
        return Ok(0);
    }
    let counters = (gemm::arrivals_count(n, k, rows) * size_of::<u32>()) as u64;
    if counters > COUNTER_BYTES {
        let text = format!("gemm: a decode of {rows} rows by W [{n}, {k}]; supported: fewer rows");
        return Err(Fault::new(rp_status::RP_UNSUPPORTED, text));
    }
    match gemm::partials_bytes(n, k, rows) {
        0 => Ok(0),
        partials => Ok(COUNTER_BYTES + partials),
    }
}

/// What the library's own struct says, if there is a kernel for it.
fn checked(kernels: &Kernels, op: &rp_gemm) -> Outcome<Gemm> {
    let refused = refuse("gemm");
    let phase = phase(op.phase)?;
    let kind = kind(op.format, op.group, op.zero_points)?;
    let fused = matches!(op.output, RP_OUTPUT_SWIGLU | RP_OUTPUT_RESIDUAL);
    check_product(kernels, phase, kind, (op.n as usize, op.k as usize), fused)?;
    let weight = match kind {
        WeightKind::Bf16 => Weight::Bf16(op.weight),
        WeightKind::Int8 => Weight::Int8(op.weight),
        WeightKind::Int4 { group, zero_points } => {
            Weight::Int4 { at: op.weight, group, zero_points }
        }
    };
    let output = match op.output {
        RP_OUTPUT_BF16 => Output::Bf16,
        RP_OUTPUT_F32 => Output::F32,
        RP_OUTPUT_SWIGLU => Output::SwiGlu,
        RP_OUTPUT_RESIDUAL => {
            let rp_gemm { stream, gamma, squares, .. } = *op;
            Output::Residual { stream, gamma, squares }
        }
        other => return Err(refused(format!("output is {other}, expected RP_OUTPUT_..."))),
    };
    let bytes = workspace(op, phase)?;
    if bytes > 0 && op.workspace == 0 {
        return Err(refused(format!("workspace is null, {bytes} bytes are needed")));
    }
    let scratch = |at: u64| if bytes > 0 { at } else { 0 };
    let (squares, epsilon) = (op.norm_squares, op.epsilon);
    let op = Gemm {
        phase,
        x: op.x,
        norm: (squares != 0).then_some(InputNorm { squares, epsilon }),
        weight,
        bias: op.bias,
        output,
        out: op.out,
        partials: scratch(op.workspace.wrapping_add(COUNTER_BYTES)),
        arrivals: scratch(op.workspace),
        rows: op.rows as usize,
        n: op.n as usize,
        k: op.k as usize,
    };
    op.check().map_err(refused)?;
    Ok(op)
}

/// Bytes of workspace of a product of at most `op->rows` rows; of the addresses in `op` nothing is
/// read. Products that follow one another in a stream may share a workspace, as large as the
/// largest of them asks for.
///
/// # Safety
/// `op` is a struct as large as it says, and `bytes` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_gemm_workspace_size(
    kernels: *const rp_kernels,
    op: *const rp_gemm,
    bytes: *mut usize,
) -> rp_status {
    with(kernels, |held| {
        // SAFETY: as the caller promises.
        let op = unsafe { c::read(op) }?;
        let phase = phase(op.phase)?;
        let kind = kind(op.format, op.group, op.zero_points)?;
        check_product(&held.kernels, phase, kind, (op.n as usize, op.k as usize), false)?;
        let needed = workspace(&op, phase)?;
        // SAFETY: as the caller promises.
        unsafe { c::put("bytes", bytes, needed as usize) }
    })
}

/// Launches a product.
///
/// # Safety
/// `op` is a struct as large as it says, and its addresses hold what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_gemm_run(kernels: *mut rp_kernels, op: *const rp_gemm) -> rp_status {
    with(kernels, |held| {
        // SAFETY: as the caller promises.
        let op = unsafe { c::read(op) }?;
        let op = checked(&held.kernels, &op)?;
        if op.rows == 0 {
            return Ok(());
        }
        Ok(gemm::gemm(&held.kernels, &op)?)
    })
}
