//! Programs are what their text says, and what cannot be run is refused with all of its places.

use crate::common::{compile, module, root};
use ptxsim::Error;
use ptxsim::decode::{Constant, Function, Program, Special, decode, table};
use ptxsim::error::Problem;
use ptxsim::isa::{Inst, TableRow, UNGUARDED};
use ptxsim::syntax::parse;
use std::fs;

fn decoded(text: &str) -> Result<Program, Error> {
    let tree = parse("test.ptx", text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    decode(&tree, "test.ptx")
}

fn program(text: &str) -> Program {
    decoded(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn body(text: &str) -> Program {
    program(&module(text))
}

fn problems(text: &str) -> Vec<Problem> {
    match decoded(text) {
        Err(Error::Unsupported { problems, .. }) => problems,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("accepted:\n{text}"),
    }
}

const REGISTERS: &str = ".reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .b16 %rs<9>; .reg .pred %p<9>;";

/// The message about one instruction.
fn refusal(instruction: &str) -> String {
    let problems = problems(&module(&format!("{REGISTERS}\n{instruction}")));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].ptx_line, 7);
    problems[0].message.clone()
}

fn function<'a>(program: &'a Program, name: &str) -> &'a Function {
    program.functions.iter().find(|f| f.name == name).unwrap()
}

fn opcodes(program: &Program) -> Vec<&str> {
    program.opcode.iter().map(|number| program.opcodes[*number as usize].as_str()).collect()
}

/// What a source row holds from the start.
fn constant32(program: &Program, inst: &Inst, source: usize) -> Constant {
    let constants = &program.functions.last().unwrap().constants32;
    constants.iter().find(|(row, _)| *row == inst.s[source]).unwrap().1
}

fn constant64(program: &Program, inst: &Inst, source: usize) -> Constant {
    let constants = &program.functions.last().unwrap().constants64;
    constants.iter().find(|(row, _)| *row == inst.s[source]).unwrap().1
}

#[test]
fn branches_go_to_the_label_of_their_own_block() {
    let program = body(
        ".reg .pred %p<2>; .reg .b32 %r<4>;\n\
         @%p1 bra END;\n\
         { .reg .pred p; LOOP: @!p bra LOOP; bra DONE; DONE: }\n\
         { .reg .pred p; LOOP: @!p bra.uni LOOP; bra DONE; DONE: }\n\
         ts: .branchtargets END, START;\n\
         START: brx.idx %r1, ts;\n\
         END: ret;",
    );
    let targets: Vec<u32> = program.code[..5].iter().map(|inst| inst.target).collect();
    assert_eq!(targets, [6, 1, 3, 3, 5]);
    assert_eq!(*program.targets[program.code[5].list as usize], [6, 5]);
    let guards: Vec<_> = program.code.iter().map(|i| (i.guard, i.guard_negated)).collect();
    assert!(guards[0] != guards[1] && guards[1] != guards[3], "{guards:?}");
    assert_eq!((guards[2].0, guards[1].1, guards[0].1), (UNGUARDED, true, false));
    assert_eq!(program.functions[0].predicates, 3);
    assert_eq!(program.functions[0].code, (0, 7));
}

#[test]
fn a_body_that_can_be_left_at_its_end_returns_there() {
    assert_eq!(opcodes(&body("")), ["ret"]);
    assert_eq!(opcodes(&body(".reg .pred %p<2>;\n@%p1 ret;")), ["ret", "ret"]);
    assert_eq!(opcodes(&body("bra L;\nL:")), ["bra", "ret"]);
    assert_eq!(opcodes(&body("{ exit; }")), ["exit", "ret"]);
    assert_eq!(opcodes(&body("trap;")), ["trap"]);
}

