//! Which matrix and warp instructions are taken, and which are refused by name.

use ptxsim::Error;
use ptxsim::decode::{Program, decode};
use ptxsim::isa::{Exec, Inst, Members};
use ptxsim::syntax::parse;
use ptxsim::tensor::descriptor::Major;
use ptxsim::tensor::{mma, wgmma};

fn module(body: &str) -> Result<Program, Error> {
    let text = format!(
        ".version 8.5\n.target sm_90a\n.address_size 64\n.visible .entry k()\n{{\n\
         .reg .b32 %r<300>;\n.reg .b64 %rd<8>;\n.reg .f64 %fd<8>;\n.reg .pred %p<4>;\n\
         {body}\nret;\n}}\n"
    );
    decode(&parse("test", &text)?, "test")
}

fn first(body: &str) -> (Program, Inst) {
    let program = module(body).unwrap_or_else(|error| panic!("{body}: {error}"));
    let inst = program.code[0];
    (program, inst)
}

fn refusal(body: &str) -> String {
    match module(body) {
        Err(error @ Error::Unsupported { .. }) => error.to_string(),
        Err(error) => panic!("{body}: {error}"),
        Ok(_) => panic!("{body}: taken"),
    }
}

/// `{%r<first>, ...}`.
fn vector(first: usize, count: usize) -> String {
    let names: Vec<String> = (first..first + count).map(|i| format!("%r{i}")).collect();
    format!("{{{}}}", names.join(", "))
}

#[test]
fn every_form_of_mma_decodes() {
    for form in super::mma::forms() {
        let [a, b, c] = form.registers();
        let kind = if form.registers()[2] == 2 {
            "f16"
        } else if form.a.is_integer() {
            "s32"
        } else {
            "f32"
        };
        let saturate = if form.saturate { ".satfinite" } else { "" };
        let body = format!(
            "mma.sync.aligned.m16n8k{}.row.col{saturate}.{kind}.{}.{}.{kind} {}, {}, {}, {};",
            form.k(),
            form.a.name(),
            form.b.name(),
            vector(0, c),
            vector(10, a),
            vector(20, b),
            vector(30, c),
        );
        let (_, inst) = first(&body);
        assert_eq!(mma::Form::unpack(inst.imm), form, "{body}");
        assert!(matches!(inst.exec, Exec::Collective(Members::Warp, _)));
    }
    first(
        "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%fd0,%fd1}, {%fd2}, {%fd3}, {%fd4,%fd5};",
    );
    first("movmatrix.sync.aligned.m8n8.trans.b16 %r0, %r1;");
}

#[test]
fn other_mma_is_refused_by_name() {
    let operands = "{%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}, {%r8,%r9}, {%r0,%r1,%r2,%r3};";
    for (opcode, reason) in [
        ("m16n8k16.col.col.f32.bf16.bf16.f32", ".col is not supported, only .row"),
        ("m16n8k16.row.col.f32.bf16.f16.f32", "cannot be multiplied"),
        ("m16n8k16.row.col.f16.bf16.bf16.f16", "D cannot have this type"),
        ("m16n8k16.row.col.f32.f16.f16.f16", "must have one type"),
        ("m16n8k64.row.col.s32.s4.s4.s32", ".s4 is not supported"),
        ("m16n8k256.row.col.s32.b1.b1.s32.xor.popc", ".b1 is not supported"),
        ("m16n8k32.row.col.f32.bf16.bf16.f32", "shape .m16n8k32 is not supported with .bf16"),
        ("m16n8k16.row.col.satfinite.f32.bf16.bf16.f32", ".satfinite goes with .s32"),
        ("m16n8k32.row.col.kind::f8f6f4.f32.e3m2.e3m2.f32", ".kind::f8f6f4 is not supported"),
    ] {
        let message = refusal(&format!("mma.sync.aligned.{opcode} {operands}"));
        assert!(message.contains(reason), "{opcode}: {message}");
    }
    let message = refusal(
        "mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 \
         {%r0,%r1,%r2,%r3}, {%r4,%r5,%r6,%r7}, {%r8}, {%r0,%r1,%r2,%r3};",
    );
    assert!(message.contains("A takes 2 registers, not 4"), "{message}");
}

