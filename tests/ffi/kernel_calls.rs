//! The kernel layer on the simulator: results against plain arithmetic, and refusals.

use super::calls::{ends, kernels, message, ok, sized};
use half::bf16;
use ridgepoint::ffi::kernels::attention::{
    RP_NO_POSITION, RP_PAGE_TOKENS, rp_attention, rp_attention_make_plan, rp_attention_plan,
    rp_attention_run, rp_attention_shape, rp_attention_sizes, rp_attention_workspace_size,
    rp_sequence,
};
use ridgepoint::ffi::kernels::gemm::{
    RP_OUTPUT_F32, RP_OUTPUT_SWIGLU, RP_WEIGHT_INT4, rp_gemm, rp_gemm_run, rp_gemm_workspace_size,
};
use ridgepoint::ffi::kernels::memory::{
    rp_memory_alloc, rp_memory_free, rp_memory_read, rp_memory_write,
};
use ridgepoint::ffi::kernels::query::{RP_OP_ATTENTION, RP_OP_GEMM, rp_kernels_supports, rp_query};
use ridgepoint::ffi::kernels::repack::{
    RP_DTYPE_F32, RP_LAYOUT_GPTQ_V2, rp_int4_weights, rp_repack_int4, rp_repack_int4_size,
};
use ridgepoint::ffi::kernels::rows::{
    rp_rmsnorm, rp_rmsnorm_run, rp_rope_append, rp_rope_append_run, rp_silu_mul, rp_silu_mul_run,
};
use ridgepoint::ffi::kernels::sample::{
    rp_sample, rp_sample_make_plan, rp_sample_plan, rp_sample_row, rp_sample_run, rp_sample_shape,
    rp_sample_sizes, rp_sample_status, rp_sample_workspace_size,
};
use ridgepoint::ffi::kernels::{
    RP_PHASE_DECODE, RP_PHASE_PREFILL, rp_heads, rp_kernels, rp_kernels_create,
    rp_kernels_describe, rp_kernels_destroy, rp_kernels_options, rp_kernels_set_stream,
    rp_kernels_synchronize,
};
use ridgepoint::ffi::sampling::rp_sampling;
use ridgepoint::ffi::status::rp_status::*;
use std::ffi::CStr;
use std::ptr::{null, null_mut};

pub(super) fn upload<T: bytemuck::NoUninit>(kernels: *mut rp_kernels, data: &[T]) -> u64 {
    let (mut at, bytes) = (0, bytemuck::cast_slice::<T, u8>(data));
    // SAFETY: as the header asks, here and below.
    ok(unsafe { rp_memory_alloc(kernels, bytes.len(), &mut at) });
    ok(unsafe { rp_memory_write(kernels, at, bytes.as_ptr(), bytes.len()) });
    at
}

pub(super) fn download<T: bytemuck::Pod>(
    kernels: *mut rp_kernels,
    at: u64,
    count: usize,
) -> Vec<T> {
    let mut data = vec![T::zeroed(); count];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut data);
    // SAFETY: as the header asks.
    ok(unsafe { rp_memory_read(kernels, at, bytes.as_mut_ptr(), bytes.len()) });
    data
}

pub(super) fn numbers(count: usize, step: usize) -> Vec<u16> {
    (0..count).map(|i| bf16::from_f32((i * step % 17) as f32 / 8.0 - 1.0).to_bits()).collect()
}

pub(super) fn value(bits: u16) -> f64 {
    bf16::from_bits(bits).to_f64()
}

