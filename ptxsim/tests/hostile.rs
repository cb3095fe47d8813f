//! No text may panic, overflow the stack or take long: cut and changed PTX, text made to be
//! expensive, and the corpus of the fuzz target.

#[path = "../../fuzz/ptx.rs"]
mod body;

use crate::common::{compile, module, root};
use std::fs;
use std::time::{Duration, Instant};

/// A kernel with most of what nvcc can write: calls, recursion, a jump table, variables of every
/// space, inline assembly with scoped names, and inlined functions.
const SOURCE: &str = r#"
#include <cstdio>
#include <cuda_bf16.h>
__constant__ float table[4] = {1.0f, 2.0f, 3.0f, 4.0f};
__device__ unsigned counter;
struct Params { const float* x; int n; };
__device__ __noinline__ int fact(int n) { return n < 2 ? 1 : n * fact(n - 1); }
__global__ void k(__grid_constant__ const Params p, __nv_bfloat16* y) {
    __shared__ float s[32];
    extern __shared__ float4 dynamic[];
    float local[16];
    for (int i = 0; i < 8; i++) local[i] = p.x[i];
    s[threadIdx.x] = local[p.n & 7] + table[threadIdx.x & 3];
    unsigned r;
    asm volatile("{ .reg .pred q; L: setp.ne.u32 q, %1, 0; @q bra L; mov.u32 %0, 1; }"
                 : "=r"(r) : "r"(p.n));
    asm volatile("{ .reg .pred q; L: setp.ne.u32 q, %1, 1; @!q bra L; mov.u32 %0, 1; }"
                 : "+r"(r) : "r"(p.n));
    __syncthreads();
    switch (p.n) {
        case 0: s[0] = 1; break;
        case 1: s[1] = 4; break;
        case 2: s[3] = 9; break;
        case 3: s[5] = 8; break;
        case 4: s[5] = __bfloat162float(y[0] + y[1]); break;
        case 5: atomicAdd(&counter, 1); break;
    }
    dynamic[threadIdx.x].x = s[threadIdx.x ^ 1];
    printf("x %d %f %s\n", fact(p.n) + r, s[threadIdx.x], "abc");
}
"#;

/// Far more than any of these takes, on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(20);

fn quick(what: &str, text: &[u8]) {
    let started = Instant::now();
    body::ptx(text);
    let taken = started.elapsed();
    assert!(taken < LIMIT, "{what}: {taken:?} for {} bytes", text.len());
}

/// Numbers that are the same in every run.
struct Generator(u64);