#[test]
fn wgmma_decodes() {
    let body = format!(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {}, %rd0, %rd1, %p1, 1, -1, 1, 0;",
        vector(0, 32)
    );
    let (program, inst) = first(&body);
    let form = wgmma::Form::unpack(inst.imm);
    assert_eq!((form.n, form.k(), form.a_in_registers), (64, 16, false));
    assert_eq!((form.negate_a, form.negate_b), (false, true));
    assert_eq!((form.major_a, form.major_b), (Major::Mn, Major::K));
    assert_eq!(inst.target, 32);
    assert_eq!(program.lists[inst.list as usize].len(), 32);
    let body = format!(
        "wgmma.mma_async.sync.aligned.m64n256k16.f16.f16.f16 {}, {}, %rd1, 0, 1, 1, 1;",
        vector(0, 64),
        vector(100, 4)
    );
    let (program, inst) = first(&body);
    let form = wgmma::Form::unpack(inst.imm);
    assert!(form.a_in_registers && form.major_b == Major::Mn);
    let rows = &program.lists[inst.list as usize];
    assert_eq!((inst.target, rows.len()), (64, 68));
    // Only A's registers may not belong to a product under way.
    assert_eq!(*program.uses[0].0, rows[64..]);
    assert!(program.uses[0].1.is_empty());
    first(&format!(
        "wgmma.mma_async.sync.aligned.m64n24k32.satfinite.s32.s8.u8 {}, %rd0, %rd1, %p0;",
        vector(0, 12)
    ));
    first(&format!(
        "wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 {}, %rd0, %rd1, %p0, 1, 1;",
        vector(0, 4)
    ));
    let (_, inst) = first("wgmma.wait_group.sync.aligned 2;");
    assert_eq!(inst.imm, 2);
    first("wgmma.fence.sync.aligned;");
    first("wgmma.commit_group.sync.aligned;");
}

#[test]
fn other_wgmma_is_refused_by_name() {
    let d = vector(0, 32);
    for (rest, reason) in [
        ("m64n60k16.f32.bf16.bf16", "shape .m64n60k16 does not exist"),
        ("m64n264k16.f32.bf16.bf16", "shape .m64n264k16 does not exist"),
        ("m64n40k32.s32.s8.s8", "shape .m64n40k32 does not exist"),
        ("m64n64k16.f32.bf16.f16", "do not go together"),
        ("m64n64k16.f16.bf16.bf16", "do not go together"),
        ("m64n64k256.s32.b1.b1.and.popc", ".b1 is not supported"),
    ] {
        let message = refusal(&format!(
            "wgmma.mma_async.sync.aligned.{rest} {d}, %rd0, %rd1, %p0, 1, 1, 0, 0;"
        ));
        assert!(message.contains(reason), "{rest}: {message}");
    }
    let opcode = "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16";
    for (operands, reason) in [
        (format!("{d}, %rd0, %rd1, %p0, 1, 1;"), "takes 4 immediates"),
        (format!("{d}, %rd0, %rd1, %p0, 1, 2, 0, 0;"), "1 or -1, not 2"),
        (format!("{d}, %rd0, %rd1, %p0, 1, 1, 0, 2;"), "0 or 1, not 2"),
        (format!("{}, %rd0, %rd1, %p0, 1, 1, 0, 0;", vector(0, 16)), "D takes 32 registers"),
    ] {
        let message = refusal(&format!("{opcode} {operands}"));
        assert!(message.contains(reason), "{message}");
    }
    let message = refusal("wgmma.mma_async.sp.sync.aligned.m64n64k32.f32.bf16.bf16 %r0, %r1;");
    assert!(message.contains("only `wgmma.(..).sync.aligned`"), "{message}");
}

#[test]
fn warp_instructions_decode() {
    let (_, inst) = first("shfl.sync.bfly.b32 %r0|%p0, %r1, %r2, 31, -1;");
    assert!(matches!(inst.exec, Exec::Collective(Members::Source(3), _)));
    first("shfl.sync.idx.b32 %r0, %r1, 0, 31, %r2;");
    first("vote.sync.ballot.b32 %r0, %p0, -1;");
    first("match.all.sync.b64 %r0|%p0, %rd1, -1;");
    first("redux.sync.add.s32 %r0, %r1, -1;");
    first("activemask.b32 %r0;");
    let (_, inst) = first("elect.sync _|%p0, -1;");
    assert!(matches!(inst.exec, Exec::Collective(Members::Source(0), _)));
    refusal("shfl.sync.bfly.b64 %r0, %r1, %r2, 31, -1;");
}