#[test]
fn a_product_of_both_phases_is_right() {
    let kernels = kernels();
    let (rows, n, k) = (3usize, 40usize, 64usize);
    let (x, w) = (numbers(rows * k, 5), numbers(n * k, 3));
    let mut op: rp_gemm = sized();
    (op.rows, op.n, op.k, op.output) = (rows as u32, n as u32, k as u32, RP_OUTPUT_F32);
    (op.x, op.weight) = (upload(kernels, &x), upload(kernels, &w));
    for phase in [RP_PHASE_PREFILL, RP_PHASE_DECODE] {
        op.phase = phase;
        let mut bytes = usize::MAX;
        // SAFETY: as the header asks, here and below.
        ok(unsafe { rp_gemm_workspace_size(kernels, &op, &mut bytes) });
        assert_eq!(bytes, 0, "a matrix that needs no second pass");
        op.out = upload(kernels, &vec![f32::NAN; rows * n]);
        ok(unsafe { rp_gemm_run(kernels, &op) });
        let out: Vec<f32> = download(kernels, op.out, rows * n);
        for (i, out) in out.iter().enumerate() {
            let (row, col) = (i / n, i % n);
            let dot: f64 = (0..k).map(|j| value(x[row * k + j]) * value(w[col * k + j])).sum();
            assert!((f64::from(*out) - dot).abs() < 1e-4, "phase {phase}: {out} for {dot}");
        }
    }
    // A long row: blocks share its columns and leave sums for each other.
    (op.n, op.k, op.phase) = (64, 4096, RP_PHASE_DECODE);
    let mut bytes = 0;
    ok(unsafe { rp_gemm_workspace_size(kernels, &op, &mut bytes) });
    assert!(bytes > 0);
    ends(unsafe { rp_gemm_run(kernels, &op) }, RP_INVALID, &["workspace is null", "needed"]);
    ok(rp_kernels_destroy(kernels));
}

#[test]
fn a_product_that_cannot_be_is_refused() {
    let kernels = kernels();
    let mut good: rp_gemm = sized();
    (good.rows, good.n, good.k) = (1, 16, 64);
    (good.x, good.weight, good.out) = (0x100, 0x200, 0x300);
    let run = |change: &dyn Fn(&mut rp_gemm)| {
        let mut op = good;
        change(&mut op);
        // SAFETY: nothing is launched.
        unsafe { rp_gemm_run(kernels, &op) }
    };
    ends(run(&|op| op.x = 0), RP_INVALID, &["gemm: x is null"]);
    ends(run(&|op| op.out = 0x301), RP_INVALID, &["out at 0x301"]);
    ends(run(&|op| op.phase = 2), RP_INVALID, &["phase is 2"]);
    ends(run(&|op| op.format = 9), RP_INVALID, &["format is 9"]);
    ends(run(&|op| op.output = 9), RP_INVALID, &["output is 9"]);
    ends(run(&|op| op.k = 40), RP_UNSUPPORTED, &["multiples of 16"]);
    let int4 = |op: &mut rp_gemm| (op.format, op.group) = (RP_WEIGHT_INT4, 32);
    ends(run(&int4), RP_UNSUPPORTED, &["groups of 64 or 128"]);
    ends(run(&|op| (op.output, op.n) = (RP_OUTPUT_SWIGLU, 24)), RP_UNSUPPORTED, &["16"]);
    ok(run(&|op| op.rows = 0));
    ok(rp_kernels_destroy(kernels));
}

