//! `mov` with vectors, by bytes: the parts of a register, the lowest first.

use ptxsim::arith::moves::{pack_function, unpack_function};
use ptxsim::isa::{Class, Exec, Inst, LANES, Registers};

/// Type, parts, and bytes of a part.
const FORMS: [(&str, usize, usize); 5] =
    [("b16", 2, 1), ("b32", 2, 2), ("b32", 4, 1), ("b64", 2, 4), ("b64", 4, 2)];

fn registers() -> Registers {
    let mut random = super::inputs::Random(5);
    let mut word = || random.next();
    Registers {
        r32: (0..10).map(|_| [0; LANES].map(|_: u32| word() as u32)).collect(),
        r64: (0..2).map(|_| [0; LANES].map(|_: u64| word())).collect(),
        p: Vec::new(),
        ..Registers::default()
    }
}

#[test]
fn vectors_are_packed_and_unpacked() {
    const MASK: u32 = 0x5a5a_ff01;
    for (ty, parts, bytes) in FORMS {
        let before = registers();
        let alu = pack_function(ty, parts).expect("a form that exists");
        let mut inst = Inst::new(Exec::Alu(alu), Class::Move);
        inst.s[..4].copy_from_slice(&[1, 2, 3, 4]);
        // The destination is a source, or of the other kind.
        inst.d[0] = if ty == "b64" { 1 } else { 2 };
        let mut after = before.clone();
        alu(&mut after, &inst, MASK);
        let whole = |r: &Registers, lane: usize| match ty {
            "b64" => r.r64[1][lane],
            _ => u64::from(r.r32[2][lane]),
        };
        for lane in 0..LANES {
            let list =
                (1..=parts).flat_map(|k| before.r32[k][lane].to_le_bytes()[..bytes].to_vec());
            let mut all: Vec<u8> = list.collect();
            all.resize(8, 0);
            let want = u64::from_le_bytes(all.try_into().expect("eight bytes"));
            let active = MASK >> lane & 1 != 0;
            let want = if active { want } else { whole(&before, lane) };
            assert_eq!(whole(&after, lane), want, "mov.{ty} of {parts}");
        }
        unpacks(ty, parts, bytes, MASK);
    }
}

fn unpacks(ty: &str, parts: usize, bytes: usize, mask: u32) {
    let before = registers();
    let alu = unpack_function(ty, parts).expect("a form that exists");
    let mut inst = Inst::new(Exec::Alu(alu), Class::Move);
    inst.s[0] = 1;
    // The first destination is the source, where both are of a kind.
    inst.d = [1, 6, 7, 8];
    let mut after = before.clone();
    alu(&mut after, &inst, mask);
    for lane in 0..LANES {
        let source = match ty {
            "b64" => before.r64[1][lane].to_le_bytes(),
            _ => u64::from(before.r32[1][lane]).to_le_bytes(),
        };
        for (k, part) in source.chunks(bytes).take(parts).enumerate() {
            let mut word = [0; 4];
            word[..bytes].copy_from_slice(part);
            let row = usize::from(inst.d[k]);
            let active = mask >> lane & 1 != 0;
            let want = if active { u32::from_le_bytes(word) } else { before.r32[row][lane] };
            assert_eq!(after.r32[row][lane], want, "mov.{ty} to {parts}");
        }
    }
}

#[test]
fn vectors_of_other_lengths_are_refused() {
    for (ty, parts) in [("b32", 3), ("u32", 2), ("b16", 4), ("b64", 8), ("", 2)] {
        assert!(pack_function(ty, parts).is_err());
        assert!(unpack_function(ty, parts).is_err());
    }
}
