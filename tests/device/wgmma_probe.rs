//! The probe of `wgmma_probe.txt`: whether a device gives the same bits by wgmma and by mma.sync,
//! how its results are read, and what follows from them.

use super::gemm::{Case, Format, INT4, Kind};
use super::gemm_hopper::hoppers;
use super::{Rig, portable_twin};
use ridgepoint::backend::Phase;
use ridgepoint::backend::cuda::kernels::{KernelSet, Kernels};
use ridgepoint::backend::cuda::ops::gemm::{WeightKind, decode_tile};
use ridgepoint::backend::cuda::wgmma::{self, DecodeWgmma, ProbeResult, parse};
use std::process::Command;

/// Tokens of a tile of the kernel by wgmma, and of the widest by mma.sync.
const TILES: [u32; 2] = [64, 32];

const EQUAL: &str = "9.0 580.65.06 2026-11-30 equal NVIDIA H200";
const DIFFERENT: &str = "9.0 575.1 2027-01-02 different NVIDIA H100 80GB HBM3";

#[test]
fn results_are_read_and_written_alike() {
    let text = format!("# why\n\n{EQUAL}\n{DIFFERENT}\n");
    let found = parse(&text).unwrap();
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(lines, [EQUAL, DIFFERENT]);
    assert_eq!(found[1].device, "NVIDIA H100 80GB HBM3");
    assert_eq!((found[0].compute, found[0].equal, found[1].equal), ((9, 0), true, false));
    assert_eq!(parse("").unwrap(), []);
    assert_eq!(parse("# nothing yet\n").unwrap(), []);
    wgmma::committed().unwrap();
}

#[test]
fn anything_else_is_refused() {
    for bad in [
        "equal",
        "9.0 580.65.06 2026-11-30 equal",
        "9.0 580.65.06 2026-11-30 equal ",
        "9.0 580.65.06 2026-11-30 equal  NVIDIA H200",
        "9.0 580.65.06 2026-11-30 Equal NVIDIA H200",
        "9.0 580.65.06 2026-11-30 yes NVIDIA H200",
        "9.0 580.65.06 30.11.2026 equal NVIDIA H200",
        "9.0 unknown 2026-11-30 equal NVIDIA H200",
        "9 580.65.06 2026-11-30 equal NVIDIA H200",
        "09.0 580.65.06 2026-11-30 equal NVIDIA H200",
        "+9.0 580.65.06 2026-11-30 equal NVIDIA H200",
        " 9.0 580.65.06 2026-11-30 equal NVIDIA H200",
        " # 9.0 580.65.06 2026-11-30 equal NVIDIA H200",
    ] {
        let error = parse(&format!("{EQUAL}\n{bad}\n")).unwrap_err().to_string();
        assert!(error.contains(bad), "{error}");
    }
}

#[test]
fn one_different_result_outweighs_all_equal_ones() {
    let of = |text: &str, set, compute| DecodeWgmma::of(&parse(text).unwrap(), set, compute);
    let hopper = |text: &str| of(text, KernelSet::Hopper, (9, 0));
    assert!(hopper(EQUAL).is_taken() && hopper(EQUAL).to_string().contains(EQUAL));
    for text in [format!("{EQUAL}\n{DIFFERENT}"), format!("{DIFFERENT}\n{EQUAL}")] {
        assert!(!hopper(&text).is_taken());
        assert!(hopper(&text).to_string().contains(DIFFERENT));
    }
    assert_eq!(hopper(""), DecodeWgmma::Unknown((9, 0)));
    assert_eq!(of(EQUAL, KernelSet::Hopper, (10, 0)), DecodeWgmma::Unknown((10, 0)));
    assert_eq!(of(EQUAL, KernelSet::Portable, (9, 0)), DecodeWgmma::Portable);
    assert!(DecodeWgmma::Assumed.is_taken() && !hopper("").is_taken());
}

