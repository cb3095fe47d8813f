//! Which kernels of products there are, what they keep on their way from memory, and what is
//! refused when a model is loaded.

use super::{Rig, rigs};
use ridgepoint::backend::Phase;
use ridgepoint::backend::cuda::driver::shared_bytes_of;
use ridgepoint::backend::cuda::kernels::KernelSet;
use ridgepoint::backend::cuda::module::MODULES;
use ridgepoint::backend::cuda::ops::gemm::{Variant, WeightKind, check_product};

const PHASES: [Phase; 2] = [Phase::Decode, Phase::Prefill];

fn variants(set: KernelSet) -> impl Iterator<Item = Variant> {
    let pairs = PHASES
        .into_iter()
        .flat_map(|phase| WeightKind::of(phase).into_iter().map(move |kind| (phase, kind)));
    pairs.flat_map(move |(phase, kind)| Variant::all(set, phase, kind))
}

#[test]
fn the_build_holds_the_kernels_that_are_asked_for() {
    let both = [KernelSet::Portable, KernelSet::Hopper].into_iter().flat_map(variants);
    let mut wanted: Vec<String> = both.map(|variant| variant.symbol()).collect();
    let entries = MODULES.iter().flat_map(|module| module.entries);
    let mut found: Vec<&str> =
        entries.map(|entry| entry.symbol).filter(|symbol| symbol.starts_with("gemm_")).collect();
    wanted.sort();
    wanted.dedup(); // the decode family is the same in both sets
    found.sort_unstable();
    assert_eq!(found, wanted);
}

/// Blocks that an H100 or H200 holds on a multiprocessor, by registers and shared memory
/// ("Technical Specifications per Compute Capability" in the CUDA C++ Programming Guide).
fn resident_blocks(rig: &Rig, variant: &Variant) -> u32 {
    let facts = rig.kernels.facts(&variant.symbol());
    // A warp takes registers by 256, a block shared memory by 128 bytes and 1 KiB for the driver.
    let warps = variant.threads() / 32;
    let by_registers = 65_536 / (facts.registers * 32).next_multiple_of(256) / warps;
    let shared = (variant.ring().bytes() + facts.shared_bytes).next_multiple_of(128) + 1024;
    by_registers.min((228 << 10) / shared).min(64 / warps)
}

#[test]
fn enough_is_on_its_way_from_memory() {
    for rig in rigs() {
        for variant in variants(rig.kernels.set()).filter(|variant| !variant.shallow) {
            let (ring, blocks) = (variant.ring(), resident_blocks(&rig, &variant));
            // What decode waits for is weights; prefill waits for both.
            let stage = match variant.phase {
                Phase::Decode => ring.weight_bytes,
                Phase::Prefill => ring.weight_bytes + ring.token_bytes,
            };
            let in_flight = (ring.stages - 1) * stage * blocks;
            let what = format!("{} on {}", variant.symbol(), rig.driver().target());
            assert!(in_flight >= 48 << 10, "{what}: {in_flight} bytes, {blocks} blocks");
            // The heads of the kernels say so.
            let hopper = variant.set == KernelSet::Hopper;
            let narrow = !hopper
                && match (variant.phase, variant.kind) {
                    (Phase::Decode, WeightKind::Int8) => variant.tile < 32,
                    (Phase::Decode, _) => variant.tile == 8,
                    (Phase::Prefill, WeightKind::Bf16) => true,
                    (Phase::Prefill, _) => variant.tile < 128,
                };
            assert!(blocks >= if narrow { 2 } else { 1 }, "{what}: {blocks} blocks");
        }
    }
}

/// One block fits where a block has 99 KiB. An SM of such a device needs about 5 KiB on the way: 1
/// TB/s and 0.6 us for 128 of them.
#[test]
fn shallow_rings_fit_every_device_and_keep_its_memory_busy() {
    let shallow: Vec<Variant> =
        variants(KernelSet::Portable).filter(|variant| variant.shallow).collect();
    for variant in &shallow {
        let ring = variant.ring();
        let in_flight = (ring.stages - 1) * ring.weight_bytes;
        assert!(ring.bytes() + 1024 <= 99 << 10, "{variant:?}: {} bytes", ring.bytes());
        assert!(in_flight >= 16 << 10, "{variant:?}: {in_flight} bytes");
        let deep = Variant { shallow: false, ..*variant };
        assert!(deep.ring().stages > ring.stages, "{variant:?}");
    }
    // Of six kinds of weights in tiles of 8, 16 and 32, three have a deep ring that fits.
    assert_eq!(shallow.len(), 6 * 3 - 3);
}

