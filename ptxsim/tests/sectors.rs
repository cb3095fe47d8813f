//! The different sectors of device memory that a launch touches: each counts once, whichever
//! instructions, lanes, blocks and launches of a chain come to it.

use crate::common::module;
use ptxsim::{Device, Launch, ModuleId};

/// Bytes of the buffer that the kernels touch: three pages of the simulator, and a bit of another.
const BYTES: usize = 3 * 4096 + 8;

/// %l1 is the buffer, %l2 four bytes a thread further on, %r1 the thread.
const BEGIN: &str = ".reg .b32 %r<8>;\n.reg .b64 %l<8>;\n.shared .align 16 .b8 s[256];\n\
    ld.param.u64 %l1, [k_param_0];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %l2, %r1, 4;\n\
    add.u64 %l2, %l1, %l2;\n";

struct Stage {
    device: Device,
    buffer: u64,
}

impl Stage {
    fn new() -> Stage {
        let mut device = Device::new();
        let buffer = device.alloc(BYTES as u64).unwrap();
        device.copy_in(buffer, &[0; BYTES]).unwrap();
        Stage { device, buffer }
    }

    fn load(&mut self, body: &str) -> ModuleId {
        self.device.load_ptx("k", &module(&format!("{BEGIN}{body}ret;"))).unwrap()
    }

    fn launch(&self, module: ModuleId, grid: u32) -> Launch {
        Launch {
            module,
            entry: "k".into(),
            grid: [grid, 1, 1],
            block: [32, 1, 1],
            params: self.buffer.to_le_bytes().into(),
            ..Launch::default()
        }
    }

    /// Sectors read and written, and those counted instruction by instruction, by one launch and by
    /// another, which starts anew.
    fn run(&mut self, body: &str, grid: u32) -> ([u64; 2], u64) {
        let module = self.load(body);
        let mut launch = self.launch(module, grid);
        let [first, second] = [true, false].map(|checks| {
            launch.checks = checks;
            let report = self.device.launch(&launch).unwrap();
            assert!(report.is_clean(), "{body}\n{report}");
            let c = report.counters;
            let each = c.global_reads.sectors + c.global_writes.sectors + c.async_copies.sectors;
            ([c.unique_read_sectors, c.unique_written_sectors], each)
        });
        assert_eq!(first, second, "{body}");
        first
    }
}

/// Sectors of one launch of 32 lanes, or of several blocks of them.
#[track_caller]
fn expect(body: &str, grid: u32, unique: [u64; 2], each: u64) {
    assert_eq!(Stage::new().run(body, grid), (unique, each), "{body}");
}

#[test]
fn a_sector_counts_once_whoever_comes() {
    // 32 lanes of 4 bytes are 4 sectors, for each of 5 blocks and both instructions.
    expect("ld.global.u32 %r2, [%l2];\nld.global.u32 %r2, [%l2];\n", 5, [4, 0], 40);
    // Lanes of 16 bytes: 16 sectors, of which 4 overlap with the first read.
    let wide = "mul.wide.u32 %l3, %r1, 16;\nadd.u64 %l3, %l1, %l3;\n\
        ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%l3];\n";
    expect(&format!("{wide}ld.global.u32 %r2, [%l2];\n"), 1, [16, 0], 20);
    // All lanes at one address.
    expect("ld.global.u32 %r2, [%l1+40];\n", 1, [1, 0], 1);
}

#[test]
fn scattered_lanes_touch_a_sector_each_and_nothing_between() {
    let stride = |bytes: u32| {
        format!(
            "mul.wide.u32 %l3, %r1, {bytes};\nadd.u64 %l3, %l1, %l3;\nld.global.u32 %r2, [%l3];\n"
        )
    };
    for (bytes, sectors) in [(8, 8), (32, 32), (36, 32), (64, 32), (384, 32)] {
        expect(&stride(bytes), 1, [sectors, 0], sectors);
    }
    // The last lanes of all first, so that the addresses descend; and some of the lanes only.
    let odd = "sub.u32 %r1, 31, %r1;\nmul.wide.u32 %l3, %r1, 100;\nadd.u64 %l3, %l1, %l3;\n\
        .reg .pred %p1;\nsetp.gt.u32 %p1, %r1, 15;\n@%p1 ld.global.u32 %r2, [%l3];\n";
    expect(odd, 1, [16, 0], 16);
}

#[test]
fn reads_and_writes_count_apart_and_atomic_operations_as_both() {
    expect("ld.global.u32 %r2, [%l2];\nst.global.u32 [%l2+128], %r2;\n", 1, [4, 4], 8);
    expect("ld.global.u32 %r2, [%l2];\nst.global.u32 [%l2], %r2;\n", 1, [4, 4], 8);
    expect("red.global.add.u32 [%l1+4096], 1;\n", 3, [1, 1], 0);
}

#[test]
fn ranges_cross_pages_and_end_with_the_allocation() {
    // Lanes from 64 bytes before a page to 64 bytes into it.
    expect("ld.global.u32 %r2, [%l2+4032];\n", 1, [4, 0], 4);
    // The last sector has only eight bytes.
    expect("ld.global.u64 %l4, [%l1+12288];\n", 1, [1, 0], 1);
    let one_lane = ".reg .pred %p1;\nsetp.eq.u32 %p1, %r1, 0;\n";
    expect(&format!("{one_lane}@%p1 st.global.u64 [%l1+12288], 7;\n"), 1, [0, 1], 1);
}

#[test]
fn asynchronous_copies_read() {
    let copy = "mov.u32 %r2, s;\nshl.b32 %r3, %r1, 3;\nadd.u32 %r2, %r2, %r3;\n\
        mul.wide.u32 %l3, %r1, 8;\nadd.u64 %l3, %l1, %l3;\n\
        cp.async.ca.shared.global [%r2], [%l3], 8;\ncp.async.wait_all;\n";
    expect(copy, 2, [8, 0], 16);
    // One lane sends 256 bytes that begin in the middle of a sector.
    let bulk = ".reg .pred %p1;\nsetp.ne.u32 %p1, %r1, 0;\nmov.u32 %r2, s;\n\
        shl.b32 %r3, %r1, 3;\nadd.u32 %r3, %r2, %r3;\nst.shared.u64 [%r3], 0;\n\
        fence.proxy.async;\nbar.sync 0;\n@%p1 ret;\nadd.u64 %l3, %l1, 4080;\n\
        cp.async.bulk.global.shared::cta.bulk_group [%l3], [%r2], 256;\n\
        cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\n";
    expect(bulk, 1, [0, 9], 9);
}

#[test]
fn a_chain_of_launches_counts_as_one() {
    let mut stage = Stage::new();
    let (one, two) = (
        stage.load("ld.global.u32 %r2, [%l2];\n"),
        stage.load("griddepcontrol.wait;\nld.global.u32 %r2, [%l2+64];\n"),
    );
    let first = stage.launch(one, 1);
    let second = Launch { programmatic: true, ..stage.launch(two, 1) };
    let report = stage.device.launch_all(&[first.clone(), second]).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.counters.unique_read_sectors, 6);
    assert!(report.to_string().contains("different sectors                 6 read, 0 written"));
    assert_eq!(stage.device.launch(&first).unwrap().counters.unique_read_sectors, 4);
}
