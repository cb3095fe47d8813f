//! Models.
pub mod pattern;
pub mod probe;

#[test]
fn dump() {
    use ptxsim::arith::TABLE;
    let mut text = String::new();
    let mut n = 0;
    for row in TABLE.iter().copied().flatten() {
        for opcode in pattern::expand(row.pattern) {
            let probe = probe::probe_ptx(&opcode, row.operands);
            let probe = probe.replace("entry probe", &format!("entry probe{n}"));
            text += &format!("//@ {opcode} {}\n", row.operands);
            text += if n == 0 { &probe } else { &probe[probe.find(".visible").unwrap()..] };
            n += 1;
        }
    }
    std::fs::write("/tmp/probes.ptx", text).unwrap();
}
