//! Control flow, calls, barriers, special registers and printf.

use super::Probe;
use super::write::{Kernel, random};

const THREADS: usize = 64;

pub fn probes() -> Vec<Probe> {
    let mut out = vec![branches(), table(), loops(), calls(), structs(), warp_barrier()];
    out.extend(["popc.u32", "and.pred", "or.pred"].map(|what| reduction("bar.red", what)));
    out.extend(["popc.u32", "and.pred", "or.pred"].map(|what| reduction("barrier.cta.red", what)));
    out.extend(["bar", "barrier.cta"].map(hand_over));
    out.extend([special_registers(), printf(), leaves()]);
    out
}

/// Any numbers, one a thread.
fn numbers(name: &str) -> Vec<u32> {
    let mut random = random(name);
    (0..THREADS).map(|_| random.next() as u32).collect()
}

/// Both sides of a branch, and a branch within one.
fn branches() -> Probe {
    let data = numbers("bra");
    let wanted = data.iter().map(|&x| match (x & 1, x & 2) {
        (0, _) => x ^ 0xffff,
        (_, 0) => x.wrapping_mul(3).wrapping_add(1),
        _ => x.wrapping_add(7).wrapping_add(1),
    });
    Kernel::new("bra", "")
        .threads(THREADS as u32)
        .input32(&data)
        .out(4 * THREADS, 4)
        .get("%r10", 0, 4)
        .body("and.b32 %r11, %r10, 1;\nsetp.eq.u32 %p0, %r11, 0;\n@!%p0 bra ODD;")
        .body("xor.b32 %r10, %r10, 0xffff;\nbra.uni JOIN;\nODD:")
        .body("and.b32 %r11, %r10, 2;\nsetp.ne.u32 %p1, %r11, 0;\n@%p1 bra SECOND;")
        .body("mul.lo.u32 %r10, %r10, 3;\nbra AFTER;\nSECOND:\nadd.u32 %r10, %r10, 7;")
        .body("AFTER:\nadd.u32 %r10, %r10, 1;\nJOIN:")
        .put(1, 4, &["%r10"])
        .wants32(wanted.collect())
}

fn table() -> Probe {
    let data = numbers("brx");
    let wanted = data.iter().map(|&x| match x % 4 {
        0 => 100,
        1 => 201,
        2 => 302,
        _ => 100 + 303,
    });
    Kernel::new("brx.idx", "")
        .threads(THREADS as u32)
        .input32(&data)
        .out(4 * THREADS, 4)
        .get("%r10", 0, 4)
        .body("and.b32 %r10, %r10, 3;\nmov.u32 %r11, 0;\nWAYS: .branchtargets L0, L1, L2, L3;")
        .body("brx.idx %r10, WAYS;\nL3:\nadd.u32 %r11, %r11, 303;\nL0:")
        .body("add.u32 %r11, %r11, 100;\nbra DONE;\nL1:\nmov.u32 %r11, 201;\nbra DONE;")
        .body("L2:\nmov.u32 %r11, 302;\nDONE:")
        .put(1, 4, &["%r11"])
        .wants32(wanted.collect())
}

/// Every lane goes round its own number of times.
fn loops() -> Probe {
    let data: Vec<u32> = numbers("loops").iter().map(|x| x % 23).collect();
    let wanted = data.iter().map(|&n| (0..n).fold(1u32, |x, k| x.wrapping_mul(5).wrapping_add(k)));
    Kernel::new("bra", "back")
        .threads(THREADS as u32)
        .input32(&data)
        .word(5)
        .out(4 * THREADS, 4)
        .get("%r10", 0, 4)
        .body("mov.u32 %r11, 1;\nmov.u32 %r12, 0;\nTOP:\nsetp.ge.u32 %p0, %r12, %r10;")
        .body("@%p0 bra DONE;\nmad.lo.u32 %r11, %r11, %w1, %r12;\nadd.u32 %r12, %r12, 1;")
        .body("bra TOP;\nDONE:")
        .put(2, 4, &["%r11"])
        .wants32(wanted.collect())
}

