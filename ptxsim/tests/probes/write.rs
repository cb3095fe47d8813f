//! What probes written by hand have in common: parameters, registers, and where results go.
//!
//! `%i` is the index of the thread in a one-dimensional grid, `%lane` its lane, `%a0` to `%a7` the
//! buffers and `%w0` to `%w7` the numbers, both by the position among all parameters. Free for
//! use are predicates `%p`, and registers `%h` of 16, `%r` of 32 and `%l` of 64 bits.

use super::{Check, Param, Probe};
use crate::model::inputs::Random;

/// Disagreements that are listed of one probe.
const LISTED: usize = 3;

/// A probe under way.
pub struct Kernel {
    opcode: String,
    operands: String,
    name: String,
    outer: String,
    body: String,
    grid: [u32; 3],
    block: [u32; 3],
    params: Vec<Param>,
    element: usize,
    exact: bool,
    comparable: bool,
    printed: String,
}

impl Kernel {
    /// `case` tells apart the probes of one opcode.
    pub fn new(opcode: &str, case: &str) -> Kernel {
        Kernel {
            opcode: opcode.to_owned(),
            operands: String::new(),
            name: format!("{opcode} {case}").trim_end().to_owned(),
            outer: String::new(),
            body: String::new(),
            grid: [1; 3],
            block: [32, 1, 1],
            params: Vec::new(),
            element: 8,
            exact: true,
            comparable: true,
            printed: String::new(),
        }
    }

    /// Operands of the table's row.
    pub fn operands(mut self, operands: &str) -> Kernel {
        self.operands = operands.to_owned();
        self
    }

    /// Blocks and threads of a block.
    pub fn shape(mut self, grid: [u32; 3], block: [u32; 3]) -> Kernel {
        (self.grid, self.block) = (grid, block);
        self
    }

    /// That many threads of one block.
    pub fn threads(self, threads: u32) -> Kernel {
        self.shape([1; 3], [threads, 1, 1])
    }

    pub fn input(mut self, data: Vec<u8>) -> Kernel {
        self.params.push(Param::In(data));
        self
    }