impl Generator {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[test]
fn ptx_that_is_cut_anywhere() {
    let text = compile(SOURCE, &[], "compute_90a");
    for end in 0..text.len() {
        body::ptx(&text.as_bytes()[..end]);
    }
    for start in 0..text.len() {
        // The header is needed to get anywhere.
        let rest = format!(".version 9.0\n.target sm_90a\n{}", &text[start..]);
        body::ptx(rest.as_bytes());
    }
}

#[test]
fn ptx_with_bytes_changed() {
    let text = compile(SOURCE, &[], "compute_90a").into_bytes();
    // Debug sections are passed over; changes there would be wasted.
    let end = text.windows(8).position(|w| w == b".section").unwrap();
    let marks = b"{}()[]<>,;:.@!|+-=%_ \n\"/*0x9";
    let mut generator = Generator(0x9e37_79b9_7f4a_7c15);
    for _ in 0..4000 {
        let mut changed = text.clone();
        for _ in 0..=generator.below(4) {
            let at = generator.below(end);
            changed[at] = match generator.below(3) {
                0 => generator.below(256) as u8,
                1 => text[generator.below(end)],
                _ => marks[generator.below(marks.len())],
            };
        }
        body::ptx(&changed);
    }
}

#[test]
fn ptx_with_lines_moved() {
    let text = compile(SOURCE, &[], "compute_90a");
    let lines: Vec<&str> = text.lines().take_while(|l| !l.contains(".section")).collect();
    let mut generator = Generator(0xd1b5_4a32_d192_ed03);
    for _ in 0..2000 {
        let mut changed = lines.clone();
        for _ in 0..=generator.below(3) {
            let (from, to) = (generator.below(changed.len()), generator.below(changed.len()));
            match generator.below(3) {
                0 => changed.swap(from, to),
                1 => changed.insert(to, lines[from.min(lines.len() - 1)]),
                _ => drop(changed.remove(from)),
            }
        }
        body::ptx(changed.join("\n").as_bytes());
    }
}

#[test]
fn nesting_has_its_limits() {
    const DEEP: usize = 200_000;
    for open in ["{", "[", "(", "-", "~", "!", "{a,", "[a,", "((", "call (", "a|", "@", "L:"] {
        let many = open.repeat(DEEP);
        quick(open, module(&many).as_bytes());
        quick(open, module(&format!("foo {many}")).as_bytes());
        let head = ".version 9.0\n.target sm_90a\n";
        quick(open, format!("{head}.global .b32 x[2][2][2] = {many}").as_bytes());
        quick(open, format!("{head}.entry k({many}").as_bytes());
        quick(open, format!("{head}{many}").as_bytes());
    }
    quick("dimensions", module(&format!(".shared .b8 x{};", "[1]".repeat(DEEP))).as_bytes());
    quick("closed", module(&format!("{}{}", "{".repeat(60), "}".repeat(60))).as_bytes());
}

#[test]
fn large_numbers_take_no_space() {
    for text in [
        ".reg .b32 %r<4294967295>; mov.u32 %r4294967294, %r0;",
        ".reg .b32 %r<4294967296>;",
        ".shared .b8 x[4294967295]; .local .b8 y[4294967295]; .param .b8 z[4294967295];",
        ".shared .align 65536 .b8 x[9223372036854775807];",
        ".loc 4294967295 4294967295 4294967295",
        "bra L+9223372036854775807;",
        "foo [a+9223372036854775807], [a-9223372036854775808], [-9223372036854775808];",
        "foo 9223372036854775807*9223372036854775807<<63>>63/-1;",
        "foo (-9223372036854775807-1)/-1;",
        ".maxntid 1;",
    ] {
        quick(text, module(text).as_bytes());
    }
    let head = ".version 9.0\n.target sm_90a\n.address_size 64\n";
    for text in [
        ".global .b8 x[9223372036854775807] = {1};",
        ".global .b8 x[3][3000000000000000000] = {{1}, {2}, {3}};",
        ".global .b8 x[0][0] = {};",
        ".global .b8 x[][9223372036854775807] = {{1}, {2}};",
        ".global .v4 .b64 x[4611686018427387904];",
        ".entry k(.param .b8 x[4294967295], .param .align 65536 .b8 y[4294967295]) { ret; }",
        ".version 99999999999.9",
        ".entry k() .maxntid 4294967295, 4294967295, 4294967295 { ret; }",
    ] {
        quick(text, format!("{head}{text}").as_bytes());
    }
}

/// Twice the text may not take four times as long; these sizes would not end otherwise.
#[test]
fn the_time_is_in_proportion_to_the_text() {
    const MANY: usize = 60_000;
    let repeat = |unit: &dyn Fn(usize) -> String| (0..MANY).map(unit).collect::<String>();
    let bodies = [
        ("registers", repeat(&|i| format!(".reg .b32 a{i};\nmov.u32 a{i}, 1;\n"))),
        ("labels", repeat(&|i| format!("L{i}: bra L{};\n", MANY - 1 - i))),
        ("problems", repeat(&|i| format!("foo{i} %r1;\n"))),
        ("sources", repeat(&|i| format!(".loc {i} {i} 1, function_name x, inlined_at 1 1 1\n"))),
        ("blocks", repeat(&|i| format!("{{ .reg .pred p; L: @p bra L; .shared .b8 s{i}; }}\n"))),
        ("opcode", format!("add{} %r1;", ".x".repeat(MANY))),
        ("name", format!("mov.u32 {}, 1;", "1".repeat(MANY))),
        ("register", format!("mov.u32 %r{}, 1;", "1".repeat(MANY))),
        ("operands", format!("foo {};", vec!["a"; MANY].join(","))),
        ("targets", format!("L: t: .branchtargets {}; brx.idx 1, t;", vec!["L"; MANY].join(","))),
        ("constants", repeat(&|i| format!("foo {i}+{i};"))),
        ("sum", format!("foo {};", vec!["1"; MANY].join("+"))),
        ("comments", "/* /* */ // /*\n".repeat(MANY)),
        ("strings", "\"".repeat(MANY)),
        ("colons", ":".repeat(MANY)),
        ("modifiers", repeat(&|i| format!("add.u{i} %r1, %r1, 1;\n"))),
    ];
    for (what, text) in bodies {
        quick(what, module(&text).as_bytes());
    }
    let modules = [
        ("variables", repeat(&|i| format!(".global .b32 v{i} = {i};\n"))),
        ("dynamic", repeat(&|i| format!(".extern .shared .b8 d{i}[];\n"))),
        ("addresses", repeat(&|i| format!(".global .b64 v{i} = v{};\n", MANY - 1 - i))),
        ("files", repeat(&|i| format!(".file {i} \"x\"\n"))),
        ("declarations", repeat(&|i| format!(".func f{}(.param .b32 x);\n", i % 7))),
        ("entries", repeat(&|i| format!(".entry k{i}() {{ mov.u32 %r1, d; call f{i}; }}\n"))),
        ("chain", repeat(&|i| format!(".func f{i}() {{ call f{}; ret; }}\n", (i + 1) % MANY))),
        ("array", format!(".global .b8 x[{MANY}] = {{{}}};", vec!["1"; MANY].join(","))),
        ("rows", format!(".global .b8 x[{MANY}][2] = {{{}}};", vec!["{1}"; MANY].join(","))),
    ];
    let dynamic: String = (0..250).map(|i| format!(".extern .shared .b8 d{i}[];\n")).collect();
    let all: String = (0..250).map(|i| format!("call f{i}; mov.u32 %r1, d{i};\n")).collect();
    let dense: String = (0..250).map(|i| format!(".func f{i}() {{ {all} }}\n")).collect();
    let head = ".version 9.0\n.target sm_90a\n.address_size 64\n";
    for (what, text) in modules {
        quick(what, format!("{head}{text}").as_bytes());
    }
    quick("calls", format!("{head}{dynamic}{dense}.entry k() {{ {all} }}").as_bytes());
}

#[test]
fn the_corpus_does_no_harm() {
    let folder = root().join("fuzz/corpus/ptx");
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        quick(&path.display().to_string(), &fs::read(&path).unwrap());
        files += 1;
    }
    assert!(files > 2, "no corpus in {}", folder.display());
}