#[test]
fn plans_are_checked_against_the_pool_and_the_shape() {
    let kernels = kernels();
    let mut shape: rp_attention_shape = sized();
    shape.heads = rp_heads { query: 4, kv: 2, dim: 64 };
    (shape.rows, shape.sequences, shape.sequence_rows) = (4, 2, 2);
    (shape.context, shape.pages, shape.table_stride) = (256, 8, 4);
    shape.phase = RP_PHASE_DECODE;
    let mut sizes: rp_attention_sizes = sized();
    // SAFETY: as the header asks, here and below.
    ok(unsafe { rp_attention_workspace_size(kernels, &shape, &mut sizes) });
    assert!(sizes.plan_bytes > 0 && sizes.workspace_bytes > 0);
    let tables = [0u32, 1, 2, 3, 7, 8, 0, 0];
    let plan = |sequences: &[rp_sequence], room: usize| {
        let (mut buffer, mut plan) = (vec![0u8; room], sized::<rp_attention_plan>());
        let (at, count) = (sequences.as_ptr(), sequences.len());
        let to = buffer.as_mut_ptr();
        let tables = tables.as_ptr();
        unsafe {
            rp_attention_make_plan(kernels, &shape, at, count, tables, 2, to, room, &mut plan)
        }
    };
    let room = sizes.plan_bytes;
    let good = rp_sequence { row: 0, rows: 2, position: 10, table: 0 };
    ok(plan(&[good], room));
    ok(plan(&[good, rp_sequence { row: 2, rows: 1, position: RP_NO_POSITION, table: 9 }], room));
    ends(plan(&[good], 8), RP_TOO_SMALL, &["the buffer 8"]);
    ends(plan(&[], room), RP_INVALID, &["0 sequences"]);
    let bad = |change: &dyn Fn(&mut rp_sequence)| {
        let mut sequence = good;
        change(&mut sequence);
        plan(&[sequence], room)
    };
    // Its second page is number 8 of a pool of 8.
    ends(bad(&|s| (s.table, s.position) = (1, 100)), RP_INVALID, &["page 8", "pool has 8"]);
    ok(bad(&|s| (s.table, s.position) = (1, 20)));
    ends(bad(&|s| s.table = 2), RP_INVALID, &["table 2"]);
    ends(bad(&|s| s.position = 255), RP_INVALID, &["context is 256"]);
    ends(bad(&|s| s.rows = 3), RP_INVALID, &["rows 0 to 0 + 3"]);
    ends(bad(&|s| s.rows = 0), RP_INVALID, &["rows 0"]);
    ends(bad(&|s| s.row = u32::MAX), RP_INVALID, &["which the shape does not"]);
    let mut odd = shape;
    odd.heads.dim = 96;
    let status = unsafe { rp_attention_workspace_size(kernels, &odd, &mut sizes) };
    ends(status, RP_UNSUPPORTED, &["head_dim 96"]);
    odd.heads = rp_heads { query: 3, kv: 2, dim: 64 };
    let status = unsafe { rp_attention_workspace_size(kernels, &odd, &mut sizes) };
    ends(status, RP_UNSUPPORTED, &["3 query heads over 2"]);
    odd.heads = rp_heads { query: 4, kv: 0, dim: 64 };
    let status = unsafe { rp_attention_workspace_size(kernels, &odd, &mut sizes) };
    ends(status, RP_UNSUPPORTED, &["4 query heads over 0"]);
    // What no device has room for, and what 64 bits would not count.
    odd.heads = shape.heads;
    (odd.context, odd.table_stride) = ((1 << 31) + 1, 1 << 26);
    let status = unsafe { rp_attention_workspace_size(kernels, &odd, &mut sizes) };
    ends(status, RP_INVALID, &["context 2147483649", "more than a device holds"]);
    odd.heads = rp_heads { query: 1 << 31, kv: 1 << 27, dim: 128 };
    (odd.context, odd.rows) = (1 << 31, (1 << 24) - 1);
    let status = unsafe { rp_attention_workspace_size(kernels, &odd, &mut sizes) };
    ends(status, RP_INVALID, &["2147483648 heads", "more than a device holds"]);
    ok(rp_kernels_destroy(kernels));
}