    /// Numbers of four bytes.
    pub fn input32(self, data: &[u32]) -> Kernel {
        self.input(data.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    pub fn inout(mut self, data: Vec<u8>) -> Kernel {
        self.params.push(Param::InOut(data));
        self
    }

    /// Zeros for results, `element` bytes a thread.
    pub fn out(mut self, bytes: usize, element: usize) -> Kernel {
        self.params.push(Param::Out(bytes));
        self.element = element;
        self
    }

    /// How many bytes of a result are a thread's, where there is no `out`.
    pub fn element(mut self, bytes: usize) -> Kernel {
        self.element = bytes;
        self
    }

    pub fn word(mut self, word: u32) -> Kernel {
        self.params.push(Param::Word(word));
        self
    }

    /// A parameter of sixteen bytes, `w<k>`.
    pub fn bytes(mut self, bytes: [u8; 16]) -> Kernel {
        self.params.push(Param::Bytes(bytes));
        self
    }

    /// Functions and variables at module scope, whose names start with `@ENTRY@`.
    pub fn outer(mut self, text: &str) -> Kernel {
        self.outer += text;
        self
    }

    /// Instructions, and declarations.
    pub fn body(mut self, text: &str) -> Kernel {
        self.body += text;
        self.body.push('\n');
        self
    }

    /// Loads a number of so many bytes, one a thread, from a buffer.
    pub fn get(self, register: &str, buffer: usize, bytes: usize) -> Kernel {
        self.body(&format!(
            "mad.wide.u32 %x, %i, {bytes}, %a{buffer};\nld.global.u{} {register}, [%x];",
            8 * bytes
        ))
    }

    /// Stores registers of so many bytes each, all of a thread's one after the other.
    pub fn put(self, buffer: usize, bytes: usize, registers: &[&str]) -> Kernel {
        let stride = bytes * registers.len();
        let mut text = format!("mad.wide.u32 %x, %i, {stride}, %a{buffer};");
        for (k, register) in registers.iter().enumerate() {
            let at = k * bytes;
            text += &format!("\nst.global.u{} [%x+{at}], {register};", 8 * bytes);
        }
        self.body(&text)
    }

    /// A GPU's results too are only compared with the model.
    pub fn inexact(mut self) -> Kernel {
        self.exact = false;
        self
    }

    /// Results are no matter of the instruction alone.
    pub fn not_comparable(mut self) -> Kernel {
        self.comparable = false;
        self
    }

    pub fn prints(mut self, text: &str) -> Kernel {
        self.printed = text.to_owned();
        self
    }

    fn text(&self) -> String {
        let mut params = Vec::new();
        let mut loads = String::new();
        for (k, param) in self.params.iter().enumerate() {
            match param {
                Param::Word(_) => {
                    params.push(format!(".param .u32 w{k}"));
                    loads += &format!("ld.param.u32 %w{k}, [w{k}];\n");
                }
                Param::Bytes(_) => params.push(format!(".param .align 16 .b8 w{k}[16]")),
                _ => {
                    params.push(format!(".param .u64 a{k}"));
                    loads += &format!("ld.param.u64 %a{k}, [a{k}];\n");
                }
            }
        }
        format!(
            "{}.visible .entry @ENTRY@({})\n{{\n\
             .reg .pred %p<16>;\n.reg .b16 %h<40>;\n.reg .b32 %r<96>, %w<8>, %i, %lane;\n\
             .reg .b64 %l<40>, %a<8>, %x;\n\
             mov.u32 %i, %ctaid.x;\nmov.u32 %r0, %ntid.x;\nmov.u32 %r1, %tid.x;\n\
             mad.lo.u32 %i, %i, %r0, %r1;\nmov.u32 %lane, %laneid;\n\
             {loads}\n{}\nret;\n}}\n",
            self.outer,
            params.join(", "),
            self.body,
        )
    }

    /// Done, with any check of the results.
    pub fn check(self, check: impl Fn(&[Vec<u8>]) -> Vec<String> + Send + Sync + 'static) -> Probe {
        let check: Check = Box::new(check);
        Probe {
            text: self.text(),
            name: self.name,
            opcode: self.opcode,
            operands: self.operands,
            entry: String::new(),
            grid: self.grid,
            block: self.block,
            params: self.params,
            keep: (1, vec![(0, 1)]),
            check,
            exact: self.exact,
            comparable: self.comparable,
            printed: self.printed,
        }
    }

    /// Done: these are the results, a buffer each.
    pub fn wants(self, wanted: Vec<Vec<u8>>) -> Probe {
        let element = self.element;
        self.check(move |results| {
            let mut wrong = Vec::new();
            for (buffer, (got, want)) in results.iter().zip(&wanted).enumerate() {
                if got.len() != want.len() {
                    wrong.push(format!("{} bytes, the model has {}", got.len(), want.len()));
                }
                let pairs = got.chunks(element).zip(want.chunks(element)).enumerate();
                for (k, (got, want)) in pairs.filter(|(_, (got, want))| got != want) {
                    wrong.push(format!("result {buffer}, {k}: {got:x?}, the model {want:x?}"));
                }
            }
            wrong.truncate(LISTED);
            wrong
        })
    }

    /// Done: the only results, numbers of eight bytes.
    pub fn wants64(self, wanted: Vec<u64>) -> Probe {
        self.wants(vec![wanted.iter().flat_map(|x| x.to_le_bytes()).collect()])
    }

    /// Done: the only results, numbers of four bytes.
    pub fn wants32(self, wanted: Vec<u32>) -> Probe {
        self.wants(vec![wanted.iter().flat_map(|x| x.to_le_bytes()).collect()])
    }
}

/// Random numbers that a name decides.
pub fn random(name: &str) -> Random {
    Random(name.bytes().fold(11u64, |h, b| h.wrapping_mul(131) ^ u64::from(b)) | 1)
}

/// So many random bytes.
pub fn random_bytes(name: &str, bytes: usize) -> Vec<u8> {
    let mut random = random(name);
    (0..bytes).map(|_| (random.next() >> 24) as u8).collect()
}

/// Little-endian words.
pub fn words(data: &[u8]) -> Vec<u32> {
    data.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}
