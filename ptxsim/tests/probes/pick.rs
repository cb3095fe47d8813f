//! prmt and lop3 with many immediates, which the table's probes have one of.

use super::Probe;
use super::write::{Kernel, random};

const THREADS: usize = 32;
/// Immediates of a probe.
const MANY: usize = 64;

pub fn probes() -> Vec<Probe> {
    let mut out: Vec<Probe> = (0..256 / MANY).map(|k| lop3(k * MANY)).collect();
    out.push(prmt());
    out
}

/// Three words a thread.
fn words(name: &str) -> Vec<u32> {
    let mut random = random(name);
    (0..3 * THREADS).map(|_| random.next() as u32).collect()
}

/// A kernel that stores the results of many instructions, a word each.
fn many(opcode: &str, name: &str, data: &[u32], operands: &[String], wanted: Vec<u32>) -> Probe {
    let count = operands.len();
    let mut body = String::from(
        "mad.wide.u32 %x, %i, 12, %a0;\nld.global.u32 %r10, [%x];\nld.global.u32 %r11, [%x+4];\n\
         ld.global.u32 %r12, [%x+8];\n",
    );
    body += &format!("mad.wide.u32 %x, %i, {}, %a1;\n", 4 * count);
    for (k, list) in operands.iter().enumerate() {
        body += &format!("{opcode} %r13, {list};\nst.global.u32 [%x+{}], %r13;\n", 4 * k);
    }
    let kernel = Kernel::new(opcode, name).input32(data).out(4 * count * THREADS, 4);
    kernel.body(&body).wants32(wanted)
}

/// Bit by bit: the immediate is the truth table.
fn lop3(first: usize) -> Probe {
    let data = words("lop3");
    let tables = first..first + MANY;
    let operands: Vec<String> = tables.clone().map(|k| format!("%r10, %r11, %r12, {k}")).collect();
    let mut wanted = Vec::new();
    for &[a, b, c] in data.as_chunks::<3>().0 {
        for table in tables.clone() {
            let bit = |k: u32| {
                let index = (a >> k & 1) << 2 | (b >> k & 1) << 1 | c >> k & 1;
                (table as u32 >> index & 1) << k
            };
            wanted.push((0..32).fold(0, |word, k| word | bit(k)));
        }
    }
    let name = format!("with {first:#x} to {:#x}", first + MANY - 1);
    many("lop3.b32", &name, &data, &operands, wanted)
}

/// Byte by byte: each digit picks one of eight, its top bit repeats the byte's sign.
fn prmt() -> Probe {
    let data = words("prmt");
    let mut random = random("prmt digits");
    let digits: Vec<u32> = (0..MANY)
        .map(|k| if k < 16 { 0x1111 * k as u32 } else { random.next() as u32 & 0xffff })
        .collect();
    let operands: Vec<String> =
        digits.iter().map(|digits| format!("%r10, %r11, {digits:#x}")).collect();
    let mut wanted = Vec::new();
    for &[a, b, _] in data.as_chunks::<3>().0 {
        let bytes = [a.to_le_bytes(), b.to_le_bytes()].concat();
        for &digits in &digits {
            let byte = |k: u32| {
                let digit = digits >> (4 * k) & 15;
                let byte = bytes[digit as usize & 7];
                let sign = if byte >= 0x80 { 0xff } else { 0 };
                if digit & 8 == 0 { byte } else { sign }
            };
            wanted.push(u32::from_le_bytes([0, 1, 2, 3].map(byte)));
        }
    }
    many("prmt.b32", "with many digits", &data, &operands, wanted)
}