#[test]
fn tokens_are_drawn_as_the_definition_says() {
    let kernels = kernels();
    let (rows, vocab) = (2usize, 50usize);
    let mut shape: rp_sample_shape = sized();
    (shape.rows, shape.vocab, shape.context) = (4, vocab as u32, 16);
    let mut sizes: rp_sample_sizes = sized();
    // SAFETY: as the header asks, here and below.
    ok(unsafe { rp_sample_workspace_size(kernels, &shape, &mut sizes) });
    let mut warm: rp_sampling = sized();
    (warm.temperature, warm.top_k, warm.seed) = (0.9, 10, 3);
    let history = [4u32, 8];
    let row = |sampling: *const rp_sampling| rp_sample_row {
        sampling,
        history: history.as_ptr(),
        history_count: 2,
        prompt_count: 1,
    };
    let asked = [row(null()), row(&warm)];
    let (mut buffer, mut plan) = (vec![0u8; sizes.plan_bytes], sized::<rp_sample_plan>());
    let mut make = |asked: &[rp_sample_row], padded: usize| unsafe {
        let (to, room) = (buffer.as_mut_ptr(), buffer.len());
        let (at, count) = (asked.as_ptr(), asked.len());
        rp_sample_make_plan(kernels, &shape, at, count, padded, to, room, &mut plan)
    };
    ends(make(&asked, 5), RP_INVALID, &["padded to 5"]);
    ends(make(&asked, 1), RP_INVALID, &["2 rows padded to 1"]);
    ok(make(&asked, rows));
    assert_eq!((plan.rows, plan.filters), (2, 1));
    let logits: Vec<f32> = (0..rows * vocab).map(|i| (i * 7 % 23) as f32 / 4.0).collect();
    let mut op: rp_sample = sized();
    (op.shape, op.plan) = (&shape, &plan);
    op.plan_at = upload(kernels, &buffer[..plan.bytes]);
    op.logits = upload(kernels, &logits);
    op.stride = vocab as u32;
    (op.tokens, op.status) = (upload(kernels, &[9u32; 2]), upload(kernels, &[9u32; 2]));
    op.workspace = upload(kernels, &vec![0u8; sizes.workspace_bytes]);
    ok(unsafe { rp_sample_run(kernels, &op) });
    let (tokens, status) =
        (download::<u32>(kernels, op.tokens, 2), download(kernels, op.status, 2));
    ok(unsafe { rp_sample_status(status.as_ptr(), 2, vocab as u32) });
    use ridgepoint::request::{SamplingParams, TokenId};
    let params = [
        SamplingParams::default(),
        SamplingParams { temperature: 0.9, top_k: 10, seed: 3, ..SamplingParams::default() },
    ];
    let history = history.map(TokenId);
    for (i, params) in params.iter().enumerate() {
        let row = ridgepoint::sample::SampleRow { params, history: &history, prompt_len: 1 };
        let right = ridgepoint::sample::draw(&logits[i * vocab..][..vocab], &row).unwrap();
        assert_eq!(tokens[i], right.token.0, "row {i}");
    }
    op.workspace = 0;
    ends(unsafe { rp_sample_run(kernels, &op) }, RP_INVALID, &["workspace is null"]);
    ok(rp_kernels_destroy(kernels));
}

/// A matrix of 4 bits in GPTQ's layout of the second version, and its values.
fn gptq(n: usize, k: usize, group: usize) -> (Vec<u8>, Vec<f32>, Vec<u8>, Vec<f64>) {
    let q = |row: usize, col: usize| (row * 5 + col * 3) % 16;
    let (zero, scale) = (|row: usize| row % 11, |row: usize| (row % 7 + 1) as f32 / 64.0);
    let (groups, mut words) = (k / group, vec![0u8; n * k / 2]);
    for (row, col) in (0..n).flat_map(|row| (0..k).map(move |col| (row, col))) {
        let word = 4 * (col / 8 * n + row);
        words[word + col % 8 / 2] |= (q(row, col) << (4 * (col % 2))) as u8;
    }
    let mut zeros = vec![0u8; groups * n / 2];
    (0..groups * n).for_each(|i| zeros[i / 2] |= (zero(i % n) << (4 * (i % 2))) as u8);
    let scales = (0..groups * n).map(|i| scale(i % n)).collect();
    let value = |row, col| f64::from(scale(row)) * (q(row, col) as f64 - zero(row) as f64);
    let values = (0..n * k).map(|i| value(i / k, i % k)).collect();
    (words, scales, zeros, values)
}