#[test]
fn sources_of_every_kind() {
    let program = program(
        ".version 9.0\n.target sm_90a\n.address_size 64\n.global .u32 other;\n\
         .global .align 8 .b8 table[64];\n.extern .shared .align 128 .b8 dynamic[];\n\
         .entry k(.param .u32 k_param_0, .param .align 16 .b8 k_param_1[40])\n{\n\
         .reg .b32 %r<5>; .reg .b64 %rd<5>; .reg .b16 %rs<5>;\n\
         .shared .align 4 .b8 a[6]; .shared .align 16 .b8 b[32];\n\
         .local .align 16 .b8 depot[64]; .local .align 8 .b8 more[8];\n\
         mov.u32 %r1, -1; mov.u32 %r1, 0x80000000; mov.f32 %r1, 0f3F800000; mov.f32 %r1, 1.5;\n\
         mov.u16 %rs1, -2; mov.u32 %r1, %ctaid.y; mov.u32 %r1, WARP_SZ; mov.u32 %r1, b;\n\
         mov.u32 %r1, b+4; mov.u32 %r1, dynamic;\n\
         mov.u64 %rd1, -1; mov.f64 %rd1, 0f3F800000; mov.u64 %rd1, table+8; mov.u64 %rd1, more;\n\
         mov.b64 %rd1, k_param_1; mov.u64 %rd1, b; mov.u64 %rd1, %gridid; ret;\n}",
    );
    let bits = |value: u64| Constant::Bits(value);
    let expected = [
        bits(0xffff_ffff),
        bits(0x8000_0000),
        bits(0x3f80_0000),
        bits(0x3fc0_0000),
        bits(0xfffe),
        Constant::Special(Special::CtaidY),
        bits(32),
        Constant::Shared(16),
        Constant::Shared(20),
        Constant::Shared(128),
    ];
    for (inst, expected) in program.code.iter().zip(expected) {
        assert_eq!(constant32(&program, inst, 0), expected);
    }
    let expected = [
        bits(u64::MAX),
        bits(1_f64.to_bits()),
        Constant::Variable(1, 8),
        Constant::Local(64),
        Constant::Param(16),
        Constant::Shared(16),
        Constant::Special(Special::GridId),
    ];
    for (inst, expected) in program.code[10..].iter().zip(expected) {
        assert_eq!(constant64(&program, inst, 0), expected);
    }
    let k = &program.functions[0];
    assert_eq!((&k.params[..], k.entry_param_bytes), (&[(0, 4), (16, 40)][..], 56));
    assert_eq!((k.local_bytes, k.shared_bytes, k.shared_align), (72, 128, 16));
    assert_eq!((program.dynamic_align, program.variables.len()), (128, 2));
    // The same constant is one row, and registers come first come first served.
    assert_eq!((k.rows32, k.rows64), (2 + 10, 1 + 7));
}

