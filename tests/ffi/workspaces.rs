//! What a workspace may be used for: one after the other, by products of any shape.

use super::calls::{ends, kernels, ok, sized};
use super::kernel_calls::{download, numbers, upload, value};
use ridgepoint::ffi::kernels::gemm::{RP_OUTPUT_F32, rp_gemm, rp_gemm_run, rp_gemm_workspace_size};
use ridgepoint::ffi::kernels::{RP_PHASE_DECODE, rp_kernels, rp_kernels_destroy};
use ridgepoint::ffi::status::rp_status::*;

/// Two blocks share each row of W, and leave partial sums for each other.
const K: usize = 1024;

fn bytes(kernels: *const rp_kernels, op: &rp_gemm) -> usize {
    let mut bytes = 0;
    // SAFETY: as the header asks.
    ok(unsafe { rp_gemm_workspace_size(kernels, op, &mut bytes) });
    bytes
}

/// Those that come later have more tiles, and with them counters, where those before had partial
/// sums.
#[test]
fn products_of_many_shapes_share_a_workspace() {
    let kernels = kernels();
    let shapes = [(64usize, 1usize), (2112, 1), (2112, 33), (2112, 1), (4160, 1), (64, 1)];
    let (x, w) = (numbers(33 * K, 5), numbers(4160 * K, 3));
    let mut op: rp_gemm = sized();
    (op.phase, op.k, op.output) = (RP_PHASE_DECODE, K as u32, RP_OUTPUT_F32);
    (op.x, op.weight) = (upload(kernels, &x), upload(kernels, &w));
    let shaped = move |(n, rows): (usize, usize)| rp_gemm { n: n as u32, rows: rows as u32, ..op };
    let room = shapes.iter().map(|shape| bytes(kernels, &shaped(*shape))).max().unwrap();
    op.workspace = upload(kernels, &vec![0u8; room]);
    let values = |bits: &[u16]| bits.iter().map(|bits| value(*bits) as f32).collect::<Vec<f32>>();
    let (x, w) = (values(&x), values(&w));
    for (n, rows) in shapes {
        let out = upload(kernels, &vec![f32::NAN; rows * n]);
        let op = rp_gemm { out, workspace: op.workspace, ..shaped((n, rows)) };
        // SAFETY: as the header asks.
        ok(unsafe { rp_gemm_run(kernels, &op) });
        for (i, out) in download::<f32>(kernels, out, rows * n).into_iter().enumerate() {
            let (x, w) = (&x[i / n * K..][..K], &w[i % n * K..][..K]);
            // Sums of eighths times eighths: no order of them rounds.
            let dot: f32 = x.iter().zip(w).map(|(x, w)| x * w).sum();
            assert_eq!(out, dot, "row {}, column {} of W [{n}, {K}]", i / n, i % n);
        }
    }
    ok(rp_kernels_destroy(kernels));
}

#[test]
fn a_decode_of_more_rows_than_there_are_counters_for_is_refused() {
    let kernels = kernels();
    let mut op: rp_gemm = sized();
    (op.phase, op.n, op.k, op.rows) = (RP_PHASE_DECODE, 4096, 4096, 8192);
    (op.x, op.weight, op.out, op.workspace) = (0x100, 0x200, 0x300, 0x400);
    assert!(bytes(kernels, &op) > 8192 * 4096 * 4);
    op.rows += 1;
    let mut bytes = 7;
    // SAFETY: as the header asks; nothing is launched.
    let size = unsafe { rp_gemm_workspace_size(kernels, &op, &mut bytes) };
    ends(size, RP_UNSUPPORTED, &["8193 rows", "fewer rows"]);
    assert_eq!(bytes, 7);
    // SAFETY: as above.
    ends(unsafe { rp_gemm_run(kernels, &op) }, RP_UNSUPPORTED, &["8193 rows"]);
    ok(rp_kernels_destroy(kernels));
}