#[test]
fn weights_of_others_are_packed_and_multiplied() {
    let kernels = kernels();
    let (rows, n, k) = (2usize, 72usize, 256usize);
    for (group, stored) in [(64, 64u32), (256, 128)] {
        let (words, scales, zeros, values) = gptq(n, k, group);
        let mut weights: rp_int4_weights = sized();
        (weights.n, weights.k, weights.group) = (n as u32, k as u32, group as u32);
        (weights.layout, weights.zero_points) = (RP_LAYOUT_GPTQ_V2, 1);
        (weights.words, weights.zeros) = (words.as_ptr(), zeros.as_ptr());
        (weights.scales, weights.scale_dtype) = (scales.as_ptr().cast(), RP_DTYPE_F32);
        let mut bytes = 0;
        // SAFETY: as the header asks, here and below.
        ok(unsafe { rp_repack_int4_size(&weights, &mut bytes) });
        let mut packed = vec![0u8; bytes];
        let small = unsafe { rp_repack_int4(&weights, packed.as_mut_ptr(), bytes - 1) };
        ends(small, RP_TOO_SMALL, &["room for"]);
        ok(unsafe { rp_repack_int4(&weights, packed.as_mut_ptr(), bytes) });
        let x = numbers(rows * k, 5);
        let mut op: rp_gemm = sized();
        (op.rows, op.n, op.k, op.output) = (rows as u32, n as u32, k as u32, RP_OUTPUT_F32);
        (op.phase, op.format, op.zero_points) = (RP_PHASE_DECODE, RP_WEIGHT_INT4, 1);
        (op.group, op.x, op.weight) = (stored, upload(kernels, &x), upload(kernels, &packed));
        op.out = upload(kernels, &vec![f32::NAN; rows * n]);
        ok(unsafe { rp_gemm_run(kernels, &op) });
        for (i, out) in download::<f32>(kernels, op.out, rows * n).iter().enumerate() {
            let (row, col) = (i / n, i % n);
            let dot: f64 = (0..k).map(|j| value(x[row * k + j]) * values[col * k + j]).sum();
            assert!((f64::from(*out) - dot).abs() < 1e-3 * (1.0 + dot.abs()), "{out} for {dot}");
        }
    }
    ok(rp_kernels_destroy(kernels));
}

#[test]
fn weights_that_cannot_be_packed_are_refused() {
    let (words, scales, zeros, _) = gptq(16, 128, 64);
    let mut index: Vec<u32> = (0..128).map(|column| column / 64).collect();
    let pack = |change: &dyn Fn(&mut rp_int4_weights)| {
        let mut weights: rp_int4_weights = sized();
        (weights.n, weights.k, weights.group) = (16, 128, 64);
        (weights.layout, weights.zero_points) = (RP_LAYOUT_GPTQ_V2, 1);
        (weights.words, weights.zeros) = (words.as_ptr(), zeros.as_ptr());
        (weights.scales, weights.scale_dtype) = (scales.as_ptr().cast(), RP_DTYPE_F32);
        change(&mut weights);
        let mut packed = vec![0u8; 1 << 16];
        // SAFETY: as the header asks.
        unsafe { rp_repack_int4(&weights, packed.as_mut_ptr(), packed.len()) }
    };
    ok(pack(&|_| ()));
    ok(pack(&|w| w.group_index = index.as_ptr().cast()));
    ends(pack(&|w| w.group = 32), RP_UNSUPPORTED, &["groups of 32", "64 or 128"]);
    ends(pack(&|w| w.group = 0), RP_INVALID, &["groups of 0"]);
    ends(pack(&|w| w.k = 100), RP_INVALID, &["rows of 100"]);
    ends(pack(&|w| w.layout = 9), RP_INVALID, &["layout is 9"]);
    ends(pack(&|w| w.scale_dtype = 9), RP_INVALID, &["scale_dtype is 9"]);
    ends(pack(&|w| w.words = null()), RP_INVALID, &["words is null"]);
    ends(pack(&|w| w.zeros = null()), RP_INVALID, &["zeros is null"]);
    ends(pack(&|w| w.zero_points = 0), RP_INVALID, &["zeros: zero point", "8 everywhere"]);
    let middle = index[3];
    index[3] = 1;
    let sorted = index.clone();
    ends(pack(&|w| w.group_index = sorted.as_ptr().cast()), RP_INVALID, &["group_index", "64"]);
    index[100] = middle;
    let sorted = index.clone();
    ends(pack(&|w| w.group_index = sorted.as_ptr().cast()), RP_UNSUPPORTED, &["dequantise"]);
    let mut odd = scales.clone();
    odd[5] = f32::NAN;
    ends(pack(&|w| w.scales = odd.as_ptr().cast()), RP_INVALID, &["scales: nan", "finite"]);
}