#[test]
fn operands_must_be_of_their_width() {
    let cases = [
        (
            "add.s32 %r1, %rd1, %r2;",
            "`add.s32`: `%rd1` is of 64 bits where a 32-bit register is wanted",
        ),
        (
            "add.s32 %rd1, %r1, %r2;",
            "`add.s32`: `%rd1` is of 64 bits where a 32-bit register is wanted",
        ),
        (
            "add.s64 %rd1, %rd1, %p1;",
            "`add.s64`: `%p1` is a predicate where a 64-bit register is wanted",
        ),
        (
            "add.s16 %rs1, %r1, %rs2;",
            "`add.s16`: `%r1` is of 32 bits where a 16-bit register is wanted",
        ),
        ("add.s32 %r1, %r1, 4294967296;", "`add.s32`: 4294967296 does not fit 32 bits"),
        ("add.s16 %rs1, %rs1, 65536;", "`add.s16`: 65536 does not fit 16 bits"),
        ("mov.u32 %r1, %rd1;", "`mov.u32`: `%rd1` has 64 bits where 32 are wanted"),
        ("mov.u32 %r1, %p1;", "`mov.u32`: `%p1` is a predicate where 32 bits are wanted"),
        ("mov.pred %p1, %r1;", "`mov.pred`: `%r1` has 32 bits where a predicate is wanted"),
        ("mov.u32 5, %r1;", "`mov.u32`: `5` stands where a register is written"),
        ("mov.u32 %tid.x, %r1;", "`mov.u32`: `%tid.x` cannot be written"),
        ("mov.u32 %r1, _;", "`mov.u32`: `_` stands where a value is read"),
        (
            "mov.u32 %r1, %r9;",
            "`mov.u32`: `%r9` is neither declared nor a special register that is supported",
        ),
        (
            "mov.u32 %r1, %envreg3;",
            "`mov.u32`: `%envreg3` is neither declared nor a special register that is supported",
        ),
        ("mov.u32 %r1, nothing;", "`mov.u32`: `nothing` is not declared"),
        ("mov.u64 %rd1, %tid.x;", "`mov.u64`: `%tid.x` has 32 bits where 64 are wanted"),
        ("add.s32 %r1, %clock, 1;", "`add.s32`: `%clock` can only be read by `mov`"),
        ("mov.u64 %rd1, %clock;", "`mov.u64`: `%clock` has 32 bits where 64 are wanted"),
        ("mov.u32 %r1, k_param_0;", "`mov.u32`: the address of `k_param_0` does not fit 32 bits"),
        ("@%r1 bra L; L:", "`bra`: `%r1` has 32 bits where a predicate is wanted"),
        ("bra nowhere;", "`bra`: `nowhere` stands where a label of this function is wanted"),
        ("brx.idx %r1, nowhere;", "`brx.idx`: `nowhere` stands where a `.branchtargets` is wanted"),
        (
            "lop3.b32 %r1, %r1, %r1, %r1, %r1;",
            "`lop3.b32`: `%r1` is of 32 bits where a number is wanted",
        ),
        ("add.s32 %r1, %r2;", "`add.s32`: operands are of the kinds `r=rr`"),
        ("add.s32 %r1, %r2, %r3, %r4;", "`add.s32`: operands are of the kinds `r=rr`"),
        (
            ".reg .b128 q; mov.b64 %rd1, q;",
            "`mov.b64`: `q` is a register of 128 bits: not supported",
        ),
        ("call nothing;", "`call`: `nothing` is not declared"),
        ("call %rd1, (), p;", "`call`: calls of functions by their address are not supported"),
        ("exit.now;", "`exit.now`: unknown modifier `.now`"),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn unknown_instructions_are_named_by_the_part_that_is_unknown() {
    assert_eq!(refusal("frobnicate.b32 %r1;"), "`frobnicate.b32`: unknown instruction");
    let message = refusal("add.s31 %r1, %r1, %r1;");
    let start = "`add.s31`: unknown modifier `.s31`; known forms: add.";
    assert!(message.starts_with(start), "{message}");
    let message = refusal("add %r1, %r1, %r1;");
    assert!(message.starts_with("`add`: something is missing; known forms: add."), "{message}");
    assert!(refusal(&format!("x{};", ".y".repeat(5000))).len() < 500);
}

#[test]
fn all_problems_of_a_module_are_told_at_once() {
    let problems = problems(
        ".version 9.0\n.target sm_90a\n.address_size 64\n\
         .entry a()\n{\n.reg .b32 %r<2>;\n.loc 1 40 1\nfoo.b32 %r1;\n.loc 1 41 1\nfoo.b32 %r1;\n}\n\
         .func b()\n{\n.loc 1 7 1\n.loc 2 3 1, function_name x, inlined_at 1 7 1\nbaz;\n\
         foo.b32 1;\n}\n.func (.reg .b32 r) c() { ret; }\n.file 1 \"a.cu\"\n",
    );
    let told: Vec<_> =
        problems.iter().map(|p| (p.ptx_line, p.source.as_deref(), p.message.as_str())).collect();
    let foo = "`foo.b32`: unknown instruction; the same in 2 more places";
    assert_eq!(
        told,
        [
            (19, None, "`c` passes registers: not supported"),
            (8, Some("a.cu:40"), foo),
            (16, Some("a.cu:7"), "`baz`: unknown instruction"),
        ]
    );
}

#[test]
fn calls_pass_their_parameters_in_the_frame() {
    let program = program(
        ".version 9.0\n.target sm_90a\n.address_size 64\n\
         .extern .func (.param .b32 func_retval0) vprintf(.param .b64 a, .param .b64 b);\n\
         .func (.param .b32 func_retval0) f(.param .align 8 .b8 x[12], .param .b32 y);\n\
         .entry k()\n{\n\
         { .param .align 8 .b8 param0[12]; .param .b32 param1; .param .b32 retval0;\n\
         call.uni (retval0), f, (param0, param1); }\n\
         { .param .b64 param0; .param .b64 param1; .param .b32 retval0;\n\
         call (retval0), vprintf, (param0, param1); }\n\
         ret;\n}\n\
         .func (.param .b32 func_retval0) f(.param .align 8 .b8 x[12], .param .b32 y)\n{\n\
         { .param .align 8 .b8 param0[12]; .param .b32 param1; .param .b32 retval0;\n\
         call.uni (retval0), f, (param0, param1); }\nret;\n}",
    );
    let sites: Vec<_> = program
        .calls
        .iter()
        .map(|site| {
            let name = program.functions[site.function as usize].name.as_str();
            (name, site.arguments.clone(), site.results.clone())
        })
        .collect();
    // A function stands where it is first declared: `f` comes before `k`.
    assert_eq!(sites[0], ("f", vec![24, 36], vec![40]), "after its own parameters");
    assert_eq!(sites[1], ("f", vec![0, 12], vec![16]));
    assert_eq!(sites[2], ("vprintf", vec![0, 8], vec![16]));
    assert_eq!(program.code[3].target, 2);
    let (vprintf, f, k) =
        (function(&program, "vprintf"), function(&program, "f"), function(&program, "k"));
    assert_eq!(vprintf.code.0, vprintf.code.1);
    assert_eq!((&f.params[..], &f.returns[..]), (&[(0, 12), (12, 4)][..], &[(16, 4)][..]));
    assert_eq!((k.param_bytes, f.param_bytes), (20, 44));
}

#[test]
fn calls_that_do_not_fit_are_refused() {
    let call = |statements: &str| {
        let text = format!(
            ".version 9.0\n.target sm_90a\n.address_size 64\n.func f(.param .b32 x) {{ ret; }}\n\
             .func g();\n.entry k()\n{{\n.reg .b32 %r<2>; .param .b64 wide; .param .b32 word;\n\
             {statements}\n}}"
        );
        problems(&text).remove(0).message
    };
    assert_eq!(call("call f;"), "`call`: `f` has 1 arguments, not 0");
    assert_eq!(call("call (word), f, (word);"), "`call`: `f` has 0 results, not 1");
    assert_eq!(call("call f, (wide);"), "`call`: `wide` of 8 bytes is 4 bytes in `f`");
    let register = "`call`: `%r1` stands where only a `.param` variable is supported";
    assert_eq!(call("call f, (%r1);"), register);
    assert_eq!(call("call g;"), "`call`: `g` is declared but not defined in this module");
    assert_eq!(call("call k;"), "`call`: `k` is an entry, which cannot be called");
}

#[test]
fn shared_memory_is_laid_out_for_each_entry() {
    let text = |called: &str| {
        format!(
            ".version 9.0\n.target sm_90a\n.address_size 64\n\
             .shared .align 16 .b8 common[100];\n.extern .shared .align 64 .b8 dynamic[];\n\
             .func f()\n{{ .reg .b32 %r<2>; .shared .align 8 .b8 own[24];\n\
             mov.u32 %r1, own; {called}\nret; }}\n\
             .entry plain()\n{{ .shared .align 4 .b8 x[40];\n\
             .reg .b32 %r<2>; mov.u32 %r1, x; ret; }}\n\
             .entry calls()\n{{ .shared .align 4 .b8 x[40];\n\
             .reg .b32 %r<2>; call f; mov.u32 %r1, x; mov.u32 %r1, dynamic; ret; }}\n"
        )
    };
    let program = program(&text(""));
    let bytes = |program: &Program, name: &str| function(program, name).shared_bytes;
    let shared = |program: &Program, name: &str| {
        let constants = function(program, name).constants32.iter();
        constants
            .filter_map(|(_, constant)| match constant {
                Constant::Shared(offset) => Some(*offset),
                _ => None,
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(shared(&program, "f"), [104]);
    assert_eq!((bytes(&program, "plain"), shared(&program, "plain")), (40, vec![0]));
    assert_eq!((bytes(&program, "calls"), shared(&program, "calls")), (192, vec![128, 192]));
    // Where a called function uses it, dynamic memory starts at one offset for all entries.
    let program = self::program(&text("mov.u32 %r1, dynamic;"));
    assert_eq!(shared(&program, "f"), [104, 192]);
    assert_eq!((bytes(&program, "plain"), bytes(&program, "calls")), (192, 192));
}

#[test]
fn sizes_beyond_any_gpu_are_refused() {
    let first = |text: &str| problems(&module(text)).remove(0).message;
    assert_eq!(first(".shared .b8 x[300000];"), "`k` has 300000 bytes of shared variables");
    assert_eq!(first(".shared .b8 x[9000000000];"), "`x` is too large for its memory");
    assert_eq!(first(".local .b8 x[600000];"), "`k` has 600000 bytes of local variables");
    assert_eq!(first(".param .b8 x[40000];"), "`x` and others are too large to pass");
    assert_eq!(first(".global .b8 x[4];"), "`x` is a variable of a function: not supported");
    let head = ".version 9.0\n.target sm_90a\n.address_size 64\n";
    let first = |text: &str| problems(&format!("{head}{text}")).remove(0).message;
    assert_eq!(first(".entry k(.param .b8 x[40000]) {}"), "`k` has 40000 bytes of parameters");
    assert_eq!(first(".global .b8 x[2000000000];"), "more than 1 GB of variables");
    let message = "`x` holds the address of `f`, which is no variable";
    assert_eq!(first(".func f() { ret; }\n.global .u64 x = f;"), message);
}

#[test]
fn predicates_that_are_negated_or_constant() {
    let program =
        body(".reg .pred %p<4>;\nand.pred %p1, !%p2, !%p2; mov.pred %p1, 1; mov.pred _, %p3;");
    assert_eq!(
        opcodes(&program),
        ["not.pred", "not.pred", "and.pred", "mov.pred", "mov.pred", "ret"]
    );
    let [not, _, and, one, sink, _] = &program.code[..] else { panic!() };
    assert_eq!((and.s[0], and.s[1]), (not.d[0], not.d[0]));
    assert_eq!(program.functions[0].constants_p, [(one.s[0], Constant::Bits(1))]);
    assert!(sink.d[0] != and.d[0] && sink.d[0] != sink.s[0]);
}

#[test]
fn clocks_are_read_by_mov() {
    let program = body(
        ".reg .b32 %r<4>; .reg .b64 %rd<4>;\nmov.u32 %r1, %clock; mov.u64 %rd1, %clock64;\n\
         mov.u32 %r2, %clock_hi; mov.u64 %rd1, %globaltimer; mov.u32 %r1, %globaltimer_lo;",
    );
    let read: Vec<_> = program.code[..5].iter().map(|inst| (inst.imm, inst.d[0])).collect();
    assert_eq!(read, [(0, 0), (1, 0), (2, 1), (1, 0), (0, 0)]);
}

#[test]
fn uses_are_the_32_bit_registers() {
    let program = body(
        ".reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .pred %p<9>;\nadd.s32 %r1, %r2, 5;\n\
         mad.wide.s32 %rd1, %r1, %r2, %rd2; setp.lt.s32 %p1, %r2, %tid.x;\n\
         mov.b64 {%r3, %r4}, %rd1;",
    );
    let uses: Vec<_> = program.uses.iter().map(|(s, d)| (s.to_vec(), d.to_vec())).collect();
    let row = |inst: usize, source: usize| program.code[inst].s[source];
    let (r1, r2) = (program.code[0].d[0], row(0, 0));
    assert_eq!(uses[0], (vec![r2], vec![r1]));
    assert_eq!(uses[1], (vec![r1, r2], vec![]));
    assert_eq!(uses[2], (vec![r2], vec![]));
    assert_eq!(uses[3], (vec![], program.code[3].d[..2].to_vec()));
}

#[test]
fn every_kernel_of_the_project_decodes() {
    for file in fs::read_dir(root().join("kernels")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".cu") {
            let decoded = program(&compile(&format!("kernels/{name}"), &[], "compute_90a"));
            assert!(decoded.functions.iter().any(|f| f.entry && f.code.0 < f.code.1), "{name}");
        }
    }
}

#[test]
fn parameters_are_read_from_where_they_lie() {
    let text = |statement: &str| {
        format!(
            ".version 9.0\n.target sm_90a\n.address_size 64\n\
             .entry k(.param .u32 a, .param .align 8 .b8 b[16])\n{{\n.reg .b32 %r<4>;\n\
             .reg .b64 %rd<4>; .param .align 8 .b8 param0[16];\n{statement}\n}}"
        )
    };
    for good in ["[b+12]", "[a]", "[param0+8]", "[%rd1+8]"] {
        program(&text(&format!("ld.param.u32 %r1, {good};")));
    }
    program(&text("st.param.b32 [param0+12], %r1;"));
    let cases = [
        ("ld.param.u32 %r1, [b+16];", "`b+16` is not in `b` of 16 bytes"),
        ("ld.param.u32 %r1, [a-4];", "`a+-4` is not in `a` of 4 bytes"),
        ("ld.param.u32 %r1, [c];", "`c` is not declared"),
        ("ld.param.u32 %r1, [%r1];", "`%r1` is no parameter"),
        ("ld.param.u32 %r1, %r2;", "`%r2` stands where a parameter is wanted"),
    ];
    for (statement, expected) in cases {
        let message = problems(&text(statement)).remove(0).message;
        assert_eq!(message, format!("`ld.param.u32`: {expected}"), "{statement}");
    }
}

#[test]
fn names_are_declared_once_in_a_block() {
    let text = ".reg .b32 x;\n{ .reg .b32 x; }\n{ x: bra x; }\nret;\n.reg .pred x, y;\ny:";
    let told: Vec<_> =
        problems(&module(text)).into_iter().map(|p| (p.ptx_line, p.message)).collect();
    let twice = |name: &str| format!("`{name}` is declared twice");
    assert_eq!(told, [(9, twice("x")), (9, twice("y"))]);
}

#[test]
fn names_of_registers_that_end_in_digits() {
    let program = body(
        ".reg .b32 %r<30>; .reg .b64 %r1x<3>; .reg .b32 %r3;\n\
         mov.u32 %r29, %r3; mov.u64 %r1x2, %r1x0; { .reg .b64 %r<3>; mov.u64 %r2, %r1; }",
    );
    assert_eq!((program.functions[0].rows32, program.functions[0].rows64), (2, 4));
    assert!(refusal("mov.u32 %r01, %r1;").contains("`%r01`"));
}

#[test]
fn facts_about_entries() {
    let program = program(
        ".version 9.0\n.target sm_90a\n.address_size 64\n.entry k()\n.maxntid 128\n.maxnreg 40\n\
         .reqnctapercluster 2, 1, 1\n{ ret; }\n.entry q()\n.reqntid 64, 2\n.maxntid 256\n{ ret; }",
    );
    let (k, q) = (function(&program, "k"), function(&program, "q"));
    assert_eq!((k.threads, q.threads), (Some(([128, 1, 1], false)), Some(([64, 2, 1], true))));
    assert_eq!((k.max_registers, k.cluster), (Some(40), Some([2, 1, 1])));
    assert_eq!(program.target, "sm_90a");
}

#[test]
fn patterns_cover_what_they_say() {
    assert_eq!(table::expand("add{.rn}.f32"), ["add.f32", "add.rn.f32"]);
    assert_eq!(table::expand("mov(.b32|.u32)"), ["mov.b32", "mov.u32"]);
    assert_eq!(
        table::expand("a{.x|.y}(.p|.q)"),
        ["a.p", "a.q", "a.x.p", "a.x.q", "a.y.p", "a.y.q"]
    );
    for row in table::TABLES.iter().copied().flatten().copied().flatten() {
        check(row);
    }
}

/// A row that says what the decoder can understand.
fn check(row: &TableRow) {
    let TableRow { pattern, operands, .. } = row;
    for opcode in table::expand(pattern) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:".contains(c);
        assert!(opcode.chars().all(plain), "{pattern}: {opcode}");
    }
    let (to, from) = operands.split_once('=').unwrap_or(("", operands));
    assert!(to.chars().all(|c| "rhlp|".contains(c)), "{pattern}: {operands}");
    assert!(from.chars().all(|c| "rhlpi".contains(c)), "{pattern}: {operands}");
    assert!(from.matches('i').count() <= 1, "{pattern}: {operands}");
    assert!(to.len() <= 5 && from.len() <= 12, "{pattern}: {operands}");
}