/// A function with two parameters and a result that calls itself, by half of the lanes.
fn calls() -> Probe {
    let data: Vec<u32> = numbers("calls").iter().map(|x| x % 9).collect();
    let power = |n: u32| 3u64.pow(n) + 0x1_0000_0000;
    let wanted = data.iter().map(|&n| if n & 1 == 1 { power(n) } else { 5 });
    let function = ".func (.param .b64 r) @ENTRY@_f(.param .b32 n, .param .b64 x)\n{\n\
        .reg .pred %p<2>;\n.reg .b32 %r<4>;\n.reg .b64 %l<6>;\nld.param.u32 %r1, [n];\n\
        ld.param.u64 %l1, [x];\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 bra END;\n\
        mul.lo.u64 %l2, %l1, 3;\nsub.u32 %r2, %r1, 1;\n{\n.param .b64 back;\n.param .b32 a;\n\
        .param .b64 b;\nst.param.b32 [a], %r2;\nst.param.b64 [b], %l2;\n\
        call (back), @ENTRY@_f, (a, b);\nld.param.b64 %l3, [back];\n}\n\
        st.param.b64 [r], %l3;\nret;\nEND:\nadd.u64 %l4, %l1, 0x100000000;\n\
        st.param.b64 [r], %l4;\nret;\n}\n";
    Kernel::new("call", "that calls itself")
        .threads(THREADS as u32)
        .outer(function)
        .input32(&data)
        .out(8 * THREADS, 8)
        .get("%r10", 0, 4)
        .body("mov.u64 %l10, 5;\nand.b32 %r11, %r10, 1;\nsetp.eq.u32 %p0, %r11, 0;")
        .body("@%p0 bra DONE;\n{\n.param .b64 back;\n.param .b32 a;\n.param .b64 b;")
        .body("mov.u64 %l11, 1;\nst.param.b32 [a], %r10;\nst.param.b64 [b], %l11;")
        .body("call.uni (back), @ENTRY@_f, (a, b);\nld.param.b64 %l10, [back];\n}\nDONE:")
        .put(1, 8, &["%l10"])
        .wants64(wanted.collect())
}

/// Structs go in and out by bytes.
fn structs() -> Probe {
    let data = numbers("structs");
    let wanted =
        data.iter().map(|&x| u64::from(x >> 8 & 0xff) << 32 | u64::from(x.wrapping_add(9)));
    let function = ".func (.param .align 8 .b8 r[8]) @ENTRY@_f(.param .align 4 .b8 s[8])\n{\n\
        .reg .b32 %r<6>;\nld.param.u32 %r1, [s];\nld.param.u32 %r2, [s+4];\n\
        ld.param.u8 %r3, [s+1];\nadd.u32 %r4, %r1, %r2;\nst.param.b32 [r], %r4;\n\
        st.param.b32 [r+4], %r3;\nret;\n}\n";
    Kernel::new("call", "with structs")
        .threads(THREADS as u32)
        .outer(function)
        .input32(&data)
        .out(8 * THREADS, 8)
        .get("%r10", 0, 4)
        .body("{\n.param .align 4 .b8 s[8];\n.param .align 8 .b8 back[8];\nmov.u32 %r11, 9;")
        .body("st.param.b32 [s], %r10;\nst.param.b32 [s+4], %r11;")
        .body("call.uni (back), @ENTRY@_f, (s);\nld.param.b64 %l10, [back];\n}")
        .put(1, 8, &["%l10"])
        .wants64(wanted.collect())
}

/// Lanes that come from both sides of a branch exchange words through shared memory.
fn warp_barrier() -> Probe {
    let data = numbers("bar.warp");
    let mixed = |t: usize| if t.is_multiple_of(3) { data[t].wrapping_add(1) } else { data[t] ^ 5 };
    let wanted = (0..THREADS).map(|t| mixed(t / 32 * 32 + (t + 11) % 32)).collect();
    Kernel::new("bar.warp.sync", "")
        .threads(THREADS as u32)
        .input32(&data)
        .out(4 * THREADS, 4)
        .get("%r10", 0, 4)
        .body(".shared .align 4 .b8 @ENTRY@_s[256];\nmov.u32 %r20, @ENTRY@_s;")
        .body("mad.lo.u32 %r21, %i, 4, %r20;\nrem.u32 %r11, %i, 3;\nsetp.eq.u32 %p0, %r11, 0;")
        .body("@%p0 bra THIRD;\nxor.b32 %r10, %r10, 5;\nst.shared.u32 [%r21], %r10;")
        .body("bra JOIN;\nTHIRD:\nadd.u32 %r10, %r10, 1;\nst.shared.u32 [%r21], %r10;\nJOIN:")
        .body("bar.warp.sync 0xffffffff;\nadd.u32 %r12, %lane, 11;\nand.b32 %r12, %r12, 31;")
        .body("sub.u32 %r13, %i, %lane;\nadd.u32 %r12, %r12, %r13;")
        .body("mad.lo.u32 %r12, %r12, 4, %r20;\nld.shared.u32 %r14, [%r12];")
        .put(1, 4, &["%r14"])
        .wants32(wanted)
}