#[test]
fn a_question_is_answered_with_the_reason() {
    let kernels = kernels();
    let mut query: rp_query = sized();
    query.heads = rp_heads { query: 32, kv: 8, dim: 128 };
    (query.op, query.page_tokens, query.phase) = (RP_OP_ATTENTION, RP_PAGE_TOKENS, 1);
    let ask = |query: &rp_query| {
        let (mut yes, mut reason) = (9, [0; 200]);
        // SAFETY: as the header asks, here and below.
        let status =
            unsafe { rp_kernels_supports(kernels, query, &mut yes, reason.as_mut_ptr(), 200) };
        ok(status);
        (yes, unsafe { CStr::from_ptr(reason.as_ptr()) }.to_str().unwrap().to_string())
    };
    assert_eq!(ask(&query), (1, String::new()));
    query.page_tokens = 16;
    let (yes, why) = ask(&query);
    assert!(yes == 0 && why.contains("pages of 16"), "{why}");
    (query.page_tokens, query.heads.kv) = (RP_PAGE_TOKENS, 0);
    let (yes, why) = ask(&query);
    assert!(yes == 0 && why.contains("32 query heads over 0"), "{why}");
    (query.op, query.n, query.k) = (RP_OP_GEMM, 4096, 4096);
    assert_eq!(ask(&query).0, 1);
    (query.format, query.group) = (RP_WEIGHT_INT4, 32);
    let (yes, why) = ask(&query);
    assert!(yes == 0 && why.contains("group"), "{why}");
    ok(rp_kernels_destroy(kernels));
}

#[test]
fn rows_and_handles_that_cannot_be_are_refused() {
    let kernels = kernels();
    let mut norm: rp_rmsnorm = sized();
    (norm.input, norm.gamma, norm.out, norm.rows, norm.hidden) = (0x100, 0x200, 0x300, 1, 60);
    // SAFETY: nothing is launched, here and below.
    ends(unsafe { rp_rmsnorm_run(kernels, &norm) }, RP_INVALID, &["hidden is 60"]);
    norm.hidden = 1 << 20;
    ends(unsafe { rp_rmsnorm_run(kernels, &norm) }, RP_INVALID, &["at most"]);
    let mut silu: rp_silu_mul = sized();
    (silu.gate_up, silu.out, silu.intermediate) = (0x108, 0x200, 64);
    ends(unsafe { rp_silu_mul_run(kernels, &silu) }, RP_INVALID, &["gate_up at 0x108"]);
    let stream = unsafe { rp_kernels_set_stream(kernels, std::ptr::dangling_mut::<u8>().cast()) };
    ends(stream, RP_INVALID, &["no streams"]);
    ok(unsafe { rp_kernels_set_stream(kernels, null_mut()) });
    ends(unsafe { rp_memory_free(kernels, 0) }, RP_INVALID, &["0 bytes at 0x0"]);
    let mut options: rp_kernels_options = sized();
    options.device = 7;
    let mut other = null_mut();
    ends(unsafe { rp_kernels_create(&options, &mut other) }, RP_INVALID, &["device is 7"]);
    (options.device, options.sim_compute) = (1, 75);
    ends(unsafe { rp_kernels_create(&options, &mut other) }, RP_INVALID, &["sim_compute is 75"]);
    assert!(other.is_null());
    ok(rp_kernels_destroy(kernels));
    ends(rp_kernels_synchronize(kernels), RP_HANDLE, &["no handle of kernels"]);
}

#[test]
fn what_the_simulator_finds_is_an_error_of_the_device() {
    let kernels = kernels();
    let mut silu: rp_silu_mul = sized();
    let mut at = 0;
    // SAFETY: as the header asks; the simulator survives an address that is not there.
    ok(unsafe { rp_memory_alloc(kernels, 64, &mut at) });
    (silu.gate_up, silu.out, silu.rows, silu.intermediate) = (at, at + (1 << 20), 4, 64);
    let status = unsafe { rp_silu_mul_run(kernels, &silu) };
    let status = if status == RP_OK { rp_kernels_synchronize(kernels) } else { status };
    assert_eq!(status, RP_DEVICE, "{}", message());
    assert!(message().contains("silu_mul"), "{}", message());
    ok(rp_kernels_destroy(kernels));
}

