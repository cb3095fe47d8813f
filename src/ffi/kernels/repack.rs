//! Weights of others in the order that the kernels read: on the host, into the caller's memory.

use super::super::memory::{self as c, sized};
use super::super::status::{Fault, Outcome, guard, rp_status};
use crate::backend::cuda::adapt::{kernel_group, narrowed};
use crate::backend::cuda::{repack, repack_int8};
use crate::load::{Layout, PackedParts, order_of};
use crate::tensor::int4::{Int4Shape, Int4Tensor};
use half::{bf16, f16};

/// `rp_int4_weights.layout`: GPTQ whose zero points are stored minus 1 (`checkpoint_format` gptq).
pub const RP_LAYOUT_GPTQ: u32 = 0;
/// `rp_int4_weights.layout`: GPTQ whose zero points are stored as they are (gptq_v2).
pub const RP_LAYOUT_GPTQ_V2: u32 = 1;
/// `rp_int4_weights.layout`: AWQ, version GEMM.
pub const RP_LAYOUT_AWQ: u32 = 2;
/// `rp_int4_weights.layout`: compressed-tensors, pack-quantized.
pub const RP_LAYOUT_PACK_QUANTIZED: u32 = 3;

/// A dtype of 32-bit floats.
pub const RP_DTYPE_F32: u32 = 0;
/// A dtype of binary16.
pub const RP_DTYPE_F16: u32 = 1;
/// A dtype of bfloat16.
pub const RP_DTYPE_BF16: u32 = 2;

/// A matrix W `[n, k]` of 4 bits as a checkpoint stores it, on the host. Layouts are those of the
/// formats' own tensors.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_int4_weights {
    /// sizeof(rp_int4_weights).
    pub size: usize,
    /// RP_LAYOUT_...
    pub layout: u32,
    /// Rows.
    pub n: u32,
    /// Columns, a multiple of the group.
    pub k: u32,
    /// Columns that share a scale: 64, 128, or a multiple, up to the whole row.
    pub group: u32,
    /// Not 0: each group has a zero point of its own.
    pub zero_points: u32,
    /// RP_DTYPE_... of the scales. The kernels keep them in bf16.
    pub scale_dtype: u32,
    /// qweight, or weight_packed: 32-bit words, n * k / 2 bytes.
    pub words: *const u8,
    /// scales, or weight_scale: n * k / group numbers.
    pub scales: *const u8,
    /// qzeros, or weight_zero_point: 32-bit words. May be null without zero points.
    pub zeros: *const u8,
    /// g_idx: k 32-bit words, or null. Columns that are not in groups of neighbours have no
    /// kernels: the caller dequantises such a matrix.
    pub group_index: *const u8,
}

/// A matrix W `[n, k]` of 8 bits with a scale a row, on the host.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct rp_int8_weights {
    /// sizeof(rp_int8_weights).
    pub size: usize,
    /// Rows.
    pub n: u32,
    /// Columns, a multiple of 16.
    pub k: u32,
    /// int8 `[n, k]`.
    pub values: *const i8,
    /// f32 `[n]`.
    pub scales: *const f32,
}

sized!(rp_int4_weights, rp_int8_weights);

/// The shape of the packed matrix, in which the scale of a wide group stands several times.
fn packed_shape(given: &rp_int4_weights) -> Outcome<Int4Shape> {
    let [n, k, group] = [given.n, given.k, given.group].map(|size| size as usize);
    let refuse = |status, text: String| Err(Fault::new(status, format!("rp_int4_weights: {text}")));
    if n == 0 || k == 0 || n >= 1 << 24 || k >= 1 << 24 {
        return refuse(rp_status::RP_INVALID, format!("a matrix [{n}, {k}]"));
    }
    if group == 0 || !k.is_multiple_of(group) {
        return refuse(rp_status::RP_INVALID, format!("groups of {group} in rows of {k}"));
    }
    let Some(group) = kernel_group(group) else {
        let text = format!("groups of {group}; supported: whole groups of 64 or 128");
        return refuse(rp_status::RP_UNSUPPORTED, text);
    };
    Ok(Int4Shape { n, k, group, zero_points: given.zero_points != 0 })
}

/// Bytes of the packed matrix.
///
/// # Safety
/// `weights` is a struct as large as it says; of its pointers nothing is read. `bytes` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_repack_int4_size(
    weights: *const rp_int4_weights,
    bytes: *mut usize,
) -> rp_status {
    guard(|| {
        // SAFETY: as the caller promises.
        let given = unsafe { c::read(weights) }?;
        let shape = packed_shape(&given)?;
        // SAFETY: as the caller promises.
        unsafe { c::put("bytes", bytes, repack::packed_bytes(&shape)) }
    })
}

