//! `hopper_pair.cu`: a kernel that starts before the one before it is over.

use super::{Bench, Params};
use ptxsim::{Device, Launch};

fn launches(bench: &mut Bench) -> ([Launch; 2], u64) {
    let data = bench.device.alloc(1024).unwrap();
    let weights = bench.put(&[2; 1024]);
    let out = bench.device.alloc(1024).unwrap();
    let producer = Launch {
        module: bench.module,
        entry: "producer".into(),
        grid: [4, 1, 1],
        block: [64, 1, 1],
        params: Params::default().pointer(data).0,
        ..Launch::default()
    };
    let consumer = Launch {
        entry: "consumer".into(),
        params: Params::default().pointer(data).pointer(weights).pointer(out).0,
        programmatic: true,
        ..producer.clone()
    };
    ([producer, consumer], out)
}

#[test]
fn a_dependent_grid_waits() {
    let mut bench = Bench::new("hopper_pair.cu", &[]);
    for seed in 0..50 {
        let (mut launches, out) = launches(&mut bench);
        launches.iter_mut().for_each(|launch| launch.seed = seed);
        let report = bench.device.launch_all(&launches).unwrap();
        assert!(report.is_clean(), "seed {seed}: {report}");
        let expected = (0..256u32).map(|i| (3 * (i ^ 1) + 1).wrapping_mul(0x0202_0202));
        assert_eq!(bench.words(out, 256), expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_dependent_grid_that_does_not_wait_is_found() {
    let found = (0..20).filter(|seed| {
        let mut bench = Bench::new("hopper_pair.cu", &["BUG_NO_GRID_WAIT"]);
        let (mut launches, _) = launches(&mut bench);
        launches.iter_mut().for_each(|launch| launch.seed = *seed);
        let report = bench.device.launch_all(&launches).unwrap();
        bench.announced(&report, "BUG_NO_GRID_WAIT")
    });
    let found = found.count();
    assert!(found >= 15, "{found} of 20");
}

/// What cannot be run is refused by its name when it is loaded.
#[test]
fn unknown_forms_are_refused_by_name() {
    let load = |text: &str| {
        let text = crate::common::module(text);
        Device::new().load_ptx("test", &text).unwrap_err().to_string()
    };
    let registers = ".reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .b16 %rs<4>;\n";
    for (instruction, word) in [
        (
            "cp.async.bulk.tensor.3d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes \
             [%r1], [%rd1, {%r2, %r3, %r4}], [%r5], {%rs1};",
            "im2col",
        ),
        (
            "cp.async.bulk.global.shared::cta.bulk_group.cp_mask [%rd1], [%r1], %r2, %rs1;",
            "cp_mask",
        ),
        ("cp.async.bulk.global.global.bulk_group [%rd1], [%rd2], %r2;", "state spaces"),
        ("cp.async.bulk.shared::cluster.global.bulk_group [%r1], [%rd2], %r2;", "completion"),
    ] {
        let message = load(&format!("{registers}{instruction}\nret;"));
        assert!(message.contains(word), "{message}");
    }
}
