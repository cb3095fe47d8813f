//! Launches that are refused before anything runs, and memory that is not the kernel's.

use super::stage::Stage;
use ptxsim::{Device, Error, FaultKind, Launch};

fn refused(change: impl Fn(&mut Launch)) -> String {
    let mut stage = Stage::new("softmax.cu", &[]);
    stage.output(400);
    stage.output(400);
    stage.scalar(100i32.to_le_bytes());
    let mut launch = stage.launch("softmax", [1, 1, 1], 128);
    launch.shared_opt_in = false;
    change(&mut launch);
    match stage.device.launch(&launch) {
        Err(Error::Argument(text)) => text,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn bad_launches_say_what_is_wrong() {
    let has = |text: String, words: &[&str]| {
        assert!(words.iter().all(|w| text.contains(w)), "{text}");
    };
    has(refused(|l| l.entry = "sotfmax".into()), &["sotfmax", "it has: softmax"]);
    has(refused(|l| l.params.truncate(8)), &["8 bytes of parameters", "20"]);
    has(refused(|l| l.block = [2048, 1, 1]), &["2048", "1024"]);
    has(refused(|l| l.block = [256, 1, 1]), &["at most 128"]);
    has(refused(|l| l.grid = [0, 1, 1]), &["0"]);
    has(refused(|l| l.grid = [1, 70_000, 1]), &["70000", "65535"]);
    has(refused(|l| l.shared_bytes = 100_000), &["opt-in"]);
    has(
        refused(|l| {
            l.shared_bytes = 230 << 10;
            l.shared_opt_in = true;
        }),
        &["shared memory", "232448"],
    );
    has(refused(|l| l.cluster = [2, 1, 1]), &["cluster"]);
    has(refused(|l| l.registers = 1024), &["registers"]);
}

#[test]
fn memory_that_is_not_there_is_refused_or_found() {
    let mut device = Device::new();
    let address = device.alloc(64).unwrap();
    assert!(device.copy_in(address + 60, &[0; 8]).is_err());
    assert!(device.copy_in(12, &[0; 8]).is_err());
    assert!(device.free(address + 4).is_err());
    device.free(address).unwrap();
    assert!(device.free(address).is_err());
    let mut byte = [0];
    assert!(device.copy_out(address, &mut byte).is_err());
}

#[test]
fn a_freed_or_foreign_pointer_is_a_fault_of_the_kernel() {
    for free in [true, false] {
        let mut stage = Stage::new("softmax.cu", &[]);
        let x = stage.output(400);
        stage.output(400);
        stage.scalar(100i32.to_le_bytes());
        let mut launch = stage.launch("softmax", [1, 1, 1], 128);
        if free {
            stage.device.free(x).unwrap();
        } else {
            launch.params[..8].copy_from_slice(&0x1234_5678u64.to_le_bytes());
        }
        let report = stage.run(&launch);
        let kind = if free { FaultKind::UseAfterFree } else { FaultKind::OutOfBounds };
        assert!(report.has(kind), "{report}");
    }
}

#[test]
fn what_nobody_wrote_is_found() {
    let mut stage = Stage::new("softmax.cu", &[]);
    stage.output(400);
    stage.output(400);
    stage.scalar(100i32.to_le_bytes());
    let report = stage.run(&stage.launch("softmax", [1, 1, 1], 128));
    assert!(report.has(FaultKind::Uninitialised), "{report}");
}

#[test]
fn a_large_allocation_that_is_barely_used_costs_little() {
    let mut stage = Stage::new("softmax.cu", &[]);
    let x = stage.output(2 << 30);
    stage.output(2 << 30);
    stage.scalar(1000i32.to_le_bytes());
    stage.device.copy_in(x, &[0; 4000]).unwrap();
    let report = stage.run(&stage.launch("softmax", [1, 1, 1], 128));
    assert!(report.is_clean(), "{report}");
    let (data, shadow) = stage.device.footprint();
    assert!(data < 20 << 20 && shadow < 1 << 20, "{data} and {shadow} bytes");
}
