//! Runs a row function on the inputs of its model, with partial masks and with destinations that
//! are sources.

use super::exact::Format;
use super::inputs::{self, Kind, Random};
use super::probe;
use ptxsim::isa::{ALL, Alu, Class, Exec, Inst, LANES, Registers};

/// What a model sees of a lane.
#[derive(Clone, Copy, Debug)]
pub struct In {
    /// Sources in order; a predicate is 0 or 1.
    pub s: [u64; 4],
    pub imm: i64,
    pub carry: bool,
}

/// What a model says.
#[derive(Clone, Copy, Debug)]
pub enum Want {
    Bits(u64),
    /// Two destinations.
    Two(u64, u64),
    /// A destination and the carry.
    Carry(u64, bool),
    /// An approximation: within the larger of a relative and an absolute error.
    Near {
        format: Format,
        value: f64,
        relative: f64,
        absolute: f64,
    },
    /// Two approximations in the halves of a word.
    NearPair {
        format: Format,
        values: [f64; 2],
        relative: f64,
        absolute: f64,
    },
    /// The instruction reports this lane.
    Trouble,
}

/// What an instruction does to one lane.
pub type Model = Box<dyn Fn(&In) -> Want + Send + Sync>;

/// An opcode with its model.
pub struct Case {
    pub opcode: String,
    pub operands: String,
    pub kinds: Vec<Kind>,
    pub model: Model,
}

impl Case {
    pub fn new(
        opcode: impl Into<String>,
        operands: impl Into<String>,
        kinds: &[Kind],
        model: impl Fn(&In) -> Want + Send + Sync + 'static,
    ) -> Case {
        let case = Case {
            opcode: opcode.into(),
            operands: operands.into(),
            kinds: kinds.to_vec(),
            model: Box::new(model),
        };
        assert_eq!(probe::sources(&case.operands).len(), kinds.len(), "{}", case.opcode);
        case
    }
}

const WORD: [u32; 7] = [0xdead_0000, 1, 2, 3, 4, 0xdead_0005, 0xdead_0006];

/// Puts 32 lanes of inputs into rows 1 to 4 of every kind; the other rows hold what must stay.
fn registers(letters: &[char], lanes: &[[u64; 4]], carry: u32) -> Registers {
    let mut r = Registers {
        r32: WORD.iter().map(|&x| [x; LANES]).collect(),
        r64: WORD.iter().map(|&x| [u64::from(x) << 17; LANES]).collect(),
        p: vec![0xc3a5_5a3c; WORD.len()],
        carry,
        ..Registers::default()
    };
    for (k, letter) in letters.iter().enumerate() {
        for (lane, inputs) in lanes.iter().enumerate() {
            match letter {
                'l' => r.r64[k + 1][lane] = inputs[k],
                'p' => r.p[k + 1] = (r.p[k + 1] & !(1 << lane)) | (inputs[k] as u32) << lane,
                _ => r.r32[k + 1][lane] = inputs[k] as u32,
            }
        }
    }
    r
}

/// One lane of a row.
fn lane(r: &Registers, letter: char, row: u16, lane: usize) -> u64 {
    let row = usize::from(row);
    match letter {
        'l' => r.r64[row][lane],
        'p' => u64::from(r.p[row] >> lane & 1),
        'h' => u64::from(r.r32[row][lane] & 0xffff),
        _ => u64::from(r.r32[row][lane]),
    }
}

/// Whether two letters share a register file.
fn same_file(a: char, b: char) -> bool {
    a == b || (matches!(a, 'h' | 'r') && matches!(b, 'h' | 'r'))
}

/// Whether a result is within an error of a value.
pub fn near(format: Format, got: u64, value: f64, relative: f64, absolute: f64) -> bool {
    let got = format.value(got);
    if value.is_nan() || got.is_nan() {
        return value.is_nan() && got.is_nan();
    }
    // A result beyond the format's range is as good as infinite.
    let largest = format.value(format.infinity() - 1);
    if value.abs() > largest {
        return got.abs() >= largest && (got > 0.0) == (value > 0.0);
    }
    (got - value).abs() <= absolute.max(value.abs() * relative)
}

/// Compares one lane of results with the model's.
fn agrees(case: &Case, r: &Registers, inst: &Inst, at: usize, want: Want) -> bool {
    let to = probe::destinations(&case.operands);
    let got = |k: usize| lane(r, to[k], inst.d[k], at);
    match want {
        Want::Bits(x) => got(0) == x,
        Want::Two(x, y) => got(0) == x && got(1) == y,
        Want::Carry(x, carry) => got(0) == x && (r.carry >> at & 1 != 0) == carry,
        Want::Near { format, value, relative, absolute } => {
            near(format, got(0), value, relative, absolute)
        }
        Want::NearPair { format, values, relative, absolute } => (0..2).all(|k| {
            let half = got(0) >> (16 * k) & 0xffff;
            near(format, half, values[k], relative, absolute)
        }),
        Want::Trouble => r.trouble.is_some_and(|(_, lanes)| lanes >> at & 1 != 0),
    }
}

/// Runs every input; the first disagreement is the error.
pub fn check(case: &Case, alu: Alu, count: usize) -> Result<(), String> {
    let seed = case.opcode.bytes().fold(7u64, |h, b| h.wrapping_mul(31) ^ u64::from(b));
    let mut random = Random(seed | 1);
    let letters = probe::sources(&case.operands);
    let to = probe::destinations(&case.operands);
    for (turn, lanes) in inputs::table(&case.kinds, count, seed).chunks(LANES).enumerate() {
        let mask = if turn % 3 == 2 { random.next() as u32 } else { ALL };
        let carry = random.next() as u32;
        let before = registers(&letters, lanes, carry);
        let mut inst = Inst::new(Exec::Alu(alu), Class::Integer);
        inst.imm = (random.next() & 0xff) as i64;
        inst.s[..4].copy_from_slice(&[1, 2, 3, 4]);
        inst.d[..2].copy_from_slice(&[5, 6]);
        // Every other time the destination is one of the sources.
        let source = turn / 2 % 4;
        if turn % 2 == 1 && letters.get(source).is_some_and(|&x| same_file(x, to[0])) {
            inst.d[0] = source as u16 + 1;
        }
        let mut after = before.clone();
        alu(&mut after, &inst, mask);
        for at in 0..LANES {
            let given = In { s: lanes[at], imm: inst.imm, carry: carry >> at & 1 != 0 };
            let fine = if mask >> at & 1 == 0 {
                (0..to.len()).all(|k| {
                    lane(&after, to[k], inst.d[k], at) == lane(&before, to[k], inst.d[k], at)
                }) && (after.carry ^ before.carry) >> at & 1 == 0
                    && after.trouble.is_none_or(|(_, lanes)| lanes >> at & 1 == 0)
            } else {
                agrees(case, &after, &inst, at, (case.model)(&given))
            };
            if !fine {
                let got: Vec<String> = (0..to.len())
                    .map(|k| format!("{:#x}", lane(&after, to[k], inst.d[k], at)))
                    .collect();
                return Err(format!(
                    "{} {}: {:x?} with {:?}, carry {}, active {}: got {got:?}, model: {:x?}",
                    case.opcode,
                    case.operands,
                    given.s,
                    given.imm,
                    given.carry,
                    mask >> at & 1,
                    (case.model)(&given)
                ));
            }
        }
    }
    Ok(())
}
