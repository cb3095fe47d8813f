//! Probes of the instructions that the tables hold, with the models of `crate::model`.

use super::{HEADER, Param, Probe};
use crate::model::harness::{Case, In, Want, near};
use crate::model::{inputs, probe};

/// Random inputs of an instruction; about four times as many pairs of edge patterns come first.
const INPUTS: usize = 24;
/// Threads of a block.
const THREADS: usize = 32;
/// Disagreements that are listed of one instruction.
const LISTED: usize = 3;

/// One for every model.
pub fn probes() -> Vec<Probe> {
    crate::model::cases().into_iter().map(of).collect()
}

fn of(case: Case) -> Probe {
    let (opcode, operands) = (case.opcode.clone(), case.operands.clone());
    let seed = opcode.bytes().fold(7u64, |h, b| h.wrapping_mul(31) ^ u64::from(b));
    let carries = probe::carries(&opcode);
    let mut random = inputs::Random(seed | 1);
    let rows = inputs::table(&case.kinds, INPUTS, seed).into_iter();
    let given =
        rows.map(|s| In { s, imm: probe::IMMEDIATE, carry: carries && random.below(2) == 1 });
    // What a GPU does where the simulator reports trouble is not defined.
    let mut given: Vec<In> =
        given.filter(|input| !matches!((case.model)(input), Want::Trouble)).collect();
    while !given.len().is_multiple_of(THREADS) {
        given.push(given[0]);
    }
    let sources = probe::sources(&operands).len();
    let column = |value: &dyn Fn(&In) -> u64| {
        Param::In(given.iter().flat_map(|input| value(input).to_le_bytes()).collect())
    };
    let mut params: Vec<Param> = (0..sources).map(|k| column(&|input| input.s[k])).collect();
    if carries {
        params.push(column(&|input| u64::from(input.carry)));
    }
    params.push(Param::Out(16 * given.len()));
    let text = probe::probe_ptx(&opcode, &operands);
    let text = text.replacen(".version 8.7\n.target sm_90a\n.address_size 64\n\n", "", 1);
    assert!(!text.contains(".version"), "{HEADER} stands in the middle of {text}");
    let exact =
        given.iter().all(|i| !matches!((case.model)(i), Want::Near { .. } | Want::NearPair { .. }));
    Probe {
        name: format!("{opcode} {operands}"),
        comparable: !["isspacep", "cvta"].iter().any(|base| opcode.starts_with(base)),
        entry: String::new(),
        text: text.replacen(".entry probe(", ".entry @ENTRY@(", 1),
        grid: [(given.len() / THREADS) as u32, 1, 1],
        block: [THREADS as u32, 1, 1],
        params,
        keep: (16, kept(&operands, carries)),
        exact,
        printed: String::new(),
        check: Box::new(move |results| check(&case, &given, &results[0])),
        opcode,
        operands,
    }
}

/// The bytes of the two results that an instruction writes.
fn kept(operands: &str, carries: bool) -> Vec<(usize, usize)> {
    let bytes = |letter: char| match letter {
        'p' => 1,
        'h' => 2,
        'r' => 4,
        _ => 8,
    };
    let letters = probe::destinations(operands).into_iter().enumerate();
    let mut kept: Vec<_> = letters.map(|(k, letter)| (8 * k, bytes(letter))).collect();
    if carries {
        kept.push((8, 1));
    }
    kept
}

fn check(case: &Case, given: &[In], results: &[u8]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (input, words) in given.iter().zip(results.as_chunks::<16>().0) {
        let got = [0, 8].map(|at| u64::from_le_bytes(words[at..at + 8].try_into().unwrap()));
        let want = (case.model)(input);
        if !agrees(want, got) {
            let s = &input.s[..case.kinds.len()];
            let carry = if probe::carries(&case.opcode) {
                format!(" carry {}", input.carry)
            } else {
                String::new()
            };
            wrong.push(format!("{s:x?}{carry} gives {got:x?}, the model {want:x?}"));
        }
    }
    wrong.truncate(LISTED);
    wrong
}

fn agrees(want: Want, got: [u64; 2]) -> bool {
    match want {
        Want::Bits(x) => got[0] == x,
        Want::Two(x, y) => got == [x, y],
        Want::Carry(x, carry) => got == [x, u64::from(carry)],
        Want::Near { format, value, relative, absolute } => {
            near(format, got[0], value, relative, absolute)
        }
        Want::NearPair { format, values, relative, absolute } => {
            (0..2).all(|k| near(format, got[0] >> (16 * k) & 0xffff, values[k], relative, absolute))
        }
        Want::Trouble => true,
    }
}