/// Without a probe's word nothing changes; with it, int4 and bf16 weights and more than 32 rows.
#[test]
fn the_probe_decides_what_is_taken() {
    for rig in hoppers() {
        let int4 = WeightKind::Int4 { group: 64, zero_points: true };
        let taken = rig.kernels.decode_wgmma().is_taken();
        assert_eq!(decode_tile(&rig.kernels, int4, 33), if taken { TILES[0] } else { TILES[1] });
        let kernels = Kernels::of_set(rig.driver().clone(), rig.kernels.set()).unwrap();
        assert_eq!(kernels.decode_wgmma().is_taken(), taken);
        let kernels = kernels.assume_equal_bits().again().unwrap();
        assert_eq!(*kernels.decode_wgmma(), DecodeWgmma::Assumed);
        for (kind, rows, tile) in [
            (int4, 1, 8),
            (int4, 32, 32),
            (int4, 33, 64),
            (int4, 500, 64),
            (WeightKind::Bf16, 32, 32),
            (WeightKind::Bf16, 33, 64),
            (WeightKind::Int8, 500, 32),
        ] {
            assert_eq!(decode_tile(&kernels, kind, rows), tile, "{kind}, {rows} rows");
        }
        let is_wgmma = |symbol: &str| symbol == "gemm_decode_bf16_int4g64_m64_sm90";
        for (kernels, wanted) in [(&kernels, true), (&rig.kernels, taken)] {
            let found = kernels.taken().iter().any(|(symbol, _)| is_wgmma(symbol));
            assert_eq!(found, wanted, "{}", kernels.decode_wgmma());
        }
    }
}

/// Products of both families that wgmma and mma.sync give other bits for.
fn differing(rig: &Rig, portable: &Rig) -> Vec<String> {
    let large = [(1024, 4096), (256, 14_336)];
    let shapes = [(144, 1152)].into_iter().chain(large);
    let shapes: Vec<_> = shapes.take(if rig.sim.is_some() { 1 } else { 3 }).collect();
    let rows: Vec<usize> = (0..40).collect();
    let mut found = Vec::new();
    for (n, k) in shapes {
        let formats = || [Format::Bf16].into_iter().chain(INT4);
        for (format, kind) in formats().flat_map(|f| [(f, Kind::F32), (f, Kind::Residual)]) {
            let phase = Phase::Decode;
            let case = Case { phase, format, n, k, norm: true, bias: true, kind };
            let [by_wgmma, wanted] = TILES.map(|tile| case.run_in_tiles(rig, &rows, tile));
            if by_wgmma != wanted {
                found.push(format!("{case:?}"));
            }
        }
        for format in formats() {
            let (phase, kind) = (Phase::Prefill, Kind::F32);
            let case = Case { phase, format, n, k, norm: true, bias: true, kind };
            if case.run(rig, &rows) != case.run(portable, &rows) {
                found.push(format!("{case:?}"));
            }
        }
    }
    found
}

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().lines().next().unwrap().trim().to_owned()
}

/// The probe. Both sets of kernels add in the same order, so the bits are equal if the tensor cores
/// round alike in wgmma and mma.sync. In the simulator they do; a GPU's answer goes, as the line of
/// `wgmma_probe.txt` that it is, to the file that RIDGEPOINT_PROBE_OUT names.
#[test]
fn wgmma_is_compared_with_mma() {
    let Some(portable) = portable_twin() else { return };
    let known = wgmma::committed().unwrap();
    for rig in hoppers() {
        let differing = differing(&rig, &portable);
        let equal = differing.is_empty();
        let properties = rig.driver().properties();
        let file = std::env::var_os("RIDGEPOINT_PROBE_OUT");
        if let Some(file) = file.filter(|_| rig.sim.is_none()) {
            let query = ["--query-gpu=driver_version", "--format=csv,noheader"];
            let result = ProbeResult {
                compute: properties.compute,
                driver: first_line("nvidia-smi", &query),
                date: first_line("date", &["-u", "+%F"]),
                equal,
                device: properties.name.clone(),
            };
            assert_eq!(parse(&result.to_string()).unwrap(), std::slice::from_ref(&result));
            std::fs::write(file, format!("{result}\n")).unwrap();
            assert!(equal, "written down; these differ: {differing:#?}");
        }
        let said = known.iter().any(|result| result.equal && result.compute == properties.compute);
        assert!(equal || rig.sim.is_none() && !said, "{differing:#?}");
    }
}
