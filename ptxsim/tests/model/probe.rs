//! Kernels of one instruction: the same opcodes and inputs that the models are compared with,
//! as PTX for the whole simulator or for a GPU.
//!
//! Every array has one u64 an element, whatever the operand's width, and a predicate is an element
//! that is not zero. The sources come first, in order; an instruction that reads or writes CC.CF
//! has its carry-in as one more source and its carry-out as second output. The output has two
//! u64 an element. Thread i of a one-dimensional grid does element i.

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
        text += &format!("    .param .u64 in{k},\n");
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
        text += &format!("    ld.param.u64 %pointer, [in{k}];\n");
        text += "    add.u64 %pointer, %pointer, %offset;\n";
        text += &format!("    ld.global.u64 %x{k}, [%pointer];\n");
        let letter = inputs.get(k).copied().unwrap_or('r');
        text += &match letter {
            'p' => format!("    setp.ne.u64 %s_p{k}, %x{k}, 0;\n"),
            'h' => format!("    cvt.u16.u64 %s_h{k}, %x{k};\n"),
            'r' => format!("    cvt.u32.u64 %s_r{k}, %x{k};\n"),
            _ => format!("    mov.b64 %s_l{k}, %x{k};\n"),
        };
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
        text += &format!("    {set} %s_r{k};\n");
    }
    let (to, from) = operands.split_once('=').expect("operands have an `=`");
    let mut list = String::new();
    let mut number = 0;
    for (k, letter) in to.chars().filter(|&letter| letter != '|').enumerate() {
        if k > 0 {
            list += if to.contains('|') { "|" } else { ", " };
        }
        list += &format!("%d_{letter}{k}");
    }
    for letter in from.chars() {
        if letter == 'i' {
            list += &format!(", {IMMEDIATE}");
        } else {
            list += &format!(", %s_{letter}{number}");
            number += 1;
        }
    }
    text += &format!("    {opcode} {list};\n");
    if carries(opcode) {
        let get = if subtracts { "subc" } else { "addc" };
        text += &format!("    {get}.u32 %d_r2, 0, 0;\n    and.b32 %d_r2, %d_r2, 1;\n");
    }
    text.push('\n');
    text
}

/// Stores the results.
fn results(opcode: &str, operands: &str) -> String {
    let mut text = String::from("    mov.b64 %o1, 0;\n");
    for (k, letter) in destinations(operands).into_iter().enumerate() {
        text += &match letter {
            'p' => format!("    selp.u64 %o{k}, 1, 0, %d_p{k};\n"),
            'h' => format!("    cvt.u64.u16 %o{k}, %d_h{k};\n"),
            'r' => format!("    cvt.u64.u32 %o{k}, %d_r{k};\n"),
            _ => format!("    mov.b64 %o{k}, %d_l{k};\n"),
        };
    }
    if carries(opcode) {
        text += "    cvt.u64.u32 %o1, %d_r2;\n";
    }
    text += "    ld.param.u64 %pointer, [out];\n    add.u64 %pointer, %pointer, %offset;\n";
    text += "    add.u64 %pointer, %pointer, %offset;\n";
    text += "    st.global.u64 [%pointer], %o0;\n    st.global.u64 [%pointer+8], %o1;\n";
    text
}
