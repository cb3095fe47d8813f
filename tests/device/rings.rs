//! Devices whose blocks have less shared memory: the simulator poses as them. What is kept on the
//! way from memory changes no bit, and what would not fit is refused by name.

use super::Rig;
use super::gemm::{Case, Format, INT4, Kind};
use super::model::generator;
use crate::common::fixture;
use crate::reference::{bits, expected};
use half::bf16;
use ridgepoint::backend::cuda::driver::{DryDriver, Properties, shared_bytes_of};
use ridgepoint::backend::cuda::kernels::{KernelSet, Shape};
use ridgepoint::backend::cuda::ops::attention::check_heads;
use ridgepoint::backend::cuda::ops::gemm::{WeightKind, check_product};
use ridgepoint::backend::cuda::params::{RMSNORM_THREADS, RmsNormParams};
use ridgepoint::backend::{Heads, Phase};
use ridgepoint::error::Error;
use std::sync::Arc;

/// Compute capabilities: 227 KiB of shared memory a block, 163 KiB, and twice 99 KiB.
const DEVICES: [(u32, u32); 4] = [(9, 0), (8, 0), (8, 6), (8, 9)];

/// Whether all of `gemm_decode` that ran since the last look had shallow rings; `None` if nothing
/// of it ran.
fn ran_shallow(rig: &Rig) -> Option<bool> {
    let counters = rig.counters().expect("the simulator counts");
    let instructions = counters.iter().flat_map(|c| &c.instructions);
    let kernels = instructions.map(|i| i.kernel.as_str()).filter(|k| k.starts_with("gemm_decode"));
    kernels.map(|kernel| kernel.ends_with("_shallow")).reduce(|all, one| all && one)
}

/// With the portable kernels: Hopper's own have an order of sums in attention of their own.
#[test]
fn a_model_has_the_same_bits_on_every_device() {
    for name in ["llama3_gqa4", "qwen3_tied"] {
        let tokens = expected(name).sequences.pop().unwrap().tokens;
        let score = |compute: (u32, u32), phase, count: usize| {
            let rig = Rig::portable(compute);
            let nll = generator(&rig, &fixture(name), 64).score(&tokens[..count], phase).unwrap();
            if phase == Phase::Decode {
                assert_eq!(
                    ran_shallow(&rig),
                    Some(shared_bytes_of(compute) == 99 << 10),
                    "{name} on {compute:?}"
                );
            }
            bits(&nll)
        };
        for (phase, count) in [(Phase::Prefill, 70), (Phase::Decode, 9)] {
            assert!(count <= tokens.len(), "{name}");
            let all = DEVICES.map(|compute| score(compute, phase, count));
            assert!(all.iter().all(|nll| *nll == all[0]), "{name} {phase:?}");
        }
    }
}

#[test]
fn rings_of_any_depth_give_the_same_bits() {
    let rigs = [(9, 0), (8, 9)].map(Rig::posing);
    let (phase, n, norm, bias) = (Phase::Decode, 144, true, false);
    for format in [Format::Bf16, Format::Int8].into_iter().chain(INT4) {
        for (tile, rows) in [(8, 3), (16, 11), (32, 20)] {
            // Fewer steps than stages, and more, with several blocks along K.
            for (k, kind) in [(128, Kind::SwiGlu), (1536, Kind::Residual)] {
                let case = Case { phase, format, n, k, norm, bias, kind };
                let rows: Vec<usize> = (0..rows).collect();
                let [deep, shallow] = rigs.each_ref().map(|rig| {
                    rig.counters();
                    (case.run_in_tiles(rig, &rows, tile), ran_shallow(rig))
                });
                assert_eq!(deep.0, shallow.0, "{case:?} in tiles of {tile}");
                case.check(&rows, &shallow.0);
                assert_eq!(deep.1, Some(false), "{case:?} in tiles of {tile}");
                let fits = format == INT4[0] && tile == 8 || format == Format::Int8 && tile < 32;
                assert_eq!(shallow.1, Some(!fits), "{case:?} in tiles of {tile}");
            }
        }
    }
}

#[test]
fn shallow_rings_under_any_schedule_change_nothing() {
    let rig = Rig::posing((8, 9));
    for format in [Format::Bf16, INT4[1], INT4[2]] {
        let kind = Kind::Bf16;
        let case =
            Case { phase: Phase::Decode, format, n: 80, k: 1024, norm: true, bias: true, kind };
        let ready = case.ready(&rig, &[0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let first = ready.run(0);
        for seed in rig.seeds(6) {
            assert_eq!(ready.run(seed), first, "{case:?}, schedule {seed}");
        }
    }
}

/// With as little as no device has.
#[test]
fn what_does_not_fit_is_refused_by_name() {
    let properties = Properties {
        name: "a small device".to_owned(),
        compute: (8, 6),
        multiprocessors: 1,
        memory_bytes: 1 << 30,
        shared_bytes: 48 << 10,
    };
    let driver = Arc::new(DryDriver::new(properties, "sm_80"));
    let kernels = ridgepoint::backend::cuda::kernels::Kernels::new(driver).unwrap();
    for phase in [Phase::Decode, Phase::Prefill] {
        let error = check_product(&kernels, phase, WeightKind::Bf16, (64, 64), false);
        let error = error.unwrap_err();
        assert!(matches!(error, Error::NoKernel { .. }), "{error}");
        assert!(error.to_string().contains("than a small device"), "{error}");
    }
    let heads = |dim| Heads { query: 4, kv: 2, dim };
    for dim in [64, 128] {
        check_heads(heads(dim), 99 << 10).unwrap();
        let error = check_heads(heads(dim), 48 << 10).unwrap_err();
        assert!(matches!(error, Error::NoKernel { .. }), "{error}");
        assert!(error.to_string().contains(&format!("head_dim {dim} in 49152 bytes")), "{error}");
    }
}

/// As a driver would.
#[test]
fn the_simulator_refuses_a_block_that_its_device_has_no_room_for() {
    let rig = Rig::posing((8, 9));
    assert_eq!(rig.driver().properties().shared_bytes, 99 << 10);
    let rows = rig.room::<bf16>(64);
    let params = RmsNormParams {
        input: rows.ptr(),
        residual: 0,
        gamma: rows.ptr(),
        out: rows.ptr(),
        rows: 1,
        hidden: 64,
        epsilon: 1e-5,
        reserved: 0,
    };
    let shape = Shape { grid: [1; 3], block: RMSNORM_THREADS, shared_bytes: 100 << 10 };
    let error = rig.kernels.launch("rmsnorm_bf16", shape, &params).unwrap_err();
    assert!(error.to_string().contains("rmsnorm_bf16: 1024"), "{error}");
}

/// What the launch code of attention counts on.
#[test]
fn attention_has_little_static_shared_memory() {
    for rig in DEVICES.map(Rig::posing) {
        for kernel in ["decode_bf16_d128_c32", "decode_bf16_d64_c16", "prefill_bf16_d128_r128"] {
            let facts = rig.kernels.facts(&format!("attention_{kernel}"));
            assert!(facts.shared_bytes <= 1024, "{kernel}: {}", facts.shared_bytes);
        }
        if rig.kernels.set() == KernelSet::Hopper {
            let facts = rig.kernels.facts("attention_prefill_bf16_d128_r128_sm90");
            assert!(facts.shared_bytes <= 1024, "{}", facts.shared_bytes);
        }
    }
}
