//! cp.async and mbarrier.

use super::Probe;
use super::write::{Kernel, random_bytes};

const THREADS: usize = 32;

pub fn probes() -> Vec<Probe> {
    let mut out = Vec::new();
    for (cache, bytes) in [("ca", 4), ("ca", 8), ("ca", 16), ("cg", 16)] {
        for how in ["", "with a size", "that ignores"] {
            out.push(copy(cache, bytes, how));
        }
    }
    out.push(groups());
    out.extend([states(), parities()]);
    out
}

/// A slot of sixteen bytes in shared memory for each thread, of 0xee; `%l31` is its source.
const SLOT: &str = ".shared .align 16 .b8 @ENTRY@_s[512];\nmov.u32 %r90, @ENTRY@_s;\n\
    mad.lo.u32 %r90, %i, 16, %r90;\nmov.u32 %r1, 0xeeeeeeee;\n\
    st.shared.v4.u32 [%r90], {%r1, %r1, %r1, %r1};\nmad.wide.u32 %l31, %i, 16, %a0;";
const BACK: &str = "ld.shared.v4.u32 {%r10, %r11, %r12, %r13}, [%r90];";

/// A size fills the rest with zeros; a predicate fills all of it.
fn copy(cache: &str, bytes: usize, how: &str) -> Probe {
    let opcode = format!("cp.async.{cache}.shared.global");
    let data = random_bytes(&format!("{opcode}{bytes}{how}"), 16 * THREADS);
    let sizes: Vec<u32> = (0..THREADS).map(|t| (t % (bytes + 1)) as u32).collect();
    let mut wanted = vec![0xee; 16 * THREADS];
    for (thread, &size) in sizes.iter().enumerate() {
        let taken = match how {
            "" => bytes,
            "with a size" => size as usize,
            _ => {
                if thread % 3 == 0 {
                    0
                } else {
                    bytes
                }
            }
        };
        let at = 16 * thread;
        wanted[at..at + bytes].fill(0);
        wanted[at..at + taken].copy_from_slice(&data[at..at + taken]);
    }
    let last = match how {
        "" => "",
        "with a size" => ", %r2",
        _ => ", %p0",
    };
    Kernel::new(&opcode, format!("of {bytes} bytes {how}").trim_end())
        .input(data)
        .input32(&sizes)
        .out(16 * THREADS, 16)
        .body(SLOT)
        .get("%r2", 1, 4)
        .body("rem.u32 %r3, %i, 3;\nsetp.eq.u32 %p0, %r3, 0;")
        .body(&format!("{opcode} [%r90], [%l31], {bytes}{last};\ncp.async.wait_all;\n{BACK}"))
        .put(2, 4, &["%r10", "%r11", "%r12", "%r13"])
        .wants(vec![wanted])
}

/// Four groups, of which the oldest are waited for first.
fn groups() -> Probe {
    let data = random_bytes("groups", 16 * THREADS);
    let mut kernel =
        Kernel::new("cp.async.wait_group", "").input(data.clone()).out(16 * THREADS, 16).body(SLOT);
    for k in 0..4 {
        kernel = kernel.body(&format!(
            "cp.async.ca.shared.global [%r90+{0}], [%l31+{0}], 4;\ncp.async.commit_group;",
            4 * k
        ));
    }
    for k in 0..4 {
        kernel = kernel.body(&format!(
            "cp.async.wait_group {};\nld.shared.u32 %r{}, [%r90+{}];",
            3 - k,
            10 + k,
            4 * k
        ));
    }
    kernel.put(1, 4, &["%r10", "%r11", "%r12", "%r13"]).wants(vec![data])
}

/// A barrier in shared memory at `%r90`, which the only thread initialises.
const BARRIER: &str = ".shared .align 8 .b8 @ENTRY@_b[8];\nmov.u32 %r90, @ENTRY@_b;\n";

