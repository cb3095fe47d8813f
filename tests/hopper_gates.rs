//! What the machine code of kernels for Hopper alone must be: products of a warpgroup in groups of
//! 64 along k, operands by bulk copies, and after `setmaxnreg` no more registers than it left.

use super::static_gates::{Code, Instruction, parse};
use std::collections::{BTreeMap, BTreeSet};

/// Products of k16 in a group: 64 along k.
const GROUP: usize = 4;

/// What is wrong with a kernel, one line each.
pub(super) fn faults(code: &Code) -> Vec<String> {
    [products(code), copies(code), registers(code)].concat()
}

/// As many fences and commits as there are groups of products. Fewer, and registers would change
/// under products that are under way; more, and the tensor cores would drain in between.
fn products(code: &Code) -> Vec<String> {
    let count =
        |is: &dyn Fn(&Instruction) -> bool| code.instructions.iter().filter(|i| is(i)).count();
    let products = count(&|i| i.is("HGMMA"));
    let fences = count(&|i| i.is("WARPGROUP.ARRIVE"));
    let commits = count(&|i| i.is("HGMMA") && i.operands.contains("gsb0"));
    if products > 0 && products == GROUP * fences && fences == commits {
        return Vec::new();
    }
    vec![format!("{products} products, {fences} fences and {commits} commits, not one for each 4")]
}

fn copies(code: &Code) -> Vec<String> {
    let any = |families: &[&str]| code.instructions.iter().any(|i| i.is_any(families));
    if !any(&["UBLKCP", "UTMALDG"]) {
        return vec!["no bulk copies".to_owned()];
    }
    // The rows of x are a matrix.
    let is_gemm = code.symbol.starts_with("gemm_");
    if is_gemm && !any(&["UTMALDG"]) {
        return vec!["no copies of boxes".to_owned()];
    }
    Vec::new()
}

/// Registers that are named after each `setmaxnreg` (USETMAXREG), wherever the code goes from
/// there, against the number that it leaves.
fn registers(code: &Code) -> Vec<String> {
    let at: BTreeMap<u64, usize> =
        code.instructions.iter().enumerate().map(|(n, i)| (i.address, n)).collect();
    let splits = code.instructions.iter().enumerate().filter(|(_, i)| i.is("USETMAXREG"));
    let mut faults = Vec::new();
    let mut found = 0;
    for (first, split) in splits {
        found += 1;
        let limit = targets(&split.operands).next().unwrap_or_default();
        let mut seen = BTreeSet::from([first]);
        let mut left = vec![first];
        while let Some(n) = left.pop() {
            let i = &code.instructions[n];
            let next = (!ends(i)).then_some(n + 1).filter(|n| *n < code.instructions.len());
            let jumps = targets(&i.operands).filter(|_| jumps(i)).filter_map(|to| at.get(&to));
            left.extend(next.into_iter().chain(jumps.copied()).filter(|n| seen.insert(*n)));
        }
        let worst = seen.iter().map(|n| &code.instructions[*n]).max_by_key(|i| last_register(i));
        if let Some(i) = worst.filter(|i| last_register(i) >= limit) {
            faults.push(format!("{} {} with {limit} registers", i.opcode, i.operands));
        }
    }
    if found < 2 {
        faults.push(format!("{found} times setmaxnreg"));
    }
    faults
}

/// Hexadecimal numbers among operands: addresses of code, or what setmaxnreg leaves.
fn targets(operands: &str) -> impl Iterator<Item = u64> {
    let words = operands.split([',', ' ']).filter_map(|word| word.strip_prefix("0x"));
    words.filter_map(|digits| u64::from_str_radix(digits, 16).ok())
}

fn jumps(i: &Instruction) -> bool {
    i.is_any(&["BRA", "BSSY", "CALL", "WARPSYNC"])
}

/// Whether nothing goes on behind an instruction.
fn ends(i: &Instruction) -> bool {
    let always = i.is_any(&["EXIT", "RET"]) || i.is("BRA") && i.operands.starts_with("0x");
    always && !i.guarded
}