/// Packs a matrix for RP_WEIGHT_INT4 into `out`, which has `capacity` bytes. Uses all cores.
///
/// # Safety
/// `weights` is a struct as large as it says, its pointers hold what they say, and `out` is
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_repack_int4(
    weights: *const rp_int4_weights,
    out: *mut u8,
    capacity: usize,
) -> rp_status {
    guard(|| {
        // SAFETY: as the caller promises.
        let given = unsafe { c::read(weights) }?;
        let shape = packed_shape(&given)?;
        // SAFETY: as the caller promises.
        let out = unsafe { room(out, capacity, repack::packed_bytes(&shape)) }?;
        let (n, k, group) = (shape.n, shape.k, given.group as usize);
        let layout = match given.layout {
            RP_LAYOUT_GPTQ => Layout::Gptq { zero_offset: 1 },
            RP_LAYOUT_GPTQ_V2 => Layout::Gptq { zero_offset: 0 },
            RP_LAYOUT_AWQ => Layout::Awq,
            RP_LAYOUT_PACK_QUANTIZED => Layout::PackQuantized,
            other => return Err(Fault::invalid(format!("layout is {other}, expected RP_LAYOUT_"))),
        };
        let groups = k / group;
        // SAFETY: as the caller promises.
        let words = unsafe { c::slice("words", given.words, n * k / 2) }?;
        // SAFETY: as the caller promises.
        let scales = unsafe { scales(&given, n * groups) }?;
        let zero_bytes = 4 * n.div_ceil(8) * groups;
        let zeros = match given.zeros.is_null() {
            true if given.zero_points != 0 => return Err(Fault::invalid("zeros is null")),
            true => None,
            // SAFETY: as the caller promises.
            false => Some(unsafe { c::slice("zeros", given.zeros, zero_bytes) }?),
        };
        if !given.group_index.is_null() {
            // SAFETY: as the caller promises.
            let index = unsafe { c::slice("group_index", given.group_index, 4 * k) }?;
            let order = order_of(index, group);
            let order = order.map_err(|(found, expected)| {
                Fault::invalid(format!("group_index: {found}, expected {expected}"))
            })?;
            if order.is_some() {
                let text = "group_index sorts columns, for which there are no kernels: dequantise";
                return Err(Fault::new(rp_status::RP_UNSUPPORTED, text));
            }
        }
        let stored = Int4Shape { group, ..shape };
        let parts =
            PackedParts { layout, shape: stored, words, scales: &scales, zeros, order: None };
        let matrix = parts.unpack().map_err(|unfit| {
            let text = format!("{:?}: {}, expected {}", unfit.part, unfit.found, unfit.expected);
            Fault::invalid(text.to_lowercase())
        })?;
        let tensor = Int4Tensor { name: "weights".to_string(), shape: stored, matrix };
        let tensor = narrowed(tensor)?;
        out.copy_from_slice(&repack::pack(&tensor.shape, &tensor.matrix));
        Ok(())
    })
}

unsafe fn room<'a>(out: *mut u8, capacity: usize, bytes: usize) -> Outcome<&'a mut [u8]> {
    if capacity < bytes {
        let text = format!("the packed matrix has {bytes} bytes, there is room for {capacity}");
        return Err(Fault::new(rp_status::RP_TOO_SMALL, text));
    }
    // SAFETY: as the caller promises.
    unsafe { c::slice_mut("out", out, bytes) }
}

unsafe fn scales(given: &rp_int4_weights, count: usize) -> Outcome<Vec<f32>> {
    let bytes = match given.scale_dtype {
        RP_DTYPE_F32 => 4,
        RP_DTYPE_F16 | RP_DTYPE_BF16 => 2,
        other => return Err(Fault::invalid(format!("scale_dtype is {other}, expected RP_DTYPE_"))),
    };
    // SAFETY: as the caller promises.
    let stored = unsafe { c::slice("scales", given.scales, count * bytes) }?;
    Ok(match given.scale_dtype {
        RP_DTYPE_F32 => {
            stored.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        RP_DTYPE_F16 => {
            stored.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect()
        }
        _ => {
            stored.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect()
        }
    })
}

/// Bytes of a packed matrix of 8 bits.
///
/// # Safety
/// As `rp_repack_int4_size`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_repack_int8_size(
    weights: *const rp_int8_weights,
    bytes: *mut usize,
) -> rp_status {
    guard(|| {
        // SAFETY: as the caller promises.
        let given = unsafe { c::read(weights) }?;
        let (n, k) = int8_shape(&given)?;
        // SAFETY: as the caller promises.
        unsafe { c::put("bytes", bytes, repack_int8::packed_bytes(n, k)) }
    })
}

/// Packs a matrix for RP_WEIGHT_INT8 into `out`, which has `capacity` bytes. Uses all cores.
///
/// # Safety
/// As `rp_repack_int4`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rp_repack_int8(
    weights: *const rp_int8_weights,
    out: *mut u8,
    capacity: usize,
) -> rp_status {
    guard(|| {
        // SAFETY: as the caller promises.
        let given = unsafe { c::read(weights) }?;
        let (n, k) = int8_shape(&given)?;
        // SAFETY: as the caller promises.
        let out = unsafe { room(out, capacity, repack_int8::packed_bytes(n, k)) }?;
        // SAFETY: as the caller promises.
        let values = unsafe { c::slice("values", given.values, n * k) }?;
        // SAFETY: as the caller promises.
        let scales = unsafe { c::slice("scales", given.scales, n) }?;
        if let Some(row) = scales.iter().position(|scale| !scale.is_finite()) {
            return Err(Fault::invalid(format!("scales: {} in row {row}", scales[row])));
        }
        out.copy_from_slice(&repack_int8::pack_rows((n, k), |row| {
            (&values[row * k..][..k], scales[row])
        }));
        Ok(())
    })
}

fn int8_shape(given: &rp_int8_weights) -> Outcome<(usize, usize)> {
    let (n, k) = (given.n as usize, given.k as usize);
    match n > 0 && n < 1 << 24 && k > 0 && k < 1 << 24 && k.is_multiple_of(16) {
        true => Ok((n, k)),
        false => Err(Fault::invalid(format!("rp_int8_weights: a matrix [{n}, {k}]"))),
    }
}