/// The launch code counts on 1 KiB of static shared memory at most.
#[test]
fn no_block_is_larger_than_the_launch_code_thinks() {
    for rig in rigs() {
        for variant in variants(rig.kernels.set()) {
            let facts = rig.kernels.facts(&variant.symbol());
            assert!(facts.shared_bytes <= 1024, "{}: {}", variant.symbol(), facts.shared_bytes);
        }
    }
}

#[test]
fn the_widest_tile_gets_the_deepest_ring_that_fits() {
    let choose = |phase, kind, wanted, compute| {
        let limit = shared_bytes_of(compute);
        let chosen = Variant::choose(KernelSet::Portable, phase, kind, wanted, limit);
        chosen.map(|variant| (variant.tile, variant.shallow))
    };
    let decode = |kind, wanted, compute| choose(Phase::Decode, kind, wanted, compute).unwrap();
    let int4 = WeightKind::Int4 { group: 128, zero_points: false };
    let zero_points = WeightKind::Int4 { group: 128, zero_points: true };
    for tile in [8, 16, 32] {
        for kind in WeightKind::ALL {
            assert_eq!(decode(kind, tile, (9, 0)), (tile, false), "{kind}");
            // Of 4 warps with 4 stages of 4 KiB of weights and 256 bytes a token only the widest
            // tile has no room for in 163 KiB.
            let wide = tile == 32 && kind != WeightKind::Bf16;
            assert_eq!(decode(kind, tile, (8, 0)), (tile, wide), "{kind}");
            for compute in [(8, 6), (8, 9), (12, 0)] {
                let fits = (kind, tile) == (int4, 8);
                assert_eq!(decode(kind, tile, compute), (tile, !fits), "{kind}");
            }
        }
    }
    assert_eq!(decode(zero_points, 100, (8, 9)), (32, true));
    for (tile, shallow) in [(8, false), (16, false), (32, true)] {
        assert_eq!(decode(WeightKind::Int8, tile, (9, 0)), (tile, false));
        assert_eq!(decode(WeightKind::Int8, tile, (8, 0)), (tile, false));
        assert_eq!(decode(WeightKind::Int8, tile, (8, 9)), (tile, shallow));
    }
    assert_eq!(choose(Phase::Prefill, WeightKind::Int8, 32, (9, 0)), None);
    for kind in WeightKind::ALL {
        let chosen = choose(Phase::Prefill, kind, 128, (8, 9));
        assert_eq!(chosen, Some((128, false)), "{kind}");
        // A tile narrower than all gives the narrowest.
        assert_eq!(choose(Phase::Prefill, kind, 1, (9, 0)), Some((32, false)), "{kind}");
        for set in [KernelSet::Portable, KernelSet::Hopper] {
            for phase in PHASES {
                assert_eq!(Variant::choose(set, phase, kind, 8, 32 << 10), None, "{kind}");
            }
        }
    }
}

#[test]
fn what_has_no_kernel_is_refused_by_name() {
    let int4 = |group, zero_points| WeightKind::Int4 { group, zero_points };
    for rig in rigs() {
        let error = check_product(&rig.kernels, Phase::Prefill, WeightKind::Int8, (211, 80), false);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("prefill family with int8 weights [211, 80]"), "{error}");
        check_product(&rig.kernels, Phase::Decode, WeightKind::Int8, (211, 80), false).unwrap();
        for phase in PHASES {
            for kind in WeightKind::ALL {
                check_product(&rig.kernels, phase, kind, (211, 256), false).unwrap();
                check_product(&rig.kernels, phase, kind, (48, 128), true).unwrap();
            }
            let refused = [
                (int4(32, false), (64, 128), false, "groups of 32 without zero points [64, 128]"),
                (int4(128, true), (64, 192), false, "columns in multiples of 128"),
                (int4(64, true), (64, 96), false, "columns in multiples of 64"),
                (WeightKind::Bf16, (64, 72), false, "bf16 weights [64, 72]"),
                (WeightKind::Bf16, (64, 72), false, "columns in multiples of 16"),
                (WeightKind::Bf16, (40, 64), true, "rows in multiples of 16"),
                (WeightKind::Bf16, (0, 64), false, "[0, 64]"),
                (WeightKind::Bf16, (65_535 * 64 + 1, 64), false, "fewer than 4194241 rows"),
            ];
            for (kind, shape, fused, message) in refused {
                let error = check_product(&rig.kernels, phase, kind, shape, fused).unwrap_err();
                assert!(error.to_string().contains(message), "{error}");
            }
        }
    }
}
