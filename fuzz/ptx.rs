//! What the fuzz target `ptx` does with its input. The simulator's tests replay the corpus with
//! the same body.

use ptxsim::Error;
use ptxsim::decode::{Program, decode};
use ptxsim::syntax::parse;

/// A module: no text may panic, and a program that is accepted holds what the machine builds on.
pub fn ptx(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lines = text.lines().count() + 1;
    match parse("fuzz.ptx", text).and_then(|tree| decode(&tree, "fuzz.ptx")) {
        Ok(program) => check(&program),
        Err(Error::Syntax { line, .. }) => assert!((1..=lines).contains(&(line as usize))),
        Err(Error::Unsupported { problems, .. }) => assert!(!problems.is_empty()),
        Err(other) => panic!("{other}"),
    }
}

fn check(program: &Program) {
    let code = program.code.len();
    assert!([program.places.len(), program.opcode.len(), program.uses.len()] == [code; 3]);
    assert!(program.opcode.iter().all(|number| (*number as usize) < program.opcodes.len()));
    assert!(program.targets.iter().flatten().all(|target| (*target as usize) < code));
    let functions = program.functions.len();
    assert!(program.calls.iter().all(|call| (call.function as usize) < functions));
    for function in &program.functions {
        let (start, end) = (function.code.0 as usize, function.code.1 as usize);
        assert!(start <= end && end <= code);
        let rows = [function.rows32, function.rows64, function.predicates];
        let constants = [&function.constants32, &function.constants64, &function.constants_p];
        for (rows, constants) in rows.into_iter().zip(constants) {
            assert!(constants.iter().all(|(row, _)| usize::from(*row) < rows));
        }
        for (sources, destinations) in &program.uses[start..end] {
            let mut used = sources.iter().chain(destinations);
            assert!(used.all(|row| usize::from(*row) < function.rows32));
        }
    }
}