/// Over the whole block, and over its first two warps. Each of eight rounds has other votes.
fn reduction(base: &str, what: &str) -> Probe {
    const ROUNDS: usize = 8;
    let opcode = format!("{base}.{what}");
    let mut random = random(&opcode);
    let mut votes: Vec<Vec<bool>> = vec![vec![false; 96], vec![true; 96]];
    for round in 2..ROUNDS {
        let lone = random.below(96) as usize;
        votes.push((0..96).map(|t| [t == lone, t != lone][round % 2]).collect());
    }
    votes[7] = (0..96).map(|_| random.below(2) == 1).collect();
    let bytes: Vec<u32> = (0..96)
        .map(|t| (0..ROUNDS).fold(0, |set, round| set | u32::from(votes[round][t]) << round))
        .collect();
    let reduce = |round: usize, threads: usize| {
        let ayes = votes[round][..threads].iter().filter(|vote| **vote).count();
        match what {
            "popc.u32" => ayes as u32,
            "and.pred" => u32::from(ayes == threads),
            _ => u32::from(ayes > 0),
        }
    };
    let mut wanted = Vec::new();
    for thread in 0..96 {
        wanted.extend((0..ROUNDS).map(|round| reduce(round, 96)));
        let part = |round| if thread < 64 { reduce(round, 64) } else { 0 };
        wanted.extend((0..ROUNDS).map(part));
    }
    let popc = what == "popc.u32";
    let mut kernel =
        Kernel::new(&opcode, "").threads(96).input32(&bytes).out(96 * 64, 64).get("%r10", 0, 4);
    let mut names = Vec::new();
    for k in 0..16 {
        let (to, round) = (20 + k, k % 8);
        let vote = format!("and.b32 %r11, %r10, {};\nsetp.ne.u32 %p0, %r11, 0;\n", 1 << round);
        let d = if popc { format!("%r{to}") } else { "%p1".to_owned() };
        let operands = if k < 8 { "1, %p0" } else { "2, 64, %p0" };
        let select = if popc { String::new() } else { format!("selp.u32 %r{to}, 1, 0, %p1;\n") };
        let skip = match k {
            8 => "mov.u32 %r12, %tid.x;\nsetp.ge.u32 %p2, %r12, 64;\n@%p2 bra DONE;\n",
            _ => "",
        };
        let zero = if k == 0 {
            (28..36).map(|r| format!("mov.u32 %r{r}, 0;\n")).collect()
        } else {
            String::new()
        };
        kernel = kernel.body(&format!("{zero}{skip}{vote}{opcode} {d}, {operands};\n{select}"));
        names.push(format!("%r{to}"));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    kernel.body("DONE:").put(1, 4, &names).wants32(wanted)
}

/// One warp writes and arrives, another waits and reads.
fn hand_over(base: &str) -> Probe {
    let data = numbers(base);
    let wanted = (0..THREADS).map(|t| if t < 32 { 0 } else { data[t - 32] }).collect();
    Kernel::new(&format!("{base}.arrive"), "")
        .threads(THREADS as u32)
        .input32(&data)
        .out(4 * THREADS, 4)
        .get("%r10", 0, 4)
        .body(".shared .align 4 .b8 @ENTRY@_s[256];\nmov.u32 %r20, @ENTRY@_s;\nmov.u32 %r14, 0;")
        .body("mad.lo.u32 %r21, %i, 4, %r20;\nsetp.ge.u32 %p0, %i, 32;\n@%p0 bra READ;")
        .body(&format!("st.shared.u32 [%r21], %r10;\n{base}.arrive 3, 64;\nbra DONE;"))
        .body(&format!("READ:\n{base}.sync 3, 64;\nld.shared.u32 %r14, [%r21+-128];\nDONE:"))
        .put(1, 4, &["%r14"])
        .wants32(wanted)
}

/// Some lanes exit, some return, the rest go on.
fn leaves() -> Probe {
    let wanted = (0..THREADS).map(|t| [7, 0, 0][t % 3]).collect();
    Kernel::new("exit", "by some")
        .threads(THREADS as u32)
        .out(4 * THREADS, 4)
        .body("mov.u32 %r10, 7;\nrem.u32 %r11, %i, 3;\nsetp.eq.u32 %p0, %r11, 1;\n@%p0 exit;")
        .body("setp.eq.u32 %p0, %r11, 2;\n@%p0 ret;")
        .put(0, 4, &["%r10"])
        .wants32(wanted)
}

/// Everything that tells a thread where it is, in three dimensions.
fn special_registers() -> Probe {
    let (grid, block) = ([3u32, 2, 2], [5u32, 3, 4]);
    let axes = ["x", "y", "z"];
    let mut names: Vec<String> = Vec::new();
    for base in ["tid", "ntid", "ctaid", "nctaid"] {
        names.extend(axes.map(|axis| format!("%{base}.{axis}")));
    }
    let masks = ["eq", "le", "lt", "ge", "gt"];
    names.push("%laneid".into());
    names.extend(masks.map(|which| format!("%lanemask_{which}")));
    names.extend(["%cluster_nctarank".into(), "%cluster_ctarank".into()]);
    let mut wanted = Vec::new();
    let threads = block.iter().product::<u32>();
    let place = |n: u32, [x, y, _]: [u32; 3]| [n % x, n / x % y, n / x / y];
    for number in 0..threads * grid.iter().product::<u32>() {
        let (thread, at) = (number % threads, number / threads);
        for triple in [place(thread, block), block, place(at, grid), grid] {
            wanted.extend(triple);
        }
        let bit = 1u32 << (thread % 32);
        let (lower, upper) = (bit - 1, !(bit - 1) & !bit);
        wanted.extend([thread % 32, bit, lower | bit, lower, upper | bit, upper, 1, 0]);
    }
    let count = names.len();
    let mut body = String::from(
        // The number of the thread in its block, of the block in the grid, and of all.
        "mov.u32 %r1, %tid.z;\nmov.u32 %r2, %ntid.y;\nmov.u32 %r3, %tid.y;\n\
         mad.lo.u32 %r1, %r1, %r2, %r3;\nmov.u32 %r2, %ntid.x;\nmov.u32 %r3, %tid.x;\n\
         mad.lo.u32 %r1, %r1, %r2, %r3;\nmov.u32 %r4, %ctaid.z;\nmov.u32 %r5, %nctaid.y;\n\
         mov.u32 %r6, %ctaid.y;\nmad.lo.u32 %r4, %r4, %r5, %r6;\nmov.u32 %r5, %nctaid.x;\n\
         mov.u32 %r6, %ctaid.x;\nmad.lo.u32 %r4, %r4, %r5, %r6;\n",
    );
    body += &format!("mad.lo.u32 %r1, %r4, {threads}, %r1;\n");
    body += &format!("mad.wide.u32 %x, %r1, {}, %a0;\n", 4 * count);
    for (k, name) in names.iter().enumerate() {
        body += &format!("mov.u32 %r10, {name};\nst.global.u32 [%x+{}], %r10;\n", 4 * k);
    }
    Kernel::new("mov.u32", "of special registers")
        .shape(grid, block)
        .out(4 * wanted.len(), 4 * count)
        .body(&body)
        .wants32(wanted)
}

fn printf() -> Probe {
    let bytes: Vec<String> =
        b"thread %d: %5.2f %s %x %llu%%\n\0".iter().map(u8::to_string).collect();
    let outer = format!(
        ".extern .func (.param .b32 r) vprintf(.param .b64 f, .param .b64 l);\n\
         .global .align 1 .b8 @ENTRY@_f[{}] = {{{}}};\n\
         .global .align 1 .b8 @ENTRY@_w[4] = {{111, 110, 101, 0}};\n",
        bytes.len(),
        bytes.join(", ")
    );
    Kernel::new("call", "of vprintf")
        .threads(1)
        .outer(&outer)
        .out(4, 4)
        .body(".local .align 8 .b8 @ENTRY@_l[40];\nmov.u64 %l1, @ENTRY@_l;")
        .body("cvta.local.u64 %l2, %l1;\nst.local.u32 [%l1], %i;")
        .body("mov.f64 %l3, 0d400921FB54442D18;\nst.local.f64 [%l1+8], %l3;")
        .body("mov.u64 %l4, @ENTRY@_w;\ncvta.global.u64 %l4, %l4;\nst.local.u64 [%l1+16], %l4;")
        .body("mov.u32 %r10, 0xbeef;\nst.local.u32 [%l1+24], %r10;")
        .body("mov.u64 %l5, 12345678901234;\nst.local.u64 [%l1+32], %l5;")
        .body("mov.u64 %l6, @ENTRY@_f;\ncvta.global.u64 %l6, %l6;\n{\n.param .b64 f;")
        .body(".param .b64 l;\n.param .b32 back;\nst.param.b64 [f], %l6;\nst.param.b64 [l], %l2;")
        .body("call.uni (back), vprintf, (f, l);\nld.param.b32 %r11, [back];\n}")
        .not_comparable()
        .prints("thread 0:  3.14 one beef 12345678901234%\n")
        .wants(vec![vec![0; 4]])
}