/// The highest register that an instruction names, with those that follow a name: of a result or
/// data by the opcode's width, of an address where it has 64 bits.
fn last_register(i: &Instruction) -> u64 {
    let width = match i.opcode.split('x').nth(1).and_then(|n| n.parse::<u64>().ok()) {
        Some(columns) if i.is("HGMMA") => columns / 2,
        _ if i.opcode.ends_with(".128") => 4,
        _ if i.opcode.contains(".64") || i.opcode.contains("WIDE") => 2,
        _ => 1,
    };
    let mut last = 0;
    for (n, word) in i.operands.split([',', ' ']).filter(|word| !word.is_empty()).enumerate() {
        for name in word.split(['[', ']', '+', '-', '|', '~']) {
            let (name, wide) = name
                .split_once('.')
                .map_or((name, false), |(name, of)| (name, of.starts_with("64")));
            let Some(number) = name.strip_prefix('R').and_then(|n| n.parse::<u64>().ok()) else {
                continue;
            };
            let following = match (word.contains('['), i.is("HGMMA"), n) {
                (true, ..) => u64::from(wide),
                // The factor of a product that comes from registers has four.
                (false, true, 1) => 3,
                (false, ..) => width - 1,
            };
            last = last.max(number + following);
        }
    }
    last
}

/// A kernel as it should be.
const GOOD: &str = "
    code for sm_90a
        Function : gemm_prefill_x_sm90
        /*0000*/    @P0 BRA 0x50 ;
        /*0010*/    USETMAXREG.DEALLOC.CTAPOOL 0x28 ;
        /*0020*/    BRA P1, 0xc0 ;
        /*0030*/    UBLKCP.S.G [UR8], [UR6], UR4 ;
        /*0038*/    UTMALDG.2D.MULTICAST [UR4], [UR10], UR13 ;
        /*0040*/    EXIT ;
        /*0050*/    USETMAXREG.TRY_ALLOC.CTAPOOL UP0, 0xe8 ;
        /*0060*/    WARPGROUP.ARRIVE ;
        /*0070*/    HGMMA.64x128x16.F32.BF16 R24, R152, gdesc[UR16].tnspB, R24 ;
        /*0080*/    HGMMA.64x128x16.F32.BF16 R24, R156, gdesc[UR16].tnspB, R24 ;
        /*0090*/    HGMMA.64x128x16.F32.BF16 R24, R160, gdesc[UR16].tnspB, R24 ;
        /*00a0*/    HGMMA.64x128x16.F32.BF16 R24, R164, gdesc[UR16].tnspB, R24, gsb0 ;
        /*00b0*/    EXIT ;
        /*00c0*/    LDS.128 R36, [R39+0x10] ;
        /*00d0*/    BRA 0x30 ;
";

#[test]
fn sound_code_for_hopper_is_let_pass() {
    assert_eq!(faults(&parse(GOOD)[0]), [""; 0]);
}

#[test]
fn each_fault_of_code_for_hopper_is_found() {
    let changes = [
        ("R164, gdesc[UR16].tnspB, R24, gsb0", "R164, gdesc[UR16].tnspB, R24", "0 commits"),
        ("R156, gdesc[UR16].tnspB, R24 ;", "R156, gdesc[UR16].tnspB, R24, gsb0 ;", "2 commits"),
        ("WARPGROUP.ARRIVE", "NOP", "0 fences"),
        ("UTMALDG.2D.MULTICAST [UR4], [UR10], UR13", "NOP", "no copies of boxes"),
        (
            "UBLKCP.S.G [UR8], [UR6], UR4 ;
        /*0038*/    UTMALDG.2D.MULTICAST [UR4], [UR10], UR13",
            "NOP",
            "no bulk copies",
        ),
        ("USETMAXREG.DEALLOC.CTAPOOL 0x28", "NOP", "1 times setmaxnreg"),
        // In code that is only jumped to; a wide access; a result and a factor of a product.
        ("LDS.128 R36", "LDS.128 R40", "LDS.128 R40, [R39+0x10] with 40 registers"),
        ("LDS.128 R36", "LDS.128 R37", "LDS.128 R37, [R39+0x10] with 40 registers"),
        ("LDS.128 R36, [R39+0x10]", "LDG.E R36, desc[UR4][R39.64]", "R39.64] with 40 registers"),
        ("HGMMA.64x128x16.F32.BF16 R24, R152", "HGMMA.64x128x16.F32.BF16 R176, R152", "R176"),
        ("R24, R160", "R24, R230", "R230"),
    ];
    for (from, to, message) in changes {
        assert!(GOOD.contains(from), "{from}");
        let found = faults(&parse(&GOOD.replace(from, to))[0]);
        assert!(found.iter().any(|fault| fault.contains(message)), "{to}: {found:?}");
    }
}