/// Arrivals of one thread: what is pending before each, and whether the phase of each is over. The
/// state is that from before the arrival (PTX ISA, "mbarrier.arrive").
fn states() -> Probe {
    // Count 4: three arrivals and one of two do not fit, so 1, 1, 2 complete the first phase.
    let steps = [("", 1u32), ("", 1), (", 2", 2), ("", 1), (", 3", 3), (", 4", 4)];
    let (mut pending, mut phase) = (4u32, 0);
    let mut arrived = Vec::new();
    for (_, count) in steps {
        arrived.push((pending, phase));
        pending -= count;
        if pending == 0 {
            (pending, phase) = (4, phase + 1);
        }
    }
    let mut kernel = Kernel::new("mbarrier.arrive.shared.b64", "states")
        .threads(1)
        .out(8 * steps.len(), 8)
        .body(&format!("{BARRIER}mbarrier.init.shared.b64 [%r90], 4;"));
    let mut wanted = Vec::new();
    for (k, (count, _)) in steps.iter().enumerate() {
        kernel = kernel.body(&format!(
            "mbarrier.arrive.shared.b64 %l{0}, [%r90]{count};\n\
             mbarrier.pending_count.b64 %r10, %l{0};\nst.global.u32 [%a0+{1}], %r10;",
            10 + k,
            8 * k
        ));
        // Two phases back cannot be told from this one, so each state is asked at once.
        let after = arrived.get(k + 1).map_or(phase, |next| next.1);
        kernel = kernel.body(&format!(
            "mbarrier.test_wait.shared.b64 %p0, [%r90], %l{};\nselp.u32 %r11, 1, 0, %p0;\n\
             st.global.u32 [%a0+{}], %r11;",
            10 + k,
            8 * k + 4
        ));
        wanted.extend([arrived[k].0, u32::from(after > arrived[k].1)]);
    }
    kernel.wants32(wanted)
}

/// Parities of phases, with `arrive_drop`, transactions, and a barrier made anew.
fn parities() -> Probe {
    let test = |k: usize| {
        format!(
            "mbarrier.test_wait.parity.shared.b64 %p0, [%r90], 0;\nselp.u32 %r11, 1, 0, %p0;\n\
             mbarrier.test_wait.parity.shared.b64 %p0, [%r90], 1;\nselp.u32 %r12, 2, 0, %p0;\n\
             or.b32 %r11, %r11, %r12;\nst.global.u32 [%a0+{}], %r11;\n",
            4 * k
        )
    };
    let steps = [
        // The phase before the first counts as one of parity 1 that is over.
        ("mbarrier.init.shared.b64 [%r90], 2;", 2),
        ("mbarrier.arrive.shared.b64 _, [%r90];", 2),
        ("mbarrier.arrive_drop.shared.b64 _, [%r90];", 1),
        // One arrival is left of the count.
        ("mbarrier.arrive.shared.b64 %l10, [%r90];", 2),
        ("mbarrier.arrive.expect_tx.shared.b64 _, [%r90], 48;", 2),
        ("mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r90], 32;", 2),
        ("mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r90], 16;", 1),
        ("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%r90], 8;", 1),
        ("mbarrier.arrive.shared.b64 _, [%r90];", 1),
        ("mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [%r90], 8;", 2),
        ("mbarrier.inval.shared.b64 [%r90];\nmbarrier.init.shared.b64 [%r90], 1;", 2),
        ("mbarrier.arrive.release.cta.shared::cta.b64 _, [%r90];", 1),
    ];
    let mut kernel = Kernel::new("mbarrier.test_wait.parity.shared.b64", "")
        .threads(1)
        .out(4 * steps.len(), 4)
        .body(BARRIER);
    for (k, (step, _)) in steps.iter().enumerate() {
        kernel = kernel.body(&format!("{step}\n{}", test(k)));
    }
    let wanted: Vec<u32> = steps.iter().map(|(_, over)| *over).collect();
    kernel.wants32(wanted)
}
