//! Every register-only instruction against a slow model of it, written in another way than the
//! instruction: bit by bit, with whole numbers of any size, by search among a format's numbers.

mod compare;
mod convert;
pub mod exact;
mod float;
mod formats;
pub mod harness;
pub mod inputs;
mod integer;
mod logic;
mod moves;
pub mod pattern;
pub mod probe;

use harness::Case;
use ptxsim::arith::TABLE;
use ptxsim::isa::{Alu, Exec};
use std::collections::HashMap;

/// The models of all opcodes, in a fixed order.
pub fn cases() -> Vec<Case> {
    let mut out = integer::cases();
    out.extend(logic::cases());
    out.extend(compare::cases());
    out.extend(float::cases());
    out.extend(convert::cases());
    out
}

/// The functions of the table, by opcode and operands.
fn functions() -> HashMap<(String, String), Alu> {
    let mut out = HashMap::new();
    for row in TABLE.iter().copied().flatten() {
        for opcode in pattern::expand(row.pattern) {
            let Exec::Alu(alu) = row.exec else { panic!("{opcode} is not register-only") };
            let twice = out.insert((opcode.clone(), row.operands.to_string()), alu);
            assert!(twice.is_none(), "{opcode} {} stands in the table twice", row.operands);
        }
    }
    out
}

#[test]
fn every_opcode_has_one_model() {
    let mut functions = functions();
    let mut problems = Vec::new();
    for case in cases() {
        if functions.remove(&(case.opcode.clone(), case.operands.clone())).is_none() {
            problems
                .push(format!("{} {} has no function, or two models", case.opcode, case.operands));
        }
    }
    problems.extend(
        functions.keys().map(|(opcode, operands)| format!("{opcode} {operands} has no model")),
    );
    problems.sort();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

/// Instructions agree with their models on every input. `PTXSIM_MODEL_INPUTS` asks for more.
#[test]
fn instructions_are_as_their_models() {
    let count = std::env::var("PTXSIM_MODEL_INPUTS").ok().and_then(|x| x.parse().ok());
    let functions = functions();
    let cases = cases();
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get());
    let problems: Vec<String> = std::thread::scope(|scope| {
        let (cases, functions) = (&cases, &functions);
        let workers: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || {
                    let mine = cases.iter().skip(worker).step_by(workers);
                    mine.filter_map(|case| {
                        let key = (case.opcode.clone(), case.operands.clone());
                        let alu = *functions.get(&key)?;
                        harness::check(case, alu, count.unwrap_or(200)).err()
                    })
                    .collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker failed")).collect()
    });
    assert!(problems.is_empty(), "{} disagree:\n{}", problems.len(), problems.join("\n"));
}

/// Every probe is a module of its own with one entry.
#[test]
fn every_opcode_has_a_probe() {
    for case in cases() {
        let text = probe::probe_ptx(&case.opcode, &case.operands);
        assert!(text.contains(&format!("    {} %d_", case.opcode)), "{text}");
        assert_eq!(text.matches(".entry").count(), 1);
    }
}
