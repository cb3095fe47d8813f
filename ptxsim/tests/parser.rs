//! What nvcc writes parses into the tree it means; what is not PTX is refused where it goes wrong.

use crate::common::{compile, module, root};
use ptxsim::Error;
use ptxsim::syntax::parse;
use ptxsim::syntax::tree::{Init, Instruction, Module, Operand, Place, Space, Statement};
use std::fs;

fn parsed(text: &str) -> Module {
    parse("test.ptx", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn body(text: &str) -> Vec<Statement> {
    parsed(&module(text)).functions.remove(0).body.unwrap()
}

fn instructions(statements: &[Statement]) -> Vec<Instruction> {
    let mut found = Vec::new();
    for statement in statements {
        match statement {
            Statement::Instruction(instruction) => found.push(instruction.clone()),
            Statement::Block(inner) => found.extend(instructions(inner)),
            _ => {}
        }
    }
    found
}

fn operands(text: &str) -> Vec<Operand> {
    instructions(&body(text)).remove(0).operands
}

fn name(text: &str) -> Operand {
    Operand::Name(text.to_owned())
}

/// The line, what was expected and what was found.
fn refused(text: &str) -> (u32, String, String) {
    match parse("test.ptx", text) {
        Err(Error::Syntax { module, line, expected, found }) => {
            assert_eq!(module, "test.ptx");
            (line, expected, found)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_kernel_of_the_project_parses() {
    let mut sources: Vec<_> = fs::read_dir(root().join("kernels"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".cu"))
        .collect();
    sources.sort();
    for source in sources {
        let archs = ["compute_80", "compute_90a"];
        for arch in archs.iter().filter(|a| **a == "compute_90a" || !source.contains("_sm90")) {
            let tree = parsed(&compile(&format!("kernels/{source}"), &[], arch));
            assert_eq!(tree.target, arch.replace("compute", "sm"));
            let entries: Vec<_> = tree.functions.iter().filter(|f| f.entry).collect();
            assert!(!entries.is_empty(), "{source}");
            let last = entries[0].body.as_ref().unwrap().last();
            let Some(Statement::Instruction(last)) = last else { panic!("{last:?}") };
            assert_eq!(last.opcode, "ret");
            assert!(last.place.outer.1 > 0, "{source}: {:?}", last.place);
        }
    }
}

#[test]
fn heads_of_functions() {
    let tree = parsed(
        ".version 8.7\n.target sm_90a, debug\n.address_size 64\n\
         .extern .func (.param .b32 func_retval0) vprintf\n(\n.param .b64 a,\n.param .b64 b\n)\n;\n\
         .func .attribute(.unified(19, 95)) (.param .align 8 .b8 r[16]) f(.reg .b32 x) .noreturn;\n\
         .weak .entry k(\n.param .u64 .ptr .global .align 32 k_param_0,\n\
         .param .align 64 .b8 k_param_1[128], .param .f32 k_param_2)\n.maxntid 128\n\
         .minnctapersm 2 .maxnreg 96 .reqntid 8, 4 .explicitcluster .reqnctapercluster 2, 1, 1\n\
         .maxclusterrank 8 .pragma \"nounroll\";\n{ ret; }\n.file 1 \"a.cu\", 12, 34\n",
    );
    assert_eq!((tree.version, tree.target.as_str()), ((8, 7), "sm_90a"));
    assert_eq!(tree.files, [(1, "a.cu".to_owned())]);
    let [vprintf, f, k] = &tree.functions[..] else { panic!() };
    assert_eq!((vprintf.params.len(), vprintf.returns.len()), (2, 1));
    assert!(vprintf.body.is_none() && !vprintf.entry);
    assert_eq!((f.returns[0].align, f.returns[0].bytes), (8, Some(16)));
    assert_eq!(f.params[0].space, Space::Register);
    let sizes: Vec<_> = k.params.iter().map(|p| (p.align, p.bytes)).collect();
    assert_eq!(sizes, [(8, Some(8)), (64, Some(128)), (4, Some(4))]);
    assert_eq!((k.max_threads, k.required_threads), (Some([128, 1, 1]), Some([8, 4, 1])));
    assert_eq!((k.max_registers, k.min_blocks, k.cluster), (Some(96), Some(2), Some([2, 1, 1])));
}

#[test]
fn variables_and_their_contents() {
    let tree = parsed(
        ".version 9.0\n.target sm_80\n.address_size 64\n\
         .global .align 4 .u32 counter;\n.const .align 4 .b8 t[6] = {0, 128, 63, 0xFF};\n\
         .global .attribute(.managed) .align 8 .u64 p[2] = {generic(t)+4, t-8};\n\
         .global .u32 m[2][3] = {{1, -2}, {3}};\n.global .v4 .f32 v = {1.5, 0f40000000, 0, -1.0};\n\
         .global .align 8 .b8 b[9] = {7, 0xFF(t), 0xFF00(t+2), 0xFF00000000000000(generic(t))};\n\
         .extern .shared .align 16 .b8 smem[];\n.global .f32 x = 0f3F800000, y;\n\
         .global .b8 open[] = {1, 2, 3};\n.shared .align 1024 .b8 s[2][8];\n",
    );
    let get = |name: &str| tree.variables.iter().find(|v| v.name == name).unwrap();
    let bytes = |list: &[u8]| Init::Bytes(list.to_vec());
    assert_eq!((get("counter").space, get("counter").bytes), (Space::Global, Some(4)));
    assert_eq!(get("t").init, [bytes(&[0, 128, 63, 255])]);
    let address = |offset, generic, shift, bytes| Init::Address {
        name: "t".to_owned(),
        offset,
        generic,
        shift,
        bytes,
    };
    assert_eq!(get("p").init, [address(4, true, 0, 8), address(-8, false, 0, 8)]);
    let rows = [bytes(&[1, 0, 0, 0, 254, 255, 255, 255]), Init::Zeros(4)];
    assert_eq!(get("m").init[..2], rows);
    assert_eq!(get("m").bytes, Some(24));
    let floats: Vec<u8> =
        [1.5_f32.to_bits(), 2_f32.to_bits(), 0, (-1_f32).to_bits()].map(u32::to_le_bytes).concat();
    assert_eq!(get("v").init, [Init::Bytes(floats)]);
    assert_eq!((get("v").bytes, get("v").align), (Some(16), 16));
    let masked = [address(0, false, 0, 1), address(2, false, 8, 1), address(0, true, 56, 1)];
    assert_eq!(get("b").init[1..], masked);
    assert_eq!((get("smem").bytes, get("smem").external), (None, true));
    assert_eq!(get("x").init, [bytes(&[0, 0, 128, 63])]);
    assert!(get("y").init.is_empty());
    assert_eq!(get("open").bytes, Some(3));
    assert_eq!((get("s").bytes, get("s").align), (Some(16), 1024));
}

#[test]
fn operands_of_every_kind() {
    assert_eq!(
        operands("foo %tid.x, -5, 0xFFu, 017, 0b101U, 0f3F800000, 0d3FF0000000000000, 1.5, _, !p;"),
        [
            name("%tid.x"),
            Operand::Int(-5),
            Operand::Int(255),
            Operand::Int(15),
            Operand::Int(5),
            Operand::F32(0x3f80_0000),
            Operand::F64(1_f64.to_bits()),
            Operand::F64(1.5_f64.to_bits()),
            name("_"),
            Operand::Not("p".to_owned()),
        ]
    );
    let address = |base: &str, offset| Operand::Address { base: Some(base.to_owned()), offset };
    assert_eq!(
        operands("foo [a], [a+8], [a+-8], [a-8], [a + 4*(2+1)], [16], t+8, 0xFFFFFFFFFFFFFFFF;"),
        [
            address("a", 0),
            address("a", 8),
            address("a", -8),
            address("a", -8),
            address("a", 12),
            Operand::Address { base: None, offset: 16 },
            Operand::Offset("t".to_owned(), 8),
            Operand::Int(-1),
        ]
    );
    let pair = Operand::Pair(Box::new(name("%r1")), Box::new(name("%p1")));
    let coordinates = Operand::Vector(vec![name("%r1"), name("%r2")]);
    assert_eq!(
        operands("foo %r1|%p1, {%r1, 5}, [%rd1, {%r1, %r2}], [m, {%r1, %r2}, {%r1, %r2}];"),
        [
            pair,
            Operand::Vector(vec![name("%r1"), Operand::Int(5)]),
            Operand::Tensor(vec![name("%rd1"), coordinates.clone()]),
            Operand::Tensor(vec![name("m"), coordinates.clone(), coordinates]),
        ]
    );
}

#[test]
fn calls_and_guards() {
    let call = instructions(&body("@!%p1 call.uni (retval0),\n f,\n (\n param0,\n %r1\n );"));
    let call = &call[0];
    assert_eq!(call.guard, Some(("%p1".to_owned(), true)));
    let group = |names: &[&str]| Operand::Group(names.iter().map(|n| name(n)).collect());
    assert_eq!(call.operands, [group(&["retval0"]), name("f"), group(&["param0", "%r1"])]);
    assert_eq!(operands("call f;"), [name("f")]);
    let statements = body(
        "proto: .callprototype (.param .b32 _) _ (.param .b64 _);\nts: .branchtargets $L1, $L2;\n\
         $L1: brx.idx %r1, ts;\n$L2:\n{ .reg .pred p; L: @p bra L; }",
    );
    assert_eq!(statements[0], Statement::CallPrototype { name: "proto".to_owned() });
    let labels = vec!["$L1".to_owned(), "$L2".to_owned()];
    assert_eq!(statements[1], Statement::BranchTargets { name: "ts".to_owned(), labels });
    assert_eq!(statements[2], Statement::Label("$L1".to_owned()));
    assert!(matches!(&statements[5], Statement::Block(inner) if inner.len() == 3));
}

#[test]
fn declarations_in_a_body() {
    let statements = body(
        ".reg .b32 %r<5>, %s;\n.shared .align 4 .b8 s[8];\n.pragma \"nounroll\";\n\
         .extern .shared .align 16 .b8 d[];\n.local .align 16 .b8 l[64];\n.param .b32 param0;;",
    );
    let register = |name: &str, count| Statement::Registers {
        ty: "b32".to_owned(),
        name: name.to_owned(),
        count,
    };
    assert_eq!(statements[..2], [register("%r", Some(5)), register("%s", None)]);
    let spaces: Vec<_> = statements[2..]
        .iter()
        .map(|statement| match statement {
            Statement::Variable(variable) => (variable.space, variable.external),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [Space::Shared, Space::Shared, Space::Local, Space::Param];
    assert_eq!(spaces, [0, 1, 2, 3].map(|i| (expected[i], i == 1)));
}

#[test]
fn opcodes_keep_their_modifiers() {
    let found = instructions(&body(
        "ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {a,b,c,d}, [e];\n\
         mbarrier.try_wait.parity.shared::cta.b64 P1, [%r1], %r2; /* two\nlines */ ret; // end",
    ));
    let opcodes: Vec<_> = found.iter().map(|i| (i.opcode.as_str(), i.place.ptx_line)).collect();
    assert_eq!(
        opcodes,
        [
            ("ld.global.nc.L1::no_allocate.L2::128B.v4.u32", 6),
            ("mbarrier.try_wait.parity.shared::cta.b64", 7),
            ("ret", 8)
        ]
    );
}

#[test]
fn inlined_code_leads_to_its_outermost_caller() {
    let found = instructions(&body(
        "a;\n.loc 1 12 3\nb;\n.loc 2 107 3, function_name $L__info_string0, inlined_at 1 12 3\nc;\n\
         .loc 3 8 5, function_name $L__info_string1+16, inlined_at 2 107 3\nd;\n\
         .loc 1 20 1\n.loc 2 107 3, function_name $L__info_string0, inlined_at 1 20 1\n\
         .loc 3 8 5, function_name $L__info_string1, inlined_at 2 107 3\ne;\n\
         .loc 3 8 5\nf;\n.loc 4 1 1, function_name x, inlined_at 3 8 5\ng;\n\
         .loc 9 9 9, function_name x, inlined_at 5 6 7\nh;\n\
         .loc 1 30 1\n.loc 1 44 2, function_name x, inlined_at 1 30 1\n\
         .loc 2 50 1, function_name x, inlined_at 1 44 2\ni;",
    ));
    let place = |i: usize| (found[i].place.outer, found[i].place.inner);
    assert_eq!(place(0), ((0, 0), (0, 0)));
    assert_eq!(place(1), ((1, 12), (1, 12)));
    assert_eq!(place(2), ((1, 12), (2, 107)));
    assert_eq!(place(3), ((1, 12), (3, 8)));
    assert_eq!(place(4), ((1, 20), (3, 8)));
    assert_eq!(place(5), ((3, 8), (3, 8)), "not inlined");
    assert_eq!(place(6), ((3, 8), (4, 1)));
    assert_eq!(place(7), ((5, 6), (9, 9)), "a caller not told of before");
    let own: Vec<_> = found.iter().map(|i| i.place.own).collect();
    let lines = [(0, 0), (1, 12), (1, 12), (1, 12), (1, 20), (3, 8), (3, 8), (5, 6), (1, 44)];
    assert_eq!(own, lines);
    assert_eq!(found[0].place, Place { ptx_line: 6, ..Place::default() });
}

#[test]
fn what_is_not_ptx_is_refused_where_it_goes_wrong() {
    let cases = [
        ("add.s32 %r1, %r2", 7, "`,` or `;` after an operand", "`}`"),
        ("add.s32 %r1 %r2;", 6, "`,` or `;` after an operand", "`%r2`"),
        ("\nadd.s32 , %r2;", 7, "an operand", "`,`"),
        ("add.s32 [a, {b}, [c;", 6, "`]` or `,` after an address", "`;`"),
        ("mov.b32 %r1, 0f3F80;", 6, "a number", "`0f3F80`"),
        ("mov.b32 %r1, 99999999999999999999;", 6, "a number", "`99999999999999999999`"),
        (".reg .b33 %r<5>;", 6, "the type of a register, such as `.b32` or `.pred`", "`.b33`"),
        (".reg .b32 %r<-5>;", 6, "the number of registers", "`-`"),
        (
            ".shared .align 3 .b8 s[4];",
            6,
            "an alignment that is a power of two and at most 65536",
            "`3`",
        ),
        (".shared .b8 s[4] = {1};", 6, "no initial contents outside `.global` and `.const`", "`{`"),
        (".loc 1 2;", 6, "a column of the source", "`;`"),
        ("@ %p1, bra L;", 6, "an instruction", "`,`"),
        ("bra é;", 6, "an operand", "`é`"),
        ("/* open", 6, "an instruction, a declaration or `}`", "a comment without an end"),
        (".pragma \"open;", 6, "`;`", "a string without an end"),
        (".frobnicate;", 6, "a declaration, `.loc`, `.pragma` or an instruction", "`.frobnicate`"),
        ("mov.b32 %r1, 1/0;", 6, "an integer that this operator can take", "`0`"),
    ];
    for (text, line, expected, found) in cases {
        let told = refused(&module(text));
        assert_eq!(told, (line, expected.to_owned(), found.to_owned()), "{text}");
    }
    let error = parse("a.ptx", &module("bra")).unwrap_err().to_string();
    assert_eq!(error, "a.ptx:7: expected an operand, found `}`");
}

#[test]
fn modules_that_go_wrong_outside_of_functions() {
    let head = ".version 9.0\n.target sm_80\n.address_size 64\n";
    let cases = [
        ("", 1, "`.version`"),
        (".version 9", 1, "a version such as `9.0`"),
        (".version 9.0\n.target 5", 2, "a target such as `sm_80`"),
        (".version 9.0\n.target sm_80\n.address_size 32", 3, "`64`"),
    ];
    for (text, line, expected) in cases {
        let told = refused(text);
        assert_eq!((told.0, told.1.as_str()), (line, expected), "{text}");
    }
    let cases = [
        (".entry k(", "`.param` or `.reg`"),
        (".entry k(.param .b32", "the name of a variable"),
        (".entry k()\n{", "an instruction, a declaration or `}`"),
        (".section .debug_str {", "`}`"),
        (".global .b8 x[18446744073709551615];", "the size of an array"),
        (".global .b64 x[9000000000000000000];", "a variable whose size is below 2^63 bytes"),
        (".global .b8 x[2] = {1, 2, 3};", "`}`, the array being full"),
        (".global .b8 x[2] = {y};", "a number, or a mask and a name as in `0xFF(name)`"),
        (".global .f16 x = 1.5;", "a value of the variable's type"),
    ];
    for (text, expected) in cases {
        assert_eq!(refused(&format!("{head}{text}")).1, expected, "{text}");
    }
}