#[test]
fn memory_that_was_given_back_already_is_an_error_of_the_device() {
    let kernels = kernels();
    let mut at = 0;
    // SAFETY: the simulator survives what is given back twice.
    ok(unsafe { rp_memory_alloc(kernels, 64, &mut at) });
    ok(unsafe { rp_memory_free(kernels, at) });
    ok(rp_kernels_synchronize(kernels));
    ok(unsafe { rp_memory_free(kernels, at) });
    ends(rp_kernels_synchronize(kernels), RP_DEVICE, &["free of", "no memory"]);
    ok(rp_kernels_destroy(kernels));
}

#[test]
fn a_status_that_no_kernel_wrote_is_an_error_of_the_device() {
    let status = [0u32, 0x5000_0000];
    // SAFETY: as the header asks.
    let read = unsafe { rp_sample_status(status.as_ptr(), 2, 50) };
    ends(read, RP_DEVICE, &["0x50000000 is no status"]);
}

/// A field that means nothing yet may mean something in a newer header.
#[test]
fn reserved_fields_are_zero() {
    let kernels = kernels();
    let refused = |status, name: &str| {
        ends(status, RP_UNSUPPORTED, &[&format!("{name}.reserved is 1"), "newer header"]);
    };
    // SAFETY: nothing is launched, here and below.
    let gemm = rp_gemm { reserved: 1, ..sized() };
    refused(unsafe { rp_gemm_run(kernels, &gemm) }, "rp_gemm");
    let attention = rp_attention { reserved: 1, ..sized() };
    refused(unsafe { rp_attention_run(kernels, &attention) }, "rp_attention");
    let norm = rp_rmsnorm { reserved: 1, ..sized() };
    refused(unsafe { rp_rmsnorm_run(kernels, &norm) }, "rp_rmsnorm");
    let rope = rp_rope_append { reserved: 1, ..sized() };
    refused(unsafe { rp_rope_append_run(kernels, &rope) }, "rp_rope_append");
    let sample = rp_sample { reserved: 1, ..sized() };
    refused(unsafe { rp_sample_run(kernels, &sample) }, "rp_sample");
    let mut shape = rp_sample_shape { reserved: 1, ..sized() };
    let mut sizes = sized();
    let size = unsafe { rp_sample_workspace_size(kernels, &shape, &mut sizes) };
    refused(size, "rp_sample_shape");
    (shape.reserved, shape.rows, shape.vocab, shape.context) = (0, 1, 50, 16);
    let sampling = rp_sampling { reserved: 1, ..sized() };
    let row =
        rp_sample_row { sampling: &sampling, history: null(), history_count: 0, prompt_count: 0 };
    let (mut buffer, mut plan) = ([0u8; 4096], sized());
    let to = buffer.as_mut_ptr();
    let made = unsafe { rp_sample_make_plan(kernels, &shape, &row, 1, 1, to, 4096, &mut plan) };
    refused(made, "rp_sampling");
    ok(rp_kernels_destroy(kernels));
}

#[test]
fn a_description_is_given_whole_or_not_at_all() {
    let kernels = kernels();
    let mut needed = 7;
    // SAFETY: as the header asks, here and below.
    let nowhere = unsafe { rp_kernels_describe(kernels, null_mut(), 500, &mut needed) };
    ends(nowhere, RP_INVALID, &["the buffer is null"]);
    assert_eq!(needed, 7, "an out-parameter of a call that failed");
    let small = unsafe { rp_kernels_describe(kernels, null_mut(), 0, &mut needed) };
    ends(small, RP_TOO_SMALL, &["are needed"]);
    let mut text = vec![1; needed];
    ok(unsafe { rp_kernels_describe(kernels, text.as_mut_ptr(), needed, null_mut()) });
    let text = unsafe { CStr::from_ptr(text.as_ptr()) }.to_str().unwrap();
    assert!(text.len() + 1 == needed && text.contains("compute capability 9.0"), "{text}");
    ok(rp_kernels_destroy(kernels));
}
