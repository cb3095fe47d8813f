//! Where a fault is said to be.

use crate::common::module;
use ptxsim::report::Site;
use ptxsim::{Device, FaultKind, Launch};

#[test]
fn sites_say_where_code_stands_and_where_it_was_inlined_to() {
    let site = |called_from: u32, inlined: &str| {
        let opcode = "ld.global.u32".to_owned();
        let (file, inlined) = ("gemm.cu".to_owned(), inlined.to_owned());
        Site { file, line: 13, called_from, inlined, ptx_line: 50, opcode }.to_string()
    };
    assert_eq!(site(0, ""), "gemm.cu:13 ld.global.u32");
    assert_eq!(site(98, ""), "gemm.cu:13 (called from line 98) ld.global.u32");
    assert_eq!(site(0, "mma.h:4"), "gemm.cu:13 (inlined from mma.h:4) ld.global.u32");
    assert_eq!(
        site(98, "mma.h:4"),
        "gemm.cu:13 (called from line 98, inlined from mma.h:4) ld.global.u32"
    );
}

/// A function at line 13 of the kernel's file, inlined at line 98, and a header's inlined into it.
#[test]
fn faults_are_found_in_the_kernels_own_file() {
    let body = ".reg .b32 %r<2>;\n.reg .b64 %l<2>;\nmov.u64 %l1, 64;\n.loc 1 98 3\n\
        .loc 1 13 5, function_name f, inlined_at 1 98 3\nld.global.u32 %r1, [%l1];\n\
        .loc 2 4 1, function_name g, inlined_at 1 13 5\nld.global.u32 %r1, [%l1+4];\n\
        .loc 1 99 1\nld.global.u32 %r1, [%l1+8];\nret;";
    let text = format!("{}.file 1 \"/a/gemm.cu\"\n.file 2 \"/b/mma.h\"\n", module(body));
    let mut device = Device::new();
    let id = device.load_ptx("k", &text).unwrap();
    let launch = Launch { module: id, entry: "k".into(), params: vec![0; 8], ..Launch::default() };
    let report = device.launch(&launch).unwrap();
    assert!(report.faults.iter().all(|fault| fault.kind() == FaultKind::OutOfBounds), "{report}");
    let lines: Vec<_> =
        report.faults.iter().map(|f| (f.line(), f.first.site.called_from)).collect();
    assert_eq!(lines, [(13, 98), (13, 98), (99, 0)], "{report}");
    let inlined: Vec<_> = report.faults.iter().map(|f| f.first.site.inlined.as_str()).collect();
    assert_eq!(inlined, ["", "mma.h:4", ""]);
}
