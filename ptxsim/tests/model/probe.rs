//! Kernels of one instruction: the same opcodes and inputs that the models are compared with,
//! as PTX for the whole simulator or for a GPU.
//!
//! Every array has one u64 an element, whatever the operand's width, and a predicate is an element
//! that is not zero. The sources come first, in order; an instruction that reads or writes CC.CF
//! has its carry-in as one more source and its carry-out as second output. The output has two
//! u64 an element. Thread i of a one-dimensional grid does element i.

use std::fmt::Write;

/// What stands for the immediate operand, where an instruction has one.
pub const IMMEDIATE: i64 = 0x6a;

/// Whether an opcode is part of a carry chain.
pub fn carries(opcode: &str) -> bool {
    opcode.contains(".cc") || ["addc.", "subc.", "madc."].iter().any(|x| opcode.starts_with(x))
}

/// The letters of the sources, without immediates.
pub fn sources(operands: &str) -> Vec<char> {
    let (_, sources) = operands.split_once('=').expect("operands have an `=`");
    sources.chars().filter(|&letter| letter != 'i').collect()
}

/// The letters of the destinations.
pub fn destinations(operands: &str) -> Vec<char> {
    let (destinations, _) = operands.split_once('=').expect("operands have an `=`");
    destinations.chars().filter(|&letter| letter != '|').collect()
}

/// PTX of an entry `probe` that runs one instruction on every element.
pub fn probe_ptx(opcode: &str, operands: &str) -> String {
    let inputs = sources(operands);
    let arrays = inputs.len() + usize::from(carries(opcode));
    let mut text = String::from(".version 8.7\n.target sm_90a\n.address_size 64\n\n");
    text += ".visible .entry probe(\n";
    for k in 0..arrays {
        writeln!(text, "    .param .u64 in{k},").unwrap();
    }
    text += "    .param .u64 out\n)\n{\n";
    text += "    .reg .pred %s_p<4>, %d_p<2>;\n    .reg .b16 %s_h<4>, %d_h<2>;\n";
    text += "    .reg .b32 %s_r<5>, %d_r<3>;\n    .reg .b64 %s_l<4>, %d_l<2>, %x<5>, %o<2>;\n";
    text += "    .reg .b32 %thread, %block, %width, %index;\n";
    text += "    .reg .b64 %offset, %pointer;\n\n";
    text += "    mov.u32 %thread, %tid.x;\n    mov.u32 %block, %ctaid.x;\n";
    text += "    mov.u32 %width, %ntid.x;\n    mad.lo.u32 %index, %block, %width, %thread;\n";
    text += "    mul.wide.u32 %offset, %index, 8;\n";
    for k in 0..arrays {
        writeln!(text, "    ld.param.u64 %pointer, [in{k}];").unwrap();
        text += "    add.u64 %pointer, %pointer, %offset;\n";
        writeln!(text, "    ld.global.u64 %x{k}, [%pointer];").unwrap();
        let letter = inputs.get(k).copied().unwrap_or('r');
        match letter {
            'p' => writeln!(text, "    setp.ne.u64 %s_p{k}, %x{k}, 0;"),
            'h' => writeln!(text, "    cvt.u16.u64 %s_h{k}, %x{k};"),
            'r' => writeln!(text, "    cvt.u32.u64 %s_r{k}, %x{k};"),
            _ => writeln!(text, "    mov.b64 %s_l{k}, %x{k};"),
        }
        .unwrap();
    }
    text += &instruction(opcode, operands);
    text += &results(opcode, operands);
    text += "    ret;\n}\n";
    text
}

/// The instruction itself, between what sets the carry and what reads it.
fn instruction(opcode: &str, operands: &str) -> String {
    let mut text = String::from("\n");
    let subtracts = opcode.starts_with("sub");
    if carries(opcode) {
        let k = sources(operands).len();
        let set = if subtracts { "sub.cc.u32 %d_r2, 0," } else { "add.cc.u32 %d_r2, 0xffffffff," };
        writeln!(text, "    {set} %s_r{k};").unwrap();
    }
    let (to, from) = operands.split_once('=').expect("operands have an `=`");
    let mut list = String::new();
    let mut number = 0;
    for (k, letter) in to.chars().filter(|&letter| letter != '|').enumerate() {
        if k > 0 {
            list += if to.contains('|') { "|" } else { ", " };
        }
        write!(list, "%d_{letter}{k}").unwrap();
    }
    for letter in from.chars() {
        if letter == 'i' {
            write!(list, ", {IMMEDIATE}").unwrap();
        } else {
            write!(list, ", %s_{letter}{number}").unwrap();
            number += 1;
        }
    }
    writeln!(text, "    {opcode} {list};").unwrap();
    if carries(opcode) {
        let get = if subtracts { "subc" } else { "addc" };
        writeln!(text, "    {get}.u32 %d_r2, 0, 0;\n    and.b32 %d_r2, %d_r2, 1;").unwrap();
    }
    text.push('\n');
    text
}

/// Stores the results.
fn results(opcode: &str, operands: &str) -> String {
    let mut text = String::from("    mov.b64 %o1, 0;\n");
    for (k, letter) in destinations(operands).into_iter().enumerate() {
        match letter {
            'p' => writeln!(text, "    selp.u64 %o{k}, 1, 0, %d_p{k};"),
            'h' => writeln!(text, "    cvt.u64.u16 %o{k}, %d_h{k};"),
            'r' => writeln!(text, "    cvt.u64.u32 %o{k}, %d_r{k};"),
            _ => writeln!(text, "    mov.b64 %o{k}, %d_l{k};"),
        }
        .unwrap();
    }
    if carries(opcode) {
        text += "    cvt.u64.u32 %o1, %d_r2;\n";
    }
    text += "    ld.param.u64 %pointer, [out];\n    add.u64 %pointer, %pointer, %offset;\n";
    text += "    add.u64 %pointer, %pointer, %offset;\n";
    text += "    st.global.u64 [%pointer], %o0;\n    st.global.u64 [%pointer+8], %o1;\n";
    text
}
